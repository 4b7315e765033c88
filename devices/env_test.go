package devices_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/authority"
	"zhizheng/devices"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/evlogtest"
	"zhizheng/internal/ca"
	"zhizheng/internal/embedded"
	"zhizheng/internal/pg"
	"zhizheng/internal/secret"
	"zhizheng/internal/testenv"
)

const (
	donghe   = "510821100"
	jiachuan = "510821101"
	soon     = time.Minute // for what happens in milliseconds, on a machine that does much else
)

// env is a county of two townships on a real database, with a clock that tests may turn.
type env struct {
	t     *testing.T
	pool  *pgxpool.Pool
	owner *pgxpool.Pool // may see and end others' connections
	svc   *devices.Service
	log   *evlog.Log
	now   atomic.Pointer[time.Time]
	dir   string // the data folder: the authority's key, the revocation list
	stop  func() // ends the service's Run

	settling sync.WaitGroup
}

func newEnv(t *testing.T, change ...func(*devices.Options)) *env {
	t.Helper()
	return newEnvOn(t, testenv.DatabaseURL(t), change...)
}

func newEnvOn(t *testing.T, address string, change ...func(*devices.Options)) *env {
	t.Helper()
	e := &env{t: t, dir: t.TempDir()}
	var err error
	if e.pool, err = pg.Open(t.Context(), address, 16); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.pool.Close)
	if e.owner, err = pgxpool.New(t.Context(), address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.owner.Close)
	e.turn(time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC))
	e.exec(`insert into township (code, name, kind, position) values ($1, '东河镇', 'town', 1), ($2, '嘉川镇', 'town', 2)`, donghe, jiachuan)
	a, err := ca.Open(e.dir)
	if err != nil {
		t.Fatal(err)
	}
	commandKey, err := secret.Ed25519(e.dir, "device-command.key")
	if err != nil {
		t.Fatal(err)
	}
	e.log = evlogtest.Log(t, e.pool)
	o := devices.Options{Now: func() time.Time { return *e.now.Load() }, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Log: e.log, CA: a, CommandKey: commandKey, CRL: filepath.Join(e.dir, "mqtt", "crl.pem")}
	for _, f := range change {
		f(&o)
	}
	e.svc = devices.New(e.pool, o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := e.svc.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(e.storedFits)
	e.stop = func() { cancel(); <-done }
	t.Cleanup(e.stop)
	return e
}

func (e *env) turn(to time.Time) { e.now.Store(&to) }

func (e *env) exec(sql string, args ...any) {
	e.t.Helper()
	if _, err := e.pool.Exec(context.Background(), sql, args...); err != nil {
		e.t.Fatal(err)
	}
}

// device registers a recorder and gives its id and token.
func (e *env) device(township string) (id, token string) {
	e.t.Helper()
	d := []devices.Device{{Serial: fmt.Sprintf("BWC-%d", serial.Add(1)), Kind: devices.Recorder, Name: "执法记录仪", Model: "m", Township: township}}
	if err := e.svc.Register(e.t.Context(), d); err != nil {
		e.t.Fatal(err)
	}
	tokens, err := e.svc.IssueTokens(e.t.Context(), []string{d[0].ID})
	if err != nil {
		e.t.Fatal(err)
	}
	return d[0].ID, tokens[d[0].ID]
}

var serial atomic.Int64

func (e *env) state(id string) devices.State {
	e.t.Helper()
	d, err := e.svc.Get(authority.WithActor(e.t.Context(), authority.System), id)
	if err != nil {
		e.t.Fatal(err)
	}
	return d.State
}

func (e *env) count(sql string, args ...any) (n int) {
	e.t.Helper()
	if err := e.pool.QueryRow(e.t.Context(), sql, args...).Scan(&n); err != nil {
		e.t.Fatal(err)
	}
	return n
}

func (e *env) stored(id string) int {
	e.t.Helper()
	return e.count(`select count(*) from device_message where device_id = $1`, id)
}

// broker starts the embedded broker on the service.
func (e *env) broker() *embedded.Broker {
	e.t.Helper()
	return e.brokerAt(e.dir, "")
}

func (e *env) brokerAt(dir, listen string) *embedded.Broker {
	e.t.Helper()
	b, err := embedded.StartBroker(e.t.Context(), embedded.BrokerOptions{Dir: dir, Listen: listen, Authenticate: e.svc.Authenticate, May: devices.May,
		Publish: e.svc.TakeDirect, Online: e.svc.Online, Offline: e.svc.Offline, Listening: e.svc.Listening, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		e.t.Fatal(err)
	}
	e.svc.Attach(b)
	e.svc.SendBy(b)
	e.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), soon)
		defer cancel()
		if err := b.Stop(ctx); err != nil {
			e.t.Errorf("stop the broker: %v", err)
		}
	})
	return b
}

