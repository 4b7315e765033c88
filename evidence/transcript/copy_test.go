package transcript_test

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/fstest"
	"time"

	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/transcript"
)

// county is a log that is not in a database: its leaves, and keys to sign with.
type county struct {
	t          testing.TB
	skey, vkey string
	witness    *chain.Cosigner
	leaves     [][]byte
	openings   [][]byte // salt and payload, nil once erased
	heads      map[chain.Subject]int
	counters   map[chain.Subject]uint64
}

func newCounty(t testing.TB, leaves int) *county {
	t.Helper()
	c := &county{t: t, heads: map[chain.Subject]int{}, counters: map[chain.Subject]uint64{}}
	var err error
	c.skey, c.vkey, err = note.GenerateKey(rand.Reader, "test.zhizheng.local/log")
	ok(t, err)
	w, err := chain.GenerateCosigner(rand.Reader, "court.witness.test")
	ok(t, err)
	c.witness, err = chain.NewCosigner(w)
	ok(t, err)
	c.grow(leaves)
	return c
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (c *county) grow(leaves int) {
	for range leaves {
		n := len(c.leaves)
		body := sha256.Sum256([]byte(strconv.Itoa(n)))
		c.add(chain.KindViewed, chain.Subject{Type: chain.SubjectEvidence, ID: fmt.Sprint("item", n*7%(1+n/4+5))},
			chain.CustodyPayload{EvidenceID: fmt.Sprintf("%x", body[:13]), Actor: fmt.Sprintf("%x", body[13:]), Reason: "案件需要"})
	}
}

func (c *county) add(k chain.Kind, s chain.Subject, payload any) {
	p, err := chain.EncodePayload(payload)
	ok(c.t, err)
	salt := sha256.Sum256([]byte("salt" + strconv.Itoa(len(c.leaves))))
	c.counters[s]++
	l := chain.Leaf{Version: chain.Version, Kind: k, Subject: s.Opaque(), Counter: c.counters[s], TimeMS: 1_760_000_000_000 + int64(len(c.leaves)), Commitment: chain.Commitment(salt[:], p)}
	if i, known := c.heads[s]; known {
		l.Prev = chain.LeafHash(c.leaves[i])
	}
	b, err := l.Encode()
	ok(c.t, err)
	c.heads[s] = len(c.leaves)
	c.leaves, c.openings = append(c.leaves, b), append(c.openings, append(salt[:], p...))
}

// erase erases what a statement then names.
func (c *county) erase(seqs ...uint64) {
	c.add(chain.KindErased, chain.Subject{Type: chain.SubjectPlatform, ID: "erasure"}, chain.ErasedPayload{Leaves: seqs, Actor: "u1", Reason: "test"})
	for _, s := range seqs {
		c.openings[s] = nil
	}
}

func (c *county) trust() chain.Policy { return chain.LogPolicy(c.vkey) }

// witnessed is a policy that asks for the witness.
func (c *county) witnessed() chain.Policy {
	p := c.trust()
	p.Witnesses, p.Rule = []chain.PolicyWitness{{Name: "court", VKey: c.witness.VKey()}}, "court"
	return p
}

// signed is the checkpoint of the first leaves, cosigned.
func (c *county) signed(size int) []byte {
	var e chain.Edge
	for _, l := range c.leaves[:size] {
		e.Append(chain.LeafHash(l))
	}
	text := chain.Checkpoint{Origin: "test.zhizheng.local/log", Size: int64(size), Root: e.Root()}.Text()
	s, err := note.NewSigner(c.skey)
	ok(c.t, err)
	b, err := note.Sign(&note.Note{Text: text}, s)
	ok(c.t, err)
	return append(b, c.witness.Cosign(text, time.Unix(1_760_000_000, 0))...)
}

// files is the copy of a size, as Export writes it.
func (c *county) files(size int, content bool) map[string][]byte {
	out := map[string][]byte{
		transcript.CheckpointName: c.signed(size), transcript.VKeyName: []byte(c.vkey + "\n"), transcript.WitnessesName: []byte(c.witness.VKey() + "\n"),
	}
	var below []chain.Hash
	for i, l := range c.leaves[:size] {
		below = append(below, chain.LeafHash(l))
		idx := int64(i / chain.TileWidth)
		width := min(chain.TileWidth, size-int(idx)*chain.TileWidth)
		entries, payloads := chain.EntriesPath(idx, width), transcript.PayloadsPath(idx, width)
		out[entries] = chain.AppendBundle(out[entries], l)
		if o := c.openings[i]; content {
			out[payloads] = transcript.AppendPayload(out[payloads], o[:min(32, len(o))], o[min(32, len(o)):])
		}
	}
	for level := 0; len(below) > 0; level++ {
		var above []chain.Hash
		for i := 0; i < len(below); i += chain.TileWidth {
			hs := below[i:min(i+chain.TileWidth, len(below))]
			out[chain.TilePath(level, int64(i/chain.TileWidth), len(hs))] = chain.Join(hs)
			if len(hs) == chain.TileWidth {
				root, err := chain.TileRoot(chain.Join(hs))
				ok(c.t, err)
				above = append(above, root)
			}
		}
		below = above
	}
	return out
}

func inMemory(files map[string][]byte) fstest.MapFS {
	m := fstest.MapFS{}
	for name, b := range files {
		m[name] = &fstest.MapFile{Data: b}
	}
	return m
}

func onDisk(t testing.TB, files map[string][]byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, b := range files {
		p := filepath.Join(dir, filepath.FromSlash(name))
		ok(t, os.MkdirAll(filepath.Dir(p), 0o755))
		ok(t, os.WriteFile(p, b, 0o600))
	}
	return dir
}

func verifier(t testing.TB, vkey string) note.Verifier {
	t.Helper()
	v, err := chain.NewVerifier(vkey)
	ok(t, err)
	return v
}
