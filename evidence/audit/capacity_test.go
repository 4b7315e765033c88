package audit_test

import (
	"strings"
	"testing"
	"time"

	"zhizheng/evidence/audit"
	"zhizheng/internal/testcounty"
)

// The store fills: each of 90, 30 and 7 days ahead and its end are told once, and again a week after somebody answered for it.
func TestRoomThatRunsOut(t *testing.T) {
	c := testcounty.New(t)
	c.Seals("a.mp4", testcounty.Bytes(1, 1000)) // 1000 bytes on the county's first day
	var free int64
	s, k := service(c, func(o *audit.Options) { o.Free = func(int64) (int64, bool, error) { return free, true, nil } })
	open := func() (about []string) {
		t.Helper()
		must(t, s.CheckCapacity(t.Context()))
		for _, a := range alarms(t, s) {
			if a.Kind != "capacity" {
				t.Errorf("alarm %+v", a)
			}
			about = append([]string{a.Text}, about...)
		}
		return about
	}
	for _, x := range []struct {
		free int64
		n    int
		last string
	}{{95_000, 0, ""}, {91_000, 0, ""}, {90_999, 1, "90 天"}, {60_000, 1, "90 天"}, {30_000, 2, "30 天"}, {7_500, 3, "7 天"}, {500, 3, "7 天"}, {0, 4, "已满"}, {-5, 4, "已满"}} {
		free = x.free
		got := open()
		if len(got) != x.n || x.n > 0 && !strings.Contains(got[x.n-1], x.last) {
			t.Errorf("%d bytes free: %v", x.free, got)
		}
		if s.StoreFull() != (x.free <= 0) {
			t.Errorf("%d bytes free: full %v", x.free, s.StoreFull())
		}
	}
	v, err := s.Capacity(t.Context())
	must(t, err)
	if v.Kept != 1000 || v.Intake != 1000 || v.Free != 0 || v.DaysLeft != 0 || !v.Full {
		t.Errorf("%+v", v)
	}
	for _, a := range alarms(t, s) {
		_, err := s.Acknowledge(t.Context(), nil, a.ID, "u1", "已采购")
		must(t, err)
	}
	if got := open(); len(got) != 0 {
		t.Errorf("said again at once: %v", got)
	}
	must(t, k.sleep(t.Context(), 8*24*time.Hour))
	if got := open(); len(got) != 1 {
		t.Errorf("a week later: %v", got)
	}
	must(t, k.sleep(t.Context(), 10*24*time.Hour)) // nothing came for a fortnight
	free = 10
	if v, err := s.Capacity(t.Context()); err != nil || v.DaysLeft != -1 || v.Full {
		t.Errorf("%+v %v", v, err)
	}
}
