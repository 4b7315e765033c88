package devices

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"zhizheng/devices/internal/db"
	"zhizheng/internal/pg"
)

// ListenOptions name an external broker.
type ListenOptions struct {
	URL string // mqtts://user:password@host:port, or mqtt:// without TLS; the ports' defaults are 8883 and 1883
	CA  string // file of the certificate to trust, PEM; "" means the system's
	Log *slog.Logger

	// Member is this server's lasting name among those that share the broker's messages; "" means zhizheng. Under it the broker keeps what
	// was not acknowledged.
	Member      string
	Connections int // 0 means 8; what is in flight on each bounds the rate
}

// Listener takes devices' messages from an external broker, over several connections that share them with those of other servers. It
// acknowledges each after its commit, in the order in which they came. A message that could not be stored ends the connection: the
// broker sends all that was not acknowledged again on the next one. Who is there is heard by every server, over a connection of its own.
type Listener struct {
	svc    *Service
	o      ListenOptions
	broker *url.URL
	tls    *tls.Config // nil without TLS
	up     atomic.Int32
	out    atomic.Pointer[mqtt.Client] // while it is connected
}

// line is one connection to the broker.
type line struct {
	client, filter string
	lasting        bool // the broker keeps what comes while we are away
}

const (
	sharedUp    = "$share/zhizheng/" + topicRoot + "+/+/up/#"
	allPresence = topicRoot + "+/+/up/" + kindConn
	ownTopics   = "zz/platform/" // what the platform says to itself
	inFlight    = 4096           // read ahead of the acknowledgements; brokers send fewer
	patience    = 20 * time.Second
	minBackoff  = time.Second
	maxBackoff  = 30 * time.Second
	refusedByte = 0x80 // SUBACK's return code, MQTT 3.1.1 section 3.9.3
)

// NewListener reads the options; the connection is made by Run.
func (s *Service) NewListener(o ListenOptions) (*Listener, error) {
	if o.Log == nil {
		o.Log = s.log
	}
	if o.Member == "" {
		o.Member = "zhizheng"
	}
	if o.Connections <= 0 {
		o.Connections = 8
	}
	u, err := url.Parse(o.URL)
	if err != nil || u.Hostname() == "" || (u.Scheme != "mqtts" && u.Scheme != "mqtt") {
		return nil, errors.New("address of the MQTT broker: expected mqtts://user:password@host:port") // it holds a password
	}
	l := &Listener{svc: s, o: o, broker: u}
	port := "1883"
	if u.Scheme == "mqtts" {
		port = "8883"
		l.tls = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: u.Hostname()}
		if o.CA != "" {
			b, err := os.ReadFile(o.CA)
			if err != nil {
				return nil, fmt.Errorf("trust of the MQTT broker: %w", err)
			}
			l.tls.RootCAs = x509.NewCertPool()
			if !l.tls.RootCAs.AppendCertsFromPEM(b) {
				return nil, fmt.Errorf("trust of the MQTT broker: %s holds no certificate", o.CA)
			}
		}
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), port)
	}
	return l, nil
}

func (l *Listener) lines() []line {
	all := []line{{l.o.Member + "-here", allPresence, false}}
	for i := range l.o.Connections {
		all = append(all, line{fmt.Sprintf("%s-%d", l.o.Member, i), sharedUp, true})
	}
	return all
}

// Ready tells whether messages are coming in over every connection.
func (l *Listener) Ready(context.Context) error {
	if n := int(l.up.Load()); n <= l.o.Connections {
		return fmt.Errorf("%d of %d connections to the MQTT broker", n, l.o.Connections+1)
	}
	return nil
}

// Send publishes to a device.
func (l *Listener) Send(topic string, body []byte) error {
	c := l.out.Load()
	if c == nil {
		return errors.New("not connected to the MQTT broker")
	}
	t := (*c).Publish(topic, 1, false, body)
	if !t.WaitTimeout(patience) {
		return errors.New("no answer in time")
	}
	return t.Error()
}

// CutOff ends a device's connection: a broker closes it when another one comes under the same client id (MQTT 3.1.1, section 3.1.4), which we do and
// go again. The device's session goes with it.
func (l *Listener) CutOff(device string) error {
	c := mqtt.NewClient(l.options(line{client: device}, true))
	defer c.Disconnect(100)
	t := c.Connect()
	if !t.WaitTimeout(patience) {
		return errors.New("no answer in time")
	}
	return t.Error()
}

// errLeaving ends a session for good: the broker shall keep nothing for it any more.
var errLeaving = errors.New("leaving")

