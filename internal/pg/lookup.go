package pg

import (
	"context"
	"sync"
	"time"
)

// Lookup answers the questions of many callers by one query: those that come while a query is on its way share the next one. It doesn't
// wait for company: a lone caller's question is asked at once.
type Lookup[K comparable, V any] struct {
	find func(ctx context.Context, keys []K) (map[K]V, error)

	mu   sync.Mutex
	last *lookupRound[K, V]
}

type lookupRound[K comparable, V any] struct {
	keys  []K
	asked bool // no more keys are taken
	done  chan struct{}
	found map[K]V
	err   error
}

// lookupTimeout ends a query that hangs: everyone behind it waits.
const lookupTimeout = 10 * time.Second

// NewLookup makes a lookup; find leaves out what isn't there.
func NewLookup[K comparable, V any](find func(ctx context.Context, keys []K) (map[K]V, error)) *Lookup[K, V] {
	return &Lookup[K, V]{find: find}
}

// Find gives what is known of the keys, and perhaps of others' keys. Its query began after Find was called.
func (l *Lookup[K, V]) Find(ctx context.Context, keys ...K) (map[K]V, error) {
	l.mu.Lock()
	r, before := l.last, l.last
	lead := r == nil || r.asked
	if lead {
		r = &lookupRound[K, V]{done: make(chan struct{})}
		l.last = r
	}
	r.keys = append(r.keys, keys...)
	l.mu.Unlock()
	if lead {
		l.ask(ctx, before, r)
	}
	select {
	case <-r.done:
		return r.found, Away(r.err)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ask runs the round when the one before is through. A first caller that leaves must not take the others' answer along.
func (l *Lookup[K, V]) ask(ctx context.Context, before, r *lookupRound[K, V]) {
	defer close(r.done)
	if before != nil {
		<-before.done
	}
	l.mu.Lock()
	r.asked = true
	l.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookupTimeout)
	defer cancel()
	r.found, r.err = l.find(ctx, r.keys)
}
