package ingest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence"
	"zhizheng/ingest/internal/db"
	"zhizheng/internal/fault"
)

// Completeness is what the signer's chain says about one record.
type Completeness struct {
	KeyID                string
	Station, StationName string
	Own                  bool // the recorder's own key; else a station vouches
	Epoch, Counter       uint64
	SignedAt             *time.Time
	Previous, Next       *Clip // the counters right beside it, nil when not here
	GapBefore, GapAfter  *Gap
	InferredBefore       *InferredGap
	InferredAfter        *InferredGap
	NotBefore            *Bound // by the checkpoint the manifest names; nil when it names none that this log handed out
	NotAfter             Bound  // its own leaf
	Tail                 Tail
	Anomalies            []Anomaly // at this counter
}

// Bound is a moment given by a leaf of the log.
type Bound struct {
	Leaf int64
	At   time.Time
}

// Completeness reports on a record that the caller was allowed to read.
func (s *Service) Completeness(ctx context.Context, sc evidence.Scope, rec evidence.Record) (c Completeness, err error) {
	q := db.New(s.Pool)
	m, err := q.ManifestOf(ctx, rec.ManifestKey)
	if errors.Is(err, pgx.ErrNoRows) { // an equivocation's second manifest has no counter of its own
		return c, fault.NotFound("这条证据的清单与另一份占用同一计数")
	}
	if err != nil {
		return c, fmt.Errorf("read manifest: %w", err)
	}
	c = Completeness{KeyID: hex.EncodeToString(m.KeyID), Station: m.Station, StationName: m.StationName, Own: m.DeviceID != "", Epoch: uint64(m.Epoch), Counter: uint64(m.Counter)}
	if m.SignedMs != nil {
		t := time.UnixMilli(*m.SignedMs).UTC()
		c.SignedAt = &t
	}
	for _, side := range []struct {
		at   int64
		clip **Clip
		gap  **Gap
	}{{m.Counter - 1, &c.Previous, &c.GapBefore}, {m.Counter + 1, &c.Next, &c.GapAfter}} {
		if *side.clip, err = s.clip(ctx, sc, func() (db.Manifest, error) {
			return q.ManifestAt(ctx, db.ManifestAtParams{KeyID: m.KeyID, Epoch: m.Epoch, Counter: side.at})
		}); err != nil {
			return c, err
		}
		if *side.clip != nil {
			continue
		}
		g, err := q.GapAround(ctx, db.GapAroundParams{KeyID: m.KeyID, Epoch: m.Epoch, Counter: side.at})
		if errors.Is(err, pgx.ErrNoRows) {
			continue // the chain's end
		}
		if err != nil {
			return c, fmt.Errorf("read gap: %w", err)
		}
		v, err := s.gap(ctx, sc, g)
		if err != nil {
			return c, err
		}
		*side.gap = &v
	}
	if err := s.bounds(ctx, &c, rec.ManifestKey, m.Checkpoint); err != nil {
		return c, err
	}
	odd, err := q.AnomaliesBetween(ctx, db.AnomaliesBetweenParams{KeyID: m.KeyID, Epoch: m.Epoch, First: m.Counter, Last: m.Counter})
	if err != nil {
		return c, fmt.Errorf("read anomalies: %w", err)
	}
	for _, a := range odd {
		c.Anomalies = append(c.Anomalies, anomalyOf(a))
	}
	if c.Tail, err = s.tail(ctx, m.KeyID, m.Epoch); err != nil || c.Own {
		return c, err
	}
	return c, s.inferredBeside(ctx, sc, rec, &c)
}

func (s *Service) tail(ctx context.Context, keyID []byte, epoch int64) (Tail, error) {
	q := db.New(s.Pool)
	epochs, err := q.Epochs(ctx, keyID)
	if err != nil {
		return Tail{}, fmt.Errorf("read epochs: %w", err)
	}
	states, err := q.NewestStates(ctx, db.NewestStatesParams{KeyID: keyID, Limit: maxStates})
	if err != nil {
		return Tail{}, fmt.Errorf("read states: %w", err)
	}
	for _, e := range epochs {
		if e.Epoch != epoch {
			continue
		}
		t := Tail{Counter: uint64(e.Top)}
		for _, st := range states {
			if st.Epoch == epoch && st.Counter == e.Top {
				at := time.UnixMilli(st.SignedMs).UTC()
				return Tail{uint64(e.Top), &at, st.Closing}, nil
			}
		}
		return t, nil
	}
	return Tail{}, nil
}

