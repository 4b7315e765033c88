package bundle_test

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/bundle"
	"zhizheng/evidence/chain"
	"zhizheng/ingest/manifest"
)

// manifestOf lists members as the format does.
func manifestOf(t testing.TB, all []member) []byte {
	t.Helper()
	var m bundle.Manifest
	must(t, json.Unmarshal(all[0].Body, &m))
	m.Members = nil
	for _, x := range all[1:] {
		if x.Name == bundle.ExportName {
			break
		}
		sum := sha256.Sum256(x.Body)
		m.Members = append(m.Members, bundle.Member{Name: x.Name, Size: int64(len(x.Body)), SHA256: hex.EncodeToString(sum[:])})
	}
	b, err := json.MarshalIndent(m, "", "  ")
	must(t, err)
	return append(b, '\n')
}

func at(t testing.TB, all []member, name string) int {
	t.Helper()
	i := slices.IndexFunc(all, func(m member) bool { return strings.HasPrefix(m.Name, name) })
	if i < 0 {
		t.Fatalf("no member %s", name)
	}
	return i
}

// Bundles that somebody put together otherwise, as good zips; where is what a failure must name.
func TestBundlesPutTogetherOtherwise(t *testing.T) {
	file, vkey := example(t)
	all := members(t, file)
	clip, proof, export, tail := at(t, all, "files/001"), at(t, all, "proofs/"), at(t, all, bundle.ExportName), at(t, all, "tails/")
	exhibit := verify(t, file, vkey).Records[0]
	for _, c := range []struct {
		what, where string
		change      func(m []member) []member
	}{
		{"a file missing", all[clip].Name, func(m []member) []member { return slices.Delete(m, clip, clip+1) }},
		{"a proof missing", all[proof].Name, func(m []member) []member { return slices.Delete(m, proof, proof+1) }},
		{"the index missing", bundle.IndexName, func(m []member) []member { return slices.Delete(m, 1, 2) }},
		{"the manifest missing", bundle.ManifestName, func(m []member) []member { return m[1:] }},
		{"the export's receipt missing", bundle.ExportName, func(m []member) []member { return slices.Delete(m, export, export+1) }},
		{"a tail missing", fmt.Sprintf("证据 1（%s）", exhibit.ID), func(m []member) []member { return slices.Delete(m, tail, tail+1) }},
		{"two tails exchanged", all[tail].Name, func(m []member) []member {
			m[tail].Body, m[tail+1].Body = m[tail+1].Body, m[tail].Body
			return m
		}},
		{"tails in another order", bundle.ManifestName, func(m []member) []member { m[tail], m[tail+1] = m[tail+1], m[tail]; return m }},
		{"a tail before the export", bundle.ManifestName, func(m []member) []member { m[tail], m[export] = m[export], m[tail]; return m }},
		{"a tail twice", all[tail].Name, func(m []member) []member { return slices.Insert(m, tail, m[tail]) }},
		{"a proof as a tail", "tails/" + strings.TrimPrefix(all[proof].Name, "proofs/"), func(m []member) []member {
			return slices.Insert(m, tail, member{"tails/" + strings.TrimPrefix(m[proof].Name, "proofs/"), m[proof].Body})
		}},
		{"a member more", "files/009-more.mp4", func(m []member) []member { return slices.Insert(m, 3, member{"files/009-more.mp4", []byte("x")}) }},
		{"a member behind the end", "files/009-more.mp4", func(m []member) []member { return append(m, member{"files/009-more.mp4", []byte("x")}) }},
		{"two files' bytes exchanged", all[clip].Name, func(m []member) []member {
			m[clip].Body, m[clip+2].Body = m[clip+2].Body, m[clip].Body
			return m
		}},
		{"two files' names exchanged", all[clip].Name, func(m []member) []member {
			m[clip].Name, m[clip+2].Name = m[clip+2].Name, m[clip].Name
			return m
		}},
		{"two proofs exchanged", all[proof].Name, func(m []member) []member {
			m[proof].Body, m[proof+1].Body = m[proof+1].Body, m[proof].Body
			return m
		}},
		{"another order", bundle.ManifestName, func(m []member) []member { m[1], m[2] = m[2], m[1]; return m }},
		{"a name twice, the second one good", all[clip].Name, func(m []member) []member {
			return slices.Insert(m, clip, member{m[clip].Name, []byte("other footage")})
		}},
		{"a name twice, the first one good", all[clip].Name, func(m []member) []member {
			return slices.Insert(m, clip+1, member{m[clip].Name, []byte("other footage")})
		}},
		{"the manifest twice", bundle.ManifestName, func(m []member) []member { return slices.Insert(m, 1, m[0]) }},
		{"an empty zip", bundle.ManifestName, func([]member) []member { return nil }},
		{"a manifest of text that is equal as JSON", bundle.ManifestName, func(m []member) []member { m[0].Body = append(m[0].Body, ' '); return m }},
	} {
		bad, err := bundle.Zip(c.change(cloned(all)))
		must(t, err)
		if rep := verify(t, bad, vkey); !names(rep, c.where) {
			t.Errorf("%s: %+v", c.what, rep.Failures)
		}
	}
}

