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
	id        uint32
	table     sampleTable
	fragDur   uint64
	fragN     uint64
}

// inspection is the child's answer.
type inspection struct {
	Scale      uint32 // mvhd
	Duration   uint64
	Created    uint64
	Tracks     []track
	Fragmented bool
	Fragments  int
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
	switch precheck(ix.data) {
	case errTooDeep:
		in.TooDeep = true
		return in
	case errTooMany:
		in.TooMany = true
		return in
	}
	w := &walker{data: ix.data, in: &in, trex: map[uint32]uint32{}}
	if _, err := mp4.ReadBoxStructure(bytes.NewReader(ix.data), w.box); err != nil {
		w.broken("top", err)
	}
	w.finish()
	return in
}

type walker struct {
	data  []byte
	in    *inspection
	boxes int
	cur   *track            // the trak being read
	trex  map[uint32]uint32 // default sample duration of each track
	frag  struct {
		track *track
		dur   uint32
	}
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
	case "moov", "moov/mvex", "moof", "trak/mdia", "mdia/minf", "minf/stbl":
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
			w.trex[t.TrackID] = t.DefaultSampleDuration
		}
		w.in.Fragmented = true
	case "moof/traf":
		w.in.Fragments++
		w.frag.track, w.frag.dur = nil, 0
		return expand()
	case "traf/tfhd":
		box, _, err := h.ReadPayload()
		if err != nil {
			return err
		}
		t := box.(*mp4.Tfhd)
		w.frag.track, w.frag.dur = w.byID(t.TrackID), w.trex[t.TrackID]
		if t.CheckFlag(0x8) {
			w.frag.dur = t.DefaultSampleDuration
		}
	case "traf/trun":
		return w.trun(p)
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
		if p[0] == 1 {
			t.id = binary.BigEndian.Uint32(p[20:])
		}
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
		if len(p) < 8 {
			return errShort
		}
		t.Keyframes = int(min(uint64(binary.BigEndian.Uint32(p[4:])), uint64(len(p)-8)/4))
	case "stbl/stsz", "stbl/stz2":
		return t.table.sizes(p, path == "stbl/stz2")
	case "stbl/stsc":
		return t.table.chunks(p)
	case "stbl/stco", "stbl/co64":
		return t.table.offsets(p, path == "stbl/co64")
	}
	return nil
}

// trun adds a run's durations: each sample's own where it has one, the default otherwise.
func (w *walker) trun(p []byte) error {
	if len(p) < 8 {
		return errShort
	}
	flags, n := binary.BigEndian.Uint32(p)&0xffffff, uint64(binary.BigEndian.Uint32(p[4:]))
	t := w.frag.track
	if t == nil {
		return errors.New("run of an unknown track")
	}
	at := 8
	for _, f := range []uint32{0x1, 0x4} {
		if flags&f != 0 {
			at += 4
		}
	}
	stride := 0
	for _, f := range []uint32{0x100, 0x200, 0x400, 0x800} {
		if flags&f != 0 {
			stride += 4
		}
	}
	if stride > 0 {
		if at > len(p) {
			return errShort
		}
		n = min(n, uint64(len(p)-at)/uint64(stride))
	}
	t.fragN += n
	if flags&0x100 == 0 {
		t.fragDur += n * uint64(w.frag.dur)
		return nil
	}
	for range n {
		t.fragDur += uint64(binary.BigEndian.Uint32(p[at:]))
		at += stride
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
		}
	}
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
