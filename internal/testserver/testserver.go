// Package testserver runs the whole platform as people do: the built program with all services embedded, on a data folder that outlives
// its kills. It never ships in a command.
package testserver

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"zhizheng/internal/testenv"
)

// Server is bin/zhizheng with the demo county, without its devices and its footage.
type Server struct {
	Bin  string // program
	Data string
	URL  string

	address string
	args    []string
	cmd     *exec.Cmd
	log     *os.File
	gone    chan struct{}
}

// New builds the server, starts it and waits until it answers. It ends with the test.
func New(t testing.TB, args ...string) *Server {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil { // the database runs as another user
		t.Fatal(err)
	}
	s := &Server{Bin: Build(t, dir, "zhizheng", "zhizheng/cmd/zhizheng"), Data: filepath.Join(dir, "data"), address: freeAddress(t), args: args}
	s.URL = "http://" + s.address
	var err error
	if s.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s.cmd != nil {
			_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
			<-s.gone
		}
		if t.Failed() {
			b := s.Log(t)
			t.Logf("server:\n%s", b[max(0, len(b)-8000):])
		}
		s.log.Close()
		// The database of a root run lies outside the data folder; the project's own script knows where.
		if out, err := exec.Command(filepath.Join("..", "..", "deploy", "clean-data"), s.Data).CombinedOutput(); err != nil {
			t.Errorf("clean: %v\n%s", err, out)
		}
	})
	s.Start(t)
	testenv.Eventually(t, 2*time.Minute, func() bool {
		_, err := os.Stat(filepath.Join(s.Identity(), "station.json"))
		return err == nil && s.ready(t)
	})
	return s
}

// Build makes a program of this module in dir.
func Build(t testing.TB, dir, name, pkg string) string {
	t.Helper()
	bin := filepath.Join(dir, name)
	if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", bin, pkg).CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// Identity is the folder of the demo's docking station.
func (s *Server) Identity() string { return filepath.Join(s.Data, "demo-dock") }

// Start starts it on the same data and address; Ready waits until it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command(s.Bin, append([]string{"serve", "--demo", "--no-demo-county", "--no-demo-footage", "--data", s.Data, "--listen", s.address}, s.args...)...)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	s.gone = make(chan struct{})
	go func() {
		_ = s.cmd.Wait() // it is killed, or ends at the test's end
		close(s.gone)
	}()
}

// Ready waits until it answers.
func (s *Server) Ready(t testing.TB) {
	t.Helper()
	testenv.Eventually(t, time.Minute, func() bool { return s.ready(t) })
}

func (s *Server) ready(t testing.TB) bool { return s.Get(t.Context(), "/readyz") != nil }

// Kill ends it without a word.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.gone
}

// Log is what it said so far.
func (s *Server) Log(t testing.TB) []byte {
	t.Helper()
	b, err := os.ReadFile(s.log.Name())
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Get reads a public address, nil while the server is away.
func (s *Server) Get(ctx context.Context, path string) []byte {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, nil)
	if err != nil {
		return nil
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		return nil
	}
	return b
}

// freeAddress has its two neighbours free too, for the store and the broker.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 50 {
		port := 20000 + rand.IntN(40000)
		free := true
		for i := range 3 {
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port+i)))
			if err != nil {
				free = false
				continue
			}
			l.Close()
		}
		if free {
			return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
		}
	}
	t.Fatal("no three free ports in a row")
	return ""
}
