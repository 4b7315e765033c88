package pg

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
)

// Bulk writes rows of one kind whose writing needs no answer. Rows that are put off on a transaction are written by one statement just
// before it commits; a batch of the log writes those of all its callers together, which costs each of them an index entry instead
// of a round trip. What a row violates fails the commit, not Add.
type Bulk[T any] struct{ b bulk }

type bulk struct {
	rank  int
	what  string
	queue func(b *pgx.Batch, rows []any) *pgx.QueuedQuery
}

// NewBulk makes the way of one kind of rows. Lower ranks are written first: rows that others point at. what begins the message when it
// fails ("write custody event"); queue queues one statement for all rows.
func NewBulk[T any](rank int, what string, queue func(b *pgx.Batch, rows []T) *pgx.QueuedQuery) *Bulk[T] {
	return &Bulk[T]{bulk{rank, what, func(b *pgx.Batch, rows []any) *pgx.QueuedQuery {
		typed := make([]T, len(rows))
		for i, r := range rows {
			typed[i] = r.(T)
		}
		return queue(b, typed)
	}}}
}

// Add puts a row off until the transaction commits. The transaction's own statements don't see it before that.
func (k *Bulk[T]) Add(tx *Tx, row T) {
	if tx.rows == nil {
		tx.rows = Rows{}
	}
	tx.rows[&k.b] = append(tx.rows[&k.b], row)
}

// Rows are those that wait to be written.
type Rows map[*bulk][]any

// TakeRows hands over what was put off, for one who commits the transaction in InTx's place.
func (t *Tx) TakeRows() Rows {
	r := t.rows
	t.rows = nil
	return r
}

// Join adds another transaction's rows.
func (r Rows) Join(other Rows) {
	for b, rows := range other {
		r[b] = append(r[b], rows...)
	}
}

// Queue queues a statement for each kind, in the order of ranks. That order is also one of locks: all who write several kinds keep it.
func (r Rows) Queue(b *pgx.Batch) {
	kinds := make([]*bulk, 0, len(r))
	for k := range r {
		kinds = append(kinds, k)
	}
	slices.SortFunc(kinds, func(x, y *bulk) int { return cmp.Or(cmp.Compare(x.rank, y.rank), cmp.Compare(x.what, y.what)) })
	for _, k := range kinds {
		k.queue(b, r[k]).Fn = func(res pgx.BatchResults) error {
			if _, err := res.Exec(); err != nil {
				return fmt.Errorf("%s: %w", k.what, err)
			}
			return nil
		}
	}
}

// writeRows writes what was put off.
func (t *Tx) writeRows(ctx context.Context) error {
	rows := t.TakeRows()
	if len(rows) == 0 {
		return nil
	}
	var b pgx.Batch
	rows.Queue(&b)
	return t.SendBatch(ctx, &b).Close()
}
