package evidence

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"zhizheng/evidence/chain"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// viewEvery is how long one view leaf stands for the same person, session and item.
const viewEvery = 30 * time.Minute

// maxOpenRange caps "bytes=N-": a player that seeks would otherwise pull the rest of a 4 GB file each time.
const maxOpenRange = 8 << 20

// viewWindow remembers which views were logged lately. It only ever saves leaves: forgetting (a restart) logs one more.
type viewWindow struct {
	mu    sync.Mutex
	seen  map[string]time.Time
	turns [256]sync.Mutex
}

// turn makes requests of one key wait for each other: a player opens with several ranges at once, and that is one view.
func (w *viewWindow) turn(key string) *sync.Mutex {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // never fails
	return &w.turns[h.Sum32()%uint32(len(w.turns))]
}

func (w *viewWindow) covers(key string, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	at, ok := w.seen[key]
	return ok && now.Sub(at) < viewEvery
}

func (w *viewWindow) add(key string, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.seen == nil || len(w.seen) > 10_000 {
		w.seen = map[string]time.Time{}
	}
	w.seen[key] = now
}

// Viewed logs that somebody is given an item's content: KindViewed once a session, reason and half hour (a preview doesn't stand for the
// original), KindDownloaded each time. No bytes
// may leave before it returns nil.
func (k *Keeper) Viewed(ctx context.Context, eid ID, download bool, a Act) error {
	now := k.now()
	kind, key := chain.KindViewed, string(eid)+"\x00"+a.Actor+"\x00"+a.Session+"\x00"+a.Reason
	if download {
		kind = chain.KindDownloaded
	} else {
		if k.views.covers(key, now) {
			return nil
		}
		turn := k.views.turn(key)
		turn.Lock()
		defer turn.Unlock()
		if k.views.covers(key, now) {
			return nil
		}
	}
	err := k.log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error { return k.Note(ctx, tx, eid, kind, a) })
	if err != nil {
		return fmt.Errorf("log the view: %w", err)
	}
	if !download {
		k.views.add(key, now)
	}
	return nil
}

// Range is a part of a file.
type Range struct{ Off, Len int64 }

// errRange is a range outside the file: 416.
var errRange = errors.New("range not satisfiable")

// parseRange reads one range of RFC 9110 §14.2. Several ranges, other units and malformed ones are answered with the whole file, as
// the RFC allows; ok is false then.
func parseRange(header string, size int64) (r Range, ok bool, err error) {
	spec, found := strings.CutPrefix(header, "bytes=")
	if !found || strings.Contains(spec, ",") {
		return Range{}, false, nil
	}
	from, to, found := strings.Cut(strings.TrimSpace(spec), "-")
	if !found {
		return Range{}, false, nil
	}
	if from == "" { // the last n bytes
		n, err := strconv.ParseInt(to, 10, 64)
		if err != nil || n < 0 {
			return Range{}, false, nil
		}
		if n == 0 || size == 0 {
			return Range{}, false, errRange
		}
		n = min(n, size)
		return Range{size - n, n}, true, nil
	}
	start, err := strconv.ParseInt(from, 10, 64)
	if err != nil || start < 0 {
		return Range{}, false, nil
	}
	end := start + maxOpenRange - 1
	if to != "" {
		if end, err = strconv.ParseInt(to, 10, 64); err != nil || end < start {
			return Range{}, false, nil
		}
	}
	if start >= size {
		return Range{}, false, errRange
	}
	end = min(end, size-1)
	return Range{start, end - start + 1}, true, nil
}

// Serve answers a request for a sealed item's bytes: all of them (200) without Range, one range (206) with it. The caller has logged
// the view.
func (k *Keeper) Serve(ctx context.Context, w http.ResponseWriter, req *http.Request, rec Record, contentType string) error {
	if rec.Status == StatusPending {
		return fault.NotFound("影像待传：指纹已入日志，字节还没有到达").Then("待采集站上传后再看")
	}
	h := w.Header()
	etag := `"` + rec.SHA256Hex() + `"`
	h.Set("ETag", etag)
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "private, no-store")
	if match := req.Header.Get("If-None-Match"); match == etag {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	r, status := Range{0, rec.Size}, http.StatusOK
	if rng := req.Header.Get("Range"); rng != "" && (req.Header.Get("If-Range") == "" || req.Header.Get("If-Range") == etag) {
		part, ok, err := parseRange(rng, rec.Size)
		if err != nil {
			h.Set("Content-Range", fmt.Sprintf("bytes */%d", rec.Size))
			w.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
			return nil
		}
		if ok {
			r, status = part, http.StatusPartialContent
			h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", r.Off, r.Off+r.Len-1, rec.Size))
		}
	}
	h.Set("Content-Length", strconv.FormatInt(r.Len, 10))
	if req.Method == http.MethodHead || r.Len == 0 {
		w.WriteHeader(status)
		return nil
	}
	body, err := k.Open(ctx, rec, r)
	if err != nil {
		h.Del("Content-Length")
		h.Del("Content-Range")
		return err
	}
	defer body.Close()
	w.WriteHeader(status)
	if _, err := io.Copy(w, io.LimitReader(body, r.Len)); err != nil {
		if ctx.Err() != nil {
			return nil // the viewer left: seeking does that all the time
		}
		return fmt.Errorf("read evidence: %w", err)
	}
	return nil
}

// Open reads a part of a sealed item's bytes from the store.
func (k *Keeper) Open(ctx context.Context, rec Record, r Range) (io.ReadCloser, error) {
	if rec.Size == 0 {
		return io.NopCloser(strings.NewReader("")), nil
	}
	body, err := k.store.Get(ctx, rec.ObjectKey, rec.VersionID, r.Off, r.Len)
	if err != nil {
		return nil, fmt.Errorf("open evidence: %w", err)
	}
	return body, nil
}

// ReaderAt reads a sealed item at random, for the media probe.
func (k *Keeper) ReaderAt(ctx context.Context, rec Record) io.ReaderAt { return readerAt{ctx, k, rec} }

type readerAt struct {
	ctx context.Context
	k   *Keeper
	rec Record
}

func (r readerAt) ReadAt(p []byte, off int64) (int, error) {
	if off >= r.rec.Size {
		return 0, io.EOF
	}
	n := min(int64(len(p)), r.rec.Size-off)
	body, err := r.k.Open(r.ctx, r.rec, Range{off, n})
	if err != nil {
		return 0, err
	}
	defer body.Close()
	m, err := io.ReadFull(body, p[:n])
	if err == nil && n < int64(len(p)) {
		err = io.EOF
	}
	return m, err
}
