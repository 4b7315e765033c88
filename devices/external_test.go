package devices_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/jackc/pgx/v5"

	"zhizheng/devices"
	"zhizheng/internal/ca"
	"zhizheng/internal/testenv"
)

// mosquitto is a broker that is not ours, with TLS, passwords, and devices kept to their own topics.
type mosquitto struct {
	t              *testing.T
	dir, ca        string
	port, certPort int
	cmd            *exec.Cmd
	log            *bytes.Buffer
}

const platformUser, platformPassword = devices.PlatformUser, "p@ss/word"

// newMosquitto is set up as we tell counties to; users come in by token beside the platform.
func (e *env) newMosquitto(users map[string]string) *mosquitto {
	t := e.t
	t.Helper()
	program := "mosquitto"
	if _, err := exec.LookPath(program); err != nil {
		program = "/usr/sbin/mosquitto"
	}
	if _, err := os.Stat(program); err != nil && program[0] == '/' {
		if os.Getenv("ZZ_TEST_NO_MOSQUITTO") != "" {
			t.Skip("ZZ_TEST_NO_MOSQUITTO is set: no broker that is not ours")
		}
		t.Fatal("mosquitto is not installed: deploy/setup test installs it, ZZ_TEST_NO_MOSQUITTO=1 goes without")
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &mosquitto{t: t, dir: t.TempDir(), port: ln.Addr().(*net.TCPAddr).Port, certPort: other.Addr().(*net.TCPAddr).Port}
	ln.Close()
	other.Close()
	files, err := devices.Mosquitto{Dir: m.dir, Devices: m.listens(m.certPort), Platform: m.listens(m.port), Password: platformPassword, CA: e.ca(), CRL: e.crl()}.Files()
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		m.write(name, text)
	}
	m.ca = filepath.Join(m.dir, "ca.crt")
	if len(users) > 0 {
		var all []string
		for u, p := range users {
			all = append(all, u+":"+p)
		}
		m.write("tokens", strings.Join(all, "\n")+"\n")
		if out, err := exec.Command("mosquitto_passwd", "-U", filepath.Join(m.dir, "tokens")).CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_passwd: %v: %s", err, out)
		}
		m.write("passwords", files["passwords"]+m.read("tokens"))
	}
	m.cmd = exec.Command(program, "-c", filepath.Join(m.dir, "own.conf"))
	m.start()
	t.Cleanup(m.stop)
	return m
}

func (m *mosquitto) write(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600); err != nil {
		m.t.Fatal(err)
	}
}

func (m *mosquitto) start() {
	m.t.Helper()
	m.log = &bytes.Buffer{}
	m.cmd = exec.Command(m.cmd.Path, m.cmd.Args[1:]...)
	m.cmd.Stdout, m.cmd.Stderr = m.log, m.log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL} // it ends with a test binary that is killed
	// As root it would become its own user, who may not read the folder.
	m.write("own.conf", m.read("mosquitto.conf")+"user "+currentUser(m.t)+"\n")
	if err := m.cmd.Start(); err != nil {
		m.t.Fatal(err)
	}
	testenv.Eventually(m.t, soon, func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", m.port))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

func (m *mosquitto) read(name string) string {
	m.t.Helper()
	b, err := os.ReadFile(filepath.Join(m.dir, name))
	if err != nil {
		m.t.Fatal(err)
	}
	return string(b)
}

func currentUser(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("id", "-un").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func (m *mosquitto) stop() {
	if m.cmd.ProcessState != nil {
		return
	}
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		m.t.Error(err)
	}
	err := m.cmd.Wait()
	if st, ok := m.cmd.ProcessState.Sys().(syscall.WaitStatus); err != nil && !(ok && st.Signal() == syscall.SIGTERM) { // it may not be waiting for signals yet
		m.t.Errorf("mosquitto: %v: %s", err, m.log)
	}
}

func (m *mosquitto) listens(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// url is for the platform and tokens, certURL for devices with certificates.
func (m *mosquitto) url() string     { return "mqtts://" + m.listens(m.port) }
func (m *mosquitto) certURL() string { return "mqtts://" + m.listens(m.certPort) }

// reload has it read the revocation list again.
func (m *mosquitto) reload(list []byte) {
	m.t.Helper()
	m.write("crl.pem", string(list))
	if err := m.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		m.t.Fatal(err)
	}
}

// platform is a connection of the platform's own.
func (m *mosquitto) platform(id string) mqtt.Client {
	m.t.Helper()
	c := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(m.url()).SetTLSConfig(trust(m.t, m.ca)).SetClientID(id).SetUsername(platformUser).SetPassword(platformPassword))
	if err := settled(c.Connect()); err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { c.Disconnect(100) })
	return c
}

