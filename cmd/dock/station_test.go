package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"

	"zhizheng/api"
	"zhizheng/authority"
	"zhizheng/devices"
	"zhizheng/evidence"
	"zhizheng/ingest"
	"zhizheng/internal/testcounty"
	"zhizheng/internal/testenv"
)

// screen is a station at work on a real platform, and the touch screen before it. Recorders are folders below ports/.
type screen struct {
	t      *testing.T
	county *testcounty.County
	url    string
	http   *http.Client
	ports  string
	stop   func()
}

const serial = "DSJ-A1"

func newScreen(t *testing.T, change ...func(*stationConfig)) *screen {
	t.Helper()
	return onScreen(t, testcounty.New(t, func(d *api.Deps) { d.Wipe = api.WipeRule{When: "receipt"} }), change...)
}

func onScreen(t *testing.T, c *testcounty.County, change ...func(*stationConfig)) *screen {
	t.Helper()
	must(t, c.Devices.Register(authority.WithActor(t.Context(), authority.System), []devices.Device{
		{Serial: serial, Kind: devices.Recorder, Name: "记录仪", Model: "V8", Township: testcounty.Donghe, Funding: "opening"}}))
	s := &screen{t: t, county: c, ports: t.TempDir()}
	s.begin(change...)
	t.Cleanup(func() { s.stop() })
	return s
}

// begin starts the station, end ends it as a power switch ends a program that was asked to.
func (s *screen) begin(change ...func(*stationConfig)) {
	s.t.Helper()
	cfg := stationConfig{hubConfig: hubConfig{Identity: s.county.Identity, Server: s.county.URL, Spool: filepath.Join(s.county.Identity, "spool"), Parallel: 4, Readers: 2,
		States: time.Minute, System: systemFiles}, Listen: "127.0.0.1:0",
		site: siteConfig{Slots: 16, Folders: []folderConfig{{Path: s.ports, Each: true, Settle: 200 * time.Millisecond, Wipe: true}}}}
	for _, f := range change {
		f(&cfg)
	}
	must(s.t, cfg.site.check())
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	up, done := make(chan string, 1), make(chan error, 1)
	go func() { done <- runStation(ctx, cfg, slog.New(slog.DiscardHandler), func(a string) { up <- a }) }()
	select {
	case s.url = <-up:
	case err := <-done:
		s.t.Fatalf("station: %v", err)
	}
	jar, err := cookiejar.New(nil)
	must(s.t, err)
	s.http = &http.Client{Jar: jar, Timeout: 10 * time.Second}
	s.stop = func() {
		cancel()
		must(s.t, <-done)
		s.stop = func() {}
	}
}

func (s *screen) state() (v stateView) {
	s.t.Helper()
	res, err := s.http.Get(s.url + "/state")
	must(s.t, err)
	defer res.Body.Close()
	must(s.t, json.NewDecoder(res.Body).Decode(&v))
	return v
}

// touch does something on the screen; no is what the officer was refused with.
func (s *screen) touch(a act) (v stateView, no string) {
	s.t.Helper()
	b, err := json.Marshal(a)
	must(s.t, err)
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodPost, s.url+"/act", bytes.NewReader(b))
	must(s.t, err)
	req.Header.Set("X-Zhizheng", "1")
	res, err := s.http.Do(req)
	must(s.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(s.t, err)
	if res.StatusCode != http.StatusOK {
		var p struct{ Error string }
		must(s.t, json.Unmarshal(text, &p))
		return v, p.Error
	}
	must(s.t, json.Unmarshal(text, &v))
	return v, ""
}

func (s *screen) touches(a act) stateView {
	s.t.Helper()
	v, no := s.touch(a)
	if no != "" {
		s.t.Fatalf("%+v refused: %s", a, no)
	}
	return v
}

// docks puts a recorder into the station.
func (s *screen) docks(recorder string, files map[string][]byte) {
	s.t.Helper()
	dir := filepath.Join(s.t.TempDir(), recorder)
	must(s.t, os.Mkdir(dir, 0o755))
	for name, b := range files {
		put(s.t, dir, name, b)
	}
	must(s.t, os.Rename(dir, filepath.Join(s.ports, recorder)))
}

