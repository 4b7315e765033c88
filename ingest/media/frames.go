package media

import (
	"encoding/binary"
	"errors"
	"math"
	"slices"
)

// Bounds of an index of frames. Twelve hours at 60 frames a second are 2.6 million frames.
const (
	maxFrames    = 4_000_000
	maxRuns      = 20_000
	maxKeyframes = 50_000
	frameFit     = 1000 // µs that a frame's time may be off
)

// Frames is when each picture is shown, edit list applied, and which of them can be decoded by themselves. Constant frame rate is one
// run; a run's frames lie evenly from its first to its last, to a millisecond.
type Frames struct {
	Count     int     `json:"count"`
	Runs      []Run   `json:"runs,omitempty"`      // none when the times are too irregular to be kept
	Keyframes []int64 `json:"keyframes,omitempty"` // ms; thinned to maxKeyframes
	AllKey    bool    `json:"all_key,omitempty"`   // every picture is a keyframe
	Variable  bool    `json:"variable,omitempty"`  // the frame rate varies
	Cut       bool    `json:"cut,omitempty"`       // there are more frames than were looked at
}

// Run is frames at even distances: microseconds of the first, to the last, and how many.
type Run [3]int64

// frameFitter makes runs out of times in order. From a run's first frame it keeps the cone of slopes that pass all later ones within
// frameFit; a frame outside of it begins the next run.
type frameFitter struct {
	f      Frames
	first  int64
	last   int64
	n      int64
	lo, hi float64
	over   bool
	keyMod int
	keyNo  int
}

func (t *frameFitter) add(us int64, key bool) {
	t.f.Count++
	if key {
		t.key(us)
	}
	if t.over || t.n > 0 && us <= t.last {
		return
	}
	if t.n > 0 {
		slope := float64(us-t.first) / float64(t.n)
		if t.n == 1 || slope >= t.lo && slope <= t.hi {
			lo, hi := (float64(us-t.first)-frameFit)/float64(t.n), (float64(us-t.first)+frameFit)/float64(t.n)
			if t.n == 1 {
				t.lo, t.hi = lo, hi
			} else {
				t.lo, t.hi = max(t.lo, lo), min(t.hi, hi)
			}
			t.last = us
			t.n++
			return
		}
		t.flush()
	}
	t.first, t.last, t.n = us, us, 1
}

func (t *frameFitter) key(us int64) {
	if t.keyMod = max(t.keyMod, 1); t.keyNo%t.keyMod == 0 {
		if t.f.Keyframes = append(t.f.Keyframes, (us+500)/1000); len(t.f.Keyframes) >= 2*maxKeyframes {
			for i := range maxKeyframes {
				t.f.Keyframes[i] = t.f.Keyframes[2*i]
			}
			t.f.Keyframes, t.keyMod = t.f.Keyframes[:maxKeyframes], t.keyMod*2
		}
	}
	t.keyNo++
}

func (t *frameFitter) flush() {
	if t.n == 0 {
		return
	}
	if len(t.f.Runs) >= maxRuns {
		t.over, t.f.Runs = true, nil
		return
	}
	t.f.Runs = append(t.f.Runs, Run{t.first, t.last - t.first, t.n})
	t.n = 0
}

func (t *frameFitter) done() *Frames {
	if !t.over {
		t.flush()
	}
	if t.f.Count == 0 {
		return nil
	}
	for len(t.f.Keyframes) > maxKeyframes {
		for i := range len(t.f.Keyframes) / 2 {
			t.f.Keyframes[i] = t.f.Keyframes[2*i]
		}
		t.f.Keyframes = t.f.Keyframes[:len(t.f.Keyframes)/2]
	}
	t.f.Variable = t.over || varies(t.f.Runs)
	return &t.f
}

// varies tells whether less than nine tenths of the time goes by at the most common distance, give or take 3 %.
func varies(runs []Run) bool {
	var common, total int64
	best := 0.0
	most := int64(0)
	for _, r := range runs {
		if total += r[1]; r[2] > 1 && r[1] > most {
			most, best = r[1], float64(r[1])/float64(r[2]-1)
		}
	}
	for _, r := range runs {
		if r[2] > 1 && math.Abs(float64(r[1])/float64(r[2]-1)-best) <= 0.03*best {
			common += r[1]
		}
	}
	return len(runs) > 1 && common*10 < total*9
}

