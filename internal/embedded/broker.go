package embedded

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"

	"zhizheng/internal/ca"
)

// BrokerOptions say where the embedded broker listens and whom it asks. Every question is asked while the device waits.
type BrokerOptions struct {
	Dir    string   // the data folder; the authority that devices trust is in Dir/secrets
	Listen string   // host:port; port 0 takes a free one; "" means 127.0.0.1:0
	Names  []string // further names and addresses under which devices reach this machine

	// Authenticate checks a device's token, or the certificate it showed (of our authority, and in its time; else nil): nil lets it in.
	Authenticate func(ctx context.Context, device, token string, cert *x509.Certificate) error
	// May says whether the device may publish to a topic (write), or subscribe to a filter.
	May func(device, topic string, write bool) bool
	// Publish stores a message. It is acknowledged after nil; after an error the connection is cut, so that the device sends it again.
	Publish func(ctx context.Context, topic string, body []byte) error
	// Online and Offline tell of a connection by its own session id; goodbye is false when the device fell silent.
	Online  func(device, session string)
	Offline func(device, session string, goodbye bool)
	// Listening tells that a device subscribed to what is sent to it; may be nil.
	Listening func(device string)

	MaxClients  int           // 0 means 20,000
	ConnectTime time.Duration // for TLS and CONNECT together; 0 means 15 s
	Log         *slog.Logger  // nil: slog.Default()
}

// Broker is the running broker.
type Broker struct {
	server   *mqtt.Server
	listener *guardedListener
	hook     *brokerHook
	ca       string
	stopOnce sync.Once
	stopping chan struct{}
	stopped  chan struct{}
	stopErr  error // when stopped
	log      *slog.Logger
}

const maxPacket = 64 << 10

// StartBroker listens and returns; from then on devices may connect.
func StartBroker(ctx context.Context, o BrokerOptions) (*Broker, error) {
	if o.Authenticate == nil || o.May == nil || o.Publish == nil || o.Online == nil || o.Offline == nil {
		return nil, errors.New("embedded broker: a question has nobody to answer it")
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.MaxClients == 0 {
		o.MaxClients = 20_000
	}
	if o.ConnectTime == 0 {
		o.ConnectTime = 15 * time.Second
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	addr := orDefault(o.Listen, "127.0.0.1:0")
	authority, err := ca.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("authority of devices: %w", err)
	}
	var lc net.ListenConfig
	tcp, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen for devices on %s: %w", addr, err)
	}
	caps := mqtt.NewDefaultServerCapabilities()
	caps.MaximumClients = int64(o.MaxClients)
	caps.MaximumClientWritesPending = 64 // a channel of that many is made for each connection
	caps.MaximumPacketSize = maxPacket
	caps.ReceiveMaximum = 128
	caps.MaximumInflight = 256
	caps.MaximumSessionExpiryInterval = 24 * 60 * 60
	caps.TopicAliasMaximum = 0 // an alias is resolved after the access check
	caps.SharedSubAvailable = 0
	b := &Broker{
		server: mqtt.New(&mqtt.Options{Capabilities: caps, SysTopicResendInterval: 60, InlineClient: true,
			ClientNetReadBufferSize: 512,                                     // of each connection; what is longer is read past it
			Logger:                  slog.New(errorsOnly{o.Log.Handler()})}), // its warnings print whole packets
		listener: &guardedListener{Listener: tcp, open: map[net.Conn]struct{}{}, most: o.MaxClients + o.MaxClients/10 + 16, patience: o.ConnectTime},
		ca:       authority.File,
		stopping: make(chan struct{}),
		stopped:  make(chan struct{}),
		log:      o.Log,
	}
	b.hook = newBrokerHook(o)
	err = errors.Join(b.server.AddHook(b.hook, nil), b.server.AddListener(listeners.NewNet("tls", tls.NewListener(b.listener, authority.TLS(ca.Names(addr, o.Names))))))
	if err == nil {
		err = b.server.Serve()
	}
	if err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	return b, nil
}

// Addr is the address the broker listens on.
func (b *Broker) Addr() string { return b.listener.Addr().String() }

