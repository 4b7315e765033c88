package devices

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"zhizheng/devices/internal/db"
)

const (
	daysAhead   = 3                   // made before they begin: a server may be off over a weekend
	rememberFor = 90 * 24 * time.Hour // after a boot's last message; beyond it a repetition would be stored again
	maxScatter  = 64 << 10            // bytes of a boot's ranges, some 2,700 gaps
)

type boot struct {
	device string
	epoch  int64
}

// unseen records the numbers of sorted letters and gives those that had not come before, each once. The numbers of a boot whose gaps are
// beyond measure are not followed any more: its next messages go to the dead letters, where nothing is lost.
func (s *Service) unseen(ctx context.Context, q *db.Queries, sorted []*letter, now time.Time) ([]*letter, error) {
	p := db.SeeParams{Day: now}
	var ranges strings.Builder
	for i := 0; i < len(sorted); {
		m := sorted[i].msg
		ranges.Reset()
		ranges.WriteByte('{')
		for i < len(sorted) && sorted[i].msg.Device == m.Device && sorted[i].msg.Epoch == m.Epoch {
			low := sorted[i].msg.Seq
			high := low
			for i++; i < len(sorted) && sorted[i].msg.Device == m.Device && sorted[i].msg.Epoch == m.Epoch && sorted[i].msg.Seq <= high+1; i++ {
				high = sorted[i].msg.Seq
			}
			if ranges.Len() > 1 {
				ranges.WriteByte(',')
			}
			fmt.Fprintf(&ranges, "[%d,%d]", low, high)
		}
		ranges.WriteByte('}')
		p.Devices, p.Epochs, p.Seqs = append(p.Devices, m.Device), append(p.Epochs, m.Epoch), append(p.Seqs, ranges.String())
	}
	rows, err := q.See(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("record numbers: %w", err)
	}
	fresh := make(map[boot][]span, len(rows))
	for _, r := range rows {
		b := boot{r.DeviceID, r.Epoch}
		if fresh[b], err = spans(r.Fresh); err != nil {
			return nil, err
		}
		if r.Size > maxScatter {
			s.scattered.Store(b, true)
		}
	}
	news := make([]*letter, 0, len(sorted))
	for i, l := range sorted {
		m := l.msg
		if i > 0 && sorted[i-1].msg.Device == m.Device && sorted[i-1].msg.Epoch == m.Epoch && sorted[i-1].msg.Seq == m.Seq {
			continue // twice in one batch
		}
		for _, x := range fresh[boot{m.Device, m.Epoch}] {
			if x.low <= m.Seq && m.Seq < x.end {
				news = append(news, l)
				break
			}
		}
	}
	return news, nil
}

// span is the numbers from low to before end.
type span struct{ low, end int64 }

// spans reads PostgreSQL's text of an int8multirange: {[1,4),[7,8)}.
func spans(text string) (all []span, err error) {
	text = strings.TrimSuffix(strings.TrimPrefix(text, "{"), "}")
	for part := range strings.SplitSeq(text, "),") {
		low, end, ok := strings.Cut(strings.Trim(part, "[)"), ",")
		var x span
		if x.low, err = strconv.ParseInt(low, 10, 64); err == nil {
			x.end, err = strconv.ParseInt(end, 10, 64)
		}
		if err != nil || !ok {
			return nil, fmt.Errorf("read the ranges %q", text)
		}
		all = append(all, x)
	}
	return all, nil
}

// runDays makes days of messages before they begin and drops those that are older than the setting.
func (s *Service) runDays(ctx context.Context) {
	t := time.NewTicker(10 * time.Minute)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.tryKeepDays(ctx)
		}
	}
}

func (s *Service) tryKeepDays(ctx context.Context) {
	if err := s.KeepDays(ctx); err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "days of messages not made or dropped, next try in ten minutes", "err", err)
	}
}

// KeepDays does it now. Where it can't, messages go to the table for all other days, and are moved later.
func (s *Service) KeepDays(ctx context.Context) error {
	now := s.now().UTC()
	if _, err := s.q.MakeDays(ctx, db.MakeDaysParams{Now: now, Ahead: daysAhead}); err != nil {
		return fmt.Errorf("make days: %w", err)
	}
	dropped, err := s.q.DropDays(ctx, now.Add(-s.keep))
	if err != nil {
		return fmt.Errorf("drop days: %w", err)
	}
	if dropped > 0 {
		s.log.InfoContext(ctx, "days of messages dropped", "days", dropped)
	}
	if err := s.q.ForgetSeen(ctx, now.Add(-rememberFor)); err != nil {
		return fmt.Errorf("forget old boots: %w", err)
	}
	if err := s.q.ForgetLetterDays(ctx, now.Add(-rememberFor)); err != nil {
		return fmt.Errorf("forget old counts of dead letters: %w", err)
	}
	return nil
}
