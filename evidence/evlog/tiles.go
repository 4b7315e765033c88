package evlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/internal/db"
)

// tileReader reads tiles of a tree of size leaves: full ones as stored, partial ones from what lies below. It keeps what it read,
// since neighbouring proofs share their tiles.
type tileReader struct {
	ctx  context.Context
	q    *db.Queries
	size int64
	err  error // a failure of the database, as opposed to damage

	kept map[tileName][]byte
}

type tileName struct {
	level int
	idx   int64
	width int
}

// errNoTile says that the tree has no such tile yet.
var errNoTile = errors.New("no such tile")

func (t *tileReader) read(level int, idx int64, width int) ([]byte, error) {
	name := tileName{level, idx, width}
	if b, ok := t.kept[name]; ok {
		return b, nil
	}
	b, err := t.fetch(name)
	if err != nil {
		return nil, err
	}
	if t.kept == nil || len(t.kept) >= 1024 { // 8 MB at most
		t.kept = map[tileName][]byte{}
	}
	t.kept[name] = b
	return b, nil
}

// covered says whether the tree's leaves reach that far.
func (n tileName) covered(size int64) bool {
	level := max(n.level, 0) // entry bundles lie on leaf level
	return n.idx < size && n.idx*chain.TileWidth+int64(n.width) <= size>>(chain.TileHeight*level)
}

func (t *tileReader) fetch(n tileName) ([]byte, error) {
	if !n.covered(t.size) {
		return nil, errNoTile
	}
	if n.width == chain.TileWidth {
		b, err := t.q.TileHashes(t.ctx, db.TileHashesParams{Level: int16(n.level), Idx: n.idx})
		if errors.Is(err, pgx.ErrNoRows) {
			return nil, fmt.Errorf("tile %s is missing", chain.TilePath(n.level, n.idx, n.width))
		}
		return b, t.note(err)
	}
	first := n.idx * chain.TileWidth
	past := first + int64(n.width)
	var parts [][]byte
	var err error
	if n.level == 0 {
		parts, err = t.q.LeafHashes(t.ctx, db.LeafHashesParams{First: first, Past: past})
	} else {
		parts, err = t.q.TileRoots(t.ctx, db.TileRootsParams{Level: int16(n.level - 1), First: first, Past: past})
	}
	if err != nil {
		return nil, t.note(err)
	}
	if len(parts) != n.width {
		return nil, fmt.Errorf("tile %s: %d hashes are there", chain.TilePath(n.level, n.idx, n.width), len(parts))
	}
	return bytes.Join(parts, nil), nil
}

func (t *tileReader) note(err error) error {
	if err != nil {
		t.err = err
	}
	return err
}
