package evlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/internal/db"
	"zhizheng/evidence/witness"
	"zhizheng/internal/pg"
)

// WitnessOptions say who witnesses the log.
type WitnessOptions struct {
	Policy   chain.Policy  // its logs must hold this log's key, or none
	Interval time.Duration // least time between checkpoints that witnesses are asked about; 0 is ten seconds
	Client   witness.Client
	Actor    string // who set the policy; "system" if empty
}

// witnesses is the policy in force and the work of asking. All witnesses are asked about one checkpoint at a time, the target, so that
// a quorum comes together under one; each at its own pace, so that a slow one holds up nobody.
type witnesses struct {
	l         *Log
	policy    chain.Policy
	keys      map[witnessKey]note.Verifier
	names     map[witnessKey]string
	interval  time.Duration
	client    witness.Client
	published chan struct{} // there is a newer checkpoint

	mu      sync.Mutex
	running bool
	target  *target
	last    time.Time     // when the target was set
	changed chan struct{} // closed and made anew when a target was set or an answer came
	all     []*asked
}

// target is the checkpoint that witnesses are asked about. A forced one is asked about at once, whoever was away before.
type target struct {
	n      int64
	signed []byte
	chain.Checkpoint
	forced bool
}

// asked is where a witness with an address stands.
type asked struct {
	chain.PolicyWitness
	key     note.Verifier
	tried   int64 // number of the last target it was asked about
	size    int64 // of the last tree it cosigned, as far as we know
	err     string
	refused bool
	pause   time.Duration
	retry   time.Time
}

type witnessKey struct {
	name string
	hash uint32
}

func keyOf(v note.Verifier) witnessKey { return witnessKey{v.Name(), v.KeyHash()} }

// witnessSubject is the chain of the policies.
var witnessSubject = chain.Subject{Type: chain.SubjectPlatform, ID: "witnesses"}

// UseWitnesses puts a policy in force, before Run. A policy other than the one logged last is logged first, without addresses: a
// cosignature in the database so always has its key in the log.
func (l *Log) UseWitnesses(ctx context.Context, o WitnessOptions) error {
	if len(o.Policy.Logs) == 0 {
		o.Policy.Logs = chain.LogPolicy(l.VKeys()...).Logs
	}
	ever := strings.Fields(l.EveryVKey())
	if !slices.ContainsFunc(o.Policy.Logs, func(p chain.PolicyLog) bool { return slices.Contains(ever, p.VKey) }) {
		return fmt.Errorf("witness policy: it names other logs, and not this one: %s", l.VKey())
	}
	w, err := l.newWitnesses(o.Policy)
	if err != nil {
		return err
	}
	if w.interval = o.Interval; w.interval <= 0 {
		w.interval = 10 * time.Second
	}
	w.client = o.Client
	if o.Actor == "" {
		o.Actor = "system"
	}
	if err := l.logPolicy(ctx, o.Policy.Public().Text(), o.Actor); err != nil {
		return err
	}
	l.witnesses.Store(w)
	return nil
}

// UseLoggedWitnesses puts the policy in force that was logged last, for administration beside a server. Nobody is asked.
func (l *Log) UseLoggedWitnesses(ctx context.Context) error {
	p, _, err := l.loggedPolicy(ctx)
	if err != nil {
		return err
	}
	w, err := l.newWitnesses(p)
	if err != nil {
		return err
	}
	l.witnesses.Store(w)
	return nil
}

func (l *Log) newWitnesses(p chain.Policy) (*witnesses, error) {
	w := &witnesses{l: l, policy: p, keys: map[witnessKey]note.Verifier{}, names: map[witnessKey]string{}, published: make(chan struct{}, 1), changed: make(chan struct{})}
	var err error
	if _, err = p.LogVerifiers(); err != nil {
		return nil, fmt.Errorf("witness policy: %w", err)
	}
	vs, err := p.Verifiers()
	if err != nil {
		return nil, fmt.Errorf("witness policy: %w", err)
	}
	for i, v := range vs {
		w.keys[keyOf(v)], w.names[keyOf(v)] = v, p.Witnesses[i].Name
		if p.Witnesses[i].URL != "" {
			w.all = append(w.all, &asked{PolicyWitness: p.Witnesses[i], key: v})
		}
	}
	return w, nil
}