func (e *env) crl() []byte {
	e.t.Helper()
	b, err := e.svc.CRL(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	return b
}

func (e *env) ca() *ca.Authority {
	e.t.Helper()
	a, err := ca.Open(e.dir)
	if err != nil {
		e.t.Fatal(err)
	}
	return a
}

// listen runs the platform's listener until the end of the test or the call.
func (e *env) listen(m *mosquitto) (*devices.Listener, func()) {
	e.t.Helper()
	return e.listenAs(m, e.svc, "zhizheng", 2)
}

func (e *env) listenAs(m *mosquitto, svc *devices.Service, member string, connections int) (*devices.Listener, func()) {
	e.t.Helper()
	l, err := svc.NewListener(devices.ListenOptions{URL: fmt.Sprintf("mqtts://%s:p%%40ss%%2Fword@127.0.0.1:%d", platformUser, m.port), CA: m.ca, Member: member, Connections: connections})
	if err != nil {
		e.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stopped := false
	stop := func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			e.t.Error(err)
		}
	}
	e.t.Cleanup(stop)
	return l, stop
}

func (e *env) ready(l *devices.Listener) {
	e.t.Helper()
	testenv.Eventually(e.t, soon, func() bool { return l.Ready(e.t.Context()) == nil })
}

// Messages reach the database through a broker that is not ours: while we listen, from the time we didn't, and across its restart.
func TestExternalBroker(t *testing.T) {
	e := newEnv(t)
	id, token := e.device(donghe)
	m := e.newMosquitto(map[string]string{id: token})
	l, stop := e.listen(m)
	e.ready(l)
	p := dialAs(t, m.url(), m.ca, id, token).connect()
	p.sends("hb", heartbeat(1, 1, *e.now.Load(), 80))
	testenv.Eventually(t, soon, func() bool { return e.stored(id) == 1 })
	p.sends("hb", []byte(`{"epoch":1`))
	testenv.Eventually(t, soon, func() bool {
		return e.count(`select count(*) from dead_letter where origin = $1 and raw = $2`, devices.UpTopic(id, "hb"), []byte(`{"epoch":1`)) == 1
	})

	stop()
	if l.Ready(t.Context()) == nil {
		t.Fatal("ready after its end")
	}
	for seq := range 30 {
		p.sends("hb", heartbeat(1, int64(2+seq), *e.now.Load(), 70))
	}
	if n := e.stored(id); n != 1 {
		t.Fatalf("%d messages stored while nobody listened", n)
	}
	l, _ = e.listen(m)
	testenv.Eventually(t, soon, func() bool { return e.stored(id) == 31 })
	e.ready(l)

	m.stop()
	testenv.Eventually(t, soon, func() bool { return l.Ready(t.Context()) != nil })
	m.start()
	e.ready(l)
	dialAs(t, m.url(), m.ca, id, token).connect().sends("hb", heartbeat(2, 1, *e.now.Load(), 60))
	testenv.Eventually(t, soon, func() bool { return e.stored(id) == 32 })
	if n := e.count(`select count(*) from dead_letter`); n != 1 {
		t.Fatalf("%d dead letters", n)
	}
}

