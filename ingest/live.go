package ingest

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"zhizheng/evidence"
	"zhizheng/ingest/internal/db"
	"zhizheng/internal/fault"
)

// Live is what a station says of itself while it docks. It is for people to look at; nothing rests on it.
type Live struct {
	SpoolFree  int64      `json:"spool_free,omitempty"`  // bytes
	QueueFiles int        `json:"queue_files,omitempty"` // fingerprinted, not yet sealed
	QueueBytes int64      `json:"queue_bytes,omitempty"`
	Rate       int64      `json:"rate,omitempty"`     // bytes a second on the way to the store
	Limit      int64      `json:"limit,omitempty"`    // as the schedule has it now; 0 for none
	Parallel   int        `json:"parallel,omitempty"` // parts that it could have on their way at once
	Share      int        `json:"share,omitempty"`    // and how many it was told that it may
	Urgent     bool       `json:"urgent,omitempty"`   // some of what it has to send is urgent
	Done       *time.Time `json:"done,omitempty"`     // when all will be there, by the present rate
	Problem    string     `json:"problem,omitempty"`
	Version    string     `json:"version,omitempty"`
	Slots      []LiveSlot `json:"slots"`
}

// LiveSlot is one slot.
type LiveSlot struct {
	Slot         int        `json:"slot"`
	State        string     `json:"state"`
	Officer      string     `json:"officer_id,omitempty"`
	Recorder     string     `json:"recorder,omitempty"`
	Volume       string     `json:"volume,omitempty"`
	Since        *time.Time `json:"since,omitempty"`
	Files        int        `json:"files,omitempty"`
	Fingerprints int        `json:"fingerprints,omitempty"` // in the log
	LoggedAt     *time.Time `json:"logged_at,omitempty"`    // the last of them
	Bytes        int64      `json:"bytes,omitempty"`
	Read         int64      `json:"read,omitempty"`
	Sent         int64      `json:"sent,omitempty"`
	Sealed       int        `json:"sealed,omitempty"`
	Failed       int        `json:"failed,omitempty"`
	Missing      int        `json:"missing,omitempty"` // numbers that names skip, without a reason yet
	Done         *time.Time `json:"done,omitempty"`
	Note         string     `json:"note,omitempty"`
}

// States of a slot.
var SlotStates = []string{"empty", "unlocking", "reading", "takeable", "uploading", "wipeable", "wiped", "attention", "unclaimed", "failed", "disabled"}

// Dock is a station as the console shows it.
type Dock struct {
	ID, Name, Township string
	At                 *time.Time // when it last spoke, nil if never
	Live               Live
}

// online is how long what a station said holds. Stations speak at least every ten seconds.
const online = 30 * time.Second

// Online says whether it spoke lately.
func (d Dock) Online(now time.Time) bool { return d.At != nil && now.Sub(*d.At) < online }

// ReportLive takes what a station says of itself, and says how many parts it may have on their way.
func (s *Service) ReportLive(ctx context.Context, st Station, l Live) (parallel int, err error) {
	b, err := json.Marshal(l)
	if err != nil {
		return 0, err
	}
	if err := db.New(s.Pool).PutLive(ctx, db.PutLiveParams{Station: st.ID, At: s.Now().UTC(), Body: b}); err != nil {
		return 0, fmt.Errorf("keep a station's report: %w", err)
	}
	return s.share(ctx, st.ID, l)
}

// Docks lists the stations of a scope; id "" is all of them.
func (s *Service) Docks(ctx context.Context, sc evidence.Scope, id string) ([]Dock, error) {
	p := db.DocksParams{Townships: sc.Townships}
	if id != "" {
		p.ID = &id
	}
	rows, err := db.New(s.Pool).Docks(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("list stations: %w", err)
	}
	out := make([]Dock, len(rows))
	for i, r := range rows {
		out[i] = Dock{ID: r.ID, Name: r.Name, Township: r.Township, At: r.At}
		if err := json.Unmarshal(r.Body, &out[i].Live); err != nil {
			return nil, fmt.Errorf("read a station's report: %w", err)
		}
	}
	return out, nil
}

// Dock gives one station of the scope.
func (s *Service) Dock(ctx context.Context, sc evidence.Scope, id string) (Dock, error) {
	all, err := s.Docks(ctx, sc, id)
	if err != nil {
		return Dock{}, err
	}
	if len(all) == 0 {
		return Dock{}, fault.NotFound("没有这个采集站：%s", id)
	}
	return all[0], nil
}

// Day is what a township's stations brought since the day began.
type Day struct {
	Township             string
	Fingerprints, Sealed int64
	Bytes, SealedBytes   int64
	Missing              int64 // counters of stations' chains that never came, of any day
	Newest               *time.Time
}

// Days tells it of every township of the scope that has anything to tell.
func (s *Service) Days(ctx context.Context, sc evidence.Scope, since time.Time) (map[string]Day, error) {
	q := db.New(s.Pool)
	rows, err := q.DayOfTownships(ctx, db.DayOfTownshipsParams{Since: since.UTC(), Townships: sc.Townships})
	if err != nil {
		return nil, fmt.Errorf("sum up the day: %w", err)
	}
	out := map[string]Day{}
	for _, r := range rows {
		out[r.Township] = Day{Township: r.Township, Fingerprints: r.Fingerprints, Sealed: r.Sealed, Bytes: r.Bytes, SealedBytes: r.SealedBytes, Newest: &r.Newest}
	}
	missing, err := q.MissingOfTownships(ctx, sc.Townships)
	if err != nil {
		return nil, fmt.Errorf("sum up gaps: %w", err)
	}
	for _, m := range missing {
		d := out[m.Township]
		d.Township, d.Missing = m.Township, m.Missing
		out[m.Township] = d
	}
	return out, nil
}
