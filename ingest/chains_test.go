package ingest_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/ingest"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/fault"
	"zhizheng/internal/testenv"
)

// chainOf signs clips 1 … n of an epoch by the station's key, one a minute by its clock, none of them sent.
func (c *county) chainOf(epoch uint64, n int, begun time.Time) (raws [][]byte) {
	c.t.Helper()
	c.counter, c.prev = 0, nil
	for i := range n {
		m, _ := c.clip(fmt.Sprintf("CLIP_%04d.mp4", i+1), []byte(fmt.Sprint(epoch, i)))
		m.Epoch, m.Recorder = epoch, "DSJ-01"
		m.At, m.Monotonic = begun.Add(time.Duration(i)*time.Minute).UnixMilli(), 864_000_000+int64(i)*60_000
		raws = append(raws, c.next(m))
	}
	return raws
}

// state signs how far the station has counted.
func (c *county) state(change func(*manifest.State)) []byte {
	c.t.Helper()
	s := manifest.State{KeyID: c.keyID(), Epoch: 1, Counter: c.counter, Last: c.prev, At: time.Now().UnixMilli(), Monotonic: 1, Closing: true, Recorder: "DSJ-01"}
	if change != nil {
		change(&s)
	}
	raw, _, err := manifest.SignState(s, c.key)
	must(c.t, err)
	return raw
}

func (c *county) states(raws ...[]byte) []ingest.StateResult {
	c.t.Helper()
	out, err := c.SubmitStates(c.t.Context(), c.station, raws)
	must(c.t, err)
	return out
}

// report is the one on the station's key.
func (c *county) report() ingest.KeyChain {
	c.t.Helper()
	out, err := c.Chain(c.t.Context(), evidence.Scope{}, ingest.ChainOf{Station: "ST-01"})
	must(c.t, err)
	if len(out.Keys) != 1 {
		c.t.Fatalf("%d keys", len(out.Keys))
	}
	return out.Keys[0]
}

func gapsOf(k ingest.KeyChain, states ...string) (out []string) {
	for _, g := range k.Gaps {
		if slices.Contains(states, g.State) {
			out = append(out, fmt.Sprintf("%d-%d", g.First, g.Last))
		}
	}
	return out
}

func odds(k ingest.KeyChain) (out []string) {
	for _, a := range slices.Backward(k.Anomalies) {
		out = append(out, a.What)
	}
	slices.Sort(out)
	return out
}

