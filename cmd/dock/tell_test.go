package main

import (
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"zhizheng/evidence"
	"zhizheng/ingest"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/testenv"
)

func (s *site) chain(t *testing.T) ingest.KeyChain {
	t.Helper()
	c, err := s.ingest.Chain(t.Context(), evidence.Scope{}, ingest.ChainOf{Station: "ST-01"})
	must(t, err)
	if len(c.Keys) != 1 {
		t.Fatalf("%d keys", len(c.Keys))
	}
	return c.Keys[0]
}

func named(c *config) { c.Recorder = "DSJ-A1B2C1" }

// A docking begins and ends with a state; the closing one names the recorder, and all up to it is here.
func TestDockingEndsWithAClosingState(t *testing.T) {
	s := newSite(t)
	card := t.TempDir()
	put(t, card, "a.mp4", []byte("a"))
	put(t, card, "b.mp4", []byte("b"))
	must(t, s.dock(t, card, named).err)
	k := s.chain(t)
	if len(k.States) != 2 || !k.States[0].Closing || k.States[0].Counter != 2 || k.States[0].Recorder != "DSJ-A1B2C1" || k.States[1].Closing || k.States[1].Recorder != "" {
		t.Fatalf("states: %+v", k.States)
	}
	if !k.Tail.Closing || k.Tail.Counter != 2 || len(k.Gaps) != 0 || len(k.Anomalies) != 0 {
		t.Fatalf("%+v", k)
	}
	// The next docking's manifests name the checkpoint that came with the receipts of this one.
	put(t, card, "c.mp4", []byte("c"))
	must(t, s.dock(t, card, named).err)
	rec := s.records(t)[sum([]byte("c"))]
	c, err := s.ingest.Completeness(t.Context(), evidence.Scope{}, rec)
	must(t, err)
	if c.NotBefore == nil || !c.NotBefore.At.Before(c.NotAfter.At) || c.Counter != 3 || c.Previous == nil {
		t.Fatalf("bounds: %+v", c)
	}
}

// Manifests that a station signed and lost on the way: the next state tells of them, the next docking shows the gap in its middle.
func TestLostManifestsAreAGap(t *testing.T) {
	s := newSite(t)
	card := t.TempDir()
	put(t, card, "a.mp4", []byte("a"))
	must(t, s.dock(t, card, named).err)
	mend := s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/api/v1/manifests" {
			return false
		}
		http.Error(w, "no", http.StatusBadRequest)
		return true
	})
	put(t, card, "b.mp4", []byte("b"))
	put(t, card, "c.mp4", []byte("c"))
	if r := s.dock(t, card, named); r.err != nil || r.all {
		t.Fatalf("%+v", r)
	}
	mend()
	k := s.chain(t)
	if len(k.Gaps) != 1 || k.Gaps[0].First != 2 || k.Gaps[0].Last != 3 || k.Gaps[0].State != ingest.GapOpen || !k.Tail.Closing {
		t.Fatalf("%+v", k)
	}
	// They are still on the card: docked again, the gap closes.
	must(t, s.dock(t, card, named).err)
	if k = s.chain(t); len(k.Gaps) != 1 || k.Gaps[0].State != ingest.GapClosed || len(k.Anomalies) != 0 {
		t.Fatalf("%+v", k)
	}
	// Taken from the card before that, they never come.
	mend = s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/api/v1/manifests" {
			http.Error(w, "no", http.StatusBadRequest)
			return true
		}
		return false
	})
	put(t, card, "lost.mp4", []byte("lost"))
	s.dock(t, card, named)
	mend()
	must(t, os.Remove(filepath.Join(card, "lost.mp4")))
	put(t, card, "d.mp4", []byte("d"))
	must(t, s.dock(t, card, named).err)
	k = s.chain(t)
	i := slices.IndexFunc(k.Gaps, func(g ingest.Gap) bool { return g.State == ingest.GapOpen })
	if i < 0 || k.Gaps[i].First != 4 || k.Gaps[i].Last != 4 || k.Gaps[i].After == nil || k.Gaps[i].After.FileName != "d.mp4" {
		t.Fatalf("%+v", k.Gaps)
	}
}

