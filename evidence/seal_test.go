package evidence_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/ingest"
	"zhizheng/internal/testcounty"
)

// Record, custody event and leaf come together or not at all: whichever fails, nothing is sealed, and the next try seals once.
func TestSealedInOneTransaction(t *testing.T) {
	c := testcounty.New(t)
	owner := c.Owner()
	run := func(sql string) {
		t.Helper()
		_, err := owner.Exec(t.Context(), sql)
		must(t, err)
	}
	for i, x := range []struct{ what, breaks, mends string }{
		{"the custody event", `alter table custody add constraint broken check (kind <> 10) not valid`, `alter table custody drop constraint broken`},
		{"the record", `alter table evidence add constraint broken check (status <> 'sealed') not valid`, `alter table evidence drop constraint broken`},
		{"the leaf", `alter table log_entry add constraint broken check (key not like 'sealed/%') not valid`, `alter table log_entry drop constraint broken`},
		{"the upload", `alter table upload add constraint broken check (state <> 'sealed') not valid`, `alter table upload drop constraint broken`},
	} {
		body := []byte{byte(i), 1, 2, 3}
		id, m, parts := c.Registers(fmt.Sprint(i, ".mp4"), body)
		st := ingest.Station{ID: testcounty.Station, Township: testcounty.Donghe, KeyID: c.KeyID()}
		u, err := c.Ingest.BeginUpload(t.Context(), st, id, m.PartSize, parts)
		must(t, err)
		c.Sends(u, body)
		run(x.breaks)
		if _, err := c.Ingest.CompleteUpload(t.Context(), st, u.ID); err == nil {
			t.Errorf("%s can't be written, and it is sealed", x.what)
		}
		rec, err := c.Keeper.Get(t.Context(), evidence.Scope{}, id)
		must(t, err)
		page, err := c.Keeper.Custody(t.Context(), evidence.Scope{}, id, "", 10)
		must(t, err)
		if rec.Status != evidence.StatusPending || rec.SealedAt != nil || len(page.Items) != 1 || len(kinds(t, c, id)) != 0 {
			t.Errorf("%s can't be written: record %s, %d events, leaves %v", x.what, rec.Status, len(page.Items), kinds(t, c, id))
		}
		run(x.mends)
		for range 2 {
			_, err = c.Ingest.CompleteUpload(t.Context(), st, u.ID)
			must(t, err)
		}
		rec, err = c.Keeper.Get(t.Context(), evidence.Scope{}, id)
		must(t, err)
		if got := kinds(t, c, id); rec.Status != evidence.StatusSealed || got[chain.KindSealed] != 1 || len(got) != 1 {
			t.Errorf("%s: then %s, leaves %v", x.what, rec.Status, got)
		}
	}
}

// Pages of the chain of custody: each event once, oldest first, also those of one instant.
func TestPagesOfCustody(t *testing.T) {
	c := testcounty.New(t)
	id := c.Seals("a.mp4", []byte("a"))
	at := time.Now()
	for i := range 20 { // four acts an instant
		act := evidence.Act{Actor: fmt.Sprint("u", i), At: at.Add(time.Duration(i/4) * time.Microsecond)}
		must(t, c.Keeper.Viewed(t.Context(), id, true, act))
	}
	c.User("li", "officer", testcounty.Donghe)
	b := c.SignedIn("li")
	seen, last, pages := map[string]bool{}, time.Time{}, 0
	var page struct {
		Items []struct {
			ID, Actor string
			Time      time.Time
		}
		Next string `json:"next_cursor"`
	}
	for next := "?limit=3"; next != ""; pages++ {
		page.Items, page.Next = nil, ""
		must(t, json.Unmarshal(b.Get("/api/v1/evidence/"+string(id)+"/custody"+next).Body, &page))
		for _, e := range page.Items {
			if seen[e.ID] || e.Time.Before(last) {
				t.Errorf("%s of %s: again or too late", e.Actor, e.Time)
			}
			seen[e.ID], last = true, e.Time
		}
		if next = ""; page.Next != "" {
			next = "?limit=3&cursor=" + page.Next
		}
	}
	if len(seen) != 22 || pages != 8 {
		t.Errorf("%d of 22 events on %d pages", len(seen), pages)
	}
}
