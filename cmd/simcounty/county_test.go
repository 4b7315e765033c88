package main

import (
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"zhizheng/authority"
	"zhizheng/devices"
	"zhizheng/internal/embedded"
	"zhizheng/internal/testenv"
)

// The county reports over TLS; after the broker's restart it comes back by itself, and no number is missing or there twice.
func TestCounty(t *testing.T) {
	pool := testenv.Pool(t)
	svc := devices.New(pool, devices.Options{})
	if _, err := pool.Exec(t.Context(), `insert into township (code, name, kind, position) values ('510821100', '示例镇', 'town', 1)`); err != nil {
		t.Fatal(err)
	}
	kinds := []string{devices.Recorder, devices.Dock, devices.Computer, devices.Printer, devices.Other}
	var all []devices.Device
	for i := range 24 {
		all = append(all, devices.Device{Serial: "S" + string(rune('A'+i)), Kind: kinds[i%len(kinds)], Name: "d", Model: "m", Township: "510821100"})
	}
	if err := svc.Register(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, d := range all {
		ids = append(ids, d.ID)
	}
	tokens, err := svc.IssueTokens(t.Context(), ids)
	if err != nil {
		t.Fatal(err)
	}
	play := map[string]string{}
	var list []credential
	for i, d := range all {
		play[d.ID] = playLive
		switch {
		case i < 3:
			play[d.ID] = playBrief
		case i < 5:
			play[d.ID] = playFault
		}
		list = append(list, credential{ID: d.ID, Kind: d.Kind, Token: tokens[d.ID], Play: play[d.ID]})
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "devices.json")
	b, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	work, stopWork := context.WithCancel(context.Background())
	worked := make(chan error, 1)
	go func() { worked <- svc.Run(work) }()
	t.Cleanup(func() { stopWork(); <-worked })
	start := func(listen string) *embedded.Broker {
		br, err := embedded.StartBroker(t.Context(), embedded.BrokerOptions{Dir: dir, Listen: listen, Authenticate: svc.Authenticate, May: devices.May,
			Publish: svc.TakeDirect, Online: svc.Online, Offline: svc.Offline, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return br
	}
	broker := start("")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, config{Broker: broker.URL(), CA: broker.CAFile(), Credentials: file, Every: 300 * time.Millisecond, Ramp: time.Second, Seed: 1, LogLevel: "warn"})
	}()

	seen := func() map[string]devices.Device {
		page, _, _, err := svc.List(authority.WithActor(t.Context(), authority.System), devices.Filter{Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		m := map[string]devices.Device{}
		for _, d := range page {
			m[d.ID] = d
		}
		return m
	}
	asPlayed := func() bool {
		for id, d := range seen() {
			switch play[id] {
			case playLive:
				if !d.State.Connected || d.State.State == "" || d.State.State == broken {
					return false
				}
				if d.Kind == devices.Recorder && (d.State.Battery == nil || d.State.StorageUsed == nil || d.State.Docked == nil) {
					return false
				}
			case playBrief:
				if d.State.Connected || d.State.LastData == nil {
					return false
				}
			case playFault:
				if !d.State.Connected || d.State.State != broken {
					return false
				}
			}
		}
		return true
	}
	testenv.Eventually(t, time.Minute, asPlayed)

	addr := broker.Addr()
	if err := broker.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := svc.ResetPresence(t.Context()); err != nil {
		t.Fatal(err)
	}
	broker = start(addr)
	testenv.Eventually(t, 2*time.Minute, asPlayed)

	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, time.Minute, func() bool {
		for _, d := range seen() {
			if d.State.Connected {
				return false // each said goodbye
			}
		}
		return true
	})
	if err := broker.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	var gaps, devs int
	if err := pool.QueryRow(t.Context(), `select count(*) filter (where n <> top), count(*) from
		(select device_id, count(*) n, max(seq) top from device_message group by device_id) x`).Scan(&gaps, &devs); err != nil {
		t.Fatal(err)
	}
	if gaps != 0 || devs != len(all) {
		t.Fatalf("%d of %d devices have gaps in their numbers", gaps, devs)
	}
}

// A day of a recorder: its battery and card stay in range, it is docked and taken out again.
func TestRecorderPlay(t *testing.T) {
	p := newPart(devices.Recorder, playLive, newCounty(config{Seed: 3}, nil, []credential{{ID: "x", Kind: devices.Recorder}}, nil).devices[0].r)
	kinds, states := map[string]int{}, map[string]int{}
	for range 48 * 120 { // two days at 30 s
		kinds[p.step(30*time.Second)]++
		s := p.snapshot()
		states[s.State]++
		if *s.Battery < 0 || *s.Battery > 100 || *s.StorageUsed < 0 || *s.StorageUsed > 100 {
			t.Fatalf("battery %d, storage %d", *s.Battery, *s.StorageUsed)
		}
	}
	if kinds["dock"] < 4 || kinds["state"] == 0 || states[recording] == 0 || states[charging] == 0 || states[idle] == 0 {
		t.Fatalf("kinds %v, states %v", kinds, states)
	}
}
