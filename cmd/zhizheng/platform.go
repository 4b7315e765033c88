package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
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
	"zhizheng/evidence/audit"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/drill"
	"zhizheng/evidence/evlog"
	"zhizheng/ingest"
	"zhizheng/ingest/manifest"
	"zhizheng/ingest/media"
	"zhizheng/internal/ca"
	"zhizheng/internal/embedded"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
	"zhizheng/internal/secret"
)

// platform is the domains, standing on the services.
type platform struct {
	svc       *services
	pool      *pgxpool.Pool
	log       *evlog.Log
	evidence  *evidence.Keeper
	audit     *audit.Service
	authority *authority.Service
	cases     *cases.Service
	devices   *devices.Service
	budget    *budget.Service
	broker    *embedded.Broker  // nil with an external one
	listener  *devices.Listener // to the external one, else nil
	ingest    *ingest.Service
	demoTSA   *demo.TSA // nil but in a demo without an authority
	jobs      *river.Client[pgx.Tx]
	names     manifest.Names // how file names are read

	demoWitnesses []*demoWitness

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
		if c.Demo && c.LogLockDays == 0 {
			c.LogLockDays = 1
		}
		o, err := c.logOptions(svc.store, false)
		if err != nil {
			return err
		}
		o.Logger, o.Stamps = logger, stamps
		pl.log, err = evlog.New(pl.pool, o)
		return err
	}); err != nil {
		return nil, err
	}
	if h := pl.log.Halted(); h != "" {
		p.say("  ! 日志停止写入：%s（处理办法见 docs/runbook.zh-CN.md）", h) // reading goes on
	} else if err := errors.Join(pl.log.NoteKeys(ctx), pl.noteProbe(ctx)); err != nil {
		return nil, err
	}
	if err := c.useWitnesses(ctx, p, pl); err != nil {
		return nil, err
	}
	pl.evidence = evidence.NewKeeper(pl.pool, pl.log, svc.store, nil)
	pl.evidence.Policy = c.policy(c.RetentionDays)
	pl.authority = authority.New(pl.pool, pl.log, authority.Options{Secure: c.secure(), Logger: logger})
	authorityOfDevices, err := ca.Open(c.Data)
	if err != nil {
		return nil, err
	}
	commandKey, err := secret.Ed25519(c.Data, "device-command.key")
	if err != nil {
		return nil, err
	}
	pl.devices = devices.New(pl.pool, devices.Options{Logger: logger, CommandKey: commandKey, KeepMessages: time.Duration(c.MessageDays) * 24 * time.Hour, Rate: c.DeviceRate, Letters: c.DeviceLetters,
		Log: pl.log, CA: authorityOfDevices, CRL: cmp.Or(c.MQTTCRL, filepath.Join(c.Data, "mqtt", "crl.pem"))})
	pl.budget = budget.New(pl.pool, pl.log, pl.devices, nil)
	workers := river.NewWorkers()
	river.AddWorker(workers, cases.NewHoldWorker(pl.evidence, func(ctx context.Context, eid evidence.ID) error { return pl.audit.HoldMissing(ctx, eid) }))
	river.AddWorker(workers, evidence.NewExpiryWorker(pl.evidence))
	river.AddWorker(workers, &ingest.OrphanWorker{Service: func() *ingest.Service { return pl.ingest }})
	if pl.names, err = c.names(); err != nil {
		return nil, err
	}
	facts := media.FromKeeper(pl.evidence, svc.store, logger)
	facts.Prober.Names = &pl.names
	media.Register(workers, facts)
	media.RegisterDerive(workers, pl.evidence, svc.store, previewsAtOnce, logger)
	pl.jobs, err = river.NewClient(riverpgxv5.New(pl.pool), &river.Config{
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2}, media.Queue: {MaxWorkers: 1},
			media.DeriveQueue: {MaxWorkers: previewsAtOnce}},
		Workers:      workers,
		PeriodicJobs: []*river.PeriodicJob{cases.PeriodicHolds(), evidence.PeriodicExpiry(), ingest.PeriodicOrphans(), media.PeriodicDerive()},
		Logger:       slog.New(levelFilter{logger.Handler(), slog.LevelWarn}),
	})
	if err != nil {
		return nil, fmt.Errorf("jobs: %w", err)
	}
	pl.cases = cases.New(pl.pool, pl.log, pl.authority, pl.evidence, pl.jobs, nil)
	at, daily, err := c.auditAt()
	if err != nil {
		return nil, err
	}
	pl.audit = audit.New(audit.Options{Pool: pl.pool, Log: pl.log, Evidence: pl.evidence, Stores: []audit.Store{{Name: mainStore, Options: svc.stored}},
		Drill:   drill.New(drill.Options{Log: pl.log, Evidence: pl.evidence, Read: manifest.Open, Enrolment: ingest.EnrolmentKey}),
		CasesOf: pl.cases.IDsOfEvidence, Free: c.free(svc), LogDaily: daily, LogAt: at, CanaryEvery: c.CanaryEvery, RereadEvery: c.RereadEvery, Rate: c.RereadRate, Logger: logger})
	pl.ingest = ingest.New(ingest.Options{Series: pl.names.Series(), UploadParts: c.UploadParts, Pool: pl.pool, Log: pl.log, Evidence: pl.evidence, Store: svc.store, Logger: logger,
		Attested:  func() bool { return svc.probe.Attested },
		Retain:    func(now time.Time) time.Time { return now.AddDate(0, 0, c.RetentionDays) },
		Recorder:  pl.devices.BySerial,
		Officer:   pl.authority.IsOfficer,
		Activity:  pl.cases.ActivityTownship,
		Message:   pl.devices.TakeAgain,
		AfterSeal: pl.afterSeal})
	return pl, p.step("设备消息 MQTT", func() error { return c.openMessages(ctx, pl, logger) })
}