// slotOfRecorder waits until the recorder's slot is in a state.
func (s *screen) until(recorder, state string) slotView {
	s.t.Helper()
	var last []slotView
	var found slotView
	testenv.Eventually(s.t, time.Minute, func() bool {
		last = s.state().Live.Slots
		for _, v := range last {
			if strings.HasSuffix(v.Volume, "/"+recorder) && v.State == state {
				found = v
				return true
			}
		}
		if s.t.Failed() {
			s.t.Logf("%+v", last)
		}
		return false
	})
	return found
}

// card is what the first officer's card reader types.
func (s *screen) card(n int) string {
	s.t.Helper()
	all, err := s.county.Auth.Officers(s.t.Context(), []string{s.county.Officers[testcounty.Donghe][n]})
	must(s.t, err)
	return all[0].Certificates[0].Number
}

func clipName(n int) string {
	return "DSJ-A1_01_20260301120000_00" + string(rune('0'+n/10)) + string(rune('0'+n%10)) + ".mp4"
}

// An officer's evening: dock, swipe, label, explain, confirm, and the originals are gone from the recorder only after their receipts.
func TestAnOfficersEvening(t *testing.T) {
	s := newScreen(t)
	testenv.Eventually(t, 20*time.Second, func() bool { return len(s.state().Activities) > 0 })
	files := map[string][]byte{}
	for _, n := range []int{1, 2, 5, 6} {
		files[clipName(n)] = random(byte(n), 300_000*n)
	}
	s.docks(serial, files)
	v := s.until(serial, slotAttention) // the names skip 3 and 4
	if v.Missing != 2 || v.Fingerprints != 4 || v.Recorder != serial {
		t.Fatalf("%+v", v)
	}
	if _, no := s.touch(act{Do: "label", Slot: v.Slot, File: -1, Activity: "patrol"}); no == "" {
		t.Fatal("nobody had swiped a card")
	}
	if _, no := s.touch(act{Do: "card", Number: "no such card"}); no == "" {
		t.Fatal("a strange card was taken")
	}
	me := s.touches(act{Do: "card", Number: s.card(0)})
	if me.Session == nil || len(me.Mine) != 1 || len(me.Mine[0].Items) != 4 {
		t.Fatalf("%+v", me)
	}
	s.touches(act{Do: "label", Slot: v.Slot, File: -1, Activity: "patrol"})
	third := slices.IndexFunc(me.Mine[0].Items, func(f clipView) bool { return f.Name == clipName(5) })
	s.touches(act{Do: "label", Slot: v.Slot, File: third, Activity: "service"})
	s.touches(act{Do: "mistaken", Slot: v.Slot, File: third, Reason: "误触开机"})
	if _, no := s.touch(act{Do: "gap", Slot: v.Slot, First: 99, Reason: "x"}); no == "" {
		t.Fatal("a gap that isn't there was explained")
	}
	g := me.Mine[0].Gaps[0]
	s.touches(act{Do: "gap", Slot: v.Slot, First: g.First, Series: g.Series, Reason: "更换电池"})
	s.until(serial, slotWiped)
	after := s.touches(act{Do: "confirm", Slot: v.Slot})
	left, err := filepath.Glob(filepath.Join(s.ports, serial, "*"))
	must(t, err)
	if len(left) != 0 {
		t.Fatalf("still on the recorder: %v", left)
	}

	// The slip is the station's word, signed.
	res, err := s.http.Get(s.url + "/slip/" + after.Mine[0].Slip)
	must(t, err)
	defer res.Body.Close()
	slip, err := io.ReadAll(res.Body)
	must(t, err)
	pemText, err := os.ReadFile(filepath.Join(s.county.Identity, "cert.pem"))
	must(t, err)
	block, _ := pem.Decode(pemText)
	cert, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	vkey, err := note.NewEd25519VerifierKey("station/"+testcounty.Station, cert.PublicKey.(ed25519.PublicKey))
	must(t, err)
	verifier, err := note.NewVerifier(vkey)
	must(t, err)
	n, err := note.Open(slip, note.VerifierList(verifier))
	must(t, err)
	for _, f := range files {
		if !strings.Contains(n.Text, sum(f)) {
			t.Errorf("the slip lacks a file: %s", n.Text)
		}
	}
	if !strings.Contains(n.Text, "更换电池") || !strings.Contains(n.Text, "已封存") {
		t.Errorf("%s", n.Text)
	}

	// The platform knows all of it.
	records := map[string]evidence.Record{}
	testenv.Eventually(t, 20*time.Second, func() bool {
		p, err := s.county.Keeper.List(t.Context(), evidence.Scope{}, evidence.Filter{}, "", 100)
		must(t, err)
		wiped := 0
		for _, r := range p.Items {
			records[r.FileName] = r
			if r.WipedAt != nil {
				wiped++
			}
		}
		return wiped == 4
	})
	if records[clipName(1)].Activity != "patrol" || records[clipName(5)].Activity != "service" || !records[clipName(5)].Restricted || records[clipName(1)].Status != evidence.StatusSealed {
		t.Errorf("%+v", records)
	}
	if dead, _, err := s.county.Ingest.DeadLetters(t.Context(), ingest.LetterFilter{}, "", 10); err != nil || len(dead) != 0 {
		t.Errorf("refused: %+v %v", dead, err)
	}
	// It goes out again with the other officer.
	s.touches(act{Do: "card", Number: s.card(1)})
	if _, no := s.touch(act{Do: "label", Slot: v.Slot, File: -1, Activity: "patrol"}); no == "" {
		t.Error("another officer labels it")
	}
	s.touches(act{Do: "take", Slot: v.Slot})
	testenv.Eventually(t, 20*time.Second, func() bool {
		who, err := s.county.Ingest.Wearer(t.Context(), serial, time.Now())
		must(t, err)
		return who == s.county.Officers[testcounty.Donghe][1]
	})
}

