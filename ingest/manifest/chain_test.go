package manifest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// counted is the honest chain 1 … n of an epoch, one manifest a minute.
func counted(epoch, n uint64, begun int64) []Link {
	out := make([]Link, n)
	var prev []byte
	for i := range out {
		b := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, epoch), uint64(i))
		out[i] = Link{Epoch: epoch, Counter: uint64(i) + 1, Hash: sha256.Sum256(b), Prev: prev, At: begun + int64(i)*60_000, Monotonic: upFor + int64(i)*60_000}
		out[i].ReceivedAt = out[i].At + 1000
		prev = bytes.Clone(out[i].Hash[:])
	}
	return out
}

const (
	begun = 1772000000000
	upFor = 864_000_000 // a machine that runs for ten days
)

func kinds(r Report) (out []string) {
	for _, o := range r.Odd {
		out = append(out, o.What)
	}
	return out
}

func TestAnHonestChainHasNothingOdd(t *testing.T) {
	links := counted(7, 50, begun)
	last := links[49]
	r := Analyse(links, []State{{Epoch: 7, Counter: 50, Last: last.Hash[:], At: last.At + 100, Closing: true}})
	want := Report{Arrived: 50, Ranges: []Range{{7, 1, 50}}, Tail: Tail{7, 50, last.At + 100, true}}
	if !reflect.DeepEqual(r, want) {
		t.Fatalf("%+v", r)
	}
}

// Whatever is taken out of a chain is exactly what the report says is missing, in any order of arrival.
func TestGapsAreWhatWasRemoved(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.Uint64Range(1, 60).Draw(rt, "n")
		links := counted(3, n, begun)
		gone := rapid.SliceOfN(rapid.Bool(), int(n), int(n)).Draw(rt, "gone")
		var here []Link
		missing := map[uint64]bool{}
		for i, l := range links {
			if gone[i] {
				missing[l.Counter] = true
			} else {
				here = append(here, l)
			}
		}
		closing := State{Epoch: 3, Counter: n, Last: links[n-1].Hash[:], At: links[n-1].At, Closing: true}
		r := Analyse(here, []State{closing})
		got := map[uint64]bool{}
		for _, g := range r.Gaps {
			for c := g.First; c <= g.Last; c++ {
				got[c] = true
			}
			if !missing[g.First] || !missing[g.Last] || g.First > 1 && missing[g.First-1] || missing[g.Last+1] {
				rt.Fatalf("gap %+v isn't whole", g)
			}
		}
		covered := uint64(0)
		for _, x := range r.Ranges {
			covered += x.Count()
		}
		if !reflect.DeepEqual(got, missing) || r.Missing()+r.Arrived != n || covered != r.Arrived || len(r.Odd) != 0 {
			rt.Fatalf("removed %v, report %+v", missing, r)
		}
		shuffled := rapid.Permutation(here).Draw(rt, "order")
		if again := Analyse(append(shuffled, shuffled...), []State{closing, closing}); !reflect.DeepEqual(again, r) {
			rt.Fatalf("in another order: %+v, was %+v", again, r)
		}
	})
}

