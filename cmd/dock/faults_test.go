package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/ingest"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/testenv"
)

func TestAgentKilledGoesOn(t *testing.T) {
	s := newSite(t)
	card := t.TempDir()
	files := map[string][]byte{"a.mp4": random(1, 100), "b.mp4": random(2, 11*mib), "c.mp4": random(3, 21*mib)}
	for name, b := range files {
		put(t, card, name, b)
	}
	// Kill it at three moments: when its manifests have come, when some parts are asked for, when the large file is to be completed.
	kill := make(chan struct{}, 1)
	for _, moment := range []string{"/manifests", "/uploads", "/complete"} {
		var once sync.Once
		mend := s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasSuffix(r.URL.Path, moment) {
				once.Do(func() { kill <- struct{}{} })
			}
			return false
		})
		cmd := s.command(t, s.identity, card)
		must(t, cmd.Start())
		<-kill
		must(t, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
		mend()
	}
	r := s.dock(t, card)
	must(t, r.err)
	if !r.all || len(r.lines) != len(files) {
		t.Fatalf("after the kills: %+v", r.lines)
	}
	for name, b := range files {
		s.holds(t, r.of(t, name), b)
	}
	s.chainIsWhole(t, len(files))
}

// chainIsWhole checks that the log has exactly n manifests of the station, linked and without gap, and one sealing a record.
func (s *site) chainIsWhole(t *testing.T, n int) {
	t.Helper()
	id, err := loadIdentity(s.identity)
	must(t, err)
	leaves, err := s.log.SubjectLeaves(t.Context(), ingest.KeySubject(id.keyID))
	must(t, err)
	byCounter := map[uint64]manifest.Signed{}
	for _, l := range leaves {
		leaf, err := l.Decode()
		must(t, err)
		if leaf.Kind != chain.KindManifest {
			continue
		}
		p, err := chain.Payload[chain.ManifestPayload](l.Payload)
		must(t, err)
		m, err := manifest.Parse(p.Signed)
		must(t, err)
		if _, twice := byCounter[m.Counter]; twice {
			t.Fatalf("counter %d is in the log twice", m.Counter)
		}
		byCounter[m.Counter] = m
	}
	var prev []byte
	for c := uint64(1); c <= uint64(len(byCounter)); c++ {
		m, ok := byCounter[c]
		if !ok || hex.EncodeToString(m.Prev) != hex.EncodeToString(prev) {
			t.Fatalf("manifest %d of %d is missing or not linked", c, len(byCounter))
		}
		prev = m.Hash[:]
	}
	if len(byCounter) != n {
		t.Fatalf("%d manifests, %d files", len(byCounter), n)
	}
	for _, rec := range s.records(t) {
		leaves, err := s.log.SubjectLeaves(t.Context(), evidence.Subject(rec.ID))
		must(t, err)
		seals := 0
		for _, l := range leaves {
			if leaf, err := l.Decode(); err == nil && leaf.Kind == chain.KindSealed {
				seals++
			}
		}
		if seals != 1 {
			t.Fatalf("%s was sealed %d times", rec.ID, seals)
		}
	}
}

