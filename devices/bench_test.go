package devices_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/devices"
	"zhizheng/internal/embedded"
	"zhizheng/internal/pg"
)

const fleet = 1600

// durable is a database that syncs, as in production, and the registered fleet.
func durable(b *testing.B) (*pgxpool.Pool, *devices.Service, []string) {
	b.Helper()
	dir, err := os.MkdirTemp("", "zz-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		b.Fatal(err)
	}
	db, err := embedded.StartPostgres(b.Context(), embedded.PostgresOptions{Dir: dir, Cluster: filepath.Join(dir, "cluster"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Stop(context.Background()); err != nil {
			b.Error(err)
		}
	})
	if err := pg.Migrate(b.Context(), db.URL()); err != nil {
		b.Fatal(err)
	}
	pool, err := pg.Open(b.Context(), db.URL(), 20)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	if _, err := pool.Exec(b.Context(), `insert into township (code, name, kind, position) values ($1, '东河镇', 'town', 1)`, donghe); err != nil {
		b.Fatal(err)
	}
	svc := devices.New(pool, devices.Options{})
	all := make([]devices.Device, fleet)
	for i := range all {
		all[i] = devices.Device{Serial: fmt.Sprintf("B-%d", i), Kind: devices.Recorder, Name: "n", Model: "m", Township: donghe}
	}
	if err := svc.Register(b.Context(), all); err != nil {
		b.Fatal(err)
	}
	ids := make([]string, fleet)
	for i, d := range all {
		ids[i] = d.ID
	}
	return pool, svc, ids
}

// spread runs b.N messages over so many senders, each waiting for its acknowledgement.
func spread(b *testing.B, senders int, send func(device int, seq int64) error) {
	b.Helper()
	var n atomic.Int64
	var wg sync.WaitGroup
	b.ResetTimer()
	begun := time.Now()
	for range senders {
		wg.Go(func() {
			for {
				i := n.Add(1)
				if i > int64(b.N) {
					return
				}
				if err := send(int(i)%fleet, i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/time.Since(begun).Seconds(), "messages/s")
}

// BenchmarkTake is the whole way of a message behind the broker: understood, deduplicated, stored, latest state, committed durably.
func BenchmarkTake(b *testing.B) {
	_, svc, ids := durable(b)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- svc.Run(ctx) }()
	defer func() { stop(); <-done }()
	at := time.Now()
	spread(b, fleet, func(d int, seq int64) error {
		return svc.Take(ctx, devices.UpTopic(ids[d], "hb"), heartbeat(1, seq, at, int(seq%101)))
	})
}

const insertOne = `insert into device_message (device_id, epoch, seq, kind, device_time, received_at, body) values ($1, 1, $2, 'hb', $3, $3, $4)`

// BenchmarkInsert is one INSERT and commit for each message, without latest state: what a simple consumer does.
func BenchmarkInsert(b *testing.B) {
	for _, senders := range []int{1, 16} {
		b.Run(fmt.Sprintf("connections=%d", senders), func(b *testing.B) {
			pool, _, ids := durable(b)
			at := time.Now()
			spread(b, senders, func(d int, seq int64) error {
				_, err := pool.Exec(b.Context(), insertOne, ids[d], seq, at, heartbeat(1, seq, at, int(seq%101)))
				return err
			})
		})
	}
}

// BenchmarkCopy is the same rows by COPY, 4,000 a transaction, without dedup and state: as fast as this table can be filled.
func BenchmarkCopy(b *testing.B) {
	pool, _, ids := durable(b)
	at := time.Now()
	columns := []string{"device_id", "epoch", "seq", "kind", "device_time", "received_at", "body"}
	b.ResetTimer()
	begun := time.Now()
	for done := 0; done < b.N; {
		n := min(4000, b.N-done)
		_, err := pool.CopyFrom(b.Context(), pgx.Identifier{"device_message"}, columns, pgx.CopyFromSlice(n, func(i int) ([]any, error) {
			seq := int64(done + i)
			return []any{ids[seq%fleet], int64(1), seq, "hb", at, at, heartbeat(1, seq, at, int(seq%101))}, nil
		}))
		if err != nil {
			b.Fatal(err)
		}
		done += n
	}
	b.ReportMetric(float64(b.N)/time.Since(begun).Seconds(), "messages/s")
}
