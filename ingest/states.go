package ingest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/chain"
	"zhizheng/ingest/internal/db"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// StateResult answers one signed state.
type StateResult struct {
	Status      string // Accepted or Rejected
	LeafIndex   int64
	Code, Error string
}

type preparedState struct {
	manifest.SignedState
	raw    []byte
	logKey string
}

// SubmitStates takes signed states, in their order, like SubmitManifests takes manifests: each one's leaf is committed before it is
// answered, a rejected one is kept with its bytes, the same one again is answered like the first.
func (s *Service) SubmitStates(ctx context.Context, st Station, raws [][]byte) ([]StateResult, error) {
	out := make([]StateResult, len(raws))
	keys := keyCache{s: s, seen: map[string]*db.KeyRow{}}
	taken := map[int]*preparedState{}
	for i, raw := range raws {
		p, err := prepareState(ctx, &keys, raw)
		if rej := asRejection(err); rej != nil {
			if err := s.deadLetter(ctx, "state", st, raw, rej); err != nil {
				return nil, err
			}
			out[i] = StateResult{Status: Rejected, Code: rej.code, Error: rej.reason}
			continue
		}
		if err != nil {
			return nil, err
		}
		taken[i] = p
	}
	if len(taken) == 0 {
		return out, nil
	}
	err := s.Log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error {
		for i := range raws {
			if p := taken[i]; p != nil {
				if err := s.takeState(ctx, tx, p); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for i, p := range taken {
		leaf, err := s.Log.ByKey(ctx, p.logKey)
		if err != nil {
			return nil, fmt.Errorf("find state's leaf: %w", err)
		}
		out[i] = StateResult{Status: Accepted, LeafIndex: leaf.Seq}
	}
	return out, nil
}

func prepareState(ctx context.Context, keys *keyCache, raw []byte) (*preparedState, error) {
	m, err := manifest.ParseState(raw)
	if err != nil {
		return nil, &rejection{"malformed", "签名状态格式有误：" + err.Error()}
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
		return nil, &rejection{"bad-signature", "状态的签名不对"}
	}
	return &preparedState{SignedState: m, raw: raw, logKey: "state/" + hex.EncodeToString(m.Hash[:])}, nil
}

// takeState logs a state and opens the gap it tells of. Crash before the commit: the agent's next state says as much.
func (s *Service) takeState(ctx context.Context, tx *pg.Tx, p *preparedState) error {
	q := db.New(tx)
	epoch, counter := int64(p.Epoch), int64(p.Counter)
	e, err := q.LockEpoch(ctx, db.LockEpochParams{KeyID: p.KeyID, Epoch: epoch})
	if err != nil {
		return fmt.Errorf("lock epoch of a chain: %w", err)
	}
	now := s.Now().UTC()
	n, err := q.AddState(ctx, db.AddStateParams{LogKey: p.logKey, KeyID: p.KeyID, Epoch: epoch, Counter: counter, Hash: p.Last, SignedMs: p.At,
		MonotonicMs: p.Monotonic, Checkpoint: append([]byte{}, p.Checkpoint...), Closing: p.Closing, Recorder: p.Recorder, ReceivedAt: now})
	if err != nil {
		return fmt.Errorf("add state: %w", err)
	}
	if n == 0 {
		return nil // sent again
	}
	err = s.Log.Append(tx, chain.Entry{Key: p.logKey, Kind: chain.KindDeviceState, Subject: KeySubject(p.KeyID), Time: now,
		Payload: chain.DeviceStatePayload{Signed: p.raw, ReceivedAt: now.UnixMilli()}})
	if err != nil {
		return err
	}
	if counter > e.Top { // signed, and not here: on its way, or lost
		if err := s.openGap(ctx, q, p.KeyID, epoch, e.Top+1, counter); err != nil {
			return err
		}
		if err := q.SetEpoch(ctx, db.SetEpochParams{KeyID: p.KeyID, Epoch: epoch, Top: counter}); err != nil {
			return fmt.Errorf("set epoch of a chain: %w", err)
		}
	}
	odd, err := s.contradictions(ctx, q, p)
	if err != nil {
		return err
	}
	return s.alarm(ctx, tx, p.KeyID, odd)
}

// contradictions holds a state against manifests and earlier states of its epoch.
func (s *Service) contradictions(ctx context.Context, q *db.Queries, p *preparedState) ([]manifest.Odd, error) {
	var odd []manifest.Odd
	here := manifest.Range{Epoch: p.Epoch, First: p.Counter, Last: p.Counter}
	if o, ahead := manifest.Ahead(manifest.Link{Epoch: p.Epoch, Counter: p.Counter, At: p.At, ReceivedAt: s.Now().UnixMilli()}); ahead {
		odd = append(odd, o)
	}
	fork := false
	m, err := q.ManifestAt(ctx, db.ManifestAtParams{KeyID: p.KeyID, Epoch: int64(p.Epoch), Counter: int64(p.Counter)})
	switch {
	case err == nil:
		fork = !bytes.Equal(m.Hash, p.Last)
	case !errors.Is(err, pgx.ErrNoRows):
		return nil, fmt.Errorf("look up manifest: %w", err)
	}
	same, err := q.StatesAt(ctx, db.StatesAtParams{KeyID: p.KeyID, Epoch: int64(p.Epoch), Counter: int64(p.Counter)})
	if err != nil {
		return nil, fmt.Errorf("look up states: %w", err)
	}
	for _, o := range same {
		fork = fork || !bytes.Equal(o.Hash, p.Last)
	}
	if fork {
		odd = append(odd, manifest.Odd{What: manifest.StateFork, Range: here})
	}
	other, err := q.StateAround(ctx, db.StateAroundParams{KeyID: p.KeyID, Epoch: int64(p.Epoch), SignedMs: p.At, Counter: int64(p.Counter)})
	switch {
	case err == nil:
		low, high := min(int64(p.Counter), other.Counter), max(int64(p.Counter), other.Counter)
		odd = append(odd, manifest.Odd{What: manifest.StateBack, Range: manifest.Range{Epoch: p.Epoch, First: uint64(low), Last: uint64(high)}})
	case !errors.Is(err, pgx.ErrNoRows):
		return nil, fmt.Errorf("look up states: %w", err)
	}
	return odd, nil
}

// deadLetter keeps what was refused.
func (s *Service) deadLetter(ctx context.Context, source string, st Station, raw []byte, r *rejection) error {
	if st.again {
		return nil
	}
	err := db.New(s.Pool).AddDeadLetter(ctx, db.AddDeadLetterParams{ID: id.New(), At: s.Now().UTC(), Source: source, Origin: st.ID,
		Reason: r.code + ": " + r.reason, Raw: append([]byte{}, raw...)}) // nil is an empty one, not null
	if err != nil {
		return fmt.Errorf("keep rejected %s: %w", source, err)
	}
	return nil
}

func checkpointHash(note []byte) [32]byte { return sha256.Sum256(note) }
