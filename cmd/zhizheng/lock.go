package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// lockData makes the data folder this process's own until it ends. The kernel drops the lock with the process, however it dies.
func lockData(dir string) (release func(), err error) {
	for _, d := range []string{dir, filepath.Join(dir, "secrets")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("数据目录：%w", err)
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("数据目录：%w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("数据目录 %s 正由另一个 zhizheng 使用；请先停止它，或用 --data 另选目录", dir)
		}
		return nil, fmt.Errorf("数据目录加锁：%w", err)
	}
	return func() { f.Close() }, nil
}
