package audit_test

import (
	"fmt"
	"os/exec"
	"testing"
	"time"

	"zhizheng/evidence/audit"
	"zhizheng/internal/testcounty"
)

// BenchmarkReread re-reads footage without a limit, whole digest, part digests and SM3 in one pass, and gives its throughput as a part of
// what sha256sum makes of the very same files on disk, in turns.
func BenchmarkReread(b *testing.B) {
	c := testcounty.New(b)
	s := audit.New(audit.Options{Pool: c.Pool, Log: c.Log, Evidence: c.Keeper})
	const files, size = 4, 64 << 20
	args := []string{}
	for i := range files {
		id := c.Seals(fmt.Sprint(i, ".mp4"), testcounty.Bytes(byte(i), size))
		args = append(args, file(b, c, id))
	}
	var ours, plain time.Duration
	for b.Loop() {
		began := time.Now()
		if out, err := exec.Command("sha256sum", args...).CombinedOutput(); err != nil {
			b.Fatalf("%v %s", err, out)
		}
		plain += time.Since(began)
		began = time.Now()
		if run := reread(b, s); run.State != audit.StateOK || run.DoneBytes != files*size {
			b.Fatalf("%+v", run)
		}
		ours += time.Since(began)
	}
	n := float64(b.N) * files * size
	b.ReportMetric(n/ours.Seconds()/1e6, "reread-MB/s")
	b.ReportMetric(plain.Seconds()/ours.Seconds(), "of-sha256sum")
}
