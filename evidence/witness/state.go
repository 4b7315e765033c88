package witness

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"zhizheng/evidence/chain"
)

// The files in a witness's directory, all of mode 0600. Neither may come back from a backup: a witness with an older memory could be
// made to cosign a second history. A lost directory means a new key.
const (
	keyFile   = "witness.key"
	stateFile = "witness.state"
	lockFile  = "witness.lock"
)

// state is what a witness remembers: of each log its keys and the last tree cosigned.
type state map[string]*entry

type entry struct {
	vkeys []string
	last  chain.Checkpoint
}

func (s state) clone() state {
	out := make(state, len(s))
	for origin, e := range s {
		out[origin] = &entry{slices.Clone(e.vkeys), e.last}
	}
	return out
}

func (s state) checkpoints() []chain.Checkpoint {
	var out []chain.Checkpoint
	for _, origin := range slices.Sorted(maps.Keys(s)) {
		out = append(out, s[origin].last)
	}
	return out
}

const stateHeader = "zhizheng witness state 1"

// text is the state's one spelling: for each log its keys and a checkpoint's body, then a sum over all before it, so that a damaged disk
// isn't taken for an older memory.
func (s state) text() string {
	var b strings.Builder
	b.WriteString(stateHeader + "\n")
	for _, origin := range slices.Sorted(maps.Keys(s)) {
		b.WriteString("\n")
		for _, k := range s[origin].vkeys {
			b.WriteString("key " + k + "\n")
		}
		b.WriteString(s[origin].last.Text())
	}
	sum := sha256.Sum256([]byte(b.String()))
	return b.String() + "\nsum " + hex.EncodeToString(sum[:]) + "\n"
}

func parseState(text string) (state, error) {
	blocks := strings.Split(text, "\n\n")
	s := state{}
	for _, block := range blocks[1:max(1, len(blocks)-1)] {
		e := &entry{}
		for rest, ok := strings.CutPrefix(block, "key "); ok; rest, ok = strings.CutPrefix(block, "key ") {
			var vkey string
			vkey, block, _ = strings.Cut(rest, "\n")
			e.vkeys = append(e.vkeys, vkey)
		}
		var err error
		if e.last, err = chain.ParseCheckpoint(block + "\n"); err != nil {
			return nil, err
		}
		s[e.last.Origin] = e
	}
	if s.text() != text {
		return nil, errors.New("the file is damaged")
	}
	return s, nil
}

func lock(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("another witness holds %s: %w", path, err)
		case <-tick.C:
		}
	}
}

// writeFile replaces a file so that after a crash either the old or the new content is there, whole.
func writeFile(path string, b []byte) error {
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}
