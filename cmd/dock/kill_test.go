package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"zhizheng/evidence/chain"
	"zhizheng/internal/testenv"
)

// server is bin/zhizheng as people run it, with all services embedded, on a data folder that outlives its kills.
type server struct {
	bin, data, address string
	cmd                *exec.Cmd
	log                *os.File
	gone               chan struct{}
}

func (s *server) start(t *testing.T) {
	t.Helper()
	s.cmd = exec.Command(s.bin, "serve", "--demo", "--no-demo-county", "--no-demo-footage", "--data", s.data, "--listen", s.address)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	must(t, s.cmd.Start())
	s.gone = make(chan struct{})
	go func() {
		_ = s.cmd.Wait() // it is killed, or ends at the test's end
		close(s.gone)
	}()
}

func (s *server) kill(t *testing.T) {
	t.Helper()
	must(t, s.cmd.Process.Kill())
	<-s.gone
}

// get reads a public address, nil while the server is away.
func (s *server) get(ctx context.Context, path string) []byte {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+path, nil)
	if err != nil {
		return nil
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return nil
	}
	return b
}

// TestServerKilledWhileDocking kills the whole server at random moments, lets it recover by itself, and finds each file sealed exactly
// once, each receipt valid, and the log whole from the first leaf.
func TestServerKilledWhileDocking(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds and runs the whole server")
	}
	kills := 2
	if os.Getenv("ZZ_SOAK") != "" {
		kills = 20
	}
	dir := t.TempDir()
	must(t, os.Chmod(dir, 0o755)) // the database runs as another user
	s := &server{bin: filepath.Join(dir, "zhizheng"), data: filepath.Join(dir, "data"), address: freeAddress(t)}
	build := exec.Command("go", "build", "-buildvcs=false", "-o", s.bin, "zhizheng/cmd/zhizheng")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	var err error
	s.log, err = os.Create(filepath.Join(dir, "log"))
	must(t, err)
	t.Cleanup(func() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
		<-s.gone
		if t.Failed() {
			b, _ := os.ReadFile(s.log.Name())
			t.Logf("server:\n%s", b[max(0, len(b)-8000):])
		}
		s.log.Close()
		// The database of a root run lies outside the data folder; the project's own script knows where.
		if out, err := exec.Command(filepath.Join("..", "..", "deploy", "clean-data"), s.data).CombinedOutput(); err != nil {
			t.Errorf("clean: %v\n%s", err, out)
		}
	})
	s.start(t)
	identity := filepath.Join(s.data, "demo-dock")
	testenv.Eventually(t, 2*time.Minute, func() bool {
		_, err := os.Stat(filepath.Join(identity, "station.json"))
		return err == nil && s.get(t.Context(), "/readyz") != nil
	})

	card := t.TempDir()
	files := map[string][]byte{}
	for i := range 20 * kills {
		name := fmt.Sprintf("clip-%03d.mp4", i)
		files[name] = random(byte(i), 1000+rand.IntN(3*mib))
		if i%10 == 9 {
			files[name] = random(byte(i), 12*mib)
		}
		copy(files[name], strconv.Itoa(i)+"|") // each has bytes of its own
		put(t, card, name, files[name])
	}
	c := exec.Command(os.Args[0], "--identity", identity, "--server", "http://"+s.address, "--source", card, "--once", "--json", "--patience", "2m")
	c.Env = append(os.Environ(), "ZZ_TEST_DOCK=1")
	stdout, err := c.StdoutPipe()
	must(t, err)
	stderr := &strings.Builder{}
	c.Stderr = stderr
	must(t, c.Start())
	lines := make(chan string, len(files)+1)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(stdout); in.Scan(); {
			lines <- in.Text()
		}
	}()

	var said []result
	for k := range kills {
		// Random, but during docking: after some more files are through, then some milliseconds on.
		for range rand.IntN(len(files) / kills) {
			l, ok := <-lines
			if !ok {
				break
			}
			said = append(said, readLines(t, []byte(l))...)
		}
		moment := time.NewTimer(rand.N(400 * time.Millisecond))
		<-moment.C
		s.kill(t)
		t.Logf("kill %d after %d files", k+1, len(said))
		s.start(t)
		testenv.Eventually(t, time.Minute, func() bool { return s.get(t.Context(), "/readyz") != nil })
	}
	for l := range lines {
		said = append(said, readLines(t, []byte(l))...)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("agent: %v\n%s", err, stderr)
	}

	// What the lines say, by the receipts alone.
	vkey := s.get(t.Context(), "/log/vkey")
	v, err := chain.NewVerifier(string(vkey))
	must(t, err)
	leaves := map[int64]string{}
	if len(said) != len(files) {
		t.Fatalf("%d lines for %d files", len(said), len(files))
	}
	for _, l := range said {
		if l.Status != sealed || l.SHA256 != sum(files[l.File]) {
			t.Fatalf("line: %+v", l)
		}
		text, err := os.ReadFile(l.Receipt)
		must(t, err)
		p, err := chain.VerifyReceipt(text, v)
		must(t, err)
		if other, twice := leaves[p.Index]; twice {
			t.Fatalf("%s and %s have the same leaf", l.File, other)
		}
		leaves[p.Index] = l.File
	}
	// Docked again: all known, nothing new is sealed.
	again := exec.Command(os.Args[0], "--identity", identity, "--server", "http://"+s.address, "--source", card, "--once", "--json")
	again.Env = c.Env
	out, err := again.Output()
	must(t, err)
	for _, l := range readLines(t, out) {
		if l.Status != duplicate || l.LeafIndex == nil || leaves[*l.LeafIndex] != l.File {
			t.Fatalf("docked again: %+v", l)
		}
	}
	s.auditLog(t, vkey, len(files))
}

// auditLog reads every leaf as a stranger would: the tree has the root that was signed, and nothing was sealed twice.
func (s *server) auditLog(t *testing.T, vkey []byte, files int) {
	t.Helper()
	verifier, err := chain.NewVerifier(string(vkey))
	must(t, err)
	cp, err := chain.OpenByLog(s.get(t.Context(), "/log/checkpoint"), verifier) // the demo's witnesses may have signed below
	must(t, err)
	seals := map[chain.SubjectID]int{}
	var edge chain.Edge
	for idx := int64(0); idx*chain.TileWidth < cp.Size; idx++ {
		width := int(min(chain.TileWidth, cp.Size-idx*chain.TileWidth))
		entries, err := chain.SplitBundle(s.get(t.Context(), "/log/"+chain.EntriesPath(idx, width)))
		must(t, err)
		for _, e := range entries {
			leaf, err := chain.DecodeLeaf(e)
			must(t, err)
			if leaf.Kind == chain.KindSealed {
				seals[leaf.Subject]++
			}
			edge.Append(chain.LeafHash(e))
		}
	}
	if edge.Root() != cp.Root || edge.Size != cp.Size {
		t.Fatalf("%d leaves have another root than the checkpoint of %d", edge.Size, cp.Size)
	}
	for subject, n := range seals {
		if n != 1 {
			t.Fatalf("%x was sealed %d times", subject, n)
		}
	}
	if len(seals) < files {
		t.Fatalf("%d sealings for %d files", len(seals), files)
	}
}

// freeAddress has its two neighbours free too, for the store and the broker.
func freeAddress(t *testing.T) string {
	t.Helper()
	for range 50 {
		port := 20000 + rand.IntN(40000)
		free := true
		for i := range 3 {
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+i)))
			if err != nil {
				free = false
				continue
			}
			l.Close()
		}
		if free {
			return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		}
	}
	t.Fatal("no three free ports in a row")
	return ""
}
