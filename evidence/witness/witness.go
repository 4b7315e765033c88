// Package witness owns the C2SP tlog-witness protocol, both sides: a witness that cosigns the checkpoints of logs it knows, and the
// question to one. It promises that a witness puts its name to one history of a log only: what it cosigns continues what it cosigned
// before, and that memory is on disk before the cosignature is made. It needs no database, and it reads no leaf: it vouches for
// consistency, not for content.
//
// Read witness.go for the rule, state.go for the files, server.go and request.go for the protocol, client.go for who asks, run.go for the commands.
package witness

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/chain"
)

// Refusal is an answer of a witness that is no cosignature. Code is the HTTP status the protocol gives it.
type Refusal struct {
	Code   int
	Size   int64 // with 409: of the last tree it cosigned
	Reason string
}

func (r *Refusal) Error() string { return fmt.Sprintf("witness refuses (%d): %s", r.Code, r.Reason) }

// Witness cosigns in this process. It holds a lock on its directory until Close.
type Witness struct {
	mu    sync.Mutex
	dir   string
	key   *chain.Cosigner
	state state
	logs  map[string][]note.Verifier // by origin
	flock *os.File
	now   func() time.Time

	persisted func() // tests look in here: the state is on disk, the signature not yet made
}

// Options of Open.
type Options struct {
	Dir  string
	Name string           // of the key when it is made; an existing key keeps its own
	Logs []string         // verifier keys of logs to know from now on, added to those known before
	Now  func() time.Time // time.Now by default
}

// Open opens the key in a directory, and makes one if there is none. A key without its memory is refused: it could be made to sign a
// second history. Another witness may hold the directory for up to ten seconds.
func Open(ctx context.Context, o Options) (*Witness, error) {
	w := &Witness{dir: o.Dir, logs: map[string][]note.Verifier{}, now: o.Now}
	if w.now == nil {
		w.now = time.Now
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("open witness: %w", err)
	}
	var err error
	if w.flock, err = lock(ctx, filepath.Join(o.Dir, lockFile)); err != nil {
		return nil, fmt.Errorf("open witness: %w", err)
	}
	if err := w.load(o); err != nil {
		w.flock.Close()
		return nil, fmt.Errorf("open witness: %w", err)
	}
	return w, nil
}

// Close lets go of the directory.
func (w *Witness) Close() error { return w.flock.Close() }

// VKey is the witness's verifier key, one line without an end of line.
func (w *Witness) VKey() string { return w.key.VKey() }

// Name is the name of its key.
func (w *Witness) Name() string { return w.key.Name() }

// Known lists the logs with the last tree of each that was cosigned, by origin.
func (w *Witness) Known() []chain.Checkpoint {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state.checkpoints()
}

func (w *Witness) load(o Options) error {
	_, err := os.Stat(filepath.Join(w.dir, keyFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = w.create(o.Name)
	}
	if err != nil {
		return err
	}
	skey, err := os.ReadFile(filepath.Join(w.dir, keyFile))
	if err != nil {
		return err
	}
	if w.key, err = chain.NewCosigner(string(skey)); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(w.dir, stateFile))
	if err != nil {
		return fmt.Errorf("read what was cosigned last: %w", err)
	}
	if w.state, err = parseState(string(text)); err != nil {
		return fmt.Errorf("read what was cosigned last: %w", err)
	}
	return w.learn(o.Logs)
}

// create makes the key. The state comes first: a crash in between leaves a state without a key, which has signed nothing.
func (w *Witness) create(name string) error {
	skey, err := chain.GenerateCosigner(rand.Reader, name)
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(w.dir, stateFile), []byte(state{}.text())); err != nil {
		return err
	}
	return writeFile(filepath.Join(w.dir, keyFile), []byte(skey+"\n"))
}

// learn adds logs. Several keys of one origin are one log whose key changes.
func (w *Witness) learn(vkeys []string) error {
	next := w.state.clone()
	for _, vkey := range vkeys {
		vkey = strings.TrimSpace(vkey)
		v, err := chain.NewVerifier(vkey)
		if err != nil {
			return err
		}
		e := next[v.Name()]
		if e == nil {
			e = &entry{last: chain.Checkpoint{Origin: v.Name(), Root: emptyRoot()}}
			next[v.Name()] = e
		}
		if !slices.Contains(e.vkeys, vkey) {
			e.vkeys = append(e.vkeys, vkey)
		}
	}
	if next.text() != w.state.text() {
		if err := writeFile(filepath.Join(w.dir, stateFile), []byte(next.text())); err != nil {
			return err
		}
	}
	w.state = next
	for origin, e := range w.state {
		w.logs[origin] = nil
		for _, vkey := range e.vkeys {
			v, err := chain.NewVerifier(vkey)
			if err != nil {
				return fmt.Errorf("log %q: %w", origin, err)
			}
			w.logs[origin] = append(w.logs[origin], v)
		}
	}
	return nil
}

func emptyRoot() chain.Hash {
	e := chain.Edge{}
	return e.Root()
}

// Add cosigns a checkpoint and gives the signature line with its end of line. The order of the checks is the protocol's.
func (w *Witness) Add(r Request) (line string, err error) {
	text, c, err := readNote(r.Checkpoint)
	if err != nil {
		return "", &Refusal{Code: 400, Reason: err.Error()}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	logs, known := w.logs[c.Origin]
	if !known {
		return "", &Refusal{Code: 404, Reason: fmt.Sprintf("no log %q is known here", c.Origin)}
	}
	if _, err := note.Open(r.Checkpoint, note.VerifierList(logs...)); err != nil {
		return "", &Refusal{Code: 403, Reason: "no key of the log that is known here signed this checkpoint, or its signature is invalid"}
	}
	if r.Old > c.Size {
		return "", &Refusal{Code: 400, Reason: fmt.Sprintf("old size %d is beyond the checkpoint's %d", r.Old, c.Size)}
	}
	last := w.state[c.Origin].last
	if r.Old != last.Size {
		return "", &Refusal{Code: 409, Size: last.Size, Reason: fmt.Sprintf("the last tree cosigned has size %d, not %d", last.Size, r.Old)}
	}
	if r.Old == c.Size && c.Root != last.Root {
		return "", &Refusal{Code: 409, Size: last.Size, Reason: fmt.Sprintf("another tree of size %d was cosigned: the log has two histories", c.Size)}
	}
	if err := chain.CheckConsistency(r.Proof, r.Old, last.Root, c.Size, c.Root); err != nil {
		return "", &Refusal{Code: 422, Reason: fmt.Sprintf("the tree of %d isn't shown to continue that of %d: %v", c.Size, r.Old, err)}
	}
	if c != last {
		// Crash after this line: the tree counts as cosigned although nobody has the cosignature. The log hears so by a 409, and asks from there.
		next := w.state.clone()
		next[c.Origin].last = c
		if err := writeFile(filepath.Join(w.dir, stateFile), []byte(next.text())); err != nil {
			return "", err
		}
		w.state = next
	}
	if w.persisted != nil {
		w.persisted()
	}
	return w.key.Cosign(text, w.now()), nil
}
