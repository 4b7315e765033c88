// Package transcript owns a copy of a whole log in files, and verifies one: no database, no network, no clock, and no trust in anything
// but the keys it is given. It promises that a changed, missing, exchanged or superfluous file of a copy is found and named, and whether the
// copy continues an older checkpoint that somebody kept. It never writes; evlog's Export does.
//
// A copy has the layout of C2SP tlog-tiles, as the server shows it under /log/: see the names below, payloads.go for the one file format
// that is not C2SP's, and verify.go for what is checked.
package transcript

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"zhizheng/evidence/chain"
)

// Files of a copy beside its tiles. A copy fetched from the server may call the second and third as the server does: vkey, policy. The
// copy in the store has no checkpoint, but all of checkpoints/, and no partial hash tiles: they follow from the entries.
const (
	CheckpointName = "checkpoint"   // signed; it covers all the rest
	VKeyName       = "log.vkey"     // all keys of the log, one a line: to check lines of the checkpoint, for comparison only
	WitnessesName  = "witness.vkey" // likewise the witnesses'

	servedVKey, servedPolicy = "vkey", "policy"

	checkpointsDir = "checkpoints"
	tileDir        = "tile"
	payloadsDir    = "tile/payloads"
	entriesDir     = "tile/entries"
)

// PayloadsPath is where the payloads of an entry bundle's leaves lie: tile/payloads/x001/x234/067, beside tile/entries/x001/x234/067.
func PayloadsPath(idx int64, width int) string {
	return payloadsDir + strings.TrimPrefix(chain.EntriesPath(idx, width), entriesDir)
}

// payloadsLevel stands beside chain.EntriesLevel for the files of payloads.
const payloadsLevel = -2

// Tile is a file below tile/: level is that of the tree, or one of the two above.
type tile struct {
	level int
	idx   int64
	width int
}

func (t tile) path() string {
	switch t.level {
	case payloadsLevel:
		return PayloadsPath(t.idx, t.width)
	case chain.EntriesLevel:
		return chain.EntriesPath(t.idx, t.width)
	}
	return chain.TilePath(t.level, t.idx, t.width)
}

// parseTile reads a path in its one spelling.
func parseTile(name string) (t tile, err error) {
	rest, payloads := strings.CutPrefix(name, payloadsDir+"/")
	if payloads {
		name = entriesDir + "/" + rest
	}
	if t.level, t.idx, t.width, err = chain.ParseTilePath(name); err == nil && payloads {
		t.level = payloadsLevel
	}
	return t, err
}

// widest is the width that a tile has in a tree of that size: 256, less at the edge, 0 if the tree doesn't reach it.
func widest(level int, idx, size int64) int {
	level = max(level, 0) // entries and payloads lie on leaf level
	return int(max(0, min(chain.TileWidth, size>>(chain.TileHeight*level)-idx*chain.TileWidth)))
}

// Superfluous says of a file below tile/ that a copy of that size can do without it: a partial tile that a wider one replaced.
func Superfluous(name string, size int64) bool {
	t, err := parseTile(name)
	return err == nil && t.width < widest(t.level, t.idx, size)
}

// checkpointSize reads the name of a file in checkpoints/: 19 digits.
func checkpointSize(name string) (int64, error) {
	size, err := strconv.ParseInt(path.Base(name), 10, 64)
	if err != nil || fmt.Sprintf("%019d", size) != path.Base(name) {
		return 0, errors.New("its name is no number of leaves")
	}
	return size, nil
}
