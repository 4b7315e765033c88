// Package audit owns the runs that show that what is kept still holds: the log reckoned again from its bytes, all footage read again,
// the store's locks tried on a canary, the self-proof drill; and the alarms that come of them. It promises that a run which didn't
// finish is shown as such, that reading goes on where a crash cut it off, and that no damage goes without an alarm. It never repairs
// and never deletes what it finds; it knows no domain: cases come in as ids through a function.
//
// Read audit.go for what runs when, run.go for a run's row and its lock, reread.go for reading footage again, canary.go for the locks,
// capacity.go for how long the store will do, alarm.go for what somebody has to look at.
package audit

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/errgroup"

	"zhizheng/evidence"
	"zhizheng/evidence/audit/internal/db"
	"zhizheng/evidence/drill"
	"zhizheng/evidence/evlog"
	"zhizheng/internal/blob"
	"zhizheng/internal/fault"
)

// Store is a configured store whose locks are tried.
type Store struct {
	Name    string // in leaves and alarms; no address
	Options blob.Options
}

// Options of New. Pool, Log and Evidence are needed; a schedule of 0 never starts anything by itself.
type Options struct {
	Pool     *pgxpool.Pool
	Log      *evlog.Log
	Evidence *evidence.Keeper
	Stores   []Store
	Drill    *drill.Service // nil: drills can't be started here
	// CasesOf gives the ids of the cases an item is linked to, for alarms.
	CasesOf func(ctx context.Context, evidenceID string) ([]string, error)

	// Free tells how many bytes footage may still take, of which so many are kept already; nil or known = false: nobody knows.
	Free func(kept int64) (free int64, known bool, err error)

	LogDaily    bool          // audit the log every day
	LogAt       time.Duration // after midnight at +08:00
	CanaryEvery time.Duration
	RereadEvery time.Duration // start a full re-read when something wasn't read for so long
	Rate        int64         // bytes a second that re-reading takes from the store; 0 is no limit
	KeepRuns    time.Duration // how long finished runs are kept; 0 is 90 days. Their leaves stay.

	Now    func() time.Time
	Sleep  func(ctx context.Context, d time.Duration) error // waits; tests count instead
	Logger *slog.Logger
}

// Service runs audits.
type Service struct {
	Options
	q      *db.Queries
	pace   *pace
	tasks  chan func(ctx context.Context) // on-demand runs, owned by Run
	wake   chan struct{}                  // the reader has something to do
	broken atomic.Bool                    // a store's lock didn't hold
	full   atomic.Bool                    // there is no room
	sized  time.Time                      // when the room was looked at last
}

// New makes the service; Run works.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Sleep == nil {
		o.Sleep = sleep
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.KeepRuns == 0 {
		o.KeepRuns = 90 * 24 * time.Hour
	}
	if o.CasesOf == nil {
		o.CasesOf = func(context.Context, string) ([]string, error) { return nil, nil }
	}
	return &Service{Options: o, q: db.New(o.Pool), pace: &pace{rate: o.Rate, now: o.Now, sleep: o.Sleep},
		tasks: make(chan func(context.Context)), wake: make(chan struct{}, 1)}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// How often the tables are asked whether something is due, and how long after a try that came to nothing the next one follows.
const (
	tick       = 15 * time.Second
	retryAfter = 10 * time.Minute
)

// Run works until ctx ends: schedules, runs asked for, the reader. Failures are logged and tried again; the server goes on.
func (s *Service) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.every(ctx, "log audit", s.dueLog) })
	g.Go(func() error { return s.every(ctx, "canaries", s.dueCanaries) })
	g.Go(func() error { return s.every(ctx, "audit runs", s.tidy) })
	g.Go(func() error { return s.every(ctx, "capacity", s.dueCapacity) })
	g.Go(func() error { return s.readLoop(ctx) })
	g.Go(func() error {
		for {
			select {
			case task := <-s.tasks:
				g.Go(func() error { task(ctx); return nil })
			case <-ctx.Done():
				return nil
			}
		}
	})
	return g.Wait()
}

