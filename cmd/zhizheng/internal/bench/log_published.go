package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/internal/pg"
)

// published measures how long an acknowledged entry waits for a checkpoint that covers it, with writers that come now and then.
func (b *logBench) published(ctx context.Context) (err error) {
	l, err := b.log(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	type covered struct {
		size int64
		at   time.Time
	}
	var seen []covered
	watch, stop := context.WithCancel(ctx)
	defer stop()
	last := make(chan int64, 1) // the size to watch for; then it is over
	watched := make(chan error, 1)
	go func() {
		watched <- func() error {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			var size, newest, end int64
			for end == 0 || newest < end {
				select {
				case <-watch.Done():
					return watch.Err()
				case end = <-last:
				case <-tick.C:
				}
				if err := l.pool.QueryRow(watch, `select size from log_publisher where one`).Scan(&size); err != nil {
					return err
				}
				if size > newest {
					newest = size
					seen = append(seen, covered{size, time.Now()})
				}
			}
			return nil
		}()
	}()
	acknowledged := map[string]time.Time{}
	var mu sync.Mutex
	var next int64
	_, _, err = hammer(ctx, 8, 12*time.Second, &next, func(ctx context.Context, i int64) error {
		e := plainEntry(i)
		if err := l.Do(ctx, func(_ context.Context, tx *pg.Tx) error { return l.Append(tx, e) }); err != nil {
			return err
		}
		mu.Lock()
		acknowledged[e.Key] = time.Now()
		mu.Unlock()
		pause := time.NewTimer(time.Duration(1+i%150) * time.Millisecond)
		defer pause.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-pause.C:
			return nil
		}
	})
	if err != nil {
		return err
	}
	var size int64
	if err := l.pool.QueryRow(ctx, `select size from log_head`).Scan(&size); err != nil {
		return err
	}
	last <- size
	late := time.AfterFunc(10*time.Second, stop)
	defer late.Stop()
	if err := <-watched; err != nil {
		return fmt.Errorf("waiting for a checkpoint of %d leaves: %w", size, err)
	}
	rows, err := l.pool.Query(ctx, `select seq, key from log_entry`)
	if err != nil {
		return err
	}
	var waits []time.Duration
	var seq int64
	var key string
	_, err = pgx.ForEachRow(rows, []any{&seq, &key}, func() error {
		for _, c := range seen {
			if c.size > seq {
				waits = append(waits, max(0, c.at.Sub(acknowledged[key])))
				return nil
			}
		}
		return fmt.Errorf("leaf %d is in no checkpoint", seq)
	})
	if err != nil {
		return err
	}
	figure("log: acknowledged to published, p50", quantile(waits, 0.5).Seconds(), "s", "-")
	figure("log: acknowledged to published, p99", quantile(waits, 0.99).Seconds(), "s", "≤ 1.5")
	return sound(ctx, l.Log, int64(len(waits)))
}
