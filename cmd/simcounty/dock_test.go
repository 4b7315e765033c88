package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"zhizheng/evidence/chain"
	"zhizheng/internal/link"
	"zhizheng/internal/testenv"
	"zhizheng/internal/testserver"
)

// TestDocking plays a misbehaving county, and sixteen recorders at one station, on one server that stations enrol with as people do.
func TestDocking(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds and runs the whole server")
	}
	agent := testserver.Build(t, t.TempDir(), "zhizheng-dock", "zhizheng/cmd/dock")
	near := freePort(t)
	s := testserver.New(t, "--wipe", "receipt", "--s3-public-endpoint", "http://"+near)
	store := near + "=" + storeOf(t, s.URL)
	ids := t.TempDir()
	for _, id := range []string{"ST-31", "ST-32"} {
		enrol(t, s, id, filepath.Join(ids, id))
	}

	t.Run("a county that misbehaves", func(t *testing.T) {
		var said bytes.Buffer
		err := dock(t.Context(), dockConfig{Server: s.URL, Identities: ids, Stations: 2, Recorders: 3, Clips: 3, ClipSize: 96 << 10, Seed: 7, Link: 40_000,
			Delay: 2 * time.Millisecond, Loss: 0.5, StoreLink: store, Misbehave: ways, agent: agent}, &said)
		t.Logf("%s", &said)
		must(t, err)
		for _, part := range []string{"造出\t21 段", "封存\t18 段", "拒收\t3 段", "没有着落\t0 段"} {
			if !strings.Contains(said.String(), part) {
				t.Errorf("the account lacks %q", part)
			}
		}
	})
	t.Run("sixteen recorders", func(t *testing.T) {
		rounds := 1
		if os.Getenv("ZZ_SOAK") != "" {
			rounds = 20
		}
		far, _, _ := strings.Cut(store, "=")
		ctx, hangUp := context.WithCancel(t.Context())
		ln, err := link.Listen(ctx, far)
		must(t, err)
		ended := make(chan error, 1)
		go func() { ended <- (&link.Line{}).Relay(ctx, ln, storeOf(t, s.URL)) }()
		defer func() { hangUp(); must(t, <-ended) }()
		st := newStation(t, s, agent, filepath.Join(ids, "ST-31"))
		for round := range rounds {
			st.evening(t, uint64(100+round))
		}
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// storeOf is where the embedded store listens: one port above the server.
func storeOf(t *testing.T, url string) string {
	t.Helper()
	host, port, err := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	must(t, err)
	n, err := strconv.Atoi(port)
	must(t, err)
	return net.JoinHostPort(host, strconv.Itoa(n+1))
}

// zhizheng runs a command of administration beside the server.
func zhizheng(t *testing.T, s *testserver.Server, args ...string) string {
	t.Helper()
	out, err := exec.Command(s.Bin, append(args, "--data", s.Data)...).CombinedOutput()
	if err != nil {
		t.Fatalf("zhizheng %s: %v\n%s", args, err, out)
	}
	return string(out)
}

func enrol(t *testing.T, s *testserver.Server, id, dir string) {
	t.Helper()
	zhizheng(t, s, "station", "enrol", "--id", id, "--township", "510821100", "--name", "示例采集站", "--out", dir)
}

// station is `zhizheng-dock station`, whose recorders are folders below ports.
type station struct {
	server          *testserver.Server
	agent, identity string
	ports, config   string
	cmd             *exec.Cmd
	gone            chan struct{}
	said            *os.File

	receipts map[string]receipt // by digest
	read     map[string]bool    // receipts that were read
}

type receipt struct {
	path, evidence string
	leaf           int64
}

func newStation(t *testing.T, s *testserver.Server, agent, identity string) *station {
	t.Helper()
	st := &station{server: s, agent: agent, identity: identity, ports: t.TempDir(), config: filepath.Join(t.TempDir(), "site.yaml"),
		receipts: map[string]receipt{}, read: map[string]bool{}}
	must(t, os.WriteFile(st.config, fmt.Appendf(nil, "mounts: []\nfolders:\n  - {path: %q, each: true, settle: 200ms, wipe: true}\n", st.ports), 0o600))
	var err error
	st.said, err = os.Create(filepath.Join(t.TempDir(), "said"))
	must(t, err)
	st.start(t)
	t.Cleanup(func() {
		st.kill(t)
		if t.Failed() {
			b, _ := os.ReadFile(st.said.Name()) // nothing then
			t.Logf("station:\n%s", b[max(0, len(b)-8000):])
		}
		st.said.Close()
	})
	return st
}

func (st *station) start(t *testing.T) {
	t.Helper()
	st.cmd = exec.Command(st.agent, "station", "--identity", st.identity, "--server", st.server.URL, "--spool", filepath.Join(st.identity, "spool"),
		"--config", st.config, "--listen", "127.0.0.1:0")
	st.cmd.Stdout, st.cmd.Stderr = st.said, st.said
	must(t, st.cmd.Start())
	st.gone = make(chan struct{})
	go func() {
		_ = st.cmd.Wait() // it is killed
		close(st.gone)
	}()
}

func (st *station) kill(t *testing.T) {
	t.Helper()
	must(t, st.cmd.Process.Kill())
	<-st.gone
}

// evening docks sixteen recorders at once, kills server and station at random moments, and waits until all originals are wiped. Then every
// file is sealed once, with a receipt that verifies, and none had gone before that receipt was there.
func (st *station) evening(t *testing.T, seed uint64) {
	t.Helper()
	c := dockConfig{Recorders: 16, Clips: 4, ClipSize: 128 << 10, Seed: seed}
	base, making := footage(seed), t.TempDir()
	var dockings []*docking
	for r := range c.Recorders {
		k := c.planned(0, r)
		must(t, k.write(making, base))
		dockings = append(dockings, &docking{card: k, identity: st.identity, lines: map[string]line{}})
	}
	before := st.sealings(t)
	for _, d := range dockings {
		port := filepath.Join(st.ports, d.serial)
		must(t, errors.Join(os.RemoveAll(port), os.Rename(d.dir, port)))
		d.dir = port
	}
	kills := []string{"server", "station", "server", "station"}
	rand.Shuffle(len(kills), func(i, j int) { kills[i], kills[j] = kills[j], kills[i] })
	all := c.Recorders * c.Clips
	progress := func() int { return all - st.left(t, dockings) + st.sealed(dockings) } // of twice as many
	at := make([]int, len(kills))
	for i := range at {
		at[i] = rand.IntN(2 * all)
	}
	slices.Sort(at)
	for i, what := range kills {
		// Random, but during docking: after some more receipts and wipes, then some milliseconds on.
		testenv.Eventually(t, 2*time.Minute, func() bool { return progress() >= at[i] })
		moment := time.NewTimer(rand.N(400 * time.Millisecond))
		<-moment.C
		if what == "server" {
			st.server.Kill(t)
		} else {
			st.kill(t)
		}
		t.Logf("%s killed; of %d files %d had a receipt, %d were on the recorders", what, all, st.sealed(dockings), st.left(t, dockings))
		if what == "server" {
			st.server.Start(t)
			st.server.Ready(t)
		} else {
			st.start(t)
		}
	}
	testenv.Eventually(t, 2*time.Minute, func() bool { return st.left(t, dockings) == 0 && st.told(t) })

	for _, d := range dockings {
		for _, k := range d.clips {
			r := st.receipts[k.sha]
			d.lines[k.name] = line{File: k.name, Size: k.size, SHA256: k.sha, Status: "sealed", Evidence: r.evidence, Leaf: &r.leaf, Receipt: r.path}
		}
	}
	a, err := reckon(t.Context(), st.server.URL, dockings)
	must(t, err)
	must(t, a.tell(t.Output()))
	if n := st.sealings(t) - before; n != all {
		t.Errorf("%d sealings for %d files", n, all)
	}
	if out := zhizheng(t, st.server, "audit"); !strings.Contains(out, "✓ 日志完整一致") {
		t.Errorf("audit: %s", out)
	}
	if bytes.Contains(st.server.Log(t), []byte("removed an original before it was sealed")) {
		t.Error("the server saw an original go before it was sealed")
	}
	st.tampered(t, dockings)
}

// left counts files that are still on the recorders. What has gone must have its receipt: the recorders are looked at first.
func (st *station) left(t *testing.T, dockings []*docking) (n int) {
	t.Helper()
	var gone []clip
	for _, d := range dockings {
		for _, k := range d.clips {
			switch _, err := os.Lstat(filepath.Join(d.dir, k.name)); {
			case err == nil:
				n++
			case errors.Is(err, fs.ErrNotExist):
				gone = append(gone, k)
			default:
				t.Fatal(err)
			}
		}
	}
	st.readReceipts(t)
	for _, k := range gone {
		if st.receipts[k.sha].path == "" {
			t.Fatalf("%s has gone from its recorder without a receipt", k.name)
		}
	}
	return n
}

// sealed counts files that have a receipt here.
func (st *station) sealed(dockings []*docking) (n int) {
	for _, d := range dockings {
		for _, k := range d.clips {
			if st.receipts[k.sha].path != "" {
				n++
			}
		}
	}
	return n
}

// readReceipts verifies those that came since.
func (st *station) readReceipts(t *testing.T) {
	t.Helper()
	keys, err := pinned(st.identity)
	must(t, err)
	all, err := filepath.Glob(filepath.Join(st.identity, "receipts", "*.tlog-proof"))
	must(t, err)
	for _, path := range all {
		if st.read[path] {
			continue
		}
		text, err := os.ReadFile(path)
		must(t, err)
		p, err := chain.VerifyReceiptByLog(text, keys)
		must(t, err)
		s, err := chain.Payload[chain.SealedPayload](p.Payload)
		must(t, err)
		st.read[path], st.receipts[hex.EncodeToString(s.SHA256)] = true, receipt{path, s.EvidenceID, p.Index}
	}
}

// told says whether the platform has taken all that the station had to say: its wipes among it.
func (st *station) told(t *testing.T) bool {
	t.Helper()
	events := filepath.Join(st.identity, "state", "events")
	info, err := os.Stat(events)
	must(t, err)
	sent, err := os.ReadFile(events + ".sent")
	return err == nil && string(sent) == strconv.FormatInt(info.Size(), 10)
}

func (st *station) sealings(t *testing.T) (n int) {
	t.Helper()
	keys, err := pinned(st.identity)
	must(t, err)
	l, err := readPublic(t.Context(), st.server.URL, keys, func(chain.Edge, chain.Hash) {})
	must(t, err)
	for _, times := range l.seals {
		n += times
	}
	return n
}

// tampered shows that the account tells a file that nobody spoke of, a receipt of another file, a changed receipt and a changed file.
func (st *station) tampered(t *testing.T, dockings []*docking) {
	t.Helper()
	first, second := dockings[0].clips[0], dockings[0].clips[1]
	forged := filepath.Join(t.TempDir(), "receipt")
	text, err := os.ReadFile(dockings[0].lines[first.name].Receipt)
	must(t, err)
	text[bytes.Index(text, []byte("extra "))+40] ^= 1 // within the leaf
	must(t, os.WriteFile(forged, text, 0o600))
	for name, change := range map[string]func(d *docking){
		"no line": func(d *docking) { delete(d.lines, first.name) },
		"another receipt": func(d *docking) {
			l := d.lines[first.name]
			l.Receipt = d.lines[second.name].Receipt
			d.lines[first.name] = l
		},
		"changed receipt": func(d *docking) { l := d.lines[first.name]; l.Receipt = forged; d.lines[first.name] = l },
		"changed file":    func(d *docking) { d.clips[0].sha = second.sha },
	} {
		k := *dockings[0].card
		k.clips = append([]clip{}, k.clips...)
		d := &docking{card: &k, identity: st.identity, lines: maps.Clone(dockings[0].lines)}
		change(d)
		a, err := reckon(t.Context(), st.server.URL, []*docking{d})
		must(t, err)
		if a.tell(io.Discard) == nil {
			t.Errorf("%s: the account comes out even", name)
		}
	}
}

func TestCardsFollowTheSeed(t *testing.T) {
	c := dockConfig{Recorders: 2, Clips: 5, ClipSize: 3 << 20, Seed: 3, Misbehave: []string{gaps, skew}}
	written := func(seed uint64, r int) *card {
		c.Seed = seed
		k := c.planned(0, r)
		must(t, k.write(t.TempDir(), footage(seed)))
		return k
	}
	one, again, other, next := written(3, 0), written(3, 0), written(4, 0), written(3, 1)
	seen := map[string]bool{}
	for i, k := range one.clips {
		if k != again.clips[i] {
			t.Errorf("clip %d: %+v and %+v", i, k, again.clips[i])
		}
		for _, sha := range []string{k.sha, other.clips[i].sha, next.clips[i].sha} {
			if seen[sha] {
				t.Errorf("clip %d is there twice", i)
			}
			seen[sha] = true
		}
	}
	var s size
	for text, want := range map[string]size{"64k": 64 << 10, "5M": 5 << 20, "1G": 1 << 30, "7": 7} {
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q is %d, %v", text, s, err)
		}
	}
	for _, bad := range []string{"", "k", "-1", "0", "5X", "9999999G", "5Mk"} {
		if s.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q was taken as %d", bad, s)
		}
	}
}
