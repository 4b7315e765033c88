package devices_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"zhizheng/devices"
	"zhizheng/internal/embedded"
	"zhizheng/internal/testenv"
)

// schemas compiles the published schemas as a reader does that knows their address alone.
var schemas = sync.OnceValues(func() (map[string]*jsonschema.Schema, error) {
	const at = "https://county.example/schemas/device/v1/"
	b, _ := devices.Schema("index.json")
	var index map[string]string
	if err := json.Unmarshal(b, &index); err != nil {
		return nil, err
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.UseLoader(loader(func(url string) (any, error) {
		b, ok := devices.Schema(strings.TrimPrefix(url, at))
		if !ok {
			return nil, fmt.Errorf("%s is not published", url)
		}
		return jsonschema.UnmarshalJSON(bytes.NewReader(b))
	}))
	all := map[string]*jsonschema.Schema{}
	for what, file := range index {
		s, err := c.Compile(at + file)
		if err != nil {
			return nil, err
		}
		all[what] = s
	}
	return all, nil
})

type loader func(url string) (any, error)

func (f loader) Load(url string) (any, error) { return f(url) }

// fits tells what is wrong with a payload by its schema.
func fits(what string, body []byte) error {
	all, err := schemas()
	if err != nil {
		return err
	}
	s, ok := all[what]
	if !ok {
		return fmt.Errorf("no schema of %s", what)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		return err
	}
	return s.Validate(v)
}

// storedFits holds what a test had the platform store against the schemas.
func (e *env) storedFits() {
	rows, err := e.pool.Query(context.Background(), `select kind, body from device_message order by received_at desc limit 1000`)
	if err != nil {
		return // the test has ended its database
	}
	defer rows.Close()
	for rows.Next() {
		var kind string
		var body []byte
		if err := rows.Scan(&kind, &body); err != nil {
			e.t.Error(err)
			return
		}
		if err := fits("up/"+kind, body); err != nil {
			e.t.Errorf("%s was stored and is not as published: %v", body, err)
		}
	}
}

// Each file is in the index or referred to; each example fits its schema, and the platform takes it.
func TestSchemasAndTheirExamples(t *testing.T) {
	files, err := filepath.Glob("schemas/*.json")
	if err != nil {
		t.Fatal(err)
	}
	all, err := schemas()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(all)+2 { // the index, and the envelope
		t.Errorf("%d files, %d in the index", len(files), len(all))
	}
	if _, ok := devices.Schema("../devices.go"); ok {
		t.Error("gives any file")
	}
	examples := 0
	for what, s := range all {
		for _, x := range s.Examples {
			examples++
			body := mustJSON(x)
			if err := fits(what, body); err != nil {
				t.Errorf("example of %s: %v", what, err)
			}
			if kind, up := strings.CutPrefix(what, "up/"); up {
				if err := read(kind, body); err != nil {
					t.Errorf("%s of %s is not taken: %v", body, what, err)
				}
			}
		}
	}
	if examples < 8 {
		t.Errorf("%d examples", examples)
	}
}

// read is what the platform says of a message.
func read(kind string, body []byte) error {
	if kind == "conn" {
		_, err := devices.ParsePresence(body)
		return err
	}
	_, err := devices.ParseMessage(devices.UpTopic(someDevice, kind), body)
	return err
}

// Schema and platform agree: a heartbeat with members of any value is refused by both or taken by both.
func TestSchemaAgreesWithThePlatform(t *testing.T) {
	percent := rapid.SampledFrom([]any{0, 1, 80, 100, -1, 101, 1.5, "80", true, []int{}})
	values := map[string]*rapid.Generator[any]{
		"epoch": rapid.SampledFrom([]any{1, 3, 0, -1, int64(1) << 62, 1.5, "1", nil}),
		"seq":   rapid.SampledFrom([]any{0, 1, 17, -1, 0.5, "0"}),
		"time":  rapid.SampledFrom([]any{"2026-11-24T09:00:00Z", "2026-11-24T09:00:00.123+08:00", "1970-01-01T00:00:00Z", "1969-12-31T00:00:00Z", "0001-01-01T00:00:00Z", "2026-11-24", "now", 1795000000, "2026-13-01T00:00:00Z"}),
	}
	data := map[string]*rapid.Generator[any]{
		"battery": percent, "storage_used": percent, "docked": rapid.SampledFrom([]any{true, false, "yes", 1}),
		"state":  rapid.SampledFrom([]any{"idle", strings.Repeat("长", 32), strings.Repeat("长", 33), "a\x00b", 1}),
		"vendor": rapid.SampledFrom([]any{1, "x", map[string]int{"a": 1}}),
		"command": rapid.SampledFrom([]any{map[string]any{"id": 1, "result": "done"}, map[string]any{"id": 1, "result": "maybe"}, map[string]any{"result": "done"},
			map[string]any{"id": 1, "result": "refused", "reason": strings.Repeat("因", 201)}, map[string]any{"id": 1, "result": "refused", "reason": "x"}, "done"}),
	}
	taken := 0
	rapid.Check(t, func(rt *rapid.T) {
		m, d := map[string]any{"epoch": 1, "seq": 1, "time": "2026-11-24T09:00:00Z"}, map[string]any{}
		m["data"] = d
		for _, name := range []string{"epoch", "seq", "time"} {
			if rapid.IntRange(0, 3).Draw(rt, name+" drawn") == 0 {
				m[name] = values[name].Draw(rt, name)
			}
		}
		for _, name := range []string{"battery", "storage_used", "docked", "state", "vendor", "command"} {
			if rapid.IntRange(0, 2).Draw(rt, name+" drawn") == 0 {
				d[name] = data[name].Draw(rt, name)
			}
		}
		body := mustJSON(m)
		byPlatform, bySchema := read("hb", body), fits("up/hb", body)
		if (byPlatform == nil) != (bySchema == nil) {
			rt.Fatalf("%s: the platform says %v, the schema %v", body, byPlatform, bySchema)
		}
		if byPlatform == nil {
			taken++
		}
	})
	if taken == 0 {
		t.Error("none was taken")
	}
	for _, body := range []string{`{"session":"","online":true}`, `{"online":true}`, `{"session":"s","online":"yes"}`, `{"session":"` + strings.Repeat("s", 65) + `","online":true}`, `[]`} {
		if read("conn", []byte(body)) == nil || fits("up/conn", []byte(body)) == nil {
			t.Errorf("%s: the platform says %v, the schema %v", body, read("conn", []byte(body)), fits("up/conn", []byte(body)))
		}
	}
}

// What the simulated county sends is as published.
func TestSimulatedCountyFitsTheSchemas(t *testing.T) {
	e := newEnv(t)
	dir := t.TempDir()
	program := filepath.Join(dir, "simcounty")
	if out, err := exec.Command("go", "build", "-o", program, "zhizheng/cmd/simcounty").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var mu sync.Mutex
	seen := map[string]int{}
	b, err := embedded.StartBroker(t.Context(), embedded.BrokerOptions{Dir: dir, Authenticate: e.svc.Authenticate, May: devices.May, Online: e.svc.Online, Offline: e.svc.Offline,
		Log: slog.New(slog.DiscardHandler), Publish: func(ctx context.Context, topic string, body []byte) error {
			_, kind, err := devices.ParseTopic(topic)
			if err == nil {
				err = fits("up/"+kind, body)
			}
			if err != nil {
				t.Errorf("%s %s: %v", topic, body, err)
			}
			mu.Lock()
			seen[kind]++
			mu.Unlock()
			return e.svc.TakeDirect(ctx, topic, body)
		}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Stop(context.Background()) })
	var list []map[string]string
	for _, play := range []string{"live", "live", "brief", "fault"} {
		for _, kind := range []string{devices.Recorder, devices.Dock, devices.Printer} {
			id, token := e.device(donghe)
			list = append(list, map[string]string{"id": id, "kind": kind, "token": token, "play": play})
		}
	}
	file := filepath.Join(dir, "devices.json")
	if err := os.WriteFile(file, mustJSON(list), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "--broker", b.URL(), "--ca", b.CAFile(), "--credentials", file, "--every", "100ms", "--ramp", "0s")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	})
	testenv.Eventually(t, soon, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return seen["hb"] > 50 && seen["conn"] >= 12
	})
	mu.Lock()
	defer mu.Unlock()
	t.Logf("sent: %v", seen)
}

