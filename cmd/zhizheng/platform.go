package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"golang.org/x/sync/errgroup"

	"zhizheng/api"
	"zhizheng/authority"
	"zhizheng/budget"
	"zhizheng/cases"
	"zhizheng/cmd/zhizheng/internal/demo"
	"zhizheng/devices"
	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/ingest"
	"zhizheng/ingest/media"
	"zhizheng/internal/embedded"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// platform is the domains, standing on the services.
type platform struct {
	svc       *services
	pool      *pgxpool.Pool
	log       *evlog.Log
	evidence  *evidence.Keeper
	authority *authority.Service
	cases     *cases.Service
	devices   *devices.Service
	budget    *budget.Service
	broker    *embedded.Broker  // nil with an external one
	listener  *devices.Listener // to the external one, else nil
	ingest    *ingest.Service
	demoTSA   *demo.TSA // nil but in a demo without an authority
	jobs      *river.Client[pgx.Tx]

	streams    context.Context // ends first: what answers without end (events) hangs on it
	endStreams context.CancelFunc
}

func (c *serveCmd) openPlatform(ctx context.Context, p *progress, svc *services, logger *slog.Logger) (_ *platform, err error) {
	pl := &platform{svc: svc}
	pl.streams, pl.endStreams = context.WithCancel(context.WithoutCancel(ctx))
	defer func() {
		if err != nil {
			err = errors.Join(err, pl.close())
		}
	}()
	if pl.pool, err = pg.Open(ctx, svc.databaseURL, 24); err != nil {
		return nil, err
	}
	stamps, err := c.stamps(p, pl)
	if err != nil {
		return nil, err
	}
	if err = p.step("证据日志与签名进程", func() error {
		pl.log, err = evlog.New(pl.pool, evlog.Options{Dir: c.secrets(), Origin: c.LogOrigin, Logger: logger, Stamps: stamps})
		return err
	}); err != nil {
		return nil, err
	}
	if h := pl.log.Halted(); h != "" {
		p.say("  ! 日志停止写入：%s", h)
	}
	if err := pl.noteProbe(ctx); err != nil {
		return nil, err
	}
	pl.evidence = evidence.NewKeeper(pl.pool, pl.log, svc.store, nil)
	pl.authority = authority.New(pl.pool, pl.log, authority.Options{Secure: c.secure(), Logger: logger})
	pl.devices = devices.New(pl.pool, devices.Options{Logger: logger})
	pl.budget = budget.New(pl.pool, pl.log, pl.devices, nil)
	workers := river.NewWorkers()
	river.AddWorker(workers, cases.NewHoldWorker(pl.evidence))
	media.Register(workers, media.FromKeeper(pl.evidence, svc.store, logger))
	pl.jobs, err = river.NewClient(riverpgxv5.New(pl.pool), &river.Config{
		Queues:       map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2}, media.Queue: {MaxWorkers: 1}},
		Workers:      workers,
		PeriodicJobs: []*river.PeriodicJob{cases.PeriodicHolds()},
		Logger:       slog.New(levelFilter{logger.Handler(), slog.LevelWarn}),
	})
	if err != nil {
		return nil, fmt.Errorf("jobs: %w", err)
	}
	pl.cases = cases.New(pl.pool, pl.log, pl.authority, pl.evidence, pl.jobs, nil)
	pl.ingest = ingest.New(ingest.Options{Pool: pl.pool, Log: pl.log, Evidence: pl.evidence, Store: svc.store, Logger: logger,
		Attested:  func() bool { return svc.probe.Attested },
		Retain:    func(now time.Time) time.Time { return now.AddDate(0, 0, c.RetentionDays) },
		Recorder:  pl.devices.BySerial,
		AfterSeal: pl.afterSeal})
	return pl, p.step("设备消息 MQTT", func() error { return c.openMessages(ctx, pl, logger) })
}

// openMessages starts the embedded broker, or prepares to listen to the external one (run connects to it).
func (c *serveCmd) openMessages(ctx context.Context, pl *platform, logger *slog.Logger) (err error) {
	if err := pl.devices.ResetPresence(ctx); err != nil {
		return err
	}
	if c.MQTTURL != "" {
		pl.listener, err = pl.devices.NewListener(devices.ListenOptions{URL: c.MQTTURL, CA: c.MQTTCA, Log: logger})
		return err
	}
	pl.broker, err = embedded.StartBroker(ctx, embedded.BrokerOptions{Dir: c.Data, Listen: c.MQTTListen, Log: logger, Authenticate: pl.devices.Authenticate,
		May: devices.May, Publish: pl.devices.TakeDirect, Online: pl.devices.Online, Offline: pl.devices.Offline})
	return addressHint(err, c.MQTTListen, "--mqtt-listen")
}

