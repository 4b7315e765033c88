package devices_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/jackc/pgx/v5"

	"zhizheng/devices"
	"zhizheng/internal/testenv"
)

// A device reports over TLS, and its page shows it before the broker has answered.
func TestReport(t *testing.T) {
	e := newEnv(t)
	b := e.broker()
	id, token := e.device(donghe)
	p := dialAs(t, b.URL(), b.CAFile(), id, token).connect()
	p.sends("hb", heartbeat(1, 1, *e.now.Load(), 80))
	if s := e.state(id); s.Battery == nil || *s.Battery != 80 || *s.StorageUsed != 30 || s.State != "idle" || !s.LastData.Equal(*e.now.Load()) || s.LastDock != nil {
		t.Fatalf("state %+v", s)
	}
	p.sends("dock", []byte(`{"epoch":1,"seq":2,"time":"2026-11-24T09:00:01Z","data":{"docked":true,"state":"charging"}}`))
	if s := e.state(id); s.Docked == nil || !*s.Docked || s.LastDock == nil || *s.Battery != 80 || s.State != "charging" {
		t.Fatalf("state %+v", s)
	}
	testenv.Eventually(t, soon, func() bool { return e.state(id).Connected })
	p.c.Disconnect(1000)
	testenv.Eventually(t, soon, func() bool { return !e.state(id).Connected }) // it said goodbye: no grace
}

