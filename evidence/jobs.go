package evidence

import (
	"context"
	"time"

	"github.com/riverqueue/river"
)

// Expiry is the job that works the ends of retention off. It asks the tables what is to be done, so that running it once more never harms.
type Expiry struct{}

// Kind names the job in River's tables.
func (Expiry) Kind() string { return "expire-evidence" }

// ExpiryWorker works Expiry off.
type ExpiryWorker struct {
	river.WorkerDefaults[Expiry]
	keeper *Keeper
}

// NewExpiryWorker makes the worker; add it with river.AddWorker.
func NewExpiryWorker(k *Keeper) *ExpiryWorker { return &ExpiryWorker{keeper: k} }

// Work proposes, decides and removes what is due.
func (w *ExpiryWorker) Work(ctx context.Context, _ *river.Job[Expiry]) error {
	return w.keeper.Expire(ctx)
}

// Timeout: a first run may find years of footage.
func (w *ExpiryWorker) Timeout(*river.Job[Expiry]) time.Duration { return time.Hour }

// PeriodicExpiry asks every hour, and once at the start: what a crash left half done is done then.
func PeriodicExpiry() *river.PeriodicJob {
	return river.NewPeriodicJob(river.PeriodicInterval(time.Hour),
		func() (river.JobArgs, *river.InsertOpts) { return Expiry{}, nil }, &river.PeriodicJobOpts{RunOnStart: true})
}
