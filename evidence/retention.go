package evidence

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/internal/db"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// Category says what footage is, and so how long it is kept.
type Category string

// The categories, by the police's rules for recorders, which townships use by analogy.
const (
	Ordinary    Category = "ordinary"    // 一般
	UsedInCase  Category = "case"        // 作为案件证据
	Complaint   Category = "complaint"   // 投诉、信访
	Obstruction Category = "obstruction" // 阻碍执法
	Major       Category = "major"       // 重大、群体性事件
)

var categories = map[Category]string{Ordinary: "一般", UsedInCase: "案件证据", Complaint: "投诉、信访", Obstruction: "阻碍执法", Major: "重大或群体性事件"}

// Name is the category in zh-CN.
func (c Category) Name() string { return categories[c] }

// Policy is how a county keeps its footage.
type Policy struct {
	Keep      map[Category]time.Duration // from the sealing on, by the server's clock; 0 is for good
	LockStep  time.Duration              // what is kept for good is locked for so long at a time, and again in the last half of it
	LateAfter time.Duration              // from the end of a recording to its sealing
	Window    time.Duration              // how long a proposed deletion can be objected to
}

const day = 24 * time.Hour

// DefaultPolicy is the law's, as far as there is one.
func DefaultPolicy() Policy {
	return Policy{Keep: map[Category]time.Duration{Ordinary: 184 * day, UsedInCase: 0, Complaint: 0, Obstruction: 0, Major: 0},
		LockStep: 3650 * day, LateAfter: day, Window: 7 * day}
}

// longer reports whether a keeps something longer than b.
func (p Policy) longer(a, b Category) bool {
	x, y := p.Keep[a], p.Keep[b]
	return y != 0 && (x == 0 || x > y)
}

