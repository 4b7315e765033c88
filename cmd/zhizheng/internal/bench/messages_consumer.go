package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"zhizheng/devices"
	"zhizheng/internal/pg"
)

// consumer is a process that takes messages from the broker into a table with a column epoch.
type consumer struct {
	name, table string
	sentAt      string // SQL of when a message was due
	cmd         *exec.Cmd
	ended       chan error
	said        *os.File
}

const (
	telegrafProgram  = ".cache/telegraf"
	telegrafDatabase = "telegraf"
	memberLines      = 8 // what --mqtt-connections is by default
)

// alive waits a moment; it is an error that the process ended.
func (c *consumer) alive(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case err := <-c.ended:
		c.ended <- err
		text, read := os.ReadFile(c.said.Name())
		return errors.Join(fmt.Errorf("%s ended: %w: %s", c.name, err, text), read)
	case <-time.After(d):
		return nil
	}
}

// start runs the process; what it says goes to a file of its name.
func (c *consumer) start(dir string) (err error) {
	if c.said, err = os.Create(filepath.Join(dir, strings.ReplaceAll(c.name, " ", "-")+".log")); err != nil {
		return err
	}
	c.cmd.Stdout, c.cmd.Stderr = c.said, c.said
	c.ended = make(chan error, 1)
	if err := c.cmd.Start(); err != nil {
		return errors.Join(err, c.said.Close())
	}
	go func() { c.ended <- c.cmd.Wait() }()
	return nil
}

// stop ends it at once: all that it should store is stored.
func (c *consumer) stop() error {
	return errors.Join(c.cmd.Process.Kill(), killed(<-c.ended), c.said.Close())
}

// ours is the platform's own way: shared subscription, numbers, latest state, days.
func (b *messageBench) ours(m *mosquitto) (*consumer, error) {
	return b.self("ours", "message-listener", m.address)
}

// inserts is what a simple consumer does: each message is one INSERT and commit, then acknowledged; no numbers, no latest state.
func (b *messageBench) inserts(m *mosquitto, connections int) (*consumer, error) {
	return b.self(fmt.Sprint("inserts ", connections), "message-inserter", m.address, strconv.Itoa(connections))
}

func (b *messageBench) self(name string, args ...string) (*consumer, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Env = append(os.Environ(), "ZZ_BENCH_DATABASE="+b.postgres.URL()) // it holds a password
	return &consumer{name: name, table: "device_message", sentAt: "device_time", cmd: cmd}, nil
}

// telegraf is the peer a user would pick: its consumer, its own table, acknowledging after the write too (a persistent session, and one database
// connection: with more it acknowledges before). Tuned: as many connections as ours, as large batches, ten flushes a second.
func (b *messageBench) telegraf(m *mosquitto, tuned bool) (*consumer, error) {
	address, err := withDatabase(b.postgres.URL(), telegrafDatabase)
	if err != nil {
		return nil, err
	}
	name, lines, topic, agent, input := "telegraf default", 1, "zz/v1/+/+/up/#", "", ""
	if tuned {
		name, lines, topic = "telegraf tuned", memberLines, "$share/telegraf/zz/v1/+/+/up/#"
		agent = "metric_batch_size = 4000\nmetric_buffer_limit = 100000\nflush_interval = \"100ms\"\nflush_jitter = \"0s\"\n"
		input = "max_undelivered_messages = 4000\n"
	}
	var t strings.Builder
	fmt.Fprintf(&t, "[agent]\nomit_hostname = true\n%s[[outputs.postgresql]]\nconnection = %q\n", agent, address)
	for i := range lines {
		fmt.Fprintf(&t, `[[inputs.mqtt_consumer]]
servers = ["tcp://%s"]
topics = [%q]
qos = 1
persistent_session = true
client_id = "telegraf-%d"
topic_tag = ""
data_format = "json"
json_time_key = "time"
json_time_format = "2006-01-02T15:04:05.999999999Z07:00"
json_string_fields = ["data_state"]
%s[[inputs.mqtt_consumer.topic_parsing]]
topic = "zz/v1/+/+/up/+"
tags = "_/_/_/device/_/kind"
`, m.address, topic, i, input)
	}
	conf := filepath.Join(m.dir, "telegraf.conf")
	if err := os.WriteFile(conf, []byte(t.String()), 0o600); err != nil {
		return nil, err
	}
	return &consumer{name: name, table: "mqtt_consumer", sentAt: "time at time zone 'UTC'", cmd: exec.Command(telegrafProgram, "--config", conf)}, nil
}

// messageListener is the process of ours.
func messageListener(ctx context.Context, broker string) error {
	pool, err := pg.Open(ctx, os.Getenv("ZZ_BENCH_DATABASE"), 24) // as serve opens it
	if err != nil {
		return err
	}
	defer pool.Close()
	svc := devices.New(pool, devices.Options{Logger: quiet()})
	l, err := svc.NewListener(devices.ListenOptions{URL: "mqtt://" + broker, Connections: memberLines, Log: quiet()})
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return svc.Run(ctx) })
	g.Go(func() error { return l.Run(ctx) })
	return g.Wait()
}

// messageInserter is the process of inserts.
func messageInserter(ctx context.Context, broker, connections string) error {
	n, err := strconv.Atoi(connections)
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	for i := range n {
		g.Go(func() error {
			db, err := pgx.Connect(ctx, os.Getenv("ZZ_BENCH_DATABASE"))
			if err != nil {
				return err
			}
			defer db.Close(ctx)
			x, err := login{address: broker, id: fmt.Sprint("inserter-", i)}.open(ctx)
			if err != nil {
				return err
			}
			if err := x.subscribe("$share/inserters/zz/v1/+/+/up/#"); err != nil {
				return err
			}
			return insertEach(ctx, x, db)
		})
	}
	return g.Wait()
}

func insertEach(ctx context.Context, x *wire, db *pgx.Conn) error {
	for {
		got, err := packets.ReadPacket(x.r)
		if err != nil {
			return err
		}
		p, ok := got.(*packets.PublishPacket)
		if !ok {
			return fmt.Errorf("expected PUBLISH: %s", got)
		}
		m, err := devices.ParseMessage(p.TopicName, p.Payload)
		if err != nil {
			return err
		}
		if _, err := db.Exec(ctx, `insert into device_message (device_id, epoch, seq, kind, device_time, received_at, body) values ($1, $2, $3, $4, $5, $6, $7)`,
			m.Device, m.Epoch, m.Seq, m.Kind, m.Time, time.Now(), p.Payload); err != nil {
			return err
		}
		ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
		ack.MessageID = p.MessageID
		if err := errors.Join(ack.Write(x.w), x.w.Flush()); err != nil {
			return err
		}
	}
}
