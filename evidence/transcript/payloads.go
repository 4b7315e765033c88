package transcript

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"zhizheng/evidence/chain"
)

// A file of payloads belongs to an entry bundle: for each leaf in order a length in four bytes, big endian, then so many bytes: salt (32)
// and payload, whose SHA-256 the leaf commits to. Length 0 says that they were erased.

// MaxPayload bounds what a leaf may commit to: a manifest of a 64 GB file holds some 250 KB of part digests.
const MaxPayload = 1 << 20

const maxOpening = chain.SaltSize + MaxPayload

// AppendPayload adds a leaf's salt and payload to a file of payloads; no salt says that they were erased.
func AppendPayload(b, salt, payload []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(salt)+len(payload)))
	return append(append(b, salt...), payload...)
}

// payloads reads such a file through a buffer, leaf by leaf.
type payloads struct{ r *bufio.Reader }

func newPayloads() *payloads { return &payloads{bufio.NewReaderSize(nil, 128<<10)} }

var errShort = errors.New("it ends too early")

// next gives the next leaf's salt and payload, empty if they were erased, valid until the next call.
func (p *payloads) next() ([]byte, error) {
	head, err := p.r.Peek(4)
	if err != nil {
		return nil, short(err)
	}
	n := binary.BigEndian.Uint32(head)
	if n != 0 && n < chain.SaltSize || n > maxOpening {
		return nil, fmt.Errorf("a length of %d", n)
	}
	if 4+int(n) > p.r.Size() { // rare: what is in the buffer is read through the larger one
		p.r = bufio.NewReaderSize(p.r, 4+maxOpening)
	}
	b, err := p.r.Peek(4 + int(n))
	if err != nil {
		return nil, short(err)
	}
	_, err = p.r.Discard(len(b)) // they are in the buffer
	return b[4:], err
}

// end says whether all was read.
func (p *payloads) end() error {
	switch _, err := p.r.Peek(1); err {
	case io.EOF:
		return nil
	case nil:
		return errors.New("it holds more than its leaves'")
	default:
		return err
	}
}

func short(err error) error {
	if err == io.EOF {
		return errShort
	}
	return err
}
