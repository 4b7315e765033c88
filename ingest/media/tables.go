package media

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
)

var errShort = errors.New("box too short")

// sampleTable is where a track's samples lie. The tables stay the file's bytes; nothing is expanded, since a count of 4 billion
// costs an attacker four bytes.
type sampleTable struct {
	fixed   uint32 // size of each sample, 0 when size has one entry a sample
	count   uint64
	size    []byte
	width   int    // bytes an entry of size
	stsc    []byte // first chunk, samples a chunk, description: 12 bytes each
	off     []byte
	offWide bool
}

func (s *sampleTable) sizes(p []byte, compact bool) error {
	if len(p) < 12 {
		return errShort
	}
	s.count = uint64(binary.BigEndian.Uint32(p[8:]))
	if compact {
		switch p[7] {
		case 8:
			s.width = 1
		case 16:
			s.width = 2
		default:
			s.count = 0
			return errors.New("compact sizes of 4 bits aren't read")
		}
		s.size = p[12:]
	} else {
		s.fixed, s.width, s.size = binary.BigEndian.Uint32(p[4:]), 4, p[12:]
		if s.fixed > 0 {
			s.size = nil
			return nil
		}
	}
	if have := uint64(len(s.size) / s.width); s.count > have {
		s.count = have
		return errors.New("more samples than sizes")
	}
	return nil
}

func (s *sampleTable) chunks(p []byte) error {
	if len(p) < 8 {
		return errShort
	}
	n := min(uint64(binary.BigEndian.Uint32(p[4:])), uint64(len(p)-8)/12)
	s.stsc = p[8 : 8+n*12]
	return nil
}

func (s *sampleTable) offsets(p []byte, wide bool) error {
	if len(p) < 8 {
		return errShort
	}
	w := uint64(4)
	if wide {
		w = 8
	}
	n := min(uint64(binary.BigEndian.Uint32(p[4:])), uint64(len(p)-8)/w)
	s.off, s.offWide = p[8:8+n*w], wide
	return nil
}

func (s *sampleTable) sampleSize(i uint64) uint64 {
	switch {
	case s.fixed > 0:
		return uint64(s.fixed)
	case s.width == 1:
		return uint64(s.size[i])
	case s.width == 2:
		return uint64(binary.BigEndian.Uint16(s.size[i*2:]))
	}
	return uint64(binary.BigEndian.Uint32(s.size[i*4:]))
}

// end is the largest offset a sample reaches. It takes one step a chunk and, where sizes differ, one a sample; both are bounded by
// bytes that are really there.
func (s *sampleTable) end() int64 {
	chunks, sample := len(s.off)/4, uint64(0)
	if s.offWide {
		chunks = len(s.off) / 8
	}
	if s.count == 0 || len(s.stsc) == 0 {
		return 0
	}
	end, entry := uint64(0), 0
	for c := 0; c < chunks && sample < s.count; c++ {
		for entry+1 < len(s.stsc)/12 && uint64(binary.BigEndian.Uint32(s.stsc[(entry+1)*12:])) <= uint64(c)+1 {
			entry++
		}
		at := uint64(0)
		if s.offWide {
			at = binary.BigEndian.Uint64(s.off[c*8:])
		} else {
			at = uint64(binary.BigEndian.Uint32(s.off[c*4:]))
		}
		n := min(uint64(binary.BigEndian.Uint32(s.stsc[entry*12+4:])), s.count-sample)
		if at > math.MaxInt64/2 {
			return math.MaxInt64
		}
		if s.fixed > 0 {
			bytes := n * uint64(s.fixed) // both below 2^32
			if bytes > math.MaxInt64/2 {
				return math.MaxInt64
			}
			at += bytes
		} else {
			for i := range n {
				at += s.sampleSize(sample + i)
			}
		}
		sample += n
		end = max(end, min(at, math.MaxInt64))
	}
	return int64(end)
}

// measure takes over what the sample table says.
func (t *track) measure() {
	t.Samples = t.table.count
	t.End = t.table.end()
}

// walk calls f with number, place and size of each sample until f has had enough.
func (s *sampleTable) walk(f func(i, off, size uint64) bool) {
	w := 4
	if s.offWide {
		w = 8
	}
	sample, entry := uint64(0), 0
	for c := 0; c < len(s.off)/w && sample < s.count && len(s.stsc) > 0; c++ {
		for entry+1 < len(s.stsc)/12 && uint64(binary.BigEndian.Uint32(s.stsc[(entry+1)*12:])) <= uint64(c)+1 {
			entry++
		}
		at := uint64(0)
		if s.offWide {
			at = binary.BigEndian.Uint64(s.off[c*8:])
		} else {
			at = uint64(binary.BigEndian.Uint32(s.off[c*4:]))
		}
		for range min(uint64(binary.BigEndian.Uint32(s.stsc[entry*12+4:])), s.count-sample) {
			size := s.sampleSize(sample)
			if !f(sample, at, size) {
				return
			}
			at += size
			sample++
		}
	}
}

