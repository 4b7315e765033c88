package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// inUseError says that a server runs on the data folder.
type inUseError struct{ dir string }

func (e inUseError) Error() string {
	return fmt.Sprintf("数据目录 %s 正由另一个 zhizheng 使用；请先停止它，或用 --data 另选目录", e.dir)
}

// running is what a server on embedded services leaves for administration beside it, in DATA/secrets.
type running struct {
	DatabaseURL string `json:"database_url,omitempty"`
	PublicURL   string `json:"public_url"`
}

func (c *serviceConfig) runningFile() string { return filepath.Join(c.secrets(), "running.json") }

// beside finds the server that runs on the data folder.
func (c *serviceConfig) beside() (r running, err error) {
	b, err := os.ReadFile(c.runningFile())
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(b, &r)
}

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
			return nil, inUseError{dir}
		}
		return nil, fmt.Errorf("数据目录加锁：%w", err)
	}
	return func() { f.Close() }, nil
}

// leaveRunning writes the file; a killed server's is overwritten, and nobody asks for it while the folder is free.
func (c *serveCmd) leaveRunning(svc *services) error {
	r := running{PublicURL: c.PublicURL}
	if svc.postgres != nil { // an external one's address is the operator's, with its password
		r.DatabaseURL = svc.databaseURL
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return replaceFile(c.runningFile(), b)
}
