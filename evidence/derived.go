package evidence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/internal/db"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// What is made out of footage: tracks and frame times beside the record, previews and contact sheets in the store. None of it is
// evidence, all of it can be made anew.

// SaveTimeline keeps positions and frame times; nil is none. The same content may be saved again.
func (k *Keeper) SaveTimeline(ctx context.Context, eid ID, track, frames any) error {
	p := db.SaveTimelineParams{EvidenceID: string(eid), MadeAt: k.now().UTC()}
	for _, x := range []struct {
		from any
		to   *[]byte
	}{{track, &p.Track}, {frames, &p.Frames}} {
		b, err := json.Marshal(x.from)
		if err != nil {
			return err
		}
		if string(b) != "null" {
			*x.to = b
		}
	}
	if err := db.New(k.pool).SaveTimeline(ctx, p); err != nil {
		return fmt.Errorf("save timeline: %w", err)
	}
	return nil
}

// Timeline gives a record's positions and frame times as they were saved, nil for none.
func (k *Keeper) Timeline(ctx context.Context, eid ID) (track, frames json.RawMessage, err error) {
	row, err := db.New(k.pool).Timeline(ctx, string(eid))
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, nil, fmt.Errorf("read timeline: %w", err)
	}
	return row.Track, row.Frames, nil
}

// PairedTrack gives the positions of the sidecar that lies beside a file, with the sidecar's id and name; "" when there is none.
func (k *Keeper) PairedTrack(ctx context.Context, eid ID) (sidecar ID, name string, track json.RawMessage, err error) {
	row, err := db.New(k.pool).PairedTrack(ctx, string(eid))
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return "", "", nil, fmt.Errorf("find the sidecar's track: %w", err)
	}
	return ID(row.ID), row.FileName, row.Track, nil
}

// Kinds of derived objects, and how making them goes.
const (
	DerivedPreview      = "preview"
	DerivedContactSheet = "contact-sheet"

	DerivedQueued  = "queued"
	DerivedRunning = "running"
	DerivedReady   = "ready"
	DerivedFailed  = "failed"
	DerivedGone    = "gone" // made, and deleted in the store since
)

// Derived is a preview or a contact sheet. FromMs is where it begins.
type Derived struct {
	EvidenceID, Kind, Township string
	FromMs                     int64
	State                      string
	Percent, Attempts          int
	Failure                    string
	MadeAt                     *time.Time
	ObjectKey, ContentType     string
	Size                       int64
	SHA256                     []byte

	lease string
}

// derivedLease is how long a worker may be silent before another takes its turn.
const derivedLease = 2 * time.Minute

func derived(r db.EvidenceDerived) Derived {
	return Derived{EvidenceID: r.EvidenceID, Kind: r.Kind, Township: r.Township, FromMs: r.FromMs, State: r.State, Percent: int(r.Percent),
		Attempts: int(r.Attempts), Failure: r.Failure, MadeAt: r.MadeAt, ObjectKey: r.ObjectKey, ContentType: r.ContentType, Size: r.Size, SHA256: r.Sha256,
		lease: r.Lease}
}

// AskDerived queues one in the caller's transaction; true when there is something to do that wasn't before.
func (k *Keeper) AskDerived(ctx context.Context, tx *pg.Tx, rec Record, kind string, fromMs int64, actor string) (bool, error) {
	n, err := db.New(tx).AskDerived(ctx, db.AskDerivedParams{EvidenceID: string(rec.ID), Kind: kind, Township: rec.Township, FromMs: fromMs, AskedBy: actor,
		AskedAt: k.now().UTC()})
	if err != nil {
		return false, fmt.Errorf("queue %s: %w", kind, err)
	}
	return n > 0, nil
}

