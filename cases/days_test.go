package cases

import (
	"testing"
	"time"
)

// The State Council's arrangement for 2026: spring festival 15–23 February, make-up days 14 and 28 February.
func TestWorkingDaysFollowTheHolidayArrangement(t *testing.T) {
	for d, want := range map[string]bool{"2026-02-13": true, "2026-02-14": true, "2026-02-16": false, "2026-02-24": true, "2026-02-28": true, "2026-03-01": false} {
		if got := WorkingDay(date(d)); got != want {
			t.Errorf("working day %s: %v", d, got)
		}
	}
	for _, c := range []struct {
		from string
		n    int
		want string
	}{
		{"2026-03-02", 5, "2026-03-09"},
		{"2026-02-12", 5, "2026-02-26"}, // 13, 14 (make-up), then from 24 on
		{"2026-03-06", 1, "2026-03-09"},
		{"2026-03-02", 0, "2026-03-02"},
	} {
		if got := AfterWorkingDays(date(c.from), c.n).Format(time.DateOnly); got != c.want {
			t.Errorf("%d working days after %s: %s, want %s", c.n, c.from, got, c.want)
		}
	}
	if got := AfterDays(date("2026-02-05"), 15).Format(time.DateOnly); got != "2026-02-24" { // the 20th is a holiday
		t.Errorf("15 days after 5 February: %s", got)
	}
	if got := DaysLeft(date("2026-03-10"), date("2026-03-08")); got != -2 {
		t.Errorf("two days late: %d", got)
	}
}
