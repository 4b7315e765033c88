package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// window is a time of the day, by the station's clock, in which the link may be used up to a rate.
type window struct {
	From string `yaml:"from"` // 08:00
	To   string `yaml:"to"`   // 18:00; earlier than From goes over midnight
	Kbit int    `yaml:"kbit"` // kbit/s; 0 stops uploads, fingerprints go on

	from, to time.Duration
}

// check reads the times.
func (w *window) check() error {
	for _, t := range []struct {
		text string
		at   *time.Duration
	}{{w.From, &w.from}, {w.To, &w.to}} {
		c, err := time.Parse("15:04", t.text)
		if err != nil {
			return fmt.Errorf("schedule：时间应为 时:分（如 08:00），实为 %q", t.text)
		}
		*t.at = time.Duration(c.Hour())*time.Hour + time.Duration(c.Minute())*time.Minute
	}
	if w.Kbit < 0 {
		return fmt.Errorf("schedule：kbit 不能为负")
	}
	return nil
}

func (w *window) holds(at time.Duration) bool {
	if w.from <= w.to {
		return at >= w.from && at < w.to
	}
	return at >= w.from || at < w.to
}

// pace keeps uploads to the schedule, and behind fingerprints: on a narrow line footage that goes on would take most of it. Receipts and
// everything else that is small is never held up.
type pace struct {
	windows []window
	now     func() time.Time

	mu      sync.Mutex
	wanted  int           // manifests and states that wait or are on their way
	aside   chan struct{} // closed once none does
	limiter *rate.Limiter
	kbit    int // of the limiter
}

// burst is what may go at once: less than a part, so that a stop is felt soon.
const burst = 64 << 10

func newPace(windows []window) *pace { return &pace{windows: windows, now: time.Now, kbit: -1} }

// limit is the rate that holds now, in kbit/s; ok is false for none.
func (p *pace) limit() (kbit int, ok bool) {
	t := p.now()
	at := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	for i := range p.windows {
		if p.windows[i].holds(at) {
			return p.windows[i].Kbit, true
		}
	}
	return 0, false
}

// wait lets n bytes pass when the schedule allows them. Within a window of rate 0 it looks again each minute.
func (p *pace) wait(ctx context.Context, n int) error {
	for {
		kbit, limited := p.limit()
		if !limited {
			return nil
		}
		if kbit > 0 {
			return p.limiterFor(kbit).WaitN(ctx, n)
		}
		t := time.NewTimer(time.Minute)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
	}
}

func (p *pace) limiterFor(kbit int) *rate.Limiter {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kbit != kbit {
		p.kbit, p.limiter = kbit, rate.NewLimiter(rate.Limit(kbit)*1000/8, burst)
	}
	return p.limiter
}

// open waits until uploads may begin at all, so that no request stands open through a closed window.
func (p *pace) open(ctx context.Context) error {
	if err := p.stepAside(ctx); err != nil {
		return err
	}
	return p.wait(ctx, 0)
}

// goFirst takes the line from footage; done gives it back.
func (p *pace) goFirst() (done func()) {
	p.mu.Lock()
	if p.wanted++; p.wanted == 1 {
		p.aside = make(chan struct{})
	}
	p.mu.Unlock()
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.wanted--; p.wanted == 0 {
			close(p.aside)
		}
	}
}

// behind is closed once nothing that goes first is on its way; nil if nothing is.
func (p *pace) behind() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted == 0 {
		return nil
	}
	return p.aside
}

// stepAside waits until nothing that goes first is on its way.
func (p *pace) stepAside(ctx context.Context) error {
	for c := p.behind(); c != nil; c = p.behind() {
		select {
		case <-c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// reader passes bytes on at the schedule's rate, when no fingerprint wants the line.
func (p *pace) reader(ctx context.Context, r io.Reader) io.Reader { return &pacedReader{p, ctx, r} }

type pacedReader struct {
	p   *pace
	ctx context.Context //nolint:containedctx // a reader has no other way to be told
	r   io.Reader
}

func (r *pacedReader) Read(b []byte) (int, error) {
	if err := r.p.stepAside(r.ctx); err != nil {
		return 0, err
	}
	n, err := r.r.Read(b[:min(len(b), burst)])
	if n > 0 {
		if werr := r.p.wait(r.ctx, n); werr != nil {
			return 0, werr
		}
	}
	return n, err
}
