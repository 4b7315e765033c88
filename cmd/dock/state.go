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
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"zhizheng/ingest/manifest"
)

// keepDone is how many finished files the journal remembers. Forgetting one costs a new manifest for it, nothing else.
const keepDone = 20_000

// state is what the station remembers: its chain of manifests and what became of them. The journal is a file of lines that is only
// appended to, under a lock and synced before anything is sent, so a counter that has left the station is never given out again, and
// several agents with one identity continue one chain.
//
// Crash before the sync: the manifests were never sent, the torn line is cut off, their counters are free. Crash after it: the same
// manifests are sent again, and the server knows them.
type state struct {
	mu      sync.Mutex
	dir     string
	lock    *os.File
	journal *os.File
	applied int64 // bytes of the journal that are in memory
	epoch   uint64
	counter uint64
	prev    []byte
	entries map[string]*entry
	order   []string // keys as they came
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

// openState reads the identity's journal.
func openState(identity string) (*state, error) {
	s := &state{dir: filepath.Join(identity, "state")}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	if s.lock, err = os.OpenFile(filepath.Join(s.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	if err := s.locked(func() error { return nil }); err != nil {
		s.close()
		return nil, fmt.Errorf("读取采集站状态：%w", err)
	}
	return s, nil
}

// locked runs fn while no other agent of this identity writes, after what they wrote was read. It is held for moments only.
func (s *state) locked(fn func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := lock(s.lock); err != nil {
		return fmt.Errorf("锁定身份目录：%w", err)
	}
	defer func() { _ = unlock(s.lock) }() // it ends with the process at the latest
	if err := s.catchUp(); err != nil {
		return err
	}
	return fn()
}

func (s *state) path() string { return filepath.Join(s.dir, "journal") }

// catchUp reads what isn't in memory yet: everything at first, or after another agent has compacted the journal.
func (s *state) catchUp() error {
	info, err := os.Stat(s.path())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err == nil && !info.Mode().IsRegular() {
		return errors.New("state/journal 不是普通文件")
	}
	if s.journal != nil {
		mine, merr := s.journal.Stat()
		if merr != nil {
			return merr
		}
		if err != nil || !os.SameFile(info, mine) || info.Size() < s.applied {
			s.journal.Close()
			s.journal = nil
		}
	}
	if s.journal == nil {
		if s.journal, err = os.OpenFile(s.path(), os.O_CREATE|os.O_RDWR|os.O_APPEND, 0o600); err != nil {
			return err
		}
		s.applied, s.epoch, s.counter, s.prev, s.entries, s.order = 0, 0, 0, nil, map[string]*entry{}, nil
	}
	r := bufio.NewReader(io.NewSectionReader(s.journal, s.applied, math.MaxInt64-s.applied))
	for {
		text, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			if len(text) > 0 { // a torn line: whoever wrote it is gone, and it was never sent
				if err := s.journal.Truncate(s.applied); err != nil {
					return err
				}
			}
			break
		}
		if err != nil {
			return err
		}
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			return fmt.Errorf("state/journal 第 %d 字节处损坏：%w", s.applied, err)
		}
		if err := s.apply(l); err != nil {
			return fmt.Errorf("state/journal 第 %d 字节处：%w", s.applied, err)
		}
		s.applied += int64(len(text))
	}
	if s.epoch == 0 { // a new identity, or one whose memory was lost: a later epoch than any before
		s.epoch = uint64(time.Now().UnixMilli())
		if err := s.append(line{Epoch: s.epoch}); err != nil {
			return err
		}
		return syncDir(s.dir)
	}
	if len(s.order) > 2*keepDone {
		return s.compact()
	}
	return nil
}

// apply takes a line into memory.
func (s *state) apply(l line) error {
	if l.Epoch != 0 {
		s.epoch, s.counter = l.Epoch, 0
	}
	if len(l.Manifest) > 0 {
		m, err := manifest.Parse(l.Manifest)
		if err != nil {
			return err
		}
		s.add(m, l.Manifest)
	}
	if e := s.entries[l.Done]; e != nil {
		e.done, e.evidence = true, l.Evidence
	}
	return nil
}

// add puts a manifest at the end of the chain.
func (s *state) add(m manifest.Signed, raw []byte) *entry {
	s.epoch, s.counter, s.prev = m.Epoch, m.Counter, bytes.Clone(m.Hash[:])
	key := keyOf(m.Recorder, m.FileName, m.Size, m.SHA256)
	if s.entries[key] == nil {
		s.order = append(s.order, key)
	}
	s.entries[key] = &entry{signed: raw}
	return s.entries[key]
}

// compact drops the oldest finished files. The last manifest stays, finished or not: the chain goes on from it.
func (s *state) compact() error {
	var b bytes.Buffer
	out := json.NewEncoder(&b)
	var kept []string
	for i, key := range s.order {
		e := s.entries[key]
		if e.done && len(s.order)-i > keepDone {
			delete(s.entries, key)
			continue
		}
		kept = append(kept, key)
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
	s.order, s.applied = kept, int64(b.Len())
	return err
}

// append writes lines and syncs them, under the lock. After an error the journal's end is unknown: the agent must not go on signing.
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
	s.applied += int64(b.Len())
	return nil
}

// sign gives each file its manifest: the one it has, or a new one at the end of the chain. All new ones are on disk when it returns.
// fill adds what only the moment knows, and signs.
func (s *state) sign(clips []*clip, fill func(m manifest.Manifest) ([]byte, error)) (out []*entry, err error) {
	err = s.locked(func() error {
		var fresh []line
		for _, c := range clips {
			if e := s.entries[c.key()]; e != nil {
				out = append(out, e)
				continue
			}
			raw, err := fill(manifest.Manifest{Epoch: s.epoch, Counter: s.counter + 1, Prev: s.prev, Recorder: c.recorder, FileName: []byte(c.name),
				Size: c.size(), ModifiedAt: c.modified().UnixMilli(), SHA256: c.sha256[:], PartSize: c.partSize(), Composite: c.composite[:]})
			if err != nil {
				return fmt.Errorf("签署清单：%w", err)
			}
			m, err := manifest.Parse(raw)
			if err != nil {
				return fmt.Errorf("签署清单：%w", err)
			}
			out = append(out, s.add(m, raw))
			fresh = append(fresh, line{Manifest: raw})
		}
		if len(fresh) == 0 {
			return nil
		}
		return s.append(fresh...)
	})
	return out, err
}

// now fills in how far the chain has come, under the lock, so that no manifest is signed meanwhile by any agent of this identity.
func (s *state) now(fill func(st manifest.State) ([]byte, error)) (raw []byte, err error) {
	err = s.locked(func() error {
		raw, err = fill(manifest.State{Epoch: s.epoch, Counter: s.counter, Last: bytes.Clone(s.prev)})
		return err
	})
	return raw, err
}

// finish remembers that a file is sealed. first is false if it was finished before, perhaps by another agent of this identity.
func (s *state) finish(c *clip, evidence string) (first bool, err error) {
	err = s.locked(func() error {
		e := s.entries[c.key()]
		if e == nil || e.done {
			return nil
		}
		e.done, e.evidence, first = true, evidence, true
		return s.append(line{Done: c.key(), Evidence: evidence})
	})
	return first, err
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

// finished says that every manifest of these bytes has its receipt.
func (s *state) finished(sha string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := false
	for _, e := range s.entries {
		m, err := manifest.Parse(e.signed)
		if err != nil || hex.EncodeToString(m.SHA256) != sha {
			continue
		}
		if !e.done {
			return false
		}
		found = true
	}
	return found
}

func (s *state) close() {
	if s.journal != nil {
		s.journal.Close()
	}
	s.lock.Close()
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
