package budget

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"zhizheng/authority"
	"zhizheng/devices"
	"zhizheng/internal/fault"
)

func TestFinesNeverBecomeBudget(t *testing.T) {
	e := newEnv(t)
	_, _, err := e.Post(e.finance, NewPosting{Key: "f", Township: donghe, Date: day(2, 1), Memo: "罚款返还",
		Lines: []Line{{"expense.other", 10_000}, {FineIncome, -10_000}}})
	refusal(t, err, "R23", "行政处罚法第74条")
	_, _, err = e.Post(e.finance, NewPosting{Key: "g", Township: donghe, Date: day(2, 1), Memo: "捐赠转额度",
		Lines: []Line{{Budget, 10_000}, {"source.donated", -10_000}}})
	refusal(t, err, "R23", "预算法第13条、第57条")
}

func TestUnbalancedPostingsAreInvalid(t *testing.T) {
	e := newEnv(t)
	n := buys("k", 10_000)
	n.Lines[1].Fen++
	_, _, err := e.Post(e.finance, n)
	kind(t, err, fault.KindInvalid)
	// The database itself refuses them too, whoever writes.
	_, err = e.pool.Exec(t.Context(), `with p as (insert into posting (id, township, key, year, on_day, memo, digest, posted_by, posted_at)
		values ('x', $1, 'x', 2026, '2026-01-01', 'x', sha256('x'), 'x', now()) returning id)
		insert into posting_line select id, n, 'asset.other', 7 from p, generate_series(0, 1) n`, donghe)
	if err == nil {
		t.Fatal("an unbalanced posting was committed")
	}
	_, err = e.pool.Exec(t.Context(), `insert into posting (id, township, key, year, on_day, memo, digest, posted_by, posted_at)
		values ('y', $1, 'y', 2026, '2026-01-01', 'y', sha256('y'), 'y', now())`, donghe)
	if err == nil {
		t.Fatal("a posting without lines was committed")
	}
}

func TestPostingsCannotBeChanged(t *testing.T) {
	e := newEnv(t)
	p, _, err := e.Post(e.finance, buys("k", 10_000))
	ok(t, err)
	for _, sql := range []string{`update posting set memo = 'x'`, `delete from posting_line`, `update posting_line set fen = fen * 2`,
		`insert into posting_line values ('` + p.ID + `', 9, 'asset.other', 5)`} {
		if _, err := e.pool.Exec(t.Context(), sql); err == nil {
			t.Fatalf("%s was let through", sql)
		}
	}
}

func TestReversal(t *testing.T) {
	e := newEnv(t)
	rec := e.recorder(t, "R-1", donghe)
	p, _, err := e.Post(e.finance, buys("k", 280_000, rec))
	ok(t, err)
	r, err := e.Reverse(e.finance, p.ID, "金额记错")
	ok(t, err)
	if r.Reverses != p.ID || r.Year != 2026 || r.Memo != "冲销：金额记错" || r.Lines[0].Fen != -280_000 {
		t.Fatalf("reversal = %+v", r)
	}
	again, err := e.Reverse(e.finance, p.ID, "again")
	ok(t, err)
	if again.ID != r.ID {
		t.Fatalf("reversed twice: %s, %s", r.ID, again.ID)
	}
	if left := e.left(t, donghe); left != 3_000_000 {
		t.Fatalf("left = %d", left)
	}
	d, err := e.devices.Get(e.finance, rec)
	ok(t, err)
	if d.Funding != devices.FundPending || d.PostingID != "" {
		t.Fatalf("source of funds = %s %s", d.Funding, d.PostingID)
	}
	_, err = e.Reverse(e.finance, r.ID, "x")
	kind(t, err, fault.KindConflict)
	p, err = e.Get(e.finance, p.ID)
	ok(t, err)
	if p.ReversedBy != r.ID {
		t.Fatalf("original doesn't name its reversal: %+v", p)
	}
	p2, _, err := e.Post(e.finance, buys("k2", 270_000, rec)) // the right amount, under a new key
	ok(t, err)
	if d, err = e.devices.Get(e.finance, rec); err != nil || d.PostingID != p2.ID {
		t.Fatalf("source of funds = %s, %v", d.PostingID, err)
	}
	_, err = e.Reverse(e.finance, p2.ID, "x")
	ok(t, err)
}

