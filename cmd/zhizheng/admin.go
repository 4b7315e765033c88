package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/authority"
	"zhizheng/cases"
	"zhizheng/evidence"
	"zhizheng/evidence/audit"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/drill"
	"zhizheng/evidence/evlog"
	"zhizheng/ingest"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// probeCmd asks the store what it does and prints the transcript.
type probeCmd struct {
	serviceConfig
}

// Run of `zhizheng probe`.
func (c *probeCmd) Run(ctx context.Context) error {
	if err := c.validate(); err != nil {
		return err
	}
	release, err := lockUnlessExternal(c.Data, c.S3Endpoint != "")
	if err != nil {
		return err
	}
	defer release()
	svc := &services{}
	defer func() { _ = svc.stop() }() // the process ends here; what matters was printed
	if err := c.startStore(ctx, svc, slog.Default()); err != nil {
		return err
	}
	fmt.Print(probeText(svc.probe))
	fmt.Printf("存储：%s\n", svc.probe.Label)
	if !svc.probe.Locked {
		return errors.New("存储没有守住对象锁，不能用来保存证据")
	}
	return nil
}

// auditCmd checks what is kept. Without a word more it audits the log.
type auditCmd struct {
	Log    auditLogCmd    `cmd:"" default:"withargs" help:"从字节重算整个日志：叶子、链、树、检查点。"`
	Reread auditRereadCmd `cmd:"" help:"重读全部影像并与封存时的摘要比对。"`
	Drill  auditDrillCmd  `cmd:"" help:"自证演练：在副本上篡改十一种，看能否逐一发现。"`
}

// auditDrillCmd tampers with a copy. Beside a running server that one has the store: then the log's ways are tried, footage and bundle not.
type auditDrillCmd struct {
	serviceConfig
}

// Run of `zhizheng audit drill`.
func (c *auditDrillCmd) Run(ctx context.Context) error {
	if err := c.validate(); err != nil {
		return err
	}
	return c.withLog(ctx, func(pool *pgxpool.Pool, log *evlog.Log) error {
		o := drill.Options{Log: log, Read: manifest.Open, Enrolment: ingest.EnrolmentKey}
		svc := &services{}
		defer func() { _ = svc.stop() }() // the process ends here
		err := c.startStore(ctx, svc, slog.New(slog.DiscardHandler))
		switch _, noServer := c.beside(); {
		case err == nil:
			o.Evidence = evidence.NewKeeper(pool, log, svc.store, nil)
		case noServer == nil && c.S3Endpoint == "":
			fmt.Fprintln(os.Stderr, "! 存储由正在运行的平台使用：影像与证据包的三种请在网页“证据册”上演练")
		default:
			return err
		}
		s := audit.New(audit.Options{Pool: pool, Log: log, Drill: drill.New(o)})
		r, _, err := s.RunDrill(ctx, audit.System)
		if err != nil {
			return err
		}
		fmt.Printf("副本 %d 页，根散列 %x\n", r.Size, r.Root[:])
		if !r.Control {
			return fmt.Errorf("副本未经改动就不成立，演练不作数：%s", r.Problem)
		}
		for _, w := range r.Ways {
			mark, by := "✓", w.By
			if !w.Found {
				mark, by = "✗", "没有被发现"
			}
			fmt.Printf("%s %s\n    %s\n", mark, w.Zh, by)
		}
		if !r.AllFound() {
			return errors.New("有篡改没有被发现")
		}
		fmt.Printf("✓ %d 种篡改全部识破\n", len(r.Ways))
		return nil
	})
}

// auditLogCmd recomputes the log from its bytes.
type auditLogCmd struct {
	serviceConfig
}

// Run of `zhizheng audit`.
func (c *auditLogCmd) Run(ctx context.Context) error {
	return c.withLog(ctx, func(pool *pgxpool.Pool, log *evlog.Log) error {
		report, err := recordedAudit(ctx, pool, log)
		if err != nil {
			return err
		}
		fmt.Printf("册页 %d，主体 %d，无载荷 %d，存证点 %d，用时 %.1f 秒\n根散列 %x\n", report.Entries, report.Subjects, report.Erased, report.Checkpoints,
			report.Took.Seconds(), report.Root[:])
		for _, f := range report.Findings {
			fmt.Printf("✗ %s\n", f)
		}
		if n := int64(len(report.Findings)) + report.More; n > 0 {
			return fmt.Errorf("日志有 %d 处不符", n)
		}
		fmt.Println("✓ 日志完整一致")
		return nil
	})
}

// recordedAudit keeps the run and its leaf. Where that can't be, beside another audit or on a log that stands still, the audit itself is
// worth having nevertheless.
func recordedAudit(ctx context.Context, pool *pgxpool.Pool, log *evlog.Log) (evlog.AuditReport, error) {
	report, _, err := audit.New(audit.Options{Pool: pool, Log: log}).AuditLog(ctx, audit.System)
	switch {
	case err == nil || ctx.Err() != nil:
		return report, err
	case fault.Is(err, fault.KindConflict):
		fmt.Fprintln(os.Stderr, "! 另一次核验正在进行，这一次的结果不入册")
	case report.Root == chain.Hash{}: // the audit itself failed
		return report, err
	default:
		fmt.Fprintln(os.Stderr, "! 核验结果没有入册：", err)
		return report, nil
	}
	return log.Audit(ctx)
}

