package main

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"zhizheng/internal/pg"
)

// lone compares one writer with what the disk needs for 8 KB, one after the other.
func (b *logBench) lone(ctx context.Context) (err error) {
	l, err := b.log(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	f, err := os.OpenFile(filepath.Join(b.dir, "probe"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	const n, block = 400, 8192
	if _, err := f.Write(make([]byte, n*block)); err != nil { // like a WAL segment: its blocks are there before
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	var probe, ours []time.Duration
	page := make([]byte, block)
	for i := range n {
		_, _ = rand.Read(page) // never fails since Go 1.24
		began := time.Now()
		if _, err := f.WriteAt(page, int64(i)*block); err != nil {
			return err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return err
		}
		probe = append(probe, time.Since(began))
		began = time.Now()
		if err := l.Do(ctx, func(_ context.Context, tx *pg.Tx) error { return l.Append(tx, plainEntry(int64(i))) }); err != nil {
			return err
		}
		ours = append(ours, time.Since(began))
	}
	p, o := quantile(probe, 0.5), quantile(ours, 0.5)
	figure("log: lone writer, p50", float64(o.Microseconds())/1000, "ms", "-")
	figure("log: 8 KB written and fdatasync, p50", float64(p.Microseconds())/1000, "ms", "-")
	figure("log: lone writer against fdatasync, p50", float64(o)/float64(p), "x", "≤ 6")
	return sound(ctx, l.Log, n)
}
