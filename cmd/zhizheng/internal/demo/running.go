package demo

import (
	"fmt"
	"slices"
	"time"

	"zhizheng/cases"
)

// runningMark is in the title of each running case, and in no other.
const runningMark = "（示例·在办）"

// scene is a running case as it stands on the first day: filed so many days ago, then each step so many days ago.
type scene struct {
	town  string // name
	item  string
	filed int
	steps []sceneStep
	facts string
}

type sceneStep struct {
	to   cases.Stage
	ago  int
	note string
}

// What a reviewer's first five minutes must show.
var scenes = []scene{
	{"东河镇", "FD-001", 88, []sceneStep{
		{cases.Investigation, 86, "现场勘验，制作笔录"}, {cases.Review, 30, "调查终结"}, {cases.Notice, 9, "审核通过，已送达事先告知书"}},
		"办案期限第 88 天，须于两日内作出决定。"},
	{"东河镇", "FQ-006", 40, []sceneStep{
		{cases.Investigation, 39, "现场勘验"}, {cases.Review, 20, "调查终结"}, {cases.Notice, 5, "当事人于告知后第三个工作日要求听证；听证七个工作日前须通知，期间跨法定节假日"}},
		"听证：期限按工作日计算。"},
	{"东河镇", recalledItem, 63, []sceneStep{{cases.Investigation, 60, "询问当事人"}, {cases.Review, 12, "调查终结"}},
		"立案后该事项于六周前收回：已立的案继续办理，不得再立新案。"},
	{"嘉川镇", "FQ-001", 35, []sceneStep{{cases.Investigation, 33, "调查取证"}},
		"一名执法人员的执法证在办案期间到期，后续调查须换人。"},
	{"东河镇", "FQ-002", 25, []sceneStep{{cases.Investigation, 24, "现场笔录"}, {cases.Review, 6, "拟不予处罚：初次违法、及时改正（首违不罚）"}},
		"首违不罚，附教育记录。"},
	{"木门镇", "FQ-001", 30, []sceneStep{{cases.Investigation, 29, "调查取证"}, {cases.Review, 14, "调查终结"}, {cases.Notice, 8, "拟罚款 3,000 元，超出第119条 500–2,000 元的幅度，须退回"}},
		"拟罚款数额超出法定幅度。"},
	{"东河镇", "FQ-001", 20, []sceneStep{{cases.Investigation, 19, "执法记录仪影像待关联：第 41–43 段缺失"}},
		"影像编号 41–43 缺失，须说明理由。"},
	{"东河镇", "FD-002", 3, nil, "刚立案，等待指派调查。"},
	{"东河镇", "FQ-003", 12, []sceneStep{{cases.Investigation, 11, "调查取证"}}, "森林防火期巡查发现。"},
	{"嘉川镇", "FD-001", 75, []sceneStep{{cases.Investigation, 74, "现场勘验"}, {cases.Review, 15, "调查终结"}}, "办案期限将届满。"},
	{"白水镇", "FQ-002", 1, nil, "刚立案。"},
	{"普济镇", "FD-003", 18, []sceneStep{{cases.Investigation, 17, "调查取证"}, {cases.Review, 4, "调查终结"}}, "街道临时建筑。"},
	{"三江镇", "FQ-003", 9, []sceneStep{{cases.Investigation, 8, "调查取证"}}, "野外用火。"},
	{"五权镇", "FQ-002", 28, []sceneStep{{cases.Investigation, 27, "调查取证"}, {cases.Review, 16, "调查终结"}, {cases.Notice, 10, "已送达事先告知书"}}, "等待陈述申辩。"},
	{"张华镇", "FQ-001", 45, []sceneStep{{cases.Investigation, 44, "调查取证"}, {cases.Review, 30, "调查终结"}, {cases.Notice, 20, "已送达事先告知书"}, {cases.Decision, 2, "当事人放弃陈述、申辩"}}, "决定已作出，等待送达。"},
	{"黄洋镇", "FQ-002", 50, []sceneStep{{cases.Investigation, 49, "调查取证"}, {cases.Review, 35, "调查终结"}, {cases.Notice, 26, "已送达事先告知书"}, {cases.Decision, 18, "当事人放弃陈述、申辩"}, {cases.Execution, 12, "决定书已送达"}}, "缴款期限将届满。"},
	{"高阳镇", "FQ-003", 60, []sceneStep{{cases.Investigation, 59, "调查取证"}, {cases.Review, 45, "调查终结"}, {cases.Notice, 36, "已送达事先告知书"}, {cases.Decision, 28, "当事人陈述意见已复核，未采纳并说明理由"}, {cases.Execution, 19, "决定书已送达"}}, "逾期未缴，待催告。"},
	{"双汇镇", "FD-002", 6, []sceneStep{{cases.Investigation, 5, "调查取证"}}, "乱堆柴草。"},
	{"国华镇", "FQ-007", 22, []sceneStep{{cases.Investigation, 21, "调查取证"}}, "违反规划建住宅。"},
	{"龙凤镇", "FQ-001", 2, nil, "刚立案。"},
	{"九龙镇", "FD-001", 33, []sceneStep{{cases.Investigation, 32, "现场勘验"}}, "附属房屋未批先建。"},
	{"米仓山镇", "FQ-003", 15, []sceneStep{{cases.Investigation, 14, "调查取证"}, {cases.Review, 3, "调查终结"}}, "防火区野外用火。"},
	{"燕子乡", "FQ-002", 8, []sceneStep{{cases.Investigation, 7, "调查取证"}}, "路边倾倒垃圾。"},
}

func (c *county) running() ([]cases.Past, error) {
	var all []cases.Past
	for i, sc := range scenes {
		t := slices.IndexFunc(townships, func(t town) bool { return t.name == sc.town })
		d := deed{item: sc.item, title: "违反规划建设住宅案"}
		if n := slices.IndexFunc(deeds, func(d deed) bool { return d.item == sc.item }); n >= 0 {
			d = deeds[n]
		}
		if t < 0 {
			return nil, fmt.Errorf("demo's running case %d: no township %s", i+1, sc.town)
		}
		p := c.past(townships[t].code, sc.town, d, c.ago(sc.filed))
		p.Key = fmt.Sprintf("demo/running/%02d", i+1)
		p.Title = surnames[c.r.IntN(len(surnames))] + "某" + d.title + runningMark
		p.Facts = "示例：" + sc.facts + d.facts
		if sc.town == "嘉川镇" && sc.item == "FQ-001" {
			p.Officers = c.withExpired(townships[t].code, p.FiledOn, p.Officers)
		}
		for _, st := range sc.steps {
			s := cases.PastStep{Step: cases.Step{To: st.to, Note: st.note + "（示例）"}, On: c.ago(st.ago)}
			switch st.to {
			case cases.Notice:
				s.Reviewer = c.reviewer
			case cases.Decision:
				fine := d.draw(c.r)
				s.Decision, s.FineFen = "示例："+d.decision+"。", &fine
			}
			p.Steps = append(p.Steps, s)
		}
		all = append(all, p)
	}
	return all, nil
}

func (c *county) ago(days int) time.Time { return c.today.AddDate(0, 0, -days) }

// withExpired puts an officer on the case whose certificate was valid at filing and isn't any more.
func (c *county) withExpired(township string, filed time.Time, officers []string) []string {
	for _, o := range c.officers[township] {
		_, then := o.CertificateOn(filed)
		if _, now := o.CertificateOn(c.today); then && !now {
			return append([]string{o.ID}, slices.DeleteFunc(slices.Clone(officers), func(id string) bool { return id == o.ID })...)
		}
	}
	return officers
}