// A recorder that nobody knows is sealed all the same; whose it is is asked, and remembered.
func TestUnknownCardIsClaimed(t *testing.T) {
	s := newScreen(t)
	testenv.Eventually(t, 20*time.Second, func() bool { return len(s.state().Activities) > 0 })
	s.docks("NO-NAME", map[string][]byte{"a.mp4": random(1, 1000)})
	v := s.until("NO-NAME", slotUnclaimed)
	s.touches(act{Do: "card", Number: s.card(0)})
	if _, no := s.touch(act{Do: "claim", Slot: v.Slot, Recorder: "NOT-OURS"}); no == "" {
		t.Fatal("a recorder of nobody was claimed")
	}
	s.touches(act{Do: "claim", Slot: v.Slot, Recorder: serial})
	s.stop()
	must(t, os.RemoveAll(filepath.Join(s.ports, "NO-NAME")))
	s.begin()
	s.docks("NO-NAME", map[string][]byte{"b.mp4": random(2, 1000)})
	if v := s.until("NO-NAME", slotWiped); v.Recorder != serial {
		t.Fatalf("%+v", v)
	}
}

// While the link is away cards are read and kept, encrypted; what was read and what officers said arrives once it is back, though the
// station was switched off in between and the recorder has gone.
func TestStationWithoutALink(t *testing.T) {
	c := testcounty.New(t)
	s := onScreen(t, c)
	testenv.Eventually(t, 20*time.Second, func() bool { return len(s.state().Activities) > 0 })
	s.stop()
	nowhere := func(cfg *stationConfig) { cfg.Server = "http://127.0.0.1:1" } // nobody listens there
	s.begin(nowhere)
	clip, all := random(7, 3*mib), map[string][]byte{}
	for n := 2; n < 9; n++ { // they are read after each other: none waits for the answer of another
		all[clipName(n)] = random(byte(10+n), n*400_000)
	}
	all[clipName(1)] = clip
	s.docks(serial, all)
	testenv.Eventually(t, 20*time.Second, func() bool { return s.state().Away != "" })
	testenv.Eventually(t, 20*time.Second, func() bool {
		names, err := os.ReadDir(filepath.Join(c.Identity, "spool"))
		must(t, err)
		return slices.ContainsFunc(names, func(e os.DirEntry) bool { return e.Name() == sum(clip) })
	})
	if v := s.until(serial, slotTakeable); !strings.Contains(v.Note, "联网后自动入册") || v.Fingerprints != 0 {
		t.Fatalf("%+v", v)
	}
	kept, err := os.ReadFile(filepath.Join(c.Identity, "spool", sum(clip)))
	must(t, err)
	if bytes.Contains(kept, clip[:64]) || bytes.Contains(kept, clip[len(clip)-64:]) {
		t.Fatal("the copy lies there in the clear")
	}
	if who := s.touches(act{Do: "card", Number: s.card(0)}); who.Session == nil {
		t.Fatal("a card is known without a link")
	}
	s.touches(act{Do: "label", Slot: 1, File: -1, Activity: "inspection"})
	s.stop()
	must(t, os.RemoveAll(filepath.Join(s.ports, serial)))
	s.begin()
	testenv.Eventually(t, time.Minute, func() bool {
		p, err := c.Keeper.List(t.Context(), evidence.Scope{}, evidence.Filter{}, "", 10)
		must(t, err)
		sealed := map[string]bool{}
		for _, r := range p.Items {
			sealed[r.SHA256Hex()] = r.Status == evidence.StatusSealed
		}
		for _, b := range all {
			if !sealed[sum(b)] {
				return false
			}
		}
		return len(sealed) == len(all)
	})
	testenv.Eventually(t, 20*time.Second, func() bool {
		left, err := os.ReadDir(filepath.Join(c.Identity, "spool"))
		must(t, err)
		return len(left) == 1 // the lock
	})
}

