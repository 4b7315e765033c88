package ingest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
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

// States of a gap.
const (
	GapOpen      = "open"
	GapExplained = "explained" // still missing, with a reason
	GapClosed    = "closed"    // all of it arrived after all
)

// Most of what one report lists; more is counted, not listed.
const (
	maxGaps      = 100
	maxStates    = 10
	maxAnomalies = 50
	maxPending   = 50
	maxNames     = 20_000
	maxParts     = 200
)

// Gap is a run of counters of one key that were skipped when it was found.
type Gap struct {
	KeyID              string // hex
	Epoch, First, Last uint64
	Missing            uint64           // of them, now
	Parts              []manifest.Range // which ones, when some arrived late
	State              string
	OpenedAt           time.Time
	ClosedAt           *time.Time
	Before, After      *Clip // the nearest manifests that are here; nil at the chain's ends
	Reason             string
	ExplainedBy        string
	ExplainedAt        *time.Time
	ReasonKey          string // idempotency key of the reason's leaf
}

// Clip is a manifest beside a gap. ID, FileName and Status are there only for those who may see the record.
type Clip struct {
	Counter    uint64
	ID         evidence.ID
	FileName   string
	Status     string
	Recorder   string
	SignedAt   *time.Time // by the signer's clock
	ReceivedAt time.Time
}

// SignedState is a key's own statement of how far it had counted.
type SignedState struct {
	Epoch, Counter uint64
	SignedAt       time.Time
	ReceivedAt     time.Time
	Closing        bool
	Recorder       string
	LogKey         string
}

// Anomaly is something odd about a chain that was logged.
type Anomaly struct {
	What               string
	Epoch, First, Last uint64
	Detail             string
	At                 time.Time
	LogKey             string
}

// Epoch is how one boot epoch of a key stands.
type Epoch struct {
	Epoch, Top, Arrived uint64
	Ranges              []manifest.Range // what is here; nil when it is in too many pieces to list
}

// KeyChain is the report on one signing key.
type KeyChain struct {
	KeyID                string // hex
	Station, StationName string
	DeviceID             string // whose own key it is, "" for a station's
	Township             string
	RevokedAt            *time.Time
	Epochs               []Epoch // newest first
	Gaps                 []Gap
	States               []SignedState // newest first
	Anomalies            []Anomaly     // newest first
	Tail                 Tail
}

// Tail says what is known of a chain's end.
type Tail struct {
	Counter uint64     // all up to here was signed; what came after is unknown
	At      *time.Time // of the state that says so, nil when no state reaches that far
	Closing bool
}

// Chain is the report on a recorder, a station or a key.
type Chain struct {
	Keys     []KeyChain
	Pending  []evidence.Record // fingerprint here, bytes not yet; newest first
	Inferred []InferredGap
}

// ChainOf says whose chain is asked for: a recorder (by serial, with its device id), a station, or one key.
type ChainOf struct {
	Recorder, DeviceID, Station string
	KeyID                       []byte
}

// Chain reports, within the scope. A recorder without a key of its own is shown in the chains of those who vouched for it: there, the gaps
// beside its clips.
func (s *Service) Chain(ctx context.Context, sc evidence.Scope, of ChainOf) (Chain, error) {
	q := db.New(s.Pool)
	keys, err := q.Keys(ctx, db.KeysParams{Townships: sc.Townships, KeyID: of.KeyID, Station: opt(of.Station), DeviceID: opt(of.DeviceID), Recorder: opt(of.Recorder)})
	if err != nil {
		return Chain{}, fmt.Errorf("look up keys of a chain: %w", err)
	}
	out := Chain{}
	own := false
	for _, k := range keys {
		only := of.Recorder
		if k.DeviceID != "" && k.DeviceID == of.DeviceID {
			only, own = "", true
		}
		kc, err := s.keyChain(ctx, sc, k, only)
		if err != nil {
			return Chain{}, err
		}
		out.Keys = append(out.Keys, kc)
	}
	station := of.Station
	if len(of.KeyID) > 0 && len(keys) == 1 && keys[0].Station != nil {
		station = *keys[0].Station
	}
	if of.Recorder == "" && station == "" {
		return out, nil
	}
	p, err := s.Evidence.List(ctx, sc, evidence.Filter{Recorder: of.Recorder, Station: station, Status: evidence.StatusPending}, "", maxPending)
	if err != nil {
		return Chain{}, err
	}
	out.Pending = p.Items
	if !own {
		out.Inferred, err = s.inferredGaps(ctx, sc, of.Recorder, station)
	}
	return out, err
}