func TestOddChains(t *testing.T) {
	const minute = 60_000
	for what, d := range map[string]struct {
		spoil  func(l []Link) []Link
		states []State
		want   []string
	}{
		"a counter used twice": {func(l []Link) []Link {
			twin := l[4]
			twin.Hash = sha256.Sum256([]byte("twin"))
			return append(l, twin)
		}, nil, []string{Equivocation}},
		"another one before it":  {func(l []Link) []Link { l[4].Prev = make([]byte, 32); return l }, nil, []string{ChainBreak}},
		"none before it":         {func(l []Link) []Link { l[4].Prev = nil; return l }, nil, []string{ChainBreak}},
		"break across a gap":     {func(l []Link) []Link { l[4].Prev = make([]byte, 32); return slices.Delete(l, 3, 4) }, nil, nil}, // its predecessor isn't there to compare
		"wall clock set forward": {func(l []Link) []Link { return later(l, 5, 10*minute) }, nil, []string{ClockJump}},
		"wall clock set back":    {func(l []Link) []Link { return later(l, 5, -10*minute) }, nil, []string{ClockBack}},
		"a little back":          {func(l []Link) []Link { return later(l, 5, -30_000) }, nil, []string{ClockJump}}, // still rising, but less than the monotonic clock
		"within tolerance":       {func(l []Link) []Link { return later(l, 5, 4000) }, nil, nil},
		"rebooted": {func(l []Link) []Link {
			for i := 5; i < len(l); i++ {
				l[i].Monotonic = int64(i-4) * 30_000
				l[i].At = l[4].At + minute + l[i].Monotonic
				l[i].ReceivedAt = l[i].At
			}
			return l
		}, nil, nil},
		"rebooted and set back": {func(l []Link) []Link {
			for i := 5; i < len(l); i++ {
				l[i].Monotonic = 20_000 + int64(i-5)*minute
				l[i].At = l[4].At + int64(i-5)*minute + 1000 // 20 s after a boot that can't have been before the last manifest
			}
			return l
		}, nil, []string{ClockJump}},
		"signed after it was received": {func(l []Link) []Link { l[4].ReceivedAt = l[4].At - minute; return l }, nil, []string{ClockAhead}},
		"clocks at their ends": {func(l []Link) []Link { l[4].At, l[5].At = math.MaxInt64, math.MinInt64; return l }, nil,
			[]string{ClockAhead, ClockBack}},
		"counter lost": {func(l []Link) []Link { return append(l, counted(9, 3, l[9].At+minute)...) }, nil, []string{CounterReset}},
		"an old copy goes on": {func(l []Link) []Link { return append(l, counted(9, 3, l[7].At+30_000)...) }, nil,
			[]string{EpochFall, EpochFall, CounterReset}},
		"state counts less": {func(l []Link) []Link { return l },
			[]State{{Epoch: 2, Counter: 10, Last: nil, At: 1}, {Epoch: 2, Counter: 9, At: 2}}, []string{StateBack, StateFork, StateFork}},
		"state names another": {func(l []Link) []Link { return l }, []State{{Epoch: 2, Counter: 4, Last: make([]byte, 32), At: 1}}, []string{StateFork}},
		"two states name two": {func(l []Link) []Link { return l },
			[]State{{Epoch: 2, Counter: 12, Last: make([]byte, 32), At: 1}, {Epoch: 2, Counter: 12, Last: bytes.Repeat([]byte{1}, 32), At: 2}}, []string{StateFork}},
	} {
		links := d.spoil(counted(2, 10, begun))
		r := Analyse(links, d.states)
		if got := kinds(r); !slices.Equal(got, d.want) {
			t.Errorf("%s: %v, want %v\n%+v", what, got, d.want, r.Odd)
		}
		rand.Shuffle(len(links), func(i, j int) { links[i], links[j] = links[j], links[i] })
		if again := Analyse(links, d.states); !reflect.DeepEqual(again, r) {
			t.Errorf("%s: another order gives %+v", what, again)
		}
	}
}

// later sets the wall clock from a manifest on.
func later(l []Link, from int, ms int64) []Link {
	for i := from; i < len(l); i++ {
		l[i].At += ms
		l[i].ReceivedAt += ms
	}
	return l
}

// A forged or reused counter shows whatever else is there.
func TestReusedCountersAreFlagged(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		n := rapid.IntRange(2, 40).Draw(rt, "n")
		links := counted(1, uint64(n), begun)
		at := rapid.IntRange(0, n-1).Draw(rt, "at")
		twin := links[at]
		twin.Hash[rapid.IntRange(0, 31).Draw(rt, "byte")] ^= 1
		r := Analyse(rapid.Permutation(append(links, twin)).Draw(rt, "order"), nil)
		if !slices.ContainsFunc(r.Odd, func(o Odd) bool { return o.What == Equivocation && o.First == links[at].Counter }) || r.Arrived != uint64(n) {
			rt.Fatalf("%+v", r)
		}
	})
}

func TestTails(t *testing.T) {
	links := counted(1, 5, begun)
	if r := Analyse(links, nil); r.Tail != (Tail{1, 5, 0, false}) || len(r.Gaps) != 0 {
		t.Errorf("no state: %+v", r)
	}
	r := Analyse(links[:3], []State{{Epoch: 1, Counter: 5, Last: links[4].Hash[:], At: 9, Closing: true}})
	if r.Tail != (Tail{1, 5, 9, true}) || !reflect.DeepEqual(r.Gaps, []Range{{1, 4, 5}}) {
		t.Errorf("stated 5, 3 are here: %+v", r)
	}
	if r := Analyse(links, []State{{Epoch: 1, Counter: 3, Last: links[2].Hash[:], At: 9}}); r.Tail != (Tail{1, 5, 0, false}) {
		t.Errorf("an older state: %+v", r)
	}
	if r := Analyse(nil, []State{{Epoch: 1, At: 9}}); r.Tail != (Tail{1, 0, 9, false}) || len(r.Gaps) != 0 {
		t.Errorf("nothing signed yet: %+v", r)
	}
	if r := Analyse([]Link{{Epoch: 1, Counter: math.MaxInt64, At: 1}}, nil); r.Missing() != math.MaxInt64-1 {
		t.Errorf("a gap as long as can be: %+v", r)
	}
}

