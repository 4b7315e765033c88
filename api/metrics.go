package api

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are what /metrics shows when the setting opens it: counts and durations by route, the log's size and the connection pool. No
// label names a person, a township or a record.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.HistogramVec
}

func (s *Server) newMetrics() *metrics {
	m := &metrics{registry: prometheus.NewRegistry(), requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "zhizheng_http_request_seconds", Help: "Requests by method, route and status.", Buckets: prometheus.ExponentialBuckets(0.002, 3, 9),
	}, []string{"method", "route", "status"})}
	pool := func(name, help string, f func() float64) prometheus.Collector {
		return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "zhizheng_database_" + name, Help: help}, f)
	}
	floods := func(name, help string, f func() int64) prometheus.Collector {
		return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "zhizheng_device_" + name, Help: help}, func() float64 { return float64(f()) })
	}
	m.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), m.requests,
		logCollector{s}, storeCollector{s}, floods("messages_ahead_total", "Messages that came ahead of their device's rate.", func() int64 { n, _ := s.Devices.Floods(); return n }),
		floods("dead_letters_skipped_total", "Dead letters beyond their device's day, counted and not kept.", func() int64 { _, n := s.Devices.Floods(); return n }),
		pool("connections_busy", "Connections in use.", func() float64 { return float64(s.Pool.Stat().AcquiredConns()) }),
		pool("connections_max", "Connections that may be open.", func() float64 { return float64(s.Pool.Stat().MaxConns()) }))
	return m
}

// observe notes a request that was answered; addresses outside the routes share one label, so that nobody can make endless ones.
func (m *metrics) observe(c *gin.Context, took time.Duration) {
	route := c.FullPath()
	if route == "" {
		route = "other"
	}
	m.requests.WithLabelValues(method(c.Request.Method), route, strconv.Itoa(c.Writer.Status())).Observe(took.Seconds())
}

func method(name string) string {
	switch name {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return name
	}
	return "other"
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 2})
}

var (
	logEntries = prometheus.NewDesc("zhizheng_log_entries", "Entries in the evidence log.", nil, nil)
	logSigned  = prometheus.NewDesc("zhizheng_log_checkpoint_entries", "Entries that the published checkpoint covers.", nil, nil)
	logHalted  = prometheus.NewDesc("zhizheng_log_halted", "1 when the log has stopped taking entries.", nil, nil)
)

// logCollector asks the log when it is scraped.
type logCollector struct{ s *Server }

func (logCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- logEntries
	ch <- logSigned
	ch <- logHalted
}

func (l logCollector) Collect(ch chan<- prometheus.Metric) {
	halted := 0.0
	if l.s.Log.Halted() != "" {
		halted = 1
	}
	ch <- prometheus.MustNewConstMetric(logHalted, prometheus.GaugeValue, halted)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	st, err := l.s.Log.Status(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(logEntries, err)
		return
	}
	ch <- prometheus.MustNewConstMetric(logEntries, prometheus.GaugeValue, float64(st.Size))
	ch <- prometheus.MustNewConstMetric(logSigned, prometheus.GaugeValue, float64(st.Published))
}

var (
	storeFree = prometheus.NewDesc("zhizheng_store_free_bytes", "What footage may still take at the store, when that is known.", nil, nil)
	storeKept = prometheus.NewDesc("zhizheng_store_kept_bytes", "Footage that is kept.", nil, nil)
	storeIn   = prometheus.NewDesc("zhizheng_store_daily_bytes", "Intake a day, over the last 14 days.", nil, nil)
	storeDays = prometheus.NewDesc("zhizheng_store_days_left", "Days until the store is full at that rate, when both are known.", nil, nil)
)

// storeCollector reckons the store's room when it is scraped.
type storeCollector struct{ s *Server }

func (storeCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{storeFree, storeKept, storeIn, storeDays} {
		ch <- d
	}
}

func (c storeCollector) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	v, err := c.s.Audit.Capacity(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(storeKept, err)
		return
	}
	gauge := func(d *prometheus.Desc, n int64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n))
	}
	gauge(storeKept, v.Kept)
	gauge(storeIn, v.Intake)
	if v.Known {
		gauge(storeFree, v.Free)
	}
	if v.DaysLeft >= 0 {
		gauge(storeDays, int64(v.DaysLeft))
	}
}