// Who is let in: a device under its own name, with its own token, over TLS.
func TestWhoIsLetIn(t *testing.T) {
	e := newEnv(t)
	b := e.broker()
	id, token := e.device(donghe)
	other, otherToken := e.device(jiachuan)
	lost, lostToken := e.device(donghe)
	e.exec(`update device set status = 'lost' where id = $1`, lost)
	revoked, revokedToken := e.device(donghe)
	if err := e.svc.RevokeToken(t.Context(), revoked); err != nil {
		t.Fatal(err)
	}
	old, oldToken := e.device(donghe)
	if _, err := e.svc.IssueTokens(t.Context(), []string{old}); err != nil {
		t.Fatal(err)
	}
	for name, p := range map[string]*peer{
		"wrong token":        dialAs(t, b.URL(), b.CAFile(), id, "wrong"),
		"no token":           dialAs(t, b.URL(), b.CAFile(), id, ""),
		"another's token":    dialAs(t, b.URL(), b.CAFile(), id, otherToken),
		"unknown device":     dialAs(t, b.URL(), b.CAFile(), "01ARZ3NDEKTSV4RRFFQ69G5FAV", token),
		"lost":               dialAs(t, b.URL(), b.CAFile(), lost, lostToken),
		"revoked":            dialAs(t, b.URL(), b.CAFile(), revoked, revokedToken),
		"replaced token":     dialAs(t, b.URL(), b.CAFile(), old, oldToken),
		"another client id":  dialAs(t, b.URL(), b.CAFile(), id, token, func(o *mqtt.ClientOptions) { o.SetClientID(other) }),
		"another's will":     dialAs(t, b.URL(), b.CAFile(), id, token, func(o *mqtt.ClientOptions) { o.WillTopic = devices.UpTopic(other, "conn") }),
		"a will that counts": dialAs(t, b.URL(), b.CAFile(), id, token, func(o *mqtt.ClientOptions) { o.WillTopic = devices.UpTopic(id, "hb") }),
		"no keepalive":       dialAs(t, b.URL(), b.CAFile(), id, token, func(o *mqtt.ClientOptions) { o.SetKeepAlive(0) }),
	} {
		if err := p.tryConnect(); err == nil || errors.Is(err, errNoAnswer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	dialAs(t, b.URL(), b.CAFile(), id, token).connect() // and the right one

	if err := dialAs(t, strings.Replace(b.URL(), "mqtts", "mqtt", 1), "", id, token).tryConnect(); err == nil || errors.Is(err, errNoAnswer) {
		t.Errorf("without TLS: %v", err)
	}
	if c, err := tls.Dial("tcp", b.Addr(), &tls.Config{ServerName: "127.0.0.1"}); err == nil {
		c.Close()
		t.Error("a machine that doesn't trust the platform's authority trusts the broker")
	}
	old11 := trust(t, b.CAFile())
	old11.MinVersion, old11.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if c, err := tls.Dial("tcp", b.Addr(), old11); err == nil {
		c.Close()
		t.Error("TLS 1.1 was accepted")
	}
}

// A device neither speaks for another nor hears what is for another.
func TestDeviceKeepsToItsOwnTopics(t *testing.T) {
	e := newEnv(t)
	b := e.broker()
	a, tokenA := e.device(donghe)
	other, tokenB := e.device(jiachuan)
	victim := dialAs(t, b.URL(), b.CAFile(), other, tokenB).connect()
	victim.sends("hb", heartbeat(1, 1, *e.now.Load(), 55))
	for _, topic := range []string{devices.UpTopic(other, "hb"), devices.UpTopic(other, "conn"), devices.UpTopic(a, "hb") + "/x",
		strings.Replace(devices.UpTopic(a, "hb"), "/up/", "/down/", 1), strings.Replace(devices.UpTopic(a, "hb"), "zz/v1", "zz/v2", 1)} {
		for _, qos := range []byte{0, 1, 2} {
			for _, retain := range []bool{false, true} {
				p := dialAs(t, b.URL(), b.CAFile(), a, tokenA).connect()
				token := p.c.Publish(topic, qos, retain, heartbeat(9, 9, *e.now.Load(), 1))
				if err := settled(token); errors.Is(err, errNoAnswer) || qos > 0 && err == nil {
					t.Errorf("%s at %d: %v", topic, qos, err)
				}
				p.c.Disconnect(100)
			}
		}
	}
	p := dialAs(t, b.URL(), b.CAFile(), a, tokenA).connect()
	for filter, granted := range map[string]bool{devices.DownTopics(a): true, devices.DownTopics(other): false, "#": false, "zz/v1/+/+/down/#": false,
		"zz/v1/" + devices.Bucket(a) + "/+/down/#": false, devices.UpTopic(other, "hb"): false, devices.UpTopic(other, "conn"): false, "$SYS/#": false,
		"$share/g/" + devices.DownTopics(other): false} {
		sub := p.c.Subscribe(filter, 1, func(mqtt.Client, mqtt.Message) {}).(*mqtt.SubscribeToken)
		if err := settled(sub); errors.Is(err, errNoAnswer) {
			t.Fatalf("%s: no answer", filter)
		}
		for _, code := range sub.Result() { // of the one filter
			if got := code < 0x80; got != granted {
				t.Errorf("%s granted: %v", filter, got)
			}
		}
	}
	p.sends("hb", heartbeat(1, 1, *e.now.Load(), 70)) // what came before it over this connection has been dealt with
	if n := e.stored(other); n != 1 {
		t.Fatalf("%d messages of the other device", n)
	}
	testenv.Eventually(t, soon, func() bool { return e.state(other).Connected })
	if s := e.state(other); *s.Battery != 55 {
		t.Fatalf("state of the other device %+v", s)
	}
	if n := e.stored(a); n != 1 {
		t.Fatalf("%d messages of the device", n)
	}
}

// The database goes away in mid-commit: no acknowledgement, and the repetition is stored once.
func TestNoAcknowledgementWithoutCommit(t *testing.T) {
	e := newEnv(t)
	b := e.broker()
	id, token := e.device(donghe)
	p := dialAs(t, b.URL(), b.CAFile(), id, token).connect()

	// Somebody holds the table, so that the commit is seen waiting.
	lock, err := e.owner.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lock.Rollback(context.Background()) }()
	if _, err := lock.Exec(t.Context(), `lock table only device_message in exclusive mode`); err != nil {
		t.Fatal(err)
	}
	body := heartbeat(1, 1, *e.now.Load(), 80)
	sent := p.publish("hb", body)
	var backend int
	testenv.Eventually(t, soon, func() bool {
		err := e.owner.QueryRow(t.Context(), `select pid from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()`).Scan(&backend)
		if err != nil && !errors.Is(err, pgx.ErrNoRows) {
			t.Fatal(err)
		}
		return err == nil
	})
	select {
	case <-sent.Done():
		t.Fatal("acknowledged before the commit")
	default:
	}
	var ended bool
	if err := e.owner.QueryRow(t.Context(), `select pg_terminate_backend($1)`, backend).Scan(&ended); err != nil || !ended {
		t.Fatalf("end the writer's connection: %v, %v", ended, err)
	}
	if err := settled(sent); err == nil || errors.Is(err, errNoAnswer) {
		t.Fatalf("acknowledged without a commit: %v", err)
	}
	<-p.lost
	if n := e.stored(id); n != 0 {
		t.Fatalf("%d messages stored", n)
	}
	if err := lock.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}

	p = dialAs(t, b.URL(), b.CAFile(), id, token).connect()
	for range 3 { // again, and again because the acknowledgement got lost
		p.sends("hb", body)
	}
	if n := e.stored(id); n != 1 {
		t.Fatalf("%d messages stored", n)
	}
	if n := e.count(`select count(*) from dead_letter`); n != 0 {
		t.Fatalf("%d dead letters", n)
	}
}