// What was sealed once and is no longer in the store stays on its recorder, whatever the rule for wiping says: it may be the last copy.
func TestNothingIsWipedThatTheStoreNoLongerHas(t *testing.T) {
	s := newScreen(t)
	testenv.Eventually(t, 20*time.Second, func() bool { return len(s.state().Activities) > 0 })
	clip := random(3, 1000)
	left := func(status, state string) bool {
		t.Helper()
		if status != "" {
			_, err := s.county.Pool.Exec(t.Context(), "update evidence set status = $1, damage = case when $1 = 'damaged' then 'missing' else '' end", status)
			must(t, err)
		}
		s.docks(serial, map[string][]byte{clipName(1): clip})
		if v := s.until(serial, state); v.Files != 1 {
			t.Errorf("%q: %+v", status, v)
		}
		_, err := os.Stat(filepath.Join(s.ports, serial, clipName(1)))
		must(t, os.RemoveAll(filepath.Join(s.ports, serial)))
		testenv.Eventually(t, 20*time.Second, func() bool { return s.state().Live.Slots[0].State == slotEmpty })
		return err == nil
	}
	if left("", slotWiped) || left("sealed", slotWiped) {
		t.Error("an original whose bytes are in the store is still there")
	}
	if !left("damaged", slotFailed) || !left("deleted", slotWipeable) {
		t.Error("an original whose bytes are no longer in the store was wiped")
	}
}

func TestSixteenRecordersAtOnce(t *testing.T) {
	s := onScreen(t, testcounty.New(t))
	want := map[string]bool{}
	for i := range 16 {
		name := "R-" + string(rune('A'+i))
		files := map[string][]byte{}
		for n := 1; n <= 3; n++ {
			b := random(byte(16*i+n), 200_000)
			files[clipName(n)] = b
			want[sum(b)] = true
		}
		s.docks(name, files)
	}
	testenv.Eventually(t, 2*time.Minute, func() bool {
		p, err := s.county.Keeper.List(t.Context(), evidence.Scope{}, evidence.Filter{Status: evidence.StatusSealed}, "", 100)
		must(t, err)
		return len(p.Items) == len(want)
	})
	used := map[int]bool{}
	for _, v := range s.state().Live.Slots {
		if v.State != slotEmpty {
			used[v.Slot] = true
		}
	}
	if len(used) != 16 {
		t.Errorf("%d slots used", len(used))
	}
}

