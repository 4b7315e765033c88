package chain_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"

	"zhizheng/evidence/chain"
)

// memoryTree keeps the tiles of a tree of numbered leaves.
type memoryTree struct {
	edge  chain.Edge
	sizes []chain.Hash // root after each append
	level [][]chain.Hash
}

func grow(n int) *memoryTree {
	m := &memoryTree{}
	for i := range n {
		h := chain.LeafHash(leafBytes(i))
		m.edge.Append(h)
		m.sizes = append(m.sizes, m.edge.Root())
		m.add(0, h)
	}
	return m
}

func leafBytes(i int) []byte { return fmt.Appendf(nil, "leaf %d", i) }

func (m *memoryTree) add(level int, h chain.Hash) {
	if level == len(m.level) {
		m.level = append(m.level, nil)
	}
	m.level[level] = append(m.level[level], h)
	if n := len(m.level[level]); n%chain.TileWidth == 0 {
		root, err := chain.TileRoot(chain.Join(m.level[level][n-chain.TileWidth:]))
		if err != nil {
			panic(err)
		}
		m.add(level+1, root)
	}
}

func (m *memoryTree) tiles(level int, idx int64, width int) ([]byte, error) {
	first := int(idx) * chain.TileWidth
	if level >= len(m.level) || first+width > len(m.level[level]) {
		return nil, fmt.Errorf("no tile %d/%d of %d", level, idx, width)
	}
	return chain.Join(m.level[level][first : first+width]), nil
}

func partsOf(hs []chain.Hash) [][]byte {
	out := make([][]byte, len(hs))
	for i := range hs {
		out[i] = hs[i][:]
	}
	return out
}

// Our tree, x/mod's proofs over our tiles, and transparency-dev's verifier agree on any tree and any pair of sizes.
func TestTreeAgainstTwoOthers(t *testing.T) {
	const most = 70000 // crosses the border of a tile of level 1
	m := grow(most)
	h := rfc6962.DefaultHasher
	rapid.Check(t, func(r *rapid.T) {
		size := rapid.Int64Range(1, most).Draw(r, "size")
		old := rapid.Int64Range(1, size).Draw(r, "old")
		index := rapid.Int64Range(0, size-1).Draw(r, "index")
		root := m.sizes[size-1]
		if got, err := chain.RootFromTiles(size, m.tiles); err != nil || got != root {
			r.Fatalf("root from tiles: %v", err)
		}
		in, err := chain.ProveInclusion(index, size, root, m.tiles)
		if err != nil {
			r.Fatal(err)
		}
		leaf := chain.LeafHash(leafBytes(int(index)))
		if err := chain.CheckInclusion(in, index, size, root, leaf); err != nil {
			r.Fatal(err)
		}
		if err := proof.VerifyInclusion(h, uint64(index), uint64(size), leaf[:], partsOf(in), root[:]); err != nil {
			r.Fatal(err)
		}
		con, err := chain.ProveConsistency(old, size, root, m.tiles)
		if err != nil {
			r.Fatal(err)
		}
		oldRoot := m.sizes[old-1]
		if err := chain.CheckConsistency(con, old, oldRoot, size, root); err != nil {
			r.Fatal(err)
		}
		if err := proof.VerifyConsistency(h, uint64(old), uint64(size), partsOf(con), oldRoot[:], root[:]); err != nil {
			r.Fatal(err)
		}
		if len(con) > 0 {
			i := rapid.IntRange(0, len(con)-1).Draw(r, "hash")
			con[i][rapid.IntRange(0, 31).Draw(r, "byte")] ^= 1 << rapid.IntRange(0, 7).Draw(r, "bit")
			if chain.CheckConsistency(con, old, oldRoot, size, root) == nil {
				r.Fatal("a flipped bit in a consistency proof was accepted")
			}
		}
	})
}

func TestConsistencyAtTheEdges(t *testing.T) {
	m := grow(3)
	root, empty := m.sizes[2], (&chain.Edge{}).Root()
	if err := chain.CheckConsistency(nil, 0, empty, 3, root); err != nil {
		t.Error(err)
	}
	if err := chain.CheckConsistency(nil, 3, root, 3, root); err != nil {
		t.Error(err)
	}
	if chain.CheckConsistency(nil, 3, m.sizes[1], 3, root) == nil || chain.CheckConsistency(nil, 3, root, 2, m.sizes[1]) == nil ||
		chain.CheckConsistency(nil, 2, m.sizes[1], 3, root) == nil {
		t.Error("a fork was accepted")
	}
	if !bytes.Equal(empty[:], rfc6962.DefaultHasher.EmptyRoot()) {
		t.Error("root of the empty tree")
	}
}

func TestEdgeReadsBack(t *testing.T) {
	m := grow(1000)
	e, err := chain.ParseEdge(m.edge.Size, m.edge.Bytes())
	if err != nil || e.Root() != m.edge.Root() {
		t.Fatal(err)
	}
	if _, err := chain.ParseEdge(999, m.edge.Bytes()); err == nil {
		t.Error("an edge of another size was accepted")
	}
}

func TestTilePaths(t *testing.T) {
	for _, c := range []struct {
		level int
		idx   int64
		width int
		path  string
	}{
		{0, 0, 256, "tile/0/000"},
		{1, 67, 3, "tile/1/067.p/3"},
		{0, 1234067, 256, "tile/0/x001/x234/067"},
		{5, 1000, 1, "tile/5/x001/000.p/1"},
		{chain.EntriesLevel, 1234067, 17, "tile/entries/x001/x234/067.p/17"},
	} {
		path := chain.TilePath(c.level, c.idx, c.width)
		if c.level == chain.EntriesLevel {
			path = chain.EntriesPath(c.idx, c.width)
		}
		if path != c.path {
			t.Errorf("%s instead of %s", path, c.path)
		}
		if l, i, w, err := chain.ParseTilePath(c.path); err != nil || l != c.level || i != c.idx || w != c.width {
			t.Errorf("%s reads as %d %d %d, %v", c.path, l, i, w, err)
		}
	}
}

func TestBundles(t *testing.T) {
	var b []byte
	for i := range 3 {
		b = chain.AppendBundle(b, leafBytes(i))
	}
	got, err := chain.SplitBundle(b)
	if err != nil || len(got) != 3 || tlog.RecordHash(got[2]) != chain.LeafHash(leafBytes(2)) {
		t.Fatal(err)
	}
	for _, cut := range []int{1, len(b) - 1} {
		if _, err := chain.SplitBundle(b[:cut]); err == nil {
			t.Errorf("bundle cut at %d was accepted", cut)
		}
	}
}

// Ten thousand random leaves of random trees: transparency-dev's verifier accepts each proof, and refuses it for the leaf beside.
func TestTenThousandPairs(t *testing.T) {
	const most = 70000
	m := grow(most)
	h := rfc6962.DefaultHasher
	r := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		size := 1 + r.Int64N(most)
		index := r.Int64N(size)
		root := m.sizes[size-1]
		p, err := chain.ProveInclusion(index, size, root, m.tiles)
		if err != nil {
			t.Fatal(err)
		}
		leaf := chain.LeafHash(leafBytes(int(index)))
		if err := proof.VerifyInclusion(h, uint64(index), uint64(size), leaf[:], partsOf(p), root[:]); err != nil {
			t.Fatalf("leaf %d of %d: %v", index, size, err)
		}
		if size > 1 && proof.VerifyInclusion(h, uint64((index+1)%size), uint64(size), leaf[:], partsOf(p), root[:]) == nil {
			t.Fatalf("leaf %d of %d is also its neighbour", index, size)
		}
	}
}