func cloned(all []member) []member {
	out := slices.Clone(all)
	for i := range out {
		out[i].Body = bytes.Clone(out[i].Body)
	}
	return out
}

// Names that lead out of the folder a bundle is unpacked in, even where the manifest lists them.
func TestNamesThatLeadElsewhere(t *testing.T) {
	file, vkey := example(t)
	for _, name := range []string{"../evil", "/etc/cron.d/evil", "files/../../evil", `files\..\evil`, "files/", "files/001-", "files/001-a/b", `files/001-a\b`,
		`C:\evil`, "files/1-a", "files/001-a:stream", "proofs/1.tlog-proof", "proofs/../000000000001.tlog-proof", "proofs/-00000000001.tlog-proof", "evil.exe", "",
		"files/001-a\x00.mp4", "files/001-a\n", "manifest.json"} {
		all := slices.Insert(members(t, file), 3, member{name, []byte("x")})
		all[0].Body = manifestOf(t, all)
		bad, err := bundle.Zip(all)
		must(t, err)
		rep := verify(t, bad, vkey)
		if name != "files/001-" && !names(rep, name) { // that one is what a file without a name is called
			t.Errorf("%q: %+v", name, rep.Failures)
		}
		if len(rep.Failures) == 0 {
			t.Errorf("%q holds", name)
		}
	}
}

func TestBundleCutShortOrWrapped(t *testing.T) {
	file, vkey := example(t)
	for n := range len(file) {
		if n > 100 && n < len(file)-2500 && n%97 != 0 { // each length at both ends, some between
			continue
		}
		if rep := verify(t, file[:n], vkey); len(rep.Failures) == 0 {
			t.Fatalf("%d of %d bytes hold", n, len(file))
		}
	}
	for what, bad := range map[string][]byte{
		"bytes before":         slices.Concat([]byte("#!/bin/sh\n"), file),
		"bytes behind":         slices.Concat(file, []byte{0}),
		"another zip behind":   slices.Concat(file, file),
		"no zip":               []byte("no zip at all"),
		"no bytes":             nil,
		"zip by another hand":  packed(t, members(t, file), zip.Store),
		"compressed by others": packed(t, members(t, file), zip.Deflate),
	} {
		if rep := verify(t, bad, vkey); len(rep.Failures) == 0 {
			t.Errorf("%s: it holds", what)
		}
	}
	rep := verify(t, packed(t, members(t, file), zip.Deflate), vkey)
	for _, m := range members(t, file) {
		if !names(rep, m.Name) {
			t.Errorf("compressed %s isn't named", m.Name)
		}
	}
}

// packed is a zip as other programs make it.
func packed(t testing.TB, all []member, method uint16) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	for _, m := range all {
		w, err := z.CreateHeader(&zip.FileHeader{Name: m.Name, Method: method})
		must(t, err)
		_, err = w.Write(m.Body)
		must(t, err)
	}
	must(t, z.Close())
	return b.Bytes()
}

