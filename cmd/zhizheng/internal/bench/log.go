package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// logFigures compares appending to the log with plain inserts and with a transaction an entry, by the Go benchmarks of the log.
func logFigures(ctx context.Context) error {
	append256, err := benchmark(ctx, "./evidence/evlog", "Append/(raw|lock|do|do-sql)$/writers=256", "2000x", "entries/s")
	if err != nil {
		return err
	}
	at := func(way string) float64 { return append256["BenchmarkAppend/"+way+"/writers=256"] }
	figure("log: 256 writers", at("do"), "entries/s", "-")
	figure("log: 256 writers against a transaction an entry under a lock", at("do")/at("lock"), "x", "≥ 30")
	figure("log: 256 writers against one plain insert a transaction", at("do")/at("raw"), "x", "-")
	figure("log: with a row of the caller's, against the bare log", at("do-sql")/at("do"), "x", "≥ 0.5")
	wal, err := benchmark(ctx, "./evidence/evlog", "WAL/entries=256", "20x", "wal/body")
	if err != nil {
		return err
	}
	figure("log: WAL bytes per body byte", wal["BenchmarkWAL/entries=256"], "x", "≤ 1.5")
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
