package media

import (
	"encoding/binary"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// children calls f for each box in p until one doesn't fit.
func children(p []byte, f func(typ string, payload []byte)) {
	for n := 0; len(p) >= 8 && n < 1000; n++ {
		size := uint64(binary.BigEndian.Uint32(p))
		if size < 8 || size > uint64(len(p)) {
			return
		}
		f(string(p[4:8]), p[8:size])
		p = p[size:]
	}
}

// userData reads positions and the device's name out of udta; texts longer than a page are somebody's joke.
func (w *walker) userData(p []byte) error {
	children(p, func(typ string, b []byte) {
		switch typ {
		case "\xa9xyz":
			w.position(parseISO6709(quickTimeText(b)), "©xyz")
		case "loci":
			w.position(parseLoci(b), "loci")
		case "\xa9mak", "manu":
			w.name(&w.in.Make, quickTimeText(b))
		case "\xa9mod", "modl":
			w.name(&w.in.Model, quickTimeText(b))
		case "meta":
			_ = w.meta(b) // nothing but absent texts
		}
	})
	return nil
}

func (w *walker) position(p *Position, source string) {
	if p == nil || w.in.Position != nil {
		return
	}
	p.Source = source
	w.in.Position = p
}

func (w *walker) name(to *string, v string) {
	v = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f || r == '\uFFFD' {
			return -1
		}
		return r
	}, strings.ToValidUTF8(v, "")))
	if *to == "" && len(v) <= 100 {
		*to = v
	}
}

// quickTimeText is a length, a language and the text; some writers leave the first two out.
func quickTimeText(b []byte) string {
	if len(b) >= 4 {
		if n := int(binary.BigEndian.Uint16(b)); n > 0 && n <= len(b)-4 {
			return string(b[4 : 4+n])
		}
	}
	return string(b[:min(len(b), 200)])
}

// parseLoci reads 3GPP TS 26.244 location information: language, name, role, then longitude, latitude, altitude as 16.16.
func parseLoci(b []byte) *Position {
	if len(b) < 6 {
		return nil
	}
	b = b[6:]
	name := strings.IndexByte(string(b[:min(len(b), 300)]), 0)
	if name < 0 || len(b) < name+1+1+8 {
		return nil
	}
	b = b[name+2:]
	fixed := func(p []byte) float64 { return float64(int32(binary.BigEndian.Uint32(p))) / 65536 }
	return place(fixed(b[4:]), fixed(b))
}

var iso6709 = regexp.MustCompile(`^([+-]\d{2,3}(?:\.\d+)?)([+-]\d{3}(?:\.\d+)?)`)

// parseISO6709 reads the form of degrees, +32.2296+106.2893/.
func parseISO6709(s string) *Position {
	m := iso6709.FindStringSubmatch(strings.TrimSpace(s))
	if m == nil {
		return nil
	}
	lat, err1 := strconv.ParseFloat(m[1], 64)
	lon, err2 := strconv.ParseFloat(m[2], 64)
	if err1 != nil || err2 != nil {
		return nil
	}
	return place(lat, lon)
}

// place refuses what isn't on Earth, and 0,0: that is how receivers without a fix write it.
func place(lat, lon float64) *Position {
	if math.Abs(lat) > 90 || math.Abs(lon) > 180 || lat == 0 && lon == 0 {
		return nil
	}
	return &Position{Lat: math.Round(lat*1e5)/1e5 + 0, Lon: math.Round(lon*1e5)/1e5 + 0} // no −0
}

// meta reads Apple's keys and ilst: location, maker, model. The box has a version in MP4 and none in QuickTime.
func (w *walker) meta(p []byte) error {
	if len(p) >= 8 && string(p[4:8]) != "hdlr" && binary.BigEndian.Uint32(p) == 0 {
		p = p[4:]
	}
	var keys []string
	children(p, func(typ string, b []byte) {
		switch typ {
		case "keys":
			if len(b) >= 8 {
				children(b[8:], func(_ string, k []byte) { keys = append(keys, string(k[:min(len(k), 100)])) })
			}
		case "ilst":
			w.items(keys, b)
		}
	})
	return nil
}

func (w *walker) items(keys []string, ilst []byte) {
	children(ilst, func(typ string, b []byte) {
		key := typ
		if n := binary.BigEndian.Uint32([]byte(typ)); n >= 1 && int64(n) <= int64(len(keys)) {
			key = keys[n-1]
		}
		children(b, func(t string, d []byte) {
			if t != "data" || len(d) < 8 || len(d) > 300 {
				return
			}
			v := string(d[8:])
			switch key {
			case "com.apple.quicktime.location.ISO6709", "location", "\xa9xyz":
				w.position(parseISO6709(v), "iso6709")
			case "com.apple.quicktime.make":
				w.name(&w.in.Make, v)
			case "com.apple.quicktime.model":
				w.name(&w.in.Model, v)
			}
		})
	})
}
