package evlog_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/evlogtest"
	"zhizheng/internal/pg"
	"zhizheng/internal/testenv"
)

// BenchmarkAppend compares ways of one entry into the database, by writers at once:
//
//	raw    one insert a transaction into a plain table, the floor that PostgreSQL sets
//	lock   one log entry a transaction, under the head's lock
//	do     group commit
//	do-sql group commit of an entry with a row of the caller's
func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 16, 256} {
		for _, way := range []string{"raw", "lock", "do", "do-sql"} {
			b.Run(fmt.Sprintf("%s/writers=%d", way, writers), func(b *testing.B) { benchAppend(b, way, writers) })
		}
	}
}

func benchAppend(b *testing.B, way string, writers int) {
	url := testenv.DatabaseURL(b)
	pool := open(b, url)
	own := owner(b, url)
	exec(b, own, `create table raw (id text primary key, body bytea)`)
	exec(b, own, `grant insert on raw to `+pg.AppRole)
	l := evlogtest.Log(b, pool)
	body := make([]byte, 400)
	write := map[string]func(i int64) error{
		"raw": func(i int64) error {
			_, err := pool.Exec(b.Context(), `insert into raw values ($1, $2)`, fmt.Sprint("r", i), body)
			return err
		},
		"lock": func(i int64) error {
			return pg.InTx(b.Context(), pool, func(tx *pg.Tx) error { return l.Append(tx, viewed(fmt.Sprint("k", i), fmt.Sprint("ev", i%1000), "u")) })
		},
		"do": func(i int64) error {
			return l.Do(b.Context(), func(_ context.Context, tx *pg.Tx) error {
				return l.Append(tx, viewed(fmt.Sprint("k", i), fmt.Sprint("ev", i%1000), "u"))
			})
		},
		"do-sql": func(i int64) error {
			return l.Do(b.Context(), func(ctx context.Context, tx *pg.Tx) error {
				if _, err := tx.Exec(ctx, `insert into raw values ($1, $2)`, fmt.Sprint("d", i), body); err != nil {
					return err
				}
				return l.Append(tx, viewed(fmt.Sprint("k", i), fmt.Sprint("ev", i%1000), "u"))
			})
		},
	}[way]
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	for range writers {
		wg.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(b.N) {
					return
				}
				if err := write(i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "entries/s")
}

// BenchmarkWAL reports bytes of write-ahead log per byte of leaf and payload, with payloads of 450 bytes.
func BenchmarkWAL(b *testing.B) {
	for _, batch := range []int{1, 256} {
		b.Run(fmt.Sprintf("entries=%d", batch), func(b *testing.B) {
			address := testenv.DatabaseURL(b)
			pool := open(b, address)
			l := evlogtest.Log(b, pool)
			own := owner(b, address)
			position := func() (n int64) {
				if err := own.QueryRow(b.Context(), `select (pg_current_wal_insert_lsn() - '0/0')::bigint`).Scan(&n); err != nil {
					b.Fatal(err)
				}
				return n
			}
			exec(b, own, `checkpoint`)
			var body int64
			before, n := position(), 0
			for b.Loop() {
				var es []chain.Entry
				for range batch {
					e := viewed(fmt.Sprint("k", n), fmt.Sprint("ev", n%1000), "u")
					e.Payload = chain.NotePayload{Bytes: make([]byte, 440)}
					es = append(es, e)
					body += 450 + 135
					n++
				}
				add(b, l, pool, es...)
			}
			b.ReportMetric(float64(position()-before)/float64(body), "wal/body")
		})
	}
}
