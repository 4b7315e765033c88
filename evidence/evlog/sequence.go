package evlog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/internal/db"
	"zhizheng/internal/fault"
)

// sequencing is the part of a transaction in which entries get their places and are written. It takes two round trips, for
// many entries four: what leads up to the head's lock and reads under it, and what is written, with the commit if the transaction is
// the log's own. From the lock on
// until the transaction's end there is one order of appends, whatever process they come from.
type sequencing struct {
	tx     sender
	before func(b *pgx.Batch) // nil, or queues what has to be done before the lock
	after  func(b *pgx.Batch) // nil, or queues what ends the transaction
}

// sender is a transaction, or the connection that it is on.
type sender interface {
	db.DBTX
	Conn() *pgx.Conn
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// sequence gives the items their places and writes them. ended says that the end of the transaction was on its way when the error came:
// whether it was committed is not known then.
func (l *Log) sequence(ctx context.Context, s sequencing, items []*item) (ended bool, err error) {
	edge, rows, err := l.place(ctx, s, items)
	if err != nil {
		return false, err
	}
	var b pgx.Batch
	if len(rows.Entries.Seqs) > 0 {
		if err := db.WriteRows(ctx, s.tx.Conn(), &rows); err != nil {
			return false, fmt.Errorf("append to log: %w", err)
		}
		db.QueueWrite(&b, rows)
		l.awaited.Store(edge.Size)
	}
	if s.after != nil {
		s.after(&b)
	}
	if b.Len() == 0 {
		return false, nil
	}
	if err := s.tx.SendBatch(ctx, &b).Close(); err != nil {
		return s.after != nil, fmt.Errorf("append to log: %w", err)
	}
	return false, nil
}

// place locks the head, leaves out what is in the log already, and gives the rest places. What it returns has no entries if nothing is fresh.
func (l *Log) place(ctx context.Context, s sequencing, items []*item) (chain.Edge, db.Appended, error) {
	none := func(err error) (chain.Edge, db.Appended, error) { return chain.Edge{}, db.Appended{}, err }
	var b pgx.Batch
	if s.before != nil {
		s.before(&b)
	}
	keys := make([]string, len(items))
	var subjects [][]byte
	heads := make(map[chain.SubjectID]subjectHead, len(items))
	for i, it := range items {
		keys[i] = it.key
		if _, ok := heads[it.subject]; !ok {
			heads[it.subject] = subjectHead{}
			subjects = append(subjects, it.subject[:])
		}
	}
	var known db.ForAppend
	if len(items) > 0 {
		db.QueueRead(&b, &known, keys, subjects)
	}
	if b.Len() == 0 {
		return none(nil)
	}
	if err := s.tx.SendBatch(ctx, &b).Close(); err != nil || len(items) == 0 {
		return none(err)
	}
	edge, err := chain.ParseEdge(known.Head.Size, known.Head.Edge)
	if err != nil {
		return none(err)
	}
	for _, s := range known.Subjects {
		heads[chain.SubjectID(s.Subject)] = subjectHead{uint64(s.Counter), chain.Hash(s.LeafHash)}
	}
	fresh, err := resolve(items, known.Existing)
	if err != nil || len(fresh) == 0 {
		return none(err)
	}
	for _, it := range fresh {
		h := heads[it.subject]
		it.seq = edge.Size
		leaf := chain.Leaf{
			Version: chain.Version, Kind: it.kind, Subject: it.subject, Counter: h.counter + 1, Prev: h.hash, TimeMS: it.timeMS,
			Commitment: it.commitment,
		}
		if it.bytes, err = leaf.Encode(); err != nil {
			return none(fmt.Errorf("append %q to log: %w", it.key, err))
		}
		if _, err := chain.DecodeLeaf(it.bytes); err != nil { // admitted only if it reads back as the same bytes
			return none(fmt.Errorf("append %q to log: %w", it.key, err))
		}
		it.counter, it.hash = leaf.Counter, chain.LeafHash(it.bytes)
		heads[it.subject] = subjectHead{leaf.Counter, it.hash}
		edge.Append(it.hash)
	}
	rows := rowsOf(fresh, edge)
	if rows.Tiles, err = l.fullTiles(ctx, s.tx, known.Head, fresh, edge); err != nil {
		return none(fmt.Errorf("append to log: %w", err))
	}
	return edge, rows, nil
}

type subjectHead struct {
	counter uint64
	hash    chain.Hash
}

// resolve leaves out items whose key is in the log, or earlier among the items, with the same content.
func resolve(items []*item, existing []db.EntriesByKeysRow) ([]*item, error) {
	stored := make(map[string]db.EntriesByKeysRow, len(existing))
	for _, e := range existing {
		stored[e.Key] = e
	}
	first := make(map[string]*item, len(items))
	var fresh []*item
	for _, it := range items {
		it.bytes = nil // a batch may come here twice
		if e, ok := stored[it.key]; ok {
			same, err := it.sameAs(e)
			if err != nil {
				return nil, err
			}
			if !same {
				return nil, conflict(it.key)
			}
			it.seq, it.hash = e.Seq, chain.Hash(e.LeafHash)
			continue
		}
		if f, ok := first[it.key]; ok {
			if f.kind != it.kind || f.subject != it.subject || !bytes.Equal(f.payload, it.payload) {
				return nil, conflict(it.key)
			}
			continue
		}
		first[it.key] = it
		fresh = append(fresh, it)
	}
	return fresh, nil
}

// sameAs compares with a stored entry. An erased payload can't be compared; kind and subject then have to do.
func (it *item) sameAs(e db.EntriesByKeysRow) (bool, error) {
	leaf, err := chain.DecodeLeaf(e.Bytes)
	if err != nil {
		return false, fmt.Errorf("leaf %d in the log: %w", e.Seq, err)
	}
	return leaf.Kind == it.kind && leaf.Subject == it.subject && (e.Salt == nil || bytes.Equal(e.Payload, it.payload)), nil
}

const keySumSize = 8

// keySum binds an idempotency key to its leaf, so that an audit finds a key that was changed in the database.
func keySum(leaf chain.Hash, key string) []byte {
	h := sha256.New()
	h.Write(leaf[:])
	h.Write([]byte(key))
	return h.Sum(nil)[:keySumSize]
}

func conflict(key string) error {
	return fault.Conflict("幂等键 %s 已用于内容不同的日志条目", key)
}

func rowsOf(fresh []*item, edge chain.Edge) db.Appended {
	n := len(fresh)
	a := db.Appended{
		Entries: db.InsertEntriesParams{
			Seqs: make([]int64, n), Keys: make([]string, n), KeySums: make([][]byte, n), Subjects: make([][]byte, n), Counters: make([]int64, n),
			LeafHashes: make([][]byte, n), Bytes: make([][]byte, n),
		},
		Payloads: db.InsertPayloadsParams{Seqs: make([]int64, n), Salts: make([][]byte, n), Payloads: make([][]byte, n)},
		Head:     db.UpdateHeadParams{Size: edge.Size, Edge: edge.Bytes()},
	}
	for i, it := range fresh {
		a.Entries.Seqs[i], a.Entries.Keys[i], a.Entries.KeySums[i] = it.seq, it.key, keySum(it.hash, it.key)
		a.Entries.Subjects[i] = it.subject[:]
		a.Entries.Counters[i], a.Entries.LeafHashes[i], a.Entries.Bytes[i] = int64(it.counter), it.hash[:], it.bytes
		a.Payloads.Seqs[i], a.Payloads.Salts[i], a.Payloads.Payloads[i] = it.seq, it.salt, it.payload
	}
	return a
}

// openTile holds the leaf hashes of the tile that the tree ends in, as the last append of this process left it. The edge binds it to
// its content: a tree of that size and edge has those leaves, whoever appended since, or whether that append was committed at all.
type openTile struct {
	mu     sync.Mutex
	size   int64
	edge   []byte
	hashes [][]byte
}

// at gives the hashes if they are those of this tree.
func (o *openTile) at(size int64, edge []byte) ([][]byte, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.size != size || !bytes.Equal(o.edge, edge) {
		return nil, false
	}
	return o.hashes[:len(o.hashes):len(o.hashes)], true // appending to it makes a copy
}

func (o *openTile) keep(size int64, edge []byte, hashes [][]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.size, o.edge, o.hashes = size, edge, hashes
}

// fullTiles gives the tiles that these leaves complete, at every level. Partial tiles are never written: rewriting them each commit
// costs many times the leaves' own bytes.
func (l *Log) fullTiles(ctx context.Context, tx sender, head db.LockHeadRow, fresh []*item, edge chain.Edge) ([]db.InsertTileParams, error) {
	q := db.New(tx)
	hashes := make([][]byte, len(fresh))
	for i, it := range fresh {
		hashes[i] = it.hash[:]
	}
	if begun, ok := l.tail.at(head.Size, head.Edge); ok && head.Size/chain.TileWidth == edge.Size/chain.TileWidth {
		l.tail.keep(edge.Size, edge.Bytes(), append(begun, hashes...))
		return nil, nil // the common case: no tile is completed
	}
	var tiles []db.InsertTileParams
	for level, have := 0, head.Size; len(hashes) > 0 && have+int64(len(hashes)) >= (have/chain.TileWidth+1)*chain.TileWidth; level++ {
		// What the open tile of this level holds already lies below: leaf hashes, or roots of the tiles of the level beneath.
		begun, err := l.begun(ctx, q, level, have, head)
		if err != nil {
			return nil, err
		}
		all := append(begun, hashes...)
		idx := have / chain.TileWidth
		have, hashes = idx, nil
		for ; len(all) >= chain.TileWidth; all, idx = all[chain.TileWidth:], idx+1 {
			t := bytes.Join(all[:chain.TileWidth], nil)
			root, err := chain.TileRoot(t)
			if err != nil {
				return nil, err
			}
			tiles = append(tiles, db.InsertTileParams{Level: int16(level), Idx: idx, Root: root[:], Hashes: t})
			hashes = append(hashes, root[:])
		}
		if level == 0 {
			l.tail.keep(edge.Size, edge.Bytes(), all)
		}
	}
	return tiles, nil
}

// begun gives what the open tile of a level holds, when that level has so many hashes.
func (l *Log) begun(ctx context.Context, q *db.Queries, level int, have int64, head db.LockHeadRow) (hashes [][]byte, err error) {
	first := have / chain.TileWidth * chain.TileWidth
	switch {
	case have == first:
		return nil, nil
	case level > 0:
		hashes, err = q.TileRoots(ctx, db.TileRootsParams{Level: int16(level - 1), First: first, Past: have})
	default:
		var ok bool
		if hashes, ok = l.tail.at(head.Size, head.Edge); !ok {
			hashes, err = q.LeafHashes(ctx, db.LeafHashesParams{First: first, Past: have})
		}
	}
	if err == nil && int64(len(hashes)) != have-first {
		err = fmt.Errorf("level %d has %d of the %d hashes before %d", level, len(hashes), have-first, have)
	}
	return hashes, err
}
