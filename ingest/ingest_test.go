package ingest_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/evlogtest"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/ingest"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/blob"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
	"zhizheng/internal/testenv"
)

// county is the service on real ones, with one station that signs what it is told.
type county struct {
	*ingest.Service
	t       *testing.T
	pool    *pgxpool.Pool
	log     *evlog.Log
	keeper  *evidence.Keeper
	store   *blob.Store
	station ingest.Station
	key     ed25519.PrivateKey
	counter uint64
	prev    []byte
	sealed  []evidence.ID // as AfterSeal heard
	mu      sync.Mutex
}

func newCounty(t *testing.T) *county {
	t.Helper()
	c := &county{t: t, pool: testenv.Pool(t), store: testenv.Store(t)}
	c.log = evlogtest.Log(t, c.pool)
	c.keeper = evidence.NewKeeper(c.pool, c.log, c.store, nil)
	c.Service = c.server()
	dir := filepath.Join(t.TempDir(), "station")
	must(t, c.WriteIdentity(t.Context(), dir, "http://127.0.0.1:1", "ST-01", "510821100", "示例", "test"))
	c.key = stationKey(t, dir)
	c.station = ingest.Station{ID: "ST-01", Township: "510821100", KeyID: c.keyID()}
	return c
}

func stationKey(t *testing.T, dir string) ed25519.PrivateKey {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "key.pem"))
	must(t, err)
	block, _ := pem.Decode(b)
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	must(t, err)
	return k.(ed25519.PrivateKey)
}

// server is one more server process on the same database and store.
func (c *county) server() *ingest.Service {
	return ingest.New(ingest.Options{Pool: c.pool, Log: c.log, Evidence: c.keeper, Store: c.store, Attested: func() bool { return true },
		Logger: slog.New(slog.DiscardHandler), Retain: func(now time.Time) time.Time { return now.Add(time.Minute) },
		AfterSeal: func(_ context.Context, _ *pg.Tx, rec evidence.Record) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.sealed = append(c.sealed, rec.ID)
			return nil
		}})
}

func (c *county) keyID() []byte {
	id, err := manifest.KeyID(c.key.Public().(ed25519.PublicKey))
	must(c.t, err)
	return id
}

// clip makes a file's manifest, unsigned.
func (c *county) clip(name string, content []byte) (manifest.Manifest, [][]byte) {
	h := manifest.NewHasher(int64(len(content)))
	_, _ = h.Write(content)
	whole, composite, parts := h.Sum()
	return manifest.Manifest{KeyID: c.keyID(), Epoch: 1, FileName: []byte(name), Size: h.Size, SHA256: whole[:], PartSize: manifest.PartSize(h.Size),
		Composite: composite[:], At: 1772000000000}, parts
}

// next signs a manifest at the end of the station's chain.
func (c *county) next(m manifest.Manifest) []byte {
	c.counter++
	m.Counter, m.Prev = c.counter, c.prev
	raw, hash, err := manifest.Sign(m, c.key)
	must(c.t, err)
	c.prev = hash[:]
	return raw
}

