package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"slices"
	"strings"
	"time"

	"zhizheng/authority"
	"zhizheng/budget"
	"zhizheng/devices"
	"zhizheng/internal/fault"
)

// BudgetDeps are what the demo's ledger needs. Load devices first: those whose source of funds is pending are bought here.
type BudgetDeps struct {
	Budget  *budget.Service
	Devices *devices.Service
	Now     time.Time
}

// LedgerYears is how many budget years the demo's ledger has, the current one included.
const LedgerYears = 3

// exhausted is the township whose next order is refused.
const exhausted = "510821207"

// Budget sets the allotments of the 23 townships for the ledger's years, buys the devices that wait for a source of funds as far as
// the allotments reach, and spends part of the rest on what such money is for. Everything is posted in one transaction, so a second
// start finds all of it or none.
func Budget(ctx context.Context, d BudgetDeps) error {
	ctx = authority.WithActor(ctx, authority.System)
	today := authority.Day(d.Now)
	l := ledger{today: today, r: mrand.New(mrand.NewPCG(510821, uint64(today.Year()))), left: map[key]budget.Fen{}}
	var standards []budget.Allotment
	for y := l.firstYear(); y <= today.Year(); y++ {
		for _, t := range townships {
			fen, formula := budget.DefaultParameters.Reckon(factors(t, y))
			standards = append(standards, budget.Allotment{Township: t.code, Year: y, Fen: fen, Formula: formula})
			l.left[key{t.code, y}] = fen
		}
	}
	there, _, err := d.Budget.List(ctx, budget.Filter{Limit: 1})
	if err != nil || len(there) > 0 {
		return err
	}
	if err := d.Budget.SetAllotments(ctx, standards); err != nil {
		return err
	}
	all, _, _, err := d.Devices.List(ctx, devices.Filter{Limit: 2000})
	if err != nil {
		return err
	}
	l.purchases(all)
	for y := l.firstYear(); y <= today.Year(); y++ {
		for _, t := range townships {
			l.spend(t, y)
		}
	}
	slices.SortStableFunc(l.postings, func(a, b budget.NewPosting) int { return a.Date.Compare(b.Date) })
	if _, _, err := d.Budget.PostAll(ctx, l.postings); err != nil {
		return fmt.Errorf("post the demo's ledger: %w", err)
	}
	return l.refused(ctx, d.Budget)
}

type key struct {
	township string
	year     int
}

type ledger struct {
	today    time.Time
	r        *mrand.Rand
	left     map[key]budget.Fen
	postings []budget.NewPosting
}

func (l *ledger) firstYear() int { return l.today.Year() - LedgerYears + 1 }

// factors are invented; they grow with the township's weight and a little from year to year.
func factors(t town, year int) budget.Factors {
	r := mrand.New(mrand.NewPCG(uint64(year), uint64(len(t.code))+uint64(t.weight)*7+uint64(t.code[8])*131+uint64(t.code[7])*17))
	return budget.Factors{Population: 2800*t.weight + r.IntN(900), BuiltUpMu: 110*t.weight + r.IntN(60), CasesBefore: 2*t.weight + r.IntN(6), Illustrative: true}
}

var demoPrices = map[string]budget.Fen{devices.Recorder: 248_000, devices.Dock: 860_000, devices.Computer: 439_900, devices.Printer: 159_900, devices.Other: 36_000}

// purchases posts the devices that wait for a source of funds, one posting a township, day and kind. What the allotment doesn't reach
// goes on waiting.
func (l *ledger) purchases(all []devices.Device) {
	groups := map[string][]devices.Device{}
	for _, d := range all {
		if d.Funding == devices.FundPending && d.Status != "retired" {
			k := l.boughtOn(d).Format(time.DateOnly) + "/" + d.Township + "/" + d.Kind
			groups[k] = append(groups[k], d)
		}
	}
	names := make([]string, 0, len(groups))
	for k := range groups {
		names = append(names, k)
	}
	// The recorder that the demo docks comes before all others, then by day.
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(groups[a]), rank(groups[b])), cmp.Compare(a, b))
	})
	for _, name := range names {
		g := groups[name]
		slices.SortFunc(g, func(a, b devices.Device) int { return cmp.Compare(a.Serial, b.Serial) })
		l.buy(g)
	}
}

func rank(g []devices.Device) int {
	if slices.ContainsFunc(g, func(d devices.Device) bool { return strings.HasPrefix(d.Serial, "DEMO-") }) {
		return 0
	}
	return 1
}

