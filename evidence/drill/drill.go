// Package drill owns the self-proof drill: it tampers with a copy of the log, a copy of a stored object and a bundle made of them, in
// eleven ways, and says which check found each. It promises that the log, the store and the log's key are not touched: the copy lies in
// temporary tables, the drill's bundle is signed by a key made for it. It never counts a way as found unless the same check passed on
// the untouched copy.
//
// Read drill.go for the course, tamper.go for the ways into the log's copy, paper.go for the bundle.
package drill

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence"
	"zhizheng/evidence/bundle"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/internal/fault"
)

// Bounds of the copy: a drill takes about a minute, whatever has come together in the log.
const (
	mostLeaves = 200_000
	mostBytes  = 64 << 20 // of the object
)

// Options of New.
type Options struct {
	Log      *evlog.Log
	Evidence *evidence.Keeper // nil: without footage and bundles
	// Read checks a device's signed manifest, Enrolment names the leaf that enrolled its key: manifests are not this package's format.
	Read      bundle.SignedFile
	Enrolment func(signed []byte) (key string, err error)
	Now       func() time.Time
}

// Service runs drills, one at a time.
type Service struct {
	o    Options
	turn chan struct{}
}

// New makes the service.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Service{o, make(chan struct{}, 1)}
}

// Way is one way of tampering and what became of it.
type Way struct {
	Name   string // stable: "row", "tile" …
	Zh, En string // what was done
	Found  bool
	By     string // the finding that names it, "" when it went unseen
	Check  string // which check was asked: "audit", "digest", "verifier"
	Took   time.Duration
}

// Result of a drill. It proves something only if Control is true: all checks passed before anything was changed.
type Result struct {
	Control  bool
	Problem  string // why the untouched copy didn't pass
	Size     int64  // leaves of the copy
	Root     chain.Hash
	Evidence string // id of the item whose object and bundle were tampered with, "" if there is none to take
	Ways     []Way
	Began    time.Time
	Took     time.Duration
}

// AllFound says that the untouched copy passed and each tampering was seen.
func (r Result) AllFound() bool {
	return r.Control && len(r.Ways) > 0 && !slices.ContainsFunc(r.Ways, func(w Way) bool { return !w.Found })
}

// Payload is the result as a leaf tells it.
func (r Result) Payload(actor string) chain.DrillPayload {
	p := chain.DrillPayload{Actor: actor, TookMS: r.Took.Milliseconds()}
	for _, w := range r.Ways {
		p.Tampers = append(p.Tampers, chain.DrillStep{Name: w.Name, Found: w.Found, By: w.By})
	}
	return p
}

// Run makes the copy and tries all ways. step, if given, hears of each as it is through. fault.Conflict while another drill runs,
// fault.Pending before the first checkpoint.
func (s *Service) Run(ctx context.Context, step func(done, of int, w Way)) (Result, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	default:
		return Result{}, fault.Conflict("另一次演练正在进行，请稍候")
	}
	r := Result{Began: s.o.Now()}
	err := s.o.Log.WithCopy(ctx, mostLeaves, func(c *evlog.Copy) error {
		d := &run{s: s, c: c, r: &r, step: step}
		return d.all(ctx)
	})
	r.Took = s.o.Now().Sub(r.Began)
	if err != nil {
		return Result{}, fmt.Errorf("self-proof drill: %w", err)
	}
	return r, nil
}

// run is one drill under way.
type run struct {
	s    *Service
	c    *evlog.Copy
	r    *Result
	step func(done, of int, w Way)
	of   int
}

func (d *run) all(ctx context.Context) error {
	d.r.Size, d.r.Root = d.c.Size, d.c.Root
	clean, err := d.c.Tamper(ctx, func(pgx.Tx) error { return nil })
	if err != nil {
		return err
	}
	if len(clean.Findings) > 0 {
		d.r.Problem = clean.Findings[0].String()
		return nil
	}
	p, err := d.paper(ctx)
	if err != nil {
		return err
	}
	if p != nil {
		if rep, err := p.verify(p.good); err != nil {
			return err
		} else if len(rep.Failures) > 0 {
			d.r.Problem = rep.Failures[0].Where + "：" + rep.Failures[0].Zh
			return nil
		}
		d.r.Evidence = string(p.rec.ID)
	}
	d.r.Control = true
	d.of = len(ways)
	if p != nil {
		d.of += len(papers)
	}
	for _, w := range ways {
		if err := d.audited(ctx, w); err != nil {
			return err
		}
	}
	if p == nil {
		return nil
	}
	for _, w := range papers {
		if err := d.handed(p, w); err != nil {
			return err
		}
	}
	return nil
}

// audited changes the copy of the log and audits it.
func (d *run) audited(ctx context.Context, w way) error {
	began := d.s.o.Now()
	applied := true
	rep, err := d.c.Tamper(ctx, func(tx pgx.Tx) (err error) {
		applied, err = w.change(ctx, tx, d.c)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", w.Name, err)
	}
	if !applied {
		d.of--
		return nil // nothing of that sort is in the log yet
	}
	w.Check = "audit"
	if len(rep.Findings) > 0 {
		w.Found, w.By = true, rep.Findings[0].String()
	}
	d.done(w.Way, began)
	return nil
}

// handed tampers with what a court is handed.
func (d *run) handed(p *paper, w paperWay) error {
	began := d.s.o.Now()
	by, err := w.try(p)
	if err != nil {
		return fmt.Errorf("%s: %w", w.Name, err)
	}
	w.Found, w.By = by != "", by
	d.done(w.Way, began)
	return nil
}

func (d *run) done(w Way, began time.Time) {
	w.Took = d.s.o.Now().Sub(began)
	d.r.Ways = append(d.r.Ways, w)
	if d.step != nil {
		d.step(len(d.r.Ways), d.of, w)
	}
}

// readAll reads an object that is no larger than the drill takes.
func readAll(r io.ReadCloser, size int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, size+1))
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	if err == nil && int64(len(b)) != size {
		err = fmt.Errorf("%d bytes of %d", len(b), size)
	}
	return b, err
}