func (c *county) submit(raws ...[]byte) []ingest.ManifestResult {
	c.t.Helper()
	out, err := c.SubmitManifests(c.t.Context(), c.station, raws)
	must(c.t, err)
	return out
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (c *county) kinds(subject chain.Subject) (kinds []chain.Kind) {
	c.t.Helper()
	leaves, err := c.log.SubjectLeaves(c.t.Context(), subject)
	must(c.t, err)
	for _, l := range leaves {
		d, err := l.Decode()
		must(c.t, err)
		kinds = append(kinds, d.Kind)
	}
	return kinds
}

func TestManifestsOfABatch(t *testing.T) {
	c := newCounty(t)
	a, _ := c.clip("a.mp4", []byte("a"))
	b, _ := c.clip("b.mp4", []byte("b"))
	aAgain, _ := c.clip("copy of a.mp4", []byte("a"))
	raws := [][]byte{c.next(a), c.next(b), c.next(aAgain), []byte("no manifest")}
	r := c.submit(raws...)
	if r[0].Status != ingest.Accepted || r[1].Status != ingest.Accepted || r[2].Status != ingest.Duplicate || r[2].EvidenceID != r[0].EvidenceID {
		t.Fatalf("first time: %+v", r)
	}
	if r[3].Status != ingest.Rejected || r[3].Code != "malformed" || r[3].Error == "" {
		t.Fatalf("nonsense: %+v", r[3])
	}
	// In the log in the order of the chain, and answered the same when sent again, in any company.
	if r[0].LeafIndex >= r[1].LeafIndex || r[1].LeafIndex >= r[2].LeafIndex {
		t.Fatalf("order of leaves: %d %d %d", r[0].LeafIndex, r[1].LeafIndex, r[2].LeafIndex)
	}
	again := c.submit(raws[2], raws[0], raws[0], raws[1])
	if again[0] != r[2] || again[1] != r[0] || again[2] != r[0] || again[3] != r[1] {
		t.Fatalf("sent again: %+v\nfirst: %+v", again, r)
	}
	if got := c.kinds(ingest.KeySubject(c.keyID())); len(got) != 4 || got[0] != chain.KindKeyEnrolled || got[3] != chain.KindManifest {
		t.Fatalf("leaves of the key: %v", got)
	}
	if got := c.kinds(evidence.Subject(r[0].EvidenceID)); len(got) != 1 || got[0] != chain.KindManifestName {
		t.Fatalf("leaves of the evidence: %v", got)
	}
	var raw []byte
	must(t, c.pool.QueryRow(t.Context(), "select raw from dead_letter where origin = 'ST-01'").Scan(&raw))
	if string(raw) != "no manifest" {
		t.Fatalf("kept: %q", raw)
	}
}

func TestSignaturesThatDoNotCount(t *testing.T) {
	c := newCounty(t)
	m, _ := c.clip("a.mp4", []byte("a"))
	good := c.next(m)
	forged := bytes.Clone(good)
	forged[len(forged)-1] ^= 1
	_, strange, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	m.Counter = 1
	m.KeyID, err = manifest.KeyID(strange.Public().(ed25519.PublicKey))
	must(t, err)
	stranger, _, err := manifest.Sign(m, strange)
	must(t, err)
	for code, raw := range map[string][]byte{"bad-signature": forged, "unknown-key": stranger} {
		if r := c.submit(raw)[0]; r.Status != ingest.Rejected || r.Code != code || r.EvidenceID != "" {
			t.Fatalf("%s: %+v", code, r)
		}
	}
	must(t, c.Revoke(t.Context(), c.keyID(), "test", "遗失"))
	if r := c.submit(good)[0]; r.Status != ingest.Rejected || r.Code != "revoked-key" {
		t.Fatalf("revoked: %+v", r)
	}
	var letters, records int
	must(t, c.pool.QueryRow(t.Context(), "select (select count(*) from dead_letter), (select count(*) from evidence)").Scan(&letters, &records))
	if letters != 3 || records != 0 {
		t.Fatalf("%d dead letters, %d records", letters, records)
	}
}

func TestTwoManifestsForOneCounter(t *testing.T) {
	c := newCounty(t)
	a, _ := c.clip("a.mp4", []byte("a"))
	b, _ := c.clip("b.mp4", []byte("b"))
	first := c.next(a)
	c.counter, c.prev = 0, nil // the identity was copied, and its copy counts too
	second := c.next(b)
	r := c.submit(first, second) // even in one commit
	if r[0].Status != ingest.Accepted || r[0].Code != "" || r[1].Status != ingest.Accepted || r[1].Code != "equivocation" || r[1].EvidenceID == r[0].EvidenceID {
		t.Fatalf("answers: %+v", r)
	}
	if again := c.submit(second)[0]; again != r[1] {
		t.Fatalf("sent again: %+v, first %+v", again, r[1])
	}
	kinds := c.kinds(ingest.KeySubject(c.keyID()))
	if len(kinds) != 4 || kinds[3] != chain.KindEquivocation {
		t.Fatalf("leaves of the key: %v", kinds)
	}
}

// send carries the missing parts of an upload.
func (c *county) send(u ingest.Upload, content []byte) {
	c.t.Helper()
	for _, p := range u.Missing {
		off := int64(p.Number-1) * u.PartSize
		req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPut, p.URL, bytes.NewReader(content[off:off+p.Size]))
		must(c.t, err)
		for k, v := range p.Headers {
			req.Header[k] = v
		}
		res, err := http.DefaultClient.Do(req)
		must(c.t, err)
		res.Body.Close()
		if res.StatusCode != http.StatusOK {
			c.t.Fatalf("part %d: %s", p.Number, res.Status)
		}
	}
}

