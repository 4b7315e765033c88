package cases

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"zhizheng/authority"
	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
	"zhizheng/internal/testenv"
)

func TestOpenUnderAnItemInForce(t *testing.T) {
	e := newEnv(t, nil)
	officer := e.as(t, "officer", donghe)
	o := e.opening()
	o.Key = "form-1"
	f, err := e.Open(officer, o)
	ok(t, err)
	if f.Number != "东河镇执立〔2026〕第001号" || f.Stage != Filed || len(f.Officers) != 2 || f.Mode != authority.Delegated ||
		!f.DecisionDue.Equal(date("2026-05-31")) || f.Due == nil {
		t.Fatalf("opened %+v", f)
	}
	again, err := e.Open(officer, o)
	if err != nil || again.ID != f.ID {
		t.Fatalf("the same key gave %s, %v", again.ID, err)
	}
	o.Title = "另一件事（示例）"
	_, err = e.Open(officer, o)
	wantKind(t, err, fault.KindConflict)
	o.Key = ""
	second, err := e.Open(officer, o)
	if err != nil || second.Number != "东河镇执立〔2026〕第002号" {
		t.Fatalf("second number %q, %v", second.Number, err)
	}
	leaves, err := e.log.SubjectLeaves(t.Context(), Subject(f.ID))
	if err != nil || len(leaves) != 1 || leaves[0].Key != f.Events[0].LeafKey {
		t.Fatalf("%d leaves, %v", len(leaves), err)
	}
}

func TestR01RefusesAnItemThatIsNotInForce(t *testing.T) {
	e := newEnv(t, nil)
	officer := e.as(t, "officer", donghe)
	o := e.opening()
	o.PowerItem = "FQ-999"
	_, err := e.Open(officer, o)
	refusedBy(t, err, "R01")

	grants, _, err := e.auth.ListPowerItems(officer, authority.PowerFilter{Township: donghe})
	ok(t, err)
	ok(t, e.auth.RecallPower(authority.WithActor(t.Context(), authority.System), grants[0].ID, date("2026-02-27"), "收回"))
	o = e.opening()
	_, err = e.Open(officer, o) // act and filing after the recall
	refusedBy(t, err, "R01")
	act := date("2026-02-20")
	o.ActOn = &act
	_, err = e.Open(officer, o) // the act before, the filing after
	refusedBy(t, err, "R01")
	o.Township, o.Officers = jiachuan, e.officers[jiachuan][:2]
	if _, err := e.Open(e.as(t, "reviewer"), o); err != nil {
		t.Fatalf("the other township still holds it: %v", err)
	}
}

func TestR02RefusesTooFewOrUncertifiedOfficers(t *testing.T) {
	e := newEnv(t, nil)
	officer := e.as(t, "officer", donghe)
	mine := e.officers[donghe]
	for name, ids := range map[string][]string{
		"one":                 mine[:1],
		"none":                nil,
		"the same twice":      {mine[0], mine[0]},
		"expired yesterday":   {mine[0], mine[2]},
		"of another township": {mine[0], e.officers[jiachuan][0]},
		"unknown":             {mine[0], "nobody"},
	} {
		o := e.opening()
		o.Officers = ids
		t.Run(name, func(t *testing.T) {
			_, err := e.Open(officer, o)
			refusedBy(t, err, "R02")
		})
	}
	if _, _, n, err := e.List(officer, Filter{}); err != nil || n != 0 {
		t.Fatalf("a refused opening left %d cases, %v", n, err)
	}
}

func TestR04RefusesAnActOlderThanTwoYears(t *testing.T) {
	e := newEnv(t, nil)
	o := e.opening()
	act := date("2024-03-01")
	o.ActOn = &act
	_, err := e.Open(e.as(t, "officer", donghe), o)
	refusedBy(t, err, "R04")
}

func TestAnotherTownshipsCasesAreNotThere(t *testing.T) {
	e := newEnv(t, nil)
	f := e.open(t, e.as(t, "officer", donghe))
	elsewhere := e.as(t, "officer", jiachuan)
	_, err := e.Get(elsewhere, f.ID)
	wantKind(t, err, fault.KindNotFound)
	if page, _, n, err := e.List(elsewhere, Filter{}); err != nil || n != 0 || len(page) != 0 {
		t.Fatalf("another township lists %d cases, %v", n, err)
	}
	_, err = e.Advance(elsewhere, f.ID, Step{To: Investigation})
	wantKind(t, err, fault.KindNotFound)
	_, err = e.Open(elsewhere, e.opening())
	wantKind(t, err, fault.KindNotFound)
	clip := e.clip(t, jiachuan, "theirs", true)
	_, err = e.Link(elsewhere, f.ID, clip, "证明目的")
	wantKind(t, err, fault.KindNotFound)
	if _, err := e.Get(t.Context(), f.ID); fault.KindOf(err) != fault.KindNotFound {
		t.Fatalf("nobody reads a case: %v", err)
	}
}

