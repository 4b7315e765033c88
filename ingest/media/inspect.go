package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/abema/go-mp4"
)

// Bounds inside the index.
const (
	maxDepth  = 16
	maxBoxes  = 100_000
	maxTracks = 64
)

// index is what the child is given: bytes of ftyp, moov and all moof, one after the other as a file of their own.
type index struct {
	data []byte
}

// track is what one trak says, in its own words.
type track struct {
	Handler   string // vide, soun, …
	Format    string // the sample entry's four characters
	Codec     string
	Width     int
	Height    int
	Odd       string // why a browser would not take this stream though it knows the codec
	Encrypted bool
	Scale     uint32
	Duration  uint64 // mdhd, in Scale; 0 when it says nothing
	Stts      uint64 // sum of stts
	SttsCount uint64
	Samples   uint64
	Keyframes int
	End       int64 // where the last sample ends in the file, 0 when there is none
	Rotation  int   // degrees clockwise that a player turns the picture

	id               uint32
	table            sampleTable
	stts, ctts, stss []byte // as they lie in the file
	hasStss          bool
	edit             edit
	fragDur          uint64
	fragN            uint64
	fragAt           uint64  // decode time of the next sample
	fragFrames       []int64 // packed
}

// inspection is the child's answer.
type inspection struct {
	Scale      uint32 // mvhd
	Duration   uint64
	Created    uint64
	Tracks     []track
	Fragmented bool
	Fragments  int
	Frames     *Frames
	GPS        []gpsRange
	Position   *Position
	Make       string
	Model      string
	Broken     []string // boxes that couldn't be read
	TooDeep    bool
	TooMany    bool
}

// containers are the boxes that are looked into; anything else is a leaf whatever it holds.
var containers = map[string]bool{"moov": true, "trak": true, "mdia": true, "minf": true, "stbl": true, "udta": true,
	"mvex": true, "moof": true, "traf": true, "edts": true, "meta": true}

// errTooDeep and errTooMany end the precheck.
var (
	errTooDeep = errors.New("boxes nested too deep")
	errTooMany = errors.New("too many boxes")
)

// precheck walks the containers without recursion before a parser sees them. Lying sizes are left to the parser, which reports them.
func precheck(data []byte) error {
	type span struct{ end, depth int }
	stack := []span{{len(data), 0}}
	boxes := 0
	for off := 0; len(stack) > 0; {
		top := stack[len(stack)-1]
		if off+8 > top.end {
			off, stack = top.end, stack[:len(stack)-1]
			continue
		}
		size, header := uint64(binary.BigEndian.Uint32(data[off:])), 8
		if size == 1 && off+16 <= top.end {
			size, header = binary.BigEndian.Uint64(data[off+8:]), 16
		}
		if size < uint64(header) || size > uint64(top.end-off) {
			off, stack = top.end, stack[:len(stack)-1]
			continue
		}
		if boxes++; boxes > maxBoxes*4 {
			return errTooMany
		}
		if containers[string(data[off+4:off+8])] {
			if top.depth+1 > maxDepth {
				return errTooDeep
			}
			stack = append(stack, span{off + int(size), top.depth + 1})
			off += header
			continue
		}
		off += int(size)
	}
	return nil
}

// inspect reads an index. It runs in the child; bytes may do what they like.
func inspect(ix index) (in inspection) {
	moov := ix.data
	for off := 0; off+8 <= len(ix.data); { // the fragments lie behind moov, with headers that our parent wrote
		n := int(binary.BigEndian.Uint32(ix.data[off:]))
		if n < 8 || n > len(ix.data)-off {
			break
		}
		if string(ix.data[off+4:off+8]) == "moof" {
			moov = ix.data[:off]
			break
		}
		off += n
	}
	switch precheck(moov) {
	case errTooDeep:
		in.TooDeep = true
		return in
	case errTooMany:
		in.TooMany = true
		return in
	}
	w := &walker{data: moov, in: &in, trex: map[uint32]defaults{}}
	if _, err := mp4.ReadBoxStructure(bytes.NewReader(moov), w.box); err != nil {
		w.broken("top", err)
	}
	for rest := ix.data[len(moov):]; len(rest) >= 8; {
		n := int(binary.BigEndian.Uint32(rest))
		if n < 8 || n > len(rest) {
			break
		}
		if string(rest[4:8]) == "moof" {
			w.moof(rest[8:n])
		}
		rest = rest[n:]
	}
	w.finish()
	return in
}

