package main

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"
	"k8s.io/klog/v2"

	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

const (
	logRounds   = 5
	logWriters  = 256
	turn        = 1500 * time.Millisecond
	leafSize    = 135 // what a leaf has, near enough
	payloadSize = 450
)

// ways are the ways of one entry into a log, each with a name for the figures.
type way struct {
	name  string
	write func(ctx context.Context, i int64) error
	rates []float64
}

// appending compares writers at once: group commit, a transaction an entry under the head's lock, a whole act of the product, and tessera.
func (b *logBench) appending(ctx context.Context) (err error) {
	bare, err := b.log(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, bare.stop()) }()
	locked, err := b.log(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, locked.stop()) }()
	whole, err := b.log(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, whole.stop()) }()
	viewed, err := b.log(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, viewed.stop()) }()
	keeper, viewKeeper := evidence.NewKeeper(whole.pool, whole.Log, nil, nil), evidence.NewKeeper(viewed.pool, viewed.Log, nil, nil)
	items := make([]evidence.ID, 200)
	for i := range items {
		if items[i], err = register(ctx, viewed, viewKeeper); err != nil {
			return err
		}
	}
	tes, stopTessera, err := b.tessera(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopTessera(context.WithoutCancel(ctx))) }()
	var acknowledged [2]atomic.Int64
	var tail int64
	ways := []*way{
		{name: "do", write: func(ctx context.Context, i int64) error {
			return bare.Do(ctx, func(_ context.Context, tx *pg.Tx) error { return bare.Append(tx, plainEntry(i)) })
		}},
		{name: "lock", write: func(ctx context.Context, i int64) error {
			return pg.InTx(ctx, locked.pool, func(tx *pg.Tx) error { return locked.Append(tx, plainEntry(i)) })
		}},
		{name: "record", write: func(ctx context.Context, i int64) error { _, err := register(ctx, whole, keeper); return err }},
		{name: "view", write: func(ctx context.Context, i int64) error {
			return viewKeeper.Viewed(ctx, items[i%int64(len(items))], true, evidence.Act{Actor: "bench", Session: fmt.Sprint("s", i)})
		}},
		{name: "tessera", write: func(ctx context.Context, i int64) error {
			body := make([]byte, leafSize+payloadSize)
			_, _ = rand.Read(body) // never fails since Go 1.24
			_, err := tes.Add(ctx, tessera.NewEntry(body))()
			return err
		}},
	}
	for round := range logRounds + 1 {
		for i, w := range ways {
			n, rate, err := hammer(ctx, logWriters, turn, &tail, w.write)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			if i < 2 {
				acknowledged[i].Add(n)
			}
			if round > 0 { // the first warms up
				w.rates = append(w.rates, rate)
			}
		}
	}
	if err := errors.Join(sound(ctx, bare.Log, acknowledged[0].Load()), sound(ctx, locked.Log, acknowledged[1].Load())); err != nil {
		return err
	}
	at := map[string]*way{}
	for _, w := range ways {
		at[w.name] = w
	}
	against := func(a, b string) float64 {
		var r []float64
		for i := range at[a].rates {
			r = append(r, at[a].rates[i]/at[b].rates[i])
		}
		return middle(r)
	}
	figure("log: 256 writers", middle(at["do"].rates), "entries/s", "-")
	figure("log: 256 writers, a transaction an entry under the head's lock", middle(at["lock"].rates), "entries/s", "-")
	figure("log: 256 writers, tessera's POSIX driver on the same disk", middle(at["tessera"].rates), "entries/s", "-")
	figure("log: 256 writers, each with record, custody event and key", middle(at["record"].rates), "entries/s", "-")
	figure("log: 256 writers against a transaction an entry", against("do", "lock"), "x", "≥ 30")
	figure("log: 256 writers against tessera's POSIX driver", against("do", "tessera"), "x", "≥ 2")
	figure("log: with record, custody event and key, against the bare log", against("record", "do"), "x", "≥ 0.5")
	figure("log: a download noted (custody event and key), against the bare log", against("view", "do"), "x", "-")
	return nil
}

