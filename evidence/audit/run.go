package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/evidence/audit/internal/db"
	"zhizheng/evidence/chain"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// Kinds of runs.
const (
	KindLog    = "log"
	KindReread = "reread"
	KindCanary = "canary"
	KindDrill  = "drill"
)

// States of a run.
const (
	StateRunning     = "running"
	StateOK          = "ok"
	StateFindings    = "findings"    // it came through, and something doesn't hold
	StateFailed      = "failed"      // it came to no result
	StateInterrupted = "interrupted" // its process ended
)

// System is the actor of what a schedule began.
const System = "system"

// maxFindings bounds the list of a run's row; all are counted.
const maxFindings = 200

// Finding is one thing that doesn't hold. EvidenceID and Township are "" where it is about no item.
type Finding struct {
	Where      string `json:"where"`
	What       string `json:"what"` // zh-CN
	EvidenceID string `json:"evidence_id,omitempty"`
	Township   string `json:"township,omitempty"`
}

// Step is one line of a transcript.
type Step struct {
	Name string `json:"name"` // stable, for machines
	Text string `json:"text"` // for people
	OK   bool   `json:"ok"`
	Got  string `json:"got"` // what happened
}

// Progress is how far a run has come.
type Progress struct {
	TotalObjects, TotalBytes int64
	DoneObjects, DoneBytes   int64
	Text                     string
}

// Info is a run as it stands in the table.
type Info struct {
	ID, Kind, State, Actor string
	Paused                 bool
	StartedAt              time.Time
	EndedAt                *time.Time
	Progress
	Damaged, Missing int64
	Findings         []Finding // the first of them
	FindingCount     int64
	Steps            []Step
	LogKey           string // idempotency key of its leaf, "" without one
}

// Result ends a run.
type Result struct {
	State    string // StateOK, StateFindings or StateFailed
	Findings []Finding
	More     int64 // findings beyond the list
	Steps    []Step
	Text     string
}

// Run is one under way in this process. Its lock is a database session's: it ends with the process, however that dies, and what
// was under way is then shown as interrupted.
type Run struct {
	Info
	s    *Service
	conn *pgxpool.Conn
}

// Begin starts a run of a kind: KindLog, KindCanary or KindDrill. Conflict: one is under way already, here or on another server. The
// caller ends it with Finish.
func (s *Service) Begin(ctx context.Context, kind, actor string) (_ *Run, err error) {
	if kind == KindReread {
		return nil, errors.New("a re-read is begun by Start: the reader works it")
	}
	conn, err := s.lock(ctx, kind)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.unlock(ctx, conn, kind)
		}
	}()
	if err := s.interruptStale(ctx, db.New(conn), kind); err != nil {
		return nil, err
	}
	i := Info{ID: id.New(), Kind: kind, State: StateRunning, Actor: actor, StartedAt: s.Now().UTC()}
	if err := db.New(conn).AddRun(ctx, db.AddRunParams{ID: i.ID, Kind: kind, Actor: actor, StartedAt: i.StartedAt}); err != nil {
		return nil, pg.Away(fmt.Errorf("begin audit run: %w", err))
	}
	return &Run{Info: i, s: s, conn: conn}, nil
}

// lock makes a kind of run this process's own.
func (s *Service) lock(ctx context.Context, kind string) (*pgxpool.Conn, error) {
	conn, err := s.Pool.Acquire(ctx)
	if err != nil {
		return nil, pg.Away(fmt.Errorf("lock audit run: %w", err))
	}
	var got bool
	if err := conn.QueryRow(ctx, "select pg_try_advisory_lock(hashtextextended($1, 0))", "audit/"+kind).Scan(&got); err != nil {
		conn.Release()
		return nil, pg.Away(fmt.Errorf("lock audit run: %w", err))
	}
	if !got {
		conn.Release()
		return nil, fault.Conflict("同一种核验正在进行，请等它结束")
	}
	return conn, nil
}

func (s *Service) unlock(ctx context.Context, conn *pgxpool.Conn, kind string) {
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := conn.Exec(end, "select pg_advisory_unlock(hashtextextended($1, 0))", "audit/"+kind); err != nil {
		_ = conn.Conn().Close(end) // the lock ends with the session, which must not go back to the pool
	}
	conn.Release()
}

// settle marks a run whose process is gone.
func (s *Service) settle(ctx context.Context, kind string) error {
	if _, err := s.q.RunningOf(ctx, kind); noRows(err) {
		return nil
	}
	conn, err := s.lock(ctx, kind)
	if fault.Is(err, fault.KindConflict) {
		return nil // it lives
	}
	if err != nil {
		return err
	}
	defer s.unlock(ctx, conn, kind)
	return s.interruptStale(ctx, db.New(conn), kind)
}

// interruptStale runs under the kind's lock: whoever left a running row is gone.
func (s *Service) interruptStale(ctx context.Context, q *db.Queries, kind string) error {
	row, err := q.RunningOf(ctx, kind)
	if noRows(err) {
		return nil
	}
	if err != nil {
		return pg.Away(fmt.Errorf("look for interrupted runs: %w", err))
	}
	if _, err := q.Interrupted(ctx, db.InterruptedParams{ID: row.ID, EndedAt: ptr(s.Now().UTC()), Text: "进程中途结束，没有结果"}); err != nil {
		return pg.Away(fmt.Errorf("mark interrupted run: %w", err))
	}
	return nil
}

