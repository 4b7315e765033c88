package evidence

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"github.com/emmansun/gmsm/sm3"
	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/internal/db"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// Why an item is damaged.
const (
	DamageDiffers = "differs" // other bytes than were sealed
	DamageShort   = "short"   // fewer
	DamageLong    = "long"    // more
	DamageMissing = "missing" // the store has no such version
	DamageRecord  = "record"  // the bytes may be whole, but the record's digests aren't those of its leaf
)

// DamageText says in zh-CN what a damage is.
func DamageText(damage string) string {
	switch damage {
	case DamageDiffers:
		return "重读的字节与封存时的摘要不一致"
	case DamageShort:
		return "存储中的字节比封存时少"
	case DamageLong:
		return "存储中的字节比封存时多"
	case DamageMissing:
		return "存储中已没有封存的这份影像"
	case DamageRecord:
		return "记录上的摘要与证据册中封存时的不一致"
	}
	return ""
}

// Reading is what reading an item's bytes again gave.
type Reading struct {
	Size      int64
	SHA256    [32]byte
	SM3       [32]byte
	Composite [32]byte // SHA-256 of the concatenated digests of its parts
}

// readChunk is how much is hashed at a time: SHA-256 and SM3 of a chunk run side by side, and no longer than it takes to read it.
const readChunk = 1 << 20

// ReadAgain reads all of an item's bytes and gives their digests. pace is told of each chunk and may wait. Bytes
// beyond the record's size are read up to one chunk, which is enough to know. NotFound: the store has no such version. A stream that breaks
// off is an error; one that ends early is a Reading with fewer bytes.
func (k *Keeper) ReadAgain(ctx context.Context, rec Record, pace func(ctx context.Context, n int64) error) (Reading, error) {
	body, err := k.store.Get(ctx, rec.ObjectKey, rec.VersionID, 0, -1)
	if err != nil {
		return Reading{}, fmt.Errorf("open evidence: %w", err)
	}
	defer body.Close()
	h := newDigests(rec.PartSize)
	buf := make([]byte, min(readChunk, rec.Size+1))
	for end := false; !end && h.size <= rec.Size; {
		var n int
		if n, end, err = fill(body, buf); err != nil {
			return Reading{}, fmt.Errorf("read evidence: %w", err)
		}
		h.write(buf[:n])
		if err := pace(ctx, int64(n)); err != nil {
			return Reading{}, err
		}
	}
	return h.sum(), nil
}

// fill is io.ReadFull that tells a body at its end from one whose connection broke.
func fill(body io.Reader, buf []byte) (n int, end bool, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = body.Read(buf[n:])
		n += m
	}
	if err == io.EOF {
		return n, true, nil
	}
	return n, false, err
}

// digests computes all three in one pass.
type digests struct {
	size, partSize, inPart int64
	whole, part, sm3       hash.Hash
	parts                  []byte
}

func newDigests(partSize int64) *digests {
	return &digests{partSize: partSize, whole: sha256.New(), part: sha256.New(), sm3: sm3.New()}
}

func (d *digests) write(b []byte) {
	if len(b) == 0 {
		return
	}
	chunk := b
	var g sync.WaitGroup
	g.Go(func() { _, _ = d.sm3.Write(chunk) }) // a hash never fails
	d.size += int64(len(b))
	_, _ = d.whole.Write(b)
	for len(b) > 0 {
		if d.inPart == d.partSize {
			d.endPart()
		}
		n := min(int64(len(b)), d.partSize-d.inPart)
		_, _ = d.part.Write(b[:n])
		d.inPart += n
		b = b[n:]
	}
	g.Wait()
}

func (d *digests) endPart() {
	d.parts = d.part.Sum(d.parts)
	d.part.Reset()
	d.inPart = 0
}

