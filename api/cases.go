package api

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"time"

	openapi_types "github.com/oapi-codegen/runtime/types"

	"zhizheng/authority"
	"zhizheng/cases"
	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/internal/fault"
)

// ListCases gives a page of cases, newest filing first.
func (s *Server) ListCases(ctx context.Context, r ListCasesRequestObject) (ListCasesResponseObject, error) {
	p := r.Params
	f := cases.Filter{Township: val(p.Township), Q: val(p.Q), Stage: cases.Stage(val(p.Stage)), Open: p.Open, EvidenceID: val(p.EvidenceID),
		After: val(p.Cursor), Limit: val(p.Limit)}
	if p.From != nil {
		f.From = &p.From.Time
	}
	if p.To != nil {
		f.To = &p.To.Time
	}
	page, next, total, err := s.Cases.List(ctx, f)
	if err != nil {
		return nil, err
	}
	items := make([]Case, len(page))
	for i, c := range page {
		items[i] = caseView(c)
	}
	return ListCases200JSONResponse{Items: items, NextCursor: next, Total: &total}, nil
}

// OpenCase opens a case.
func (s *Server) OpenCase(ctx context.Context, r OpenCaseRequestObject) (OpenCaseResponseObject, error) {
	b := r.Body
	o := cases.Opening{Key: val(b.Key), Township: b.Township, PowerItem: b.PowerItem, Title: b.Title, Facts: val(b.Summary), Place: val(b.Place),
		Officers: b.Officers}
	if b.OccurredOn != nil {
		o.ActOn = &b.OccurredOn.Time
	}
	f, err := s.Cases.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	v, err := s.caseFile(ctx, f)
	return OpenCase201JSONResponse(v), err
}

// GetCase gives one case file.
func (s *Server) GetCase(ctx context.Context, r GetCaseRequestObject) (GetCaseResponseObject, error) {
	f, err := s.Cases.Get(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	v, err := s.caseFile(ctx, f)
	return GetCase200JSONResponse(v), err
}

// AdvanceCase enters the next stage.
func (s *Server) AdvanceCase(ctx context.Context, r AdvanceCaseRequestObject) (AdvanceCaseResponseObject, error) {
	f, err := s.Cases.Advance(ctx, r.ID, cases.Step{To: cases.Stage(r.Body.Stage), Note: val(r.Body.Note), Decision: val(r.Body.Decision),
		FineFen: r.Body.FineFen})
	if err != nil {
		return nil, err
	}
	v, err := s.caseFile(ctx, f)
	return AdvanceCase200JSONResponse(v), err
}

// LinkEvidence makes a record an exhibit.
func (s *Server) LinkEvidence(ctx context.Context, r LinkEvidenceRequestObject) (LinkEvidenceResponseObject, error) {
	e, err := s.Cases.Link(ctx, r.ID, r.Body.EvidenceID, r.Body.Purpose)
	if err != nil {
		return nil, err
	}
	s.exhibited(ctx, e.EvidenceID)
	f, err := s.Cases.Get(ctx, r.ID) // its number is its place among the others
	if err != nil {
		return nil, err
	}
	views, err := s.exhibits(ctx, f.Exhibits)
	if err != nil {
		return nil, err
	}
	for _, v := range views {
		if v.EvidenceID == e.EvidenceID {
			return LinkEvidence201JSONResponse(v), nil
		}
	}
	return nil, fault.Conflict("该证据的关联刚被解除")
}

// UnlinkEvidence takes an exhibit off.
func (s *Server) UnlinkEvidence(ctx context.Context, r UnlinkEvidenceRequestObject) (UnlinkEvidenceResponseObject, error) {
	return UnlinkEvidence204Response{}, s.Cases.Unlink(ctx, r.ID, r.EvidenceID, r.Body.Reason)
}

func caseView(c cases.Case) Case {
	v := Case{ID: c.ID, Number: c.Number, Title: c.Title, Township: c.Township, TownshipName: c.TownshipName, Stage: string(c.Stage),
		StageName: c.Stage.Name(), Open: c.Stage.Open(), OpenedAt: c.OpenedAt, ClosedAt: c.ClosedAt, PowerItem: c.PowerItem,
		PowerItemName: c.ItemName, Mode: ptr(string(c.Mode)), ModeName: ptr(c.Mode.Name()), Place: ptr(c.Place),
		OccurredOn: &openapi_types.Date{Time: c.ActOn}, Summary: ptr(c.Facts), Decision: ptr(c.Decision), FineFen: c.FineFen,
		EvidenceCount: c.EvidenceCount}
	if c.Due != nil {
		v.DueOn = &openapi_types.Date{Time: *c.Due}
		left := cases.DaysLeft(authority.Day(time.Now()), *c.Due)
		v.DaysLeft = &left
	}
	return v
}

// caseFile is a case with its officers, acts and exhibits.
func (s *Server) caseFile(ctx context.Context, f cases.File) (Case, error) {
	v := caseView(f.Case)
	officers := make([]CaseOfficer, len(f.Officers))
	for i, o := range f.Officers {
		officers[i] = CaseOfficer{ID: o.ID, Name: o.Name, Certificate: o.Certificate, Unit: ptr(o.Unit)}
	}
	acts, err := s.acts(ctx, f.Events)
	if err != nil {
		return Case{}, err
	}
	exhibits, err := s.exhibits(ctx, f.Exhibits)
	if err != nil {
		return Case{}, err
	}
	v.Officers, v.Acts, v.Exhibits, v.EvidenceCount = &officers, &acts, &exhibits, len(exhibits)
	if f.EvidenceRoot != nil {
		m := chain.Mark{CaseID: f.ID, Root: f.EvidenceRoot, Key: chain.Fingerprint(s.Log.VKey())}
		v.Frozen = &struct {
			Key  string `json:"key"`
			Mark string `json:"mark"`
			Root string `json:"root"`
		}{m.Key, m.Text(), hex.EncodeToString(m.Root)}
	}
	if authority.ActorFrom(ctx).May("case:write") {
		next := make([]struct {
			Name  string `json:"name"`
			Stage string `json:"stage"`
		}, 0, 3)
		for _, st := range f.Stage.Next() {
			next = append(next, struct {
				Name  string `json:"name"`
				Stage string `json:"stage"`
			}{st.Name(), string(st)})
		}
		v.NextStages = &next
	}
	return v, nil
}

var eventNames = map[string]string{"linked": "关联证据", "unlinked": "解除证据关联", "hold": "保全", "exported": "导出证据包"}

func (s *Server) acts(ctx context.Context, events []cases.Event) ([]CaseAct, error) {
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.Actor
	}
	names, err := s.Authority.Names(ctx, ids)
	if err != nil {
		return nil, err
	}
	acts := make([]CaseAct, len(events))
	for i, e := range events {
		a := CaseAct{Time: e.At, Stage: string(e.Stage), StageName: e.Stage.Name(), ActorName: names[e.Actor], Note: ptr(e.Note)}
		if n, ok := eventNames[e.Kind]; ok {
			a.StageName = n
		}
		if day := authority.Day(e.At); !e.Day.Equal(day) {
			a.Time = e.Day.Add(90 * time.Minute) // taken over later: shown on the day of the act, 09:30 at +08:00
		}
		if e.LeafKey != "" {
			leaf, err := s.Log.ByKey(ctx, e.LeafKey)
			if err != nil {
				return nil, err
			}
			a.LeafIndex = &leaf.Seq
		}
		acts[i] = a
	}
	return acts, nil
}

