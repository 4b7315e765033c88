package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"zhizheng/evidence/chain"
	"zhizheng/internal/link"
	"zhizheng/internal/testenv"
	"zhizheng/internal/testserver"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// freePort is below those that the kernel gives to connections: one that is to be listened on later stays free until then.
func freePort(t *testing.T) string {
	t.Helper()
	for range 50 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(10000+rand.IntN(20000)))
		if l, err := net.Listen("tcp", address); err == nil {
			must(t, l.Close())
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

// neighbour is where an embedded service of a server listens: the store one port above it, the broker two.
func neighbour(t *testing.T, url string, above int) string {
	t.Helper()
	host, port, err := net.SplitHostPort(strings.TrimPrefix(url, "http://"))
	must(t, err)
	n, err := strconv.Atoi(port)
	must(t, err)
	return net.JoinHostPort(host, strconv.Itoa(n+above))
}

// over lays a line from an address ("" for any) to the first of others that answers, until the test ends. It gives the near end.
func over(t *testing.T, l *link.Line, near string, far ...string) string {
	t.Helper()
	ctx, hangUp := context.WithCancel(context.Background())
	ln, err := link.Listen(ctx, near)
	must(t, err)
	ended := make(chan error, 1)
	go func() { ended <- l.Relay(ctx, ln, far...) }()
	t.Cleanup(func() { hangUp(); must(t, <-ended) })
	return ln.Addr().String()
}

func enrol(t *testing.T, s *testserver.Server, id, dir string, more ...string) {
	t.Helper()
	s.Run(t, append([]string{"station", "enrol", "--id", id, "--township", "510821100", "--name", "示例采集站", "--out", dir}, more...)...)
}

// station is `zhizheng-dock station`, whose recorders are folders below ports.
type station struct {
	server          *testserver.Server // the log is audited and exported beside it
	url             string             // where the station finds the platform
	agent, identity string
	env             []string
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

// newStation starts a station; it ends with the test.
func newStation(t *testing.T, s *testserver.Server, url, identity string, env ...string) *station {
	t.Helper()
	st := &station{server: s, url: url, agent: filepath.Join(testserver.Programs(t), "dock"), identity: identity, env: env, ports: t.TempDir(),
		config: filepath.Join(t.TempDir(), "site.yaml"), receipts: map[string]receipt{}, read: map[string]bool{}}
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
	st.cmd = exec.Command(st.agent, "station", "--identity", st.identity, "--server", st.url, "--spool", filepath.Join(st.identity, "spool"),
		"--config", st.config, "--listen", "127.0.0.1:0")
	st.cmd.Env = append(os.Environ(), st.env...)
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

var pageAddress = regexp.MustCompile(`page=(http://\S+)`)

// page is what the station's own screen says is wrong, as it puts it: the platform is away, or something else.
func (st *station) page(t *testing.T) (away, problem string) {
	t.Helper()
	b, err := os.ReadFile(st.said.Name())
	must(t, err)
	all := pageAddress.FindAllSubmatch(b, -1)
	if len(all) == 0 {
		return "", ""
	}
	text, err := get(context.WithoutCancel(t.Context()), string(all[len(all)-1][1])+"/state")
	if err != nil {
		return "", "" // it is just being started
	}
	var state struct {
		Away string
		Live struct{ Problem string }
	}
	must(t, json.Unmarshal(text, &state))
	return state.Away, state.Live.Problem
}

// says waits until the screen says it.
func (st *station) says(t *testing.T, part string) {
	t.Helper()
	testenv.Eventually(t, time.Minute, func() bool {
		away, problem := st.page(t)
		return strings.Contains(away+problem, part)
	})
}

// batch is a docking of sixteen recorders at once.
type batch struct {
	*station
	dockings []*docking
	all      int // files
	before   int // sealings in the log
}

// lastSeed is that of the last docking: no two have the same files.
var lastSeed uint64 = 100

// dock plugs sixteen recorders in, whose cards may misbehave.
func (st *station) dock(t *testing.T, misbehave ...string) *batch {
	t.Helper()
	lastSeed++
	seed := lastSeed
	c := dockConfig{Recorders: 16, Clips: 2, ClipSize: 128 << 10, Seed: seed, Misbehave: misbehave}
	e := &batch{station: st, all: c.Recorders * c.Clips, before: st.sealings(t)}
	base, making := footage(seed), t.TempDir()
	for r := range c.Recorders {
		k := c.planned(0, r)
		must(t, k.write(making, base))
		e.dockings = append(e.dockings, &docking{card: k, identity: st.identity, lines: map[string]line{}})
	}
	for _, d := range e.dockings {
		port := filepath.Join(st.ports, d.serial)
		must(t, errors.Join(os.RemoveAll(port), os.Rename(d.dir, port)))
		d.dir = port
	}
	t.Cleanup(func() {
		if t.Failed() {
			away, problem := e.page(t)
			t.Logf("of %d files %d have a receipt, %d are on the recorders; all told: %v; away: %q, problem: %q", e.all, e.sealed(), e.left(t), e.told(t), away, problem)
		}
	})
	return e
}

// reached waits until a share of all receipts and wipes, 0 to 1, is there.
func (e *batch) reached(t *testing.T, share float64) {
	t.Helper()
	testenv.Eventually(t, 2*time.Minute, func() bool { return float64(e.all-e.left(t)+e.sealed()) >= 2*share*float64(e.all) })
}

// even waits until all originals are wiped. Then every file is sealed once, with a receipt that verifies, none had gone before that
// receipt was there, and a stranger finds the whole log as it should be.
func (e *batch) even(t *testing.T) {
	t.Helper()
	testenv.Eventually(t, 90*time.Second, func() bool { return e.left(t) == 0 && e.told(t) })
	for _, d := range e.dockings {
		for _, k := range d.clips {
			r := e.receipts[k.sha]
			d.lines[k.name] = line{File: k.name, Size: k.size, SHA256: k.sha, Status: "sealed", Evidence: r.evidence, Leaf: &r.leaf, Receipt: r.path}
		}
	}
	var a *account
	testenv.Eventually(t, time.Minute, func() bool { // the database may just be coming back
		var err error
		a, err = reckon(t.Context(), e.url, e.dockings)
		return err == nil
	})
	must(t, a.tell(t.Output()))
	if n := e.sealings(t) - e.before; n != e.all {
		t.Errorf("%d sealings for %d files", n, e.all)
	}
	if out := e.server.Run(t, "audit"); !strings.Contains(out, "✓ 日志完整一致") {
		t.Errorf("audit: %s", out)
	}
	if bytes.Contains(e.server.Log(t), []byte("removed an original before it was sealed")) {
		t.Error("the server saw an original go before it was sealed")
	}
	e.verified(t)
}

// verified exports the whole log and has the offline verifier judge it, without a network where that can be had.
func (st *station) verified(t *testing.T) {
	t.Helper()
	var id struct {
		VKey string `json:"vkey"`
	}
	b, err := os.ReadFile(filepath.Join(st.identity, "station.json"))
	must(t, err)
	must(t, json.Unmarshal(b, &id))
	dir := t.TempDir()
	trust, log := filepath.Join(dir, "trust"), filepath.Join(dir, "log")
	must(t, os.WriteFile(trust, []byte(id.VKey+"\n"), 0o600))
	st.server.Run(t, "log", "export", log, "--payloads")
	cmd := exec.Command(filepath.Join(testserver.Programs(t), "verify"), "--trust", trust, log)
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("zhizheng-verify: %v\n%s", err, out)
	}
}

// left counts files that are still on the recorders. What has gone must have its receipt: the recorders are looked at first.
func (e *batch) left(t *testing.T) (n int) {
	t.Helper()
	var gone []clip
	for _, d := range e.dockings {
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
	e.readReceipts(t)
	for _, k := range gone {
		if e.receipts[k.sha].path == "" {
			t.Fatalf("%s has gone from its recorder without a receipt", k.name)
		}
	}
	return n
}

// sealed counts files that have a receipt here.
func (e *batch) sealed() (n int) {
	for _, d := range e.dockings {
		for _, k := range d.clips {
			if e.receipts[k.sha].path != "" {
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
	var l publicLog
	testenv.Eventually(t, time.Minute, func() bool { // as above
		l, err = readPublic(t.Context(), st.url, keys, func(chain.Edge, chain.Hash) {})
		return err == nil
	})
	for _, times := range l.seals {
		n += times
	}
	return n
}
