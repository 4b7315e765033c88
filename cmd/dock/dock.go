package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"sync"

	"golang.org/x/sync/errgroup"

	"zhizheng/ingest/manifest"
)

// agent docks one folder.
type agent struct {
	c      config
	id     *identity
	state  *state
	card   *card
	client *client
	trust  *trust
	slots  chan struct{} // parts in flight
	show   *display

	telling sync.Mutex // held while manifests or a state are on their way

	mu    sync.Mutex
	lines int
	all   bool // nothing was left unsealed so far
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

// dock takes a card: list it, read every file once and log its fingerprint, then carry the bytes, then wait for the receipts. An
// error means that it couldn't begin or go on at all; otherwise every file has its line, and all says whether none was left behind.
func dock(ctx context.Context, c config, stdout, stderr *os.File) (all bool, err error) {
	id, err := loadIdentity(c.Identity)
	if err != nil {
		return false, err
	}
	server := c.Server
	if server == "" {
		server = id.Server
	}
	st, err := openState(c.Identity)
	if err != nil {
		return false, err
	}
	defer st.close()
	if c.Spool != "" {
		unlock, err := lockSpool(c.Spool)
		if err != nil {
			return false, err
		}
		defer unlock()
	}
	cd, err := openCard(c.Source, c.System)
	if err != nil {
		return false, err
	}
	defer cd.root.Close()
	a := &agent{c: c, id: id, state: st, card: cd, client: newClient(id, server, c.Patience, c.Parallel), slots: make(chan struct{}, c.Parallel), all: true}
	defer a.client.http.CloseIdleConnections()
	if a.trust, err = openTrust(a.client, filepath.Join(c.Identity, "state", "checkpoint")); err != nil {
		return false, err
	}
	if err := os.MkdirAll(a.receipts(), 0o700); err != nil {
		return false, err
	}
	a.show = newDisplay(stdout, stderr, c.JSON)
	defer a.show.stop()
	if err := a.stating(ctx, func() error { return a.run(ctx) }); err != nil {
		return false, err
	}
	a.show.summary(a.lines)
	return a.all, nil
}

func (a *agent) run(ctx context.Context) error {
	var files []found
	for _, f := range a.card.scan() {
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
			return err
		}
	}
	tasks, err := a.fingerprint(ctx, files)
	if err != nil {
		return err
	}
	return a.carryAll(ctx, tasks)
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

var spooledName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// leftovers takes up copies in the spool that an earlier run didn't get to seal: their card may be long gone.
func (a *agent) leftovers(ctx context.Context, out *outbox, files []found) error {
	if a.c.Spool == "" {
		return nil
	}
	entries, err := os.ReadDir(a.c.Spool)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	here := map[string]bool{}
	for _, f := range files {
		here[f.name] = true
	}
	for _, e := range entries {
		if !spooledName.MatchString(e.Name()) {
			continue
		}
		m, ok := a.state.bySHA(e.Name())
		if !ok || here[string(m.FileName)] {
			continue // finished, or about to be read from the card again
		}
		c, err := rehash(ctx, filepath.Join(a.c.Spool, e.Name()), m)
		if err != nil {
			if rerr := a.report(string(m.FileName), result{Size: m.Size, Status: rejected, Error: "暂存的副本：" + plain(err)}); rerr != nil {
				return rerr
			}
			continue
		}
		out.put(c)
	}
	return nil
}

// report prints a file's line.
func (a *agent) report(name string, r result) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lines++
	r.fine = r.fine || r.Status == sealed || r.Status == duplicate
	a.all = a.all && r.fine
	r.File = shown(name)
	if r.File != name {
		r.FileBytes = []byte(name)
	}
	if a.c.JSON {
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		return a.show.line(string(b), r.Status)
	}
	text := fmt.Sprintf("%s  %s  %s", statusNames[r.Status], printable(r.File), size(r.Size))
	for _, s := range []string{r.Evidence, r.Error} {
		if s != "" {
			text += "  " + s
		}
	}
	return a.show.line(text, r.Status)
}

var statusNames = map[string]string{sealed: "已封存", duplicate: "已在库", rejected: "未封存", skipped: "跳过  "}

func (a *agent) receipts() string { return filepath.Join(a.c.Identity, "receipts") }

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
