package media

import (
	"bytes"
	"strconv"
	"strings"
	"time"
)

// maxLine is the longest line of a text of positions; an NMEA sentence has 82 characters.
const maxLine = 1024

// text reads positions line by line: NMEA sentences with anything before them, GPX track points, and rows of 70mai's CSV. A line that
// isn't understood is passed over.
func (d *gpsDecoder) text(b gpsBlock, p []byte) {
	if bytes.HasPrefix(p, []byte("$V0")) {
		d.Source = "csv"
		d.csv(p)
		return
	}
	if bytes.Contains(p[:min(len(p), 4096)], []byte("<gpx")) {
		d.Source = "gpx"
		d.gpx(p)
		return
	}
	d.sentences(b, p)
}

// sentences reads RMC, and GGA where there is no RMC. The place in the recording is the time since the first fix.
func (d *gpsDecoder) sentences(b gpsBlock, p []byte) {
	onlyGGA := !bytes.Contains(p, []byte("RMC,"))
	var first time.Time
	n := int64(0)
	for len(p) > 0 {
		var line []byte
		line, p, _ = bytes.Cut(p, []byte{'\n'})
		if len(line) > maxLine {
			continue
		}
		s := string(line)
		for _, kind := range []string{"RMC,", "GGA,"} { // whatever stands before: $, a time in brackets, nothing
			if i := strings.Index(s, kind); i >= 2 {
				s = s[i-2:]
				break
			}
		}
		s = strings.TrimRight(s, "\r\x00 ")
		pt, ok := sentence(s, onlyGGA)
		if !ok {
			continue
		}
		pt.AtMs = b.AtMs + n*1000
		if n++; pt.Time != nil {
			if first.IsZero() {
				first = *pt.Time
			}
			if since := pt.Time.Sub(first); since >= 0 && since < 48*time.Hour {
				pt.AtMs = b.AtMs + since.Milliseconds()
			}
		}
		if d.add(pt); !sumRight(s) {
			d.BadSums++
		}
	}
}

// sumRight checks a sentence's checksum, where it has one. A wrong one is told, not a reason to throw the fix away: recorders write
// them wrongly, and a garbled position doesn't lie near its neighbours.
func sumRight(s string) bool {
	body, sum, found := strings.Cut(s, "*")
	if !found {
		return true
	}
	want, err := strconv.ParseUint(sum[:min(len(sum), 2)], 16, 8)
	got := byte(0)
	for i := range len(body) {
		got ^= body[i]
	}
	return err == nil && byte(want) == got
}

// sentence reads one NMEA 0183 sentence without its $. An invalid fix and other sentences give ok = false.
func sentence(s string, gga bool) (p Point, ok bool) {
	s, _, _ = strings.Cut(s, "*")
	f := strings.Split(s, ",")
	if len(f[0]) != 5 {
		return p, false
	}
	switch {
	case f[0][2:] == "RMC" && len(f) >= 10 && f[2] == "A":
		lat, ok1 := coordinate(f[3], f[4])
		lon, ok2 := coordinate(f[5], f[6])
		if !ok1 || !ok2 {
			return p, false
		}
		p.Lat, p.Lon = lat, lon
		if v, err := strconv.ParseFloat(f[7], 64); err == nil {
			p.Speed = new(v * knots)
		}
		if t, err := time.Parse("020106150405", f[9]+f[1][:min(len(f[1]), 6)]); err == nil {
			p.Time = &t
		}
		return p, true
	case gga && f[0][2:] == "GGA" && len(f) >= 7 && f[6] != "0" && f[6] != "":
		lat, ok1 := coordinate(f[2], f[3])
		lon, ok2 := coordinate(f[4], f[5])
		p.Lat, p.Lon = lat, lon
		return p, ok1 && ok2
	}
	return p, false
}

func coordinate(v, letter string) (float64, bool) {
	x, err := strconv.ParseFloat(v, 64)
	if err != nil || len(letter) != 1 || x < 0 || x > 18_000 {
		return 0, false
	}
	return signed(degrees(x), letter[0])
}

// csv reads 70mai's rows: Unix seconds, A or V, degrees, course, cm/s, acceleration, the file's name. Their clock is eight hours slow.
func (d *gpsDecoder) csv(p []byte) {
	var first time.Time
	n := int64(0)
	for len(p) > 0 {
		var line []byte
		line, p, _ = bytes.Cut(p, []byte{'\n'})
		f := strings.Split(string(line[:min(len(line), maxLine)]), ",")
		if len(f) < 6 || f[1] != "A" {
			continue
		}
		s, err0 := strconv.ParseInt(f[0], 10, 64)
		lat, err1 := strconv.ParseFloat(f[2], 64)
		lon, err2 := strconv.ParseFloat(f[3], 64)
		v, err3 := strconv.ParseFloat(f[5], 64)
		if err0 != nil || err1 != nil || err2 != nil || err3 != nil {
			continue
		}
		pt := Point{AtMs: n * 1000, Lat: lat, Lon: lon, Speed: new(v / 100 * 3.6)}
		n++
		if s > 1_262_304_000 && s < 4e9 { // before 2010 its clock wasn't set yet
			pt.Time = new(time.Unix(s+8*3600, 0).UTC())
			if first.IsZero() {
				first = *pt.Time
			}
			if since := pt.Time.Sub(first); since >= 0 && since < 48*time.Hour {
				pt.AtMs = since.Milliseconds()
			}
		}
		d.add(pt)
	}
}

// gpx reads track points by their attributes and the time that follows; it is no XML parser, so that nothing can nest or expand.
func (d *gpsDecoder) gpx(p []byte) {
	var first time.Time
	for n := int64(0); ; n++ {
		i := bytes.Index(p, []byte("<trkpt"))
		if i < 0 {
			return
		}
		p = p[i+6:]
		end := bytes.Index(p, []byte("<trkpt"))
		if end < 0 {
			end = len(p)
		}
		one := string(p[:min(end, maxLine)])
		lat, err1 := strconv.ParseFloat(between(one, `lat="`, `"`), 64)
		lon, err2 := strconv.ParseFloat(between(one, `lon="`, `"`), 64)
		if err1 != nil || err2 != nil {
			continue
		}
		pt := Point{AtMs: n * 1000, Lat: lat, Lon: lon}
		if t, err := time.Parse(time.RFC3339, between(one, "<time>", "</time>")); err == nil {
			pt.Time = new(t.UTC())
			if first.IsZero() {
				first = t
			}
			if since := t.Sub(first); since >= 0 && since < 48*time.Hour {
				pt.AtMs = since.Milliseconds()
			}
		}
		d.add(pt)
	}
}

func between(s, from, to string) string {
	_, s, _ = strings.Cut(s, from)
	s, _, found := strings.Cut(s, to)
	if !found {
		return ""
	}
	return s
}
