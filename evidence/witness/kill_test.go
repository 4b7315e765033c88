package witness_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/witness"
)

// A copy of the test binary is the witness. With "die" it kills itself when its state is on disk and nothing is signed yet.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "witness" {
		if err := child(os.Args[2], len(os.Args) > 3 && os.Args[3] == "die"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func child(dir string, die bool) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	w, err := witness.Open(ctx, witness.Options{Dir: dir})
	if err != nil {
		return err
	}
	if die {
		w.Persisted(func() { _ = syscall.Kill(os.Getpid(), syscall.SIGKILL); select {} })
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(ln.Addr())
	go func() {
		<-ctx.Done()
		_ = ln.Close()
	}()
	if err := http.Serve(ln, w.Handler(slog.New(slog.DiscardHandler))); ctx.Err() == nil {
		return err
	}
	return nil
}

// running starts a child and gives its address and its end.
func running(t *testing.T, dir string, more ...string) (url string, cmd *exec.Cmd) {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd = exec.CommandContext(t.Context(), self, append([]string{"witness", dir}, more...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	return "http://" + strings.TrimSpace(line), cmd
}

// Killed with -9 at random while two histories are pressed on it, and between keeping and signing: it never signs two trees of one size, nor
// one that doesn't continue the other, and it goes on where it stood.
func TestKilledWitnessSignsOneHistory(t *testing.T) {
	dir := t.TempDir()
	log := newLog(t, origin, "a", 250)
	fork := log.fork(3)
	w := open(t, dir, log.vkey)
	key, err := chain.NewWitnessVerifier(w.VKey())
	must(t, err)
	must(t, w.Close())

	// A death between keeping and signing: the tree counts as cosigned, the fork of it is refused, the same is signed.
	url, cmd := running(t, dir, "die")
	prove := func(s shown, to int) witness.Prove {
		return func(_ context.Context, old int64) ([]chain.Hash, error) { return s.proof(int(old), to), nil }
	}
	c := witness.Client{Timeout: 5 * time.Second}
	if _, err := c.Ask(t.Context(), witness.Remote{URL: url, Key: key}, log.signed(7), 0, prove(log, 7)); err == nil {
		t.Fatal("it answered after its death")
	}
	_ = cmd.Wait() // killed
	url, cmd = running(t, dir)
	var no *witness.Refusal
	if _, err := c.Ask(t.Context(), witness.Remote{URL: url, Key: key}, fork.signed(7), 0, prove(fork, 7)); !errors.As(err, &no) || no.Size != 7 {
		t.Fatalf("another tree of what was kept: %v", err)
	}
	if _, err := c.Ask(t.Context(), witness.Remote{URL: url, Key: key}, log.signed(7), 0, prove(log, 7)); err != nil {
		t.Fatal(err)
	}

	// Deaths at random.
	kills := 6
	if os.Getenv("ZZ_SOAK") != "" {
		kills = 60
	}
	roots := map[int]chain.Hash{7: log.root(7)}
	size, lines := 7, 1
	for range kills {
		dead := make(chan struct{})
		go func(cmd *exec.Cmd, after time.Duration) {
			time.AfterFunc(after, func() { _ = cmd.Process.Kill() })
			_ = cmd.Wait() // killed
			close(dead)
		}(cmd, time.Duration(rand.IntN(200))*time.Millisecond)
		for alive := true; alive; {
			select {
			case <-dead:
				alive = false
			default:
			}
			// Whichever of the two histories, from wherever: old 0 lets the witness say where it stands.
			s, to := log, min(size+rand.IntN(3), len(log.hashes))
			if rand.IntN(3) == 0 {
				s = fork
			}
			line, err := c.Ask(t.Context(), witness.Remote{URL: url, Key: key}, s.signed(to), 0, prove(s, to))
			if err != nil {
				continue
			}
			if !key.Verify([]byte(s.text(to)), line.Sig) {
				t.Fatal("a cosignature that doesn't hold")
			}
			if r, known := roots[to]; (known && r != s.root(to)) || s.root(to) != log.root(to) {
				t.Fatalf("two trees of size %d are cosigned", to)
			}
			roots[to], size = s.root(to), max(size, to)
			lines++
		}
		url, cmd = running(t, dir)
	}
	line, err := c.Ask(t.Context(), witness.Remote{URL: url, Key: key}, log.signed(250), 0, prove(log, 250))
	if err != nil || !key.Verify([]byte(log.text(250)), line.Sig) {
		t.Fatal(err)
	}
	must(t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait() // its listener is closed under it
	state, err := os.ReadFile(filepath.Join(dir, "witness.state"))
	must(t, err)
	if !bytes.Contains(state, []byte(log.text(250))) {
		t.Errorf("%s", state)
	}
	t.Logf("%d kills, %d cosignatures up to size %d, one history", kills+1, lines, size)
}
