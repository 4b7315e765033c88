// Package testenv owns the real services that tests run on: one PostgreSQL a test binary with a fresh migrated database for each
// test that asks, and one embedded S3 store a test binary with a fresh bucket for each. It promises that tests can't see each
// other's data, and leaves no process behind. ZZ_TEST_DATABASE_URL (an owner who may create databases) replaces the PostgreSQL.
//
// Read postgres.go, then store.go.
package testenv

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Eventually polls ok until it holds, and fails the test after d.
func Eventually(t testing.TB, d time.Duration, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("still not so after %s", d)
		}
	}
}

// base holds the cached cluster and the folders of running test binaries; open to the postgres account, writable by us alone.
func base() (string, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("zhizheng-test-%d", os.Geteuid()))
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return "", err
	}
	var st syscall.Stat_t
	if err := syscall.Lstat(dir, &st); err != nil {
		return "", err
	}
	if st.Uid != uint32(os.Geteuid()) || st.Mode&syscall.S_IFMT != syscall.S_IFDIR {
		return "", fmt.Errorf("%s is not ours", dir)
	}
	return dir, nil
}

// runDir makes a folder for this test binary, locked while it lives, and removes those of binaries that ended: a test binary has
// no exit hook that also runs when it is killed.
func runDir() (string, error) {
	b, err := base()
	if err != nil {
		return "", err
	}
	old, err := filepath.Glob(filepath.Join(b, "run-*"))
	if err != nil {
		return "", err
	}
	for _, dir := range old {
		f, err := os.Open(filepath.Join(dir, "alive"))
		if err != nil {
			continue // being made or being removed by another
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			_ = os.RemoveAll(dir) // what stays is tried again by the next
		}
		_ = f.Close()
	}
	making, err := os.MkdirTemp(b, "new-")
	if err != nil {
		return "", err
	}
	if err := os.Chmod(making, 0o711); err != nil {
		return "", err
	}
	f, err := os.Create(filepath.Join(making, "alive"))
	if err != nil {
		return "", err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	alive = append(alive, f) // held open until the process ends
	dir := filepath.Join(b, fmt.Sprintf("run-%d-%s", os.Getpid(), filepath.Base(making)[4:]))
	return dir, os.Rename(making, dir)
}

// Dir is a folder for what all tests of this binary share, open to other accounts. A later test binary removes it.
func Dir() (string, error) { return binaryDir() }

var binaryDir = sync.OnceValues(runDir)

var alive []*os.File
