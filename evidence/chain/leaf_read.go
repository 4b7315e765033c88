package chain

import "encoding/binary"

// A leaf has one encoding, so it can be read and written by position. Reading a whole log is bound by this and by hashing; the
// general decoder stays for saying what is wrong with bytes that are not that encoding, and in tests as the measure of this one.

const (
	keyVersion, keyKind, keySubject, keyCounter, keyPrev, keyTime, keyCommitment = 1, 2, 3, 4, 5, 6, 7

	cborMap7    = 0xa7
	cborBytes16 = 0x50
	cborBytes8b = 0x58 // a byte string whose length is the next byte
)

// appendLeaf writes a leaf that check accepts.
func appendLeaf(b []byte, l *Leaf) []byte {
	b = appendUint(append(b, cborMap7, keyVersion), l.Version)
	b = appendUint(append(b, keyKind), uint64(l.Kind))
	b = append(append(b, keySubject, cborBytes16), l.Subject[:]...)
	b = appendUint(append(b, keyCounter), l.Counter)
	b = append(append(b, keyPrev, cborBytes8b, 32), l.Prev[:]...)
	b = appendUint(append(b, keyTime), uint64(l.TimeMS)) // above 0, see check
	return append(append(b, keyCommitment, cborBytes8b, 32), l.Commitment[:]...)
}

// appendUint writes an unsigned integer in its shortest form (RFC 8949 §4.2.1).
func appendUint(b []byte, n uint64) []byte {
	switch {
	case n < 24:
		return append(b, byte(n))
	case n < 1<<8:
		return append(b, 24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(b, 25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(b, 26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, 27), n)
}

// readLeaf reads the one encoding of a leaf; ok is false for any other bytes.
func readLeaf(b []byte) (l Leaf, ok bool) {
	r := leafReader{b: b, ok: true}
	r.expect(cborMap7, keyVersion)
	l.Version = r.uint()
	r.expect(keyKind)
	kind := r.uint()
	r.expect(keySubject, cborBytes16)
	r.copy(l.Subject[:])
	r.expect(keyCounter)
	l.Counter = r.uint()
	r.expect(keyPrev, cborBytes8b, 32)
	r.copy(l.Prev[:])
	r.expect(keyTime)
	t := r.uint()
	r.expect(keyCommitment, cborBytes8b, 32)
	r.copy(l.Commitment[:])
	l.Kind, l.TimeMS = Kind(kind), int64(t)
	if !r.ok || len(r.b) > 0 || kind > 1<<16-1 || t > 1<<63-1 || l.check() != nil {
		return Leaf{}, false
	}
	return l, true
}

// leafReader takes bytes from the front; once something didn't fit, nothing does any more.
type leafReader struct {
	b  []byte
	ok bool
}

func (r *leafReader) take(n int) []byte {
	if !r.ok || len(r.b) < n {
		r.ok = false
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *leafReader) expect(want ...byte) {
	if b := r.take(len(want)); r.ok && string(b) != string(want) {
		r.ok = false
	}
}

func (r *leafReader) copy(to []byte) { copy(to, r.take(len(to))) }

// uint reads an unsigned integer in its shortest form.
func (r *leafReader) uint() uint64 {
	first := r.take(1)
	if !r.ok {
		return 0
	}
	if first[0] < 24 {
		return uint64(first[0])
	}
	if first[0] > 27 {
		r.ok = false
		return 0
	}
	width := 1 << (first[0] - 24)
	var n uint64
	for _, c := range r.take(width) {
		n = n<<8 | uint64(c)
	}
	least := [4]uint64{24, 1 << 8, 1 << 16, 1 << 32}
	if n < least[first[0]-24] {
		r.ok = false
	}
	return n
}
