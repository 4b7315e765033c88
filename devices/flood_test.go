package devices_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/jackc/pgx/v5"

	"zhizheng/devices"
	"zhizheng/internal/testenv"
)

// A device that floods is read at its rate. Its neighbour is served as it is without the flood, and what was acknowledged is there.
func TestFloodBesideNeighbour(t *testing.T) {
	const rate, burst, most = 20, 10, 1500
	e := newEnv(t, func(o *devices.Options) { o.Rate, o.Burst = rate, burst })
	b := e.broker()
	var all []string
	run := func() (took time.Duration) { // a neighbour's messages one after the other, within what each may send ahead
		for range 4 {
			id, token := e.device(donghe)
			p := dialAs(t, b.URL(), b.CAFile(), id, token).connect()
			all = append(all, id)
			begun := time.Now()
			for seq := range int64(burst - 1) {
				p.sends("hb", heartbeat(1, seq, *e.now.Load(), 80))
			}
			took += time.Since(begun)
		}
		return took
	}
	run() // warm
	quiet := run()

	id, token := e.device(donghe)
	flooder := dialAs(t, b.URL(), b.CAFile(), id, token).connect()
	begun := time.Now()
	sent := make([]mqtt.Token, most)
	for seq := range sent {
		sent[seq] = flooder.publish("hb", heartbeat(1, int64(seq), *e.now.Load(), 80))
	}
	beside := run()
	flooder.c.Disconnect(0)
	lasted := time.Since(begun)
	var acked []int64
	for seq, tok := range sent {
		if tok.WaitTimeout(soon) && tok.Error() == nil {
			acked = append(acked, int64(seq))
		}
	}
	t.Logf("neighbours: %v alone, %v beside the flood; %d of the flood acknowledged in %v", quiet, beside, len(acked), lasted)
	if len(acked) == 0 || float64(len(acked)) > burst+rate*lasted.Seconds()+1 {
		t.Errorf("%d messages of the flood acknowledged in %v", len(acked), lasted)
	}
	if beside > 3*quiet+500*time.Millisecond {
		t.Errorf("a neighbour's messages took %v, without the flood %v", beside, quiet)
	}
	rows, err := e.pool.Query(t.Context(), `select seq from device_message where device_id = $1`, id)
	if err != nil {
		t.Fatal(err)
	}
	stored, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		t.Fatal(err)
	}
	for _, seq := range acked {
		if !slices.Contains(stored, seq) {
			t.Errorf("message %d was acknowledged and is missing", seq)
		}
	}
	for _, n := range all {
		if e.stored(n) != burst-1 {
			t.Errorf("%d messages of a neighbour", e.stored(n))
		}
	}
	if ahead, _ := e.svc.Floods(); ahead == 0 {
		t.Error("nobody was seen ahead of the rate")
	}
}

// On a broker of the county's own a flood is counted, not held back: the neighbours share its connection.
func TestFloodOnTheCountysBroker(t *testing.T) {
	e := newEnv(t, func(o *devices.Options) { o.Rate, o.Burst = 1, 10 })
	loud, loudToken := e.device(donghe)
	quiet, quietToken := e.device(donghe)
	m := e.newMosquitto(map[string]string{loud: loudToken, quiet: quietToken})
	l, _ := e.listen(m)
	e.ready(l)
	flooder, p := dialAs(t, m.url(), m.ca, loud, loudToken).connect(), dialAs(t, m.url(), m.ca, quiet, quietToken).connect()
	for seq := range int64(300) {
		flooder.publish("hb", heartbeat(1, seq, *e.now.Load(), 80))
	}
	p.sends("hb", heartbeat(1, 1, *e.now.Load(), 70))
	testenv.Eventually(t, soon, func() bool { return e.stored(loud) == 300 && e.stored(quiet) == 1 }) // at its rate it would take five minutes
	if ahead, _ := e.svc.Floods(); ahead != 290 {
		t.Errorf("%d messages counted as ahead of the rate", ahead)
	}
}

type kept struct {
	Raw     string
	Skipped int
}

func (e *env) letters() (all []kept) {
	e.t.Helper()
	rows, err := e.pool.Query(e.t.Context(), `select convert_from(raw, 'UTF8') as raw, skipped from dead_letter order by raw`)
	if err != nil {
		e.t.Fatal(err)
	}
	if all, err = pgx.CollectRows(rows, pgx.RowToStructByPos[kept]); err != nil {
		e.t.Fatal(err)
	}
	return all
}

// Beyond a day's allowance a device's bad messages are counted: the first and the last are kept, and the device is read slowly. Another
// device, and the next day, have their own.
func TestDeadLettersOfADay(t *testing.T) {
	e := newEnv(t, func(o *devices.Options) { o.Rate, o.Burst, o.Letters = 200, 1, 3 })
	b := e.broker()
	id, token := e.device(donghe)
	other, otherToken := e.device(donghe)
	p, q := dialAs(t, b.URL(), b.CAFile(), id, token).connect(), dialAs(t, b.URL(), b.CAFile(), other, otherToken).connect()
	for i := range 8 {
		p.sends("hb", fmt.Append(nil, i))
	}
	q.sends("hb", []byte("other"))
	want := []kept{{"0", 0}, {"1", 0}, {"2", 0}, {"7", 4}, {"other", 0}}
	if got := e.letters(); !slices.Equal(got, want) {
		t.Errorf("kept %v, want %v", got, want)
	}
	if ahead, skipped := e.svc.Floods(); ahead == 0 || skipped != 5 {
		t.Errorf("%d times ahead, %d beyond the allowance", ahead, skipped)
	}
	p.sends("hb", heartbeat(1, 1, *e.now.Load(), 80)) // what can be understood is stored all the same
	e.turn(e.now.Load().Add(24 * time.Hour))
	p.sends("hb", []byte("8"))
	if got := e.letters(); e.stored(id) != 1 || !slices.Contains(got, kept{"8", 0}) {
		t.Errorf("the next day: %d stored, kept %v", e.stored(id), got)
	}
	// Several in one batch, some within the allowance.
	third, _ := e.device(donghe)
	e.hold(func() { e.enqueue(third, "hb", heartbeat(1, 1, *e.now.Load(), 80)) }, func() {
		for _, body := range []string{"a", "b", "c", "d", "e", "f"} {
			e.enqueue(third, "hb", []byte(body))
		}
	})
	got := e.letters()
	if !slices.Contains(got, kept{"c", 0}) || slices.ContainsFunc(got, func(k kept) bool { return k.Raw == "d" || k.Raw == "e" }) || !slices.Contains(got, kept{"f", 2}) {
		t.Errorf("of one batch: %v", got)
	}
}
