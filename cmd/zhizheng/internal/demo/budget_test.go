package demo

import (
	"fmt"
	"testing"
	"time"

	"zhizheng/authority"
	"zhizheng/budget"
	"zhizheng/devices"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/evlogtest"
	"zhizheng/internal/testenv"
)

// 23 allotments of 20,000 to 50,000 yuan; the demo's recorder bought from this year's; one township whose next order is refused.
func TestLedgerKeepsToTheFigures(t *testing.T) {
	pool := testenv.Pool(t)
	log := evlogtest.Log(t, pool)
	auth := authority.New(pool, log, authority.Options{})
	reg := devices.New(pool, devices.Options{})
	ledger := budget.New(pool, log, reg, nil)
	ctx := authority.WithActor(t.Context(), authority.System)
	ok(t, putUnits(ctx, auth))
	now := time.Now()
	year := authority.Day(now).Year()
	bought := time.Date(year-1, 5, 6, 0, 0, 0, 0, time.UTC)
	all := []devices.Device{{Serial: "DEMO-BWC-0001", Kind: devices.Recorder, Name: "执法记录仪（示例）", Model: "示例 DSJ-4G", Township: DongheCode}}
	for i := range 40 {
		all = append(all, devices.Device{Serial: fmt.Sprintf("S-%02d", i), Kind: devices.Computer, Name: "计算机（示例）", Model: "示例", Township: DongheCode, BoughtOn: &bought})
	}
	all = append(all, devices.Device{Serial: "OLD", Kind: devices.Printer, Name: "打印机（示例）", Model: "示例", Township: DongheCode, Funding: devices.FundOpening})
	ok(t, reg.Register(ctx, all))

	d := BudgetDeps{Budget: ledger, Devices: reg, Now: now}
	begin := time.Now()
	ok(t, Budget(ctx, d))
	t.Logf("ledger in %s", time.Since(begin))
	count := func() (n int) {
		ok(t, pool.QueryRow(ctx, `select count(*) from posting`).Scan(&n))
		return n
	}
	first := count()
	ok(t, Budget(ctx, d))
	if again := count(); again != first || first < 23*(LedgerYears-1)*len(expenses) {
		t.Fatalf("%d postings, %d after a second start", first, again)
	}

	for y := year - LedgerYears + 1; y <= year; y++ {
		years, err := ledger.Years(ctx, y, "")
		ok(t, err)
		var sum budget.Fen
		for _, x := range years {
			sum += x.Allotted
			if x.Allotted < 2_000_000 || x.Allotted > 5_000_000 || x.Left < 0 || x.Spent < 0 {
				t.Errorf("%s %d: %+v", x.TownshipName, y, x)
			}
		}
		if len(years) != 23 || sum < 46_000_000 || sum > 115_000_000 {
			t.Fatalf("%d: %d allotments, %d fen", y, len(years), sum)
		}
	}
	rec, err := reg.Get(ctx, "DEMO-BWC-0001")
	ok(t, err)
	if rec.PostingID == "" || rec.PostingYear != year {
		t.Fatalf("the demo's recorder was not bought this year: %+v", rec)
	}
	page, _, total, err := reg.List(ctx, devices.Filter{Limit: 2000})
	ok(t, err)
	paid := 0
	for _, x := range page {
		if x.Funding == devices.FundPosting {
			paid++
		}
	}
	if total != 42 || paid < 4 || paid > 20 { // as many computers as the year had money for
		t.Fatalf("%d devices, %d bought", total, paid)
	}
	poor, err := ledger.Year(ctx, year, exhausted)
	ok(t, err)
	if poor.Left >= demoPrices[devices.Recorder] {
		t.Fatalf("%s can still buy a recorder: %d", poor.TownshipName, poor.Left)
	}
	leaves, err := log.SubjectLeaves(ctx, chain.Subject{Type: chain.SubjectLedger, ID: exhausted})
	ok(t, err)
	l, err := leaves[len(leaves)-1].Decode()
	ok(t, err)
	if l.Kind != chain.KindPostingRefused {
		t.Fatalf("last leaf of its ledger is of kind %d", l.Kind)
	}
}
