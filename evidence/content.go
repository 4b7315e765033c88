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
	"zhizheng/evidence/internal/db"
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
	until map[string]time.Time // how long what was logged stands
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
	return now.Before(w.until[key])
}

func (w *viewWindow) add(key string, until time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.until == nil || len(w.until) > 10_000 {
		w.until = map[string]time.Time{}
	}
	w.until[key] = until
}

// once logs, unless what was logged of the key still stands.
func (w *viewWindow) once(key string, now, until time.Time, log func() error) error {
	if w.covers(key, now) {
		return nil
	}
	turn := w.turn(key)
	turn.Lock()
	defer turn.Unlock()
	if w.covers(key, now) {
		return nil
	}
	if err := log(); err != nil {
		return fmt.Errorf("log the view: %w", err)
	}
	w.add(key, until)
	return nil
}

// Viewed logs that somebody is given an item's content: KindViewed once a session, reason and half hour (a preview doesn't stand for the
// original), KindDownloaded each time. No bytes may leave before it returns nil.
func (k *Keeper) Viewed(ctx context.Context, eid ID, download bool, a Act) error {
	if download {
		if err := k.noted(ctx, eid, chain.KindDownloaded, a); err != nil {
			return fmt.Errorf("log the download: %w", err)
		}
		return nil
	}
	now := k.now()
	return k.views.once(string(eid)+"\x00"+a.Actor+"\x00"+a.Session+"\x00"+a.Reason, now, now.Add(viewEvery), func() error { return k.noted(ctx, eid, chain.KindViewed, a) })
}

// Glimpsed logs that somebody is shown an item's poster, which is a frame of it: KindGlimpsed once a person, item and day, and not on a day on
// which the person was given its content before. The table is asked, so no restart and no other server counts a look anew. A list
// asks for many at once: what comes together shares a commit.
func (k *Keeper) Glimpsed(ctx context.Context, eid ID, a Act) error {
	now := k.now()
	tomorrow := NextDay(now)
	return k.views.once("poster\x00"+string(eid)+"\x00"+a.Actor, now, tomorrow, func() error {
		seen, err := db.New(k.pool).SeenSince(ctx, db.SeenSinceParams{EvidenceID: string(eid), At: tomorrow.Add(-24 * time.Hour), Actor: a.Actor})
		if err != nil {
			return pg.Away(err)
		}
		if seen {
			return nil
		}
		return k.noted(ctx, eid, chain.KindGlimpsed, a)
	})
}

// NextDay is when the county's next day begins.
func NextDay(t time.Time) time.Time {
	const east = 8 * time.Hour
	return t.Add(east).UTC().Truncate(24 * time.Hour).Add(24*time.Hour - east)
}

func (k *Keeper) noted(ctx context.Context, eid ID, kind chain.Kind, a Act) error {
	return k.log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error { return k.Note(ctx, tx, eid, kind, a) })
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
	if rec.Status == StatusDeleted {
		certificate := "/api/v1/evidence/" + string(rec.ID) + "/deletion-certificate"
		w.Header().Set("Link", "<"+certificate+`>; rel="describedby"`)
		return errDeleted().Then("查看销毁凭证：%s", certificate)
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
