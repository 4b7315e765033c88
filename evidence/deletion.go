package evidence

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/internal/db"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// What is over its retention goes in four steps, each of which may be the last before a crash: it is proposed (a row), decided (a leaf and
// the record's status), removed at the store, and found gone there (a leaf). See docs/decisions/deletion.md.

// Deletion is how far one has come.
type Deletion struct {
	Record     Record
	ProposedAt time.Time
	DueAt      time.Time  // end of the time for objections
	DecidedAt  *time.Time // from then on nobody sees the bytes
	GoneAt     *time.Time // the store shows them no more
}

// step is how many items a job looks at before it asks for the next ones.
const step = 200

// each hands over ids page by page, so that one that can't be settled keeps no other waiting.
func each(ctx context.Context, list func(after string) ([]string, error), do func(ID) error) error {
	var failed error
	for after := ""; ; {
		ids, err := list(after)
		if err != nil {
			return errors.Join(failed, pg.Away(err))
		}
		for _, eid := range ids {
			if err := do(ID(eid)); err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s: %w", eid, err))
			}
			if err := ctx.Err(); err != nil {
				return errors.Join(failed, err)
			}
			after = eid
		}
		if len(ids) < step {
			return failed
		}
	}
}

// Expire works the ends of retention off: what is over is proposed, what nobody objected to in time is decided, what is decided is removed.
func (k *Keeper) Expire(ctx context.Context) error {
	q := db.New(k.pool)
	return errors.Join(
		each(ctx, func(after string) ([]string, error) {
			return q.ToRemove(ctx, db.ToRemoveParams{After: after, MaxRows: step})
		}, func(eid ID) error { return k.remove(ctx, eid) }),
		each(ctx, func(after string) ([]string, error) {
			return q.ToDecide(ctx, db.ToDecideParams{Now: k.now(), After: after, MaxRows: step})
		}, func(eid ID) error {
			decided, err := k.decide(ctx, eid)
			if err != nil || !decided {
				return err
			}
			return k.remove(ctx, eid)
		}),
		k.propose(ctx, q),
	)
}

func (k *Keeper) propose(ctx context.Context, q *db.Queries) error {
	known := map[ID]Record{}
	return each(ctx, func(after string) ([]string, error) {
		rows, err := q.Expired(ctx, db.ExpiredParams{Now: k.now(), After: after, MaxRows: step})
		clear(known)
		ids := make([]string, len(rows))
		for i, r := range rows {
			ids[i], known[ID(r.ID)] = r.ID, record(r)
		}
		return ids, err
	}, func(eid ID) error {
		over, err := k.lockOver(ctx, known[eid])
		if err != nil || !over {
			return err
		}
		now := k.now().UTC()
		if _, err := q.Propose(ctx, db.ProposeParams{EvidenceID: string(eid), ProposedAt: now, DueAt: now.Add(k.Policy.Window)}); err != nil {
			return fmt.Errorf("propose deletion: %w", err)
		}
		return nil
	})
}

// lockOver asks the store, which has the last word: whether what it holds is what was sealed, unlocked and held by nobody. Of a store that
// keeps no versions nobody could tell that the right one is gone.
func (k *Keeper) lockOver(ctx context.Context, rec Record) (bool, error) {
	if rec.VersionID == "" {
		return false, nil
	}
	o, err := k.store.HeadVersion(ctx, rec.ObjectKey, rec.VersionID)
	if fault.Is(err, fault.KindNotFound) {
		return false, nil // reading again finds it missing and alarms
	}
	if err != nil {
		return false, fmt.Errorf("look at the lock: %w", err)
	}
	return !o.Hold && !o.RetainUntil.After(k.now()) && o.Size == rec.Size, nil
}

// expired are our own conditions, as the queries have them.
func (k *Keeper) expired(r Record) bool {
	now := k.now()
	return r.Status == StatusSealed && !r.Permanent && !r.Restricted && r.HoldState == "none" && !r.RetainUntil.After(now) && !r.LockedUntil.After(now)
}