func TestManyServersCompleteOnce(t *testing.T) {
	c := newCounty(t)
	content := make([]byte, 11<<20)
	_, _ = rand.Read(content)
	m, parts := c.clip("a.mp4", content)
	r := c.submit(c.next(m))[0]
	u, err := c.BeginUpload(t.Context(), c.station, r.EvidenceID, m.PartSize, parts)
	must(t, err)
	if u.State != ingest.UploadOpen || len(u.Missing) != 3 {
		t.Fatalf("upload: %+v", u)
	}
	if _, err := c.CompleteUpload(t.Context(), c.station, u.ID); !fault.Is(err, fault.KindConflict) {
		t.Fatalf("complete without bytes: %v", err)
	}
	c.send(u, content)
	var wg sync.WaitGroup
	errs := make([]error, 6)
	for i := range errs {
		wg.Go(func() {
			server := c.server()
			testenv.Eventually(t, 20*time.Second, func() bool {
				_, errs[i] = server.CompleteUpload(t.Context(), c.station, u.ID)
				return !fault.Is(errs[i], fault.KindUnavailable) // told to come back while another one seals
			})
		})
	}
	wg.Wait()
	must(t, errors.Join(errs...))
	seals := 0
	for _, k := range c.kinds(evidence.Subject(r.EvidenceID)) {
		if k == chain.KindSealed {
			seals++
		}
	}
	if seals != 1 {
		t.Fatalf("sealed %d times", seals)
	}
	u, err = c.UploadState(t.Context(), c.station, u.ID)
	must(t, err)
	if u.State != ingest.UploadSealed || u.LeafIndex <= r.LeafIndex {
		t.Fatalf("after: %+v", u)
	}
	if len(c.sealed) == 0 || c.sealed[0] != r.EvidenceID {
		t.Fatalf("told after sealing: %v", c.sealed)
	}
}

// Crash between the store's completion and our commit: the object is there, the record is pending, the upload id is gone.
func TestCompletedAtTheStoreAndNotSealed(t *testing.T) {
	c := newCounty(t)
	content := make([]byte, 6<<20)
	_, _ = rand.Read(content)
	m, parts := c.clip("a.mp4", content)
	r := c.submit(c.next(m))[0]
	u, err := c.BeginUpload(t.Context(), c.station, r.EvidenceID, m.PartSize, parts)
	must(t, err)
	c.send(u, content)
	rec, err := c.keeper.Get(t.Context(), evidence.Scope{}, r.EvidenceID)
	must(t, err)
	var storeID string
	must(t, c.pool.QueryRow(t.Context(), "select store_id from upload where id = $1", u.ID).Scan(&storeID))
	have, err := c.store.ListParts(t.Context(), rec.ObjectKey, storeID)
	must(t, err)
	must(t, c.store.Complete(t.Context(), rec.ObjectKey, storeID, have))

	u, err = c.server().BeginUpload(t.Context(), c.station, r.EvidenceID, m.PartSize, parts)
	must(t, err)
	if u.State != ingest.UploadCompleted || len(u.Missing) != 0 {
		t.Fatalf("state: %+v", u)
	}
	u, err = c.server().CompleteUpload(t.Context(), c.station, u.ID)
	must(t, err)
	if u.State != ingest.UploadSealed {
		t.Fatalf("state: %+v", u)
	}
}

