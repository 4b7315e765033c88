package evlog_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	osexec "os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/internal/blob"
	"zhizheng/internal/pg"
	"zhizheng/internal/testenv"
)

func itoa(n int) string { return strconv.Itoa(n) }

// soak asks for the long form: every step in every way.
var soak = os.Getenv("ZZ_SOAK") != ""

// notes collects everything that was ever signed, and finds two trees of one size.
type notes struct {
	mu    sync.Mutex
	roots map[int64]chain.Hash
	bad   []string
}

func (n *notes) add(signed []byte) {
	if signed == nil {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	body, _, _ := strings.Cut(string(signed), "\n\n")
	c, err := chain.ParseCheckpoint(body + "\n")
	if err != nil {
		n.bad = append(n.bad, err.Error())
		return
	}
	if n.roots == nil {
		n.roots = map[int64]chain.Hash{}
	}
	if root, ok := n.roots[c.Size]; ok && root != c.Root {
		n.bad = append(n.bad, fmt.Sprintf("two trees of %d were signed", c.Size))
	}
	n.roots[c.Size] = c.Root
}

// agree checks that all that was signed is of the one history that is in the log now.
func (n *notes) agree(t *testing.T, l *evlog.Log) {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, b := range n.bad {
		t.Error(b)
	}
	st, err := l.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for size, root := range n.roots {
		if size > st.Size {
			t.Errorf("%d leaves were signed, the log has %d", size, st.Size)
		} else if _, r, err := l.InclusionAt(t.Context(), 0, size); err != nil || r != root {
			t.Errorf("the tree of %d that was signed is not the log's: %v", size, err)
		}
	}
}

// work is one round of everything that writes: entries through both doors, across the border of a tile; a checkpoint; a copy.
type work struct {
	pool *pgxpool.Pool
	log  *evlog.Log
	name string
	ack  func(key string)
}

// round does the round's work from the beginning; what was done already is the same again.
func (w *work) round(ctx context.Context, n int) error {
	entries := func(part string, count int) (es []chain.Entry) {
		for i := range count {
			es = append(es, viewed(fmt.Sprintf("%s/%d/%s/%d", w.name, n, part, i), fmt.Sprint("ev", i%5), "u"))
		}
		return es
	}
	acked := func(es []chain.Entry) {
		for _, e := range es {
			w.ack(e.Key)
		}
	}
	one := entries("do", 3)
	if err := w.log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error {
		if _, err := tx.Exec(ctx, `select 1`); err != nil { // a caller with SQL of its own
			return err
		}
		return w.log.Append(tx, one...)
	}); err != nil {
		return err
	}
	acked(one)
	many := entries("tx", 253)
	if err := pg.InTx(ctx, w.pool, func(tx *pg.Tx) error { return w.log.Append(tx, many...) }); err != nil {
		return err
	}
	acked(many)
	if err := evlog.Publish(ctx, w.log); err != nil {
		return err
	}
	_, err := evlog.CopyOut(ctx, w.log)
	return err
}

