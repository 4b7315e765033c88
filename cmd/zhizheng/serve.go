package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"zhizheng/api"
	"zhizheng/internal/version"
	"zhizheng/web"
)

// Run is `zhizheng serve`: main and the tests start the same thing.
func (c *serveCmd) Run(ctx context.Context) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	slog.SetDefault(logger)
	return c.serve(ctx, os.Stdout, logger)
}

// serve starts the services side by side, then what stands on them, and stops in the opposite order. It returns when ctx ends
// and everything has stopped, or with the first failure.
func (c *serveCmd) serve(ctx context.Context, out io.Writer, logger *slog.Logger) (err error) {
	p := &progress{out: out}
	p.say("执证 Zhizheng %s · 数据目录 %s", version.String(), c.Data)
	release, err := lockData(c.Data)
	if err != nil {
		return err
	}
	defer release()
	// The address is taken before anything starts: a second server on the same port hears of it at once.
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return fmt.Errorf("地址 %s 不可用（可能另一个程序正在使用，可用 LISTEN=主机:端口 另选）：%w", c.Listen, err)
	}
	defer ln.Close()
	if c.PublicURL == "" {
		c.PublicURL = "http://" + ln.Addr().String()
	}

	svc, err := c.startServices(ctx, p, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, svc.stop()) }()
	if err := c.leaveRunning(svc); err != nil {
		return err
	}
	defer os.Remove(c.runningFile())
	plat, err := c.openPlatform(ctx, p, svc, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, plat.close()) }()

	deps := plat.deps()
	deps.Console, deps.Version, deps.Demo, deps.Logger = web.FS(), version.String(), c.Demo, logger
	deps.Broker = c.brokerFor(plat)
	deps.SecureCookies, deps.Metrics = c.secure(), c.Metrics
	if deps.Wipe, err = c.wipe(); err != nil {
		return err
	}
	if self, err := os.Executable(); err == nil { // an unknown place of our own only means that no verifier is offered
		deps.Tools = &api.Tools{Dir: filepath.Dir(self)}
	}
	handler, err := api.New(deps)
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ReadTimeout: 3 * time.Minute, // of a whole request; bodies are small documents
		ErrorLog:    slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		BaseContext: func(net.Listener) context.Context { return plat.streams },
	}

	g, gctx := errgroup.WithContext(ctx)
	work, stopWork := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWork()
	g.Go(func() error {
		if err := server.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serve: %w", err)
		}
		return nil
	})
	plat.run(work, g)
	svc.watch(work, g)
	g.Go(func() error { // the first visit: demo, then the address, then what keeps the demo moving
		err := untilThere(gctx, p, func() error { return c.welcome(gctx, p, plat) })
		if err == nil && c.Demo && c.DemoCounty {
			if err := c.startCounty(work, g, plat, logger); err != nil {
				p.say("  ! 不模拟设备上报：%v", err)
			}
		}
		if err == nil && c.Demo && c.DemoFootage {
			if err := c.dockDemo(gctx, p, plat); err != nil && gctx.Err() == nil { // the platform goes on without; the next start tries again
				p.say("  ✗ 示例影像未能归库，下次启动时重试：%v", err)
			}
		}
		if gctx.Err() != nil {
			return nil
		}
		return err
	})
	g.Go(func() error {
		<-gctx.Done()
		// Requests first, then the work behind them, then the services (deferred above).
		plat.endStreams()
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err := server.Shutdown(drain)
		if errors.Is(err, context.DeadlineExceeded) {
			err = server.Close()
		}
		stopWork()
		return err
	})
	err = g.Wait()
	if ctx.Err() != nil {
		p.say("正在停止 …")
		if errors.Is(err, context.Canceled) {
			err = nil
		}
	}
	return err
}
