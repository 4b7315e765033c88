package demo

import (
	"context"
	"fmt"
	mrand "math/rand/v2"
	"slices"
	"time"

	"zhizheng/authority"
	"zhizheng/cases"
)

// CasesDeps are what the demo's cases need. Authority has to be loaded before.
type CasesDeps struct {
	Authority *authority.Service
	Cases     *cases.Service
	Now       time.Time
}

// Cases takes over 450 cases closed in 2022–2025 and some two dozen that run on the day of the first start. Keys make it repeatable:
// the running cases keep the days of the first start.
func Cases(ctx context.Context, d CasesDeps) error {
	ctx = authority.WithActor(ctx, authority.System)
	c, err := newCounty(ctx, d)
	if err != nil {
		return err
	}
	if _, err := d.Cases.TakeOver(ctx, c.closed()); err != nil {
		return fmt.Errorf("demo's closed cases: %w", err)
	}
	_, _, n, err := d.Cases.List(ctx, cases.Filter{Q: runningMark, Limit: 1})
	if err != nil || n > 0 {
		return err
	}
	running, err := c.running()
	if err != nil {
		return err
	}
	if _, err := d.Cases.TakeOver(ctx, running); err != nil {
		return fmt.Errorf("demo's running cases: %w", err)
	}
	return nil
}

// county is what drawing cases needs to know.
type county struct {
	r        *mrand.Rand
	today    time.Time
	officers map[string][]authority.Officer
	reviewer string
}

func newCounty(ctx context.Context, d CasesDeps) (*county, error) {
	c := &county{r: mrand.New(mrand.NewPCG(450, 2022)), today: authority.Day(d.Now), officers: map[string][]authority.Officer{}}
	for after := ""; ; {
		page, next, err := d.Authority.ListOfficers(ctx, authority.OfficerFilter{Limit: 200, After: after})
		if err != nil {
			return nil, err
		}
		for _, o := range page {
			c.officers[o.Township] = append(c.officers[o.Township], o)
		}
		if after = next; next == "" {
			break
		}
	}
	u, err := d.Authority.UserByName(ctx, "demo-reviewer")
	if err != nil {
		return nil, err
	}
	c.reviewer = u.UserID
	return c, nil
}

// pair picks two officers of the township whose certificates are valid that day, off administrative posts where possible.
func (c *county) pair(township string, day time.Time) []string {
	var fit []authority.Officer
	for _, o := range c.officers[township] {
		if _, ok := o.CertificateOn(day); ok && !o.Administrative {
			fit = append(fit, o)
		}
	}
	a := c.r.IntN(len(fit))
	b := (a + 1 + c.r.IntN(len(fit)-1)) % len(fit)
	return []string{fit[a].ID, fit[b].ID}
}

// deed is a kind of case that happens, with how often.
type deed struct {
	item, title, facts, decision string
	weight                       int
	fine                         [2]int64 // yuan; none when zero
}

var deeds = []deed{
	{"FQ-001", "露天焚烧秸秆案", "巡查时发现当事人在田间焚烧秸秆，现场已扑灭，执法记录仪全程记录。", "责令改正，处以罚款", 22, [2]int64{500, 1500}},
	{"FQ-002", "随意倾倒生活垃圾案", "当事人将生活垃圾倾倒于路边沟渠，经劝导未清理。", "责令改正，处以罚款", 20, [2]int64{100, 400}},
	{"FQ-003", "森林防火期野外用火案", "森林防火期内，当事人在防火区内用火，未造成火灾。", "责令停止违法行为，给予警告，处以罚款", 16, [2]int64{200, 1200}},
	{"FD-001", "未取得乡村建设规划许可证建设案", "当事人在宅基地外扩建附属房屋，未取得乡村建设规划许可证。", "责令停止建设、限期改正", 14, [2]int64{}},
	{"FD-002", "公共场所乱堆柴草案", "当事人在村道旁堆放柴草、粪便，影响村容镇貌。", "责令停止侵害，处以罚款", 10, [2]int64{50, 200}},
	{"FQ-004", "犬只未按规定免疫案", "当事人饲养的犬只未按规定进行狂犬病免疫接种。", "责令限期改正，处以罚款", 8, [2]int64{100, 500}},
	{"FD-003", "擅自在街道修建临时建筑案", "当事人在集镇街道一侧搭建棚屋，占用公共通道。", "责令限期拆除，处以罚款", 5, [2]int64{100, 500}},
	{"FQ-005", "非法占用土地建住宅案", "当事人未经批准占用耕地建住宅。", "责令退还土地，限期拆除", 3, [2]int64{}},
	{"FQ-006", "在河道内堆放阻碍行洪物体案", "当事人在河道管理范围内堆放砂石，阻碍行洪。", "责令停止违法行为、限期清除，处以罚款", 2, [2]int64{10000, 20000}},
}