// exhibits adds what the evidence domain knows of each exhibit.
func (s *Server) exhibits(ctx context.Context, all []cases.Exhibit) ([]Exhibit, error) {
	ids, people := make([]string, len(all)), make([]string, len(all))
	for i, e := range all {
		ids[i], people[i] = e.EvidenceID, e.LinkedBy
	}
	views := make([]Exhibit, 0, len(all))
	if len(all) == 0 {
		return views, nil
	}
	names, err := s.Authority.Names(ctx, people)
	if err != nil {
		return nil, err
	}
	records, err := s.Evidence.Many(ctx, evidence.Scope{Townships: authority.ActorFrom(ctx).Scope()}, ids)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]evidence.Record, len(records))
	for _, r := range records {
		byID[string(r.ID)] = r
	}
	for i, e := range all {
		r, ok := byID[e.EvidenceID]
		if !ok {
			return nil, fault.NotFound("没有证据 %s", e.EvidenceID)
		}
		var media struct {
			DurationMs int64 `json:"duration_ms"`
		}
		if err := json.Unmarshal(r.Media, &media); err != nil {
			return nil, err
		}
		n, poster := i+1, r.PosterKey != ""
		views = append(views, Exhibit{EvidenceID: e.EvidenceID, Purpose: e.Purpose, LinkedAt: e.LinkedAt, LinkedByName: ptr(names[e.LinkedBy]),
			Number: &n, FileName: r.FileName, Status: EvidenceStatus(r.Status), Sha256: r.SHA256Hex(), Size: &r.Size, HoldState: r.HoldState,
			Verdict: ptr(r.Verdict), HasPoster: &poster, DurationMs: ptr(media.DurationMs)})
	}
	return views, nil
}