// A service that has stopped acknowledges nothing either.
func TestNoAcknowledgementAfterStop(t *testing.T) {
	e := newEnv(t)
	b := e.broker()
	id, token := e.device(donghe)
	p := dialAs(t, b.URL(), b.CAFile(), id, token).connect()
	e.stop()
	if err := settled(p.publish("hb", heartbeat(1, 1, *e.now.Load(), 80))); err == nil || errors.Is(err, errNoAnswer) {
		t.Fatalf("acknowledged by nobody: %v", err)
	}
	if n := e.stored(id); n != 0 {
		t.Fatalf("%d messages stored", n)
	}
}

// What can't be understood is kept with the reason and the bytes as they came, and acknowledged: the device shall not send it for ever.
func TestDeadLetters(t *testing.T) {
	e := newEnv(t)
	b := e.broker()
	id, token := e.device(donghe)
	p := dialAs(t, b.URL(), b.CAFile(), id, token).connect()
	valid := string(heartbeat(1, 1, *e.now.Load(), 80))
	for _, c := range []struct{ kind, body, reason string }{
		{"hb", `{"epoch":1,"seq":`, "body: unexpected end"},
		{"hb", valid + "x", "body: invalid character"},
		{"hb", "", "no JSON object"},
		{"hb", "\x01\x00\xff binary", "no JSON object"},
		{"hb", `[1]`, "no JSON object"},
		{"hb", "{\"a\":\"" + strings.Repeat("x", 20<<10) + "\"}", "more than 16384"},
		{"hb", `{"epoch":"one","seq":1}`, "cannot unmarshal"},
		{"hb", `{"epoch":1,"seq":1,"time":"24.11.2026"}`, "body:"},
		{"hb", `{"epoch":1,"seq":1}`, "time is missing"},
		{"hb", `{"seq":1,"time":"2026-11-24T09:00:00Z"}`, "epoch or seq"},
		{"hb", `{"epoch":1,"seq":-1,"time":"2026-11-24T09:00:00Z"}`, "epoch or seq"},
		{"hb", `{"epoch":99999999999999999999,"seq":1,"time":"2026-11-24T09:00:00Z"}`, "cannot unmarshal"},
		{"hb", strings.Replace(valid, `"battery":80`, `"battery":101`, 1), "battery 101 is no percentage"},
		{"hb", strings.Replace(valid, `"storage_used":30`, `"storage_used":-3`, 1), "storage_used -3 is no percentage"},
		{"hb", strings.Replace(valid, `"idle"`, `"`+strings.Repeat("长", 33)+`"`, 1), "state is too long"},
		{"hb", strings.Replace(valid, `"idle"`, `"a\u0000b"`, 1), "zero byte"},
		{"hb2", valid, "unknown kind"},
		{"manifest", valid, "over HTTP"},
	} {
		before := e.count(`select count(*) from dead_letter`)
		p.sends(c.kind, []byte(c.body))
		var reason, origin, source string
		var raw []byte
		if err := e.pool.QueryRow(t.Context(), `select reason, origin, source, raw from dead_letter order by id desc limit 1`).Scan(&reason, &origin, &source, &raw); err != nil {
			t.Fatalf("%s: %v", c.reason, err)
		}
		if n := e.count(`select count(*) from dead_letter`); n != before+1 || !strings.Contains(reason, c.reason) || origin != devices.UpTopic(id, c.kind) || source != "mqtt" ||
			!bytes.Equal(raw, []byte(c.body)) {
			t.Errorf("%d letters, the last %q of %q, %d bytes; want %q, %d bytes", n-before, reason, origin, len(raw), c.reason, len(c.body))
		}
	}
	p.sends("hb", []byte(valid)) // the same connection goes on
	if n := e.stored(id); n != 1 {
		t.Fatalf("%d messages stored", n)
	}
	// Beyond the packet limit there is nothing to keep: the connection is cut before memory is spent.
	if err := settled(p.publish("hb", make([]byte, 65<<10))); err == nil || errors.Is(err, errNoAnswer) {
		t.Fatalf("a packet of 65 KiB was acknowledged: %v", err)
	}
}