// DeletingKey and DeletedKey are the idempotency keys of the leaves of a decision and of an end.
func DeletingKey(eid ID) string { return "deleting/" + string(eid) }

// DeletedKey: see DeletingKey.
func DeletedKey(eid ID) string { return "deleted/" + string(eid) }

// decide looks at everything once more and writes the decision: status, custody event and leaf, in one transaction. From then on the item
// can neither be seen nor held, and whatever crashes, it will be gone in the end. What has been held, linked, restricted or extended
// since it was proposed is proposed no more.
func (k *Keeper) decide(ctx context.Context, eid ID) (decided bool, err error) {
	rec, err := k.Get(ctx, Scope{}, eid)
	if err != nil {
		return false, err
	}
	over, err := k.lockOver(ctx, rec)
	if err != nil {
		return false, err
	}
	err = k.log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error {
		decided = false
		q := db.New(tx)
		row, err := q.Lock(ctx, string(eid))
		if err != nil {
			return fmt.Errorf("lock evidence: %w", err)
		}
		holds, err := q.OpenHolds(ctx, string(eid))
		if err != nil {
			return fmt.Errorf("count holds: %w", err)
		}
		if rec = record(row); !over || holds > 0 || !k.expired(rec) {
			if _, err := q.Withdraw(ctx, string(eid)); err != nil {
				return fmt.Errorf("withdraw deletion: %w", err)
			}
			return nil
		}
		d, err := q.Deletion(ctx, string(eid))
		if errors.Is(err, pgx.ErrNoRows) || err == nil && d.DueAt.After(k.now()) {
			return nil // somebody objected in between
		}
		if err != nil {
			return fmt.Errorf("look up deletion: %w", err)
		}
		now := k.now().UTC().Truncate(time.Microsecond)
		if _, err := q.Decide(ctx, db.DecideParams{EvidenceID: string(eid), DecidedAt: &now}); err != nil {
			return fmt.Errorf("decide deletion: %w", err)
		}
		if err := q.SetDeleted(ctx, string(eid)); err != nil {
			return fmt.Errorf("mark evidence deleted: %w", err)
		}
		decided = true
		return k.addDeletion(tx, eid, chain.KindDeleting, DeletingKey(eid), now, chain.DeletedPayload{EvidenceID: string(eid), Actor: "system",
			SHA256: rec.SHA256, Size: rec.Size, RetainUntil: rec.RetainUntil.UnixMilli(), SealedAt: rec.SealedAt.UnixMilli(), ObjectKey: rec.ObjectKey,
			VersionID: rec.VersionID, Category: string(rec.Category), ProposedAt: d.ProposedAt.UnixMilli(), Reason: k.why(d)})
	})
	return decided, err
}

func (k *Keeper) why(d db.EvidenceDeletion) string {
	return fmt.Sprintf("留存期满，自 %s 起公示至 %s 无人提出保留", d.ProposedAt.In(china).Format(time.DateTime), d.DueAt.In(china).Format(time.DateTime))
}

// china is where the county is.
var china = time.FixedZone("UTC+8", 8*60*60)

func (k *Keeper) addDeletion(tx *pg.Tx, eid ID, kind chain.Kind, key string, at time.Time, p chain.DeletedPayload) error {
	if err := k.log.Append(tx, chain.Entry{Key: key, Kind: kind, Subject: Subject(eid), Time: at, Payload: p}); err != nil {
		return err
	}
	k.addCustody(tx, eid, kind, Act{Actor: p.Actor, At: at, Reason: p.Reason, Until: time.UnixMilli(p.RetainUntil)}, key)
	return nil
}

