package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"zhizheng/devices"
	"zhizheng/internal/id"
)

const (
	keepalive   = time.Minute
	patience    = 20 * time.Second // for a connection, a write, an acknowledgement
	goodbye     = 2 * time.Second
	minBackoff  = 2 * time.Second
	maxBackoff  = time.Minute
	reportEvery = 5 * time.Second
)

// county is all devices and how many of them are connected.
type county struct {
	c         config
	trust     *tls.Config
	log       *slog.Logger
	devices   []*device
	connected atomic.Int64
	settled   atomic.Int64 // those that have connected once
}

func newCounty(c config, trust *tls.Config, all []credential, log *slog.Logger) *county {
	x := &county{c: c, trust: trust, log: log}
	epoch := time.Now().UnixMilli() // each start is a boot
	for _, cr := range all {
		h := fnv.New64a()
		h.Write([]byte(cr.ID))
		r := rand.New(rand.NewPCG(c.Seed, h.Sum64())) // its own, so that one device more doesn't change the others
		x.devices = append(x.devices, &device{of: x, credential: cr, r: r, epoch: epoch, offset: wrongClock(r), part: newPart(cr.Kind, cr.Play, r)})
	}
	return x
}

// run plays until ctx ends; then every device says goodbye.
func (x *county) run(ctx context.Context) error {
	x.log.InfoContext(ctx, "the county begins", "devices", len(x.devices))
	var wg sync.WaitGroup
	for i, d := range x.devices {
		wg.Go(func() { d.run(ctx, x.c.Ramp*time.Duration(i)/time.Duration(len(x.devices))) })
	}
	wg.Go(func() { x.report(ctx) })
	wg.Wait()
	return nil
}

// report tells when all have come, and when the broker goes and comes back. A line a device would be 1,600.
func (x *county) report(ctx context.Context) {
	up := false
	for wait(ctx, reportEvery) {
		here, came := x.connected.Load(), x.settled.Load()
		x.log.DebugContext(ctx, "county", "connected", here)
		switch {
		case !up && came == int64(len(x.devices)) && here > 0:
			up = true
			x.log.InfoContext(ctx, "the county reports", "devices", came, "connected", here)
		case up && here == 0:
			up = false
			x.log.WarnContext(ctx, "no device is connected any more, all keep trying")
		}
	}
}

// wait waits, and says whether there is more to do.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// device is one device between its connections.
type device struct {
	of *county
	credential
	r      *rand.Rand
	part   *part
	offset time.Duration // of its clock
	epoch  int64
	seq    int64
	last   time.Time // when it last stepped
	unsent *message  // not acknowledged yet: sent again, as it is, on the next connection
	came   bool
}

type message struct {
	topic string
	body  []byte
}

// run connects after its turn and keeps at it; a brief device ends after its one report.
func (d *device) run(ctx context.Context, turn time.Duration) {
	if !wait(ctx, turn) {
		return
	}
	backoff := minBackoff
	for {
		acked := d.seq
		err := d.session(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		d.of.log.DebugContext(ctx, "not connected, trying again", "device", d.ID, "err", err)
		if d.seq > acked {
			backoff = minBackoff
		}
		// Half of it by chance: all of them lose the broker in the same moment.
		if !wait(ctx, backoff+time.Duration(d.r.Int64N(int64(4*minBackoff)))) {
			return
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

var errSlow = errors.New("no answer in time")

// session is one connection: birth, reports, and at the end a goodbye. It returns nil when the device has nothing more to say.
func (d *device) session(ctx context.Context) error {
	session := id.New()
	presence := func(p devices.Presence) []byte {
		p.Session = session
		b, _ := json.Marshal(p) // a string and two bools always marshal
		return b
	}
	conn := devices.UpTopic(d.ID, "conn")
	lost := make(chan error, 1)
	o := mqtt.NewClientOptions().AddBroker(d.of.c.Broker).SetProtocolVersion(4).SetTLSConfig(d.of.trust).
		SetClientID(d.ID).SetUsername(d.ID).SetPassword(d.Token).SetCleanSession(true).
		SetKeepAlive(keepalive).SetConnectTimeout(patience).SetWriteTimeout(patience).
		SetAutoReconnect(false). // its backoff has no jitter
		SetBinaryWill(conn, presence(devices.Presence{}), 1, true).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err })
	client := mqtt.NewClient(o)
	leave := func() error {
		t := client.Publish(conn, 1, true, presence(devices.Presence{Goodbye: true}))
		t.WaitTimeout(goodbye)
		return t.Error()
	}
	done := func(t mqtt.Token) error {
		slow := time.NewTimer(patience)
		defer slow.Stop()
		select {
		case <-t.Done():
			return t.Error()
		case err := <-lost:
			return fmt.Errorf("connection lost: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		case <-slow.C:
			return errSlow
		}
	}
	defer client.Disconnect(uint(goodbye.Milliseconds()))
	if err := done(client.Connect()); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	d.of.connected.Add(1)
	defer d.of.connected.Add(-1)
	if !d.came {
		d.came = true
		d.of.settled.Add(1)
	}
	if err := done(client.Publish(conn, 1, true, presence(devices.Presence{Online: true}))); err != nil {
		return err
	}
	for {
		if d.unsent == nil {
			d.unsent = d.report()
		}
		if err := done(client.Publish(d.unsent.topic, 1, false, d.unsent.body)); err != nil {
			return err
		}
		d.unsent = nil
		if d.Play == playBrief {
			return leave()
		}
		// ± 20 %, so that they don't all speak at once
		t := time.NewTimer(time.Duration(float64(d.of.c.Every) * (0.8 + 0.4*d.r.Float64())))
		select {
		case <-t.C:
		case err := <-lost:
			t.Stop()
			return fmt.Errorf("connection lost: %w", err)
		case <-ctx.Done():
			t.Stop()
			return leave()
		}
	}
}

// report makes the next message.
func (d *device) report() *message {
	now := time.Now()
	kind := "hb"
	if !d.last.IsZero() {
		kind = d.part.step(now.Sub(d.last))
	}
	d.last = now
	d.seq++
	b, _ := json.Marshal(devices.Envelope{Epoch: d.epoch, Seq: d.seq, Time: now.Add(d.offset).UTC(), Data: d.part.snapshot()}) // always marshals
	return &message{topic: devices.UpTopic(d.ID, kind), body: b}
}
