package evidence_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
	"zhizheng/internal/testcounty"
)

func record(t *testing.T, c *testcounty.County, id evidence.ID) evidence.Record {
	t.Helper()
	r, err := c.Keeper.Get(t.Context(), evidence.Scope{}, id)
	must(t, err)
	return r
}

func settleLocks(t *testing.T, c *testcounty.County) int {
	t.Helper()
	n, _, err := c.Keeper.SettleRetention(t.Context())
	must(t, err)
	return n
}

func categorize(c *testcounty.County, t *testing.T, id evidence.ID, cat evidence.Category) error {
	t.Helper()
	return c.Log.Do(t.Context(), func(ctx context.Context, tx *pg.Tx) error {
		return c.Keeper.SetCategory(ctx, tx, id, cat, evidence.Act{Actor: "u1", Reason: "群众投诉"})
	})
}

// The longest category that ever applied wins, the store's lock follows, and nothing is ever shortened: not by a category, not by
// taking a link off.
func TestLongestCategoryWins(t *testing.T) {
	c := testcounty.New(t)
	c.Keeper.Policy.Keep = map[evidence.Category]time.Duration{evidence.Ordinary: time.Minute, evidence.Complaint: 24 * time.Hour, evidence.UsedInCase: 0,
		evidence.Obstruction: 0, evidence.Major: 0}
	id := c.Seals("a.mp4", []byte("a"))
	first := record(t, c, id)
	if first.Category != evidence.Ordinary || first.Permanent || !first.LockedUntil.Equal(*first.RetainUntil) {
		t.Fatalf("as sealed: %+v", first)
	}
	must(t, categorize(c, t, id, evidence.Complaint))
	r := record(t, c, id)
	if want := r.SealedAt.Add(24 * time.Hour); !r.RetainUntil.Equal(want) && r.RetainUntil.Before(*first.RetainUntil) || r.Permanent || !r.LockedUntil.Equal(*first.LockedUntil) {
		t.Fatalf("kept until %s, locked until %s", r.RetainUntil, r.LockedUntil)
	}
	settleLocks(t, c)
	locked := func() time.Time {
		t.Helper()
		o, err := c.Store.HeadVersion(t.Context(), r.ObjectKey, r.VersionID)
		must(t, err)
		if got := record(t, c, id); o.RetainUntil.Before(*got.RetainUntil) || !got.LockedUntil.Equal(*got.RetainUntil) {
			t.Fatalf("the store has %s, the record %s and %s", o.RetainUntil, got.RetainUntil, got.LockedUntil)
		}
		return o.RetainUntil
	}
	complaint := locked()
	if err := categorize(c, t, id, evidence.Ordinary); !fault.Is(err, fault.KindConflict) {
		t.Errorf("shortened by a category: %v", err)
	}
	caseID := c.Case(id)
	if r = record(t, c, id); r.Category != evidence.UsedInCase || !r.Permanent {
		t.Errorf("linked to a case: %s, for good %v", r.Category, r.Permanent)
	}
	settleLocks(t, c)
	if now := locked(); !now.After(complaint.Add(365 * 24 * time.Hour)) {
		t.Errorf("for good is until %s", now)
	}
	must(t, c.Cases.Unlink(c.As("officer", testcounty.Donghe), caseID, string(id), "关联错误"))
	if err := categorize(c, t, id, evidence.Complaint); !fault.Is(err, fault.KindConflict) {
		t.Errorf("kept for good, and then for a day: %v", err)
	}
	must(t, categorize(c, t, id, evidence.Major)) // as long: only named otherwise
	if r = record(t, c, id); r.Category != evidence.Major || !r.Permanent {
		t.Errorf("%s, for good %v", r.Category, r.Permanent)
	}
	settleLocks(t, c)
	if settleLocks(t, c) != 0 {
		t.Error("there is something left to settle")
	}
	// What is kept for good is locked again before its lock ends.
	_, err := c.Owner().Exec(t.Context(), `update evidence set retain_until = now() + interval '2 days', locked_until = now() + interval '2 days' where id = $1`, string(id))
	must(t, err)
	if settleLocks(t, c) != 1 {
		t.Error("the lock was not renewed")
	}
	locked()
	if got := kinds(t, c, id); got[chain.KindRetention] < 6 {
		t.Errorf("leaves %v", got)
	}
}