// plainEntry is a leaf of the usual size about one of a thousand items.
func plainEntry(i int64) chain.Entry {
	body := make([]byte, payloadSize-10)
	_, _ = rand.Read(body) // never fails since Go 1.24
	return chain.Entry{
		Key: fmt.Sprint("bench/", i), Kind: chain.KindViewed, Subject: chain.Subject{Type: chain.SubjectEvidence, ID: fmt.Sprint("item", i%1000)},
		Payload: chain.NotePayload{Bytes: body},
	}
}

// register does what the arrival of a manifest does: the record, its custody event, and the leaf under its key.
func register(ctx context.Context, l *benchLog, k *evidence.Keeper) (evidence.ID, error) {
	r := evidence.Registration{Township: "510824101", Station: "bench", Recorder: "R1", DeviceID: "", FileName: []byte("VID_20240101_120000_0001.mp4"),
		Size: 350 << 20, PartSize: 5 << 20, ManifestKey: "manifest/" + id.New(), ModifiedAt: time.Now().Add(-time.Hour)}
	_, _ = rand.Read(r.SHA256[:]) // never fails since Go 1.24
	r.Composite = sha256.Sum256(r.SHA256[:])
	var eid evidence.ID
	bytes := evidence.Fingerprint{SHA256: r.SHA256, Size: r.Size}
	known, err := k.Known(ctx, bytes)
	if err != nil {
		return "", err
	}
	if known[bytes] {
		return "", errors.New("random bytes were known")
	}
	err = l.Do(ctx, func(ctx context.Context, tx *pg.Tx) error {
		rec := k.RegisterUnseen(tx, r)
		eid = rec.ID
		return l.Append(tx, chain.Entry{Key: r.ManifestKey, Kind: chain.KindManifest, Subject: chain.Subject{Type: chain.SubjectKey, ID: "bench"},
			Payload: chain.ManifestPayload{EvidenceID: string(rec.ID), Signed: make([]byte, 300), Cert: make([]byte, 32)}})
	})
	return eid, err
}

// hammer lets writers write one after another until time is up; what is under way then counts to the end.
func hammer(ctx context.Context, writers int, d time.Duration, next *int64, write func(context.Context, int64) error) (int64, float64, error) {
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	began := time.Now()
	end := began.Add(d)
	first := atomic.LoadInt64(next)
	for range writers {
		wg.Go(func() {
			for time.Now().Before(end) && failed.Load() == nil {
				if err := write(ctx, atomic.AddInt64(next, 1)); err != nil {
					failed.Store(&err)
				}
			}
		})
	}
	wg.Wait()
	if err := failed.Load(); err != nil {
		return 0, 0, *err
	}
	n := atomic.LoadInt64(next) - first
	return n, float64(n) / time.Since(began).Seconds(), nil
}

// tessera is the other log: batches as large as ours, flushed as soon as they are full or 5 ms old.
func (b *logBench) tessera(ctx context.Context) (*tessera.Appender, func(context.Context) error, error) {
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	dir := filepath.Join(b.dir, "tessera")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, nil, err
	}
	driver, err := posix.New(ctx, posix.Config{Path: dir})
	if err != nil {
		return nil, nil, err
	}
	key, _, err := note.GenerateKey(rand.Reader, "bench.tessera")
	if err != nil {
		return nil, nil, err
	}
	s, err := note.NewSigner(key)
	if err != nil {
		return nil, nil, err
	}
	o := tessera.NewAppendOptions().WithCheckpointSigner(s).WithCheckpointInterval(time.Second).WithBatching(logWriters, 5*time.Millisecond)
	ctx, cancel := context.WithCancel(ctx)
	a, stop, _, err := tessera.NewAppender(ctx, driver, o)
	if err != nil {
		cancel()
		return nil, nil, err
	}
	return a, func(ctx context.Context) error {
		defer cancel()
		return stop(ctx)
	}, nil
}

func withDatabase(address, name string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	u.Path = "/" + name
	return u.String(), nil
}