// Every round trip to the database, every request to the store and every question to the signer fails once, and once happens without an
// answer. The work, sent again, ends; nothing acknowledged is lost, nothing is there twice, nobody signed two histories.
func TestEveryStepFails(t *testing.T) {
	s := newSite(t)
	s.close()
	var st stage
	var signed notes
	o := s.o
	o.Endpoint = newGate(t, &st, s.o.Endpoint)
	store, err := blob.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	pool, err := pg.Open(t.Context(), newWire(t, &st, s.url), 4)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	sg, err := signer.Open(t.Context(), s.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	l, err := evlog.New(pool, evlog.Options{Signer: asked{sg, &st, &signed}, Store: store, Minute: time.Nanosecond, Retain: time.Minute,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	acked := map[string]bool{}
	w := &work{pool: pool, log: l, name: "w", ack: func(k string) { acked[k] = true }}
	if err := w.round(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	// A connection that broke comes back without its prepared statements: a round without faults makes the steps the same again.
	n := 0
	clean := func() []string {
		n++
		st.arm(0, fails, nil)
		if err := w.round(t.Context(), n); err != nil {
			t.Fatalf("without a fault: %v", err)
		}
		return slices.Clone(st.all)
	}
	clean()
	steps := clean()
	t.Logf("%d steps: %v", len(steps), steps)
	for i, how := range []way{fails, persists} {
		met := map[string]int{}
		for at, what := range steps {
			if !soak && what == "SQL" && (at+i)%3 != 0 { // the short form takes every third round trip
				continue
			}
			clean()
			n++
			st.arm(at+1, how, nil)
			_ = w.round(t.Context(), n) // the store's client asks again by itself, so it may end well
			if reached, got := st.disarm(); !reached || got != what {
				t.Fatalf("step %d was %q, not %q", at+1, got, what)
			}
			met[what]++
			testenv.Eventually(t, 20*time.Second, func() bool { return w.round(t.Context(), n) == nil })
			if h := l.Halted(); h != "" {
				t.Fatalf("step %d (%s) %s: halted: %s", at+1, what, how, h)
			}
			if soak {
				sound(t, l)
			}
		}
		if met["SQL"] < 5 || met["store PUT"] < 3 || met["signer: sign"] != 1 || met["signer: state"] < 1 {
			t.Errorf("%s: steps are missing: %v", how, met)
		}
	}
	there(t, l, acked, (n+1)*256)
	signed.agree(t, l)
	copyWhole(t, s, l)
}

// there checks that the log is sound, has exactly that many leaves, and all that were acknowledged.
func there(t *testing.T, l *evlog.Log, acked map[string]bool, leaves int) {
	t.Helper()
	if rep := sound(t, l); rep.Entries != int64(leaves) || len(acked) != leaves {
		t.Errorf("%d leaves and %d acknowledged, expected %d", rep.Entries, len(acked), leaves)
	}
	for key := range acked {
		if _, err := l.ByKey(t.Context(), key); err != nil {
			t.Fatalf("%s was acknowledged: %v", key, err)
		}
	}
}

// copyWhole checks that each checkpoint in the store has all it covers in the store.
func copyWhole(t *testing.T, s *site, l *evlog.Log) {
	t.Helper()
	v, err := chain.NewVerifier(l.VKey())
	if err != nil {
		t.Fatal(err)
	}
	objects := map[string]bool{}
	for _, k := range s.keys() {
		objects[k] = true
	}
	var edge chain.Edge
	roots := map[int64]chain.Hash{}
	var newest int64
	for k := range objects {
		if !strings.HasPrefix(k, "log/checkpoints/") {
			continue
		}
		c, err := chain.OpenCheckpoint(s.object(k), v)
		if err != nil {
			t.Fatalf("%s: %v", k, err)
		}
		roots[c.Size], newest = c.Root, max(newest, c.Size)
		if w := c.Size % 256; w != 0 && !objects["log/"+chain.EntriesPath(c.Size/256, int(w))] {
			t.Errorf("%s: the last entries are not there", k)
		}
	}
	for idx := int64(0); idx < newest/256; idx++ {
		if !objects["log/"+chain.TilePath(0, idx, 256)] {
			t.Errorf("tile %d is not there", idx)
		}
		leaves, err := chain.SplitBundle(s.object("log/" + chain.EntriesPath(idx, 256)))
		if err != nil {
			t.Fatal(err)
		}
		for _, leaf := range leaves {
			edge.Append(chain.LeafHash(leaf))
			if root, ok := roots[edge.Size]; ok && root != edge.Root() {
				t.Errorf("the entries are not those of the checkpoint of %d", edge.Size)
			}
		}
	}
	if len(roots) == 0 {
		t.Error("no checkpoint was copied")
	}
}

// job is what a server process of its own is told to do.
type job struct {
	URL, Dir, Signer string // Signer: address of a shared one, instead of Dir
	Store            *blob.Options
	Name             string
	Rounds           int
	Impatient        bool // cut a transaction that is idle for 2 s, not 30
}

const jobVariable = "ZZ_TEST_JOB"

// runJob is a server process: it does its rounds, and says what was acknowledged and signed as soon as it is.
func runJob(text string) int {
	ctx := context.Background()
	if err := doJob(ctx, text); err != nil {
		fmt.Println("error", err)
		return 1
	}
	return 0
}

func doJob(ctx context.Context, text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	pool, err := pg.Open(ctx, j.URL, 2)
	if err != nil {
		return err
	}
	defer pool.Close()
	if j.Impatient {
		for _, c := range []*pgxpool.Conn{must(pool.Acquire(ctx)), must(pool.Acquire(ctx))} {
			if _, err := c.Exec(ctx, `set idle_in_transaction_session_timeout = 2000`); err != nil {
				return err
			}
			c.Release()
		}
	}
	o := evlog.Options{Dir: j.Dir, Minute: time.Nanosecond, Retain: time.Minute, Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))}
	if j.Store != nil {
		store, err := blob.Open(ctx, *j.Store)
		if err != nil {
			return err
		}
		o.Store = store
	}
	if j.Signer != "" {
		r, err := signer.NewRemote(j.Signer)
		if err != nil {
			return err
		}
		o.Signer = r
	}
	l, err := evlog.New(pool, o)
	if err != nil {
		return err
	}
	defer l.Close()
	if h := l.Halted(); h != "" {
		return fmt.Errorf("halted: %s", h)
	}
	fmt.Println("ready")
	w := &work{pool: pool, log: l, name: j.Name, ack: func(k string) { fmt.Println("ack", k) }}
	for n := range j.Rounds {
		for end := time.Now().Add(60 * time.Second); ; {
			err := w.round(ctx, n)
			if err == nil {
				break
			}
			if time.Now().After(end) || l.Halted() != "" {
				return fmt.Errorf("round %d: %w (%s)", n, err, l.Halted())
			}
			fmt.Println("again", err)
		}
		b, err := l.Checkpoint(ctx)
		if err != nil {
			return err
		}
		fmt.Println("note", base64.StdEncoding.EncodeToString(b))
	}
	return nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// process is such a server, as the test sees it.
type process struct {
	cmd   *osexec.Cmd
	ready chan struct{}
	ended chan struct{}
	mu    sync.Mutex
	acked map[string]bool
	notes *notes
	said  string // the last it said that wasn't an acknowledgement
	err   error
}

func startJob(t *testing.T, j job, signed *notes) *process {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: osexec.Command(self), ready: make(chan struct{}), ended: make(chan struct{}), acked: map[string]bool{}, notes: signed}
	p.cmd.Stderr = os.Stderr
	p.cmd.Env = append(os.Environ(), jobVariable+"="+string(text))
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.cmd.Process.Kill(); <-p.ended })
	go func() {
		defer close(p.ended)
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			p.hear(lines.Text())
		}
		p.err = p.cmd.Wait()
	}()
	return p
}

