package media_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"image/jpeg"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"zhizheng/evidence"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/ingest/media"
	"zhizheng/internal/blob"
	"zhizheng/internal/pg"
	"zhizheng/internal/testenv"
)

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// record makes a real recording of three seconds.
func record(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a.mp4")
	out, err := exec.CommandContext(t.Context(), "ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=320x180:r=15:d=3",
		"-f", "lavfi", "-i", "sine=d=3", "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac",
		"-metadata", "creation_time=2026-03-01T04:00:00Z", "-metadata", "location=+32.2296+106.2893/", path).CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg: %v %s", err, out)
	}
	b, err := os.ReadFile(path)
	ok(t, err)
	return b
}

// A sealed file's facts and poster arrive by the job, read back out of the store.
func TestJob(t *testing.T) {
	ctx, pool, store := t.Context(), testenv.Pool(t), testenv.Store(t)
	sg, err := signer.Open(ctx, t.TempDir(), "test.example/log")
	ok(t, err)
	log, err := evlog.New(pool, evlog.Options{Signer: sg})
	ok(t, err)
	t.Cleanup(func() { _ = log.Close() })
	k := evidence.NewKeeper(pool, log, store, nil)
	workers := river.NewWorkers()
	media.Register(workers, media.FromKeeper(k, store, nil))
	jobs, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Workers: workers, Queues: map[string]river.QueueConfig{media.Queue: {MaxWorkers: 1}}})
	ok(t, err)

	clip := record(t)
	seal := func(name string, content []byte) evidence.ID {
		var rec evidence.Record
		sum := sha256.Sum256(content)
		ok(t, log.Do(ctx, func(ctx context.Context, tx *pg.Tx) (err error) {
			rec, _, err = k.Register(ctx, tx, evidence.Registration{Township: "510821100", Station: "station", FileName: []byte(name), Size: int64(len(content)),
				PartSize: 5 << 20, SHA256: sum, Composite: sum, ManifestKey: "manifest/" + name})
			return err
		}))
		o, err := store.Put(ctx, rec.ObjectKey, content, blob.CreateOptions{})
		ok(t, err)
		ok(t, log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error {
			if err := k.Seal(ctx, tx, rec.ID, evidence.Sealed{VersionID: o.Version, Parts: 1, Check: "attested", At: time.Now(), RetainUntil: time.Now().AddDate(0, 6, 0)}); err != nil {
				return err
			}
			_, err := jobs.InsertTx(ctx, tx.Tx, media.Job{EvidenceID: string(rec.ID)}, nil)
			return err
		}))
		return rec.ID
	}
	whole, cut := seal("东河 2026.mp4", clip), seal("cut.mp4", clip[:len(clip)/3])
	note := seal("轨迹.nmea", []byte("$GPRMC,053011.000,A\n"))
	ok(t, jobs.Start(ctx))
	t.Cleanup(func() { _ = jobs.Stop(context.WithoutCancel(ctx)) })

	get := func(id evidence.ID) (evidence.Record, media.Facts) {
		var rec evidence.Record
		testenv.Eventually(t, 60*time.Second, func() bool {
			rec, err = k.Get(ctx, evidence.Scope{}, id)
			ok(t, err)
			return rec.Verdict != "" && (rec.Verdict != media.OK || rec.PosterKey != "")
		})
		var f media.Facts
		ok(t, json.Unmarshal(rec.Media, &f))
		return rec, f
	}
	rec, f := get(whole)
	if !f.Playable || f.VideoCodec != "h264" || f.AudioCodec != "aac" || f.Width != 320 || f.DurationMs < 2900 || f.DurationMs > 3200 || f.FrameRate != 15 {
		t.Errorf("facts %s", rec.Media)
	}
	if !rec.RecordedAt.Equal(time.Date(2026, 3, 1, 4, 0, 0, 0, time.UTC)) {
		t.Errorf("recorded at %s", rec.RecordedAt)
	}
	r, err := store.Get(ctx, rec.PosterKey, "", 0, -1)
	ok(t, err)
	defer r.Close()
	b, err := io.ReadAll(r)
	ok(t, err)
	if c, err := jpeg.DecodeConfig(bytes.NewReader(b)); err != nil || c.Width != 640 || c.Height != 360 {
		t.Errorf("poster %+v %v", c, err)
	}
	if rec, f := get(cut); rec.Verdict != media.Truncated || f.Playable || f.ExpectedBytes <= f.ActualBytes {
		t.Errorf("a cut file: %s", rec.Media)
	}
	if rec, _ := get(note); rec.Verdict != media.Sidecar {
		t.Errorf("a sidecar: %s", rec.Media)
	}
}
