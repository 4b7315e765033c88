package transcript_test

import (
	"os"
	"testing"

	"zhizheng/evidence/transcript"
)

// BenchmarkVerify verifies a copy of 300000 leaves with payloads; beside sha256sum it is a figure of `make bench`.
func BenchmarkVerify(b *testing.B) {
	const leaves = 300_000
	c := newCounty(b, leaves)
	copied := os.DirFS(onDisk(b, c.files(leaves, true)))
	for b.Loop() {
		rep, err := transcript.Verify(copied, c.trust())
		if ok(b, err); len(rep.Failures) > 0 {
			b.Fatalf("%+v", rep.Failures)
		}
		b.SetBytes(rep.Bytes)
	}
}