func TestLongChainsAreCheap(t *testing.T) {
	links := counted(1, 100_000, begun)
	rand.Shuffle(len(links), func(i, j int) { links[i], links[j] = links[j], links[i] })
	at := time.Now()
	r := Analyse(slices.DeleteFunc(links, func(l Link) bool { return l.Counter%1000 == 0 && l.Counter < 100_000 }), nil)
	if len(r.Gaps) != 99 || r.Arrived != 99_901 {
		t.Fatalf("%d gaps, %d arrived", len(r.Gaps), r.Arrived)
	}
	t.Logf("100,000 manifests in %s", time.Since(at))
}

func exampleState(keyID []byte) State {
	return State{KeyID: keyID, Epoch: 1772000000000, Counter: 44, Last: bytes.Repeat([]byte{1}, 32), At: 1772000001000, Monotonic: 5000, Closing: true, Recorder: "DSJ-01"}
}

func TestSignedStateReadsBack(t *testing.T) {
	key, id := testKey(t)
	pub := key.Public().(ed25519.PublicKey)
	raw, hash, err := SignState(exampleState(id), key)
	if err != nil {
		t.Fatal(err)
	}
	// The bytes are a format: a change here breaks every station that is out there.
	if got := fmt.Sprintf("%x", hash); got != wantStateHash {
		t.Errorf("hash of the example: %s, it was %s", got, wantStateHash)
	}
	s, err := ParseState(raw)
	want := exampleState(id)
	want.Version = StateVersion
	if err != nil || !reflect.DeepEqual(s.State, want) || s.Hash != hash || !s.Verify(pub) {
		t.Fatalf("read back: %+v, %v", s.State, err)
	}
	if s.Verify(nil) || s.Verify(pub[:31]) {
		t.Error("it verifies with half a key")
	}
	for i := range len(raw) * 8 {
		bad := bytes.Clone(raw)
		bad[i/8] ^= 1 << (i % 8)
		if s, err := ParseState(bad); err == nil && s.Verify(pub) {
			t.Fatalf("bit %d flipped, and it still verifies", i)
		}
	}
	// Neither can be taken for the other, nor can one signature serve both.
	if _, err := Parse(raw); err == nil {
		t.Error("a state is read as a manifest")
	}
	m, _, err := Sign(example(id), key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseState(m); err == nil {
		t.Error("a manifest is read as a state")
	}
	wrong, err := encode.Marshal(signed{Manifest: s.body, Signature: ed25519.Sign(key, append([]byte(context), s.body...))})
	if err != nil {
		t.Fatal(err)
	}
	if s, err := ParseState(wrong); err == nil && s.Verify(pub) {
		t.Error("a signature made for manifests counts for a state")
	}
}

const wantStateHash = "2a673ed4aa30e06c0f6cc0c5b62f11388d727172050f4b9b6df830ed10f81523"

func TestStatesThatSayNonsense(t *testing.T) {
	key, id := testKey(t)
	for what, spoil := range map[string]func(*State){
		"counter of 64 bits":      func(s *State) { s.Counter = 1 << 63 },
		"epoch of 64 bits":        func(s *State) { s.Epoch = 1 << 63 },
		"no last manifest":        func(s *State) { s.Last = nil },
		"last of none":            func(s *State) { s.Counter = 0 },
		"half a hash":             func(s *State) { s.Last = s.Last[:16] },
		"half a checkpoint":       func(s *State) { s.Checkpoint = make([]byte, 16) },
		"half a key":              func(s *State) { s.KeyID = s.KeyID[:16] },
		"serial with a line feed": func(s *State) { s.Recorder = "a\nb" },
		"serial that is no text":  func(s *State) { s.Recorder = "\xff" },
		"serial that's long":      func(s *State) { s.Recorder = string(bytes.Repeat([]byte{'x'}, 81)) },
	} {
		s := exampleState(id)
		spoil(&s)
		if _, _, err := SignState(s, key); err == nil {
			t.Errorf("%s: signed", what)
		}
	}
}

// FuzzParseState: nothing makes the parser panic, and what it takes is the one encoding of what it says.
func FuzzParseState(f *testing.F) {
	key, id := testKey(f)
	raw, _, err := SignState(exampleState(id), key)
	if err != nil {
		f.Fatal(err)
	}
	m, _, err := Sign(example(id), key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(m)
	f.Add([]byte{0x82, 0x41, 0xa0, 0x40})
	f.Add(bytes.Repeat([]byte{0x81}, 500))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseState(b)
		if err != nil {
			return
		}
		again, hash, err := SignState(s.State, key)
		if err != nil {
			t.Fatalf("parsed, but can't be written: %v", err)
		}
		if p, err := ParseState(again); err != nil || hash != s.Hash || p.Hash != s.Hash {
			t.Fatalf("the same state has other bytes: %v", err)
		}
	})
}