func TestTwoAgentsSameCard(t *testing.T) {
	s := newSite(t)
	card := t.TempDir()
	const n = 30
	for i := range n {
		put(t, card, string(rune('a'+i%26))+strings.Repeat("x", i)+".mp4", random(byte(i), 1000+i*9000))
	}
	put(t, card, "large.mp4", random(99, 16*mib))
	other := s.enrol(t, "ST-02")
	var lines [2][]result
	var wg sync.WaitGroup
	for i, id := range []string{s.identity, other} {
		wg.Go(func() {
			out, err := s.command(t, id, card).Output()
			if err != nil {
				t.Errorf("agent %d: %v", i, err)
			}
			lines[i] = readLines(t, out)
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	status := map[string]int{}
	for _, l := range append(lines[0], lines[1]...) {
		if l.Status != sealed && l.Status != duplicate {
			t.Fatalf("line: %+v", l)
		}
		if l.Status == sealed {
			status[l.File]++
		}
	}
	for name, times := range status {
		if times != 1 {
			t.Fatalf("%s: %d agents say that they sealed it", name, times)
		}
	}
	if len(status) != n+1 || len(s.records(t)) != n+1 {
		t.Fatalf("%d of %d files sealed, %d records", len(status), n+1, len(s.records(t)))
	}
	s.chainIsWhole(t, n+1)
}

func TestTwoAgentsOneIdentity(t *testing.T) {
	s := newSite(t)
	card := t.TempDir()
	const n = 40
	for i := range n {
		put(t, card, strings.Repeat("x", i+1)+".mp4", random(byte(i), 1000+i*9000))
	}
	var lines [2][]result
	var wg sync.WaitGroup
	for i := range lines {
		wg.Go(func() {
			out, err := s.command(t, s.identity, card).Output()
			if err != nil {
				t.Errorf("agent %d: %v", i, err)
			}
			lines[i] = readLines(t, out)
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	both := runOf{lines: append(lines[0], lines[1]...)}
	if both.count(sealed) != n || both.count(duplicate) != n || len(s.records(t)) != n {
		t.Fatalf("sealed %d, duplicate %d, %d records", both.count(sealed), both.count(duplicate), len(s.records(t)))
	}
	s.chainIsWhole(t, n) // one chain, no counter twice
}

func TestSpoolIsOneAgents(t *testing.T) {
	s := newSite(t)
	spool := t.TempDir()
	other, err := lockSpool(spool)
	must(t, err)
	defer other.close()
	r := s.dock(t, t.TempDir(), func(c *config) { c.Spool = spool })
	if r.err == nil || !strings.Contains(r.err.Error(), "另一个采集代理") {
		t.Fatalf("second agent: %v", r.err)
	}
}

func TestGrowingAndShrinkingFiles(t *testing.T) {
	s := newSite(t)
	card := t.TempDir()
	path := put(t, card, "grows.mp4", random(1, 3*mib))
	put(t, card, "whole.mp4", random(2, 100))
	id, err := loadIdentity(s.identity)
	must(t, err)
	cd, err := openCard(card, nil)
	must(t, err)
	a := &agent{hub: &hub{id: id}, card: cd}
	for what, change := range map[string]func() error{
		"grows": func() error {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err == nil {
				_, err = f.Write([]byte("more"))
				f.Close()
			}
			return err
		},
		"is cut short": func() error { return os.Truncate(path, 2*mib) },
		"is written over": func() error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte("other"), 0)
				f.Close()
			}
			return err
		},
		"is replaced": func() error {
			if err := os.WriteFile(path+".new", random(1, 3*mib), 0o644); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		},
	} {
		must(t, os.WriteFile(path, random(1, 3*mib), 0o644))
		for _, f := range cd.scan() {
			if f.name != "grows.mp4" {
				continue
			}
			var once sync.Once
			_, err := a.read(t.Context(), f, func(int) { once.Do(func() { must(t, change()) }) })
			if err == nil || !strings.Contains(err.Error(), "有变化") {
				t.Errorf("a file that %s while it is read: %v", what, err)
			}
		}
	}
	// Changed after its fingerprint is in the log and before it is carried: the other bytes aren't called by its name.
	must(t, os.WriteFile(path, random(1, 3*mib), 0o644))
	var once sync.Once
	mend := s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/uploads") {
			once.Do(func() { _ = os.Truncate(path, 1*mib) })
		}
		return false
	})
	r := s.dock(t, card)
	mend()
	must(t, r.err)
	if l := r.of(t, "grows.mp4"); r.all || l.Status != rejected || !strings.Contains(l.Error, "有变化") {
		t.Fatalf("cut short before it was carried: %+v", l)
	}
	if l := r.of(t, "whole.mp4"); l.Status != sealed {
		t.Fatalf("the other file: %+v", l)
	}
	for _, rec := range s.records(t) {
		if rec.FileName == "grows.mp4" && rec.Status != evidence.StatusPending {
			t.Fatalf("record of the lost bytes is %s", rec.Status)
		}
	}
}

