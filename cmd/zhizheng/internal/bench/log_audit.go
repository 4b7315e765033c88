package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/chain"
	"zhizheng/internal/pg"
)

// auditing compares reckoning the whole log again with reading the same bytes through sha256sum: leaves, salts and payloads, in a file.
func (b *logBench) auditing(ctx context.Context) (err error) {
	l, err := b.log(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	const entries = 100_000
	for n := int64(0); n < entries; {
		es := make([]chain.Entry, 500)
		for i := range es {
			es[i] = plainEntry(n)
			n++
		}
		if err := l.Do(ctx, func(_ context.Context, tx *pg.Tx) error { return l.Append(tx, es...) }); err != nil {
			return err
		}
	}
	owner, err := pgx.Connect(ctx, l.address)
	if err != nil {
		return err
	}
	defer owner.Close(ctx)
	if _, err := owner.Exec(ctx, `vacuum analyze`); err != nil { // as it is on a log that is not minutes old
		return err
	}
	path := filepath.Join(b.dir, "leaves")
	size, err := export(ctx, owner, path)
	if err != nil {
		return err
	}
	var ratios, ours, theirs []float64
	for round := range logRounds + 1 {
		began := time.Now()
		if out, err := exec.CommandContext(ctx, "sha256sum", path).CombinedOutput(); err != nil {
			return fmt.Errorf("sha256sum: %w: %s", err, out)
		}
		sum := time.Since(began).Seconds()
		began = time.Now()
		if err := sound(ctx, l.Log, entries); err != nil {
			return err
		}
		audit := time.Since(began).Seconds()
		if round > 0 {
			ratios, ours, theirs = append(ratios, sum/audit), append(ours, audit), append(theirs, sum)
		}
	}
	figure(fmt.Sprintf("log: audit of %d leaves in the database", entries), float64(size)/1e6/middle(ours), "MB/s", "-")
	figure("log: sha256sum of the same leaves, salts and payloads in a file", float64(size)/1e6/middle(theirs), "MB/s", "-")
	figure("log: audit's speed against sha256sum's", middle(ratios), "x", "≥ 1.2")
	return nil
}

// export writes leaves, salts and payloads one after another.
func export(ctx context.Context, owner *pgx.Conn, path string) (size int64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := bufio.NewWriterSize(f, 1<<20)
	rows, err := owner.Query(ctx, `select e.bytes, p.salt, p.payload from log_entry e join log_payload p using (seq) order by e.seq`)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		for _, v := range rows.RawValues() {
			size += int64(len(v))
			if _, err := w.Write(v); err != nil {
				return 0, err
			}
		}
	}
	return size, errors.Join(rows.Err(), w.Flush())
}
