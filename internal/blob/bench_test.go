package blob_test

import (
	"testing"
	"time"

	"zhizheng/internal/blob"
	"zhizheng/internal/testenv"
)

// A clip of 100 MB in parts of 5 MiB through presigned URLs, to the completed object.
func BenchmarkUpload(b *testing.B) {
	s := testenv.Store(b)
	part := random(5 * mib)
	parts := make([][]byte, 20)
	for i := range parts {
		parts[i] = part
	}
	b.SetBytes(int64(len(parts) * len(part)))
	for b.Loop() {
		upload(b, s, blob.CreateOptions{RetainUntil: time.Now().Add(time.Second)}, parts...)
	}
}
