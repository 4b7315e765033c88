package bundle

import (
	"archive/zip"
	"bytes"
	"fmt"
	"hash/crc32"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

// The directory's lines are read back by archive/zip as they were meant, beyond 4 GiB and beyond 65,535 members too.
func TestDirectoryReadsBack(t *testing.T) {
	for _, c := range []struct {
		n        int
		size, at uint64
	}{{1, 5, 0}, {3, 1 << 20, 0}, {2, math.MaxUint32, 0}, {2, 1 << 40, 7}, {3, 10, math.MaxUint32 - 20}, {3, 10, 1 << 41}, {70_000, 0, 0}, {65_535, 0, 0}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			z := &zipWriter{pos: c.at, w: new(bytes.Buffer)}
			pos := c.at
			for i := range c.n {
				e := entry{name: fmt.Sprintf("files/%03d-示例", i), size: c.size, crc: uint32(i), offset: pos, late: i%2 == 0}
				z.entries = append(z.entries, e)
				pos += uint64(len(e.header())) + c.size + uint64(len(e.descriptor()))
			}
			z.pos = pos
			if err := z.end(); err != nil {
				t.Fatal(err)
			}
			r, err := zip.NewReader(&behind{z.w.(*bytes.Buffer).Bytes(), int64(pos)}, int64(z.pos))
			if err != nil {
				t.Fatal(err)
			}
			if len(r.File) != c.n {
				t.Fatalf("%d members of %d", len(r.File), c.n)
			}
			for i, f := range r.File {
				e := z.entries[i]
				if f.Name != e.name || f.UncompressedSize64 != e.size || f.CompressedSize64 != e.size || f.CRC32 != e.crc || f.NonUTF8 || f.Method != zip.Store {
					t.Fatalf("member %d: %+v", i, f.FileHeader)
				}
			}
		})
	}
}

// behind is a file of which only the end is there.
type behind struct {
	b  []byte
	at int64
}

func (f *behind) ReadAt(p []byte, off int64) (n int, err error) {
	if n = int(max(0, min(int64(len(p)), f.at-off))); n > 0 {
		clear(p[:n])
	}
	m, err := bytes.NewReader(f.b).ReadAt(p[n:], off+int64(n)-f.at)
	return n + m, err
}

// What Go's own writer makes of the same members differs in version, flags, time and the place of sizes only; this pins the rest.
func TestHeadersAgainstArchiveZip(t *testing.T) {
	var ours, theirs bytes.Buffer
	z := &zipWriter{w: &ours}
	body := []byte("body")
	if err := z.text("示例", body); err != nil {
		t.Fatal(err)
	}
	if err := z.end(); err != nil {
		t.Fatal(err)
	}
	w := zip.NewWriter(&theirs)
	p, err := w.CreateRaw(&zip.FileHeader{Name: "示例", Flags: utf8Names, CreatorVersion: version20, ReaderVersion: version20,
		ModifiedDate: noDay, //nolint:staticcheck // the header's own field: Modified would add an extra one
		CRC32:        crc32.ChecksumIEEE(body), CompressedSize64: 4, UncompressedSize64: 4})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Write(body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(ours.Bytes(), theirs.Bytes()) {
		t.Fatalf("ours   %x\ntheirs %x", ours.Bytes(), theirs.Bytes())
	}
}

// Whatever a file was called, its member's name is one the verifier takes, and no other spelling of it is.
func TestMemberNames(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		name := memberName(rapid.IntRange(1, 5000).Draw(rt, "number"), rapid.OneOf(rapid.String(), rapid.StringOf(rapid.SampledFrom([]rune("./\\ :\x00\u202e长a"))),
			rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(rt, "file"))
		if !wellNamed(name) || !utf8.ValidString(name) || strings.Count(name, "/") != 1 || strings.ContainsAny(name, "\\\x00\n:") || len(name) > 200 {
			rt.Fatalf("%q", name)
		}
		for _, other := range []string{name + "/", name + "/..", "../" + name, "/" + name, name + " ", strings.ToUpper(name), strings.Replace(name, "files/", "files//", 1)} {
			if other != name && wellNamed(other) {
				rt.Fatalf("%q passes for %q", other, name)
			}
		}
	})
}
