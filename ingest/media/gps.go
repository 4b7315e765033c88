package media

import (
	"bytes"
	"encoding/binary"
	"math"
	"time"
)

var le = binary.LittleEndian

func f32(b []byte) float64 { return float64(math.Float32frombits(le.Uint32(b))) }
func f64(b []byte) float64 { return math.Float64frombits(le.Uint64(b)) }

// degrees reads NMEA's DDDMM.MMMM as a number.
func degrees(v float64) float64 {
	d := math.Trunc(v / 100)
	return d + (v-d*100)/60
}

// signed applies a hemisphere's letter; ok is false for any other.
func signed(v float64, letter byte) (float64, bool) {
	switch letter {
	case 'N', 'E':
		return v, true
	case 'S', 'W':
		return -v, true
	}
	return 0, false
}

const knots = 1.852

// moment is a receiver's calendar time, nil when it isn't one. Many recorders write local time here; it is recorded as they claim it.
func moment(year, month, day, hour, minute, second uint32) *time.Time {
	if year < 100 {
		year += 2000
	}
	if year > 2100 || month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 60 {
		return nil
	}
	return new(time.Date(int(year), time.Month(month), int(day), int(hour), int(minute), int(second), 0, time.UTC))
}

// novatek reads the record of Novatek's firmware, 44 bytes: hour … day as six numbers, A or V, hemispheres, then latitude, longitude,
// knots and course as floats. It is found in freeGPS blocks and in transport streams.
func (t *tracker) novatek(r []byte, atMs int64) bool {
	if len(r) < 44 || r[24] != 'A' && r[24] != 'V' || r[27] != 0 {
		return false
	}
	if r[24] == 'V' {
		return true
	}
	lat, ok1 := signed(degrees(f32(r[28:])), r[25])
	lon, ok2 := signed(degrees(f32(r[32:])), r[26])
	if !ok1 || !ok2 {
		return false
	}
	at := moment(le.Uint32(r[12:]), le.Uint32(r[16:]), le.Uint32(r[20:]), le.Uint32(r), le.Uint32(r[4:]), le.Uint32(r[8:]))
	t.add(Point{AtMs: atMs, Time: at, Lat: lat, Lon: lon, Speed: new(f32(r[36:]) * knots)})
	return true
}

// freeGPS reads a block that begins with "freeGPS ", with or without the four bytes of length that often precede it. The known records
// lie at few places and are told by their letters; encrypted ones aren't read.
func (d *gpsDecoder) freeGPS(b gpsBlock, p []byte) {
	i := bytes.Index(p[:min(len(p), 32)], []byte("freeGPS "))
	if i < 0 {
		return
	}
	p = p[i:]
	if len(p) >= 43 && le.Uint16(p[8:]) == le.Uint16(p[14:]) && le.Uint16(p[8:]) != 0 && (p[26] == 'A' || p[26] == 'V') { // 70mai
		if p[26] == 'A' {
			d.add(Point{AtMs: b.AtMs, Lat: float64(int32(le.Uint32(p[27:]))) / 1e7, Lon: float64(int32(le.Uint32(p[31:]))) / 1e7})
		}
		return
	}
	if len(p) >= 0x78 && p[0x38] == 'A' && le.Uint32(p[0x38:]) == 'A' && p[0x45] == 0 && p[0x55] == 0 { // the record in doubles
		lat, ok1 := signed(degrees(f64(p[0x3c:])), p[0x44])
		lon, ok2 := signed(degrees(f64(p[0x4c:])), p[0x54])
		if ok1 && ok2 {
			at := moment(le.Uint32(p[0x6c:]), le.Uint32(p[0x70:]), le.Uint32(p[0x74:min(len(p), 0x78)]), le.Uint32(p[0x2c:]), le.Uint32(p[0x30:]), le.Uint32(p[0x34:]))
			d.add(Point{AtMs: b.AtMs, Time: at, Lat: lat, Lon: lon, Speed: new(f64(p[0x5c:]) * knots)})
			return
		}
	}
	for _, at := range []int{44, 12, 16, 60} {
		if len(p) < at+44 {
			continue
		}
		if bytes.HasPrefix(p[12:], []byte("IQS")) && at == 44 && p[68] == 'A' { // the same record with degrees × 10⁷ and cm/s
			lat, ok1 := signed(math.Abs(float64(int32(le.Uint32(p[72:])))/1e7), p[69])
			lon, ok2 := signed(math.Abs(float64(int32(le.Uint32(p[76:])))/1e7), p[70])
			if ok1 && ok2 {
				d.add(Point{AtMs: b.AtMs, Time: moment(le.Uint32(p[56:]), le.Uint32(p[60:]), le.Uint32(p[64:]), le.Uint32(p[44:]), le.Uint32(p[48:]), le.Uint32(p[52:])),
					Lat: lat, Lon: lon, Speed: new(float64(int32(le.Uint32(p[80:]))) / 100 * 3.6)})
				return
			}
		}
		if d.novatek(p[at:], b.AtMs) {
			return
		}
	}
	if j := bytes.Index(p, []byte("RMC,")); j >= 3 { // sentences in a block
		d.sentences(b, p[max(j-3, 0):min(len(p), j+200)])
	}
}

// records calls f for each record of n bytes, at its share of the block's time.
func records(b gpsBlock, p []byte, n int, f func(r []byte, atMs int64)) {
	for i, count := 0, len(p)/n; i < count; i++ {
		f(p[i*n:(i+1)*n], b.AtMs+b.Span*int64(i)/int64(count))
	}
}

// ssmd reads SigmaStar's metadata records, 40 bytes: degrees as doubles, km/h, day and time without a month. Without a fix both
// coordinates are 2³²−1.
func (d *gpsDecoder) ssmd(b gpsBlock, p []byte) {
	records(b, p, 40, func(r []byte, at int64) {
		if lat := f64(r); le.Uint16(r[22:])&0x100 != 0 && lat <= 90 {
			d.add(Point{AtMs: at, Lat: lat, Lon: f64(r[8:]), Speed: new(float64(le.Uint16(r[20:])))})
		}
	})
}

// txet reads records of 72 bytes: hemispheres at 52 (1 is north, east), km/h, DDMM.MMMM, and a clock of whole seconds.
func (d *gpsDecoder) txet(b gpsBlock, p []byte) {
	records(b, p, 72, func(r []byte, at int64) {
		lat, lon := degrees(f32(r[60:])), degrees(f32(r[64:]))
		if lat == 0 && lon == 0 {
			return // before the first fix, and the last record
		}
		if r[52] == 0 {
			lat = -lat
		}
		if r[53] == 0 {
			lon = -lon
		}
		d.add(Point{AtMs: at, Time: new(time.Unix(int64(le.Uint32(r[68:])), 0).UTC()), Lat: lat, Lon: lon, Speed: new(f32(r[56:]))})
	})
}

// camm reads Android's camera motion metadata: type 5 is latitude, longitude, altitude as doubles, type 6 a whole GPS message.
func (d *gpsDecoder) camm(b gpsBlock, p []byte) {
	if len(p) < 4 {
		return
	}
	switch le.Uint16(p[2:]) {
	case 5:
		if len(p) >= 28 {
			d.add(Point{AtMs: b.AtMs, Lat: f64(p[4:]), Lon: f64(p[12:])})
		}
	case 6: // seconds since 1980, fix type, position, altitude and accuracies, velocity east and north
		if len(p) < 60 || le.Uint32(p[12:]) < 2 {
			return
		}
		v := math.Hypot(f32(p[44:]), f32(p[48:])) * 3.6
		var at *time.Time
		if s := f64(p[4:]); s > 0 && s < 4e9 {
			at = new(time.Unix(315964800+int64(s), 0).UTC())
		}
		d.add(Point{AtMs: b.AtMs, Time: at, Lat: f64(p[16:]), Lon: f64(p[24:]), Speed: &v})
	}
}

// box reads the older 70mai box "GPS ": records of 36 bytes with the second of the recording, m/h, and degrees as DDMM.mmm × 1000.
func (d *gpsDecoder) box(p []byte) {
	packed := func(b []byte) float64 { v := le.Uint32(b); return float64(v/100_000) + float64(v%100_000)/1000/60 }
	records(gpsBlock{}, p, 36, func(r []byte, _ int64) {
		lat, ok1 := signed(packed(r[17:]), r[16])
		lon, ok2 := signed(packed(r[22:]), r[21])
		if le.Uint32(r[4:]) == 1 && ok1 && ok2 {
			d.add(Point{AtMs: int64(le.Uint32(r[8:])) * 1000, Lat: lat, Lon: lon, Speed: new(float64(le.Uint32(r[12:])) / 1000)})
		}
	})
}

// gpmf reads GoPro's KLV: a four-character key, a type, size and number of elements, padded to four bytes; type 0 nests. GPS5 holds
// latitude, longitude, altitude and two speeds, GPS9 time and fix as well, each to be divided by SCAL.
func (d *gpsDecoder) gpmf(b gpsBlock, p []byte) { d.klv(b, p, 0) }

func (d *gpsDecoder) klv(b gpsBlock, p []byte, depth int) {
	var scale []float64
	fix := uint32(3)
	for len(p) >= 8 {
		typ, size := p[4], int(p[5])
		n := size * int(binary.BigEndian.Uint16(p[6:]))
		padded := (n + 3) &^ 3
		if padded > len(p)-8 {
			return
		}
		key, v := string(p[:4]), p[8:8+n]
		switch {
		case typ == 0 && depth < 4:
			d.klv(b, v, depth+1)
		case key == "SCAL" && (typ == 'l' || typ == 's'):
			scale = scale[:0]
			for i := 0; i+size <= n && size >= 2 && len(scale) < 16; i += size {
				if typ == 's' {
					scale = append(scale, float64(int16(binary.BigEndian.Uint16(v[i:]))))
				} else if size >= 4 {
					scale = append(scale, float64(int32(binary.BigEndian.Uint32(v[i:]))))
				}
			}
		case key == "GPSF" && n >= 4:
			fix = binary.BigEndian.Uint32(v)
		case key == "GPSU" && n >= 12:
			if at, err := time.Parse("060102150405", string(v[:12])); err == nil {
				d.date = at
			}
		case key == "GPS5" && typ == 'l' && size == 20 && len(scale) == 5 && fix >= 2:
			d.gps5(b, v, scale)
		case key == "GPS9" && size == 32 && len(scale) == 9:
			d.gps9(b, v, scale)
		case key == "GPRI" && size == 30:
			d.gpri(b, v)
		}
		p = p[8+padded:]
	}
}

func (d *gpsDecoder) gps5(b gpsBlock, v []byte, scale []float64) {
	i, n := 0, int64(len(v)/20)
	records(b, v, 20, func(r []byte, at int64) {
		x := func(k int) float64 { return float64(int32(binary.BigEndian.Uint32(r[4*k:]))) / scale[k] }
		p := Point{AtMs: at, Lat: x(0), Lon: x(1), Speed: new(x(3) * 3.6)}
		if !d.date.IsZero() {
			p.Time = new(d.date.Add(time.Duration(b.Span*int64(i)/n) * time.Millisecond))
		}
		d.add(p)
		i++
	})
}

// gpri reads the receiver of GoPro's drone: microseconds, degrees × 10⁷, altitude, accuracies, cm/s, course, kind of fix.
func (d *gpsDecoder) gpri(b gpsBlock, v []byte) {
	records(b, v, 30, func(r []byte, at int64) {
		x := func(at int) float64 { return float64(int32(binary.BigEndian.Uint32(r[at:]))) / 1e7 }
		if r[28] >= 2 {
			d.add(Point{AtMs: at, Lat: x(8), Lon: x(12), Speed: new(float64(binary.BigEndian.Uint16(r[24:])) / 100 * 3.6)})
		}
	})
}

func (d *gpsDecoder) gps9(b gpsBlock, v []byte, scale []float64) {
	records(b, v, 32, func(r []byte, at int64) {
		x := func(k int) float64 { return float64(int32(binary.BigEndian.Uint32(r[4*k:]))) / scale[k] }
		if binary.BigEndian.Uint16(r[30:]) < 2 {
			return
		}
		p := Point{AtMs: at, Lat: x(0), Lon: x(1), Speed: new(x(3) * 3.6)}
		if days, s := x(5), x(6); days > 0 && days < 40_000 && s >= 0 && s < 86_401 {
			p.Time = new(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).AddDate(0, 0, int(days)).Add(time.Duration(s * float64(time.Second))))
		}
		d.add(p)
	})
}