// A message whose commit failed is not acknowledged: the broker keeps it and sends it again, and it is stored once.
func TestExternalBrokerKeepsWhatWasNotStored(t *testing.T) {
	e := newEnv(t)
	id, token := e.device(donghe)
	m := e.newMosquitto(map[string]string{id: token})
	l, stop := e.listenAs(m, e.svc, "zhizheng", 1)
	e.ready(l)
	p := dialAs(t, m.url(), m.ca, id, token).connect()
	p.sends("hb", heartbeat(1, 0, *e.now.Load(), 1))
	testenv.Eventually(t, soon, func() bool { return e.stored(id) == 1 })

	lock, err := e.owner.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Rollback(context.Background()) }()
	if _, err := lock.Exec(t.Context(), `lock table only device_message in exclusive mode`); err != nil {
		t.Fatal(err)
	}
	for seq := range 5 {
		p.sends("hb", heartbeat(1, int64(1+seq), *e.now.Load(), 80))
	}
	waiting := func() (pid int) {
		err := e.owner.QueryRow(t.Context(), `select pid from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`).Scan(&pid)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			t.Fatal(err)
		}
		return pid
	}
	testenv.Eventually(t, soon, func() bool { return waiting() != 0 })
	if _, err := e.owner.Exec(t.Context(), `select pg_terminate_backend($1)`, waiting()); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, soon, func() bool { return l.Ready(t.Context()) != nil }) // it gave the connection up
	testenv.Eventually(t, soon, func() bool { return waiting() != 0 })              // and has been sent them again
	if err := lock.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, soon, func() bool { return e.stored(id) == 6 })
	e.ready(l)

	// Nothing is left at the broker for a next connection: everything has been acknowledged.
	stop()
	o := mqtt.NewClientOptions().AddBroker(m.url()).SetTLSConfig(trust(t, m.ca)).SetClientID("zhizheng-0").SetUsername(platformUser).SetPassword(platformPassword).
		SetCleanSession(false).SetProtocolVersion(4)
	left := make(chan string, 100)
	o.SetDefaultPublishHandler(func(_ mqtt.Client, msg mqtt.Message) { left <- msg.Topic() })
	c := mqtt.NewClient(o)
	if err := settled(c.Connect()); err != nil {
		t.Fatal(err)
	}
	p.sends("state", heartbeat(1, 9, *e.now.Load(), 1)) // comes after all that was kept
	for topic := range left {
		if topic == devices.UpTopic(id, "state") {
			break
		}
		t.Errorf("%s was not acknowledged", topic)
	}
	c.Disconnect(1000)
}

// Presence comes from the retained birth and the last will; a listener that starts later learns it too. Devices are kept apart by the
// broker's own rules.
func TestExternalBrokerPresence(t *testing.T) {
	e := newEnv(t)
	id, token := e.device(donghe)
	other, otherToken := e.device(jiachuan)
	m := e.newMosquitto(map[string]string{id: token, other: otherToken})
	p := dialAs(t, m.url(), m.ca, id, token).connect()
	if err := settled(p.c.Publish(devices.UpTopic(id, "conn"), 1, true, presence("s-"+id, true))); err != nil {
		t.Fatal(err)
	}
	bad := dialAs(t, m.url(), m.ca, other, otherToken).connect()
	// Mosquitto cuts the connection, or acknowledges what it drops.
	if err := settled(bad.c.Publish(devices.UpTopic(id, "hb"), 1, true, heartbeat(9, 9, *e.now.Load(), 1))); errors.Is(err, errNoAnswer) {
		t.Fatal(err)
	}
	bad.c.Disconnect(100)
	q := dialAs(t, m.url(), m.ca, other, otherToken).connect()
	l, _ := e.listen(m)
	e.ready(l)
	testenv.Eventually(t, soon, func() bool { return e.state(id).Connected })

	p.cut() // the broker publishes its will, late news of a session that has gone
	again := dialAs(t, m.url(), m.ca, id, token, func(o *mqtt.ClientOptions) { o.WillPayload = presence("second", false) }).connect()
	if err := settled(again.c.Publish(devices.UpTopic(id, "conn"), 1, true, presence("second", true))); err != nil {
		t.Fatal(err)
	}
	again.sends("hb", heartbeat(1, 1, *e.now.Load(), 80))
	testenv.Eventually(t, soon, func() bool { return e.stored(id) == 1 })
	e.turn(e.now.Load().Add(91 * time.Second))
	q.sends("conn", presence("x", true))
	testenv.Eventually(t, soon, func() bool { return e.state(other).Connected }) // presence has been written since
	if !e.state(id).Connected {
		t.Fatal("the will of its first session took the device offline")
	}
	again.cut()
	testenv.Eventually(t, soon, func() bool {
		e.turn(e.now.Load().Add(91 * time.Second))
		return !e.state(id).Connected
	})
	if n := e.stored(id); n != 1 {
		t.Fatalf("%d messages stored", n)
	}
	q.sends("conn", mustJSON(devices.Presence{Session: "x", Goodbye: true}))
	testenv.Eventually(t, soon, func() bool { return !e.state(other).Connected }) // without the grace: the clock stands still
}