// Run listens until ctx ends, and connects again for as long as it takes. Messages are taken while the service's Run runs. At the end
// it leaves the share if another server is there; else the broker keeps what comes for our next start.
func (l *Listener) Run(ctx context.Context) error {
	work, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	var g sync.WaitGroup
	for _, x := range l.lines() {
		g.Go(func() { l.keep(work, x) })
	}
	t := time.NewTicker(10 * time.Second)
	defer t.Stop()
	for ctx.Err() == nil {
		if err := l.svc.q.SeeMember(ctx, l.o.Member); err != nil && ctx.Err() == nil {
			l.o.Log.WarnContext(ctx, "this server's place in the share not noted, trying again", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-t.C:
		}
	}
	if l.mayLeave(work) {
		end(errLeaving)
	}
	end(nil)
	g.Wait()
	return nil
}

// mayLeave takes our name off if another's is there; of two that stop at once, one stays.
func (l *Listener) mayLeave(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var n int64
	err := pg.InTx(ctx, l.svc.pool, func(tx *pg.Tx) (err error) {
		q := db.New(tx)
		if err = q.LockMembers(ctx); err == nil {
			n, err = q.LeaveMember(ctx, l.o.Member)
		}
		return err
	})
	return err == nil && n > 0
}

// keep holds one line until ctx ends.
func (l *Listener) keep(ctx context.Context, x line) {
	backoff := minBackoff
	for {
		begun := time.Now()
		err := l.session(ctx, x)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) > time.Minute {
			backoff = minBackoff
		}
		l.o.Log.WarnContext(ctx, "not listening to the MQTT broker, trying again", "client", x.client, "in", backoff, "err", err)
		t := time.NewTimer(backoff)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// delivery is a message on its way to its acknowledgement.
type delivery struct {
	msg  mqtt.Message
	done chan error
}

// session is one connection. A client of its own for each, because the library drops acknowledgements of messages that came over the
// connection before.
func (l *Listener) session(outer context.Context, x line) error {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(outer)) // it outlives outer by its leaving
	defer cancel(nil)
	pending := make(chan delivery, inFlight)
	last := make(chan struct{})                   // all that the broker kept for us has come
	take := func(_ mqtt.Client, m mqtt.Message) { // called in order; it waits while the queue is full
		d := delivery{m, make(chan error, 1)}
		device, kind, err := ParseTopic(m.Topic())
		if x.lasting {
			// Only counted. The broker has acknowledged it, so the device would not notice a delay; its neighbours would, because
			// acknowledgements go out in order, and the broker's queue is theirs too.
			l.svc.measure(ctx, device)
		}
		switch {
		case strings.HasPrefix(m.Topic(), ownTopics):
			d.done <- nil
			close(last)
		case err == nil && kind == kindConn && x.lasting: // heard in its order over the other line
			d.done <- nil
		default:
			if err := l.svc.Enqueue(ctx, m.Topic(), m.Payload(), func(err error) { d.done <- err }); err != nil {
				d.done <- err
			}
		}
		select {
		case pending <- d:
		case <-ctx.Done():
		}
	}
	client := mqtt.NewClient(l.options(x, !x.lasting).SetDefaultPublishHandler(take).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { cancel(fmt.Errorf("connection lost: %w", err)) }))
	acked := make(chan struct{})
	go func() {
		defer close(acked)
		acknowledge(ctx, cancel, pending)
	}()
	defer func() {
		cancel(nil)
		<-acked
		client.Disconnect(1000)
	}()
	stop := context.AfterFunc(outer, func() { // before the line stands there is nothing to leave
		if !errors.Is(context.Cause(outer), errLeaving) {
			cancel(context.Cause(outer))
		}
	})
	defer stop()
	// What the broker kept for us comes at once, before the subscription is confirmed.
	if err := finished(ctx, client.Connect()); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err := subscribe(ctx, client, x.filter); err != nil {
		return err
	}
	l.up.Add(1)
	defer l.up.Add(-1)
	if !x.lasting {
		l.out.Store(&client)
		defer l.out.Store(nil)
	}
	l.o.Log.DebugContext(ctx, "listening to the MQTT broker", "broker", l.broker.Host, "client", x.client)
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-outer.Done():
	}
	if !x.lasting || !errors.Is(context.Cause(outer), errLeaving) {
		return context.Cause(outer)
	}
	err := l.leave(ctx, client, x, last)
	cancel(errLeaving)
	<-acked
	if err == nil && errors.Is(context.Cause(ctx), errLeaving) { // nothing failed on the way: the broker may forget us
		client.Disconnect(1000)
		client = mqtt.NewClient(l.options(x, true))
		err = finished(context.WithoutCancel(ctx), client.Connect())
	}
	if err != nil { // what it keeps for us comes when we are back
		l.o.Log.WarnContext(ctx, "share of messages not given back", "client", x.client, "err", err)
	}
	return err
}

// leave ends the subscription and waits for what the broker had put aside for us: a message to ourselves comes after all of it.
func (l *Listener) leave(ctx context.Context, client mqtt.Client, x line, last <-chan struct{}) error {
	if err := finished(ctx, client.Unsubscribe(x.filter)); err != nil {
		return fmt.Errorf("unsubscribe: %w", err)
	}
	own := ownTopics + x.client
	if err := subscribe(ctx, client, own); err != nil {
		return err
	}
	if err := finished(ctx, client.Publish(own, 1, false, "")); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	slow := time.NewTimer(2 * time.Minute)
	defer slow.Stop()
	select {
	case <-last:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-slow.C:
		return errors.New("the broker has not sent all in time")
	}
}

