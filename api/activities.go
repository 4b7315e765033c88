package api

import (
	"context"
	"slices"
	"strings"
	"time"

	openapi_types "github.com/oapi-codegen/runtime/types"

	"zhizheng/authority"
	"zhizheng/cases"
	"zhizheng/evidence"
)

// ListActivities gives a page of activities in the order of their beginning.
func (s *Server) ListActivities(ctx context.Context, r ListActivitiesRequestObject) (ListActivitiesResponseObject, error) {
	p := r.Params
	f := cases.ActivityFilter{Township: val(p.Township), CaseID: val(p.CaseID), After: val(p.Cursor), Limit: val(p.Limit)}
	if p.From != nil {
		f.From = &p.From.Time
	}
	if p.To != nil {
		f.To = &p.To.Time
	}
	page, next, total, err := s.Cases.Activities(ctx, f)
	if err != nil {
		return nil, err
	}
	items, err := s.activityViews(ctx, page...)
	return ListActivities200JSONResponse{Items: items, NextCursor: next, Total: total}, err
}

// PlanActivity enters one.
func (s *Server) PlanActivity(ctx context.Context, r PlanActivityRequestObject) (PlanActivityResponseObject, error) {
	b := r.Body
	a, err := s.Cases.PlanActivity(ctx, b.Township, val(b.Key), cases.Plan{Kind: string(b.Kind), Title: b.Title, Place: val(b.Place), Day: b.Day.Time, From: val(b.From),
		To: val(b.To), Officers: b.Officers, CaseID: val(b.CaseID)})
	if err != nil {
		return nil, err
	}
	v, err := s.activityFile(ctx, a)
	return PlanActivity201JSONResponse(v), err
}

// GetActivity gives one with its changes.
func (s *Server) GetActivity(ctx context.Context, r GetActivityRequestObject) (GetActivityResponseObject, error) {
	a, err := s.Cases.Activity(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	v, err := s.activityFile(ctx, a)
	return GetActivity200JSONResponse(v), err
}

// ChangeActivity writes another plan over the one that was seen.
func (s *Server) ChangeActivity(ctx context.Context, r ChangeActivityRequestObject) (ChangeActivityResponseObject, error) {
	b := r.Body
	a, err := s.Cases.ChangeActivity(ctx, r.ID, b.Revision, cases.Plan{Kind: string(b.Kind), Title: b.Title, Place: val(b.Place), Day: b.Day.Time, From: val(b.From),
		To: val(b.To), Officers: b.Officers, CaseID: val(b.CaseID)})
	if err != nil {
		return nil, err
	}
	v, err := s.activityFile(ctx, a)
	return ChangeActivity200JSONResponse(v), err
}

// CancelActivity says that it doesn't take place.
func (s *Server) CancelActivity(ctx context.Context, r CancelActivityRequestObject) (CancelActivityResponseObject, error) {
	a, err := s.Cases.CancelActivity(ctx, r.ID, r.Body.Revision, r.Body.Reason)
	if err != nil {
		return nil, err
	}
	v, err := s.activityFile(ctx, a)
	return CancelActivity200JSONResponse(v), err
}

// activityNames are the people that activities name: officers who take part, users who wrote.
func (s *Server) activityNames(ctx context.Context, all []cases.Activity) (map[string]string, error) {
	var ids []string
	for _, a := range all {
		ids = append(append(ids, a.CreatedBy), a.Officers...)
		for _, c := range a.Changes {
			ids = append(append(ids, c.Actor), c.Plan.Officers...)
		}
	}
	return s.Authority.Names(ctx, ids)
}

func (s *Server) activityViews(ctx context.Context, all ...cases.Activity) ([]Activity, error) {
	names, err := s.activityNames(ctx, all)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(all))
	for i, a := range all {
		ids[i] = a.ID
	}
	clips, err := s.Evidence.CountByActivity(ctx, ids)
	if err != nil {
		return nil, err
	}
	may := authority.ActorFrom(ctx).May("case:write")
	out := make([]Activity, len(all))
	for i, a := range all {
		v := Activity{ID: a.ID, Township: a.Township, TownshipName: a.TownshipName, Kind: ActivityKind(a.Kind), KindName: evidence.ActivityNames[a.Kind], Title: a.Title,
			Place: ptr(a.Place), Day: openapi_types.Date{Time: a.Day}, From: ptr(a.From), To: ptr(a.To), Revision: a.Revision, CancelledAt: a.CancelledAt,
			CancelReason: ptr(a.CancelReason), Editable: may && a.CancelledAt == nil && !a.Over(time.Now()), ClipCount: clips[a.ID], CreatedAt: a.CreatedAt,
			CreatedByName: actorName(a.CreatedBy, names)}
		for _, o := range a.Officers {
			v.Officers = append(v.Officers, ActivityOfficer{ID: o, Name: names[o]})
		}
		if a.CaseID != "" {
			v.Case = &ActivityCase{ID: a.CaseID, Number: a.CaseNumber, Title: a.CaseTitle}
		}
		out[i] = v
	}
	return out, nil
}

