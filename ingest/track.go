package ingest

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/chain"
	"zhizheng/ingest/internal/db"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/pg"
)

// track keeps the epoch's account: every counter up to its top either has a manifest or lies in exactly one gap. It looks at the two
// neighbours only, so a chain of any length costs the same. It runs in the transaction that takes the manifest: crash before the commit
// and neither is there.
func (s *Service) track(ctx context.Context, tx *pg.Tx, p *prepared, at db.Place) error {
	q := db.New(tx)
	epoch, counter, e := int64(p.Epoch), int64(p.Counter), at.Epoch
	now := s.Now().UTC()
	switch {
	case counter <= e.Top: // late: it closes its part of a gap
		if err := q.FillGap(ctx, db.FillGapParams{KeyID: p.KeyID, Epoch: epoch, Counter: counter, At: now}); err != nil {
			return fmt.Errorf("fill gap: %w", err)
		}
	case counter > e.Top+1:
		if err := s.openGap(ctx, q, p.KeyID, epoch, e.Top+1, counter-1); err != nil {
			return err
		}
	}
	err := q.SetEpoch(ctx, db.SetEpochParams{KeyID: p.KeyID, Epoch: epoch, Top: max(e.Top, counter), Arrived: 1, SignedMs: &p.At})
	if err != nil {
		return fmt.Errorf("set epoch of a chain: %w", err)
	}
	return s.alarm(ctx, tx, p.KeyID, s.compare(p, at))
}

func (s *Service) openGap(ctx context.Context, q *db.Queries, keyID []byte, epoch, first, last int64) error {
	err := q.OpenGap(ctx, db.OpenGapParams{KeyID: keyID, Epoch: epoch, First: first, Last: last, Missing: last - first + 1, OpenedAt: s.Now().UTC()})
	if err != nil {
		return fmt.Errorf("open gap: %w", err)
	}
	return nil
}

// compare holds a manifest against what is there: the manifests before and after it, states that name it, other epochs.
func (s *Service) compare(p *prepared, at db.Place) []manifest.Odd {
	var odd []manifest.Odd
	l := p.Link(s.Now().UnixMilli())
	if o, ahead := manifest.Ahead(l); ahead {
		odd = append(odd, o)
	}
	for _, n := range at.Near {
		if n.Counter < int64(p.Counter) {
			odd = append(odd, manifest.Between(linkOf(n), l)...)
		} else {
			odd = append(odd, manifest.Between(l, linkOf(n))...)
		}
	}
	for _, st := range at.States {
		if !bytes.Equal(st.Hash, p.Hash[:]) {
			odd = append(odd, manifest.Odd{What: manifest.StateFork, Range: manifest.Range{Epoch: p.Epoch, First: p.Counter, Last: p.Counter}})
		}
	}
	return append(odd, epochs(l, at.Others, at.Epoch.Arrived == 0)...)
}

// epochs compares a manifest with the key's other epochs.
func epochs(l manifest.Link, others []db.OtherEpochsRow, fresh bool) (odd []manifest.Odd) {
	var reset uint64 // epoch that is the first after another one
	lower := false
	for _, o := range others {
		e := uint64(o.Epoch)
		switch {
		case e < l.Epoch:
			lower = true
			if o.LastMs != nil && l.At != 0 && manifest.Fell(*o.LastMs, l.At) {
				odd = append(odd, manifest.Odd{What: manifest.EpochFall, Range: manifest.Range{Epoch: e, First: 1, Last: 1}})
			}
		case reset == 0:
			reset = e
			fallthrough
		default:
			if o.FirstMs != nil && l.At != 0 && manifest.Fell(l.At, *o.FirstMs) {
				odd = append(odd, manifest.Odd{What: manifest.EpochFall, Range: manifest.Range{Epoch: l.Epoch, First: l.Counter, Last: l.Counter}})
			}
		}
	}
	if fresh && lower {
		reset = l.Epoch
	}
	if fresh && reset != 0 {
		odd = append(odd, manifest.Odd{What: manifest.CounterReset, Range: manifest.Range{Epoch: reset, First: 1, Last: 1}})
	}
	return odd
}