// sum ends the last part; the composite of a file of no bytes is the digest of nothing, as manifests have it.
func (d *digests) sum() Reading {
	if d.inPart > 0 {
		d.endPart()
	}
	r := Reading{Size: d.size, Composite: sha256.Sum256(d.parts)}
	d.whole.Sum(r.SHA256[:0])
	d.sm3.Sum(r.SM3[:0])
	return r
}

// Judge compares a reading with what was sealed: the leaf of the sealing, or the record where the leaf's content was erased. It gives
// the damage, "" if there is none.
func (k *Keeper) Judge(ctx context.Context, rec Record, r Reading) (damage string, err error) {
	leaf, err := k.log.ByKey(ctx, SealKey(rec.ID))
	if err != nil && !fault.Is(err, fault.KindNotFound) {
		return "", err
	}
	size, whole, composite := rec.Size, rec.SHA256, rec.Composite
	if err == nil && leaf.Payload != nil {
		p, err := chain.Payload[chain.SealedPayload](leaf.Payload)
		if err != nil {
			return "", fmt.Errorf("read the sealing of %s: %w", rec.ID, err)
		}
		size, whole = p.Size, p.SHA256
		if len(p.Composite) > 0 {
			composite = p.Composite
		}
	}
	switch {
	case r.Size < size:
		return DamageShort, nil
	case r.Size > size:
		return DamageLong, nil
	case !bytes.Equal(r.SHA256[:], whole):
		return DamageDiffers, nil
	case err != nil || size != rec.Size || !bytes.Equal(whole, rec.SHA256) || !bytes.Equal(composite, rec.Composite),
		!bytes.Equal(r.Composite[:], composite):
		return DamageRecord, nil // or it was never logged as sealed at all
	}
	return "", nil
}

// Check is the outcome of reading an item again in a run ("first": on its own, soon after sealing).
type Check struct {
	Run     string
	Damage  string // "" when it is whole
	Reading Reading
	At      time.Time
}

// Verified writes down that the bytes agree: status (a damaged item is whole again), digests, custody event and leaf, in the caller's
// transaction. fresh is false when the run has read the item before, which changes nothing.
func (k *Keeper) Verified(ctx context.Context, tx *pg.Tx, eid ID, c Check) (fresh bool, err error) {
	row, fresh, err := k.lockToCheck(ctx, tx, eid, c.Run)
	if err != nil || !fresh {
		return false, err
	}
	err = db.New(tx).SetVerified(ctx, db.SetVerifiedParams{ID: string(eid), VerifiedAt: &c.At, Sm3: c.Reading.SM3[:], RereadRun: c.Run})
	if err != nil {
		return false, fmt.Errorf("mark evidence verified: %w", err)
	}
	act := Act{Actor: "system", At: c.At}
	if row.Status == StatusDamaged {
		act.Reason = "此前损坏（" + DamageText(row.Damage) + "），现已复原"
	}
	return true, k.addCheck(tx, eid, chain.KindVerified, c, act)
}

// Damaged writes down that they don't. The item stays damaged until Verified.
func (k *Keeper) Damaged(ctx context.Context, tx *pg.Tx, eid ID, c Check) (fresh bool, err error) {
	_, fresh, err = k.lockToCheck(ctx, tx, eid, c.Run)
	if err != nil || !fresh {
		return false, err
	}
	err = db.New(tx).SetDamaged(ctx, db.SetDamagedParams{ID: string(eid), Damage: c.Damage, RereadAt: &c.At, RereadRun: c.Run})
	if err != nil {
		return false, fmt.Errorf("mark evidence damaged: %w", err)
	}
	return true, k.addCheck(tx, eid, chain.KindDamaged, c, Act{Actor: "system", At: c.At, Reason: DamageText(c.Damage)})
}

// Tried writes down that the store gave nothing to judge by. What is known about the item stays as it is.
func (k *Keeper) Tried(ctx context.Context, tx *pg.Tx, eid ID, c Check) (fresh bool, err error) {
	_, fresh, err = k.lockToCheck(ctx, tx, eid, c.Run)
	if err != nil || !fresh {
		return false, err
	}
	if err := db.New(tx).SetTried(ctx, db.SetTriedParams{ID: string(eid), RereadAt: &c.At, RereadRun: c.Run}); err != nil {
		return false, fmt.Errorf("mark evidence tried: %w", err)
	}
	return true, nil
}

