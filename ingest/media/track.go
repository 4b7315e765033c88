package media

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// Bounds of a track: what is kept of it, and what is read for it.
const (
	maxPoints    = 5000
	maxGPSReads  = 2048     // ranges of the file, thinned evenly
	maxGPSBlock  = 1 << 20  // one of them
	maxGPSBytes  = 16 << 20 // all of them
	maxStream    = 64 << 20 // of a transport stream, which has no index of its positions
	maxText      = 8 << 20  // of a sidecar
	fastest      = 540.0    // km/h; what moved faster between two fixes was a bad fix
	settledAfter = 5        // so many fixes that agree with one another refute the one before
)

// Point is one fix. AtMs is its place in the recording (in a sidecar: since its first fix), Time what the receiver said.
type Point struct {
	AtMs  int64      `json:"at_ms"`
	Time  *time.Time `json:"time,omitempty"`
	Lat   float64    `json:"lat"`
	Lon   float64    `json:"lon"`
	Speed *float64   `json:"speed,omitempty"` // km/h
}

// Track is where a recorder claims to have been, thinned to maxPoints.
type Track struct {
	Source  string  `json:"source"` // gpmf, freegps, ssmd, txet, camm, nmea, csv, gpx, mpeg-ts
	Points  []Point `json:"points"`
	Fixes   int     `json:"fixes"`              // before thinning
	Dropped int     `json:"dropped,omitempty"`  // off the Earth, at 0,0, or too far from their neighbours
	BadSums int     `json:"bad_sums,omitempty"` // fixes whose checksum is wrong
	Partial bool    `json:"partial,omitempty"`  // only the beginning was read
}

// tracker collects fixes in bounded memory: implausible ones are dropped, and when there are twice too many every second goes.
type tracker struct {
	Track
	stride, skip int
	last         *Point
	suspects     []Point
}

func (t *tracker) add(p Point) {
	if t.Fixes+t.Dropped > 50_000_000 {
		return
	}
	pl := place(p.Lat, p.Lon)
	if pl == nil || math.IsNaN(p.Lat) || math.IsNaN(p.Lon) || math.Abs(p.Lat) < 0.001 && math.Abs(p.Lon) < 0.001 {
		t.Dropped++
		return
	}
	p.Lat, p.Lon = pl.Lat, pl.Lon
	if p.Speed != nil && (math.IsNaN(*p.Speed) || *p.Speed < 0 || *p.Speed > fastest) {
		p.Speed = nil
	} else if p.Speed != nil {
		p.Speed = new(math.Round(*p.Speed*10) / 10)
	}
	if p.Time != nil && (p.Time.Year() < 1990 || p.Time.Year() > 2100) {
		p.Time = nil
	}
	if t.last != nil && !reachable(*t.last, p) {
		if n := len(t.suspects); n > 0 && !reachable(t.suspects[n-1], p) {
			t.Dropped += n
			t.suspects = t.suspects[:0]
		}
		if t.suspects = append(t.suspects, p); len(t.suspects) < settledAfter {
			return
		}
		if t.Fixes < settledAfter { // the first fixes of a cold start were the bad ones
			t.Dropped, t.Fixes, t.Points = t.Dropped+t.Fixes, 0, t.Points[:0]
		}
		all := t.suspects
		t.suspects = nil
		for _, s := range all {
			t.keep(s)
		}
		return
	}
	t.Dropped += len(t.suspects)
	t.suspects = t.suspects[:0]
	t.keep(p)
}

func (t *tracker) keep(p Point) {
	t.last = &p
	t.Fixes++
	if t.stride = max(t.stride, 1); t.skip > 0 {
		t.skip--
		return
	}
	t.skip = t.stride - 1
	if t.Points = append(t.Points, p); len(t.Points) < 2*maxPoints {
		return
	}
	for i := range maxPoints {
		t.Points[i] = t.Points[2*i]
	}
	t.Points, t.stride = t.Points[:maxPoints], t.stride*2 // the skip begun with the old stride leads to the next that counts
}

// done gives the track, nil if there was no fix at all. The last fix is always in it.
func (t *tracker) done() *Track {
	t.Dropped += len(t.suspects)
	if t.Fixes == 0 && t.Dropped == 0 {
		return nil
	}
	if n := len(t.Points); n > maxPoints {
		for i := range n / 2 {
			t.Points[i] = t.Points[2*i]
		}
		t.Points = t.Points[:n/2]
	}
	if n := len(t.Points); n > 0 && *t.last != t.Points[n-1] {
		t.Points = append(t.Points[:min(n, maxPoints-1)], *t.last)
	}
	return &t.Track
}

