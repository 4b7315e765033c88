//go:build unix

package main

import (
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// flock waits for the lock through signals.
func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func lock(f *os.File) error    { return flock(f, syscall.LOCK_EX) }
func unlock(f *os.File) error  { return flock(f, syscall.LOCK_UN) }
func tryLock(f *os.File) error { return flock(f, syscall.LOCK_EX|syscall.LOCK_NB) }

// What opens a folder, and a file, without following a link. A file is opened nonblocking: a pipe that took its place would hang the open.
const (
	openDir  = os.O_RDONLY | syscall.O_DIRECTORY | syscall.O_NOFOLLOW
	openFile = os.O_RDONLY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK
)

// noSpace is what a full disk answers.
const noSpace = syscall.ENOSPC

// syncDir makes a new name in a folder durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// freeSpace is what a folder's disk has left, and its size, in bytes.
func freeSpace(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), int64(st.Blocks) * int64(st.Bsize), nil //nolint:unconvert // types differ between systems
}

// sinceBoot is the machine's monotonic clock in milliseconds, time asleep included; 0 is unknown, and the server reads it as such.
func sinceBoot() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return ts.Nano() / int64(time.Millisecond)
}