// loggedPolicy is the policy that was logged last, and how many were; before the first no witness is asked for.
func (l *Log) loggedPolicy(ctx context.Context) (chain.Policy, int, error) {
	leaves, err := l.SubjectLeaves(ctx, witnessSubject)
	if err != nil || len(leaves) == 0 {
		return chain.LogPolicy(l.VKey()), 0, err
	}
	p, err := chain.Payload[chain.WitnessesPayload](leaves[len(leaves)-1].Payload)
	if err != nil {
		return chain.Policy{}, 0, fmt.Errorf("read the policy logged last: %w", err)
	}
	policy, err := chain.ParsePolicy(p.Policy)
	return policy, len(leaves), err
}

func (l *Log) logPolicy(ctx context.Context, text, actor string) error {
	logged, n, err := l.loggedPolicy(ctx)
	if err != nil || logged.Text() == text {
		return err
	}
	// Two servers that start with one new policy log it once; with two different ones the second fails to start.
	err = l.Do(ctx, func(_ context.Context, tx *pg.Tx) error {
		return l.Append(tx, chain.Entry{Key: fmt.Sprintf("witnesses/%d", n+1), Kind: chain.KindWitnesses, Subject: witnessSubject,
			Payload: chain.WitnessesPayload{Policy: text, Actor: actor}})
	})
	if err != nil {
		return fmt.Errorf("log the witness policy: %w", err)
	}
	return nil
}

// Policy is the policy in force, without addresses.
func (l *Log) Policy() chain.Policy {
	p := l.inForce().policy.Public()
	p.Logs = chain.LogPolicy(l.VKeys()...).Logs // keys are replaced while the policy stays
	return p
}

func (l *Log) inForce() *witnesses { return l.witnesses.Load() }

// run asks until ctx ends.
func (w *witnesses) run(ctx context.Context) {
	if len(w.all) == 0 {
		return
	}
	w.mu.Lock()
	w.running = true
	w.mu.Unlock()
	var g sync.WaitGroup
	defer g.Wait()
	for _, a := range w.all {
		g.Go(func() { w.ask(ctx, a) })
	}
	tick := time.NewTicker(w.interval) // checkpoints of other replicas come without a nudge
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.published:
		case <-tick.C:
		}
		w.mu.Lock()
		wait := w.interval - time.Since(w.last)
		w.mu.Unlock()
		if wait > 0 && !pause(ctx, wait) {
			return
		}
		if _, err := w.aim(ctx, 0, false); err != nil && ctx.Err() == nil {
			w.l.log.WarnContext(ctx, "witnesses not asked", "err", err)
		}
	}
}

// aim makes the newest checkpoint the target, if it covers a tree of that size. A forced target that nobody is through with is good
// enough if it does. The checkpoint is kept before anyone is asked: a cosignature is of no use without it.
func (w *witnesses) aim(ctx context.Context, size int64, forced bool) (*target, error) {
	signed, c, err := w.l.published(ctx)
	if err != nil {
		return nil, err
	}
	if err := w.l.keep(ctx, c, signed); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.target
	if t != nil && t.Size >= c.Size && !forced {
		return t, nil
	}
	if t != nil && forced && t.forced && t.Size >= size && !w.settled(t) {
		return t, nil
	}
	next := &target{n: 1, signed: signed, Checkpoint: c, forced: forced}
	if t != nil {
		next.n = t.n + 1
	}
	w.target, w.last = next, time.Now()
	w.tell()
	return next, nil
}

// keep stores a checkpoint for good, whatever the pace at which others are kept.
func (l *Log) keep(ctx context.Context, c chain.Checkpoint, signed []byte) error {
	err := l.q.KeepCheckpointFor(ctx, db.KeepCheckpointForParams{Size: c.Size, Root: c.Root[:], Note: string(signed), At: l.now()})
	if err != nil {
		return pg.Away(fmt.Errorf("keep checkpoint of %d: %w", c.Size, err))
	}
	return nil
}

// tell wakes all who wait for a change. The lock is held.
func (w *witnesses) tell() {
	close(w.changed)
	w.changed = make(chan struct{})
}

// settled says that nobody is being asked about the target any more. The lock is held.
func (w *witnesses) settled(t *target) bool {
	return !w.running || !slices.ContainsFunc(w.all, func(a *asked) bool { return a.tried < t.n })
}

