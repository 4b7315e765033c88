package evidence

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/internal/db"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// Filter narrows a list; zero fields don't.
type Filter struct {
	Status, Verdict, Recorder, DeviceID string
	Station                             string // that registered it
	SHA256                              string // hex
	Query                               string // part of file name, serial or id
	From, To                            *time.Time
	Late                                bool // uploaded late, or late and still to come
	Activity, ActivityID                string
}

// Page is a part of a list; Next is "" at the end.
type Page[T any] struct {
	Items []T
	Next  string
}

// List gives records newest first. The cursor names the last record's time and id, so that records arriving meanwhile shift nothing.
func (k *Keeper) List(ctx context.Context, s Scope, f Filter, cursor string, limit int) (Page[Record], error) {
	at, after, err := readCursor(cursor)
	if err != nil {
		return Page[Record]{}, err
	}
	var digest []byte
	if f.SHA256 != "" {
		if digest, err = hex.DecodeString(f.SHA256); err != nil || len(digest) != 32 {
			return Page[Record]{}, fault.Invalid("sha256 应为 64 位十六进制")
		}
	}
	var late *time.Time
	if f.Late {
		now := k.now().UTC()
		late = &now
	}
	rows, err := db.New(k.pool).List(ctx, db.ListParams{
		Townships: s.Townships, Status: opt(f.Status), Verdict: opt(f.Verdict), Recorder: opt(f.Recorder), DeviceID: opt(f.DeviceID), Station: opt(f.Station),
		Sha256: digest, Activity: opt(f.Activity), ActivityID: opt(f.ActivityID), Q: opt(strings.ToLower(strings.TrimSpace(f.Query))), FromAt: f.From, ToAt: f.To,
		LateNow: late, LateAfter: k.Policy.LateAfter.Seconds(), BeforeAt: at, BeforeID: opt(after), MaxRows: int32(limit + 1),
	})
	if err != nil {
		return Page[Record]{}, fmt.Errorf("list evidence: %w", err)
	}
	var p Page[Record]
	for i, r := range rows {
		if i == limit {
			last := p.Items[limit-1]
			p.Next = makeCursor(last.RecordedAt, string(last.ID))
			break
		}
		p.Items = append(p.Items, record(r))
	}
	return p, nil
}

// CountOf says how many records a device has, inside the scope.
func (k *Keeper) CountOf(ctx context.Context, s Scope, deviceID string) (int64, error) {
	n, err := db.New(k.pool).Count(ctx, db.CountParams{Townships: s.Townships, DeviceID: opt(deviceID)})
	if err != nil {
		return 0, fmt.Errorf("count evidence: %w", err)
	}
	return n, nil
}

// CountPending says how many records of the scope wait for their bytes.
func (k *Keeper) CountPending(ctx context.Context, s Scope) (int64, error) {
	n, err := db.New(k.pool).Count(ctx, db.CountParams{Townships: s.Townships, Status: opt(StatusPending)})
	if err != nil {
		return 0, fmt.Errorf("count pending evidence: %w", err)
	}
	return n, nil
}

// CountByActivity says how many records are labelled with each of the activities; those without any are left out.
func (k *Keeper) CountByActivity(ctx context.Context, activities []string) (map[string]int64, error) {
	rows, err := db.New(k.pool).CountByActivity(ctx, activities)
	if err != nil {
		return nil, fmt.Errorf("count evidence of activities: %w", err)
	}
	counts := make(map[string]int64, len(rows))
	for _, r := range rows {
		counts[r.ActivityID] = r.Clips
	}
	return counts, nil
}

// Name is a file's name and where it came from.
type Name struct {
	ID                          ID
	Recorder, Station, FileName string
	RecordedAt                  time.Time
}

// FileNames gives up to limit names with ids above after, in order of ids: those of a recorder, or those of a station that name none, or all.
func (k *Keeper) FileNames(ctx context.Context, s Scope, recorder, station string, after ID, limit int) ([]Name, error) {
	rows, err := db.New(k.pool).FileNames(ctx, db.FileNamesParams{Townships: s.Townships, Recorder: opt(recorder), Station: opt(station), After: string(after),
		MaxRows: int32(limit)})
	if err != nil {
		return nil, fmt.Errorf("list file names: %w", err)
	}
	out := make([]Name, len(rows))
	for i, r := range rows {
		out[i] = Name{ID: ID(r.ID), Recorder: r.Recorder, Station: r.Station, FileName: r.FileName, RecordedAt: r.RecordedAt}
	}
	return out, nil
}

func opt(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// A cursor is time and id of the last row, to the microsecond that PostgreSQL keeps.
func makeCursor(at time.Time, id string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(at.UTC().Format(time.RFC3339Nano) + " " + id))
}

func readCursor(c string) (*time.Time, string, error) {
	if c == "" {
		return nil, "", nil
	}
	b, err := base64.RawURLEncoding.DecodeString(c)
	at, id, ok := strings.Cut(string(b), " ")
	t, terr := time.Parse(time.RFC3339Nano, at)
	if err != nil || terr != nil || !ok {
		return nil, "", fault.Invalid("cursor 无效，请从第一页重新开始")
	}
	return &t, id, nil
}

// SmallestSealed gives the smallest of the oldest sealed items with at most that many bytes, whatever its township: for checks that
// need some item. fault.NotFound if there is none.
func (k *Keeper) SmallestSealed(ctx context.Context, most int64) (Record, error) {
	row, err := db.New(k.pool).SmallestSealed(ctx, most)
	if errors.Is(err, pgx.ErrNoRows) {
		return Record{}, fault.NotFound("还没有已封存的影像")
	}
	if err != nil {
		return Record{}, fmt.Errorf("find a sealed item: %w", err)
	}
	return record(row), nil
}

// Intake is how much footage came and is kept.
type Intake struct {
	Since, Kept int64     // bytes
	First       time.Time // when the first was sealed; now if none was
}

// Intake counts what was sealed since a time, whether or not it is still kept, and all that is kept.
func (k *Keeper) Intake(ctx context.Context, since time.Time) (Intake, error) {
	row, err := db.New(k.pool).Intake(ctx, since)
	if err != nil {
		return Intake{}, pg.Away(fmt.Errorf("count intake: %w", err))
	}
	return Intake(row), nil
}
