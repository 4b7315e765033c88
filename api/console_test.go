package api_test

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/fstest"

	"zhizheng/api"
	"zhizheng/internal/testcounty"
)

// The build compresses; the server only chooses the copy that the browser takes. Browsers take br over TLS and on the same machine
// only, gzip everywhere.
func TestConsoleComesCompressed(t *testing.T) {
	c := testcounty.New(t, func(d *api.Deps) {
		d.Console = fstest.MapFS{
			"index.html": {Data: []byte("page")}, "assets/small.js": {Data: []byte("small")},
			"assets/a.js": {Data: []byte("plain")}, "assets/a.js.br": {Data: []byte("as br")}, "assets/a.js.gz": {Data: []byte("as gzip")},
		}
	})
	for _, want := range []struct{ path, accept, body, coding, vary string }{
		{"/assets/a.js", "gzip, deflate, br, zstd", "as br", "br", "Accept-Encoding"},
		{"/assets/a.js", "gzip, deflate", "as gzip", "gzip", "Accept-Encoding"},
		{"/assets/a.js", "br;q=0, GZIP;q=0.5", "as gzip", "gzip", "Accept-Encoding"},
		{"/assets/a.js", "br; q=0.000,gzip; q=0", "plain", "", "Accept-Encoding"},
		{"/assets/a.js", "bro, xgzip, *", "plain", "", "Accept-Encoding"},
		{"/assets/a.js", "", "plain", "", "Accept-Encoding"},
		{"/assets/small.js", "gzip, br", "small", "", ""},
		{"/evidence", "gzip, br", "page", "", ""},
	} {
		r := httptest.NewRequest(http.MethodGet, want.path, nil)
		r.Header.Set("Accept-Encoding", want.accept)
		w := httptest.NewRecorder()
		c.Handler.ServeHTTP(w, r)
		h := w.Header()
		if w.Code != http.StatusOK || w.Body.String() != want.body || h.Get("Content-Encoding") != want.coding || h.Get("Vary") != want.vary {
			t.Errorf("%s, accepting %q: %d %q %v", want.path, want.accept, w.Code, w.Body.String(), h)
		}
		if want.path == "/assets/a.js" && h.Get("Content-Type") != "text/javascript; charset=utf-8" {
			t.Errorf("%s: %s", want.path, h.Get("Content-Type"))
		}
	}
}
