package api

import (
	"context"

	"zhizheng/authority"
	"zhizheng/evidence/audit"
	"zhizheng/internal/fault"
)

// ListAudits gives runs, newest first, without findings and transcripts.
func (s *Server) ListAudits(ctx context.Context, r ListAuditsRequestObject) (ListAuditsResponseObject, error) {
	runs, next, err := s.Audit.List(ctx, string(val(r.Params.Kind)), val(r.Params.Cursor), pageLimit(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	out := ListAudits200JSONResponse{Items: make([]AuditRun, len(runs)), NextCursor: next}
	for i, run := range runs {
		if out.Items[i], err = s.auditRun(ctx, run, false); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// GetAudit gives one run with findings and transcript.
func (s *Server) GetAudit(ctx context.Context, r GetAuditRequestObject) (GetAuditResponseObject, error) {
	run, err := s.Audit.Get(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	v, err := s.auditRun(ctx, run, true)
	return GetAudit200JSONResponse(v), err
}

// StartAudit starts a run in the background.
func (s *Server) StartAudit(ctx context.Context, r StartAuditRequestObject) (StartAuditResponseObject, error) {
	run, err := s.Audit.Start(ctx, string(r.Body.Kind), authority.ActorFrom(ctx).UserID)
	if err != nil {
		return nil, err
	}
	v, err := s.auditRun(ctx, run, false)
	return StartAudit202JSONResponse(v), err
}

// PauseAudit pauses a re-read.
func (s *Server) PauseAudit(ctx context.Context, r PauseAuditRequestObject) (PauseAuditResponseObject, error) {
	run, err := s.Audit.Pause(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	v, err := s.auditRun(ctx, run, false)
	return PauseAudit200JSONResponse(v), err
}

// ResumeAudit lets it go on.
func (s *Server) ResumeAudit(ctx context.Context, r ResumeAuditRequestObject) (ResumeAuditResponseObject, error) {
	run, err := s.Audit.Resume(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	v, err := s.auditRun(ctx, run, false)
	return ResumeAudit200JSONResponse(v), err
}

// lastRun gives the latest run of a kind, nil when there was none.
func (s *Server) lastRun(ctx context.Context, kind string) (*AuditRun, error) {
	run, err := s.Audit.Last(ctx, kind)
	if fault.Is(err, fault.KindNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v, err := s.auditRun(ctx, run, false)
	return &v, err
}

// auditRun maps a run. Findings about items are for those who see the township and may know of its evidence.
func (s *Server) auditRun(ctx context.Context, r audit.Info, whole bool) (AuditRun, error) {
	names, err := s.Authority.Names(ctx, []string{r.Actor})
	if err != nil {
		return AuditRun{}, err
	}
	v := AuditRun{ID: r.ID, Kind: AuditKind(r.Kind), State: AuditRunState(r.State), Paused: r.Paused, Actor: r.Actor, ActorName: actorName(r.Actor, names),
		StartedAt: r.StartedAt, EndedAt: r.EndedAt, TotalObjects: r.TotalObjects, TotalBytes: r.TotalBytes, DoneObjects: r.DoneObjects,
		DoneBytes: r.DoneBytes, Damaged: r.Damaged, Missing: r.Missing, FindingCount: r.FindingCount, Text: r.Text}
	if r.LogKey != "" {
		leaf, err := s.Log.ByKey(ctx, r.LogKey)
		if err != nil {
			return AuditRun{}, err
		}
		v.LeafIndex = &leaf.Seq
	}
	if !whole {
		return v, nil
	}
	a := authority.ActorFrom(ctx)
	findings := []AuditFinding{}
	for _, f := range r.Findings {
		if f.EvidenceID != "" && !(a.Sees(f.Township) && mayKnowItems(a)) {
			continue
		}
		findings = append(findings, AuditFinding{Where: f.Where, What: f.What, EvidenceID: ptr(f.EvidenceID), Township: ptr(f.Township)})
	}
	steps := make([]AuditStep, len(r.Steps))
	for i, st := range r.Steps {
		steps[i] = AuditStep{Name: st.Name, Text: st.Text, Ok: st.OK, Got: st.Got}
	}
	v.Findings, v.Steps = &findings, &steps
	return v, nil
}

// mayKnowItems: an administrator reads no evidence, but has to know which object to fetch from a backup.
func mayKnowItems(a authority.Actor) bool { return a.May("evidence:read") || a.May("log:admin") }

// ListAlarms gives alarms of the actor's townships and of the platform itself.
func (s *Server) ListAlarms(ctx context.Context, r ListAlarmsRequestObject) (ListAlarmsResponseObject, error) {
	alarms, next, err := s.Audit.Alarms(ctx, authority.ActorFrom(ctx).Scope(), val(r.Params.Open), val(r.Params.Cursor), pageLimit(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	out := ListAlarms200JSONResponse{Items: make([]Alarm, len(alarms)), NextCursor: next}
	for i, a := range alarms {
		if out.Items[i], err = s.alarm(ctx, a); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// AcknowledgeAlarm notes who looked at an alarm.
func (s *Server) AcknowledgeAlarm(ctx context.Context, r AcknowledgeAlarmRequestObject) (AcknowledgeAlarmResponseObject, error) {
	actor := authority.ActorFrom(ctx)
	a, err := s.Audit.Acknowledge(ctx, actor.Scope(), r.ID, actor.UserID, r.Body.Reason)
	if err != nil {
		return nil, err
	}
	v, err := s.alarm(ctx, a)
	return AcknowledgeAlarm200JSONResponse(v), err
}

func (s *Server) alarm(ctx context.Context, a audit.Alarm) (Alarm, error) {
	towns, err := s.townshipNames(ctx)
	if err != nil {
		return Alarm{}, err
	}
	people, err := s.Authority.Names(ctx, []string{a.AcknowledgedBy})
	if err != nil {
		return Alarm{}, err
	}
	v := Alarm{ID: a.ID, At: a.At, Kind: a.Kind, RunID: ptr(a.RunID), Township: ptr(a.Township), TownshipName: ptr(towns[a.Township]), Text: a.Text,
		AcknowledgedAt: a.AcknowledgedAt, AcknowledgedBy: ptr(a.AcknowledgedBy), Reason: ptr(a.AcknowledgeReason)}
	if a.AcknowledgedBy != "" {
		v.AcknowledgedByName = ptr(actorName(a.AcknowledgedBy, people))
	}
	actor := authority.ActorFrom(ctx)
	if mayKnowItems(actor) {
		v.EvidenceID = ptr(a.EvidenceID)
	}
	if actor.May("case:read") && len(a.CaseIDs) > 0 {
		v.CaseIds = &a.CaseIDs
	}
	return v, nil
}
