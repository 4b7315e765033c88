package budget

import (
	"fmt"
	"strings"

	"zhizheng/internal/fault"
)

// Factors are what a township's yearly standard is set by: population, size of the town, enforcement workload.
type Factors struct {
	Population   int  // registered residents
	BuiltUpMu    int  // built-up area in mu (1/15 hectare)
	CasesBefore  int  // cases closed the year before
	Illustrative bool // the figures are invented
}

// Parameters of the county's formula. The standard lies between Base and Ceiling, 20,000 to 50,000 yuan.
type Parameters struct {
	Base, Ceiling                 Fen
	PerHead, PerMu, PerCase       Fen
	HeadsCap, BuiltUpCap, CaseCap Fen
}

// DefaultParameters are the county's range with shares of ours.
var DefaultParameters = Parameters{Base: 2_000_000, Ceiling: 5_000_000, PerHead: 25, PerMu: 500, PerCase: 20_000,
	HeadsCap: 1_500_000, BuiltUpCap: 900_000, CaseCap: 1_200_000}

// Reckon gives the standard and the sum as text, which is kept with it.
func (p Parameters) Reckon(f Factors) (Fen, string) {
	part := func(n int, each, most Fen) (Fen, string) {
		v := Fen(n) * each
		if v > most {
			return most, fmt.Sprintf("%d × %s 元 = %s，以 %s 元为限", n, yuan(each), yuan(v), yuan(most))
		}
		return v, fmt.Sprintf("%d × %s 元 = %s 元", n, yuan(each), yuan(v))
	}
	heads, t1 := part(f.Population, p.PerHead, p.HeadsCap)
	town, t2 := part(f.BuiltUpMu, p.PerMu, p.BuiltUpCap)
	work, t3 := part(f.CasesBefore, p.PerCase, p.CaseCap)
	sum := p.Base + heads + town + work
	var b strings.Builder
	fmt.Fprintf(&b, "基数 %s 元 + 人口 %s + 集镇建成区亩数 %s + 上年办结案件数 %s = %s 元", yuan(p.Base), t1, t2, t3, yuan(sum))
	if sum > p.Ceiling {
		sum = p.Ceiling
		fmt.Fprintf(&b, "，以上限 %s 元为准", yuan(sum))
	}
	if f.Illustrative {
		b.WriteString("（示例数据）")
	}
	return sum, b.String()
}

// Allotment is a township's standard for a year.
type Allotment struct {
	Township string
	Year     int
	Fen      Fen
	Formula  string
}

func (a Allotment) check() error {
	switch {
	case a.Year < earliestPosting || a.Year > 2100:
		return fault.Invalid("年度 %d 不对", a.Year)
	case a.Fen < 0:
		return fault.Invalid("核定额度不能为负")
	case a.Formula == "":
		return fault.Invalid("核定额度须写明算式")
	}
	return nil
}
