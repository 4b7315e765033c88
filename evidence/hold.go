package evidence

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

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
		if restricted {
			return k.Mistaken(ctx, tx, eid, a)
		}
		n, err := db.New(tx).SetRestricted(ctx, db.SetRestrictedParams{ID: string(eid), Restricted: false})
		if err := one(n, err, "open restricted evidence"); err != nil {
			return err
		}
		a.Reason = "解除限制：" + a.Reason
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
// answers how many items it settled. One that can't be settled doesn't keep the others waiting. Items whose object the store doesn't
// have are answered as missing, and tried again after a minute, two, four, at last once a day.
func (k *Keeper) SettleHolds(ctx context.Context) (settled int, missing []ID, failed error) {
	ids, err := db.New(k.pool).HoldsToSettle(ctx, 1000)
	if err != nil {
		return 0, nil, fmt.Errorf("list holds: %w", err)
	}
	for _, eid := range ids {
		if !k.holds.due(ID(eid), k.now()) {
			continue
		}
		err := k.settleHold(ctx, ID(eid))
		switch {
		case err == nil:
			settled++
		case fault.Is(err, fault.KindNotFound) && k.StoreAnswers(ctx) == nil:
			k.holds.later(ID(eid), k.now())
			missing = append(missing, ID(eid))
		default:
			failed = errors.Join(failed, fmt.Errorf("settle hold of %s: %w", eid, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return settled, missing, failed
}

// holdTries remembers which objects were missing. It only ever saves questions to the store: forgetting (a restart) asks once more.
type holdTries struct {
	mu  sync.Mutex
	all map[ID]holdTry
}

type holdTry struct {
	wait time.Duration
	next time.Time
}

func (h *holdTries) due(eid ID, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return !now.Before(h.all[eid].next)
}

func (h *holdTries) later(eid ID, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all = map[ID]holdTry{}
	}
	wait := min(max(2*h.all[eid].wait, time.Minute), 24*time.Hour)
	h.all[eid] = holdTry{wait, now.Add(wait)}
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
