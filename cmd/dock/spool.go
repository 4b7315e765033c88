package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
)

// spool is where copies lie between the reading of a card and their receipt, each under the digest of its bytes. On disk they are
// encrypted (AES-256, counter mode, a random start each): a disk that is carried away tells nothing. What is whole is said by the
// digests, which the manifest has signed.
type spool struct {
	dir   string
	block cipher.Block
	lock  *os.File

	mu   sync.Mutex
	used map[string]int // who still needs a copy: cards may hold the same bytes
}

const (
	spoolMagic = "ZZSPOOL1"
	spoolHead  = int64(len(spoolMagic) + aes.BlockSize)
)

var spooledName = regexp.MustCompile(`^[0-9a-f]{64}$`)

// openSpool takes the folder for itself: a second agent must not take up copies that this one is carrying. The key is made at first.
func openSpool(dir, keyFile string) (*spool, error) {
	s, err := lockSpool(dir)
	if err != nil {
		return nil, err
	}
	key, err := spoolKey(keyFile)
	if err == nil {
		s.block, err = aes.NewCipher(key)
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("暂存密钥：%w", err)
	}
	return s, nil
}

func spoolKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, 32)
		_, _ = rand.Read(key) // crypto/rand.Read never fails (Go 1.24)
		err = writeWhole(path, key)
	}
	if err == nil && len(key) != 32 {
		err = fmt.Errorf("%s 应为 32 字节", filepath.Base(path))
	}
	return key, err
}

func lockSpool(dir string) (*spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("暂存目录：%w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("暂存目录：%w", err)
	}
	s := &spool{dir: dir, lock: f, used: map[string]int{}}
	if err := tryLock(f); err != nil {
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
	return s, nil
}

func (s *spool) close() { s.lock.Close() }

// names lists the copies that are there.
func (s *spool) names() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if spooledName.MatchString(e.Name()) {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// copying is a copy in the making.
type copying struct {
	s    *spool
	f    *os.File
	to   io.Writer
	kept bool
}

func (s *spool) begin() (*copying, error) {
	f, err := os.CreateTemp(s.dir, ".copying-*") // made with mode 0600
	if err != nil {
		return nil, err
	}
	c := &copying{s: s, f: f}
	head := make([]byte, spoolHead)
	iv := head[copy(head, spoolMagic):]
	_, _ = rand.Read(iv) // crypto/rand.Read never fails (Go 1.24)
	if _, err := f.Write(head); err != nil {
		c.discard()
		return nil, err
	}
	c.to = cipher.StreamWriter{S: cipher.NewCTR(s.block, iv), W: f}
	return c, nil
}

func (c *copying) write(p []byte) error {
	_, err := c.to.Write(p)
	return err
}

// keep makes the copy durable under its digest: from here on the recorder is free to go.
func (c *copying) keep(sha string) (string, error) {
	path := filepath.Join(c.s.dir, sha)
	if err := errors.Join(c.f.Sync(), c.f.Close()); err != nil {
		return "", err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	if err := os.Rename(c.f.Name(), path); err != nil {
		return "", err
	}
	c.kept = true
	c.s.used[sha]++
	return path, syncDir(c.s.dir)
}

func (c *copying) discard() {
	if !c.kept {
		c.f.Close()
		os.Remove(c.f.Name())
	}
}

// take says that one more needs a copy that is there.
func (s *spool) take(sha string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used[sha]++
}

// drop removes the copy once nobody needs it.
func (s *spool) drop(sha string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used[sha]--; s.used[sha] > 0 {
		return nil
	}
	delete(s.used, sha)
	if err := os.Remove(filepath.Join(s.dir, sha)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// release says that somebody no longer needs a copy, which stays.
func (s *spool) release(sha string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.used[sha] -= n; s.used[sha] <= 0 {
		delete(s.used, sha)
	}
}

// tidy removes copies that nobody needs and whose files are finished: a run was killed between the receipt and the removal.
func (s *spool) tidy(finished func(sha string) bool) error {
	names, err := s.names()
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sha := range names {
		if s.used[sha] > 0 || !finished(sha) {
			continue
		}
		if err := os.Remove(filepath.Join(s.dir, sha)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// source is a file's bytes, wherever they lie.
type source interface {
	io.ReaderAt
	io.Closer
}

// spooled reads a copy, decrypting.
type spooled struct {
	f     *os.File
	block cipher.Block
	iv    [aes.BlockSize]byte
}

func (s *spool) open(path string) (*spooled, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	head := make([]byte, spoolHead)
	if _, err := f.ReadAt(head, 0); err != nil || string(head[:len(spoolMagic)]) != spoolMagic {
		f.Close()
		return nil, errors.New("不是本站暂存的副本")
	}
	out := &spooled{f: f, block: s.block}
	copy(out.iv[:], head[len(spoolMagic):])
	return out, nil
}

func (s *spooled) Close() error { return s.f.Close() }

// ReadAt decrypts from any byte on: the counter is the start plus the number of blocks before.
func (s *spooled) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.f.ReadAt(p, off+spoolHead)
	if n == 0 {
		return n, err
	}
	iv := s.iv
	lo, hi := binary.BigEndian.Uint64(iv[8:]), binary.BigEndian.Uint64(iv[:8])
	sum := lo + uint64(off)/aes.BlockSize
	if sum < lo {
		hi++
	}
	binary.BigEndian.PutUint64(iv[8:], sum)
	binary.BigEndian.PutUint64(iv[:8], hi)
	stream := cipher.NewCTR(s.block, iv[:])
	if skip := off % aes.BlockSize; skip > 0 {
		var waste [aes.BlockSize]byte
		stream.XORKeyStream(waste[:skip], waste[:skip])
	}
	stream.XORKeyStream(p[:n], p[:n])
	return n, err
}