func trust(t *testing.T, file string) *tls.Config {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		t.Fatalf("%s holds no certificate", file)
	}
	return &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}
}

// peer is a device's connection, by a client that knows nothing of the platform.
type peer struct {
	t    *testing.T
	id   string
	c    mqtt.Client
	lost chan error
	wire atomic.Pointer[net.Conn]

	certs []tls.Certificate // shown to the broker
}

// newKey makes a device's key and the request it signs.
func newKey(t *testing.T) (*ecdsa.PrivateKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key, requestOf(t, key)
}

func requestOf(t *testing.T, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "whatever it likes"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// as is the county's manager.
func (e *env) as() context.Context { return authority.WithActor(e.t.Context(), authority.System) }

// enrolled gives a registered device a certificate.
func (e *env) enrolled(id string) tls.Certificate {
	e.t.Helper()
	key, request := newKey(e.t)
	c, err := e.svc.EnrolmentCode(e.as(), id)
	if err != nil {
		e.t.Fatal(err)
	}
	got, err := e.svc.Enrol(e.t.Context(), c.Code, request)
	if err != nil {
		e.t.Fatal(err)
	}
	return pair(e.t, got, key)
}

func pair(t *testing.T, i devices.Identity, key *ecdsa.PrivateKey) tls.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(i.Certificate))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{block.Bytes}, PrivateKey: key, Leaf: cert}
}

// dialWith is a device that shows a certificate and no password.
func dialWith(t *testing.T, address, ca, id string, cert tls.Certificate, change ...func(*mqtt.ClientOptions)) *peer {
	t.Helper()
	p := dialAs(t, address, ca, id, "", append([]func(*mqtt.ClientOptions){func(o *mqtt.ClientOptions) { o.SetUsername("").SetPassword("") }}, change...)...)
	p.certs = []tls.Certificate{cert}
	return p
}

// dialAs makes the client of a device; change alters what it says of itself.
func dialAs(t *testing.T, address, ca, id, token string, change ...func(*mqtt.ClientOptions)) *peer {
	t.Helper()
	p := &peer{t: t, id: id, lost: make(chan error, 1)}
	o := mqtt.NewClientOptions().AddBroker(address).SetClientID(id).SetUsername(id).SetPassword(token).SetProtocolVersion(4).
		SetAutoReconnect(false).SetKeepAlive(time.Minute).SetConnectTimeout(soon).
		SetBinaryWill(devices.UpTopic(id, "conn"), presence("s-"+id, false), 1, true).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { p.lost <- err })
	for _, f := range change {
		f(o)
	}
	o.SetCustomOpenConnectionFn(func(u *url.URL, _ mqtt.ClientOptions) (net.Conn, error) {
		var c net.Conn
		var err error
		if ca == "" {
			c, err = net.Dial("tcp", u.Host)
		} else {
			conf := trust(t, ca)
			conf.Certificates = p.certs
			c, err = tls.Dial("tcp", u.Host, conf)
		}
		if err == nil {
			p.wire.Store(&c)
		}
		return c, err
	})
	p.c = mqtt.NewClient(o)
	t.Cleanup(func() { p.c.Disconnect(100) })
	return p
}

func (p *peer) connect() *peer {
	p.t.Helper()
	if err := p.tryConnect(); err != nil {
		p.t.Fatalf("connect: %v", err)
	}
	return p
}

func (p *peer) tryConnect() error { return settled(p.c.Connect()) }

// cut ends the connection without a goodbye.
func (p *peer) cut() { (*p.wire.Load()).Close() }

// sends publishes and wants the acknowledgement.
func (p *peer) sends(kind string, body []byte) {
	p.t.Helper()
	if err := settled(p.publish(kind, body)); err != nil {
		p.t.Fatalf("publish: %v", err)
	}
}

func (p *peer) publish(kind string, body []byte) mqtt.Token {
	return p.c.Publish(devices.UpTopic(p.id, kind), 1, false, body)
}

var errNoAnswer = errors.New("no answer")

func settled(t mqtt.Token) error {
	if !t.WaitTimeout(soon) {
		return errNoAnswer
	}
	return t.Error()
}

func presence(session string, online bool) []byte {
	return mustJSON(devices.Presence{Session: session, Online: online})
}

// heartbeat is the message a device sends most.
func heartbeat(epoch, seq int64, at time.Time, battery int) []byte {
	used := 30
	return mustJSON(devices.Envelope{Epoch: epoch, Seq: seq, Time: at, Data: devices.Snapshot{Battery: &battery, StorageUsed: &used, State: "idle"}})
}

func mustJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
