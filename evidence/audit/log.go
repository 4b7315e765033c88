package audit

import (
	"context"
	"errors"
	"fmt"

	"zhizheng/evidence/audit/internal/db"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// AuditLog reckons the log again from its bytes and keeps the result: a run, a leaf, an alarm if something doesn't hold. Conflict: an
// audit is under way already.
func (s *Service) AuditLog(ctx context.Context, actor string) (evlog.AuditReport, Info, error) {
	run, err := s.Begin(ctx, KindLog, actor)
	if err != nil {
		return evlog.AuditReport{}, Info{}, err
	}
	return s.auditLog(ctx, run)
}

func (s *Service) auditLog(ctx context.Context, run *Run) (evlog.AuditReport, Info, error) {
	report, err := s.Log.Audit(ctx)
	if err != nil {
		ferr := run.Finish(ctx, Result{State: StateFailed, Text: "核验没有完成：" + publicText(err)})
		return report, run.Info, errors.Join(err, ferr)
	}
	count := int64(len(report.Findings)) + report.More
	res := Result{State: StateOK, More: report.More, Text: fmt.Sprintf("%d 条册页，%d 条主题链，%d 个存证点，全部一致", report.Entries, report.Subjects, report.Checkpoints)}
	first := ""
	for i, f := range report.Findings {
		if i == 0 {
			first = f.String()
		}
		res.Findings = append(res.Findings, Finding{Where: f.Where, What: f.What})
	}
	if count > 0 {
		res.State, res.Text = StateFindings, fmt.Sprintf("%d 条册页，%d 处不符，第一处：%s", report.Entries, count, first)
	}
	entry := chain.Entry{Key: "audit/" + run.ID, Kind: chain.KindAudit, Subject: chain.Subject{Type: chain.SubjectPlatform, ID: "audit"}, Time: s.Now(),
		Payload: chain.AuditPayload{Size: report.Entries, Root: report.Root[:], Findings: count, TookMS: report.Took.Milliseconds(), Actor: run.Actor, First: first}}
	err = run.finish(ctx, res, []chain.Entry{entry}, func(ctx context.Context, tx *pg.Tx) error {
		if err := db.New(tx).SetCounts(ctx, db.SetCountsParams{ID: run.ID, Objects: report.Entries}); err != nil {
			return fmt.Errorf("count leaves: %w", err)
		}
		if count == 0 {
			return nil
		}
		return s.alarm(ctx, db.New(tx), db.AddAlarmParams{ID: id.New(), At: s.Now().UTC(), Kind: "log-audit", About: "log", RunID: run.ID, Text: res.Text})
	})
	if err != nil {
		return report, run.Info, err
	}
	i, err := s.Get(ctx, run.ID)
	return report, i, err
}
