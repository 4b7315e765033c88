// Package evidence owns what is kept: the record of each sealed file, its chain of custody, holds, and the way to its bytes. It
// promises that a record is sealed in one transaction with its custody event and its leaf in the log, and that nobody is given
// bytes before the view is in the log. It deletes nothing before the end of its retention, nothing to make room, and nothing without
// its leaf; records stay. It knows no other domain: townships, actors, cases and devices are plain ids here.
//
// Read evidence.go for the record and its life, custody.go for what is noted, content.go for the bytes, verify.go for reading them again,
// retention.go for how long they stay, deletion.go for their end.
package evidence

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/internal/db"
	"zhizheng/internal/blob"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// ID is a record's ULID.
type ID string

// The life of a record.
const (
	StatusPending = "pending" // 影像待传: the fingerprint is in the log, the bytes are not here yet
	StatusSealed  = "sealed"
	StatusDamaged = "damaged"
	StatusDeleted = "deleted" // at the end of retention: the record stays, the bytes don't
)

// Scope is the townships whose records may be seen; nil Townships is the whole county. It is part of every query.
type Scope struct{ Townships []string }

// Registration is a file that a docking station has fingerprinted.
type Registration struct {
	Township, Station, Recorder, DeviceID string
	FileName                              []byte // exactly as on the card
	Size, PartSize                        int64
	SHA256, Composite                     [32]byte
	ManifestKey                           string    // idempotency key of the manifest's leaf
	ModifiedAt                            time.Time // as claimed; zero when unknown
}

// Record is an evidence record.
type Record struct {
	ID                                    ID
	Township, Station, Recorder, DeviceID string
	FileName                              string // for people; invalid UTF-8 replaced
	FileNameBytes                         []byte
	Size, PartSize                        int64
	SHA256, Composite                     []byte
	ManifestKey                           string
	ModifiedAt                            *time.Time
	RecordedAt, RegisteredAt              time.Time
	Status                                string
	ObjectKey, VersionID, Check           string
	SealedAt, RetainUntil                 *time.Time
	Restricted                            bool
	HoldState                             string
	Verdict                               string
	Media                                 json.RawMessage // media.Facts, "{}" until the probe ran
	PosterKey                             string
	VerifiedAt                            *time.Time // last time that the bytes were read again and agreed
	SM3                                   []byte     // as read then, nil before
	Damage                                string     // why it is damaged, "" if it isn't
	Activity                              string     // what an officer says it shows: patrol, inspection … (ActivityNames); "" if nobody did
	ActivityID                            string     // the planned activity it names, "" if it names none
	WipedAt                               *time.Time // when the original was removed from its recorder

	Category       Category
	CategoryReason string
	Permanent      bool       // kept for good; RetainUntil is how far its lock reaches
	LockedUntil    *time.Time // as the store confirmed; it follows RetainUntil
	RecordedEnd    *time.Time // as the device claims: by the container, else the file's own time; nil when unknown
	LateReason     string
}

// SHA256Hex is the fingerprint as people read it.
func (r Record) SHA256Hex() string { return hex.EncodeToString(r.SHA256) }

// Sealed is what the store and the server established about the bytes.
type Sealed struct {
	VersionID   string
	Parts       int
	Check       string // "attested" or "re-read"
	RetainUntil time.Time
	At          time.Time
}

// Keeper keeps the records.
type Keeper struct {
	Policy Policy // DefaultPolicy unless set before use

	pool  *pgxpool.Pool
	log   *evlog.Log
	store *blob.Store
	now   func() time.Time
	views viewWindow
	holds holdTries

	known   *pg.Lookup[Fingerprint, bool]
	records *pg.Bulk[db.RegisterParams]
	events  *pg.Bulk[db.CustodyRow]
	seals   *pg.Bulk[db.SealRow]
}

// NewKeeper needs the pool, the log and the store that holds the bytes.
func NewKeeper(pool *pgxpool.Pool, log *evlog.Log, store *blob.Store, now func() time.Time) *Keeper {
	if now == nil {
		now = time.Now
	}
	k := &Keeper{Policy: DefaultPolicy(), pool: pool, log: log, store: store, now: now,
		records: pg.NewBulk(1, "register evidence", db.QueueEvidence),
		events:  pg.NewBulk(2, "write custody event", db.QueueCustody),
		seals:   pg.NewBulk(1, "seal evidence", db.QueueSeal),
	}
	k.known = pg.NewLookup(k.findKnown)
	return k
}

