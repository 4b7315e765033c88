package ingest

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"zhizheng/ingest/internal/db"
)

// Each station is told with every report how many parts it may have on their way at once, so that a county that docks in one hour doesn't ask more
// of the store than it can write side by side, no township waits behind another's many stations, and urgent footage goes first.
// A share is computed from what all stations last said; nothing is leased, so nothing has to be given back after a crash.
// Why not a lease an upload: docs/decisions/upload-shares.md.

// defaultParts is how many parts all stations together may have on their way.
const defaultParts = 64

// ordinaryParts is what a station sends at once that doesn't say how many it could.
const ordinaryParts = 4

// sending is a station that has something to send.
type sending struct {
	Station, Township string
	Want              int // parts it could send at once
	Urgent            bool
}

// shares divides a number of parts. Each station has one at least, limit or not: a line that stands still helps nobody. What is left goes to
// those with urgent footage, then by townships evenly, then by stations.
func shares(limit int, all []sending) map[string]int {
	out, township := map[string]int{}, map[string]int{}
	for _, s := range all {
		out[s.Station]++
		township[s.Township]++
	}
	for left := limit - len(all); left > 0; left-- {
		next := -1
		for i, s := range all {
			if out[s.Station] < s.Want && (next < 0 || before(s, all[next], out, township)) {
				next = i
			}
		}
		if next < 0 {
			break
		}
		out[all[next].Station]++
		township[all[next].Township]++
	}
	return out
}

func before(a, b sending, station, township map[string]int) bool {
	if a.Urgent != b.Urgent {
		return a.Urgent
	}
	return cmp.Or(township[a.Township]-township[b.Township], station[a.Station]-station[b.Station], cmp.Compare(a.Station, b.Station)) < 0
}

// shareTable is what was computed last; all stations ask about once a second.
type shareTable struct {
	mu sync.Mutex
	at time.Time
	of map[string]int
}

// share is how many parts a station may have on their way now; want if it has nothing to send.
func (s *Service) share(ctx context.Context, station string, l Live) (int, error) {
	want := cmp.Or(l.Parallel, ordinaryParts)
	if l.QueueFiles == 0 {
		return want, nil
	}
	s.shares.mu.Lock()
	defer s.shares.mu.Unlock()
	now := s.Now()
	n, known := s.shares.of[station]
	if known && now.Sub(s.shares.at) < time.Second {
		return n, nil
	}
	rows, err := db.New(s.Pool).SendingStations(ctx, now.Add(-online).UTC())
	if err != nil {
		return 0, fmt.Errorf("see who sends: %w", err)
	}
	all := make([]sending, len(rows))
	for i, r := range rows {
		all[i] = sending{Station: r.Station, Township: r.Township, Want: cmp.Or(int(r.Parallel), ordinaryParts), Urgent: r.Urgent}
	}
	s.shares.at, s.shares.of = now, shares(cmp.Or(s.UploadParts, defaultParts), all)
	return max(s.shares.of[station], 1), nil
}