// keyChain reports on a key; with only set, on its gaps beside that recorder's clips.
func (s *Service) keyChain(ctx context.Context, sc evidence.Scope, k db.KeysRow, only string) (KeyChain, error) {
	q := db.New(s.Pool)
	kc := KeyChain{KeyID: hex.EncodeToString(k.KeyID), Station: val(k.Station), StationName: k.StationName, DeviceID: k.DeviceID, Township: k.Township, RevokedAt: k.RevokedAt}
	epochs, err := q.Epochs(ctx, k.KeyID)
	if err != nil {
		return kc, fmt.Errorf("read epochs: %w", err)
	}
	gaps, err := q.Gaps(ctx, db.GapsParams{KeyID: k.KeyID, Limit: maxGaps})
	if err != nil {
		return kc, fmt.Errorf("read gaps: %w", err)
	}
	for _, g := range gaps {
		v, err := s.gap(ctx, sc, g)
		if err != nil {
			return kc, err
		}
		if only == "" || v.beside(only) {
			kc.Gaps = append(kc.Gaps, v)
		}
	}
	for _, e := range epochs {
		kc.Epochs = append(kc.Epochs, epochOf(e, gaps))
	}
	states, err := q.NewestStates(ctx, db.NewestStatesParams{KeyID: k.KeyID, Limit: maxStates})
	if err != nil {
		return kc, fmt.Errorf("read states: %w", err)
	}
	for _, st := range states {
		kc.States = append(kc.States, SignedState{Epoch: uint64(st.Epoch), Counter: uint64(st.Counter), SignedAt: time.UnixMilli(st.SignedMs).UTC(), ReceivedAt: st.ReceivedAt,
			Closing: st.Closing, Recorder: st.Recorder, LogKey: st.LogKey})
	}
	odd, err := q.Anomalies(ctx, db.AnomaliesParams{KeyID: k.KeyID, Limit: maxAnomalies})
	if err != nil {
		return kc, fmt.Errorf("read anomalies: %w", err)
	}
	for _, a := range odd {
		kc.Anomalies = append(kc.Anomalies, anomalyOf(a))
	}
	if len(kc.Epochs) > 0 {
		kc.Tail = tailOf(kc.Epochs[0], kc.States)
	}
	return kc, nil
}

// epochOf says what arrived: all up to the top but the gaps. gaps may be of other epochs too, and stop at maxGaps.
func epochOf(e db.ChainEpoch, gaps []db.ChainGap) Epoch {
	out := Epoch{Epoch: uint64(e.Epoch), Top: uint64(e.Top), Arrived: uint64(e.Arrived)}
	next := uint64(1)
	whole := len(gaps) < maxGaps
	for _, g := range slices.Backward(gaps) { // the query has the open ones in falling order
		if g.Epoch != e.Epoch || g.Missing == 0 {
			continue
		}
		whole = whole && g.Missing == g.Last-g.First+1 // a gap that was filled in part has pieces of its own
		if uint64(g.First) > next {
			out.Ranges = append(out.Ranges, manifest.Range{Epoch: out.Epoch, First: next, Last: uint64(g.First) - 1})
		}
		next = uint64(g.Last) + 1
	}
	if out.Top >= next {
		out.Ranges = append(out.Ranges, manifest.Range{Epoch: out.Epoch, First: next, Last: out.Top})
	}
	if !whole {
		out.Ranges = nil
	}
	return out
}

