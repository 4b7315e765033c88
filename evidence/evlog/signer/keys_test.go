package signer_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/signer"
)

// dieAt kills this process, as a power cut would, before the step of that number; with "say" it tells the steps instead.
func dieAt(when string) func(string) {
	n := 0
	return func(step string) {
		n++
		if when == "say" {
			fmt.Fprintln(os.Stderr, "step", step)
		}
		if strconv.Itoa(n) == when {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal is on its way
		}
	}
}

// module is a key in somebody else's hand: all it does is sign.
type module struct {
	key   ed25519.PrivateKey
	wrong bool
}

func newModule(t *testing.T) *module {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &module{key: key}
}

func (m *module) Public() crypto.PublicKey { return m.key.Public() }
func (m *module) Sign(r io.Reader, msg []byte, o crypto.SignerOpts) ([]byte, error) {
	sig, err := m.key.Sign(r, msg, o)
	if m.wrong {
		sig[0] ^= 1
	}
	return sig, err
}

func verifiers(t *testing.T, st signer.State) (keys chain.Keys, each []note.Verifier) {
	t.Helper()
	for _, k := range st.Active() {
		v, err := chain.NewVerifier(k.VKey)
		if err != nil {
			t.Fatal(err)
		}
		each = append(each, v)
	}
	keys, err := chain.NewKeys(each...)
	if err != nil {
		t.Fatal(err)
	}
	return keys, each
}

// Any crypto.Signer may hold the key: it never lies in the directory, and without it the signer doesn't open.
func TestKeyInAModule(t *testing.T) {
	dir, hsm := t.TempDir(), newModule(t)
	open := func(keys ...crypto.Signer) (*signer.Signer, error) {
		return signer.OpenWith(t.Context(), dir, signer.Options{Origin: "hsm.test", Keys: keys})
	}
	s, err := open(hsm)
	if err != nil {
		t.Fatal(err)
	}
	st, err := s.State(t.Context())
	if err != nil || !strings.HasPrefix(st.VKey, "hsm.test+") {
		t.Fatalf("%+v %v", st, err)
	}
	ours := treeOf("a", 9)
	accepted(t, s, st.VKey, ours.request(t, 0, 5))
	hsm.wrong = true
	if b, err := s.Sign(t.Context(), ours.request(t, 5, 6)); err == nil {
		t.Errorf("a signature that doesn't hold was given out: %q", b)
	}
	hsm.wrong = false
	accepted(t, s, st.VKey, ours.request(t, 6, 6)) // it counts as signed
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.key"))
	if err != nil || len(files) != 0 {
		t.Errorf("private keys in the directory: %v %v", files, err)
	}
	for name, keys := range map[string][]crypto.Signer{"none": nil, "another": {newModule(t)}} {
		if s, err := open(keys...); err == nil {
			_ = s.Close()
			t.Errorf("opened with %s", name)
		}
	}
	if s, err = open(newModule(t), hsm); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// A module's key is replaced by one that lies in the directory, and the other way round.
	if st, err = s.Rotate(t.Context(), signer.Change{Reason: "r"}, nil); err != nil || len(st.Active()) != 2 {
		t.Fatalf("%+v %v", st, err)
	}
	if _, err := s.Sign(t.Context(), ours.request(t, 6, 7)); err != nil {
		t.Fatal(err)
	}
	if _, err = s.Retire(t.Context(), signer.Change{Reason: "r"}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rotate(t.Context(), signer.Change{}, hsm); err == nil {
		t.Error("a retired key came back")
	}
	if st, err = s.Rotate(t.Context(), signer.Change{}, newModule(t)); err != nil || st.Keys[2].File != "" {
		t.Fatalf("%+v %v", st, err)
	}
}

func TestKeysThatCannotSign(t *testing.T) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := signer.OpenWith(t.Context(), t.TempDir(), signer.Options{Origin: "x.test", Keys: []crypto.Signer{k}}); err == nil {
		_ = s.Close()
		t.Error("an ECDSA key became the log's")
	}
}

