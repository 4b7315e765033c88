package api_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	fmtlog "github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"zhizheng/evidence/chain"
	"zhizheng/internal/pg"
	"zhizheng/internal/testcounty"
	"zhizheng/internal/testenv"
)

// stranger knows the platform's address and nothing else. It reads by C2SP tlog-tiles and tlog-checkpoint with other people's
// libraries: none of the log's own code takes part.
type stranger struct {
	t   *testing.T
	b   *testcounty.Browser
	key note.Verifier
}

func (s *stranger) get(path string) []byte {
	s.t.Helper()
	a := s.b.Get("/log/" + path)
	if a.Status != 200 || a.Header.Get("Access-Control-Allow-Origin") != "*" {
		s.t.Fatalf("%s: %d %v", path, a.Status, a.Header)
	}
	return a.Body
}

// checkpoint waits for one that covers n leaves.
func (s *stranger) checkpoint(n uint64) (cp *fmtlog.Checkpoint) {
	s.t.Helper()
	testenv.Eventually(s.t, 20*time.Second, func() bool {
		var rest []byte
		var err error
		cp, rest, _, err = fmtlog.ParseCheckpoint(s.get("checkpoint"), s.key.Name(), s.key)
		must(s.t, err)
		if len(rest) != 0 {
			s.t.Fatalf("checkpoint with %q behind it", rest)
		}
		return cp.Size >= n
	})
	return cp
}

// index is a tile's number as a path, by C2SP tlog-tiles: groups of three digits, all but the last behind an x.
func index(n uint64) string {
	p := fmt.Sprintf("%03d", n%1000)
	for n /= 1000; n > 0; n /= 1000 {
		p = fmt.Sprintf("x%03d/%s", n%1000, p)
	}
	return p
}

func partial(width uint64) string {
	if width == 256 {
		return ""
	}
	return fmt.Sprintf(".p/%d", width)
}

// ReadTiles lets x/mod read hashes by our addresses, which are C2SP's and not those of the Go checksum database.
func (s *stranger) ReadTiles(tiles []tlog.Tile) (out [][]byte, err error) {
	for _, x := range tiles {
		out = append(out, s.get(fmt.Sprintf("tile/%d/%s%s", x.L, index(uint64(x.N)), partial(uint64(x.W)))))
	}
	return out, nil
}
func (s *stranger) Height() int                     { return 8 }
func (s *stranger) SaveTiles([]tlog.Tile, [][]byte) {}

// entries are all leaves, from the bundles: each a 16-bit length and the bytes.
func (s *stranger) entries(size uint64) (leaves [][]byte) {
	s.t.Helper()
	for n := uint64(0); n*256 < size; n++ {
		width := min(256, size-n*256)
		b := s.get("tile/entries/" + index(n) + partial(width))
		for range width {
			if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b)) {
				s.t.Fatalf("bundle %d ends early", n)
			}
			end := 2 + int(binary.BigEndian.Uint16(b))
			leaves, b = append(leaves, b[2:end]), b[end:]
		}
		if len(b) != 0 {
			s.t.Fatalf("bundle %d: %d bytes more", n, len(b))
		}
	}
	return leaves
}

func TestStrangerVerifiesTheLogWithOtherLibraries(t *testing.T) {
	c := testcounty.New(t)
	more := func(from, to int) {
		must(t, c.Log.Do(t.Context(), func(_ context.Context, tx *pg.Tx) error {
			for i := from; i < to; i++ {
				if err := c.Log.Append(tx, chain.Entry{Key: fmt.Sprint("audit/", i), Kind: chain.KindAudit, Subject: chain.Subject{Type: chain.SubjectPlatform, ID: "platform"},
					Time: time.Now(), Payload: chain.NotePayload{Text: fmt.Sprint("entry ", i), OK: true}}); err != nil {
					return err
				}
			}
			return nil
		}))
	}
	id := c.Seals("DCIM/示例.mp4", testcounty.Bytes(1, 1000))
	more(0, 300)
	s := &stranger{t: t, b: c.Browser()}
	a := s.b.Get("/log/vkey")
	line, rest, ok := strings.Cut(string(a.Body), "\n")
	if !ok || rest != "" || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/plain") {
		t.Fatalf("vkey: %q %v", a.Body, a.Header)
	}
	var err error
	s.key, err = note.NewVerifier(line)
	must(t, err)
	old := s.checkpoint(300)
	more(300, 600)
	cp := s.checkpoint(old.Size + 300)

	// The tree over the entries is the one that was signed, by transparency-dev's compact range.
	leaves := s.entries(cp.Size)
	tree := (&compact.RangeFactory{Hash: rfc6962.DefaultHasher.HashChildren}).NewEmptyRange(0)
	for _, l := range leaves {
		must(t, tree.Append(rfc6962.DefaultHasher.HashLeaf(l), nil))
	}
	root, err := tree.GetRootHash(nil)
	must(t, err)
	if uint64(len(leaves)) != cp.Size || !bytes.Equal(root, cp.Hash) {
		t.Fatalf("root of %d entries: %x, signed %x", len(leaves), root, cp.Hash)
	}
	// Tiles hold the hashes of the entries, and of whole tiles.
	for n := uint64(0); n*256 < cp.Size; n++ {
		width := min(256, cp.Size-n*256)
		tile := s.get("tile/0/" + index(n) + partial(width))
		if len(tile) != int(width)*32 {
			t.Fatalf("tile %d has %d bytes", n, len(tile))
		}
		for i := range width {
			if !bytes.Equal(tile[i*32:i*32+32], rfc6962.DefaultHasher.HashLeaf(leaves[n*256+i])) {
				t.Fatalf("hash %d of tile %d", i, n)
			}
		}
	}
	if upper := s.get(fmt.Sprintf("tile/1/000.p/%d", cp.Size/256)); len(upper) != int(cp.Size/256)*32 {
		t.Fatalf("level 1 has %d bytes", len(upper))
	}
	// Inclusion and consistency: x/mod builds the proofs from the tiles (and checks each tile against the root), merkle verifies them.
	reader := tlog.TileHashReader(tlog.Tree{N: int64(cp.Size), Hash: tlog.Hash(cp.Hash)}, s)
	for _, i := range []uint64{0, 1, 255, 256, 511, 512, cp.Size - 1} {
		p, err := tlog.ProveRecord(int64(cp.Size), int64(i), reader)
		must(t, err)
		must(t, proof.VerifyInclusion(rfc6962.DefaultHasher, i, cp.Size, rfc6962.DefaultHasher.HashLeaf(leaves[i]), hashes(p), cp.Hash))
	}
	p, err := tlog.ProveTree(int64(cp.Size), int64(old.Size), reader)
	must(t, err)
	must(t, proof.VerifyConsistency(rfc6962.DefaultHasher, old.Size, cp.Size, hashes(p), old.Hash, cp.Hash))

	// A receipt is a C2SP tlog-proof: header, lines, an empty line, the checkpoint.
	c.User("li", "officer", testcounty.Donghe)
	receipt := c.SignedIn("li").Get("/api/v1/evidence/" + string(id) + "/receipt")
	head, signed, ok := strings.Cut(string(receipt.Body), "\n\n")
	if receipt.Status != 200 || !ok {
		t.Fatalf("receipt: %d", receipt.Status)
	}
	rc, _, _, err := fmtlog.ParseCheckpoint([]byte(signed), s.key.Name(), s.key)
	must(t, err)
	at, path := proofOf(t, head)
	must(t, proof.VerifyInclusion(rfc6962.DefaultHasher, at, rc.Size, rfc6962.DefaultHasher.HashLeaf(leaves[at]), path, rc.Hash))
}

