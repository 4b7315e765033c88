package demo

import (
	"context"
	"crypto/rand"
	"fmt"
	mrand "math/rand/v2"
	"strings"
	"time"

	"zhizheng/authority"
	"zhizheng/internal/fault"
)

// Account is a demo account as DATA/demo-accounts.json lists it.
type Account struct {
	Role     string `json:"role"`
	Username string `json:"username"`
	Password string `json:"password"`
}

// AuthorityDeps are what the demo's county needs. Known are the accounts of an earlier start, whose passwords go on being good.
type AuthorityDeps struct {
	Authority *authority.Service
	Known     []Account
	Now       time.Time
}

// DongheCode is the township of the demo's officer, finance and head.
const DongheCode = "510821100"

type town struct {
	code, name string
	weight     int // share of the demo's cases and officers, invented
}

// Names and codes of the statistics bureau's list of 2023.
var townships = []town{
	{"510821100", "东河镇", 9}, {"510821101", "嘉川镇", 7}, {"510821102", "木门镇", 5}, {"510821103", "白水镇", 5},
	{"510821105", "张华镇", 4}, {"510821106", "黄洋镇", 4}, {"510821107", "普济镇", 5}, {"510821108", "三江镇", 4},
	{"510821110", "五权镇", 4}, {"510821111", "高阳镇", 4}, {"510821112", "双汇镇", 4}, {"510821113", "英萃镇", 3},
	{"510821114", "国华镇", 4}, {"510821115", "龙凤镇", 3}, {"510821116", "九龙镇", 3}, {"510821117", "米仓山镇", 3},
	{"510821118", "大德镇", 3}, {"510821119", "大两镇", 3}, {"510821120", "水磨镇", 3}, {"510821121", "盐河镇", 3},
	{"510821122", "天星镇", 3}, {"510821204", "燕子乡", 2}, {"510821207", "檬子乡", 2},
}

var departments = []string{"县综合行政执法局", "县自然资源局", "县住房和城乡建设局", "县农业农村局", "县水利局", "县林业局", "县生态环境局", "县交通运输局"}

// officersInAll is the county's figure; what the townships don't have belongs to the departments.
const officersInAll = 386

// Authority loads units, officers with certificates, power items and accounts. It may run again on the same data: what is there
// stays, and an account whose password isn't among Known gets a new one.
func Authority(ctx context.Context, d AuthorityDeps) ([]Account, error) {
	ctx = authority.WithActor(ctx, authority.System)
	if err := putUnits(ctx, d.Authority); err != nil {
		return nil, err
	}
	accounts, officerUser, err := putAccounts(ctx, d)
	if err != nil {
		return nil, err
	}
	if err := putOfficers(ctx, d, officerUser); err != nil {
		return nil, err
	}
	return accounts, putPowers(ctx, d)
}

func putUnits(ctx context.Context, a *authority.Service) error {
	var units []authority.Township
	for i, t := range townships {
		kind := "town"
		if strings.HasSuffix(t.name, "乡") {
			kind = "township"
		}
		units = append(units, authority.Township{Code: t.code, Name: t.name, Kind: kind, Position: i + 1})
	}
	for i, name := range departments {
		units = append(units, authority.Township{Code: departmentCode(i), Name: name, Kind: authority.Department, Position: 100 + i})
	}
	return a.PutTownships(ctx, units)
}

func departmentCode(i int) string { return fmt.Sprintf("5108219%02d", i+1) }

var demoUsers = []struct {
	role, name string
	townships  []string
}{
	{"officer", "陈立新（示例）", []string{DongheCode}},
	{"reviewer", "周明远（示例）", nil},
	{"manager", "吴海川（示例）", nil},
	{"finance", "郑秀兰（示例）", []string{DongheCode}},
	{"head", "孙国栋（示例）", []string{DongheCode}},
	{"leader", "何志强（示例）", nil},
	{"supervisor", "高正平（示例）", nil},
	{"archivist", "林素华（示例）", nil},
	{"admin", "徐向东（示例）", nil},
}

