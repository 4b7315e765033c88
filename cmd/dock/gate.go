package main

import (
	"cmp"
	"container/heap"
	"context"
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

// gate lets a number of parts onto the link at once, and of those who wait the first by rank.
type gate struct {
	mu      sync.Mutex
	places  int
	inside  int // more than places for a while, after they became fewer
	came    uint64
	waiting waiters
}

type waiter struct {
	rank rank
	came uint64
	at   int // in the heap
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
func (g *gate) enter(ctx context.Context, r rank) error {
	g.mu.Lock()
	if g.inside < g.places && len(g.waiting) == 0 {
		g.inside++
		g.mu.Unlock()
		return nil
	}
	g.came++
	w := &waiter{rank: r, came: g.came, in: make(chan struct{})}
	heap.Push(&g.waiting, w)
	g.mu.Unlock()
	select {
	case <-w.in:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if w.at >= 0 {
		heap.Remove(&g.waiting, w.at)
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

// fill lets in whom there is room for.
func (g *gate) fill() {
	for g.inside < g.places && len(g.waiting) > 0 {
		g.inside++
		close(heap.Pop(&g.waiting).(*waiter).in)
	}
}

type waiters []*waiter

func (w waiters) Len() int { return len(w) }
func (w waiters) Less(i, j int) bool {
	if w[i].rank != w[j].rank {
		return w[i].rank.before(w[j].rank)
	}
	return w[i].came < w[j].came
}
func (w waiters) Swap(i, j int) { w[i], w[j] = w[j], w[i]; w[i].at, w[j].at = i, j }
func (w *waiters) Push(x any)   { v := x.(*waiter); v.at = len(*w); *w = append(*w, v) }
func (w *waiters) Pop() any {
	old := *w
	v := old[len(old)-1]
	*w, v.at = old[:len(old)-1], -1
	return v
}
