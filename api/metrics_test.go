package api

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// /metrics is closed unless the setting opens it; then it counts by route, and never by address.
func TestMetricsBehindSetting(t *testing.T) {
	get := func(s *site, path string) (int, string) {
		res, err := http.Get(s.url + path)
		must(t, err)
		defer res.Body.Close()
		b, err := io.ReadAll(res.Body)
		must(t, err)
		return res.StatusCode, string(b)
	}
	if _, body := get(newSite(t), "/metrics"); strings.Contains(body, "zhizheng_log_entries") {
		t.Error("open without the setting")
	}
	s := newSiteWith(t, func(d *Deps) { d.Metrics = true })
	get(s, "/api/v1/evidence/secret-id")
	code, body := get(s, "/metrics")
	if code != http.StatusOK || !strings.Contains(body, "zhizheng_log_entries ") || !strings.Contains(body, "zhizheng_device_messages_ahead_total ") || !strings.Contains(body, `route="/api/v1/evidence/:id"`) {
		t.Errorf("%d %s", code, body)
	}
	if strings.Contains(body, "secret-id") {
		t.Error("an address became a label")
	}
}
