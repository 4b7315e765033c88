// Package cases owns case files: under which power they are opened and by whom, where they stand and until when, and which evidence
// they rest on; and the activities that officers plan for a day, out of which a case may grow. It promises that every refusal names its rule and article, that each act is a leaf in the log, and that the set of
// evidence is frozen at the decision. It never touches footage and never deletes a case.
//
// Read open.go for R01 and R02, stages.go and advance.go for the course of a case, exhibits.go for evidence, activity.go for activities.
package cases

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/authority"
	"zhizheng/cases/internal/db"
	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// Case is a case file as lists show it. Days are midnight UTC of the county's calendar day.
type Case struct {
	ID, Number, Title      string
	Township, TownshipName string
	PowerItem, ItemName    string
	Mode                   authority.Mode
	Facts, Place           string
	PartyKind, Party       string
	ActOn, FiledOn         time.Time
	OpenedAt               time.Time
	Stage                  Stage
	StageSince             time.Time
	Due                    *time.Time // deadline of the stage, nil when the case is over
	DecisionDue            time.Time
	Reviewer               string // user who passed the legal review
	DecidedOn              *time.Time
	Decision               string
	FineFen                *int64
	EvidenceRoot           []byte // root of the exhibits frozen at the decision
	ClosedAt               *time.Time
	EvidenceCount          int
}

// File is a whole case file.
type File struct {
	Case
	Officers []Officer
	Events   []Event
	Exhibits []Exhibit
}

// Officer handles the case, with the certificate that was valid on the day of filing. The first one leads.
type Officer struct{ ID, Name, Unit, Certificate, UserID string }

// Event is an act in the case: opened, stage, decided, linked, unlinked.
type Event struct {
	N                       int
	Kind                    string
	Stage                   Stage
	Day, At                 time.Time
	Actor, Note, EvidenceID string
	LeafKey                 string // idempotency key of its leaf in the log
}

// Exhibit is a linked evidence record.
type Exhibit struct {
	EvidenceID, Purpose string
	LinkedBy            string
	LinkedAt            time.Time
}

// Service is the one way to the case tables.
type Service struct {
	pool      *pgxpool.Pool
	q         *db.Queries
	log       *evlog.Log
	authority *authority.Service
	evidence  *evidence.Keeper
	jobs      Jobs
	now       func() time.Time
}

// New makes the service; now may be nil.
func New(pool *pgxpool.Pool, log *evlog.Log, a *authority.Service, k *evidence.Keeper, jobs Jobs, now func() time.Time) *Service {
	if now == nil {
		now = time.Now
	}
	return &Service{pool: pool, q: db.New(pool), log: log, authority: a, evidence: k, jobs: jobs, now: now}
}

func errNoCase(id string) error { return fault.NotFound("没有案件 %s", id) }

// Get gives a case file in the scope of ctx' actor.
func (s *Service) Get(ctx context.Context, id string) (File, error) {
	r, err := s.q.GetCase(ctx, db.GetCaseParams{ID: id, Scope: authority.ActorFrom(ctx).Scope()})
	if errors.Is(err, pgx.ErrNoRows) {
		return File{}, errNoCase(id)
	}
	if err != nil {
		return File{}, fmt.Errorf("read case %s: %w", id, err)
	}
	f := File{Case: caseOf(r)}
	officers, err := s.q.CaseOfficers(ctx, id)
	if err != nil {
		return File{}, fmt.Errorf("read officers of case %s: %w", id, err)
	}
	for _, o := range officers {
		f.Officers = append(f.Officers, Officer{o.OfficerID, o.Name, o.UnitName, o.Certificate, deref(o.UserID)})
	}
	events, err := s.q.Events(ctx, id)
	if err != nil {
		return File{}, fmt.Errorf("read events of case %s: %w", id, err)
	}
	for _, e := range events {
		f.Events = append(f.Events, Event{int(e.N), e.Kind, Stage(e.Stage), e.OnDay, e.At, e.Actor, e.Note, deref(e.EvidenceID), deref(e.LeafKey)})
	}
	exhibits, err := s.q.Exhibits(ctx, id)
	if err != nil {
		return File{}, fmt.Errorf("read exhibits of case %s: %w", id, err)
	}
	for _, e := range exhibits {
		f.Exhibits = append(f.Exhibits, exhibitOf(e))
	}
	return f, nil
}

// Subject is the log's subject of a case.
func Subject(id string) chain.Subject { return chain.Subject{Type: chain.SubjectCase, ID: id} }

// event writes an act and, where leaf is given, queues its leaf. The case row is locked by the caller, so n has no gaps.
func (s *Service) event(ctx context.Context, tx *pg.Tx, e db.AddEventParams, leaf *chain.Entry) error {
	q := db.New(tx)
	last, err := q.LastEvent(ctx, e.CaseID)
	if err != nil {
		return fmt.Errorf("read events of case %s: %w", e.CaseID, err)
	}
	e.N = last + 1
	if leaf != nil {
		if leaf.Key == "" {
			leaf.Key = stageKey(e.CaseID, int(e.N))
		}
		e.LeafKey = &leaf.Key
		if err := s.log.Append(tx, *leaf); err != nil {
			return err
		}
	}
	if err := q.AddEvent(ctx, e); err != nil {
		return fmt.Errorf("write event of case %s: %w", e.CaseID, err)
	}
	return nil
}

func openedKey(id string) string       { return "case-opened/" + id }
func stageKey(id string, n int) string { return fmt.Sprintf("case-stage/%s/%d", id, n) }
func decidedKey(id string) string      { return "case-decided/" + id }

// digest commits a leaf to a text without putting the text, which may name people, into the log.
func digest(text string) []byte {
	if text == "" {
		return nil
	}
	h := sha256.Sum256([]byte(text))
	return h[:]
}

func caseOf(r db.GetCaseRow) Case {
	return Case{ID: r.ID, Number: r.Number, Title: r.Title, Township: r.Township, TownshipName: r.TownshipName, PowerItem: r.PowerItem,
		ItemName: r.ItemName, Mode: authority.Mode(r.Mode), Facts: r.Facts, Place: r.Place, PartyKind: r.PartyKind, Party: r.Party,
		ActOn: r.ActOn, FiledOn: r.FiledOn, OpenedAt: r.OpenedAt, Stage: Stage(r.Stage), StageSince: r.StageSince, Due: r.StageDue,
		DecisionDue: r.DecisionDue, Reviewer: deref(r.Reviewer), DecidedOn: r.DecidedOn, Decision: r.Decision, FineFen: r.FineFen,
		EvidenceRoot: r.EvidenceRoot, ClosedAt: r.ClosedAt, EvidenceCount: int(r.EvidenceCount)}
}

func exhibitOf(e db.CaseEvidence) Exhibit {
	return Exhibit{EvidenceID: e.EvidenceID, Purpose: e.Purpose, LinkedBy: e.LinkedBy, LinkedAt: e.LinkedAt}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
