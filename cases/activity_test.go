package cases

import (
	"errors"
	"slices"
	"testing"
	"time"

	"zhizheng/authority"
	"zhizheng/internal/fault"
)

// plan is an inspection of the clock's day, from nine to half past eleven, by two certified officers.
func (e *env) plan() Plan {
	return Plan{Kind: "inspection", Title: "集市占道检查", Place: "东河镇集市", Day: authority.Day(e.clock), From: "09:00", To: "11:30", Officers: e.officers[donghe][:2]}
}

// An activity is planned, changed and cancelled while its day lasts; each step stays as it was.
func TestAnActivitysDay(t *testing.T) {
	e := newEnv(t, nil)
	ctx := e.as(t, "officer", donghe)
	f := e.open(t, ctx)
	p := e.plan()
	p.Title, p.CaseID = "  集市占道检查 ", f.ID
	a, err := e.PlanActivity(ctx, donghe, "k1", p)
	ok(t, err)
	again, err := e.PlanActivity(ctx, donghe, "k1", p)
	ok(t, err)
	if again.ID != a.ID || a.Title != "集市占道检查" || a.CaseNumber != f.Number || a.Revision != 1 || a.TownshipName != "东河镇" ||
		!a.Starts.Equal(time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)) ||
		!a.Ends.Equal(time.Date(2026, 3, 2, 3, 30, 0, 0, time.UTC)) {
		t.Fatalf("%+v", a)
	}

	night := p
	night.Kind, night.Title, night.From, night.To, night.CaseID, night.Officers = "patrol", "秸秆夜查", "22:00", "02:00", "", e.officers[donghe][2:] // whose certificate has expired
	b, err := e.ChangeActivity(ctx, a.ID, 1, night)
	ok(t, err)
	if b.Revision != 2 || b.From != "22:00" || b.To != "02:00" || !b.Ends.Equal(time.Date(2026, 3, 2, 18, 0, 0, 0, time.UTC)) || b.CaseNumber != "" {
		t.Fatalf("%+v", b)
	}
	if _, err := e.ChangeActivity(ctx, a.ID, 1, p); !fault.Is(err, fault.KindConflict) {
		t.Errorf("over a revision that wasn't seen: %v", err)
	}
	e.clock = time.Date(2026, 3, 2, 17, 30, 0, 0, time.UTC) // half past one at night, while it is going on
	c, err := e.CancelActivity(ctx, a.ID, 2, "大雨")
	ok(t, err)
	if c.CancelledAt == nil || c.CancelReason != "大雨" || c.Revision != 3 {
		t.Fatalf("%+v", c)
	}
	var what []string
	for _, h := range c.Changes {
		what = append(what, h.What+" "+h.Plan.Title+" "+h.Reason)
	}
	if want := []string{"planned 集市占道检查 ", "changed 秸秆夜查 ", "cancelled 秸秆夜查 大雨"}; !slices.Equal(what, want) {
		t.Errorf("%q", what)
	}
	if _, err := e.ChangeActivity(ctx, a.ID, 3, Plan{Kind: "other", Title: "改", Day: authority.Day(e.clock)}); err == nil {
		t.Error("a cancelled one was changed")
	}

	day := e.plan()
	day.Day, day.From, day.To = authority.Day(e.clock), "", ""
	d, err := e.PlanActivity(ctx, donghe, "", day)
	ok(t, err)
	if d.From != "" || d.Ends.Sub(d.Starts) != 24*time.Hour {
		t.Errorf("%+v", d)
	}
	e.clock = e.clock.AddDate(0, 0, 1)
	day.Day = authority.Day(e.clock)
	if _, err := e.ChangeActivity(ctx, d.ID, 1, day); !fault.Is(err, fault.KindConflict) {
		t.Errorf("changed on the day after: %v", err)
	}
	if _, err := e.CancelActivity(ctx, d.ID, 1, "没有去"); !fault.Is(err, fault.KindConflict) {
		t.Errorf("cancelled on the day after: %v", err)
	}
}