func subscribe(ctx context.Context, client mqtt.Client, filter string) error {
	sub := client.Subscribe(filter, 1, nil).(*mqtt.SubscribeToken)
	if err := finished(ctx, sub); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if sub.Result()[filter] == refusedByte {
		return fmt.Errorf("the broker refuses the subscription to %s", filter)
	}
	return nil
}

// acknowledge answers in the order in which messages came (MQTT 3.1.1 section 4.6), each after its commit. At the end it still answers
// what is on its way, so that a stop doesn't make the broker send it again.
func acknowledge(ctx context.Context, fail context.CancelCauseFunc, pending <-chan delivery) {
	for {
		var d delivery
		select {
		case d = <-pending:
		default:
			select {
			case d = <-pending:
			case <-ctx.Done():
				return
			}
		}
		if err := <-d.done; err != nil { // a batch ends by itself, within its timeout
			fail(fmt.Errorf("message not stored: %w", err))
			return
		}
		d.msg.Ack()
	}
}

func finished(ctx context.Context, t mqtt.Token) error {
	slow := time.NewTimer(patience)
	defer slow.Stop()
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-slow.C:
		return errors.New("no answer in time")
	}
}

func (l *Listener) options(x line, clean bool) *mqtt.ClientOptions {
	o := mqtt.NewClientOptions().AddBroker(l.broker.Scheme + "://" + l.broker.Host).SetProtocolVersion(4).SetClientID(x.client).
		SetCleanSession(clean).SetAutoAckDisabled(true).SetOrderMatters(true).SetAutoReconnect(false).
		SetKeepAlive(30 * time.Second).SetPingTimeout(patience).SetConnectTimeout(patience).SetWriteTimeout(patience).
		SetCustomOpenConnectionFn(l.dial).SetStore(noStore{})
	if l.broker.User != nil {
		o.SetUsername(l.broker.User.Username())
		if p, ok := l.broker.User.Password(); ok {
			o.SetPassword(p)
		}
	}
	return o
}

// dial puts buffers around the connection: the library reads a message in four pieces and writes each acknowledgement alone, every one a
// system call, and with TLS a record.
func (l *Listener) dial(u *url.URL, _ mqtt.ClientOptions) (net.Conn, error) {
	d := &net.Dialer{Timeout: patience}
	var c net.Conn
	var err error
	if l.tls == nil {
		c, err = d.Dial("tcp", u.Host)
	} else {
		c, err = tls.DialWithDialer(d, "tcp", u.Host, l.tls)
	}
	if err != nil {
		return nil, err
	}
	return newBufferedConn(c), nil
}

// bufferedConn gathers what is written in a moment.
type bufferedConn struct {
	net.Conn
	r *bufio.Reader

	mu      sync.Mutex
	idle    sync.Cond // nothing is being written
	out     []byte
	writing bool
	err     error // of a write; what comes after it goes nowhere
}

const (
	outBuffer = 64 << 10
	gather    = 500 * time.Microsecond // the acknowledgements of a batch come within it
)

func newBufferedConn(c net.Conn) *bufferedConn {
	b := &bufferedConn{Conn: c, r: bufio.NewReaderSize(c, 16<<10)}
	b.idle.L = &b.mu
	return b
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }

// Write fails with the error of an earlier write.
func (c *bufferedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && c.writing && len(c.out) > outBuffer {
		c.idle.Wait()
	}
	if c.err != nil {
		return 0, c.err
	}
	c.out = append(c.out, p...)
	if !c.writing {
		c.writing = true
		go c.flush()
	}
	return len(p), nil
}

func (c *bufferedConn) flush() {
	var spare []byte
	time.Sleep(gather)
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.err == nil && len(c.out) > 0 {
		b := c.out
		c.out = spare[:0]
		c.mu.Unlock()
		_, err := c.Conn.Write(b)
		spare = b
		c.mu.Lock()
		c.err = err
		c.idle.Broadcast()
	}
	c.writing = false
	c.idle.Broadcast()
}

// Close waits a moment for what is being written, goodbye and last acknowledgements among it.
func (c *bufferedConn) Close() error {
	late := time.AfterFunc(2*time.Second, func() { _ = c.Conn.Close() }) // ends a write that hangs
	defer late.Stop()
	c.mu.Lock()
	for c.writing {
		c.idle.Wait()
	}
	c.mu.Unlock()
	return c.Conn.Close()
}

// noStore keeps nothing for the next connection, which has a client of its own: the broker sends again what was not acknowledged.
type noStore struct{}

func (noStore) Open()                             {}
func (noStore) Put(string, packets.ControlPacket) {}
func (noStore) Get(string) packets.ControlPacket  { return nil }
func (noStore) All() []string                     { return nil }
func (noStore) Del(string)                        {}
func (noStore) Close()                            {}
func (noStore) Reset()                            {}
