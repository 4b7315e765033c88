package media

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"
)

// bx makes a box.
func bx(typ string, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)+8))
	return append(append(b, typ...), body...)
}

func u32(v ...uint32) (b []byte) {
	for _, x := range v {
		b = binary.BigEndian.AppendUint32(b, x)
	}
	return b
}

func cat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// header is a box header with whatever size it is told.
func header(size uint32, typ string) []byte { return append(u32(size), typ...) }

func large(size uint64, typ string) []byte {
	return binary.BigEndian.AppendUint64(header(1, typ), size)
}

var ftyp = bx("ftyp", []byte("isom"), u32(512), []byte("isomavc1"))

// clip is a small but whole recording: 25 frames of 100 bytes, one second.
type clip struct {
	scale, created uint32
	stsz           []byte // instead of the true one
	extra          []byte // in moov, before the track
	mdat           []byte
	entry          string
}

func (c clip) bytes() []byte {
	if c.scale == 0 {
		c.scale = 1000
	}
	if c.entry == "" {
		c.entry = "avc1"
	}
	if c.mdat == nil {
		c.mdat = bytes.Repeat([]byte{0x5a}, 2500)
	}
	if c.stsz == nil {
		c.stsz = bx("stsz", u32(0, 100, 25))
	}
	mvhd := bx("mvhd", u32(0, c.created, c.created, c.scale, c.scale), make([]byte, 80))
	entry := make([]byte, 70)
	entry[16], entry[17], entry[18], entry[19] = 2, 0x80, 1, 0x68 // 640×360 behind data reference and reserved fields
	entry = cat(make([]byte, 8), entry)
	avcc := bx("avcC", []byte{1, 77, 0, 30, 0xff, 0xe0, 0})
	build := func(off uint32) []byte {
		stbl := bx("stbl", bx("stsd", u32(0, 1), bx(c.entry, entry, avcc)), bx("stts", u32(0, 1, 25, 40)), bx("stsc", u32(0, 1, 1, 25, 1)),
			c.stsz, bx("stco", u32(0, 1, off)))
		trak := bx("trak", bx("tkhd", u32(0, 0, 0, 1), make([]byte, 68)), bx("mdia", bx("mdhd", u32(0, 0, 0, 1000, 1000, 0)),
			bx("hdlr", u32(0, 0), []byte("vide"), make([]byte, 13)), bx("minf", stbl)))
		return cat(ftyp, bx("moov", mvhd, c.extra, trak), header(uint32(len(c.mdat)+8), "mdat"))
	}
	return append(build(uint32(len(build(0)))), c.mdat...)
}

func probeBytes(t *testing.T, b []byte) Facts {
	t.Helper()
	f, err := Probe(t.Context(), bytes.NewReader(b), int64(len(b)), "x.mp4")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestWholeClip(t *testing.T) {
	f := probeBytes(t, clip{created: 2082844800 + 1772366400}.bytes())
	if f.Verdict != OK || !f.Playable || f.VideoCodec != "h264" || f.Width != 640 || f.Height != 360 || f.DurationMs != 1000 || f.FrameRate != 25 {
		t.Errorf("%+v", f)
	}
	if f.CreatedAt == nil || !f.CreatedAt.Equal(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)) {
		t.Errorf("created %v", f.CreatedAt)
	}
	if f := probeBytes(t, clip{created: 1772366400}.bytes()); f.CreatedAt == nil || f.CreatedAt.Year() != 2026 {
		t.Errorf("a Unix time was not understood: %v", f.CreatedAt)
	}
}

// Cut anywhere, a recording is never called whole.
func TestCutAnywhere(t *testing.T) {
	whole := clip{}.bytes()
	for n := 1; n < len(whole); n += 97 {
		f := probeBytes(t, whole[:n])
		if f.Verdict == OK || f.Verdict == "" {
			t.Errorf("cut at %d of %d: %q %v", n, len(whole), f.Verdict, f.Reasons)
		}
		if n > len(whole)-2500 && f.Verdict != Truncated {
			t.Errorf("cut in its data at %d: %q %v", n, f.Verdict, f.Reasons)
		}
	}
}

