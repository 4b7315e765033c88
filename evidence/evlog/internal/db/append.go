package db

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
)

// ForAppend is what sequencing reads under the head's lock.
type ForAppend struct {
	Head     LockHeadRow
	Existing []EntriesByKeysRow
	Subjects []SubjectHeadsRow
}

// ReadForAppend locks the head and reads what is known of these keys and subjects, in one round trip. Each statement of the
// pipeline takes its own snapshot (READ COMMITTED), so the second and third see all that was committed before the lock was won.
// In one statement they would not: that reads a snapshot older than the lock.
func ReadForAppend(ctx context.Context, tx pgx.Tx, keys []string, subjects [][]byte) (ForAppend, error) {
	var b pgx.Batch
	// A plan made while the log is nearly empty is kept by the connection, and would scan the whole of what comes later.
	b.Queue(`set local enable_seqscan = off`)
	b.Queue(lockHead)
	b.Queue(entriesByKeys, keys)
	b.Queue(subjectHeads, subjects)
	res := tx.SendBatch(ctx, &b)
	var r ForAppend
	err := func() error {
		if _, err := res.Exec(); err != nil {
			return err
		}
		if err := res.QueryRow().Scan(&r.Head.Size, &r.Head.Edge); err != nil {
			return err
		}
		rows, err := res.Query()
		if err != nil {
			return err
		}
		if r.Existing, err = pgx.CollectRows(rows, pgx.RowToStructByPos[EntriesByKeysRow]); err != nil {
			return err
		}
		if rows, err = res.Query(); err != nil {
			return err
		}
		r.Subjects, err = pgx.CollectRows(rows, pgx.RowToStructByPos[SubjectHeadsRow])
		return err
	}()
	return r, errors.Join(err, res.Close())
}

// Appended is what sequencing writes.
type Appended struct {
	Entries  InsertEntriesParams
	Payloads InsertPayloadsParams
	Tiles    []InsertTileParams
	Head     UpdateHeadParams
}

// WriteAppended writes it in one round trip.
func WriteAppended(ctx context.Context, tx pgx.Tx, a Appended) error {
	var b pgx.Batch
	e, p := a.Entries, a.Payloads
	b.Queue(insertEntries, e.Seqs, e.Keys, e.KeySums, e.Subjects, e.Counters, e.LeafHashes, e.Bytes)
	b.Queue(insertPayloads, p.Seqs, p.Salts, p.Payloads)
	for _, t := range a.Tiles {
		b.Queue(insertTile, t.Level, t.Idx, t.Root, t.Hashes)
	}
	b.Queue(updateHead, a.Head.Size, a.Head.Edge)
	return tx.SendBatch(ctx, &b).Close()
}