// The old key signs alone, then both, then the new one alone. One memory for all: no key signs what contradicts another's past.
func TestKeyIsReplacedByDoubleSigning(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	ours, fork := treeOf("a", 40), treeOf("b", 40)
	first, err := s.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	accepted(t, s, first.VKey, ours.request(t, 0, 5))
	var no *signer.Refusal
	if _, err := s.Retire(t.Context(), signer.Change{}); !errors.As(err, &no) {
		t.Fatalf("the only key was retired: %v", err)
	}
	st, err := s.Rotate(t.Context(), signer.Change{Actor: "u1", Reason: "到期更换"}, nil)
	if err != nil || len(st.Active()) != 2 || st.Keys[0].VKey != first.VKey || st.VKey == first.VKey {
		t.Fatalf("%+v %v", st, err)
	}
	if _, err := s.Rotate(t.Context(), signer.Change{}, nil); !errors.As(err, &no) {
		t.Fatalf("a third key: %v", err)
	}
	if _, err := s.Retire(t.Context(), signer.Change{}); !errors.As(err, &no) {
		t.Fatalf("retired before the new key signed: %v", err)
	}
	for range 2 { // and after it was opened again
		keys, each := verifiers(t, st)
		r := ours.request(t, int(st.Size), int(st.Size)+3)
		b, err := s.Sign(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(b), "\n— signer.test "); n != 2 {
			t.Fatalf("%d signatures:\n%s", n, b)
		}
		if _, err := chain.OpenCheckpoint(b, keys); err != nil {
			t.Error(err)
		}
		for i, v := range each {
			if _, err := chain.OpenCheckpoint(b, chain.KeysOf(v).Lenient()); err != nil {
				t.Errorf("holder of key %d: %v", i, err)
			}
		}
		refused(t, s, fork.request(t, int(r.Size), int(r.Size)+1))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir)
		if st, err = s.State(t.Context()); err != nil || st.Size != r.Size || len(st.Active()) != 2 || st.Keys[1].Added.Reason != "到期更换" {
			t.Fatalf("%+v %v", st, err)
		}
	}
	if st, err = s.Retire(t.Context(), signer.Change{Reason: "已公布"}); err != nil || len(st.Active()) != 1 || len(st.Keys) != 2 {
		t.Fatalf("%+v %v", st, err)
	}
	accepted(t, s, st.VKey, ours.request(t, int(st.Size), 30))
	refused(t, s, fork.request(t, 30, 31))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "log.key")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the retired private key is still there: %v", err)
	}
	s = open(t, dir)
	accepted(t, s, st.VKey, ours.request(t, 30, 31))
}

func adm(t *testing.T, die string, args ...string) (out string, err error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, append([]string{"signer"}, args...)...)
	cmd.Env = append(os.Environ(), "ZZ_TEST_DIE_AT="+die)
	b, err := cmd.CombinedOutput()
	return string(b), err
}