func (t *track) timeToSample(p []byte) error {
	if len(p) < 8 {
		return errShort
	}
	t.stts, _ = entries(p, 8)
	for b := t.stts; len(b) >= 8; b = b[8:] {
		count, delta := uint64(binary.BigEndian.Uint32(b)), uint64(binary.BigEndian.Uint32(b[4:]))
		if t.Stts > math.MaxInt64-count*delta {
			return errors.New("sample times overflow")
		}
		t.SttsCount += count
		t.Stts += count * delta
	}
	return nil
}

// codecs by sample entry. A name not listed is shown as it is.
var codecs = map[string]string{
	"avc1": "h264", "avc3": "h264", "hvc1": "hevc", "hev1": "hevc", "dvh1": "hevc", "dvhe": "hevc", "vp08": "vp8", "vp09": "vp9",
	"av01": "av1", "mp4v": "mpeg4", "s263": "h263", "jpeg": "mjpeg", "mjpa": "mjpeg", "mjpb": "mjpeg",
	"mp4a": "aac", ".mp3": "mp3", "Opus": "opus", "fLaC": "flac", "ac-3": "ac3", "ec-3": "eac3", "alac": "alac", "alaw": "pcm_alaw",
	"ulaw": "pcm_mulaw", "sowt": "pcm_s16le", "twos": "pcm_s16be", "in24": "pcm_s24", "in32": "pcm_s32", "lpcm": "pcm", "ipcm": "pcm",
	"raw ": "raw", "samr": "amr", "sawb": "amr_wb",
}

// sampleEntry reads the first sample description: the codec, the picture's size, and whether it is encrypted.
func (t *track) sampleEntry(p []byte) error {
	if len(p) < 24 {
		return errShort
	}
	e := p[8:]
	size := uint64(binary.BigEndian.Uint32(e))
	if size < 16 || size > uint64(len(e)) {
		return errors.New("sample entry outside its box")
	}
	e = e[:size]
	t.Format = string(e[4:8])
	if t.Format == "encv" || t.Format == "enca" {
		t.Encrypted = true
		if i := bytes.Index(e, []byte("frma")); i >= 0 && i+8 <= len(e) {
			t.Format = string(e[i+4 : i+8])
		}
	}
	t.Format = printable([]byte(t.Format))
	t.Codec = codecs[t.Format]
	if t.Codec == "" {
		t.Codec = t.Format
	}
	switch t.Handler {
	case "vide":
		if len(e) < 86 {
			return errShort
		}
		if w, h := int(binary.BigEndian.Uint16(e[32:])), int(binary.BigEndian.Uint16(e[34:])); w > 0 && h > 0 {
			t.Width, t.Height = w, h
		}
		if t.Codec == "h264" && !t.Encrypted {
			t.Odd = avcOddity(e[86:])
		}
	case "soun":
		if t.Format == "mp4a" {
			t.Codec = esdsCodec(e)
		}
	}
	return nil
}

// avcOddity looks for what makes browsers refuse H.264: no decoder configuration (streams copied in as Annex B), or a profile for
// studios.
func avcOddity(boxes []byte) string {
	for len(boxes) >= 8 {
		n := uint64(binary.BigEndian.Uint32(boxes))
		if n < 8 || n > uint64(len(boxes)) {
			break
		}
		if string(boxes[4:8]) == "avcC" {
			c := boxes[8:n]
			if len(c) < 7 || c[0] != 1 {
				return "H.264 参数不合规范（Annex B），浏览器不能直接播放"
			}
			switch c[1] {
			case 66, 77, 88, 100:
				return ""
			}
			return "H.264 的档次（profile）浏览器不支持"
		}
		boxes = boxes[n:]
	}
	return "缺少 H.264 解码参数，浏览器不能直接播放"
}

// esdsCodec tells AAC from MP3 by the object type in the esds descriptor.
func esdsCodec(e []byte) string {
	i := bytes.Index(e, []byte("esds"))
	for i >= 0 && i+12 < len(e) {
		// After version and flags come nested descriptors; 0x04 is the decoder's, its first byte the object type.
		d := e[i+8:]
		for j := 0; j+6 < len(d) && j < 40; j++ {
			if d[j] != 0x04 {
				continue
			}
			k := j + 1
			for k < len(d)-1 && d[k]&0x80 != 0 {
				k++
			}
			switch d[k+1] {
			case 0x40, 0x66, 0x67, 0x68:
				return "aac"
			case 0x69, 0x6b:
				return "mp3"
			case 0xa5:
				return "ac3"
			}
		}
		break
	}
	return "aac"
}
