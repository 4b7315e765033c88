package main

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"zhizheng/evidence/chain"
	"zhizheng/internal/testserver"
)

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
	s := testserver.New(t)
	identity := s.Identity()

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
	c := exec.Command(os.Args[0], "--identity", identity, "--server", s.URL, "--source", card, "--once", "--json", "--patience", "2m")
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
		s.Kill(t)
		t.Logf("kill %d after %d files", k+1, len(said))
		s.Start(t)
		s.Ready(t)
	}
	for l := range lines {
		said = append(said, readLines(t, []byte(l))...)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("agent: %v\n%s", err, stderr)
	}

	// What the lines say, by the receipts alone.
	vkey := s.Get(t.Context(), "/log/vkey")
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
	again := exec.Command(os.Args[0], "--identity", identity, "--server", s.URL, "--source", card, "--once", "--json")
	again.Env = c.Env
	out, err := again.Output()
	must(t, err)
	for _, l := range readLines(t, out) {
		if l.Status != duplicate || l.LeafIndex == nil || leaves[*l.LeafIndex] != l.File {
			t.Fatalf("docked again: %+v", l)
		}
	}
	auditLog(t, s, vkey, len(files))
}

// auditLog reads every leaf as a stranger would: the tree has the root that was signed, and nothing was sealed twice.
func auditLog(t *testing.T, s *testserver.Server, vkey []byte, files int) {
	t.Helper()
	verifier, err := chain.NewVerifier(string(vkey))
	must(t, err)
	cp, err := chain.OpenByLog(s.Get(t.Context(), "/log/checkpoint"), verifier) // the demo's witnesses may have signed below
	must(t, err)
	seals := map[chain.SubjectID]int{}
	var edge chain.Edge
	for idx := int64(0); idx*chain.TileWidth < cp.Size; idx++ {
		width := int(min(chain.TileWidth, cp.Size-idx*chain.TileWidth))
		entries, err := chain.SplitBundle(s.Get(t.Context(), "/log/"+chain.EntriesPath(idx, width)))
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
