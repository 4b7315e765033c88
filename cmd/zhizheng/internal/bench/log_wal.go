package main

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/chain"
	"zhizheng/internal/pg"
)

// wal reports bytes of write-ahead log for a byte of leaf and payload, from one of the database's checkpoints on, images of pages included.
func (b *logBench) wal(ctx context.Context) (err error) {
	for _, batch := range []int{1, 256} {
		if err := b.walOf(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

func (b *logBench) walOf(ctx context.Context, batch int) (err error) {
	l, err := b.log(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	owner, err := pgx.Connect(ctx, l.address)
	if err != nil {
		return err
	}
	defer owner.Close(ctx)
	var next int64
	write := func(entries int) error {
		for n := 0; n < entries; n += batch {
			es := make([]chain.Entry, batch)
			for i := range es {
				es[i] = plainEntry(next)
				next++
			}
			if err := l.Do(ctx, func(_ context.Context, tx *pg.Tx) error { return l.Append(tx, es...) }); err != nil {
				return err
			}
		}
		return nil
	}
	body := func() (n int64, err error) {
		err = owner.QueryRow(ctx, `select (select sum(octet_length(bytes)) from log_entry)::bigint + (select sum(octet_length(payload)) from log_payload)::bigint`).Scan(&n)
		return n, err
	}
	position := func() (n int64, err error) {
		err = owner.QueryRow(ctx, `select (pg_current_wal_insert_lsn() - '0/0')::bigint`).Scan(&n)
		return n, err
	}
	entries := max(2000, min(40*batch*batch, 20_000))
	if err := write(entries / 4); err != nil { // some pages are there already
		return err
	}
	body0, err := body() // before the checkpoint: it also settles which rows are visible, which writes pages with checksums
	if err != nil {
		return err
	}
	if _, err := owner.Exec(ctx, `checkpoint`); err != nil {
		return err
	}
	wal0, err := position()
	if err != nil {
		return err
	}
	if err := write(entries); err != nil {
		return err
	}
	wal1, err := position()
	if err != nil {
		return err
	}
	body1, err := body()
	if err != nil {
		return err
	}
	name, target := "log: WAL bytes per byte of leaf and payload, 256 entries a commit", "≤ 1.5"
	if batch == 1 {
		name, target = "log: WAL bytes per byte of leaf and payload, one entry a commit", "-"
	}
	figure(name, float64(wal1-wal0)/float64(body1-body0), "x", target)
	return nil
}
