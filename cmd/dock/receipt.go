package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/chain"
)

// conclude gives each file of a record its line, with a receipt that we have verified ourselves. failed is why it couldn't be carried.
func (a *agent) conclude(ctx context.Context, group []*task, failed error) error {
	var path string
	var index int64
	err := failed
	if err == nil {
		path, index, err = a.receipt(ctx, group[0])
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	told := false
	for _, t := range group {
		r := result{Size: t.size(), SHA256: t.sha(), Evidence: t.evidence}
		if err != nil {
			r.Status, r.Error = rejected, plain(err)
		} else {
			r.LeafIndex, r.Receipt = &index, path
			now, err := a.state.finish(t.clip, t.evidence)
			if err != nil {
				return err
			}
			// Sealed now, for the name under which it was registered; known before, for all others.
			if r.Status = duplicate; t.first && now && !told {
				r.Status, told = sealed, true
			}
			if err := a.unspool(t.clip); err != nil {
				return err
			}
			// A receipt says that the bytes were sealed once. Where the store no longer has them, the card's may be the last.
			switch t.status {
			case "damaged":
				r.Status, r.Error = rejected, "库中的副本已损坏：请勿清除原件，立即联系管理员"
			case "deleted":
				r.Error = "库中的副本已按期销毁，记录仪上的原件未清除，请交管理员处理"
			}
		}
		if rerr := a.report(t.name, r); rerr != nil {
			return rerr
		}
	}
	return nil
}

// unspool gives up the copy of a sealed file.
func (a *agent) unspool(c *clip) error {
	if c.spooled == "" {
		return nil
	}
	a.mu.Lock()
	if a.held[c.sha()]--; a.held[c.sha()] <= 0 {
		delete(a.held, c.sha())
	}
	a.mu.Unlock()
	return a.spool.drop(c.sha())
}

// receipt gives the path of the record's verified receipt and the index of its sealing leaf. One that was kept before is as good as
// a new one, if it verifies.
func (a *agent) receipt(ctx context.Context, t *task) (path string, index int64, err error) {
	path = filepath.Join(a.receipts, filepath.Base(t.evidence)+".tlog-proof")
	if text, err := os.ReadFile(path); err == nil {
		if p, err := a.trust.check(ctx, text, t); err == nil {
			return path, p.Index, nil
		}
	}
	var text []byte
	if err := a.client.call(ctx, http.MethodGet, "/api/v1/evidence/"+t.evidence+"/receipt", nil, &text); err != nil {
		return "", 0, fmt.Errorf("取回执：%w", err)
	}
	p, err := a.trust.check(ctx, text, t)
	if err != nil {
		return "", 0, fmt.Errorf("回执核对不通过，不能算封存：%w", err)
	}
	return path, p.Index, writeWhole(path, text)
}

// trust is what the station knows of the log by itself: the pinned key, and the last checkpoint it saw. Every later checkpoint must be a
// continuation of that one, else somebody shows us another history.
type trust struct {
	client   *client
	verifier note.Verifier
	path     string

	mu   sync.Mutex
	note []byte // the last signed checkpoint, nil before the first
	last chain.Checkpoint
	seen map[chain.Checkpoint]bool
}

func openTrust(c *client, path string) (*trust, error) {
	t := &trust{client: c, verifier: c.id.verifier, path: path, seen: map[chain.Checkpoint]bool{}}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	if t.last, err = chain.OpenByLog(b, t.verifier); err != nil {
		return nil, fmt.Errorf("state/checkpoint 与 station.json 中的日志公钥不符：%w", err)
	}
	t.note = b
	return t, nil
}

// lastHash names the last checkpoint in manifests: it bounds their time from below.
func (t *trust) lastHash() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.note == nil {
		return nil
	}
	h := sha256.Sum256(t.note)
	return h[:]
}

// check verifies a receipt: signature of the pinned key, inclusion, that it says "sealed" of exactly this record and these bytes, and
// that its checkpoint continues the last one.
func (t *trust) check(ctx context.Context, text []byte, c *task) (chain.Proven, error) {
	// The station knows the log's key and no witness: it passes over their lines.
	p, err := chain.VerifyReceiptByLog(text, t.verifier)
	if err != nil {
		return p, err
	}
	if p.Leaf.Kind != chain.KindSealed || p.Leaf.Subject != (chain.Subject{Type: chain.SubjectEvidence, ID: c.evidence}).Opaque() {
		return p, errors.New("它不是这条证据的封存回执")
	}
	if p.Payload != nil {
		s, err := chain.Payload[chain.SealedPayload](p.Payload)
		if err != nil {
			return p, err
		}
		if s.EvidenceID != c.evidence || !bytes.Equal(s.SHA256, c.sha256[:]) || s.Size != c.size() {
			return p, errors.New("它封存的是另一份字节")
		}
	} else {
		return p, errors.New("它没有说明封存了什么")
	}
	r, err := chain.ParseReceipt(text)
	if err != nil {
		return p, err
	}
	own, err := chain.OnlyLog(r.Checkpoint, t.verifier) // the same bytes for everyone, whichever witnesses had signed by then
	if err != nil {
		return p, err
	}
	return p, t.advance(ctx, p.Checkpoint, own)
}

// advance proves a checkpoint consistent with the last one and keeps the later of the two.
func (t *trust) advance(ctx context.Context, c chain.Checkpoint, signed []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen[c] {
		return nil
	}
	if t.note != nil {
		older, newer := t.last, c
		if older.Size > newer.Size {
			older, newer = newer, older
		}
		if err := t.consistent(ctx, older, newer); err != nil {
			return err
		}
	}
	if t.note == nil || c.Size > t.last.Size {
		if err := writeWhole(t.path, signed); err != nil {
			return err
		}
		t.note, t.last = signed, c
	}
	t.seen[c] = true
	return nil
}

func (t *trust) consistent(ctx context.Context, older, newer chain.Checkpoint) error {
	var proof []chain.Hash
	var err error
	if older.Size != newer.Size {
		tiles := chain.Tiles(func(level int, idx int64, width int) ([]byte, error) { return t.tile(ctx, level, idx, width) })
		if proof, err = chain.ProveConsistency(older.Size, newer.Size, newer.Root, tiles); err != nil {
			return fmt.Errorf("核对日志的一致性：%w", err)
		}
	}
	if err := chain.CheckConsistency(proof, older.Size, older.Root, newer.Size, newer.Root); err != nil {
		return fmt.Errorf("日志在 %d 与 %d 之间不是同一部历史，请立即报告：%w", older.Size, newer.Size, err)
	}
	return nil
}

// tile reads one of the log's tiles, as anyone may (C2SP tlog-tiles).
func (t *trust) tile(ctx context.Context, level int, idx int64, width int) (b []byte, err error) {
	err = t.client.call(ctx, http.MethodGet, "/log/"+chain.TilePath(level, idx, width), nil, &b)
	var a *answerError
	if errors.As(err, &a) && a.status == http.StatusNotFound && width < chain.TileWidth {
		// A partial tile may be gone once the full one is there.
		err = t.client.call(ctx, http.MethodGet, "/log/"+chain.TilePath(level, idx, chain.TileWidth), nil, &b)
		b = b[:min(len(b), width*len(chain.Hash{}))]
	}
	return b, err
}
