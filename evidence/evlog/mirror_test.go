package evlog_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/minio/minio-go/v7"
	miniocreds "github.com/minio/minio-go/v7/pkg/credentials"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/internal/blob"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
	"zhizheng/internal/testenv"
)

// site is a log with its signer and its copy in the store, whose steps the test takes one by one.
type site struct {
	t     testing.TB
	url   string
	pool  *pgxpool.Pool
	dir   string // the signer's
	o     blob.Options
	store *blob.Store
	log   *evlog.Log
	n     int // entries added
}

func newSite(t testing.TB) *site {
	t.Helper()
	s := &site{t: t, url: testenv.DatabaseURL(t), dir: t.TempDir(), o: testenv.StoreOptions(t)}
	var err error
	if s.store, err = blob.Open(t.Context(), s.o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.store.Close)
	s.open()
	t.Cleanup(s.close)
	return s
}

func (s *site) open() {
	s.t.Helper()
	s.reopenPool()
	sg, err := signer.Open(s.t.Context(), s.dir, "copy.test")
	if err != nil {
		s.t.Fatal(err)
	}
	s.log, err = evlog.New(s.pool, evlog.Options{Signer: sg, Store: s.store, Retain: time.Minute, Minute: time.Nanosecond,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) close() {
	if s.log != nil {
		if err := s.log.Close(); err != nil {
			s.t.Error(err)
		}
		s.pool.Close()
		s.log = nil
	}
}

// reopenPool connects again, for a log that the test opens itself.
func (s *site) reopenPool() *pgxpool.Pool {
	s.t.Helper()
	var err error
	if s.pool, err = pg.Open(s.t.Context(), s.url, 6); err != nil {
		s.t.Fatal(err)
	}
	return s.pool
}

// reopen is a restart.
func (s *site) reopen() {
	s.t.Helper()
	s.close()
	s.open()
}

// grows appends n entries and publishes a checkpoint over them.
func (s *site) grows(n int) {
	s.t.Helper()
	var es []chain.Entry
	for range n {
		es = append(es, viewed(fmt.Sprint("k", s.n), fmt.Sprint("ev", s.n%7), "u"))
		s.n++
	}
	add(s.t, s.log, s.pool, es...)
	if err := evlog.Publish(s.t.Context(), s.log); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) copies(want int64) {
	s.t.Helper()
	if n, err := evlog.CopyOut(s.t.Context(), s.log); err != nil || n != want {
		s.t.Fatalf("copied up to %d, want %d: %v", n, want, err)
	}
}

// clone makes a copy of the database as it is now: a backup.
func (s *site) clone() string {
	s.t.Helper()
	s.close()
	u := testenv.Clone(s.t, s.url)
	s.open()
	return u
}

func (s *site) object(key string) []byte {
	s.t.Helper()
	r, err := s.store.Get(s.t.Context(), key, "", 0, -1)
	if err != nil {
		s.t.Fatalf("%s: %v", key, err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		s.t.Fatal(err)
	}
	return b
}

func (s *site) keys() (out []string) {
	s.t.Helper()
	for after := ""; ; {
		vs, more, err := s.store.Versions(s.t.Context(), "log/", after, 1000)
		if err != nil {
			s.t.Fatal(err)
		}
		for _, v := range vs {
			out = append(out, v.Key)
		}
		if !more {
			return out
		}
		after = vs[len(vs)-1].Key
	}
}

// The copy alone is enough to read the whole log and check it against the key; each of its objects is locked.
func TestCopyStandsAlone(t *testing.T) {
	s := newSite(t)
	s.grows(100)
	s.copies(100)
	s.copies(0) // nothing new
	s.grows(700)
	s.copies(800)
	v, err := chain.NewVerifier(s.log.VKey())
	if err != nil {
		t.Fatal(err)
	}
	c, err := chain.OpenCheckpoint(s.object("log/checkpoints/0000000000000000800"), v)
	if err != nil || c.Size != 800 {
		t.Fatalf("%+v %v", c, err)
	}
	var edge chain.Edge
	for idx := range int64(4) {
		w := int(min(256, 800-idx*256))
		leaves, err := chain.SplitBundle(s.object("log/" + chain.EntriesPath(idx, w)))
		if err != nil || len(leaves) != w {
			t.Fatal(err)
		}
		for _, l := range leaves {
			edge.Append(chain.LeafHash(l))
		}
	}
	if edge.Root() != c.Root {
		t.Fatal("the copied entries are not what was signed")
	}
	for idx := range int64(3) {
		if b := s.object("log/" + chain.TilePath(0, idx, 256)); len(b) != 8192 {
			t.Errorf("tile %d has %d bytes", idx, len(b))
		}
	}
	keys := s.keys()
	for _, k := range keys {
		o, err := s.store.Head(t.Context(), k)
		if err != nil || o.Mode != blob.Compliance || o.RetainUntil.Before(time.Now()) {
			t.Errorf("%s is not locked: %+v %v", k, o, err)
		}
	}
	// 3 tiles, 3 full and 2 partial bundles, 2 checkpoints.
	if len(keys) != 10 {
		t.Errorf("%d objects: %v", len(keys), keys)
	}
	// So the offline verifier takes it as it lies there.
	dir := t.TempDir()
	for _, k := range keys {
		path := filepath.Join(dir, filepath.FromSlash(strings.TrimPrefix(k, "log/")))
		ok(t, os.MkdirAll(filepath.Dir(path), 0o755))
		ok(t, os.WriteFile(path, s.object(k), 0o600))
	}
	if rep := holds(t, dir, chain.LogPolicy(s.log.VKey())); rep.Size != 800 || rep.Files != 10 {
		t.Errorf("%+v", rep)
	}
	st, err := s.log.Status(t.Context())
	if err != nil || st.Copied != 800 || st.CopiedAt.IsZero() || !st.Copies {
		t.Errorf("%+v %v", st, err)
	}
}

// A new bucket gets the whole copy, not only what is new.
func TestNewBucketGetsAll(t *testing.T) {
	s := newSite(t)
	s.grows(300)
	s.copies(300)
	s.o = testenv.StoreOptions(t)
	var err error
	if s.store, err = blob.Open(t.Context(), s.o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.store.Close)
	s.reopen()
	s.copies(300)
	s.copies(0)
	copyWhole(t, s, s.log)
	s.grows(300)
	s.copies(600)
	copyWhole(t, s, s.log)
}

// Several replicas copy at most once a minute.
func TestOneCopyAMinute(t *testing.T) {
	s := newSite(t)
	s.grows(3)
	sg := signer.Observe(s.dir)
	for i := range 3 {
		l, err := evlog.New(s.pool, evlog.Options{Signer: sg, Store: s.store, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			t.Fatal(err)
		}
		n, err := evlog.CopyOut(t.Context(), l)
		if want := map[int]int64{0: 3}[i]; err != nil || n != want {
			t.Errorf("replica %d copied up to %d: %v", i, n, err)
		}
		s.grows(1)
	}
}

// A store that is away stops nothing; when it is back the copy catches up.
func TestStoreIsAway(t *testing.T) {
	s := newSite(t)
	s.grows(5)
	s.copies(5)
	away := &flaky{Vault: s.store}
	away.fail.Store(true)
	s.close()
	sg, err := signer.Open(t.Context(), s.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	s.log, err = evlog.New(s.reopenPool(), evlog.Options{Signer: sg, Store: away, Minute: time.Nanosecond, Retain: time.Minute, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil || s.log.Halted() != "" {
		t.Fatalf("%v %s", err, s.log.Halted())
	}
	s.grows(300)
	if _, err := evlog.CopyOut(t.Context(), s.log); err == nil {
		t.Fatal("copied to a store that is away")
	}
	away.fail.Store(false)
	s.copies(305)
	sound(t, s.log)
}

func (s *site) halted(why string) {
	s.t.Helper()
	if h := s.log.Halted(); !strings.Contains(h, why) {
		s.t.Fatalf("halted: %q, not because of %q", h, why)
	}
	err := pg.InTx(s.t.Context(), s.pool, func(tx *pg.Tx) error { return s.log.Append(tx, viewed("forked", "ev", "u")) })
	if !fault.Is(err, fault.KindUnavailable) {
		s.t.Fatalf("append to a fork: %v", err)
	}
}

// An older database beside a newer store and signer; an older database and an older signer, so that only the store knows. Nothing is
// appended to the fork, and the missing leaves come back from the store.
func TestOlderDatabaseIsBroughtBack(t *testing.T) {
	for _, both := range []bool{false, true} {
		t.Run(fmt.Sprintf("signer restored too %t", both), func(t *testing.T) {
			s := newSite(t)
			s.grows(100)
			s.copies(100)
			backup := s.clone()
			secrets := t.TempDir()
			if err := os.CopyFS(secrets, os.DirFS(s.dir)); err != nil {
				t.Fatal(err)
			}
			s.grows(600)
			kept := receipt(t, s.log, "k650")
			signedNow, err := os.ReadFile(filepath.Join(s.dir, "log.signed"))
			if err != nil {
				t.Fatal(err)
			}
			s.copies(700)
			old := s.log.VKey()

			s.close()
			s.url = backup
			if both {
				if err := os.RemoveAll(s.dir); err != nil {
					t.Fatal(err)
				}
				s.dir = secrets
			}
			s.open()
			s.halted(map[bool]string{false: "签名进程已签发到700条", true: "副本有700条"}[both])
			if both {
				// The signer's memory is as old: it would sign a second history. It has to be brought up first.
				if _, err := s.log.Recover(t.Context(), nil); !fault.Is(err, fault.KindConflict) {
					t.Fatalf("recovered with a signer that forgot: %v", err)
				}
				s.close()
				if err := os.WriteFile(filepath.Join(s.dir, "log.signed"), signedNow, 0o600); err != nil {
					t.Fatal(err)
				}
				s.open()
			}
			r, err := chain.ParseReceipt(kept)
			if err != nil {
				t.Fatal(err)
			}
			rec, err := s.log.Recover(t.Context(), map[int64]chain.Disclosure{r.Index: r.Disclosure})
			if err != nil || rec.Had != 100 || rec.Now != 700 || rec.Payloads != 1 || rec.Missing != 0 || rec.Halted != "" {
				t.Fatalf("%+v %v", rec, err)
			}
			rep := sound(t, s.log)
			if rep.Entries != 701 || rep.Erased != 599 { // and the statement about them
				t.Fatalf("%+v", rep)
			}
			// Again, it does nothing.
			if rec, err := s.log.Recover(t.Context(), nil); err != nil || !rec.Unchanged {
				t.Fatalf("%+v %v", rec, err)
			}
			s.reopen()
			s.n = 1000
			s.grows(300)
			s.copies(1001)
			if rep := sound(t, s.log); rep.Entries != 1001 {
				t.Fatalf("%+v", rep)
			}
			// A receipt from before still proves its leaf, and one of a recovered leaf can be had.
			v, err := chain.NewVerifier(old)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := chain.VerifyReceipt(kept, v); err != nil {
				t.Error(err)
			}
			if p, err := chain.VerifyReceipt(receipt(t, s.log, "recovered/650"), v); err != nil || p.Payload == nil {
				t.Errorf("%+v %v", p, err)
			}
			if p, err := chain.VerifyReceipt(receipt(t, s.log, "recovered/651"), v); err != nil || p.Payload != nil {
				t.Errorf("%+v %v", p, err)
			}
		})
	}
}

// What was signed after the last copy is only in receipts: with all of them the log goes on, without one it stays where it is, and an
// invented leaf is refused.
func TestTailComesFromReceipts(t *testing.T) {
	s := newSite(t)
	s.grows(10)
	backup := s.clone()
	s.grows(10)
	s.copies(20)
	s.grows(3)
	all := map[int64]chain.Disclosure{}
	for i := 20; i < 23; i++ {
		r, err := chain.ParseReceipt(receipt(t, s.log, fmt.Sprint("k", i)))
		if err != nil {
			t.Fatal(err)
		}
		all[r.Index] = r.Disclosure
	}
	s.close()
	s.url = backup
	s.open()
	s.halted("恢复到旧状态")
	for _, some := range []map[int64]chain.Disclosure{nil, {20: all[20], 22: all[22]}} {
		rec, err := s.log.Recover(t.Context(), some)
		if err != nil || rec.Now != 20 || rec.Missing != 3 || rec.Halted == "" {
			t.Fatalf("%+v %v", rec, err)
		}
		s.halted("恢复到旧状态")
	}
	forged := map[int64]chain.Disclosure{20: all[20], 21: all[20], 22: all[22]}
	if _, err := s.log.Recover(t.Context(), forged); !fault.Is(err, fault.KindConflict) {
		t.Fatalf("an invented leaf: %v", err)
	}
	rec, err := s.log.Recover(t.Context(), all)
	if err != nil || rec.Now != 23 || rec.Missing != 0 || rec.Halted != "" || rec.Payloads != 3 {
		t.Fatalf("%+v %v", rec, err)
	}
	if rep := sound(t, s.log); rep.Entries != 24 || rep.Erased != 10 {
		t.Fatalf("%+v", rep)
	}
}

// Whatever the store has that this log did not write halts it: another log's copy, a checkpoint of another history, other bytes.
func TestStoreContradicts(t *testing.T) {
	put := func(s *site, key string, b []byte) {
		t.Helper()
		if _, err := s.store.Put(t.Context(), key, b, blob.CreateOptions{RetainUntil: time.Now().Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("another log's copy", func(t *testing.T) {
		s, other := newSite(t), newSite(t)
		other.grows(4)
		signed, err := other.log.Checkpoint(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		put(s, "log/checkpoints/0000000000000000004", signed)
		s.reopen()
		s.halted("不是由本机密钥签发")
	})
	t.Run("other bytes where a tile should be", func(t *testing.T) {
		s := newSite(t)
		put(s, "log/tile/0/000", []byte("squatter"))
		s.grows(260)
		if _, err := evlog.CopyOut(t.Context(), s.log); err == nil {
			t.Fatal("copied over another's object")
		}
		s.halted("log/tile/0/000")
		for _, k := range s.keys() {
			if strings.HasPrefix(k, "log/checkpoints/") {
				t.Errorf("%s covers what isn't there", k)
			}
		}
	})
	t.Run("a delete marker hides the newest", func(t *testing.T) {
		s := newSite(t)
		s.grows(4)
		backup := s.clone()
		s.grows(4)
		s.copies(8)
		c, err := minio.New(strings.TrimPrefix(s.o.Endpoint, "http://"), &minio.Options{Creds: miniocreds.NewStaticV4(s.o.AccessKey, s.o.SecretKey, ""), Region: "us-east-1"})
		if err != nil {
			t.Fatal(err)
		}
		if err := c.RemoveObject(t.Context(), s.o.Bucket, "log/checkpoints/0000000000000000008", minio.RemoveObjectOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(s.dir, "log.signed"), []byte(signedAt(t, s, 4)), 0o600); err != nil {
			t.Fatal(err)
		}
		s.close()
		s.url = backup
		s.open()
		s.halted("副本有8条")
	})
	t.Run("damage in the database stays out of the copy", func(t *testing.T) {
		s := newSite(t)
		s.grows(300)
		exec(t, owner(t, s.url), `update log_entry set bytes = set_bit(bytes, 77, 1 - get_bit(bytes, 77)) where seq = 17`)
		if _, err := evlog.CopyOut(t.Context(), s.log); err == nil {
			t.Fatal("damage was copied")
		}
		s.halted("第17条")
	})
	t.Run("names that are no checkpoints", func(t *testing.T) {
		s := newSite(t)
		for _, k := range []string{"log/checkpoints/zzz", "log/checkpoints/12", "log/checkpoints/0000000000000000001.txt"} {
			put(s, k, []byte("x"))
		}
		s.reopen()
		s.grows(4)
		s.copies(4)
		s.reopen()
		if h := s.log.Halted(); h != "" {
			t.Fatal(h)
		}
	})
}

// signedAt is the note body of a kept checkpoint: what the signer remembered then.
func signedAt(t *testing.T, s *site, size int64) string {
	t.Helper()
	var text string
	if err := owner(t, s.url).QueryRow(t.Context(), `select note from log_checkpoint where size = $1`, size).Scan(&text); err != nil {
		t.Fatal(err)
	}
	body, _, _ := strings.Cut(text, "\n\n")
	return body + "\n"
}

// The newest checkpoint is found among thousands of minutes, from whatever the database knows.
func TestNewestOfManyCheckpoints(t *testing.T) {
	s := newSite(t)
	s.grows(2)
	s.copies(2)
	many := &manyMinutes{Vault: s.store, sizes: 5000}
	for _, known := range []int64{0, 2, 700, 4999, 5000, 90000} {
		exec(t, owner(t, s.url), `update log_mirror set size = $1`, known)
		for many.sizes = 0; many.sizes <= 5000; many.sizes += 1250 {
			many.asked = 0
			l, err := evlog.New(s.pool, evlog.Options{Signer: signer.Observe(s.dir), Store: many, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
			if err != nil {
				t.Fatal(err)
			}
			want := ""
			if many.sizes > 0 {
				want = fmt.Sprintf("%019d", many.sizes)
			}
			if got := l.Halted(); want != "" && !strings.Contains(got, want) || want == "" && got != "" || many.asked > 80 {
				t.Errorf("database knows %d, store has %d: %q after %d questions", known, many.sizes, got, many.asked)
			}
		}
	}
}

// manyMinutes has checkpoints of all sizes up to one, none of which is the log's.
type manyMinutes struct {
	evlog.Vault
	sizes, asked int
}

func (m *manyMinutes) Versions(_ context.Context, prefix, after string, most int32) (vs []blob.Version, more bool, err error) {
	m.asked++
	if prefix != "log/checkpoints/" {
		return []blob.Version{{Key: prefix}}, false, nil
	}
	var n int
	if _, err := fmt.Sscanf(strings.TrimPrefix(after, prefix), "%d", &n); err != nil {
		return nil, false, err
	}
	for n++; n <= m.sizes; n++ {
		if len(vs) == int(most) {
			return vs, true, nil
		}
		vs = append(vs, blob.Version{Key: fmt.Sprintf("%s%019d", prefix, n)})
	}
	return vs, false, nil
}

func (m *manyMinutes) Get(context.Context, string, string, int64, int64) (io.ReadCloser, error) {
	return nil, errors.New("another's")
}

// flaky is a store that can be away.
type flaky struct {
	evlog.Vault
	fail atomic.Bool
}

var errAway = fault.Unavailable(time.Second, "away")

func (f *flaky) Put(ctx context.Context, key string, body []byte, o blob.CreateOptions) (blob.Object, error) {
	if f.fail.Load() {
		return blob.Object{}, errAway
	}
	return f.Vault.Put(ctx, key, body, o)
}

func (f *flaky) Versions(ctx context.Context, prefix, after string, most int32) ([]blob.Version, bool, error) {
	if f.fail.Load() {
		return nil, false, errAway
	}
	return f.Vault.Versions(ctx, prefix, after, most)
}
