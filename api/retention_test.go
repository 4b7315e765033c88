package api_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"
	"time"

	"zhizheng/api"
	"zhizheng/evidence"
	"zhizheng/internal/blob"
	"zhizheng/internal/pg"
	"zhizheng/internal/testcounty"
	"zhizheng/internal/testenv"
)

// Where a county keeps a case's evidence for a term only, an exhibit may be gone in the end: the bundle says so by the leaves of its deletion,
// which stand for the bytes, and holds.
func TestBundleWithADeletedExhibit(t *testing.T) {
	c := testcounty.New(t)
	c.Ingest.Retain = func(now time.Time) time.Time { return now.Add(time.Second) }
	c.Ingest.OpenLock = time.Second
	c.Keeper.Policy.Keep[evidence.Ordinary], c.Keeper.Policy.Keep[evidence.UsedInCase], c.Keeper.Policy.Window = time.Second, 2*time.Second, 0
	body := []byte("stays")
	gone, stays := c.Seals("gone.mp4", []byte("gone")), c.Seals("stays.mp4", body)
	caseID := c.Case(gone, stays)
	must(t, c.Log.Do(t.Context(), func(ctx context.Context, tx *pg.Tx) error {
		return c.Keeper.LiftHold(ctx, tx, gone, evidence.Act{Actor: "u1", CaseID: caseID, Reason: "结案"})
	}))
	testenv.Eventually(t, 20*time.Second, func() bool {
		_, _, err := c.Keeper.SettleHolds(t.Context())
		must(t, err)
		_, _, err = c.Keeper.SettleRetention(t.Context())
		must(t, err)
		must(t, c.Keeper.Expire(t.Context()))
		r, err := c.Keeper.Get(t.Context(), evidence.Scope{}, gone)
		must(t, err)
		return r.Status == evidence.StatusDeleted
	})
	c.User("shen", "reviewer")
	a := c.SignedIn("shen").Get("/api/v1/cases/" + caseID + "/bundle")
	if a.Status != http.StatusOK {
		t.Fatalf("export: %d %s", a.Status, a.Body)
	}
	rep := verify(t, a.Body, c.Log.VKey())
	if len(rep.Failures) != 0 {
		t.Fatalf("failures: %+v", rep.Failures)
	}
	if r := rep.Records; r[0].Status != "deleted" || r[0].Member != "" || r[1].Member == "" {
		t.Errorf("records: %+v", r)
	}
}

// A store without room: the station hears 507, somebody hears an alarm, readiness says it and stays ready, and nothing that was there went.
func TestFullStore(t *testing.T) {
	c := testcounty.New(t, func(d *api.Deps) {
		d.Ready = func(context.Context) map[string]string { return map[string]string{"store": api.StoreFull} }
		d.Metrics = true
	})
	body := []byte("before")
	before := c.Seals("before.mp4", body)
	target, err := url.Parse(c.StoreOptions.Endpoint)
	must(t, err)
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }}
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.URL.Query().Has("uploads") {
			w.WriteHeader(http.StatusInsufficientStorage)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	o := c.StoreOptions
	o.Endpoint = proxy.URL
	c.Ingest.Store, err = blob.Open(t.Context(), o)
	must(t, err)
	t.Cleanup(c.Ingest.Store.Close)
	eid, m, parts := c.Registers("more.mp4", []byte("more"))
	b := c.Browser()
	b.Header.Set("Authorization", "Bearer "+c.Token())
	for range 2 {
		a := b.JSON("POST", "/api/v1/uploads", map[string]any{"evidence_id": eid, "part_size": m.PartSize, "part_sha256": []string{hex.EncodeToString(parts[0])}})
		if a.Status != http.StatusInsufficientStorage {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
	}
	all, _, err := c.Audit.Alarms(t.Context(), nil, true, "", 10)
	must(t, err)
	if len(all) != 1 || all[0].Kind != "capacity" {
		t.Errorf("alarms: %+v", all)
	}
	c.User("li", "officer", testcounty.Donghe)
	li := c.SignedIn("li")
	if a := li.Get("/api/v1/evidence/" + string(before) + "/content"); a.Status != 200 || !bytes.Equal(a.Body, body) {
		t.Errorf("what was there: %d", a.Status)
	}
	if a := li.Get("/readyz"); a.Status != 200 || !strings.Contains(string(a.Body), `"full"`) {
		t.Errorf("ready: %d %s", a.Status, a.Body)
	}
	if a := li.Get("/api/v1/system"); a.Status != 200 || !strings.Contains(string(a.Body), `"kept_bytes":6`) {
		t.Errorf("system: %d %s", a.Status, a.Body)
	}
	if a := li.Get("/metrics"); !strings.Contains(string(a.Body), "zhizheng_store_kept_bytes 6\n") {
		t.Errorf("metrics: %s", a.Body)
	}
}
