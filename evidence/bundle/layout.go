package bundle

import (
	"archive/zip"
	"bytes"
	"encoding/binary"
	"math"
)

// A bundle's zip has one encoding: members stored as they are, one behind the other from the first byte on, without comments, extra
// fields or attributes, all of one day (the leaves tell the times). So the verifier can write down every byte that lies around the members' contents and compare: what a zip
// program could show differently (a name in a local header, a symbolic link, bytes between members) can't hide. Sizes beyond 4 GiB are
// told by zip64 (APPNOTE 4.3.9.2, 4.5.3).

const (
	utf8Names  = 1 << 11 // flags of APPNOTE 4.4.4
	lateSizes  = 1 << 3
	version20  = 20
	version45  = 45
	stored     = 0
	noTime     = 0
	noDay      = 1<<5 | 1 // 1980-01-01: zip has no empty date, and some programs refuse month 0
	zip64Extra = 1
)

// entry is a member as the zip's headers tell it.
type entry struct {
	name   string
	size   uint64
	crc    uint32
	offset uint64
	late   bool // the crc follows the bytes: it wasn't known before
}

func (e entry) flags() uint16 {
	if e.late {
		return utf8Names | lateSizes
	}
	return utf8Names
}

// big says that 32 bits don't hold the member's size or place.
func (e entry) big() bool { return e.size >= math.MaxUint32 || e.offset >= math.MaxUint32 }

// header goes before the member's bytes.
func (e entry) header() []byte {
	version, crc, size := uint16(version20), e.crc, uint32(e.size)
	var extra []byte
	switch {
	case e.late && e.big(): // the extra field also keeps unzip from misreading the name
		version, crc, size = version45, 0, math.MaxUint32
		extra = put64(put16(nil, zip64Extra, 16), e.size, e.size)
	case e.late:
		crc, size = 0, 0
	}
	b := []byte("PK\x03\x04")
	b = put16(b, version, e.flags(), stored, noTime, noDay)
	b = put32(b, crc, size, size)
	b = put16(b, uint16(len(e.name)), uint16(len(extra)))
	return append(append(b, e.name...), extra...)
}

// descriptor goes behind the member's bytes.
func (e entry) descriptor() []byte {
	if !e.late {
		return nil
	}
	b := put32([]byte("PK\x07\x08"), e.crc)
	if e.big() {
		return put64(b, e.size, e.size)
	}
	return put32(b, uint32(e.size), uint32(e.size))
}

// central is the member's line in the directory.
func (e entry) central() []byte {
	version, size, offset := uint16(version20), uint32(e.size), uint32(e.offset)
	var extra []byte
	if e.big() {
		version, size, offset = version45, math.MaxUint32, math.MaxUint32
		extra = put64(put16(nil, zip64Extra, 24), e.size, e.size, e.offset)
	}
	b := []byte("PK\x01\x02")
	b = put16(b, version, version, e.flags(), stored, noTime, noDay)
	b = put32(b, e.crc, size, size)
	b = put16(b, uint16(len(e.name)), uint16(len(extra)), 0, 0, 0)
	b = put32(b, 0, offset)
	return append(append(b, e.name...), extra...)
}

// ending follows a directory of n lines that begins at at and has size bytes.
func ending(n int, at, size uint64) []byte {
	var b []byte
	count, size32, at32 := uint16(n), uint32(size), uint32(at)
	if n >= math.MaxUint16 || size >= math.MaxUint32 || at >= math.MaxUint32 {
		count, size32, at32 = math.MaxUint16, math.MaxUint32, math.MaxUint32
		b = put64([]byte("PK\x06\x06"), 44)
		b = put16(b, version45, version45)
		b = put32(b, 0, 0)
		b = put64(b, uint64(n), uint64(n), size, at)
		b = put32(append(b, "PK\x06\x07"...), 0)
		b = put32(put64(b, at+size), 1)
	}
	b = put16(append(b, "PK\x05\x06"...), 0, 0, count, count)
	return put16(put32(b, size32, at32), 0)
}

func put16(b []byte, v ...uint16) []byte {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint16(b, x)
	}
	return b
}

func put32(b []byte, v ...uint32) []byte {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return b
}

func put64(b []byte, v ...uint64) []byte {
	for _, x := range v {
		b = binary.LittleEndian.AppendUint64(b, x)
	}
	return b
}

// layout compares the zip's own bytes with the one encoding, and refuses to go on when the members claim more bytes than the file has:
// then they overlap, and reading them all could take for ever.
func (v *verifier) layout() (readable bool) {
	var claimed uint64
	asStored := true
	for _, f := range v.zip.File {
		if f.CompressedSize64 > uint64(v.size)-claimed {
			v.fail(f.Name, "成员的大小超出了文件", "members are larger than the file")
			return false
		}
		claimed += f.CompressedSize64
		if f.Method != zip.Store || f.UncompressedSize64 != f.CompressedSize64 {
			v.fail(f.Name, "成员被压缩过，不是原样", "the member is compressed, not as it was")
			asStored = false
		}
	}
	if !asStored {
		return true
	}
	var pos uint64
	var directory [][]byte
	for _, f := range v.zip.File {
		e := entry{name: f.Name, size: f.UncompressedSize64, crc: f.CRC32, offset: pos, late: isFile(f.Name)}
		head, tail := e.header(), e.descriptor()
		if !v.has(pos, head) || !v.has(pos+uint64(len(head))+e.size, tail) {
			v.fail(f.Name, "压缩包中该成员的头不合格式（被改动或重新打包）", "the zip's header of this member isn't as written (changed or packed again)")
			return true
		}
		pos += uint64(len(head)) + e.size + uint64(len(tail))
		directory = append(directory, e.central())
	}
	at := pos
	for i, line := range directory {
		if !v.has(pos, line) {
			v.fail(v.zip.File[i].Name, "压缩包目录中该成员的条目不合格式", "the zip's directory isn't as written for this member")
			return true
		}
		pos += uint64(len(line))
	}
	end := ending(len(directory), at, pos-at)
	if !v.has(pos, end) || pos+uint64(len(end)) != uint64(v.size) {
		v.fail("zip", "压缩包的结尾不合格式", "the zip's end isn't as written")
	}
	return true
}

// has says whether the file has these bytes at pos.
func (v *verifier) has(pos uint64, want []byte) bool {
	got := make([]byte, len(want))
	if pos+uint64(len(want)) > uint64(v.size) {
		return false
	}
	_, err := v.r.ReadAt(got, int64(pos))
	return err == nil && bytes.Equal(got, want)
}