func TestScope(t *testing.T) {
	e := newEnv(t)
	elsewhere := buys("k", 10_000)
	elsewhere.Township = jiachuan
	_, _, err := e.Post(e.finance, elsewhere)
	kind(t, err, fault.KindNotFound)
	p, _, err := e.Post(e.county, elsewhere)
	ok(t, err)
	_, err = e.Get(e.finance, p.ID)
	kind(t, err, fault.KindNotFound)
	_, err = e.Reverse(e.finance, p.ID, "x")
	kind(t, err, fault.KindNotFound)
	_, err = e.Year(e.finance, 2026, jiachuan)
	kind(t, err, fault.KindNotFound)
	years, err := e.Years(e.finance, 2026, "")
	ok(t, err)
	if len(years) != 1 || years[0].Township != donghe {
		t.Fatalf("finance of 东河镇 sees %+v", years)
	}
	page, _, err := e.List(e.finance, Filter{Township: jiachuan})
	ok(t, err)
	if len(page) != 0 {
		t.Fatalf("finance of 东河镇 sees %d postings of 嘉川镇", len(page))
	}
	err = e.SetAllotments(e.finance, []Allotment{{donghe, 2026, 5_000_000, "自己定"}})
	kind(t, err, fault.KindForbidden)
	nobody, err := e.Years(t.Context(), 2026, "")
	ok(t, err)
	if len(nobody) != 0 {
		t.Fatal("nobody sees years")
	}
}

func TestDevicesOfOtherTownshipsAreRefused(t *testing.T) {
	e := newEnv(t)
	_, _, err := e.Post(e.county, buys("k", 10_000, e.recorder(t, "R-9", jiachuan)))
	refusal(t, err, "R24", "行政事业性国有资产管理条例第34条")
	_, _, err = e.Post(e.county, buys("k", 10_000, "01JZZZZZZZZZZZZZZZZZZZZZZZ"))
	kind(t, err, fault.KindNotFound)
}

func TestAllotments(t *testing.T) {
	e := newEnv(t)
	_, _, err := e.Post(e.finance, buys("k", 2_500_000))
	ok(t, err)
	err = e.SetAllotments(e.county, []Allotment{{donghe, 2026, 2_000_000, "调减"}})
	refusal(t, err, "R23", "预算法第13条、第57条")
	ok(t, e.SetAllotments(e.county, []Allotment{{donghe, 2026, 4_000_000, "调增"}}))
	y, err := e.Year(e.finance, 2026, donghe)
	ok(t, err)
	if y.Allotted != 4_000_000 || y.Left != 1_500_000 || y.Formula != "调增" {
		t.Fatalf("year = %+v", y)
	}
	if len(y.Accounts) != 2 || y.Accounts[0].Account.Code != Budget || y.Accounts[0].Fen != -2_500_000 || y.Accounts[1].Fen != 2_500_000 {
		t.Fatalf("accounts = %+v", y.Accounts)
	}
	old := buys("old", 1)
	old.Date = time.Date(2025, 12, 31, 0, 0, 0, 0, time.UTC)
	_, _, err = e.Post(e.finance, old)
	refusal(t, err, "R23", "预算法第13条、第57条") // nothing was allotted for 2025
	tomorrow := buys("t", 1)
	tomorrow.Date = day(3, 3)
	_, _, err = e.Post(e.finance, tomorrow)
	kind(t, err, fault.KindInvalid)
}

