package cases

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"zhizheng/authority"
	"zhizheng/cases/internal/db"
	"zhizheng/evidence"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// An activity (执法活动) is what officers of a township set out to do on a day. Clips are labelled with it, and a case may grow out of it. It
// is a plan and no leaf of the log: what rests on it is an officer's word about a clip, and that word is a leaf which names it.

// Activity is one of them.
type Activity struct {
	ID, Township, TownshipName string
	Plan
	Starts, Ends          time.Time // of one without hours: the day's own
	CaseNumber, CaseTitle string
	Revision              int
	CancelledAt           *time.Time
	CancelReason          string
	CreatedBy             string
	CreatedAt             time.Time
	Changes               []ActivityChange // oldest first; not in a list
}

// Plan is what people say of an activity.
type Plan struct {
	Kind     string    `json:"kind"` // of evidence.ActivityNames
	Title    string    `json:"title"`
	Place    string    `json:"place,omitempty"`
	Day      time.Time `json:"day"`            // midnight UTC of the county's calendar day
	From     string    `json:"from,omitempty"` // hour and minute, 15:04; both or neither
	To       string    `json:"to,omitempty"`   // not after From: of the next day
	Officers []string  `json:"officers"`
	CaseID   string    `json:"case_id,omitempty"`
}

// ActivityChange is a step in an activity's life: planned, changed, cancelled. Plan is how it stood then.
type ActivityChange struct {
	At                  time.Time
	Actor, What, Reason string
	Plan                Plan
}

// Over says that nothing of an activity may change any more: its day is over, and it has ended.
func (a Activity) Over(now time.Time) bool {
	return now.After(a.Ends) && authority.Day(now).After(a.Day)
}

// twoOfficers are the kinds for which the law asks for two certified officers (R02): inspections and investigations.
var twoOfficers = []string{"inspection", "investigation"}

const hourMinute = "15:04"

// hours gives when the plan's activity begins and ends.
func (p Plan) hours() (starts, ends time.Time, allDay bool, err error) {
	y, m, d := p.Day.Date()
	day := time.Date(y, m, d, 0, 0, 0, 0, authority.County)
	if p.From == "" && p.To == "" {
		return day, day.AddDate(0, 0, 1), true, nil
	}
	from, ferr := time.Parse(hourMinute, p.From)
	to, terr := time.Parse(hourMinute, p.To)
	if ferr != nil || terr != nil {
		return starts, ends, false, fault.Invalid("起止时间须同时填写，形如 09:30")
	}
	at := func(t time.Time) time.Time {
		return day.Add(time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute)
	}
	starts, ends = at(from), at(to)
	if !ends.After(starts) { // through the night
		ends = ends.AddDate(0, 0, 1)
	}
	return starts, ends, false, nil
}

// judge cleans a plan and refuses what can't be: by R02 too few certified officers for what needs two.
func (s *Service) judge(ctx context.Context, township string, p *Plan) error {
	p.Title, p.Place = strings.TrimSpace(p.Title), strings.TrimSpace(p.Place)
	if _, ok := evidence.ActivityNames[p.Kind]; !ok {
		return fault.Invalid("没有这种执法活动")
	}
	if n := utf8.RuneCountInString(p.Title); n < 2 || n > 60 {
		return fault.Invalid("名称须为 2 至 60 个字")
	}
	if utf8.RuneCountInString(p.Place) > 200 {
		return fault.Invalid("地点不超过 200 个字")
	}
	today := authority.Day(s.now())
	if p.Day = authority.Day(p.Day); p.Day.Before(today) {
		return fault.Invalid("执法活动的日期不能早于今天")
	}
	if p.Day.After(today.AddDate(1, 0, 0)) {
		return fault.Invalid("执法活动的日期不能晚于一年之后")
	}
	if err := s.judgeOfficers(ctx, township, p); err != nil {
		return err
	}
	if p.CaseID == "" {
		return nil
	}
	c, err := s.q.GetCase(ctx, db.GetCaseParams{ID: p.CaseID, Scope: []string{township}})
	if errors.Is(err, pgx.ErrNoRows) {
		return fault.Invalid("该乡镇没有所选的案件")
	}
	if err != nil {
		return fmt.Errorf("read case %s: %w", p.CaseID, err)
	}
	if c.ClosedAt != nil {
		return fault.Conflict("案件 %s 已结，不能再为它安排执法活动", c.Number)
	}
	return nil
}