func TestSameSizeOtherBytesBeforeCarrying(t *testing.T) {
	s := newSite(t)
	card := t.TempDir()
	path := put(t, card, "clip.mp4", random(1, 2*mib))
	info, err := os.Stat(path)
	must(t, err)
	var once sync.Once
	s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/uploads") {
			once.Do(func() { // size and time stay, as on a card that decays
				f, err := os.OpenFile(path, os.O_WRONLY, 0)
				if err == nil {
					_, _ = f.WriteAt([]byte{1, 2, 3}, mib)
					f.Close()
					_ = os.Chtimes(path, info.ModTime(), info.ModTime())
				}
			})
		}
		return false
	})
	r := s.dock(t, card)
	must(t, r.err)
	if l := r.of(t, "clip.mp4"); l.Status != rejected || !strings.Contains(l.Error, "有变化") {
		t.Fatalf("line: %+v", l)
	}
}

func TestUnknownAndRevokedKeys(t *testing.T) {
	s := newSite(t)
	card := t.TempDir()
	put(t, card, "a.mp4", random(1, 100))
	elsewhere := newSite(t) // its stations are strangers here
	stranger := s.dock(t, card, func(c *config) { c.Identity = elsewhere.identity })
	must(t, stranger.err)
	if l := stranger.of(t, "a.mp4"); stranger.all || l.Status != rejected || !strings.Contains(l.Error, "未登记") {
		t.Fatalf("a stranger's line: %+v", l)
	}
	id, err := loadIdentity(s.identity)
	must(t, err)
	must(t, s.ingest.Revoke(t.Context(), id.keyID, "test", "遗失"))
	revoked := s.dock(t, card)
	must(t, revoked.err)
	if l := revoked.of(t, "a.mp4"); revoked.all || l.Status != rejected || !strings.Contains(l.Error, "吊销") {
		t.Fatalf("line under a revoked key: %+v", l)
	}
	if len(s.records(t)) != 0 {
		t.Fatal("a record was made")
	}
}

func TestStationClockTwoYearsOff(t *testing.T) {
	s := newSite(t)
	card := t.TempDir()
	b := random(1, 6*mib)
	put(t, card, "a.mp4", b)
	later := time.Now().AddDate(2, 0, 0)
	s.ingest.Now = func() time.Time { return later.Add(time.Since(later.AddDate(-2, 0, 0))) }
	s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Date", s.ingest.Now().UTC().Format(http.TimeFormat))
		return false
	})
	r := s.dock(t, card)
	must(t, r.err)
	l := r.of(t, "a.mp4")
	s.holds(t, l, b)
}

// A station waits for room in the store for as long as it takes, and its screen says what it waits for. One who runs the agent by hand is
// told soon.
func TestRoomIsWaitedFor(t *testing.T) {
	var full atomic.Bool
	platform := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if full.Load() {
			w.WriteHeader(http.StatusInsufficientStorage)
			_, _ = w.Write([]byte(`{"title":"存储空间已满","detail":"影像存储已满"}`))
		}
	}))
	defer platform.Close()
	id, err := loadIdentity(newSite(t).identity)
	must(t, err)
	waited := func(patience time.Duration) (*client, chan error) {
		full.Store(true)
		c := newClient(id, platform.URL, patience, 1)
		c.progress.Store(time.Now().Add(-time.Hour).UnixNano()) // for so long nothing has gone forward
		ended := make(chan error, 1)
		go func() { ended <- c.call(t.Context(), http.MethodPost, "/api/v1/uploads", nil, nil) }()
		return c, ended
	}
	_, ended := waited(2 * time.Hour)
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "存储空间已满") {
		t.Errorf("by hand: %v", err)
	}
	c, ended := waited(foreverPatient)
	testenv.Eventually(t, time.Minute, func() bool { return c.waitsOut() == "存储空间已满：影像存储已满" })
	full.Store(false)
	must(t, <-ended)
	if why := c.waitsOut(); why != "" {
		t.Errorf("still waits out %q", why)
	}
}

func TestServerAwayAndBack(t *testing.T) {
	s := newSite(t)
	card := t.TempDir()
	files := map[string][]byte{"a.mp4": random(1, 100), "b.mp4": random(2, 11*mib)}
	for name, b := range files {
		put(t, card, name, b)
	}
	// Each kind of request is first dropped, then answered "draining", then done with the answer lost, before it gets through.
	var mu sync.Mutex
	tries := map[string]int{}
	s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		kind := r.Method + " " + r.URL.Path
		tries[kind]++
		n := tries[kind]
		mu.Unlock()
		switch n {
		case 1:
			panic(http.ErrAbortHandler)
		case 2:
			w.Header().Set("Retry-After", "1")
			http.Error(w, "draining", http.StatusServiceUnavailable)
			return true
		}
		return false
	})
	r := s.dock(t, card)
	must(t, r.err)
	for name, b := range files {
		s.holds(t, r.of(t, name), b)
	}
	s.chainIsWhole(t, 2)
}