// The page answers its own screen alone.
func TestPageIsForTheStationsScreen(t *testing.T) {
	s := newScreen(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.url+"/state", nil)
	must(t, err)
	req.Host = "evil.example"
	res, err := s.http.Do(req)
	must(t, err)
	res.Body.Close()
	if res.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("another name: %d", res.StatusCode)
	}
	res, err = s.http.Post(s.url+"/act", "text/plain", strings.NewReader(`{"do":"exit"}`))
	must(t, err)
	res.Body.Close()
	if res.StatusCode != http.StatusForbidden {
		t.Errorf("without the header: %d", res.StatusCode)
	}
	for _, bad := range []string{"0.0.0.0:80", "192.168.1.2:80", "example.com:80", ""} {
		c := stationConfig{hubConfig: hubConfig{Identity: "x", Spool: "x", Parallel: 1, Readers: 1, Patience: time.Minute, States: time.Minute}, Listen: bad}
		if c.Validate() == nil {
			t.Errorf("--listen %q was taken", bad)
		}
	}
}

// The example that stations are set up from is read as it is.
func TestExampleConfiguration(t *testing.T) {
	c := stationConfig{hubConfig: hubConfig{Identity: "x", Spool: "x", Parallel: 1, Readers: 1, Patience: time.Minute, States: time.Minute}, Listen: "127.0.0.1:8470",
		Config: filepath.Join("..", "..", "deploy", "dock", "dock.yaml")}
	must(t, c.Validate())
	s := c.site
	if s.Slots != 16 || s.Ports["1-1.2"] != 2 || s.Disabled[7] == "" || len(s.Mounts) != 3 || len(s.Folders) != 2 || s.Folders[1].Settle != 5*time.Minute || !s.Folders[0].Wipe ||
		len(s.Commands) != 1 || len(s.Commands[0].Unlock) != 3 || len(s.Schedule) != 2 || s.Schedule[0].Kbit != 1000 {
		t.Errorf("%+v", s)
	}
}

func TestSpoolReadsFromAnyByte(t *testing.T) {
	s, err := openSpool(t.TempDir(), filepath.Join(t.TempDir(), "key"))
	must(t, err)
	defer s.close()
	b := random(9, 3*mib+7)
	c, err := s.begin()
	must(t, err)
	for rest := b; len(rest) > 0; {
		n := min(len(rest), 1+rand.IntN(100_000))
		must(t, c.write(rest[:n]))
		rest = rest[n:]
	}
	path, err := c.keep(sum(b))
	must(t, err)
	f, err := s.open(path)
	must(t, err)
	defer f.Close()
	for range 2000 {
		off := rand.IntN(len(b))
		n := 1 + rand.IntN(min(5000, len(b)-off))
		got := make([]byte, n)
		if _, err := f.ReadAt(got, int64(off)); err != nil || !bytes.Equal(got, b[off:off+n]) {
			t.Fatalf("%d bytes from %d: %v", n, off, err)
		}
	}
	if n, err := f.ReadAt(make([]byte, 10), int64(len(b)-3)); n != 3 || err != io.EOF {
		t.Errorf("beyond the end: %d %v", n, err)
	}
}

// Urgent ones first, then small files, then card by card and file by file. Places become fewer and more while parts are on their way.
func TestGateKeepsTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1)
		must(t, g.enter(t.Context(), func() rank { return rank{} }))
		var order []int
		for i, r := range []rank{{class: 30}, {class: 20, card: 2}, {class: 40, urgent: true}, {class: 20, card: 1, file: 3}, {class: 20, card: 1, file: 2}} {
			go func() {
				if g.enter(t.Context(), func() rank { return r }) == nil {
					order = append(order, i)
					g.leave()
				}
			}()
			synctest.Wait()
		}
		gone, cancel := context.WithCancel(t.Context())
		go func() { _ = g.enter(gone, func() rank { return rank{urgent: true} }) }()
		synctest.Wait()
		cancel()
		synctest.Wait()
		g.leave()
		synctest.Wait()
		if !slices.Equal(order, []int{2, 4, 3, 1, 0}) || g.inside != 0 {
			t.Fatalf("%v, %d inside", order, g.inside)
		}
		g.resize(3)
		inside := 0
		for range 5 {
			go func() {
				if g.enter(t.Context(), func() rank { return rank{} }) == nil {
					inside++
				}
			}()
		}
		synctest.Wait()
		if inside != 3 {
			t.Fatalf("%d inside of 3", inside)
		}
		g.resize(1)
		g.leave()
		g.leave()
		synctest.Wait()
		if inside != 3 {
			t.Fatalf("%d came in while one place was taken", inside-3)
		}
		g.resize(2)
		synctest.Wait()
		g.leave()
		synctest.Wait()
		if inside != 5 || g.inside != 2 {
			t.Fatalf("%d came in, %d inside", inside, g.inside)
		}
	})
}

