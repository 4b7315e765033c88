package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"zhizheng/ingest/manifest"
)

// courier brings to the platform what a station signs, before any footage: manifests first, then states. While one request is on its way the
// next collects, of all slots together, so that sixteen cards that come at once need a few requests and not a few each. Manifests are signed as
// soon as a file is read, link or not; a state is signed only when all of them have gone: else it would tell of a gap that is none.
// Crash after signing: the manifest is in the journal, and the next docking or the spool brings the same one.
type courier struct {
	*hub

	mu        sync.Mutex
	manifests []*parcel
	states    []*parcel
	carrying  bool // manifests are on their way
	going     bool
	out       sync.WaitGroup
}

// parcel is what one docking wants to be signed and sent: clips, or a state.
type parcel struct {
	ctx      context.Context //nolint:containedctx // it travels with those of others, each of whom may give up
	entries  []*entry
	signed   []byte // a state
	closing  bool   // of a state: the docking's last, which names
	recorder string // whose card it was

	answers []manifestResult // the platform's, to each clip
	err     error
	done    chan struct{}
	behind  func() // gives the line back to footage
}

// maxBatch is how many manifests go in one request. The platform takes 500; a narrow line that breaks loses less with fewer.
const maxBatch = 200

// fingerprints signs clips and wants them logged. They are signed when it returns. Their chain is the station's: manifests of several dockings may
// lie between each other.
func (c *courier) fingerprints(ctx context.Context, clips []*clip) *parcel {
	p := &parcel{ctx: ctx}
	c.post(p, &c.manifests, func() (err error) {
		p.entries, err = c.sign(clips)
		return err
	})
	return p
}

// stand wants a state of the chain signed and logged.
func (c *courier) stand(ctx context.Context, closing bool, recorder string) *parcel {
	p := &parcel{ctx: ctx, closing: closing, recorder: recorder}
	c.post(p, &c.states, func() error {
		if len(c.manifests) > 0 || c.carrying {
			return nil // signed when they have gone
		}
		return c.signState(p)
	})
	return p
}

// post puts a parcel where bring finds it.
func (c *courier) post(p *parcel, queue *[]*parcel, sign func() error) {
	p.done, p.behind = make(chan struct{}), c.pace.goFirst()
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.err = sign(); p.err != nil {
		close(p.done)
		return
	}
	*queue = append(*queue, p)
	if !c.going {
		c.going = true
		c.out.Go(c.bring)
	}
}

// wait waits until a parcel has been brought, or its docking gives up. After a signingError nothing may go on.
func (c *courier) wait(p *parcel) error {
	defer p.behind()
	select {
	case <-p.done:
		return p.err
	case <-p.ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, queue := range []*[]*parcel{&c.manifests, &c.states} {
		if i := slices.Index(*queue, p); i >= 0 {
			*queue = slices.Delete(*queue, i, i+1)
		}
	}
	return p.ctx.Err()
}

// bring brings what waits until nothing does.
func (c *courier) bring() {
	for {
		batch := c.next()
		if len(batch) == 0 {
			return
		}
		ctx, end := together(batch)
		if len(batch[0].entries) > 0 {
			c.bringManifests(ctx, batch)
		} else {
			c.bringStates(ctx, batch)
		}
		end()
		for _, p := range batch {
			close(p.done)
		}
	}
}

// next takes what goes in one request.
func (c *courier) next() (batch []*parcel) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for len(c.manifests) > 0 && (n == 0 || n+len(c.manifests[0].entries) <= maxBatch) {
		n += len(c.manifests[0].entries)
		batch, c.manifests = append(batch, c.manifests[0]), c.manifests[1:]
	}
	if c.carrying = batch != nil; !c.carrying {
		n := min(len(c.states), maxBatch)
		for _, p := range c.states[:n] {
			if p.signed == nil {
				p.err = c.signState(p)
			}
		}
		batch, c.states = c.states[:n:n], c.states[n:]
	}
	c.going = len(batch) > 0
	return batch
}

// together ends when every parcel's docking has given up: one of them must not break off what others wait for.
func together(batch []*parcel) (ctx context.Context, end func()) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(batch[0].ctx))
	var waiting atomic.Int64
	waiting.Store(int64(len(batch)))
	stops := []func() bool{}
	for _, p := range batch {
		stops = append(stops, context.AfterFunc(p.ctx, func() {
			if waiting.Add(-1) == 0 {
				cancel()
			}
		}))
	}
	return ctx, func() {
		for _, stop := range stops {
			stop()
		}
		cancel()
	}
}

