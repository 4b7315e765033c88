package ingest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"zhizheng/ingest/internal/db"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
)

// DeadLetter is something that was refused; its bytes are kept as they came.
type DeadLetter struct {
	ID, Source, Origin, Reason string
	At                         time.Time
	Size                       int
}

// DeadLetters gives a page, newest first, and the next page's cursor ("" at the end).
func (s *Service) DeadLetters(ctx context.Context, cursor string, limit int) (page []DeadLetter, next string, err error) {
	limit = max(1, min(limit, 500))
	at, after, err := readCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	rows, err := db.New(s.Pool).DeadLetters(ctx, db.DeadLettersParams{MaxRows: int32(limit + 1), BeforeAt: at, BeforeID: after})
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
		page[i] = DeadLetter{ID: r.ID, Source: r.Source, Origin: r.Origin, Reason: r.Reason, At: r.At, Size: int(r.Size)}
	}
	return page, next, nil
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