func TestOtherKeys(t *testing.T) {
	file, vkey := example(t)
	name, _, _ := strings.Cut(vkey, "+")
	_, other, err := note.GenerateKey(rand.Reader, name)
	must(t, err)
	_, elsewhere, err := note.GenerateKey(rand.Reader, "elsewhere.example/log")
	must(t, err)
	all := members(t, file)
	for what, key := range map[string]string{"another key of that name": other, "another log": elsewhere} {
		rep := verify(t, file, key)
		for _, m := range all {
			if (strings.HasPrefix(m.Name, "proofs/") || m.Name == bundle.ExportName) && !names(rep, m.Name) {
				t.Errorf("%s: %s isn't named", what, m.Name)
			}
		}
	}
	// A bundle that brings its own key along isn't believed for that.
	i := at(t, all, bundle.VKeyName)
	all[i].Body = []byte(other + "\n")
	bad, err := bundle.Zip(all)
	must(t, err)
	if rep := verify(t, bad, other); len(rep.Failures) == 0 {
		t.Error("it holds by the key it brought")
	}
}

// counted tells how much of a file was read.
type counted struct {
	io.ReaderAt
	n int64
}

func (c *counted) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.ReaderAt.ReadAt(p, off)
	c.n += int64(n)
	return n, err
}

