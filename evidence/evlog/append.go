package evlog

import (
	"context"
	"crypto/rand"
	"fmt"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/transcript"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

const maxPayload = transcript.MaxPayload

// item is an entry on its way, with everything that doesn't depend on its place.
type item struct {
	key     string
	kind    chain.Kind
	subject chain.SubjectID
	timeMS  int64
	salt    []byte
	payload []byte

	commitment [32]byte

	seq     int64
	counter uint64
	hash    chain.Hash
	bytes   []byte // nil if the key was in the log already
}

// queue is what a transaction has appended so far.
type queue struct {
	items   []*item
	batched bool // a batch sequences it, not the transaction itself
	done    bool
}

// Append queues entries on the transaction. They are sequenced when pg.InTx is about to commit, after all of the caller's SQL, so
// the head's lock is held for a moment only. A key that is in the log already with the same kind, subject and payload adds nothing;
// with another it fails the transaction with fault.Conflict.
func (l *Log) Append(tx *pg.Tx, entries ...chain.Entry) error {
	if err := l.refuse(); err != nil {
		return err
	}
	q := l.queueOf(tx)
	if q.done {
		return fmt.Errorf("append to log: the transaction's entries are sequenced already")
	}
	for _, e := range entries {
		it, err := l.prepare(e)
		if err != nil {
			return fmt.Errorf("append %q to log: %w", e.Key, err)
		}
		q.items = append(q.items, it)
	}
	if q.batched {
		return nil
	}
	tx.BeforeCommit(l, func(ctx context.Context, tx *pg.Tx) error {
		q.done = true
		if _, err := l.sequence(ctx, sequencing{tx: tx}, q.items); err != nil {
			return err
		}
		l.nudge() // before the commit: the publisher waits a little for it
		return nil
	})
	return nil
}

func (l *Log) queueOf(tx *pg.Tx) *queue {
	return tx.Value(l, func() any { return &queue{} }).(*queue)
}

func (l *Log) prepare(e chain.Entry) (*item, error) {
	if len(e.Key) < 1 || len(e.Key) > 200 {
		return nil, fault.Invalid("日志条目的幂等键须为1至200字节，实为%d字节", len(e.Key))
	}
	if _, ok := chain.InfoOf(e.Kind); !ok {
		return nil, fmt.Errorf("kind %d is not in the registry", e.Kind)
	}
	if e.Subject.Type == "" || e.Subject.ID == "" {
		return nil, fmt.Errorf("it has no subject")
	}
	payload, err := chain.EncodePayload(e.Payload)
	if err != nil {
		return nil, err
	}
	if len(payload) > maxPayload {
		return nil, fault.TooLarge("日志条目内容%d字节，超过上限%d字节", len(payload), maxPayload)
	}
	t := e.Time
	if t.IsZero() {
		t = l.now()
	}
	salt := make([]byte, chain.SaltSize)
	_, _ = rand.Read(salt) // never fails since Go 1.24
	return &item{
		key: e.Key, kind: e.Kind, subject: e.Subject.Opaque(), timeMS: t.UnixMilli(), salt: salt, payload: payload,
		commitment: chain.Commitment(salt, payload),
	}, nil
}

// nudge wakes the publisher.
func (l *Log) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}
