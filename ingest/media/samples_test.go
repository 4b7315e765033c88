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

// golden is what is known of each sample, checked against ffprobe, exiftool and the files' own bytes.
var golden = map[string]struct {
	track                  string // source
	fixes                  int
	lat, lon               float64 // of the track's first fix, else the position
	codec                  string
	width, height, videoMs int
	frames, keys           int
	variable               bool
}{
	"DSJ-A1B2C1_012345_20260301120000_0001.mp4":         {lat: 31.23039, lon: 121.47369, codec: "h264", width: 640, height: 360, videoMs: 6000, frames: 180, keys: 4},
	"dashcamigo__70mai-embedded_real-anonymized.mp4":    {track: "freegps", fixes: 12, lat: 50, lon: 30},
	"dashcamigo__viofo-a119-mini2-coldstart.mp4":        {track: "freegps", fixes: 4, lat: 50, lon: 30},
	"dashcamigo__neoline-spectrum-front.mp4":            {track: "ssmd", fixes: 72, lat: 45, lon: 39},
	"dashcamigo__vueroid-txet_real-anonymized.mp4":      {track: "txet", fixes: 60, lat: 50, lon: -30, videoMs: 3042},
	"dashcamigo__hero5-trimmed.mp4":                     {track: "gpmf", fixes: 36, lat: 33.1265, lon: -117.32735, codec: "h264", width: 854, height: 480, videoMs: 2006, frames: 48, keys: 6},
	"gpmf-parser__karma.mp4":                            {track: "gpmf", fixes: 47, lat: 33.12537, lon: -117.33106, codec: "h264", width: 854, height: 480, videoMs: 12079, frames: 362, keys: 46},
	"fate-suite__fake-gp-media-with-real-gpmf.mp4":      {track: "gpmf", fixes: 180, lat: 48.87852, lon: 2.33691, codec: "h264", width: 128, height: 96, videoMs: 10000, frames: 250, keys: 1},
	"dashcamigo__novatek-ts_real-anonymized.TS":         {track: "mpeg-ts", fixes: 10, lat: 50, lon: 30, codec: "hevc", videoMs: 10030},
	"metadata-extractor__Sony_ILCE-7M3__A7M3_.mts":      {codec: "h264", videoMs: 577},
	"made_ts_named.mp4":                                 {codec: "h264", videoMs: 8988},
	"made_hik_like_IMKH_ps.mp4":                         {videoMs: 6000},
	"made_frag.mp4":                                     {lat: 31.23039, lon: 121.47369, codec: "h264", width: 640, height: 360, videoMs: 6067, frames: 180, keys: 4},
	"go-mp4__sample_fragmented.mp4":                     {codec: "h264", width: 1280, height: 720, videoMs: 1210, frames: 10, keys: 4},
	"made_hevc_hvc1.mp4":                                {lat: 31.23039, lon: 121.47369, codec: "hevc", width: 640, height: 360, videoMs: 5000, frames: 150, keys: 3},
	"made_mdta_location.mp4":                            {lat: 31.2304, lon: 121.4737, codec: "h264", width: 640, height: 360, videoMs: 6000, frames: 180, keys: 4},
	"metadata-extractor__with-gps.mov":                  {lat: 32.0929, lon: 34.862, codec: "h264", width: 568, height: 320, videoMs: 4002, frames: 120, keys: 4},
	"mediabunny__cursed-vfr.mp4":                        {codec: "h264", width: 3026, height: 1386, videoMs: 8726, frames: 63, keys: 4, variable: true},
	"made_mvhd_timescale0.mp4":                          {lat: 31.23039, lon: 121.47369, codec: "h264", width: 480, height: 270, videoMs: 9021, frames: 270, keys: 5},
	"fate-suite__mp4-with-mov-in24-ver.mp4":             {codec: "h264", width: 1280, height: 720, videoMs: 2668900, frames: 133445, keys: 2669},
	"tika__testMP4_udtaLocation.mp4":                    {lat: 12.3456, lon: -98.7654},
	"sidecars/dashcamigo__MOV_0581.nmea":                {track: "nmea", fixes: 30, lat: -34, lon: 151},
	"sidecars/dashcamigo__70mai_GPSData_a810.txt":       {track: "csv", fixes: 50, lat: 50, lon: 9},
	"sidecars/dashcamigo__blackvue_real-anonymized.gps": {track: "nmea", fixes: 8, lat: 52, lon: 0},
}

func TestGoldenFacts(t *testing.T) {
	dir := samplesDir(t)
	for name, want := range golden {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err != nil {
			t.Logf("%s isn't here", name)
			continue
		}
		f := probeFile(t, path)
		got := want
		got.track, got.fixes, got.codec, got.width, got.height, got.videoMs, got.variable = "", f.Fixes, f.VideoCodec, f.Width, f.Height, int(f.DurationMs), f.Variable
		got.lat, got.lon, got.frames, got.keys = 0, 0, 0, 0
		if f.Position != nil {
			got.lat, got.lon = f.Position.Lat, f.Position.Lon
		}
		if f.Track != nil {
			got.track, got.lat, got.lon = f.Track.Source, f.Track.Points[0].Lat, f.Track.Points[0].Lon
		}
		if f.Frames != nil {
			got.frames, got.keys = f.Frames.Count, f.Keyframes
		}
		if got != want {
			t.Errorf("%s: got %+v, want %+v", name, got, want)
		}
	}
}
