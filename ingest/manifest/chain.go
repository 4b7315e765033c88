package manifest

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"
	"time"
)

// ClockTolerance is how far a wall clock may differ from what a monotonic clock, or the server, shows before it is called a jump.
const ClockTolerance = 5 * time.Second

// What can be odd about a chain. These are the words of AnomalyPayload.What.
const (
	Equivocation = "equivocation"  // two manifests for one counter
	ChainBreak   = "chain-break"   // a manifest names another one before it than the one that is there
	CounterReset = "counter-reset" // a later epoch: the signer has lost its counter. It says so itself, no alarm
	EpochFall    = "epoch-fall"    // signed in an earlier epoch after a later one had begun: an old copy of the identity
	ClockJump    = "clock-jump"    // wall and monotonic clock disagree
	ClockBack    = "clock-back"    // the wall clock went back
	ClockAhead   = "clock-ahead"   // signed later than it was received
	StateBack    = "state-back"    // a state counts less than an earlier one
	StateFork    = "state-fork"    // a state names another last manifest than the one that is there
	GapExplained = "gap-explained" // not odd: a person gave a reason for a gap
)

// Alarming says whether a person has to look at it.
func Alarming(what string) bool { return what != CounterReset && what != GapExplained }

// Link is what the chain is about in a manifest. Times are Unix milliseconds; Monotonic 0 is unknown, ReceivedAt 0 too.
type Link struct {
	Epoch, Counter uint64
	Hash           [32]byte
	Prev           []byte
	At, Monotonic  int64
	ReceivedAt     int64
}

// Link gives the manifest's place in its chain.
func (s Signed) Link(receivedAt int64) Link {
	return Link{Epoch: s.Epoch, Counter: s.Counter, Hash: s.Hash, Prev: s.Prev, At: s.At, Monotonic: s.Monotonic, ReceivedAt: receivedAt}
}

// Range is counters First … Last of one epoch, both included.
type Range struct {
	Epoch, First, Last uint64
}

// Count is how many counters it has.
func (r Range) Count() uint64 { return r.Last - r.First + 1 }

// Odd is an anomaly and where it is.
type Odd struct {
	What string
	Range
	Detail string // facts, no sentence
}

// Tail says what is known of the end of a chain.
type Tail struct {
	Epoch   uint64 // the newest
	Stated  uint64 // highest counter that arrived or was stated in it; what comes after is unknown
	At      int64  // of the statement that says so, 0 if no state does
	Closing bool   // that statement ended a docking
}

// Report is what manifests and states of one key show. It is the same in whatever order they arrived.
type Report struct {
	Arrived uint64 // counters with a manifest
	Ranges  []Range
	Gaps    []Range
	Odd     []Odd
	Tail    Tail
}

// Missing is how many counters the gaps have.
func (r Report) Missing() (n uint64) {
	for _, g := range r.Gaps {
		n += g.Count()
	}
	return n
}

// Analyse reports on the manifests and states of one key.
func Analyse(links []Link, states []State) Report {
	links = slices.Clone(links)
	slices.SortFunc(links, func(a, b Link) int {
		return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.Counter, b.Counter), bytes.Compare(a.Hash[:], b.Hash[:]))
	})
	links = slices.CompactFunc(links, func(a, b Link) bool { return a.Epoch == b.Epoch && a.Counter == b.Counter && a.Hash == b.Hash })
	states = slices.Clone(states)
	slices.SortFunc(states, func(a, b State) int {
		return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.At, b.At), cmp.Compare(a.Counter, b.Counter), bytes.Compare(a.Last, b.Last))
	})
	var r Report
	byEpoch, stated := map[uint64][]Link{}, map[uint64][]State{}
	var epochs []uint64
	for _, l := range links {
		byEpoch[l.Epoch] = append(byEpoch[l.Epoch], l)
		epochs = append(epochs, l.Epoch)
	}
	for _, s := range states {
		stated[s.Epoch] = append(stated[s.Epoch], s)
		epochs = append(epochs, s.Epoch)
	}
	slices.Sort(epochs)
	epochs = slices.Compact(epochs)
	for i, e := range epochs {
		r.epoch(e, byEpoch[e], stated[e])
		if i > 0 {
			r.Odd = append(r.Odd, Odd{What: CounterReset, Range: Range{e, 1, 1}})
		}
	}
	r.falls(epochs, byEpoch)
	slices.SortFunc(r.Odd, func(a, b Odd) int {
		return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.First, b.First), cmp.Compare(a.What, b.What), cmp.Compare(a.Detail, b.Detail))
	})
	return r
}

func (r *Report) epoch(e uint64, links []Link, states []State) {
	next := uint64(1) // counter that is looked for
	for i := 0; i < len(links); {
		j := i + 1
		for j < len(links) && links[j].Counter == links[i].Counter {
			j++
		}
		c := links[i].Counter
		if c > next {
			r.Gaps = append(r.Gaps, Range{e, next, c - 1})
		}
		if n := len(r.Ranges); n > 0 && c == next && next > 1 && r.Ranges[n-1].Epoch == e {
			r.Ranges[n-1].Last = c
		} else {
			r.Ranges = append(r.Ranges, Range{e, c, c})
		}
		r.Arrived++
		if j-i > 1 {
			r.Odd = append(r.Odd, Odd{What: Equivocation, Range: Range{e, c, c}})
		}
		for _, l := range links[i:j] {
			if ahead, ok := Ahead(l); ok {
				r.Odd = append(r.Odd, ahead)
			}
		}
		r.pair(links, i, j)
		next = c + 1
		i = j
	}
	r.states(e, next-1, links, states)
}

