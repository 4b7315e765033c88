package ingest_test

import (
	"path/filepath"
	"testing"
	"time"

	"zhizheng/ingest"
)

// What a station may send at once follows from what all of them said last, whichever server they said it to; a station that has nothing to send,
// or was not heard for a while, takes nothing from the others.
func TestSharesFollowWhatStationsSay(t *testing.T) {
	c := newCounty(t)
	other := c.server()
	now := time.Now()
	for _, s := range []*ingest.Service{c.Service, other} {
		s.UploadParts, s.Now = 7, func() time.Time { return now }
	}
	for id, township := range map[string]string{"ST-02": "510821100", "ST-03": "510821101"} {
		must(t, c.WriteIdentity(t.Context(), filepath.Join(t.TempDir(), id), "http://127.0.0.1:1", id, township, "示例", "test"))
	}
	says := func(s *ingest.Service, id, township string, l ingest.Live, want int) {
		t.Helper()
		l.Slots = []ingest.LiveSlot{}
		n, err := s.ReportLive(t.Context(), ingest.Station{ID: id, Township: township}, l)
		must(t, err)
		if n != want {
			t.Errorf("%s may send %d at once, want %d", id, n, want)
		}
	}
	full := ingest.Live{QueueFiles: 9, Parallel: 4}
	says(c.Service, "ST-01", "510821100", full, 4) // alone
	says(other, "ST-02", "510821100", full, 3)     // two of one township: 4 and 3
	says(c.Service, "ST-03", "510821101", full, 3) // 3 for the other township, 2 each for the two of this one
	now = now.Add(2 * time.Second)
	says(c.Service, "ST-01", "510821100", full, 2)
	says(other, "ST-02", "510821100", full, 2)
	urgent := full
	urgent.Urgent = true
	now = now.Add(2 * time.Second)
	says(other, "ST-02", "510821100", urgent, 4)
	says(c.Service, "ST-03", "510821101", full, 2)
	now = now.Add(2 * time.Second)
	says(c.Service, "ST-01", "510821100", ingest.Live{Parallel: 4}, 4) // it has nothing to send
	says(c.Service, "ST-03", "510821101", full, 3)
	now = now.Add(31 * time.Second) // nobody heard ST-02 again
	says(c.Service, "ST-03", "510821101", full, 4)
	says(c.Service, "ST-01", "510821100", ingest.Live{QueueFiles: 1}, 4) // an older agent, which says no number
}
