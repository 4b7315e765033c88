package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zhizheng/evidence"
	"zhizheng/evidence/chain"
)

const mib = 1 << 20

func random(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func sum(b []byte) string { h := sha256.Sum256(b); return hex.EncodeToString(h[:]) }

// holds checks that a file's line is true: the store has its bytes, the receipt verifies by the station's key.
func (s *site) holds(t *testing.T, l result, want []byte) {
	t.Helper()
	if l.SHA256 != sum(want) || l.Size != int64(len(want)) || l.Evidence == "" || l.LeafIndex == nil || l.Error != "" {
		t.Fatalf("line: %+v", l)
	}
	rec, err := s.keeper.Get(t.Context(), evidence.Scope{}, evidence.ID(l.Evidence))
	must(t, err)
	if rec.Status != evidence.StatusSealed {
		t.Fatalf("%s is %s", l.File, rec.Status)
	}
	body, err := s.keeper.Open(t.Context(), rec, evidence.Range{Len: rec.Size})
	must(t, err)
	defer body.Close()
	got, err := io.ReadAll(body)
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Fatalf("%s: the store has %d other bytes", l.File, len(got))
	}
	text, err := os.ReadFile(l.Receipt)
	must(t, err)
	v, err := chain.NewVerifier(s.log.VKey())
	must(t, err)
	p, err := chain.VerifyReceipt(text, v)
	must(t, err)
	digest, size, err := p.File()
	must(t, err)
	if hex.EncodeToString(digest) != l.SHA256 || size != l.Size || p.Index != *l.LeafIndex {
		t.Fatalf("%s: receipt is of %x, %d bytes, leaf %d", l.File, digest, size, p.Index)
	}
}

func TestDockFolder(t *testing.T) {
	s := newSite(t)
	card := t.TempDir()
	files := map[string][]byte{
		"DCIM/100/示例 片段 (1).mp4":        random(1, 12*mib+345),
		"a.mp4":                         random(2, 1000),
		".hidden":                       random(3, 10),
		"a.gpx":                         []byte("<gpx/>"),
		"empty.mp4":                     {},
		strings.Repeat("长", 85):         random(4, 77), // 255 bytes
		"exact.bin":                     random(5, 10*mib),
		"also empty":                    {},
		"DCIM/copy of a.mp4":            random(2, 1000),
		"DCIM/日志/MISC/deep/er/clip.mp4": random(6, 5*mib+1),
	}
	for name, b := range files {
		put(t, card, name, b)
	}
	put(t, card, "Thumbs.db", []byte("x"))
	put(t, card, "System Volume Information/IndexerVolumeGuid", []byte("x"))

	r := s.dock(t, card)
	must(t, r.err)
	if !r.all || len(r.lines) != len(files)+2 {
		t.Fatalf("all %v, %d lines: %+v", r.all, len(r.lines), r.lines)
	}
	for name, b := range files {
		s.holds(t, r.of(t, name), b)
	}
	if r.count(sealed) != 8 || r.count(duplicate) != 2 || r.count(skipped) != 2 {
		t.Fatalf("sealed %d, duplicate %d, skipped %d", r.count(sealed), r.count(duplicate), r.count(skipped))
	}
	if len(s.records(t)) != 8 {
		t.Fatalf("%d records", len(s.records(t)))
	}

	again := s.dock(t, card)
	must(t, again.err)
	if !again.all || again.count(duplicate) != len(files) {
		t.Fatalf("docked again: %+v", again.lines)
	}
	for name, b := range files {
		s.holds(t, again.of(t, name), b)
		if again.of(t, name).Evidence != r.of(t, name).Evidence || *again.of(t, name).LeafIndex != *r.of(t, name).LeafIndex {
			t.Fatalf("%s: a duplicate gives the original's record and leaf", name)
		}
	}

	// Another station with the same card: nothing is carried, nothing is sealed twice.
	s.identity = s.enrol(t, "ST-02")
	other := s.dock(t, card)
	must(t, other.err)
	if !other.all || other.count(duplicate) != len(files) || len(s.records(t)) != 8 {
		t.Fatalf("docked elsewhere: %+v", other.lines)
	}
}

func TestNamesThatAreNoText(t *testing.T) {
	s := newSite(t)
	card := t.TempDir()
	name := "\xff\xfe\xb9\xfa.mp4"
	b := random(1, 100)
	put(t, card, name, b)
	must(t, os.Symlink("/etc/passwd", filepath.Join(card, "link.mp4")))
	r := s.dock(t, card)
	must(t, r.err)
	if r.all {
		t.Fatal("a link that isn't followed is not sealed: not all is well")
	}
	l := r.of(t, shown(name))
	s.holds(t, l, b)
	if string(l.FileBytes) != name {
		t.Fatalf("bytes of the name: %q", l.FileBytes)
	}
	if rec := s.records(t)[sum(b)]; string(rec.FileNameBytes) != name {
		t.Fatalf("the record has the name %q", rec.FileNameBytes)
	}
	if link := r.of(t, "link.mp4"); link.Status != skipped || link.Error == "" {
		t.Fatalf("link: %+v", link)
	}
}

func TestSamplesAreSealedByteForByte(t *testing.T) {
	dir := os.Getenv("ZZ_SAMPLES")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "samples")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Skip("no samples here; ZZ_SAMPLES names their folder")
	}
	s := newSite(t)
	r := s.dock(t, dir, func(c *config) { c.Recorder = "DSJ-A1B2C1" })
	must(t, r.err)
	if !r.all {
		t.Fatalf("not all is sealed: %+v", r.lines)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() {
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, e.Name()))
		must(t, err)
		s.holds(t, r.of(t, e.Name()), b)
	}
	for _, rec := range s.records(t) {
		if rec.Recorder != "DSJ-A1B2C1" || rec.Township != donghe || rec.Station != "ST-01" {
			t.Fatalf("record: %+v", rec)
		}
	}
}