func (s *Service) judgeOfficers(ctx context.Context, township string, p *Plan) error {
	if len(p.Officers) == 0 || len(p.Officers) > 20 {
		return fault.Invalid("请选择 1 至 20 名执法人员")
	}
	found, err := s.authority.Officers(ctx, p.Officers)
	if err != nil {
		return err
	}
	byID := make(map[string]authority.Officer, len(found))
	for _, o := range found {
		byID[o.ID] = o
	}
	if slices.Contains(twoOfficers, p.Kind) {
		town, err := s.authority.GetTownship(ctx, township)
		if err != nil {
			return err
		}
		hs, err := judgeHandlers(p.Officers, byID, town, p.Day)
		if err != nil {
			return err
		}
		p.Officers = nil
		for _, h := range hs {
			p.Officers = append(p.Officers, h.id)
		}
		return nil
	}
	var once []string
	for i, oid := range p.Officers {
		if o, ok := byID[oid]; !ok || o.Township != township {
			return fault.Invalid("所选第 %d 名执法人员不属于该乡镇", i+1)
		}
		if !slices.Contains(once, oid) {
			once = append(once, oid)
		}
	}
	p.Officers = once
	return nil
}

// PlanActivity enters an activity of today or a day to come, or gives the one that was entered under the same key.
func (s *Service) PlanActivity(ctx context.Context, township, key string, p Plan) (Activity, error) {
	actor := authority.ActorFrom(ctx)
	if !actor.Sees(township) {
		return Activity{}, fault.NotFound("没有乡镇 %s", township)
	}
	if a, ok, err := s.plannedBefore(ctx, township, key); ok || err != nil {
		return a, err
	}
	if _, err := s.authority.GetTownship(ctx, township); err != nil {
		return Activity{}, err
	}
	if err := s.judge(ctx, township, &p); err != nil {
		return Activity{}, err
	}
	starts, ends, allDay, err := p.hours()
	if err != nil {
		return Activity{}, err
	}
	row := db.AddActivityParams{ID: id.New(), PlanKey: opt(key), Township: township, Kind: p.Kind, Title: p.Title, Place: p.Place, Day: p.Day, Starts: starts.UTC(), Ends: ends.UTC(),
		AllDay: allDay, Officers: p.Officers, CaseID: opt(p.CaseID), CreatedBy: actor.UserID, CreatedAt: s.now().UTC()}
	err = pg.InTx(ctx, s.pool, func(tx *pg.Tx) error {
		q := db.New(tx)
		if err := q.AddActivity(ctx, row); err != nil {
			return fmt.Errorf("add activity: %w", err)
		}
		return addChange(ctx, q, row.ID, 1, ActivityChange{At: row.CreatedAt, Actor: actor.UserID, What: "planned", Plan: p})
	})
	if key != "" && pg.IsUnique(err, "activity_plan_key_key") { // the same request arrived twice at once; the other one has won
		if a, ok, err := s.plannedBefore(ctx, township, key); ok || err != nil {
			return a, err
		}
		return Activity{}, fault.Conflict("幂等键已用于另一执法活动")
	}
	if err != nil {
		return Activity{}, err
	}
	return s.Activity(ctx, row.ID)
}

func (s *Service) plannedBefore(ctx context.Context, township, key string) (Activity, bool, error) {
	if key == "" {
		return Activity{}, false, nil
	}
	known, err := s.q.ActivityByKey(ctx, db.ActivityByKeyParams{PlanKey: &key, Township: township})
	if errors.Is(err, pgx.ErrNoRows) {
		return Activity{}, false, nil
	}
	if err != nil {
		return Activity{}, false, fmt.Errorf("look up activity key: %w", err)
	}
	a, err := s.Activity(ctx, known)
	return a, true, err
}