// A state that can't be sent changes nothing about the footage; the operator is told.
func TestStatesThatCannotBeSent(t *testing.T) {
	s := newSite(t)
	defer s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/api/v1/device-states" {
			return false
		}
		http.Error(w, "no", http.StatusNotFound)
		return true
	})()
	card := t.TempDir()
	b := random(1, 1000)
	put(t, card, "a.mp4", b)
	cmd := s.command(t, s.identity, card)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	must(t, err)
	s.holds(t, readLines(t, out)[0], b)
	if n := strings.Count(stderr.String(), "签名状态没有送达"); n != 2 {
		t.Fatalf("told %d times:\n%s", n, stderr.String())
	}
	if k := s.chain(t); len(k.States) != 0 || k.Tail.At != nil {
		t.Fatalf("%+v", k)
	}
}

// Killed between its states, the chain's end is unknown, and known again when the next docking ends.
func TestKilledBetweenStates(t *testing.T) {
	s := newSite(t)
	card := t.TempDir()
	put(t, card, "a.mp4", random(1, 6*mib))
	entered := make(chan struct{}, 100)
	mend := s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/complete") {
			entered <- struct{}{}
			http.Error(w, "wait", http.StatusServiceUnavailable)
			return true
		}
		return false
	})
	cmd := s.command(t, s.identity, card, "--recorder", "DSJ-A1B2C1")
	must(t, cmd.Start())
	<-entered
	testenv.Eventually(t, 10*time.Second, func() bool { return len(s.chain(t).States) > 0 }) // the first one is in
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // killed
	mend()
	k := s.chain(t)
	if len(k.States) != 1 || k.Tail.Closing || k.Epochs[0].Arrived != 1 {
		t.Fatalf("%+v", k)
	}
	must(t, s.dock(t, card, named).err)
	if k = s.chain(t); len(k.States) != 3 || !k.Tail.Closing || k.Tail.Counter != 1 || len(k.Gaps) != 0 || len(k.Anomalies) != 0 {
		t.Fatalf("%+v", k)
	}
}

// A station that lost its memory begins a new epoch, and the platform says so.
func TestLostMemoryIsANewEpoch(t *testing.T) {
	s := newSite(t)
	card := t.TempDir()
	put(t, card, "a.mp4", []byte("a"))
	must(t, s.dock(t, card).err)
	must(t, os.RemoveAll(filepath.Join(s.identity, "state")))
	put(t, card, "b.mp4", []byte("b"))
	must(t, s.dock(t, card).err)
	k := s.chain(t)
	if len(k.Epochs) != 2 || k.Epochs[0].Arrived != 2 || len(k.Gaps) != 0 || len(k.Anomalies) != 1 || k.Anomalies[0].What != manifest.CounterReset {
		t.Fatalf("%+v", k)
	}
}

// States come again while a docking lasts.
func TestStatesWhileDocking(t *testing.T) {
	s := newSite(t)
	card := t.TempDir()
	put(t, card, "a.mp4", random(1, 100))
	seen := make(chan []byte, 1000)
	hold := make(chan struct{})
	defer s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/api/v1/device-states":
			b, err := io.ReadAll(r.Body)
			if err != nil {
				return false
			}
			r.Body = io.NopCloser(bytes.NewReader(b))
			seen <- b
		case strings.HasSuffix(r.URL.Path, "/complete"):
			<-hold
		}
		return false
	})()
	done := make(chan runOf, 1)
	go func() { done <- s.dock(t, card, func(c *config) { c.States = 20 * time.Millisecond }) }()
	for range 4 {
		<-seen
	}
	close(hold)
	r := <-done
	must(t, r.err)
	if k := s.chain(t); len(k.States) < 5 || !k.States[0].Closing || len(k.Anomalies) != 0 {
		t.Fatalf("%+v", k)
	}
}
