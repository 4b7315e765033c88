package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sync/errgroup"

	"zhizheng/evidence/chain"
)

// evening is a county's stations at work: `zhizheng-dock station` each, whose recorders are folders that come when their officers do, over a time.
// It is over when the receipt of every clip is there.
type evening struct {
	c      *dockConfig
	server string
	dir    string
	base   []byte
	out    io.Writer
	posts  []*post
}

// post is a station.
type post struct {
	identity, ports, config string
	keys                    note.Verifier
	cards                   []*card
	lost                    int

	mu       sync.Mutex
	made     []clip          // on cards that have come
	receipts map[string]line // by digest
	read     map[string]bool
}

const (
	lookEvery = 2 * time.Second
	tellEvery = time.Minute
)

// open makes a station's folders.
func (e *evening) open(identity string, cards []*card) error {
	keys, err := pinned(identity)
	if err != nil {
		return err
	}
	p := &post{cards: cards, identity: identity, ports: filepath.Join(e.dir, "ports", filepath.Base(identity)), config: filepath.Join(e.dir, filepath.Base(identity)+".yaml"),
		keys: keys, receipts: map[string]line{}, read: map[string]bool{}}
	if err := os.MkdirAll(p.ports, 0o700); err != nil {
		return err
	}
	e.posts = append(e.posts, p)
	return os.WriteFile(p.config, fmt.Appendf(nil, "mounts: []\nfolders:\n  - {path: %q, each: true, settle: 1s, wipe: true}\n", p.ports), 0o600)
}

// run has all cards docked. Which card comes when is drawn from the seed.
func (e *evening) run(ctx context.Context, all []*card) (dockings []*docking, err error) {
	ctx, end := context.WithCancel(ctx)
	g, gctx := errgroup.WithContext(ctx)
	for i, p := range e.posts {
		r := rand.New(rand.NewPCG(e.c.Seed, 1<<62|uint64(i)))
		var moments []time.Duration
		if e.c.misbehaves(powerLoss) && (i%3 == 1 || len(e.posts) == 1) {
			for range 3 {
				moments = append(moments, time.Duration(r.Int64N(int64(e.c.Over+20*time.Second))))
			}
			slices.Sort(moments)
		}
		g.Go(func() error { return e.keep(gctx, p, moments) })
		g.Go(func() error { return e.come(gctx, p, r) })
	}
	g.Go(func() error {
		defer end() // all are home: the stations may close
		return e.await(gctx, all)
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	for _, p := range e.posts {
		for _, k := range p.cards {
			d := &docking{card: k, identity: p.identity, lines: map[string]line{}, lost: p.lost}
			p.lost = 0 // counted once
			for _, c := range k.clips {
				if l, ok := p.receipts[c.sha]; ok {
					l.File = c.name
					d.lines[c.name] = l
				}
			}
			dockings = append(dockings, d)
		}
	}
	return dockings, nil
}

// keep runs a station until ctx ends. At each moment its power fails; it is switched on again at once.
func (e *evening) keep(ctx context.Context, p *post, moments []time.Duration) error {
	begun := time.Now()
	for {
		ends, cancel := ctx, context.CancelFunc(func() {})
		if p.lost < len(moments) {
			ends, cancel = context.WithDeadline(ctx, begun.Add(moments[p.lost]))
		}
		said, err := os.OpenFile(filepath.Join(e.dir, filepath.Base(p.identity)+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			cancel()
			return err
		}
		cmd := exec.CommandContext(ends, e.c.agent, "station", "--identity", p.identity, "--server", e.server, "--spool", filepath.Join(p.identity, "spool"),
			"--config", p.config, "--listen", "127.0.0.1:0")
		cmd.Stderr = said
		err = cmd.Run()
		killed := ends.Err() != nil
		cancel()
		switch err = errors.Join(err, said.Close()); {
		case ctx.Err() != nil:
			return nil
		case !killed:
			text, rerr := os.ReadFile(said.Name())
			return fmt.Errorf("%s：采集站停了：%w：%s", filepath.Base(p.identity), errors.Join(err, rerr), text[max(0, len(text)-2000):])
		}
		p.lost++
	}
}

// come puts a station's recorders in, one after the other, at the moments that the seed draws. A card is made just before, so that no more is on
// the disk than has to be.
func (e *evening) come(ctx context.Context, p *post, r *rand.Rand) error {
	at := make([]time.Duration, len(p.cards))
	for i := range at {
		if e.c.Over > 0 {
			at[i] = time.Duration(r.Int64N(int64(e.c.Over)))
		}
	}
	slices.Sort(at)
	begun, making := time.Now(), filepath.Join(e.dir, "making", filepath.Base(p.identity))
	for i, k := range p.cards {
		if !wait(ctx, time.Until(begun.Add(at[i]))) {
			return ctx.Err()
		}
		if err := k.write(making, e.base); err != nil {
			return err
		}
		port := filepath.Join(p.ports, k.serial)
		if err := os.Rename(k.dir, port); err != nil {
			return err
		}
		k.dir = port
		p.mu.Lock()
		p.made = append(p.made, k.clips...)
		p.mu.Unlock()
	}
	return nil
}

// await looks at the receipts until there is one for every clip.
func (e *evening) await(ctx context.Context, all []*card) error {
	clips := 0
	for _, k := range all {
		clips += len(k.clips)
	}
	for told := time.Now(); ; {
		n := 0
		for _, p := range e.posts {
			home, err := p.home()
			if err != nil {
				return err
			}
			n += home
		}
		if n == clips {
			return nil
		}
		if time.Since(told) >= tellEvery {
			fmt.Fprintf(e.out, "%s 已有回执 %d / %d\n", time.Now().Format(time.TimeOnly), n, clips)
			told = time.Now()
		}
		if !wait(ctx, lookEvery) {
			return ctx.Err()
		}
	}
}

// home counts clips that have a receipt, and takes up those receipts that came since. Whether they are true of a clip is for the reckoning to say.
func (p *post) home() (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.readReceipts(); err != nil {
		return 0, err
	}
	for _, c := range p.made {
		if _, there := p.receipts[c.sha]; there {
			n++
		}
	}
	return n, nil
}

func (p *post) readReceipts() error {
	paths, err := filepath.Glob(filepath.Join(p.identity, "receipts", "*.tlog-proof"))
	if err != nil {
		return err
	}
	for _, path := range paths {
		if p.read[path] {
			continue
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		v, err := chain.VerifyReceiptByLog(text, p.keys)
		if err != nil {
			return fmt.Errorf("%s：%w", filepath.Base(path), err)
		}
		s, err := chain.Payload[chain.SealedPayload](v.Payload)
		if err != nil {
			return fmt.Errorf("%s：%w", filepath.Base(path), err)
		}
		p.read[path] = true
		sha := hex.EncodeToString(s.SHA256)
		p.receipts[sha] = line{Size: s.Size, SHA256: sha, Status: "sealed", Evidence: s.EvidenceID, Leaf: &v.Index, Receipt: path}
	}
	return nil
}