// reachable tells whether one could have come from a to b. Fixes without a usable time apart count as a second apart.
func reachable(a, b Point) bool {
	seconds := math.Abs(float64(b.AtMs-a.AtMs)) / 1000
	if a.Time != nil && b.Time != nil {
		seconds = math.Abs(b.Time.Sub(*a.Time).Seconds())
	}
	return kilometres(a, b) <= fastest*max(seconds, 1)/3600
}

// kilometres is the great-circle distance.
func kilometres(a, b Point) float64 {
	rad := math.Pi / 180
	dlat, dlon := (b.Lat-a.Lat)*rad, (b.Lon-a.Lon)*rad
	h := math.Pow(math.Sin(dlat/2), 2) + math.Cos(a.Lat*rad)*math.Cos(b.Lat*rad)*math.Pow(math.Sin(dlon/2), 2)
	return 2 * 6371 * math.Asin(math.Min(1, math.Sqrt(h)))
}

// gpsRange is bytes of the file that hold positions, and when in the recording.
type gpsRange struct {
	Kind  byte `json:"k"`
	Off   int64
	Size  int64
	AtMs  int64 `json:",omitempty"`
	SpanN int64 `json:",omitempty"` // ms until the next
}

// Kinds of blocks.
const (
	kindGPMF    = 'g'
	kindFreeGPS = 'f'
	kindSSMD    = 's'
	kindTXET    = 'x'
	kindCAMM    = 'c'
	kindBox     = 'b'
	kindText    = 't'
	kindStream  = 'p' // packets of Span bytes, the sync byte at At
	kindProgram = 'm'
)

var gpsNames = map[byte]string{kindGPMF: "gpmf", kindFreeGPS: "freegps", kindSSMD: "ssmd", kindTXET: "txet", kindCAMM: "camm", kindBox: "gps-box",
	kindText: "nmea", kindStream: "mpeg-ts"}

// gpsBlock is a gpsRange's head on the child's input; Size bytes follow.
type gpsBlock struct {
	Kind           byte
	AtMs, Span, At int64
	Size           uint32
}

const gpsHead = 29

func (b gpsBlock) head() []byte {
	h := make([]byte, 0, gpsHead)
	h = append(h, b.Kind)
	for _, v := range []int64{b.AtMs, b.Span, b.At} {
		h = binary.BigEndian.AppendUint64(h, uint64(v))
	}
	return binary.BigEndian.AppendUint32(h, b.Size)
}

// trackAnswer is the child's work with "track": blocks in, a track out.
func trackAnswer(in io.Reader, out io.Writer) error {
	r := bufio.NewReaderSize(in, 64<<10)
	var d gpsDecoder
	for total := int64(0); ; {
		var h [gpsHead]byte
		if _, err := io.ReadFull(r, h[:]); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("read block: %w", err)
		}
		b := gpsBlock{Kind: h[0], AtMs: int64(binary.BigEndian.Uint64(h[1:])), Span: int64(binary.BigEndian.Uint64(h[9:])),
			At: int64(binary.BigEndian.Uint64(h[17:])), Size: binary.BigEndian.Uint32(h[25:])}
		if total += int64(b.Size); b.Size > maxText || total > maxStream+maxText {
			return fmt.Errorf("block of %d bytes", b.Size)
		}
		data := make([]byte, b.Size)
		if _, err := io.ReadFull(r, data); err != nil {
			return fmt.Errorf("read block: %w", err)
		}
		d.block(b, data)
	}
	return json.NewEncoder(out).Encode(d.answer())
}

// gpsDecoder turns blocks into fixes. Bytes may do what they like.
type gpsDecoder struct {
	tracker
	ts   tsPositions
	ps   *streamFacts
	date time.Time // of the latest GPMF GPSU
}

func (d *gpsDecoder) block(b gpsBlock, data []byte) {
	if d.Source == "" {
		d.Source = gpsNames[b.Kind]
	}
	switch b.Kind {
	case kindGPMF:
		d.gpmf(b, data)
	case kindFreeGPS:
		d.freeGPS(b, data)
	case kindSSMD:
		d.ssmd(b, data)
	case kindTXET:
		d.txet(b, data)
	case kindCAMM:
		d.camm(b, data)
	case kindBox:
		d.box(data)
	case kindText:
		d.text(b, data)
	case kindStream:
		d.ts.feed(data, int(b.At), int(b.Span), func(rec []byte, atMs int64) { d.novatek(rec, atMs) })
	case kindProgram:
		if d.ps == nil {
			d.ps = &streamFacts{FirstPTS: -1}
		}
		d.ps.program(data)
	}
}

// decoded is the child's answer with "track".
type decoded struct {
	Track  *Track
	Stream *streamFacts
}

func (d *gpsDecoder) answer() decoded {
	a := decoded{Track: d.done(), Stream: d.ps}
	if d.ts.seen {
		a.Stream = &d.ts.streamFacts
	}
	return a
}