// Derived gives the state of one; NotFound when it was never asked for. What the store no longer has is gone.
func (k *Keeper) Derived(ctx context.Context, eid ID, kind string) (Derived, error) {
	row, err := db.New(k.pool).Derived(ctx, db.DerivedParams{EvidenceID: string(eid), Kind: kind})
	if errors.Is(err, pgx.ErrNoRows) {
		return Derived{}, fault.NotFound("还没有生成")
	}
	if err != nil {
		return Derived{}, fmt.Errorf("read %s: %w", kind, err)
	}
	d := derived(row)
	if d.State == DerivedReady {
		if _, err := k.store.Head(ctx, d.ObjectKey); fault.Is(err, fault.KindNotFound) {
			d.State = DerivedGone
		} else if err != nil {
			return Derived{}, fmt.Errorf("look for %s: %w", kind, err)
		}
	}
	return d, nil
}

// TakeTurn gives the next one to make: of the township with the fewest running, no more than most at once in the county. busy says
// that there is one and no room for it; a zero Derived that there is none.
func (k *Keeper) TakeTurn(ctx context.Context, most int) (d Derived, busy bool, err error) {
	err = pg.InTx(ctx, k.pool, func(tx *pg.Tx) error {
		q, now := db.New(tx), k.now().UTC()
		if err := q.LockTurns(ctx); err != nil {
			return err
		}
		row, err := q.NextDerived(ctx, now)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		running, err := q.RunningDerived(ctx, now)
		if err != nil {
			return err
		}
		if busy = running >= int64(most); busy {
			return nil
		}
		row, err = q.TakeDerived(ctx, db.TakeDerivedParams{EvidenceID: row.EvidenceID, Kind: row.Kind, Lease: id.New(), LeaseUntil: new(now.Add(derivedLease))})
		d = derived(row)
		return err
	})
	if err != nil {
		return Derived{}, false, fmt.Errorf("take a turn: %w", err)
	}
	return d, busy, nil
}

// ErrTurnLost is a worker that was silent for too long, or whose work was asked for anew.
var ErrTurnLost = errors.New("another worker took over")

func turn(n int64, err error) error {
	if err == nil && n == 0 {
		return ErrTurnLost
	}
	return err
}

// Progress tells how far a running one is, and keeps its turn.
func (k *Keeper) Progress(ctx context.Context, d Derived, percent int) error {
	return turn(db.New(k.pool).ProgressDerived(ctx, db.ProgressDerivedParams{EvidenceID: d.EvidenceID, Kind: d.Kind, Lease: d.lease,
		Percent: int16(min(max(percent, 0), 99)), LeaseUntil: new(k.now().UTC().Add(derivedLease))}))
}

// Made says that the object is in the store.
func (k *Keeper) Made(ctx context.Context, d Derived) error {
	return turn(db.New(k.pool).ReadyDerived(ctx, db.ReadyDerivedParams{EvidenceID: d.EvidenceID, Kind: d.Kind, Lease: d.lease, MadeAt: new(k.now().UTC()),
		ObjectKey: d.ObjectKey, ContentType: d.ContentType, Size: d.Size, Sha256: d.SHA256}))
}

// GiveUp puts a running one back into the queue, or ends it for good.
func (k *Keeper) GiveUp(ctx context.Context, d Derived, failure string, forGood bool) error {
	state := DerivedQueued
	if forGood {
		state = DerivedFailed
	}
	return turn(db.New(k.pool).EndDerived(ctx, db.EndDerivedParams{EvidenceID: d.EvidenceID, Kind: d.Kind, Lease: d.lease, State: state, Failure: failure}))
}

// ServeDerived answers a request for a derived object's bytes like Serve does for footage. The caller has logged the view.
func (k *Keeper) ServeDerived(ctx context.Context, w http.ResponseWriter, req *http.Request, d Derived) error {
	if d.State != DerivedReady {
		return fault.NotFound("预览还没有生成，或已被清理").Then("可以重新生成")
	}
	return k.Serve(ctx, w, req, Record{Status: StatusSealed, Size: d.Size, SHA256: d.SHA256, ObjectKey: d.ObjectKey}, d.ContentType)
}
