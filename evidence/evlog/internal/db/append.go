package db

import (
	"fmt"

	"github.com/jackc/pgx/v5"
)

// ForAppend is what sequencing reads under the head's lock.
type ForAppend struct {
	Head     LockHeadRow
	Existing []EntriesByKeysRow
	Subjects []SubjectHeadsRow
}

// QueueRead queues locking the head and reading what is known of these keys and subjects; r is filled when the batch is read. Each
// statement of the pipeline takes its own snapshot (READ COMMITTED), so those after the lock see all that was committed before it
// was won. In one statement they would not: that reads a snapshot older than the lock.
func QueueRead(b *pgx.Batch, r *ForAppend, keys []string, subjects [][]byte) {
	// A plan made while the log is nearly empty is kept by the connection, and would scan the whole of what comes later.
	b.Queue(`set local enable_seqscan = off`)
	b.Queue(lockHead).QueryRow(func(row pgx.Row) error { return row.Scan(&r.Head.Size, &r.Head.Edge) })
	b.Queue(entriesByKeys, keys).Query(func(rows pgx.Rows) (err error) {
		r.Existing, err = pgx.CollectRows(rows, pgx.RowToStructByPos[EntriesByKeysRow])
		return err
	})
	b.Queue(subjectHeads, subjects).Query(func(rows pgx.Rows) (err error) {
		r.Subjects, err = pgx.CollectRows(rows, pgx.RowToStructByPos[SubjectHeadsRow])
		return err
	})
}

// Appended is what sequencing writes.
type Appended struct {
	Entries  InsertEntriesParams
	Payloads InsertPayloadsParams
	Tiles    []InsertTileParams
	Head     UpdateHeadParams
}

// QueueWrite queues writing what WriteRows left.
func QueueWrite(b *pgx.Batch, a Appended) {
	e, p := a.Entries, a.Payloads
	if len(e.Seqs) > 0 {
		b.Queue(insertEntries, e.Seqs, e.Keys, e.KeySums, e.Subjects, e.Counters, e.LeafHashes, e.Bytes)
		b.Queue(insertPayloads, p.Seqs, p.Salts, p.Payloads)
	}
	for _, t := range a.Tiles {
		b.Queue(insertTile, t.Level, t.Idx, t.Root, t.Hashes)
	}
	b.Queue(updateHead, a.Head.Size, a.Head.Edge)
}

// QueueBegin queues the beginning of a transaction.
func QueueBegin(b *pgx.Batch) { b.Queue(`begin`) }

// QueueCommit queues its end. A statement that fails before it in the pipeline keeps it from being run.
func QueueCommit(b *pgx.Batch) {
	b.Queue(`commit`).Fn = func(res pgx.BatchResults) error {
		tag, err := res.Exec()
		if err != nil {
			return fmt.Errorf("commit: %w", err)
		}
		if tag.String() != "COMMIT" {
			return pgx.ErrTxCommitRollback
		}
		return nil
	}
}

// QueueSeq queues looking for the leaf under a key; no such leaf is pgx.ErrNoRows.
func QueueSeq(b *pgx.Batch, key string, seq *int64) {
	b.Queue(seqByKey, key).QueryRow(func(row pgx.Row) error { return row.Scan(seq) })
}