func hashes[T ~[]tlog.Hash](p T) (out [][]byte) {
	for i := range p {
		out = append(out, p[i][:])
	}
	return out
}

// proofOf reads the head of a tlog-proof.
func proofOf(t *testing.T, head string) (at uint64, path [][]byte) {
	t.Helper()
	lines := strings.Split(head, "\n")
	if lines[0] != "c2sp.org/tlog-proof@v1" {
		t.Fatalf("header %q", lines[0])
	}
	for _, l := range lines[1:] {
		if strings.HasPrefix(l, "extra ") {
			continue
		}
		if n, ok := strings.CutPrefix(l, "index "); ok {
			var err error
			at, err = strconv.ParseUint(n, 10, 64)
			must(t, err)
			continue
		}
		h, err := base64.StdEncoding.DecodeString(l)
		must(t, err)
		path = append(path, h)
	}
	return at, path
}

// Tiles that are complete never change and may be kept; what isn't signed yet isn't shown; nothing else is there.
func TestAddressesOfTheLog(t *testing.T) {
	c := testcounty.New(t)
	c.Seals("a.mp4", []byte("a"))
	s := &stranger{t: t, b: c.Browser()}
	var err error
	s.key, err = note.NewVerifier(strings.TrimSpace(string(s.get("vkey"))))
	must(t, err)
	cp := s.checkpoint(1)
	part := fmt.Sprintf("/log/tile/0/000.p/%d", cp.Size)
	a := s.b.Get(part)
	if a.Status != 200 || !strings.Contains(a.Header.Get("Cache-Control"), "immutable") || a.Header.Get("Content-Type") != "application/octet-stream" {
		t.Errorf("%s: %d %v", part, a.Status, a.Header)
	}
	if h := s.b.Do("HEAD", part, nil); h.Status != 200 || h.Header.Get("Content-Length") != fmt.Sprint(cp.Size*32) || len(h.Body) != 0 {
		t.Errorf("HEAD: %d %v", h.Status, h.Header)
	}
	if a := s.b.Get("/log/checkpoint"); strings.Contains(a.Header.Get("Cache-Control"), "immutable") || !strings.HasPrefix(a.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("checkpoint: %v", a.Header)
	}
	for _, path := range []string{"tile/0/000", "tile/entries/000", "tile/0/000.p/255", "tile/entries/000.p/255", "tile/0/000.p/0", "tile/0/000.p/00" + fmt.Sprint(cp.Size), "tile/0/001.p/1",
		"tile/0/000.p/-1", "tile/0/000.p/+1", "tile/0/x000/000.p/1", "tile/0/0.p/1", "tile/00/000.p/1", "tile/1/000", "tile/64/000", "tile/-1/000", "tile/data/000.p/1", "tile", "tile/", "",
		"checkpoint/", "Checkpoint", "checkpoints/1", "vkey/x", "tile/0/000.p/1/", "tile/0/999999999999999999999.p/1"} {
		if a := s.b.Get("/log/" + path); a.Status != 404 || strings.Contains(a.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%q: %d %v", path, a.Status, a.Header)
		}
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
		if a := s.b.Do(method, "/log/checkpoint", nil); a.Status != 405 {
			t.Errorf("%s: %d", method, a.Status)
		}
	}
	// The public log says nothing about a person: no name of a file, a station, a township in any entry.
	for _, l := range s.entries(cp.Size) {
		for _, secret := range []string{"a.mp4", testcounty.Station, testcounty.Donghe, "甲"} {
			if bytes.Contains(l, []byte(secret)) {
				t.Errorf("an entry tells %q", secret)
			}
		}
	}
}