func TestListenOptions(t *testing.T) {
	e := newEnv(t)
	for _, u := range []string{"", "127.0.0.1:1883", "http://h:1", "mqtts://", "mqtts://user:secret%zz@h"} {
		if _, err := e.svc.NewListener(devices.ListenOptions{URL: u}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", u, err)
		}
	}
	if _, err := e.svc.NewListener(devices.ListenOptions{URL: "mqtts://h", CA: filepath.Join(t.TempDir(), "none")}); err == nil {
		t.Error("a CA file that isn't there was accepted")
	}
	m := e.newMosquitto(map[string]string{})
	said := make(chan string, 16)
	log := slog.New(slog.NewTextHandler(lines(said), nil))
	l, err := e.svc.NewListener(devices.ListenOptions{URL: fmt.Sprintf("mqtts://%s:hunter2@127.0.0.1:%d", platformUser, m.port), CA: m.ca, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	if line := <-said; !strings.Contains(line, "not Authorized") || strings.Contains(line, "hunter2") || l.Ready(ctx) == nil {
		t.Errorf("with a wrong password: %s", line)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

type lines chan string

func (l lines) Write(b []byte) (int, error) {
	l <- string(b)
	return len(b), nil
}

// A Mosquitto set up as we tell counties to: devices come in by certificate under their own name, keep to their own topics, and are refused
// once they are revoked; strangers never come in.
func TestMosquittoByCertificate(t *testing.T) {
	e := newEnv(t)
	e.turn(time.Now()) // TLS has no other clock
	id, _ := e.device(donghe)
	other, otherToken := e.device(jiachuan)
	cert, otherCert := e.enrolled(id), e.enrolled(other)
	m := e.newMosquitto(map[string]string{})
	l, _ := e.listen(m)
	e.svc.SendBy(l)
	e.ready(l)
	dial := func(id string, cert tls.Certificate) *peer { return dialWith(t, m.certURL(), m.ca, id, cert) }
	p := dial(id, cert).connect()
	p.sends("hb", heartbeat(1, 1, *e.now.Load(), 80))
	testenv.Eventually(t, soon, func() bool { return e.stored(id) == 1 })

	for name, p := range map[string]*peer{
		"without a certificate":            dialAs(t, m.certURL(), m.ca, other, otherToken),
		"another authority's":              dial(id, selfSigned(t, id)),
		"by token at the devices' address": dialAs(t, m.certURL(), m.ca, platformUser, platformPassword),
		"by certificate at the platform's": dialWith(t, m.url(), m.ca, id, cert),
	} {
		if err := p.tryConnect(); err == nil || errors.Is(err, errNoAnswer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Under another's client id it is still itself: it neither ends the other's connection nor speaks for it.
	neighbour := dial(other, otherCert).connect()
	bad := dial(other, cert).connect()
	for _, topic := range []string{devices.UpTopic(other, "hb"), "zz/v1/00/x/up/hb", "zz/platform/x"} {
		if err := settled(bad.c.Publish(topic, 1, false, heartbeat(9, 9, *e.now.Load(), 1))); errors.Is(err, errNoAnswer) {
			t.Fatal(err)
		}
	}
	// It may ask for anything, and hears what is for it alone.
	nosy := dial(id, cert).connect()
	heard := make(chan string, 16)
	for _, filter := range []string{devices.DownTopics(id), devices.DownTopics(other), "zz/v1/+/+/down/#", "zz/v1/+/+/up/#", "#", "$share/g/zz/v1/+/+/up/#"} {
		if err := settled(nosy.c.Subscribe(filter, 1, func(_ mqtt.Client, m mqtt.Message) { heard <- m.Topic() })); errors.Is(err, errNoAnswer) {
			t.Fatal(err)
		}
	}
	neighbour.sends("hb", heartbeat(1, 1, *e.now.Load(), 55))
	testenv.Eventually(t, soon, func() bool { return e.stored(other) == 1 })
	platform := m.platform("test")
	for _, d := range []string{other, id} { // in this order
		if err := settled(platform.Publish(strings.TrimSuffix(devices.DownTopics(d), "#")+"cmd", 1, false, "x")); err != nil {
			t.Fatal(err)
		}
	}
	if topic := <-heard; topic != strings.TrimSuffix(devices.DownTopics(id), "#")+"cmd" {
		t.Errorf("it heard %s", topic)
	}

	nosy.sends("conn", presence("s-"+id, true))
	testenv.Eventually(t, soon, func() bool {
		return e.count(`select count(*) from device_state where device_id = $1 and connected`, id) == 1
	})
	if err := e.svc.Revoke(e.as(), id, "遗失"); err != nil {
		t.Fatal(err)
	}
	select { // while it is connected
	case <-nosy.lost:
	case <-time.After(soon):
		t.Error("a revoked device stays connected")
	}
	early := dial(id, cert) // before the broker has read the list
	if early.tryConnect() == nil {
		early.sends("conn", presence("s-"+id, true))
		select {
		case <-early.lost:
		case <-time.After(soon):
			t.Error("a revoked device that came back stays connected")
		}
	}
	m.reload(e.crl())
	testenv.Eventually(t, soon, func() bool {
		q := dial(id, cert)
		err := q.tryConnect()
		q.c.Disconnect(0)
		return err != nil && !errors.Is(err, errNoAnswer)
	})
	dial(other, otherCert).connect() // the list ends nobody else
	dial(id, e.enrolled(id)).connect()
}

// Two servers share one broker's messages, join and leave while thousands come: none is lost, none is there twice, and nothing is left for
// a server that has gone.
func TestTwoServersShareABroker(t *testing.T) {
	e := newEnv(t)
	const senders, each = 10, 400
	users := map[string]string{}
	var ids []string
	for range senders {
		id, token := e.device(donghe)
		users[id] = token
		ids = append(ids, id)
	}
	m := e.newMosquitto(users)
	other := devices.New(e.pool, devices.Options{Now: func() time.Time { return *e.now.Load() }, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- other.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	l, stopFirst := e.listenAs(m, e.svc, "one", 3)
	e.ready(l)
	var sent atomic.Int64
	var g sync.WaitGroup
	for _, id := range ids {
		p := dialAs(t, m.url(), m.ca, id, users[id]).connect()
		g.Go(func() {
			for seq := range int64(each) {
				if err := settled(p.publish("hb", heartbeat(1, seq, *e.now.Load(), 50))); err != nil {
					t.Error(err)
					return
				}
				sent.Add(1)
			}
		})
	}
	reach := func(n int64) { testenv.Eventually(t, 2*soon, func() bool { return sent.Load() >= n }) }
	const all = senders * each
	reach(all / 5)
	l, stopSecond := e.listenAs(m, other, "two", 3)
	e.ready(l)
	reach(2 * all / 5)
	stopFirst()
	reach(3 * all / 5)
	l, stopFirst = e.listenAs(m, e.svc, "one", 3)
	e.ready(l)
	reach(4 * all / 5)
	stopSecond()
	g.Wait()
	testenv.Eventually(t, 2*soon, func() bool { return e.count(`select count(*) from device_message`) >= all })
	if n, d := e.count(`select count(*) from device_message`), e.count(`select count(distinct (device_id, epoch, seq)) from device_message`); n != all || d != all {
		t.Errorf("%d messages stored, %d different, %d sent", n, d, all)
	}
	stopFirst() // the last stays a member: the broker keeps what comes for it
	if n := e.count(`select count(*) from mqtt_member where member = 'one'`); n != 1 {
		t.Error("the last server left the share")
	}
	p := dialAs(t, m.url(), m.ca, ids[0], users[ids[0]]).connect()
	p.sends("hb", heartbeat(2, 1, *e.now.Load(), 50))
	l, _ = e.listenAs(m, e.svc, "one", 3)
	e.ready(l)
	testenv.Eventually(t, soon, func() bool { return e.count(`select count(*) from device_message`) == all+1 })
}
