package media

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"strings"
)

// Bounds of the scan. A 12-hour recording in one-second fragments has 86,400 top-level boxes and an index of some 30 MB.
const (
	maxTopBoxes  = 200_000
	maxFragments = 65_536
	maxIndex     = 64 << 20 // moov, and all moof together
)

// Box is a box of the file: Header bytes, then its payload, Size in all. A box cut by the end of the file has the size it declares.
type Box struct {
	Type              string
	Off, Header, Size int64
	gps               bool
}

// End is the offset behind the box by its own account.
func (b Box) End() int64 { return b.Off + b.Size }

// Layout is the order of the top-level boxes.
type Layout struct {
	Size      int64
	Ftyp      *Box
	Brand     string
	Moov      *Box
	Moofs     []Box
	MdatFirst int64 // offset of the first media data, 0 when there is none
	MdatBytes int64 // media data present
	ToEnd     bool  // a box of size 0 stretches to the end of the file
	Boxes     int
	GPS       []Box // boxes with positions that no index names: "GPS ", and free ones that begin with freeGPS

	Overrun  *Box  // the last box declares more bytes than the file has
	BadAt    int64 // offset where no box could be read any more, -1 when all could
	ZeroTail bool  // from BadAt on the file holds zeros, as failing cards leave them
	Cut      bool  // a bound of the scan was reached; the rest wasn't looked at
}

// Scan reads the top-level boxes of an MP4 or QuickTime file. It reads headers only, never follows a size outside the file, always
// moves forward and stops at its bounds; broken structure is a finding, not an error. Errors are the reader's own and ctx's.
func Scan(ctx context.Context, r io.ReaderAt, size int64) (Layout, error) {
	l := Layout{Size: size, BadAt: -1}
	var moofBytes int64
	for off := int64(0); off < size; {
		if err := ctx.Err(); err != nil {
			return l, err
		}
		if l.Boxes >= maxTopBoxes || len(l.Moofs) >= maxFragments || moofBytes > maxIndex {
			l.Cut = true
			return l, nil
		}
		b, ok, err := readBox(r, off, size)
		if err != nil {
			return l, err
		}
		if !ok {
			l.BadAt = off
			l.ZeroTail, err = zeros(r, off, size)
			return l, err
		}
		l.Boxes++
		if b.Size == 0 {
			l.ToEnd, b.Size = true, size-off
		}
		l.add(b)
		if b.gps && len(l.GPS) < maxTopBoxes/4 {
			l.GPS = append(l.GPS, b)
		}
		if b.Type == "moof" {
			moofBytes += b.Size
		}
		if b.Type == "ftyp" && b.Size >= b.Header+4 && size-off >= b.Header+4 {
			var brand [4]byte
			if err := readFull(r, brand[:], off+b.Header); err != nil {
				return l, err
			}
			l.Brand = strings.TrimSpace(printable(brand[:]))
		}
		if b.Size > size-off {
			l.Overrun = &b
			return l, nil
		}
		off += b.Size
	}
	return l, nil
}

func (l *Layout) add(b Box) {
	switch b.Type {
	case "ftyp":
		if l.Ftyp == nil {
			l.Ftyp = &b
		}
	case "moov":
		if l.Moov == nil { // players take the first
			l.Moov = &b
		}
	case "moof":
		l.Moofs = append(l.Moofs, b)
	case "mdat":
		if l.MdatFirst == 0 {
			l.MdatFirst = b.Off + b.Header
		}
		l.MdatBytes += min(b.End(), l.Size) - min(b.Off+b.Header, l.Size)
	}
}

// readBox reads a header. ok is false where the bytes can't be one. Size 0 means to the end of the file.
func readBox(r io.ReaderAt, off, size int64) (b Box, ok bool, err error) {
	var h [16]byte
	n := min(size-off, 16)
	if n < 8 {
		return b, false, nil
	}
	if err := readFull(r, h[:n], off); err != nil {
		return b, false, err
	}
	b = Box{Type: string(h[4:8]), Off: off, Header: 8, Size: int64(binary.BigEndian.Uint32(h[:4]))}
	b.gps = b.Type == "GPS " || (b.Type == "free" || b.Type == "skip") && string(h[8:16]) == "freeGPS "
	if !plausibleType(h[4:8]) {
		return b, false, nil
	}
	switch {
	case b.Size == 1:
		large := binary.BigEndian.Uint64(h[8:16])
		if n < 16 || large < 16 || large > math.MaxInt64-uint64(off) { // wraps round: 48 bytes made a naive walker run for ever
			return b, false, nil
		}
		b.Header, b.Size = 16, int64(large)
	case b.Size != 0 && b.Size < 8:
		return b, false, nil
	}
	return b, true, nil
}

func plausibleType(t []byte) bool {
	for _, c := range t {
		if (c < 0x20 || c > 0x7e) && c != 0xa9 {
			return false
		}
	}
	return true
}

// zeros tells whether the file is zeros from off to its end, by looking at 64 places.
func zeros(r io.ReaderAt, off, size int64) (bool, error) {
	var b [64]byte
	step := max((size-off)/64, 64)
	for at := off; at < size; at += step {
		p := b[:min(64, size-at)]
		if err := readFull(r, p, at); err != nil {
			return false, err
		}
		for _, c := range p {
			if c != 0 {
				return false, nil
			}
		}
	}
	return true, nil
}

// readFull reads exactly len(p) bytes that the size says are there.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read at %d: %w", off, err)
}

// printable keeps the visible ASCII of b.
func printable(b []byte) string {
	return strings.Map(func(c rune) rune {
		if c < 0x20 || c > 0x7e {
			return -1
		}
		return c
	}, string(b))
}

// blocks reads r in blocks and keeps the last few, so that looking at headers over a network costs few requests.
type blocks struct {
	r    io.ReaderAt
	size int64
	kept [8]block
	next int
}

type block struct {
	off  int64
	data []byte
}

const blockSize = 64 << 10

// ReadAt implements io.ReaderAt. It is used by one goroutine.
func (b *blocks) ReadAt(p []byte, off int64) (int, error) {
	if len(p) > blockSize {
		return b.r.ReadAt(p, off)
	}
	n := 0
	for n < len(p) {
		if off >= b.size {
			return n, io.EOF
		}
		data, err := b.block(off &^ (blockSize - 1))
		if err != nil {
			return n, err
		}
		from := off & (blockSize - 1)
		if from >= int64(len(data)) {
			return n, io.ErrUnexpectedEOF
		}
		m := copy(p[n:], data[from:])
		n, off = n+m, off+int64(m)
	}
	return n, nil
}

func (b *blocks) block(start int64) ([]byte, error) {
	for i := range b.kept {
		if b.kept[i].data != nil && b.kept[i].off == start {
			return b.kept[i].data, nil
		}
	}
	k := &b.kept[b.next]
	b.next = (b.next + 1) % len(b.kept)
	data := k.data[:0]
	if cap(data) == 0 {
		data = make([]byte, 0, blockSize)
	}
	data = data[:min(blockSize, b.size-start)]
	k.data = nil // until it is filled
	if err := readFull(b.r, data, start); err != nil {
		return nil, err
	}
	k.off, k.data = start, data
	return data, nil
}
