package media

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// samplesDir is the folder of other people's footage, which isn't part of this repository.
func samplesDir(t *testing.T) string {
	dir := os.Getenv("ZZ_SAMPLES")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "samples")
	}
	if _, err := os.Stat(dir); err != nil {
		t.Skip("no samples on this machine; ZZ_SAMPLES names their folder")
	}
	return dir
}

// Every file gets a verdict, whatever it holds.
func TestSamples(t *testing.T) {
	dir := samplesDir(t)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		start := time.Now()
		f := probeFile(t, path)
		b, _ := json.Marshal(f)
		t.Logf("%-50s %4dms %s", d.Name(), time.Since(start).Milliseconds(), b)
		if f.Verdict == "" {
			t.Errorf("%s has no verdict", d.Name())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func probeFile(t *testing.T, path string) Facts {
	t.Helper()
	r, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	st, err := r.Stat()
	if err != nil {
		t.Fatal(err)
	}
	f, err := Probe(t.Context(), r, st.Size(), filepath.Base(path))
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return f
}
