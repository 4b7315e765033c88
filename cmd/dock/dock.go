package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"zhizheng/ingest/manifest"
)

// hub is what all agents of a station share: who it is, what it remembers, the way to the platform.
type hub struct {
	id      *identity
	state   *state
	client  *client
	trust   *trust
	courier *courier
	spool   *spool // nil for none
	gate    *gate  // parts in flight
	pace    *pace

	receipts string       // folder
	carried  atomic.Int64 // bytes that the store took
	turns    atomic.Int64 // cards that began to be carried
}

// agent docks one folder.
type agent struct {
	*hub
	c      config
	card   *card // nil for one that carries only what lies in the spool
	show   audience
	urgent atomic.Bool

	mu    sync.Mutex
	lines int
	all   bool           // nothing was left unsealed so far
	held  map[string]int // copies in the spool that we need, by digest
}

// hold notes that a copy in the spool is ours too; letGo gives up what is left of those: another agent may take them up.
func (a *agent) hold(sha string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held == nil {
		a.held = map[string]int{}
	}
	a.held[sha]++
}

func (a *agent) letGo() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for sha, n := range a.held {
		a.spool.release(sha, n)
	}
	a.held = nil
}

// audience is told how a docking goes.
type audience interface {
	phase(what string, total int64)
	start(name string, size int64) meter
	kept(clips []*clip) // their manifests are signed, and what has a copy in the spool needs its card no more
	logged(t *task)     // its fingerprint is in the log
	ended(name string, r result) error
	note(text string)
}

// meter counts a file's bytes as they are read or carried.
type meter interface {
	add(n int)
	end()
}

// result is the line of a file, as --json prints it.
type result struct {
	File      string `json:"file"`
	FileBytes []byte `json:"file_bytes,omitempty"` // the name as it is on the card, when that is no UTF-8
	Size      int64  `json:"size"`
	SHA256    string `json:"sha256"`
	Status    string `json:"status"` // sealed, duplicate, rejected, skipped
	Evidence  string `json:"evidence_id"`
	LeafIndex *int64 `json:"leaf_index"` // of the sealing leaf
	Receipt   string `json:"receipt"`
	Error     string `json:"error"`
	fine      bool   // doesn't count against the exit code
}

// The four ends of a file.
const (
	sealed    = "sealed"
	duplicate = "duplicate"
	rejected  = "rejected"
	skipped   = "skipped"
)

// openHub prepares everything that outlives one card.
func openHub(c hubConfig) (_ *hub, err error) {
	id, err := loadIdentity(c.Identity)
	if err != nil {
		return nil, err
	}
	h := &hub{id: id, gate: newGate(c.Parallel), pace: newPace(c.schedule), receipts: filepath.Join(c.Identity, "receipts")}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	if h.state, err = openState(c.Identity); err != nil {
		return nil, err
	}
	if c.Spool != "" {
		if h.spool, err = openSpool(c.Spool, cmp.Or(c.SpoolKey, filepath.Join(c.Identity, "spool.key"))); err != nil {
			return nil, err
		}
	}
	h.client = newClient(id, cmp.Or(c.Server, id.Server), c.Patience, c.Parallel)
	if h.trust, err = openTrust(h.client, filepath.Join(c.Identity, "state", "checkpoint")); err != nil {
		return nil, err
	}
	h.courier = &courier{hub: h}
	return h, os.MkdirAll(h.receipts, 0o700)
}

func (h *hub) close() {
	if h.courier != nil {
		h.courier.out.Wait() // all have given up: it ends
	}
	if h.client != nil {
		h.client.http.CloseIdleConnections()
	}
	if h.spool != nil {
		h.spool.close()
	}
	if h.state != nil {
		h.state.close()
	}
}

// dock takes a card: list it, read every file once and log its fingerprint, then carry the bytes, then wait for the receipts. An
// error means that it couldn't begin or go on at all; otherwise every file has its line, and all says whether none was left behind.
func dock(ctx context.Context, c config, stdout, stderr *os.File) (all bool, err error) {
	h, err := openHub(c.hubConfig)
	if err != nil {
		return false, err
	}
	defer h.close()
	cd, err := openCard(c.Source, c.System)
	if err != nil {
		return false, err
	}
	defer cd.root.Close()
	show := newDisplay(stdout, stderr, c.JSON)
	defer show.stop()
	a := &agent{hub: h, c: c, card: cd, show: show, all: true}
	if err := a.stating(ctx, func() error { return a.run(ctx) }); err != nil {
		return false, err
	}
	show.summary(a.lines)
	return a.all, nil
}

func (a *agent) run(ctx context.Context) error {
	tasks, err := a.readAll(ctx)
	if err != nil {
		return err
	}
	return a.carryAll(ctx, tasks)
}

