package testenv

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/internal/embedded"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// Pool gives a pool on a fresh migrated database, running as pg.AppRole as in production. The database goes with the test.
func Pool(t testing.TB) *pgxpool.Pool {
	t.Helper()
	pool, err := pg.Open(context.Background(), DatabaseURL(t), 16)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

// DatabaseURL gives the owner's address of a fresh migrated database, for tests of the server as a whole.
func DatabaseURL(t testing.TB) string {
	t.Helper()
	s, err := server()
	if err != nil {
		t.Fatalf("test database: %v", err)
	}
	name := fmt.Sprintf("zz_%s_%d", strings.ToLower(id.New()), s.n.Add(1))
	if err := s.exec(fmt.Sprintf(`create database %s template %s strategy file_copy`, name, s.template)); err != nil {
		t.Fatalf("test database: %v", err)
	}
	t.Cleanup(func() {
		if err := s.exec(`drop database if exists ` + name + ` with (force)`); err != nil {
			t.Errorf("drop test database: %v", err)
		}
	})
	return s.address(name)
}

// Clone gives the address of a copy of a database of DatabaseURL, as a restored backup would be. Nobody may be connected to it.
func Clone(t testing.TB, address string) string {
	t.Helper()
	s, err := server()
	if err != nil {
		t.Fatalf("test database: %v", err)
	}
	u, err := url.Parse(address)
	if err != nil {
		t.Fatalf("clone database: %v", err)
	}
	name := fmt.Sprintf("zz_%s_%d", strings.ToLower(id.New()), s.n.Add(1))
	from := strings.TrimPrefix(u.Path, "/")
	err = s.exec(fmt.Sprintf(`select pg_terminate_backend(pid) from pg_stat_activity where datname = '%s'`, from))
	if err == nil {
		err = s.exec(fmt.Sprintf(`create database %s template %s strategy file_copy`, name, from))
	}
	if err != nil {
		t.Fatalf("clone database: %v", err)
	}
	t.Cleanup(func() {
		if err := s.exec(`drop database if exists ` + name + ` with (force)`); err != nil {
			t.Errorf("drop test database: %v", err)
		}
	})
	return s.address(name)
}

// pgServer is the one server of this test binary.
type pgServer struct {
	url      string // of its maintenance database
	template string
	n        atomic.Int64
}

var server = sync.OnceValues(func() (*pgServer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if u := os.Getenv("ZZ_TEST_DATABASE_URL"); u != "" {
		return external(ctx, u)
	}
	return own(ctx)
})

func (s *pgServer) address(database string) string {
	u, err := url.Parse(s.url)
	if err != nil {
		panic(err) // it was parsed at the start
	}
	u.Path = "/" + database
	return u.String()
}

func (s *pgServer) exec(sql string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	return err
}

// schemaHash names the schema: an edited migration or another version of River gives another one, so no test ever runs on a stale
// template.
func schemaHash() (string, error) {
	h := sha256.New()
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			fmt.Fprintln(h, d.Path, d.Version)
		}
	}
	err := fs.WalkDir(pg.Migrations(), ".", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := fs.ReadFile(pg.Migrations(), p)
		fmt.Fprintf(h, "%s %d\n%s", p, len(b), b)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)[:6]), err
}

// external uses a developer's server; its template stays there for the next run.
func external(ctx context.Context, address string) (*pgServer, error) {
	hash, err := schemaHash()
	if err != nil {
		return nil, err
	}
	if _, err := url.Parse(address); err != nil {
		return nil, fmt.Errorf("ZZ_TEST_DATABASE_URL is no URL")
	}
	s := &pgServer{url: address, template: "zz_template_" + hash}
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `select pg_advisory_lock(2053731700)`); err != nil { // two test binaries, one template
		return nil, err
	}
	var there bool
	if err := conn.QueryRow(ctx, `select exists (select from pg_database where datname = $1 and datistemplate)`, s.template).Scan(&there); err != nil || there {
		return s, err
	}
	for _, sql := range []string{`drop database if exists ` + s.template, `create database ` + s.template} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return nil, err
		}
	}
	if err := pg.Migrate(ctx, s.address(s.template)); err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, `alter database `+s.template+` is_template true`)
	return s, err
}

// own starts a server on a copy of the cached, migrated cluster. It ends with this process.
func own(ctx context.Context) (*pgServer, error) {
	cached, err := cachedCluster(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := binaryDir()
	if err != nil {
		return nil, err
	}
	if out, err := exec.CommandContext(ctx, "cp", "-a", "--reflink=auto", cached+"/.", dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copy the cluster: %w: %s", err, out)
	}
	p, err := start(ctx, dir)
	if err != nil {
		return nil, err
	}
	return &pgServer{url: p.URL(), template: "zz_template"}, nil
}

func start(ctx context.Context, dir string) (*embedded.Postgres, error) {
	return embedded.StartPostgres(ctx, embedded.PostgresOptions{Dir: dir, Cluster: filepath.Join(dir, "cluster"), NoSync: true,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
}

// cachedCluster makes, once for each schema, a cluster with a migrated template database; clusters of other schemas unused for a
// day are removed.
func cachedCluster(ctx context.Context) (string, error) {
	hash, err := schemaHash()
	if err != nil {
		return "", err
	}
	b, err := base()
	if err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(b, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	dir := filepath.Join(b, "schema-"+hash)
	now := time.Now()
	if err := os.Chtimes(dir, now, now); err == nil {
		return dir, nil
	}
	all, err := filepath.Glob(filepath.Join(b, "schema-*"))
	if err != nil {
		return "", err
	}
	for _, old := range all {
		if st, err := os.Stat(old); err == nil && now.Sub(st.ModTime()) > 24*time.Hour {
			_ = os.RemoveAll(old) // only a cache
		}
	}
	making := filepath.Join(b, "making")
	if err := os.RemoveAll(making); err != nil {
		return "", err
	}
	if err := os.Mkdir(making, 0o711); err != nil {
		return "", err
	}
	p, err := start(ctx, making)
	if err != nil {
		return "", err
	}
	err = makeTemplate(ctx, p.URL())
	if e := p.Stop(ctx); err == nil {
		err = e
	}
	if err != nil {
		return "", err
	}
	return dir, os.Rename(making, dir)
}

func makeTemplate(ctx context.Context, address string) error {
	s := &pgServer{url: address}
	if err := s.exec(`create database zz_template`); err != nil {
		return err
	}
	return pg.Migrate(ctx, s.address("zz_template"))
}