func TestClipsThatNeverArrived(t *testing.T) {
	c := newCounty(t)
	raws := c.chainOf(1, 45, time.Now().Add(-time.Hour))
	c.submit(slices.Concat(raws[:40], raws[43:])...)
	k := c.report()
	if !slices.Equal(gapsOf(k, ingest.GapOpen), []string{"41-43"}) || k.Epochs[0].Arrived != 42 || k.Epochs[0].Top != 45 || len(k.Anomalies) != 0 ||
		!slices.Equal(k.Epochs[0].Ranges, []manifest.Range{{Epoch: 1, First: 1, Last: 40}, {Epoch: 1, First: 44, Last: 45}}) {
		t.Fatalf("%+v", k)
	}
	g := k.Gaps[0]
	if g.Before.FileName != "CLIP_0040.mp4" || g.After.FileName != "CLIP_0044.mp4" || g.After.Recorder != "DSJ-01" || k.Tail.At != nil || k.Tail.Counter != 45 {
		t.Fatalf("%+v %+v %+v", g, g.Before, g.After)
	}
	// The recorder's report shows the same gap, for both its sides are that recorder's clips; another recorder's doesn't.
	of, err := c.Chain(t.Context(), evidence.Scope{}, ingest.ChainOf{Recorder: "DSJ-01"})
	must(t, err)
	if len(of.Keys) != 1 || len(of.Keys[0].Gaps) != 1 || len(of.Pending) != 42 {
		t.Fatalf("recorder: %+v", of)
	}
	if of, err = c.Chain(t.Context(), evidence.Scope{Townships: []string{"510821101"}}, ingest.ChainOf{Station: "ST-01", Recorder: "DSJ-01"}); err != nil || len(of.Keys) != 0 || len(of.Pending) != 0 {
		t.Fatalf("another township sees %+v, %v", of, err)
	}

	// One arrives late: the gap says which are left. A reason doesn't close it; the last ones do.
	c.submit(raws[41])
	if k = c.report(); k.Gaps[0].Missing != 2 || !slices.Equal(k.Gaps[0].Parts, []manifest.Range{{Epoch: 1, First: 41, Last: 41}, {Epoch: 1, First: 43, Last: 43}}) {
		t.Fatalf("%+v", k.Gaps[0])
	}
	if _, err := c.Explain(t.Context(), evidence.Scope{Townships: []string{"510821101"}}, k.KeyID, 1, 41, "u1", "x"); !fault.Is(err, fault.KindNotFound) {
		t.Fatalf("another township explains: %v", err)
	}
	if _, err := c.Explain(t.Context(), evidence.Scope{}, k.KeyID, 1, 42, "u1", "x"); !fault.Is(err, fault.KindNotFound) {
		t.Fatalf("no gap begins at 42: %v", err)
	}
	ex, err := c.Explain(t.Context(), evidence.Scope{}, k.KeyID, 1, 41, "u1", "电池更换")
	must(t, err)
	if ex.State != ingest.GapExplained || ex.Reason != "电池更换" || ex.ExplainedBy != "u1" {
		t.Fatalf("%+v", ex)
	}
	leaf, err := c.log.ByKey(t.Context(), ex.ReasonKey)
	must(t, err)
	p, err := chain.Payload[chain.AnomalyPayload](leaf.Payload)
	must(t, err)
	if p.What != manifest.GapExplained || p.First != 41 || p.Last != 43 || p.Actor != "u1" || p.Detail != "电池更换" {
		t.Fatalf("%+v", p)
	}
	c.submit(raws[42], raws[40], raws[40])
	k = c.report()
	if len(gapsOf(k, ingest.GapOpen, ingest.GapExplained)) != 0 || !slices.Equal(gapsOf(k, ingest.GapClosed), []string{"41-43"}) || k.Epochs[0].Arrived != 45 {
		t.Fatalf("all here: %+v", k)
	}
	if _, err := c.Explain(t.Context(), evidence.Scope{}, k.KeyID, 1, 41, "u1", "x"); !fault.Is(err, fault.KindConflict) {
		t.Fatalf("a closed gap: %v", err)
	}
}

// Whatever arrives in whatever order, in batches of any size: the account in the database is what the pure analysis says of the same set.
func TestAccountsAgreeWithTheAnalysis(t *testing.T) {
	c := newCounty(t)
	r := rand.New(rand.NewPCG(1, 2))
	for epoch := uint64(1); epoch <= 6; epoch++ {
		raws := c.chainOf(epoch, 30, time.Now().Add(-10*time.Hour+time.Duration(epoch)*time.Hour))
		r.Shuffle(len(raws), func(i, j int) { raws[i], raws[j] = raws[j], raws[i] })
		raws = raws[:r.IntN(len(raws))+1]
		var links []manifest.Link
		for _, raw := range raws {
			m, err := manifest.Parse(raw)
			must(t, err)
			links = append(links, m.Link(time.Now().UnixMilli()))
		}
		for i := 0; i < len(raws); {
			n := min(1+r.IntN(6), len(raws)-i)
			c.submit(raws[i : i+n]...)
			i += n
		}
		want := manifest.Analyse(links, nil)
		k := c.report()
		e := k.Epochs[0]
		var missing []manifest.Range
		for _, g := range k.Gaps {
			switch {
			case g.Epoch != epoch || g.State == ingest.GapClosed:
			case g.Parts != nil:
				missing = append(missing, g.Parts...)
			default:
				missing = append(missing, manifest.Range{Epoch: epoch, First: g.First, Last: g.Last})
			}
		}
		slices.SortFunc(missing, func(a, b manifest.Range) int { return int(a.First) - int(b.First) })
		// Gaps of the account end where they were found; the analysis joins what touches.
		var joined []manifest.Range
		for _, m := range missing {
			if n := len(joined); n > 0 && joined[n-1].Last+1 == m.First {
				joined[n-1].Last = m.Last
			} else {
				joined = append(joined, m)
			}
		}
		if e.Arrived != want.Arrived || e.Top != want.Tail.Stated || !slices.Equal(joined, want.Gaps) {
			t.Fatalf("epoch %d: account %+v %v, analysis %+v", epoch, e, joined, want)
		}
		if e.Ranges != nil && !slices.Equal(e.Ranges, want.Ranges) {
			t.Fatalf("epoch %d: ranges %v, analysis %v", epoch, e.Ranges, want.Ranges)
		}
	}
	if got := odds(c.report()); !slices.Equal(got, slices.Repeat([]string{manifest.CounterReset}, 5)) {
		t.Fatalf("odd: %v", got)
	}
}

