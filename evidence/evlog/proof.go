package evlog

import (
	"context"
	"fmt"
	"time"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/internal/db"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// Checkpoint gives the latest signed checkpoint; fault.Pending before the first.
func (l *Log) Checkpoint(ctx context.Context) ([]byte, error) {
	signed, _, err := l.published(ctx)
	return signed, err
}

func (l *Log) published(ctx context.Context) ([]byte, chain.Checkpoint, error) {
	return l.publishedBy(ctx, l.q)
}

func (l *Log) publishedBy(ctx context.Context, q *db.Queries) ([]byte, chain.Checkpoint, error) {
	p, err := q.Publisher(ctx)
	if err != nil {
		return nil, chain.Checkpoint{}, pg.Away(fmt.Errorf("read last checkpoint: %w", err))
	}
	if p.Note == nil {
		return nil, chain.Checkpoint{}, fault.Pending(time.Second, "尚未签发检查点，请稍候")
	}
	c, err := chain.OpenCheckpoint([]byte(*p.Note), l.verifier)
	if err != nil {
		return nil, chain.Checkpoint{}, fmt.Errorf("last checkpoint: %w", err)
	}
	return []byte(*p.Note), c, nil
}

// Receipt gives the C2SP tlog-proof of a key's leaf, with the leaf, its salt and payload in the extra line, under the best checkpoint
// there is: the newest with the witnesses' quorum if that covers the leaf. It waits for nobody. fault.Pending until a checkpoint
// covers it, fault.NotFound if there is no such leaf.
func (l *Log) Receipt(ctx context.Context, key string) ([]byte, error) {
	f, err := l.ByKey(ctx, key)
	if err != nil {
		return nil, err
	}
	p, err := l.proven(ctx, []int64{f.Seq}, f.Seq+1)
	if err != nil {
		return nil, err
	}
	return p.Receipt(f)
}

// Proofs gives the newest checkpoint, as the log signed it, and the inclusion proof of each of these leaves in it, as 32-byte hashes.
// fault.Pending if the checkpoint doesn't cover them all yet. ProofsWitnessed adds the witnesses.
func (l *Log) Proofs(ctx context.Context, seqs []int64) (checkpoint []byte, proofs map[int64][][]byte, err error) {
	signed, c, err := l.published(ctx)
	if err != nil {
		return nil, nil, err
	}
	hashes, err := l.prove(ctx, c, seqs)
	if err != nil {
		return nil, nil, err
	}
	proofs = make(map[int64][][]byte, len(hashes))
	for seq, hs := range hashes {
		p := make([][]byte, len(hs))
		for i := range hs {
			p[i] = hs[i][:]
		}
		proofs[seq] = p
	}
	return signed, proofs, nil
}

func (l *Log) prove(ctx context.Context, c chain.Checkpoint, seqs []int64) (map[int64][]chain.Hash, error) {
	tiles := &tileReader{ctx: ctx, q: l.q, size: c.Size}
	out := make(map[int64][]chain.Hash, len(seqs))
	for _, seq := range seqs {
		if seq >= c.Size {
			return nil, fault.Pending(time.Second, "检查点尚未覆盖该条目，请稍候")
		}
		if _, ok := out[seq]; ok {
			continue
		}
		p, err := chain.ProveInclusion(seq, c.Size, c.Root, tiles.read)
		if err != nil {
			if tiles.err != nil {
				return nil, pg.Away(fmt.Errorf("read tiles: %w", tiles.err))
			}
			return nil, err
		}
		out[seq] = p
	}
	return out, nil
}

// InclusionAt proves leaf seq in the tree of a past size, for a checkpoint that someone holds.
func (l *Log) InclusionAt(ctx context.Context, seq, size int64) ([]chain.Hash, chain.Hash, error) {
	root, err := l.rootAt(ctx, size)
	if err != nil {
		return nil, chain.Hash{}, err
	}
	p, err := chain.ProveInclusion(seq, size, root, (&tileReader{ctx: ctx, q: l.q, size: size}).read)
	return p, root, err
}

// rootAt builds the root of a past size from stored tiles.
func (l *Log) rootAt(ctx context.Context, size int64) (chain.Hash, error) {
	head, err := l.q.Head(ctx)
	if err != nil {
		return chain.Hash{}, pg.Away(fmt.Errorf("read log head: %w", err))
	}
	if size < 1 || size > head.Size {
		return chain.Hash{}, fault.Invalid("日志有%d条，没有大小为%d的树", head.Size, size)
	}
	return rootOf(ctx, l.q, size)
}

func rootOf(ctx context.Context, q *db.Queries, size int64) (chain.Hash, error) {
	// The right edge, level by level: what fills no whole tile of a level is added below the complete tiles' roots.
	t := &tileReader{ctx: ctx, q: q, size: size}
	return chain.RootFromTiles(size, t.read)
}
