package evlog

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/internal/db"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/internal/pg"
)

// Run publishes checkpoints until ctx ends: soon after an append, at most one an interval, and only when the tree grew. Errors are
// logged and tried again at the next interval; a contradiction halts the log, see Halted.
func (l *Log) Run(ctx context.Context) error {
	w := l.inForce()
	var beside sync.WaitGroup
	defer beside.Wait()
	beside.Go(func() { w.run(ctx) }) // on its own: publishing never waits for a witness
	if l.vault != nil {
		beside.Go(func() { l.mirror(ctx) })
	}
	tick := time.NewTicker(l.interval) // appends of other replicas come without a nudge
	defer tick.Stop()
	keys := time.NewTicker(15 * time.Second) // nobody tells us when keys change
	defer keys.Stop()
	var last time.Time
	for {
		woken := false
		select {
		case <-ctx.Done():
			return nil
		case <-l.wake:
			woken = true
		case <-tick.C:
		case <-keys.C:
			if err := l.watchKeys(ctx); err != nil && ctx.Err() == nil {
				l.log.WarnContext(ctx, "the log's keys were not looked at", "err", err)
			}
			continue
		}
		if wait := l.interval - time.Since(last); woken && wait > 0 {
			if !pause(ctx, wait) {
				return nil
			}
		}
		grew, err := l.publishWoken(ctx, woken)
		if grew {
			last = time.Now()
			select {
			case w.published <- struct{}{}:
			default:
			}
			if err == nil && len(l.keys.p.Load().state.Keys) > 1 {
				err = l.NoteKeys(ctx)
			}
		}
		if err != nil && ctx.Err() == nil {
			l.log.WarnContext(ctx, "checkpoint not published", "err", err)
		}
	}
}

// publishWoken gives an append that woke us before its commit a moment to get through.
func (l *Log) publishWoken(ctx context.Context, woken bool) (bool, error) {
	for range 40 {
		grew, size, err := l.publish(ctx)
		if err != nil || !woken || size >= l.awaited.Load() {
			return grew, err
		}
		if grew {
			l.nudge() // the rest comes with the next one
			return true, nil
		}
		if !pause(ctx, 25*time.Millisecond) {
			return false, nil
		}
	}
	return false, nil
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// publish builds, signs and stores a checkpoint if the tree grew since the last one. size is the tree's.
func (l *Log) publish(ctx context.Context) (grew bool, size int64, err error) {
	if l.Halted() != "" {
		return false, 0, nil
	}
	head, err := l.q.Head(ctx)
	if err != nil {
		return false, 0, fmt.Errorf("read log head: %w", err)
	}
	p, err := l.q.Publisher(ctx)
	if err != nil {
		return false, 0, fmt.Errorf("read last checkpoint: %w", err)
	}
	if head.Size == p.Size {
		return false, head.Size, nil
	}
	err = pg.InTx(ctx, l.pool, func(tx *pg.Tx) error {
		q := l.q.WithTx(tx)
		p, err := q.LockPublisher(ctx)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // another replica is at it
		}
		if err != nil {
			return err
		}
		if head, err = q.Head(ctx); err != nil || head.Size == p.Size {
			return err
		}
		grew = true
		return l.publishLocked(ctx, q, head, p)
	})
	if err != nil {
		return false, head.Size, fmt.Errorf("publish checkpoint of %d: %w", head.Size, err)
	}
	return grew, head.Size, nil
}

// publishLocked runs under the publisher's row lock. Crash after the signer answered: the signer is ahead of the published
// checkpoint, not of the tree, and signs the next one from there.
func (l *Log) publishLocked(ctx context.Context, q *db.Queries, head db.HeadRow, p db.LockPublisherRow) error {
	if head.Size < p.Size {
		l.stop(ctx, fmt.Sprintf("数据库只有%d条，已签发的检查点有%d条", head.Size, p.Size), nil)
		return errors.New("the tree shrank")
	}
	st, err := l.signer.State(ctx)
	if err != nil {
		return err
	}
	root, proof, err := l.proveFrom(ctx, q, head, st)
	if err != nil {
		return err
	}
	signed, err := l.signer.Sign(ctx, signer.Request{Size: head.Size, Root: root, Proof: proof})
	var no *signer.Refusal
	if errors.As(err, &no) {
		l.stop(ctx, "签名进程拒绝签发与此前检查点不一致的检查点", err)
	}
	if err != nil {
		return err
	}
	c, err := chain.OpenCheckpoint(signed, l.verifier)
	if err != nil || c.Size != head.Size || c.Root != root {
		return fmt.Errorf("signer signed something else: %w", err)
	}
	at := l.now()
	note := string(signed)
	if err := q.UpdatePublisher(ctx, db.UpdatePublisherParams{Size: head.Size, Root: root[:], Note: &note, At: &at}); err != nil {
		return err
	}
	return q.KeepCheckpoint(ctx, db.KeepCheckpointParams{Size: head.Size, Root: root[:], Note: note, At: at})
}

// proveFrom gives the tree's root and the proof that it continues what the signer signed last. Both come from stored tiles that
// were checked against each other on the way; if they don't agree, or the signer knows more than the database, the log halts.
func (l *Log) proveFrom(ctx context.Context, q *db.Queries, head db.HeadRow, st signer.State) (chain.Hash, []chain.Hash, error) {
	if err := l.follow(ctx, st); err != nil {
		return chain.Hash{}, nil, err
	}
	edge, err := chain.ParseEdge(head.Size, head.Edge)
	if err != nil {
		l.stop(ctx, "日志头行已损坏", err)
		return chain.Hash{}, nil, err
	}
	root := edge.Root()
	if st.Size > head.Size {
		err := fmt.Errorf("the signer signed %d leaves, the database has %d", st.Size, head.Size)
		l.stop(ctx, fmt.Sprintf("数据库只有%d条，签名进程已签发到%d条：数据库可能被恢复到旧状态", head.Size, st.Size), err)
		return chain.Hash{}, nil, err
	}
	tiles := &tileReader{ctx: ctx, q: q, size: head.Size}
	proof, err := chain.ProveConsistency(st.Size, head.Size, root, tiles.read)
	if err == nil {
		err = chain.CheckConsistency(proof, st.Size, st.Root, head.Size, root)
	}
	if err != nil && tiles.err == nil { // the database answered, and its answers don't fit
		l.stop(ctx, "数据库中的日志与已签发的检查点不一致", err)
	}
	return root, proof, err
}

// compare looks at start whether last checkpoint, signer and database fit together. They are asked in this order: beside a server that goes on
// publishing, each knows at least what the one before knew.
func (l *Log) compare(ctx context.Context) error {
	p, err := l.q.Publisher(ctx)
	if err != nil {
		return pg.Away(fmt.Errorf("read last checkpoint: %w", err))
	}
	st, err := l.signer.State(ctx)
	if err != nil {
		return err
	}
	head, err := l.q.Head(ctx)
	if err != nil {
		return pg.Away(fmt.Errorf("read log head: %w", err))
	}
	if p.Note != nil {
		c, err := chain.OpenCheckpoint([]byte(*p.Note), l.verifier)
		if err != nil {
			l.stop(ctx, "已发布的检查点不是由本机密钥签发", err)
			return nil
		}
		if c.Size > st.Size {
			l.stop(ctx, fmt.Sprintf("已发布到%d条，签名进程只记得%d条：密钥目录可能被恢复到旧状态", c.Size, st.Size), nil)
			return nil
		}
	}
	if _, _, err := l.proveFrom(ctx, l.q, head, st); err != nil && l.Halted() == "" {
		return err
	}
	return nil
}
