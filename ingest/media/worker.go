package media

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"time"

	"github.com/riverqueue/river"

	"zhizheng/evidence"
	"zhizheng/internal/blob"
	"zhizheng/internal/fault"
)

// Queue is River's queue of these jobs; one or two workers are plenty, they are niced.
const Queue = "media"

// Job asks for the facts of one sealed file. It is enqueued in the sealing transaction.
type Job struct {
	EvidenceID string `json:"evidence_id"`
}

// Kind names the job in River's tables.
func (Job) Kind() string { return "media_probe" }

// InsertOpts: one job a file; a store that is away for a day doesn't exhaust it.
func (Job) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: Queue, MaxAttempts: 25, UniqueOpts: river.UniqueOpts{ByArgs: true}}
}

// Source opens a sealed file for reading at random.
type Source interface {
	Open(ctx context.Context, evidenceID string) (r io.ReaderAt, size int64, name string, err error)
}

// Deps are what the worker needs. Save and PutPoster may be called again with the same content.
type Deps struct {
	Source    Source
	Save      func(ctx context.Context, evidenceID string, f Facts) error
	PutPoster func(ctx context.Context, evidenceID string, jpeg []byte) error
	Prober    Prober
	Logger    *slog.Logger // nil is the default one
}

// Worker probes and makes posters.
type Worker struct {
	river.WorkerDefaults[Job]
	Deps
}

// NewWorker makes the worker.
func NewWorker(d Deps) *Worker {
	if d.Logger == nil {
		d.Logger = slog.Default()
	}
	return &Worker{Deps: d}
}

// Register adds the worker to River's.
func Register(workers *river.Workers, d Deps) { river.AddWorker(workers, NewWorker(d)) }

// Timeout is above all limits inside.
func (w *Worker) Timeout(*river.Job[Job]) time.Duration { return 6 * time.Minute }

// Work stores the facts first: a crash before the poster repeats both, and a file that gives no picture is done nevertheless.
func (w *Worker) Work(ctx context.Context, job *river.Job[Job]) error {
	eid := job.Args.EvidenceID
	r, size, name, err := w.Source.Open(ctx, eid)
	if fault.Is(err, fault.KindNotFound) {
		return river.JobCancel(err)
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", eid, err)
	}
	f, err := w.Prober.Probe(ctx, r, size, name)
	if err != nil {
		return fmt.Errorf("probe %s: %w", eid, err)
	}
	if err := w.Save(ctx, eid, f); err != nil {
		return fmt.Errorf("save facts of %s: %w", eid, err)
	}
	jpeg, err := w.Prober.Poster(ctx, r, size, f)
	switch {
	case errors.Is(err, errNoPicture):
		if f.VideoCodec != "" {
			w.Logger.InfoContext(ctx, "no poster", "evidence", eid, "verdict", f.Verdict, "cause", err)
		}
		return nil
	case err != nil:
		return fmt.Errorf("poster of %s: %w", eid, err)
	}
	if err := w.PutPoster(ctx, eid, jpeg); err != nil {
		return fmt.Errorf("store poster of %s: %w", eid, err)
	}
	return nil
}

// FromKeeper connects the worker to the records and the store.
func FromKeeper(k *evidence.Keeper, store *blob.Store, logger *slog.Logger) Deps {
	return Deps{
		Source: keeperSource{k},
		Save: func(ctx context.Context, eid string, f Facts) error {
			if err := k.SaveTimeline(ctx, evidence.ID(eid), f.Track, f.Frames); err != nil {
				return err // before the verdict: who sees that one finds the other
			}
			return k.SaveFacts(ctx, evidence.ID(eid), f, f.Verdict, f.CreatedAt)
		},
		PutPoster: func(ctx context.Context, eid string, jpeg []byte) error {
			key := "posters/" + eid + ".jpg"
			_, err := store.Put(ctx, key, jpeg, blob.CreateOptions{ContentType: "image/jpeg"})
			if err != nil && !fault.Is(err, fault.KindConflict) { // put before a crash: the same picture
				return err
			}
			return k.SetPoster(ctx, evidence.ID(eid), key)
		},
		Logger: logger,
	}
}

type keeperSource struct{ k *evidence.Keeper }

func (s keeperSource) Open(ctx context.Context, eid string) (io.ReaderAt, int64, string, error) {
	rec, err := s.k.Get(ctx, evidence.Scope{}, evidence.ID(eid))
	if err != nil {
		return nil, 0, "", err
	}
	if rec.Status != evidence.StatusSealed {
		return nil, 0, "", fault.NotFound("影像还没有封存：%s", eid)
	}
	return s.k.ReaderAt(ctx, rec), rec.Size, rec.FileName, nil
}

// HasFFmpeg tells whether posters can be made here; without it facts are complete and pictures missing.
func HasFFmpeg() bool { _, err := exec.LookPath("ffmpeg"); return err == nil }
