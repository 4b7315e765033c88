// Package signer owns the log's private keys and the memory of what they signed. It promises that a signature leaves it only for a
// checkpoint that continues the last one it signed, and that this memory is on disk before the signature is out: a restored or
// forked database can't get two histories signed. It never reads the database; whoever asks brings the proof.
//
// Read signer.go for the rule, keys.go for where keys lie and how one replaces another, process.go for the child process and its
// client, socket.go for the signer that several servers share.
package signer

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/sys/unix"

	"zhizheng/evidence/chain"
)

// The files in the signer's directory, all of mode 0600.
const (
	keyFile   = "log.key"    // note signer key, the first
	listFile  = "log.keys"   // which keys there are; absent while the first is the only one
	stateFile = "log.signed" // note body of the last checkpoint signed; one memory, however many keys sign
	lockFile  = "log.lock"
)

// State is what a signer is and where it stands.
type State struct {
	VKey string     // C2SP verifier key, the newest; its name is the origin
	Size int64      // of the last checkpoint signed, 0 before the first
	Root chain.Hash // of the same
	Keys []Key      // all there ever were, oldest first; those not retired sign
}

// Request asks for a checkpoint. Proof shows that the last signed tree is the beginning of this one.
type Request struct {
	Size  int64
	Root  chain.Hash
	Proof []chain.Hash
}

// Refusal is a request that contradicts what was signed before, or a change of keys that would break what was promised. Asking again
// won't help.
type Refusal struct{ Reason string }

func (r *Refusal) Error() string { return "signer refuses: " + r.Reason }

// Options of OpenWith.
type Options struct {
	Origin string          // name of the log when its first key is made; "" makes one up
	Keys   []crypto.Signer // Ed25519 keys held elsewhere, in a security module; the first opening without any key takes the first of them
}

// Signer signs in this process. It holds a lock on its directory until Close.
type Signer struct {
	mu    sync.Mutex
	dir   string
	keys  []Key         // all there ever were
	sign  []note.Signer // of those that aren't retired, in their order
	vkey  string
	last  chain.Checkpoint
	flock *os.File
	at    func(step string) // tests die here
}

// Open is OpenWith for keys that lie in dir.
func Open(ctx context.Context, dir, origin string) (*Signer, error) {
	return OpenWith(ctx, dir, Options{Origin: origin})
}

// OpenWith opens the keys of dir, and makes one if there is none. It waits up to ten seconds for another signer to let go of dir: after
// a kill the old child needs a moment to notice.
func OpenWith(ctx context.Context, dir string, o Options) (*Signer, error) {
	return openWith(ctx, dir, o, func(string) {})
}

func openWith(ctx context.Context, dir string, o Options, at func(string)) (*Signer, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open signer: %w", err)
	}
	f, err := lock(ctx, filepath.Join(dir, lockFile), 10*time.Second)
	if err != nil {
		return nil, err
	}
	s := &Signer{dir: dir, flock: f, at: at}
	if err := s.load(o); err != nil {
		f.Close()
		return nil, fmt.Errorf("open signer: %w", err)
	}
	return s, nil
}

// ErrBusy says that another signer holds the directory.
var ErrBusy = errors.New("another signer holds it")

func lock(ctx context.Context, path string, patience time.Duration) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open signer: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
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
			return nil, fmt.Errorf("open signer: %s: %w: %w", path, ErrBusy, err)
		case <-tick.C:
		}
	}
}

func (s *Signer) load(o Options) error {
	there := false
	for _, name := range []string{keyFile, listFile} {
		if _, err := os.Stat(filepath.Join(s.dir, name)); err == nil {
			there = true
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if !there {
		if err := s.create(o); err != nil {
			return err
		}
	}
	if err := s.read(); err != nil {
		return err
	}
	return s.hold(o.Keys)
}

// read reads which keys there are, and the memory.
func (s *Signer) read() error {
	var err error
	if s.keys, err = readKeys(s.dir); err != nil {
		return err
	}
	s.vkey = s.keys[len(s.keys)-1].VKey
	// Keys without their memory could be made to sign a second history, so its absence is no fresh start.
	text, err := os.ReadFile(filepath.Join(s.dir, stateFile))
	if err != nil {
		return fmt.Errorf("read what was signed last: %w", err)
	}
	if s.last, err = chain.ParseCheckpoint(string(text)); err != nil {
		return fmt.Errorf("read what was signed last: %w", err)
	}
	v, err := note.NewVerifier(s.vkey)
	if err != nil {
		return fmt.Errorf("read log keys: %w", err)
	}
	if s.last.Origin != v.Name() {
		return fmt.Errorf("the last checkpoint is of %q, the key of %q", s.last.Origin, v.Name())
	}
	return nil
}

// State tells the keys and the last signed tree.
func (s *Signer) State(context.Context) (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state(), nil
}

func (s *Signer) state() State {
	return State{VKey: s.vkey, Size: s.last.Size, Root: s.last.Root, Keys: append([]Key(nil), s.keys...)}
}

// Sign gives the signed note of a checkpoint that continues the last one, with a signature of each key that isn't retired.
func (s *Signer) Sign(_ context.Context, r Request) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Size < s.last.Size {
		return nil, &Refusal{fmt.Sprintf("size %d was signed, %d is before it", s.last.Size, r.Size)}
	}
	if err := chain.CheckConsistency(r.Proof, s.last.Size, s.last.Root, r.Size, r.Root); err != nil {
		return nil, &Refusal{fmt.Sprintf("a tree of %d does not continue the signed one of %d: %v", r.Size, s.last.Size, err)}
	}
	c := chain.Checkpoint{Origin: s.last.Origin, Size: r.Size, Root: r.Root}
	if c != s.last {
		// Crash after this line: the tree counts as signed although nobody has the signature. The next request signs it again.
		if err := s.writeFile(stateFile, []byte(c.Text())); err != nil {
			return nil, err
		}
		s.last = c
	}
	s.at("remembered")
	signed, err := note.Sign(&note.Note{Text: c.Text()}, s.sign...)
	if err != nil {
		return nil, fmt.Errorf("sign checkpoint: %w", err)
	}
	s.at("signed")
	return signed, nil
}

// Close lets go of the directory.
func (s *Signer) Close() error { return s.flock.Close() }

// writeFile replaces a file so that after a crash either the old or the new content is there, whole.
func (s *Signer) writeFile(name string, b []byte) error {
	path := filepath.Join(s.dir, name)
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	s.at("begun " + name)
	_, err = f.Write(b)
	if err == nil {
		s.at("written " + name)
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		s.at("synced " + name)
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	s.at("renamed " + name)
	d, err := os.Open(s.dir)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	s.at("kept " + name)
	return nil
}
