package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/chain"
)

// account is where every byte went.
type account struct {
	made, sealed, refused tally
	leaves                int64
	last                  map[chain.Kind]time.Time // by the log
	problems              []string
}

type tally struct{ files, bytes int64 }

func (t *tally) add(c clip) { t.files, t.bytes = t.files+1, t.bytes+c.size }

// reckon compares what was made with what the agents said, what the receipts prove by the key that stations were given, and the log as
// anyone may read it: each file is sealed under one leaf, that leaf is in the log, and no record is sealed twice.
func reckon(ctx context.Context, server string, dockings []*docking) (*account, error) {
	a := &account{}
	sealing := map[string]chain.Proven{} // by recorder and digest
	counted := map[string]bool{}
	for _, d := range dockings {
		keys, err := pinned(d.identity)
		if err != nil {
			return nil, err
		}
		for _, c := range d.clips {
			id := d.serial + " " + c.sha
			first := !counted[id]
			if counted[id] = true; first {
				a.made.add(c)
			}
			l, said := d.lines[c.name]
			switch {
			case !said:
				a.problem("%s：采集程序没有说它怎样了", c.name)
			case d.refused && l.Status == "rejected" && l.Evidence == "":
				a.refused.add(c)
			case d.refused:
				a.problem("%s：密钥未登记，却是 %s", c.name, l.Status)
			default:
				p, err := proven(l, c, keys)
				if err != nil {
					a.problem("%s：%v", c.name, err)
					continue
				}
				if other, known := sealing[id]; known && other.Index != p.Index {
					a.problem("%s：有两页封存，%d 与 %d", c.name, other.Index, p.Index)
				} else if !known {
					sealing[id] = p
					a.sealed.add(c)
				}
			}
		}
	}
	if err := a.readLog(ctx, server, dockings[0].identity, sealing); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *account) problem(text string, args ...any) {
	a.problems = append(a.problems, fmt.Sprintf(text, args...))
}

// pinned are the log's keys as a station was given them.
func pinned(identity string) (note.Verifier, error) {
	var id struct {
		VKey string `json:"vkey"`
	}
	b, err := os.ReadFile(filepath.Join(identity, "station.json"))
	if err == nil {
		err = json.Unmarshal(b, &id)
	}
	if err != nil {
		return nil, err
	}
	keys, err := chain.ParseKeys(id.VKey)
	return keys.Lenient(), err
}

// proven checks that a line is true of a clip, by its receipt.
func proven(l line, c clip, keys note.Verifier) (p chain.Proven, err error) {
	if l.Status != "sealed" && l.Status != "duplicate" {
		return p, fmt.Errorf("没有封存：%s %s", l.Status, l.Error)
	}
	if l.SHA256 != c.sha || l.Size != c.size || l.Leaf == nil {
		return p, fmt.Errorf("说的是另一份字节：%s，%d 字节", l.SHA256, l.Size)
	}
	text, err := os.ReadFile(l.Receipt)
	if err != nil {
		return p, err
	}
	if p, err = chain.VerifyReceiptByLog(text, keys); err != nil {
		return p, fmt.Errorf("回执：%w", err)
	}
	if p.Leaf.Kind != chain.KindSealed || p.Index != *l.Leaf || p.Leaf.Subject != (chain.Subject{Type: chain.SubjectEvidence, ID: l.Evidence}).Opaque() {
		return p, fmt.Errorf("回执是第 %d 页的，不是这条证据的封存", p.Index)
	}
	s, err := chain.Payload[chain.SealedPayload](p.Payload)
	if err != nil {
		return p, fmt.Errorf("回执：%w", err)
	}
	if hex.EncodeToString(s.SHA256) != c.sha || s.Size != c.size || s.EvidenceID != l.Evidence {
		return p, fmt.Errorf("回执封存的是另一份字节：%x，%d 字节", s.SHA256, s.Size)
	}
	return p, nil
}