func TestHostileStructure(t *testing.T) {
	nested := func(typ string, n int) []byte {
		b := make([]byte, 0, n*8)
		for i := range n {
			b = append(b, header(uint32((n-i)*8), typ)...)
		}
		return b
	}
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"nothing", nil, Empty},
		{"one byte", []byte{0}, Damaged},
		{"half a header", ftyp[:7], NotMedia},
		{"no moov", cat(ftyp, bx("mdat", make([]byte, 100))), Damaged},
		{"mdat longer than the file", cat(ftyp, header(1<<30, "mdat"), make([]byte, 99)), Truncated},
		{"power lost: mdat to the end", cat(ftyp, header(0, "mdat"), make([]byte, 99)), Truncated},
		{"size below the header", cat(ftyp, header(7, "free"), make([]byte, 99)), Damaged},
		{"64-bit size below its header", cat(ftyp, large(15, "free"), make([]byte, 99)), Damaged},
		{"64-bit size that wraps round", cat(ftyp, large(^uint64(0)-31, "free")), Damaged},
		{"64-bit size at the limit", cat(ftyp, large(1<<63-1, "mdat")), Damaged},
		{"zeros after a while", cat(ftyp, make([]byte, 100_000)), Damaged},
		{"moov longer than the file", cat(ftyp, header(1<<20, "moov"), make([]byte, 200)), Truncated},
		{"moov of nothing", cat(ftyp, header(8, "moov")), Damaged},
		{"100,000 deep", cat(ftyp, bx("moov", nested("udta", 100_000))), Damaged},
		{"100,000 deep tracks", cat(ftyp, nested("moov", 100_000)), Damaged},
		{"child longer than moov", cat(ftyp, bx("moov", header(1<<30, "trak"), make([]byte, 64))), Damaged},
		{"400,000 boxes in moov", cat(ftyp, bx("moov", bytes.Repeat(header(8, "free"), 410_000))), Damaged},
		{"keys without end", cat(ftyp, bx("moov", bx("keys", u32(0, 0xffffffff), make([]byte, 64)))), Damaged},
		{"encrypted", clip{entry: "encv"}.bytes(), Encrypted},
		{"more samples than sizes", clip{stsz: bx("stsz", u32(0, 0, 0xffffffff, 2500))}.bytes(), OK},
		{"samples beyond the file", clip{stsz: bx("stsz", u32(0, 0xffffffff, 0xffffffff))}.bytes(), Truncated},
		{"data lost to zeros", clip{mdat: append(bytes.Repeat([]byte{1}, 12), make([]byte, 200_000)...), stsz: bx("stsz", u32(0, 8000, 25))}.bytes(), Damaged},
	} {
		t.Run(c.name, func(t *testing.T) {
			start := time.Now()
			f := probeBytes(t, c.b)
			if f.Verdict != c.want {
				t.Errorf("verdict %q %v, want %q", f.Verdict, f.Reasons, c.want)
			}
			if f.Verdict != OK && len(f.Reasons) == 0 {
				t.Error("no reason given")
			}
			if d := time.Since(start); d > 15*time.Second {
				t.Errorf("took %s", d)
			}
		})
	}
}

// endless is a file of any size without bytes on a disk.
type endless struct {
	head []byte
	size int64
	fill []byte
	most int64 // the furthest byte read
}

func (e *endless) ReadAt(p []byte, off int64) (int, error) {
	for i := range p {
		at := off + int64(i)
		if at >= e.size {
			return i, io.EOF
		}
		if at < int64(len(e.head)) {
			p[i] = e.head[at]
		} else {
			p[i] = e.fill[(at-int64(len(e.head)))%int64(len(e.fill))]
		}
	}
	e.most = max(e.most, off+int64(len(p)))
	return len(p), nil
}

