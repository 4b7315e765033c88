package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"zhizheng/evidence"
	"zhizheng/ingest/internal/db"
	"zhizheng/ingest/manifest"
)

// InferredGap is a run of numbers that a recorder's file names skip. It proves nothing.
type InferredGap struct {
	manifest.Inferred
	Before, After evidence.Name
	Reasons       []GapReason // what officers said of any of these numbers, the oldest first
}

// GapReason is what an officer said at a station about numbers that are missing.
type GapReason struct {
	Series           string
	First, Last      uint64
	Reason           string
	Officer, Station string
	At               time.Time // by the station's clock
	LogKey           string    // idempotency key of its leaf
}

// gapReasons are those of a recorder, or of a station's cards that name none.
func (s *Service) gapReasons(ctx context.Context, recorder, station string) ([]GapReason, error) {
	rows, err := db.New(s.Pool).GapReasons(ctx, db.GapReasonsParams{Recorder: recorder, Station: station})
	if err != nil {
		return nil, fmt.Errorf("read reasons of gaps: %w", err)
	}
	out := make([]GapReason, len(rows))
	for i, r := range rows {
		var d EventData
		if err := json.Unmarshal(r.Data, &d); err != nil {
			return nil, fmt.Errorf("read event %s: %w", r.ID, err)
		}
		out[i] = GapReason{Series: d.Series, First: d.First, Last: d.Last, Reason: d.Reason, Officer: r.OfficerID, Station: r.Station, At: r.At, LogKey: val(r.LogKey)}
	}
	return out, nil
}

// about says whether the reason speaks of the gap. A station sees one card, the platform all files of the recorder: their gaps overlap rather
// than agree. Stations cut a long series, ending it in "…".
func (r GapReason) about(g manifest.Inferred) bool {
	head, cut := strings.CutSuffix(r.Series, "…")
	return r.First <= g.Last && g.First <= r.Last && (r.Series == g.Series || cut && strings.HasPrefix(g.Series, head))
}

// inferredGaps looks at the names of a recorder's files, or of a station's files that name no recorder.
func (s *Service) inferredGaps(ctx context.Context, sc evidence.Scope, recorder, station string) ([]InferredGap, error) {
	names, err := s.Evidence.FileNames(ctx, sc, recorder, station, "", maxNames)
	if err != nil {
		return nil, err
	}
	var out []InferredGap
	for _, g := range manifest.InferGaps(s.Series, fileNames(names)) {
		out = append(out, InferredGap{Inferred: g, Before: names[g.Before], After: names[g.After]})
	}
	if len(out) == 0 {
		return nil, nil
	}
	reasons, err := s.gapReasons(ctx, recorder, station)
	if err != nil {
		return nil, err
	}
	for i := range out {
		for _, r := range reasons {
			if r.about(out[i].Inferred) {
				out[i].Reasons = append(out[i].Reasons, r)
			}
		}
	}
	return out, nil
}

func fileNames(names []evidence.Name) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = n.FileName
	}
	return out
}

func (s *Service) inferredBeside(ctx context.Context, sc evidence.Scope, rec evidence.Record, c *Completeness) error {
	station := ""
	if rec.Recorder == "" {
		station = rec.Station
	}
	gaps, err := s.inferredGaps(ctx, sc, rec.Recorder, station)
	if err != nil {
		return err
	}
	for _, g := range gaps {
		if g.After.ID == rec.ID {
			c.InferredBefore = &g
		}
		if g.Before.ID == rec.ID {
			c.InferredAfter = &g
		}
	}
	return nil
}

// inferredCount remembers for a while what reading every name gave, by scope.
type inferredCount struct {
	mu    sync.Mutex
	known map[string]counted
}

type counted struct {
	at time.Time
	n  uint64
}

const countAgain = 10 * time.Minute

func (c *inferredCount) count(ctx context.Context, s *Service, sc evidence.Scope) (uint64, error) {
	key := fmt.Sprint(sc.Townships == nil, sc.Townships)
	c.mu.Lock() // held while counting: a second reader waits for the first instead of reading all names too
	defer c.mu.Unlock()
	if k, ok := c.known[key]; ok && s.Now().Sub(k.at) < countAgain {
		return k.n, nil
	}
	bySource := map[string][]string{}
	for after := evidence.ID(""); ; {
		page, err := s.Evidence.FileNames(ctx, sc, "", "", after, maxNames)
		if err != nil {
			return 0, err
		}
		for _, n := range page {
			source := "r/" + n.Recorder
			if n.Recorder == "" {
				source = "s/" + n.Station
			}
			bySource[source] = append(bySource[source], n.FileName)
		}
		if len(page) < maxNames {
			break
		}
		after = page[len(page)-1].ID
	}
	var n uint64
	for _, names := range bySource {
		for _, g := range manifest.InferGaps(s.Series, names) {
			n += g.Count()
		}
	}
	if c.known == nil || len(c.known) > 100 {
		c.known = map[string]counted{}
	}
	c.known[key] = counted{s.Now(), n}
	return n, nil
}