func (p *process) hear(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	what, rest, _ := strings.Cut(line, " ")
	switch what {
	case "ready":
		close(p.ready)
	case "ack":
		p.acked[rest] = true
	case "note":
		if b, err := base64.StdEncoding.DecodeString(rest); err == nil { // a line cut by a kill is no note
			p.notes.add(b)
		}
	default:
		p.said = line
	}
}

// A server process is killed before and after each step of its work, its signer with it. The next one finds everything that was
// acknowledged, finishes the work, and the copy in the store is whole.
func TestKilledAtEveryStep(t *testing.T) {
	s := newSite(t)
	s.close()
	var st stage
	var signed notes
	o := s.o
	o.Endpoint = newGate(t, &st, s.o.Endpoint)
	address := newWire(t, &st, s.url)
	acked := map[string]bool{}
	rounds, killed := 0, map[string]int{}
	stride := 3 // the short form kills at every third step, before or after
	if soak {
		stride = 1
	}
	for at, last := 1, false; !last; at += stride {
		ways := []way{dies, diesPast}
		if !soak {
			ways = ways[(at/stride)%2:][:1]
		}
		for _, how := range ways {
			rounds++
			j := job{URL: address, Dir: s.dir, Store: &o, Name: fmt.Sprint("r", rounds), Rounds: 1}
			var p *process
			started := make(chan struct{})
			st.arm(at, how, func() { <-started; _ = p.cmd.Process.Kill(); <-p.ended })
			p = startJob(t, j, &signed)
			close(started)
			<-p.ended
			reached, what := st.disarm()
			if !reached {
				if p.err != nil {
					t.Fatalf("without a kill: %v: %s", p.err, p.said)
				}
				last = true
			}
			killed[what]++
			for k := range p.acked {
				acked[k] = true
			}
			// The next process does the same work.
			j.URL, j.Store = s.url, &s.o
			p = startJob(t, j, &signed)
			<-p.ended
			if p.err != nil {
				t.Fatalf("after a kill at step %d (%s, %s): %v: %s", at, what, how, p.err, p.said)
			}
			for k := range p.acked {
				acked[k] = true
			}
			if last {
				break
			}
		}
	}
	t.Logf("killed %d times: %v", rounds-1, killed)
	if killed["SQL"] < 3 || killed["store PUT"] < 1 {
		t.Error("steps are missing")
	}
	s.open()
	there(t, s.log, acked, rounds*256)
	signed.agree(t, s.log)
	copyWhole(t, s, s.log)
}

