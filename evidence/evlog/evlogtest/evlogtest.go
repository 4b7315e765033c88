// Package evlogtest gives tests of other packages a running log: the real engine on their database and a real signer, held in the test's
// own process. It never ships in a command.
package evlogtest

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/signer"
)

// Log opens a log on the pool and publishes checkpoints until the test ends, every 50 ms so that receipts come soon.
func Log(t testing.TB, pool *pgxpool.Pool) *evlog.Log {
	t.Helper()
	return With(t, pool, func(*evlog.Options) {})
}

// With is Log with changed options.
func With(t testing.TB, pool *pgxpool.Pool, change func(*evlog.Options)) *evlog.Log {
	t.Helper()
	s, err := signer.Open(context.Background(), t.TempDir(), "test.zhizheng.local/log")
	if err != nil {
		t.Fatal(err)
	}
	o := evlog.Options{Signer: s, Interval: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	change(&o)
	l, err := evlog.New(pool, o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- l.Run(ctx) }()
	go func() { done <- l.RunStamps(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Errorf("publish checkpoints, stamp them: %v", err)
			}
		}
		if err := l.Close(); err != nil {
			t.Errorf("close log: %v", err)
		}
	})
	return l
}
