package ingest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/ingest/internal/db"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
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

// SubmitManifests takes signed manifests. Each one's leaf is committed before it is answered; manifests of a batch share commits.
// Rejected ones are kept with their bytes. An error means that none may count on being taken: send the batch again.
func (s *Service) SubmitManifests(ctx context.Context, st Station, raws [][]byte) ([]ManifestResult, error) {
	out := make([]ManifestResult, len(raws))
	keys := keyCache{s: s, seen: map[string]*db.KeyRow{}}
	prepared := make([]*prepared, len(raws))
	for i, raw := range raws {
		p, err := s.prepare(ctx, &keys, raw)
		var rej *rejection
		switch {
		case errors.As(err, &rej):
			if out[i], err = s.reject(ctx, st, raw, rej); err != nil {
				return nil, err
			}
		case err != nil:
			return nil, err
		default:
			prepared[i] = p
		}
	}
	// In the order in which they came, so that a signer's chain in the log has the order of its counters. A transaction holds the
	// log's head only at its end, but its rows until then: a hundred at a time keeps others from waiting long.
	const chunk = 100
	for from := 0; from < len(raws); from += chunk {
		to := min(from+chunk, len(raws))
		if err := s.take(ctx, st, prepared[from:to], out[from:to]); err != nil {
			return nil, err
		}
	}
	if err := s.statuses(ctx, out); err != nil {
		return nil, err
	}
	return out, s.leafIndexes(ctx, out, prepared)
}

type prepared struct {
	manifest.Signed
	raw    []byte
	key    *db.KeyRow
	device string
	logKey string
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
	err := db.New(s.Pool).AddDeadLetter(ctx, db.AddDeadLetterParams{ID: id.New(), At: s.Now().UTC(), Source: "manifest", Origin: st.ID,
		Reason: r.code + ": " + r.reason, Raw: raw})
	if err != nil {
		return ManifestResult{}, fmt.Errorf("keep rejected manifest: %w", err)
	}
	return ManifestResult{Status: Rejected, Code: r.code, Error: r.reason}, nil
}

// take registers evidence and logs manifests in one transaction. Crash before the commit: nothing happened, the agent sends them
// again. Crash after it: the agent sends them again and finds the rows of their (key, epoch, counter).
func (s *Service) take(ctx context.Context, st Station, ps []*prepared, out []ManifestResult) error {
	return s.Log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error {
		for i, p := range ps {
			if p == nil {
				continue
			}
			if err := s.takeOne(ctx, tx, st, p, &out[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Service) takeOne(ctx context.Context, tx *pg.Tx, st Station, p *prepared, res *ManifestResult) error {
	*res = ManifestResult{}
	q := db.New(tx)
	row, err := q.ManifestAt(ctx, db.ManifestAtParams{KeyID: p.KeyID, Epoch: int64(p.Epoch), Counter: int64(p.Counter)})
	switch {
	case err == nil && bytes.Equal(row.Hash, p.Hash[:]):
		res.Status, res.EvidenceID = Accepted, evidence.ID(row.EvidenceID)
		return nil
	case err == nil:
		return s.equivocation(ctx, tx, st, p, row, res)
	case !errors.Is(err, pgx.ErrNoRows):
		return fmt.Errorf("look up manifest: %w", err)
	}
	rec, existing, err := s.Evidence.Register(ctx, tx, s.registration(st, p))
	if err != nil {
		return err
	}
	n, err := q.AddManifest(ctx, db.AddManifestParams{KeyID: p.KeyID, Epoch: int64(p.Epoch), Counter: int64(p.Counter), Hash: p.Hash[:],
		Prev: append([]byte{}, p.Prev...), EvidenceID: string(rec.ID), LogKey: p.logKey, ReceivedAt: s.Now().UTC()})
	if err != nil {
		return fmt.Errorf("add manifest: %w", err)
	}
	if n == 0 { // another server took the same counter between our look and our insert
		return fault.Unavailable(time.Second, "同一清单正在处理，请重试")
	}
	res.Status, res.EvidenceID = Accepted, rec.ID
	if existing {
		res.Status = Duplicate
	}
	return s.logManifest(tx, p, rec, existing)
}

// statuses tells the agent which of the files are sealed already.
func (s *Service) statuses(ctx context.Context, out []ManifestResult) error {
	var ids []string
	for _, r := range out {
		if r.EvidenceID != "" {
			ids = append(ids, string(r.EvidenceID))
		}
	}
	recs, err := s.Evidence.Many(ctx, evidence.Scope{}, ids)
	if err != nil {
		return err
	}
	status := map[evidence.ID]string{}
	for _, r := range recs {
		status[r.ID] = r.Status
	}
	for i := range out {
		out[i].EvidenceStatus = status[out[i].EvidenceID]
	}
	return nil
}

func (s *Service) registration(st Station, p *prepared) evidence.Registration {
	r := evidence.Registration{Township: st.Township, Station: st.ID, Recorder: p.Recorder, DeviceID: p.device, FileName: p.FileName,
		Size: p.Size, PartSize: p.PartSize, SHA256: [32]byte(p.SHA256), Composite: [32]byte(p.Composite), ManifestKey: p.logKey}
	if p.ModifiedAt > 0 {
		r.ModifiedAt = time.UnixMilli(p.ModifiedAt)
	}
	return r
}

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
	s.Logger.WarnContext(ctx, "two manifests for one counter", "key", hex.EncodeToString(p.KeyID), "epoch", p.Epoch, "counter", p.Counter)
	leaf, err := s.Log.ByKeyTx(ctx, tx, first.LogKey)
	if err != nil {
		return err
	}
	rec, existing, err := s.Evidence.Register(ctx, tx, s.registration(st, p))
	if err != nil {
		return err
	}
	res.Status, res.EvidenceID, res.Code = Accepted, rec.ID, "equivocation"
	res.Error = "同一计数器已有另一份清单：采集站身份可能被复制，已报警"
	if existing {
		res.Status = Duplicate
	}
	if err := s.logManifest(tx, p, rec, existing); err != nil {
		return err
	}
	return s.Log.Append(tx, chain.Entry{Key: "equivocation/" + hex.EncodeToString(p.Hash[:]), Kind: chain.KindEquivocation, Subject: KeySubject(p.KeyID),
		Time: s.Now().UTC(), Payload: chain.EquivocationPayload{Signed: p.raw, FirstLeaf: uint64(leaf.Seq)}})
}

func (s *Service) leafIndexes(ctx context.Context, out []ManifestResult, prepared []*prepared) error {
	for i, p := range prepared {
		if p == nil {
			continue
		}
		leaf, err := s.Log.ByKey(ctx, p.logKey)
		if err != nil {
			return fmt.Errorf("find manifest's leaf: %w", err)
		}
		out[i].LeafIndex = leaf.Seq
	}
	return nil
}
