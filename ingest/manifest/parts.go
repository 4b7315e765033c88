package manifest

import (
	"crypto/sha256"
	"fmt"
)

// How files are cut for a multipart upload: 5 MiB a part, larger above 48 GiB, because a store takes 10,000 parts at most.
const (
	MinPart  = 5 << 20
	maxPart  = 5 << 30
	MaxParts = 10_000
)

// PartSize is the part size for a file.
func PartSize(size int64) int64 {
	p := int64(MinPart)
	for size > 48<<30 && (size+p-1)/p > MaxParts {
		p += MinPart
	}
	return p
}

// Parts is the number of parts of a file; an empty file has none.
func Parts(size, partSize int64) int { return int((size + partSize - 1) / partSize) }

// PartLen is the length of part n, counted from 1.
func PartLen(size, partSize int64, n int) int64 {
	return min(partSize, size-int64(n-1)*partSize)
}

// CheckParts refuses cuts that a store wouldn't take.
func CheckParts(size, partSize int64) error {
	if partSize < MinPart || partSize > maxPart {
		return fmt.Errorf("part size %d is outside %d to %d", partSize, MinPart, int64(maxPart))
	}
	if size/partSize >= MaxParts && (size/partSize > MaxParts || size%partSize > 0) {
		return fmt.Errorf("%d bytes in parts of %d are more than %d parts", size, partSize, MaxParts)
	}
	return nil
}

// Composite is the SHA-256 over the concatenated digests of the parts. S3 shows the same as COMPOSITE checksum with "-N" after
// it. An empty file has no parts: its composite is the SHA-256 of nothing.
func Composite(parts [][32]byte) [32]byte {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p[:])
	}
	return [32]byte(h.Sum(nil))
}
