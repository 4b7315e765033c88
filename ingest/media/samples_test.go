package media

import (
	"encoding/json"
	"fmt"
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
		t.Logf("%-50s %4dms %s%s", d.Name(), time.Since(start).Milliseconds(), b, longFacts(f))
		if f.Verdict == "" {
			t.Errorf("%s has no verdict", d.Name())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// longFacts is what is kept apart from the facts, in short.
func longFacts(f Facts) (s string) {
	if f.Track != nil {
		first, last := f.Track.Points[0], f.Track.Points[len(f.Track.Points)-1]
		s += fmt.Sprintf(" track %s %d/%d -%d %.5f,%.5f@%d … %.5f,%.5f@%d", f.Track.Source, len(f.Track.Points), f.Track.Fixes, f.Track.Dropped,
			first.Lat, first.Lon, first.AtMs, last.Lat, last.Lon, last.AtMs)
		if first.Speed != nil {
			s += fmt.Sprintf(" %.1f km/h", *first.Speed)
		}
	}
	if f.Frames != nil {
		s += fmt.Sprintf(" frames %d in %d runs, %d keyframes", f.Frames.Count, len(f.Frames.Runs), len(f.Frames.Keyframes))
		if n := len(f.Frames.Runs); n > 0 {
			s += fmt.Sprint(" ", f.Frames.Runs[:min(n, 3)])
		}
	}
	return s
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
