package demo

import (
	"context"
	"fmt"
	mrand "math/rand/v2"
	"time"

	"zhizheng/authority"
	"zhizheng/devices"
)

// DevicesDeps are what the demo's devices need. Authority has to be loaded before.
type DevicesDeps struct {
	Authority *authority.Service
	Devices   *devices.Service
	Now       time.Time
}

// How the simulated county plays a device.
const (
	PlayLive  = "live"  // reports as long as the simulation runs
	PlayBrief = "brief" // reports once, then says goodbye: switched off for the night
	PlayFault = "fault" // reports that it doesn't work
)

// Credential is what the simulated county needs to speak for a device, a line of DATA/secrets/demo-devices.json.
type Credential struct {
	ID    string `json:"id"`
	Kind  string `json:"kind"`
	Token string `json:"token"`
	Play  string `json:"play"`
}

// Serials that other parts of the demo name.
const (
	DemoRecorder = "DEMO-BWC-0001" // its card is docked; the ledger shows its purchase
	DemoDock     = "DEMO-DOCK-01"
)

// Devices registers 1,600-odd devices: a recorder for each officer, a docking station for each unit, computers, printers and what else
// such offices have. It may run again on the same data; tokens are new each time. Devices that never reported, are in repair or lost
// get none.
func Devices(ctx context.Context, d DevicesDeps) ([]Credential, error) {
	ctx = authority.WithActor(ctx, authority.System)
	c, err := newCounty(ctx, CasesDeps{Authority: d.Authority, Now: d.Now})
	if err != nil {
		return nil, err
	}
	s := &stock{c: c, r: mrand.New(mrand.NewPCG(1600, 23)), play: map[string]string{}}
	for _, t := range townships {
		s.unit(t.code)
	}
	for i := range departments {
		s.unit(departmentCode(i))
	}
	serials := make([]string, len(s.all))
	for i, x := range s.all {
		serials[i] = x.Serial
	}
	known, err := d.Devices.Known(ctx, serials)
	if err != nil {
		return nil, err
	}
	var fresh []devices.Device
	for _, x := range s.all {
		if known[x.Serial] == "" {
			fresh = append(fresh, x)
		}
	}
	if err := d.Devices.Register(ctx, fresh); err != nil {
		return nil, err
	}
	for _, x := range fresh {
		known[x.Serial] = x.ID
	}
	var ids []string
	var all []Credential
	for _, x := range s.all {
		if play := s.play[x.Serial]; play != "" {
			id := known[x.Serial]
			ids = append(ids, id)
			all = append(all, Credential{ID: id, Kind: x.Kind, Play: play})
		}
	}
	tokens, err := d.Devices.IssueTokens(ctx, ids)
	if err != nil {
		return nil, err
	}
	for i := range all {
		all[i].Token = tokens[all[i].ID]
	}
	return all, nil
}

// stock draws the devices of the county, the same ones each time.
type stock struct {
	c    *county
	r    *mrand.Rand
	all  []devices.Device
	play map[string]string // serial → how it is played; none for those that never report
	n    map[string]int    // running number in the unit, by kind
}

var kinds = []struct {
	kind, code, name, model string
	fen                     int64
}{
	{devices.Recorder, "BWC", "执法记录仪", "示例 DSJ-2", 248_000},
	{devices.Dock, "DOCK", "采集站", "示例 CJZ-16", 860_000},
	{devices.Computer, "PC", "办公计算机", "示例 台式机", 439_900},
	{devices.Printer, "PRN", "打印机", "示例 激光一体机", 159_900},
	{devices.Other, "EQ", "测距仪", "示例 激光测距仪", 36_000},
	{devices.Other, "EQ", "声级计", "示例 二级声级计", 42_000},
	{devices.Other, "EQ", "便携打印机", "示例 便携机", 98_000},
	{devices.Other, "EQ", "对讲机", "示例 公网对讲机", 65_000},
}