// openMessages starts the embedded broker, or prepares to listen to the external one (run connects to it).
func (c *serveCmd) openMessages(ctx context.Context, pl *platform, logger *slog.Logger) (err error) {
	if err := pl.devices.ResetPresence(ctx); err != nil {
		return err
	}
	if c.MQTTURL != "" {
		if c.MQTTMember == "" {
			name, err := secret.Text(c.Data, "mqtt-member")
			if err != nil {
				return err
			}
			c.MQTTMember = "zhizheng-" + name[:8]
		}
		pl.listener, err = pl.devices.NewListener(devices.ListenOptions{URL: c.MQTTURL, CA: c.MQTTCA, Member: c.MQTTMember, Connections: c.MQTTConnections, Log: logger})
		if err == nil {
			pl.devices.SendBy(pl.listener)
		}
		return err
	}
	pl.broker, err = embedded.StartBroker(ctx, embedded.BrokerOptions{Dir: c.Data, Listen: c.MQTTListen, Log: logger, Authenticate: pl.devices.Authenticate,
		May: devices.May, Publish: pl.devices.TakeDirect, Online: pl.devices.Online, Offline: pl.devices.Offline, Listening: pl.devices.Listening})
	if err != nil {
		return addressHint(err, c.MQTTListen, "--mqtt-listen")
	}
	pl.devices.Attach(pl.broker)
	pl.devices.SendBy(pl.broker)
	return nil
}

// brokerFor is what devices are told to connect to.
func (c *serveCmd) brokerFor(pl *platform) string {
	if c.MQTTPublic == "" && pl.broker != nil {
		return pl.broker.URL()
	}
	return c.MQTTPublic
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

// previewsAtOnce is how many previews and contact sheets are made at once in the whole county, on however many servers.
const previewsAtOnce = 2

// derive enqueues a turn at making what is derived from footage.
func (pl *platform) derive(ctx context.Context, tx *pg.Tx) error {
	if _, err := pl.jobs.InsertTx(ctx, tx.Tx, media.DeriveJob{}, nil); err != nil {
		return fmt.Errorf("enqueue preview: %w", err)
	}
	return nil
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
		Devices: pl.devices, Budget: pl.budget, Audit: pl.audit, Names: pl.names,
		SettleHolds: pl.settleHolds, Derive: pl.derive, StoreLabel: pl.storeLabel, Ready: pl.ready}
}

// mainStore names the store in leaves, canaries and alarms.
const mainStore = "主存储"

// storeLabel is the probe's, unless a canary showed since that the store's locks don't hold.
func (pl *platform) storeLabel() string {
	if pl.audit.LockBroken() {
		return "not trusted: " + api.LockBroken
	}
	return pl.svc.probe.Label
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
	} else if pl.audit.LockBroken() {
		state["store"] = api.LockBroken // it goes on serving: what is there must stay readable
	} else if pl.audit.StoreFull() {
		state["store"] = api.StoreFull // so here
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
	for _, w := range pl.demoWitnesses {
		w.run(ctx, g, slog.Default())
	}
	g.Go(func() error { return quiet(ctx, pl.log.Run(ctx)) })
	g.Go(func() error { return quiet(ctx, pl.log.RunStamps(ctx)) })
	if pl.demoTSA != nil {
		g.Go(func() error { return quiet(ctx, pl.demoTSA.Run(ctx)) })
	}
	g.Go(func() error { return quiet(ctx, pl.authority.Run(ctx)) })
	g.Go(func() error { return quiet(ctx, pl.devices.Run(ctx)) })
	g.Go(func() error { return quiet(ctx, pl.audit.Run(ctx)) })
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
	err := closeDemoWitnesses(pl.demoWitnesses)
	if pl.demoTSA != nil {
		_ = pl.demoTSA.Close() // closed already if it ran
	}
	if pl.broker != nil {
		err = errors.Join(err, pl.broker.Stop(context.Background()))
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
