package audit

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"zhizheng/evidence"
	"zhizheng/evidence/audit/internal/db"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// Alarm is something that somebody has to look at. It stays for good; that it was looked at is noted on it.
type Alarm struct {
	ID                string
	At                time.Time
	Kind              string // damaged, missing, unreadable, canary, log-audit, drill, capacity
	RunID             string // "" when found by the first reading after sealing
	EvidenceID        string
	Township          string
	CaseIDs           []string
	Text              string
	AcknowledgedAt    *time.Time
	AcknowledgedBy    string
	AcknowledgeReason string
}

// alarm raises one, unless the same is open already.
func (s *Service) alarm(ctx context.Context, q *db.Queries, p db.AddAlarmParams) error {
	if p.CaseIds == nil {
		p.CaseIds = []string{}
	}
	n, err := q.AddAlarm(ctx, p)
	if err != nil {
		return fmt.Errorf("raise alarm: %w", err)
	}
	if n > 0 {
		s.Logger.ErrorContext(ctx, "audit alarm", "kind", p.Kind, "about", p.About, "text", p.Text)
	}
	return nil
}

// Raise raises an alarm in the caller's transaction for a kind of run that another package works: about says what it concerns.
func (s *Service) Raise(ctx context.Context, tx *pg.Tx, kind, about, runID, text string) error {
	return s.alarm(ctx, db.New(tx), db.AddAlarmParams{ID: id.New(), At: s.Now().UTC(), Kind: kind, About: about, RunID: runID, Text: text})
}

// HoldMissing raises an alarm about an item that can't be locked because the store doesn't have its object, unless one is open that says
// it is missing.
func (s *Service) HoldMissing(ctx context.Context, eid evidence.ID) error {
	rec, err := s.Evidence.Get(ctx, evidence.Scope{}, eid)
	if err != nil {
		return err
	}
	cases, err := s.CasesOf(ctx, string(eid))
	if err != nil {
		return fmt.Errorf("cases of %s: %w", eid, err)
	}
	return s.alarm(ctx, s.q, db.AddAlarmParams{ID: id.New(), At: s.Now().UTC(), Kind: "missing", About: string(eid), EvidenceID: string(eid), Township: rec.Township,
		CaseIds: cases, Text: "存储里没有这份影像的对象，保全锁无法设置或解除"})
}

// Alarms lists them, newest first: those of the townships (nil: all) and those about no township.
func (s *Service) Alarms(ctx context.Context, townships []string, openOnly bool, cursor string, limit int) (alarms []Alarm, next string, err error) {
	if cursor != "" && !id.Valid(cursor) {
		return nil, "", fault.Invalid("cursor 无效，请从第一页重新开始")
	}
	rows, err := s.q.ListAlarms(ctx, db.ListAlarmsParams{Townships: townships, Before: opt(cursor), OpenOnly: openOnly, MaxRows: int32(limit + 1)})
	if err != nil {
		return nil, "", pg.Away(fmt.Errorf("list alarms: %w", err))
	}
	for i, r := range rows {
		if i == limit {
			next = alarms[limit-1].ID
			break
		}
		alarms = append(alarms, alarmOf(r))
	}
	return alarms, next, nil
}

// OpenAlarms counts those that nobody has answered for.
func (s *Service) OpenAlarms(ctx context.Context, townships []string) (int64, error) {
	n, err := s.q.OpenAlarms(ctx, townships)
	if err != nil {
		return 0, pg.Away(fmt.Errorf("count alarms: %w", err))
	}
	return n, nil
}

// Acknowledge notes who looked at an alarm of the townships (nil: all) and what he says about it. The damage stays until it is mended;
// the next run that still finds it raises a new alarm.
func (s *Service) Acknowledge(ctx context.Context, townships []string, alarmID, actor, reason string) (Alarm, error) {
	row, err := s.q.GetAlarm(ctx, alarmID)
	if noRows(err) || err == nil && townships != nil && row.Township != "" && !slices.Contains(townships, row.Township) {
		return Alarm{}, fault.NotFound("没有这条告警")
	}
	if err != nil {
		return Alarm{}, pg.Away(fmt.Errorf("read alarm: %w", err))
	}
	n, err := s.q.Acknowledge(ctx, db.AcknowledgeParams{ID: alarmID, AcknowledgedAt: ptr(s.Now().UTC()), AcknowledgedBy: &actor, AcknowledgeReason: &reason})
	if err != nil {
		return Alarm{}, pg.Away(fmt.Errorf("acknowledge alarm: %w", err))
	}
	if n == 0 {
		return Alarm{}, fault.Conflict("这条告警已有人处理")
	}
	if row, err = s.q.GetAlarm(ctx, alarmID); err != nil {
		return Alarm{}, pg.Away(fmt.Errorf("read alarm: %w", err))
	}
	return alarmOf(row), s.refreshTrust(ctx)
}

func alarmOf(r db.AuditAlarm) Alarm {
	a := Alarm{ID: r.ID, At: r.At, Kind: r.Kind, RunID: r.RunID, EvidenceID: r.EvidenceID, Township: r.Township, CaseIDs: r.CaseIds, Text: r.Text,
		AcknowledgedAt: r.AcknowledgedAt}
	if r.AcknowledgedBy != nil {
		a.AcknowledgedBy = *r.AcknowledgedBy
	}
	if r.AcknowledgeReason != nil {
		a.AcknowledgeReason = *r.AcknowledgeReason
	}
	return a
}

// publicText is what a run's row may say of an error: a fault's own words; the rest is for the server's log.
func publicText(err error) string {
	var f *fault.Error
	if errors.As(err, &f) {
		return f.Detail
	}
	return "内部错误，详见服务器日志"
}
