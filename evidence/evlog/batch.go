package evlog

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"zhizheng/evidence/evlog/internal/db"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// batchTimeout ends a batch that hangs in somebody's SQL: everyone behind it waits.
const batchTimeout = 10 * time.Second

// call is one caller of Do.
type call struct {
	ctx context.Context
	fn  func(ctx context.Context, tx *pg.Tx) error

	woken    chan struct{} // closed when finished, or when this caller has to run the next batch
	lead     bool
	finished bool
	err      error
	panicked any
	items    []*item
	rows     pg.Rows
}

// Do runs fn in a transaction that it may share: whatever arrived while the last commit was in flight goes into the next one, each
// caller under its own savepoint, so that an error of fn undoes only fn. When Do returns nil, fn's rows and entries are committed.
// fn does SQL and Append only, in the order of locks that all callers keep; it may run more than once, and must not call Do.
func (l *Log) Do(ctx context.Context, fn func(ctx context.Context, tx *pg.Tx) error) error {
	if err := l.refuse(); err != nil {
		return err
	}
	c := &call{ctx: ctx, fn: fn, woken: make(chan struct{})}
	l.mu.Lock()
	l.waiting = append(l.waiting, c)
	lead := !l.busy
	l.busy = true
	l.mu.Unlock()
	if !lead {
		select {
		case <-c.woken:
		case <-ctx.Done():
			if l.leave(c) {
				return ctx.Err()
			}
			<-c.woken // it is in a batch or leads the next one: what becomes of it is known in a moment
		}
	}
	if !c.finished {
		l.runNext()
	}
	if c.panicked != nil {
		panic(c.panicked)
	}
	return c.err
}

// leave takes a caller out of the queue, if no batch has it yet.
func (l *Log) leave(c *call) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.lead {
		return false
	}
	for i, w := range l.waiting {
		if w == c {
			l.waiting = append(l.waiting[:i:i], l.waiting[i+1:]...)
			return true
		}
	}
	return false
}

// runNext runs a batch of all who wait, in the goroutine of the first of them, then hands over to the next first. No goroutine of
// the log's own, and no waiting for company: a lone caller commits at once.
func (l *Log) runNext() {
	l.giveWay()
	l.mu.Lock()
	n := min(len(l.waiting), l.maxBatch)
	batch := l.waiting[:n:n]
	l.waiting = append([]*call(nil), l.waiting[n:]...)
	l.mu.Unlock()

	whole := false
	defer func() { l.handOver(batch, whole) }()
	l.runBatch(batch)
	whole = true
}

// giveWay lets in those whom the last commit let go and who are about to come back, where the first of them alone would take a commit of
// its own. It gives way as long as that brings somebody; a lone caller loses next to nothing.
func (l *Log) giveWay() {
	for before, quiet := 0, 0; quiet < 4; quiet++ {
		l.mu.Lock()
		n := len(l.waiting)
		l.mu.Unlock()
		if n >= l.maxBatch {
			return
		}
		if n > before {
			before, quiet = n, 0
		}
		runtime.Gosched()
	}
}

// handOver tells the callers of a batch that it is through and wakes the next first.
func (l *Log) handOver(batch []*call, whole bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range batch {
		if !whole { // a panic of the log's own is on its way up through the first caller
			c.err = errors.New("batch of log entries broke off")
		}
		c.finished = true
		if c != batch[0] { // the first is the one that runs this
			close(c.woken)
		}
	}
	if len(l.waiting) == 0 {
		l.busy = false
		return
	}
	next := l.waiting[0]
	next.lead = true
	close(next.woken)
}

// runBatch commits the calls together. If together fails, one of them is the cause: it is looked for by halves, so that the others still
// share their commits.
func (l *Log) runBatch(batch []*call) {
	err := l.commitTogether(batch)
	switch {
	case err == nil:
		for _, c := range batch {
			// A deadlock or serialization failure under a savepoint is the company's fault, not fn's.
			if c.err != nil && len(batch) > 1 && retryable(c.err) {
				l.runBatch([]*call{c})
			}
		}
	case len(batch) > 1 && timedOut(err): // by halves, one that hangs would be waited for again and again
		for _, c := range batch {
			l.runBatch([]*call{c})
		}
	case len(batch) > 1 && worthAlone(err):
		l.log.Debug("batch failed, trying its halves", "callers", len(batch), "err", err)
		l.runBatch(batch[:len(batch)/2])
		l.runBatch(batch[len(batch)/2:])
	default:
		for _, c := range batch {
			if c.panicked == nil {
				c.err = err
			}
		}
	}
}

