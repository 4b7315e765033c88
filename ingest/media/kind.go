package media

import (
	"bytes"
	"io"
	"unicode/utf8"
)

// kind is what the first bytes say; names are only asked where bytes are silent.
type kind struct {
	container string
	mp4       bool
	media     bool   // sound or pictures that move
	zh        string // what to call it
	demuxer   string // ffmpeg's, for a poster; "" where there is none
}

var firstBoxes = map[string]bool{"ftyp": true, "moov": true, "mdat": true, "free": true, "skip": true, "wide": true, "pnot": true,
	"uuid": true, "styp": true, "moof": true, "sidx": true, "pdin": true, "meta": true, "junk": true, "PICT": true}

var magics = []struct {
	magic string
	at    int
	kind
}{
	{"\x1a\x45\xdf\xa3", 0, kind{container: "matroska", media: true, zh: "Matroska/WebM", demuxer: "matroska"}},
	{"AVI ", 8, kind{container: "avi", media: true, zh: "AVI", demuxer: "avi"}},
	{"WAVE", 8, kind{container: "wav", media: true, zh: "WAV 录音"}},
	{"IMKH", 0, kind{container: "mpeg-ps", media: true, zh: "海康封装的 MPEG-PS", demuxer: "mpeg"}},
	{"IMKV", 0, kind{container: "mpeg-ps", media: true, zh: "海康封装的 MPEG-PS", demuxer: "mpeg"}},
	{"DHAV", 0, kind{container: "dhav", media: true, zh: "大华封装（DHAV）", demuxer: "dhav"}},
	{"\x00\x00\x01\xba", 0, kind{container: "mpeg-ps", media: true, zh: "MPEG-PS", demuxer: "mpeg"}},
	{"FLV\x01", 0, kind{container: "flv", media: true, zh: "FLV", demuxer: "flv"}},
	{"OggS", 0, kind{container: "ogg", media: true, zh: "Ogg"}},
	{"fLaC", 0, kind{container: "flac", media: true, zh: "FLAC 录音"}},
	{"ID3", 0, kind{container: "mp3", media: true, zh: "MP3 录音"}},
	{"\xff\xfb", 0, kind{container: "mp3", media: true, zh: "MP3 录音"}},
	{"#!AMR", 0, kind{container: "amr", media: true, zh: "AMR 录音"}},
	{"\x30\x26\xb2\x75\x8e\x66\xcf\x11", 0, kind{container: "asf", media: true, zh: "ASF/WMV", demuxer: "asf"}},
	{"\x00\x00\x00\x01\x67", 0, kind{container: "h264", media: true, zh: "H.264 裸流", demuxer: "h264"}},
	{"\xff\xd8\xff", 0, kind{container: "jpeg", zh: "JPEG 照片"}},
	{"\x89PNG\r\n", 0, kind{container: "png", zh: "PNG 图片"}},
	{"GIF8", 0, kind{container: "gif", zh: "GIF 图片"}},
	{"%PDF-", 0, kind{container: "pdf", zh: "PDF 文档"}},
	{"PK\x03\x04", 0, kind{container: "zip", zh: "压缩包或 Office 文档"}},
	{"SQLite format 3\x00", 0, kind{container: "sqlite", zh: "数据库文件"}},
	{"\x7fELF", 0, kind{container: "elf", zh: "程序文件"}},
	{"MZ", 0, kind{container: "exe", zh: "程序文件"}},
}

// demuxerOf is ffmpeg's name for a container of Facts.
func demuxerOf(container string) string {
	switch container {
	case "mp4", "mov":
		return "mov"
	case "mpeg-ts":
		return "mpegts"
	}
	for _, m := range magics {
		if m.container == container {
			return m.demuxer
		}
	}
	return ""
}

const sniffLen = 4096

// sniff looks at the start of a file.
func sniff(r io.ReaderAt, size int64) (kind, []byte, error) {
	head := make([]byte, min(size, sniffLen))
	if err := readFull(r, head, 0); err != nil {
		return kind{}, nil, err
	}
	if len(head) >= 8 && firstBoxes[string(head[4:8])] {
		return kind{container: "mp4", mp4: true, media: true, demuxer: "mov"}, head, nil
	}
	if transportStream(head) {
		return kind{container: "mpeg-ts", media: true, zh: "MPEG-TS", demuxer: "mpegts"}, head, nil
	}
	for _, m := range magics {
		if len(head) >= m.at+len(m.magic) && string(head[m.at:m.at+len(m.magic)]) == m.magic {
			return m.kind, head, nil
		}
	}
	return kind{}, head, nil
}

// transportStream looks for sync bytes at the packet sizes in use.
func transportStream(b []byte) bool { _, size := packets(b); return size > 0 }

// packets finds a transport stream's packets: 188 bytes, 192 (cameras, with a time before each), 204; size 0 when there are none.
func packets(b []byte) (first, size int) {
	for _, p := range []struct{ first, size int }{{0, 188}, {4, 192}, {0, 204}} {
		n := 0
		for at := p.first; at < len(b) && b[at] == 0x47; at += p.size {
			n++
		}
		if n >= 5 && p.first+n*p.size >= len(b) {
			return p.first, p.size
		}
	}
	return 0, 0
}

func text(head []byte) bool {
	if len(head) == 0 || bytes.IndexByte(head, 0) >= 0 {
		return false
	}
	for cut := 0; cut < 4 && cut < len(head); cut++ { // the last character may be cut by our reading
		if utf8.Valid(head[:len(head)-cut]) {
			return true
		}
	}
	odd := 0 // GBK and other older encodings: mostly printable
	for _, c := range head {
		if c < 0x20 && c != '\n' && c != '\r' && c != '\t' {
			odd++
		}
	}
	return odd == 0
}
