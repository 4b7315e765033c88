package embedded_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/internal/embedded"
	"zhizheng/internal/testenv"
)

// TestMain lets the test binary stand in for a server that is killed: with ZZ_TEST_ROLE set it runs that role instead of the tests.
func TestMain(m *testing.M) {
	switch os.Getenv("ZZ_TEST_ROLE") {
	case "postgres":
		servePostgres(os.Getenv("ZZ_TEST_DIR"))
	case "store":
		serveStore(os.Getenv("ZZ_TEST_DIR"))
	default:
		os.Exit(m.Run())
	}
}

// servePostgres starts the cluster, says its address and waits to be killed.
func servePostgres(dir string) {
	p, err := embedded.StartPostgres(context.Background(), embedded.PostgresOptions{Dir: dir, Cluster: filepath.Join(dir, "cluster")})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	fmt.Println("ready", p.URL(), p.Pid())
	select {}
}

// openDir is a folder the postgres account can enter; t.TempDir's parents are 0700.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "zz-embedded-")
	if err == nil {
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func query(t *testing.T, url, sql string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	var s string
	if err := conn.QueryRow(t.Context(), sql).Scan(&s); err != nil {
		t.Fatal(err)
	}
	return s
}

func exec1(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// server is a copy of the test binary that plays a server.
type server struct {
	*exec.Cmd
	stdin io.Closer
}

// kill ends it with -9.
func (s server) kill(t *testing.T) {
	t.Helper()
	if err := s.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = s.Wait()
}

// child runs the test binary in a role and returns the words of its first line of output.
func child(t *testing.T, role, dir string, env ...string) (server, []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(append(os.Environ(), "ZZ_TEST_ROLE="+role, "ZZ_TEST_DIR="+dir), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	buf, line := make([]byte, 1), ""
	for !strings.HasSuffix(line, "\n") {
		if _, err := out.Read(buf); err != nil {
			t.Fatalf("child %s said %q: %v", role, line, err)
		}
		line += string(buf)
	}
	words := strings.Fields(line)
	if words[0] != "ready" {
		t.Fatalf("child %s: %s", role, line)
	}
	return server{cmd, in}, words[1:]
}

func startAgain(t *testing.T, dir string) *embedded.Postgres {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	p, err := embedded.StartPostgres(ctx, embedded.PostgresOptions{Dir: dir, Cluster: filepath.Join(dir, "cluster")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Stop(context.Background()) })
	return p
}

func TestPostgresAfterKillOfTheServer(t *testing.T) {
	dir := openDir(t)
	srv, words := child(t, "postgres", dir)
	exec1(t, words[0], `create table kept as select 'here' as what`)
	// An immediate stop of the postmaster too would be the easy case: freeze it, so that it really is an orphan at the next start.
	pid, err := strconv.Atoi(words[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	srv.kill(t)
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	p := startAgain(t, dir)
	if got := query(t, p.URL(), `select what from kept`); got != "here" {
		t.Fatalf("got %q", got)
	}
	if p.Pid() == pid {
		t.Fatal("the orphan was not replaced")
	}
}

// Once it has served it is never given up, however often it dies.
func TestPostgresRestartsWhenItsProcessIsKilled(t *testing.T) {
	p := startAgain(t, openDir(t))
	exec1(t, p.URL(), `create table kept as select 'here' as what`)
	for range 7 {
		old := p.Pid()
		if err := syscall.Kill(old, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		testenv.Eventually(t, 30*time.Second, func() bool {
			conn, err := pgx.Connect(t.Context(), p.URL())
			if err != nil {
				return false
			}
			_ = conn.Close(t.Context())
			return p.Pid() != old
		})
	}
	if got := query(t, p.URL(), `select what from kept`); got != "here" {
		t.Fatalf("got %q", got)
	}
}

func TestPostgresIsClosedToOthers(t *testing.T) {
	dir := openDir(t)
	p := startAgain(t, dir)
	bad := strings.Replace(p.URL(), "zhizheng:", "zhizheng:x", 1)
	if _, err := pgx.Connect(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "28P01") {
		t.Fatalf("a wrong password gave %v", err)
	}
	if got := query(t, p.URL(), `show listen_addresses`); got != "" {
		t.Fatalf("listens on %q", got)
	}
	for _, on := range []string{"fsync", "full_page_writes", "data_checksums", "synchronous_commit"} {
		if got := query(t, p.URL(), `show `+on); got != "on" {
			t.Fatalf("%s is %s", on, got)
		}
	}
	st, err := os.Stat(filepath.Join(dir, "secrets", "postgres-password"))
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Fatalf("password file: %v %v", st, err)
	}
	if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid())); err != nil || strings.Contains(string(b), "\nUid:\t0\t") {
		t.Fatalf("runs as root: %v", err)
	}
	_, err = embedded.StartPostgres(t.Context(), embedded.PostgresOptions{Dir: dir, Cluster: filepath.Join(dir, "cluster")})
	if err == nil || !strings.Contains(err.Error(), "another server") {
		t.Fatalf("a second server on the same data: %v", err)
	}
}

func TestPostgresBelowAClosedFolder(t *testing.T) {
	dir := t.TempDir() // 0700 above it: as root the cluster goes to /var/lib/zhizheng, linked
	p, err := embedded.StartPostgres(t.Context(), embedded.PostgresOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	real, err := filepath.EvalSymlinks(filepath.Join(dir, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		t.Cleanup(func() { _ = os.RemoveAll(real) })
		if !strings.HasPrefix(real, "/var/lib/zhizheng/") {
			t.Errorf("the cluster is in %s", real)
		}
	}
	exec1(t, p.URL(), `create table kept as select 'here' as what`)
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err = embedded.StartPostgres(t.Context(), embedded.PostgresOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if got := query(t, p.URL(), `select what from kept`); got != "here" {
		t.Errorf("got %q", got)
	}
	if err := p.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
}