// Killed at each step of a replacement, of a retirement and of signing: whatever is left opens, remembers, and never signs a fork.
func TestKilledAtEachStep(t *testing.T) {
	for _, act := range []string{"rotate", "retire"} {
		steps := 1
		for n := 1; n <= steps; n++ {
			dir := t.TempDir()
			s := open(t, dir)
			ours, fork := treeOf("a", 30), treeOf("b", 30)
			if _, err := s.Sign(t.Context(), ours.request(t, 0, 5)); err != nil {
				t.Fatal(err)
			}
			size := 5
			if act == "retire" {
				if _, err := s.Rotate(t.Context(), signer.Change{}, nil); err != nil {
					t.Fatal(err)
				}
				if _, err := s.Sign(t.Context(), ours.request(t, 5, 6)); err != nil {
					t.Fatal(err)
				}
				size = 6
			}
			before, err := s.State(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if n == 1 { // how many there are, on a copy
				copied := filepath.Join(t.TempDir(), "copy")
				if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
					t.Fatal(err)
				}
				out, err := adm(t, "say", act, "--dir", copied, "--reason", "r")
				if steps = strings.Count(out, "step "); err != nil || steps < 5 {
					t.Fatalf("%s: %v %s", act, err, out)
				}
			}
			if _, err := adm(t, strconv.Itoa(n), act, "--dir", dir, "--reason", "r"); err == nil {
				t.Fatalf("%s: not killed at step %d", act, n)
			}
			s = open(t, dir)
			st, err := s.State(t.Context())
			if err != nil || int(st.Size) != size {
				t.Fatalf("%s killed at step %d: %+v %v", act, n, st, err)
			}
			for i, k := range before.Keys {
				if st.Keys[i].VKey != k.VKey {
					t.Fatalf("%s killed at step %d: the keys changed", act, n)
				}
			}
			refused(t, s, fork.request(t, size, size+1))
			b, err := s.Sign(t.Context(), ours.request(t, size, size+2))
			if err != nil {
				t.Fatalf("%s killed at step %d: %v", act, n, err)
			}
			keys, _ := verifiers(t, st)
			if _, err := chain.OpenCheckpoint(b, keys); err != nil {
				t.Fatal(err)
			}
			// Done again, it is done: or it was, and is refused.
			var no *signer.Refusal
			if act == "rotate" {
				_, err = s.Rotate(t.Context(), signer.Change{}, nil)
			} else {
				_, err = s.Retire(t.Context(), signer.Change{})
			}
			if err != nil && !errors.As(err, &no) {
				t.Fatalf("%s again after step %d: %v", act, n, err)
			}
			if st, err = s.State(t.Context()); err != nil || len(st.Active()) != map[string]int{"rotate": 2, "retire": 1}[act] {
				t.Fatalf("%s again after step %d: %+v %v", act, n, st, err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%s: killed at %d steps", act, steps)
	}
}

// The same while it signs and while it makes its first key: a signature that is out is remembered.
func TestKilledWhileSigning(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ours, fork := treeOf("a", 30), treeOf("b", 30)
	died := 0
	for n := 1; n <= 40; n++ {
		dir := t.TempDir()
		signed := map[int64]chain.Hash{}
		// NewProcess starts its child with an environment of its own; env gives this one the step to die at.
		p := signer.NewProcess("/usr/bin/env", "ZZ_TEST_DIE_AT="+strconv.Itoa(n), self, "signer", "--dir", dir, "--origin", "k.test")
		sign := func(from, to int) bool {
			b, err := p.Sign(t.Context(), ours.request(t, from, to))
			if err != nil {
				return false
			}
			text, _, _ := strings.Cut(string(b), "\n\n")
			c, err := chain.ParseCheckpoint(text + "\n")
			if err != nil {
				t.Fatal(err)
			}
			signed[c.Size] = c.Root
			return true
		}
		ended := sign(0, 3) && sign(3, 7)
		_ = p.Close() // it may be dead
		if !ended {
			died++
		}
		s, err := signer.Open(context.Background(), dir, "k.test")
		if err != nil {
			t.Fatalf("killed at step %d: %v", n, err)
		}
		st, err := s.State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for size := range signed {
			if st.Size < size {
				t.Fatalf("killed at step %d: signed %d, remembers %d", n, size, st.Size)
			}
		}
		if st.Size > 0 {
			refused(t, s, fork.request(t, int(st.Size), 10))
		}
		accepted(t, s, st.VKey, ours.request(t, int(st.Size), 10))
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if ended {
			break
		}
	}
	if died < 20 {
		t.Errorf("only %d steps", died)
	}
	t.Logf("killed at %d steps", died)
}

// A lost memory comes back from a checkpoint that the signer itself signed; it only goes forward.
func TestMemoryComesBack(t *testing.T) {
	dir := t.TempDir()
	s, stranger := open(t, dir), open(t, t.TempDir())
	ours := treeOf("a", 20)
	write := func(b []byte, err error) string {
		t.Helper()
		f := filepath.Join(t.TempDir(), "checkpoint")
		if err == nil {
			err = os.WriteFile(f, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	five := write(s.Sign(t.Context(), ours.request(t, 0, 5)))
	nine := write(s.Sign(t.Context(), ours.request(t, 5, 9)))
	other := write(stranger.Sign(t.Context(), ours.request(t, 0, 12)))
	if out, err := adm(t, "", "remember", "--dir", dir, "--checkpoint", nine); err == nil {
		t.Errorf("changed beside a running signer: %s", out)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{five, other, write([]byte("nonsense"), nil)} {
		if out, err := adm(t, "", "remember", "--dir", dir, "--checkpoint", f); err == nil {
			t.Errorf("%s: %s", f, out)
		}
	}
	if err := os.Remove(filepath.Join(dir, "log.signed")); err != nil {
		t.Fatal(err)
	}
	if out, err := adm(t, "", "remember", "--dir", dir, "--checkpoint", nine); err != nil || !strings.Contains(out, "9 条") {
		t.Fatalf("%v %s", err, out)
	}
	s = open(t, dir)
	refused(t, s, treeOf("b", 20).request(t, 9, 10))
	if _, err := s.Sign(t.Context(), ours.request(t, 9, 12)); err != nil {
		t.Fatal(err)
	}
}
