package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"zhizheng/evidence"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/testenv"
)

// clipOf is a clip that was read.
func clipOf(b []byte, name string) *clip {
	h := manifest.NewHasher(int64(len(b)))
	_, _ = h.Write(b) // hashes don't fail
	c := &clip{found: found{name: name}, length: int64(len(b))}
	c.sha256, c.composite, c.parts = h.Sum()
	return c
}

// What sixteen dockings have to say while one request is on its way goes in two more: their manifests, then one state for those that begin and
// one for each that ends. The chain tells of no gap at any moment.
func TestSixteenDockingsShareRequests(t *testing.T) {
	s := newSite(t)
	var mu sync.Mutex
	var sizes []string // manifests or states in each request
	hold := make(chan struct{})
	s.breaks(func(_ http.ResponseWriter, r *http.Request) bool {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(b))
		var in struct{ Manifests, States [][]byte }
		if json.Unmarshal(b, &in) == nil {
			mu.Lock()
			sizes = append(sizes, fmt.Sprintf("%s %d", r.URL.Path[len("/api/v1/"):], len(in.Manifests)+len(in.States)))
			mu.Unlock()
		}
		<-hold
		return false
	})
	h, err := openHub(hubConfig{Identity: s.identity, Server: s.url, Parallel: 4, Patience: 20 * time.Second})
	must(t, err)
	defer h.close()
	waiting := func(manifests, states int) {
		testenv.Eventually(t, 10*time.Second, func() bool {
			h.courier.mu.Lock()
			defer h.courier.mu.Unlock()
			return len(h.courier.manifests) == manifests && len(h.courier.states) == states
		})
	}
	var all sync.WaitGroup
	fingerprint := func(n int) {
		all.Go(func() {
			b := random(byte(n), 1000)
			got, err := h.courier.fingerprints(t.Context(), []*clip{clipOf(b, fmt.Sprint(n, ".mp4"))}, func() {})
			if err != nil || len(got) != 1 || got[0].Status != "accepted" {
				t.Errorf("%+v, %v", got, err)
			}
			if rec := s.records(t)[sum(b)]; rec.ID != evidence.ID(got[0].EvidenceID) {
				t.Errorf("the answer of docking %d is of %s", n, got[0].EvidenceID)
			}
		})
	}
	stand := func(closing bool, recorder string) {
		p := h.courier.stand(t.Context(), closing, recorder)
		all.Go(func() { must(t, h.courier.wait(p)) })
	}
	fingerprint(0)
	testenv.Eventually(t, 10*time.Second, func() bool { mu.Lock(); defer mu.Unlock(); return len(sizes) == 1 })
	for n := 1; n < 16; n++ {
		stand(n%5 == 0, fmt.Sprint("DSJ-", n))
		fingerprint(n)
	}
	waiting(15, 15)
	close(hold)
	all.Wait()
	if got, want := strings.Join(sizes, ", "), "manifests 1, manifests 15, device-states 4"; got != want {
		t.Errorf("requests: %s, want %s", got, want)
	}
	if k := s.chain(t); len(k.Gaps) != 0 || len(k.Anomalies) != 0 || k.Tail.Counter != 16 {
		t.Errorf("%+v", k)
	}
}

// A docking that gives up takes nothing from the others, and what is refused as a whole is refused to those it concerns.
func TestOneDockingsTroubleStaysItsOwn(t *testing.T) {
	s := newSite(t)
	hold, came := make(chan struct{}), make(chan struct{}, 10)
	s.breaks(func(w http.ResponseWriter, r *http.Request) bool {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(b))
		came <- struct{}{}
		<-hold
		var in struct{ Manifests [][]byte }
		if json.Unmarshal(b, &in) != nil {
			return false
		}
		for _, m := range in.Manifests {
			if bytes.Contains(m, []byte("odd.mp4")) {
				http.Error(w, "no", http.StatusBadRequest)
				return true
			}
		}
		return false
	})
	h, err := openHub(hubConfig{Identity: s.identity, Server: s.url, Parallel: 4, Patience: 20 * time.Second})
	must(t, err)
	defer h.close()
	fails := map[string]error{}
	var mu sync.Mutex
	var all sync.WaitGroup
	for i, name := range []string{"first.mp4", "odd.mp4", "good.mp4"} {
		all.Go(func() {
			_, err := h.courier.fingerprints(t.Context(), []*clip{clipOf(random(byte(i), 100), name)}, func() {})
			mu.Lock()
			defer mu.Unlock()
			fails[name] = err
		})
		if i == 0 {
			<-came
		}
	}
	testenv.Eventually(t, 10*time.Second, func() bool {
		h.courier.mu.Lock()
		defer h.courier.mu.Unlock()
		return len(h.courier.manifests) == 2
	})
	close(hold)
	all.Wait()
	if fails["first.mp4"] != nil || fails["odd.mp4"] == nil || fails["good.mp4"] != nil {
		t.Errorf("%v", fails)
	}
}
