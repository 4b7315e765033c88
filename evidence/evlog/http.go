package evlog

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/internal/db"
	"zhizheng/internal/fault"
)

// Handler serves the log to anyone, by C2SP tlog-tiles: /log/checkpoint, /log/tile/…, /log/tile/entries/…, and /log/vkey. Tiles reach
// as far as the latest checkpoint and never change.
func (l *Log) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "only GET", http.StatusMethodNotAllowed)
			return
		}
		path, ok := strings.CutPrefix(r.URL.Path, "/log/")
		if !ok {
			http.NotFound(w, r)
			return
		}
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Access-Control-Allow-Origin", "*") // public by purpose: a browser of an auditor may read it
		body, err := l.resource(r.Context(), path, h)
		if err != nil {
			l.fail(w, r, err)
			return
		}
		h.Set("Content-Length", strconv.Itoa(len(body)))
		if r.Method == http.MethodGet {
			_, _ = w.Write(body) // a client that left is no concern of ours
		}
	})
}

func (l *Log) resource(ctx context.Context, path string, h http.Header) ([]byte, error) {
	switch path {
	case "vkey":
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
		return []byte(strings.Join(l.VKeys(), "\n") + "\n"), nil
	case "checkpoint":
		signed, _, err := l.published(ctx)
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
		return signed, err
	}
	level, idx, width, err := chain.ParseTilePath(path)
	if err != nil {
		return nil, errNoTile
	}
	p, err := l.q.Publisher(ctx)
	if err != nil {
		return nil, err
	}
	name := tileName{level, idx, width}
	if !name.covered(p.Size) {
		return nil, errNoTile
	}
	h.Set("Content-Type", "application/octet-stream")
	var body []byte
	if level == chain.EntriesLevel {
		body, err = l.bundle(ctx, idx, width)
	} else {
		body, err = (&tileReader{ctx: ctx, q: l.q, size: p.Size}).fetch(name)
	}
	if err != nil {
		return nil, err
	}
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	return body, nil
}

func (l *Log) bundle(ctx context.Context, idx int64, width int) ([]byte, error) {
	first := idx * chain.TileWidth
	leaves, err := l.q.EntryBytes(ctx, db.EntryBytesParams{First: first, Past: first + int64(width)})
	if err != nil {
		return nil, err
	}
	if len(leaves) != width {
		return nil, errors.New("entries are missing")
	}
	var body []byte
	for _, b := range leaves {
		body = chain.AppendBundle(body, b)
	}
	return body, nil
}

func (l *Log) fail(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Del("Cache-Control")
	switch {
	case errors.Is(err, errNoTile), fault.Is(err, fault.KindPending):
		http.NotFound(w, r)
	case r.Context().Err() != nil: // nobody is there to read it
	default:
		l.log.ErrorContext(r.Context(), "log not served", "path", r.URL.Path, "err", err)
		w.Header().Set("Retry-After", "2")
		http.Error(w, "the log can't be read at the moment", http.StatusServiceUnavailable)
	}
}