func linkOf(m db.Manifest) manifest.Link {
	l := manifest.Link{Epoch: uint64(m.Epoch), Counter: uint64(m.Counter), Hash: [32]byte(m.Hash), Prev: m.Prev, ReceivedAt: m.ReceivedAt.UnixMilli()}
	if m.SignedMs != nil && m.MonotonicMs != nil {
		l.At, l.Monotonic = *m.SignedMs, *m.MonotonicMs
	}
	return l
}

// alarm logs what is odd, once each. What a clock or an identity does wrong it does again with every manifest and every state: one leaf an
// epoch says it, or one for each state that others fall behind.
func (s *Service) alarm(ctx context.Context, tx *pg.Tx, keyID []byte, odd []manifest.Odd) error {
	for _, o := range odd {
		key := fmt.Sprintf("anomaly/%s/%x/%d", o.What, keyID, o.Epoch)
		switch o.What {
		case manifest.EpochFall, manifest.ClockAhead, manifest.CounterReset:
		case manifest.StateBack:
			key += fmt.Sprintf("/%d", o.First)
		default:
			key += fmt.Sprintf("/%d-%d", o.First, o.Last)
		}
		fresh, err := s.addAnomaly(ctx, tx, key, keyID, o)
		if err != nil {
			return err
		}
		if !fresh {
			continue
		}
		if manifest.Alarming(o.What) {
			s.Logger.WarnContext(ctx, "anomaly in a device's chain", "what", o.What, "key", hex.EncodeToString(keyID), "epoch", o.Epoch, "first", o.First, "last", o.Last, "detail", o.Detail)
		}
		err = s.Log.Append(tx, chain.Entry{Key: key, Kind: chain.KindAnomaly, Subject: KeySubject(keyID), Time: s.Now().UTC(),
			Payload: chain.AnomalyPayload{KeyID: keyID, What: o.What, Epoch: o.Epoch, First: o.First, Last: o.Last, Detail: o.Detail}})
		if err != nil {
			return err
		}
	}
	return nil
}

// addAnomaly keeps the row; fresh is false when it is there already, and then its leaf is too.
func (s *Service) addAnomaly(ctx context.Context, tx pgx.Tx, logKey string, keyID []byte, o manifest.Odd) (fresh bool, err error) {
	n, err := db.New(tx).AddAnomaly(ctx, db.AddAnomalyParams{LogKey: logKey, KeyID: keyID, What: o.What, Epoch: int64(o.Epoch), First: int64(o.First),
		Last: int64(o.Last), Detail: o.Detail, At: s.Now().UTC()})
	if err != nil {
		return false, fmt.Errorf("add anomaly: %w", err)
	}
	return n > 0, nil
}

// SawCheckpoint remembers a signed checkpoint that a station was handed: what it signs later may name it, and was then signed after
// the leaves under it.
func (s *Service) SawCheckpoint(ctx context.Context, note []byte, size int64) error {
	hash := checkpointHash(note)
	if _, known := s.seen.Load(hash); known || size <= 0 {
		return nil
	}
	if err := db.New(s.Pool).SeeCheckpoint(ctx, db.SeeCheckpointParams{Hash: hash[:], Size: size, Note: string(note)}); err != nil {
		return fmt.Errorf("note a checkpoint: %w", err)
	}
	s.seen.Clear() // only the newest is handed out again and again
	s.seen.Store(hash, true)
	return nil
}

// seenCheckpoint finds a checkpoint by the hash a manifest names; ok is false for one that this log never handed out.
func (s *Service) seenCheckpoint(ctx context.Context, hash []byte) (c db.SeenCheckpoint, ok bool, err error) {
	if len(hash) == 0 {
		return c, false, nil
	}
	c, err = db.New(s.Pool).SeenCheckpoint(ctx, hash)
	if errors.Is(err, pgx.ErrNoRows) {
		return c, false, nil
	}
	if err != nil {
		return c, false, fmt.Errorf("look up checkpoint: %w", err)
	}
	return c, true, nil
}