// readAll reads every file of the card and has its fingerprint logged. The tasks are those that the server took.
func (a *agent) readAll(ctx context.Context) ([]*task, error) {
	var files []found
	for _, f := range a.scan() {
		if f.skip == "" {
			files = append(files, f)
			continue
		}
		r := result{Status: skipped, Error: f.skip, fine: f.ok}
		if f.err != nil {
			r.Status, r.Error = rejected, f.skip+"："+plain(f.err)
		}
		if f.info != nil {
			r.Size = f.info.Size()
		}
		if err := a.report(f.name, r); err != nil {
			return nil, err
		}
	}
	return a.fingerprint(ctx, files)
}

func (a *agent) scan() []found {
	if a.card == nil {
		return nil
	}
	return a.card.scan()
}

// fingerprint reads all files and submits their manifests while it goes on reading. The tasks are those that the server took.
func (a *agent) fingerprint(ctx context.Context, files []found) ([]*task, error) {
	var total int64
	for _, f := range files {
		total += f.info.Size()
	}
	a.show.phase("读取", total)
	out := newOutbox()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { // the submitter ends when the readers have
		return a.submitAll(gctx, out)
	})
	g.Go(func() error {
		defer out.close()
		readers, rctx := errgroup.WithContext(gctx)
		readers.SetLimit(a.c.Readers)
		readers.Go(func() error { return a.leftovers(rctx, out, files) })
		for _, f := range files {
			readers.Go(func() error { return a.readOne(rctx, f, out) })
		}
		return readers.Wait()
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return out.tasks, nil
}

func (a *agent) readOne(ctx context.Context, f found, out *outbox) error {
	if len(f.name) > manifest.MaxFileName || f.info.Size() > manifest.MaxSize {
		return a.report(f.name, result{Size: f.info.Size(), Status: rejected, Error: "路径过长或文件过大，无法登记"})
	}
	bar := a.show.start(f.name, f.info.Size())
	c, err := a.read(ctx, f, bar.add)
	bar.end()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	a.client.forward()
	if err != nil {
		return a.report(f.name, result{Size: f.info.Size(), Status: rejected, Error: plain(err)})
	}
	out.put(c)
	return nil
}

// leftovers takes up copies in the spool that an earlier run didn't get to seal: their card may be long gone.
func (a *agent) leftovers(ctx context.Context, out *outbox, files []found) error {
	if a.spool == nil || a.c.others {
		return nil
	}
	names, err := a.spool.names()
	if err != nil {
		return err
	}
	here := map[string]bool{}
	for _, f := range files {
		here[f.name] = true
	}
	for _, sha := range names {
		m, ok := a.state.bySHA(sha)
		if !ok || here[string(m.FileName)] {
			continue // of no manifest, finished, or about to be read from the card again
		}
		c, err := a.rehash(ctx, filepath.Join(a.spool.dir, sha), m)
		if err != nil {
			if rerr := a.report(string(m.FileName), result{Size: m.Size, Status: rejected, Error: "暂存的副本：" + plain(err)}); rerr != nil {
				return rerr
			}
			continue
		}
		a.spool.take(sha)
		a.hold(sha)
		out.put(c)
	}
	return nil
}

// report tells how a file ended.
func (a *agent) report(name string, r result) error {
	r.fine = r.fine || r.Status == sealed || r.Status == duplicate
	a.mu.Lock()
	a.lines++
	a.all = a.all && r.fine
	a.mu.Unlock()
	r.File = shown(name)
	if r.File != name {
		r.FileBytes = []byte(name)
	}
	return a.show.ended(name, r)
}

// plain is an error for people: a path error's path is the file's name, which stands beside it anyway.
func plain(err error) string {
	var p *os.PathError
	if errors.As(err, &p) && errors.Is(err, p) {
		switch {
		case errors.Is(err, os.ErrNotExist):
			return "文件已不在（卡被取出？）"
		case errors.Is(err, os.ErrPermission):
			return "没有权限读取"
		}
		if err == error(p) { //nolint:errorlint // only a bare path error is shortened
			return p.Err.Error()
		}
	}
	return err.Error()
}

// outbox hands clips from the readers to the submitter, as many as come; they are small.
type outbox struct {
	mu     sync.Mutex
	more   *sync.Cond
	clips  []*clip
	closed bool
	tasks  []*task // filled by the submitter
}

func newOutbox() *outbox {
	o := &outbox{}
	o.more = sync.NewCond(&o.mu)
	return o
}

func (o *outbox) put(c *clip) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.clips = append(o.clips, c)
	o.more.Signal()
}

func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.more.Signal()
}

// take waits for clips and gives up to n of them; io.EOF when there will be no more.
func (o *outbox) take(n int) ([]*clip, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.clips) == 0 {
		if o.closed {
			return nil, io.EOF
		}
		o.more.Wait()
	}
	n = min(n, len(o.clips))
	batch := o.clips[:n:n]
	o.clips = o.clips[n:]
	return batch, nil
}