// bounds gives the clip's signing a moment it can't lie before (the newest leaf under the checkpoint it names) and one it can't lie after
// (its own leaf).
func (s *Service) bounds(ctx context.Context, c *Completeness, manifestKey string, checkpoint []byte) error {
	own, err := s.Log.ByKey(ctx, manifestKey)
	if err != nil {
		return err
	}
	l, err := own.Decode()
	if err != nil {
		return err
	}
	c.NotAfter = Bound{own.Seq, l.Time()}
	seen, ok, err := s.seenCheckpoint(ctx, checkpoint)
	if err != nil || !ok {
		return err
	}
	newest, err := s.Log.BySeq(ctx, []int64{seen.Size - 1})
	if err != nil || len(newest) == 0 {
		return err
	}
	if l, err = newest[0].Decode(); err != nil {
		return err
	}
	c.NotBefore = &Bound{newest[0].Seq, l.Time()}
	return nil
}

// Around is what a bundle needs to show about one record's place in its signer's chain: idempotency keys of leaves.
type Around struct {
	KeyID         []byte
	Manifest      string
	Before, After *Edge // the nearest manifests that are here
	State         string
	Odd           []string // anomalies and reasons from the one before to the one after
	Checkpoint    []byte   // the signed note that the manifest names, nil when it names none this log handed out
}

// Edge is a manifest beside a record. Gap says that counters between them are missing.
type Edge struct {
	LogKey     string
	EvidenceID evidence.ID
	Gap        bool
}

// Around looks up what stands beside a record. A record whose manifest shares its counter with another has no place of its own: then
// there is no edge.
func (s *Service) Around(ctx context.Context, manifestKey string, keyID []byte) (a Around, err error) {
	q := db.New(s.Pool)
	a = Around{KeyID: keyID, Manifest: manifestKey}
	states, err := q.NewestStates(ctx, db.NewestStatesParams{KeyID: keyID, Limit: 1})
	if err != nil {
		return a, fmt.Errorf("read states: %w", err)
	}
	for _, st := range states {
		a.State = st.LogKey
	}
	m, err := q.ManifestOf(ctx, manifestKey)
	if errors.Is(err, pgx.ErrNoRows) {
		return a, nil
	}
	if err != nil {
		return a, fmt.Errorf("read manifest: %w", err)
	}
	first, last := int64(1), m.Counter
	b, err := q.Before(ctx, db.BeforeParams{KeyID: m.KeyID, Epoch: m.Epoch, Counter: m.Counter})
	switch {
	case err == nil:
		a.Before, first = &Edge{b.LogKey, evidence.ID(b.EvidenceID), b.Counter != m.Counter-1}, b.Counter
	case !errors.Is(err, pgx.ErrNoRows):
		return a, fmt.Errorf("read a neighbour: %w", err)
	}
	n, err := q.After(ctx, db.AfterParams{KeyID: m.KeyID, Epoch: m.Epoch, Counter: m.Counter})
	switch {
	case err == nil:
		a.After, last = &Edge{n.LogKey, evidence.ID(n.EvidenceID), n.Counter != m.Counter+1}, n.Counter
	case !errors.Is(err, pgx.ErrNoRows):
		return a, fmt.Errorf("read a neighbour: %w", err)
	default:
		last++
	}
	odd, err := q.AnomaliesBetween(ctx, db.AnomaliesBetweenParams{KeyID: m.KeyID, Epoch: m.Epoch, First: first, Last: last})
	if err != nil {
		return a, fmt.Errorf("read anomalies: %w", err)
	}
	for _, o := range odd {
		a.Odd = append(a.Odd, o.LogKey)
	}
	for _, at := range []int64{m.Counter - 1, m.Counter + 1} {
		g, err := q.GapAround(ctx, db.GapAroundParams{KeyID: m.KeyID, Epoch: m.Epoch, Counter: at})
		if errors.Is(err, pgx.ErrNoRows) {
			continue
		}
		if err != nil {
			return a, fmt.Errorf("read gap: %w", err)
		}
		if g.Missing > 0 && g.ReasonKey != nil {
			a.Odd = append(a.Odd, *g.ReasonKey)
		}
	}
	c, _, err := s.seenCheckpoint(ctx, m.Checkpoint)
	if c.Note != "" {
		a.Checkpoint = []byte(c.Note)
	}
	return a, err
}