func addChange(ctx context.Context, q *db.Queries, activity string, n int, c ActivityChange) error {
	body, err := json.Marshal(c.Plan)
	if err != nil {
		return err
	}
	err = q.AddActivityChange(ctx, db.AddActivityChangeParams{ActivityID: activity, N: int32(n), At: c.At, Actor: c.Actor, What: c.What, Reason: c.Reason, Body: body})
	if err != nil {
		return fmt.Errorf("note a change of activity %s: %w", activity, err)
	}
	return nil
}

// ChangeActivity writes another plan over the revision that the caller saw, while the activity's day lasts.
func (s *Service) ChangeActivity(ctx context.Context, activity string, revision int, p Plan) (Activity, error) {
	before, err := s.Activity(ctx, activity)
	if err != nil {
		return before, err
	}
	if err := s.judge(ctx, before.Township, &p); err != nil {
		return before, err
	}
	starts, ends, allDay, err := p.hours()
	if err != nil {
		return before, err
	}
	return s.amend(ctx, activity, revision, func(q *db.Queries, n int) (ActivityChange, error) {
		err := q.ChangeActivity(ctx, db.ChangeActivityParams{ID: activity, Kind: p.Kind, Title: p.Title, Place: p.Place, Day: p.Day, Starts: starts.UTC(), Ends: ends.UTC(),
			AllDay: allDay, Officers: p.Officers, CaseID: opt(p.CaseID), Revision: int32(n)})
		return ActivityChange{What: "changed", Plan: p}, err
	})
}

// CancelActivity says that it doesn't take place, and why, while its day lasts. It stays, and so do labels that name it.
func (s *Service) CancelActivity(ctx context.Context, activity string, revision int, reason string) (Activity, error) {
	reason = strings.TrimSpace(reason)
	if n := utf8.RuneCountInString(reason); n < 2 || n > 200 {
		return Activity{}, fault.Invalid("理由须为 2 至 200 个字")
	}
	return s.amend(ctx, activity, revision, func(q *db.Queries, n int) (ActivityChange, error) {
		now := s.now().UTC()
		err := q.CancelActivity(ctx, db.CancelActivityParams{ID: activity, CancelledAt: &now, CancelReason: reason, Revision: int32(n)})
		return ActivityChange{What: "cancelled", Reason: reason}, err
	})
}

// amend does one change of an activity that may still change, and notes it.
func (s *Service) amend(ctx context.Context, activity string, revision int, do func(q *db.Queries, n int) (ActivityChange, error)) (Activity, error) {
	actor := authority.ActorFrom(ctx)
	err := pg.InTx(ctx, s.pool, func(tx *pg.Tx) error {
		q := db.New(tx)
		row, err := q.LockActivity(ctx, db.LockActivityParams{ID: activity, Scope: actor.Scope()})
		if errors.Is(err, pgx.ErrNoRows) {
			return errNoActivity(activity)
		}
		if err != nil {
			return fmt.Errorf("read activity %s: %w", activity, err)
		}
		was := activityOf(db.GetActivityRow{ID: row.ID, Kind: row.Kind, Title: row.Title, Place: row.Place, Day: row.Day, Starts: row.Starts, Ends: row.Ends,
			AllDay: row.AllDay, Officers: row.Officers, CaseID: row.CaseID})
		switch {
		case row.CancelledAt != nil:
			return fault.Conflict("这项执法活动已取消")
		case was.Over(s.now()):
			return fault.Conflict("这项执法活动的当天已过，不能再改")
		case int(row.Revision) != revision:
			return fault.Conflict("这项执法活动刚被别人改过，请看过再改").Then("刷新本页")
		}
		n := int(row.Revision) + 1
		c, err := do(q, n)
		if err != nil {
			return fmt.Errorf("change activity %s: %w", activity, err)
		}
		c.At, c.Actor = s.now().UTC(), actor.UserID
		if c.What == "cancelled" {
			c.Plan = was.Plan
		}
		return addChange(ctx, q, activity, n, c)
	})
	if err != nil {
		return Activity{}, err
	}
	return s.Activity(ctx, activity)
}

func errNoActivity(id string) error { return fault.NotFound("没有执法活动 %s", id) }