// Progress writes down how far the run has come. It fails when the run's lock was lost.
func (r *Run) Progress(ctx context.Context, p Progress) error {
	n, err := db.New(r.conn).Progress(ctx, db.ProgressParams{ID: r.ID, TotalObjects: p.TotalObjects, TotalBytes: p.TotalBytes,
		DoneObjects: p.DoneObjects, DoneBytes: p.DoneBytes, Text: p.Text})
	if err != nil {
		return pg.Away(fmt.Errorf("write progress of an audit run: %w", err))
	}
	if n == 0 {
		return errors.New("the audit run was ended by another")
	}
	r.Info.Progress = p
	return nil
}

// Finish ends the run and appends its leaf in one transaction; an entry without a key is none. A log that stands still takes no
// leaf: the result is kept nevertheless, and says so. When ctx has ended already, the run is marked as interrupted.
func (r *Run) Finish(ctx context.Context, res Result, entries ...chain.Entry) error {
	return r.finish(ctx, res, entries, nil)
}

// finish is Finish with more SQL in its transaction.
func (r *Run) finish(ctx context.Context, res Result, entries []chain.Entry, also func(ctx context.Context, tx *pg.Tx) error) error {
	if err := ctx.Err(); err != nil {
		r.interrupt(ctx, "服务停止，没有结果")
		return err
	}
	defer r.s.unlock(ctx, r.conn, r.Kind)
	count := int64(len(res.Findings)) + res.More
	findings, err := json.Marshal(nonNil(res.Findings[:min(len(res.Findings), maxFindings)]))
	if err != nil {
		return err
	}
	steps, err := json.Marshal(nonNil(res.Steps))
	if err != nil {
		return err
	}
	halted := r.s.Log.Halted() != ""
	if halted {
		entries, res.Text = nil, res.Text+"（证据册停止写入，结果未入册）"
	}
	write := func(ctx context.Context, tx *pg.Tx) error {
		p := db.FinishRunParams{ID: r.ID, State: res.State, EndedAt: ptr(r.s.Now().UTC()), Findings: findings, FindingCount: count, Steps: steps, Text: res.Text}
		for _, e := range entries {
			if e.Key == "" {
				continue
			}
			if err := r.s.Log.Append(tx, e); err != nil {
				return err
			}
			p.LogKey = e.Key
		}
		n, err := db.New(tx).FinishRun(ctx, p)
		if err != nil {
			return fmt.Errorf("finish audit run: %w", err)
		}
		if n == 0 {
			return errors.New("the audit run was ended by another")
		}
		if also != nil {
			return also(ctx, tx)
		}
		return nil
	}
	if halted {
		return pg.InTx(ctx, r.s.Pool, func(tx *pg.Tx) error { return write(ctx, tx) })
	}
	return r.s.Log.Do(ctx, write)
}

// interrupt gives the run up. What can't be written now is settled by whoever finds the lock free.
func (r *Run) interrupt(ctx context.Context, why string) {
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if _, err := db.New(r.conn).Interrupted(end, db.InterruptedParams{ID: r.ID, EndedAt: ptr(r.s.Now().UTC()), Text: why}); err != nil {
		r.s.Logger.WarnContext(ctx, "interrupted run not marked, the next start does", "run", r.ID, "err", err)
	}
	r.s.unlock(ctx, r.conn, r.Kind)
}

// Get gives one run with findings and transcript.
func (s *Service) Get(ctx context.Context, runID string) (Info, error) {
	row, err := s.q.GetRun(ctx, runID)
	return infoOr(row, err)
}

// Last gives the latest run of a kind; NotFound when there was none.
func (s *Service) Last(ctx context.Context, kind string) (Info, error) {
	row, err := s.q.LastOf(ctx, kind)
	return infoOr(row, err)
}

func infoOr(row db.AuditRun, err error) (Info, error) {
	if noRows(err) {
		return Info{}, fault.NotFound("没有这次核验")
	}
	if err != nil {
		return Info{}, pg.Away(fmt.Errorf("read audit run: %w", err))
	}
	return info(row)
}

// List gives runs, newest first, of one kind or ("") of all. next is "" at the end.
func (s *Service) List(ctx context.Context, kind, cursor string, limit int) (runs []Info, next string, err error) {
	if cursor != "" && !id.Valid(cursor) {
		return nil, "", fault.Invalid("cursor 无效，请从第一页重新开始")
	}
	rows, err := s.q.ListRuns(ctx, db.ListRunsParams{Kind: opt(kind), Before: opt(cursor), MaxRows: int32(limit + 1)})
	if err != nil {
		return nil, "", pg.Away(fmt.Errorf("list audit runs: %w", err))
	}
	for n, row := range rows {
		if n == limit {
			next = runs[limit-1].ID
			break
		}
		i, err := info(row)
		if err != nil {
			return nil, "", err
		}
		runs = append(runs, i)
	}
	return runs, next, nil
}

func info(r db.AuditRun) (Info, error) {
	i := Info{ID: r.ID, Kind: r.Kind, State: r.State, Actor: r.Actor, Paused: r.Paused, StartedAt: r.StartedAt, EndedAt: r.EndedAt,
		Progress: Progress{TotalObjects: r.TotalObjects, TotalBytes: r.TotalBytes, DoneObjects: r.DoneObjects, DoneBytes: r.DoneBytes, Text: r.Text},
		Damaged:  r.Damaged, Missing: r.Missing, FindingCount: r.FindingCount, LogKey: r.LogKey}
	if err := errors.Join(json.Unmarshal(r.Findings, &i.Findings), json.Unmarshal(r.Steps, &i.Steps)); err != nil {
		return i, fmt.Errorf("read audit run %s: %w", r.ID, err)
	}
	return i, nil
}

func noRows(err error) bool { return errors.Is(err, pgx.ErrNoRows) }

func nonNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

func opt(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