func (s *stock) unit(code string) {
	s.n = map[string]int{}
	officers := s.c.officers[code]
	for _, o := range officers {
		s.add(code, 0, o.ID)
	}
	s.add(code, 1, "")
	for i := range len(officers) + len(officers)/2 + 2 {
		owner := ""
		if i < len(officers) {
			owner = officers[i].ID
		}
		s.add(code, 2, owner)
	}
	for range len(officers)/2 + 4 {
		s.add(code, 3, "")
	}
	for i := range len(officers)/2 + 3 {
		s.add(code, 4+i%4, "")
	}
}

func (s *stock) add(unit string, k int, officer string) {
	kind := kinds[k]
	s.n[kind.code]++
	n := s.n[kind.code]
	d := devices.Device{Serial: fmt.Sprintf("SL-%s-%s-%03d", unit[5:], kind.code, n), Kind: kind.kind, Name: fmt.Sprintf("%s %d 号（示例）", kind.name, n),
		Model: kind.model, Township: unit, OfficerID: officer, Status: devices.InUse, CostFen: &kind.fen}
	play := PlayLive
	luck := s.r.IntN(1000) // drawn for every device, so that one more or less doesn't change the others
	switch {
	case unit == DongheCode && kind.kind == devices.Recorder && s.mine(officer):
		d.Serial = DemoRecorder
	case unit == DongheCode && kind.kind == devices.Dock:
		d.Serial = DemoDock
	case unit == "510821101" && kind.kind == devices.Dock:
		play = PlayFault // the dock that is down
	case kind.kind == devices.Dock:
	case luck < 9:
		d.Status, play = devices.Repair, ""
	case luck < 12:
		d.Status, play = devices.Lost, ""
	case luck < 18:
		d.Status, play = devices.Retired, ""
	case luck < 33:
		play = "" // issued, never switched on
	case luck < 90:
		play = PlayBrief
	}
	s.fund(&d, n)
	s.all = append(s.all, d)
	if play != "" {
		s.play[d.Serial] = play
	}
}

// mine says whether the officer is the one behind the demo account.
func (s *stock) mine(officer string) bool {
	for _, o := range s.c.officers[DongheCode] {
		if o.ID == officer {
			return o.UserID != ""
		}
	}
	return false
}

// fund says where the money came from: most was issued by the county, some was there before the ledger began, and a few pieces a year
// were bought by the township, which the ledger then posts.
func (s *stock) fund(d *devices.Device, n int) {
	year := s.c.today.Year()
	day := func(y int, m time.Month) *time.Time {
		t := time.Date(y, m, 3+s.r.IntN(20), 0, 0, 0, 0, time.UTC)
		return &t
	}
	luck := s.r.IntN(100)
	ownMoney := d.Township < "5108219" && d.Status != devices.Retired // departments have no ledger here
	switch {
	case d.Serial == DemoRecorder:
		t := time.Date(year, time.March, 12, 0, 0, 0, 0, time.UTC)
		if t.After(s.c.today) {
			t = s.c.today
		}
		d.Funding, d.BoughtOn = devices.FundPending, &t
	case ownMoney && d.Kind == devices.Recorder && n <= 2*LedgerYears:
		t := time.Date(year-(n-1)%LedgerYears, time.March, 12, 0, 0, 0, 0, time.UTC) // one order a year
		if t.After(s.c.today) {
			t = t.AddDate(-1, 0, 0)
		}
		d.Funding, d.BoughtOn = devices.FundPending, &t
	case ownMoney && d.Kind == devices.Printer && n == 1:
		t := time.Date(year-1, time.May, 20, 0, 0, 0, 0, time.UTC)
		d.Funding, d.BoughtOn = devices.FundPending, &t
	case d.Status == devices.Retired || luck < 22:
		d.Funding, d.BoughtOn = devices.FundOpening, day(year-LedgerYears-s.r.IntN(4), time.Month(1+s.r.IntN(12)))
	case luck < 34:
		d.Funding, d.BoughtOn = devices.FundSpecial, day(year-1-s.r.IntN(3), time.Month(1+s.r.IntN(12)))
	case luck < 37:
		d.Funding, d.BoughtOn, d.CostFen = devices.FundDonated, day(year-1-s.r.IntN(3), time.Month(1+s.r.IntN(12))), nil
	default:
		d.Funding, d.BoughtOn = devices.FundCounty, day(year-1-s.r.IntN(3), time.Month(1+s.r.IntN(12)))
	}
}
