// Package signer owns the log's private key and the memory of what it signed. It promises that a signature leaves it only for a
// checkpoint that continues the last one it signed, and that this memory is on disk before the signature is out: a restored or
// forked database can't get two histories signed. It never reads the database; whoever asks brings the proof.
//
// Read signer.go for the rule, process.go for the child process and its client.
package signer

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sys/unix"

	"zhizheng/evidence/chain"
)

// The files in the signer's directory, all of mode 0600.
const (
	keyFile   = "log.key"    // note signer key
	stateFile = "log.signed" // note body of the last checkpoint signed
	lockFile  = "log.lock"
)

// State is what a signer is and where it stands.
type State struct {
	VKey string     // C2SP verifier key, its name is the origin
	Size int64      // of the last checkpoint signed, 0 before the first
	Root chain.Hash // of the same
}

// Request asks for a checkpoint. Proof shows that the last signed tree is the beginning of this one.
type Request struct {
	Size  int64
	Root  chain.Hash
	Proof []chain.Hash
}

// Refusal is a request that contradicts what was signed before. Asking again won't help.
type Refusal struct{ Reason string }

func (r *Refusal) Error() string { return "signer refuses: " + r.Reason }

// Signer signs in this process. It holds a lock on its directory until Close.
type Signer struct {
	mu    sync.Mutex
	dir   string
	key   note.Signer
	vkey  string
	last  chain.Checkpoint
	flock *os.File
}

// Open opens the key in dir, and makes one if there is none, under that origin ("" makes one up). It waits up to ten seconds for
// another signer to let go of dir: after a kill the old child needs a moment to notice.
func Open(ctx context.Context, dir, origin string) (*Signer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open signer: %w", err)
	}
	f, err := lock(ctx, filepath.Join(dir, lockFile))
	if err != nil {
		return nil, err
	}
	s := &Signer{dir: dir, flock: f}
	if err := s.load(origin); err != nil {
		f.Close()
		return nil, fmt.Errorf("open signer: %w", err)
	}
	return s, nil
}

func lock(ctx context.Context, path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open signer: %w", err)
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
			return nil, fmt.Errorf("open signer: another signer holds %s: %w", path, err)
		case <-tick.C:
		}
	}
}

func (s *Signer) load(origin string) error {
	_, err := os.Stat(filepath.Join(s.dir, keyFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = s.create(origin)
	}
	if err != nil {
		return err
	}
	return s.read()
}

// read reads key and memory.
func (s *Signer) read() error {
	skey, err := os.ReadFile(filepath.Join(s.dir, keyFile))
	if err != nil {
		return fmt.Errorf("read log key: %w", err)
	}
	if s.key, err = note.NewSigner(strings.TrimSpace(string(skey))); err != nil {
		return errors.New("the key file is damaged") // the cause may quote it
	}
	if s.vkey, err = vkeyOf(string(skey)); err != nil {
		return err
	}
	// A key without its memory could be made to sign a second history, so its absence is no fresh start.
	text, err := os.ReadFile(filepath.Join(s.dir, stateFile))
	if err != nil {
		return fmt.Errorf("read what was signed last: %w", err)
	}
	if s.last, err = chain.ParseCheckpoint(string(text)); err != nil {
		return fmt.Errorf("read what was signed last: %w", err)
	}
	if s.last.Origin != s.key.Name() {
		return fmt.Errorf("the last checkpoint is of %q, the key of %q", s.last.Origin, s.key.Name())
	}
	return nil
}

// create makes the key. The state comes first: a crash in between leaves a state without a key, which has signed nothing.
func (s *Signer) create(origin string) error {
	if origin == "" {
		var b [4]byte
		_, _ = rand.Read(b[:]) // never fails since Go 1.24
		origin = "zhizheng.local/" + hex.EncodeToString(b[:])
	}
	skey, _, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return fmt.Errorf("make log key: %w", err)
	}
	if _, err := note.NewSigner(skey); err != nil {
		return fmt.Errorf("make log key: origin %q is no key name", origin)
	}
	empty := chain.Edge{}
	start := chain.Checkpoint{Origin: origin, Root: empty.Root()}
	if err := writeFile(filepath.Join(s.dir, stateFile), []byte(start.Text())); err != nil {
		return err
	}
	return writeFile(filepath.Join(s.dir, keyFile), []byte(skey+"\n"))
}

// State tells the key and the last signed tree.
func (s *Signer) State(context.Context) (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return State{VKey: s.vkey, Size: s.last.Size, Root: s.last.Root}, nil
}

// Sign gives the signed note of a checkpoint that continues the last one.
func (s *Signer) Sign(_ context.Context, r Request) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Size < s.last.Size {
		return nil, &Refusal{fmt.Sprintf("size %d was signed, %d is before it", s.last.Size, r.Size)}
	}
	if err := chain.CheckConsistency(r.Proof, s.last.Size, s.last.Root, r.Size, r.Root); err != nil {
		return nil, &Refusal{fmt.Sprintf("a tree of %d does not continue the signed one of %d: %v", r.Size, s.last.Size, err)}
	}
	c := chain.Checkpoint{Origin: s.key.Name(), Size: r.Size, Root: r.Root}
	if c != s.last {
		// Crash after this line: the tree counts as signed although nobody has the signature. The next request signs it again.
		if err := writeFile(filepath.Join(s.dir, stateFile), []byte(c.Text())); err != nil {
			return nil, err
		}
		s.last = c
	}
	signed, err := note.Sign(&note.Note{Text: c.Text()}, s.key)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	return signed, nil
}

// Close lets go of the directory.
func (s *Signer) Close() error { return s.flock.Close() }

// writeFile replaces a file so that after a crash either the old or the new content is there, whole.
func writeFile(path string, b []byte) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
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
