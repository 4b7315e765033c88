package main

import "context"

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