// Footage that is on its way stands still while fingerprints want the line, also between one of them and the next.
func TestFootageStandsAsideForFingerprints(t *testing.T) {
	p := newPace(nil)
	first := p.goFirst()
	second := make(chan func())
	go func() { second <- p.goFirst() }()
	testenv.Eventually(t, 10*time.Second, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return p.wanted == 2 })
	through := make(chan int64, 1)
	go func() {
		n, _ := io.Copy(io.Discard, p.reader(t.Context(), bytes.NewReader(make([]byte, 300_000)))) // n tells
		through <- n
	}()
	first()
	last := <-second
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.reader(ctx, bytes.NewReader(make([]byte, 1))).Read(make([]byte, 1)); err == nil || len(through) > 0 {
		t.Error("a byte passed a fingerprint")
	}
	last()
	if n := <-through; n != 300_000 || p.behind() != nil {
		t.Errorf("%d bytes passed afterwards", n)
	}
}

func TestPaceKeepsToTheSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		day := func(h, m int) time.Time { return time.Date(2026, 3, 1, h, m, 0, 0, time.Local) }
		ws := []window{{From: "08:00", To: "18:00", Kbit: 800}, {From: "22:00", To: "06:00", Kbit: 0}}
		for i := range ws {
			must(t, ws[i].check())
		}
		p := newPace(ws)
		begun := time.Now()
		start := day(12, 0)
		p.now = func() time.Time { return start.Add(time.Since(begun)) }
		data := make([]byte, 1_000_000)
		n, err := io.Copy(io.Discard, p.reader(t.Context(), bytes.NewReader(data)))
		if took := time.Since(begun); err != nil || n != 1_000_000 || took < 9*time.Second || took > 11*time.Second { // 100 kB/s
			t.Errorf("%d bytes in %s, %v", n, took, err)
		}
		start, begun = day(5, 58), time.Now() // closed until six
		must(t, p.open(t.Context()))
		if took := time.Since(begun); took < 2*time.Minute || took > 4*time.Minute {
			t.Errorf("waited %s", took)
		}
		start, begun = day(20, 0), time.Now()
		must(t, p.wait(t.Context(), 1<<30))
		if time.Since(begun) != 0 {
			t.Error("a free hour is limited")
		}
	})
	bad := []window{{From: "8", To: "9:00"}, {From: "08:00", To: "25:00"}, {From: "08:00", To: "09:00", Kbit: -1}}
	for i := range bad {
		if bad[i].check() == nil {
			t.Errorf("%+v was taken", bad[i])
		}
	}
}

// Both ways to run refuse what neither could work with: no part would ever be let onto the link.
func TestSettingsAreChecked(t *testing.T) {
	good := hubConfig{Spool: "x", Parallel: 4, Readers: 2, Patience: time.Minute, States: time.Minute}
	if err := (&config{hubConfig: good}).Validate(); err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func(*hubConfig){"parallel": func(c *hubConfig) { c.Parallel = 0 }, "readers": func(c *hubConfig) { c.Readers = 99 },
		"server": func(c *hubConfig) { c.Server = "nowhere" }, "patience": func(c *hubConfig) { c.Patience = 1 }} {
		bad := good
		spoil(&bad)
		if (&config{hubConfig: bad}).Validate() == nil || (&stationConfig{hubConfig: bad, Listen: "127.0.0.1:0"}).Validate() == nil {
			t.Errorf("%s was taken", what)
		}
	}
}
