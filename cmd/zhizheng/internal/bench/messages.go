package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/devices"
	"zhizheng/internal/ca"
	"zhizheng/internal/embedded"
	"zhizheng/internal/pg"
)

const fleet = 1600 // the county's devices

// messageBench is a county of registered devices on a cluster of its own, with the product's settings. It keeps the time of each commit,
// by which all consumers are timed alike and without asking while they work.
type messageBench struct {
	dir      string // open to the broker's and the cluster's users
	postgres *embedded.Postgres
	owner    *pgx.Conn
	ids      []string
	ca       *ca.Authority
	epoch    int64 // of the last run: each has its own, so that nothing in it came before
}

// messageFigures are those of ingest's way of messages, from the broker to the commit.
func messageFigures(ctx context.Context, only string) (err error) {
	dir, err := os.MkdirTemp("", "zhizheng-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil {
		return err
	}
	b := &messageBench{dir: dir}
	if err := b.open(ctx); err != nil {
		return errors.Join(err, b.close(context.WithoutCancel(ctx)))
	}
	defer func() { err = errors.Join(err, b.close(context.WithoutCancel(ctx))) }()
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"external", b.external}, {"delay", b.delay}, {"embedded", b.embedded}, {"memory", b.memory},
	} {
		if only != "" && only != part.name {
			continue
		}
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("messages, %s: %w", part.name, err)
		}
	}
	return nil
}

func (b *messageBench) open(ctx context.Context) (err error) {
	o := embedded.PostgresOptions{Dir: b.dir, Cluster: filepath.Join(b.dir, "cluster"), Log: quiet()}
	if b.postgres, err = embedded.StartPostgres(ctx, o); err != nil {
		return err
	}
	if b.owner, err = pgx.Connect(ctx, b.postgres.URL()); err != nil {
		return err
	}
	if _, err := b.owner.Exec(ctx, `alter system set track_commit_timestamp = on`); err != nil {
		return err
	}
	if err := errors.Join(b.owner.Close(ctx), b.postgres.Stop(ctx)); err != nil {
		return err
	}
	if b.postgres, err = embedded.StartPostgres(ctx, o); err != nil {
		return err
	}
	if b.owner, err = pgx.Connect(ctx, b.postgres.URL()); err != nil {
		return err
	}
	if err := pg.Migrate(ctx, b.postgres.URL()); err != nil {
		return err
	}
	if _, err := b.owner.Exec(ctx, `create database `+telegrafDatabase); err != nil {
		return err
	}
	if b.ca, err = ca.Open(b.dir); err != nil {
		return err
	}
	b.ids, err = b.register(ctx, fleet)
	return err
}

func (b *messageBench) close(ctx context.Context) error {
	if b.owner != nil {
		_ = b.owner.Close(ctx) // the cluster goes anyway
	}
	if b.postgres != nil {
		return b.postgres.Stop(ctx)
	}
	return nil
}

// register adds devices to the county and gives their ids.
func (b *messageBench) register(ctx context.Context, n int) ([]string, error) {
	const township = "510821100"
	if _, err := b.owner.Exec(ctx, `insert into township (code, name, kind, position) values ($1, '东河镇', 'town', 1) on conflict do nothing`, township); err != nil {
		return nil, err
	}
	pool, err := pg.Open(ctx, b.postgres.URL(), 4)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	all := make([]devices.Device, n)
	for i := range all {
		all[i] = devices.Device{Serial: fmt.Sprintf("BENCH-%d-%d", n, i), Kind: devices.Recorder, Name: "n", Model: "m", Township: township}
	}
	if err := devices.New(pool, devices.Options{}).Register(ctx, all); err != nil {
		return nil, err
	}
	ids := make([]string, n)
	for i, d := range all {
		ids[i] = d.ID
	}
	return ids, nil
}

// stored waits until all messages of the run are in the table. It looks at the table's size while that grows, which costs next to nothing.
func stored(ctx context.Context, db *pgx.Conn, c *consumer, epoch int64, want int) error {
	var last int64
	still := 0
	for begun := time.Now(); time.Since(begun) < 5*time.Minute; {
		var size int64
		if err := db.QueryRow(ctx, `select coalesce(sum(pg_relation_size(relid)), 0)::bigint from pg_partition_tree($1::regclass)`, c.table).Scan(&size); err != nil {
			return err
		}
		if still++; size != last {
			last, still = size, 0
		}
		if still >= 3 {
			n, err := count(ctx, db, c, epoch)
			if err != nil || n >= want {
				return err
			}
		}
		if err := c.alive(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	n, err := count(ctx, db, c, epoch)
	return errors.Join(fmt.Errorf("%s: %d of %d messages came", c.name, n, want), err)
}

func count(ctx context.Context, db *pgx.Conn, c *consumer, epoch int64) (n int, err error) {
	err = db.QueryRow(ctx, `select count(*) from `+c.table+` where epoch = $1`, epoch).Scan(&n)
	return n, err
}
