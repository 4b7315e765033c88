package devices_test

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"zhizheng/devices"
	"zhizheng/evidence/chain"
	"zhizheng/internal/fault"
	"zhizheng/internal/testenv"
)

// hears subscribes a device to what is sent to it and checks every signature. What comes more than once over a connection is told once, as
// devices do by the id.
func (e *env) hears(p *peer) <-chan devices.CommandText {
	e.t.Helper()
	heard := make(chan devices.CommandText, 64)
	last := int64(0)
	sub := p.c.Subscribe(devices.DownTopics(p.id), 1, func(_ mqtt.Client, m mqtt.Message) {
		var signed devices.SignedCommand
		var text devices.CommandText
		if err := json.Unmarshal(m.Payload(), &signed); err != nil {
			e.t.Error(err)
		}
		if !ed25519.Verify(e.svc.CommandKey(), append([]byte(devices.CommandContext), signed.Payload...), signed.Signature) {
			e.t.Error("the signature doesn't hold")
		}
		if err := json.Unmarshal(signed.Payload, &text); err != nil || text.Device != p.id || m.Retained() {
			e.t.Errorf("%+v of %s, retained %v: %v", text, p.id, m.Retained(), err)
		}
		if text.ID > last {
			last = text.ID
			heard <- text
		}
	})
	if err := settled(sub); err != nil {
		e.t.Fatal(err)
	}
	return heard
}

func (e *env) gives(id, kind string) devices.Command {
	e.t.Helper()
	o := devices.Order{Kind: kind, Reason: "盘点"}
	if kind == devices.Configure {
		o.Args = json.RawMessage(`{"every":30}`)
	}
	c, err := e.svc.Give(e.as(), id, o)
	if err != nil {
		e.t.Fatal(err)
	}
	return c
}

func answer(seq int, id int64, result, reason string) []byte {
	return fmt.Appendf(nil, `{"epoch":1,"seq":%d,"time":"2026-11-24T09:00:00Z","data":{"command":{"id":%d,"result":%q,"reason":%q}}}`, seq, id, result, reason)
}

func (e *env) command(id string, n int64) devices.Command {
	e.t.Helper()
	all, err := e.svc.Commands(e.as(), id)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, c := range all {
		if c.ID == n {
			return c
		}
	}
	e.t.Fatalf("no command %d", n)
	return devices.Command{}
}

// A command reaches a device that is there at once, and one that comes later when it listens; answered for good, it is not sent again.
func TestCommands(t *testing.T) {
	e := newEnv(t)
	b := e.broker()
	id, token := e.device(donghe)
	other, otherToken := e.device(donghe)
	early := e.gives(id, devices.Lock) // nobody is there
	p := dialAs(t, b.URL(), b.CAFile(), id, token).connect()
	heard := e.hears(p)
	if got := <-heard; got.ID != early.ID || got.Command != devices.Lock {
		t.Fatalf("heard %+v", got)
	}
	late := e.gives(id, devices.Configure)
	if got := <-heard; got.ID != late.ID || late.ID <= early.ID || string(got.Args) != `{"every":30}` {
		t.Fatalf("heard %+v", got)
	}
	testenv.Eventually(t, soon, func() bool { return e.command(id, late.ID).State == "sent" })
	p.sends("ack", answer(1, early.ID, "accepted", ""))
	p.sends("ack", answer(2, late.ID, "refused", "不支持"))
	if a, r := e.command(id, early.ID), e.command(id, late.ID); a.State != "accepted" || r.State != "refused" || r.Answer != "不支持" {
		t.Fatalf("%+v, %+v", a, r)
	}
	// Another device's answer means nothing, nor does what comes after the end.
	q := dialAs(t, b.URL(), b.CAFile(), other, otherToken).connect()
	q.sends("ack", answer(1, early.ID, "done", ""))
	p.sends("ack", answer(3, late.ID, "done", ""))
	if a, r := e.command(id, early.ID), e.command(id, late.ID); a.State != "accepted" || r.State != "refused" {
		t.Fatalf("%+v, %+v", a, r)
	}
	p.c.Disconnect(100)
	p = dialAs(t, b.URL(), b.CAFile(), id, token).connect()
	if got := <-e.hears(p); got.ID != early.ID { // accepted isn't done
		t.Fatalf("heard again %+v", got)
	}
	p.sends("ack", answer(4, early.ID, "done", "已锁定"))
	if c := e.command(id, early.ID); c.State != "done" || c.Answer != "已锁定" {
		t.Fatalf("%+v", c)
	}
	p.c.Disconnect(100)
	p = dialAs(t, b.URL(), b.CAFile(), id, token).connect()
	heard = e.hears(p)
	third := e.gives(id, devices.Locate)
	if got := <-heard; got.ID != third.ID {
		t.Fatalf("heard %+v, done before", got)
	}
	e.turn(third.ExpiresAt.Add(time.Second))
	testenv.Eventually(t, soon, func() bool { return e.command(id, third.ID).State == "expired" })
	testenv.Eventually(t, soon, func() bool { return e.count(`select count(*) from log_entry where key like 'command-ended/%'`) == 3 })
	e.wantLeaf(fmt.Sprintf("command/%d", early.ID), chain.KindCommandGiven, id)
	e.wantLeaf(fmt.Sprintf("command-ended/%d", late.ID), chain.KindCommandEnded, "不支持")
}

// The same over a broker that isn't ours.
func TestCommandsOverMosquitto(t *testing.T) {
	e := newEnv(t)
	id, token := e.device(donghe)
	m := e.newMosquitto(map[string]string{id: token})
	l, _ := e.listen(m)
	e.svc.SendBy(l)
	e.ready(l)
	c := e.gives(id, devices.SyncClock)
	p := dialAs(t, m.url(), m.ca, id, token).connect()
	heard := e.hears(p)
	p.sends("conn", presence("s", true))
	if got := <-heard; got.ID != c.ID || got.Command != devices.SyncClock {
		t.Fatalf("heard %+v", got)
	}
	p.sends("ack", answer(1, c.ID, "done", ""))
	testenv.Eventually(t, soon, func() bool { return e.command(id, c.ID).State == "done" })
}

func TestOrdersThatAreRefused(t *testing.T) {
	e := newEnv(t)
	id, _ := e.device(donghe)
	for name, o := range map[string]devices.Order{
		"unknown": {Kind: "explode"}, "config without": {Kind: devices.Configure}, "lock with": {Kind: devices.Lock, Args: json.RawMessage(`{}`)},
		"no JSON": {Kind: devices.Configure, Args: json.RawMessage(`{`)}, "for ever": {Kind: devices.Lock, Expires: 1000 * time.Hour},
		"too long": {Kind: devices.Configure, Args: make(json.RawMessage, 5<<10)}} {
		if _, err := e.svc.Give(e.as(), id, o); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := e.count(`select count(*) from device_command`); n != 0 {
		t.Errorf("%d commands", n)
	}
}
