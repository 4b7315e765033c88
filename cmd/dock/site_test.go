package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/api"
	"zhizheng/authority"
	"zhizheng/evidence"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/evlogtest"
	"zhizheng/ingest"
	"zhizheng/internal/blob"
	"zhizheng/internal/testenv"
)

// A copy of the test binary is the agent itself, for tests that need a process to kill.
func TestMain(m *testing.M) {
	if os.Getenv("ZZ_TEST_DOCK") != "" {
		os.Exit(run())
	}
	os.Exit(m.Run())
}

const donghe = "510821100"

// site is the platform on real services, with one enrolled station.
type site struct {
	url      string
	identity string
	pool     *pgxpool.Pool
	log      *evlog.Log
	keeper   *evidence.Keeper
	ingest   *ingest.Service
	store    *blob.Store
	attested atomic.Bool
	// fault may answer a request in the platform's place; what it returns false for goes on.
	fault atomic.Pointer[func(w http.ResponseWriter, r *http.Request) bool]
}

func newSite(t *testing.T) *site { return newSiteOn(t, testenv.Store(t)) }

func newSiteOn(t *testing.T, store *blob.Store) *site {
	t.Helper()
	s := &site{pool: testenv.Pool(t), store: store}
	s.attested.Store(true)
	s.log = evlogtest.Log(t, s.pool)
	s.keeper = evidence.NewKeeper(s.pool, s.log, s.store, nil)
	quiet := slog.New(slog.DiscardHandler)
	s.ingest = ingest.New(ingest.Options{Pool: s.pool, Log: s.log, Evidence: s.keeper, Store: s.store, Attested: s.attested.Load, Logger: quiet,
		Retain: func(now time.Time) time.Time { return now.Add(time.Minute) }})
	h, err := api.New(api.Deps{Pool: s.pool, Log: s.log, Store: s.store, Evidence: s.keeper, Ingest: s.ingest, Logger: quiet,
		Authority: authority.New(s.pool, s.log, authority.Options{}), Console: fstest.MapFS{"index.html": {Data: []byte("console")}},
		Ready: func(context.Context) map[string]string { return nil }})
	must(t, err)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := s.fault.Load(); f != nil && (*f)(w, r) {
			return
		}
		h.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	s.url = srv.URL
	s.identity = s.enrol(t, "ST-01")
	return s
}

// enrol gives another station its identity folder.
func (s *site) enrol(t *testing.T, station string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), station)
	must(t, s.ingest.WriteIdentity(t.Context(), dir, s.url, station, donghe, "示例采集站", "test"))
	return dir
}

// breaks sets a fault until the test ends or mend is called.
func (s *site) breaks(f func(w http.ResponseWriter, r *http.Request) bool) (mend func()) {
	s.fault.Store(&f)
	return func() { s.fault.Store(nil) }
}

// run is what one run of the agent said.
type runOf struct {
	all   bool
	err   error
	lines []result
}

func (r runOf) of(t *testing.T, file string) result {
	t.Helper()
	for _, l := range r.lines {
		if l.File == file {
			return l
		}
	}
	t.Fatalf("no line for %q among %d", file, len(r.lines))
	return result{}
}

func (r runOf) count(status string) (n int) {
	for _, l := range r.lines {
		if l.Status == status {
			n++
		}
	}
	return n
}

// dock runs the agent in this process.
func (s *site) dock(t *testing.T, folder string, change ...func(*config)) runOf {
	t.Helper()
	c := config{hubConfig: hubConfig{Identity: s.identity, Server: s.url, Parallel: 4, Readers: 2, Patience: 20 * time.Second, States: time.Minute, System: systemFiles}, Source: folder,
		Once: true, JSON: true}
	for _, f := range change {
		f(&c)
	}
	out, err := os.CreateTemp(t.TempDir(), "out")
	must(t, err)
	defer out.Close()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	must(t, err)
	defer null.Close()
	var r runOf
	r.all, r.err = dock(t.Context(), c, out, null)
	_, err = out.Seek(0, io.SeekStart)
	must(t, err)
	text, err := io.ReadAll(out)
	must(t, err)
	r.lines = readLines(t, text)
	return r
}

func readLines(t *testing.T, text []byte) (lines []result) {
	t.Helper()
	for l := range bytes.Lines(text) {
		var x result
		if err := json.Unmarshal(l, &x); err != nil {
			t.Fatalf("line %q: %v", l, err)
		}
		lines = append(lines, x)
	}
	return lines
}

// command is the agent as a process.
func (s *site) command(t *testing.T, identity, folder string, more ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self, append([]string{"--identity", identity, "--server", s.url, "--source", folder, "--once", "--json", "--patience", "20s"}, more...)...)
	cmd.Env = append(os.Environ(), "ZZ_TEST_DOCK=1")
	return cmd
}

// records are all evidence records by their digest.
func (s *site) records(t *testing.T) map[string]evidence.Record {
	t.Helper()
	out := map[string]evidence.Record{}
	cursor := ""
	for {
		p, err := s.keeper.List(t.Context(), evidence.Scope{}, evidence.Filter{}, cursor, 100)
		must(t, err)
		for _, r := range p.Items {
			out[r.SHA256Hex()] = r
		}
		if cursor = p.Next; cursor == "" {
			return out
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// put writes a file on the card.
func put(t *testing.T, dir, name string, b []byte) string {
	t.Helper()
	p := filepath.Join(dir, name)
	must(t, os.MkdirAll(filepath.Dir(p), 0o755))
	must(t, os.WriteFile(p, b, 0o644))
	return p
}
