package blob_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"zhizheng/internal/blob"
	"zhizheng/internal/testenv"
)

func TestEmbeddedStoreIsAttested(t *testing.T) {
	o := testenv.StoreOptions(t)
	s, err := blob.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	for round := range 2 { // the second finds the canary of the first, its lock over
		r, err := blob.Probe(t.Context(), blob.ProbeOptions{Options: o, LockFor: 4 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		for _, st := range r.Transcript {
			t.Logf("%-25s %-5t %s %s", st.Name, st.OK, st.Text, st.Got)
			if !st.OK {
				t.Errorf("%s: %s", st.Name, st.Got)
			}
		}
		if !r.Attested || !r.Locked || r.Label != "attested" {
			t.Errorf("%+v", r)
		}
		if round == 0 {
			testenv.Eventually(t, 10*time.Second, after(5*time.Second))
		} else if last := r.Transcript[len(r.Transcript)-1]; last.Got != "1 removed, 0 still locked" {
			t.Errorf("canaries: %s", last.Got)
		}
	}
}

// after holds when d has passed; locks run by the clock.
func after(d time.Duration) func() bool {
	end := time.Now().Add(d)
	return func() bool { return time.Now().After(end) }
}

// A store that takes parts without looking at their checksums must not be sealed on. A proxy before the real store plays it.
func TestCarelessStoreIsNotAttested(t *testing.T) {
	o := testenv.StoreOptions(t)
	s, err := blob.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	o.Endpoint = careless(t, o)
	r, err := blob.Probe(t.Context(), blob.ProbeOptions{Options: o, LockFor: 4 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, st := range r.Transcript {
		got[st.Name] = st.OK
	}
	if r.Attested || r.Label != blob.LabelReRead || !got["part-upload"] || got["part-wrong"] {
		t.Errorf("%+v", r)
	}
}

// careless answers 200 to every part and passes everything else on.
func careless(t *testing.T, o blob.Options) string {
	t.Helper()
	target, err := url.Parse(o.Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && r.URL.Query().Has("partNumber") {
			if _, err := io.Copy(io.Discard, r.Body); err != nil {
				t.Error(err)
			}
			w.Header().Set("ETag", `"0"`)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func TestProbeOfNoStore(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := blob.Probe(ctx, blob.ProbeOptions{Options: blob.Options{Endpoint: "http://127.0.0.1:1", Bucket: "bucket", AccessKey: "a", SecretKey: "b"}})
	if err == nil || strings.Contains(err.Error(), "Signature") {
		t.Fatalf("%v", err)
	}
}