func tailOf(e Epoch, states []SignedState) Tail {
	t := Tail{Counter: e.Top}
	for _, st := range states {
		if st.Epoch == e.Epoch && st.Counter == e.Top {
			return Tail{e.Top, &st.SignedAt, st.Closing}
		}
	}
	return t
}

// beside says whether the recorder's clips are on both sides of the gap, or on the only side there is.
func (g Gap) beside(recorder string) bool {
	return (g.Before != nil || g.After != nil) && (g.Before == nil || g.Before.Recorder == recorder) && (g.After == nil || g.After.Recorder == recorder)
}

// gap reads a gap's neighbours and what of it is still missing.
func (s *Service) gap(ctx context.Context, sc evidence.Scope, g db.ChainGap) (Gap, error) {
	q := db.New(s.Pool)
	out := Gap{KeyID: hex.EncodeToString(g.KeyID), Epoch: uint64(g.Epoch), First: uint64(g.First), Last: uint64(g.Last), Missing: uint64(g.Missing), OpenedAt: g.OpenedAt,
		ClosedAt: g.ClosedAt, Reason: val(g.Reason), ExplainedBy: val(g.ExplainedBy), ExplainedAt: g.ExplainedAt, ReasonKey: val(g.ReasonKey), State: GapOpen}
	switch {
	case g.Missing == 0:
		out.State = GapClosed
	case g.Reason != nil:
		out.State = GapExplained
	}
	if g.Missing > 0 && g.Missing < g.Last-g.First+1 {
		here, err := q.ArrivedBetween(ctx, db.ArrivedBetweenParams{KeyID: g.KeyID, Epoch: g.Epoch, First: g.First, Last: g.Last})
		if err != nil {
			return out, fmt.Errorf("read a gap: %w", err)
		}
		out.Parts = missingOf(out, here)
	}
	var err error
	if out.Before, err = s.clip(ctx, sc, func() (db.Manifest, error) {
		return q.Before(ctx, db.BeforeParams{KeyID: g.KeyID, Epoch: g.Epoch, Counter: g.First})
	}); err != nil {
		return out, err
	}
	out.After, err = s.clip(ctx, sc, func() (db.Manifest, error) {
		return q.After(ctx, db.AfterParams{KeyID: g.KeyID, Epoch: g.Epoch, Counter: g.Last})
	})
	return out, err
}

// missingOf cuts the counters that are here out of a gap.
func missingOf(g Gap, here []int64) (parts []manifest.Range) {
	next := g.First
	for _, c := range here {
		if uint64(c) > next {
			parts = append(parts, manifest.Range{Epoch: g.Epoch, First: next, Last: uint64(c) - 1})
		}
		next = uint64(c) + 1
	}
	if next <= g.Last {
		parts = append(parts, manifest.Range{Epoch: g.Epoch, First: next, Last: g.Last})
	}
	return parts[:min(len(parts), maxParts)]
}

func (s *Service) clip(ctx context.Context, sc evidence.Scope, find func() (db.Manifest, error)) (*Clip, error) {
	m, err := find()
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read a gap's neighbour: %w", err)
	}
	c := &Clip{Counter: uint64(m.Counter), Recorder: m.Recorder, ReceivedAt: m.ReceivedAt}
	if m.SignedMs != nil {
		t := time.UnixMilli(*m.SignedMs).UTC()
		c.SignedAt = &t
	}
	recs, err := s.Evidence.Many(ctx, sc, []string{m.EvidenceID})
	if err != nil {
		return nil, err
	}
	if len(recs) == 1 { // else it is another township's
		c.ID, c.FileName, c.Status = recs[0].ID, recs[0].FileName, recs[0].Status
	}
	return c, nil
}

