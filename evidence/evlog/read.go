package evlog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/internal/db"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// Leaf is a stored leaf. Salt and Payload are nil once erased.
type Leaf struct {
	Seq     int64 // index in the tree, from 0
	Key     string
	Hash    chain.Hash
	Bytes   []byte
	Salt    []byte
	Payload []byte
}

// Decode reads the leaf's bytes.
func (f Leaf) Decode() (chain.Leaf, error) { return chain.DecodeLeaf(f.Bytes) }

// Disclosure is the leaf with what it commits to, for receipts and bundles.
func (f Leaf) Disclosure() chain.Disclosure {
	return chain.Disclosure{Leaf: f.Bytes, Salt: f.Salt, Payload: f.Payload}
}

func leafOf(seq int64, key string, hash, b, salt, payload []byte) Leaf {
	return Leaf{Seq: seq, Key: key, Hash: chain.Hash(hash), Bytes: b, Salt: salt, Payload: payload}
}

// ByKey gives the leaf of an idempotency key, fault.NotFound if there is none.
func (l *Log) ByKey(ctx context.Context, key string) (Leaf, error) {
	return byKey(ctx, l.q, key)
}

// ByKeyTx is ByKey within a transaction. Entries that are only queued are not there yet.
func (l *Log) ByKeyTx(ctx context.Context, tx pgx.Tx, key string) (Leaf, error) {
	return byKey(ctx, db.New(tx), key)
}

func byKey(ctx context.Context, q *db.Queries, key string) (Leaf, error) {
	r, err := q.EntryByKey(ctx, key)
	if errors.Is(err, pgx.ErrNoRows) {
		return Leaf{}, fault.NotFound("存证日志中没有该条目")
	}
	if err != nil {
		return Leaf{}, pg.Away(fmt.Errorf("read log entry: %w", err))
	}
	return leafOf(r.Seq, r.Key, r.LeafHash, r.Bytes, r.Salt, r.Payload), nil
}

// Indexes gives the indexes of the leaves under the keys, in their order; all of them have to be there.
func (l *Log) Indexes(ctx context.Context, keys []string) ([]int64, error) {
	seqs := make([]int64, len(keys))
	var b pgx.Batch
	for i, k := range keys {
		db.QueueSeq(&b, k, &seqs[i])
	}
	err := l.pool.SendBatch(ctx, &b).Close()
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, fault.NotFound("存证日志中没有该条目")
	}
	if err != nil {
		return nil, pg.Away(fmt.Errorf("read log entries: %w", err))
	}
	return seqs, nil
}

// SubjectLeaves gives all leaves of a subject in order of its counter.
func (l *Log) SubjectLeaves(ctx context.Context, s chain.Subject) ([]Leaf, error) {
	return subjectLeaves(ctx, l.q, s)
}

func subjectLeaves(ctx context.Context, q *db.Queries, s chain.Subject) ([]Leaf, error) {
	id := s.Opaque()
	rows, err := q.EntriesBySubject(ctx, id[:])
	if err != nil {
		return nil, pg.Away(fmt.Errorf("read leaves of a subject: %w", err))
	}
	out := make([]Leaf, len(rows))
	for i, r := range rows {
		out[i] = leafOf(r.Seq, r.Key, r.LeafHash, r.Bytes, r.Salt, r.Payload)
	}
	return out, nil
}

// SubjectBetween gives a subject's leaves with counters from first to last, in order.
func (l *Log) SubjectBetween(ctx context.Context, s chain.Subject, first, last uint64) ([]Leaf, error) {
	id := s.Opaque()
	rows, err := l.q.EntriesBySubjectBetween(ctx, db.EntriesBySubjectBetweenParams{Subject: id[:], First: int64(first), Last: int64(last)})
	if err != nil {
		return nil, pg.Away(fmt.Errorf("read leaves of a subject: %w", err))
	}
	out := make([]Leaf, len(rows))
	for i, r := range rows {
		out[i] = leafOf(r.Seq, r.Key, r.LeafHash, r.Bytes, r.Salt, r.Payload)
	}
	return out, nil
}

// BySeq gives the leaves with these indexes, in order; those that don't exist are absent.
func (l *Log) BySeq(ctx context.Context, seqs []int64) ([]Leaf, error) {
	rows, err := l.q.EntriesBySeq(ctx, seqs)
	if err != nil {
		return nil, pg.Away(fmt.Errorf("read leaves: %w", err))
	}
	out := make([]Leaf, len(rows))
	for i, r := range rows {
		out[i] = leafOf(r.Seq, r.Key, r.LeafHash, r.Bytes, r.Salt, r.Payload)
	}
	return out, nil
}

// Before gives up to limit leaves with an index below before, newest first. The newest of all come before math.MaxInt64.
func (l *Log) Before(ctx context.Context, before int64, limit int) ([]Leaf, error) {
	rows, err := l.q.EntriesBefore(ctx, db.EntriesBeforeParams{Before: before, Most: int32(min(limit, 1000))})
	if err != nil {
		return nil, pg.Away(fmt.Errorf("read leaves: %w", err))
	}
	out := make([]Leaf, len(rows))
	for i, r := range rows {
		out[i] = leafOf(r.Seq, r.Key, r.LeafHash, r.Bytes, r.Salt, r.Payload)
	}
	return out, nil
}

// Status is where the log stands.
type Status struct {
	Origin, VKey string
	VKeys        []string   // that sign, oldest first; VKey is the last
	Size         int64      // leaves in the database
	Root         chain.Hash // of the published tree
	Published    int64      // leaves under the latest checkpoint
	PublishedAt  time.Time  // zero before the first
	Checkpoint   []byte     // the signed note, nil before the first
	Halted       string     // zh-CN, why appending stands still
	Copies       bool       // a locked copy is kept in the store
	Copied       int64      // leaves in it
	CopiedAt     time.Time  // zero before the first
}

// Status reads where the log stands.
func (l *Log) Status(ctx context.Context) (Status, error) {
	head, err := l.q.Head(ctx)
	if err != nil {
		return Status{}, pg.Away(fmt.Errorf("read log head: %w", err))
	}
	p, err := l.q.Publisher(ctx)
	if err != nil {
		return Status{}, pg.Away(fmt.Errorf("read last checkpoint: %w", err))
	}
	s := Status{Origin: l.Origin(), VKey: l.VKey(), VKeys: l.VKeys(), Size: head.Size, Published: p.Size, Halted: l.Halted()}
	m, err := l.q.Mirror(ctx)
	if err != nil {
		return Status{}, pg.Away(fmt.Errorf("read how far the store is: %w", err))
	}
	if s.Copies, s.Copied = l.vault != nil, m.Size; m.At != nil {
		s.CopiedAt = *m.At
	}
	if p.Note != nil && p.At != nil {
		s.Checkpoint, s.PublishedAt, s.Root = []byte(*p.Note), *p.At, chain.Hash(p.Root)
	}
	return s, nil
}
