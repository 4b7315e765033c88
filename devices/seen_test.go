package devices_test

import (
	"context"
	"testing"
)

func (e *env) days() int {
	e.t.Helper()
	return e.count(`select count(*) from pg_inherits where inhparent = 'device_message'::regclass`)
}

// homeless counts messages in the table for days that were not made.
func (e *env) homeless() (n int) {
	e.t.Helper()
	if err := e.owner.QueryRow(e.t.Context(), `select count(*) from device_message_default`).Scan(&n); err != nil {
		e.t.Fatal(err)
	}
	return n
}

// Days are made ahead and dropped by the setting; a repetition is known beyond the end of its day.
func TestDaysComeAndGo(t *testing.T) {
	e := newEnv(t)
	id, _ := e.device(donghe)
	begun := *e.now.Load()
	if err := e.svc.KeepDays(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := e.days(); n != 5 { // today, three ahead, and the one for all others
		t.Fatalf("%d tables", n)
	}
	for day := range 10 {
		at := begun.AddDate(0, 0, day)
		e.turn(at)
		if err := e.svc.KeepDays(t.Context()); err != nil {
			t.Fatal(err)
		}
		e.take(id, "hb", heartbeat(1, int64(day), at, 50))
	}
	if n := e.days(); n != 3+1+3+1 { // of the 72 hours: today and two days before, and the one that ends within them
		t.Errorf("%d tables", n)
	}
	if n := e.homeless(); n != 0 {
		t.Errorf("%d messages had no day", n)
	}
	if n := e.stored(id); n != 4 {
		t.Errorf("%d messages kept", n)
	}
	e.take(id, "hb", heartbeat(1, 0, begun, 1)) // nine days later, its table is gone
	if n := e.stored(id); n != 4 || *e.state(id).Battery != 50 {
		t.Errorf("a repetition of a dropped day was taken for news: %d messages", n)
	}
	if n := e.count(`select count(*) from device_seen where seen = '{[0,10)}'`); n != 1 {
		t.Error("the numbers are not one range")
	}
	e.turn(begun.AddDate(0, 0, 101))
	if err := e.svc.KeepDays(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := e.count(`select count(*) from device_seen`); n != 0 {
		t.Errorf("%d boots remembered for ever", n)
	}
}

// Without a day made for them, messages go to the table for all others, and move when the day is made, also while others come.
func TestMessagesBeforeTheirDay(t *testing.T) {
	e := newEnv(t)
	id, _ := e.device(donghe)
	at := e.now.Load().AddDate(0, 0, 30)
	e.turn(at)
	for seq := range int64(20) {
		e.take(id, "hb", heartbeat(1, seq, at, 50))
	}
	if n := e.homeless(); n != 20 {
		t.Fatalf("%d messages without a day", n)
	}
	made := make(chan error, 1)
	go func() { made <- e.svc.KeepDays(context.Background()) }()
	for seq := range int64(200) {
		e.take(id, "hb", heartbeat(2, seq, at, 50))
	}
	if err := <-made; err != nil {
		t.Fatal(err)
	}
	if n := e.homeless(); n != 0 || e.stored(id) != 220 || e.count(`select count(*) from dead_letter`) != 0 {
		t.Errorf("%d messages without a day, %d of 220 stored", n, e.stored(id))
	}
}

// A boot whose numbers are beyond measure goes to the dead letters, where nothing is lost; another boot of the device isn't concerned.
func TestScatteredNumbers(t *testing.T) {
	e := newEnv(t)
	id, _ := e.device(donghe)
	at := *e.now.Load()
	e.hold(func() { e.enqueue(id, "hb", heartbeat(1, 0, at, 1)) }, func() {
		for seq := range int64(5000) {
			e.enqueue(id, "hb", heartbeat(1, 2*seq, at, 50))
		}
	})
	stored := e.stored(id)
	e.take(id, "hb", heartbeat(1, 20_001, at, 50))
	e.take(id, "hb", heartbeat(2, 1, at, 51))
	letters := e.count(`select count(*) from dead_letter where reason like '%too many gaps'`)
	if letters == 0 || stored+letters != 5001 || *e.state(id).Battery != 51 {
		t.Errorf("%d stored, %d dead letters", stored, letters)
	}
}