func TestServerThatNeverComesBack(t *testing.T) {
	s := newSite(t)
	card := t.TempDir()
	put(t, card, "a.mp4", random(1, 100))
	mend := s.breaks(func(w http.ResponseWriter, r *http.Request) bool { panic(http.ErrAbortHandler) })
	r := s.dock(t, card, func(c *config) { c.Patience = time.Second })
	must(t, r.err)
	if l := r.of(t, "a.mp4"); r.all || l.Status != rejected || strings.Contains(l.Error, "X-Amz") || l.Error == "" {
		t.Fatalf("line: %+v", l)
	}
	mend()
	r = s.dock(t, card)
	must(t, r.err)
	s.holds(t, r.of(t, "a.mp4"), random(1, 100))
	s.chainIsWhole(t, 1) // the manifest that was signed while the server was away is the one that counts
}

func TestUploadThatTheStoreDropped(t *testing.T) {
	s := newSite(t)
	card := t.TempDir()
	b := random(1, 17*mib)
	put(t, card, "a.mp4", b)
	var dropped atomic.Bool
	s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/complete") && dropped.CompareAndSwap(false, true) {
			var store, key string
			err := s.pool.QueryRow(r.Context(), "select u.store_id, e.object_key from upload u join evidence e on e.id = u.evidence_id").Scan(&store, &key)
			if err == nil {
				err = s.store.Abort(r.Context(), key, store)
			}
			if err != nil {
				t.Errorf("drop: %v", err)
			}
		}
		return false
	})
	r := s.dock(t, card)
	must(t, r.err)
	s.holds(t, r.of(t, "a.mp4"), b)
	if !dropped.Load() {
		t.Fatal("nothing was dropped")
	}
}

func TestStoreThatCannotAttestIsReadAgain(t *testing.T) {
	s := newSite(t)
	s.attested.Store(false)
	card := t.TempDir()
	b := random(1, 6*mib)
	put(t, card, "a.mp4", b)
	put(t, card, "empty", nil)
	r := s.dock(t, card)
	must(t, r.err)
	s.holds(t, r.of(t, "a.mp4"), b)
	s.holds(t, r.of(t, "empty"), nil)
	for _, rec := range s.records(t) {
		if rec.Check != "re-read" {
			t.Fatalf("%s was checked: %s", rec.FileName, rec.Check)
		}
	}
}

func TestReceiptOfAnotherLogIsNoSeal(t *testing.T) {
	s := newSite(t)
	card := t.TempDir()
	put(t, card, "a.mp4", random(1, 100))
	other := newSite(t)
	b, err := os.ReadFile(filepath.Join(other.identity, "station.json"))
	must(t, err)
	must(t, os.WriteFile(filepath.Join(s.identity, "station.json"), b, 0o600)) // the pinned key is another log's
	r := s.dock(t, card, func(c *config) { c.Patience = 2 * time.Second })
	must(t, r.err)
	l := r.of(t, "a.mp4")
	if r.all || l.Status != rejected || !strings.Contains(l.Error, "回执") || l.Receipt != "" {
		t.Fatalf("line: %+v", l)
	}
	if found, err := filepath.Glob(filepath.Join(s.identity, "receipts", "*")); err != nil || len(found) != 0 {
		t.Fatalf("kept: %v %v", found, err)
	}
}

func TestSpoolFreesTheRecorder(t *testing.T) {
	s := newSite(t)
	card, spool := t.TempDir(), filepath.Join(t.TempDir(), "spool")
	b := random(1, 12*mib)
	put(t, card, "a.mp4", b)
	mend := s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/uploads") {
			panic(http.ErrAbortHandler)
		}
		return false
	})
	withSpool := func(c *config) { c.Spool, c.Patience = spool, time.Second }
	r := s.dock(t, card, withSpool)
	must(t, r.err)
	if l := r.of(t, "a.mp4"); l.Status != rejected {
		t.Fatalf("line: %+v", l)
	}
	mend()
	must(t, os.Remove(filepath.Join(card, "a.mp4"))) // the recorder has left
	r = s.dock(t, card, withSpool)
	must(t, r.err)
	s.holds(t, r.of(t, "a.mp4"), b)
	if left, err := filepath.Glob(filepath.Join(spool, "[^.]*")); err != nil || len(left) != 0 {
		t.Fatalf("spool: %v %v", left, err)
	}
}

