package demo

import (
	"context"
	"fmt"
	mrand "math/rand/v2"
	"time"

	"zhizheng/authority"
	"zhizheng/cases"
	"zhizheng/evidence"
	"zhizheng/ingest"
	"zhizheng/internal/id"
)

// ActivitiesDeps are what the demo's activities need. Cases has to be loaded before.
type ActivitiesDeps struct {
	Authority *authority.Service
	Cases     func(now time.Time) *cases.Service // a service whose clock stands still: an activity can't be planned for a day that is over
	Now       time.Time
}

// outing is an activity of every day.
type outing struct {
	kind, title, place, from, to string
	cancelled                    string // why, on every other day
}

// ofDonghe is a day in 东河镇, ofOthers a choice of what the other townships do.
var (
	ofDonghe = []outing{
		{"inspection", "集市占道经营检查", "东河镇集市", "08:30", "11:30", ""},
		{"service", "法律文书送达", "东河镇各村", "", "", ""},
		{"patrol", "秸秆禁烧巡查", "沿河片区", "14:00", "17:30", ""},
		{"publicity", "普法进院坝", "示例村文化广场", "15:00", "16:30", "大雨，改期（示例）"},
		{"patrol", "夜间占道巡查", "滨河路", "19:30", "22:30", ""},
	}
	ofOthers = []outing{
		{"patrol", "森林防火巡查", "林区入口", "09:00", "12:00", ""},
		{"inspection", "餐饮油烟检查", "场镇", "10:00", "11:30", ""},
		{"patrol", "河道采砂巡查", "沿河片区", "14:30", "17:00", ""},
		{"persuasion", "占道经营劝导", "集市", "08:00", "10:00", ""},
		{"publicity", "防溺水宣传", "中心小学门前", "15:30", "16:30", ""},
		{"patrol", "日常巡查", "", "", "", ""},
	}
)

// Activities plans what is done in the county from three days ago to tomorrow. It may run again, on later days too: what is there stays.
func Activities(ctx context.Context, d ActivitiesDeps) error {
	ctx = authority.WithActor(ctx, authority.System)
	c, err := newCounty(ctx, CasesDeps{Authority: d.Authority, Now: d.Now})
	if err != nil {
		return err
	}
	for ago := 3; ago >= -1; ago-- {
		day := c.ago(ago)
		c.r = mrand.New(mrand.NewPCG(uint64(day.Unix()), 386)) // of each day, whenever it is planned
		svc := d.Cases(d.Now)
		if ago > 0 {
			svc = d.Cases(day)
		}
		for _, t := range townships {
			outings := ofDonghe
			if t.code != DongheCode {
				outings = []outing{ofOthers[c.r.IntN(len(ofOthers))]}
			}
			for i, o := range outings {
				key := fmt.Sprintf("demo/activity/%s/%s/%d", day.Format(time.DateOnly), t.code, i)
				a, err := svc.PlanActivity(ctx, t.code, key, cases.Plan{Kind: o.kind, Title: o.title + "（示例）", Place: o.place, Day: day, From: o.from, To: o.to, Officers: c.pair(t.code, day)})
				if err != nil {
					return fmt.Errorf("plan %s in %s: %w", o.title, t.name, err)
				}
				if o.cancelled == "" || day.Day()%2 == 1 || a.CancelledAt != nil || ago < 0 {
					continue
				}
				if _, err := svc.CancelActivity(ctx, a.ID, a.Revision, o.cancelled); err != nil {
					return fmt.Errorf("cancel %s in %s: %w", o.title, t.name, err)
				}
			}
		}
	}
	return nil
}

// LabelsDeps are what labelling the demo's footage needs. Station is the demo's docking station.
type LabelsDeps struct {
	ActivitiesDeps
	Evidence *evidence.Keeper
	Ingest   *ingest.Service
	Station  ingest.Station
}