// bringManifests sends those of all parcels. What is refused as a whole is sent again parcel by parcel: one card's trouble stays its own.
func (c *courier) bringManifests(ctx context.Context, batch []*parcel) {
	var all []*entry
	for _, p := range batch {
		all = append(all, p.entries...)
	}
	answers, err := c.log(ctx, all)
	var a *answerError
	if err != nil && len(batch) > 1 && errors.As(err, &a) && !a.passing() {
		for _, p := range batch {
			p.answers, p.err = c.log(ctx, p.entries)
		}
		return
	}
	for _, p := range batch {
		if p.err = err; err == nil {
			p.answers, answers = answers[:len(p.entries)], answers[len(p.entries):]
		}
	}
}

// sign gives each clip its manifest, under the lock.
func (c *courier) sign(clips []*clip) ([]*entry, error) {
	checkpoint := c.trust.lastHash()
	entries, err := c.state.sign(clips, func(m manifest.Manifest) ([]byte, error) {
		m.KeyID, m.At, m.Monotonic, m.Checkpoint = c.id.keyID, time.Now().UnixMilli(), sinceBoot(), checkpoint
		raw, _, err := manifest.Sign(m, c.id.key)
		return raw, err
	})
	if err != nil {
		return nil, &signingError{err}
	}
	return entries, nil
}

func (c *courier) log(ctx context.Context, entries []*entry) ([]manifestResult, error) {
	var in struct {
		Manifests [][]byte `json:"manifests"`
	}
	for _, e := range entries {
		in.Manifests = append(in.Manifests, e.signed)
	}
	var out struct {
		Items []manifestResult `json:"items"`
	}
	if err := c.client.call(ctx, "POST", "/api/v1/manifests", in, &out); err != nil {
		return nil, err
	}
	if len(out.Items) != len(entries) {
		return nil, fmt.Errorf("服务器回答了 %d 份清单，送出 %d 份", len(out.Items), len(entries))
	}
	return out.Items, nil
}

// signingError is a station that can't keep its own chain: nothing may go on.
type signingError struct{ error }

func (e *signingError) Unwrap() error { return e.error }

// bringStates sends one state for all dockings that begin or are under way, for it says where the station's chain stands, and one for each that
// ends.
func (c *courier) bringStates(ctx context.Context, batch []*parcel) {
	ctx, cancel := context.WithTimeoutCause(ctx, tellPatience, errors.New("服务器没有应答"))
	defer cancel()
	var in struct {
		States [][]byte `json:"states"`
	}
	at := map[string]int{}
	for _, p := range batch {
		if p.err != nil {
			continue // it couldn't be signed
		}
		if _, there := at[string(p.signed)]; !there {
			at[string(p.signed)], in.States = len(in.States), append(in.States, p.signed)
		}
	}
	if len(in.States) == 0 {
		return
	}
	var out struct {
		Items []struct {
			Status string `json:"status"`
			Error  string `json:"error"`
		} `json:"items"`
	}
	err := c.client.call(ctx, "POST", "/api/v1/device-states", in, &out)
	if err == nil && len(out.Items) != len(in.States) {
		err = fmt.Errorf("服务器回答了 %d 份状态，送出 %d 份", len(out.Items), len(in.States))
	}
	for _, p := range batch {
		if p.err != nil {
			continue
		}
		if p.err = err; err != nil {
			continue
		}
		if o := out.Items[at[string(p.signed)]]; o.Status != "accepted" {
			p.err = fmt.Errorf("服务器没有接受：%s", o.Error)
		}
	}
}

// signState signs one, or takes that of a docking that waits as well, under the lock.
func (c *courier) signState(p *parcel) (err error) {
	for _, o := range c.states {
		if !p.closing && !o.closing && o.signed != nil {
			p.signed = o.signed
			return nil
		}
	}
	checkpoint := c.trust.lastHash()
	p.signed, err = c.state.now(func(s manifest.State) ([]byte, error) {
		s.KeyID, s.At, s.Monotonic, s.Checkpoint = c.id.keyID, time.Now().UnixMilli(), sinceBoot(), checkpoint
		s.Closing, s.Recorder = p.closing, p.recorder
		raw, _, err := manifest.SignState(s, c.id.key)
		return raw, err
	})
	if err != nil {
		return fmt.Errorf("签署状态：%w", err)
	}
	return nil
}
