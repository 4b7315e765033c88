package evlog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/internal/db"
	"zhizheng/internal/fault"
)

// sequence gives the items their places and writes them. From the first statement on it holds the head's lock, until the
// transaction ends: there is one order of appends, whatever process they come from.
func (l *Log) sequence(ctx context.Context, tx pgx.Tx, items []*item) error {
	if len(items) == 0 {
		return nil
	}
	keys := make([]string, len(items))
	var subjects [][]byte
	heads := map[chain.SubjectID]subjectHead{}
	for i, it := range items {
		keys[i] = it.key
		if _, ok := heads[it.subject]; !ok {
			heads[it.subject] = subjectHead{}
			subjects = append(subjects, it.subject[:])
		}
	}
	known, err := db.ReadForAppend(ctx, tx, keys, subjects)
	if err != nil {
		return fmt.Errorf("lock log head: %w", err)
	}
	edge, err := chain.ParseEdge(known.Head.Size, known.Head.Edge)
	if err != nil {
		return err
	}
	for _, s := range known.Subjects {
		heads[chain.SubjectID(s.Subject)] = subjectHead{uint64(s.Counter), chain.Hash(s.LeafHash)}
	}
	fresh, err := resolve(items, known.Existing)
	if err != nil || len(fresh) == 0 {
		return err
	}
	for _, it := range fresh {
		h := heads[it.subject]
		it.seq = edge.Size
		leaf := chain.Leaf{
			Version: chain.Version, Kind: it.kind, Subject: it.subject, Counter: h.counter + 1, Prev: h.hash, TimeMS: it.timeMS,
			Commitment: chain.Commitment(it.salt, it.payload),
		}
		if it.bytes, err = leaf.Encode(); err != nil {
			return fmt.Errorf("append %q to log: %w", it.key, err)
		}
		if _, err := chain.DecodeLeaf(it.bytes); err != nil { // admitted only if it reads back as the same bytes
			return fmt.Errorf("append %q to log: %w", it.key, err)
		}
		it.counter, it.hash = leaf.Counter, chain.LeafHash(it.bytes)
		heads[it.subject] = subjectHead{leaf.Counter, it.hash}
		edge.Append(it.hash)
	}
	rows := rowsOf(fresh, edge)
	if rows.Tiles, err = fullTiles(ctx, tx, known.Head.Size, fresh); err != nil {
		return fmt.Errorf("append to log: %w", err)
	}
	if err := db.WriteAppended(ctx, tx, rows); err != nil {
		return fmt.Errorf("append to log: %w", err)
	}
	l.awaited.Store(edge.Size)
	return nil
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

// keySum binds an idempotency key to its leaf, so that an audit finds a key that was changed in the database.
func keySum(leaf chain.Hash, key string) []byte {
	h := sha256.New()
	h.Write(leaf[:])
	h.Write([]byte(key))
	return h.Sum(nil)[:8]
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

// fullTiles gives the tiles that these leaves complete, at every level. Partial tiles are never written: rewriting them each commit
// costs many times the leaves' own bytes.
func fullTiles(ctx context.Context, tx pgx.Tx, size int64, fresh []*item) ([]db.InsertTileParams, error) {
	q := db.New(tx)
	hashes := make([][]byte, len(fresh))
	for i, it := range fresh {
		hashes[i] = it.hash[:]
	}
	var tiles []db.InsertTileParams
	for level, have := 0, size; len(hashes) > 0 && have+int64(len(hashes)) >= (have/chain.TileWidth+1)*chain.TileWidth; level++ {
		// What the open tile of this level holds already lies below: leaf hashes, or roots of the tiles of the level beneath.
		first := have / chain.TileWidth * chain.TileWidth
		var begun [][]byte
		var err error
		if have > first && level == 0 {
			begun, err = q.LeafHashes(ctx, db.LeafHashesParams{First: first, Past: have})
		} else if have > first {
			begun, err = q.TileRoots(ctx, db.TileRootsParams{Level: int16(level - 1), First: first, Past: have})
		}
		if err != nil {
			return nil, err
		}
		if int64(len(begun)) != have-first {
			return nil, fmt.Errorf("level %d has %d of the %d hashes before %d", level, len(begun), have-first, have)
		}
		all := append(begun, hashes...)
		idx := first / chain.TileWidth
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
	}
	return tiles, nil
}