// The parent's memory doesn't grow with the file, its index or its number of boxes.
func TestMemoryIsBounded(t *testing.T) {
	for name, e := range map[string]*endless{
		"an index of 3 GB":       {head: cat(ftyp, header(3<<30, "moov")), size: 3<<30 + int64(len(ftyp)), fill: []byte{0}},
		"an index of 60 MB":      {head: cat(ftyp, header(60<<20, "moov")), size: 60<<20 + int64(len(ftyp)), fill: header(8, "free")},
		"nothing but tiny boxes": {head: ftyp, size: 1 << 40, fill: header(8, "free")},
		"nothing but fragments":  {head: ftyp, size: 1 << 40, fill: bx("moof", make([]byte, 8))},
		"a terabyte of one box":  {head: cat(ftyp, large(1<<40, "mdat")), size: 1 << 41, fill: []byte{0x47}},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			f, err := Probe(t.Context(), e, e.size, "")
			runtime.ReadMemStats(&after)
			if err != nil {
				t.Fatal(err)
			}
			if f.Verdict == OK || f.Verdict == "" {
				t.Errorf("verdict %q", f.Verdict)
			}
			if got := (after.TotalAlloc - before.TotalAlloc) >> 20; got > 48 {
				t.Errorf("allocated %d MB in all", got)
			}
		})
	}
}

// A child that wants more memory than it may have is ended, and the answer is a verdict.
func TestChildIsLimited(t *testing.T) {
	start := time.Now()
	_, err := inspectIn(t.Context(), "/bin/sh", 8, func(io.Writer) error { return nil })
	if !errors.Is(err, errGaveUp) {
		t.Errorf("a child that isn't one: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Probe(ctx, bytes.NewReader(clip{}.bytes()), int64(len(clip{}.bytes())), ""); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("took %s", d)
	}
}

type failing struct{ io.ReaderAt }

var errStore = errors.New("store is away")

func (f failing) ReadAt(p []byte, off int64) (int, error) {
	if off > 0 {
		return 0, errStore
	}
	return f.ReaderAt.ReadAt(p, off)
}

// A store that fails says nothing about the file.
func TestReaderFailureIsAnError(t *testing.T) {
	b := cat(clip{}.bytes(), bx("free", make([]byte, 200_000)), bx("free", make([]byte, 1)))
	if _, err := Probe(t.Context(), failing{bytes.NewReader(b)}, int64(len(b)), ""); !errors.Is(err, errStore) {
		t.Errorf("got %v", err)
	}
}

func TestNamesAndPlaces(t *testing.T) {
	xyz := "+32.2296+106.2893/"
	f := probeBytes(t, clip{extra: bx("udta", bx("\xa9xyz", []byte{0, byte(len(xyz)), 0x15, 0xc7}, []byte(xyz)))}.bytes())
	if f.Position == nil || f.Position.Lat != 32.2296 || f.Position.Lon != 106.2893 {
		t.Errorf("position %+v", f.Position)
	}
	for _, s := range []string{"", "+0.0+0.0", "+00.0000+000.0000/", "+95.0+010.0/", strings.Repeat("+", 300)} {
		if p := parseISO6709(s); p != nil {
			t.Errorf("%q: %+v", s, p)
		}
	}
}

func FuzzScan(f *testing.F) {
	f.Add(clip{}.bytes())
	f.Add(cat(ftyp, large(^uint64(0)-31, "free")))
	f.Add(cat(ftyp, header(0, "mdat"), make([]byte, 20)))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := Scan(t.Context(), &blocks{r: bytes.NewReader(b), size: int64(len(b))}, int64(len(b)))
		if err != nil {
			t.Fatal(err)
		}
		if l.Boxes*8 > len(b) || l.MdatBytes > int64(len(b)) || l.MdatBytes < 0 {
			t.Fatalf("%+v", l)
		}
		if l.Moov != nil && (present(*l.Moov, l) > int64(len(b)) || l.Moov.Size < 8) {
			t.Fatalf("%+v", l.Moov)
		}
	})
}

func FuzzInspect(f *testing.F) {
	f.Add(clip{}.bytes())
	f.Add(cat(ftyp, bx("moov", bx("mvex", bx("trex", u32(0, 1, 1, 40, 0, 0)))), bx("moof", bx("traf", bx("tfhd", u32(0, 1)), bx("trun", u32(0x100, 2, 1, 1))))))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := inspect(index{b})
		if len(in.Tracks) > maxTracks || len(in.Broken) > 20 {
			t.Fatalf("%d tracks", len(in.Tracks))
		}
		facts := Facts{}
		conclude(&facts, Layout{Size: int64(len(b)), BadAt: -1}, in)
		if facts.Verdict == "" {
			t.Fatal("no verdict")
		}
	})
}
