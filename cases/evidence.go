package cases

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"zhizheng/authority"
	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/internal/pg"
)

// Jobs enqueues background work in a transaction: a river client.
type Jobs interface {
	InsertTx(ctx context.Context, tx pgx.Tx, args river.JobArgs, opts *river.InsertOpts) (*rivertype.JobInsertResult, error)
}

// SettleHolds is the job that makes the store follow the holds that were set or lifted and the retention that was extended. It asks the tables what is to be done, so
// that running it once more never harms.
type SettleHolds struct{}

// Kind names the job in River's tables.
func (SettleHolds) Kind() string { return "settle-holds" }

// HoldWorker works SettleHolds off. A store that is away is asked again by River's schedule.
type HoldWorker struct {
	river.WorkerDefaults[SettleHolds]
	keeper  *evidence.Keeper
	missing func(ctx context.Context, eid evidence.ID) error
}

// NewHoldWorker makes the worker; add it with river.AddWorker. missing hears of items whose object the store doesn't have.
func NewHoldWorker(k *evidence.Keeper, missing func(ctx context.Context, eid evidence.ID) error) *HoldWorker {
	return &HoldWorker{keeper: k, missing: missing}
}

// Work settles all open holds and locks.
func (w *HoldWorker) Work(ctx context.Context, _ *river.Job[SettleHolds]) error {
	_, missing, err := w.keeper.SettleHolds(ctx)
	_, unlocked, lerr := w.keeper.SettleRetention(ctx)
	err = errors.Join(err, lerr)
	for _, eid := range append(missing, unlocked...) {
		err = errors.Join(err, w.missing(ctx, eid))
	}
	return err
}

// PeriodicHolds asks every minute: a hold on footage that is still on its way can be set at the store only once it has arrived.
func PeriodicHolds() *river.PeriodicJob {
	return river.NewPeriodicJob(river.PeriodicInterval(time.Minute),
		func() (river.JobArgs, *river.InsertOpts) { return SettleHolds{}, nil }, &river.PeriodicJobOpts{RunOnStart: true})
}

// records reads evidence records in the actor's scope. It is called before a case is locked: a transaction that waits for a second
// connection could starve.
func (s *Service) records(ctx context.Context, ids []string) (map[string]evidence.Record, error) {
	all := make(map[string]evidence.Record, len(ids))
	if len(ids) == 0 {
		return all, nil
	}
	found, err := s.evidence.Many(ctx, evidence.Scope{Townships: authority.ActorFrom(ctx).Scope()}, ids)
	if err != nil {
		return nil, err
	}
	for _, r := range found {
		all[string(r.ID)] = r
	}
	return all, nil
}

// hold writes the link into the item's custody, sets the hold, keeps it as a case's evidence is kept and enqueues the job, all in the
// case's transaction. A link that is taken off later shortens nothing.
func (s *Service) hold(ctx context.Context, tx *pg.Tx, evidenceID, caseID, caseNumber, purpose string) error {
	actor := authority.ActorFrom(ctx)
	a := evidence.Act{Actor: actor.UserID, Session: actor.Session, CaseID: caseID, Reason: purpose}
	if err := s.evidence.Note(ctx, tx, evidence.ID(evidenceID), chain.KindLinked, a); err != nil {
		return err
	}
	a.Reason = "案件证据：" + caseNumber
	if err := s.evidence.SetHold(ctx, tx, evidence.ID(evidenceID), a); err != nil {
		return err
	}
	if err := s.evidence.Raise(ctx, tx, evidence.ID(evidenceID), evidence.UsedInCase, a); err != nil {
		return err
	}
	return s.EnqueueHolds(ctx, tx)
}

// EnqueueHolds enqueues SettleHolds in the transaction that sets or lifts a hold.
func (s *Service) EnqueueHolds(ctx context.Context, tx *pg.Tx) error {
	if _, err := s.jobs.InsertTx(ctx, tx.Tx, SettleHolds{}, nil); err != nil {
		return fmt.Errorf("enqueue hold: %w", err)
	}
	return nil
}

func (s *Service) noteUnlinked(ctx context.Context, tx *pg.Tx, evidenceID, caseID, reason string) error {
	actor := authority.ActorFrom(ctx)
	return s.evidence.Note(ctx, tx, evidence.ID(evidenceID), chain.KindUnlinked,
		evidence.Act{Actor: actor.UserID, Session: actor.Session, CaseID: caseID, Reason: reason})
}
