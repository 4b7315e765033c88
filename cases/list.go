package cases

import (
	"context"
	"fmt"
	"strings"
	"time"

	"zhizheng/authority"
	"zhizheng/cases/internal/db"
	"zhizheng/internal/fault"
)

// Filter narrows a list of cases; zero fields don't. From and To are days of filing, both included. After is the previous page's
// cursor.
type Filter struct {
	Township, Q string
	Stage       Stage
	Open        *bool
	EvidenceID  string
	From, To    *time.Time
	After       string
	Limit       int
}

// List gives a page of cases in the scope of ctx' actor, newest filing first, the next page's cursor ("" at the end) and how many
// there are in all.
func (s *Service) List(ctx context.Context, f Filter) (page []Case, next string, total int64, err error) {
	limit := f.Limit
	if limit < 1 {
		limit = 50
	}
	limit = min(limit, 200)
	p := db.ListCasesParams{Scope: authority.ActorFrom(ctx).Scope(), Township: f.Township, Stage: string(f.Stage), Open: f.Open, Q: f.Q,
		FromDay: f.From, ToDay: f.To, Evidence: f.EvidenceID, Max: int32(limit + 1)}
	if f.After != "" {
		day, id, ok := strings.Cut(f.After, "/")
		if p.AfterDay, err = time.Parse(time.DateOnly, day); err != nil || !ok || id == "" {
			return nil, "", 0, fault.Invalid("翻页游标无效")
		}
		p.AfterID = id
	}
	rows, err := s.q.ListCases(ctx, p)
	if err != nil {
		return nil, "", 0, fmt.Errorf("list cases: %w", err)
	}
	if len(rows) > limit {
		rows = rows[:limit]
		last := rows[limit-1]
		next = last.FiledOn.Format(time.DateOnly) + "/" + last.ID
	}
	page = make([]Case, len(rows))
	for i, r := range rows {
		page[i] = caseOf(db.GetCaseRow(r))
	}
	total, err = s.q.CountCases(ctx, db.CountCasesParams{Scope: p.Scope, Township: p.Township, Stage: p.Stage, Open: p.Open, Q: p.Q,
		FromDay: p.FromDay, ToDay: p.ToDay, Evidence: p.Evidence})
	if err != nil {
		return nil, "", 0, fmt.Errorf("count cases: %w", err)
	}
	return page, next, total, nil
}

// Ref is a case as an evidence record shows it.
type Ref struct {
	ID, Number, Title string
	Stage             Stage
	Purpose           string
}

// OfEvidence gives the cases in the actor's scope that an evidence record is linked to.
func (s *Service) OfEvidence(ctx context.Context, evidenceID string) ([]Ref, error) {
	rows, err := s.q.CasesOfEvidence(ctx, db.CasesOfEvidenceParams{EvidenceID: evidenceID, Scope: authority.ActorFrom(ctx).Scope()})
	if err != nil {
		return nil, fmt.Errorf("look up cases of evidence: %w", err)
	}
	refs := make([]Ref, len(rows))
	for i, r := range rows {
		refs[i] = Ref{r.ID, r.Number, r.Title, Stage(r.Stage), r.Purpose}
	}
	return refs, nil
}

// Counts gives, for evidence records by id, how many cases each is linked to; those without any are left out.
func (s *Service) Counts(ctx context.Context, evidenceIDs []string) (map[string]int, error) {
	rows, err := s.q.CaseCounts(ctx, evidenceIDs)
	if err != nil {
		return nil, fmt.Errorf("count cases of evidence: %w", err)
	}
	counts := make(map[string]int, len(rows))
	for _, r := range rows {
		counts[r.EvidenceID] = int(r.Cases)
	}
	return counts, nil
}

// IDsOfEvidence gives the ids of all cases an evidence record is linked to, whoever asks: for alarms, which go to those concerned.
func (s *Service) IDsOfEvidence(ctx context.Context, evidenceID string) ([]string, error) {
	refs, err := s.OfEvidence(authority.WithActor(ctx, authority.System), evidenceID)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(refs))
	for i, r := range refs {
		ids[i] = r.ID
	}
	return ids, nil
}
