package embedded_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"zhizheng/internal/embedded"
)

// anyDevice lets every device in and stores nothing: these tests are of the broker, those of package devices of what stands behind it.
func anyDevice(dir string) embedded.BrokerOptions {
	return embedded.BrokerOptions{Dir: dir, Log: slog.New(slog.DiscardHandler),
		Authenticate: func(context.Context, string, string, *x509.Certificate) error { return nil },
		May:          func(device, topic string, write bool) bool { return strings.HasPrefix(topic, device+"/") },
		Publish:      func(context.Context, string, []byte) error { return nil },
		Online:       func(string, string) {}, Offline: func(string, string, bool) {}}
}

func startBroker(t *testing.T, o embedded.BrokerOptions) *embedded.Broker {
	t.Helper()
	b, err := embedded.StartBroker(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return b
}

func trusting(t *testing.T, file string) *tls.Config {
	t.Helper()
	pem, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate")
	}
	return &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
}

// connected is a device's connection over TLS; wire is what is under it.
func connected(t *testing.T, b *embedded.Broker, device string) (c mqtt.Client, wire net.Conn) {
	t.Helper()
	conf := trusting(t, b.CAFile())
	o := mqtt.NewClientOptions().AddBroker(b.URL()).SetClientID(device).SetUsername(device).SetPassword("x").SetProtocolVersion(4).SetAutoReconnect(false).
		SetCustomOpenConnectionFn(func(u *url.URL, _ mqtt.ClientOptions) (net.Conn, error) {
			var err error
			wire, err = tls.Dial("tcp", u.Host, conf)
			return wire, err
		})
	c = mqtt.NewClient(o)
	t.Cleanup(func() { c.Disconnect(100) })
	if tok := c.Connect(); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
		t.Fatalf("connect: %v", tok.Error())
	}
	return c, wire
}

// Devices trust the same authority for as long as the data folder lives; its key is for us alone.
func TestBrokerAuthority(t *testing.T) {
	dir := t.TempDir()
	b := startBroker(t, anyDevice(dir))
	key, ca := filepath.Join(dir, "secrets", "mqtt-ca.key"), b.CAFile()
	st, err := os.Stat(key)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("key: %v, %v", st, err)
	}
	old := trusting(t, ca)
	if err := b.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	reach := func(b *embedded.Broker) error {
		c, err := tls.Dial("tcp", b.Addr(), old)
		if err == nil {
			c.Close()
		}
		return err
	}
	b = startBroker(t, anyDevice(dir))
	if err := reach(b); err != nil {
		t.Fatalf("after a restart: %v", err)
	}
	if err := b.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A crash between key and certificate: the next start makes the certificate for that key.
	if err := os.Remove(ca); err != nil {
		t.Fatal(err)
	}
	b = startBroker(t, anyDevice(dir))
	if err := b.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A key and a certificate that don't belong together are told, not replaced: devices out there trust the old one.
	other := startBroker(t, anyDevice(t.TempDir()))
	pem, err := os.ReadFile(other.CAFile())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(ca, pem, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := embedded.StartBroker(t.Context(), anyDevice(dir)); err == nil || !strings.Contains(err.Error(), "mqtt-ca") {
		t.Fatalf("started with a foreign certificate: %v", err)
	}
}

// Connections that say nothing are cut, and can't take the places of devices.
func TestBrokerCutsStrangers(t *testing.T) {
	o := anyDevice(t.TempDir())
	o.ConnectTime, o.MaxClients = 3*time.Second, 1 // 17 connections in all
	b := startBroker(t, o)
	conf := trusting(t, b.CAFile())
	c, _ := connected(t, b, "device")
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			conn, err := net.Dial("tcp", b.Addr())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			if i%2 == 0 { // those that begin with TLS, too; the refused ones fail here
				s := tls.Client(conn, conf)
				if s.Handshake() != nil {
					return
				}
				conn = s
			}
			if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Error(err)
			}
			if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error("a silent connection was held")
			}
		})
	}
	wg.Wait()
	if tok := c.Publish("device/x", 1, false, "still here"); !tok.WaitTimeout(time.Minute) || tok.Error() != nil {
		t.Fatalf("the device that did say who it is: %v", tok.Error())
	}
	if n := b.Connected(); n != 1 {
		t.Fatalf("%d connected", n)
	}
}

// Each session's end is told once, under its own name, with how it ended; nothing of a message gets into the log.
func TestBrokerTellsSessions(t *testing.T) {
	type end struct {
		session string
		goodbye bool
	}
	begun, ended := make(chan string, 8), make(chan end, 8)
	var log strings.Builder
	o := anyDevice(t.TempDir())
	o.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	o.Online = func(_, session string) { begun <- session }
	o.Offline = func(_, session string, goodbye bool) { ended <- end{session, goodbye} }
	o.Publish = func(_ context.Context, topic string, _ []byte) error {
		if strings.HasSuffix(topic, "/bad") {
			return errors.New("no room")
		}
		return nil
	}
	b := startBroker(t, o)
	next := func(session string, goodbye bool, how string) {
		t.Helper()
		if e := <-ended; e.session != session || e.goodbye != goodbye {
			t.Fatalf("%s: %+v of %s", how, e, session)
		}
	}
	c, _ := connected(t, b, "d")
	s := <-begun
	c.Disconnect(1000)
	next(s, true, "goodbye")
	_, wire := connected(t, b, "d")
	s = <-begun
	wire.Close()
	next(s, false, "cut")
	c, _ = connected(t, b, "d")
	s = <-begun
	if tok := c.Publish("d/bad", 1, false, "SECRET"); !tok.WaitTimeout(time.Minute) || tok.Error() == nil {
		t.Fatal("acknowledged what was not stored")
	}
	next(s, false, "refused message")
	connected(t, b, "d")
	s = <-begun
	connected(t, b, "d")
	next(s, false, "taken over")
	s = <-begun
	if err := b.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	next(s, false, "stopped")
	if log.Len() > 0 {
		t.Fatalf("logged: %s", log.String())
	}
}

func TestBrokerOptions(t *testing.T) {
	if _, err := embedded.StartBroker(t.Context(), embedded.BrokerOptions{Dir: t.TempDir()}); err == nil {
		t.Error("started without anybody to ask")
	}
	b := startBroker(t, anyDevice(t.TempDir()))
	o := anyDevice(t.TempDir())
	o.Listen = b.Addr()
	if _, err := embedded.StartBroker(t.Context(), o); err == nil || !strings.Contains(err.Error(), b.Addr()) {
		t.Errorf("a port that is taken: %v", err)
	}
}
