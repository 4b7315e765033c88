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
	l, _ := LogAndSigner(t, pool)
	return l
}

// LogAndSigner is Log for tests that change the signer's keys.
func LogAndSigner(t testing.TB, pool *pgxpool.Pool) (*evlog.Log, *signer.Signer) {
	t.Helper()
	s, err := signer.Open(context.Background(), t.TempDir(), "test.zhizheng.local/log")
	if err != nil {
		t.Fatal(err)
	}
	l, err := evlog.New(pool, evlog.Options{
		Signer: s, Interval: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("publish checkpoints: %v", err)
		}
		if err := l.Close(); err != nil {
			t.Errorf("close log: %v", err)
		}
	})
	return l, s
}