func TestCourseOfACase(t *testing.T) {
	e := newEnv(t, nil)
	officer, reviewer, head := e.as(t, "officer", donghe), e.as(t, "reviewer"), e.as(t, "head", donghe)
	f := e.open(t, officer)
	clip := e.clip(t, donghe, "clip", true)
	_, err := e.Link(officer, f.ID, clip, "证明焚烧秸秆的事实")
	ok(t, err)

	_, err = e.Advance(officer, f.ID, Step{To: Decision})
	wantKind(t, err, fault.KindConflict)
	for _, to := range []Stage{Investigation, Review} {
		_, err = e.Advance(officer, f.ID, Step{To: to, Note: "办理"})
		ok(t, err)
	}
	_, err = e.Advance(officer, f.ID, Step{To: Notice})
	refusedBy(t, err, "R12")
	_, err = e.Advance(reviewer, f.ID, Step{To: Notice, Note: "审核通过"})
	ok(t, err)

	fine := int64(100000)
	decide := Step{To: Decision, Note: "当事人放弃陈述申辩", Decision: "罚款一千元", FineFen: &fine}
	_, err = e.Advance(reviewer, f.ID, decide)
	refusedBy(t, err, "R13")
	silent := decide
	silent.Note = ""
	_, err = e.Advance(head, f.ID, silent)
	refusedBy(t, err, "R10")
	tooMuch, high := decide, int64(300000)
	tooMuch.FineFen = &high
	_, err = e.Advance(head, f.ID, tooMuch)
	refusedBy(t, err, "R30")
	late := e.clock
	e.clock = late.AddDate(0, 0, 91)
	_, err = e.Advance(head, f.ID, decide)
	refusedBy(t, err, "R13")
	e.clock = late
	got, err := e.Advance(head, f.ID, decide)
	ok(t, err)
	rec, err := e.keeper.Get(t.Context(), evidence.Scope{}, evidence.ID(clip))
	ok(t, err)
	if !bytes.Equal(got.EvidenceRoot, chain.FrozenRoot([]chain.Frozen{{EvidenceID: clip, SHA256: rec.SHA256}})) {
		t.Fatalf("frozen root %x", got.EvidenceRoot)
	}
	if got.Due == nil || !got.Due.Equal(date("2026-03-11")) { // 7 working days after Monday 2 March
		t.Fatalf("service is due %v", got.Due)
	}

	_, err = e.Link(officer, f.ID, e.clip(t, donghe, "after", true), "决定后取得")
	refusedBy(t, err, "R16")
	refusedBy(t, e.Unlink(officer, f.ID, clip, "误关联"), "R16")
	for _, to := range []Stage{Execution, Closed} {
		got, err = e.Advance(officer, f.ID, Step{To: to})
		ok(t, err)
	}
	if got.ClosedAt == nil || got.Due != nil || got.Stage.Open() {
		t.Fatalf("closed case %+v", got.Case)
	}
	leaves, err := e.log.SubjectLeaves(t.Context(), Subject(f.ID))
	if err != nil || len(leaves) != 7 { // opened and six steps
		t.Fatalf("%d leaves, %v", len(leaves), err)
	}
}

func TestHandlerMayNotReviewTheirCase(t *testing.T) {
	e := newEnv(t, nil)
	both, err := e.auth.CreateUser(t.Context(), authority.NewUser{Username: "both", Name: "示例", Role: "reviewer", Password: "correct horse battery"})
	ok(t, err)
	mine := authority.Officer{ID: "handler-with-account", Township: donghe, Name: "示例", UserID: both.UserID,
		Certificates: []authority.Certificate{{Number: "H1", From: date("2024-01-01"), To: date("2028-12-31")}}}
	ok(t, e.auth.AddOfficers(t.Context(), []authority.Officer{mine}))
	o := e.opening()
	o.Officers = []string{mine.ID, e.officers[donghe][0]}
	ctx := authority.WithActor(t.Context(), both)
	f, err := e.Open(ctx, o)
	ok(t, err)
	for _, to := range []Stage{Investigation, Review} {
		_, err = e.Advance(ctx, f.ID, Step{To: to})
		ok(t, err)
	}
	_, err = e.Advance(ctx, f.ID, Step{To: Notice})
	refusedBy(t, err, "R12")
}

