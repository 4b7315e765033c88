// Package testserver runs the whole platform as people do: the built program with all services embedded, on a data folder that outlives
// its kills. It never ships in a command.
package testserver

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"zhizheng/internal/testenv"
)

// Server is zhizheng with the demo county, without its devices and its footage.
type Server struct {
	Bin  string // program
	Data string
	URL  string
	Env  []string // settings of what it and its administration share: services elsewhere

	address string
	args    []string
	cmd     *exec.Cmd
	log     *os.File
	gone    chan struct{}
}

// New builds the server, starts it and waits until it answers. It ends with the test.
func New(t testing.TB, args ...string) *Server {
	t.Helper()
	s := Make(t, append(Demo(), args...)...)
	s.Begin(t)
	s.Loaded(t)
	return s
}

// Loaded waits until the demo county is there.
func (s *Server) Loaded(t testing.TB) {
	t.Helper()
	testenv.Eventually(t, 2*time.Minute, func() bool {
		_, err := os.Stat(filepath.Join(s.Identity(), "station.json")) // comes last
		return err == nil
	})
}

// Demo are the settings of a server with the demo county.
func Demo() []string { return []string{"--demo", "--no-demo-county", "--no-demo-footage"} }

// Make prepares a server that has not run yet, with nothing but these settings. Its data folder goes with the test.
func Make(t testing.TB, args ...string) *Server {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil { // the database runs as another user
		t.Fatal(err)
	}
	s := &Server{Bin: filepath.Join(Programs(t), "zhizheng"), Data: filepath.Join(dir, "data"), address: freeAddress(t), args: args}
	s.URL = "http://" + s.address
	var err error
	if s.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.log.Close()
		// The database of a root run lies outside the data folder; the project's own script knows where.
		if out, err := exec.Command(filepath.Join("..", "..", "deploy", "clean-data"), s.Data).CombinedOutput(); err != nil {
			t.Errorf("clean: %v\n%s", err, out)
		}
	})
	return s
}

// Begin starts what Make prepared and waits until it answers. It ends with the test.
func (s *Server) Begin(t testing.TB) {
	t.Helper()
	t.Cleanup(func() {
		_ = s.cmd.Process.Signal(syscall.SIGTERM) // it may be gone
		<-s.gone
		if t.Failed() {
			b := s.Log(t)
			t.Logf("server:\n%s", b[max(0, len(b)-8000):])
		}
	})
	s.Start(t)
	testenv.Eventually(t, 2*time.Minute, func() bool { return s.ready(t) })
}

// Programs are all of this module's that the tests run, built once: the folder has zhizheng, dock and verify.
func Programs(t testing.TB) string {
	t.Helper()
	dir, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// programs builds as `make build` does, so that after it only the linking is left to do.
var programs = sync.OnceValues(func() (string, error) {
	dir, err := testenv.Dir()
	if err != nil {
		return "", err
	}
	dir = filepath.Join(dir, "bin")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-o", dir+"/", "zhizheng/cmd/zhizheng", "zhizheng/cmd/dock", "zhizheng/cmd/verify")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	return dir, nil
})

// BuildShifted builds a program whose clock is wrong by the seconds of ZZ_TEST_CLOCK, from its first moment: the standard library's clock
// is another for this one build. Its monotonic clock is right, as that of a machine with a flat battery is.
func BuildShifted(t testing.TB, pkg string) string {
	t.Helper()
	root, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir, clock := t.TempDir(), filepath.Join(strings.TrimSpace(string(root)), "src", "time", "time.go")
	text, err := os.ReadFile(clock)
	if err != nil {
		t.Fatal(err)
	}
	const now = "func Now() Time {\n\tsec, nsec, mono := runtimeNow()\n"
	if !bytes.Contains(text, []byte(now)) {
		t.Fatalf("this Go's clock is read in another way: look at Now in %s", clock)
	}
	text = bytes.Replace(text, []byte(now), []byte(now+"\tsec += shift\n"), 1)
	text = append(text, `
var shift = func() (n int64) {
	text, _ := syscall.Getenv("ZZ_TEST_CLOCK")
	sign := int64(1)
	for _, r := range text {
		if r == '-' {
			sign = -1
		} else {
			n = 10*n + int64(r-'0')
		}
	}
	return sign * n
}()
`...)
	text = bytes.Replace(text, []byte("import ("), []byte("import (\n\t\"syscall\""), 1)
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{clock: filepath.Join(dir, "time.go")}})
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"time.go": text, "overlay.json": overlay} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	bin := filepath.Join(dir, "shifted")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-trimpath", "-ldflags", "-s -w", "-overlay", filepath.Join(dir, "overlay.json"), "-o", bin, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s with another clock: %v\n%s", pkg, err, out)
	}
	return bin
}

// Run runs a command of administration beside the server, and gives what it printed.
func (s *Server) Run(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command(s.Bin, append(args, "--data", s.Data)...)
	cmd.Env = append(os.Environ(), s.Env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("zhizheng %s: %v\n%s", args, err, out)
	}
	return string(out)
}

// Identity is the folder of the demo's docking station.
func (s *Server) Identity() string { return filepath.Join(s.Data, "demo-dock") }

// Start starts it on the same data and address; Ready waits until it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.cmd = exec.Command(s.Bin, append([]string{"serve", "--data", s.Data, "--listen", s.address}, s.args...)...)
	s.cmd.Env = append(os.Environ(), s.Env...)
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

// Running says whether the process is there.
func (s *Server) Running() bool {
	select {
	case <-s.gone:
		return false
	default:
		return true
	}
}

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

// freeAddress has its three neighbours free too, for the store, the broker and the demo's time-stamp authority. All are
// below those that the kernel gives to connections.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 50 {
		port := 10000 + rand.IntN(20000)
		free := true
		for i := range 4 {
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
	t.Fatal("no four free ports in a row")
	return ""
}