// edit is where a track begins in the presentation.
type edit struct {
	empty   uint64 // shown nothing for so long, in the movie's time scale
	media   int64  // first time shown, in the track's
	several bool   // parts of the track are shown in an order of their own
}

// edits reads an edit list.
func (t *track) edits(p []byte) error {
	if len(p) < 8 {
		return errShort
	}
	w, n := uint64(12), uint64(binary.BigEndian.Uint32(p[4:]))
	if p[0] == 1 {
		w = 20
	}
	shown := 0
	for i := range min(n, uint64(len(p)-8)/w, 1000) {
		e := p[8+i*w:]
		d, m := uint64(binary.BigEndian.Uint32(e)), int64(int32(binary.BigEndian.Uint32(e[4:])))
		if w == 20 {
			d, m = binary.BigEndian.Uint64(e), int64(binary.BigEndian.Uint64(e[8:]))
		}
		switch {
		case m < 0 && shown == 0:
			t.edit.empty = min(t.edit.empty+min(d, math.MaxInt32), math.MaxInt32)
		case m >= 0:
			if shown++; shown == 1 {
				t.edit.media = m
			}
		}
	}
	t.edit.several = shown > 1
	return nil
}

// packed is a presentation time and whether it is a keyframe's, in an order that sorts.
func packed(pts int64, key bool) int64 {
	pts = min(max(pts, -1<<61), 1<<61)
	if key {
		return pts<<1 | 1
	}
	return pts << 1
}

// index makes the frames of a video track, nil where it says nothing of them.
func (t *track) index(movieScale uint32) *Frames {
	if t.Scale == 0 || t.edit.several {
		return nil
	}
	times, cut := t.fragFrames, len(t.fragFrames) >= maxFrames
	if len(times) == 0 && t.SttsCount != t.table.count {
		return nil // its tables contradict one another
	}
	allKey := len(times) == 0 && !t.hasStss
	var fit frameFitter
	shift := int64(0)
	if movieScale > 0 {
		shift = int64(float64(t.edit.empty) / float64(movieScale) * 1e6)
	}
	emit := func(v int64) {
		if pts := v >> 1; pts >= t.edit.media {
			fit.add(shift+int64(float64(pts-t.edit.media)*1e6/float64(t.Scale)), v&1 == 1)
		}
	}
	if ordered := len(times) == 0 && len(t.ctts) == 0; ordered {
		cut = t.eachSample(emit)
	} else {
		if len(times) == 0 {
			times = make([]int64, 0, min(t.table.count, t.SttsCount, maxFrames))
			cut = t.eachSample(func(v int64) { times = append(times, v) })
		}
		slices.Sort(times)
		for _, v := range times {
			emit(v)
		}
	}
	f := fit.done()
	if f != nil {
		f.Cut, f.AllKey = cut, allKey
	}
	return f
}

// eachSample calls f for each sample in the order of the table, and tells whether there are more than it went through.
func (t *track) eachSample(f func(int64)) (cut bool) {
	n := min(t.table.count, t.SttsCount)
	left, delta, stts := uint64(0), int64(0), t.stts
	cleft, offset, ctts := uint64(0), int64(0), t.ctts
	dts, stss := int64(0), t.stss
	for i := uint64(1); i <= n; i++ {
		if i > maxFrames {
			return true
		}
		for left == 0 {
			if len(stts) < 8 {
				return false
			}
			left, delta = uint64(binary.BigEndian.Uint32(stts)), int64(binary.BigEndian.Uint32(stts[4:]))
			stts = stts[8:]
		}
		for cleft == 0 && len(ctts) >= 8 {
			cleft, offset = uint64(binary.BigEndian.Uint32(ctts)), int64(int32(binary.BigEndian.Uint32(ctts[4:])))
			ctts = ctts[8:]
		}
		for len(stss) >= 4 && uint64(binary.BigEndian.Uint32(stss)) < i {
			stss = stss[4:]
		}
		f(packed(dts+offset, len(stss) >= 4 && uint64(binary.BigEndian.Uint32(stss)) == i))
		left--
		if cleft > 0 {
			cleft--
		}
		dts += delta
	}
	return false
}