func TestInferredGaps(t *testing.T) {
	for what, d := range map[string]struct {
		names []string
		want  []string // "series first-last"
	}{
		"law enforcement recorder": {[]string{"DCIM/DSJ-A1B2C1_012345_20260301120000_0001.mp4", "DSJ-A1B2C1_012345_20260301123000_0004.mp4", "DSJ-A1B2C1_012345_20260301123000_0004.gpx"},
			[]string{"DSJ-A1B2C1_012345 2-3"}},
		"numbers begin anew each day": {[]string{"DSJ-1_0_20260301120000_0001.mp4", "DSJ-1_0_20260301130000_0002.mp4", "DSJ-1_0_20260302120000_0001.mp4", "DSJ-1_0_20260302130000_0003.mp4"},
			[]string{"DSJ-1_0 2-2"}},
		"two officers are two series": {[]string{"DSJ-1_7_20260301120000_0001.mp4", "DSJ-1_8_20260301130000_0003.mp4"}, nil},
		"action camera":               {[]string{"GOPR0010.MP4", "gopr0013.mp4", "GP010010.MP4", "GX010001.MP4", "GX020001.MP4", "GX010003.MP4"}, []string{"GOPR 11-12", "GX 2-2"}},
		"camera folder":               {[]string{`DCIM\100MEDIA\MOV_0581.mp4`, "MOV_0583.mp4", "IMG_0582.jpg"}, []string{"MOV_ 582-582"}},
		"dashcam, front and rear": {[]string{"NO20260101-120000-000001F.MP4", "NO20260101-120000-000002R.MP4", "NO20260101-120300-000004F.MP4"},
			[]string{"NO·F 2-3"}},
		"a long jump is a new count": {[]string{"MOV_0001.mp4", "MOV_0900.mp4"}, nil},
		"names of anything":          {[]string{"", ".", "..", "/", "_0001.mp4", "MOV_.mp4", "MOV_99999999999999999999.mp4", "\xff\xfe_0001.mp4", "MOV_0001.mp4.exe", "MOV_١٢٣٤.mp4", "MOV_-001.mp4"}, nil},
	} {
		var got []string
		for _, g := range InferGaps(DefaultSeries(), d.names) {
			got = append(got, fmt.Sprintf("%s %d-%d", g.Series, g.First, g.Last))
			if g.Before < 0 || g.After >= len(d.names) || g.Before == g.After {
				t.Errorf("%s: between %d and %d", what, g.Before, g.After)
			}
		}
		if !slices.Equal(got, d.want) {
			t.Errorf("%s: %v, want %v", what, got, d.want)
		}
	}
	for _, bad := range []string{"(", "^x$", `(?P<number>\d+)`} {
		if _, err := NewSeriesRule(bad); err == nil {
			t.Errorf("%q is taken as a rule", bad)
		}
	}
	any, err := NewSeriesRule(`(?P<n>\d+)`)
	if err != nil {
		t.Fatal(err)
	}
	if got := InferGaps([]SeriesRule{any}, []string{"18446744073709551615", "1", "9223372036854775808"}); len(got) != 0 {
		t.Errorf("numbers beyond counting: %+v", got)
	}
}

// FuzzInferGaps: names are whatever a card holds. No name makes it panic, a gap lies between two names that are there, and the order of
// names doesn't matter.
func FuzzInferGaps(f *testing.F) {
	f.Add("DSJ-A1B2C1_012345_20260301120000_0001.mp4\nDSJ-A1B2C1_012345_20260301123000_0004.mp4")
	f.Add("MOV_0581.mp4\nMOV_0583.mp4\nGOPR0001.MP4")
	f.Add("NO20260101-120000-000001F.MP4\n\xff\x00/..\\MOV_999999.mp4")
	rules := DefaultSeries()
	f.Fuzz(func(t *testing.T, text string) {
		var names []string
		for _, b := range bytes.Split([]byte(text), []byte{'\n'}) {
			names = append(names, string(b))
		}
		got := InferGaps(rules, names)
		for _, g := range got {
			a, aok := number(rules, names[g.Before])
			b, bok := number(rules, names[g.After])
			if !aok || !bok || a.series != g.Series || b.series != g.Series || a.n+1 != g.First || b.n-1 != g.Last || g.Count() > MaxInferred {
				t.Fatalf("%+v between %q and %q", g, names[g.Before], names[g.After])
			}
		}
		back := slices.Clone(names)
		slices.Reverse(back)
		if again := InferGaps(rules, back); len(again) != len(got) {
			t.Fatalf("backwards: %d gaps, %d forwards", len(again), len(got))
		}
	})
}