type walker struct {
	data  []byte
	in    *inspection
	boxes int
	cur   *track // the trak being read
	trex  map[uint32]defaults
}

func (w *walker) broken(what string, err error) {
	if len(w.in.Broken) < 20 {
		w.in.Broken = append(w.in.Broken, fmt.Sprintf("%s: %.120s", printable([]byte(what)), printable([]byte(err.Error()))))
	}
}

// payload is the box's bytes without its header, where they lie; nothing is copied.
func (w *walker) payload(bi mp4.BoxInfo) []byte {
	from, to := bi.Offset+bi.HeaderSize, bi.Offset+bi.Size
	if to > uint64(len(w.data)) || from > to {
		return nil
	}
	return w.data[from:to]
}

// box is go-mp4's handler: it expands what the schema below knows at the place where it belongs and keeps off everything else. A
// broken child is noted and its siblings are read all the same.
func (w *walker) box(h *mp4.ReadHandle) (any, error) {
	if w.boxes++; w.boxes > maxBoxes {
		w.in.TooMany = true
		return nil, errTooMany
	}
	typ := h.BoxInfo.Type.String()
	if len(h.Path) > maxDepth || h.BoxInfo.Offset+h.BoxInfo.Size > uint64(len(w.data)) {
		w.broken(typ, errors.New("box outside its parent"))
		return nil, nil
	}
	path := typ
	if len(h.Path) > 1 {
		path = h.Path[len(h.Path)-2].String() + "/" + typ
	}
	if err := w.read(path, typ, h); err != nil {
		if errors.Is(err, errTooMany) {
			return nil, err
		}
		w.broken(typ, err)
	}
	return nil, nil
}

func (w *walker) read(path, typ string, h *mp4.ReadHandle) error {
	expand := func() error { _, err := h.Expand(); return err }
	p := w.payload(h.BoxInfo)
	switch path {
	case "moov", "moov/mvex", "trak/mdia", "mdia/minf", "minf/stbl", "trak/edts":
		return expand()
	case "moov/udta", "trak/udta":
		return w.userData(p)
	case "moov/meta", "udta/meta", "trak/meta":
		return w.meta(p)
	case "moov/mvhd":
		box, _, err := h.ReadPayload()
		if err != nil {
			return err
		}
		m := box.(*mp4.Mvhd)
		w.in.Scale, w.in.Duration, w.in.Created = m.Timescale, known(m.GetVersion(), m.GetDuration()), m.GetCreationTime()
	case "moov/trak":
		if len(w.in.Tracks) >= maxTracks {
			return errors.New("more tracks than are looked at")
		}
		w.in.Tracks = append(w.in.Tracks, track{})
		w.cur = &w.in.Tracks[len(w.in.Tracks)-1]
		err := expand()
		w.cur.measure()
		w.cur = nil
		return err
	case "mvex/trex":
		box, _, err := h.ReadPayload()
		if err != nil {
			return err
		}
		t := box.(*mp4.Trex)
		if len(w.trex) < maxTracks {
			w.trex[t.TrackID] = defaults{t.DefaultSampleDuration, t.DefaultSampleSize, t.DefaultSampleFlags}
		}
		w.in.Fragmented = true
	case "moov/gps ":
		w.blockList(p)
	}
	if w.cur != nil {
		return w.inTrack(path, h, p)
	}
	return nil
}

func (w *walker) byID(id uint32) *track {
	for i := range w.in.Tracks {
		if w.in.Tracks[i].id == id {
			return &w.in.Tracks[i]
		}
	}
	return nil
}

