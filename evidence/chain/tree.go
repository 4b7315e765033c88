package chain

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"
)

// Hash is a node of the tree (RFC 6962 §2.1): SHA-256(0x00 ‖ leaf) or SHA-256(0x01 ‖ left ‖ right).
type Hash = tlog.Hash

// LeafHash hashes a leaf's exact bytes.
func LeafHash(leaf []byte) Hash { return tlog.RecordHash(leaf) }

// Edge is the right edge of a tree: the roots of the complete subtrees that make it up, largest first. It is all that appending
// needs to know of the past.
type Edge struct {
	Size   int64
	Hashes []Hash
}

// Append adds a leaf's hash.
func (e *Edge) Append(h Hash) {
	for n := e.Size; n&1 == 1; n >>= 1 {
		last := len(e.Hashes) - 1
		h = tlog.NodeHash(e.Hashes[last], h)
		e.Hashes = e.Hashes[:last]
	}
	e.Hashes = append(e.Hashes, h)
	e.Size++
}

// Root is the tree's root; of an empty tree the hash of nothing.
func (e *Edge) Root() Hash {
	if len(e.Hashes) == 0 {
		return sha256.Sum256(nil)
	}
	h := e.Hashes[len(e.Hashes)-1]
	for i := len(e.Hashes) - 2; i >= 0; i-- {
		h = tlog.NodeHash(e.Hashes[i], h)
	}
	return h
}

// Bytes is the edge as stored: its hashes one after another.
func (e *Edge) Bytes() []byte { return Join(e.Hashes) }

// ParseEdge reads a stored edge back; a tree of that size has as many roots as its size has set bits.
func ParseEdge(size int64, b []byte) (Edge, error) {
	hs, err := Split(b)
	if err != nil {
		return Edge{}, fmt.Errorf("read edge: %w", err)
	}
	n := 0
	for s := size; s > 0; s &= s - 1 {
		n++
	}
	if size < 0 || n != len(hs) {
		return Edge{}, fmt.Errorf("read edge: %d hashes for a tree of %d", len(hs), size)
	}
	return Edge{Size: size, Hashes: hs}, nil
}

// Join puts hashes one after another.
func Join(hs []Hash) []byte {
	b := make([]byte, 0, len(hs)*tlog.HashSize)
	for _, h := range hs {
		b = append(b, h[:]...)
	}
	return b
}

// Split is the inverse of Join.
func Split(b []byte) ([]Hash, error) {
	if len(b)%tlog.HashSize != 0 {
		return nil, fmt.Errorf("%d bytes are no whole number of hashes", len(b))
	}
	hs := make([]Hash, len(b)/tlog.HashSize)
	for i := range hs {
		copy(hs[i][:], b[i*tlog.HashSize:])
	}
	return hs, nil
}

// Tiles reads hash tiles: width hashes of 32 bytes, those numbered idx*256 … at tree level 8*level. Width is 256 unless the
// tree ends inside the tile.
type Tiles func(level int, idx int64, width int) ([]byte, error)

func (t Tiles) Height() int { return TileHeight }

func (t Tiles) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, x := range tiles {
		b, err := t(x.L, x.N, x.W)
		if err != nil {
			return nil, err
		}
		if len(b) != x.W*tlog.HashSize {
			return nil, fmt.Errorf("tile %s has %d bytes", TilePath(x.L, x.N, x.W), len(b))
		}
		out[i] = b
	}
	return out, nil
}

func (t Tiles) SaveTiles([]tlog.Tile, [][]byte) {}

// ProveInclusion proves leaf index in the tree of that size and root. Every tile read is checked against root first, so a proof
// from damaged tiles fails here and not at the verifier's.
func ProveInclusion(index, size int64, root Hash, t Tiles) ([]Hash, error) {
	if index < 0 || index >= size {
		return nil, fmt.Errorf("prove leaf %d in a tree of %d: outside", index, size)
	}
	r := tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, t)
	p, err := tlog.ProveRecord(size, index, r)
	if err != nil {
		return nil, fmt.Errorf("prove leaf %d in a tree of %d: %w", index, size, err)
	}
	return p, nil
}

// CheckInclusion checks such a proof.
func CheckInclusion(proof []Hash, index, size int64, root, leaf Hash) error {
	return tlog.CheckRecord(proof, size, root, index, leaf)
}

// ProveConsistency proves that the tree of size old is the beginning of the tree (size, root). From an empty tree the proof is empty.
func ProveConsistency(old, size int64, root Hash, t Tiles) ([]Hash, error) {
	if old < 0 || old > size {
		return nil, fmt.Errorf("prove a tree of %d within one of %d: outside", old, size)
	}
	if old == 0 || old == size {
		return nil, nil
	}
	r := tlog.TileHashReader(tlog.Tree{N: size, Hash: root}, t)
	p, err := tlog.ProveTree(size, old, r)
	if err != nil {
		return nil, fmt.Errorf("prove a tree of %d within one of %d: %w", old, size, err)
	}
	return p, nil
}

// CheckConsistency checks that (old, oldRoot) is the beginning of (size, root).
func CheckConsistency(proof []Hash, old int64, oldRoot Hash, size int64, root Hash) error {
	switch {
	case old < 0 || size < old:
		return fmt.Errorf("a tree of %d can't begin with one of %d", size, old)
	case old == 0 && len(proof) == 0:
		return nil
	case old == size && len(proof) == 0:
		if oldRoot != root {
			return fmt.Errorf("two trees of %d with different roots", size)
		}
		return nil
	case old == 0 || old == size:
		return errors.New("a proof where none is needed")
	}
	return tlog.CheckTree(proof, size, root, old, oldRoot)
}

// RootFromTiles reckons the root of a tree from the partial tiles at its right edge. It takes them as they are: compare the result.
func RootFromTiles(size int64, t Tiles) (Hash, error) {
	e := Edge{}
	root, has := Hash{}, false
	for level := 0; size > 0; level++ {
		if w := int(size % TileWidth); w > 0 {
			b, err := t(level, size/TileWidth, w)
			if err != nil {
				return Hash{}, err
			}
			hs, err := Split(b)
			if err != nil || len(hs) != w {
				return Hash{}, fmt.Errorf("tile %s has %d bytes", TilePath(level, size/TileWidth, w), len(b))
			}
			e = Edge{}
			for _, h := range hs {
				e.Append(h)
			}
			if has {
				e.Hashes = append(e.Hashes, root)
			}
			root, has = e.Root(), true
		}
		size /= TileWidth
	}
	if !has {
		return e.Root(), nil
	}
	return root, nil
}
