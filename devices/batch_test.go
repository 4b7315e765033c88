package devices_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"pgregory.net/rapid"

	"zhizheng/authority"
	"zhizheng/devices"
	"zhizheng/internal/fault"
	"zhizheng/internal/testenv"
)

func (e *env) take(id, kind string, body []byte) {
	e.t.Helper()
	if err := e.svc.Take(e.t.Context(), devices.UpTopic(id, kind), body); err != nil {
		e.t.Fatal(err)
	}
}

// Messages come in any order and more than once, in whatever batches: each is there once, and the state is that of the newest.
func TestAnyOrderAnyRepetition(t *testing.T) {
	e := newEnv(t)
	rapid.Check(t, func(rt *rapid.T) {
		id, _ := e.device(donghe)
		var all [][]byte
		var battery int
		n := rapid.IntRange(1, 12).Draw(rt, "messages")
		for i := range n {
			battery = rapid.IntRange(0, 100).Draw(rt, "battery")
			all = append(all, heartbeat(int64(1+i/5), int64(i%5), *e.now.Load(), battery))
		}
		for _, body := range rapid.Permutation(append(all, all...)).Draw(rt, "order") {
			e.enqueue(id, "hb", body)
			if rapid.Bool().Draw(rt, "waits") {
				e.settling.Wait()
			}
		}
		e.settling.Wait()
		if got := e.stored(id); got != n {
			rt.Fatalf("%d messages stored, %d sent", got, n)
		}
		if s := e.state(id); *s.Battery != battery {
			rt.Fatalf("battery %d, want %d", *s.Battery, battery)
		}
	})
}

// What a message doesn't say stays as it was, also between messages of one batch.
func TestPartialNews(t *testing.T) {
	e := newEnv(t)
	id, _ := e.device(donghe)
	body := func(seq int, data string) []byte {
		return fmt.Appendf(nil, `{"epoch":1,"seq":%d,"time":"2026-11-24T09:00:00Z","data":%s}`, seq, data)
	}
	e.hold(func() { e.enqueue(id, "hb", body(0, `{"battery":41}`)) }, func() {
		e.enqueue(id, "hb", body(3, `{"docked":false}`))
		e.enqueue(id, "hb", body(1, `{"battery":40,"docked":true}`))
		e.enqueue(id, "hb", body(2, `{"storage_used":60,"battery":39,"state":"recording"}`))
	})
	e.take(id, "pos", body(4, `{}`))
	if s := e.state(id); *s.Battery != 39 || *s.StorageUsed != 60 || *s.Docked || s.State != "recording" {
		t.Fatalf("state %+v", s)
	}
}

// Older news never overwrites newer; a new boot counts from one again. A repetition isn't news.
func TestOldNews(t *testing.T) {
	e := newEnv(t)
	id, _ := e.device(donghe)
	at := *e.now.Load()
	e.take(id, "hb", heartbeat(1, 9, at, 50))
	e.take(id, "hb", heartbeat(1, 8, at, 90))
	if s := e.state(id); *s.Battery != 50 {
		t.Fatalf("battery %d", *s.Battery)
	}
	e.take(id, "hb", heartbeat(2, 1, at, 100))
	e.take(id, "hb", heartbeat(1, 10, at, 20))
	e.turn(at.Add(time.Hour))
	e.take(id, "hb", heartbeat(2, 1, at, 100))
	if s := e.state(id); *s.Battery != 100 || !s.LastData.Equal(at) {
		t.Fatalf("battery %d, heard of at %s", *s.Battery, s.LastData)
	}
	if n := e.stored(id); n != 4 {
		t.Fatalf("%d messages", n)
	}
}