// Activity gives one in the scope of ctx' actor, with its changes.
func (s *Service) Activity(ctx context.Context, activity string) (Activity, error) {
	r, err := s.q.GetActivity(ctx, db.GetActivityParams{ID: activity, Scope: authority.ActorFrom(ctx).Scope()})
	if errors.Is(err, pgx.ErrNoRows) {
		return Activity{}, errNoActivity(activity)
	}
	if err != nil {
		return Activity{}, fmt.Errorf("read activity %s: %w", activity, err)
	}
	a := activityOf(r)
	rows, err := s.q.ActivityChanges(ctx, activity)
	if err != nil {
		return a, fmt.Errorf("read changes of activity %s: %w", activity, err)
	}
	for _, c := range rows {
		change := ActivityChange{At: c.At, Actor: c.Actor, What: c.What, Reason: c.Reason}
		if err := json.Unmarshal(c.Body, &change.Plan); err != nil {
			return a, fmt.Errorf("read changes of activity %s: %w", activity, err)
		}
		a.Changes = append(a.Changes, change)
	}
	return a, nil
}

// ActivityTownship gives an activity's township, whoever asks; "" if there is no such activity.
func (s *Service) ActivityTownship(ctx context.Context, activity string) (string, error) {
	town, err := s.q.ActivityTownship(ctx, activity)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look up activity: %w", err)
	}
	return town, nil
}

// ActivityFilter narrows a list; zero fields don't. From and To are days, both included. Running leaves cancelled ones out.
type ActivityFilter struct {
	Township, CaseID string
	From, To         *time.Time
	Running          bool
	After            string // the previous page's cursor
	Limit            int
}

// Activities gives a page in the scope of ctx' actor, in the order of their beginning, the next page's cursor ("" at the end) and how many
// there are in all, cancelled ones among them.
func (s *Service) Activities(ctx context.Context, f ActivityFilter) (page []Activity, next string, total int64, err error) {
	limit := f.Limit
	if limit < 1 {
		limit = 50
	}
	limit = min(limit, 200)
	p := db.ListActivitiesParams{Scope: authority.ActorFrom(ctx).Scope(), Township: f.Township, CaseID: f.CaseID, FromDay: f.From, ToDay: f.To, Running: f.Running, Max: int32(limit + 1)}
	if f.After != "" {
		at, after, ok := strings.Cut(f.After, "/")
		if p.AfterAt, err = time.Parse(time.RFC3339, at); err != nil || !ok || after == "" {
			return nil, "", 0, fault.Invalid("翻页游标无效")
		}
		p.AfterID = after
	}
	rows, err := s.q.ListActivities(ctx, p)
	if err != nil {
		return nil, "", 0, fmt.Errorf("list activities: %w", err)
	}
	if len(rows) > limit {
		rows = rows[:limit]
		last := rows[limit-1]
		next = last.Starts.UTC().Format(time.RFC3339) + "/" + last.ID
	}
	page = make([]Activity, len(rows))
	for i, r := range rows {
		page[i] = activityOf(db.GetActivityRow(r))
	}
	total, err = s.q.CountActivities(ctx, db.CountActivitiesParams{Scope: p.Scope, Township: p.Township, FromDay: p.FromDay, ToDay: p.ToDay, CaseID: p.CaseID})
	if err != nil {
		return nil, "", 0, fmt.Errorf("count activities: %w", err)
	}
	return page, next, total, nil
}

func activityOf(r db.GetActivityRow) Activity {
	a := Activity{ID: r.ID, Township: r.Township, TownshipName: r.TownshipName, Starts: r.Starts, Ends: r.Ends, CaseNumber: deref(r.CaseNumber), CaseTitle: deref(r.CaseTitle),
		Revision: int(r.Revision), CancelledAt: r.CancelledAt, CancelReason: r.CancelReason, CreatedBy: r.CreatedBy, CreatedAt: r.CreatedAt,
		Plan: Plan{Kind: r.Kind, Title: r.Title, Place: r.Place, Day: r.Day, Officers: r.Officers, CaseID: deref(r.CaseID)}}
	if !r.AllDay {
		a.From, a.To = r.Starts.In(authority.County).Format(hourMinute), r.Ends.In(authority.County).Format(hourMinute)
	}
	return a
}

func opt(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
