package audit

import (
	"context"
	"fmt"
	"strings"
	"time"

	"zhizheng/evidence/audit/internal/db"
	"zhizheng/evidence/chain"
	"zhizheng/internal/blob"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// logEvery is how often a leaf tells of a canary to which the same happened as before.
const logEvery = 24 * time.Hour

// Outcomes of a try, as kept in the table. The names of the steps that failed follow.
const (
	outcomeHeld   = "held"
	outcomeBroken = "broken"
	outcomeAway   = "away" // it couldn't be asked, or not everything
)

func (s *Service) dueCanaries(ctx context.Context) error {
	if s.CanaryEvery <= 0 || len(s.Stores) == 0 {
		return nil
	}
	ok, err := s.due(ctx, KindCanary, s.Now().Add(-s.CanaryEvery))
	if err != nil || !ok {
		return err
	}
	_, err = s.TryCanaries(ctx, System)
	return err
}

// TryCanaries tries the locks of every store now.
func (s *Service) TryCanaries(ctx context.Context, actor string) (Info, error) {
	run, err := s.Begin(ctx, KindCanary, actor)
	if err != nil {
		return Info{}, err
	}
	if err := s.tryCanaries(ctx, run); err != nil {
		return run.Info, err
	}
	return s.Get(ctx, run.ID)
}

// tried is what became of one store's canary.
type tried struct {
	store Store
	row   db.PutCanaryParams
	log   bool // a leaf tells it
	steps []blob.ProbeStep
}

// tryCanaries works a run. Crash after a canary was planted and before its row is written: the next run plants another, and the orphan
// is removed by the store's probe once its lock has ended.
func (s *Service) tryCanaries(ctx context.Context, run *Run) error {
	res := Result{State: StateOK}
	var all []tried
	var entries []chain.Entry
	var said []string
	for _, store := range s.Stores {
		t, err := s.tryCanary(ctx, store)
		if err != nil {
			ferr := run.Finish(ctx, Result{State: StateFailed, Text: publicText(err)})
			return fmt.Errorf("canary of %s: %w", store.Name, joinErr(err, ferr))
		}
		all = append(all, t)
		said = append(said, s.judge(&res, t))
		if t.log {
			entries = append(entries, s.canaryEntry(run.ID, t))
		}
	}
	res.Text = strings.Join(said, "；")
	err := run.finish(ctx, res, entries, func(ctx context.Context, tx *pg.Tx) error {
		q := db.New(tx)
		for _, t := range all {
			if err := q.PutCanary(ctx, t.row); err != nil {
				return fmt.Errorf("keep canary: %w", err)
			}
			if t.log && strings.HasPrefix(t.row.Outcome, outcomeBroken) {
				err := s.alarm(ctx, q, db.AddAlarmParams{ID: id.New(), At: s.Now().UTC(), Kind: "canary", About: t.store.Name, RunID: run.ID,
					Text: fmt.Sprintf("存储“%s”没有守住对象锁：%s", t.store.Name, strings.Join(failing(t.steps), "、"))})
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return s.refreshTrust(ctx)
}

func joinErr(err, other error) error {
	if other == nil {
		return err
	}
	return fmt.Errorf("%w (and %w)", err, other)
}

func (s *Service) tryCanary(ctx context.Context, store Store) (tried, error) {
	t := tried{store: store}
	var canary blob.Canary
	last, err := s.q.Canary(ctx, store.Name)
	if err != nil && !noRows(err) {
		return t, pg.Away(fmt.Errorf("read canary: %w", err))
	}
	if err == nil {
		canary = blob.Canary{Key: last.ObjectKey, Version: last.VersionID, SHA256: [32]byte(last.Sha256), Until: last.LockUntil}
	}
	outcome := outcomeAway
	r, err := blob.TryCanary(ctx, store.Options, canary)
	switch {
	case ctx.Err() != nil:
		return t, ctx.Err()
	case err != nil: // nothing was tried: the canary is where it was
		r.Canary = canary
		r.Steps = []blob.ProbeStep{{Name: "canary-asked", Text: "存储接受试探", OK: false, Got: err.Error()}}
	case !r.Held:
		outcome = outcomeBroken + ":" + strings.Join(names(r.Steps), ",")
	case r.Asked:
		outcome = outcomeHeld
	}
	now := s.Now().UTC()
	t.steps = r.Steps
	t.log = outcome != last.Outcome || last.LoggedAt == nil || now.Sub(*last.LoggedAt) >= logEvery
	t.row = db.PutCanaryParams{Store: store.Name, ObjectKey: r.Canary.Key, VersionID: r.Canary.Version, Sha256: r.Canary.SHA256[:],
		LockUntil: r.Canary.Until, Outcome: outcome, LoggedAt: last.LoggedAt}
	if t.log && s.Log.Halted() == "" {
		t.row.LoggedAt = &now
	}
	return t, nil
}

// judge adds a store's try to the run's result and gives a sentence on it.
func (s *Service) judge(res *Result, t tried) string {
	prefix := ""
	if len(s.Stores) > 1 {
		prefix = t.store.Name + "："
	}
	for _, st := range t.steps {
		res.Steps = append(res.Steps, Step{Name: st.Name, Text: prefix + st.Text, OK: st.OK, Got: st.Got})
	}
	switch {
	case strings.HasPrefix(t.row.Outcome, outcomeBroken):
		res.State = StateFindings
		for _, f := range failing(t.steps) {
			res.Findings = append(res.Findings, Finding{Where: t.store.Name, What: "没有做到：" + f})
		}
		return fmt.Sprintf("存储“%s”没有守住对象锁", t.store.Name)
	case t.row.Outcome == outcomeAway:
		if res.State == StateOK {
			res.State = StateFailed
		}
		return fmt.Sprintf("存储“%s”没有全部应答，试探没有结论", t.store.Name)
	}
	return fmt.Sprintf("存储“%s”守住了对象锁（%d 项试探）", t.store.Name, len(t.steps))
}

func (s *Service) canaryEntry(runID string, t tried) chain.Entry {
	p := chain.CanaryPayload{Store: t.store.Name, ObjectKey: t.row.ObjectKey, VersionID: t.row.VersionID, Held: t.row.Outcome == outcomeHeld}
	for _, st := range t.steps {
		p.Steps = append(p.Steps, chain.CanaryStep{Name: st.Name, OK: st.OK, Got: st.Got})
	}
	return chain.Entry{Key: "canary/" + runID + "/" + t.store.Name, Kind: chain.KindCanary, Subject: chain.Subject{Type: chain.SubjectPlatform, ID: "store"},
		Time: s.Now(), Payload: p}
}

func failing(steps []blob.ProbeStep) (texts []string) {
	for _, st := range steps {
		if !st.OK {
			texts = append(texts, st.Text)
		}
	}
	return texts
}

func names(steps []blob.ProbeStep) (out []string) {
	for _, st := range steps {
		if !st.OK {
			out = append(out, st.Name)
		}
	}
	return out
}

// refreshTrust asks which stores broke a lock: their last try, or one that nobody has answered for.
func (s *Service) refreshTrust(ctx context.Context) error {
	stores, err := s.q.BrokenStores(ctx)
	if err != nil {
		return pg.Away(fmt.Errorf("read state of the stores: %w", err))
	}
	s.broken.Store(len(stores) > 0)
	return nil
}

// LockBroken reports that a store let something happen to a locked object, and is not to be trusted until somebody has answered for
// the alarm and the next try holds.
func (s *Service) LockBroken() bool { return s.broken.Load() }
