package main

import (
	"os"

	"golang.org/x/sys/windows"
)

func lockFile(f *os.File, flags uint32) error {
	return windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{})
}

func lock(f *os.File) error { return lockFile(f, windows.LOCKFILE_EXCLUSIVE_LOCK) }
func unlock(f *os.File) error {
	return windows.UnlockFileEx(windows.Handle(f.Fd()), 0, 1, 0, &windows.Overlapped{})
}
func tryLock(f *os.File) error {
	return lockFile(f, windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY)
}

// Files are opened beneath os.Root, which follows no link that leads out.
const (
	openDir  = os.O_RDONLY
	openFile = os.O_RDONLY
)

// noSpace is what a full disk answers.
const noSpace = windows.ERROR_DISK_FULL

// syncDir: NTFS journals names itself, and a folder can't be synced.
func syncDir(string) error { return nil }

// freeSpace is what a folder's disk has left, and its size, in bytes.
func freeSpace(dir string) (free, total int64, err error) {
	p, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, 0, err
	}
	var f, t uint64
	err = windows.GetDiskFreeSpaceEx(p, &f, &t, nil)
	return int64(f), int64(t), err
}

// sinceBoot is the machine's monotonic clock in milliseconds.
func sinceBoot() int64 { return windows.DurationSinceBoot().Milliseconds() }
