package embedded

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"strings"
	"sync"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"golang.org/x/sync/semaphore"

	"zhizheng/internal/id"
)

// brokerHook puts the questions. The broker writes PUBACK after OnPublish returns: what it commits is safe before it is acknowledged.
type brokerHook struct {
	mqtt.HookBase
	o      BrokerOptions
	log    *slog.Logger
	ctx    context.Context
	cancel context.CancelFunc
	logins *semaphore.Weighted // a county that reconnects at once must not take all of the database's connections

	mu       sync.Mutex
	sessions map[*mqtt.Client]session
}

type session struct{ id, credential string }

const (
	maxKeepalive = 15 * 60 // seconds; without one a dead connection would be held for ever
	loginTimeout = 10 * time.Second
	conn         = "/up/conn" // the only kind that may be retained
)

func newBrokerHook(o BrokerOptions) *brokerHook {
	h := &brokerHook{o: o, log: o.Log, logins: semaphore.NewWeighted(8), sessions: map[*mqtt.Client]session{}}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	return h
}

func (h *brokerHook) ID() string { return "platform" }

func (h *brokerHook) Provides(b byte) bool {
	return bytes.IndexByte([]byte{mqtt.OnConnectAuthenticate, mqtt.OnACLCheck, mqtt.OnSessionEstablished, mqtt.OnDisconnect, mqtt.OnPublish, mqtt.OnSubscribed}, b) >= 0
}

// OnConnectAuthenticate lets a device in under its own name only: the client id is what the broker takes sessions over by. The will
// passes no access check later, so it is checked here.
func (h *brokerHook) OnConnectAuthenticate(cl *mqtt.Client, pk packets.Packet) bool {
	c := pk.Connect
	device, cert := string(c.Username), certificate(cl)
	if device == "" && cert != nil { // it has said who it is
		device = cert.Subject.CommonName
	}
	if device == "" || c.ClientIdentifier != device || len(device) > 64 || c.Keepalive == 0 || c.Keepalive > maxKeepalive {
		return false
	}
	if c.WillFlag && (!strings.HasSuffix(c.WillTopic, conn) || !h.o.May(device, c.WillTopic, true)) {
		return false
	}
	ctx, cancel := context.WithTimeout(h.ctx, loginTimeout)
	defer cancel()
	if h.logins.Acquire(ctx, 1) != nil {
		return false
	}
	defer h.logins.Release(1)
	if err := h.o.Authenticate(ctx, device, string(c.Password), cert); err != nil {
		h.log.DebugContext(ctx, "device not let in", "device", device, "err", err)
		return false
	}
	return true
}

// certificate is what the device showed, nil if nothing.
func certificate(cl *mqtt.Client) *x509.Certificate {
	if c, ok := cl.Net.Conn.(*tls.Conn); ok {
		if all := c.ConnectionState().PeerCertificates; len(all) > 0 {
			return all[0]
		}
	}
	return nil
}

func (h *brokerHook) OnACLCheck(cl *mqtt.Client, topic string, write bool) bool {
	return h.o.May(cl.ID, topic, write)
}

// OnPublish commits before the broker acknowledges. Any error but ErrRejectPacket would be ignored and acknowledged.
func (h *brokerHook) OnPublish(cl *mqtt.Client, pk packets.Packet) (packets.Packet, error) {
	if cl.Net.Inline { // our own
		return pk, nil
	}
	if !h.o.May(cl.ID, pk.TopicName, true) { // asked again: the broker may have changed the topic since
		cl.Stop(packets.ErrNotAuthorized)
		return pk, packets.ErrRejectPacket
	}
	if err := h.o.Publish(h.ctx, pk.TopicName, pk.Payload); err != nil {
		h.log.DebugContext(h.ctx, "message not stored, connection cut", "device", cl.ID, "err", err)
		cl.Stop(packets.ErrServerUnavailable)
		return pk, packets.ErrRejectPacket
	}
	if !strings.HasSuffix(pk.TopicName, conn) {
		pk.FixedHeader.Retain = false
	}
	return pk, nil
}

func (h *brokerHook) OnSessionEstablished(cl *mqtt.Client, _ packets.Packet) {
	s := session{id: id.New()}
	if c := certificate(cl); c != nil {
		s.credential = c.SerialNumber.Text(16)
	}
	h.mu.Lock()
	h.sessions[cl] = s
	h.mu.Unlock()
	h.o.Online(cl.ID, s.id)
}

// OnDisconnect comes once for each session, maybe after the device has begun its next one.
func (h *brokerHook) OnDisconnect(cl *mqtt.Client, _ error, _ bool) {
	h.mu.Lock()
	s := h.sessions[cl]
	delete(h.sessions, cl)
	h.mu.Unlock()
	code, _ := cl.StopCause().(packets.Code)
	h.o.Offline(cl.ID, s.id, code == packets.CodeDisconnect)
}

// OnSubscribed comes after the filters were granted or refused; the only ones granted are the device's own.
func (h *brokerHook) OnSubscribed(cl *mqtt.Client, _ packets.Packet, _ []byte) {
	if h.o.Listening != nil && !cl.Net.Inline {
		h.o.Listening(cl.ID)
	}
}

// credentials are those of the connections that are not cut already.
func (h *brokerHook) credentials() map[string]string {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := make(map[string]string, len(h.sessions))
	for cl, s := range h.sessions {
		if !cl.Closed() {
			m[cl.ID] = s.credential
		}
	}
	return m
}

func (h *brokerHook) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.sessions)
}
