package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/ingest/internal/db"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
)

// DeadLetter is something that was refused; its bytes are kept as they came.
type DeadLetter struct {
	ID, Source, Origin, Reason string
	At                         time.Time
	Size                       int
	Raw                        []byte // not in a list
	Skipped                    int    // that came before it from the same device that day, beyond what is kept

	AgainAt               *time.Time // when it was last taken again
	AgainBy, Outcome, Why string     // by whom; accepted, known or refused, and why
}

// LetterFilter narrows a list; zero fields don't. Open leaves out those that were taken since.
type LetterFilter struct {
	Source, Reason string
	Open           bool
}

// DeadLetters gives a page, newest first, and the next page's cursor ("" at the end).
func (s *Service) DeadLetters(ctx context.Context, f LetterFilter, cursor string, limit int) (page []DeadLetter, next string, err error) {
	limit = max(1, min(limit, 500))
	at, after, err := readCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	rows, err := db.New(s.Pool).DeadLetters(ctx, db.DeadLettersParams{Source: opt(f.Source), Reason: opt(f.Reason), Open: f.Open, MaxRows: int32(limit + 1), BeforeAt: at, BeforeID: after})
	if err != nil {
		return nil, "", fmt.Errorf("list dead letters: %w", err)
	}
	if len(rows) > limit {
		rows = rows[:limit]
		last := rows[limit-1]
		next = makeCursor(last.At, last.ID)
	}
	page = make([]DeadLetter, len(rows))
	for i, r := range rows {
		page[i] = DeadLetter{ID: r.ID, Source: r.Source, Origin: r.Origin, Reason: r.Reason, At: r.At, Size: int(r.Size), Skipped: int(r.Skipped),
			AgainAt: r.AgainAt, AgainBy: text(r.AgainBy), Outcome: text(r.Outcome), Why: r.OutcomeReason}
	}
	return page, next, nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// DeadLetter gives one with its bytes.
func (s *Service) DeadLetter(ctx context.Context, id string) (DeadLetter, error) {
	r, err := db.New(s.Pool).DeadLetter(ctx, id)
	if errors.Is(err, pgx.ErrNoRows) {
		return DeadLetter{}, fault.NotFound("没有这条拒收报文")
	}
	if err != nil {
		return DeadLetter{}, fmt.Errorf("get dead letter: %w", err)
	}
	return DeadLetter{ID: r.ID, Source: r.Source, Origin: r.Origin, Reason: r.Reason, At: r.At, Size: len(r.Raw), Raw: r.Raw, Skipped: int(r.Skipped),
		AgainAt: r.AgainAt, AgainBy: text(r.AgainBy), Outcome: text(r.Outcome), Why: r.OutcomeReason}, nil
}

// What became of a dead letter that was taken again.
const (
	AgainAccepted = "accepted"
	AgainKnown    = "known" // its content had come in another way
	AgainRefused  = "refused"
)

// Replay takes a dead letter again, the way it came. The letter stays, with what became of it. Crash before that is written: taking it
// once more finds the content known.
func (s *Service) Replay(ctx context.Context, id, by string) (DeadLetter, error) {
	l, err := s.DeadLetter(ctx, id)
	if err != nil {
		return l, err
	}
	if l.Outcome == AgainAccepted || l.Outcome == AgainKnown {
		return l, fault.Conflict("这条报文已重新处理并收下")
	}
	outcome, why, err := s.takeAgain(ctx, l)
	if err != nil {
		return l, err
	}
	err = db.New(s.Pool).SetOutcome(ctx, db.SetOutcomeParams{ID: id, Came: l.At, AgainAt: s.Now().UTC(), AgainBy: by, Outcome: outcome, OutcomeReason: why})
	if err != nil {
		return l, fmt.Errorf("note what became of a dead letter: %w", err)
	}
	return s.DeadLetter(ctx, id)
}

// LetterReason is why messages of a source were refused, and how many.
type LetterReason struct {
	Source, Reason string
	Count, Open    int64 // all; those not taken since
	Newest         time.Time
}

// maxReasons bounds the list of reasons.
const maxReasons = 100

// LetterReasons are those with most to be taken again.
func (s *Service) LetterReasons(ctx context.Context) ([]LetterReason, error) {
	rows, err := db.New(s.Pool).DeadLetterReasons(ctx, maxReasons)
	if err != nil {
		return nil, fmt.Errorf("list reasons of dead letters: %w", err)
	}
	out := make([]LetterReason, len(rows))
	for i, r := range rows {
		out[i] = LetterReason{Source: r.Source, Reason: r.Reason, Count: r.Letters, Open: r.Open, Newest: r.Newest}
	}
	return out, nil
}

// Replayed is what became of one of several.
type Replayed struct {
	ID      string `json:"id"`
	Outcome string `json:"outcome"`
	Why     string `json:"outcome_reason,omitempty"`
}

// AgainPassed is for a letter that was taken before, or that is of a sort that can't be.
const AgainPassed = "passed"

// ReplayNamed takes letters again, the oldest first: what is told of first happened first. None is if one of them isn't there.
func (s *Service) ReplayNamed(ctx context.Context, ids []string, by string) ([]Replayed, error) {
	rows, err := db.New(s.Pool).DeadLettersNamed(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("look up dead letters: %w", err)
	}
	for _, id := range ids {
		if !slices.Contains(rows, id) {
			return nil, fault.NotFound("没有这条拒收报文")
		}
	}
	return s.replay(ctx, rows, by)
}

// ReplayNext takes the next letters of a source and reason again, the oldest first, and gives the cursor to go on with ("" at the end).
// One that is refused once more lies behind the cursor.
func (s *Service) ReplayNext(ctx context.Context, source, reason, cursor string, limit int, by string) (done []Replayed, next string, err error) {
	at, after, err := readCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	rows, err := db.New(s.Pool).DeadLettersToReplay(ctx, db.DeadLettersToReplayParams{Source: source, Reason: reason, AfterAt: at, AfterID: after, MaxRows: int32(limit + 1)})
	if err != nil {
		return nil, "", fmt.Errorf("look up dead letters: %w", err)
	}
	if len(rows) > limit {
		rows = rows[:limit]
		last := rows[limit-1]
		next = makeCursor(last.At, last.ID)
	}
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	done, err = s.replay(ctx, ids, by)
	return done, next, err
}

// replay stops at the first failure of the platform itself; what was taken before that stays noted.
func (s *Service) replay(ctx context.Context, ids []string, by string) ([]Replayed, error) {
	out := make([]Replayed, len(ids))
	for i, id := range ids {
		l, err := s.Replay(ctx, id, by)
		var f *fault.Error
		switch {
		case errors.As(err, &f) && f.Kind == fault.KindConflict:
			out[i] = Replayed{id, AgainPassed, f.Detail}
		case err != nil:
			return nil, err
		default:
			out[i] = Replayed{id, l.Outcome, l.Why}
		}
	}
	return out, nil
}

func (s *Service) takeAgain(ctx context.Context, l DeadLetter) (outcome, why string, err error) {
	if l.Source == "mqtt" {
		fresh, refused, err := s.Message(ctx, l.Origin, l.Raw, l.At)
		switch {
		case refused != "":
			return AgainRefused, refused, err
		case fresh:
			return AgainAccepted, "", err
		}
		return AgainKnown, "", err
	}
	row, err := db.New(s.Pool).Station(ctx, l.Origin)
	if errors.Is(err, pgx.ErrNoRows) {
		return AgainRefused, "没有这个采集站", nil
	}
	if err != nil {
		return "", "", fmt.Errorf("look up station: %w", err)
	}
	st := Station{ID: row.ID, Township: row.Township, again: true}
	var status, code string
	switch l.Source {
	case "manifest":
		var r []ManifestResult
		if r, err = s.SubmitManifests(ctx, st, [][]byte{l.Raw}); err == nil {
			status, code, why = r[0].Status, r[0].Code, r[0].Error
		}
	case "state":
		var r []StateResult
		if r, err = s.SubmitStates(ctx, st, [][]byte{l.Raw}); err == nil {
			status, code, why = r[0].Status, r[0].Code, r[0].Error
		}
	case "event":
		var e Event
		if err := json.Unmarshal(l.Raw, &e); err != nil {
			return AgainRefused, "malformed: " + err.Error(), nil
		}
		var r []EventResult
		if r, err = s.SubmitEvents(ctx, st, []Event{e}); err == nil {
			status, code, why = r[0].Status, r[0].Code, r[0].Error
		}
	default:
		return "", "", fault.Conflict("“%s”类报文不能重新处理", l.Source)
	}
	if code != "" {
		why = code + ": " + why
	}
	switch status {
	case Accepted:
		return AgainAccepted, why, err
	case Duplicate, Already:
		return AgainKnown, why, err
	}
	return AgainRefused, why, err
}

// makeCursor names the last row of a page, readCursor what the next page comes after: both nil for the first.
func makeCursor(at time.Time, last string) string {
	return at.UTC().Format(time.RFC3339Nano) + "/" + last
}

func readCursor(cursor string) (at *time.Time, after *string, err error) {
	if cursor == "" {
		return nil, nil, nil
	}
	first, rest, _ := strings.Cut(cursor, "/")
	t, err := time.Parse(time.RFC3339Nano, first)
	if err != nil || !id.Valid(rest) {
		return nil, nil, fault.Invalid("翻页游标无效")
	}
	return &t, &rest, nil
}
