package audit

import (
	"context"
	"errors"
	"fmt"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/drill"
	"zhizheng/internal/pg"
)

// RunDrill tampers with a copy and keeps what came of it: a run, a leaf, an alarm if anything went unseen. Conflict: a drill is under
// way already.
func (s *Service) RunDrill(ctx context.Context, actor string) (drill.Result, Info, error) {
	run, err := s.Begin(ctx, KindDrill, actor)
	if err != nil {
		return drill.Result{}, Info{}, err
	}
	return s.runDrill(ctx, run)
}

func (s *Service) runDrill(ctx context.Context, run *Run) (drill.Result, Info, error) {
	r, err := s.Drill.Run(ctx, func(done, of int, w drill.Way) {
		if err := run.Progress(ctx, Progress{TotalObjects: int64(of), DoneObjects: int64(done), Text: w.Zh}); err != nil {
			s.Logger.WarnContext(ctx, "progress of a drill not written", "run", run.ID, "err", err)
		}
	})
	if err != nil {
		ferr := run.Finish(ctx, Result{State: StateFailed, Text: "演练没有完成：" + publicText(err)})
		return r, run.Info, errors.Join(err, ferr)
	}
	res := Result{State: StateOK}
	found := 0
	for _, w := range r.Ways {
		if w.Found {
			found++
		} else {
			res.Findings = append(res.Findings, Finding{Where: w.Name, What: w.Zh + "：没有被发现"})
		}
		res.Steps = append(res.Steps, Step{Name: w.Name, Text: w.Zh, OK: w.Found, Got: w.By})
	}
	res.Text = fmt.Sprintf("在 %d 页的副本上篡改 %d 种，识破 %d 种", r.Size, len(r.Ways), found)
	if !r.Control {
		res.Findings = append(res.Findings, Finding{Where: "副本", What: r.Problem})
		res.Text = "副本未经改动就不成立，演练不作数：" + r.Problem
	}
	if len(res.Findings) > 0 {
		res.State = StateFindings
	}
	entry := chain.Entry{Key: "drill/" + run.ID, Kind: chain.KindDrill, Subject: chain.Subject{Type: chain.SubjectPlatform, ID: "audit"}, Time: s.Now(), Payload: r.Payload(run.Actor)}
	err = run.finish(ctx, res, []chain.Entry{entry}, func(ctx context.Context, tx *pg.Tx) error {
		if res.State == StateOK {
			return nil
		}
		return s.Raise(ctx, tx, KindDrill, "log", run.ID, res.Text)
	})
	if err != nil {
		return r, run.Info, err
	}
	i, err := s.Get(ctx, run.ID)
	return r, i, err
}
