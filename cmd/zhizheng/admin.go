package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/authority"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/signer"
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

// auditCmd recomputes the log from its bytes.
type auditCmd struct {
	serviceConfig
}

// Run of `zhizheng audit`.
func (c *auditCmd) Run(ctx context.Context) error {
	return c.withLog(ctx, func(_ *pgxpool.Pool, log *evlog.Log) error {
		report, err := log.Audit(ctx)
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
	o.Signer = signer.Observe(c.secrets()) // beside a running server the key is taken
	log, err := evlog.New(pool, o)
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