// readLog reads every leaf and finds the sealings among them.
func (a *account) readLog(ctx context.Context, server, identity string, sealing map[string]chain.Proven) error {
	keys, err := pinned(identity)
	if err != nil {
		return err
	}
	roots := map[int64]chain.Hash{} // that receipts were given under
	leaves := map[int64]chain.Hash{}
	for _, p := range sealing {
		roots[p.Checkpoint.Size], leaves[p.Index] = p.Checkpoint.Root, p.LeafHash
	}
	log, err := readPublic(ctx, server, keys, func(e chain.Edge, h chain.Hash) {
		if root, asked := roots[e.Size]; asked && e.Root() != root {
			a.problem("回执所依的存证点（%d 页）与公开的日志不是同一部历史", e.Size)
		}
		if want, asked := leaves[e.Size-1]; asked && h != want {
			a.problem("公开日志的第 %d 页不是回执所示", e.Size-1)
		}
	})
	if err != nil {
		return err
	}
	a.leaves, a.last = log.size, log.last
	for id, p := range sealing {
		if n := log.seals[p.Leaf.Subject]; n != 1 {
			a.problem("%s 封存了 %d 次", id, n)
		}
	}
	return nil
}

// publicLog is what anyone may know of the log.
type publicLog struct {
	size  int64
	seals map[chain.SubjectID]int
	last  map[chain.Kind]time.Time // of each kind
}

// readPublic reads the log from its first leaf to its checkpoint, whose root must be that of the leaves. each sees the tree as it grows.
func readPublic(ctx context.Context, server string, keys note.Verifier, each func(e chain.Edge, leaf chain.Hash)) (l publicLog, err error) {
	signed, err := get(ctx, server+"/log/checkpoint")
	if err != nil {
		return l, err
	}
	cp, err := chain.OpenByLog(signed, keys)
	if err != nil {
		return l, err
	}
	l = publicLog{cp.Size, map[chain.SubjectID]int{}, map[chain.Kind]time.Time{}}
	var edge chain.Edge
	for idx := int64(0); edge.Size < cp.Size; idx++ {
		width := int(min(chain.TileWidth, cp.Size-edge.Size))
		b, err := get(ctx, server+"/log/"+chain.EntriesPath(idx, width))
		if errors.Is(err, errNotThere) { // a partial bundle may be gone once the full one is there
			b, err = get(ctx, server+"/log/"+chain.EntriesPath(idx, chain.TileWidth))
		}
		if err != nil {
			return l, err
		}
		entries, err := chain.SplitBundle(b)
		if err != nil {
			return l, err
		}
		if len(entries) < width {
			return l, fmt.Errorf("公开日志的第 %d 捆只有 %d 页", idx, len(entries))
		}
		for _, e := range entries[:width] {
			leaf, err := chain.DecodeLeaf(e)
			if err != nil {
				return l, err
			}
			if leaf.Kind == chain.KindSealed {
				l.seals[leaf.Subject]++
			}
			if t := leaf.Time(); t.After(l.last[leaf.Kind]) {
				l.last[leaf.Kind] = t
			}
			h := chain.LeafHash(e)
			edge.Append(h)
			each(edge, h)
		}
	}
	if edge.Root() != cp.Root {
		return l, fmt.Errorf("公开日志 %d 页的根与存证点不符", cp.Size)
	}
	return l, nil
}

var errNotThere = errors.New("没有")

func get(ctx context.Context, address string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	switch {
	case err != nil:
		return nil, err
	case res.StatusCode == http.StatusNotFound:
		return nil, fmt.Errorf("%s %w", address, errNotThere)
	case res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s：%s", address, res.Status)
	}
	return b, nil
}

// tell prints the account; an error means that it doesn't come out even.
func (a *account) tell(out io.Writer) error {
	missing := tally{a.made.files - a.sealed.files - a.refused.files, a.made.bytes - a.sealed.bytes - a.refused.bytes}
	fmt.Fprintf(out, "对账\n")
	for _, row := range []struct {
		what string
		tally
		note string
	}{{"造出", a.made, ""}, {"封存", a.sealed, "回执核对无误"}, {"拒收", a.refused, "密钥未登记，应当拒收"}, {"没有着落", missing, ""}} {
		fmt.Fprintf(out, "  %s\t%d 段\t%d 字节\t%s\n", row.what, row.files, row.bytes, row.note)
	}
	fmt.Fprintf(out, "  公开日志 %d 页，从第一页重算的根与存证点相符\n", a.leaves)
	slices.Sort(a.problems)
	for _, p := range a.problems {
		fmt.Fprintf(out, "✗ %s\n", p)
	}
	if len(a.problems) > 0 || missing != (tally{}) {
		return fmt.Errorf("%d 处不符", max(len(a.problems), 1))
	}
	fmt.Fprintln(out, "✓ 每个字节都有着落，每段恰好封存一次")
	return nil
}
