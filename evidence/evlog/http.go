package evlog

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/internal/db"
	"zhizheng/internal/fault"
)

// Handler serves the log to anyone, by C2SP tlog-tiles: /log/checkpoint (the newest, with what cosignatures it has by now),
// /log/tile/…, /log/tile/entries/…, and beside it /log/checkpoint.witnessed (the newest with the quorum), /log/vkey and /log/policy.
// Tiles reach as far as the latest checkpoint and never change, partial ones neither: their width is in their address.
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
		tag := sha256.Sum256(body)
		h.Set("ETag", `"`+hex.EncodeToString(tag[:16])+`"`)
		if strings.Contains(r.Header.Get("If-None-Match"), h.Get("ETag")) {
			h.Del("Content-Type")
			w.WriteHeader(http.StatusNotModified)
			return
		}
		if strings.HasPrefix(path, "tile/entries/") {
			body = zipped(body, h, r.Header.Get("Accept-Encoding"))
		}
		h.Set("Content-Length", strconv.Itoa(len(body)))
		if r.Method == http.MethodGet {
			_, _ = w.Write(body) // a client that left is no concern of ours
		}
	})
}

// zipped compresses entry bundles for those who take it (C2SP tlog-tiles asks for that). Tiles are hashes and don't get smaller.
func zipped(body []byte, h http.Header, accept string) []byte {
	h.Set("Vary", "Accept-Encoding")
	if !takesGzip(accept) {
		return body
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(body)
	if err == nil {
		err = z.Close()
	}
	if err != nil || b.Len() >= len(body) {
		return body
	}
	h.Set("Content-Encoding", "gzip")
	h.Set("ETag", "W/"+h.Get("ETag")) // other bytes of the same content (RFC 9110 §8.8.1)
	return b.Bytes()
}

func takesGzip(accept string) bool {
	for _, part := range strings.Split(accept, ",") {
		coding, weight, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.EqualFold(strings.TrimSpace(coding), "gzip") {
			q, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(weight), "q="), 64)
			return err != nil || q > 0
		}
	}
	return false
}

func (l *Log) resource(ctx context.Context, path string, h http.Header) ([]byte, error) {
	switch path {
	case "vkey":
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
		return []byte(strings.Join(l.VKeys(), "\n") + "\n"), nil
	case "policy":
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
		return []byte(l.Policy().Text()), nil
	case "checkpoint", "checkpoint.witnessed":
		h.Set("Content-Type", "text/plain; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
		return l.checkpointAs(ctx, path)
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
		body, err = bundle(ctx, l.q, idx, width)
	} else {
		body, err = (&tileReader{ctx: ctx, q: l.q, size: p.Size}).fetch(name)
	}
	if err != nil {
		return nil, err
	}
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	return body, nil
}

func (l *Log) checkpointAs(ctx context.Context, path string) ([]byte, error) {
	signed, c, err := l.published(ctx)
	if err != nil {
		return nil, err
	}
	if path == "checkpoint" {
		b, err := l.cosignedAt(ctx, signed, c)
		return b.signed, err
	}
	b, err := l.best(ctx, 1)
	if err == nil && !b.quorum.Met {
		return nil, errNoTile
	}
	return b.signed, err
}

func bundle(ctx context.Context, q *db.Queries, idx int64, width int) ([]byte, error) {
	first := idx * chain.TileWidth
	leaves, err := q.EntryBytes(ctx, db.EntryBytesParams{First: first, Past: first + int64(width)})
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