func anomalyOf(a db.ChainAnomaly) Anomaly {
	return Anomaly{What: a.What, Epoch: uint64(a.Epoch), First: uint64(a.First), Last: uint64(a.Last), Detail: a.Detail, At: a.At, LogKey: a.LogKey}
}

// Explain gives a gap its reason, and logs it. Another reason later replaces it on the page; both stay in the log.
func (s *Service) Explain(ctx context.Context, sc evidence.Scope, keyID string, epoch, first uint64, actor, reason string) (Gap, error) {
	raw, err := hex.DecodeString(keyID)
	if err != nil || len(raw) != 32 {
		return Gap{}, fault.Invalid("密钥编号应为 64 位十六进制")
	}
	q := db.New(s.Pool)
	keys, err := q.Keys(ctx, db.KeysParams{Townships: sc.Townships, KeyID: raw})
	if err != nil {
		return Gap{}, fmt.Errorf("look up key: %w", err)
	}
	if len(keys) == 0 {
		return Gap{}, fault.NotFound("没有这个密钥的设备链")
	}
	at := db.GapParams{KeyID: raw, Epoch: int64(epoch), First: int64(first)}
	g, err := q.Gap(ctx, at)
	if errors.Is(err, pgx.ErrNoRows) {
		return Gap{}, fault.NotFound("没有从计数 %d 开始的缺失", first)
	}
	if err != nil {
		return Gap{}, fmt.Errorf("read gap: %w", err)
	}
	if g.Missing == 0 {
		return Gap{}, fault.Conflict("这段缺失已全部到齐，无须说明")
	}
	now := s.Now().UTC()
	key := fmt.Sprintf("%s/%s/%d/%d/%s", manifest.GapExplained, keyID, epoch, first, id.New())
	err = pg.InTx(ctx, s.Pool, func(tx *pg.Tx) error {
		n, err := db.New(tx).ExplainGap(ctx, db.ExplainGapParams{KeyID: raw, Epoch: g.Epoch, First: g.First, Reason: &reason, ExplainedBy: &actor, ExplainedAt: &now, ReasonKey: &key})
		if err != nil {
			return fmt.Errorf("explain gap: %w", err)
		}
		if n == 0 {
			return fault.NotFound("没有从计数 %d 开始的缺失", first)
		}
		return s.Log.Append(tx, chain.Entry{Key: key, Kind: chain.KindAnomaly, Subject: KeySubject(raw), Time: now, Payload: chain.AnomalyPayload{KeyID: raw,
			What: manifest.GapExplained, Epoch: epoch, First: first, Last: uint64(g.Last), Detail: reason, Actor: actor}})
	})
	if err != nil {
		return Gap{}, err
	}
	if g, err = q.Gap(ctx, at); err != nil {
		return Gap{}, fmt.Errorf("read gap: %w", err)
	}
	return s.gap(ctx, sc, g)
}

// GapTotals are the figures of all chains within a scope.
type GapTotals struct {
	Keys, OpenGaps int64
	Missing        uint64
	Inferred       uint64 // numbers that file names skip, counted some minutes ago
	Pending        int64
}

// GapTotals counts. Names are read anew at most every ten minutes; all else is counted now.
func (s *Service) GapTotals(ctx context.Context, sc evidence.Scope) (GapTotals, error) {
	r, err := db.New(s.Pool).GapTotals(ctx, sc.Townships)
	if err != nil {
		return GapTotals{}, fmt.Errorf("count gaps: %w", err)
	}
	out := GapTotals{Keys: r.Keys, OpenGaps: r.OpenGaps, Missing: uint64(r.Missing)}
	if out.Pending, err = s.Evidence.CountPending(ctx, sc); err != nil {
		return out, err
	}
	out.Inferred, err = s.inferred.count(ctx, s, sc)
	return out, err
}

func opt(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func val(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
