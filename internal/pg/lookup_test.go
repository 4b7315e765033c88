package pg

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
)

// Questions that come while a query is on its way share the next one; who leaves takes nobody's answer along, and a failure is that of its
// round only.
func TestLookupsShareAQuery(t *testing.T) {
	type query struct {
		keys []int
		err  chan error
	}
	queries := make(chan query)
	look := NewLookup(func(_ context.Context, keys []int) (map[int]string, error) {
		q := query{keys, make(chan error)}
		queries <- q
		return map[int]string{1: "one", 2: "two"}, <-q.err
	})
	collected := func(n int) {
		for {
			look.mu.Lock()
			have := len(look.last.keys)
			look.mu.Unlock()
			if have == n {
				return
			}
			runtime.Gosched()
		}
	}
	gone := errors.New("the database is away")
	for round, outcome := range []error{nil, gone, nil} {
		var callers sync.WaitGroup
		callers.Go(func() {
			if found, err := look.Find(t.Context(), 1); err != nil || found[1] != "one" {
				t.Errorf("round %d, alone: %v, %v", round, found, err)
			}
		})
		first := <-queries // on its way, and the rest has to wait
		leaving, leave := context.WithCancel(t.Context())
		callers.Go(func() { _, _ = look.Find(leaving, 1, 3) })
		collected(2)
		for range 20 {
			callers.Go(func() {
				found, err := look.Find(t.Context(), 1, 2)
				if !errors.Is(err, outcome) || err == nil && found[2] != "two" {
					t.Errorf("round %d: %v, %v", round, found, err)
				}
			})
		}
		collected(42)
		leave()
		first.err <- nil
		second := <-queries
		if len(first.keys) != 1 || len(second.keys) != 42 {
			t.Errorf("round %d: queries of %d and %d keys", round, len(first.keys), len(second.keys))
		}
		second.err <- outcome
		callers.Wait()
	}
}
