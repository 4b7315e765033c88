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
	return blob.Options{Endpoint: a.endpoint, AccessKey: a.access, SecretKey: a.secret, Bucket: "test-" + strings.ToLower(id.New())}
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

type storeAddress struct{ endpoint, access, secret, dir string }

const storeRole = "ZZ_TESTENV_STORE"

// init turns a copy of the test binary into the store. It runs in a process of its own because the store changes the working
// directory, and tests read their files relative to it.
func init() {
	dir := os.Getenv(storeRole)
	if dir == "" {
		return
	}
	s, err := embedded.StartS3(context.Background(), embedded.S3Options{Dir: dir})
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
var store = sync.OnceValues(func() (storeAddress, error) {
	dir, err := storeDir()
	if err != nil {
		return storeAddress{}, err
	}
	type answer struct {
		a   storeAddress
		err error
	}
	said := make(chan answer)
	go func() {
		// The kernel ends the child when this thread ends, so the goroutine keeps it for good.
		runtime.LockOSThread()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), storeRole+"="+dir)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		log, err := os.Create(filepath.Join(dir, "store.log"))
		if err != nil {
			said <- answer{err: err}
			return
		}
		cmd.Stderr = log
		out, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			said <- answer{err: err}
			return
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if w := strings.Fields(line); err == nil && len(w) == 4 && w[0] == "ready" {
			said <- answer{a: storeAddress{w[1], w[2], w[3], dir}}
		} else {
			said <- answer{err: fmt.Errorf("the store said %q: %v", line, err)}
		}
		_ = cmd.Wait() // killed with us
	}()
	x := <-said
	return x.a, x.err
})

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
