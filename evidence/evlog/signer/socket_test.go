package signer_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/signer"
)

// shared starts a signer process on a socket and waits until it listens.
func shared(t *testing.T, dir, socket string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "signer", "--dir", dir, "--socket", socket, "--origin", "shared.test")
	say, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }) // some tests have ended it already
	lines := bufio.NewReader(say)
	line, err := lines.ReadString('\n')
	if err != nil || !strings.Contains(line, socket) {
		t.Fatalf("the signer said %q, %v", line, err)
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	return cmd
}

func remote(t *testing.T, socket string) *signer.Remote {
	t.Helper()
	r, err := signer.NewRemote("unix:" + socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() }) // gives nil
	return r
}

// Three servers ask one signer at once, each on a connection of its own: one history. Killed and started again, they go on.
func TestServersShareASigner(t *testing.T) {
	dir, socket := t.TempDir(), filepath.Join(t.TempDir(), "s")
	cmd := shared(t, dir, socket)
	if i, err := os.Stat(socket); err != nil || i.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", i.Mode(), err)
	}
	ours, fork := treeOf("a", 60), treeOf("b", 60)
	var wg sync.WaitGroup
	var mu sync.Mutex
	notes := map[int64]chain.Hash{}
	for w := range 3 {
		r := remote(t, socket)
		wg.Go(func() {
			for range 40 {
				st, err := r.State(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				tree := ours
				if w == 2 && st.Size > 0 {
					tree = fork
				}
				b, err := r.Sign(t.Context(), tree.request(t, int(st.Size), min(int(st.Size)+1, 60)))
				var no *signer.Refusal
				if errors.As(err, &no) {
					continue // another was faster, or it was the fork
				}
				if err != nil {
					t.Error(err)
					return
				}
				text, _, _ := strings.Cut(string(b), "\n\n")
				c, err := chain.ParseCheckpoint(text + "\n")
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if root, ok := notes[c.Size]; ok && root != c.Root || c.Root != ours.root(int(c.Size)) {
					t.Errorf("two trees of %d", c.Size)
				}
				notes[c.Size] = c.Root
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	r := remote(t, socket)
	st, err := r.State(t.Context())
	if err != nil || st.Size < 20 {
		t.Fatalf("%+v %v", st, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	cmd = shared(t, dir, socket)
	again, err := r.State(t.Context()) // on the connection that broke
	if err != nil || again.Size != st.Size || again.VKey != st.VKey {
		t.Fatalf("%+v %v", again, err)
	}
	// It ends when it is told to, though a server holds a connection.
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// Keys are changed beside the running signer, by who may read its directory; a server's connection may not.
func TestKeysChangeWhileItRuns(t *testing.T) {
	dir, socket := t.TempDir(), filepath.Join(t.TempDir(), "s")
	shared(t, dir, socket)
	r := remote(t, socket)
	ours := treeOf("a", 30)
	if _, err := r.Sign(t.Context(), ours.request(t, 0, 4)); err != nil {
		t.Fatal(err)
	}
	out, err := adm(t, "", "rotate", "--dir", dir, "--reason", "到期")
	if err != nil || strings.Count(out, "在用") != 2 {
		t.Fatalf("%v %s", err, out)
	}
	if out, err := adm(t, "", "retire", "--dir", dir, "--reason", "早了"); err == nil {
		t.Fatalf("retired too early: %s", out)
	}
	b, err := r.Sign(t.Context(), ours.request(t, 4, 6))
	if err != nil || strings.Count(string(b), "\n— ") != 2 {
		t.Fatalf("%s %v", b, err)
	}
	if out, err := adm(t, "", "retire", "--dir", dir, "--reason", "已公布"); err != nil || strings.Count(out, "停用") != 1 {
		t.Fatalf("%v %s", err, out)
	}
	if out, err := adm(t, "", "show", "--dir", dir); err != nil || strings.Count(out, "在用") != 1 || !strings.Contains(out, "6 条") {
		t.Fatalf("%v %s", err, out)
	}
	st, err := r.State(t.Context())
	if err != nil || len(st.Keys) != 2 || len(st.Active()) != 1 {
		t.Fatalf("%+v %v", st, err)
	}
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, q := range []string{`{"rotate":{"reason":"x"}}`, `{"retire":{"reason":"x"}}`} {
		fmt.Fprintln(c, q)
	}
	in := bufio.NewReader(c)
	for range 2 {
		if line, err := in.ReadString('\n'); err != nil || !strings.Contains(line, "refused") {
			t.Errorf("%q %v", line, err)
		}
	}
}

func TestHostileQuestions(t *testing.T) {
	dir, socket := t.TempDir(), filepath.Join(t.TempDir(), "s")
	shared(t, dir, socket)
	if _, err := remote(t, socket).Sign(t.Context(), treeOf("a", 5).request(t, 0, 5)); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"nonsense\n", strings.Repeat("x", 1<<20), `{"sign":{"Size":-1}}` + "\n", `{"sign":{"Size":9}}` + "\n"} {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, q) // it may have hung up already
		line, _ := bufio.NewReader(c).ReadString('\n')
		if strings.Contains(line, `"signed":`) {
			t.Errorf("%.40q: %q", q, line)
		}
		c.Close()
	}
	if st, err := remote(t, socket).State(t.Context()); err != nil || st.Size != 5 {
		t.Fatalf("%+v %v", st, err)
	}
}

func TestSocketInUse(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	shared(t, t.TempDir(), socket)
	if out, err := adm(t, "", "--dir", t.TempDir(), "--socket", socket); err == nil {
		t.Errorf("two signers on one socket: %s", out)
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := adm(t, "", "--dir", t.TempDir(), "--socket", file); err == nil {
		t.Errorf("a file was replaced by a socket: %s", out)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "precious" {
		t.Errorf("%q %v", b, err)
	}
}

func TestSignerIsAway(t *testing.T) {
	r := remote(t, filepath.Join(t.TempDir(), "nobody"))
	if _, err := r.State(t.Context()); err == nil {
		t.Fatal("nobody answered")
	}
	for _, a := range []string{"", "unix:", "tcp:1", "/path"} {
		if _, err := signer.NewRemote(a); err == nil {
			t.Errorf("%q was taken", a)
		}
	}
	for _, args := range [][]string{{"fly"}, {"rotate"}, {"rotate", "--dir", "x"}, {"show", "--dir", "/nowhere"}, {"--nothing"}, {}} {
		if out, err := adm(t, "", args...); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
}
