package audit_test

import (
	"context"
	"testing"
	"time"

	"zhizheng/evidence/audit"
	"zhizheng/internal/testcounty"
	"zhizheng/internal/testenv"
)

// By the schedule, however often the server starts: the log once a day from 03:00 at +08:00 on, the canary every quarter of an hour,
// all footage when something wasn't read for long. Two servers at once do no more.
func TestSchedule(t *testing.T) {
	c := testcounty.New(t)
	c.Seals("a.mp4", []byte("a"))
	reread(t, c.Audit) // so that no first reading comes in between; years ago by the clock below
	k := newClock()
	k.at = time.Date(2031, 5, 6, 18, 59, 0, 0, time.UTC) // 02:59 of the 7th
	starts := func(wantLog, wantCanary, wantReread int) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 2)
		for range 2 {
			s, _ := service(c, func(o *audit.Options) {
				o.Now, o.Sleep = k.now, func(ctx context.Context, _ time.Duration) error { <-ctx.Done(); return ctx.Err() }
				o.LogDaily, o.LogAt, o.CanaryEvery, o.RereadEvery = true, 3*time.Hour, 15*time.Minute, 100*24*time.Hour
				o.KeepRuns = 100 * 365 * 24 * time.Hour
			})
			go func() { ended <- s.Run(ctx) }()
		}
		got := map[string]int{}
		defer func() {
			if t.Failed() {
				t.Logf("at %s: %v done, want %d, %d and %d", k.now(), got, wantLog, wantCanary, wantReread)
			}
		}()
		testenv.Eventually(t, 30*time.Second, func() bool {
			runs, _, err := c.Audit.List(t.Context(), "", "", 100)
			must(t, err)
			clear(got)
			for _, r := range runs {
				if r.State != audit.StateRunning {
					got[r.Kind]++
				}
			}
			return got[audit.KindLog] >= wantLog && got[audit.KindCanary] >= wantCanary && got[audit.KindReread] >= wantReread
		})
		cancel()
		must(t, <-ended)
		must(t, <-ended)
		runs, _, err := c.Audit.List(t.Context(), "", "", 100)
		must(t, err)
		if len(runs) != wantLog+wantCanary+wantReread {
			t.Errorf("at %s: %v, %d runs in all, want %d, %d and %d", k.now(), got, len(runs), wantLog, wantCanary, wantReread)
		}
	}
	starts(1, 1, 2) // the first start, and the slot of the day before was missed; nothing was read for years
	starts(1, 1, 2)
	k.at = k.at.Add(2 * time.Minute) // past 03:00
	starts(2, 1, 2)
	k.at = k.at.Add(14 * time.Minute)
	starts(2, 2, 2)
	k.at = k.at.Add(99 * 24 * time.Hour)
	starts(3, 3, 2)
	k.at = k.at.Add(25 * time.Hour)
	starts(4, 4, 3)
	// Old runs are swept, but for the latest of a kind; their leaves stay.
	swept, _ := service(c, func(o *audit.Options) {
		o.Now = func() time.Time { return k.now().Add(time.Hour) }
		o.KeepRuns = time.Minute
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- swept.Run(ctx) }()
	testenv.Eventually(t, 20*time.Second, func() bool {
		runs, _, err := c.Audit.List(t.Context(), "", "", 100)
		must(t, err)
		return len(runs) == 3
	})
	cancel()
	must(t, <-ended)
	if got := canaryLeaves(t, c); len(got) < 3 {
		t.Errorf("%d leaves of canaries are left", len(got))
	}
}
