package media

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func le32(v ...uint32) (b []byte) {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return b
}

func lef32(v ...float32) (b []byte) {
	for _, x := range v {
		b = le32(math.Float32bits(x))
	}
	return b
}

func floats(v ...float32) (b []byte) {
	for _, x := range v {
		b = append(b, lef32(x)...)
	}
	return b
}

// novatekRecord is the firmware's record of 44 bytes.
func novatekRecord(second uint32, fix string, lat, lon float32) []byte {
	return cat(le32(12, 30, second, 26, 3, 1), []byte(fix), []byte{0}, floats(lat, lon, 10, 90))
}

func decodeBlocks(b gpsBlock, blocks ...[]byte) *Track {
	var d gpsDecoder
	for i, p := range blocks {
		b.AtMs = int64(i) * 1000
		d.block(b, p)
	}
	return d.done()
}

// Boxes named by a "gps " list and blocks in top-level boxes give the same track.
func TestFreeGPSInFile(t *testing.T) {
	block := func(i uint32) []byte {
		return cat([]byte("freeGPS "), make([]byte, 36), novatekRecord(i, "ANE", 3213.776+float32(i)/100, 10617.358), make([]byte, 100))
	}
	var list, boxes, blocks []byte
	const n = 5
	for i := range uint32(n) {
		boxes = append(boxes, bx("free", block(i))...)
		b := cat(u32(0x8000), block(i))
		list = append(list, u32(uint32(len(blocks)), uint32(len(b)))...)
		blocks = append(blocks, b...)
	}
	whole := clip{extra: bx("gps ", u32(0x101, n), list)}.bytes()
	at := uint32(len(whole))
	for i := range uint32(n) { // the list names places behind the clip
		p := bytes.Index(whole, []byte("gps ")) + 12 + int(i)*8
		binary.BigEndian.PutUint32(whole[p:], at+8+binary.BigEndian.Uint32(whole[p:]))
	}
	for name, file := range map[string][]byte{"listed": cat(whole, bx("mdat", blocks)), "in boxes": cat(clip{}.bytes(), boxes)} {
		f := probeBytes(t, file)
		if f.Track == nil || len(f.Track.Points) != n || f.Fixes != n {
			t.Fatalf("%s: %+v", name, f.Track)
		}
		p := f.Track.Points[n-1]
		if math.Abs(p.Lat-32.2303) > 1e-4 || math.Abs(p.Lon-106.28930) > 1e-4 || p.AtMs != 800 || *p.Speed != 18.5 ||
			!p.Time.Equal(time.Date(2026, 3, 1, 12, 30, n-1, 0, time.UTC)) {
			t.Errorf("%s: %+v %v", name, p, *p.Speed)
		}
		if f.Position == nil || f.Position.Source != "freegps" || f.GPSTime == nil {
			t.Errorf("%s: position %+v", name, f.Position)
		}
	}
}

// A track of samples: GPMF in a gpmd track beside the video.
func TestGPMFTrack(t *testing.T) {
	klv := func(key string, typ byte, size int, v ...[]byte) []byte {
		body := bytes.Join(v, nil)
		b := append([]byte(key), typ, byte(size))
		b = binary.BigEndian.AppendUint16(b, uint16(len(body)/max(size, 1)))
		return append(append(b, body...), make([]byte, (4-len(body)%4)%4)...)
	}
	payload := func(fix uint32, lat uint32) []byte {
		return klv("DEVC", 0, 1, klv("STRM", 0, 1, klv("GPSF", 'L', 4, u32(fix)), klv("GPSU", 'U', 16, []byte("260301040000.000")),
			klv("SCAL", 'l', 4, u32(10_000_000, 10_000_000, 1000, 1000, 100)), klv("GPS5", 'l', 20, u32(lat, 1_062_893_000, 500_000, 5000, 500),
				u32(lat+1000, 1_062_893_000, 500_000, 5000, 500))))
	}
	tr := decodeBlocks(gpsBlock{Kind: kindGPMF, Span: 1000}, payload(3, 322_296_000), payload(0, 0), payload(2, 322_299_000))
	if tr == nil || len(tr.Points) != 4 || tr.Points[1].AtMs != 500 || tr.Points[3].Lat != 32.23 || *tr.Points[0].Speed != 18 {
		t.Fatalf("%+v", tr)
	}
}