// Register makes the record of a fingerprinted file in the caller's transaction, beside the manifest's leaf. Bytes that are known
// already give the first record and existing = true.
func (k *Keeper) Register(ctx context.Context, tx *pg.Tx, r Registration) (rec Record, existing bool, err error) {
	p := k.registration(r)
	q := db.New(tx)
	row, err := q.Register(ctx, p)
	if err == nil {
		k.addCustody(tx, ID(row.ID), chain.KindManifest, Act{Actor: r.Station}, r.ManifestKey)
		return record(row), false, nil
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return Record{}, false, fmt.Errorf("register evidence: %w", err)
	}
	row, err = q.ByDigest(ctx, db.ByDigestParams{Sha256: r.SHA256[:], Size: r.Size})
	if err != nil {
		return Record{}, false, fmt.Errorf("find evidence by digest: %w", err)
	}
	return record(row), true, nil
}

// Fingerprint is what makes bytes the same evidence.
type Fingerprint struct {
	SHA256 [32]byte
	Size   int64
}

// Known gives those of the fingerprints that have a record. It is asked before a transaction, in one query with whoever asks at the time.
func (k *Keeper) Known(ctx context.Context, prints ...Fingerprint) (map[Fingerprint]bool, error) {
	known, err := k.known.Find(ctx, prints...)
	if err != nil {
		return nil, fmt.Errorf("find evidence by digest: %w", err)
	}
	return known, nil
}

func (k *Keeper) findKnown(ctx context.Context, prints []Fingerprint) (map[Fingerprint]bool, error) {
	var b pgx.Batch
	found := map[Fingerprint]bool{}
	for _, p := range prints {
		db.QueueKnown(&b, p.SHA256[:], p.Size, func() { found[p] = true })
	}
	return found, k.pool.SendBatch(ctx, &b).Close()
}

// RegisterUnseen is Register for bytes that were not Known a moment ago: all of it is put off until the commit. Should the same bytes
// have come by another way since, the commit fails on their unique index, and Register is the way.
func (k *Keeper) RegisterUnseen(tx *pg.Tx, r Registration) Record {
	p := k.registration(r)
	k.records.Add(tx, p)
	k.addCustody(tx, ID(p.ID), chain.KindManifest, Act{Actor: r.Station}, r.ManifestKey)
	return record(db.Evidence{ID: p.ID, Township: p.Township, Station: p.Station, Recorder: p.Recorder, DeviceID: p.DeviceID, FileName: p.FileName,
		FileNameBytes: p.FileNameBytes, Size: p.Size, Sha256: p.Sha256, PartSize: p.PartSize, Composite: p.Composite, ManifestKey: p.ManifestKey,
		ModifiedAt: p.ModifiedAt, RecordedAt: p.RecordedAt, RegisteredAt: p.RegisteredAt, ObjectKey: p.ObjectKey, Status: StatusPending,
		HoldState: "none", Media: []byte("{}"), Category: string(Ordinary)})
}

func (k *Keeper) registration(r Registration) db.RegisterParams {
	now := k.now().UTC()
	recorded := now
	var modified *time.Time
	if !r.ModifiedAt.IsZero() {
		m := r.ModifiedAt.UTC()
		modified = &m
		if m.Before(now) { // a clock ahead of ours says nothing about when it was recorded
			recorded = m
		}
	}
	newID := id.New()
	return db.RegisterParams{
		ID: newID, Township: r.Township, Station: r.Station, Recorder: r.Recorder, DeviceID: r.DeviceID,
		FileName: displayName(r.FileName), FileNameBytes: nonNil(r.FileName), Size: r.Size, Sha256: r.SHA256[:], PartSize: r.PartSize,
		Composite: r.Composite[:], ManifestKey: r.ManifestKey, ModifiedAt: modified, RecordedAt: recorded, RegisteredAt: now,
		ObjectKey: objectKey(r.Township, now, newID),
	}
}

// objectKey holds no personal data: a township code, a month, a random id.
func objectKey(township string, at time.Time, id string) string {
	return "evidence/" + township + "/" + at.Format("2006/01") + "/" + id
}

// Seal marks a record sealed and logs it, in the caller's transaction, which sees it sealed only when it commits. A record that is sealed
// already stays as it is.
func (k *Keeper) Seal(ctx context.Context, tx *pg.Tx, eid ID, s Sealed) error {
	row, err := db.New(tx).Lock(ctx, string(eid))
	if errors.Is(err, pgx.ErrNoRows) {
		return fault.NotFound("没有这条证据记录：%s", eid)
	}
	if err != nil {
		return fmt.Errorf("lock evidence: %w", err)
	}
	if row.Status != StatusPending {
		return nil // crash here earlier: the same completion comes again and finds its work done
	}
	at, until := s.At.UTC(), s.RetainUntil.UTC()
	// What a case links before it arrives is kept longer than its first lock: SettleRetention extends that.
	retain := later(until, k.until(Category(row.Category), row.Permanent, at))
	k.seals.Add(tx, db.SealRow{ID: string(eid), VersionID: s.VersionID, Checked: s.Check, SealedAt: at, LockedUntil: until, RetainUntil: retain})
	key := SealKey(eid)
	if err := k.log.Append(tx, chain.Entry{Key: key, Kind: chain.KindSealed, Subject: Subject(eid), Time: at, Payload: chain.SealedPayload{
		EvidenceID: string(eid), SHA256: row.Sha256, Size: row.Size, Composite: row.Composite, Parts: s.Parts, ObjectKey: row.ObjectKey,
		VersionID: s.VersionID, Check: s.Check, RetainUntil: until.UnixMilli(), ManifestKey: row.ManifestKey, DeviceID: row.DeviceID,
		Township: row.Township,
	}}); err != nil {
		return err
	}
	k.addCustody(tx, eid, chain.KindSealed, Act{Actor: row.Station, At: at, Until: until}, key)
	return nil
}

