package evlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/internal/db"
	"zhizheng/internal/blob"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// The log's copy in the object store, each object written once and locked: full hash tiles and entry bundles by their tlog-tiles paths, at
// most once a minute the partial entry bundle at the end and the signed checkpoint that covers all of it. A checkpoint's object is
// written last, so whoever finds one finds what it covers. Partial hash tiles follow from the entries and are not kept. Database and
// signer may both be brought back to an older state; this copy can't, and so shows it.
const (
	copyPrefix        = "log/"
	checkpointsPrefix = copyPrefix + "checkpoints/"
)

// Vault is the object store: blob.Store.
type Vault interface {
	Put(ctx context.Context, key string, body []byte, o blob.CreateOptions) (blob.Object, error)
	Get(ctx context.Context, key, version string, off, n int64) (io.ReadCloser, error)
	Versions(ctx context.Context, prefix, after string, most int32) (vs []blob.Version, more bool, err error)
}

// maxCopied bounds what is read of one object: 256 entries of 64 KiB.
const maxCopied = 17 << 20

func checkpointKey(size int64) string { return fmt.Sprintf("%s%019d", checkpointsPrefix, size) }

// mirror keeps the copy until ctx ends.
func (l *Log) mirror(ctx context.Context) {
	tick := time.NewTicker(l.minute)
	defer tick.Stop()
	for {
		if _, err := l.copyOut(ctx); err != nil && ctx.Err() == nil {
			l.log.WarnContext(ctx, "the log was not copied to the store", "err", err) // it catches up
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// copyOut brings the store up to the latest checkpoint, if no other replica is at it or was less than a minute ago. Crash or failure
// anywhere: the next run finds the objects that were written, compares them and goes on.
func (l *Log) copyOut(ctx context.Context) (copied int64, err error) {
	if l.vault == nil || l.Halted() != "" {
		return 0, nil
	}
	if !l.asked.Load() {
		if err := l.compareStore(ctx); err != nil || l.Halted() != "" {
			return 0, err
		}
	}
	signed, c, err := l.published(ctx)
	if fault.Is(err, fault.KindPending) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	had, err := l.q.Mirror(ctx)
	if err != nil {
		return 0, err
	}
	from := min(had.Size, l.lacks.Load())
	if from >= c.Size {
		return 0, nil
	}
	claimed, err := l.q.ClaimMirror(ctx, (l.minute * 9 / 10).Seconds())
	if err != nil || len(claimed) == 0 { // another replica's turn
		return 0, err
	}
	w := &copyWriter{l: l, q: l.q, c: c, tiles: &tileReader{ctx: ctx, q: l.q, size: c.Size}, save: l.lockAway}
	err = w.write(ctx, from)
	if err == nil {
		err = l.putLocked(ctx, checkpointKey(c.Size), signed, "text/plain; charset=utf-8")
	}
	if err != nil {
		return 0, fmt.Errorf("copy the log up to %d: %w", c.Size, err)
	}
	at := l.now()
	// Crash before this: the next run writes the same objects again, and finds them there.
	if err := l.q.UpdateMirror(ctx, db.UpdateMirrorParams{Size: c.Size, At: &at}); err != nil {
		return 0, fmt.Errorf("note the log's copy: %w", err)
	}
	l.lacks.Store(math.MaxInt64)
	return c.Size, nil
}

// copyWriter copies the tree of one checkpoint: to the store, or to files.
type copyWriter struct {
	l       *Log
	q       *db.Queries
	c       chain.Checkpoint
	tiles   *tileReader
	save    func(ctx context.Context, name string, body []byte) error
	partial bool // partial hash tiles, too
}

// write copies what the tree has beyond from leaves.
func (w *copyWriter) write(ctx context.Context, from int64) error {
	for idx := from / chain.TileWidth; idx*chain.TileWidth < w.c.Size; idx++ {
		if err := w.entries(ctx, idx); err != nil {
			return err
		}
	}
	for level := 0; w.c.Size>>(chain.TileHeight*level) > 0; level++ {
		span := chain.TileHeight * (level + 1)
		past := w.c.Size >> span
		for idx := from >> span; idx < past; idx++ {
			if err := w.hashes(ctx, level, idx, chain.TileWidth); err != nil {
				return err
			}
		}
		if width := int(w.c.Size >> (chain.TileHeight * level) % chain.TileWidth); w.partial && width > 0 {
			if err := w.hashes(ctx, level, past, width); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *copyWriter) hashes(ctx context.Context, level int, idx int64, width int) error {
	b, err := w.tile(level, idx, width)
	if err != nil {
		return err
	}
	return w.save(ctx, chain.TilePath(level, idx, width), b)
}

// entries copies one entry bundle, the last as far as the checkpoint reaches.
func (w *copyWriter) entries(ctx context.Context, idx int64) error {
	width := int(min(chain.TileWidth, w.c.Size-idx*chain.TileWidth))
	hashes, err := w.tile(0, idx, width)
	if err != nil {
		return err
	}
	body, err := bundle(ctx, w.q, idx, width)
	if err != nil {
		return err
	}
	leaves, err := chain.SplitBundle(body)
	if err != nil {
		return err
	}
	for i, leaf := range leaves {
		// What is locked for years has to be what was signed: damage in the database stays out.
		if h := chain.LeafHash(leaf); !bytes.Equal(h[:], hashes[i*len(h):(i+1)*len(h)]) {
			w.l.stop(ctx, fmt.Sprintf("数据库中第%d条的字节与已签发的检查点不一致", idx*chain.TileWidth+int64(i)), nil)
			return errors.New("an entry's bytes are not those that were signed")
		}
	}
	return w.save(ctx, chain.EntriesPath(idx, width), body)
}

// tile reads a tile that was checked against the checkpoint's root.
func (w *copyWriter) tile(level int, idx int64, width int) ([]byte, error) {
	first := idx << (chain.TileHeight * (level + 1))
	if _, err := chain.ProveInclusion(first, w.c.Size, w.c.Root, w.tiles.read); err != nil {
		if w.tiles.err == nil { // the database answered, and its answers don't fit
			w.l.stop(w.tiles.ctx, "数据库中的日志与已签发的检查点不一致", err)
		}
		return nil, err
	}
	return w.tiles.read(level, idx, width)
}

// lockAway writes a tile to the store.
func (l *Log) lockAway(ctx context.Context, name string, body []byte) error {
	return l.putLocked(ctx, copyPrefix+name, body, "application/octet-stream")
}

func (l *Log) putLocked(ctx context.Context, key string, body []byte, contentType string) error {
	_, err := l.vault.Put(ctx, key, body, blob.CreateOptions{ContentType: contentType, RetainUntil: l.now().Add(l.retain)})
	if !fault.Is(err, fault.KindConflict) {
		return err
	}
	// It is there: from a run that broke off, or from another replica.
	there, err := l.stored(ctx, key)
	if err != nil {
		return err
	}
	if !bytes.Equal(there, body) && !sameCheckpoint(there, body) {
		l.stop(ctx, fmt.Sprintf("对象存储中的 %s 与数据库不同", key), nil)
		return fmt.Errorf("%s in the store differs", key)
	}
	return nil
}

// sameCheckpoint says whether two notes are of one tree: signatures may have been added.
func sameCheckpoint(a, b []byte) bool {
	x, _, ok := strings.Cut(string(a), "\n\n")
	y, _, also := strings.Cut(string(b), "\n\n")
	return ok && also && x == y
}

// stored reads the first version of an object: the one that was written, whatever was put over it since.
func (l *Log) stored(ctx context.Context, key string) ([]byte, error) {
	vs, _, err := l.vault.Versions(ctx, key, "", 1000)
	if err != nil {
		return nil, err
	}
	version, found := "", false
	for _, v := range vs {
		if v.Key == key {
			version, found = v.Version, true // newest first: the last is the oldest
		}
	}
	if !found {
		return nil, fault.NotFound("对象存储中没有 %s", key)
	}
	r, err := l.vault.Get(ctx, key, version, 0, -1)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxCopied+1))
	if err == nil && len(b) > maxCopied {
		err = fmt.Errorf("%s is larger than any of the log's", key)
	}
	return b, err
}

// compareStore asks the store for its newest checkpoint and halts the log if that is not part of the database's history, or not of what the
// signer remembers. An error says that the store or the database couldn't be asked.
func (l *Log) compareStore(ctx context.Context) error {
	size, err := l.newestStored(ctx)
	if err != nil {
		return err
	}
	// Another bucket than the one the database tells of gets all that it lacks.
	l.lacks.Store(size)
	if size == 0 {
		l.asked.Store(true)
		return nil
	}
	c, err := l.storedCheckpoint(ctx, size)
	if fault.Is(err, fault.KindUnavailable) || ctx.Err() != nil {
		return err
	}
	if err != nil {
		// Ours or not, it says that somebody signed that far. Passing over it would let a restored key begin a second history.
		l.stop(ctx, fmt.Sprintf("对象存储中的检查点 %s 不是由本机密钥签发的", checkpointKey(size)), err)
		return nil
	}
	// The signer is asked before the head is read: it never knows less than an older copy.
	st, err := l.signer.State(ctx)
	if err != nil {
		return err
	}
	head, err := l.q.Head(ctx)
	if err != nil {
		return pg.Away(fmt.Errorf("read log head: %w", err))
	}
	switch {
	case head.Size < c.Size:
		l.stop(ctx, fmt.Sprintf("数据库只有%d条，对象存储中的副本有%d条：数据库可能被恢复到旧状态", head.Size, c.Size), nil)
		return nil
	case st.Size < c.Size:
		l.stop(ctx, fmt.Sprintf("对象存储中的副本有%d条，签名进程只记得%d条：密钥目录可能被恢复到旧状态", c.Size, st.Size), nil)
		return nil
	}
	root, err := rootOf(ctx, l.q, c.Size)
	if err != nil {
		return pg.Away(err)
	}
	if root != c.Root {
		l.stop(ctx, fmt.Sprintf("数据库前%d条与对象存储中的副本不是同一部历史", c.Size), nil)
		return nil
	}
	l.asked.Store(true)
	return nil
}

// storedCheckpoint reads and opens the store's checkpoint of a size.
func (l *Log) storedCheckpoint(ctx context.Context, size int64) (chain.Checkpoint, error) {
	b, err := l.stored(ctx, checkpointKey(size))
	if err != nil {
		return chain.Checkpoint{}, err
	}
	c, err := chain.OpenCheckpoint(b, l.verifier)
	if err == nil && c.Size != size {
		err = fmt.Errorf("the checkpoint of %d lies where one of %d should", c.Size, size)
	}
	return c, err
}

// newestStored finds the size of the store's newest checkpoint, 0 if it has none. Names sort by size; after the first page it looks by
// halves, so that years of minutes cost some sixty questions.
func (l *Log) newestStored(ctx context.Context) (int64, error) {
	had, err := l.q.Mirror(ctx)
	if err != nil {
		return 0, pg.Away(fmt.Errorf("read how far the store is: %w", err))
	}
	newest, top := int64(0), int64(math.MaxInt64) // it is one of these or between them
	for after := max(0, had.Size-1); newest < top; after = newest + (top-newest)/2 {
		vs, more, err := l.vault.Versions(ctx, checkpointsPrefix, checkpointKey(after), 1000)
		if err != nil {
			return 0, err
		}
		found := false
		for _, v := range vs {
			if n, err := strconv.ParseInt(path.Base(v.Key), 10, 64); err == nil && checkpointKey(n) == v.Key {
				newest, found = max(newest, n), true
			}
		}
		switch {
		case !found:
			top = after
		case !more:
			return newest, nil
		}
	}
	return newest, nil
}

// NewestCheckpoint gives the signed checkpoint of the largest tree that database or store know, nil if none: for a signer that lost its
// memory, when the log itself can't be opened. Nothing is checked; the signer knows its own signature.
func NewestCheckpoint(ctx context.Context, pool *pgxpool.Pool, store Vault) ([]byte, error) {
	l := &Log{pool: pool, q: db.New(pool), vault: store}
	p, err := l.q.Publisher(ctx)
	if err != nil {
		return nil, pg.Away(fmt.Errorf("read last checkpoint: %w", err))
	}
	stored, err := l.newestStored(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case stored > p.Size:
		return l.stored(ctx, checkpointKey(stored))
	case p.Note == nil:
		return nil, nil
	}
	return []byte(*p.Note), nil
}