// known drops a duration that says "unknown": all bits set.
func known(version uint8, d uint64) uint64 {
	if d == math.MaxUint64 || version == 0 && d == math.MaxUint32 {
		return 0
	}
	return d
}

func (w *walker) inTrack(path string, h *mp4.ReadHandle, p []byte) error {
	t := w.cur
	switch path {
	case "trak/tkhd":
		if len(p) < 24 {
			return errShort
		}
		t.id = binary.BigEndian.Uint32(p[12:])
		matrix := 40
		if p[0] == 1 {
			t.id, matrix = binary.BigEndian.Uint32(p[20:]), 52
		}
		if len(p) >= matrix+44 {
			a, b := int32(binary.BigEndian.Uint32(p[matrix:])), int32(binary.BigEndian.Uint32(p[matrix+4:]))
			switch {
			case a == 0 && b > 0:
				t.Rotation = 90
			case a < 0 && b == 0:
				t.Rotation = 180
			case a == 0 && b < 0:
				t.Rotation = 270
			}
			if t.Width == 0 && t.Height == 0 { // the sample entry has the last word
				t.Width, t.Height = int(binary.BigEndian.Uint16(p[matrix+36:])), int(binary.BigEndian.Uint16(p[matrix+40:]))
			}
		}
	case "edts/elst":
		return t.edits(p)
	case "mdia/mdhd":
		box, _, err := h.ReadPayload()
		if err != nil {
			return err
		}
		m := box.(*mp4.Mdhd)
		t.Scale, t.Duration = m.Timescale, known(m.GetVersion(), m.GetDuration())
	case "mdia/hdlr":
		if len(p) < 12 {
			return errShort
		}
		t.Handler = printable(p[8:12])
	case "stbl/stsd":
		return t.sampleEntry(p)
	case "stbl/stts":
		return t.timeToSample(p)
	case "stbl/stss":
		b, err := entries(p, 4)
		t.stss, t.hasStss, t.Keyframes = b, true, len(b)/4
		return err
	case "stbl/ctts":
		b, err := entries(p, 8)
		t.ctts = b
		return err
	case "stbl/stsz", "stbl/stz2":
		return t.table.sizes(p, path == "stbl/stz2")
	case "stbl/stsc":
		return t.table.chunks(p)
	case "stbl/stco", "stbl/co64":
		return t.table.offsets(p, path == "stbl/co64")
	}
	return nil
}

// finish folds fragments into their tracks.
func (w *walker) finish() {
	for i := range w.in.Tracks {
		t := &w.in.Tracks[i]
		if t.fragN > 0 {
			t.Samples += t.fragN
			t.Stts += t.fragDur
			t.SttsCount += t.fragN
			t.Duration = max(t.Duration, t.Stts)
			for _, v := range t.fragFrames {
				t.Keyframes += int(v & 1)
			}
		}
	}
	if v := firstWithSamples(w.in.Tracks, "vide"); v != nil {
		w.in.Frames = v.index(w.in.Scale)
	}
	for i := range w.in.Tracks {
		t := &w.in.Tracks[i]
		w.positions(t)
		t.table = sampleTable{}
	}
}

// firstWithSamples is the first track of a kind that holds something, else the first of it.
func firstWithSamples(tracks []track, handler string) (first *track) {
	for i := range tracks {
		if t := &tracks[i]; t.Handler == handler && (first == nil || first.Samples == 0) {
			first = t
		}
	}
	return first
}

// blockList reads Novatek's box "gps ": places and sizes of freeGPS blocks, spread over the recording.
func (w *walker) blockList(p []byte) {
	b, err := entries(p, 8)
	if err != nil || len(w.in.GPS) > 0 {
		return
	}
	n := uint64(len(b) / 8)
	ms := w.milliseconds()
	for k := range min(n, maxGPSReads) {
		i := k * n / min(n, maxGPSReads)
		size := int64(binary.BigEndian.Uint32(b[i*8+4:]))
		w.in.GPS = append(w.in.GPS, gpsRange{Kind: kindFreeGPS, Off: int64(binary.BigEndian.Uint32(b[i*8:])), Size: min(size, 512), AtMs: ms * int64(i) / int64(n)})
	}
}

