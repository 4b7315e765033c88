package media

import (
	"bytes"
	"errors"
	"image/jpeg"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// What has a picture gets a poster; nothing that hasn't takes ffmpeg down or hangs it.
func TestPostersOfSamples(t *testing.T) {
	dir := samplesDir(t)
	made := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f := probeFile(t, path)
		r, err := os.Open(path)
		if err != nil {
			return err
		}
		defer r.Close()
		st, err := r.Stat()
		if err != nil {
			return err
		}
		start := time.Now()
		b, err := Prober{}.Poster(t.Context(), r, st.Size(), f)
		switch {
		case errors.Is(err, errNoPicture):
			if f.Verdict == OK && f.Playable {
				t.Errorf("%s plays but has no poster: %v", d.Name(), err)
			} else if f.VideoCodec != "" || f.demuxer != "" && f.demuxer != "mov" {
				t.Logf("%s (%s): %v", d.Name(), f.Verdict, err)
			}
		case err != nil:
			t.Errorf("%s: %v", d.Name(), err)
		default:
			made++
			c, err := jpeg.DecodeConfig(bytes.NewReader(b))
			if err != nil || c.Width != posterWidth {
				t.Errorf("%s: %v, %d wide", d.Name(), err, c.Width)
			}
			t.Logf("%s: %d bytes in %s", d.Name(), len(b), time.Since(start).Round(time.Millisecond))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if made == 0 {
		t.Error("no poster at all")
	}
}
