package sim

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A card holds clips that a player opens, with time and place, one track and one clip that was cut short.
func TestCard(t *testing.T) {
	dir := os.Getenv("ZZ_SIM_CARD") // a folder to keep the footage in, for looking at it
	if dir == "" {
		dir = filepath.Join(t.TempDir(), "card")
	}
	kept, length := shift, clipLength
	shift, clipLength = []struct {
		daysAgo      int
		hour, minute int
		clip         Clip
	}{kept[4], kept[len(kept)-1]}, 2*time.Second
	if os.Getenv("ZZ_SIM_CARD") != "" {
		shift, clipLength = kept, length
	}
	t.Cleanup(func() { shift, clipLength = kept, length })
	now := time.Date(2026, 11, 24, 18, 0, 0, 0, shanghai)
	n := 0
	for range 2 { // the second run finds everything there
		n = 0
		if err := Card(t.Context(), dir, "东河镇综合行政执法队", "DEMO-BWC-0001", "015023", now, func(int) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
	}
	if n != len(shift) {
		t.Errorf("%d clips done", n)
	}
	clips, _ := filepath.Glob(filepath.Join(dir, "*.mp4"))
	tracks, _ := filepath.Glob(filepath.Join(dir, "*.gpx"))
	all, _ := os.ReadDir(dir)
	if len(clips) != len(shift) || len(tracks) == 0 || len(all) != len(clips)+len(tracks) {
		t.Fatalf("%d clips, %d tracks, %d entries", len(clips), len(tracks), len(all))
	}
	var whole int
	for _, c := range clips {
		out, err := exec.CommandContext(t.Context(), "ffprobe", "-v", "error", "-show_format", "-show_streams", "-of", "json", c).Output()
		if err != nil {
			continue // cut short
		}
		whole++
		var f struct {
			Streams []struct {
				Codec string `json:"codec_name"`
			} `json:"streams"`
			Format struct {
				Tags map[string]string `json:"tags"`
			} `json:"format"`
		}
		if err := json.Unmarshal(out, &f); err != nil {
			t.Fatal(err)
		}
		if len(f.Streams) != 2 || f.Streams[0].Codec != "h264" || f.Streams[1].Codec != "aac" {
			t.Errorf("streams %+v", f.Streams)
		}
		if !strings.HasPrefix(f.Format.Tags["creation_time"], "2026-11-2") || !strings.HasPrefix(f.Format.Tags["location"], "+32.2") {
			t.Errorf("tags %v", f.Format.Tags)
		}
	}
	if whole != len(shift)-1 {
		t.Errorf("%d of %d clips open", whole, len(shift))
	}
}