func TestOddManifestsAreLoggedOnce(t *testing.T) {
	c := newCounty(t)
	begun := time.Now().Add(-time.Hour)
	raws := c.chainOf(5, 4, begun)
	m, _ := c.clip("broken.mp4", []byte("broken"))
	m.Epoch, m.Recorder = 5, "DSJ-01"
	c.prev = bytes.Repeat([]byte{9}, 32)
	m.At, m.Monotonic = begun.Add(20*time.Minute).UnixMilli(), 864_000_000+4*60_000 // and its clock was set
	raws = append(raws, c.next(m))
	m.FileName, m.SHA256 = []byte("ahead.mp4"), bytes.Repeat([]byte{1}, 32)
	m.At, m.Monotonic = time.Now().Add(time.Hour).UnixMilli(), 864_000_000+44*60_000
	raws = append(raws, c.next(m))
	c.submit(raws...)
	c.submit(raws...) // sent again
	want := []string{manifest.ChainBreak, manifest.ClockAhead, manifest.ClockJump, manifest.ClockJump}
	if got := odds(c.report()); !slices.Equal(got, want) {
		t.Fatalf("odd: %v, want %v", got, want)
	}
	// An old copy of the identity goes on in an epoch that was over.
	c.submit(c.chainOf(4, 2, begun.Add(-time.Hour))...)
	late := c.chainOf(4, 3, begun.Add(10*time.Minute))
	c.submit(late[2])
	got := odds(c.report())
	if !slices.Contains(got, manifest.EpochFall) || !slices.Contains(got, manifest.CounterReset) {
		t.Fatalf("odd: %v", got)
	}
	leaves := 0
	for _, k := range c.kinds(ingest.KeySubject(c.keyID())) {
		if k == chain.KindAnomaly {
			leaves++
		}
	}
	if leaves != len(got) {
		t.Fatalf("%d leaves for %d anomalies: %v", leaves, len(got), got)
	}
}