// A receiver's errors don't move anybody: 0,0, off the Earth, a jump and back. A lasting move after a cold start is believed.
func TestImplausibleFixesAreDropped(t *testing.T) {
	var d gpsDecoder
	put := func(lat, lon float64) {
		d.add(Point{AtMs: int64(d.Fixes+d.Dropped+len(d.suspects)) * 1000, Lat: lat, Lon: lon})
	}
	for range 10 {
		put(32, 106)
	}
	put(0, 0)
	put(0.0001, 0)
	put(91, 0)
	put(math.NaN(), 106)
	put(32, math.Inf(1))
	put(39.9, 116.4) // one jump
	put(32.0001, 106)
	if tr := d.done(); tr.Fixes != 11 || tr.Dropped != 6 {
		t.Errorf("%d fixes, %d dropped", tr.Fixes, tr.Dropped)
	}
	d = gpsDecoder{}
	put(23, 113) // where it was switched off
	for i := range 20 {
		put(32+float64(i)*1e-4, 106)
	}
	if tr := d.done(); tr.Fixes != 20 || tr.Dropped != 1 || tr.Points[0].Lat != 32 {
		t.Errorf("cold start: %d fixes, %d dropped, from %v", tr.Fixes, tr.Dropped, tr.Points[0])
	}
}

// However many fixes there are, few are kept, from the first to the last, and evenly.
func TestTrackIsThinned(t *testing.T) {
	var d gpsDecoder
	const n = 777_777
	for i := range n {
		d.add(Point{AtMs: int64(i) * 1000, Lat: 30 + float64(i)*1e-5, Lon: 106})
	}
	tr := d.done()
	last := len(tr.Points) - 1
	if tr.Fixes != n || len(tr.Points) > maxPoints || len(tr.Points) < maxPoints/3 || tr.Points[0].AtMs != 0 || tr.Points[last].AtMs != (n-1)*1000 {
		t.Fatalf("%d of %d, %d … %d", len(tr.Points), tr.Fixes, tr.Points[0].AtMs, tr.Points[last].AtMs)
	}
	step := tr.Points[1].AtMs - tr.Points[0].AtMs
	for i := 1; i < last; i++ {
		if tr.Points[i].AtMs-tr.Points[i-1].AtMs != step {
			t.Fatalf("uneven at %d", i)
		}
	}
}

func TestTextsOfPositions(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		n    int
		last Point
	}{
		"nmea": {"$GPRMC,040000.000,A,3213.776,N,10617.358,E,10.00,90,010326,,,A*00\r\n$GPGGA,1\n$GPRMC,040002.000,A,3213.776,N,10617.358,E,10.00,90,010326,,,A\n" +
			"$GPRMC,040003.000,V,,,,,,,010326\n", 2, Point{AtMs: 2000, Lat: 32.2296, Lon: 106.2893}},
		"bracketed":   {"[1784358211371]$GNRMC,040000,A,3213.776,S,10617.358,W,0,0,010326\n", 1, Point{Lat: -32.2296, Lon: -106.2893}},
		"only GGA":    {"$GPGGA,040000,3213.776,N,10617.358,E,1,08,1.2,31.5,M\n$GPGGA,040001,3213.776,N,10617.358,E,0,08\n", 1, Point{Lat: 32.2296, Lon: 106.2893}},
		"csv":         {"$V02\n1783850132,A,50.5,9.25,0,100,1\n1783850134,A,50.5,9.25,0,100,1\n1,V,0,0,0,0\n", 2, Point{AtMs: 2000, Lat: 50.5, Lon: 9.25}},
		"gpx":         {`<gpx><trk><trkpt lat="32.2296" lon="106.2893"><time>2026-03-01T04:00:00Z</time></trkpt><trkpt lat="x" lon="1"/></trk></gpx>`, 1, Point{Lat: 32.2296, Lon: 106.2893}},
		"a long line": {strings.Repeat("$GPRMC,", 10_000), 0, Point{}},
	} {
		f, err := Probe(t.Context(), strings.NewReader(c.text), int64(len(c.text)), "a.txt")
		if err != nil || f.Verdict != Sidecar {
			t.Fatalf("%s: %q %v", name, f.Verdict, err)
		}
		if c.n == 0 {
			if f.Track != nil {
				t.Errorf("%s: %+v", name, f.Track)
			}
			continue
		}
		if f.Track == nil || f.Fixes != c.n {
			t.Fatalf("%s: %+v", name, f.Track)
		}
		if p := f.Track.Points[c.n-1]; p.AtMs != c.last.AtMs || p.Lat != c.last.Lat || p.Lon != c.last.Lon {
			t.Errorf("%s: %+v", name, p)
		}
	}
}