// ask is the life of the questions to one witness.
func (w *witnesses) ask(ctx context.Context, a *asked) {
	for {
		w.mu.Lock()
		t, changed, retry := w.target, w.changed, a.retry
		due := t != nil && (a.size < t.Size || a.err != "") && ((t.forced && t.n > a.tried) || !time.Now().Before(retry))
		if t != nil && !due && a.tried < t.n && (a.size >= t.Size && a.err == "" || !t.forced) {
			a.tried = t.n // signed already, or left alone until its time comes
			w.tell()
			changed = w.changed
		}
		pending := t != nil && !due && (a.size < t.Size || a.err != "")
		w.mu.Unlock()
		if due {
			w.askOnce(ctx, a, t)
			if ctx.Err() != nil {
				return
			}
			continue
		}
		var again <-chan time.Time
		var timer *time.Timer
		if pending {
			timer = time.NewTimer(time.Until(retry))
			again = timer.C
		}
		select {
		case <-changed:
		case <-again:
		case <-ctx.Done():
		}
		if timer != nil {
			timer.Stop()
		}
		if ctx.Err() != nil {
			return
		}
	}
}

func (w *witnesses) askOnce(ctx context.Context, a *asked, t *target) {
	old := int64(0)
	if last, ok, err := w.lastOf(ctx, a.key); err == nil && ok && last.Size <= t.Size {
		old = last.Size
	}
	line, err := w.client.Ask(ctx, witness.Remote{URL: a.URL, Key: a.key}, t.signed, old, func(ctx context.Context, old int64) ([]chain.Hash, error) {
		return w.l.consistency(ctx, old, t.Checkpoint)
	})
	if err == nil {
		err = w.store(ctx, t.Size, line)
	}
	if ctx.Err() != nil {
		return
	}
	var no *witness.Refusal
	refused := errors.As(err, &no)
	if refused && no.Size > t.Size { // another server was quicker, with a newer checkpoint; or our database is an older one
		if _, c, perr := w.l.published(ctx); perr == nil && c.Size >= no.Size {
			refused = false
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	defer w.tell()
	a.tried, a.refused = t.n, refused
	if err == nil {
		if a.err != "" {
			w.l.log.InfoContext(ctx, "witness answers again", "witness", a.Name)
		}
		a.size, a.err, a.pause, a.retry = t.Size, "", 0, time.Time{}
		return
	}
	level := slog.LevelWarn
	if refused {
		level = slog.LevelError
	}
	if a.err != err.Error() {
		w.l.log.Log(ctx, level, "witness has not cosigned", "witness", a.Name, "size", t.Size, "err", err)
	}
	a.err, a.pause = err.Error(), min(max(2*a.pause, w.interval), 5*time.Minute)
	a.retry = time.Now().Add(a.pause)
}

// store keeps a verified line.
func (w *witnesses) store(ctx context.Context, size int64, line chain.SignatureLine) error {
	at, _ := line.CosignedAt()
	_, err := w.l.q.InsertCosignature(ctx, db.InsertCosignatureParams{Size: size, Witness: line.Name, KeyHash: hashBytes(line.Hash), Line: line.String(), At: at})
	if err != nil {
		return pg.Away(fmt.Errorf("store cosignature: %w", err))
	}
	return nil
}

func hashBytes(h uint32) []byte { return []byte{byte(h >> 24), byte(h >> 16), byte(h >> 8), byte(h)} }

func (w *witnesses) lastOf(ctx context.Context, v note.Verifier) (db.LogCosignature, bool, error) {
	c, err := w.l.q.LastCosignature(ctx, db.LastCosignatureParams{Witness: v.Name(), KeyHash: hashBytes(v.KeyHash())})
	if errors.Is(err, pgx.ErrNoRows) {
		return c, false, nil
	}
	if err != nil {
		return c, false, pg.Away(fmt.Errorf("read cosignatures: %w", err))
	}
	return c, true, nil
}

// consistency proves that the tree of size old is the beginning of a checkpoint's.
func (l *Log) consistency(ctx context.Context, old int64, c chain.Checkpoint) ([]chain.Hash, error) {
	tiles := &tileReader{ctx: ctx, q: l.q, size: c.Size}
	p, err := chain.ProveConsistency(old, c.Size, c.Root, tiles.read)
	if err != nil && tiles.err != nil {
		return nil, pg.Away(fmt.Errorf("read tiles: %w", tiles.err))
	}
	return p, err
}