// until is when what was sealed then may go at the earliest; of what is kept for good, how far its lock is to reach.
func (k *Keeper) until(c Category, permanent bool, sealed time.Time) time.Time {
	if permanent || k.Policy.Keep[c] == 0 {
		return k.now().UTC().Add(k.Policy.LockStep).Truncate(time.Second)
	}
	return sealed.Add(k.Policy.Keep[c]).UTC()
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func errDeleted() *fault.Error {
	return fault.Gone("这份影像已在留存期满后销毁")
}

// lockKept locks the row of something that is still kept.
func lockKept(ctx context.Context, q *db.Queries, eid ID) (db.Evidence, error) {
	row, err := q.Lock(ctx, string(eid))
	if errors.Is(err, pgx.ErrNoRows) {
		return row, fault.NotFound("没有这条证据记录：%s", eid)
	}
	if err != nil {
		return row, fmt.Errorf("lock evidence: %w", err)
	}
	if row.Status == StatusDeleted {
		return row, errDeleted()
	}
	return row, nil
}

// SetCategory puts an item into a category, in the caller's transaction. The longest one that ever applied counts: one that keeps it for
// a shorter time is refused. The store's lock is extended by SettleRetention.
func (k *Keeper) SetCategory(ctx context.Context, tx *pg.Tx, eid ID, c Category, a Act) error {
	if _, known := categories[c]; !known {
		return fault.Invalid("没有这个类别：%s", c)
	}
	row, err := lockKept(ctx, db.New(tx), eid)
	if err != nil {
		return err
	}
	switch now := Category(row.Category); {
	case now == c:
		return fault.Conflict("它已经是“%s”", c.Name())
	case k.Policy.longer(now, c), row.Permanent && k.Policy.Keep[c] != 0:
		return fault.Conflict("按“%s”的保存期限更长，留存只能延长，不能缩短", now.Name())
	}
	return k.categorize(ctx, tx, row, c, a)
}

// Raise is SetCategory for what follows of something else, such as a link to a case: what keeps the item no longer changes nothing.
func (k *Keeper) Raise(ctx context.Context, tx *pg.Tx, eid ID, c Category, a Act) error {
	row, err := lockKept(ctx, db.New(tx), eid)
	if err != nil || row.Permanent || !k.Policy.longer(c, Category(row.Category)) {
		return err
	}
	return k.categorize(ctx, tx, row, c, a)
}

// categorize writes row, custody event and leaf. Crash after the commit and before the store's lock: the row says more than the store
// has confirmed, and the job goes on from there.
func (k *Keeper) categorize(ctx context.Context, tx *pg.Tx, row db.Evidence, c Category, a Act) error {
	permanent := row.Permanent || k.Policy.Keep[c] == 0
	until := row.RetainUntil
	if row.SealedAt != nil {
		u := later(*row.RetainUntil, k.until(c, permanent, *row.SealedAt))
		until, a.Until = &u, u
	}
	err := db.New(tx).SetCategory(ctx, db.SetCategoryParams{ID: row.ID, Category: string(c), CategoryReason: a.Reason, Permanent: permanent, RetainUntil: until})
	if err != nil {
		return fmt.Errorf("set category: %w", err)
	}
	how := "永久留存"
	if !permanent {
		how = fmt.Sprintf("自封存起留存 %d 天", int(k.Policy.Keep[c]/day))
	}
	a.Reason = fmt.Sprintf("类别“%s”，%s：%s", c.Name(), how, a.Reason)
	return k.Note(ctx, tx, ID(row.ID), chain.KindRetention, a)
}

// SettleRetention makes the store's locks follow, and renews those of what is kept for good. One that can't be extended keeps no other
// waiting. It answers how many it settled, and which objects the store doesn't have: those are asked for ever more rarely, as for holds.
func (k *Keeper) SettleRetention(ctx context.Context) (settled int, missing []ID, failed error) {
	q := db.New(k.pool)
	ends, err := q.LocksToRenew(ctx, db.LocksToRenewParams{Before: k.now().Add(k.Policy.LockStep / 2), MaxRows: 1000})
	if err != nil {
		return 0, nil, pg.Away(fmt.Errorf("list locks to renew: %w", err))
	}
	for _, eid := range ends {
		if err := k.renew(ctx, ID(eid)); err != nil {
			failed = errors.Join(failed, fmt.Errorf("renew lock of %s: %w", eid, err))
		}
	}
	ids, err := q.LocksToSettle(ctx, 1000)
	if err != nil {
		return 0, nil, errors.Join(failed, pg.Away(fmt.Errorf("list locks: %w", err)))
	}
	for _, eid := range ids {
		if !k.holds.due(ID(eid), k.now()) {
			continue
		}
		err := k.settleLock(ctx, ID(eid))
		switch {
		case err == nil:
			settled++
		case fault.Is(err, fault.KindNotFound) && k.StoreAnswers(ctx) == nil:
			k.holds.later(ID(eid), k.now())
			missing = append(missing, ID(eid))
		default:
			failed = errors.Join(failed, fmt.Errorf("extend lock of %s: %w", eid, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	return settled, missing, failed
}

func (k *Keeper) renew(ctx context.Context, eid ID) error {
	return pg.InTx(ctx, k.pool, func(tx *pg.Tx) error {
		q := db.New(tx)
		row, err := lockKept(ctx, q, eid)
		if err != nil {
			return err
		}
		now := k.now()
		if !row.Permanent || row.RetainUntil == nil || !row.RetainUntil.Before(now.Add(k.Policy.LockStep/2)) {
			return nil
		}
		return k.extend(ctx, tx, eid, k.until(Category(row.Category), true, now), Act{Actor: "system", Reason: "永久留存，续锁"})
	})
}

// extend moves the end of an item's retention later, with its leaf.
func (k *Keeper) extend(ctx context.Context, tx *pg.Tx, eid ID, until time.Time, a Act) error {
	if err := db.New(tx).Extend(ctx, db.ExtendParams{ID: string(eid), RetainUntil: &until}); err != nil {
		return fmt.Errorf("extend retention: %w", err)
	}
	a.Until = until
	return k.Note(ctx, tx, eid, chain.KindRetention, a)
}

// settleLock keeps the row locked while it speaks to the store, as settleHold does. Crash after the store's answer and before the commit:
// the job comes again and asks for the same end once more.
func (k *Keeper) settleLock(ctx context.Context, eid ID) error {
	return pg.InTx(ctx, k.pool, func(tx *pg.Tx) error {
		q := db.New(tx)
		row, err := q.Lock(ctx, string(eid))
		if err != nil {
			return fmt.Errorf("lock evidence: %w", err)
		}
		if row.Status == StatusPending || row.Status == StatusDeleted || !row.LockedUntil.Before(*row.RetainUntil) {
			return nil
		}
		if err := k.store.ExtendRetention(ctx, row.ObjectKey, row.VersionID, *row.RetainUntil); err != nil {
			return fmt.Errorf("lock at the store: %w", err)
		}
		o, err := k.store.HeadVersion(ctx, row.ObjectKey, row.VersionID)
		if err != nil {
			return fmt.Errorf("look at the lock: %w", err)
		}
		if o.RetainUntil.Before(*row.RetainUntil) {
			return fmt.Errorf("the store took the retention and doesn't show it: %s", o.RetainUntil)
		}
		if err := q.SetLocked(ctx, db.SetLockedParams{ID: string(eid), LockedUntil: row.RetainUntil}); err != nil {
			return fmt.Errorf("note the lock: %w", err)
		}
		return k.Note(ctx, tx, eid, chain.KindRetention, Act{Actor: "system", Reason: "存储已确认锁定", Until: *row.RetainUntil})
	})
}

// Late is by how much footage came too late: from the end of its recording, as the device claims it, to its sealing (or to now, while
// its bytes are still to come). 0: it isn't late, or nothing is known of its end.
func (k *Keeper) Late(r Record) time.Duration {
	if r.RecordedEnd == nil {
		return 0
	}
	at := k.now()
	if r.SealedAt != nil {
		at = *r.SealedAt
	}
	if d := at.Sub(*r.RecordedEnd); d > k.Policy.LateAfter {
		return d
	}
	return 0
}

// ExplainLate notes why footage came late. A later reason stands; all are in the custody.
func (k *Keeper) ExplainLate(ctx context.Context, tx *pg.Tx, eid ID, a Act) error {
	q := db.New(tx)
	row, err := q.Lock(ctx, string(eid))
	if errors.Is(err, pgx.ErrNoRows) {
		return fault.NotFound("没有这条证据记录：%s", eid)
	}
	if err != nil {
		return fmt.Errorf("lock evidence: %w", err)
	}
	if k.Late(record(row)) == 0 {
		return fault.Conflict("这份影像没有迟传，不需要说明")
	}
	if err := q.SetLateReason(ctx, db.SetLateReasonParams{ID: string(eid), LateReason: a.Reason}); err != nil {
		return fmt.Errorf("set reason: %w", err)
	}
	return k.Note(ctx, tx, eid, chain.KindLateReason, a)
}
