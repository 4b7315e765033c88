package devices_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"zhizheng/devices"
)

const someDevice = "01ARZ3NDEKTSV4RRFFQ69G5FAV"

func TestTopics(t *testing.T) {
	for topic, kind := range map[string]string{devices.UpTopic(someDevice, "hb"): "hb", devices.UpTopic(someDevice, "conn"): "conn"} {
		d, k, err := devices.ParseTopic(topic)
		if err != nil || d != someDevice || k != kind {
			t.Errorf("%s: %q %q %v", topic, d, k, err)
		}
	}
	right := devices.UpTopic(someDevice, "hb")
	wrongBucket := "zz/v1/00/" + someDevice + "/up/hb"
	if devices.Bucket(someDevice) == "00" {
		t.Fatal("choose another device")
	}
	for _, topic := range []string{"", "zz/v1/", "zz/v2" + right[5:], right + "/x", right[:len(right)-3], wrongBucket, strings.ToLower(right),
		strings.Replace(right, "/up/", "/down/", 1), strings.Replace(right, someDevice, "device-1", 1), "x" + right} {
		if d, k, err := devices.ParseTopic(topic); err == nil {
			t.Errorf("%q was taken for %q %q", topic, d, k)
		}
	}
}

func TestMay(t *testing.T) {
	own := "zz/v1/" + devices.Bucket("A") + "/A"
	for _, c := range []struct {
		topic        string
		write, allow bool
	}{
		{own + "/up/hb", true, true},
		{own + "/up/conn", true, true},
		{own + "/up/", true, false},
		{own + "/up/hb/x", true, false},
		{own + "/up/+", true, false},
		{own + "/up/#", true, false},
		{own + "/down/cmd", true, false},
		{own + "/down/#", false, true},
		{own + "/down/cmd", false, true},
		{own + "/up/#", false, false},
		{own + "/#", false, false},
		{own + "/down", false, false},
		{own + "B/down/#", false, false},
		{"zz/v1/" + devices.Bucket("A") + "/+/down/#", false, false},
		{"#", false, false},
		{"$share/x/" + own + "/down/#", false, false},
	} {
		if devices.May("A", c.topic, c.write) != c.allow {
			t.Errorf("%s, write %v: allowed %v", c.topic, c.write, !c.allow)
		}
	}
	for _, name := range []string{"", "+", "#", "A/up"} { // no such device is ever let in; if one were, it had no more than its own
		if devices.May(name, own+"/up/hb", true) || devices.May(name, own+"/down/#", false) {
			t.Errorf("%q speaks for A", name)
		}
	}
}

// Whatever comes, the parser answers; what it accepts has the shape that the tables want and survives being written again.
func FuzzParseMessage(f *testing.F) {
	at := time.Date(2026, 11, 24, 9, 0, 0, 0, time.UTC)
	for _, kind := range []string{"hb", "dock", "conn", "manifest", ""} {
		f.Add(devices.UpTopic(someDevice, kind), heartbeat(1, 1, at, 80))
	}
	f.Add(devices.UpTopic(someDevice, "hb"), []byte(`{"epoch":1,"seq":1,"time":"9999-12-31T23:59:59-23:59","data":{"state":"\ud800","battery":null}}`))
	f.Add(devices.UpTopic(someDevice, "hb"), []byte(`{"epoch":1,"seq":1,"time":"2026-11-24T09:00:00Z","DATA":{"Battery":1e2},"data":{"docked":true}}`))
	f.Add(devices.UpTopic(someDevice, "hb"), []byte(`{"epoch":9223372036854775807,"seq":9223372036854775807,"time":"1970-01-01T00:00:00+14:00"}`))
	f.Add("zz/v1/\xff", []byte(strings.Repeat("[", 10_000)))
	f.Fuzz(func(t *testing.T, topic string, body []byte) {
		m, err := devices.ParseMessage(topic, body)
		if err != nil {
			if err.Error() == "" {
				t.Fatal("refused without a reason")
			}
			return
		}
		if topic != devices.UpTopic(m.Device, m.Kind) || string(m.Body) != string(body) || len(body) > 16<<10 {
			t.Fatalf("%q %q from %q", m.Device, m.Kind, topic)
		}
		for _, p := range []*int{m.Data.Battery, m.Data.StorageUsed} {
			if p != nil && (*p < 0 || *p > 100) {
				t.Fatalf("%d percent", *p)
			}
		}
		if m.Epoch <= 0 || m.Seq < 0 || m.Time.UTC().Year() < 1969 || m.Time.UTC().Year() > 10_000 || !utf8.ValidString(m.Data.State) ||
			strings.ContainsRune(m.Data.State, 0) || utf8.RuneCountInString(m.Data.State) > 32 {
			t.Fatalf("accepted %+v", m.Envelope)
		}
		b, err := json.Marshal(m.Envelope)
		if err != nil {
			t.Fatal(err)
		}
		again, err := devices.ParseMessage(topic, b)
		if err != nil || !again.Time.Equal(m.Time) || again.Epoch != m.Epoch || again.Seq != m.Seq || again.Data.State != m.Data.State {
			t.Fatalf("%s became %s: %v", body, b, err)
		}
	})
}

// FuzzPresence is the same for birth and will.
func FuzzParsePresence(f *testing.F) {
	f.Add(presence("s", true))
	f.Add([]byte(`{"session":""}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if p, err := devices.ParsePresence(body); err == nil && (p.Session == "" || len(p.Session) > 64 || len(body) > 512) {
			t.Fatalf("accepted %+v", p)
		}
	})
}