// auditRereadCmd reads all footage again. Beside a running server that one reads, and this shows how far it is.
type auditRereadCmd struct {
	serviceConfig
}

// Run of `zhizheng audit reread`.
func (c *auditRereadCmd) Run(ctx context.Context) error {
	if err := c.validate(); err != nil {
		return err
	}
	return c.withLog(ctx, func(pool *pgxpool.Pool, log *evlog.Log) error {
		svc := &services{}
		defer func() { _ = svc.stop() }() // the process ends here
		err := c.startStore(ctx, svc, slog.New(slog.DiscardHandler))
		_, noServer := c.beside()
		served := err != nil && noServer == nil && c.S3Endpoint == "" // the store is taken by the server, which reads then
		if err != nil && !served {
			return err
		}
		keeper := evidence.NewKeeper(pool, log, svc.store, nil)
		s := audit.New(audit.Options{Pool: pool, Log: log, Evidence: keeper, Rate: c.RereadRate,
			CasesOf: cases.New(pool, log, authority.New(pool, log, authority.Options{}), keeper, nil, nil).IDsOfEvidence})
		run, err := s.Start(ctx, audit.KindReread, audit.System)
		if fault.Is(err, fault.KindConflict) { // begun before: it is followed
			run, err = s.Last(ctx, audit.KindReread)
		}
		if err != nil {
			return err
		}
		if !served {
			if err := s.ReadRun(ctx, run.ID); err != nil && !fault.Is(err, fault.KindConflict) {
				return err
			}
		}
		return followReread(ctx, s, run.ID)
	})
}

// followReread prints how far a run is until it ends.
func followReread(ctx context.Context, s *audit.Service, id string) error {
	t := time.NewTicker(2 * time.Second)
	defer t.Stop()
	for last := int64(-1); ; {
		run, err := s.Get(ctx, id)
		if err != nil {
			return err
		}
		if run.DoneObjects != last {
			last = run.DoneObjects
			fmt.Printf("%d / %d 份，%d / %d 字节\n", run.DoneObjects, run.TotalObjects, run.DoneBytes, run.TotalBytes)
		}
		if run.State != audit.StateRunning {
			for _, f := range run.Findings {
				fmt.Printf("✗ %s：%s\n", f.Where, f.What)
			}
			fmt.Println(run.Text)
			if run.State != audit.StateOK {
				return fmt.Errorf("有 %d 处不符", run.FindingCount)
			}
			return nil
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return ctx.Err() // the run goes on, here at the next start or in the server
		}
	}
}

// withLog opens database and log without the rest.
func (c *serviceConfig) withLog(ctx context.Context, fn func(*pgxpool.Pool, *evlog.Log) error) error {
	return c.withLogOptions(ctx, evlog.Options{}, fn)
}

func (c *serviceConfig) withLogOptions(ctx context.Context, o evlog.Options, fn func(*pgxpool.Pool, *evlog.Log) error) error {
	release, err := lockUnlessExternal(c.Data, c.DatabaseURL != "")
	if err == nil {
		defer release() // last: after the services have stopped
	}
	svc := &services{}
	defer func() { _ = svc.stop() }()                    // the process ends here
	if inUse, is := errors.AsType[inUseError](err); is { // beside a running server its database answers
		r, err := c.beside()
		if err != nil || r.DatabaseURL == "" { // it starts just now, or its database is not embedded
			return errors.Join(inUse, err)
		}
		svc.databaseURL = r.DatabaseURL
	} else if err != nil {
		return err
	} else if err := c.startDatabase(ctx, svc, slog.New(slog.NewTextHandler(io.Discard, nil))); err != nil {
		return err
	}
	pool, err := pg.Open(ctx, svc.databaseURL, 4)
	if err != nil {
		return err
	}
	defer pool.Close()
	opened, err := c.logOptions(nil, true)
	if err != nil {
		return err
	}
	opened.Stamps = o.Stamps
	log, err := evlog.New(pool, opened)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // nothing is signed any more
	return fn(pool, log)
}

// userCmd manages accounts from the machine itself.
type userCmd struct {
	Link userLinkCmd `cmd:"" help:"打印某账号的一次性登录链接。"`
}

type userLinkCmd struct {
	serviceConfig
	Username  string `arg:"" help:"用户名。"`
	PublicURL string `help:"用户访问的地址；默认取正在运行的平台的。" env:"ZZ_PUBLIC_URL" name:"public-url"`
}

// Run of `zhizheng user link`.
func (c *userLinkCmd) Run(ctx context.Context) error {
	return c.withLog(ctx, func(pool *pgxpool.Pool, log *evlog.Log) error {
		token, err := authority.New(pool, log, authority.Options{}).IssueLink(authority.WithActor(ctx, authority.System), c.Username)
		if err != nil {
			return err
		}
		if c.PublicURL == "" {
			c.PublicURL = "http://127.0.0.1:8080"
			if r, err := c.beside(); err == nil && r.PublicURL != "" {
				c.PublicURL = r.PublicURL
			}
		}
		fmt.Fprintf(os.Stdout, "%s/sign-in?token=%s\n", c.PublicURL, token)
		return nil
	})
}

// lockUnlessExternal keeps administration and server apart where they would share an embedded service.
func lockUnlessExternal(dir string, external bool) (func(), error) {
	if external {
		return func() {}, nil
	}
	return lockData(dir)
}