// A clock two years off, either way: stored under the time we received it, and the device's page can say how far off it is.
func TestClockTwoYearsOff(t *testing.T) {
	e := newEnv(t)
	now := *e.now.Load()
	for _, off := range []time.Duration{-2 * 365 * 24 * time.Hour, 2 * 365 * 24 * time.Hour, -3 * time.Second} {
		id, _ := e.device(donghe)
		e.take(id, "hb", heartbeat(1, 1, now.Add(off), 50))
		s := e.state(id)
		if s.Skew != off || !s.LastData.Equal(now) || *s.Battery != 50 {
			t.Errorf("clock off by %s: %+v", off, s)
		}
		if n := e.count(`select count(*) from device_message where device_id = $1 and device_time = $2 and received_at = $3`, id, now.Add(off), now); n != 1 {
			t.Errorf("clock off by %s: not stored with both times", off)
		}
	}
	if n := e.count(`select count(*) from dead_letter`); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

// What no broker let pass, or nobody registered, is kept as a dead letter too; bad text can't spoil the letter.
func TestDeadLettersOfOtherBrokers(t *testing.T) {
	e := newEnv(t)
	id, _ := e.device(donghe)
	valid := heartbeat(1, 1, *e.now.Load(), 1)
	for topic, reason := range map[string]string{
		strings.Replace(devices.UpTopic(id, "hb"), "zz/v1", "zz/v2", 1): "version 1",
		"zz/v1/00/" + id + "/up/hb/x":                                   "version 1",
		"zz/v1/zz/" + id + "/up/hb":                                     "bucket",
		devices.UpTopic(someDevice, "hb"):                               "unknown device",
		"zz/v1/\xff\x00":                                                "version 1",
		"zz/" + strings.Repeat("长", 500):                                "version 1",
	} {
		before := e.count(`select count(*) from dead_letter`)
		if err := e.svc.Take(t.Context(), topic, valid); err != nil {
			t.Errorf("%q: %v", topic, err)
			continue
		}
		if n := e.count(`select count(*) from dead_letter where position($1 in reason) > 0 and raw = $2`, reason, valid); e.count(`select count(*) from dead_letter`) != before+1 || n == 0 {
			t.Errorf("%q: no dead letter for %q", topic, reason)
		}
	}
	e.take(id, "conn", []byte(`{"session":""}`))
	if n := e.count(`select count(*) from dead_letter where reason like 'presence%'`); n != 1 {
		t.Errorf("%d dead letters of a presence without a session", n)
	}
}

// A batch that the database refuses is halved until the culprit stands alone; all others are stored.
func TestPoisonInABatch(t *testing.T) {
	e := newEnv(t)

	if _, err := e.owner.Exec(t.Context(), `create function refuse() returns trigger language plpgsql as $$ begin
		if new.seq = 77 then raise exception 'no' using errcode = 'check_violation'; end if; return new; end $$;
		create trigger refuse before insert on device_message for each row execute function refuse()`); err != nil {
		t.Fatal(err)
	}
	id, _ := e.device(donghe)
	send := func(seq int) { e.enqueue(id, "hb", heartbeat(1, int64(seq), *e.now.Load(), seq%101)) }
	e.hold(func() { send(0) }, func() {
		for seq := range 199 {
			send(1 + seq)
		}
	})
	if n := e.stored(id); n != 199 {
		t.Fatalf("%d messages stored", n)
	}
	if n := e.count(`select count(*) from dead_letter where reason like 'could not be stored%' and raw = $1`, heartbeat(1, 77, *e.now.Load(), 77)); n != 1 {
		t.Fatalf("%d dead letters", n)
	}
}

// A database that is away is no fault of the message: an error for the sender, no dead letter.
func TestDatabaseAway(t *testing.T) {
	e := newEnv(t)
	id, _ := e.device(donghe)
	e.take(id, "hb", heartbeat(1, 1, *e.now.Load(), 1)) // known from here on
	name := e.owner.Config().ConnConfig.Database
	elsewhere := e.owner.Config().ConnConfig.Copy()
	elsewhere.Database = "postgres"
	server, err := pgx.ConnectConfig(t.Context(), elsewhere)
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close(context.Background())
	away := func(yes bool) {
		if _, err := server.Exec(t.Context(), fmt.Sprintf(`alter database %s allow_connections %t`, name, !yes)); err != nil {
			t.Fatal(err)
		}
	}
	away(true)
	if _, err := server.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity where datname = $1`, name); err != nil {
		t.Fatal(err)
	}
	err = e.svc.Take(t.Context(), devices.UpTopic(id, "hb"), heartbeat(1, 2, *e.now.Load(), 2))
	if !fault.Is(err, fault.KindUnavailable) {
		t.Fatalf("the sender was told: %v", err)
	}
	away(false)
	testenv.Eventually(t, soon, func() bool { return e.pool.Ping(t.Context()) == nil })
	e.take(id, "hb", heartbeat(1, 2, *e.now.Load(), 2))
	if n := e.stored(id); n != 2 || e.count(`select count(*) from dead_letter`) != 0 {
		t.Fatalf("%d messages stored", n)
	}
}

// hold lets messages pile up behind one that waits for a lock, so that they come in one batch, and returns when all are settled.
func (e *env) hold(first, pile func()) {
	e.t.Helper()
	tx, err := e.owner.Begin(e.t.Context())
	if err != nil {
		e.t.Fatal(err)
	}
	if _, err := tx.Exec(e.t.Context(), `lock table only device_message in exclusive mode`); err != nil {
		e.t.Fatal(err)
	}
	first()
	testenv.Eventually(e.t, soon, func() bool { return e.count(`select count(*) from pg_locks where not granted`) > 0 })
	pile()
	if err := tx.Rollback(e.t.Context()); err != nil {
		e.t.Fatal(err)
	}
	e.settling.Wait()
}

func (e *env) enqueue(id, kind string, body []byte) {
	e.t.Helper()
	e.settling.Add(1)
	err := e.svc.Enqueue(e.t.Context(), devices.UpTopic(id, kind), body, func(err error) {
		if err != nil {
			e.t.Error(err)
		}
		e.settling.Done()
	})
	if err != nil {
		e.t.Fatal(err)
	}
}

// Two batches at once over the same devices, in opposite orders: neither waits for the other for ever.
func TestConcurrentBatches(t *testing.T) {
	e := newEnv(t)
	var ids []string
	for range 20 {
		id, _ := e.device(donghe)
		ids = append(ids, id)
	}
	r := rand.New(rand.NewPCG(1, 1))
	for round := range 20 {
		send := func(i, k int) { e.enqueue(ids[i], "hb", heartbeat(1, int64(round*10+k), *e.now.Load(), 50)) }
		e.hold(func() { send(0, 0) }, func() {
			for _, i := range r.Perm(len(ids)) {
				for k := range 10 {
					send(i, k)
				}
			}
		})
	}
	if n := e.count(`select count(*) from device_message`); n != 20*20*10 {
		t.Fatalf("%d messages", n)
	}
}

// A watcher hears of the devices in its scope, the latest state once.
func TestSubscription(t *testing.T) {
	e := newEnv(t)
	mine, _ := e.device(donghe)
	other, _ := e.device(jiachuan)
	ctx := authority.WithActor(t.Context(), authority.Actor{UserID: "u", Role: "officer", Townships: []string{donghe}})
	sub, err := e.svc.Subscribe(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Close()
	e.take(other, "hb", heartbeat(1, 1, *e.now.Load(), 11))
	e.take(mine, "hb", heartbeat(1, 1, *e.now.Load(), 22))
	<-sub.Wake()
	got := sub.Take()
	if len(got) != 1 || got[0].ID != mine || *got[0].Battery != 22 {
		t.Fatalf("an officer of %s sees %+v", donghe, got)
	}
	if rest := sub.Take(); len(rest) != 0 {
		t.Fatalf("again: %+v", rest)
	}
	for range 15 { // one account can't take the streams of all
		more, err := e.svc.Subscribe(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer more.Close()
	}
	if _, err := e.svc.Subscribe(ctx); err == nil {
		t.Error("an account may watch without end")
	}
	neighbour, err := e.svc.Subscribe(authority.WithActor(t.Context(), authority.Actor{UserID: "v", Role: "officer", Townships: []string{donghe}}))
	if err != nil {
		t.Fatal(err)
	}
	neighbour.Close()
}
