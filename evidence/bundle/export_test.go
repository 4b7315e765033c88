package bundle

import (
	"bytes"
	"hash/crc32"
)

// ParseConsistency is for fuzzing.
var ParseConsistency = parseConsistency

// Zip writes members in the one encoding, whatever they are called and hold.
func Zip(members []struct {
	Name string
	Body []byte
}) ([]byte, error) {
	var b bytes.Buffer
	z := &zipWriter{w: &b}
	for _, m := range members {
		e := entry{name: m.Name, size: uint64(len(m.Body)), crc: crc32.ChecksumIEEE(m.Body), offset: z.pos, late: isFile(m.Name)}
		z.entries = append(z.entries, e)
		for _, p := range [][]byte{e.header(), m.Body, e.descriptor()} {
			if err := z.write(p); err != nil {
				return nil, err
			}
		}
	}
	err := z.end()
	return b.Bytes(), err
}