func TestListPagesNewestFirst(t *testing.T) {
	e := newEnv(t)
	rec := e.recorder(t, "R-1", donghe)
	var all []NewPosting
	for i := range 7 {
		n := buys(string(rune('a'+i)), 1_000)
		n.Date = day(1, 1+i/2) // two a day
		if i == 3 {
			n.DeviceIDs = []string{rec}
		}
		all = append(all, n)
	}
	_, existed, err := e.PostAll(e.finance, all)
	ok(t, err)
	if existed != 0 {
		t.Fatalf("%d existed", existed)
	}
	var got []Posting
	for cursor, n := "", 0; n == 0 || cursor != ""; n++ {
		page, next, err := e.List(e.finance, Filter{Limit: 3, Cursor: cursor, Year: 2026})
		ok(t, err)
		got, cursor = append(got, page...), next
	}
	if len(got) != 7 {
		t.Fatalf("%d postings in pages", len(got))
	}
	for i := 1; i < len(got); i++ {
		if got[i].Date.After(got[i-1].Date) || got[i].ID == got[i-1].ID || len(got[i].Lines) != 2 {
			t.Fatalf("page order or lines wrong at %d: %+v", i, got[i])
		}
	}
	page, _, err := e.List(e.finance, Filter{DeviceID: rec})
	ok(t, err)
	if len(page) != 1 || page[0].Key != "d" {
		t.Fatalf("postings of the recorder: %+v", page)
	}
	_, _, err = e.List(e.finance, Filter{Cursor: "nonsense"})
	kind(t, err, fault.KindInvalid)
	_, existed, err = e.PostAll(authority.WithActor(t.Context(), authority.System), all)
	ok(t, err)
	if existed != 7 {
		t.Fatalf("%d of 7 existed", existed)
	}
}

// Whatever lines come, those that pass balance, take nothing from nowhere, and never raise the allotment.
func TestCheckedLinesBalance(t *testing.T) {
	codes := make([]string, len(chart))
	for i, a := range chart {
		codes[i] = a.Code
	}
	passed := 0
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(2, 6).Draw(t, "lines")
		lines := make([]Line, n)
		var sum Fen
		for i := range lines {
			lines[i] = Line{rapid.SampledFrom(codes).Draw(t, "account"), Fen(rapid.Int64Range(-3, 3).Draw(t, "fen"))}
			sum += lines[i].Fen
		}
		lines[n-1].Fen -= sum
		if checkLines(lines) != nil {
			return
		}
		passed++
		var total Fen
		for _, l := range lines {
			total += l.Fen
			if l.Account == FineIncome || l.Account == Budget && l.Fen > 0 {
				t.Fatalf("passed: %+v", lines)
			}
		}
		if total != 0 || spends(lines) < 0 {
			t.Fatalf("passed with sum %d, spending %d: %+v", total, spends(lines), lines)
		}
	})
	if passed == 0 {
		t.Fatal("no posting passed: the property was not tried")
	}
	if err := checkLines([]Line{{"asset.other", 1 << 62}, {"asset.other", 1 << 62}, {"asset.other", 1 << 62}, {"asset.other", 1 << 62}}); err == nil {
		t.Fatal("a sum that overflows to zero passed")
	}
}

func TestReckonStaysInTheCountysRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := Factors{rapid.IntRange(0, 200_000).Draw(t, "people"), rapid.IntRange(0, 20_000).Draw(t, "mu"), rapid.IntRange(0, 500).Draw(t, "cases"), false}
		fen, text := DefaultParameters.Reckon(f)
		if fen < 2_000_000 || fen > 5_000_000 || text == "" {
			t.Fatalf("%+v gives %d: %s", f, fen, text)
		}
	})
	fen, text := DefaultParameters.Reckon(Factors{Population: 20_000, BuiltUpMu: 800, CasesBefore: 10, Illustrative: true})
	want := "基数 20000.00 元 + 人口 20000 × 0.25 元 = 5000.00 元 + 集镇建成区亩数 800 × 5.00 元 = 4000.00 元 + 上年办结案件数 10 × 200.00 元 = 2000.00 元 = 31000.00 元（示例数据）"
	if fen != 3_100_000 || text != want {
		t.Fatalf("%d\n%s", fen, text)
	}
}
