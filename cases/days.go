package cases

import (
	"time"

	"github.com/6tail/lunar-go/HolidayUtil"
)

// WorkingDay reports whether the county's offices work that day: public holidays and make-up days as the State Council sets them
// each autumn for the next year, else Monday to Friday.
func WorkingDay(day time.Time) bool {
	if h := HolidayUtil.GetHoliday(day.Format(time.DateOnly)); h != nil {
		return h.IsWork()
	}
	return day.Weekday() != time.Saturday && day.Weekday() != time.Sunday
}

// AfterWorkingDays is the last day of a limit of n working days that begins with an act on day; that day isn't counted (行政处罚法
// art. 85, 民事诉讼法 art. 85).
func AfterWorkingDays(day time.Time, n int) time.Time {
	for n > 0 {
		day = day.AddDate(0, 0, 1)
		if WorkingDay(day) {
			n--
		}
	}
	return day
}

// AfterDays is the last day of a party's limit of n calendar days: one that ends on a holiday ends with the first working day
// after it (民事诉讼法 art. 85).
func AfterDays(day time.Time, n int) time.Time {
	day = day.AddDate(0, 0, n)
	for !WorkingDay(day) {
		day = day.AddDate(0, 0, 1)
	}
	return day
}

// DaysLeft counts the calendar days from today to due; negative when late.
func DaysLeft(today, due time.Time) int {
	return int(due.Sub(today) / (24 * time.Hour))
}
