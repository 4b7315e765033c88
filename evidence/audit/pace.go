package audit

import (
	"context"
	"sync"
	"time"
)

// pace spreads bytes over time: after n of them the next may come n/rate later. It never lets more through than the rate allows from
// the first byte on, however the chunks fall; time in which nothing was asked for is not made up for.
type pace struct {
	mu    sync.Mutex
	rate  int64 // bytes a second; 0 is no limit
	now   func() time.Time
	sleep func(ctx context.Context, d time.Duration) error
	free  time.Time // when the bytes so far are paid for
}

func (p *pace) took(ctx context.Context, n int64) error {
	if p.rate <= 0 || n <= 0 {
		return ctx.Err()
	}
	p.mu.Lock()
	now := p.now()
	if p.free.Before(now) {
		p.free = now
	}
	p.free = p.free.Add(time.Duration(float64(n) / float64(p.rate) * float64(time.Second)))
	wait := p.free.Sub(now)
	p.mu.Unlock()
	return p.sleep(ctx, wait)
}