// pair compares the manifests of a counter with those of the one before.
func (r *Report) pair(links []Link, i, j int) {
	p := i
	for p > 0 && links[p-1].Counter+1 == links[i].Counter {
		p--
	}
	before := links[p:i]
	if len(before) == 0 {
		return
	}
	for _, l := range links[i:j] {
		named := slices.IndexFunc(before, func(b Link) bool { return bytes.Equal(b.Hash[:], l.Prev) })
		if named < 0 {
			r.Odd = append(r.Odd, broken(l))
			named = 0
		}
		r.Odd = append(r.Odd, Clocks(before[named], l)...)
	}
}

func broken(l Link) Odd {
	return Odd{ChainBreak, Range{l.Epoch, l.Counter - 1, l.Counter}, hex.EncodeToString(l.Hash[:8])}
}

// Between compares two consecutive manifests of an epoch.
func Between(before, l Link) []Odd {
	var out []Odd
	if !bytes.Equal(before.Hash[:], l.Prev) {
		out = append(out, broken(l))
	}
	return append(out, Clocks(before, l)...)
}

// Clocks compares the clocks of two consecutive manifests. Wall minus monotonic clock is the moment of the boot: within one boot it
// stays, after a reboot it lies behind the manifest before. Anything else is a wall clock that was set.
func Clocks(before, l Link) []Odd {
	tol := ClockTolerance.Milliseconds()
	where := Range{l.Epoch, before.Counter, l.Counter}
	if before.At == 0 || l.At == 0 {
		return nil // from before clocks were kept
	}
	if since(before.At, l.At) < -tol {
		return []Odd{{ClockBack, where, fmt.Sprintf("%d ms", since(before.At, l.At))}}
	}
	if before.Monotonic <= 0 || l.Monotonic <= 0 {
		return nil
	}
	b1, b2 := since(before.Monotonic, before.At), since(l.Monotonic, l.At)
	jump := since(b1, b2)
	rebooted := since(before.At, b2) > -tol
	if jump >= -tol && jump <= tol || rebooted {
		return nil
	}
	return []Odd{{ClockJump, where, fmt.Sprintf("%d ms", jump)}}
}

// since is to - from, saturated: clocks are whatever a signer writes.
func since(from, to int64) int64 {
	d := to - from
	if (to > from) != (d > 0) && to != from {
		if to > from {
			return 1<<63 - 1
		}
		return -1 << 63
	}
	return d
}

// Ahead says whether a manifest was signed later than it was received.
func Ahead(l Link) (Odd, bool) {
	if l.ReceivedAt == 0 || since(l.ReceivedAt, l.At) <= ClockTolerance.Milliseconds() {
		return Odd{}, false
	}
	return Odd{ClockAhead, Range{l.Epoch, l.Counter, l.Counter}, fmt.Sprintf("%d ms", since(l.ReceivedAt, l.At))}, true
}

// states holds what the signer stated against what arrived, and sets the tail. top is the highest counter that arrived.
func (r *Report) states(e, top uint64, links []Link, states []State) {
	tail := Tail{Epoch: e, Stated: top}
	var high uint64
	named := map[uint64][]byte{} // what states call the manifest of a counter
	for _, s := range states {
		if s.Counter < high {
			r.Odd = append(r.Odd, Odd{What: StateBack, Range: Range{e, s.Counter, high}})
		}
		high = max(high, s.Counter)
		if s.Counter >= tail.Stated {
			tail = Tail{e, s.Counter, s.At, s.Closing}
		}
		if other, twice := named[s.Counter]; twice && !bytes.Equal(other, s.Last) {
			r.Odd = append(r.Odd, Odd{What: StateFork, Range: Range{e, s.Counter, s.Counter}})
			continue
		}
		named[s.Counter] = s.Last
		at, found := slices.BinarySearchFunc(links, s.Counter, func(l Link, c uint64) int { return cmp.Compare(l.Counter, c) })
		if !found {
			continue
		}
		same := false
		for ; at < len(links) && links[at].Counter == s.Counter; at++ {
			same = same || bytes.Equal(links[at].Hash[:], s.Last)
		}
		if !same {
			r.Odd = append(r.Odd, Odd{What: StateFork, Range: Range{e, s.Counter, s.Counter}})
		}
	}
	if tail.Stated > top {
		r.Gaps = append(r.Gaps, Range{e, top + 1, tail.Stated})
	}
	r.Tail = tail // epochs come in order: the last one stays
}

// falls finds manifests of an epoch that were signed, by their own clock, after a later epoch had begun.
func (r *Report) falls(epochs []uint64, byEpoch map[uint64][]Link) {
	begun := int64(1<<63 - 1) // earliest wall clock of all later epochs
	for _, e := range slices.Backward(epochs) {
		first := begun
		for _, l := range byEpoch[e] {
			if l.At == 0 {
				continue
			}
			if begun != 1<<63-1 && Fell(l.At, begun) {
				r.Odd = append(r.Odd, Odd{What: EpochFall, Range: Range{e, l.Counter, l.Counter}})
			}
			first = min(first, l.At)
		}
		begun = min(begun, first)
	}
}

// Fell says whether something signed at that moment is too late, because a later epoch had begun.
func Fell(at, begun int64) bool { return since(begun, at) > ClockTolerance.Milliseconds() }
