package evlog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	fmtlog "github.com/transparency-dev/formats/log"
	tlogproof "github.com/transparency-dev/formats/proof"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/evlogtest"
	"zhizheng/internal/testenv"
)

// leafHashes is how tessera's checker is told to hash a bundle: each entry by RFC 6962.
func leafHashes(b []byte) ([][]byte, error) {
	var e api.EntryBundle
	if err := e.UnmarshalText(b); err != nil {
		return nil, err
	}
	var out [][]byte
	for _, d := range e.Entries {
		out = append(out, rfc6962.DefaultHasher.HashLeaf(d))
	}
	return out, nil
}

// damaging flips a bit of the answers to one path.
type damaging struct {
	http.Handler
	path string
}

func (d *damaging) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != d.path {
		d.Handler.ServeHTTP(w, r)
		return
	}
	rec := httptest.NewRecorder()
	r.Header.Del("Accept-Encoding")
	d.Handler.ServeHTTP(rec, r)
	b := rec.Body.Bytes()
	b[len(b)/2] ^= 4
	_, _ = w.Write(b)
}

// Tessera's client and checker, which know nothing of us, read the log over HTTP: several thousand leaves across borders of tiles, at sizes
// before, on and behind a border. They accept it, build proofs from it, and find one flipped bit.
func TestTesseraReadsTheLog(t *testing.T) {
	pool := testenv.Pool(t)
	l := evlogtest.Log(t, pool)
	d := &damaging{Handler: l.Handler()}
	srv := httptest.NewServer(d)
	defer srv.Close()
	root, err := url.Parse(srv.URL + "/log/")
	if err != nil {
		t.Fatal(err)
	}
	f, err := client.NewHTTPFetcher(root, srv.Client())
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(l.VKey())
	if err != nil {
		t.Fatal(err)
	}
	check := func() error {
		return fsck.New(l.Origin(), v, f, leafHashes, fsck.Opts{N: 4}).Check(t.Context())
	}
	var tracker *client.LogStateTracker
	at := 0
	for _, size := range []int{1, 255, 256, 257, 1024, 3000, 4096, 4097} {
		var es []chain.Entry
		for ; at < size; at++ {
			es = append(es, viewed(fmt.Sprint("k", at), fmt.Sprint("ev", at%11), "u"))
		}
		add(t, l, pool, es...)
		testenv.Eventually(t, 10*time.Second, func() bool {
			s, err := l.Status(t.Context())
			return err == nil && s.Published == int64(size)
		})
		if err := check(); err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		// Its tracker proves each checkpoint consistent with the one before.
		if tracker == nil {
			tracker, err = client.NewLogStateTracker(t.Context(), f.ReadTile, nil, v, l.Origin(), client.UnilateralConsensus(f.ReadCheckpoint))
			if err != nil {
				t.Fatal(err)
			}
		} else if _, _, _, err := tracker.Update(t.Context()); err != nil {
			t.Fatalf("size %d: %v", size, err)
		}
		cp := tracker.Latest()
		if cp.Size != uint64(size) {
			t.Fatalf("size %d, tracker at %d", size, cp.Size)
		}
		pb, err := client.NewProofBuilder(t.Context(), cp.Size, f.ReadTile)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range []uint64{0, cp.Size / 2, cp.Size - 1} {
			p, err := pb.InclusionProof(t.Context(), i)
			if err != nil {
				t.Fatal(err)
			}
			bundle, err := client.GetEntryBundle(t.Context(), f.ReadEntryBundle, i/256, cp.Size)
			if err != nil {
				t.Fatal(err)
			}
			leaf := rfc6962.DefaultHasher.HashLeaf(bundle.Entries[i%256])
			if err := proof.VerifyInclusion(rfc6962.DefaultHasher, i, cp.Size, leaf, p, cp.Hash); err != nil {
				t.Errorf("leaf %d of %d: %v", i, size, err)
			}
			ours, err := l.BySeq(t.Context(), []int64{int64(i)})
			if err != nil || !bytes.Equal(ours[0].Bytes, bundle.Entries[i%256]) {
				t.Errorf("leaf %d of %d differs: %v", i, size, err)
			}
		}
	}
	for _, path := range []string{"tile/0/003", "tile/0/016.p/1", "tile/1/000.p/16", "tile/entries/007", "tile/entries/016.p/1", "checkpoint"} {
		d.path = "/log/" + path
		if err := check(); err == nil {
			t.Errorf("a flipped bit of %s was not found", path)
		}
	}
}

