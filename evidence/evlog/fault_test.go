package evlog_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/evlogtest"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
	"zhizheng/internal/testenv"
)

func open(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pg.Open(t.Context(), url, 8)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// owner is a connection that may do what the application's role may not: make tables, change rows.
func owner(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(context.Background(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

func exec(t testing.TB, c *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := c.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// One caller's error, broken promise or panic undoes that caller only, whoever shares the commit.
func TestSharedCommitFailsOneByOne(t *testing.T) {
	url := testenv.DatabaseURL(t)
	pool := open(t, url)
	own := owner(t, url)
	exec(t, own, `create table parent (id int primary key)`)
	exec(t, own, `create table child (id int primary key, parent int references parent deferrable initially deferred)`)
	exec(t, own, `insert into parent values (1)`)
	exec(t, own, `grant select, insert on parent, child to `+pg.AppRole)
	l := evlogtest.Log(t, pool)
	boom := errors.New("boom")
	insert := func(id, parent int) func(context.Context, *pg.Tx) error {
		return func(ctx context.Context, tx *pg.Tx) error {
			if _, err := tx.Exec(ctx, `insert into child values ($1, $2)`, id, parent); err != nil {
				return err
			}
			return l.Append(tx, viewed(fmt.Sprint("child/", id), "ev", "u"))
		}
	}
	// The first caller holds the batch open until the others wait for the next one.
	gate, in := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	var once sync.Once
	wg.Go(func() {
		err := l.Do(t.Context(), func(ctx context.Context, tx *pg.Tx) error {
			once.Do(func() { close(in) })
			<-gate
			return insert(0, 1)(ctx, tx)
		})
		if err != nil {
			t.Error(err)
		}
	})
	<-in
	errs := make([]error, 40)
	panics := make([]any, 40)
	for i := 1; i < 40; i++ {
		wg.Go(func() {
			defer func() { panics[i] = recover() }()
			errs[i] = l.Do(t.Context(), func(ctx context.Context, tx *pg.Tx) error {
				switch i % 8 {
				case 1:
					return errors.Join(insert(i, 1)(ctx, tx), boom)
				case 2:
					return insert(i, 99)(ctx, tx) // breaks the deferred constraint
				case 3:
					return insert(0, 1)(ctx, tx) // unique violation inside the transaction
				case 4:
					panic("told")
				default:
					return insert(i, 1)(ctx, tx)
				}
			})
		})
	}
	testenv.Eventually(t, 10*time.Second, func() bool { return evlog.Waiting(l) == 39 })
	close(gate)
	wg.Wait()
	good := 1
	for i := 1; i < 40; i++ {
		switch i % 8 {
		case 1:
			if !errors.Is(errs[i], boom) {
				t.Errorf("caller %d: %v", i, errs[i])
			}
		case 2, 3:
			if errs[i] == nil {
				t.Errorf("caller %d: no error", i)
			}
		case 4:
			if panics[i] != "told" {
				t.Errorf("caller %d: panic %v", i, panics[i])
			}
		default:
			good++
			if errs[i] != nil {
				t.Errorf("caller %d: %v", i, errs[i])
			}
		}
	}
	var rows int
	if err := pool.QueryRow(t.Context(), `select count(*) from child`).Scan(&rows); err != nil {
		t.Fatal(err)
	}
	if rep := sound(t, l); rows != good || rep.Entries != int64(good) {
		t.Fatalf("%d rows and %d leaves, %d callers succeeded", rows, rep.Entries, good)
	}
}

// A key used for something else poisons the shared transaction only once: everybody else gets through.
func TestConflictInASharedCommit(t *testing.T) {
	pool := testenv.Pool(t)
	l := evlogtest.Log(t, pool)
	add(t, l, pool, viewed("taken", "ev", "u"))
	gate, in := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := l.Do(t.Context(), func(context.Context, *pg.Tx) error { close(in); <-gate; return nil }); err != nil {
			t.Error(err)
		}
	})
	<-in
	errs := make([]error, 10)
	for i := range errs {
		wg.Go(func() {
			e := viewed(fmt.Sprint("k", i), "ev", "u")
			if i == 4 {
				e = viewed("taken", "ev", "somebody else")
			}
			errs[i] = l.Do(t.Context(), func(_ context.Context, tx *pg.Tx) error { return l.Append(tx, e) })
		})
	}
	testenv.Eventually(t, 10*time.Second, func() bool { return evlog.Waiting(l) == len(errs) })
	close(gate)
	wg.Wait()
	for i, err := range errs {
		if (i == 4) != fault.Is(err, fault.KindConflict) || (i != 4 && err != nil) {
			t.Errorf("caller %d: %v", i, err)
		}
	}
	if rep := sound(t, l); rep.Entries != 10 {
		t.Fatalf("%d leaves", rep.Entries)
	}
}

// Backends are killed all the time while many append. Whatever Do said yes to is there once; whatever it said no to may be sent again.
func TestBackendsKilledWhileAppending(t *testing.T) {
	url := testenv.DatabaseURL(t)
	pool := open(t, url)
	l := evlogtest.Log(t, pool)
	own := owner(t, url)
	stop := make(chan struct{})
	var killer, wg sync.WaitGroup
	killer.Go(func() {
		tick := time.NewTicker(15 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				_, err := own.Exec(context.Background(), `select pg_terminate_backend(pid) from pg_stat_activity
					where datname = current_database() and pid <> pg_backend_pid() and state <> 'idle' order by random() limit 1`)
				if err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	var again sync.Map
	for w := range 8 {
		wg.Go(func() {
			for i := range 60 {
				e := viewed(fmt.Sprintf("w%d/%d", w, i), fmt.Sprint("ev", w), "u")
				for {
					err := l.Do(t.Context(), func(_ context.Context, tx *pg.Tx) error { return l.Append(tx, e) })
					if err == nil {
						break
					}
					again.Store(e.Key, err)
				}
				if _, err := l.ByKey(t.Context(), e.Key); fault.Is(err, fault.KindNotFound) {
					t.Errorf("%s was acknowledged and is not there", e.Key)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	killer.Wait()
	n := 0
	again.Range(func(any, any) bool { n++; return true })
	t.Logf("%d entries had to be sent again", n)
	if rep := sound(t, l); rep.Entries != 8*60 {
		t.Fatalf("%d leaves", rep.Entries)
	}
}

// A database brought back to an older state: the signer remembers more, and nothing is appended to the fork.
func TestRestoredDatabaseIsRefused(t *testing.T) {
	url := testenv.DatabaseURL(t)
	pool := open(t, url)
	dir := t.TempDir()
	start := func() (*evlog.Log, func()) {
		s, err := signer.Open(t.Context(), dir, "")
		if err != nil {
			t.Fatal(err)
		}
		l, err := evlog.New(pool, evlog.Options{Signer: s, Interval: time.Millisecond, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- l.Run(ctx) }()
		return l, func() { cancel(); _ = errors.Join(<-done, l.Close()) }
	}
	l, end := start()
	add(t, l, pool, viewed("a", "ev", "u"))
	receipt(t, l, "a")
	add(t, l, pool, viewed("b", "ev", "u"))
	receipt(t, l, "b")
	end()

	own := owner(t, url)
	older := chain.Edge{}
	var first []byte
	if err := own.QueryRow(t.Context(), `select leaf_hash from log_entry where seq = 0`).Scan(&first); err != nil {
		t.Fatal(err)
	}
	older.Append(chain.Hash(first))
	exec(t, own, `delete from log_payload where seq = 1`)
	exec(t, own, `delete from log_entry where seq = 1`)
	exec(t, own, `update log_head set size = 1, edge = $1`, older.Bytes())
	exec(t, own, `update log_publisher set size = 0, root = null, note = null, at = null`)
	exec(t, own, `delete from log_checkpoint`)

	l, end = start()
	if !strings.Contains(l.Halted(), "恢复到旧状态") {
		t.Fatalf("halted: %q", l.Halted())
	}
	err := pg.InTx(t.Context(), pool, func(tx *pg.Tx) error { return l.Append(tx, viewed("c", "ev", "u")) })
	if !fault.Is(err, fault.KindUnavailable) {
		t.Fatalf("append to a fork: %v", err)
	}
	end()

	// Another history of the same length is refused as well.
	exec(t, own, `insert into log_entry (seq, key, key_sum, subject, counter, leaf_hash, bytes)
		select 1, 'forged', key_sum, subject, 2, leaf_hash, bytes from log_entry where seq = 0`)
	older.Append(chain.Hash(first))
	exec(t, own, `update log_head set size = 2, edge = $1`, older.Bytes())
	l, end = start()
	defer end()
	if l.Halted() == "" {
		t.Fatal("a forged history was accepted")
	}
	rep, err := l.Audit(t.Context())
	if err != nil || len(rep.Findings) == 0 {
		t.Fatalf("audit of a forged history: %+v %v", rep, err)
	}
}

// Keys without their memory, or a database with another key's checkpoints, are no fresh start.
func TestLostSecretsAreNoticed(t *testing.T) {
	pool := testenv.Pool(t)
	l := evlogtest.Log(t, pool)
	add(t, l, pool, viewed("a", "ev", "u"))
	receipt(t, l, "a")
	dir := t.TempDir()
	s, err := signer.Open(t.Context(), dir, "")
	if err != nil {
		t.Fatal(err)
	}
	other, err := evlog.New(pool, evlog.Options{Signer: s, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil || other.Halted() == "" {
		t.Fatalf("another key on the same database: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "log.signed")); err != nil {
		t.Fatal(err)
	}
	if _, err := signer.Open(t.Context(), dir, ""); err == nil {
		t.Fatal("a key without its memory was opened")
	}
}
