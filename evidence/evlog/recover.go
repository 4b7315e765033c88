package evlog

import (
	"context"
	"errors"
	"fmt"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/internal/db"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// Recovery is what Recover did.
type Recovery struct {
	Had, Now  int64 // leaves before and after
	Payloads  int64 // of the new ones, those that have their content
	Missing   int64 // leaves that were signed and that neither the store nor the files have
	Halted    string
	Unchanged bool // nothing was missing
}

// Recover puts leaves back that were signed and are missing: after a restore of an older database. Their bytes come from the locked copy
// in the store, and behind its end from disclosures that others hold (receipts); every one is hashed into the tree, and nothing is
// written unless the tree is the one that was signed. Their content is gone, but for what the disclosures hold, and the log says so. Their
// idempotency keys are gone too: a request that is sent again is logged again. It goes on from any interruption.
func (l *Log) Recover(ctx context.Context, others map[int64]chain.Disclosure) (Recovery, error) {
	st, err := l.signer.State(ctx)
	if err != nil {
		return Recovery{}, err
	}
	roots := map[int64]chain.Hash{st.Size: st.Root}
	var stored int64
	if l.vault != nil {
		if stored, err = l.newestStored(ctx); err != nil {
			return Recovery{}, err
		}
	}
	if stored > 0 {
		c, err := l.storedCheckpoint(ctx, stored)
		if err != nil {
			return Recovery{}, fmt.Errorf("the store's checkpoint of %d: %w", stored, err)
		}
		if stored > st.Size {
			return Recovery{}, fault.Conflict("对象存储中的副本有%d条，签名进程只记得%d条：请先恢复密钥目录中的 log.signed", stored, st.Size)
		}
		roots[stored] = c.Root
	}
	r := &recovering{l: l, roots: roots, stored: stored, signed: max(stored, st.Size), others: others}
	err = pg.InTx(ctx, l.pool, func(tx *pg.Tx) error { return r.run(ctx, l.q.WithTx(tx)) })
	if err != nil {
		return Recovery{}, fmt.Errorf("recover log: %w", err)
	}
	return l.afterRecovery(ctx, r)
}

// afterRecovery looks again whether everything fits together, and logs what lost its content. Crash before that: the next call finds the
// recovered leaves and does it.
func (l *Log) afterRecovery(ctx context.Context, r *recovering) (Recovery, error) {
	out := Recovery{Had: r.had, Now: r.now, Payloads: r.payloads, Missing: r.signed - r.now, Unchanged: r.had == r.now}
	l.halt.Store(nil)
	l.asked.Store(false)
	err := l.compare(ctx)
	if err == nil && l.Halted() == "" && l.vault != nil {
		err = l.compareStore(ctx)
	}
	if out.Halted = l.Halted(); err != nil || out.Halted != "" {
		return out, err
	}
	bare, err := l.q.UnrecordedErasures(ctx)
	if err != nil || len(bare) == 0 {
		return out, pg.Away(err)
	}
	err = pg.InTx(ctx, l.pool, func(tx *pg.Tx) error {
		for len(bare) > 0 {
			n := min(len(bare), maxErased)
			if err := l.Append(tx, erased(bare[:n], "system", "数据库恢复到旧状态后由锁定副本补回，内容已失")); err != nil {
				return err
			}
			bare = bare[n:]
		}
		return nil
	})
	return out, err
}

// recovering is one run.
type recovering struct {
	l      *Log
	roots  map[int64]chain.Hash // that were signed, by size
	stored int64                // leaves in the store's copy
	signed int64                // leaves under any checkpoint
	others map[int64]chain.Disclosure

	bundles  map[int64][][]byte
	had, now int64
	payloads int64
}

func (r *recovering) run(ctx context.Context, q *db.Queries) error {
	head, err := q.LockHead(ctx)
	if err != nil {
		return err
	}
	edge, err := chain.ParseEdge(head.Size, head.Edge)
	if err != nil {
		return err
	}
	r.had, r.now = head.Size, head.Size
	found, proven, err := r.collect(ctx, edge)
	if err != nil {
		return err
	}
	if proven.Size <= head.Size {
		return nil
	}
	if err := r.write(ctx, q, found[:proven.Size-head.Size], head.Size); err != nil {
		return err
	}
	if err := r.tiles(ctx, q, head.Size, proven.Size); err != nil {
		return err
	}
	r.now = proven.Size
	return q.UpdateHead(ctx, db.UpdateHeadParams{Size: proven.Size, Edge: proven.Bytes()})
}

// collect reads the missing leaves as far as they go. proven is the tree at the last signed size on the way: what lies behind that can't be
// told from an invention.
func (r *recovering) collect(ctx context.Context, edge chain.Edge) (found []chain.Disclosure, proven chain.Edge, err error) {
	for {
		if root, ok := r.roots[edge.Size]; ok && edge.Size > 0 {
			if edge.Root() != root {
				return nil, proven, fault.Conflict("补回的%d条不成为已签发的树：数据库中原有的册页或所给的文件不是这部日志的", edge.Size)
			}
			proven = chain.Edge{Size: edge.Size, Hashes: append([]chain.Hash(nil), edge.Hashes...)}
		}
		if edge.Size >= r.signed {
			return found, proven, nil
		}
		d, ok, err := r.leaf(ctx, edge.Size)
		if err != nil || !ok {
			return found, proven, err
		}
		edge.Append(chain.LeafHash(d.Leaf))
		found = append(found, d)
	}
}

// leaf finds one leaf: in the store, with the content from a receipt if there is one.
func (r *recovering) leaf(ctx context.Context, seq int64) (chain.Disclosure, bool, error) {
	d, ok := r.others[seq]
	if ok {
		if _, err := d.Open(); err != nil {
			return d, false, fmt.Errorf("the receipt of leaf %d: %w", seq, err)
		}
	}
	if seq >= r.stored {
		return d, ok, nil
	}
	idx := seq / chain.TileWidth
	leaves, read := r.bundles[idx]
	if !read {
		width := int(min(chain.TileWidth, r.stored-idx*chain.TileWidth))
		b, err := r.l.stored(ctx, copyPrefix+chain.EntriesPath(idx, width))
		if err != nil {
			return d, false, err
		}
		if leaves, err = chain.SplitBundle(b); err == nil && len(leaves) != width {
			err = errors.New("it has not as many entries as its name says")
		}
		if err != nil {
			return d, false, fmt.Errorf("entries %d in the store: %w", idx, err)
		}
		r.bundles = map[int64][][]byte{idx: leaves} // they come in order
	}
	bytes := leaves[seq%chain.TileWidth]
	if !ok || string(d.Leaf) != string(bytes) {
		d = chain.Disclosure{Leaf: bytes}
	}
	return d, true, nil
}

func (r *recovering) write(ctx context.Context, q *db.Queries, found []chain.Disclosure, first int64) error {
	for len(found) > 0 {
		n := min(len(found), 2048)
		var e db.InsertEntriesParams
		var p db.InsertPayloadsParams
		for i, d := range found[:n] {
			leaf, err := chain.DecodeLeaf(d.Leaf)
			if err != nil {
				return fmt.Errorf("leaf %d: %w", first+int64(i), err)
			}
			seq, hash := first+int64(i), chain.LeafHash(d.Leaf)
			key := fmt.Sprintf("recovered/%d", seq)
			e.Seqs, e.Keys, e.KeySums = append(e.Seqs, seq), append(e.Keys, key), append(e.KeySums, keySum(hash, key))
			e.Subjects, e.Counters = append(e.Subjects, leaf.Subject[:]), append(e.Counters, int64(leaf.Counter))
			e.LeafHashes, e.Bytes = append(e.LeafHashes, hash[:]), append(e.Bytes, d.Leaf)
			if d.Salt != nil {
				p.Seqs, p.Salts, p.Payloads = append(p.Seqs, seq), append(p.Salts, d.Salt), append(p.Payloads, d.Payload)
			}
		}
		if err := q.InsertEntries(ctx, e); err != nil {
			return err
		}
		if err := q.InsertPayloads(ctx, p); err != nil {
			return err
		}
		r.payloads += int64(len(p.Seqs))
		found, first = found[n:], first+int64(n)
	}
	return nil
}

// tiles writes the tiles that became full between two sizes.
func (r *recovering) tiles(ctx context.Context, q *db.Queries, from, to int64) error {
	for level := 0; ; level++ {
		span := chain.TileHeight * (level + 1)
		if to>>span == 0 {
			return nil
		}
		for idx := from >> span; idx < to>>span; idx++ {
			first, past := idx*chain.TileWidth, (idx+1)*chain.TileWidth
			var parts [][]byte
			var err error
			if level == 0 {
				parts, err = q.LeafHashes(ctx, db.LeafHashesParams{First: first, Past: past})
			} else {
				parts, err = q.TileRoots(ctx, db.TileRootsParams{Level: int16(level - 1), First: first, Past: past})
			}
			if err != nil {
				return err
			}
			var hashes []byte
			for _, h := range parts {
				hashes = append(hashes, h...)
			}
			root, err := chain.TileRoot(hashes)
			if err != nil {
				return err
			}
			if err := q.InsertTile(ctx, db.InsertTileParams{Level: int16(level), Idx: idx, Root: root[:], Hashes: hashes}); err != nil {
				return err
			}
		}
	}
}
