package ingest

import (
	"context"
	"fmt"
	"strings"
	"time"

	"zhizheng/ingest/internal/db"
	"zhizheng/internal/fault"
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
	p := db.DeadLettersParams{MaxRows: int32(limit + 1)}
	if cursor != "" {
		at, id, _ := strings.Cut(cursor, "/")
		t, err := time.Parse(time.RFC3339Nano, at)
		if err != nil || id == "" {
			return nil, "", fault.Invalid("翻页游标无效")
		}
		p.BeforeAt, p.BeforeID = &t, &id
	}
	rows, err := db.New(s.Pool).DeadLetters(ctx, p)
	if err != nil {
		return nil, "", fmt.Errorf("list dead letters: %w", err)
	}
	if len(rows) > limit {
		rows = rows[:limit]
		last := rows[limit-1]
		next = last.At.UTC().Format(time.RFC3339Nano) + "/" + last.ID
	}
	page = make([]DeadLetter, len(rows))
	for i, r := range rows {
		page[i] = DeadLetter{ID: r.ID, Source: r.Source, Origin: r.Origin, Reason: r.Reason, At: r.At, Size: int(r.Size)}
	}
	return page, next, nil
}
