package demo

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"zhizheng/authority"
	"zhizheng/cases"
	"zhizheng/evidence"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/internal/testenv"
)

// The figures are those of the county (its own article on the 2023 reform); the demo must keep to them.
func TestCountyKeepsToTheFigures(t *testing.T) {
	pool := testenv.Pool(t)
	sg, err := signer.Open(t.Context(), t.TempDir(), "test.example/log")
	ok(t, err)
	log, err := evlog.New(pool, evlog.Options{Signer: sg})
	ok(t, err)
	t.Cleanup(func() { _ = log.Close() })
	auth := authority.New(pool, log, authority.Options{})
	jobs, err := river.NewClient[pgx.Tx](riverpgxv5.New(pool), &river.Config{})
	ok(t, err)
	svc := cases.New(pool, log, auth, evidence.NewKeeper(pool, log, nil, nil), jobs, nil)
	now := time.Now()

	begin := time.Now()
	first, err := Authority(t.Context(), AuthorityDeps{Authority: auth, Now: now})
	ok(t, err)
	loadedAuthority := time.Since(begin)
	ok(t, Cases(t.Context(), CasesDeps{Authority: auth, Cases: svc, Now: now}))
	t.Logf("authority %s, cases %s", loadedAuthority, time.Since(begin)-loadedAuthority)

	again, err := Authority(t.Context(), AuthorityDeps{Authority: auth, Known: first, Now: now.AddDate(0, 0, 3)})
	ok(t, err)
	ok(t, Cases(t.Context(), CasesDeps{Authority: auth, Cases: svc, Now: now.AddDate(0, 0, 3)}))
	if len(first) != 9 || len(again) != 9 || again[0] != first[0] {
		t.Fatalf("accounts: first %d, again %d", len(first), len(again))
	}
	for _, a := range first {
		if good, err := auth.CheckPassword(t.Context(), a.Username, a.Password); err != nil || !good {
			t.Fatalf("%s can't sign in: %v", a.Username, err)
		}
	}
	lost, err := Authority(t.Context(), AuthorityDeps{Authority: auth, Now: now})
	ok(t, err)
	if good, err := auth.CheckPassword(t.Context(), lost[1].Username, lost[1].Password); err != nil || !good || lost[1].Password == first[1].Password {
		t.Fatalf("a lost list isn't replaced: %v", err)
	}

	ctx := authority.WithActor(t.Context(), authority.System)
	for want, sql := range map[int]string{
		23:  `select count(*) from township where kind <> 'department'`,
		386: `select count(*) from officer`,
		165: `select count(*) from power_item`,
		24:  `select count(distinct item) from power_grant where mode = 'statutory'`,
		141: `select count(distinct item) from power_grant where mode <> 'statutory'`,
		450: `select count(*) from case_file where closed_at >= '2022-01-01' and closed_at < '2026-01-01'`,
		0:   `select count(*) from (select township from officer o join township t on t.code = o.township where kind <> 'department' group by 1 having count(*) not between 10 and 15) x`,
	} {
		var got int
		ok(t, pool.QueryRow(ctx, sql).Scan(&got))
		if got != want {
			t.Errorf("%d, want %d: %s", got, want, sql)
		}
	}
	open := true
	running, _, n, err := svc.List(ctx, cases.Filter{Open: &open, Limit: 100})
	ok(t, err)
	if int(n) != len(scenes) {
		t.Errorf("%d running cases, want %d", n, len(scenes))
	}
	today := authority.Day(now)
	left := map[int]bool{}
	for _, c := range running {
		left[cases.DaysLeft(today, c.DecisionDue)] = true
	}
	if !left[2] {
		t.Error("no case stands at day 88 of 90")
	}
	finance, err := auth.UserByName(ctx, "demo-finance")
	ok(t, err)
	reviewer, err := auth.UserByName(ctx, "demo-reviewer")
	ok(t, err)
	if !finance.Sees(DongheCode) || finance.Sees("510821101") || reviewer.Townships != nil {
		t.Errorf("scopes: finance %v, reviewer %v", finance.Townships, reviewer.Townships)
	}

	// Each day from three days ago to tomorrow has its activities, once, however often and on whatever day the demo starts.
	at := func(now time.Time) *cases.Service {
		return cases.New(pool, log, auth, evidence.NewKeeper(pool, log, nil, nil), jobs, func() time.Time { return now })
	}
	for _, start := range []time.Time{now, now, now.AddDate(0, 0, 2)} {
		ok(t, Activities(ctx, ActivitiesDeps{Authority: auth, Cases: at, Now: start}))
	}
	for day := -3; day <= 3; day++ {
		d := today.AddDate(0, 0, day)
		page, _, n, err := svc.Activities(ctx, cases.ActivityFilter{From: &d, To: &d, Limit: 100})
		ok(t, err)
		of := 0
		for _, a := range page {
			if a.Township == DongheCode {
				of++
			}
		}
		if int(n) != len(ofDonghe)+len(townships)-1 || of != len(ofDonghe) {
			t.Errorf("%d activities on day %+d, %d of them in %s", n, day, of, DongheCode)
		}
	}
	rep, err := log.Audit(ctx)
	ok(t, err)
	if len(rep.Findings) > 0 {
		t.Errorf("the log's audit finds %v", rep.Findings)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