// A case may link what is still on its way: it is kept for good from its sealing on.
func TestLinkedBeforeItArrives(t *testing.T) {
	c := testcounty.New(t)
	body := []byte("late")
	id, m, parts := c.Registers("late.mp4", body)
	c.Case(id)
	c.Carries(id, m, parts, body)
	settleLocks(t, c)
	r := record(t, c, id)
	o, err := c.Store.HeadVersion(t.Context(), r.ObjectKey, r.VersionID)
	must(t, err)
	if !r.Permanent || o.RetainUntil.Before(time.Now().Add(3000*24*time.Hour)) || !r.LockedUntil.Equal(*r.RetainUntil) {
		t.Errorf("for good %v, locked until %s", r.Permanent, o.RetainUntil)
	}
}

// Whatever fails between the row and the store, the next run ends where it should have: the extension is neither lost nor doubled.
func TestLockThatFailsIsSettledLater(t *testing.T) {
	c := testcounty.New(t)
	id, other := c.Seals("a.mp4", []byte("a")), c.Seals("b.mp4", []byte("b"))
	must(t, categorize(c, t, id, evidence.Major))
	must(t, categorize(c, t, other, evidence.Major))
	run := func(sql string) {
		t.Helper()
		_, err := c.Owner().Exec(t.Context(), sql)
		must(t, err)
	}
	// The store has it, the commit fails: the row still says that it is to be done.
	run(fmt.Sprintf(`alter table evidence add constraint broken check (id <> '%s' or locked_until < now() + interval '1 day') not valid`, id))
	if n, _, err := c.Keeper.SettleRetention(t.Context()); n != 1 || err == nil {
		t.Errorf("settled %d, %v", n, err)
	}
	r := record(t, c, id)
	o, err := c.Store.HeadVersion(t.Context(), r.ObjectKey, r.VersionID)
	must(t, err)
	if o.RetainUntil.Before(*r.RetainUntil) || !r.LockedUntil.Before(*r.RetainUntil) {
		t.Errorf("store %s, row %s of %s", o.RetainUntil, r.LockedUntil, r.RetainUntil)
	}
	run(`alter table evidence drop constraint broken`)
	if settleLocks(t, c) != 1 || settleLocks(t, c) != 0 {
		t.Error("not settled once")
	}
	if got := kinds(t, c, id)[chain.KindRetention]; got != 2 { // decided, confirmed
		t.Errorf("%d leaves", got)
	}
}

// A damaged item is held and locked like any other: what can still be saved must not go meanwhile.
func TestDamagedIsHeldAndLocked(t *testing.T) {
	c := testcounty.New(t)
	id := c.Seals("a.mp4", []byte("a"))
	must(t, c.Log.Do(t.Context(), func(ctx context.Context, tx *pg.Tx) error {
		_, err := c.Keeper.Damaged(ctx, tx, id, evidence.Check{Run: evidence.FirstRun, Damage: evidence.DamageShort, At: time.Now()})
		return err
	}))
	c.Case(id)
	_, _, err := c.Keeper.SettleHolds(t.Context())
	must(t, err)
	settleLocks(t, c)
	r := record(t, c, id)
	o, err := c.Store.HeadVersion(t.Context(), r.ObjectKey, r.VersionID)
	must(t, err)
	if r.Status != evidence.StatusDamaged || r.HoldState != "active" || !o.Hold || o.RetainUntil.Before(*r.RetainUntil) {
		t.Errorf("%s, %s, at the store %v until %s", r.Status, r.HoldState, o.Hold, o.RetainUntil)
	}
}

