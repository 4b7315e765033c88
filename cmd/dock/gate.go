package main

import (
	"cmp"
	"context"
	"slices"
	"sync"
)

// rank orders those who wait for the link: urgent ones first, then those of small files, then card by card and file by file, so that on a slow
// line file after file is sealed through the night and not all of them at its end.
type rank struct {
	urgent bool
	class  int
	card   int64 // in the order in which cards began to be carried
	file   int   // of the card
}

func (r rank) before(o rank) bool {
	if r.urgent != o.urgent {
		return r.urgent
	}
	return cmp.Or(r.class-o.class, cmp.Compare(r.card, o.card), r.file-o.file) < 0
}

// gate lets a number of those in who wait, the first by rank. Ranks are asked for when a place is given: what is urgent may change meanwhile.
type gate struct {
	mu      sync.Mutex
	places  int
	inside  int // more than places for a while, after they became fewer
	waiting []*waiter
}

type waiter struct {
	rank func() rank
	in   chan struct{}
}

func newGate(n int) *gate { return &gate{places: n} }

// resize changes the number of places. Those inside stay.
func (g *gate) resize(n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.places = n
	g.fill()
}

func (g *gate) size() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.places
}

// enter waits for a place; leave gives it back.
func (g *gate) enter(ctx context.Context, r func() rank) error {
	w := &waiter{rank: r, in: make(chan struct{})}
	g.mu.Lock()
	g.waiting = append(g.waiting, w)
	g.fill()
	g.mu.Unlock()
	select {
	case <-w.in:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.waiting, w); i >= 0 {
		g.waiting = slices.Delete(g.waiting, i, i+1)
		return ctx.Err()
	}
	g.inside-- // the place came at the same moment
	g.fill()
	return ctx.Err()
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	g.fill()
}

// fill lets in whom there is room for; of equals the one who came first.
func (g *gate) fill() {
	for g.inside < g.places && len(g.waiting) > 0 {
		first, best := 0, g.waiting[0].rank()
		for i, w := range g.waiting[1:] {
			if r := w.rank(); r.before(best) {
				first, best = i+1, r
			}
		}
		g.inside++
		close(g.waiting[first].in)
		g.waiting = slices.Delete(g.waiting, first, first+1)
	}
}
