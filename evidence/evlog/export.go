package evlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/internal/db"
	"zhizheng/evidence/transcript"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// Exported is what Export did.
type Exported struct {
	Had, Size int64 // leaves in the folder before, and now
	Files     int64 // written
	Erased    int64 // files of payloads written again, because some were erased
}

// Export brings the copy of the log in a folder up to the newest checkpoint that has the quorum, or else the newest: see package transcript
// for its layout. With content it holds salts and payloads, too. A folder whose checkpoint is not part of this log's history is left as it
// is. Each file appears whole, and the checkpoint last: crash anywhere, and the next run goes on from the checkpoint before.
func (l *Log) Export(ctx context.Context, dir string, content bool) (Exported, error) {
	best, err := l.best(ctx, 1)
	if err != nil {
		return Exported{}, err
	}
	// One snapshot: what it lacks of payloads, leaves of it say were erased.
	tx, err := l.pool.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return Exported{}, pg.Away(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // nothing was written
	x := &exporter{l: l, tx: tx, q: db.New(tx), dir: dir, content: content, touched: map[string]bool{}}
	if err := x.run(ctx, best); err != nil {
		return x.did, pg.Away(fmt.Errorf("export the log: %w", err))
	}
	return x.did, nil
}

type exporter struct {
	l       *Log
	tx      pgx.Tx
	q       *db.Queries
	dir     string
	content bool
	touched map[string]bool // folders with new names
	did     Exported
}

// choose takes a later checkpoint if the best is older than the copy in the folder, or than a statement of erasure: without its statement a
// missing payload is a finding.
func (x *exporter) choose(ctx context.Context, best cosigned, old int64) (cosigned, error) {
	past := int64(0)
	if x.content {
		var err error
		if past, err = x.statements(ctx, best.checkpoint.Size); err != nil {
			return cosigned{}, err
		}
	}
	if best.checkpoint.Size >= max(old, past) {
		return best, nil
	}
	signed, c, err := x.l.publishedBy(ctx, x.q)
	switch {
	case err != nil:
		return cosigned{}, err
	case c.Size < old:
		return cosigned{}, fault.Conflict("%s 中的副本有%d条，已签发的只有%d条：数据库可能被恢复到旧状态", x.dir, old, c.Size)
	case c.Size < past:
		return cosigned{}, fault.Pending(x.l.interval, "第%d条删除记录还没有存证点，请稍候", past-1)
	}
	return x.l.cosignedAt(ctx, signed, c)
}

// statements gives the number of leaves up to the last statement of erasure from first on, 0 if there is none.
func (x *exporter) statements(ctx context.Context, first int64) (past int64, err error) {
	for rows := []db.AuditRow(nil); ; first += int64(len(rows)) {
		if rows, err = db.AuditPage(ctx, x.tx, first, pageLeaves, rows); err != nil || len(rows) == 0 {
			return past, err
		}
		for _, r := range rows {
			if leaf, err := chain.DecodeLeaf(r.Bytes); err == nil && leaf.Kind == chain.KindErased {
				past = r.Seq + 1
			}
		}
	}
}

func (x *exporter) run(ctx context.Context, best cosigned) error {
	had, err := x.had(ctx)
	if err == nil {
		best, err = x.choose(ctx, best, had)
	}
	if err != nil {
		return err
	}
	c := best.checkpoint
	x.did.Had, x.did.Size = had, c.Size
	w := &copyWriter{l: x.l, q: x.q, c: c, tiles: &tileReader{ctx: ctx, q: x.q, size: c.Size}, save: x.save, partial: true}
	if err := w.write(ctx, had); err != nil {
		return err
	}
	if x.content {
		if err := x.payloads(ctx, w, had); err != nil {
			return err
		}
	}
	keys := []byte(x.l.EveryVKey() + "\n")
	if err := x.replace(transcript.VKeyName, keys); err != nil {
		return err
	}
	var witnesses []byte
	for _, p := range x.l.Policy().Witnesses {
		witnesses = append(witnesses, p.VKey+"\n"...)
	}
	if len(witnesses) > 0 {
		if err := x.replace(transcript.WitnessesName, witnesses); err != nil {
			return err
		}
	}
	// Names before the checkpoint that covers them.
	if err := x.syncFolders(); err != nil {
		return err
	}
	if err := x.replace(transcript.CheckpointName, best.signed); err != nil {
		return err
	}
	if err := x.syncFolders(); err != nil {
		return err
	}
	return x.sweep(c.Size)
}

// had gives the size of the copy in the folder, 0 if there is none. It has to be part of the log's history.
func (x *exporter) had(ctx context.Context) (int64, error) {
	if there, err := os.Stat(x.path("tile/payloads")); err == nil && there.IsDir() && !x.content {
		return 0, fault.Conflict("%s 是带内容的副本，请加 --payloads 继续，或另用文件夹", x.dir)
	}
	signed, err := os.ReadFile(x.path(transcript.CheckpointName))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	old, err := chain.OpenByLog(signed, x.l.verifier)
	if err != nil {
		return 0, fault.Conflict("%s 中的存证点不是本日志的：%v", x.dir, err)
	}
	head, err := x.q.Head(ctx)
	if err != nil || head.Size < old.Size { // what can't be compared is refused once the checkpoint is chosen
		return old.Size, err
	}
	root, err := rootOf(ctx, x.q, old.Size)
	if err == nil && root != old.Root {
		err = fault.Conflict("%s 中的副本与数据库不是同一部历史，未作改动，请保留它作为证据", x.dir)
	}
	return old.Size, err
}

// payloads writes what the leaves commit to: of new leaves, and again where some was erased since.
func (x *exporter) payloads(ctx context.Context, w *copyWriter, had int64) error {
	idx, width := had/chain.TileWidth, int(had%chain.TileWidth)
	if width == 0 {
		idx, width = idx-1, chain.TileWidth
	}
	// They are written in order: where the last one is missing, the copy was without content, or content was begun and not finished.
	if _, err := os.Stat(x.path(transcript.PayloadsPath(max(idx, 0), width))); had > 0 && errors.Is(err, fs.ErrNotExist) {
		had = 0
	} else if err != nil && had > 0 {
		return err
	}
	again := map[int64]bool{}
	for idx := had / chain.TileWidth; idx*chain.TileWidth < w.c.Size; idx++ {
		named, err := x.payloadsOf(ctx, w, idx)
		if err != nil {
			return err
		}
		for _, seq := range named {
			if i := int64(seq) / chain.TileWidth; i < had/chain.TileWidth {
				again[i] = true
			}
		}
	}
	for idx := range again {
		if _, err := x.payloadsOf(ctx, w, idx); err != nil {
			return err
		}
		x.did.Erased++
	}
	return nil
}

// payloadsOf writes one file of payloads, and gives the leaves that statements among them name as erased.
func (x *exporter) payloadsOf(ctx context.Context, w *copyWriter, idx int64) (named []uint64, err error) {
	width := min(chain.TileWidth, w.c.Size-idx*chain.TileWidth)
	rows, err := db.AuditPage(ctx, x.tx, idx*chain.TileWidth, int32(width), nil)
	if err != nil {
		return nil, err
	}
	if int64(len(rows)) != width {
		return nil, errors.New("entries are missing")
	}
	var body []byte
	for _, r := range rows {
		leaf, err := chain.DecodeLeaf(r.Bytes)
		if err != nil {
			return nil, fmt.Errorf("leaf %d: %w", r.Seq, err)
		}
		if body = transcript.AppendPayload(body, r.Salt, r.Payload); r.Salt == nil {
			continue
		}
		if chain.Commitment(r.Salt, r.Payload) != leaf.Commitment {
			return nil, fmt.Errorf("leaf %d: its content is not what it commits to", r.Seq)
		}
		if leaf.Kind == chain.KindErased {
			s, err := chain.Payload[chain.ErasedPayload](r.Payload)
			if err != nil {
				return nil, fmt.Errorf("leaf %d: %w", r.Seq, err)
			}
			named = append(named, s.Leaves...)
		}
	}
	return named, x.replace(transcript.PayloadsPath(idx, int(width)), body)
}

func (x *exporter) path(name string) string { return filepath.Join(x.dir, filepath.FromSlash(name)) }

// save writes a file that never changes. One that is there is from a run that broke off, or the folder's owner has to decide.
func (x *exporter) save(_ context.Context, name string, body []byte) error {
	there, err := os.ReadFile(x.path(name))
	if err == nil && !bytes.Equal(there, body) {
		return fault.Conflict("%s 已有另一份内容", x.path(name))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return x.replace(name, body)
}

// replace writes a file so that after a crash the old or the new content is there, whole.
func (x *exporter) replace(name string, body []byte) error {
	path := x.path(name)
	if there, err := os.ReadFile(path); err == nil && bytes.Equal(there, body) {
		return nil
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for d := dir; !x.touched[d]; d = filepath.Dir(d) {
		if x.touched[d] = true; d == filepath.Clean(x.dir) {
			break
		}
	}
	f, err := os.CreateTemp(dir, newPrefix)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", name, err), os.Remove(f.Name()))
	}
	x.did.Files++
	return nil
}

// newPrefix begins the name of a file that is being written.
const newPrefix = ".new-"

// syncFolders makes the new names durable.
func (x *exporter) syncFolders() error {
	for dir := range x.touched {
		d, err := os.Open(dir)
		if err != nil {
			return err
		}
		if err := errors.Join(d.Sync(), d.Close()); err != nil {
			return fmt.Errorf("write folder %s: %w", dir, err)
		}
		delete(x.touched, dir)
	}
	return nil
}

// sweep removes partial tiles that wider ones replaced, and what a run that broke off left unfinished.
func (x *exporter) sweep(size int64) error {
	return filepath.WalkDir(x.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(x.dir, path)
		if err != nil || !strings.HasPrefix(d.Name(), newPrefix) && !transcript.Superfluous(filepath.ToSlash(name), size) {
			return err
		}
		if err := os.Remove(path); err != nil {
			return err
		}
		if parent := filepath.Dir(path); strings.HasSuffix(parent, ".p") {
			_ = os.Remove(parent) // once it is empty
		}
		return nil
	})
}