// noteProbe logs what the store was seen to do, once a start.
func (pl *platform) noteProbe(ctx context.Context) error {
	return pl.log.Do(ctx, func(_ context.Context, tx *pg.Tx) error {
		return pl.log.Append(tx, chain.Entry{Key: "probe/" + id.New(), Kind: chain.KindStoreProbe, Subject: chain.Subject{Type: chain.SubjectPlatform, ID: "store"},
			Time: time.Now(), Payload: chain.NotePayload{Text: pl.svc.probe.Label + "\n" + probeText(pl.svc.probe), OK: pl.svc.probe.Attested && pl.svc.probe.Locked}})
	})
}

// afterSeal enqueues what follows a sealing in its transaction.
func (pl *platform) afterSeal(ctx context.Context, tx *pg.Tx, rec evidence.Record) error {
	if _, err := pl.jobs.InsertTx(ctx, tx.Tx, media.Job{EvidenceID: string(rec.ID)}, nil); err != nil {
		return fmt.Errorf("enqueue media facts: %w", err)
	}
	pl.devices.Uploaded(rec.DeviceID, time.Now())
	return pl.settleHolds(ctx, tx)
}

func (pl *platform) settleHolds(ctx context.Context, tx *pg.Tx) error {
	_, err := pl.jobs.InsertTx(ctx, tx.Tx, cases.SettleHolds{}, nil)
	if err != nil {
		return fmt.Errorf("enqueue holds: %w", err)
	}
	return nil
}

func (pl *platform) deps() api.Deps {
	return api.Deps{Pool: pl.pool, Log: pl.log, Store: pl.svc.store, Evidence: pl.evidence, Ingest: pl.ingest, Authority: pl.authority, Cases: pl.cases,
		Devices: pl.devices, Budget: pl.budget,
		SettleHolds: pl.settleHolds, StoreLabel: func() string { return pl.svc.probe.Label }, Ready: pl.ready}
}

// ready asks each service.
func (pl *platform) ready(ctx context.Context) map[string]string {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	state := map[string]string{"database": "ok", "store": "ok", "log": "ok"}
	if err := pl.pool.Ping(ctx); err != nil {
		state["database"] = "no answer"
	}
	if err := pl.svc.store.Ready(ctx); err != nil {
		state["store"] = "no answer"
	}
	if pl.broker != nil {
		state["mqtt"] = "ok"
		if err := pl.broker.Ready(ctx); err != nil {
			state["mqtt"] = "no answer"
		}
	}
	if pl.listener != nil {
		state["mqtt"] = "ok"
		if err := pl.listener.Ready(ctx); err != nil {
			state["mqtt"] = "no answer"
		}
	}
	if pl.log.Halted() != "" {
		state["log"] = "halted"
	}
	return state
}

// run starts the work that goes on by itself.
func (pl *platform) run(ctx context.Context, g *errgroup.Group) {
	g.Go(func() error { return quiet(ctx, pl.log.Run(ctx)) })
	g.Go(func() error { return quiet(ctx, pl.log.RunStamps(ctx)) })
	if pl.demoTSA != nil {
		g.Go(func() error { return quiet(ctx, pl.demoTSA.Run(ctx)) })
	}
	g.Go(func() error { return quiet(ctx, pl.authority.Run(ctx)) })
	g.Go(func() error { return quiet(ctx, pl.devices.Run(ctx)) })
	if pl.listener != nil {
		g.Go(func() error { return quiet(ctx, pl.listener.Run(ctx)) })
	}
	g.Go(func() error {
		if err := pl.jobs.Start(ctx); err != nil {
			return fmt.Errorf("jobs: %w", err)
		}
		<-pl.jobs.Stopped()
		return nil
	})
}

// quiet turns the end that was asked for into no error.
func quiet(ctx context.Context, err error) error {
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

func (pl *platform) close() error {
	pl.endStreams()
	var err error
	if pl.demoTSA != nil {
		_ = pl.demoTSA.Close() // closed already if it ran
	}
	if pl.broker != nil {
		err = pl.broker.Stop(context.Background())
	}
	if pl.log != nil {
		err = errors.Join(err, pl.log.Close())
	}
	if pl.pool != nil {
		pl.pool.Close()
	}
	return err
}

// levelFilter keeps a chatty library's everyday lines out of the log.
type levelFilter struct {
	slog.Handler
	min slog.Level
}

func (f levelFilter) Enabled(_ context.Context, l slog.Level) bool { return l >= f.min }

// A logger made from this one with attributes stays filtered.
func (f levelFilter) WithAttrs(a []slog.Attr) slog.Handler {
	return levelFilter{f.Handler.WithAttrs(a), f.min}
}
func (f levelFilter) WithGroup(g string) slog.Handler {
	return levelFilter{f.Handler.WithGroup(g), f.min}
}