func (w *walker) milliseconds() int64 {
	if w.in.Scale == 0 || w.in.Duration > math.MaxInt64/2000 {
		return 0
	}
	return int64(w.in.Duration * 1000 / uint64(w.in.Scale))
}

// positions finds a track whose samples are positions, by its sample entry; where that says little, by the size of the samples.
func (w *walker) positions(t *track) {
	kind := byte(0)
	switch {
	case t.Format == "gpmd":
		kind = kindGPMF
	case t.Format == "camm":
		kind = kindCAMM
	case t.Format == "ssmd" && t.table.fixed == 40:
		kind = kindSSMD
	case t.Format == "mp4s" && t.Handler == "tvxt" && t.table.fixed == 72:
		kind = kindTXET
	case (t.Handler == "text" || t.Handler == "sbtl" || t.Handler == "subt") && (t.Format == "text" || t.Format == "tx3g"):
		kind = kindText
	}
	total := min(t.table.count, t.SttsCount)
	if kind == 0 || t.Scale == 0 || len(w.in.GPS) > 0 || total > 10_000_000 {
		return
	}
	step := max((total+maxGPSReads-1)/maxGPSReads, 1)
	times := t.sampleTimes(total, step)
	t.table.walk(func(i, off, size uint64) bool {
		if i >= total {
			return false
		}
		if i%step != 0 || size == 0 || off > math.MaxInt64/2 {
			return true
		}
		k := i / step
		at := times[k]
		r := gpsRange{Kind: kind, Off: int64(off), Size: int64(min(size, maxGPSBlock)), AtMs: at}
		if step == 1 && k+1 < uint64(len(times)) {
			r.SpanN = times[k+1] - at
		}
		if n := len(w.in.GPS); n > 0 && t.table.fixed > 0 && w.in.GPS[n-1].Off+w.in.GPS[n-1].Size == r.Off && w.in.GPS[n-1].Size < 64<<10 {
			last := &w.in.GPS[n-1] // records side by side are read at once
			last.Size, last.SpanN = last.Size+r.Size, at-last.AtMs+r.SpanN
			return true
		}
		w.in.GPS = append(w.in.GPS, r)
		return len(w.in.GPS) < 2*maxGPSReads
	})
}

// sampleTimes is the milliseconds at which every step-th of the first n samples begins, and where they end.
func (t *track) sampleTimes(n, step uint64) []int64 {
	out := make([]int64, 0, n/step+2)
	at, i := uint64(0), uint64(0)
	ms := func() int64 { return int64(float64(at) * 1000 / float64(t.Scale)) }
	for p := t.stts; len(p) >= 8 && i < n; p = p[8:] {
		count, delta := uint64(binary.BigEndian.Uint32(p)), uint64(binary.BigEndian.Uint32(p[4:]))
		for range min(count, n-i) {
			if i%step == 0 {
				out = append(out, ms())
			}
			at += delta
			i++
		}
	}
	return append(out, ms())
}

// seconds is a track's length, by its samples where those agree with one another, else by its header.
func (t track) seconds() float64 {
	if t.Scale == 0 {
		return 0
	}
	d := t.Duration
	if t.Stts > 0 && t.SttsCount == t.Samples {
		d = t.Stts
	}
	return float64(d) / float64(t.Scale)
}

// epoch turns a container's time into ours: seconds since 1904 by the standard, since 1970 by firmware that never read it. Zero, and
// times before the first recorder or absurdly late, say nothing.
func epoch(v uint64) *time.Time {
	const from1904 = 2082844800
	if v == 0 || v > from1904+math.MaxUint32 {
		return nil
	}
	s := int64(v) - from1904
	if v < from1904 {
		s = int64(v)
	}
	if s < 631152000 { // 1990
		return nil
	}
	t := time.Unix(s, 0).UTC()
	return &t
}
