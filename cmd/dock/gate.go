package main

import (
	"container/heap"
	"context"
	"sync"
)

// rank orders those who wait for the link: urgent ones first, then by how much there is of them, then as they came.
type rank struct {
	urgent bool
	class  int
}

func (r rank) before(o rank) bool {
	if r.urgent != o.urgent {
		return r.urgent
	}
	return r.class < o.class
}

// gate lets a number of parts onto the link at once, and of those who wait the first by rank.
type gate struct {
	mu      sync.Mutex
	free    int
	came    uint64
	waiting waiters
}

type waiter struct {
	rank rank
	came uint64
	at   int // in the heap
	in   chan struct{}
}

func newGate(n int) *gate { return &gate{free: n} }

// enter waits for a place; leave gives it back.
func (g *gate) enter(ctx context.Context, r rank) error {
	g.mu.Lock()
	if g.free > 0 && len(g.waiting) == 0 {
		g.free--
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
	g.next() // the place came at the same moment
	return ctx.Err()
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.next()
}

func (g *gate) next() {
	if len(g.waiting) == 0 {
		g.free++
		return
	}
	close(heap.Pop(&g.waiting).(*waiter).in)
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