func TestDigestsThatAreNotTheManifests(t *testing.T) {
	c := newCounty(t)
	m, parts := c.clip("a.mp4", []byte("abc"))
	r := c.submit(c.next(m))[0]
	_, other := c.clip("b.mp4", []byte("other"))
	for what, d := range map[string][][]byte{"other digests": other, "one too many": append(parts, parts...), "none": nil} {
		if _, err := c.BeginUpload(t.Context(), c.station, r.EvidenceID, m.PartSize, d); !fault.Is(err, fault.KindConflict) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := c.BeginUpload(t.Context(), c.station, "01NOSUCH", m.PartSize, parts); !fault.Is(err, fault.KindNotFound) {
		t.Errorf("no such record: %v", err)
	}
}

func TestTokens(t *testing.T) {
	c := newCounty(t)
	now := time.Now()
	token := func(change func(*jwt.RegisteredClaims, *jwt.Token)) string {
		claims := jwt.RegisteredClaims{Issuer: "ST-01", Audience: jwt.ClaimStrings{ingest.Audience}, IssuedAt: jwt.NewNumericDate(now),
			ExpiresAt: jwt.NewNumericDate(now.Add(4 * time.Minute))}
		tok := jwt.NewWithClaims(jwt.SigningMethodEdDSA, &claims)
		tok.Header["kid"] = hex.EncodeToString(c.keyID())
		change(&claims, tok)
		s, err := tok.SignedString(c.key)
		must(t, err)
		return s
	}
	st, err := c.AuthenticateStation(t.Context(), token(func(*jwt.RegisteredClaims, *jwt.Token) {}))
	must(t, err)
	if st.ID != "ST-01" || st.Township != "510821100" {
		t.Fatalf("station: %+v", st)
	}
	_, strange, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	forged, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{Issuer: "ST-01"}).SignedString(strange)
	must(t, err)
	for what, bad := range map[string]string{
		"none":           "",
		"no token":       "abc",
		"forged":         forged,
		"lives too long": token(func(r *jwt.RegisteredClaims, _ *jwt.Token) { r.ExpiresAt = jwt.NewNumericDate(now.Add(time.Hour)) }),
		"expired": token(func(r *jwt.RegisteredClaims, _ *jwt.Token) {
			r.IssuedAt, r.ExpiresAt = jwt.NewNumericDate(now.Add(-time.Hour)), jwt.NewNumericDate(now.Add(-56*time.Minute))
		}),
		"not begun":      token(func(r *jwt.RegisteredClaims, _ *jwt.Token) { r.IssuedAt = jwt.NewNumericDate(now.Add(time.Hour)) }),
		"never ends":     token(func(r *jwt.RegisteredClaims, _ *jwt.Token) { r.ExpiresAt = nil }),
		"other audience": token(func(r *jwt.RegisteredClaims, _ *jwt.Token) { r.Audience = jwt.ClaimStrings{"elsewhere"} }),
		"other station":  token(func(r *jwt.RegisteredClaims, _ *jwt.Token) { r.Issuer = "ST-02" }),
		"no key id":      token(func(_ *jwt.RegisteredClaims, tok *jwt.Token) { delete(tok.Header, "kid") }),
	} {
		if _, err := c.AuthenticateStation(t.Context(), bad); !fault.Is(err, fault.KindUnauthorized) {
			t.Errorf("%s: %v", what, err)
		}
	}
	must(t, c.Revoke(t.Context(), c.keyID(), "test", "遗失"))
	if _, err := c.AuthenticateStation(t.Context(), token(func(*jwt.RegisteredClaims, *jwt.Token) {})); !fault.Is(err, fault.KindUnauthorized) {
		t.Errorf("revoked: %v", err)
	}
}

