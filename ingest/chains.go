package ingest

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
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

// InferredGap is a run of numbers that a recorder's file names skip. It proves nothing.
type InferredGap struct {
	manifest.Inferred
	Before, After evidence.Name
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

// inferredGaps looks at the names of a recorder's files, or of a station's files that name no recorder.
func (s *Service) inferredGaps(ctx context.Context, sc evidence.Scope, recorder, station string) ([]InferredGap, error) {
	names, err := s.Evidence.FileNames(ctx, sc, recorder, station, "", maxNames)
	if err != nil {
		return nil, err
	}
	var out []InferredGap
	for _, g := range manifest.InferGaps(s.Series, fileNames(names)) {
		out = append(out, InferredGap{Inferred: g, Before: names[g.Before], After: names[g.After]})
	}
	return out, nil
}

func fileNames(names []evidence.Name) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = n.FileName
	}
	return out
}

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

func (s *Service) inferredBeside(ctx context.Context, sc evidence.Scope, rec evidence.Record, c *Completeness) error {
	station := ""
	if rec.Recorder == "" {
		station = rec.Station
	}
	gaps, err := s.inferredGaps(ctx, sc, rec.Recorder, station)
	if err != nil {
		return err
	}
	for _, g := range gaps {
		if g.After.ID == rec.ID {
			c.InferredBefore = &g
		}
		if g.Before.ID == rec.ID {
			c.InferredAfter = &g
		}
	}
	return nil
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

// inferredCount remembers for a while what reading every name gave, by scope.
type inferredCount struct {
	mu    sync.Mutex
	known map[string]counted
}

type counted struct {
	at time.Time
	n  uint64
}

const countAgain = 10 * time.Minute

func (c *inferredCount) count(ctx context.Context, s *Service, sc evidence.Scope) (uint64, error) {
	key := fmt.Sprint(sc.Townships == nil, sc.Townships)
	c.mu.Lock() // held while counting: a second reader waits for the first instead of reading all names too
	defer c.mu.Unlock()
	if k, ok := c.known[key]; ok && s.Now().Sub(k.at) < countAgain {
		return k.n, nil
	}
	bySource := map[string][]string{}
	for after := evidence.ID(""); ; {
		page, err := s.Evidence.FileNames(ctx, sc, "", "", after, maxNames)
		if err != nil {
			return 0, err
		}
		for _, n := range page {
			source := "r/" + n.Recorder
			if n.Recorder == "" {
				source = "s/" + n.Station
			}
			bySource[source] = append(bySource[source], n.FileName)
		}
		if len(page) < maxNames {
			break
		}
		after = page[len(page)-1].ID
	}
	var n uint64
	for _, names := range bySource {
		for _, g := range manifest.InferGaps(s.Series, names) {
			n += g.Count()
		}
	}
	if c.known == nil || len(c.known) > 100 {
		c.known = map[string]counted{}
	}
	c.known[key] = counted{s.Now(), n}
	return n, nil
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
