package cases

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"zhizheng/authority"
	"zhizheng/cases/internal/db"
	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

const r16 = "行政诉讼证据规定第60条，行政复议法第46条"

// Link makes an evidence record an exhibit of a case, sets a legal hold on it and writes both into its custody, in one transaction.
// The same link with the same purpose again is no error.
func (s *Service) Link(ctx context.Context, caseID, evidenceID, purpose string) (Exhibit, error) {
	purpose = strings.TrimSpace(purpose)
	if n := utf8.RuneCountInString(purpose); n < 2 || n > 200 {
		return Exhibit{}, fault.Invalid("证明目的须为 2 至 200 个字")
	}
	actor := authority.ActorFrom(ctx)
	now := s.now()
	e := Exhibit{EvidenceID: evidenceID, Purpose: purpose, LinkedBy: actor.UserID, LinkedAt: now}
	records, err := s.records(ctx, []string{evidenceID})
	if err != nil {
		return Exhibit{}, err
	}
	err = pg.InTx(ctx, s.pool, func(tx *pg.Tx) error {
		q := db.New(tx)
		c, err := lock(ctx, q, caseID)
		if err != nil {
			return err
		}
		if err := mayChange(c, "关联"); err != nil {
			return err
		}
		if err := mayLink(c, evidenceID, records); err != nil {
			return err
		}
		switch known, err := q.Exhibit(ctx, db.ExhibitParams{CaseID: caseID, EvidenceID: evidenceID}); {
		case err == nil && known.Purpose == purpose:
			e = exhibitOf(known)
			return nil
		case err == nil:
			return fault.Conflict("该证据已关联本案，证明目的为“%s”", known.Purpose)
		case !errors.Is(err, pgx.ErrNoRows):
			return fmt.Errorf("look up exhibit: %w", err)
		}
		err = q.AddExhibit(ctx, db.AddExhibitParams{ID: id.New(), CaseID: caseID, EvidenceID: evidenceID, Purpose: purpose,
			LinkedBy: actor.UserID, LinkedAt: now})
		if err != nil {
			return fmt.Errorf("link evidence %s: %w", evidenceID, err)
		}
		if err := s.hold(ctx, tx, evidenceID, caseID, c.Number, purpose); err != nil {
			return err
		}
		return s.event(ctx, tx, db.AddEventParams{CaseID: caseID, Kind: "linked", Stage: c.Stage, OnDay: authority.Day(now), At: now,
			Actor: actor.UserID, Note: purpose, EvidenceID: &evidenceID}, nil)
	})
	if err != nil {
		return Exhibit{}, err
	}
	return e, nil
}

// Unlink takes an exhibit off a case, with the reason. The link stays readable in the case's events and in the evidence's custody,
// and the hold stays until someone lifts it.
func (s *Service) Unlink(ctx context.Context, caseID, evidenceID, reason string) error {
	reason = strings.TrimSpace(reason)
	if utf8.RuneCountInString(reason) < 2 {
		return fault.Invalid("请写明解除关联的理由")
	}
	actor := authority.ActorFrom(ctx)
	now := s.now()
	return pg.InTx(ctx, s.pool, func(tx *pg.Tx) error {
		q := db.New(tx)
		c, err := lock(ctx, q, caseID)
		if err != nil {
			return err
		}
		if err := mayChange(c, "解除关联"); err != nil {
			return err
		}
		n, err := q.Unlink(ctx, db.UnlinkParams{CaseID: caseID, EvidenceID: evidenceID, UnlinkedBy: &actor.UserID, UnlinkedAt: &now, UnlinkReason: &reason})
		if err != nil {
			return fmt.Errorf("unlink evidence %s: %w", evidenceID, err)
		}
		if n == 0 {
			return fault.NotFound("本案没有关联证据 %s", evidenceID)
		}
		if err := s.noteUnlinked(ctx, tx, evidenceID, caseID, reason); err != nil {
			return err
		}
		return s.event(ctx, tx, db.AddEventParams{CaseID: caseID, Kind: "unlinked", Stage: c.Stage, OnDay: authority.Day(now), At: now,
			Actor: actor.UserID, Note: reason, EvidenceID: &evidenceID}, nil)
	})
}

