package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// auditFigures compares reading all footage again (SHA-256 whole and by part, SM3, through the store) with sha256sum of the same files.
func auditFigures(ctx context.Context) error {
	for _, x := range []struct{ name, metric, unit string }{
		{"audit: footage read again, SHA-256 and SM3", "reread-MB/s", "MB/s"},
		{"audit: reading footage again against sha256sum of the same files", "of-sha256sum", "x"},
	} {
		got, err := benchmark(ctx, "./evidence/audit", "^BenchmarkReread$", "3x", x.metric)
		if err != nil {
			return err
		}
		figure(x.name, got["BenchmarkReread"], x.unit, "-")
	}
	return nil
}

// benchmark runs Go benchmarks of a package and gives one of their metrics by name.
func benchmark(ctx context.Context, pkg, pattern, times, metric string) (map[string]float64, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", pattern, "-benchtime", times, pkg)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go test -bench %s: %w: %s", pattern, err, out)
	}
	all := map[string]float64{}
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		for i := 2; i < len(f); i++ {
			if f[i] != metric {
				continue
			}
			name := f[0]
			if i := strings.LastIndexByte(name, '-'); i > 0 && !strings.ContainsAny(name[i:], "=/") {
				name = name[:i] // the number of processors
			}
			var v float64
			if _, err := fmt.Sscan(f[i-1], &v); err != nil {
				return nil, fmt.Errorf("read %q: %w", line, err)
			}
			all[name] = v
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no %s in: %s", metric, out)
	}
	return all, nil
}