// Three server processes share a log and a signer. One is frozen in the middle of an append, the head's lock in its hand. The others go
// on once the database has cut it off; when it wakes, its commit fails and its work is done again, nothing twice.
func TestFrozenServerHoldsTheLock(t *testing.T) {
	s := newSite(t)
	s.close()
	socket := filepath.Join(t.TempDir(), "s")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	sg := osexec.Command(self, "signer", "--dir", s.dir, "--socket", socket)
	if err := sg.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sg.Process.Kill(); _ = sg.Wait() }() // it serves until it is killed
	own := owner(t, s.url)
	held := func() bool {
		_, err := own.Exec(t.Context(), `select from log_head for update nowait`)
		return err != nil
	}
	var st stage
	var signed notes
	address := newWire(t, &st, s.url)
	base := job{Signer: "unix:" + socket, Rounds: 1, Impatient: true}
	acked := map[string]bool{}
	all, frozen := 0, 0
	finish := func(p *process) {
		t.Helper()
		select {
		case <-p.ended:
		case <-time.After(90 * time.Second):
			t.Fatal("a server never ended")
		}
		if p.err != nil {
			t.Fatalf("%v: %s", p.err, p.said)
		}
		for k := range p.acked {
			acked[k] = true
		}
		all += 256
	}
	most := 2 // freezes with the lock held
	if soak {
		most = 20
	}
	for at := 1; frozen < most; at++ {
		j := base
		j.URL, j.Name = address, fmt.Sprint("frozen", at)
		var a *process
		started, stopped := make(chan struct{}), make(chan bool, 1)
		st.arm(at, diesPast, func() {
			<-started
			_ = a.cmd.Process.Signal(syscall.SIGSTOP)
			stopped <- held()
		})
		a = startJob(t, j, &signed)
		close(started)
		select {
		case holds := <-stopped:
			if holds {
				frozen++
				j.URL = s.url
				var others []*process
				for _, name := range []string{"b", "c"} {
					j.Name = fmt.Sprint(name, at)
					others = append(others, startJob(t, j, &signed))
				}
				for _, p := range others {
					finish(p)
				}
			}
			if err := a.cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			finish(a)
			if holds && !strings.HasPrefix(a.said, "again") {
				t.Errorf("frozen at step %d: its commit didn't fail: %q", at, a.said)
			}
		case <-a.ended:
			t.Fatalf("%d freezes with the lock held before step %d: %v %s", frozen, at, a.err, a.said)
		}
		st.disarm()
	}
	if err := sg.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = sg.Wait()
	s.open()
	there(t, s.log, acked, all)
	signed.agree(t, s.log)
}