// What a device hears is as published, whatever the command.
func TestCommandsFitTheSchemas(t *testing.T) {
	e := newEnv(t)
	b := e.broker()
	id, token := e.device(donghe)
	p := dialAs(t, b.URL(), b.CAFile(), id, token).connect()
	heard := make(chan []byte, 16)
	if err := settled(p.c.Subscribe(devices.DownTopics(id), 1, func(_ mqtt.Client, m mqtt.Message) { heard <- m.Payload() })); err != nil {
		t.Fatal(err)
	}
	for _, kind := range []string{devices.Locate, devices.Lock, devices.SyncClock, devices.Configure} {
		c := e.gives(id, kind)
		for {
			var signed devices.SignedCommand
			var text devices.CommandText
			body := <-heard
			if err := fits("down/cmd", body); err != nil {
				t.Errorf("%s: %v", body, err)
			}
			if err := json.Unmarshal(body, &signed); err != nil {
				t.Fatal(err)
			}
			if err := fits("command", signed.Payload); err != nil {
				t.Errorf("%s: %v", signed.Payload, err)
			}
			if err := json.Unmarshal(signed.Payload, &text); err != nil {
				t.Fatal(err)
			}
			if text.ID == c.ID {
				break
			}
		}
	}
	for _, body := range []string{`{"id":1,"device":"` + someDevice + `","command":"lock","args":{},"given":"2026-11-24T09:00:00Z","expires":"2026-11-25T09:00:00Z"}`,
		`{"id":1,"device":"` + someDevice + `","command":"config","given":"2026-11-24T09:00:00Z","expires":"2026-11-25T09:00:00Z"}`} {
		if fits("command", []byte(body)) == nil {
			t.Errorf("%s fits", body)
		}
	}
}
