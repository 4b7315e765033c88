// Package evlog owns the evidence log on PostgreSQL: it appends leaves in the caller's transaction, publishes signed checkpoints, and
// serves proofs. It promises that an appended entry commits or vanishes together with the caller's rows, that leaves have no gaps
// and no second order, and that an idempotency key names one leaf for good. It never recomputes a hash in SQL, never changes a
// stored leaf, and never signs: that is the signer's.
//
// Read append.go for the way in (sequence.go for what happens under the head's lock, batch.go for group commit), publish.go for
// checkpoints, witness.go for who cosigns them, stamp.go for trusted time, mirror.go for the locked copy in the store, read.go and http.go
// for the ways out, erase.go for what may go, audit.go for the proof that all of it still holds.
package evlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/internal/db"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// Signer signs checkpoints that continue what it signed before: signer.Process, a child, or signer.Signer, in this process.
type Signer interface {
	State(ctx context.Context) (signer.State, error)
	Sign(ctx context.Context, r signer.Request) ([]byte, error)
	Close() error
}

// Options of New. Dir or Signer is needed.
type Options struct {
	Dir      string        // the signer's directory (DATA/secrets); a signer child is started on it
	Origin   string        // name of the log when its key is made; "" makes one up. An existing key keeps its own.
	Signer   Signer        // instead of the child on Dir. The log closes it.
	Store    Vault         // keeps a locked copy of the log, see mirror.go; nil keeps none
	Retain   time.Duration // how long the copy is locked; 0 is ten years
	Minute   time.Duration // least time between checkpoints in the store; 0 is a minute
	Interval time.Duration // least time between checkpoints; 0 is a second
	MaxBatch int           // callers of Do that share a commit at most; 0 is 256
	Now      func() time.Time
	Logger   *slog.Logger
	Stamps   Stamps // who is asked for trusted timestamps
}

// Log is the evidence log.
type Log struct {
	pool     *pgxpool.Pool
	q        *db.Queries
	signer   Signer
	keys     *logKeys
	verifier note.Verifier // keys: whoever has signed the log's checkpoints
	vault    Vault
	retain   time.Duration
	minute   time.Duration
	interval time.Duration
	maxBatch int
	now      func() time.Time
	log      *slog.Logger
	stamper  stamper

	halt    atomic.Pointer[string] // why appending and signing stand still
	wake    chan struct{}          // something was appended
	awaited atomic.Int64           // size of the tree that the last append will leave behind
	tail    openTile

	witnesses atomic.Pointer[witnesses] // the policy in force, never nil once open
	noted     atomic.Int64              // statements about keys that are known to be in the log
	asked     atomic.Bool               // the store was asked whether it is ahead
	lacks     atomic.Int64              // the store was seen to have the log up to here, and may have no more

	mu      sync.Mutex // guards the queue of Do
	waiting []*call
	busy    bool
}

// New opens the log. It starts the signer and compares what that signed last with the database: a database that lacks signed leaves
// is opened for reading, but refuses to append, see Halted.
func New(pool *pgxpool.Pool, o Options) (*Log, error) {
	l := &Log{
		pool: pool, q: db.New(pool), signer: o.Signer, vault: o.Store, retain: o.Retain, minute: o.Minute, interval: o.Interval, maxBatch: o.MaxBatch, now: o.Now, log: o.Logger,
		wake: make(chan struct{}, 1),
	}
	if l.interval <= 0 {
		l.interval = time.Second
	}
	if l.retain <= 0 {
		l.retain = 10 * 366 * 24 * time.Hour
	}
	if l.minute <= 0 {
		l.minute = time.Minute
	}
	if l.maxBatch <= 0 {
		l.maxBatch = 256
	}
	if l.now == nil {
		l.now = time.Now
	}
	if l.log == nil {
		l.log = slog.Default()
	}
	var err error
	if l.stamper, err = newStamper(o.Stamps); err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	if l.signer == nil {
		if o.Dir == "" {
			return nil, errors.New("open log: neither a signer nor a directory for one")
		}
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("open log: %w", err)
		}
		l.signer = signer.NewProcess(self, "signer", "--dir", o.Dir, "--origin", o.Origin)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := l.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open log: %w", err), l.signer.Close())
	}
	return l, nil
}

func (l *Log) open(ctx context.Context) error {
	st, err := l.signer.State(ctx)
	if err != nil {
		return err
	}
	set, err := newKeySet(st)
	if err != nil {
		return err
	}
	l.keys = &logKeys{}
	l.keys.p.Store(set)
	l.verifier = l.keys
	none, err := l.newWitnesses(chain.LogPolicy(l.VKey()))
	if err != nil {
		return err
	}
	l.witnesses.Store(none)
	var durable bool
	err = l.pool.QueryRow(ctx, `select current_setting('fsync') = 'on' and current_setting('synchronous_commit') <> 'off'`).Scan(&durable)
	if err != nil {
		return pg.Away(fmt.Errorf("read database settings: %w", err))
	}
	if !durable {
		l.log.WarnContext(ctx, "database may lose acknowledged log entries in a crash: fsync or synchronous_commit is off")
	}
	if err := l.compare(ctx); err != nil || l.Halted() != "" || l.vault == nil {
		return err
	}
	// A store that is away is no reason to stand still: it is asked before the next copy.
	away, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := l.compareStore(away); err != nil {
		l.log.WarnContext(ctx, "the log's copy in the store could not be compared", "err", err)
	}
	return nil
}

// Close ends the signer. Appends still work until the pool is closed; checkpoints don't.
func (l *Log) Close() error { return l.signer.Close() }

// Origin is the log's name, the first line of its checkpoints.
func (l *Log) Origin() string { return l.verifier.Name() }

// Halted says in zh-CN why the log refuses to append, "" if it doesn't.
func (l *Log) Halted() string {
	if p := l.halt.Load(); p != nil {
		return *p
	}
	return ""
}

// stop ends appending for the life of this process: what was signed and what the database holds contradict each other, and going
// on would make a second history.
func (l *Log) stop(ctx context.Context, reason string, cause error) {
	if l.halt.CompareAndSwap(nil, &reason) {
		l.log.ErrorContext(ctx, "evidence log halted", "reason", reason, "err", cause)
	}
}

func (l *Log) refuse() error {
	if r := l.Halted(); r != "" {
		return fault.Unavailable(time.Minute, "存证日志已停止写入：%s", r)
	}
	return nil
}