func TestStatesAndWhatTheyContradict(t *testing.T) {
	c := newCounty(t)
	raws := c.chainOf(1, 5, time.Now().Add(-time.Hour))
	c.submit(raws[:3]...)
	closing := c.state(nil)
	r := c.states(closing, closing, []byte("no state"))
	if r[0].Status != ingest.Accepted || r[1] != r[0] || r[2].Status != ingest.Rejected || r[2].Code != "malformed" {
		t.Fatalf("%+v", r)
	}
	if again := c.states(closing); again[0] != r[0] {
		t.Fatalf("sent again: %+v", again)
	}
	k := c.report()
	if !slices.Equal(gapsOf(k, ingest.GapOpen), []string{"4-5"}) || !k.Tail.Closing || k.Tail.Counter != 5 || k.Tail.At == nil || len(k.States) != 1 || k.Gaps[0].After != nil {
		t.Fatalf("stated 5, 3 are here: %+v", k)
	}
	c.submit(raws[3], raws[4])
	if k = c.report(); !slices.Equal(gapsOf(k, ingest.GapClosed), []string{"4-5"}) || len(k.Anomalies) != 0 {
		t.Fatalf("all here: %+v", k)
	}
	// One that counts less later, and one that names another last manifest, each once.
	less := c.state(func(s *manifest.State) { s.Counter, s.Last, s.At = 4, bytes.Repeat([]byte{7}, 32), s.At+1000 })
	c.states(less)
	c.states(less)
	if got := odds(c.report()); !slices.Equal(got, []string{manifest.StateBack, manifest.StateFork}) {
		t.Fatalf("odd: %v", got)
	}
	// What a state said binds the manifest that comes later.
	c.states(c.state(func(s *manifest.State) { s.Counter, s.Last, s.At = 6, bytes.Repeat([]byte{8}, 32), s.At+2000 }))
	m, _ := c.clip("six.mp4", []byte("six"))
	m.At, m.Monotonic = time.Now().UnixMilli(), 864_000_000+62*60_000
	c.submit(c.next(m))
	if got := odds(c.report()); !slices.Contains(got[2:], manifest.StateFork) {
		t.Fatalf("odd: %v", got)
	}

	// States that don't count are kept, and nothing comes of them.
	forged := c.state(nil)
	forged[len(forged)-1] ^= 1
	_, strange, err := ed25519.GenerateKey(nil)
	must(t, err)
	id, err := manifest.KeyID(strange.Public().(ed25519.PublicKey))
	must(t, err)
	stranger, _, err := manifest.SignState(manifest.State{KeyID: id, Epoch: 1, Counter: math.MaxInt64, Last: make([]byte, 32)}, strange)
	must(t, err)
	bad := c.states(forged, stranger)
	must(t, c.Revoke(t.Context(), c.keyID(), "test", "遗失"))
	bad = append(bad, c.states(c.state(nil))...)
	for i, code := range []string{"bad-signature", "unknown-key", "revoked-key"} {
		if bad[i].Status != ingest.Rejected || bad[i].Code != code {
			t.Errorf("%s: %+v", code, bad[i])
		}
	}
	var letters int
	must(t, c.pool.QueryRow(t.Context(), "select count(*) from dead_letter where source = 'state'").Scan(&letters))
	if letters != 4 {
		t.Errorf("%d dead letters", letters)
	}
}

func TestEquivocationIsInTheReport(t *testing.T) {
	c := newCounty(t)
	a, _ := c.clip("a.mp4", []byte("a"))
	b, _ := c.clip("b.mp4", []byte("b"))
	first := c.next(a)
	c.counter, c.prev = 0, nil
	second := c.next(b)
	c.submit(first)
	r := c.submit(second)[0]
	c.submit(second)
	k := c.report()
	if got := odds(k); !slices.Equal(got, []string{manifest.Equivocation}) || k.Epochs[0].Arrived != 1 || len(k.Gaps) != 0 {
		t.Fatalf("%v %+v", got, k)
	}
	rec, err := c.keeper.Get(t.Context(), evidence.Scope{}, r.EvidenceID)
	must(t, err)
	if _, err := c.Completeness(t.Context(), evidence.Scope{}, rec); !fault.Is(err, fault.KindNotFound) {
		t.Fatalf("the second manifest has no place in the chain: %v", err)
	}
}

