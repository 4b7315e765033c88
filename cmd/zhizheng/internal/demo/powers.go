package demo

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"zhizheng/authority"
)

// The county's figures: 24 statutory items, 141 delegated ones.
const (
	statutoryItems = 24
	delegatedItems = 141
)

const yuan = 100 // fen

func fen(n int64) *int64 { return &n }

const exampleNote = "条文真实；是否下放给乡镇系示例"

// Items whose law text was read. Which of them the county handed down isn't known, so their membership is an example.
var realStatutory = []authority.PowerItem{
	{Code: "FD-001", Field: "城乡建设", Name: "未取得乡村建设规划许可证或未按许可进行建设", Law: "城乡规划法", Article: "第65条", Note: exampleNote},
	{Code: "FD-002", Field: "城乡建设", Name: "损坏村镇房屋、公共设施，或乱堆粪便、垃圾、柴草", Law: "村庄和集镇规划建设管理条例", Article: "第39条", Note: exampleNote},
	{Code: "FD-003", Field: "城乡建设", Name: "擅自在街道、广场、市场修建临时建筑", Law: "村庄和集镇规划建设管理条例", Article: "第40条", Note: exampleNote},
}

var realDelegated = []authority.PowerItem{
	{Code: "FQ-001", Field: "生态环境", Name: "露天焚烧秸秆", Law: "大气污染防治法", Article: "第119条", FineMin: 500 * yuan, FineMax: fen(2000 * yuan), Note: exampleNote},
	{Code: "FQ-002", Field: "城乡建设", Name: "个人随意倾倒、抛撒、堆放或焚烧生活垃圾", Law: "固体废物污染环境防治法", Article: "第111条", FineMin: 100 * yuan, FineMax: fen(500 * yuan), Note: exampleNote},
	{Code: "FQ-003", Field: "林业草原", Name: "森林防火期内未经批准在防火区野外用火（个人）", Law: "森林防火条例", Article: "第50条", FineMin: 200 * yuan, FineMax: fen(3000 * yuan), Note: exampleNote},
	{Code: "FQ-004", Field: "农业农村", Name: "犬只未按规定免疫", Law: "动物防疫法", Article: "第92条", FineMax: fen(1000 * yuan), Note: exampleNote},
	{Code: "FQ-005", Field: "自然资源", Name: "农村村民非法占用土地建住宅", Law: "土地管理法", Article: "第78条", Note: exampleNote},
	{Code: "FQ-006", Field: "水利", Name: "在河道内堆放阻碍行洪的物体", Law: "水法", Article: "第66条", FineMin: 10000 * yuan, FineMax: fen(50000 * yuan), Note: exampleNote},
	{Code: "FQ-007", Field: "城乡建设", Name: "村民违反规划建设住宅", Law: "村庄和集镇规划建设管理条例", Article: "第37条", Note: exampleNote},
}

const (
	recalledItem  = "FQ-004" // taken back from 东河镇 six weeks before the demo's first start
	entrustedItem = "FQ-006" // used in the water department's name
)

var fields = []string{"城乡建设", "自然资源", "生态环境", "农业农村", "林业草原", "水利", "交通运输", "文化旅游", "应急管理", "民政", "卫生健康", "市场监管"}

// catalogue fills up to the county's figures with items that say they are examples.
func catalogue() []authority.PowerItem {
	all := slices.Concat(realStatutory, realDelegated)
	fill := func(prefix, mode string, from, to int) {
		for n := from; n <= to; n++ {
			f := fields[n%len(fields)]
			all = append(all, authority.PowerItem{Code: fmt.Sprintf("%s-%03d", prefix, n), Field: f,
				Name: fmt.Sprintf("（示例）%s领域%s执法事项第 %03d 项", f, mode, n), Law: "示例", Article: "未载明", Note: "占位示例，使总数与县里公布的一致"})
		}
	}
	fill("FD", "法定", len(realStatutory)+1, statutoryItems)
	fill("FQ", "赋权", len(realDelegated)+1, delegatedItems)
	return all
}

// Batches in which delegated items came down. The first is older than any demo case.
var batches = []struct {
	name string
	from time.Time
}{
	{"2021年第一批（示例）", day(2021, 7, 15)},
	{"2023年第二批（示例）", day(2023, 4, 1)},
	{"2024年第三批（示例）", day(2024, 7, 1)},
}

func day(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

// putPowers hands the statutory items to every township; of the delegated ones each gets those whose law is named here and a third
// of the rest, as it can carry.
func putPowers(ctx context.Context, d AuthorityDeps) error {
	items := catalogue()
	if err := d.Authority.PutPowerItems(ctx, items); err != nil {
		return err
	}
	for _, t := range townships {
		there, _, err := d.Authority.ListPowerItems(ctx, authority.PowerFilter{Township: t.code, Limit: 1})
		if err != nil {
			return err
		}
		if len(there) > 0 {
			continue
		}
		if err := d.Authority.GrantPowers(ctx, grantsOf(t.code, items)); err != nil {
			return err
		}
	}
	return recall(ctx, d)
}

func grantsOf(township string, items []authority.PowerItem) []authority.Grant {
	var grants []authority.Grant
	for i, item := range items {
		g := authority.Grant{Item: item, Township: township, Mode: authority.Delegated, From: batches[0].from, Batch: batches[0].name}
		named := slices.ContainsFunc(realDelegated, func(r authority.PowerItem) bool { return r.Code == item.Code })
		switch {
		case item.Code[:2] == "FD":
			g.Mode, g.Batch = authority.Statutory, ""
		case item.Code == entrustedItem:
			g.Mode, g.Principal = authority.Entrusted, departmentCode(slices.Index(departments, "县水利局"))
		case named:
		case share(township, item.Code) != 0:
			continue
		default:
			b := batches[i%len(batches)]
			g.From, g.Batch = b.from, b.name
		}
		grants = append(grants, g)
	}
	return grants
}

// share spreads items over townships, the same on every start.
func share(township, item string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(township + item))
	return h.Sum32() % 3
}

func recall(ctx context.Context, d AuthorityDeps) error {
	grants, _, err := d.Authority.ListPowerItems(ctx, authority.PowerFilter{Township: DongheCode, Q: "犬只", Limit: 1})
	if err != nil || len(grants) == 0 || grants[0].To != nil {
		return err
	}
	return d.Authority.RecallPower(ctx, grants[0].ID, authority.Day(d.Now).AddDate(0, 0, -42), "承接能力不足，收回县级（示例）")
}
