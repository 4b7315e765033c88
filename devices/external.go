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
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// ListenOptions name an external broker.
type ListenOptions struct {
	URL    string // mqtts://user:password@host:port, or mqtt:// without TLS; the ports' defaults are 8883 and 1883
	CA     string // file of the certificate to trust, PEM; "" means the system's
	Client string // the client id, "" means zhizheng; under it the broker keeps what was not acknowledged
	Log    *slog.Logger
}

// Listener takes devices' messages from an external broker. It acknowledges each after its commit, in the order in which they came. A
// message that could not be stored ends the connection: the broker sends all that was not acknowledged again on the next one.
type Listener struct {
	svc    *Service
	o      ListenOptions
	broker *url.URL
	tls    *tls.Config // nil without TLS
	up     atomic.Bool
}

const (
	allUp       = topicRoot + "+/+/up/#"
	inFlight    = 4096 // read ahead of the acknowledgements; brokers send fewer
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
	if o.Client == "" {
		o.Client = "zhizheng"
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

// Ready tells whether messages are coming in.
func (l *Listener) Ready(context.Context) error {
	if !l.up.Load() {
		return errors.New("not connected to the MQTT broker")
	}
	return nil
}

// Run listens until ctx ends, and connects again for as long as it takes. Messages are taken while the service's Run runs.
func (l *Listener) Run(ctx context.Context) error {
	backoff := minBackoff
	for {
		begun := time.Now()
		err := l.session(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if time.Since(begun) > time.Minute {
			backoff = minBackoff
		}
		l.o.Log.WarnContext(ctx, "not listening to the MQTT broker, trying again", "in", backoff, "err", err)
		t := time.NewTimer(backoff)
		select {
		case <-ctx.Done():
			t.Stop()
			return nil
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
func (l *Listener) session(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pending := make(chan delivery, inFlight)
	take := func(_ mqtt.Client, m mqtt.Message) { // called in order; it waits while the queue is full
		d := delivery{m, make(chan error, 1)}
		if err := l.svc.Enqueue(ctx, m.Topic(), m.Payload(), func(err error) { d.done <- err }); err != nil {
			d.done <- err
		}
		select {
		case pending <- d:
		default:
			select {
			case pending <- d:
			case <-ctx.Done():
			}
		}
	}
	client := mqtt.NewClient(l.options().SetDefaultPublishHandler(take).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { cancel(fmt.Errorf("connection lost: %w", err)) }))
	acked := make(chan struct{})
	go func() {
		defer close(acked)
		acknowledge(ctx, cancel, pending)
	}()
	defer func() {
		l.up.Store(false)
		cancel(nil)
		<-acked
		client.Disconnect(1000)
	}()
	// What the broker kept for us comes at once, before the subscription is confirmed.
	if err := finished(ctx, client.Connect()); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	sub := client.Subscribe(allUp, 1, nil).(*mqtt.SubscribeToken)
	if err := finished(ctx, sub); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	if sub.Result()[allUp] == refusedByte {
		return fmt.Errorf("the broker refuses the subscription to %s", allUp)
	}
	l.up.Store(true)
	l.o.Log.InfoContext(ctx, "listening to the MQTT broker", "broker", l.broker.Host)
	<-ctx.Done()
	return context.Cause(ctx)
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

func (l *Listener) options() *mqtt.ClientOptions {
	o := mqtt.NewClientOptions().AddBroker(l.broker.Scheme + "://" + l.broker.Host).SetProtocolVersion(4).SetClientID(l.o.Client).
		SetCleanSession(false).SetAutoAckDisabled(true).SetOrderMatters(true).SetAutoReconnect(false).
		SetKeepAlive(30 * time.Second).SetPingTimeout(patience).SetConnectTimeout(patience).SetWriteTimeout(patience).
		SetCustomOpenConnectionFn(l.dial)
	if l.broker.User != nil {
		o.SetUsername(l.broker.User.Username())
		if p, ok := l.broker.User.Password(); ok {
			o.SetPassword(p)
		}
	}
	return o
}

// dial reads through a buffer: the library reads a message in four pieces, each a system call.
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
	return &bufferedConn{c, bufio.NewReaderSize(c, 16<<10)}, nil
}

type bufferedConn struct {
	net.Conn
	r *bufio.Reader
}

func (c *bufferedConn) Read(p []byte) (int, error) { return c.r.Read(p) }
