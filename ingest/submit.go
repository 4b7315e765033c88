package ingest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/ingest/internal/db"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// What became of a manifest.
const (
	Accepted  = "accepted"
	Duplicate = "duplicate" // these bytes are known; EvidenceID names the first record
	Rejected  = "rejected"
)

// ManifestResult answers one manifest.
type ManifestResult struct {
	Status         string
	EvidenceID     evidence.ID
	EvidenceStatus string
	LeafIndex      int64 // of the manifest's leaf
	Code, Error    string
}

// rejection is a manifest that can't be taken, for a reason that sending it again won't mend.
type rejection struct{ code, reason string }

func (r *rejection) Error() string { return r.reason }

// SubmitManifests takes signed manifests, in their order. Each one's leaf is committed before it is answered; those of a batch share a
// commit. Rejected ones are kept with their bytes. An error means that none may count on being taken: send the batch again.
func (s *Service) SubmitManifests(ctx context.Context, st Station, raws [][]byte) ([]ManifestResult, error) {
	out := make([]ManifestResult, len(raws))
	keys := keyCache{s: s, seen: map[string]*db.KeyRow{}}
	here, twice := map[string]int{}, map[int]int{} // the same manifest twice in a batch is answered like the first
	var all []*prepared                            // signatures cost time: checked before the transaction
	for i, raw := range raws {
		p, err := s.prepare(ctx, &keys, raw)
		if rej := asRejection(err); rej != nil {
			if out[i], err = s.reject(ctx, st, raw, rej); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if first, ok := here[p.logKey]; ok {
			twice[i] = first
			continue
		}
		here[p.logKey] = i
		p.at = i
		all = append(all, p)
	}
	if len(all) == 0 {
		return out, nil
	}
	if err := s.lookForBytes(ctx, all); err != nil {
		return nil, err
	}
	err := s.Log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error {
		for _, p := range all {
			if err := s.take(ctx, tx, st, p, &out[p.at]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		if err := s.oneByOne(ctx, st, all, out); err != nil {
			return nil, err
		}
	}
	if err := s.leafIndexes(ctx, all, out); err != nil {
		return nil, err
	}
	for i, first := range twice {
		out[i] = out[first]
	}
	return out, nil
}

// lookForBytes finds out which manifests' bytes may have a record when they are taken.
func (s *Service) lookForBytes(ctx context.Context, all []*prepared) error {
	prints := make([]evidence.Fingerprint, len(all))
	times := map[evidence.Fingerprint]int{}
	for i, p := range all {
		prints[i] = p.fingerprint()
		times[prints[i]]++
	}
	known, err := s.Evidence.Known(ctx, prints...)
	if err != nil {
		return err
	}
	for i, p := range all {
		p.seen = known[prints[i]] || times[prints[i]] > 1 // of several, one registers, and the others have to find what it did
	}
	return nil
}

// oneByOne takes the manifests of a batch that failed. One that can't be taken whatever is tried must not hold up the rest of a card
// for ever: its bytes are kept and it is refused. Bytes that came by another way at the same moment are a cause too: now they are seen.
func (s *Service) oneByOne(ctx context.Context, st Station, all []*prepared, out []ManifestResult) error {
	for _, p := range all {
		p.seen = true // or not: then it registers them all the same
		err := s.Log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error { return s.take(ctx, tx, st, p, &out[p.at]) })
		if err == nil {
			continue
		}
		var pe *pgconn.PgError
		if !errors.As(err, &pe) || !(strings.HasPrefix(pe.Code, "22") || strings.HasPrefix(pe.Code, "23")) {
			return err // not the manifest's fault: the database is away, or the like
		}
		s.Logger.ErrorContext(ctx, "manifest can't be stored", "station", st.ID, "err", err)
		if out[p.at], err = s.reject(ctx, st, p.raw, &rejection{"unstorable", "清单的内容无法存入，已留存原件待查"}); err != nil {
			return err
		}
		p.refused = true
	}
	return nil
}

func asRejection(err error) *rejection {
	var r *rejection
	errors.As(err, &r)
	return r
}

type prepared struct {
	manifest.Signed
	raw    []byte
	key    *db.KeyRow
	device string
	logKey string
	seen   bool // its bytes may have a record

	at      int // place in the batch
	refused bool
}

func (p *prepared) fingerprint() evidence.Fingerprint {
	return evidence.Fingerprint{SHA256: [32]byte(p.SHA256), Size: p.Size}
}

// keyCache looks each key up once a batch.
type keyCache struct {
	s    *Service
	seen map[string]*db.KeyRow
}

func (c *keyCache) get(ctx context.Context, keyID []byte) (*db.KeyRow, error) {
	if k, ok := c.seen[string(keyID)]; ok {
		return k, nil
	}
	k, err := db.New(c.s.Pool).Key(ctx, keyID)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		c.seen[string(keyID)] = nil
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look up signing key: %w", err)
	}
	c.seen[string(keyID)] = &k
	return &k, nil
}

func (s *Service) prepare(ctx context.Context, keys *keyCache, raw []byte) (*prepared, error) {
	m, err := manifest.Parse(raw)
	if err != nil {
		return nil, &rejection{"malformed", "清单格式有误：" + err.Error()}
	}
	k, err := keys.get(ctx, m.KeyID)
	switch {
	case err != nil:
		return nil, err
	case k == nil:
		return nil, &rejection{"unknown-key", "签名密钥没有登记，请先登记采集站"}
	case k.RevokedAt != nil:
		return nil, &rejection{"revoked-key", "签名密钥已于 " + k.RevokedAt.Format("2006-01-02") + " 吊销"}
	case !m.Verify(ed25519.PublicKey(k.PublicKey)):
		return nil, &rejection{"bad-signature", "清单的签名不对"}
	}
	p := &prepared{Signed: m, raw: raw, key: k, logKey: "manifest/" + hex.EncodeToString(m.Hash[:])}
	if m.Recorder != "" && s.Recorder != nil {
		if p.device, err = s.Recorder(ctx, m.Recorder); err != nil {
			return nil, fmt.Errorf("look up recorder: %w", err)
		}
	}
	return p, nil
}

// reject keeps the bytes and the reason.
func (s *Service) reject(ctx context.Context, st Station, raw []byte, r *rejection) (ManifestResult, error) {
	if err := s.deadLetter(ctx, "manifest", st, raw, r); err != nil {
		return ManifestResult{}, err
	}
	return ManifestResult{Status: Rejected, Code: r.code, Error: r.reason}, nil
}

// take registers the evidence and logs the manifest. Crash before the commit: nothing happened, the agent sends it again. Crash after
// it: the agent sends it again and finds the row of its (key, epoch, counter).
func (s *Service) take(ctx context.Context, tx *pg.Tx, st Station, p *prepared, res *ManifestResult) error {
	*res = ManifestResult{}
	q := db.New(tx)
	row, err := q.ManifestAt(ctx, db.ManifestAtParams{KeyID: p.KeyID, Epoch: int64(p.Epoch), Counter: int64(p.Counter)})
	switch {
	case err == nil && bytes.Equal(row.Hash, p.Hash[:]):
		return s.again(ctx, evidence.ID(row.EvidenceID), p, res)
	case err == nil:
		return s.equivocation(ctx, tx, st, p, row, res)
	case !errors.Is(err, pgx.ErrNoRows):
		return fmt.Errorf("look up manifest: %w", err)
	}
	rec, existing, err := s.register(ctx, tx, st, p)
	if err != nil {
		return err
	}
	place, err := db.AddToChain(ctx, tx, db.AddManifestParams{KeyID: p.KeyID, Epoch: int64(p.Epoch), Counter: int64(p.Counter), Hash: p.Hash[:],
		Prev: append([]byte{}, p.Prev...), EvidenceID: string(rec.ID), LogKey: p.logKey, ReceivedAt: s.Now().UTC(), Recorder: p.Recorder,
		SignedMs: &p.At, MonotonicMs: &p.Monotonic, Checkpoint: append([]byte{}, p.Checkpoint...)})
	if err != nil {
		return fmt.Errorf("add manifest: %w", err)
	}
	if place.Taken { // another server took the same counter between our look and our insert
		return fault.Unavailable(time.Second, "同一清单正在处理，请重试")
	}
	p.answer(rec, res)
	if err := s.logManifest(tx, p, rec, existing); err != nil {
		return err
	}
	return s.track(ctx, tx, p, place)
}

// again answers a manifest that was taken before as it was answered then.
func (s *Service) again(ctx context.Context, eid evidence.ID, p *prepared, res *ManifestResult) error {
	rec, err := s.Evidence.Get(ctx, evidence.Scope{}, eid)
	if fault.Is(err, fault.KindNotFound) { // it is being registered in this very commit: the same manifest is on its way twice
		return fault.Unavailable(time.Second, "同一清单正在处理，请重试")
	}
	if err != nil {
		return err
	}
	p.answer(rec, res)
	return nil
}

// answer: the manifest that registered the record is accepted, any other is of known bytes.
func (p *prepared) answer(rec evidence.Record, res *ManifestResult) {
	res.Status, res.EvidenceID, res.EvidenceStatus = Duplicate, rec.ID, rec.Status
	if rec.ManifestKey == p.logKey {
		res.Status = Accepted
	}
}

// register gives the record of a manifest's bytes, and whether it was there. The record of unseen bytes is written with the commit, which
// costs no round trip, and fails it if they have come by another way since.
func (s *Service) register(ctx context.Context, tx *pg.Tx, st Station, p *prepared) (rec evidence.Record, existing bool, err error) {
	if p.seen {
		return s.Evidence.Register(ctx, tx, s.registration(st, p))
	}
	return s.Evidence.RegisterUnseen(tx, s.registration(st, p)), false, nil
}

func (s *Service) registration(st Station, p *prepared) evidence.Registration {
	r := evidence.Registration{Township: st.Township, Station: st.ID, Recorder: p.Recorder, DeviceID: p.device, FileName: p.FileName,
		Size: p.Size, PartSize: p.PartSize, SHA256: [32]byte(p.SHA256), Composite: [32]byte(p.Composite), ManifestKey: p.logKey}
	if p.ModifiedAt > 0 && p.ModifiedAt < maxTime {
		r.ModifiedAt = time.UnixMilli(p.ModifiedAt)
	}
	return r
}

// maxTime is the year 9999: file systems hold any nonsense.
const maxTime = 253402300800_000

// logManifest appends the manifest to its key's chain; another name for known bytes also to the evidence's.
func (s *Service) logManifest(tx *pg.Tx, p *prepared, rec evidence.Record, existing bool) error {
	now := s.Now().UTC()
	err := s.Log.Append(tx, chain.Entry{Key: p.logKey, Kind: chain.KindManifest, Subject: KeySubject(p.KeyID), Time: now,
		Payload: chain.ManifestPayload{EvidenceID: string(rec.ID), Signed: p.raw, Cert: p.key.CertHash, ReceivedAt: now.UnixMilli()}})
	if err != nil || !existing || (bytes.Equal(rec.FileNameBytes, p.FileName) && rec.Recorder == p.Recorder) {
		return err
	}
	return s.Log.Append(tx, chain.Entry{Key: "name/" + p.logKey, Kind: chain.KindManifestName, Subject: evidence.Subject(rec.ID), Time: now,
		Payload: chain.ManifestNamePayload{EvidenceID: string(rec.ID), Signed: p.raw}})
}

// equivocation is a second manifest for one counter: a copied identity or a signer that lies. It is logged and alarmed; the footage
// it names is taken all the same, because footage is never refused for what its station did.
func (s *Service) equivocation(ctx context.Context, tx *pg.Tx, st Station, p *prepared, first db.Manifest, res *ManifestResult) error {
	res.Code, res.Error = "equivocation", "同一计数已有另一份清单：采集站身份可能被复制，已报警"
	if known, err := s.Log.ByKeyTx(ctx, tx, p.logKey); err == nil { // sent again after a lost answer
		m, err := chain.Payload[chain.ManifestPayload](known.Payload)
		if err != nil {
			return fmt.Errorf("read manifest's leaf: %w", err)
		}
		return s.again(ctx, evidence.ID(m.EvidenceID), p, res)
	} else if !fault.Is(err, fault.KindNotFound) {
		return err
	}
	leaf, err := s.Log.ByKeyTx(ctx, tx, first.LogKey)
	if fault.Is(err, fault.KindNotFound) { // the first one came in this very commit and has no index yet
		return fault.Unavailable(time.Second, "同一计数的两份清单同时到达，请重试")
	}
	if err != nil {
		return err
	}
	s.Logger.WarnContext(ctx, "two manifests for one counter", "key", hex.EncodeToString(p.KeyID), "epoch", p.Epoch, "counter", p.Counter)
	rec, existing, err := s.register(ctx, tx, st, p)
	if err != nil {
		return err
	}
	p.answer(rec, res)
	if err := s.logManifest(tx, p, rec, existing); err != nil {
		return err
	}
	key := "equivocation/" + hex.EncodeToString(p.Hash[:])
	if _, err := s.addAnomaly(ctx, tx, key, p.KeyID, manifest.Odd{What: manifest.Equivocation, Range: manifest.Range{Epoch: p.Epoch, First: p.Counter, Last: p.Counter}}); err != nil {
		return err
	}
	return s.Log.Append(tx, chain.Entry{Key: key, Kind: chain.KindEquivocation, Subject: KeySubject(p.KeyID),
		Time: s.Now().UTC(), Payload: chain.EquivocationPayload{Signed: p.raw, FirstLeaf: uint64(leaf.Seq)}})
}

func (s *Service) leafIndexes(ctx context.Context, all []*prepared, out []ManifestResult) error {
	var keys []string
	var at []int
	for _, p := range all {
		if !p.refused {
			keys, at = append(keys, p.logKey), append(at, p.at)
		}
	}
	seqs, err := s.Log.Indexes(ctx, keys)
	if err != nil {
		return fmt.Errorf("find manifests' leaves: %w", err)
	}
	for i, seq := range seqs {
		out[at[i]].LeafIndex = seq
	}
	return nil
}
