package ingest

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/riverqueue/river"

	"zhizheng/evidence"
	"zhizheng/ingest/internal/db"
	"zhizheng/internal/fault"
)

// Collected counts what CollectOrphans did.
type Collected struct {
	Aborted int // uploads that nothing came for any more
	Sealed  int // objects that were whole and only had not been sealed
	Removed int // objects that no manifest names
}

// CollectOrphans tidies what was begun and never ended, once its short lock is over: an upload nothing came for is given up (a station that
// comes again begins anew), a complete object whose sealing was cut off is sealed, and one that differs from its manifest, which
// can never be sealed, is removed. What has no record here is left alone: it may be known to a database that was not restored yet, as is
// everything while the log stands still.
func (s *Service) CollectOrphans(ctx context.Context) (c Collected, err error) {
	if s.Log.Halted() != "" {
		return c, nil
	}
	err = errors.Join(s.abortStale(ctx, &c), s.endStale(ctx, &c))
	if c != (Collected{}) {
		s.Logger.WarnContext(ctx, "orphans collected", "aborted", c.Aborted, "sealed", c.Sealed, "removed", c.Removed)
	}
	return c, err
}

func (s *Service) abortStale(ctx context.Context, c *Collected) error {
	open, err := s.Store.OpenUploads(ctx, "evidence/")
	if err != nil {
		return err
	}
	var failed error
	for _, u := range open {
		eid := evidence.ID(path.Base(u.Key))
		if s.Now().Sub(u.Begun) < s.OpenLock {
			continue
		}
		if _, err := s.Evidence.Get(ctx, evidence.Scope{}, eid); fault.Is(err, fault.KindNotFound) {
			continue
		} else if err != nil {
			return err
		}
		// Crash after the abort: the row names an upload that is gone, which the next request for it finds out.
		err := s.exclusively(ctx, eid, func() error {
			parts, err := s.Store.ListParts(ctx, u.Key, u.ID)
			if fault.Is(err, fault.KindNotFound) {
				return nil
			}
			if err != nil {
				return err
			}
			for _, p := range parts { // a slow link is no orphan
				if s.Now().Sub(p.At) < s.OpenLock {
					return nil
				}
			}
			if err := s.Store.Abort(ctx, u.Key, u.ID); err != nil {
				return err
			}
			c.Aborted++
			s.Logger.WarnContext(ctx, "upload given up: nothing came for it", "evidence", eid, "parts", len(parts), "begun", u.Begun)
			return nil
		})
		if err != nil && !fault.Is(err, fault.KindUnavailable) { // being completed elsewhere
			failed = errors.Join(failed, fmt.Errorf("give up upload of %s: %w", eid, err))
		}
	}
	return failed
}

func (s *Service) endStale(ctx context.Context, c *Collected) error {
	const page = 200
	q := db.New(s.Pool)
	var failed error
	for after := ""; ; {
		rows, err := q.StaleUploads(ctx, db.StaleUploadsParams{Before: s.Now().Add(-s.OpenLock), After: after, MaxRows: page})
		if err != nil {
			return errors.Join(failed, fmt.Errorf("list stale uploads: %w", err))
		}
		for _, row := range rows {
			after = row.ID
			if err := s.endOne(ctx, row, c); err != nil && !fault.Is(err, fault.KindUnavailable) {
				failed = errors.Join(failed, fmt.Errorf("end upload of %s: %w", row.EvidenceID, err))
			}
			if ctx.Err() != nil {
				return errors.Join(failed, ctx.Err())
			}
		}
		if len(rows) < page {
			return failed
		}
	}
}

// endOne settles an object that is there without being sealed. Crash after the removal: the next run finds nothing there.
func (s *Service) endOne(ctx context.Context, row db.Upload, c *Collected) error {
	eid := evidence.ID(row.EvidenceID)
	defer s.locks.lock(string(eid))()
	return s.exclusively(ctx, eid, func() error {
		row, rec, err := s.upload(ctx, row.ID)
		if err != nil || rec.Status != evidence.StatusPending {
			return err
		}
		obj, err := s.Store.Head(ctx, rec.ObjectKey)
		if fault.Is(err, fault.KindNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		switch err := s.seal(ctx, row, rec); {
		case err == nil:
			c.Sealed++
			return nil
		case !errors.Is(err, errMismatch):
			return err
		}
		if obj.Version == "" || obj.Hold || obj.RetainUntil.After(s.Now()) {
			return nil
		}
		if err := s.Store.Delete(ctx, rec.ObjectKey, obj.Version); err != nil {
			return err
		}
		c.Removed++
		s.Logger.WarnContext(ctx, "object removed: other bytes than its manifest names, never sealed", "evidence", eid, "bytes", obj.Size)
		return nil
	})
}

// Orphans is the job that collects them.
type Orphans struct{}

// Kind names the job in River's tables.
func (Orphans) Kind() string { return "collect-orphans" }

// OrphanWorker works Orphans off.
type OrphanWorker struct {
	river.WorkerDefaults[Orphans]
	Service func() *Service // asked when there is work: the service is made after the workers
}

// Work collects what is due.
func (w *OrphanWorker) Work(ctx context.Context, _ *river.Job[Orphans]) error {
	_, err := w.Service().CollectOrphans(ctx)
	return err
}

// Timeout: a store that can't attest is read again to seal.
func (w *OrphanWorker) Timeout(*river.Job[Orphans]) time.Duration { return time.Hour }

// PeriodicOrphans asks every hour.
func PeriodicOrphans() *river.PeriodicJob {
	return river.NewPeriodicJob(river.PeriodicInterval(time.Hour),
		func() (river.JobArgs, *river.InsertOpts) { return Orphans{}, nil }, &river.PeriodicJobOpts{RunOnStart: true})
}
