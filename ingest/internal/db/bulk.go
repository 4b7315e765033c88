package db

import (
	"time"

	"github.com/jackc/pgx/v5"
)

// SealedUpload is an upload whose record is sealed by the same commit.
type SealedUpload struct {
	ID string
	At time.Time
}

// QueueUploadsSealed queues marking the uploads by one statement.
func QueueUploadsSealed(b *pgx.Batch, rows []SealedUpload) *pgx.QueuedQuery {
	ids, ats := make([]string, len(rows)), make([]time.Time, len(rows))
	for i, r := range rows {
		ids[i], ats[i] = r.ID, r.At
	}
	return b.Queue(uploadsSealed, ids, ats)
}
