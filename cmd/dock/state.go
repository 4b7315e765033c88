package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"zhizheng/ingest/manifest"
)

// keepDone is how many finished files the journal remembers. Forgetting one costs a new manifest for it, nothing else.
const keepDone = 20_000

// state is what the station remembers: its chain of manifests and what became of them. The journal is a file of lines that is only
// appended to, each batch synced before it is sent, so a counter that has left the station is never given out again.
//
// Crash before the sync: the manifests were never sent, the torn line is cut off, their counters are free. Crash after it: the same
// manifests are sent again, and the server knows them.
type state struct {
	mu      sync.Mutex
	dir     string
	lock    *os.File
	journal *os.File
	epoch   uint64
	counter uint64
	prev    []byte
	entries map[string]*entry
}

// entry is one manifest and how far it got.
type entry struct {
	signed   []byte
	evidence string
	done     bool
}

// line is a line of the journal: a new manifest, or the end of one.
type line struct {
	Manifest []byte `json:"manifest,omitempty"`
	Done     string `json:"done,omitempty"` // key of a manifest
	Evidence string `json:"evidence,omitempty"`
	Epoch    uint64 `json:"epoch,omitempty"`
}

// keyOf names a file for the journal: the same bytes under the same name from the same recorder.
func keyOf(recorder string, name []byte, size int64, sha []byte) string {
	h := sha256.New()
	for _, b := range [][]byte{[]byte(recorder), name, sha} {
		_ = binary.Write(h, binary.BigEndian, int64(len(b)))
		h.Write(b)
	}
	_ = binary.Write(h, binary.BigEndian, size)
	return hex.EncodeToString(h.Sum(nil))
}

func (c *clip) key() string { return keyOf(c.recorder, []byte(c.name), c.size(), c.sha256[:]) }