// mayChange is R16: from the decision on the set of evidence is frozen.
func mayChange(c db.LockCaseRow, act string) error {
	if Stage(c.Stage).Decided() {
		return fault.Refused("R16", r16, "处罚决定作出后证据即固定，不能再%s证据", act)
	}
	if c.ClosedAt != nil {
		return fault.Conflict("案件已办结（%s），不能再%s证据", Stage(c.Stage).Name(), act)
	}
	return nil
}

func mayLink(c db.LockCaseRow, evidenceID string, records map[string]evidence.Record) error {
	r, ok := records[evidenceID]
	if !ok {
		return fault.NotFound("没有证据 %s", evidenceID)
	}
	if r.Township != c.Township {
		return fault.Conflict("该证据属于另一乡镇（%s），不能关联%s的案件", r.Township, c.TownshipName)
	}
	return nil
}

func (s *Service) exhibitRecords(ctx context.Context, caseID string) (map[string]evidence.Record, error) {
	linked, err := s.q.Exhibits(ctx, caseID)
	if err != nil {
		return nil, fmt.Errorf("read exhibits of case %s: %w", caseID, err)
	}
	ids := make([]string, len(linked))
	for i, e := range linked {
		ids[i] = e.EvidenceID
	}
	return s.records(ctx, ids)
}

// freeze fixes the exhibits at the decision and writes the decision's facts. Bytes that haven't arrived can't be frozen.
func freeze(ctx context.Context, q *db.Queries, caseID string, records map[string]evidence.Record, step Step, today time.Time) ([]byte, error) {
	linked, err := q.Exhibits(ctx, caseID)
	if err != nil {
		return nil, fmt.Errorf("read exhibits of case %s: %w", caseID, err)
	}
	frozen := make([]chain.Frozen, 0, len(linked))
	for _, e := range linked {
		eid := e.EvidenceID
		r, ok := records[eid]
		if !ok {
			return nil, fault.Conflict("证据 %s 刚刚关联，请核对后再作出决定", eid)
		}
		if r.Status == evidence.StatusPending {
			return nil, fault.Conflict("证据 %s 影像待传，封存后方可作出决定", eid)
		}
		frozen = append(frozen, chain.Frozen{EvidenceID: eid, SHA256: r.SHA256})
	}
	root := chain.FrozenRoot(frozen)
	err = q.DecideCase(ctx, db.DecideCaseParams{ID: caseID, DecidedOn: &today, Decision: step.Decision, FineFen: step.FineFen, EvidenceRoot: root})
	if err != nil {
		return nil, fmt.Errorf("decide case %s: %w", caseID, err)
	}
	return root, nil
}

// ErrMoved says that somebody acted in a case since it was read.
var ErrMoved = fault.Unavailable(2*time.Second, "案件刚有新的办理，请重试")

// Exported writes the export of a case's bundle, in the caller's transaction: digest is the bundle's MANIFEST digest, after the number
// of the last event the bundle tells. ErrMoved if there is another since: the bundle would lack it.
func (s *Service) Exported(ctx context.Context, tx *pg.Tx, caseID string, digest []byte, after int) error {
	c, err := lock(ctx, db.New(tx), caseID)
	if err != nil {
		return err
	}
	if last, err := db.New(tx).LastEvent(ctx, caseID); err != nil {
		return fmt.Errorf("read events of case %s: %w", caseID, err)
	} else if int(last) != after {
		return ErrMoved
	}
	actor, now := authority.ActorFrom(ctx), s.now()
	return s.event(ctx, tx, db.AddEventParams{CaseID: caseID, Kind: "exported", Stage: c.Stage, OnDay: authority.Day(now), At: now, Actor: actor.UserID},
		&chain.Entry{Kind: chain.KindCaseExported, Subject: Subject(caseID), Time: now,
			Payload: chain.CasePayload{CaseID: caseID, Actor: actor.UserID, Stage: c.Stage, Township: c.Township, Digest: digest}})
}