func TestCompletenessOfARecord(t *testing.T) {
	c := newCounty(t)
	raws := c.chainOf(1, 9, time.Now().Add(-time.Hour))
	r := c.submit(slices.Concat(raws[:4], raws[6:])...)
	of := func(i int) ingest.Completeness {
		t.Helper()
		rec, err := c.keeper.Get(t.Context(), evidence.Scope{}, r[i].EvidenceID)
		must(t, err)
		out, err := c.Completeness(t.Context(), evidence.Scope{}, rec)
		must(t, err)
		return out
	}
	four, seven, nine := of(3), of(4), of(6)
	if four.Counter != 4 || four.Previous == nil || four.Next != nil || four.GapBefore != nil || four.GapAfter == nil || four.GapAfter.First != 5 || four.GapAfter.Last != 6 {
		t.Fatalf("%+v", four)
	}
	if seven.GapBefore == nil || seven.GapBefore.Before.ID != r[3].EvidenceID || seven.Next == nil || seven.Previous != nil {
		t.Fatalf("%+v", seven)
	}
	if nine.GapAfter != nil || nine.Next != nil || nine.Tail.At != nil || nine.Tail.Counter != 9 || nine.NotBefore != nil || nine.NotAfter.Leaf == 0 {
		t.Fatalf("%+v", nine)
	}
	if four.InferredAfter == nil || four.InferredAfter.First != 5 || four.InferredAfter.Last != 6 || four.InferredBefore != nil {
		t.Fatalf("inferred: %+v", four.InferredAfter)
	}
	// A manifest that names a checkpoint which the station was handed was signed after the leaves under it.
	var st evlog.Status
	testenv.Eventually(t, 10*time.Second, func() bool {
		var err error
		st, err = c.log.Status(t.Context())
		must(t, err)
		return st.Published > 0
	})
	must(t, c.SawCheckpoint(t.Context(), st.Checkpoint, st.Published))
	must(t, c.SawCheckpoint(t.Context(), st.Checkpoint, st.Published))
	m, _ := c.clip("bounded.mp4", []byte("bounded"))
	m.Recorder, m.At, m.Monotonic = "DSJ-01", time.Now().UnixMilli(), 0
	h := hashOf(st.Checkpoint)
	m.Checkpoint = h[:]
	b := c.submit(c.next(m))[0]
	rec, err := c.keeper.Get(t.Context(), evidence.Scope{}, b.EvidenceID)
	must(t, err)
	out, err := c.Completeness(t.Context(), evidence.Scope{}, rec)
	must(t, err)
	if out.NotBefore == nil || out.NotBefore.Leaf != st.Published-1 || out.NotAfter.Leaf != b.LeafIndex || out.NotAfter.At.Before(out.NotBefore.At) {
		t.Fatalf("%+v", out)
	}
	totals, err := c.GapTotals(t.Context(), evidence.Scope{})
	must(t, err)
	if totals != (ingest.GapTotals{Keys: 1, OpenGaps: 1, Missing: 2, Inferred: 2, Pending: 8}) {
		t.Fatalf("%+v", totals)
	}
	if totals, err = c.GapTotals(t.Context(), evidence.Scope{Townships: []string{"510821101"}}); err != nil || totals != (ingest.GapTotals{}) {
		t.Fatalf("another township: %+v, %v", totals, err)
	}
}

// Two servers take one chain at once, from both ends: nothing is counted twice or lost.
func TestManyServersKeepOneAccount(t *testing.T) {
	c := newCounty(t)
	raws := c.chainOf(1, 60, time.Now().Add(-2*time.Hour))
	done := make(chan error, 4)
	for w := range 4 {
		server := c.server()
		go func() {
			mine := slices.Clone(raws)
			if w%2 == 1 {
				slices.Reverse(mine)
			}
			for i := 0; i < len(mine); i += 5 {
				for {
					_, err := server.SubmitManifests(t.Context(), c.station, mine[i:i+5])
					if fault.Is(err, fault.KindUnavailable) || err != nil && strings.Contains(err.Error(), "40P01") {
						continue // told to come back
					}
					if err != nil {
						done <- err
						return
					}
					break
				}
			}
			done <- nil
		}()
	}
	for range 4 {
		must(t, <-done)
	}
	k := c.report()
	if k.Epochs[0].Arrived != 60 || k.Epochs[0].Top != 60 || len(gapsOf(k, ingest.GapOpen)) != 0 || len(k.Anomalies) != 0 {
		t.Fatalf("%+v", k)
	}
}

func hashOf(b []byte) [32]byte { return sha256.Sum256(b) }