// remove takes the bytes of a decided item from the store, looks that they are gone, and logs it. Crash before the store's deletion, after it or
// after the look: the job does all of it again, and the leaf is written once.
func (k *Keeper) remove(ctx context.Context, eid ID) error {
	rec, err := k.Get(ctx, Scope{}, eid)
	if err != nil {
		return err
	}
	decision, err := k.log.ByKey(ctx, DeletingKey(eid))
	if err != nil {
		return fmt.Errorf("find the decision: %w", err) // no byte goes without its leaf, whatever the row says
	}
	p, err := chain.Payload[chain.DeletedPayload](decision.Payload)
	if err != nil {
		return fmt.Errorf("read the decision: %w", err)
	}
	if p.ObjectKey != rec.ObjectKey || p.VersionID != rec.VersionID || !bytes.Equal(p.SHA256, rec.SHA256) {
		return errors.New("the record is not what the decision names")
	}
	if err := k.store.Delete(ctx, rec.ObjectKey, rec.VersionID); err != nil {
		return fmt.Errorf("delete at the store: %w", err)
	}
	if rec.PosterKey != "" { // a frame of it
		if err := k.store.DeleteAll(ctx, rec.PosterKey); err != nil {
			return fmt.Errorf("delete poster: %w", err)
		}
	}
	if _, err := k.store.HeadVersion(ctx, rec.ObjectKey, rec.VersionID); !fault.Is(err, fault.KindNotFound) {
		return errors.Join(errors.New("the store answered that it is deleted and still shows it"), err)
	}
	return k.log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error {
		q := db.New(tx)
		now := k.now().UTC().Truncate(time.Microsecond)
		n, err := q.SetGone(ctx, db.SetGoneParams{EvidenceID: string(eid), GoneAt: &now})
		if err != nil {
			return fmt.Errorf("note the deletion: %w", err)
		}
		if n == 0 {
			return nil // another server, or ourselves before our commit's answer was lost
		}
		if _, err := q.SetPoster(ctx, db.SetPosterParams{ID: string(eid)}); err != nil {
			return fmt.Errorf("forget poster: %w", err)
		}
		p.Decided = decision.Hash[:]
		return k.addDeletion(tx, eid, chain.KindDeleted, DeletedKey(eid), now, p)
	})
}

// Object keeps a proposed item for another ordinary term, from now on, in the caller's transaction.
func (k *Keeper) Object(ctx context.Context, tx *pg.Tx, eid ID, a Act) error {
	q := db.New(tx)
	row, err := lockKept(ctx, q, eid)
	if err != nil {
		return err
	}
	n, err := q.Withdraw(ctx, string(eid))
	if err != nil {
		return fmt.Errorf("withdraw deletion: %w", err)
	}
	if n == 0 {
		return fault.Conflict("这份影像没有到期待销毁")
	}
	a.Reason = "到期保留：" + a.Reason
	return k.extend(ctx, tx, eid, later(*row.RetainUntil, k.now().UTC().Add(k.Policy.Keep[Ordinary]).Truncate(time.Second)), a)
}

// Due lists what is proposed for deletion in the scope, soonest first.
func (k *Keeper) Due(ctx context.Context, s Scope, cursor string, limit int) (Page[Deletion], error) {
	at, after, err := readCursor(cursor)
	if err != nil {
		return Page[Deletion]{}, err
	}
	rows, err := db.New(k.pool).Due(ctx, db.DueParams{Now: k.now(), Townships: s.Townships, AfterAt: at, AfterID: opt(after), MaxRows: int32(limit + 1)})
	if err != nil {
		return Page[Deletion]{}, fmt.Errorf("list deletions: %w", err)
	}
	all := make([]Deletion, len(rows))
	for i, r := range rows {
		all[i] = deletion(r.Evidence, r.EvidenceDeletion)
	}
	return pageOf(all, limit, func(d Deletion) time.Time { return d.DueAt }), nil
}

// Gone lists what was deleted in the scope, newest first.
func (k *Keeper) Gone(ctx context.Context, s Scope, cursor string, limit int) (Page[Deletion], error) {
	at, after, err := readCursor(cursor)
	if err != nil {
		return Page[Deletion]{}, err
	}
	rows, err := db.New(k.pool).Gone(ctx, db.GoneParams{Townships: s.Townships, BeforeAt: at, BeforeID: opt(after), MaxRows: int32(limit + 1)})
	if err != nil {
		return Page[Deletion]{}, fmt.Errorf("list deletions: %w", err)
	}
	all := make([]Deletion, len(rows))
	for i, r := range rows {
		all[i] = deletion(r.Evidence, r.EvidenceDeletion)
	}
	return pageOf(all, limit, func(d Deletion) time.Time { return *d.DecidedAt }), nil
}