// commitTogether runs one transaction. Its result is the transaction's; what went wrong under a caller's own savepoint is in call.err.
// Callers that only append and put rows off need no transaction yet while they run: theirs begins, and ends, with the sequencing.
func (l *Log) commitTogether(batch []*call) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(batch[0].ctx), batchTimeout)
	defer cancel()
	conn, err := l.pool.Acquire(ctx)
	if err != nil {
		return pg.Away(err)
	}
	sh := &shared{conn: conn, alone: len(batch) == 1}
	defer sh.end(ctx)
	for _, c := range batch {
		c.err, c.panicked, c.items, c.rows = nil, nil, nil, nil
		if err := l.runCall(ctx, sh, c); err != nil {
			return pg.Away(err)
		}
	}
	if err := sh.finish(ctx); err != nil {
		return pg.Away(err)
	}
	var items []*item
	rows := pg.Rows{}
	for _, c := range batch {
		if c.err == nil {
			items = append(items, c.items...)
			rows.Join(c.rows)
		}
	}
	if sh.alone && batch[0].err != nil || sh.tx == nil && len(items) == 0 && len(rows) == 0 {
		return nil // nothing to commit
	}
	s := sequencing{tx: conn, after: db.QueueCommit, before: func(b *pgx.Batch) {
		if sh.tx == nil {
			db.QueueBegin(b)
		}
		rows.Queue(b)
	}}
	if ended, err := l.sequence(ctx, s, items); ended {
		return l.settle(ctx, items, err)
	} else if err != nil {
		return pg.Away(err)
	}
	if len(items) > 0 {
		l.nudge()
	}
	return nil
}

// runCall runs one fn behind the savepoint. An error means that the transaction itself is lost.
func (l *Log) runCall(ctx context.Context, sh *shared, c *call) error {
	deadline, _ := ctx.Deadline()
	own, cancel := context.WithDeadline(context.WithoutCancel(c.ctx), deadline) // a caller that leaves must not cut the shared connection
	defer cancel()
	sp := &savepoint{shared: sh}
	tx := &pg.Tx{Tx: sp}
	q := l.queueOf(tx)
	q.batched = true
	c.err = func() (err error) {
		defer func() {
			if p := recover(); p != nil {
				c.panicked, err = p, fmt.Errorf("panic: %v", p)
			}
		}()
		if err := c.fn(own, tx); err != nil {
			return err
		}
		return tx.RunLast(own)
	}()
	q.done = true
	if c.err != nil {
		c.err = pg.Away(c.err)
		if sp.set {
			if err := sh.undo(ctx); err != nil {
				return errors.Join(c.err, err)
			}
		}
		return nil
	}
	c.items, c.rows = q.items, tx.TakeRows()
	if sp.set && !sh.alone {
		sh.kept = c
	}
	return nil
}

// settle finds out what became of a commit whose answer was lost. The new connection waits for the head's lock, which the old
// backend holds until its transaction is decided; then either the first fresh leaf is there or nothing of the batch is.
func (l *Log) settle(ctx context.Context, items []*item, cause error) error {
	var probe *item
	for _, it := range items {
		if it.bytes != nil {
			probe = it
			break
		}
	}
	var refused *pgconn.PgError
	if probe == nil || errors.As(cause, &refused) && refused.Severity == "ERROR" { // nothing to look for, or the server has said no itself
		return pg.Away(cause)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), batchTimeout)
	defer cancel()
	there := false
	err := pg.InTx(ctx, l.pool, func(tx *pg.Tx) error {
		q := l.q.WithTx(tx)
		if _, err := q.LockHead(ctx); err != nil {
			return err
		}
		e, err := q.EntryByKey(ctx, probe.key)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		there = err == nil && string(e.LeafHash) == string(probe.hash[:])
		return err
	})
	if err != nil {
		return fault.Unavailable(2*time.Second, "数据库在提交时中断，结果未知；用同一请求重试即可").Because(errors.Join(cause, err))
	}
	if there {
		l.nudge()
		return nil
	}
	return fault.Unavailable(2*time.Second, "数据库在提交时中断，未写入任何内容").Because(cause)
}

// retryable errors go away when the call is made again without company.
func retryable(err error) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && (pe.Code == "40001" || pe.Code == "40P01")
}

func timedOut(err error) bool { return errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err) }

// worthAlone tells a batch that one caller poisoned from a database that is away.
func worthAlone(err error) bool {
	if fault.Is(err, fault.KindUnavailable) || fault.Is(err, fault.KindStorageFull) {
		return false
	}
	var pe *pgconn.PgError
	return errors.As(err, &pe) || fault.Is(err, fault.KindConflict)
}
