// Package pg owns the way to PostgreSQL: the pool, transactions with work that must run last, and migrations. It promises that
// InTx either commits everything the function and its queued work did, or nothing. It never knows a domain.
//
// Read pg.go for transactions, bulk.go for rows that are written together, lookup.go for rows that are
// looked for together, migrate.go for the schema.
package pg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/internal/fault"
)

// AppRole is the role every pooled connection runs as. It owns nothing; migrations grant it what it needs.
const AppRole = "zhizheng_app"

// Tx is a transaction plus the work that must run last in it, such as sequencing log entries under the head lock.
type Tx struct {
	pgx.Tx
	rows   Rows
	last   []lastWork
	values map[any]any
}

// Value gives what a package keeps with this transaction under its own key, made by fresh on first use. It dies with the
// transaction, committed or not.
func (t *Tx) Value(key any, fresh func() any) any {
	v, ok := t.values[key]
	if !ok {
		v = fresh()
		if t.values == nil {
			t.values = map[any]any{}
		}
		t.values[key] = v
	}
	return v
}

type lastWork struct {
	key any
	fn  func(ctx context.Context, tx *Tx) error
}

// BeforeCommit runs fn after the caller's own SQL and before COMMIT, once a key: a second call with the same key is ignored.
func (t *Tx) BeforeCommit(key any, fn func(ctx context.Context, tx *Tx) error) {
	for _, w := range t.last {
		if w.key == key {
			return
		}
	}
	t.last = append(t.last, lastWork{key, fn})
}

// RunLast runs the queued work now; InTx calls it. A batcher that owns its transaction calls it itself.
func (t *Tx) RunLast(ctx context.Context) error {
	for i := 0; i < len(t.last); i++ {
		if err := t.last[i].fn(ctx, t); err != nil {
			return err
		}
	}
	t.last = nil
	return nil
}

// finish writes what was put off, before the queued work, which may hold the log's head, and what that put off in turn.
func (t *Tx) finish(ctx context.Context) error {
	if err := t.writeRows(ctx); err != nil {
		return err
	}
	if err := t.RunLast(ctx); err != nil {
		return err
	}
	return t.writeRows(ctx)
}

// Open makes a pool whose connections run as AppRole in UTC. A connection that holds a transaction idle for 30 s is cut by the
// server, so that a hung replica can't hold the log's head.
func Open(ctx context.Context, url string, maxConns int32) (*pgxpool.Pool, error) {
	cfg, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("read database address: %w", redact(err))
	}
	if maxConns > 0 {
		cfg.MaxConns = maxConns
	}
	cfg.MaxConnIdleTime = 5 * time.Minute
	p := cfg.ConnConfig.RuntimeParams
	p["timezone"] = "UTC"
	p["application_name"] = "zhizheng"
	p["idle_in_transaction_session_timeout"] = "30000"
	p["role"] = AppRole
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	return pool, nil
}

// redact keeps a connection string, which may hold a password, out of logs.
func redact(err error) error {
	var p *pgconn.ParseConfigError
	if errors.As(err, &p) {
		return errors.New("the address can't be parsed (not shown, it may hold a password)")
	}
	return err
}

// Beginner is a pool or a connection.
type Beginner interface {
	BeginTx(ctx context.Context, o pgx.TxOptions) (pgx.Tx, error)
}

// InTx runs fn in a READ COMMITTED transaction, then the work queued by BeforeCommit, then commits. An error or a panic rolls back.
// An error of COMMIT itself leaves the outcome open: callers settle it by idempotency key.
func InTx(ctx context.Context, db Beginner, fn func(tx *Tx) error) error {
	t, err := db.BeginTx(ctx, pgx.TxOptions{})
	if err != nil {
		return away(err)
	}
	defer func() { _ = t.Rollback(context.WithoutCancel(ctx)) }() // after a commit this is a no-op
	tx := &Tx{Tx: t}
	if err := fn(tx); err != nil {
		return away(err)
	}
	if err := tx.finish(ctx); err != nil {
		return away(err)
	}
	if err := t.Commit(ctx); err != nil {
		return away(fmt.Errorf("commit: %w", err))
	}
	return nil
}

// Away is what InTx does to an error, for those who run transactions of their own.
func Away(err error) error { return away(err) }

// away turns a lost database into a fault that tells the caller to try again.
func away(err error) error {
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		switch pe.Code {
		case "53100": // disk_full
			return fault.Unavailable(5*time.Second, "数据库所在的磁盘已满，未写入任何内容；腾出空间后自动恢复").Because(err)
		case "57P01", "57P02", "57P03", "53300", "25P03":
			return fault.Unavailable(2*time.Second, "数据库暂时不可用，请稍后重试").Because(err)
		}
		return err
	}
	var ce *pgconn.ConnectError
	var cut *net.OpError // the connection broke while an answer was on its way
	if errors.As(err, &ce) || errors.As(err, &cut) || errors.Is(err, io.ErrUnexpectedEOF) || pgconn.SafeToRetry(err) {
		return fault.Unavailable(2*time.Second, "数据库暂时不可用，请稍后重试").Because(err)
	}
	return err
}

// IsUnique reports whether err is a unique violation, of the named constraint if one is given.
func IsUnique(err error, constraint string) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && pe.Code == "23505" && (constraint == "" || pe.ConstraintName == constraint)
}

// IsPassing reports whether the same transaction may well succeed at once: a deadlock, or a row whose partition was made meanwhile (which
// looks like a check that it violates).
func IsPassing(err error) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && (pe.Code == "23514" || pe.Code == "40P01")
}

// IsBadText reports whether a text was refused that PostgreSQL can't hold: with a NUL in it, or no UTF-8.
func IsBadText(err error) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && (pe.Code == "22021" || pe.Code == "22P05")
}
