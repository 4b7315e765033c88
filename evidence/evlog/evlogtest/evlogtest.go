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
	return logIn(t, pool, t.TempDir(), func(*evlog.Log) {})
}

// LogIn is Log with the signer's key in dir, and with something done before it runs.
func LogIn(t testing.TB, pool *pgxpool.Pool, dir string, before ...func(*evlog.Log)) *evlog.Log {
	t.Helper()
	return logIn(t, pool, dir, func(l *evlog.Log) {
		for _, f := range before {
			f(l)
		}
	})
}

// LogWith is Log with something done before it runs, such as setting its witnesses.
func LogWith(t testing.TB, pool *pgxpool.Pool, before func(*evlog.Log)) *evlog.Log {
	t.Helper()
	return logIn(t, pool, t.TempDir(), before)
}

// With is Log with changed options.
func With(t testing.TB, pool *pgxpool.Pool, change func(*evlog.Options)) *evlog.Log {
	t.Helper()
	return Open(t, pool, t.TempDir(), change, func(*evlog.Log) {})
}

func logIn(t testing.TB, pool *pgxpool.Pool, dir string, before func(*evlog.Log)) *evlog.Log {
	t.Helper()
	return Open(t, pool, dir, func(*evlog.Options) {}, before)
}

// Open is Log with the signer's key in dir, changed options, and something done before it runs.
func Open(t testing.TB, pool *pgxpool.Pool, dir string, change func(*evlog.Options), before func(*evlog.Log)) *evlog.Log {
	t.Helper()
	s, err := signer.Open(context.Background(), dir, "test.zhizheng.local/log")
	if err != nil {
		t.Fatal(err)
	}
	o := evlog.Options{Signer: s, Interval: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	change(&o)
	l, err := evlog.New(pool, o)
	if err != nil {
		t.Fatal(err)
	}
	before(l)
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
