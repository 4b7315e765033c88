package evlog_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net/url"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/evlogtest"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
	"zhizheng/internal/testenv"
)

// Three servers on one database, each with its own pool and publisher, ask one signer: one order, no gap, no fork.
func TestReplicasShareOneLog(t *testing.T) {
	address := testenv.DatabaseURL(t)
	s, err := signer.Open(t.Context(), t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var publishers, writers sync.WaitGroup
	var logs []*evlog.Log
	for range 3 {
		l, err := evlog.New(open(t, address), evlog.Options{
			Signer: s, Interval: 5 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, l)
		publishers.Go(func() {
			if err := l.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	for r, l := range logs {
		for w := range 4 {
			writers.Go(func() {
				for i := range 50 {
					// The same key is sent to all replicas: it is in the log once.
					e := viewed(fmt.Sprintf("%d/%d", w, i), fmt.Sprint("ev", w), "u")
					own := viewed(fmt.Sprintf("r%d/%d/%d", r, w, i), "shared", "u")
					err := l.Do(t.Context(), func(_ context.Context, tx *pg.Tx) error { return l.Append(tx, e, own) })
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
	}
	writers.Wait()
	receipt(t, logs[1], "r2/3/49")
	if rep := sound(t, logs[0]); rep.Entries != 4*50+3*4*50 {
		t.Fatalf("%d leaves", rep.Entries)
	}
	for i, l := range logs {
		if l.Halted() != "" {
			t.Errorf("replica %d: %s", i, l.Halted())
		}
	}
	cancel()
	publishers.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// A backend is killed outright, which makes PostgreSQL cut all connections and recover. Nothing acknowledged is lost.
func TestDatabaseCrashesWhileAppending(t *testing.T) {
	if os.Getenv("ZZ_TEST_DATABASE_URL") != "" {
		t.Skip("the server is a developer's own; only a throwaway one may be crashed")
	}
	address := testenv.DatabaseURL(t)
	// Tests run without synchronous commits, which is to lose a moment's work in a crash; here they have to be as in production.
	l := evlogtest.Log(t, open(t, withParam(t, address, "synchronous_commit", "on")))
	var pid int
	c := owner(t, address)
	if err := c.QueryRow(t.Context(), `select pg_backend_pid()`).Scan(&pid); err != nil {
		t.Fatal(err)
	}
	acknowledged := make(chan string, 10000)
	half := make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := range 100 {
				e := viewed(fmt.Sprintf("w%d/%d", w, i), fmt.Sprint("ev", w), "u")
				if i == 50 {
					once.Do(func() { close(half) })
				}
				testenv.Eventually(t, 30*time.Second, func() bool {
					return l.Do(t.Context(), func(_ context.Context, tx *pg.Tx) error { return l.Append(tx, e) }) == nil
				})
				acknowledged <- e.Key
			}
		})
	}
	<-half
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	close(acknowledged)
	testenv.Eventually(t, time.Minute, func() bool { return c.Ping(t.Context()) != nil }) // its backend is gone: the others go too
	n := 0
	for key := range acknowledged {
		n++
		var err error
		testenv.Eventually(t, time.Minute, func() bool { // it may go down only now, or still be recovering
			_, err = l.ByKey(t.Context(), key)
			return !fault.Is(err, fault.KindUnavailable)
		})
		if err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
	if rep := sound(t, l); n != 800 || rep.Entries != 800 {
		t.Fatalf("%d acknowledged, %d leaves", n, rep.Entries)
	}
}

func withParam(t *testing.T, address, name, value string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// The application's role can't change or remove what the log holds.
func TestLogCannotBeRewritten(t *testing.T) {
	pool := testenv.Pool(t)
	l := evlogtest.Log(t, pool)
	add(t, l, pool, viewed("a", "ev", "u"))
	for _, sql := range []string{
		`update log_entry set key = 'b'`, `delete from log_entry`, `truncate log_entry`, `update log_tile set idx = 9`, `delete from log_tile`,
		`update log_checkpoint set size = 9`, `delete from log_checkpoint`, `delete from log_head`, `delete from log_publisher`,
		`update log_payload set salt = salt`,
	} {
		if _, err := pool.Exec(t.Context(), sql); err == nil {
			t.Errorf("%s: allowed", sql)
		}
	}
}

// A caller that gives up while it waits leaves no trace; one that gives up while its batch runs learns what became of it.
func TestCallersThatGiveUp(t *testing.T) {
	pool := testenv.Pool(t)
	l := evlogtest.Log(t, pool)
	gate, in := make(chan struct{}), make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	first, waiting := make(chan error, 1), make(chan error, 1)
	go func() {
		first <- l.Do(ctx, func(ctx context.Context, tx *pg.Tx) error {
			close(in)
			<-gate
			if _, err := tx.Exec(ctx, `select 1`); err != nil { // its caller has left, the shared connection must not notice
				return err
			}
			return l.Append(tx, viewed("first", "ev", "u"))
		})
	}()
	<-in
	go func() {
		waiting <- l.Do(ctx, func(_ context.Context, tx *pg.Tx) error { return l.Append(tx, viewed("waiting", "ev", "u")) })
	}()
	testenv.Eventually(t, 5*time.Second, func() bool { return evlog.Waiting(l) == 1 })
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) {
		t.Errorf("waiting: %v", err)
	}
	close(gate)
	if err := <-first; err != nil {
		t.Errorf("first: %v", err)
	}
	if _, err := l.ByKey(t.Context(), "waiting"); !fault.Is(err, fault.KindNotFound) {
		t.Errorf("waiting: %v", err)
	}
	// The queue goes on.
	if err := l.Do(t.Context(), func(_ context.Context, tx *pg.Tx) error { return l.Append(tx, viewed("next", "ev", "u")) }); err != nil {
		t.Fatal(err)
	}
	leaves, err := l.Before(t.Context(), math.MaxInt64, 10)
	if err != nil || len(leaves) != 2 || leaves[0].Key != "next" {
		t.Fatalf("%v %v", leaves, err)
	}
}

func TestEntriesThatAreRefused(t *testing.T) {
	pool := testenv.Pool(t)
	l := evlogtest.Log(t, pool)
	long := viewed(string(make([]byte, 201)), "ev", "u")
	unknown := viewed("k", "ev", "u")
	unknown.Kind = 9999
	nobody := viewed("k", "", "u")
	big := viewed("k", "ev", "u")
	big.Payload = chain.NotePayload{Bytes: make([]byte, 2<<20)}
	for i, e := range []chain.Entry{viewed("", "ev", "u"), long, unknown, nobody, big} {
		err := pg.InTx(t.Context(), pool, func(tx *pg.Tx) error { return l.Append(tx, e) })
		if err == nil {
			t.Errorf("entry %d was taken", i)
		}
	}
	// After sequencing there is no way in.
	err := pg.InTx(t.Context(), pool, func(tx *pg.Tx) error {
		if err := l.Append(tx, viewed("a", "ev", "u")); err != nil {
			return err
		}
		tx.BeforeCommit("later", func(_ context.Context, tx *pg.Tx) error { return l.Append(tx, viewed("b", "ev", "u")) })
		return nil
	})
	if err == nil {
		t.Error("an entry was lost in silence")
	}
}

// busy is a signer whose server publishes again each time it has been asked.
type busy struct {
	signer.Observer
	publish func()
}

func (b busy) State(ctx context.Context) (signer.State, error) {
	st, err := b.Observer.State(ctx)
	b.publish()
	return st, err
}

// What a server publishes while the log is opened beside it is no sign of a restored copy.
func TestOpenedBesideAServerThatPublishes(t *testing.T) {
	pool, dir := testenv.Pool(t), t.TempDir()
	l := evlogtest.LogIn(t, pool, dir)
	n := 0
	publish := func() {
		n++
		key := "view/" + strconv.Itoa(n)
		add(t, l, pool, viewed(key, "item", "actor"))
		receipt(t, l, key)
	}
	publish()
	beside, err := evlog.New(pool, evlog.Options{Signer: busy{signer.Observe(dir), publish}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if why := beside.Halted(); why != "" || n < 3 {
		t.Errorf("after %d leaves it stands still: %q", n, why)
	}
}