func deletion(e db.Evidence, d db.EvidenceDeletion) Deletion {
	return Deletion{Record: record(e), ProposedAt: d.ProposedAt, DueAt: d.DueAt, DecidedAt: d.DecidedAt, GoneAt: d.GoneAt}
}

func pageOf(all []Deletion, limit int, at func(Deletion) time.Time) Page[Deletion] {
	if len(all) <= limit {
		return Page[Deletion]{Items: all}
	}
	last := all[limit-1]
	return Page[Deletion]{Items: all[:limit], Next: makeCursor(at(last), string(last.Record.ID))}
}

// Certificate tells of a deletion what its leaf proves.
type Certificate struct {
	chain.DeletedPayload
	At                time.Time
	Leaf, DecidedLeaf int64
	Text              string // zh-CN, of nothing but the leaves
	Key               string // of the leaf, for its receipt
}

// Certificate of an item that is gone. Pending: it is decided, and the store has yet to show that the bytes are gone.
func (k *Keeper) Certificate(ctx context.Context, s Scope, eid ID) (Certificate, error) {
	rec, err := k.Get(ctx, s, eid)
	if err != nil {
		return Certificate{}, err
	}
	if rec.Status != StatusDeleted {
		return Certificate{}, fault.NotFound("这份影像没有销毁，没有销毁凭证")
	}
	leaf, err := k.log.ByKey(ctx, DeletedKey(eid))
	if fault.Is(err, fault.KindNotFound) {
		return Certificate{}, fault.Pending(30*time.Second, "已决定销毁，等存储确认后出具凭证")
	}
	if err != nil {
		return Certificate{}, err
	}
	decided, err := k.log.ByKey(ctx, DeletingKey(eid))
	if err != nil {
		return Certificate{}, fmt.Errorf("find the decision: %w", err)
	}
	if leaf.Payload == nil {
		return Certificate{}, fault.Gone("销毁凭证所在册页的内容已删除")
	}
	p, err := chain.Payload[chain.DeletedPayload](leaf.Payload)
	if err != nil {
		return Certificate{}, fmt.Errorf("read the deletion: %w", err)
	}
	d, err := leaf.Decode()
	if err != nil {
		return Certificate{}, fmt.Errorf("read the deletion: %w", err)
	}
	c := Certificate{DeletedPayload: p, At: d.Time(), Leaf: leaf.Seq, DecidedLeaf: decided.Seq, Key: leaf.Key}
	c.Text = c.text(leaf)
	return c, nil
}

func (c Certificate) text(leaf evlog.Leaf) string {
	day := func(ms int64) string { return time.UnixMilli(ms).In(china).Format(time.DateTime) }
	var b strings.Builder
	b.WriteString("销 毁 凭 证\n\n")
	for _, l := range [][2]string{
		{"证据编号", c.EvidenceID}, {"SHA-256", fmt.Sprintf("%x", c.SHA256)}, {"大小", fmt.Sprintf("%d 字节", c.Size)},
		{"类别", Category(c.Category).Name()}, {"封存时间", day(c.SealedAt)}, {"留存至", day(c.RetainUntil)}, {"依据", c.Reason},
		{"决定", fmt.Sprintf("%s（册页 %d）", c.Actor, c.DecidedLeaf)}, {"存储对象", strings.TrimSuffix(c.ObjectKey+" 版本 "+c.VersionID, " 版本 ")},
		{"存储确认已无", day(c.At.UnixMilli())}, {"册页", fmt.Sprint(c.Leaf)}, {"叶子摘要", fmt.Sprintf("%x", leaf.Hash)},
	} {
		fmt.Fprintf(&b, "%s：%s\n", l[0], l[1])
	}
	b.WriteString("\n时间均为北京时间。以上内容写在证据册的该册页中，随附回执可用 zhizheng-verify 离线验证。\n")
	return b.String()
}
