package evidence

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/internal/db"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// Restrict marks an item as restricted (误录, privacy) or opens it again. Nothing is deleted.
func (k *Keeper) Restrict(ctx context.Context, s Scope, eid ID, restricted bool, a Act) (Record, error) {
	if _, err := k.Get(ctx, s, eid); err != nil {
		return Record{}, err
	}
	err := k.log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error {
		n, err := db.New(tx).SetRestricted(ctx, db.SetRestrictedParams{ID: string(eid), Restricted: restricted})
		if err := one(n, err, "restrict evidence"); err != nil {
			return err
		}
		if !restricted {
			a.Reason = "解除限制：" + a.Reason
		}
		return k.Note(ctx, tx, eid, chain.KindRestricted, a)
	})
	if err != nil {
		return Record{}, err
	}
	return k.Get(ctx, s, eid)
}

// SetHold opens a hold for a case (or, with CaseID "", by hand), in the caller's transaction. The item is kept from now on by our
// own rules; SettleHolds puts the lock on at the store. A second hold for the same case changes nothing.
func (k *Keeper) SetHold(ctx context.Context, tx *pg.Tx, eid ID, a Act) error {
	q := db.New(tx)
	row, err := lockKept(ctx, q, eid)
	if err != nil {
		return err
	}
	n, err := q.AddHold(ctx, db.AddHoldParams{ID: id.New(), EvidenceID: string(eid), CaseID: a.CaseID, Reason: a.Reason, SetBy: a.Actor, SetAt: k.now().UTC()})
	if err != nil {
		return fmt.Errorf("set hold: %w", err)
	}
	if n == 0 {
		return nil
	}
	if row.HoldState != "active" {
		if err := q.SetHoldState(ctx, db.SetHoldStateParams{ID: string(eid), HoldState: "pending"}); err != nil {
			return fmt.Errorf("set hold state: %w", err)
		}
	}
	return k.Note(ctx, tx, eid, chain.KindHoldSet, a)
}

// LiftHold closes the hold of a case (or the one set by hand). While another hold is open the store's lock stays.
func (k *Keeper) LiftHold(ctx context.Context, tx *pg.Tx, eid ID, a Act) error {
	q := db.New(tx)
	if _, err := q.Lock(ctx, string(eid)); errors.Is(err, pgx.ErrNoRows) {
		return fault.NotFound("没有这条证据记录：%s", eid)
	} else if err != nil {
		return fmt.Errorf("lock evidence: %w", err)
	}
	now := k.now().UTC()
	n, err := q.LiftHold(ctx, db.LiftHoldParams{EvidenceID: string(eid), CaseID: a.CaseID, LiftedBy: &a.Actor, LiftedAt: &now, LiftReason: &a.Reason})
	if err != nil {
		return fmt.Errorf("lift hold: %w", err)
	}
	if n == 0 {
		return fault.Conflict("这条证据没有可解除的保全")
	}
	open, err := q.OpenHolds(ctx, string(eid))
	if err != nil {
		return fmt.Errorf("count holds: %w", err)
	}
	if open == 0 {
		if err := q.SetHoldState(ctx, db.SetHoldStateParams{ID: string(eid), HoldState: "lifting"}); err != nil {
			return fmt.Errorf("set hold state: %w", err)
		}
	}
	return k.Note(ctx, tx, eid, chain.KindHoldLifted, a)
}

// SettleHolds makes the store follow: the job that a hold's transaction enqueued calls it, and so does the server at start. It
// answers how many items it settled. One that can't be settled doesn't keep the others waiting.
func (k *Keeper) SettleHolds(ctx context.Context) (int, error) {
	ids, err := db.New(k.pool).HoldsToSettle(ctx, 1000)
	if err != nil {
		return 0, fmt.Errorf("list holds: %w", err)
	}
	var settled int
	var failed error
	for _, eid := range ids {
		if err := k.settleHold(ctx, ID(eid)); err != nil {
			failed = errors.Join(failed, fmt.Errorf("settle hold of %s: %w", eid, err))
			if ctx.Err() != nil {
				break
			}
			continue
		}
		settled++
	}
	return settled, failed
}

// settleHold keeps the row locked while it speaks to the store, so that a hold and its lifting can't cross. Crash after the store's
// answer and before the commit: the job comes again and sets the same lock once more.
func (k *Keeper) settleHold(ctx context.Context, eid ID) error {
	return pg.InTx(ctx, k.pool, func(tx *pg.Tx) error {
		q := db.New(tx)
		row, err := q.Lock(ctx, string(eid))
		if err != nil {
			return fmt.Errorf("lock evidence: %w", err)
		}
		if row.Status == StatusPending || row.Status == StatusDeleted || (row.HoldState != "pending" && row.HoldState != "lifting") {
			return nil
		}
		on := row.HoldState == "pending"
		if err := k.store.SetHold(ctx, row.ObjectKey, row.VersionID, on); err != nil {
			return fmt.Errorf("hold at the store: %w", err)
		}
		state := "none"
		if on {
			state = "active"
		}
		if err := q.SetHoldState(ctx, db.SetHoldStateParams{ID: string(eid), HoldState: state}); err != nil {
			return fmt.Errorf("set hold state: %w", err)
		}
		if !on {
			return nil
		}
		return k.Note(ctx, tx, eid, chain.KindHoldActive, Act{Actor: "system"})
	})
}