// boughtOn is the device's day of purchase, or the twelfth of March if nobody noted one.
func (l *ledger) boughtOn(d devices.Device) time.Time {
	day := time.Date(l.today.Year(), time.March, 12, 0, 0, 0, 0, time.UTC)
	if d.BoughtOn != nil {
		day = *d.BoughtOn
	}
	if day.After(l.today) {
		return l.today
	}
	return day
}

// buy posts as many devices of the group as the year has money for.
func (l *ledger) buy(g []devices.Device) {
	day, first := l.boughtOn(g[0]), g[0]
	k := key{first.Township, day.Year()}
	var ids []string
	var sum budget.Fen
	for _, d := range g {
		price := demoPrices[d.Kind]
		if d.CostFen != nil {
			price = budget.Fen(*d.CostFen)
		}
		if price == 0 || sum+price > l.left[k] {
			continue
		}
		sum += price
		ids = append(ids, d.ID)
	}
	if len(ids) == 0 {
		return
	}
	l.add(k, budget.NewPosting{Key: fmt.Sprintf("demo/buy/%s/%s", day.Format(time.DateOnly), first.Kind), Date: day, DeviceIDs: ids,
		Memo:  fmt.Sprintf("购置%s %d 台（示例）", devices.KindName(first.Kind), len(ids)),
		Lines: []budget.Line{{Account: "asset." + first.Kind, Fen: sum}}})
}

// add posts against the year's allotment.
func (l *ledger) add(k key, p budget.NewPosting) {
	var sum budget.Fen
	for _, x := range p.Lines {
		sum += x.Fen
	}
	p.Township = k.township
	p.Lines = append(p.Lines, budget.Line{Account: budget.Budget, Fen: -sum})
	l.left[k] -= sum
	l.postings = append(l.postings, p)
}

var expenses = []struct {
	account, memo string
	month         time.Month
	day           int
	share         int // in thousandths of what is left at the start of the year's spending
}{
	{"expense.network", "执法网络专线与流量费（示例）", time.January, 18, 90},
	{"expense.uniform", "春夏执法服装（示例）", time.April, 9, 210},
	{"expense.supplies", "文书印刷与打印耗材（示例）", time.June, 5, 70},
	{"expense.training", "执法人员业务培训（示例）", time.July, 16, 110},
	{"expense.repair", "记录仪与打印机维修（示例）", time.September, 11, 80},
	{"expense.uniform", "秋冬执法服装（示例）", time.October, 13, 160},
}

// spend takes parts of what the purchases left, as far into the year as today is.
func (l *ledger) spend(t town, year int) {
	k := key{t.code, year}
	pool := l.left[k]
	for i, e := range expenses {
		day := time.Date(year, e.month, e.day+l.r.IntN(5), 0, 0, 0, 0, time.UTC)
		fen := pool * budget.Fen(e.share+l.r.IntN(40)-20) / 1000 / 100 * 100 // whole yuan
		if day.After(l.today) || fen <= 0 {
			continue
		}
		l.add(k, budget.NewPosting{Key: fmt.Sprintf("demo/%d/%d", year, i), Date: day, Memo: e.memo, Lines: []budget.Line{{Account: e.account, Fen: fen}}})
	}
	const rest = 32_600 // less than any recorder costs
	if t.code == exhausted && year == l.today.Year() && l.left[k] > rest {
		l.add(k, budget.NewPosting{Key: fmt.Sprintf("demo/%d/vehicle", year), Date: l.today, Memo: "执法装备集中维修与更新（示例）",
			Lines: []budget.Line{{Account: "expense.repair", Fen: (l.left[k] - rest) / 2}, {Account: "expense.other", Fen: l.left[k] - rest - (l.left[k]-rest)/2}}})
	}
}

// refused orders two recorders for the township that has no money for them; the refusal is what is shown.
func (l *ledger) refused(ctx context.Context, b *budget.Service) error {
	fen := 2 * demoPrices[devices.Recorder]
	_, _, err := b.Post(ctx, budget.NewPosting{Key: "demo/order", Township: exhausted, Date: l.today, Memo: "购置执法记录仪 2 台（示例）",
		Lines: []budget.Line{{Account: "asset.recorder", Fen: fen}, {Account: budget.Budget, Fen: -fen}}})
	if fault.Is(err, fault.KindRefused) {
		return nil
	}
	if err == nil {
		return errors.New("the demo's order beyond the allotment was not refused")
	}
	return err
}
