package api_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"zhizheng/evidence"
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
		_, err := c.Keeper.SettleHolds(t.Context())
		must(t, err)
		_, err = c.Keeper.SettleRetention(t.Context())
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
