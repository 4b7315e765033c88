package testenv

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"zhizheng/internal/blob"
	"zhizheng/internal/embedded"
	"zhizheng/internal/id"
)

// Store gives a fresh bucket with Object Lock in the embedded store of this test binary.
func Store(t testing.TB) *blob.Store {
	t.Helper()
	o := StoreOptions(t)
	s, err := blob.Open(context.Background(), o)
	if err != nil {
		t.Fatalf("test store: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// StoreOptions name a fresh bucket that doesn't exist yet, for tests that open the store themselves.
func StoreOptions(t testing.TB) blob.Options {
	t.Helper()
	a, err := store()
	if err != nil {
		t.Fatalf("test store: %v", err)
	}
	return blob.Options{Endpoint: a.Endpoint, AccessKey: a.Access, SecretKey: a.Secret, Bucket: "test-" + strings.ToLower(id.New())}
}

// StoreFile is where the embedded store keeps the newest version of an object on disk, for tests that damage it.
func StoreFile(t testing.TB, bucket, key string) string {
	t.Helper()
	a, err := store()
	if err != nil {
		t.Fatalf("test store: %v", err)
	}
	return filepath.Join(a.dir, "s3", "objects", bucket, key)
}

// StoreProcess is an embedded store of one test's own, which outlives its kills.
type StoreProcess struct {
	Endpoint, Access, Secret string

	dir  string
	cmd  *exec.Cmd
	gone chan struct{}
}

// NewStore starts a store for a test to kill and start again. It ends with the test.
func NewStore(t testing.TB) *StoreProcess {
	t.Helper()
	run, err := storeDir()
	if err != nil {
		t.Fatalf("test store: %v", err)
	}
	dir, err := os.MkdirTemp(run, "store-")
	if err != nil {
		t.Fatalf("test store: %v", err)
	}
	p := &StoreProcess{dir: dir}
	t.Cleanup(func() {
		p.Kill(t)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	p.Start(t)
	return p
}

// Start starts it on the same objects and address.
func (p *StoreProcess) Start(t testing.TB) {
	t.Helper()
	if err := p.start(); err != nil {
		t.Fatalf("test store: %v", err)
	}
}

// Kill ends it without a word.
func (p *StoreProcess) Kill(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatalf("test store: %v", err)
	}
	<-p.gone
}

const (
	storeRole   = "ZZ_TESTENV_STORE"
	storeListen = "ZZ_TESTENV_STORE_LISTEN"
)

// init turns a copy of the test binary into the store. It runs in a process of its own because the store changes the working
// directory, and tests read their files relative to it.
func init() {
	dir := os.Getenv(storeRole)
	if dir == "" {
		return
	}
	s, err := embedded.StartS3(context.Background(), embedded.S3Options{Dir: dir, Listen: os.Getenv(storeListen)})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	access, secret := s.Credentials()
	fmt.Println("ready", s.Endpoint(), access, secret)
	<-s.Done()
	os.Exit(1)
}

// store starts the store of this test binary; it ends with it.
var store = sync.OnceValues(func() (*StoreProcess, error) {
	dir, err := storeDir()
	if err != nil {
		return nil, err
	}
	p := &StoreProcess{dir: dir}
	return p, p.start()
})

func (p *StoreProcess) start() error {
	p.gone = make(chan struct{})
	said := make(chan error)
	go func() {
		// The kernel ends the child when this thread ends, so the goroutine keeps it as long as the child lives.
		runtime.LockOSThread()
		p.cmd = exec.Command(os.Args[0])
		p.cmd.Env = append(os.Environ(), storeRole+"="+p.dir, storeListen+"="+strings.TrimPrefix(p.Endpoint, "http://"))
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		log, err := os.Create(filepath.Join(p.dir, "store.log"))
		if err != nil {
			said <- err
			return
		}
		defer log.Close()
		p.cmd.Stderr = log
		out, err := p.cmd.StdoutPipe()
		if err == nil {
			err = p.cmd.Start()
		}
		if err != nil {
			said <- err
			return
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if w := strings.Fields(line); err == nil && len(w) == 4 && w[0] == "ready" {
			p.Endpoint, p.Access, p.Secret = w[1], w[2], w[3]
			said <- nil
		} else {
			said <- fmt.Errorf("the store said %q: %v", line, err)
		}
		_ = p.cmd.Wait() // killed by the test, or with us
		close(p.gone)
	}()
	return <-said
}

// storeDir is on a file system with user attributes; a temporary folder in memory often has none.
func storeDir() (string, error) {
	dir, err := binaryDir()
	if err != nil {
		return "", err
	}
	if embedded.XattrsWork(dir) == nil {
		return dir, nil
	}
	other, err := os.MkdirTemp("/var/tmp", "zhizheng-test-store-")
	if err != nil {
		return "", err
	}
	return other, embedded.XattrsWork(other)
}
