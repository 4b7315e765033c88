package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/transcript"
	"zhizheng/internal/pg"
)

// auditing compares reckoning the whole log again with sha256sum of the same bytes: in the database, and offline from an exported copy.
func (b *logBench) auditing(ctx context.Context) (err error) {
	l, err := b.log(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	const entries = 300_000
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
	dir := filepath.Join(b.dir, "copy")
	for size := int64(0); size < entries; { // as far as checkpoints are by now; the next run adds the rest
		x, err := l.Export(ctx, dir, true)
		if err != nil {
			return err
		}
		size = x.Size
	}
	copied := os.DirFS(dir)
	var size int64
	var audits, offlines, sums, ofAudit, ofOffline []float64
	for round := range logRounds + 1 {
		sum, err := timed(func() error {
			out, err := exec.CommandContext(ctx, "sh", "-c", `find "$1" -type f -print0 | xargs -0 sha256sum >/dev/null`, "sh", dir).CombinedOutput()
			if err != nil {
				return fmt.Errorf("sha256sum: %w: %s", err, out)
			}
			return nil
		})
		if err != nil {
			return err
		}
		offline, err := timed(func() error {
			rep, err := transcript.Verify(copied, chain.LogPolicy(l.VKey()))
			if err == nil && (len(rep.Failures) > 0 || rep.Size != entries || rep.Payloads != entries) {
				err = fmt.Errorf("the copy doesn't hold: %+v", rep)
			}
			size = rep.Bytes
			return err
		})
		if err != nil {
			return err
		}
		audit, err := timed(func() error { return sound(ctx, l.Log, entries) })
		if err != nil {
			return err
		}
		if round > 0 {
			sums, audits, offlines = append(sums, sum), append(audits, audit), append(offlines, offline)
			ofAudit, ofOffline = append(ofAudit, sum/audit), append(ofOffline, sum/offline)
		}
	}
	mb := float64(size) / 1e6
	figure(fmt.Sprintf("log: sha256sum of a copy of %d leaves with payloads", entries), mb/middle(sums), "MB/s", "-")
	figure("log: offline verification of this copy", mb/middle(offlines), "MB/s", "-")
	figure("log: offline verification's speed against sha256sum's", middle(ofOffline), "x", "≥ 1.2")
	figure("log: audit of the same leaves in the database", mb/middle(audits), "MB/s", "-")
	figure("log: audit's speed against sha256sum's", middle(ofAudit), "x", "-")
	return nil
}

// timed gives how many seconds an act takes.
func timed(act func() error) (float64, error) {
	began := time.Now()
	err := act()
	return time.Since(began).Seconds(), err
}