// frameTime is a frame's time by the runs, as the player reckons it.
func (f *Frames) frameTime(n int64) float64 {
	for _, r := range f.Runs {
		if n < r[2] {
			return float64(r[0]) + float64(r[1])*float64(n)/float64(max(r[2]-1, 1))
		}
		n -= r[2]
	}
	return math.NaN()
}

// Every frame's time and every keyframe is what ffprobe says, with reordered pictures, varying rate, edit lists and fragments.
func TestFramesAgreeWithFFprobe(t *testing.T) {
	for name, args := range map[string][]string{
		"constant":     {"-bf", "2"},
		"fragmented":   {"-bf", "2", "-movflags", "frag_keyframe+empty_moov"},
		"default base": {"-bf", "0", "-movflags", "frag_keyframe+empty_moov+default_base_moof", "-g", "7"},
		"variable":     {"-bf", "2", "-vf", "select='not(mod(n\\,7))+not(mod(n\\,3))'", "-fps_mode", "vfr"},
		"all keys":     {"-g", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "a.mp4")
			run := append([]string{"-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=6", "-c:v", "libx264", "-preset", "veryfast",
				"-pix_fmt", "yuv420p", "-g", "25"}, args...)
			if out, err := exec.CommandContext(t.Context(), "ffmpeg", append(run, path)...).CombinedOutput(); err != nil {
				t.Fatalf("ffmpeg: %v %s", err, out)
			}
			f := probeFile(t, path)
			var want []float64
			var keys []int64
			out, err := exec.CommandContext(t.Context(), "ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "packet=pts_time,flags", "-of", "csv=p=0", path).Output()
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(out)) {
				at, flags, _ := strings.Cut(strings.TrimSpace(line), ",")
				s, err := strconv.ParseFloat(at, 64)
				if err != nil {
					t.Fatal(err)
				}
				want = append(want, s*1e6)
				if strings.Contains(flags, "K") {
					keys = append(keys, int64(math.Round(s*1000)))
				}
			}
			slices.Sort(want)
			slices.Sort(keys)
			if f.Frames == nil || f.Frames.Count != len(want) || f.Keyframes != len(keys) && !f.Frames.AllKey {
				t.Fatalf("%+v, want %d", f.Frames, len(want))
			}
			for i, w := range want {
				if got := f.Frames.frameTime(int64(i)); math.Abs(got-w) > frameFit+1 {
					t.Fatalf("frame %d at %.0f µs, want %.0f", i, got, w)
				}
			}
			if f.Frames.AllKey != (name == "all keys") || f.Variable != (name == "variable") {
				t.Errorf("all keys %v, variable %v", f.Frames.AllKey, f.Variable)
			}
			for i, k := range keys {
				if !f.Frames.AllKey && (i >= len(f.Frames.Keyframes) || max(f.Frames.Keyframes[i]-k, k-f.Frames.Keyframes[i]) > 1) {
					t.Fatalf("keyframes %v, want %v", f.Frames.Keyframes, keys)
				}
			}
			if len(want) == 150 && len(f.Frames.Runs) > 2 {
				t.Errorf("constant rate in %d runs", len(f.Frames.Runs))
			}
		})
	}
}

// Real streams: codecs and duration, whatever packets they come in.
func TestStreams(t *testing.T) {
	for _, c := range []struct {
		file, codec, container string
		args                   []string
	}{
		{"a.ts", "h264", "mpeg-ts", []string{"-c:v", "libx264", "-preset", "ultrafast", "-f", "mpegts"}},
		{"a.mts", "hevc", "mpeg-ts", []string{"-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=0", "-f", "mpegts", "-mpegts_m2ts_mode", "1"}},
		{"a.mpg", "mpeg2", "mpeg-ps", []string{"-c:v", "mpeg2video", "-f", "vob"}},
		{"b.mpg", "h264", "mpeg-ps", []string{"-c:v", "libx264", "-preset", "ultrafast", "-f", "vob"}},
	} {
		path := filepath.Join(t.TempDir(), c.file)
		args := append([]string{"-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=6", "-f", "lavfi", "-i", "sine=d=6", "-b:v", "4M"}, c.args...)
		if out, err := exec.CommandContext(t.Context(), "ffmpeg", append(args, path)...).CombinedOutput(); err != nil {
			t.Fatalf("ffmpeg: %v %s", err, out)
		}
		f := probeFile(t, path)
		if f.Container != c.container || f.VideoCodec != c.codec || f.DurationMs < 5800 || f.DurationMs > 6200 || f.Verdict != OK || f.Playable {
			b, _ := json.Marshal(f)
			t.Errorf("%s: %s", c.file, b)
		}
	}
}

