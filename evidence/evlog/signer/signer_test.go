package signer_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/signer"
)

// The test binary is its own signer child.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "signer" {
		os.Exit(signer.MainDying(os.Args[2:], dieAt(os.Getenv("ZZ_TEST_DIE_AT"))))
	}
	os.Exit(m.Run())
}

// tree is a small tree with all its leaf hashes.
type tree struct{ hashes []chain.Hash }

func treeOf(name string, n int) tree {
	var t tree
	for i := range n {
		t.hashes = append(t.hashes, chain.LeafHash([]byte(name+strconv.Itoa(i))))
	}
	return t
}

func (t tree) read(level int, idx int64, width int) ([]byte, error) {
	return chain.Join(t.hashes[:width]), nil
}

func (t tree) root(n int) chain.Hash {
	var e chain.Edge
	for _, h := range t.hashes[:n] {
		e.Append(h)
	}
	return e.Root()
}

func (t tree) request(tb testing.TB, from, to int) signer.Request {
	tb.Helper()
	p, err := chain.ProveConsistency(int64(from), int64(to), t.root(to), t.read)
	if err != nil {
		tb.Fatal(err)
	}
	return signer.Request{Size: int64(to), Root: t.root(to), Proof: p}
}

func open(t *testing.T, dir string) *signer.Signer {
	t.Helper()
	s, err := signer.Open(t.Context(), dir, "signer.test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // some tests have closed it already
	return s
}

type signs interface {
	Sign(ctx context.Context, r signer.Request) ([]byte, error)
}

func accepted(t *testing.T, s signs, vkey string, r signer.Request) {
	t.Helper()
	b, err := s.Sign(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	v, err := chain.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	c, err := chain.OpenCheckpoint(b, v)
	if err != nil || c.Size != r.Size || c.Root != r.Root {
		t.Fatalf("%+v %v", c, err)
	}
}

func refused(t *testing.T, s signs, r signer.Request) {
	t.Helper()
	var no *signer.Refusal
	if b, err := s.Sign(t.Context(), r); !errors.As(err, &no) {
		t.Fatalf("signed %q, error %v", b, err)
	}
}

func TestOneHistoryOnly(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	st, err := s.State(t.Context())
	if err != nil || st.Size != 0 {
		t.Fatalf("%+v %v", st, err)
	}
	ours, fork := treeOf("a", 20), treeOf("b", 20)
	accepted(t, s, st.VKey, ours.request(t, 0, 5))
	accepted(t, s, st.VKey, ours.request(t, 5, 5)) // the answer was lost: the same again
	refused(t, s, fork.request(t, 5, 5))
	refused(t, s, fork.request(t, 5, 9))
	refused(t, s, ours.request(t, 0, 3))
	refused(t, s, signer.Request{Size: 9, Root: ours.root(9)})
	refused(t, s, signer.Request{Size: 9, Root: ours.root(9), Proof: ours.request(t, 4, 9).Proof})
	accepted(t, s, st.VKey, ours.request(t, 5, 9))

	// What it signed outlives it.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	again, err := s.State(t.Context())
	if err != nil || again.VKey != st.VKey || again.Size != 9 || again.Root != ours.root(9) {
		t.Fatalf("%+v %v", again, err)
	}
	refused(t, s, fork.request(t, 9, 12))
	accepted(t, s, st.VKey, ours.request(t, 9, 20))
}

func TestSecretsStaySecret(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secrets")
	open(t, dir)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		i, err := d.Info()
		if err == nil && i.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", d.Name(), i.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOneSignerADirectory(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := signer.Open(ctx, dir, ""); err == nil {
		t.Fatal("two signers on one key")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, dir)
}

func TestBadOriginsAreRefused(t *testing.T) {
	for _, origin := range []string{"a b", "a+b", "a\nb"} {
		if s, err := signer.Open(t.Context(), t.TempDir(), origin); err == nil {
			_ = s.Close()
			t.Errorf("%q became the name of a log", origin)
		}
	}
}

// The child is killed between requests and while it writes: the next request finds a new one that remembers.
func TestChildIsKilled(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := signer.NewProcess(self, "signer", "--dir", dir, "--origin", "child.test")
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	st, err := p.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ours, fork := treeOf("a", 200), treeOf("b", 200)
	accepted(t, p, st.VKey, ours.request(t, 0, 1))
	signedSize := 1
	for n := 2; n <= 200; n++ {
		if n%10 == 0 {
			if err := syscall.Kill(signer.PID(p), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		r := ours.request(t, signedSize, n)
		if _, err := p.Sign(t.Context(), r); err != nil {
			var no *signer.Refusal
			if errors.As(err, &no) {
				t.Fatal(err)
			}
			st, err := p.State(t.Context()) // a new child; it may have got as far as remembering
			if err != nil {
				t.Fatal(err)
			}
			signedSize = int(st.Size)
			if st.Root != ours.root(signedSize) {
				t.Fatal("the child remembers another tree")
			}
			continue
		}
		signedSize = n
	}
	accepted(t, p, st.VKey, ours.request(t, signedSize, 200))
	refused(t, p, fork.request(t, 200, 200))
}

func TestChildThatCannotStart(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := signer.NewProcess(self, "signer", "--dir", filepath.Join(file, "under"))
	if _, err := p.State(t.Context()); err == nil {
		t.Fatal("a signer without a directory")
	}
}

func TestObserverStandsBeside(t *testing.T) {
	dir := t.TempDir()
	if _, err := signer.Observe(dir).State(t.Context()); err == nil {
		t.Error("an observer made a key")
	}
	s := open(t, dir)
	if _, err := s.Sign(t.Context(), treeOf("a", 5).request(t, 0, 5)); err != nil {
		t.Fatal(err)
	}
	st, err := signer.Observe(dir).State(t.Context())
	if err != nil || st.Size != 5 {
		t.Fatalf("%+v %v", st, err)
	}
	if _, err := signer.Observe(dir).Sign(t.Context(), treeOf("a", 6).request(t, 5, 6)); err == nil {
		t.Error("an observer signed")
	}
}