// Law and sense are asked before anything is written.
func TestActivitiesThatAreRefused(t *testing.T) {
	e := newEnv(t, nil)
	ctx := e.as(t, "officer", donghe)
	closed := e.open(t, ctx)
	_, err := e.Advance(ctx, closed.ID, Step{To: Withdrawn, Note: "撤案"})
	ok(t, err)
	for what, c := range map[string]struct {
		change func(p *Plan)
		rule   string
		kind   fault.Kind
	}{
		"one officer":              {func(p *Plan) { p.Officers = p.Officers[:1] }, "R02", fault.KindRefused},
		"an expired certificate":   {func(p *Plan) { p.Officers = e.officers[donghe][1:] }, "R02", fault.KindRefused},
		"the other town's officer": {func(p *Plan) { p.Officers = e.officers[jiachuan][:2] }, "R02", fault.KindRefused},
		"expired by then":          {func(p *Plan) { p.Kind = "investigation"; p.Officers = e.officers[donghe][1:] }, "R02", fault.KindRefused},
		"a patrol of strangers":    {func(p *Plan) { p.Kind = "patrol"; p.Officers = e.officers[jiachuan][:1] }, "", fault.KindInvalid},
		"nobody":                   {func(p *Plan) { p.Kind = "patrol"; p.Officers = nil }, "", fault.KindInvalid},
		"an unknown kind":          {func(p *Plan) { p.Kind = "sleeping" }, "", fault.KindInvalid},
		"no title":                 {func(p *Plan) { p.Title = " 查 " }, "", fault.KindInvalid},
		"yesterday":                {func(p *Plan) { p.Day = p.Day.AddDate(0, 0, -1) }, "", fault.KindInvalid},
		"in two years":             {func(p *Plan) { p.Day = p.Day.AddDate(2, 0, 0) }, "", fault.KindInvalid},
		"half of the hours":        {func(p *Plan) { p.To = "" }, "", fault.KindInvalid},
		"no hour":                  {func(p *Plan) { p.From = "25:00" }, "", fault.KindInvalid},
		"a strange case":           {func(p *Plan) { p.CaseID = "01NONE" }, "", fault.KindInvalid},
		"a case that is over":      {func(p *Plan) { p.CaseID = closed.ID }, "", fault.KindConflict},
	} {
		p := e.plan()
		p.Officers = slices.Clone(p.Officers)
		c.change(&p)
		_, err := e.PlanActivity(ctx, donghe, "", p)
		var f *fault.Error
		if !errors.As(err, &f) || f.Kind != c.kind || f.Rule != c.rule || (f.Article == "") != (c.rule == "") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := e.PlanActivity(ctx, jiachuan, "", e.plan()); !fault.Is(err, fault.KindNotFound) {
		t.Errorf("for another township: %v", err)
	}
	var n int
	ok(t, e.pool.QueryRow(t.Context(), `select (select count(*) from activity) + (select count(*) from activity_change)`).Scan(&n))
	if n != 0 {
		t.Errorf("%d rows are left", n)
	}
	a, err := e.PlanActivity(ctx, donghe, "", e.plan())
	ok(t, err)
	theirs := e.as(t, "officer", jiachuan)
	for what, err := range map[string]error{
		"read":   second(e.Activity(theirs, a.ID)),
		"change": second(e.ChangeActivity(theirs, a.ID, 1, e.plan())),
		"cancel": second(e.CancelActivity(theirs, a.ID, 1, "理由")),
	} {
		if !fault.Is(err, fault.KindNotFound) {
			t.Errorf("%s by another township: %v", what, err)
		}
	}
	if _, err := e.CancelActivity(ctx, a.ID, 1, " "); !fault.Is(err, fault.KindInvalid) {
		t.Errorf("cancelled without a reason: %v", err)
	}
	for _, sql := range []string{`delete from activity`, `update activity_change set what = 'planned'`, `delete from activity_change`} {
		if _, err := e.pool.Exec(t.Context(), sql); err == nil {
			t.Errorf("the application may: %s", sql)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// Pages follow one another in the order of beginning, whatever lies between them.
func TestActivitiesByPages(t *testing.T) {
	e := newEnv(t, nil)
	ctx := e.as(t, "head")
	var want []string
	for i := range 7 {
		p := e.plan()
		p.Day = p.Day.AddDate(0, 0, i/3)
		p.From, p.To = "", ""
		if i%3 > 0 {
			p.From, p.To = "0"+string(rune('0'+3*(i%3)))+":00", "12:00"
		}
		a, err := e.PlanActivity(ctx, donghe, "", p)
		ok(t, err)
		want = append(want, a.ID)
	}
	other := e.plan()
	other.Officers = e.officers[jiachuan][:2]
	_, err := e.PlanActivity(ctx, jiachuan, "", other)
	ok(t, err)
	_, err = e.CancelActivity(ctx, want[1], 1, "改期")
	ok(t, err)
	list := func(f ActivityFilter) (ids []string, total int64) {
		for {
			page, next, n, err := e.Activities(ctx, f)
			ok(t, err)
			for _, a := range page {
				ids = append(ids, a.ID)
			}
			if f.After = next; next == "" {
				return ids, n
			}
		}
	}
	if got, n := list(ActivityFilter{Township: donghe, Limit: 2}); !slices.Equal(got, want) || n != 7 {
		t.Errorf("%d of %d: %v", len(got), n, got)
	}
	day := authority.Day(e.clock).AddDate(0, 0, 1)
	if got, n := list(ActivityFilter{From: &day, To: &day}); !slices.Equal(got, want[3:6]) || n != 3 {
		t.Errorf("of a day: %d %v", n, got)
	}
	if got, _ := list(ActivityFilter{Township: donghe, Running: true}); slices.Contains(got, want[1]) || len(got) != 6 {
		t.Errorf("running: %v", got)
	}
	if _, _, _, err := e.Activities(ctx, ActivityFilter{After: "x"}); !fault.Is(err, fault.KindInvalid) {
		t.Errorf("a cursor of nothing: %v", err)
	}
}
