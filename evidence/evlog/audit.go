package evlog

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/internal/db"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/internal/pg"
)

// maxFindings ends the list of a report, not the audit: a log with that many is not read finding by finding.
const maxFindings = 1000

// Finding is one thing in the log that doesn't hold.
type Finding struct {
	Where string // "leaf 12", "tile/0/003", "checkpoint 4711"
	What  string // zh-CN
}

func (f Finding) String() string { return f.Where + "：" + f.What }

// AuditReport is what an audit saw. The log holds if Findings is empty.
type AuditReport struct {
	Entries     int64
	Subjects    int64
	Erased      int64 // leaves without payload
	Checkpoints int64
	Root        chain.Hash // over all leaves, from their bytes
	Findings    []Finding
	More        int64 // findings beyond the list
	Took        time.Duration
}

// Audit reckons the whole log again from the leaves' bytes: every leaf hash, every subject's chain, every commitment, every tile, the
// head, every checkpoint with its signature, and what the signer remembers. It reads one snapshot in pages, so it may run while
// the log grows; it needs memory for the heads of all subjects, the numbers of erased leaves and a few pages.
func (l *Log) Audit(ctx context.Context) (AuditReport, error) {
	began := l.now()
	a := l.newAudit(signer.State{})
	tx, err := l.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return AuditReport{}, pg.Away(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // nothing was written
	// Asked before the snapshot is taken: the signer knows nothing that is not in it by then.
	if a.signer, err = l.signer.State(ctx); err != nil {
		return AuditReport{}, err
	}
	if err := a.run(ctx, tx); err != nil {
		return AuditReport{}, pg.Away(fmt.Errorf("audit log: %w", err))
	}
	a.rep.Took = l.now().Sub(began)
	return a.rep, nil
}

// newAudit takes what the signer remembers: the tree must have had that root at that size.
func (l *Log) newAudit(st signer.State) *audit {
	return &audit{l: l, signer: st, heads: map[chain.SubjectID]*auditHead{}, want: map[int64][]wanted{}, bare: map[int64]bool{}, named: map[int64]bool{}}
}

func (a *audit) run(ctx context.Context, tx pgx.Tx) error {
	q := db.New(tx)
	head, err := q.Head(ctx)
	if err != nil {
		return err
	}
	if err := a.expectCheckpoints(ctx, q); err != nil {
		return err
	}
	if err := a.expectTimestamps(ctx, q); err != nil {
		return err
	}
	if err := a.leaves(ctx, tx); err != nil {
		return err
	}
	if err := a.cosignatures(ctx, q); err != nil {
		return err
	}
	a.erasures()
	if err := a.tiles(ctx, q); err != nil {
		return err
	}
	a.rep.Root = a.edge.Root()
	a.rep.Subjects = int64(len(a.heads))
	if head.Size != a.edge.Size || string(head.Edge) != string(a.edge.Bytes()) {
		a.find("log_head", "头行记%d条，实有%d条，或右缘与重算不符", head.Size, a.edge.Size)
	}
	for _, at := range a.want {
		for _, w := range at {
			a.find(w.where, "声明有%d条，日志只有%d条", w.size, a.edge.Size)
		}
	}
	payloads, err := q.CountPayloads(ctx)
	if err != nil {
		return err
	}
	if payloads != a.found {
		a.find("log_payload", "有%d份内容，其中%d份属于某一叶", payloads, a.found)
	}
	return nil
}

// expectCheckpoints collects the roots that the tree must have had at certain sizes.
func (a *audit) expectCheckpoints(ctx context.Context, q *db.Queries) error {
	kept, err := q.Checkpoints(ctx)
	if err != nil {
		return err
	}
	for _, c := range kept {
		a.rep.Checkpoints++
		a.expectNote(fmt.Sprint("checkpoint ", c.Size), c.Size, c.Root, c.Note)
	}
	p, err := q.Publisher(ctx)
	if err != nil {
		return err
	}
	if p.Note != nil {
		a.expectNote("published checkpoint", p.Size, p.Root, *p.Note)
	} else if p.Size != 0 || p.Root != nil {
		a.find("published checkpoint", "缺少签名文本")
	}
	a.expect("signer", a.signer.Size, a.signer.Root)
	return nil
}

func (a *audit) expectNote(where string, size int64, root []byte, note string) {
	c, err := chain.OpenCheckpoint([]byte(note), a.l.verifier)
	if err != nil {
		a.find(where, "签名不成立：%v", err)
		return
	}
	if c.Size != size || string(c.Root[:]) != string(root) {
		a.find(where, "所存大小或根与签名文本不符")
	}
	a.expect(where, c.Size, c.Root)
}

// cosignatures checks each over its checkpoint, by the keys of the policies that were ever logged.
func (a *audit) cosignatures(ctx context.Context, q *db.Queries) error {
	rows, err := q.Cosignatures(ctx)
	if err != nil || len(rows) == 0 {
		return err
	}
	keys, err := a.witnessKeys(ctx, q)
	if err != nil {
		return err
	}
	kept, err := q.Checkpoints(ctx)
	if err != nil {
		return err
	}
	bodies := make(map[int64]string, len(kept))
	for _, c := range kept {
		if body, _, err := chain.SplitNote([]byte(c.Note)); err == nil { // one that can't be read was found already
			bodies[c.Size] = body
		}
	}
	for _, r := range rows {
		where := fmt.Sprintf("cosignature %s %d", r.Witness, r.Size)
		lines, err := chain.ParseSignatureLines(r.Line)
		if err != nil || len(lines) != 1 || lines[0].Name != r.Witness || string(hashBytes(lines[0].Hash)) != string(r.KeyHash) {
			a.find(where, "共签的文本与所存的见证方不符")
			continue
		}
		v := keys[keyOfRow(r)]
		if v == nil {
			a.find(where, "其公钥不在任何一次入册的见证策略中")
			continue
		}
		if at, _ := lines[0].CosignedAt(); !v.Verify([]byte(bodies[r.Size]), lines[0].Sig) || !at.Equal(r.At) {
			a.find(where, "共签对这个大小的检查点不成立，或所存时间不符")
		}
	}
	return nil
}

func (a *audit) witnessKeys(ctx context.Context, q *db.Queries) (map[witnessKey]note.Verifier, error) {
	id := witnessSubject.Opaque()
	leaves, err := q.EntriesBySubject(ctx, id[:])
	if err != nil {
		return nil, err
	}
	keys := map[witnessKey]note.Verifier{}
	for _, e := range leaves {
		p, err := chain.Payload[chain.WitnessesPayload](e.Payload)
		if err != nil {
			continue // damaged or erased: the leaves' own check speaks of it, and its witnesses are unknown below
		}
		policy, err := chain.ParsePolicy(p.Policy)
		if err != nil {
			continue
		}
		vs, err := policy.Verifiers()
		if err != nil {
			continue
		}
		for _, v := range vs {
			keys[keyOf(v)] = v
		}
	}
	return keys, nil
}

// pageLeaves are read, hashed and linked at a time.
const pageLeaves = 4096

// page is a part of the log on its way through the audit.
type page struct {
	rows   []db.AuditRow
	found  []reckoned
	err    error
	hashed chan struct{} // closed when found is complete
}

// leaves runs the leaves through three stages at once: reading them, reckoning what depends on one leaf alone, on all processors, and, in
// their order, what depends on those before.
func (a *audit) leaves(ctx context.Context, tx pgx.Tx) error {
	ctx, cancel := context.WithCancel(ctx)
	workers := runtime.GOMAXPROCS(0)
	read := make(chan *page, workers) // bounds what is in memory
	work := make(chan *page, workers)
	var running sync.WaitGroup
	defer running.Wait() // whoever owns the transaction may go on only after the last read
	defer cancel()
	running.Go(func() {
		defer close(work)
		defer close(read)
		for next := int64(0); ; {
			p := &page{hashed: make(chan struct{})}
			p.rows, p.err = db.AuditPage(ctx, tx, next, pageLeaves, nil)
			if len(p.rows) > 0 {
				next = p.rows[len(p.rows)-1].Seq + 1
			}
			select {
			case read <- p:
			case <-ctx.Done():
				return
			}
			if p.err != nil || len(p.rows) == 0 {
				return
			}
			select {
			case work <- p:
			case <-ctx.Done():
				return
			}
		}
	})
	for range workers {
		running.Go(func() {
			for p := range work {
				p.found = reckon(p.rows)
				close(p.hashed)
			}
		})
	}
	a.meet()
	for p := range read {
		if p.err != nil || len(p.rows) == 0 {
			return p.err
		}
		select {
		case <-p.hashed:
		case <-ctx.Done(): // the page may never have reached a worker
			return ctx.Err()
		}
		for i := range p.rows {
			a.leaf(&p.rows[i], &p.found[i])
		}
	}
	return ctx.Err()
}

// tiles compares what is stored with what the leaves gave. Tiles that are one too many are found by their number.
func (a *audit) tiles(ctx context.Context, q *db.Queries) error {
	stored, err := q.CountTiles(ctx)
	if err != nil {
		return err
	}
	var expected int64
	below := a.roots
	for level := 0; len(below) > 0; level++ {
		expected += int64(len(below))
		if err := a.tilesOf(ctx, q, level, below); err != nil {
			return err
		}
		var above []tileSum
		for i := 0; i+chain.TileWidth <= len(below); i += chain.TileWidth {
			hs := make([]chain.Hash, chain.TileWidth)
			for j := range hs {
				hs[j] = below[i+j].root
			}
			above = append(above, sumOf(chain.Join(hs)))
		}
		below = above
	}
	if stored != expected {
		a.find("log_tile", "应有%d块完整瓦片，实有%d块", expected, stored)
	}
	return nil
}

func (a *audit) tilesOf(ctx context.Context, q *db.Queries, level int, want []tileSum) error {
	for first := int64(0); first < int64(len(want)); {
		rows, err := q.TilesOfLevel(ctx, db.TilesOfLevelParams{Level: int16(level), First: first, Most: 256})
		if err != nil {
			return err
		}
		past := min(first+256, int64(len(want)))
		for _, r := range rows {
			if r.Idx != first || first >= past {
				break
			}
			if got := sumOf(r.Hashes); got != want[first] || string(r.Root) != string(got.root[:]) {
				a.find(chain.TilePath(level, first, chain.TileWidth), "与叶重算的结果不符")
			}
			first++
		}
		if first < past {
			a.find(chain.TilePath(level, first, chain.TileWidth), "缺失")
			first++
		}
	}
	return nil
}
