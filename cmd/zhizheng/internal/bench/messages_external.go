package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/jackc/pgx/v5"
)

// turnOf is one run of one consumer on a fresh broker.
type turnOf struct {
	db     *pgx.Conn
	broker *mosquitto
	c      *consumer
}

type makeConsumer func(*mosquitto) (*consumer, error)

// begin starts broker and consumer and returns when messages come through.
func (b *messageBench) begin(ctx context.Context, make makeConsumer) (t *turnOf, err error) {
	t = &turnOf{}
	defer func() {
		if err != nil {
			err = errors.Join(err, t.end(ctx))
		}
	}()
	if _, err := b.owner.Exec(ctx, `truncate device_message`); err != nil {
		return t, err
	}
	if t.broker, err = b.startMosquitto(ctx); err != nil {
		return t, err
	}
	c, err := make(t.broker)
	if err != nil {
		return t, err
	}
	address := b.postgres.URL()
	if c.table != "device_message" {
		if address, err = withDatabase(address, telegrafDatabase); err != nil {
			return t, err
		}
	}
	if t.db, err = pgx.Connect(ctx, address); err != nil {
		return t, err
	}
	if c.table != "device_message" { // it makes its table itself
		if _, err := t.db.Exec(ctx, `drop table if exists `+c.table); err != nil {
			return t, err
		}
	}
	if _, err := b.owner.Exec(ctx, `checkpoint`); err != nil {
		return t, err
	}
	if err := c.start(b.dir); err != nil {
		return t, err
	}
	t.c = c
	return t, b.warm(ctx, t)
}

// warm publishes until some of it is stored: what comes before the subscription is lost, as it should.
func (b *messageBench) warm(ctx context.Context, t *turnOf) error {
	for begun := time.Now(); time.Since(begun) < time.Minute; {
		b.epoch++
		if err := load(ctx, t.broker.address, b.ids, b.epoch, 2000, 0); err != nil {
			return err
		}
		if err := t.c.alive(ctx, 500*time.Millisecond); err != nil {
			return err
		}
		var there bool
		if err := t.db.QueryRow(ctx, `select to_regclass($1) is not null`, t.c.table).Scan(&there); err != nil {
			return err
		}
		if !there {
			continue
		}
		if n, err := count(ctx, t.db, t.c, b.epoch); err != nil || n > 0 {
			return err
		}
	}
	return errors.New("no message comes through")
}

func (t *turnOf) end(ctx context.Context) (err error) {
	if t.c != nil {
		err = t.c.stop()
	}
	if t.db != nil {
		_ = t.db.Close(ctx)
	}
	if t.broker != nil {
		err = errors.Join(err, t.broker.stop())
	}
	return err
}

// outcome of a run: messages a second, the consumer's CPU a message in µs, and how long after they were due messages were committed, in ms.
type outcome struct{ rate, cpu, p99 float64 }

// measure has n messages consumed. Rate 0 is as fast as the broker takes them; the clock then runs from the first message published to the
// batch with which 98 of 100 are committed, so that a flush interval doesn't count at the end.
func (b *messageBench) measure(ctx context.Context, make makeConsumer, n, rate int) (o outcome, err error) {
	t, err := b.begin(ctx, make)
	if err != nil {
		return o, err
	}
	defer func() { err = errors.Join(err, t.end(ctx)) }()
	b.epoch++
	before, err := cpuOfProcess(t.c.cmd.Process.Pid)
	if err != nil {
		return o, err
	}
	begun := time.Now()
	counted := begun // the first second of a steady rate is not
	if rate > 0 {
		counted = begun.Add(time.Second)
	}
	if err := load(ctx, t.broker.address, b.ids, b.epoch, n, rate); err != nil {
		return o, err
	}
	if err := stored(ctx, t.db, t.c, b.epoch, n); err != nil {
		return o, err
	}
	after, err := cpuOfProcess(t.c.cmd.Process.Pid)
	if err != nil {
		return o, err
	}
	o.cpu = (after - before) / float64(n) * 1e6
	var most int
	err = t.db.QueryRow(ctx, `with m as (select pg_xact_commit_timestamp(xmin) as at, `+t.c.sentAt+` as due from `+t.c.table+` where epoch = $1),
		e as (select percentile_disc(0.98) within group (order by at) as at from m)
		select count(*) filter (where m.at <= e.at) / extract(epoch from max(e.at) - $2)::float8, count(*),
			percentile_cont(0.99) within group (order by extract(epoch from m.at - due)) filter (where due >= $3) * 1000
		from m, e`, b.epoch, begun, counted).Scan(&o.rate, &most, &o.p99)
	if err == nil && most > n && t.c.name == "ours" {
		err = fmt.Errorf("%d messages stored of %d", most, n)
	}
	return o, err
}

// peer says whether there is a Telegraf to compare with.
func peer() (bool, error) {
	_, err := os.Stat(telegrafProgram)
	if errors.Is(err, fs.ErrNotExist) {
		fmt.Fprintln(os.Stderr, "messages: no "+telegrafProgram+", so no figures against Telegraf")
		return false, nil
	}
	return err == nil, err
}

const messageRounds = 3

// external compares consumers of one broker, in turns.
func (b *messageBench) external(ctx context.Context) error {
	telegraf, err := peer()
	if err != nil {
		return err
	}
	ways := []struct {
		name string
		make makeConsumer
		n    int
		all  []outcome
	}{
		{name: "ours", make: b.ours, n: 150_000},
		{name: "insert 1", make: func(m *mosquitto) (*consumer, error) { return b.inserts(m, 1) }, n: 5000},
		{name: "insert 16", make: func(m *mosquitto) (*consumer, error) { return b.inserts(m, 16) }, n: 30_000},
		{name: "tuned", make: func(m *mosquitto) (*consumer, error) { return b.telegraf(m, true) }, n: 150_000},
		{name: "default", make: func(m *mosquitto) (*consumer, error) { return b.telegraf(m, false) }, n: 100_000},
	}
	if !telegraf {
		ways = ways[:3]
	}
	for range messageRounds {
		for i := range ways {
			w := &ways[i]
			o, err := b.measure(ctx, w.make, w.n, 0)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			w.all = append(w.all, o)
		}
	}
	rate := func(o outcome) float64 { return o.rate }
	against := func(i, j int, of func(outcome) float64) float64 {
		var r []float64
		for k := range ways[i].all {
			r = append(r, of(ways[i].all[k])/of(ways[j].all[k]))
		}
		return middle(r)
	}
	var rates []float64
	for _, o := range ways[0].all {
		rates = append(rates, o.rate)
	}
	figure("messages: Mosquitto to commit, numbers and latest state kept", middle(rates), "messages/s", "-")
	figure("messages: … against one INSERT a message, 1 connection", against(0, 1, rate), "x", "≥ 15")
	figure("messages: … against one INSERT a message, 16 connections", against(0, 2, rate), "x", "≥ 6")
	if telegraf {
		cpu := func(o outcome) float64 { return o.cpu }
		figure("messages: … against Telegraf, tuned", against(0, 3, rate), "x", "≥ 1.4")
		figure("messages: … against Telegraf, default", against(0, 4, rate), "x", "≥ 1.9")
		figure("messages: … consumer's CPU a message against Telegraf, tuned", against(0, 3, cpu), "x", "≤ 0.4")
	}
	return nil
}