// SealKey is the idempotency key of a record's sealing leaf.
func SealKey(eid ID) string { return "sealed/" + string(eid) }

// Subject is the record's chain in the log.
func Subject(eid ID) chain.Subject {
	return chain.Subject{Type: chain.SubjectEvidence, ID: string(eid)}
}

// Get gives one record inside the scope; outside it there is no such record.
func (k *Keeper) Get(ctx context.Context, s Scope, eid ID) (Record, error) {
	row, err := db.New(k.pool).Get(ctx, db.GetParams{ID: string(eid), Townships: s.Townships})
	if errors.Is(err, pgx.ErrNoRows) {
		return Record{}, fault.NotFound("没有这条证据记录，或不在您的辖区内")
	}
	if err != nil {
		return Record{}, fmt.Errorf("get evidence: %w", err)
	}
	return record(row), nil
}

// Many gives those of the records that lie inside the scope, in no particular order.
func (k *Keeper) Many(ctx context.Context, s Scope, ids []string) ([]Record, error) {
	rows, err := db.New(k.pool).Many(ctx, db.ManyParams{Ids: ids, Townships: s.Townships})
	if err != nil {
		return nil, fmt.Errorf("get evidence: %w", err)
	}
	out := make([]Record, len(rows))
	for i, r := range rows {
		out[i] = record(r)
	}
	return out, nil
}

// SaveFacts keeps what the media probe found. createdAt is the container's own time, nil when it has none.
func (k *Keeper) SaveFacts(ctx context.Context, eid ID, facts any, verdict string, createdAt *time.Time) error {
	b, err := json.Marshal(facts)
	if err != nil {
		return err
	}
	if createdAt != nil && createdAt.After(k.now()) {
		createdAt = nil
	}
	n, err := db.New(k.pool).SaveFacts(ctx, db.SaveFactsParams{ID: string(eid), Media: b, Verdict: verdict, CreatedAt: createdAt})
	return one(n, err, "save media facts")
}

// SetPoster names the poster's object.
func (k *Keeper) SetPoster(ctx context.Context, eid ID, key string) error {
	n, err := db.New(k.pool).SetPoster(ctx, db.SetPosterParams{ID: string(eid), PosterKey: key})
	return one(n, err, "set poster")
}

// one turns an update that hit nothing into NotFound.
func one(n int64, err error, act string) error {
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", act, err)
	case n == 0:
		return fault.NotFound("没有这条证据记录")
	}
	return nil
}

// displayName makes a card's file name fit for a page: valid UTF-8, no control characters.
func displayName(b []byte) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || (r >= 0x202a && r <= 0x202e) || (r >= 0x2066 && r <= 0x2069) {
			return '\uFFFD' // bidirectional overrides could make an .exe look like an .mp4
		}
		return r
	}, strings.ToValidUTF8(string(b), "\uFFFD"))
}

func nonNil(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}

func record(r db.Evidence) Record {
	return Record{
		ID: ID(r.ID), Township: r.Township, Station: r.Station, Recorder: r.Recorder, DeviceID: r.DeviceID, FileName: r.FileName,
		FileNameBytes: r.FileNameBytes, Size: r.Size, PartSize: r.PartSize, SHA256: r.Sha256, Composite: r.Composite,
		ManifestKey: r.ManifestKey, ModifiedAt: r.ModifiedAt, RecordedAt: r.RecordedAt, RegisteredAt: r.RegisteredAt, Status: r.Status,
		ObjectKey: r.ObjectKey, VersionID: r.VersionID, Check: r.Checked, SealedAt: r.SealedAt, RetainUntil: r.RetainUntil,
		Restricted: r.Restricted, HoldState: r.HoldState, Verdict: r.Verdict, Media: r.Media, PosterKey: r.PosterKey,
		VerifiedAt: r.VerifiedAt, SM3: r.Sm3, Damage: r.Damage, Activity: r.Activity, ActivityID: r.ActivityID, WipedAt: r.WipedAt,
		Category: Category(r.Category), CategoryReason: r.CategoryReason,
		Permanent: r.Permanent, LockedUntil: r.LockedUntil, RecordedEnd: r.RecordedEnd, LateReason: r.LateReason,
	}
}