func TestLinkWritesCustodyAndAJobSetsTheHold(t *testing.T) {
	e := newEnv(t, testenv.Store(t))
	officer := e.as(t, "officer", donghe)
	f := e.open(t, officer)
	clip := e.clip(t, donghe, "held", true)
	x, err := e.Link(officer, f.ID, clip, "证明现场情况")
	ok(t, err)
	if again, err := e.Link(officer, f.ID, clip, "证明现场情况"); err != nil || !again.LinkedAt.Equal(x.LinkedAt) {
		t.Fatalf("linking again: %+v, %v", again, err)
	}
	_, err = e.Link(officer, f.ID, clip, "另一目的")
	wantKind(t, err, fault.KindConflict)
	rec, err := e.keeper.Get(t.Context(), evidence.Scope{}, evidence.ID(clip))
	ok(t, err)
	if rec.HoldState != "pending" {
		t.Fatalf("hold is %s before the job", rec.HoldState)
	}
	if o, err := e.store.HeadVersion(t.Context(), rec.ObjectKey, rec.VersionID); err != nil || o.Hold {
		t.Fatalf("the store holds it before the job: %v %v", o.Hold, err)
	}

	ok(t, e.river.Start(t.Context()))
	t.Cleanup(func() { _ = e.river.Stop(context.Background()) })
	testenv.Eventually(t, 20*time.Second, func() bool {
		r, err := e.keeper.Get(t.Context(), evidence.Scope{}, evidence.ID(clip))
		return err == nil && r.HoldState == "active"
	})
	if o, err := e.store.HeadVersion(t.Context(), rec.ObjectKey, rec.VersionID); err != nil || !o.Hold {
		t.Fatalf("the store doesn't hold it: %v %v", o.Hold, err)
	}
	page, err := e.keeper.Custody(t.Context(), evidence.Scope{}, evidence.ID(clip), "", 100)
	ok(t, err)
	var kinds []chain.Kind
	for _, ev := range page.Items {
		kinds = append(kinds, ev.Kind)
	}
	count := map[chain.Kind]int{}
	for _, k := range kinds {
		count[k]++
	}
	if count[chain.KindLinked] != 1 || count[chain.KindHoldSet] != 1 || count[chain.KindHoldActive] != 1 {
		t.Fatalf("custody %v", kinds)
	}

	ok(t, e.Unlink(officer, f.ID, clip, "与本案无关"))
	wantKind(t, e.Unlink(officer, f.ID, clip, "与本案无关"), fault.KindNotFound)
	got, err := e.Get(officer, f.ID)
	if err != nil || len(got.Exhibits) != 0 || got.EvidenceCount != 0 || len(got.Events) != 3 {
		t.Fatalf("after unlinking %+v, %v", got, err)
	}
}

func TestLinkRefusesAnotherTownshipsClipAndUnsealedOnesAtTheDecision(t *testing.T) {
	e := newEnv(t, nil)
	county := e.as(t, "head")
	f := e.open(t, county)
	_, err := e.Link(county, f.ID, e.clip(t, jiachuan, "theirs", true), "证明目的")
	wantKind(t, err, fault.KindConflict)
	_, err = e.Link(county, f.ID, "01JUNKNOWN", "证明目的")
	wantKind(t, err, fault.KindNotFound)
	_, err = e.Link(county, f.ID, e.clip(t, donghe, "pending", false), "证明目的")
	ok(t, err)
	for _, to := range []Stage{Investigation, Review, Notice} {
		_, err = e.Advance(county, f.ID, Step{To: to})
		ok(t, err)
	}
	_, err = e.Advance(county, f.ID, Step{To: Decision, Note: "放弃申辩", Decision: "警告"})
	wantKind(t, err, fault.KindConflict)
}

