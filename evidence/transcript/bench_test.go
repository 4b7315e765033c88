package transcript_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"zhizheng/evidence/transcript"
)

// BenchmarkVerify verifies a copy with payloads and has sha256sum read the same files, in turns.
func BenchmarkVerify(b *testing.B) {
	c := newCounty(b, 300_000)
	files := c.files(len(c.leaves), true)
	dir := onDisk(b, files)
	var names []string
	var size int64
	for name, body := range files {
		names, size = append(names, filepath.Join(dir, filepath.FromSlash(name))), size+int64(len(body))
	}
	slices.Sort(names)
	trust := c.witnessed()
	c, files = nil, nil
	runtime.GC()
	var ours, theirs, allocated []float64
	for b.Loop() {
		began := time.Now()
		cmd := exec.CommandContext(b.Context(), "xargs", "-0", "sha256sum")
		list, err := os.CreateTemp(dir+"/..", "names")
		ok(b, err)
		for _, n := range names {
			_, err = list.WriteString(n + "\x00")
			ok(b, err)
		}
		_, err = list.Seek(0, 0)
		ok(b, err)
		cmd.Stdin = list
		ok(b, cmd.Run())
		theirs = append(theirs, time.Since(began).Seconds())
		ok(b, list.Close())

		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		began = time.Now()
		rep, err := transcript.Verify(os.DirFS(dir), trust)
		ours = append(ours, time.Since(began).Seconds())
		runtime.ReadMemStats(&after)
		allocated = append(allocated, float64(after.Mallocs-before.Mallocs)/300_000)
		if ok(b, err); len(rep.Failures) > 0 || rep.Bytes != size {
			b.Fatalf("%+v", rep)
		}
	}
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = theirs[i] / ours[i]
	}
	b.ReportMetric(float64(size)/1e6/middle(ours), "MB/s")
	b.ReportMetric(float64(size)/1e6/middle(theirs), "sha256sum-MB/s")
	b.ReportMetric(middle(ratios), "of-sha256sum")
	b.ReportMetric(middle(allocated), "allocs/leaf")
}

func middle(v []float64) float64 {
	v = slices.Clone(v)
	slices.Sort(v)
	return v[len(v)/2]
}
