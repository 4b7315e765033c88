package evlog_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/evlogtest"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
	"zhizheng/internal/testenv"
)

// What a caller of Do may do, each to itself alone.
const (
	appends       = iota // an entry and nothing else
	writes               // a row by its own statement, and an entry
	putsOff              // a row put off to the commit, and an entry
	writesBoth           // both kinds of rows
	returnsError         // after a row and an entry
	panics               // after a row and an entry
	breaksSQL            // a unique violation by its own statement
	breaksLater          // a deferred constraint
	putsOffTwice         // a put-off row that violates a unique constraint
	putsOffOrphan        // a put-off row that breaks a deferred constraint
	shares               // a key of the few that callers share, with one of two contents
	acts
)

var errBoom = errors.New("boom")

type actor struct {
	act, id int
	content string // of a shared key
	shared  string
	err     error
	panic   any
}

func (a *actor) fails() bool { return a.act >= returnsError && a.act < shares }

func (a *actor) key() string {
	if a.act == shares {
		return a.shared
	}
	return fmt.Sprint("caller/", a.id)
}

type link struct{ id, parent int }

// Callers of any kinds share commits: what each did is there whole, or, if it failed, not at all, and nobody fails for another's fault.
func TestAnyCompanyIsKeptApart(t *testing.T) {
	url := testenv.DatabaseURL(t)
	pool := open(t, url)
	own := owner(t, url)
	exec(t, own, `create table parent (id int primary key)`)
	exec(t, own, `create table child (id int primary key, parent int references parent deferrable initially deferred)`)
	exec(t, own, `insert into parent values (1)`)
	exec(t, own, `insert into child values (0, 1)`)
	exec(t, own, `grant select, insert on parent, child to `+pg.AppRole)
	l := evlogtest.Log(t, pool)
	later := pg.NewBulk(1, "write child", func(b *pgx.Batch, rows []link) *pgx.QueuedQuery {
		var ids, parents []int
		for _, r := range rows {
			ids, parents = append(ids, r.id), append(parents, r.parent)
		}
		return b.Queue(`insert into child select unnest($1::int[]), unnest($2::int[])`, ids, parents)
	})
	do := func(a *actor) func(context.Context, *pg.Tx) error {
		return func(ctx context.Context, tx *pg.Tx) error {
			insert := func(id, parent int) error {
				_, err := tx.Exec(ctx, `insert into child values ($1, $2)`, id, parent)
				return err
			}
			e := viewed(a.key(), fmt.Sprint("ev", a.id%5), "u")
			var err error
			switch a.act {
			case writes:
				err = insert(2*a.id, 1)
			case putsOff:
				later.Add(tx, link{2*a.id + 1, 1})
			case writesBoth:
				later.Add(tx, link{2*a.id + 1, 1})
				err = insert(2*a.id, 1)
			case returnsError, panics:
				later.Add(tx, link{2*a.id + 1, 1})
				err = insert(2*a.id, 1)
			case breaksSQL:
				err = insert(0, 1)
			case breaksLater:
				err = insert(2*a.id, 99)
			case putsOffTwice:
				later.Add(tx, link{0, 1})
			case putsOffOrphan:
				later.Add(tx, link{2*a.id + 1, 99})
			case shares:
				e = viewed(a.key(), "shared", a.content)
			}
			if err := errors.Join(err, l.Append(tx, e)); err != nil {
				return err
			}
			switch a.act {
			case returnsError:
				return errBoom
			case panics:
				panic("told")
			}
			return nil
		}
	}
	next, batches := 1, 0
	kept := map[string]string{} // content of shared keys
	wantRows, wantLeaves := 1, int64(0)
	rapid.Check(t, func(r *rapid.T) {
		if batches++; batches > 40 {
			return // each run goes on with the same log, and waits for real commits
		}
		company := make([]*actor, rapid.IntRange(1, 24).Draw(r, "callers"))
		for i := range company {
			a := &actor{act: rapid.IntRange(0, acts-1).Draw(r, "act"), id: next}
			if rapid.Bool().Draw(r, "well-behaved") {
				a.act = rapid.IntRange(appends, writesBoth).Draw(r, "act")
			}
			a.shared = fmt.Sprint("shared/", rapid.IntRange(0, 5).Draw(r, "key"))
			a.content = rapid.SampledFrom([]string{"one", "other"}).Draw(r, "content")
			company[i] = a
			next++
		}
		// The first holds its commit open until all others wait for the next one.
		gate, in := make(chan struct{}), make(chan struct{})
		var once, opened sync.Once
		letGo := func() { opened.Do(func() { close(gate) }) }
		defer letGo() // a test that gives up must not leave a caller behind that holds a connection
		var wg sync.WaitGroup
		wg.Go(func() {
			err := l.Do(t.Context(), func(context.Context, *pg.Tx) error {
				once.Do(func() { close(in); <-gate })
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
		<-in
		for _, a := range company {
			wg.Go(func() {
				defer func() { a.panic = recover() }()
				a.err = l.Do(t.Context(), do(a))
			})
		}
		testenv.Eventually(t, 10*time.Second, func() bool { return evlog.Waiting(l) == len(company) })
		letGo()
		wg.Wait()

		for _, a := range company {
			switch {
			case a.act == panics:
				if a.panic != "told" {
					r.Fatalf("caller %d: panic %v", a.id, a.panic)
				}
			case a.act == returnsError:
				if !errors.Is(a.err, errBoom) {
					r.Fatalf("caller %d: %v", a.id, a.err)
				}
			case a.fails() != (a.err != nil) && a.act != shares:
				r.Fatalf("caller %d, act %d: %v", a.id, a.act, a.err)
			case a.act == breaksSQL || a.act == putsOffTwice:
				if !pg.IsUnique(a.err, "") {
					r.Fatalf("caller %d, act %d: %v", a.id, a.act, a.err)
				}
			}
			if a.act == shares && a.err != nil && !fault.Is(a.err, fault.KindConflict) {
				r.Fatalf("shared key: %v", a.err)
			}
		}
		for _, a := range company {
			if a.act != shares || a.err != nil {
				continue
			}
			if was, ok := kept[a.shared]; ok && was != a.content {
				r.Fatalf("%s has two contents", a.shared)
			} else if !ok {
				kept[a.shared] = a.content
				wantLeaves++
			}
		}
		for _, a := range company {
			if a.act == shares && (a.err == nil) != (kept[a.shared] == a.content) {
				r.Fatalf("%s holds %q, a caller with %q got %v", a.shared, kept[a.shared], a.content, a.err)
			}
			_, err := l.ByKey(t.Context(), a.key())
			if !a.fails() {
				if err != nil {
					r.Fatalf("caller %d, act %d: its leaf: %v", a.id, a.act, err)
				}
			} else if !fault.Is(err, fault.KindNotFound) {
				r.Fatalf("caller %d failed and left a leaf: %v", a.id, err)
			}
			var want []int
			switch a.act {
			case writes:
				want = []int{2 * a.id}
			case putsOff:
				want = []int{2*a.id + 1}
			case writesBoth:
				want = []int{2 * a.id, 2*a.id + 1}
			}
			rows, err := pool.Query(t.Context(), `select id from child where id in ($1, $2) order by id`, 2*a.id, 2*a.id+1)
			if err != nil {
				r.Fatal(err)
			}
			got, err := pgx.CollectRows(rows, pgx.RowTo[int])
			if err != nil || !slices.Equal(got, want) {
				r.Fatalf("caller %d, act %d: rows %v, %v", a.id, a.act, got, err)
			}
			wantRows += len(want)
			if a.act != shares && !a.fails() {
				wantLeaves++
			}
		}
	})
	var rows int
	if err := pool.QueryRow(t.Context(), `select count(*) from child`).Scan(&rows); err != nil {
		t.Fatal(err)
	}
	if rep := sound(t, l); rows != wantRows || rep.Entries != wantLeaves {
		t.Fatalf("%d rows of %d, %d leaves of %d", rows, wantRows, rep.Entries, wantLeaves)
	}
}

// Many entries go by COPY, few by INSERT; several processes' appends alternate, so that the open tile that one remembers is another's.
func TestSizesAndServersAlternate(t *testing.T) {
	address := testenv.DatabaseURL(t)
	logs := replicas(t, address, 2)
	one := logs[0]
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		if n > 4000 {
			return
		}
		l := logs[rapid.IntRange(0, 1).Draw(r, "server")]
		size := rapid.OneOf(rapid.IntRange(1, 3), rapid.IntRange(60, 70), rapid.IntRange(250, 600)).Draw(r, "entries")
		err := l.Do(t.Context(), func(_ context.Context, tx *pg.Tx) error {
			for range size {
				n++
				if err := l.Append(tx, viewed(fmt.Sprint("n", n), fmt.Sprint("ev", n%7), "u")); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			r.Fatal(err)
		}
	})
	if rep := sound(t, one); rep.Entries != int64(n) {
		t.Fatalf("%d leaves, %d expected", rep.Entries, n)
	}
}

// replicas are servers on one database that share a signer. None publishes.
func replicas(t *testing.T, address string, n int) []*evlog.Log {
	t.Helper()
	s, err := signer.Open(t.Context(), t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	var logs []*evlog.Log
	for range n {
		l, err := evlog.New(open(t, address), evlog.Options{Signer: s, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, l)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return logs
}
