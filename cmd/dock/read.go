package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"zhizheng/ingest/manifest"
)

// clip is a file that was read once.
type clip struct {
	found
	recorder  string
	sha256    [32]byte
	composite [32]byte
	parts     [][]byte // digests
	spooled   string   // path of its copy, "" when it is carried from the card
}

func (c *clip) size() int64     { return c.info.Size() }
func (c *clip) sha() string     { return hex.EncodeToString(c.sha256[:]) }
func (c *clip) partSize() int64 { return manifest.PartSize(c.size()) }

// read hashes a file, whole and by parts, in one pass, and copies it into the spool on the way if there is one. A file that grew,
// shrank or was replaced meanwhile is refused: its digest would be of something that never existed.
func (a *agent) read(ctx context.Context, f found, seen func(n int)) (*clip, error) {
	r, err := a.card.open(f)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	h := manifest.NewHasher(f.info.Size())
	var copyTo *spoolFile
	if a.c.Spool != "" {
		if copyTo, err = newSpoolFile(a.c.Spool); err != nil {
			return nil, fmt.Errorf("暂存：%w", err)
		}
		defer copyTo.discard()
	}
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := r.Read(buf)
		_, _ = h.Write(buf[:n]) // hashes don't fail
		if copyTo != nil && n > 0 {
			if err := copyTo.write(buf[:n]); err != nil {
				return nil, fmt.Errorf("暂存：%w", err)
			}
		}
		seen(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("读卡出错：%w", err)
		}
		if h.Size > f.info.Size() {
			break // it grows; no need to read on for as long as it does
		}
	}
	if h.Size != f.info.Size() {
		return nil, fmt.Errorf("%w（应有 %d 字节，读到 %d 字节）", errChanged, f.info.Size(), h.Size)
	}
	if err := a.card.unchanged(f, r); err != nil {
		return nil, err
	}
	c := &clip{found: f, recorder: a.c.Recorder}
	c.sha256, c.composite, c.parts = h.Sum()
	if copyTo != nil {
		if c.spooled, err = copyTo.keep(c.sha()); err != nil {
			return nil, fmt.Errorf("暂存：%w", err)
		}
	}
	return c, nil
}

// openClip opens a clip's bytes for carrying: the spool's copy, or the card's file if it is still the one that was hashed.
func (a *agent) openClip(c *clip) (*os.File, error) {
	if c.spooled != "" {
		return os.Open(c.spooled)
	}
	return a.card.open(c.found)
}

// lockSpool keeps a second agent from taking up copies that this one is carrying.
func lockSpool(dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("暂存目录：%w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("暂存目录：%w", err)
	}
	if err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("暂存目录正被另一个采集代理使用：%w", err)
	}
	torn, err := fs.Glob(os.DirFS(dir), ".copying-*") // of a run that was killed
	for _, t := range torn {
		err = errors.Join(err, os.Remove(filepath.Join(dir, t)))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("暂存目录：%w", err)
	}
	return func() { f.Close() }, nil
}

// spoolFile is a copy in the making.
type spoolFile struct {
	f    *os.File
	dir  string
	kept bool
}

func newSpoolFile(dir string) (*spoolFile, error) {
	f, err := os.CreateTemp(dir, ".copying-*")
	if err != nil {
		return nil, err
	}
	return &spoolFile{f: f, dir: dir}, nil
}

func (s *spoolFile) write(p []byte) error {
	_, err := s.f.Write(p)
	return err
}

// keep makes the copy durable under its digest: from here on the recorder is free to go.
func (s *spoolFile) keep(sha string) (string, error) {
	path := filepath.Join(s.dir, sha)
	if err := errors.Join(s.f.Sync(), s.f.Close()); err != nil {
		return "", err
	}
	if err := os.Rename(s.f.Name(), path); err != nil {
		return "", err
	}
	s.kept = true
	return path, syncDir(s.dir)
}

func (s *spoolFile) discard() {
	if !s.kept {
		s.f.Close()
		os.Remove(s.f.Name())
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