// lockToCheck: a run reads an item once, whoever else reads it at the same time.
func (k *Keeper) lockToCheck(ctx context.Context, tx *pg.Tx, eid ID, run string) (db.Evidence, bool, error) {
	row, err := db.New(tx).Lock(ctx, string(eid))
	if errors.Is(err, pgx.ErrNoRows) {
		return row, false, fault.NotFound("没有这条证据记录：%s", eid)
	}
	if err != nil {
		return row, false, fmt.Errorf("lock evidence: %w", err)
	}
	done := row.RereadRun == run || run == FirstRun && row.RereadAt != nil
	return row, row.Status != StatusPending && row.Status != StatusDeleted && !done, nil
}

// FirstRun stands for the first reading of an item soon after it was sealed.
const FirstRun = "first"

func (k *Keeper) addCheck(tx *pg.Tx, eid ID, kind chain.Kind, c Check, a Act) error {
	key := CheckKey(eid, c.Run)
	p := chain.VerifiedPayload{EvidenceID: string(eid), Reason: c.Damage}
	if c.Damage != DamageMissing {
		p.SHA256, p.SM3, p.Size = c.Reading.SHA256[:], c.Reading.SM3[:], c.Reading.Size
	}
	if err := k.log.Append(tx, chain.Entry{Key: key, Kind: kind, Subject: Subject(eid), Time: c.At, Payload: p}); err != nil {
		return err
	}
	k.addCustody(tx, eid, kind, a, key)
	return nil
}

// CheckKey is the idempotency key of the leaf that tells what a run read of an item.
func CheckKey(eid ID, run string) string { return "verified/" + run + "/" + string(eid) }

// NextToRead gives the item that a run reads next, or ok = false when it has read all that was stored when it began.
func (k *Keeper) NextToRead(ctx context.Context, run string, began time.Time) (rec Record, ok bool, err error) {
	row, err := db.New(k.pool).NextToReread(ctx, db.NextToRereadParams{Began: began, Run: run})
	return found(row, err)
}

// NextUnread gives an item that was never read again, sealed after since (zero: whenever).
func (k *Keeper) NextUnread(ctx context.Context, since time.Time) (rec Record, ok bool, err error) {
	q := db.New(k.pool)
	if since.IsZero() {
		row, err := q.NextUnread(ctx)
		return found(row, err)
	}
	row, err := q.NextUnreadSince(ctx, since)
	return found(row, err)
}

func found(row db.Evidence, err error) (Record, bool, error) {
	if errors.Is(err, pgx.ErrNoRows) {
		return Record{}, false, nil
	}
	if err != nil {
		return Record{}, false, pg.Away(fmt.Errorf("find evidence to read again: %w", err))
	}
	return record(row), true, nil
}

// Stored counts what was in the store at a time.
func (k *Keeper) Stored(ctx context.Context, at time.Time) (objects, bytes int64, err error) {
	row, err := db.New(k.pool).CountStored(ctx, at)
	if err != nil {
		return 0, 0, pg.Away(fmt.Errorf("count stored evidence: %w", err))
	}
	return row.Objects, row.Bytes, nil
}

// UnreadSince reports whether some stored item was not read again (or sealed) since a time.
func (k *Keeper) UnreadSince(ctx context.Context, t time.Time) (bool, error) {
	old, err := db.New(k.pool).OldestReading(ctx, t)
	if err != nil {
		return false, pg.Away(fmt.Errorf("look for evidence not read again: %w", err))
	}
	return old, nil
}

// StoreAnswers asks the store for its bucket: an object that can't be read says something about itself only while that answers.
func (k *Keeper) StoreAnswers(ctx context.Context) error { return k.store.Ready(ctx) }