// A device that falls silent counts as there for the grace; its old connection's end doesn't end the new one.
func TestPresenceByLastWill(t *testing.T) {
	e := newEnv(t)
	b := e.broker()
	id, token := e.device(donghe)
	quiet, quietToken := e.device(donghe)
	p := dialAs(t, b.URL(), b.CAFile(), id, token).connect()
	dialAs(t, b.URL(), b.CAFile(), quiet, quietToken).connect().cut()
	testenv.Eventually(t, soon, func() bool { return e.state(id).Connected && e.state(quiet).Connected && b.Connected() == 1 })
	e.turn(e.now.Load().Add(91 * time.Second))
	testenv.Eventually(t, soon, func() bool { return !e.state(quiet).Connected })

	again := dialAs(t, b.URL(), b.CAFile(), id, token).connect() // takes the session over
	<-p.lost
	testenv.Eventually(t, soon, func() bool { return b.Connected() == 1 })
	e.turn(e.now.Load().Add(91 * time.Second))
	again.sends("hb", heartbeat(1, 1, *e.now.Load(), 80))
	dialAs(t, b.URL(), b.CAFile(), quiet, quietToken).connect()
	testenv.Eventually(t, soon, func() bool { return e.state(quiet).Connected }) // presence has been written since
	if !e.state(id).Connected {
		t.Fatal("the end of its old connection took the device offline")
	}
	if n := e.count(`select count(*) from dead_letter`); n != 0 {
		t.Fatalf("%d dead letters", n)
	}
}

// A revoked device's connection can be cut; strangers who never say who they are don't stop the broker.
func TestDisconnectAndStrangers(t *testing.T) {
	e := newEnv(t)
	b := e.broker()
	id, token := e.device(donghe)
	p := dialAs(t, b.URL(), b.CAFile(), id, token).connect()
	for range 3 {
		c, err := net.Dial("tcp", b.Addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
	if err := e.svc.RevokeToken(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	b.Disconnect(id)
	<-p.lost
	if err := dialAs(t, b.URL(), b.CAFile(), id, token).tryConnect(); err == nil {
		t.Fatal("let in after its token was revoked")
	}
	if err := b.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := b.Ready(t.Context()); err == nil {
		t.Fatal("ready after Stop")
	}
	if _, err := net.Dial("tcp", b.Addr()); err == nil {
		t.Fatal("listens after Stop")
	}
}