// Two servers, each with a log of its own on the one database, both look for bytes before either has registered them: at the same moment
// from two stations, and the same manifest by two ways. There is one record, and each caller hears what became of it.
func TestSameBytesOnTwoServersAtOnce(t *testing.T) {
	c := newCounty(t)
	sign, err := signer.Open(t.Context(), t.TempDir(), "test.zhizheng.local/log")
	must(t, err)
	log, err := evlog.New(c.pool, evlog.Options{Signer: sign, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { must(t, log.Close()) })
	other := &county{Service: c.server(), t: t, pool: c.pool, log: log}
	dir := filepath.Join(t.TempDir(), "station")
	must(t, c.WriteIdentity(t.Context(), dir, "http://127.0.0.1:1", "ST-02", "510821100", "示例", "test"))
	other.key = stationKey(t, dir)
	other.station = ingest.Station{ID: "ST-02", Township: "510821100", KeyID: other.keyID()}
	other.Log, other.Evidence = log, evidence.NewKeeper(c.pool, log, c.store, nil)

	// The lookup of the recorder comes after that of the bytes: there they wait for each other, once a round.
	var met sync.WaitGroup
	meet := func(s *ingest.Service) (again func()) {
		var once sync.Once
		s.Recorder = func(context.Context, string) (string, error) {
			once.Do(func() { met.Done(); met.Wait() })
			return "", nil
		}
		return func() { once = sync.Once{} }
	}
	resets := []func(){meet(c.Service), meet(other.Service)}
	atOnce := func(raws ...[]byte) [2]ingest.ManifestResult {
		met.Add(2)
		var out [2]ingest.ManifestResult
		var wg sync.WaitGroup
		for i, s := range []*county{c, other} {
			resets[i]()
			wg.Go(func() {
				testenv.Eventually(t, 20*time.Second, func() bool {
					r, err := s.SubmitManifests(t.Context(), s.station, raws[i:i+1])
					if err == nil {
						out[i] = r[0]
					} else if !fault.Is(err, fault.KindUnavailable) { // else it was told to come back
						t.Error(err)
					}
					return err == nil || t.Failed()
				})
			})
		}
		wg.Wait()
		return out
	}
	const rounds = 30
	for i := range rounds {
		m, _ := c.clip("a.mp4", []byte{byte(i)})
		m.Recorder = "R1"
		theirs := m
		theirs.KeyID = other.keyID()
		mine, second := c.next(m), other.next(theirs)
		r := atOnce(mine, second)
		if r[0].EvidenceID == "" || r[0].EvidenceID != r[1].EvidenceID || r[0].LeafIndex == r[1].LeafIndex {
			t.Fatalf("two stations: %+v", r)
		}
		if got := []string{r[0].Status, r[1].Status}; !slices.Contains(got, ingest.Accepted) || !slices.Contains(got, ingest.Duplicate) {
			t.Fatalf("two stations: %v", got)
		}
		if again := atOnce(mine, second); again != r {
			t.Fatalf("sent again: %+v, first %+v", again, r)
		}
		m, _ = c.clip("b.mp4", []byte{byte(i), 0})
		m.Recorder = "R1"
		same := c.next(m)
		if r := atOnce(same, same); r[0].Status != ingest.Accepted || r[0].EvidenceID == "" || r[0] != r[1] {
			t.Fatalf("one manifest by two ways: %+v", r)
		}
	}
	c.counts(2*rounds, 3*rounds)
}

// The same bytes more than once in one submission, under names of their own, with company.
func TestSameBytesTwiceInASubmission(t *testing.T) {
	c := newCounty(t)
	a, _ := c.clip("a.mp4", []byte("a"))
	b, _ := c.clip("b.mp4", []byte("b"))
	copied, _ := c.clip("copy of a.mp4", []byte("a"))
	raws := [][]byte{c.next(a), c.next(b), c.next(copied), c.next(a)}
	r := c.submit(raws...)
	for i, want := range []string{ingest.Accepted, ingest.Accepted, ingest.Duplicate, ingest.Duplicate} {
		if r[i].Status != want || i > 1 && r[i].EvidenceID != r[0].EvidenceID || i > 0 && r[i].LeafIndex <= r[i-1].LeafIndex {
			t.Fatalf("manifest %d: %+v", i, r)
		}
	}
	if again := c.submit(raws...); !slices.Equal(again, r) {
		t.Fatalf("sent again: %+v, first %+v", again, r)
	}
	c.counts(2, 4)
}

// counts says how many records there are, each with its one custody event, and how many manifests, each with its one leaf.
func (c *county) counts(records, manifests int) {
	c.t.Helper()
	var got [4]int
	must(c.t, c.pool.QueryRow(c.t.Context(), `select (select count(*) from evidence), (select count(*) from custody), (select count(*) from manifest m
		join evidence e on e.id = m.evidence_id), (select count(*) from log_entry where key like 'manifest/%')`).Scan(&got[0], &got[1], &got[2], &got[3]))
	if want := [4]int{records, records, manifests, manifests}; got != want {
		c.t.Fatalf("records, custody events, manifests, their leaves: %v, not %v", got, want)
	}
	rep, err := c.log.Audit(c.t.Context())
	must(c.t, err)
	if len(rep.Findings) > 0 {
		c.t.Fatalf("the log doesn't hold: %v", rep.Findings)
	}
}
