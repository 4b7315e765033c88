package api_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"image/jpeg"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zhizheng/evidence"
	"zhizheng/ingest/media"
	"zhizheng/internal/pg"
	"zhizheng/internal/testcounty"
	"zhizheng/internal/testenv"
)

// TestMain lets the test binary be the child that reads footage, as the server's binary is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "probe-media" {
		os.Exit(media.ProbeMain(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// hevc makes a recording that browsers don't play.
func hevc(t *testing.T, seconds int) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.mp4")
	out, err := exec.CommandContext(t.Context(), "ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", fmt.Sprintf("testsrc2=s=640x360:r=25:d=%d", seconds),
		"-f", "lavfi", "-i", fmt.Sprintf("sine=d=%d", seconds), "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=0", "-pix_fmt", "yuv420p", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg: %v %s", err, out)
	}
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

type derivedState struct {
	State, Label, Failure, SHA256 string
	Percent                       int
	Size                          int64
	FromMs                        int64 `json:"from_ms"`
}

// Footage that browsers don't play gets a copy they do, with its positions out of the sidecar beside it; the copy is never called
// the original, viewing it is in the log, and once deleted it is made anew.
func TestPreviewOfWhatBrowsersDontPlay(t *testing.T) {
	c := testcounty.New(t)
	ctx := t.Context()
	clip := c.Seals("DCIM/100/MOV_0001.MP4", hevc(t, 4))
	nmea := c.Seals("DCIM/100/MOV_0001.nmea", []byte("$GPRMC,040000,A,3213.776,N,10617.358,E,10.00,90,010326,,,A\n$GPRMC,040002,A,3213.777,N,10617.358,E,10.00,90,010326,,,A\n"))
	c.Seals("DCIM/101/MOV_0001.nmea", []byte("$GPRMC,040000,A,2313.776,N,11317.358,E,10.00,90,010326,,,A\n"))
	for _, eid := range []evidence.ID{clip, nmea} {
		_, err := c.Jobs.Insert(ctx, media.Job{EvidenceID: string(eid)}, nil)
		must(t, err)
	}
	c.User("head", "reviewer")
	c.User("elsewhere", "officer", testcounty.Jiachuan)
	b, at := c.SignedIn("head"), "/api/v1/evidence/"+string(clip)
	if a := b.JSON("POST", at+"/preview", map[string]any{}); a.Status != http.StatusConflict {
		t.Errorf("a preview of what nobody has looked at: %d %s", a.Status, a.Body)
	}
	must(t, c.Jobs.Start(ctx))
	t.Cleanup(func() { _ = c.Jobs.Stop(context.WithoutCancel(ctx)) })
	for _, eid := range []evidence.ID{clip, nmea} {
		testenv.Eventually(t, 3*time.Minute, func() bool {
			r, err := c.Keeper.Get(ctx, evidence.Scope{}, eid)
			must(t, err)
			return r.Verdict != ""
		})
	}

	var track struct {
		EvidenceID string `json:"evidence_id"`
		Sidecar    string
		Source     string
		Points     []media.Point
	}
	a := b.Get(at + "/track")
	if err := json.Unmarshal(a.Body, &track); err != nil || a.Status != 200 || track.EvidenceID != string(nmea) || track.Sidecar != "DCIM/100/MOV_0001.nmea" || len(track.Points) != 2 ||
		track.Points[0].Lat != 32.2296 {
		t.Errorf("track: %d %s", a.Status, a.Body)
	}
	if again := b.Get(at+"/track", "If-None-Match", a.Header.Get("ETag")); again.Status != http.StatusNotModified || len(again.Body) != 0 {
		t.Errorf("the same track again: %d", again.Status)
	}
	var frames media.Frames
	a = b.Get(at + "/frames")
	if err := json.Unmarshal(a.Body, &frames); err != nil || frames.Count != 100 || len(frames.Runs) != 1 || a.Header.Get("ETag") == "" {
		t.Errorf("frames: %d %s", a.Status, a.Body)
	}
	if a := b.Get("/api/v1/evidence/" + string(nmea) + "/frames"); string(a.Body) != `{"count":0}` {
		t.Errorf("frames of a text: %d %s", a.Status, a.Body)
	}
	for _, path := range []string{"/track", "/frames", "/preview", "/preview/content", "/contact-sheet"} {
		if a := c.SignedIn("elsewhere").Get(at + path); a.Status != http.StatusNotFound {
			t.Errorf("another township reads %s: %d", path, a.Status)
		}
	}

	state := func(path string) (s derivedState) {
		t.Helper()
		a := b.Get(at + path)
		must(t, json.Unmarshal(a.Body, &s))
		return s
	}
	ready := func(path string) derivedState {
		t.Helper()
		testenv.Eventually(t, 3*time.Minute, func() bool {
			s := state(path)
			if s.State == "failed" {
				t.Fatalf("%s: %s", path, s.Failure)
			}
			return s.State == "ready"
		})
		return state(path)
	}
	if s := state("/preview"); s.State != "none" {
		t.Errorf("before it was asked for: %+v", s)
	}
	if a := b.JSON("POST", at+"/preview", map[string]any{}); a.Status != http.StatusAccepted {
		t.Fatalf("ask: %d %s", a.Status, a.Body)
	}
	s := ready("/preview")
	if s.Label != "预览，非原件" || s.Percent != 100 {
		t.Errorf("%+v", s)
	}
	a = b.Get(at + "/preview/content")
	sum := sha256.Sum256(a.Body)
	if a.Status != 200 || a.Header.Get("Content-Type") != "video/mp4" || hex.EncodeToString(sum[:]) != s.SHA256 || int64(len(a.Body)) != s.Size ||
		!strings.Contains(a.Header.Get("Content-Disposition"), "%E9%9D%9E%E5%8E%9F%E4%BB%B6") {
		t.Errorf("content: %d %v", a.Status, a.Header)
	}
	if part := b.Get(at+"/preview/content", "Range", "bytes=4-7"); part.Status != http.StatusPartialContent || string(part.Body) != "ftyp" {
		t.Errorf("a part: %d %q", part.Status, part.Body)
	}
	f, err := media.Probe(ctx, bytes.NewReader(a.Body), int64(len(a.Body)), "")
	must(t, err)
	if !f.Playable || f.VideoCodec != "h264" || f.DurationMs < 3900 || f.DurationMs > 4200 {
		t.Errorf("the copy: %+v", f)
	}
	var custody struct {
		Items []struct{ Reason string }
	}
	must(t, json.Unmarshal(b.Get(at+"/custody").Body, &custody))
	views := 0
	for _, e := range custody.Items {
		if e.Reason == "预览，非原件" {
			views++
		}
	}
	if views != 1 {
		t.Errorf("%d views of the preview in the custody log", views)
	}
	made := s.SHA256
	if a := b.JSON("POST", at+"/preview", map[string]any{}); a.Status != http.StatusAccepted || state("/preview").SHA256 != made {
		t.Errorf("asked for again: %d", a.Status)
	}

	d, err := c.Keeper.Derived(ctx, clip, evidence.DerivedPreview)
	must(t, err)
	must(t, os.Remove(testenv.StoreFile(t, c.StoreOptions.Bucket, d.ObjectKey)))
	if s := state("/preview"); s.State != "gone" {
		t.Errorf("deleted in the store: %+v", s)
	}
	if a := b.Get(at + "/preview/content"); a.Status != http.StatusNotFound {
		t.Errorf("content of what is gone: %d", a.Status)
	}
	b.JSON("POST", at+"/preview", map[string]any{})
	ready("/preview")

	if a := b.JSON("POST", at+"/contact-sheet", map[string]any{"from_ms": 1000}); a.Status != http.StatusAccepted {
		t.Fatalf("ask for a sheet: %d %s", a.Status, a.Body)
	}
	if s := ready("/contact-sheet"); s.FromMs != 1000 {
		t.Errorf("%+v", s)
	}
	page, err := jpeg.Decode(bytes.NewReader(b.Get(at + "/contact-sheet/content").Body))
	must(t, err)
	dark := 0
	for x := 160; x < 1600; x += 320 {
		for y := 90; y < 720; y += 180 {
			if r, g, bl, _ := page.At(x, y).RGBA(); r>>8 < 0x30 && g>>8 < 0x30 && bl>>8 < 0x30 {
				dark++
			}
		}
	}
	if page.Bounds().Dx() != 1600 || page.Bounds().Dy() != 720 || dark > 5 {
		t.Errorf("page %v, %d empty tiles", page.Bounds(), dark)
	}
}

// Turns go round the townships, no more than the county's number runs at once, and a worker that was killed is replaced.
func TestTurnsAreFair(t *testing.T) {
	c := testcounty.New(t)
	ctx := t.Context()
	ask := func(name, township string) {
		t.Helper()
		eid := c.Seals(name, []byte(name))
		rec, err := c.Keeper.Get(ctx, evidence.Scope{}, eid)
		must(t, err)
		rec.Township = township
		must(t, pg.InTx(ctx, c.Pool, func(tx *pg.Tx) error {
			_, err := c.Keeper.AskDerived(ctx, tx, rec, evidence.DerivedPreview, 0, "somebody")
			return err
		}))
	}
	for i := range 3 {
		ask(fmt.Sprint("d", i), testcounty.Donghe)
	}
	ask("j", testcounty.Jiachuan)
	take := func(most int) (evidence.Derived, bool) {
		t.Helper()
		d, busy, err := c.Keeper.TakeTurn(ctx, most)
		must(t, err)
		return d, busy
	}
	one, _ := take(3)
	two, _ := take(3)
	three, _ := take(3)
	if one.Township != testcounty.Donghe || two.Township != testcounty.Jiachuan || three.Township != testcounty.Donghe {
		t.Errorf("turns: %s %s %s", one.Township, two.Township, three.Township)
	}
	if d, busy := take(3); !busy || d.EvidenceID != "" {
		t.Errorf("a fourth of three: %+v %v", d, busy)
	}
	must(t, c.Keeper.Progress(ctx, one, 50))
	_, err := c.Owner().Exec(ctx, "update evidence_derived set lease_until = now() - interval '1 second' where evidence_id = $1", one.EvidenceID)
	must(t, err)
	again, _ := take(4)
	for again.EvidenceID != one.EvidenceID {
		if again, _ = take(9); again.EvidenceID == "" {
			t.Fatal("nobody took over")
		}
	}
	if err := c.Keeper.Made(ctx, one); err != evidence.ErrTurnLost {
		t.Errorf("the one who was silent goes on: %v", err)
	}
	if again.Attempts != 2 {
		t.Errorf("%d attempts", again.Attempts)
	}
}

// An exhibit gets its contact sheet by itself; what holds no picture says so and is not tried for ever.
func TestExhibitsGetContactSheets(t *testing.T) {
	c := testcounty.New(t)
	ctx := t.Context()
	clip, broken := c.Seals("a.mp4", hevc(t, 2)), c.Seals("b.ts", bytes.Repeat(append([]byte{0x47}, make([]byte, 187)...), 100))
	for _, eid := range []evidence.ID{clip, broken} {
		_, err := c.Jobs.Insert(ctx, media.Job{EvidenceID: string(eid)}, nil)
		must(t, err)
	}
	must(t, c.Jobs.Start(ctx))
	t.Cleanup(func() { _ = c.Jobs.Stop(context.WithoutCancel(ctx)) })
	c.User("head", "reviewer")
	b, file := c.SignedIn("head"), c.Case()
	for _, eid := range []evidence.ID{clip, broken} {
		testenv.Eventually(t, 3*time.Minute, func() bool {
			r, err := c.Keeper.Get(ctx, evidence.Scope{}, eid)
			must(t, err)
			return r.Verdict != ""
		})
		if a := b.JSON("POST", "/api/v1/cases/"+file+"/evidence", map[string]any{"evidence_id": eid, "purpose": "现场"}); a.Status != http.StatusCreated {
			t.Fatalf("link: %d %s", a.Status, a.Body)
		}
	}
	for eid, want := range map[evidence.ID]string{clip: "ready", broken: "failed"} {
		testenv.Eventually(t, 3*time.Minute, func() bool {
			d, err := c.Keeper.Derived(ctx, eid, evidence.DerivedContactSheet)
			must(t, err)
			if d.State != want && (d.State == "ready" || d.State == "failed") {
				t.Fatalf("%s: %+v, want %s", eid, d, want)
			}
			return d.State == want
		})
	}
}

// Names are tried with the rules in use or with others, and a wrong configuration says what is wrong with it.
func TestNamePatternsAreTried(t *testing.T) {
	c := testcounty.New(t)
	c.User("head", "reviewer")
	b, at := c.SignedIn("head"), "/api/v1/name-patterns/test"
	var out struct {
		Items []struct {
			Name, Rule, Recorder, Officer, Series string
			Matched, Sidecar                      bool
			Time                                  *time.Time
			Sequence                              *int64
		}
	}
	a := b.JSON("POST", at, map[string]any{"names": []string{"DSJ-A1B2C1_012345_20260301120000_0007.mp4", "whatever.bin", "a.nmea"}})
	must(t, json.Unmarshal(a.Body, &out))
	if a.Status != 200 || len(out.Items) != 3 || out.Items[0].Recorder != "DSJ-A1B2C1" || out.Items[0].Officer != "012345" || *out.Items[0].Sequence != 7 ||
		out.Items[0].Rule == "" || out.Items[1].Matched || !out.Items[2].Sidecar {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	a = b.JSON("POST", at, map[string]any{"names": []string{"whatever.bin"}, "config": "[[rule]]\nname = \"x\"\nfile = '^(?P<recorder>w\\w+)'\n"})
	if must(t, json.Unmarshal(a.Body, &out)); out.Items[0].Rule != "x" || out.Items[0].Recorder != "whatever" {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	a = b.JSON("POST", at, map[string]any{"names": []string{"x"}, "config": "[[rule]]\nname = \"x\"\nfile = '('\n"})
	if p := refusal(t, "a wrong pattern", a, http.StatusBadRequest); !strings.Contains(p.Detail, "rule 1") {
		t.Errorf("%+v", p)
	}
}
