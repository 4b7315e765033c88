// Package ingest owns what arrives from docking stations: signed manifests, uploads, sealing. It promises that a fingerprint is in
// the log before its manifest is answered, that a file is sealed once however often and by whomever it is sent, and only after the
// store has shown that it holds the bytes the manifest named. It never sees footage itself: bytes go from the station to the store.
//
// Read submit.go for manifests, upload.go for what is missing, seal.go for the end, station.go for who may speak; track.go and states.go
// for what a key's own chain shows, chains.go for the report on it, completeness.go for one record's place in it; events.go for what
// officers and stations report besides, live.go for how a docking goes.
package ingest

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/evidence"
	"zhizheng/evidence/evlog"
	"zhizheng/ingest/internal/db"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/blob"
	"zhizheng/internal/pg"
)

// Options of New.
type Options struct {
	Pool     *pgxpool.Pool
	Log      *evlog.Log
	Evidence *evidence.Keeper
	Store    *blob.Store
	Attested func() bool                   // whether the store checks parts and shows the composite; else sealing re-reads
	Retain   func(now time.Time) time.Time // until when a file sealed now is locked at least
	OpenLock time.Duration                 // how long an unfinished object is protected; 0 is 72 h. Sealing extends it to the retention.
	// Recorder finds the registered device with a serial number; "" when there is none.
	Recorder func(ctx context.Context, serial string) (deviceID string, err error)
	// Officer says whether there is an officer with an id.
	Officer func(ctx context.Context, id string) (bool, error)
	// Activity gives the township of a planned activity; "" when there is none.
	Activity func(ctx context.Context, id string) (township string, err error)
	// Message takes a device's message again; refused says why it can't be taken, fresh whether it had not come before.
	Message func(ctx context.Context, topic string, body []byte, came time.Time) (fresh bool, refused string, err error)
	// AfterSeal enqueues the jobs that follow (media facts, holds) in the sealing transaction.
	AfterSeal   func(ctx context.Context, tx *pg.Tx, rec evidence.Record) error
	AddressLife time.Duration // how long parts' addresses hold; 0 is 15 minutes
	UploadParts int           // that all stations together may have on their way; 0 is 64
	Now         func() time.Time
	Logger      *slog.Logger
	Series      []manifest.SeriesRule // how recorders number their files; nil is manifest.DefaultSeries
}

// Service takes what stations send.
type Service struct {
	Options
	locks  keyedLocks
	sealed *pg.Bulk[db.SealedUpload]
	alone  chan struct{} // bounds the connections that alone holds

	shares   shareTable
	seen     sync.Map // checkpoints that were noted, by hash
	inferred inferredCount
}

// New makes the service.
func New(o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.AddressLife == 0 {
		o.AddressLife = 15 * time.Minute
	}
	if o.OpenLock == 0 {
		o.OpenLock = 72 * time.Hour
	}
	if o.Series == nil {
		o.Series = manifest.DefaultSeries()
	}
	return &Service{Options: o, alone: make(chan struct{}, 8), sealed: pg.NewBulk(3, "mark upload sealed", db.QueueUploadsSealed)}
}