// Who may, and what the record says then.
func TestCategoryAtTheEdge(t *testing.T) {
	c := testcounty.New(t)
	id := c.Seals("a.mp4", []byte("a"))
	c.User("shen", "reviewer", testcounty.Donghe)
	c.User("jia", "reviewer", testcounty.Jiachuan)
	c.User("li", "officer", testcounty.Donghe)
	at := "/api/v1/evidence/" + string(id) + "/category"
	in := map[string]any{"category": "complaint", "reason": "群众投诉"}
	for who, want := range map[string]int{"li": 403, "jia": 404} {
		if a := c.SignedIn(who).JSON("PUT", at, in); a.Status != want {
			t.Errorf("%s: %d", who, a.Status)
		}
	}
	b := c.SignedIn("shen")
	a := b.JSON("PUT", at, in)
	var v struct {
		Category, CategoryReason string
		Reason                   string `json:"category_reason"`
		Permanent                bool
	}
	must(t, json.Unmarshal(a.Body, &v))
	if a.Status != 200 || v.Category != "complaint" || v.Reason != "群众投诉" || !v.Permanent {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	for _, bad := range []map[string]any{{"category": "ordinary", "reason": "不需要了"}, {"category": "complaint", "reason": "再来一次"}} {
		if a := b.JSON("PUT", at, bad); a.Status != 409 {
			t.Errorf("%v: %d", bad, a.Status)
		}
	}
	if a := b.JSON("PUT", at, map[string]any{"category": "forever", "reason": "想一直留"}); a.Status != 400 {
		t.Errorf("no category: %d", a.Status)
	}
}

// Late is what was sealed, or is still to come, more than a day after its recording ended, as its device claims: by the container, else by
// the file's own time. Of a clip whose end is unknown or lies ahead nothing is said.
func TestLateUploads(t *testing.T) {
	c := testcounty.New(t)
	late, punctual, unknown, ahead := c.Seals("late.mp4", []byte("1")), c.Seals("punctual.mp4", []byte("2")), c.Seals("unknown.mp4", []byte("3")), c.Seals("ahead.mp4", []byte("4"))
	contained := c.Seals("contained.mp4", []byte("5"))
	coming, _, _ := c.Registers("coming.mp4", []byte("6"))
	modified := func(id evidence.ID, ago time.Duration) {
		t.Helper()
		_, err := c.Owner().Exec(t.Context(), `update evidence set modified_at = registered_at - $2 * interval '1 second' where id = $1`, string(id), ago.Seconds())
		must(t, err)
	}
	modified(late, 30*time.Hour+time.Minute)
	modified(punctual, 23*time.Hour)
	modified(ahead, -time.Hour)
	modified(contained, time.Hour)
	modified(coming, 50*time.Hour+time.Minute)
	begun := time.Now().Add(-27 * time.Hour)
	must(t, c.Keeper.SaveFacts(t.Context(), contained, map[string]any{"duration_ms": 30 * 60_000}, "ok", &begun)) // 26.5 h ago, whatever the file says
	c.User("li", "officer", testcounty.Donghe)
	c.User("shen", "leader")
	li := c.SignedIn("li")
	hours := func(id evidence.ID) int {
		t.Helper()
		var v struct {
			Hours int `json:"late_hours"`
		}
		must(t, json.Unmarshal(li.Get("/api/v1/evidence/"+string(id)).Body, &v))
		return v.Hours
	}
	for id, want := range map[evidence.ID]int{late: 30, punctual: 0, unknown: 0, ahead: 0, contained: 26, coming: 50} {
		if got := hours(id); got != want {
			t.Errorf("%s: %d hours, want %d", record(t, c, id).FileName, got, want)
		}
	}
	var page struct{ Items []struct{ ID string } }
	must(t, json.Unmarshal(li.Get("/api/v1/evidence?late=true").Body, &page))
	got := map[evidence.ID]bool{}
	for _, i := range page.Items {
		got[evidence.ID(i.ID)] = true
	}
	if len(got) != 3 || !got[late] || !got[contained] || !got[coming] {
		t.Errorf("late: %v", got)
	}
	at := func(id evidence.ID) string { return "/api/v1/evidence/" + string(id) + "/late-reason" }
	reason := map[string]any{"reason": "山洪断网两天"}
	if a := c.SignedIn("shen").JSON("POST", at(late), reason); a.Status != 403 {
		t.Errorf("who only watches: %d", a.Status)
	}
	if a := li.JSON("POST", at(punctual), reason); a.Status != 409 {
		t.Errorf("a reason for what is not late: %d", a.Status)
	}
	if a := li.JSON("POST", at(late), reason); a.Status != 200 || record(t, c, late).LateReason != "山洪断网两天" || kinds(t, c, late)[chain.KindLateReason] != 1 {
		t.Errorf("%d %s", a.Status, a.Body)
	}
}