// openState takes the identity's lock and reads its journal. A second agent with the same identity would fork the chain.
func openState(identity string) (*state, error) {
	s := &state{dir: filepath.Join(identity, "state"), entries: map[string]*entry{}}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	if s.lock, err = os.OpenFile(filepath.Join(s.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(s.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		s.lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.New("同一身份的另一个采集代理正在运行（state/lock 被占用）；每个采集站只能运行一个")
		}
		return nil, fmt.Errorf("锁定身份目录：%w", err)
	}
	if err := s.load(); err != nil {
		s.close()
		return nil, fmt.Errorf("读取采集站状态：%w", err)
	}
	return s, nil
}

func (s *state) path() string { return filepath.Join(s.dir, "journal") }

func (s *state) load() error {
	f, err := os.OpenFile(s.path(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	s.journal = f
	var whole int64
	var order []string
	r := bufio.NewReader(f)
	for {
		text, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break // what is left is a torn line
		}
		if err != nil {
			return err
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return fmt.Errorf("state/journal 第 %d 字节处损坏：%w", whole, err)
		}
		key, err := s.apply(l)
		if err != nil {
			return fmt.Errorf("state/journal 第 %d 字节处：%w", whole, err)
		}
		if key != "" {
			order = append(order, key)
		}
		whole += int64(len(text))
	}
	if err := f.Truncate(whole); err != nil {
		return err
	}
	if _, err := f.Seek(whole, io.SeekStart); err != nil {
		return err
	}
	if s.epoch == 0 { // a new identity, or one whose memory was lost: a later epoch than any before
		s.epoch = uint64(time.Now().UnixMilli())
		if err := s.append(line{Epoch: s.epoch}); err != nil {
			return err
		}
		return syncDir(s.dir)
	}
	if len(order) > 2*keepDone {
		return s.compact(order)
	}
	return nil
}

// apply takes a line into memory; the key is a new manifest's.
func (s *state) apply(l line) (key string, err error) {
	if l.Epoch != 0 {
		s.epoch, s.counter = l.Epoch, 0
	}
	if len(l.Manifest) > 0 {
		m, err := manifest.Parse(l.Manifest)
		if err != nil {
			return "", err
		}
		s.epoch, s.counter, s.prev = m.Epoch, m.Counter, bytes.Clone(m.Hash[:])
		key = keyOf(m.Recorder, m.FileName, m.Size, m.SHA256)
		s.entries[key] = &entry{signed: l.Manifest}
	}
	if e := s.entries[l.Done]; e != nil {
		e.done, e.evidence = true, l.Evidence
	}
	return key, nil
}

// compact drops the oldest finished files. The last manifest stays, finished or not: the chain goes on from it.
func (s *state) compact(order []string) error {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	for i, key := range order {
		e := s.entries[key]
		if e.done && len(order)-i > keepDone {
			delete(s.entries, key)
			continue
		}
		if err := out.Encode(line{Manifest: e.signed}); err != nil {
			return err
		}
		if e.done {
			if err := out.Encode(line{Done: key, Evidence: e.evidence}); err != nil {
				return err
			}
		}
	}
	if err := writeWhole(s.path(), b.Bytes()); err != nil {
		return err
	}
	s.journal.Close()
	var err error
	s.journal, err = os.OpenFile(s.path(), os.O_APPEND|os.O_RDWR, 0o600)
	return err
}

// append writes lines and syncs them. After an error the journal's end is unknown, so the agent must not go on signing.
func (s *state) append(lines ...line) error {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	for _, l := range lines {
		if err := out.Encode(l); err != nil {
			return err
		}
	}
	if _, err := s.journal.Write(b.Bytes()); err != nil {
		return fmt.Errorf("写入采集站状态：%w", err)
	}
	if err := s.journal.Sync(); err != nil {
		return fmt.Errorf("写入采集站状态：%w", err)
	}
	return nil
}

// sign gives each file its manifest: the one it has, or a new one at the end of the chain. All new ones are on disk when it returns.
func (s *state) sign(clips []*clip, fill func(m *manifest.Manifest) ([]byte, [32]byte, error)) ([]*entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*entry, len(clips))
	var fresh []line
	for i, c := range clips {
		key := c.key()
		if e := s.entries[key]; e != nil {
			out[i] = e
			continue
		}
		m := manifest.Manifest{Epoch: s.epoch, Counter: s.counter + 1, Prev: s.prev, Recorder: c.recorder, FileName: []byte(c.name), Size: c.size(),
			ModifiedAt: c.modified().UnixMilli(), SHA256: c.sha256[:], PartSize: c.partSize(), Composite: c.composite[:]}
		raw, hash, err := fill(&m)
		if err != nil {
			return nil, fmt.Errorf("签署清单：%w", err)
		}
		s.counter, s.prev = m.Counter, bytes.Clone(hash[:])
		out[i] = &entry{signed: raw}
		s.entries[key] = out[i]
		fresh = append(fresh, line{Manifest: raw})
	}
	if len(fresh) == 0 {
		return out, nil
	}
	return out, s.append(fresh...)
}

// finish remembers that a file is sealed.
func (s *state) finish(c *clip, evidence string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := c.key()
	e := s.entries[key]
	if e == nil || e.done {
		return nil
	}
	e.done, e.evidence = true, evidence
	return s.append(line{Done: key, Evidence: evidence})
}

// bySHA finds the unfinished entry of a copy in the spool.
func (s *state) bySHA(sha string) (manifest.Signed, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.entries {
		if e.done {
			continue
		}
		if m, err := manifest.Parse(e.signed); err == nil && hex.EncodeToString(m.SHA256) == sha {
			return m, true
		}
	}
	return manifest.Signed{}, false
}

func (s *state) close() {
	if s.journal != nil {
		s.journal.Close()
	}
	s.lock.Close() // releases the lock
}

// writeWhole replaces a file whole or not at all, durably.
func writeWhole(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // made with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
