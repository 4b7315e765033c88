package evidence_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"zhizheng/cases"
	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/internal/testcounty"
)

// A case holds what is linked to it, also what has yet to arrive; a hold by hand beside it goes without taking the case's along.
func TestHoldOfACase(t *testing.T) {
	c := testcounty.New(t)
	here := c.Seals("here.mp4", []byte("here"))
	body := []byte("late")
	late, m, parts := c.Registers("late.mp4", body)
	c.Case(here, late)
	state := func(id evidence.ID) (string, bool) {
		t.Helper()
		r, err := c.Keeper.Get(t.Context(), evidence.Scope{}, id)
		must(t, err)
		if r.Status == evidence.StatusPending {
			return r.HoldState, false
		}
		o, err := c.Store.HeadVersion(t.Context(), r.ObjectKey, r.VersionID)
		must(t, err)
		return r.HoldState, o.Hold
	}
	want := func(id evidence.ID, hold string, locked bool) {
		t.Helper()
		if s, l := state(id); s != hold || l != locked {
			t.Fatalf("hold %s, at the store %v; want %s, %v", s, l, hold, locked)
		}
	}
	settle := func() {
		t.Helper()
		_, _, err := c.Keeper.SettleHolds(t.Context())
		must(t, err)
	}
	want(here, "pending", false)
	want(late, "pending", false)
	settle()
	want(here, "active", true)
	want(late, "pending", false)
	c.Carries(late, m, parts, body)
	settle()
	want(late, "active", true)

	c.User("shen", "reviewer")
	c.User("li", "officer", testcounty.Donghe)
	b := c.SignedIn("shen")
	at := "/api/v1/evidence/" + string(here) + "/hold"
	reason := map[string]any{"reason": "上级督办"}
	if a := c.SignedIn("li").JSON("POST", at, reason); a.Status != 403 {
		t.Errorf("an officer sets a hold: %d", a.Status)
	}
	if a := b.JSON("POST", at+"/lift", reason); a.Status != 409 {
		t.Errorf("lift the case's hold by hand: %d %s", a.Status, a.Body)
	}
	for range 2 { // the second changes nothing
		a := b.JSON("POST", at, reason)
		var v struct {
			Held      bool
			HoldState string `json:"hold_state"`
		}
		must(t, json.Unmarshal(a.Body, &v))
		if a.Status != 202 || !v.Held || v.HoldState != "active" {
			t.Fatalf("hold by hand: %d %s", a.Status, a.Body)
		}
	}
	if a := b.JSON("POST", at+"/lift", reason); a.Status != 202 {
		t.Fatalf("lift: %d %s", a.Status, a.Body)
	}
	settle()
	want(here, "active", true) // the case's hold is still open
	if got := kinds(t, c, here); got[chain.KindHoldSet] != 2 || got[chain.KindHoldActive] != 1 || got[chain.KindHoldLifted] != 1 {
		t.Errorf("leaves %v", got)
	}
	free := c.Seals("free.mp4", []byte("free"))
	at = "/api/v1/evidence/" + string(free) + "/hold"
	if a := b.JSON("POST", at, reason); a.Status != 202 {
		t.Fatalf("hold: %d", a.Status)
	}
	settle()
	want(free, "active", true)
	if a := b.JSON("POST", at+"/lift", reason); a.Status != 202 {
		t.Fatalf("lift: %d", a.Status)
	}
	settle()
	want(free, "none", false)
}

// An item whose object the store doesn't have keeps no other waiting, is asked for ever more rarely, and is one alarm that says whose it is.
func TestHoldOfAMissingObject(t *testing.T) {
	c := testcounty.New(t)
	clock := time.Now()
	k := evidence.NewKeeper(c.Pool, c.Log, c.Store, func() time.Time { return clock })
	first, second := c.Seals("first.mp4", []byte("1")), c.Seals("second.mp4", []byte("2"))
	caseID := c.Case(first, second)
	key := func(sql string) {
		t.Helper()
		_, err := c.Owner().Exec(t.Context(), sql, string(first))
		must(t, err)
	}
	key(`update evidence set object_key = 'gone/' || object_key where id = $1`)
	state := func(id evidence.ID) string {
		t.Helper()
		r, err := k.Get(t.Context(), evidence.Scope{}, id)
		must(t, err)
		return r.HoldState
	}
	settle := func(settled int, missing ...evidence.ID) {
		t.Helper()
		n, m, err := k.SettleHolds(t.Context())
		must(t, err)
		if n != settled || !slices.Equal(m, missing) {
			t.Fatalf("settled %d, missing %v; want %d, %v", n, m, settled, missing)
		}
	}
	settle(1, first)
	if state(first) != "pending" || state(second) != "active" {
		t.Fatalf("first %s, second %s", state(first), state(second))
	}
	wait := time.Minute
	for range 13 {
		clock = clock.Add(wait - time.Second)
		settle(0)
		clock = clock.Add(time.Second)
		settle(0, first)
		wait = min(2*wait, 24*time.Hour)
	}
	worker := cases.NewHoldWorker(evidence.NewKeeper(c.Pool, c.Log, c.Store, nil), c.Audit.HoldMissing)
	for range 2 {
		must(t, worker.Work(t.Context(), nil))
	}
	must(t, c.Audit.HoldMissing(t.Context(), first)) // another server finds the same
	alarms, _, err := c.Audit.Alarms(t.Context(), []string{testcounty.Donghe}, true, "", 10)
	must(t, err)
	if len(alarms) != 1 || alarms[0].Kind != "missing" || alarms[0].EvidenceID != string(first) || alarms[0].Township != testcounty.Donghe || !slices.Equal(alarms[0].CaseIDs, []string{caseID}) {
		t.Fatalf("%+v", alarms)
	}
	key(`update evidence set object_key = replace(object_key, 'gone/', '') where id = $1`)
	clock = clock.Add(wait)
	settle(1)
	if state(first) != "active" {
		t.Errorf("first %s", state(first))
	}
}