// labelled says what the demo's clips show, by the end of their names, and how many days ago. A title names an activity of its own, planned for
// it; an empty one is a label by a word alone. The last clip has none: whoever docked it skipped the question.
var labelled = []struct {
	file        string
	ago         int
	kind, title string
	place       string
	of          string // part of the title of the running case that it belongs to
}{
	{"_0036.mp4", 3, "inspection", "河道采砂检查", "东河沿岸", ""},
	{"_0037.mp4", 3, "inspection", "河道采砂检查", "东河沿岸", ""},
	{"_0038.mp4", 2, "inspection", "在建房屋规划检查", "示例村", ""},
	{"_0039.mp4", 2, "patrol", "环境卫生巡查", "示例村路口", ""},
	{"_0040.mp4", 1, "investigation", "露天焚烧秸秆现场调查", "沿河片区", "秸秆"},
	{"_0044.mp4", 1, "investigation", "露天焚烧秸秆现场调查", "沿河片区", "秸秆"},
	{"_0045.mp4", 1, "persuasion", "", "", ""},
	{"_0046.mp4", 0, "patrol", "街面例行巡查", "滨河路", ""},
}

// Labels says of the demo's docked clips which activity they show, as the officer would at the station, and why numbers are missing. It answers
// how many it labelled; those that are labelled stay.
func Labels(ctx context.Context, d LabelsDeps) (int, error) {
	ctx = authority.WithActor(ctx, authority.System)
	c, err := newCounty(ctx, CasesDeps{Authority: d.Authority, Now: d.Now})
	if err != nil {
		return 0, err
	}
	me, mate := "", ""
	for _, o := range c.officers[DongheCode] {
		if _, ok := o.CertificateOn(c.ago(3)); !ok {
			continue
		}
		if o.UserID != "" {
			me = o.ID
		} else if mate == "" {
			mate = o.ID
		}
	}
	var events []ingest.Event
	say := func(e ingest.Event) {
		e.ID, e.At, e.Officer, e.Recorder = id.New(), d.Now, me, DemoRecorder
		e.Data.Slot, e.Data.By = 1, "card"
		events = append(events, e)
	}
	n := 0
	for _, l := range labelled {
		clips, err := d.Evidence.List(ctx, evidence.Scope{Townships: []string{DongheCode}}, evidence.Filter{Station: DemoDock, Query: l.file}, "", 1)
		if err != nil {
			return 0, err
		}
		if len(clips.Items) == 0 || clips.Items[0].Activity != "" {
			continue
		}
		e := ingest.Event{Kind: ingest.EventLabelled, Evidence: clips.Items[0].ID, Data: ingest.EventData{Activity: l.kind}}
		if l.title != "" {
			p := cases.Plan{Kind: l.kind, Title: l.title + "（示例）", Place: l.place, Day: c.ago(l.ago), Officers: []string{me, mate}}
			if p.CaseID, err = runningCase(ctx, d.Cases(d.Now), l.of); err != nil {
				return 0, err
			}
			clock := d.Now
			if l.ago > 0 {
				clock = p.Day
			}
			a, err := d.Cases(clock).PlanActivity(ctx, DongheCode, "demo/activity/"+p.Day.Format(time.DateOnly)+"/"+l.title, p)
			if err != nil {
				return 0, fmt.Errorf("plan %s: %w", l.title, err)
			}
			e.Data.ActivityID = a.ID
		}
		say(e)
		n++
	}
	chain, err := d.Ingest.Chain(ctx, evidence.Scope{}, ingest.ChainOf{Recorder: DemoRecorder})
	if err != nil {
		return 0, err
	}
	for _, g := range chain.Inferred {
		if len(g.Reasons) == 0 {
			say(ingest.Event{Kind: ingest.EventGapReason, Data: ingest.EventData{Series: g.Series, First: g.First, Last: g.Last, Reason: "更换电池（示例）"}})
		}
	}
	if len(events) == 0 {
		return 0, nil
	}
	results, err := d.Ingest.SubmitEvents(ctx, d.Station, events)
	if err != nil {
		return 0, err
	}
	for _, r := range results {
		if r.Status != ingest.Accepted {
			return 0, fmt.Errorf("label the demo's footage: %s: %s", r.Code, r.Error)
		}
	}
	return n, nil
}

// runningCase is the running case of 东河镇 whose title has a part, "" for no part. Exhibits links the same.
func runningCase(ctx context.Context, svc *cases.Service, part string) (string, error) {
	if part == "" {
		return "", nil
	}
	open := true
	page, _, _, err := svc.List(ctx, cases.Filter{Township: DongheCode, Open: &open, Stage: cases.Investigation, Q: part, Limit: 1})
	if err != nil || len(page) == 0 {
		return "", err
	}
	return page[0].ID, nil
}