// The copy in the store is a log of its own: tessera's checker reads it from there, by the entries and full tiles that lie in it and
// partial tiles reckoned from the entries, as the copy leaves them out.
func TestTesseraReadsTheCopy(t *testing.T) {
	s := newSite(t)
	s.grows(1300)
	s.copies(1300)
	v, err := note.NewVerifier(s.log.VKey())
	if err != nil {
		t.Fatal(err)
	}
	f := fetchCopy{s}
	if err := fsck.New(s.log.Origin(), v, f, leafHashes, fsck.Opts{N: 2}).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Written to a folder, it is what a file server would serve.
	dir := t.TempDir()
	for _, k := range s.keys() {
		to := filepath.Join(dir, k)
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o700), os.WriteFile(to, s.object(k), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := (client.FileFetcher{Root: filepath.Join(dir, "log")}).ReadEntryBundle(t.Context(), 5, 20); err != nil || len(b) == 0 {
		t.Error(err)
	}
}

type fetchCopy struct{ s *site }

func (f fetchCopy) ReadCheckpoint(context.Context) ([]byte, error) {
	return f.s.object("log/checkpoints/0000000000000001300"), nil
}

func (f fetchCopy) ReadEntryBundle(_ context.Context, i uint64, p uint8) ([]byte, error) {
	return f.s.object("log/" + chain.EntriesPath(int64(i), width(p))), nil
}

func (f fetchCopy) ReadTile(ctx context.Context, level, i uint64, p uint8) ([]byte, error) {
	if p == 0 {
		return f.s.object("log/" + chain.TilePath(int(level), int64(i), 256)), nil
	}
	var out []byte
	for n := range uint64(p) {
		below := i*256 + n
		if level == 0 {
			b, err := f.ReadEntryBundle(ctx, i, p)
			if err != nil {
				return nil, err
			}
			hs, err := leafHashes(b)
			if err != nil {
				return nil, err
			}
			out = append(out, hs[n]...)
			continue
		}
		b, err := f.ReadTile(ctx, level-1, below, 0)
		if err != nil {
			return nil, err
		}
		r, err := chain.TileRoot(b)
		if err != nil {
			return nil, err
		}
		out = append(out, r[:]...)
	}
	return out, nil
}

func width(p uint8) int {
	if p == 0 {
		return 256
	}
	return int(p)
}

// What may be kept is said to be; what changes is asked for by its tag; entries travel compressed to those who take it.
func TestHeadersOfTheLog(t *testing.T) {
	pool := testenv.Pool(t)
	l := evlogtest.Log(t, pool)
	srv := httptest.NewServer(l.Handler())
	defer srv.Close()
	var es []chain.Entry
	for i := range 300 {
		es = append(es, viewed(fmt.Sprint("k", i), "ev", "u"))
	}
	add(t, l, pool, es...)
	receipt(t, l, "k299")
	do := func(path string, h http.Header) *http.Response {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, srv.URL+"/log/"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = h
		res, err := (&http.Transport{DisableCompression: true}).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.Body.Close() })
		return res
	}
	tag := do("checkpoint", http.Header{}).Header.Get("ETag")
	if r := do("checkpoint", http.Header{"If-None-Match": {tag}}); tag == "" || r.StatusCode != http.StatusNotModified || r.Header.Get("ETag") != tag {
		t.Errorf("checkpoint with its tag: %d %v", r.StatusCode, r.Header)
	}
	if r := do("checkpoint", http.Header{"If-None-Match": {`"0123"`}}); r.StatusCode != 200 {
		t.Errorf("checkpoint with another tag: %d", r.StatusCode)
	}
	add(t, l, pool, viewed("one more", "ev", "u"))
	receipt(t, l, "one more")
	if r := do("checkpoint", http.Header{"If-None-Match": {tag}}); r.StatusCode != 200 || r.Header.Get("Cache-Control") != "no-cache" {
		t.Errorf("a newer checkpoint: %d %v", r.StatusCode, r.Header)
	}
	for accept, want := range map[string]string{"gzip": "gzip", "br, gzip;q=0.5": "gzip", "gzip;q=0": "", "identity": "", "": ""} {
		for _, path := range []string{"tile/entries/000", "tile/entries/001.p/44", "tile/0/000"} {
			r := do(path, http.Header{"Accept-Encoding": {accept}})
			if path == "tile/0/000" && want != "" {
				want = ""
			}
			if r.StatusCode != 200 || r.Header.Get("Content-Encoding") != want || r.Header.Get("Cache-Control") != "public, max-age=31536000, immutable" {
				t.Errorf("%s accepting %q: %d %v", path, accept, r.StatusCode, r.Header)
			}
		}
	}
}

// Receipts are tlog-proofs as transparency-dev's format package reads and writes them, and merkle's verifier accepts what they prove.
func TestOthersReadReceipts(t *testing.T) {
	pool := testenv.Pool(t)
	l := evlogtest.Log(t, pool)
	var es []chain.Entry
	for i := range 300 {
		es = append(es, viewed(fmt.Sprint("k", i), "ev", "u"))
	}
	add(t, l, pool, es...)
	v, err := note.NewVerifier(l.VKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range []int{0, 1, 255, 256, 299} {
		text := receipt(t, l, fmt.Sprint("k", i))
		var p tlogproof.TLogProof
		if err := p.Unmarshal(text); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(p.Marshal(), text) || p.Index != uint64(i) {
			t.Errorf("receipt %d is written otherwise", i)
		}
		cp, rest, _, err := fmtlog.ParseCheckpoint(p.Checkpoint, l.Origin(), v)
		if err != nil || len(rest) != 0 {
			t.Fatal(err)
		}
		f, err := l.BySeq(t.Context(), []int64{int64(i)})
		if err != nil {
			t.Fatal(err)
		}
		var hs [][]byte
		for j := range p.Hashes {
			hs = append(hs, p.Hashes[j][:])
		}
		if err := proof.VerifyInclusion(rfc6962.DefaultHasher, p.Index, cp.Size, rfc6962.DefaultHasher.HashLeaf(f[0].Bytes), hs, cp.Hash); err != nil {
			t.Errorf("receipt %d: %v", i, err)
		}
	}
}