func (s *Service) every(ctx context.Context, what string, do func(context.Context) error) error {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		if err := do(ctx); err != nil && ctx.Err() == nil && !fault.Is(err, fault.KindConflict) { // another server is at it
			s.Logger.WarnContext(ctx, "audit work failed, tried again", "what", what, "err", err)
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// due reports whether a run of the kind should have begun since slot and didn't. What failed is tried again after a while.
func (s *Service) due(ctx context.Context, kind string, slot time.Time) (bool, error) {
	done, err := s.q.LastDone(ctx, kind)
	if err == nil && !done.Before(slot) {
		return false, nil
	}
	if err != nil && !noRows(err) {
		return false, fmt.Errorf("last run: %w", err)
	}
	last, err := s.q.LastOf(ctx, kind)
	if noRows(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("last run: %w", err)
	}
	return last.StartedAt.Before(slot) || s.Now().Sub(last.StartedAt) >= retryAfter, nil
}

func (s *Service) dueLog(ctx context.Context) error {
	if !s.LogDaily {
		return nil
	}
	ok, err := s.due(ctx, KindLog, lastSlot(s.Now(), s.LogAt))
	if err != nil || !ok {
		return err
	}
	_, _, err = s.AuditLog(ctx, System)
	return err
}

var county = time.FixedZone("+08:00", 8*3600)

// lastSlot is the latest moment at or before now that lies d after a midnight of the county.
func lastSlot(now time.Time, d time.Duration) time.Time {
	y, m, day := now.In(county).Date()
	slot := time.Date(y, m, day, 0, 0, 0, 0, county).Add(d)
	if slot.After(now) {
		slot = time.Date(y, m, day-1, 0, 0, 0, 0, county).Add(d)
	}
	return slot
}

// tidy shows what ended without a word as interrupted, begins a full re-read when one is due, and sweeps old runs.
func (s *Service) tidy(ctx context.Context) error {
	for _, kind := range []string{KindLog, KindCanary, KindDrill} {
		if err := s.settle(ctx, kind); err != nil {
			return err
		}
	}
	if err := s.refreshTrust(ctx); err != nil {
		return err
	}
	if _, err := s.q.SweepRuns(ctx, ptr(s.Now().Add(-s.KeepRuns))); err != nil {
		return fmt.Errorf("sweep audit runs: %w", err)
	}
	if s.RereadEvery <= 0 {
		return nil
	}
	old, err := s.Evidence.UnreadSince(ctx, s.Now().Add(-s.RereadEvery))
	if err != nil || !old {
		return err
	}
	_, err = s.startReread(ctx, System)
	return err
}

// Start begins a run in the background: KindLog, KindReread, KindCanary or KindDrill.
func (s *Service) Start(ctx context.Context, kind, actor string) (Info, error) {
	if kind == KindReread {
		return s.startReread(ctx, actor)
	}
	work := map[string]func(context.Context, *Run) error{
		KindLog:    func(ctx context.Context, r *Run) error { _, _, err := s.auditLog(ctx, r); return err },
		KindCanary: s.tryCanaries,
		KindDrill:  func(ctx context.Context, r *Run) error { _, _, err := s.runDrill(ctx, r); return err },
	}[kind]
	if work == nil || (kind == KindDrill && s.Drill == nil) {
		return Info{}, fault.Invalid("不能单独启动这种核验：%s", kind)
	}
	run, err := s.Begin(ctx, kind, actor)
	if err != nil {
		return Info{}, err
	}
	info := run.Info
	task := func(ctx context.Context) {
		if err := work(ctx, run); err != nil && ctx.Err() == nil {
			s.Logger.WarnContext(ctx, "audit run failed", "kind", kind, "run", run.ID, "err", err)
		}
	}
	select {
	case s.tasks <- task:
		return info, nil
	case <-time.After(2 * time.Second): // nobody works: starting up or stopping
		run.interrupt(ctx, "未能开始")
		return Info{}, fault.Unavailable(5*time.Second, "核验服务正在启动或停止，请稍后再试")
	}
}

func ptr[T any](v T) *T { return &v }