func putAccounts(ctx context.Context, d AuthorityDeps) (accounts []Account, officerUser string, err error) {
	known := map[string]Account{}
	for _, a := range d.Known {
		known[a.Username] = a
	}
	for _, u := range demoUsers {
		username := "demo-" + u.role
		actor, err := d.Authority.UserByName(ctx, username)
		acc := Account{Role: u.role, Username: username, Password: known[username].Password}
		switch {
		case fault.Is(err, fault.KindNotFound):
			acc.Password = newPassword()
			actor, err = d.Authority.CreateUser(ctx, authority.NewUser{Username: username, Name: u.name, Role: u.role,
				Townships: u.townships, Password: acc.Password})
			if err != nil {
				return nil, "", err
			}
		case err != nil:
			return nil, "", err
		case acc.Password == "":
			// The list was lost, or the first start ended between making the account and writing the list.
			acc.Password = newPassword()
			if err := d.Authority.SetPassword(ctx, actor.UserID, acc.Password, false); err != nil {
				return nil, "", err
			}
		}
		if u.role == "officer" {
			officerUser = actor.UserID
		}
		accounts = append(accounts, acc)
	}
	return accounts, officerUser, nil
}

// newPassword gives 80 random bits in letters that aren't mistaken for one another.
func newPassword() string {
	const letters = "abcdefghjkmnpqrstuvwxyz123456789" // 32, so that no letter is likelier
	raw := make([]byte, 16)
	_, _ = rand.Read(raw) // never fails since Go 1.24
	var b strings.Builder
	for i, c := range raw {
		if i > 0 && i%4 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(letters[c&31])
	}
	return b.String()
}

var (
	surnames = strings.Split("王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕", "")
	given    = strings.Fields("建国 志强 秀英 明辉 丽华 国庆 永康 春梅 文斌 晓东 海燕 正平 素芳 德明 向阳 玉兰 光荣 立新 家旺 少华 天佑 桂芳 忠诚 雪松")
)

func personName(r *mrand.Rand) string {
	return surnames[r.IntN(len(surnames))] + given[r.IntN(len(given))] + "（示例）"
}

// putOfficers gives each township 10 to 15 officers, 2 or 3 of them on administrative posts, and the departments the rest.
// Certificates run five years and were renewed in time, but for one officer of 嘉川镇 whose certificate expired three weeks ago.
func putOfficers(ctx context.Context, d AuthorityDeps, officerUser string) error {
	there, _, err := d.Authority.ListOfficers(ctx, authority.OfficerFilter{Limit: 1})
	if err != nil || len(there) > 0 {
		return err
	}
	r := mrand.New(mrand.NewPCG(386, 23))
	today := authority.Day(d.Now)
	var all []authority.Officer
	add := func(unit string, n, administrative int) {
		for i := range n {
			o := authority.Officer{Township: unit, Name: personName(r), Administrative: i < administrative, FullTime: r.IntN(4) > 0}
			if unit == DongheCode && i == administrative {
				o.Name, o.UserID = demoUsers[0].name, officerUser
			}
			o.Certificates = certificates(len(all)+1, r.IntN(700), today)
			if unit == "510821101" && i == n-1 {
				o.Certificates = expired(len(all)+1, today)
			}
			all = append(all, o)
		}
	}
	for _, t := range townships {
		add(t.code, min(15, 10+t.weight-2), 2+r.IntN(2))
	}
	rest := officersInAll - len(all)
	for i := range departments {
		n := rest / len(departments)
		if i < rest%len(departments) {
			n++
		}
		add(departmentCode(i), n, 2)
	}
	return d.Authority.AddOfficers(ctx, all)
}

func certificateNumber(officer, renewal int) string {
	return fmt.Sprintf("示例川H%04d%02d", officer, renewal)
}

// certificates cover 2021 to at least a year from today.
func certificates(officer, shift int, today time.Time) (all []authority.Certificate) {
	from := time.Date(2019, 7, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, shift)
	for n := 1; from.Before(today.AddDate(1, 0, 0)); n++ {
		to := from.AddDate(5, 0, -1)
		all = append(all, authority.Certificate{Number: certificateNumber(officer, n), From: from, To: to})
		from = to.AddDate(0, 0, 1)
	}
	return all
}

func expired(officer int, today time.Time) []authority.Certificate {
	to := today.AddDate(0, 0, -21)
	mid := to.AddDate(-5, 0, 0)
	return []authority.Certificate{
		{Number: certificateNumber(officer, 1), From: mid.AddDate(-5, 0, 1), To: mid},
		{Number: certificateNumber(officer, 2), From: mid.AddDate(0, 0, 1), To: to},
	}
}
