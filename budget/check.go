package budget

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"zhizheng/internal/fault"
)

// Account of the chart. Kind is budget (the year's allotment), asset, expense, or source (money and goods from elsewhere).
type Account struct{ Code, Name, Kind string }

// Kinds of accounts.
const (
	KindBudget  = "budget"
	KindAsset   = "asset"
	KindExpense = "expense"
	KindSource  = "source"
)

// Budget is the account that a year's allotment is spent from: credited by what is bought, never debited but by a reversal.
const Budget = "budget"

// reversalKey begins the keys of reversals.
const reversalKey = "reversal/"

// FineIncome is in the chart so that the refusal can be told: fines belong to the treasury.
const FineIncome = "source.fines"

var chart = []Account{
	{Budget, "年度核定额度", KindBudget},
	{"asset.recorder", "执法记录仪购置", KindAsset},
	{"asset.dock", "采集站购置", KindAsset},
	{"asset.computer", "计算机购置", KindAsset},
	{"asset.printer", "打印机购置", KindAsset},
	{"asset.other", "其他执法装备购置", KindAsset},
	{"expense.uniform", "执法服装", KindExpense},
	{"expense.repair", "装备维修", KindExpense},
	{"expense.supplies", "耗材与印刷", KindExpense},
	{"expense.training", "业务培训", KindExpense},
	{"expense.network", "网络与通信", KindExpense},
	{"expense.other", "其他执法支出", KindExpense},
	{"source.opening", "建账前存量", KindSource},
	{"source.county", "县级配发", KindSource},
	{"source.special", "专项资金", KindSource},
	{"source.donated", "接受捐赠", KindSource},
	{FineIncome, "罚没收入（须全额上缴国库，不得入账）", KindSource},
}

// Accounts is the chart.
func Accounts() []Account { return slices.Clone(chart) }

// AccountOf gives an account of the chart.
func AccountOf(code string) (Account, bool) {
	i := slices.IndexFunc(chart, func(a Account) bool { return a.Code == code })
	if i < 0 {
		return Account{}, false
	}
	return chart[i], true
}

// The articles of R23 and R24.
const (
	articleFines    = "行政处罚法第74条"
	articleBudget   = "预算法第13条、第57条"
	articleAssets   = "行政事业性国有资产管理条例第34条"
	maxDevices      = 500
	maxLines        = 50
	earliestPosting = 2000
	maxFen          = Fen(1_000_000_000_000) // of one posting (10¹⁰ yuan): sums of millions of them fit
)

// Check judges a posting by what it says alone: accounts, balance, direction, day. What is left of the allotment is judged under the
// ledger's lock.
func (p NewPosting) Check(today time.Time) error {
	switch {
	case p.Key == "" || utf8.RuneCountInString(p.Key) > 80:
		return fault.Invalid("记账须有幂等键 key，至多 80 字")
	case strings.HasPrefix(p.Key, reversalKey):
		return fault.Invalid("幂等键不能以 %s 开头，那是冲销记账用的", reversalKey)
	case strings.TrimSpace(p.Memo) == "" || utf8.RuneCountInString(p.Memo) > 200:
		return fault.Invalid("摘要须为 1 至 200 字")
	case len(p.Lines) < 2 || len(p.Lines) > maxLines:
		return fault.Invalid("分录须为 2 至 %d 行", maxLines)
	case len(p.DeviceIDs) > maxDevices:
		return fault.Invalid("一笔记账至多关联 %d 台设备", maxDevices)
	case p.Date.IsZero() || p.Date.Year() < earliestPosting:
		return fault.Invalid("记账日期不对")
	case p.Date.After(today):
		return fault.Invalid("记账日期 %s 晚于今天", p.Date.Format(time.DateOnly))
	}
	seen := map[string]bool{}
	for _, d := range p.DeviceIDs {
		if seen[d] {
			return fault.Invalid("设备 %s 列了两次", d)
		}
		seen[d] = true
	}
	return checkLines(p.Lines)
}

func checkLines(lines []Line) error {
	var debits, credits Fen
	for i, l := range lines {
		a, ok := AccountOf(l.Account)
		switch {
		case !ok:
			return fault.Invalid("第 %d 行：没有科目 %q", i+1, l.Account)
		case a.Code == FineIncome:
			return fault.Refused("R23", articleFines, "罚没收入须全额上缴国库，不得作为乡镇执法经费入账").Then("请按非税收入渠道缴库")
		case l.Fen == 0:
			return fault.Invalid("第 %d 行：金额不能为 0", i+1)
		case a.Kind == KindBudget && l.Fen > 0:
			return fault.Refused("R23", articleBudget, "额度只能由县级核定，不能靠记账增加").Then("记错的支出请冲销原记账")
		case a.Kind == KindSource && l.Fen > 0, (a.Kind == KindAsset || a.Kind == KindExpense) && l.Fen < 0:
			return fault.Invalid("第 %d 行：科目“%s”的方向不对（资产、支出为正，额度、来源为负）", i+1, a.Name)
		}
		if l.Fen > 0 {
			if debits > maxFen-l.Fen {
				return fault.Invalid("金额过大")
			}
			debits += l.Fen
		} else {
			if credits < -maxFen-l.Fen {
				return fault.Invalid("金额过大")
			}
			credits += l.Fen
		}
	}
	if debits+credits != 0 {
		return fault.Invalid("借贷不平：借方 %s 元，贷方 %s 元", yuan(debits), yuan(-credits))
	}
	return nil
}

// spends is what the lines take from the allotment; a reversal gives a negative amount.
func spends(lines []Line) (sum Fen) {
	for _, l := range lines {
		if l.Account == Budget {
			sum -= l.Fen
		}
	}
	return sum
}

func buysAssets(lines []Line) bool {
	return slices.ContainsFunc(lines, func(l Line) bool {
		a, _ := AccountOf(l.Account)
		return a.Kind == KindAsset
	})
}

// digest tells a retry from another posting under the same key. Devices have no order, lines do.
func (p NewPosting) digest() []byte {
	ids := slices.Sorted(slices.Values(p.DeviceIDs))
	b, err := json.Marshal([]any{p.Township, p.Date.Format(time.DateOnly), p.Memo, p.Lines, append([]string{}, ids...)})
	if err != nil {
		panic(err) // strings and numbers only
	}
	h := sha256.Sum256(b)
	return h[:]
}

// yuan shows fen as people write it.
func yuan(f Fen) string {
	sign := ""
	if f < 0 {
		sign, f = "-", -f
	}
	return fmt.Sprintf("%s%d.%02d", sign, f/100, f%100)
}