// tsPacket is one packet that begins with a payload; what is left over is stuffed.
func tsPacket(pid int, start bool, payload []byte) []byte {
	h := []byte{0x47, byte(pid >> 8), byte(pid), 0x10}
	if start {
		h[1] |= 0x40
	}
	if pad := 184 - len(payload); pad > 0 {
		h[3] = 0x30
		a := bytes.Repeat([]byte{0xff}, pad)
		if a[0] = byte(pad - 1); pad > 1 {
			a[1] = 0
		}
		h = append(h, a...)
	}
	return append(h, payload...)
}

// Positions in a private stream, at the start of its packets or behind a prefix that reaches into the next.
func TestPositionsInTransportStream(t *testing.T) {
	for _, prefix := range []int{0, 164} {
		var file []byte
		for i := range uint32(6) {
			pes := cat([]byte{0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 5, 0x21, 0, 1, 0, 1}, make([]byte, 100))
			v := int64(i) * 90_000
			pes[9], pes[10], pes[11], pes[12], pes[13] = byte(0x21|v>>29&0xe), byte(v>>22), byte(v>>14|1), byte(v>>7), byte(v<<1|1)
			file = append(file, tsPacket(0x100, true, pes)...)
			rec := cat([]byte{0, 0, 1, 0xbf, 3, 0xf0}, make([]byte, prefix), novatekRecord(i, "ASW", 3213.776, 10617.358), make([]byte, 150))
			file = append(file, tsPacket(0x300, true, rec[:184])...)
			file = append(file, tsPacket(0x300, false, rec[184:])...)
		}
		f := probeBytes(t, file)
		if f.Track == nil || f.Fixes != 6 || f.Track.Points[5].AtMs != 5000 || f.Track.Points[5].Lat > -32 || f.Track.Points[5].Lon > -106 || f.DurationMs != 5000 {
			t.Errorf("prefix %d: %+v %d", prefix, f.Track, f.DurationMs)
		}
	}
}

// A recording of twelve hours in fragments of a second has half a million boxes; its index is read within the limits.
func TestTwelveHoursOfFragments(t *testing.T) {
	entry := cat(make([]byte, 8), make([]byte, 16), []byte{2, 0x80, 1, 0x68}, make([]byte, 50))
	file := cat(ftyp, bx("moov", bx("mvhd", u32(0, 0, 0, 1000, 0), make([]byte, 80)), bx("mvex", bx("trex", u32(0, 1, 1, 40, 0, 0x10000))),
		bx("trak", bx("tkhd", u32(0, 0, 0, 1), make([]byte, 68)), bx("mdia", bx("mdhd", u32(0, 0, 0, 1000, 0, 0)), bx("hdlr", u32(0, 0), []byte("vide"), make([]byte, 13)),
			bx("minf", bx("stbl", bx("stsd", u32(0, 1), bx("avc1", entry, bx("avcC", []byte{1, 77, 0, 30, 0xff, 0xe0, 0}))), bx("stts", u32(0, 0)), bx("stsc", u32(0, 0)), bx("stsz", u32(0, 0, 0)), bx("stco", u32(0, 0))))))))
	sizes := bytes.Repeat(u32(100), 25)
	const hours = 12 * 3600
	for i := range uint32(hours) {
		file = append(file, bx("moof", bx("mfhd", u32(0, i)), bx("traf", bx("tfhd", u32(0x20000, 1)), bx("tfdt", u32(0, i*1000)), bx("trun", u32(0x204, 25, 0), sizes)))...)
		file = append(file, header(8+10, "mdat")...)
		file = append(file, make([]byte, 10)...)
	}
	f := probeBytes(t, file)
	if f.DurationMs != hours*1000 || f.Frames == nil || f.Frames.Count != hours*25 || len(f.Frames.Keyframes) != hours || len(f.Frames.Runs) != 1 {
		b, _ := json.Marshal(f)
		t.Errorf("%s %d frames", b, f.Frames.Count)
	}
}

func TestSeveralVideosAndRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.mp4")
	if out, err := exec.CommandContext(t.Context(), "ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=25:d=1", "-f", "lavfi", "-i", "testsrc=s=160x120:r=25:d=1",
		"-map", "0:v", "-map", "1:v", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", path).CombinedOutput(); err != nil {
		t.Fatalf("ffmpeg: %v %s", err, out)
	}
	if f := probeFile(t, path); f.Videos != 2 || f.Width != 320 {
		t.Errorf("%+v", f)
	}
}

func FuzzTrack(f *testing.F) {
	head := func(kind byte, span int64, p []byte) []byte {
		return append(gpsBlock{Kind: kind, AtMs: 1, Span: span, Size: uint32(len(p))}.head(), p...)
	}
	f.Add(head(kindFreeGPS, 0, cat([]byte("freeGPS "), make([]byte, 36), novatekRecord(1, "ANE", 3213.776, 10617.358))))
	f.Add(head(kindGPMF, 1000, []byte("DEVC\x00\x01\x00\x20STRM\x00\x01\x00\x18SCALl\x04\x00\x05GPS5l\x14\x00\x01")))
	f.Add(head(kindSSMD, 1000, make([]byte, 80)))
	f.Add(head(kindTXET, 1000, make([]byte, 144)))
	f.Add(head(kindCAMM, 0, cat([]byte{0, 0, 6, 0}, make([]byte, 60))))
	f.Add(head(kindBox, 0, make([]byte, 72)))
	f.Add(head(kindText, 0, []byte("$GPRMC,040000.000,A,3213.776,N,10617.358,E,10.00,90,010326,,,A*00\n<trkpt lat=\"1\" lon=\"2\">\n$V02")))
	f.Add(head(kindStream, 188, cat(tsPacket(0, true, []byte{0, 0, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, 0xf0, 0, 1, 2, 3, 4}), tsPacket(0x1000, true, make([]byte, 184)))))
	f.Add(head(kindProgram, 0, []byte("\x00\x00\x01\xba\x00\x00\x01\xbc\x00\x10\x00\x00\x00\x00\x00\x04\x1b\xe0\x00\x00\x00\x00\x01\xe0\x00\x00\x80\x80\x05\x21\x00\x01\x00\x01")))
	f.Fuzz(func(t *testing.T, b []byte) {
		var out bytes.Buffer
		if err := trackAnswer(bytes.NewReader(b), &out); err != nil {
			return
		}
		var d decoded
		if err := json.Unmarshal(out.Bytes(), &d); err != nil {
			t.Fatal(err)
		}
		if d.Track == nil {
			return
		}
		if len(d.Track.Points) > maxPoints || len(d.Track.Points) > d.Track.Fixes {
			t.Fatalf("%d of %d", len(d.Track.Points), d.Track.Fixes)
		}
		for _, p := range d.Track.Points {
			if place(p.Lat, p.Lon) == nil || p.Speed != nil && (*p.Speed < 0 || *p.Speed > fastest) {
				t.Fatalf("%+v", p)
			}
		}
	})
}

func FuzzFrames(f *testing.F) {
	f.Add(uint32(1000), u32(0, 1, 25, 40), u32(0, 2, 10, 80, 15, 0), u32(0, 2, 1, 13), u32(0, 1, 1000, 0, 0x10000), uint32(25))
	f.Fuzz(func(t *testing.T, scale uint32, stts, ctts, stss, elst []byte, count uint32) {
		tr := track{Scale: scale, Handler: "vide"}
		_ = tr.timeToSample(stts)
		tr.ctts, _ = entries(ctts, 8)
		tr.stss, _ = entries(stss, 4)
		_ = tr.edits(elst)
		tr.table.count = uint64(count)
		x := tr.index(1000)
		if x == nil {
			return
		}
		n := int64(0)
		for _, r := range x.Runs {
			if n += r[2]; r[1] < 0 {
				t.Fatal(fmt.Sprint(x.Runs))
			}
		}
		if n > int64(x.Count) || x.Count > maxFrames || len(x.Runs) > maxRuns || len(x.Keyframes) > maxKeyframes {
			t.Fatalf("%d in runs of %d", n, x.Count)
		}
	})
}