func TestCommandExitCodesAndOutput(t *testing.T) {
	s := newSite(t)
	card := t.TempDir()
	put(t, card, "a.mp4", random(1, 100))
	put(t, card, ".DS_Store", []byte("x"))
	code := func(cmd *exec.Cmd) int {
		_ = cmd.Run() // the code says it
		return cmd.ProcessState.ExitCode()
	}
	if c := code(s.command(t, s.identity, card)); c != exitAll {
		t.Fatalf("all sealed: exit %d", c)
	}
	must(t, os.Symlink("a.mp4", filepath.Join(card, "b.mp4")))
	if c := code(s.command(t, s.identity, card)); c != exitSome {
		t.Fatalf("a link left: exit %d", c)
	}
	if c := code(s.command(t, filepath.Join(card, "none"), card)); c != exitNone {
		t.Fatalf("no identity: exit %d", c)
	}
	for _, flag := range []string{"--help", "--version"} {
		cmd := s.command(t, s.identity, card, flag)
		out, err := cmd.Output()
		if err != nil || len(out) == 0 {
			t.Fatalf("%s: %q %v", flag, out, err)
		}
	}
}

func TestInterruptIsSaidSo(t *testing.T) {
	s := newSite(t)
	card := t.TempDir()
	put(t, card, "a.mp4", random(1, 100))
	asked := make(chan struct{}, 1)
	s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		select {
		case asked <- struct{}{}:
		default:
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	cmd := s.command(t, s.identity, card)
	stderr, err := cmd.StderrPipe()
	must(t, err)
	must(t, cmd.Start())
	<-asked
	must(t, cmd.Process.Signal(os.Interrupt))
	said := bufio.NewScanner(stderr)
	var text strings.Builder
	for said.Scan() {
		text.WriteString(said.Text())
	}
	_ = cmd.Wait() // its exit code is looked at next
	if cmd.ProcessState.ExitCode() != exitNone || !strings.Contains(text.String(), "已中断") {
		t.Fatalf("exit %d: %s", cmd.ProcessState.ExitCode(), text.String())
	}
}

func TestNoRoomForTheStationsMemory(t *testing.T) {
	s := newSite(t)
	card := t.TempDir()
	const clips = 30
	for i := range clips {
		put(t, card, fmt.Sprintf("%02d.mp4", i), random(byte(i), 100))
	}
	state := filepath.Join(s.identity, "state")
	must(t, os.MkdirAll(state, 0o700))
	if err := syscall.Mount("tmpfs", state, "tmpfs", 0, "size=4k"); err != nil {
		t.Skipf("a full disk needs the right to mount one: %v", err)
	}
	mounted := true
	unmount := func() {
		if mounted {
			must(t, syscall.Unmount(state, 0))
			mounted = false
		}
	}
	t.Cleanup(unmount)
	r := s.dock(t, card)
	if r.err == nil || !strings.Contains(r.err.Error(), "写入采集站状态") {
		t.Fatalf("docked without memory: %v", r.err)
	}
	journal, err := os.ReadFile(filepath.Join(state, "journal"))
	must(t, err)
	if known, sent := bytes.Count(journal, []byte(`"manifest":`)), len(s.records(t)); known == clips || sent > known {
		t.Fatalf("%d manifests were sent, %d are remembered", sent, known)
	}
	unmount()
	must(t, os.WriteFile(filepath.Join(state, "journal"), journal, 0o600)) // the disk has room again
	if r := s.dock(t, card); r.err != nil {
		t.Fatal(r.err)
	}
	if n := len(s.records(t)); n != clips {
		t.Errorf("%d records of %d clips", n, clips)
	}
	must(t, os.Remove(filepath.Join(state, "journal")))
	must(t, os.Symlink("/dev/zero", filepath.Join(state, "journal")))
	if r := s.dock(t, card); r.err == nil {
		t.Error("read a memory without end")
	}
}