// Files made to exhaust whoever reads them: refused by name, with reading and memory bounded by the file's own size.
func TestFilesThatWouldExhaustTheReader(t *testing.T) {
	file, vkey := example(t)
	all := members(t, file)
	zeros := make([]byte, 64<<20)
	squeezed := func(n int) []byte {
		var b bytes.Buffer
		w, err := flate.NewWriter(&b, flate.BestCompression)
		must(t, err)
		for range n {
			_, err = w.Write(zeros)
			must(t, err)
		}
		must(t, w.Close())
		return b.Bytes()
	}
	one := squeezed(4)
	repeated := cloned(all)
	var m bundle.Manifest
	must(t, json.Unmarshal(repeated[0].Body, &m))
	clip := m.Members[at(t, all, "files/001")-1]
	for range 20_000 {
		m.Members = append(m.Members, clip)
	}
	var err error
	repeated[0].Body, err = json.MarshalIndent(m, "", "  ")
	must(t, err)
	repeated[0].Body = append(repeated[0].Body, '\n')
	again, err := bundle.Zip(repeated)
	must(t, err)
	for what, bad := range map[string][]byte{
		"deflated proofs":         bomb(t, all, one, 4*int64(len(zeros)), 100),
		"overlapping members":     overlapping(2000, 1<<20),
		"sizes beyond the file":   sized(t, file, 1<<31),
		"one member listed often": again,
	} {
		in := &counted{ReaderAt: bytes.NewReader(bad)}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		rep, err := bundle.Verify(in, int64(len(bad)), chain.LogPolicy(vkey), manifest.Open)
		runtime.ReadMemStats(&after)
		must(t, err)
		if len(rep.Failures) == 0 {
			t.Errorf("%s: it holds", what)
		}
		if most := int64(6*len(bad) + 1<<20); in.n > most {
			t.Errorf("%s: %d bytes read of %d", what, in.n, len(bad))
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 64<<20+20*uint64(len(bad)) {
			t.Errorf("%s: %d MiB allocated for a file of %d bytes", what, got>>20, len(bad))
		}
	}
}

// bomb is a bundle with more proofs, each of few bytes that become many.
func bomb(t testing.TB, all []member, squeezed []byte, size int64, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	crc := crc32.NewIEEE()
	_, err := io.CopyN(crc, zero{}, size)
	must(t, err)
	all = cloned(all)
	sum := sha256.New()
	_, err = io.CopyN(sum, zero{}, size)
	must(t, err)
	var m bundle.Manifest
	must(t, json.Unmarshal(all[0].Body, &m))
	for i := range n {
		m.Members = append(m.Members, bundle.Member{Name: fmt.Sprintf("proofs/%012d.tlog-proof", 1000+i), Size: size, SHA256: hex.EncodeToString(sum.Sum(nil))})
	}
	all[0].Body, err = json.MarshalIndent(m, "", "  ")
	must(t, err)
	all[0].Body = append(all[0].Body, '\n')
	for _, x := range all {
		w, err := z.CreateHeader(&zip.FileHeader{Name: x.Name, Method: zip.Store})
		must(t, err)
		_, err = w.Write(x.Body)
		must(t, err)
	}
	for i := range n {
		w, err := z.CreateRaw(&zip.FileHeader{Name: fmt.Sprintf("proofs/%012d.tlog-proof", 1000+i), Method: zip.Deflate, CRC32: crc.Sum32(),
			CompressedSize64: uint64(len(squeezed)), UncompressedSize64: uint64(size)})
		must(t, err)
		_, err = w.Write(squeezed)
		must(t, err)
	}
	must(t, z.Close())
	return b.Bytes()
}

type zero struct{}

func (zero) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// overlapping is a zip whose directory names the same bytes n times.
func overlapping(n, size int) []byte {
	body := make([]byte, size)
	crc := crc32.ChecksumIEEE(body)
	le := binary.LittleEndian
	head := func(sig string, name string) []byte {
		b := []byte(sig)
		if sig == "PK\x01\x02" {
			b = le.AppendUint16(b, 20)
		}
		b = append(b, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0)
		b = le.AppendUint32(b, crc)
		b = le.AppendUint32(b, uint32(size))
		b = le.AppendUint32(b, uint32(size))
		b = le.AppendUint16(b, uint16(len(name)))
		b = append(b, 0, 0)
		if sig == "PK\x01\x02" {
			b = append(b, make([]byte, 14)...) // comment, disk, attributes, offset 0
		}
		return append(b, name...)
	}
	file := append(head("PK\x03\x04", "proofs/000000000000.tlog-proof"), body...)
	dir := len(file)
	for i := range n {
		file = append(file, head("PK\x01\x02", fmt.Sprintf("proofs/%012d.tlog-proof", i))...)
	}
	size = len(file) - dir
	file = append(file, "PK\x05\x06\x00\x00\x00\x00"...)
	file = le.AppendUint16(file, uint16(n))
	file = le.AppendUint16(file, uint16(n))
	file = le.AppendUint32(file, uint32(size))
	file = le.AppendUint32(file, uint32(dir))
	return append(file, 0, 0)
}

// sized lets the directory claim that the first member is larger than the file.
func sized(t testing.TB, file []byte, size uint32) []byte {
	t.Helper()
	bad := bytes.Clone(file)
	i := bytes.Index(bad, []byte("PK\x01\x02"))
	binary.LittleEndian.PutUint32(bad[i+20:], size)
	binary.LittleEndian.PutUint32(bad[i+24:], size)
	return bad
}

// A file that can't be read is an error, not a verdict.
func TestUnreadableFileIsNoVerdict(t *testing.T) {
	file, vkey := example(t)
	broken := errors.New("the disk is broken")
	for _, after := range []int{0, 1, 3, 10, 40} {
		_, err := bundle.Verify(&failing{bytes.NewReader(file), after, broken}, int64(len(file)), chain.LogPolicy(vkey), manifest.Open)
		if !errors.Is(err, broken) {
			t.Errorf("after %d reads: %v", after, err)
		}
	}
}

type failing struct {
	io.ReaderAt
	left int
	err  error
}

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	if f.left--; f.left < 0 {
		return 0, f.err
	}
	return f.ReaderAt.ReadAt(p, off)
}

// FuzzVerify: nothing makes the verifier panic, and no other bytes than the example's are its bundle. Whatever holds by its key
// was signed by it, and of that the seeds know one.
func FuzzVerify(f *testing.F) {
	file, vkey := example(f)
	f.Add(file)
	f.Add(file[:len(file)-1])
	f.Add(packed(f, members(f, file)[:3], zip.Store))
	f.Add(packed(f, members(f, file)[:3], zip.Deflate))
	f.Add(overlapping(3, 10))
	f.Add(sized(f, file, 1<<31))
	for _, name := range []string{"../evil", bundle.ManifestName, "files/001-a"} {
		b, err := bundle.Zip([]member{{name, []byte("{}\n")}})
		must(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		rep := verify(t, b, vkey)
		if len(rep.Failures) == 0 && !bytes.Equal(b, file) {
			t.Fatal("other bytes hold")
		}
	})
}