func TestTakeOverIsRepeatableAndKeepsTheRules(t *testing.T) {
	e := newEnv(t, nil)
	ctx := authority.WithActor(t.Context(), authority.System)
	past := func(key, filed string) Past {
		p := Past{FiledOn: date(filed), Opening: e.opening()}
		p.Key = key
		return p
	}
	whole := past("old-1", "2025-02-03")
	for i, to := range []Stage{Investigation, Review, Notice, Decision, Execution, Closed} {
		whole.Steps = append(whole.Steps, PastStep{Step: Step{To: to, Note: "示例"}, On: date("2025-02-10").AddDate(0, 0, i)})
	}
	all := []Past{whole, past("old-2", "2026-02-02")}
	n, err := e.TakeOver(ctx, all)
	if err != nil || n != 2 {
		t.Fatalf("took over %d, %v", n, err)
	}
	if n, err = e.TakeOver(ctx, all); err != nil || n != 0 {
		t.Fatalf("again %d, %v", n, err)
	}
	yes, no := true, false
	if _, _, n, err := e.List(ctx, Filter{Open: &yes}); err != nil || n != 1 {
		t.Fatalf("%d open, %v", n, err)
	}
	page, _, n2, err := e.List(ctx, Filter{Open: &no, Stage: Closed, Q: "第001号"})
	if err != nil || n2 != 1 || page[0].Number != "东河镇执立〔2025〕第001号" {
		t.Fatalf("closed %+v, %v", page, err)
	}
	skipping := past("old-3", "2025-02-03")
	skipping.Steps = []PastStep{{Step: Step{To: Closed}, On: date("2025-02-10")}}
	_, err = e.TakeOver(ctx, []Past{skipping})
	wantKind(t, err, fault.KindInvalid)
	_, err = e.TakeOver(ctx, []Past{past("old-4", "2023-06-01")}) // before the item came down
	refusedBy(t, err, "R01")
	if f := e.open(t, e.as(t, "officer", donghe)); f.Number != "东河镇执立〔2026〕第002号" {
		t.Fatalf("numbers go on with %s", f.Number)
	}
}

func TestPagesCoverEachCaseOnce(t *testing.T) {
	e := newEnv(t, nil)
	ctx := e.as(t, "officer", donghe)
	for range 5 {
		e.open(t, ctx)
	}
	seen, after := map[string]bool{}, ""
	for {
		page, next, total, err := e.List(ctx, Filter{Limit: 2, After: after})
		if err != nil || total != 5 {
			t.Fatalf("%d in all, %v", total, err)
		}
		for _, c := range page {
			if seen[c.ID] {
				t.Fatalf("%s came twice", c.Number)
			}
			seen[c.ID] = true
		}
		if after = next; next == "" {
			break
		}
	}
	if len(seen) != 5 {
		t.Fatalf("pages gave %d of 5", len(seen))
	}
	_, _, _, err := e.List(ctx, Filter{After: "x"})
	wantKind(t, err, fault.KindInvalid)
}

func TestExportIsALeafOfTheCase(t *testing.T) {
	e := newEnv(t, nil)
	ctx := e.as(t, "reviewer")
	f := e.open(t, ctx)
	digest := bytes.Repeat([]byte{7}, 32)
	ok(t, e.log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error { return e.Exported(ctx, tx, f.ID, digest, 1) }))
	leaves, err := e.log.SubjectLeaves(ctx, Subject(f.ID))
	if err != nil || len(leaves) != 2 || !bytes.Contains(leaves[1].Payload, digest) {
		t.Fatalf("%d leaves, %v", len(leaves), err)
	}
	// A bundle made before that act lacks it, and isn't logged.
	err = e.log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error { return e.Exported(ctx, tx, f.ID, digest, 1) })
	if !errors.Is(err, ErrMoved) {
		t.Fatalf("exported as it stood before: %v", err)
	}
	elsewhere := e.as(t, "leader", jiachuan)
	err = e.log.Do(elsewhere, func(ctx context.Context, tx *pg.Tx) error { return e.Exported(ctx, tx, f.ID, digest, 1) })
	wantKind(t, err, fault.KindNotFound)
}

func TestTheSameFormSentTwiceAtOnceOpensOneCase(t *testing.T) {
	e := newEnv(t, nil)
	o := e.opening()
	o.Key = "double-click"
	ids := make(chan string, 8)
	for range cap(ids) {
		go func() {
			f, err := e.Open(e.as(t, "officer", donghe), o)
			if err != nil {
				t.Error(err)
			}
			ids <- f.ID
		}()
	}
	first := <-ids
	for range cap(ids) - 1 {
		if got := <-ids; got != first {
			t.Errorf("two cases: %s and %s", first, got)
		}
	}
}