func pick[T any](r *mrand.Rand, all []T, weight func(T) int) T {
	sum := 0
	for _, t := range all {
		sum += weight(t)
	}
	n := r.IntN(sum)
	for _, t := range all {
		if n -= weight(t); n < 0 {
			return t
		}
	}
	panic("unreachable: weights sum to more than n")
}

// closedCases by year: 450 in all.
var closedCases = []struct{ year, n int }{{2022, 78}, {2023, 104}, {2024, 128}, {2025, 140}}

func (c *county) closed() []cases.Past {
	var all []cases.Past
	for _, y := range closedCases {
		var year []cases.Past
		for range y.n {
			year = append(year, c.closedCase(y.year))
		}
		slices.SortStableFunc(year, func(a, b cases.Past) int { return a.FiledOn.Compare(b.FiledOn) })
		for i := range year {
			year[i].Key = fmt.Sprintf("demo/%d/%03d", y.year, i+1)
		}
		all = append(all, year...)
	}
	return all
}

func (c *county) closedCase(year int) cases.Past {
	where := pick(c.r, townships, func(t town) int { return t.weight })
	d := pick(c.r, deeds, func(d deed) int { return d.weight })
	// Filed early enough to be closed within the year.
	filed := workday(day(year, 1, 4).AddDate(0, 0, c.r.IntN(270)))
	p := c.past(where.code, where.name, d, filed)
	walk := newWalk(&p, c.reviewer)
	walk.step(cases.Investigation, c.r.IntN(3), "指派两名执法人员调查（示例）")
	switch n := c.r.IntN(100); {
	case n < 2:
		walk.step(cases.Withdrawn, 5+c.r.IntN(10), "经查违法事实不成立，撤销立案（示例）")
		return p
	case n < 4:
		walk.step(cases.Transferred, 5+c.r.IntN(15), "不属本乡镇管辖，移送有权机关（示例）")
		return p
	}
	walk.step(cases.Review, 5+c.r.IntN(20), "调查终结，附裁量依据（示例）")
	if c.r.IntN(100) < 5 {
		walk.step(cases.NoPenalty, 2+c.r.IntN(5), "初次违法且危害后果轻微并及时改正，不予处罚，已教育（示例）")
		return p
	}
	walk.step(cases.Notice, 1+c.r.IntN(5), "法制审核通过，送达事先告知书（示例）")
	fine := d.draw(c.r)
	walk.decide(6+c.r.IntN(6), d, fine)
	walk.step(cases.Execution, 1+c.r.IntN(5), "决定书已送达（示例）")
	walk.step(cases.Closed, 2+c.r.IntN(13), "已履行，结案归档（示例）")
	return p
}

func (c *county) past(code, name string, d deed, filed time.Time) cases.Past {
	act := filed.AddDate(0, 0, -c.r.IntN(6))
	party := surnames[c.r.IntN(len(surnames))] + "某（示例）"
	return cases.Past{FiledOn: filed, Opening: cases.Opening{
		Township: code, PowerItem: d.item, Title: party + d.title, Facts: "示例：" + d.facts, Party: party, ActOn: &act,
		Place: fmt.Sprintf("%s示例村%d组", name, 1+c.r.IntN(9)), Officers: c.pair(code, filed)}}
}

// draw gives a fine in fen, in steps of 50 yuan.
func (d deed) draw(r *mrand.Rand) int64 {
	if d.fine[1] == 0 {
		return 0
	}
	steps := (d.fine[1] - d.fine[0]) / 50
	return (d.fine[0] + 50*r.Int64N(steps+1)) * yuan
}

func workday(d time.Time) time.Time {
	for !cases.WorkingDay(d) {
		d = d.AddDate(0, 0, 1)
	}
	return d
}

// walk appends steps to a case, each on a working day after the one before.
type walk struct {
	p        *cases.Past
	on       time.Time
	reviewer string
}

func newWalk(p *cases.Past, reviewer string) *walk { return &walk{p, p.FiledOn, reviewer} }

func (w *walk) step(to cases.Stage, days int, note string) {
	w.on = workday(w.on.AddDate(0, 0, days))
	s := cases.PastStep{Step: cases.Step{To: to, Note: note}, On: w.on}
	if to == cases.Notice {
		s.Reviewer = w.reviewer
	}
	w.p.Steps = append(w.p.Steps, s)
}

func (w *walk) decide(days int, d deed, fineFen int64) {
	w.step(cases.Decision, days, "当事人放弃陈述、申辩（示例）")
	s := &w.p.Steps[len(w.p.Steps)-1]
	s.Decision, s.FineFen = "示例："+d.decision+"。", &fineFen
}
