package audit

import (
	"context"
	"fmt"
	"time"

	"zhizheng/evidence/audit/internal/db"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// Capacity says for how long the store will do. Nothing is ever deleted to make room: a full store refuses, so it has to be seen coming.
type Capacity struct {
	Known    bool  // whether anybody knows how much is free
	Free     int64 // bytes that footage may still take
	Kept     int64 // bytes of all that is kept
	Intake   int64 // bytes a day, over the last 14 days
	DaysLeft int   // at that rate; -1 when nothing comes or what is free isn't known
	Full     bool
}

const (
	intakeOver    = 14 * 24 * time.Hour
	capacityEvery = 5 * time.Minute
	// sayAgain is how long an alarm about the store's room, answered for, isn't raised again.
	sayAgain = 7 * 24 * time.Hour
)

// Capacity reckons it now.
func (s *Service) Capacity(ctx context.Context) (Capacity, error) {
	now := s.Now()
	in, err := s.Evidence.Intake(ctx, now.Add(-intakeOver))
	if err != nil {
		return Capacity{}, err
	}
	c := Capacity{Kept: in.Kept, DaysLeft: -1}
	days := min(intakeOver, max(24*time.Hour, now.Sub(in.First))).Hours() / 24 // a young county has no fortnight behind it
	c.Intake = int64(float64(in.Since) / days)
	if s.Free != nil {
		if c.Free, c.Known, err = s.Free(in.Kept); err != nil {
			return c, fmt.Errorf("look for free space: %w", err)
		}
	}
	if c.Known {
		c.Free = max(0, c.Free)
		c.Full = c.Free == 0
		if c.Intake > 0 {
			c.DaysLeft = int(c.Free / c.Intake)
		}
	}
	return c, nil
}

// StoreFull reports whether there was no room when it was last looked at.
func (s *Service) StoreFull() bool { return s.full.Load() }

func (s *Service) dueCapacity(ctx context.Context) error {
	if s.Now().Sub(s.sized) < capacityEvery {
		return nil
	}
	if err := s.CheckCapacity(ctx); err != nil {
		return err
	}
	s.sized = s.Now()
	return nil
}

// CheckCapacity raises an alarm for the nearest of 90, 30 and 7 days that has come, and for a store that is full.
func (s *Service) CheckCapacity(ctx context.Context) error {
	c, err := s.Capacity(ctx)
	if err != nil {
		return err
	}
	s.full.Store(c.Full)
	if c.Full {
		return s.RaiseFull(ctx)
	}
	for _, days := range []int{7, 30, 90} {
		if c.DaysLeft >= 0 && c.DaysLeft <= days {
			return s.roomAlarm(ctx, fmt.Sprintf("store/%d", days),
				fmt.Sprintf("影像存储按近 14 天的增长还可用 %d 天（不足 %d 天），请扩容；到期影像之外不会删除任何内容", c.DaysLeft, days))
		}
	}
	return nil
}

// RaiseFull raises the alarm of a store that refused for want of room.
func (s *Service) RaiseFull(ctx context.Context) error {
	return s.roomAlarm(ctx, "store/full", "影像存储已满，拒绝新影像；已有影像不受影响，采集站保留原件并会重试，请立即扩容")
}

func (s *Service) roomAlarm(ctx context.Context, about, text string) error {
	now := s.Now().UTC()
	known, err := s.q.AlarmSince(ctx, db.AlarmSinceParams{Kind: "capacity", About: about, At: now.Add(-sayAgain)})
	if err != nil {
		return pg.Away(fmt.Errorf("look up alarm: %w", err))
	}
	if known {
		return nil
	}
	return s.alarm(ctx, s.q, db.AddAlarmParams{ID: id.New(), At: now, Kind: "capacity", About: about, Text: text})
}
