package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/internal/embedded"
	"zhizheng/internal/pg"
)

// logBench runs the log's figures on a cluster of its own, with the product's settings: every commit is on disk before it is answered.
type logBench struct {
	dir      string
	postgres *embedded.Postgres
	n        int
}

// logFigures are the log's figures. Ways that are compared run in turns, and the ratio is the median of the turns' ratios: this machine's
// other work then weighs on both alike.
func logFigures(ctx context.Context, only string) (err error) {
	dir, err := os.MkdirTemp("", "zhizheng-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { // the cluster runs as another user, when we are root
		return err
	}
	p, err := embedded.StartPostgres(ctx, embedded.PostgresOptions{Dir: dir, Cluster: filepath.Join(dir, "cluster"), Log: quiet()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.Stop(context.WithoutCancel(ctx))) }()
	b := &logBench{dir: dir, postgres: p}
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"append", b.appending}, {"lone", b.lone}, {"replicas", b.replicas}, {"wal", b.wal}, {"published", b.published}, {"audit", b.auditing},
		{"proof", b.proofFile},
	} {
		if only != "" && only != part.name {
			continue
		}
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("log, %s: %w", part.name, err)
		}
	}
	return nil
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// database makes a migrated database.
func (b *logBench) database(ctx context.Context) (string, error) {
	b.n++
	name := fmt.Sprint("bench", b.n)
	admin, err := pgx.Connect(ctx, b.postgres.URL())
	if err != nil {
		return "", err
	}
	defer admin.Close(ctx)
	if _, err := admin.Exec(ctx, `create database `+name); err != nil {
		return "", err
	}
	address, err := withDatabase(b.postgres.URL(), name)
	if err != nil {
		return "", err
	}
	return address, pg.Migrate(ctx, address)
}

// benchLog is a log on a database of its own, as a server runs it: publishing once a second.
type benchLog struct {
	*evlog.Log
	address string
	pool    *pgxpool.Pool
	dir     string
	stop    func() error
}

func (b *logBench) log(ctx context.Context) (*benchLog, error) {
	address, err := b.database(ctx)
	if err != nil {
		return nil, err
	}
	return openLog(ctx, address, filepath.Join(b.dir, fmt.Sprint("signer", b.n)), true)
}

func openLog(ctx context.Context, address, dir string, publish bool) (*benchLog, error) {
	pool, err := pg.Open(ctx, address, 10)
	if err != nil {
		return nil, err
	}
	s, err := signer.Open(ctx, dir, "bench.zhizheng.local/log")
	if err != nil {
		return nil, err
	}
	l, err := evlog.New(pool, evlog.Options{Signer: s, Logger: quiet()})
	if err != nil {
		return nil, err
	}
	run, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		if !publish {
			done <- nil
			return
		}
		done <- l.Run(run)
	}()
	return &benchLog{Log: l, address: address, pool: pool, dir: dir, stop: func() error {
		cancel()
		err := errors.Join(<-done, l.Close())
		pool.Close()
		return err
	}}, nil
}

// sound audits a log after it was measured: a figure of a log that doesn't hold is none.
func sound(ctx context.Context, l *evlog.Log, entries int64) error {
	rep, err := l.Audit(ctx)
	if err != nil {
		return err
	}
	if len(rep.Findings) > 0 {
		return fmt.Errorf("the log doesn't hold: %s", rep.Findings[0])
	}
	if rep.Entries != entries {
		return fmt.Errorf("%d leaves were acknowledged, %d are there", entries, rep.Entries)
	}
	return nil
}

func middle(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	if len(v)%2 == 0 {
		return (v[len(v)/2-1] + v[len(v)/2]) / 2
	}
	return v[len(v)/2]
}

func quantile(v []time.Duration, q float64) time.Duration {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[min(len(v)-1, int(float64(len(v))*q))]
}
