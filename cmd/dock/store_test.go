package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"zhizheng/evidence"
	"zhizheng/internal/blob"
	"zhizheng/internal/testenv"
)

// link is the way from the station to the store, which can be bad in the ways of its fault.
type link struct {
	fault atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
}

// newSiteBehind has a store that stations reach through a line.
func newSiteBehind(t *testing.T) (*site, *link) {
	t.Helper()
	o := testenv.StoreOptions(t)
	target, err := url.Parse(o.Endpoint)
	must(t, err)
	l := &link{}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := l.fault.Load(); f != nil && (*f)(w, r) {
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	o.PublicEndpoint = srv.URL
	store, err := blob.Open(t.Context(), o)
	must(t, err)
	t.Cleanup(store.Close)
	return newSiteOn(t, store), l
}

// flipped spoils one byte on its way.
type flipped struct {
	io.ReadCloser
	done bool
}

func (f *flipped) Read(p []byte) (int, error) {
	n, err := f.ReadCloser.Read(p)
	if n > 0 && !f.done {
		p[0] ^= 1
		f.done = true
	}
	return n, err
}

func TestStoreAwayInMidUpload(t *testing.T) {
	s, line := newSiteBehind(t)
	card := t.TempDir()
	files := map[string][]byte{"a.mp4": random(1, 23*mib), "b.mp4": random(2, 100)}
	for name, b := range files {
		put(t, card, name, b)
	}
	var n atomic.Int64
	f := func(w http.ResponseWriter, r *http.Request) bool {
		switch n.Add(1) {
		case 1, 4: // the connection breaks while the bytes travel
			_, _ = io.CopyN(io.Discard, r.Body, 20)
			panic(http.ErrAbortHandler)
		case 2:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 3: // the address has expired
			w.WriteHeader(http.StatusForbidden)
		case 5:
			w.WriteHeader(http.StatusInsufficientStorage)
		case 6: // a bad line: the store finds it by the part's checksum
			r.Body = &flipped{ReadCloser: r.Body}
			return false
		default:
			return false
		}
		return true
	}
	line.fault.Store(&f)
	r := s.dock(t, card)
	must(t, r.err)
	if n.Load() < 7 {
		t.Fatalf("only %d requests came to the store", n.Load())
	}
	for name, b := range files {
		s.holds(t, r.of(t, name), b)
	}
}

func TestLineThatAlwaysSpoils(t *testing.T) {
	s, line := newSiteBehind(t)
	card := t.TempDir()
	b := random(1, 1000)
	put(t, card, "a.mp4", b)
	f := func(_ http.ResponseWriter, r *http.Request) bool {
		r.Body = &flipped{ReadCloser: r.Body}
		return false
	}
	line.fault.Store(&f)
	r := s.dock(t, card)
	must(t, r.err)
	l := r.of(t, "a.mp4")
	if r.all || l.Status != rejected || !strings.Contains(l.Error, "文件内容未变") || l.Receipt != "" {
		t.Fatalf("line: %+v", l)
	}
	if rec := s.records(t)[sum(b)]; rec.Status != evidence.StatusPending { // the fingerprint is in the log all the same
		t.Fatalf("record: %+v", rec)
	}
	line.fault.Store(nil)
	r = s.dock(t, card)
	must(t, r.err)
	s.holds(t, r.of(t, "a.mp4"), b)
}

func TestStoreWithoutRoom(t *testing.T) {
	s, line := newSiteBehind(t)
	card := t.TempDir()
	put(t, card, "a.mp4", random(1, 1000))
	f := func(w http.ResponseWriter, r *http.Request) bool {
		w.WriteHeader(http.StatusInsufficientStorage)
		return true
	}
	line.fault.Store(&f)
	r := s.dock(t, card, func(c *config) { c.Patience = time.Second })
	must(t, r.err)
	if l := r.of(t, "a.mp4"); r.all || l.Status != rejected || !strings.Contains(l.Error, "空间已满") {
		t.Fatalf("line: %+v", l)
	}
}
