package chain

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// Tiles are eight levels high (C2SP tlog-tiles).
const (
	TileHeight = 8
	TileWidth  = 1 << TileHeight
)

// TilePath is where a hash tile lies beneath the log's address: tile/0/x001/x234/067 or, partial, tile/0/000.p/17.
func TilePath(level int, idx int64, width int) string {
	return "tile/" + strconv.Itoa(level) + "/" + tileNumber(idx, width)
}

// EntriesPath is where an entry bundle lies: tile/entries/x001/x234/067.
func EntriesPath(idx int64, width int) string { return "tile/entries/" + tileNumber(idx, width) }

func tileNumber(idx int64, width int) string {
	s := fmt.Sprintf("%03d", idx%1000)
	for idx /= 1000; idx > 0; idx /= 1000 {
		s = fmt.Sprintf("x%03d/", idx%1000) + s
	}
	if width != TileWidth {
		s += ".p/" + strconv.Itoa(width)
	}
	return s
}

// EntriesLevel stands for the entry bundles in ParseTilePath.
const EntriesLevel = -1

// ParseTilePath reads a path that TilePath or EntriesPath wrote, in that one spelling only.
func ParseTilePath(path string) (level int, idx int64, width int, err error) {
	bad := fmt.Errorf("%q is no tile", path)
	rest, ok := strings.CutPrefix(path, "tile/")
	if !ok {
		return 0, 0, 0, bad
	}
	first, rest, ok := strings.Cut(rest, "/")
	if !ok {
		return 0, 0, 0, bad
	}
	if first == "entries" {
		level = EntriesLevel
	} else if level, err = strconv.Atoi(first); err != nil || level < 0 || level > 7 {
		return 0, 0, 0, bad
	}
	width = TileWidth
	if num, w, partial := strings.Cut(rest, ".p/"); partial {
		rest = num
		if width, err = strconv.Atoi(w); err != nil || width < 1 || width >= TileWidth {
			return 0, 0, 0, bad
		}
	}
	for _, group := range strings.Split(rest, "/") {
		n, err := strconv.ParseUint(strings.TrimPrefix(group, "x"), 10, 16)
		if err != nil || n > 999 || idx > (1<<40) {
			return 0, 0, 0, bad
		}
		idx = idx*1000 + int64(n)
	}
	again := TilePath(level, idx, width)
	if level == EntriesLevel {
		again = EntriesPath(idx, width)
	}
	if again != path {
		return 0, 0, 0, bad
	}
	return level, idx, width, nil
}

// TileRoot is the root over a full tile's 256 hashes: one hash of the tile above.
func TileRoot(hashes []byte) (Hash, error) {
	hs, err := Split(hashes)
	if err != nil || len(hs) != TileWidth {
		return Hash{}, fmt.Errorf("a full tile has %d hashes, this one %d bytes", TileWidth, len(hashes))
	}
	return FoldTile(hs), nil
}

// FoldTile is TileRoot of 256 hashes, which it overwrites.
func FoldTile(hs []Hash) Hash {
	for len(hs) > 1 {
		for i := range len(hs) / 2 {
			hs[i] = tlog.NodeHash(hs[2*i], hs[2*i+1])
		}
		hs = hs[:len(hs)/2]
	}
	return hs[0]
}

// AppendBundle adds an entry to an entry bundle: two bytes of length, then the leaf.
func AppendBundle(bundle, leaf []byte) []byte {
	bundle = append(bundle, byte(len(leaf)>>8), byte(len(leaf)))
	return append(bundle, leaf...)
}

// SplitBundle reads an entry bundle.
func SplitBundle(b []byte) ([][]byte, error) {
	var out [][]byte
	for len(b) > 0 {
		if len(b) < 2 {
			return nil, fmt.Errorf("entry bundle ends inside a length")
		}
		n := int(b[0])<<8 | int(b[1])
		if len(b) < 2+n {
			return nil, fmt.Errorf("entry bundle ends inside an entry")
		}
		out = append(out, b[2:2+n])
		b = b[2+n:]
	}
	return out, nil
}