// entries is a table's body: n entries of w bytes behind version and count, as far as they are there.
func entries(p []byte, w uint64) ([]byte, error) {
	if len(p) < 8 {
		return nil, errShort
	}
	n := min(uint64(binary.BigEndian.Uint32(p[4:])), uint64(len(p)-8)/w)
	return p[8 : 8+n*w], nil
}

// defaults are what trex, then tfhd say of samples that don't say it themselves.
type defaults struct{ duration, size, flags uint32 }

// moof reads a fragment: each run's durations, and of pictures their times and which are keyframes. It is walked without a parser's
// objects: a recording of twelve hours has half a million boxes in its fragments.
func (w *walker) moof(p []byte) {
	children(p, func(typ string, b []byte) {
		if typ != "traf" {
			return
		}
		w.in.Fragments++
		var t *track
		var d defaults
		children(b, func(typ string, b []byte) {
			switch typ {
			case "tfhd":
				t, d = w.trackHeader(b)
			case "tfdt":
				if t != nil && len(b) >= 8 {
					t.fragAt = uint64(binary.BigEndian.Uint32(b[4:]))
					if b[0] == 1 && len(b) >= 12 {
						t.fragAt = binary.BigEndian.Uint64(b[4:])
					}
				}
			case "trun":
				if err := w.trun(t, d, b); err != nil {
					w.broken(typ, err)
				}
			}
		})
	})
}

func (w *walker) trackHeader(b []byte) (*track, defaults) {
	if len(b) < 8 {
		return nil, defaults{}
	}
	flags, id := binary.BigEndian.Uint32(b)&0xffffff, binary.BigEndian.Uint32(b[4:])
	d, at := w.trex[id], 8
	for _, f := range []struct {
		flag uint32
		size int
		to   *uint32
	}{{0x1, 8, nil}, {0x2, 4, nil}, {0x8, 4, &d.duration}, {0x10, 4, &d.size}, {0x20, 4, &d.flags}} {
		if flags&f.flag == 0 {
			continue
		}
		if at+f.size > len(b) {
			break
		}
		if f.to != nil {
			*f.to = binary.BigEndian.Uint32(b[at:])
		}
		at += f.size
	}
	return w.byID(id), d
}

// trun adds a run: what a sample doesn't say itself is the default.
func (w *walker) trun(t *track, d defaults, p []byte) error {
	if len(p) < 8 {
		return errShort
	}
	if t == nil {
		return errors.New("run of an unknown track")
	}
	flags, n := binary.BigEndian.Uint32(p)&0xffffff, uint64(binary.BigEndian.Uint32(p[4:]))
	at := 8
	if flags&0x1 != 0 {
		at += 4
	}
	firstFlags, hasFirst := uint32(0), flags&0x4 != 0
	if hasFirst {
		if at+4 > len(p) {
			return errShort
		}
		firstFlags = binary.BigEndian.Uint32(p[at:])
		at += 4
	}
	stride := 0
	for _, f := range []uint32{0x100, 0x200, 0x400, 0x800} {
		if flags&f != 0 {
			stride += 4
		}
	}
	if at > len(p) {
		return errShort
	}
	p = p[at:]
	if stride > 0 {
		n = min(n, uint64(len(p))/uint64(stride))
	}
	pictures := t.Handler == "vide"
	if !pictures && flags&0x100 == 0 || n > maxFrames { // nothing in it to be looked at one by one
		t.fragN, t.fragDur = t.fragN+n, t.fragDur+n*uint64(d.duration)
		t.fragAt += n * uint64(d.duration)
		return nil
	}
	for i := range n {
		duration, sync, offset := d.duration, d.flags, int64(0)
		e := p
		next := func() uint32 { v := binary.BigEndian.Uint32(e); e = e[4:]; return v }
		if flags&0x100 != 0 {
			duration = next()
		}
		if flags&0x200 != 0 {
			next()
		}
		if flags&0x400 != 0 {
			sync = next()
		} else if i == 0 && hasFirst {
			sync = firstFlags
		}
		if flags&0x800 != 0 {
			offset = int64(int32(next()))
		}
		p = p[stride:]
		if pictures && len(t.fragFrames) < maxFrames && t.fragAt < 1<<60 {
			t.fragFrames = append(t.fragFrames, packed(int64(t.fragAt)+offset, sync&0x10000 == 0))
		}
		t.fragN++
		t.fragDur += uint64(duration)
		t.fragAt += uint64(duration)
	}
	return nil
}