// URL is the broker's address for clients on this machine.
func (b *Broker) URL() string {
	host, port, err := net.SplitHostPort(b.Addr())
	if ip := net.ParseIP(host); err != nil || ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "mqtts://" + net.JoinHostPort(host, port)
}

// CAFile is the certificate that devices trust.
func (b *Broker) CAFile() string { return b.ca }

// Connected is how many devices are connected.
func (b *Broker) Connected() int { return b.hook.count() }

// Sessions gives who is connected by what: the number of a certificate in hex, or "" for a token.
func (b *Broker) Sessions() map[string]string { return b.hook.credentials() }

// Send publishes to a device once; nil doesn't say that it is there.
func (b *Broker) Send(topic string, body []byte) error {
	return b.server.Publish(topic, body, false, 1)
}

// Disconnect cuts a device's connection, for one whose credential was revoked.
func (b *Broker) Disconnect(device string) {
	if cl, ok := b.server.Clients.Get(device); ok {
		cl.Stop(errRevoked)
	}
}

var errRevoked = errors.New("credential revoked")

// Ready asks whether the broker still takes connections.
func (b *Broker) Ready(ctx context.Context) error {
	select {
	case <-b.stopping:
		return errors.New("stopped")
	default:
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", b.Addr())
	if err != nil {
		return err
	}
	return c.Close()
}

// Stop cuts all connections. A message whose commit runs is not acknowledged any more; its device sends it again. It may be called
// more than once.
func (b *Broker) Stop(ctx context.Context) error {
	b.stopOnce.Do(func() {
		b.hook.cancel()
		close(b.stopping)
		go func() {
			defer close(b.stopped)
			// Close waits for all connections, those that never said CONNECT included: closing the listener cuts them.
			b.stopErr = errors.Join(b.listener.Close(), b.server.Close())
		}()
	})
	late := time.NewTimer(closePatience)
	defer late.Stop()
	select {
	case <-b.stopped:
		return b.stopErr
	case <-late.C:
		// The library's Close now and then waits for a client for ever. Listener and connections are closed by then, and nothing more is taken.
		b.log.WarnContext(ctx, "broker closed without the end of all its clients")
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop the broker: %w", ctx.Err())
	}
}

// closePatience is many times what closing 15,000 connections takes.
const closePatience = 20 * time.Second

// guardedListener bounds what strangers can hold: how many connections, and how long each may take to say who it is. It closes what is
// open when it is closed.
type guardedListener struct {
	net.Listener
	most     int
	patience time.Duration

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	closed bool
}

func (l *guardedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		if err != nil { // out of file descriptors, or the peer has gone: the broker would never accept again after an error
			t := time.NewTimer(50 * time.Millisecond)
			<-t.C
			continue
		}
		g := &guardedConn{Conn: c, of: l}
		if !l.add(g) {
			_ = c.Close() // a refused stranger; there is nobody to tell
			continue
		}
		_ = c.SetDeadline(time.Now().Add(l.patience)) // fails only on a closed connection; the broker sets its own after CONNECT
		return g, nil
	}
}

func (l *guardedListener) add(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed || len(l.open) >= l.most {
		return false
	}
	l.open[c] = struct{}{}
	return true
}

// Close may be called more than once.
func (l *guardedListener) Close() error {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	rest := make([]net.Conn, 0, len(l.open))
	for c := range l.open {
		rest = append(rest, c)
	}
	l.mu.Unlock()
	for _, c := range rest {
		_ = c.Close() // it is being cut
	}
	if !first {
		return nil
	}
	return l.Listener.Close()
}

type guardedConn struct {
	net.Conn
	of *guardedListener
}

func (c *guardedConn) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}

type errorsOnly struct{ slog.Handler }

func (h errorsOnly) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }

// The broker gives each listener a logger with an attribute; it stays filtered.
func (h errorsOnly) WithAttrs(a []slog.Attr) slog.Handler { return errorsOnly{h.Handler.WithAttrs(a)} }
func (h errorsOnly) WithGroup(g string) slog.Handler      { return errorsOnly{h.Handler.WithGroup(g)} }
