package evlog

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/internal/pg"
)

// shared is the transaction of a batch. It begins with the first statement of a caller. Its one savepoint stands before the work of one
// caller; keeping that work and standing before the next caller's is one round trip.
type shared struct {
	conn  *pgxpool.Conn
	tx    pgx.Tx // nil until a caller needed it
	alone bool   // one caller: its failure is the transaction's, no savepoint is needed
	open  bool   // the savepoint is set
	kept  *call  // whose work lies behind it, waiting to be kept
}

// begin begins the transaction if that has not been done.
func (s *shared) begin(ctx context.Context) (err error) {
	if s.tx == nil {
		s.tx, err = s.conn.Begin(ctx)
	}
	return err
}

// end gives the connection back, and takes back what was not committed.
func (s *shared) end(ctx context.Context) {
	if c := s.conn.Conn(); !c.IsClosed() && c.PgConn().TxStatus() != 'I' {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_, _ = s.conn.Exec(ctx, `rollback`) // if it fails, the pool closes a connection that is inside a transaction
	}
	s.conn.Release()
}

// Deferred constraints are checked here, while their failure still undoes only the caller that broke them.
const keep = `set constraints all immediate; set constraints all deferred; release savepoint caller`

// stand sets the savepoint before the next caller's work. An error means that the transaction is lost.
func (s *shared) stand(ctx context.Context) error {
	switch {
	case s.alone:
		return nil
	case s.kept != nil:
		return s.settle(ctx, keep+`; savepoint caller`)
	case s.open:
		return nil // the work behind it was undone
	}
	_, err := s.tx.Exec(ctx, `savepoint caller`)
	s.open = err == nil
	return err
}

// finish keeps the last caller's work.
func (s *shared) finish(ctx context.Context) error {
	if s.kept == nil {
		return nil
	}
	return s.settle(ctx, keep)
}

// settle keeps the work behind the savepoint, or undoes it and tells its caller.
func (s *shared) settle(ctx context.Context, sql string) error {
	c := s.kept
	s.kept = nil
	_, err := s.tx.Exec(ctx, sql)
	var pe *pgconn.PgError
	if err == nil || !errors.As(err, &pe) {
		return err
	}
	c.err = pg.Away(err)
	return s.undo(ctx)
}

// undo takes back what lies behind the savepoint, which stays for the next caller.
func (s *shared) undo(ctx context.Context) error {
	if s.alone {
		return nil // the transaction is not going to be committed
	}
	_, err := s.tx.Exec(ctx, `rollback to savepoint caller`)
	return err
}

// savepoint is one caller's part of a shared transaction. It is set with the caller's first statement: one that only appends entries
// costs no round trip.
type savepoint struct {
	pgx.Tx
	shared *shared
	set    bool
}

var errShared = errors.New("the transaction is shared: return an error to undo, nil to commit")

func (s *savepoint) start(ctx context.Context) error {
	if s.set {
		return nil
	}
	if err := s.shared.begin(ctx); err != nil {
		return err
	}
	if err := s.shared.stand(ctx); err != nil {
		return err
	}
	s.Tx, s.set = s.shared.tx, true
	return nil
}

func (s *savepoint) Commit(context.Context) error   { return errShared }
func (s *savepoint) Rollback(context.Context) error { return errShared }

func (s *savepoint) Conn() *pgx.Conn { return s.shared.conn.Conn() }

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
	if err := s.start(ctx); err != nil {
		return failedBatch{err}
	}
	return s.Tx.SendBatch(ctx, b)
}

func (s *savepoint) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	return s.Tx.Prepare(ctx, name, sql)
}

func (s *savepoint) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, src pgx.CopyFromSource) (int64, error) {
	if err := s.start(ctx); err != nil {
		return 0, err
	}
	return s.Tx.CopyFrom(ctx, table, columns, src)
}

type failedRow struct{ err error }

func (r failedRow) Scan(...any) error { return r.err }

type failedBatch struct{ err error }

func (b failedBatch) Exec() (pgconn.CommandTag, error) { return pgconn.CommandTag{}, b.err }
func (b failedBatch) Query() (pgx.Rows, error)         { return nil, b.err }
func (b failedBatch) QueryRow() pgx.Row                { return failedRow(b) }
func (b failedBatch) Close() error                     { return b.err }
func (b failedBatch) Tx() pgx.Tx                       { return nil }