// activityFile is an activity with its changes, each beside what was there before.
func (s *Server) activityFile(ctx context.Context, a cases.Activity) (Activity, error) {
	views, err := s.activityViews(ctx, a)
	if err != nil {
		return Activity{}, err
	}
	names, err := s.activityNames(ctx, []cases.Activity{a})
	if err != nil {
		return Activity{}, err
	}
	for _, c := range a.Changes {
		if id := c.Plan.CaseID; id != "" && names[id] == "" {
			f, err := s.Cases.Get(ctx, id)
			if err != nil {
				return Activity{}, err
			}
			names[id] = f.Number
		}
	}
	var before cases.Plan
	changes := make([]ActivityChange, len(a.Changes))
	for i, c := range a.Changes {
		v := ActivityChange{At: c.At, ActorName: actorName(c.Actor, names), What: ActivityChangeWhat(c.What), Reason: ptr(c.Reason), Fields: []ActivityField{}}
		if i > 0 {
			was, is := planTexts(before, names), planTexts(c.Plan, names)
			for f := range was {
				if was[f].text != is[f].text {
					v.Fields = append(v.Fields, ActivityField{Field: was[f].field, Before: was[f].text, After: is[f].text})
				}
			}
		}
		before, changes[i] = c.Plan, v
	}
	views[0].Changes = &changes
	return views[0], nil
}

type planText struct {
	field ActivityFieldField
	text  string
}

// planTexts are the parts of a plan as people read them.
func planTexts(p cases.Plan, names map[string]string) []planText {
	when := p.Day.Format(time.DateOnly)
	if p.From != "" {
		when += " " + p.From + "–" + p.To
	}
	var who []string
	for _, o := range p.Officers {
		who = append(who, names[o])
	}
	return []planText{{ActivityFieldFieldKind, evidence.ActivityNames[p.Kind]}, {ActivityFieldFieldTitle, p.Title}, {ActivityFieldFieldPlace, p.Place},
		{ActivityFieldFieldTime, when}, {ActivityFieldFieldOfficers, strings.Join(who, "、")}, {ActivityFieldFieldCase, names[p.CaseID]}}
}

// activityOf is what a record's label names, nil if it names none. Whoever sees the record sees it.
func (s *Server) activityOf(ctx context.Context, rec evidence.Record) (*ActivityRef, error) {
	if rec.ActivityID == "" {
		return nil, nil
	}
	a, err := s.Cases.Activity(ctx, rec.ActivityID)
	if err != nil {
		return nil, err
	}
	return &ActivityRef{ID: a.ID, Kind: ActivityKind(a.Kind), KindName: evidence.ActivityNames[a.Kind], Title: a.Title, Day: openapi_types.Date{Time: a.Day},
		Cancelled: a.CancelledAt != nil}, nil
}

// planned are a township's activities as its stations show them: of two days ago, for who docks late, to tomorrow, for a station without a link.
func (s *Server) planned(ctx context.Context, township string) ([]StationActivity, error) {
	today := authority.Day(time.Now())
	from, to := today.AddDate(0, 0, -2), today.AddDate(0, 0, 1)
	out := []StationActivity{}
	for cursor := ""; ; {
		page, next, _, err := s.Cases.Activities(ctx, cases.ActivityFilter{Township: township, From: &from, To: &to, Running: true, After: cursor, Limit: 200})
		if err != nil {
			return nil, err
		}
		for _, a := range page {
			out = append(out, StationActivity{ID: a.ID, Kind: ActivityKind(a.Kind), Title: a.Title, Place: ptr(a.Place), Day: openapi_types.Date{Time: a.Day},
				Starts: a.Starts, Ends: a.Ends, AllDay: a.From == "", Officers: slices.Clone(a.Officers)})
		}
		if cursor = next; cursor == "" {
			return out, nil
		}
	}
}
