package evlog

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// savepoint is one caller's part of a shared transaction. It is set with the caller's first statement: one that only appends entries
// costs no round trip.
type savepoint struct {
	pgx.Tx
	set bool
}

var errShared = errors.New("the transaction is shared: return an error to undo, nil to commit")

func (s *savepoint) start(ctx context.Context) error {
	if s.set {
		return nil
	}
	if _, err := s.Tx.Exec(ctx, `savepoint caller`); err != nil {
		return err
	}
	s.set = true
	return nil
}

// release keeps what the caller did. Deferred constraints are checked here, while their failure still undoes only this caller.
func (s *savepoint) release(ctx context.Context) error {
	if !s.set {
		return nil
	}
	_, err := s.Tx.Exec(ctx, `set constraints all immediate; set constraints all deferred; release savepoint caller`)
	if err == nil {
		s.set = false
	}
	return err
}

// undo takes back what the caller did.
func (s *savepoint) undo(ctx context.Context) error {
	if !s.set {
		return nil
	}
	_, err := s.Tx.Exec(ctx, `rollback to savepoint caller; release savepoint caller`)
	return err
}

func (s *savepoint) Commit(context.Context) error   { return errShared }
func (s *savepoint) Rollback(context.Context) error { return errShared }

func (s *savepoint) Begin(ctx context.Context) (pgx.Tx, error) {
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return s.Tx.Begin(ctx)
}

func (s *savepoint) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if err := s.start(ctx); err != nil {
		return pgconn.CommandTag{}, err
	}
	return s.Tx.Exec(ctx, sql, args...)
}

func (s *savepoint) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return s.Tx.Query(ctx, sql, args...)
}

func (s *savepoint) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	if err := s.start(ctx); err != nil {
		return failedRow{err}
	}
	return s.Tx.QueryRow(ctx, sql, args...)
}

func (s *savepoint) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	// A failed start breaks the transaction, so that the batch fails by itself.
	_ = s.start(ctx)
	return s.Tx.SendBatch(ctx, b)
}

func (s *savepoint) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	if err := s.start(ctx); err != nil {
		return 0, err
	}
	return s.Tx.CopyFrom(ctx, table, columns, src)
}

type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }
