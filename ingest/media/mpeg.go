package media

import (
	"bytes"
	"encoding/binary"
)

// streamFacts is what a transport or program stream says of itself.
type streamFacts struct {
	Video, Audio string
	FirstPTS     int64 // 90 kHz, -1 when there is none
	LastPTS      int64
	Videos       int
	InStep       bool // the end of the file is still in step with the packets
}

// elementary names stream types of ISO 13818-1 and what cameras made of them.
var elementary = map[byte]string{0x01: "mpeg1", 0x02: "mpeg2", 0x10: "mpeg4", 0x1b: "h264", 0x24: "hevc", 0x33: "vvc", 0x03: "mp2", 0x04: "mp2", 0x0f: "aac",
	0x11: "aac", 0x81: "ac3", 0x87: "eac3", 0x80: "h264", 0x90: "pcm_alaw", 0x91: "pcm_mulaw", 0x92: "g722", 0x99: "aac"}

func pictures(codec string) bool {
	switch codec {
	case "mpeg1", "mpeg2", "mpeg4", "h264", "hevc", "vvc":
		return true
	}
	return false
}

func (s *streamFacts) stream(typ byte) {
	switch c := elementary[typ]; {
	case c == "":
	case pictures(c):
		if s.Videos++; s.Video == "" {
			s.Video = c
		}
	case s.Audio == "":
		s.Audio = c
	}
}

// wrap is where the clock of 90 kHz begins anew, after 26 hours.
const wrap = 1 << 33

// pts takes a time of any of the streams; they are not in order.
func (s *streamFacts) pts(v int64) {
	switch d := (v - s.FirstPTS) & (wrap - 1); {
	case s.FirstPTS < 0:
		s.FirstPTS, s.LastPTS = v, v
	case d > wrap-30*90_000:
		s.FirstPTS = v // up to half a minute before what came first in the file
	case d > (s.LastPTS-s.FirstPTS)&(wrap-1):
		s.LastPTS = v
	}
}

// milliseconds is the time between the first and the last.
func (s *streamFacts) milliseconds() int64 {
	if s.FirstPTS < 0 {
		return 0
	}
	return (s.LastPTS - s.FirstPTS) & (wrap - 1) / 90
}

// pesTime reads the presentation time in a PES header that begins with its start code.
func pesTime(p []byte) (int64, bool) {
	if len(p) < 14 {
		return 0, false
	}
	at := 9
	if p[6]&0xc0 != 0x80 { // MPEG-1: stuffing, perhaps a buffer's size, then the time
		for at = 6; at < len(p) && at < 22 && p[at] == 0xff; at++ {
		}
		if at+2 < len(p) && p[at]&0xc0 == 0x40 {
			at += 2
		}
		if at+5 > len(p) || p[at]&0xe0 != 0x20 {
			return 0, false
		}
	} else if p[7]&0x80 == 0 {
		return 0, false
	}
	p = p[at:]
	return int64(p[0]>>1&7)<<30 | int64(p[1])<<22 | int64(p[2]>>1)<<15 | int64(p[3])<<7 | int64(p[4]>>1), true
}

// tsPositions reads a transport stream packet by packet: its programme, times, and the positions Novatek's firmware puts into a private
// stream that the programme doesn't mention.
type tsPositions struct {
	streamFacts
	seen    bool
	pmt     int
	pending []byte
	pid     int
}

// feed takes whole packets, each size bytes with the sync byte at first.
func (t *tsPositions) feed(data []byte, first, size int, f func(rec []byte, atMs int64)) {
	if !t.seen {
		t.seen, t.FirstPTS, t.pmt, t.pid = true, -1, -1, -1
	}
	t.InStep = false
	for ; first >= 0 && size >= first+188 && len(data) >= size; data = data[size:] {
		p := data[first : first+188]
		if t.InStep = p[0] == 0x47; !t.InStep {
			continue
		}
		start, pid := p[1]&0x40 != 0, int(p[1]&0x1f)<<8|int(p[2])
		body := p[4:]
		switch p[3] >> 4 & 3 {
		case 3:
			if n := int(body[0]); n+1 > len(body) {
				continue
			} else {
				body = body[n+1:]
			}
		case 1:
		default:
			continue
		}
		switch {
		case pid == 0 && start:
			t.programmes(body)
		case pid == t.pmt && start:
			t.programme(body)
		case start && len(body) >= 9 && bytes.HasPrefix(body, []byte{0, 0, 1, 0xbf}):
			t.pid, t.pending = pid, append(t.pending[:0], body[6:]...)
			t.position(f)
		case pid == t.pid && !start && len(t.pending) > 0:
			t.pending = append(t.pending, body...)
			t.position(f)
		case start && len(body) >= 9 && body[0] == 0 && body[1] == 0 && body[2] == 1:
			if v, ok := pesTime(body); ok && (body[3]&0xf0 == 0xe0 || body[3]&0xe0 == 0xc0 || body[3] == 0xbd || body[3] == 0xfd) {
				t.pts(v)
			}
		}
	}
}

// position looks for a record at its two places, once all of it is there.
func (t *tsPositions) position(f func([]byte, int64)) {
	for _, at := range []int{0, 164} {
		if len(t.pending) >= at+44 && t.pending[at+24] == 'A' && t.pending[at+27] == 0 {
			f(t.pending[at:at+44], t.milliseconds())
			t.pending = t.pending[:0]
			return
		}
	}
	if len(t.pending) >= 164+44 {
		t.pending = t.pending[:0]
	}
}

// section is a table's bytes behind its header, without the checksum; nil when it isn't whole.
func section(p []byte, table byte) []byte {
	if len(p) < 1 || len(p) < int(p[0])+4 {
		return nil
	}
	p = p[p[0]+1:]
	n := int(binary.BigEndian.Uint16(p[1:]) & 0xfff)
	if p[0] != table || n < 9 {
		return nil
	}
	p = p[3:min(len(p), 3+n)]
	if len(p) < 9 {
		return nil
	}
	return p[5 : len(p)-4]
}

func (t *tsPositions) programmes(p []byte) {
	for p = section(p, 0); len(p) >= 4 && t.pmt < 0; p = p[4:] {
		if binary.BigEndian.Uint16(p) != 0 {
			t.pmt = int(binary.BigEndian.Uint16(p[2:]) & 0x1fff)
		}
	}
}

func (t *tsPositions) programme(p []byte) {
	if t.Video != "" || t.Audio != "" {
		return
	}
	p = section(p, 2)
	if len(p) < 4 || len(p) < 4+int(binary.BigEndian.Uint16(p[2:])&0xfff) {
		return
	}
	for p = p[4+int(binary.BigEndian.Uint16(p[2:])&0xfff):]; len(p) >= 5; {
		t.stream(p[0])
		n := 5 + int(binary.BigEndian.Uint16(p[3:])&0xfff)
		if n > len(p) {
			return
		}
		p = p[n:]
	}
}

// program reads a part of a program stream: start codes anywhere in it, so that a vendor's header before them doesn't matter.
func (s *streamFacts) program(p []byte) {
	s.InStep = false
	mapped := s.Video != "" || s.Audio != ""
	for {
		i := bytes.Index(p, []byte{0, 0, 1})
		if i < 0 || i+4 > len(p) {
			return
		}
		p = p[i:]
		switch c := p[3]; {
		case c == 0xba:
			s.InStep = true
		case c == 0xbc && !mapped && len(p) >= 10:
			at := 10 + int(binary.BigEndian.Uint16(p[8:]))
			if at+2 > len(p) {
				break
			}
			es, end := p[at+2:], int(binary.BigEndian.Uint16(p[at:]))
			es = es[:min(len(es), end)]
			for len(es) >= 4 {
				s.stream(es[0])
				es = es[min(len(es), 4+int(binary.BigEndian.Uint16(es[2:]))):]
			}
			mapped = s.Video != "" || s.Audio != ""
		case c&0xf0 == 0xe0 || c&0xe0 == 0xc0:
			if v, ok := pesTime(p); ok {
				s.pts(v)
				if c&0xf0 == 0xe0 && s.Video == "" && len(p) > 9 {
					s.Video = guess(p[min(len(p), 9+int(p[8])):])
				}
			}
		}
		p = p[3:]
	}
}

// guess tells a video codec by its first start code; "" when it doesn't begin with one that is known.
func guess(p []byte) string {
	i := bytes.Index(p[:min(len(p), 16)], []byte{0, 0, 1})
	if i < 0 || i+4 > len(p) {
		return ""
	}
	switch c := p[i+3]; {
	case c == 0xb3:
		return "mpeg2"
	case c == 0xb0 || c == 0xb6:
		return "mpeg4"
	case c == 0x40 || c == 0x42 || c == 0x44 || c == 0x46:
		return "hevc"
	case c&0x1f == 7 || c&0x1f == 9:
		return "h264"
	}
	return ""
}
