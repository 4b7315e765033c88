package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// startCounty starts the simulated county beside this program, and again when it dies, until ctx ends. With an external broker there is
// none: that broker doesn't know the demo devices' tokens.
func (c *serveCmd) startCounty(ctx context.Context, g *errgroup.Group, pl *platform, logger *slog.Logger) error {
	if pl.broker == nil {
		logger.InfoContext(ctx, "no simulated devices: they only speak to the embedded MQTT broker")
		return nil
	}
	program, err := sibling("zhizheng-simcounty")
	if err != nil {
		return err
	}
	g.Go(func() error {
		// The kernel sends Pdeathsig when the thread that forked ends, not the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for backoff := time.Second; ; backoff = min(2*backoff, time.Minute) {
			begun := time.Now()
			err := c.runCounty(ctx, program, pl)
			if ctx.Err() != nil {
				return nil
			}
			if time.Since(begun) > 2*time.Minute {
				backoff = time.Second
			}
			logger.WarnContext(ctx, "simulated county ended, starting it again", "in", backoff, "err", err)
			t := time.NewTimer(backoff)
			select {
			case <-ctx.Done():
				t.Stop()
				return nil
			case <-t.C:
			}
		}
	})
	return nil
}

func (c *serveCmd) runCounty(ctx context.Context, program string, pl *platform) error {
	cmd := exec.CommandContext(ctx, program, "--broker", pl.broker.URL(), "--ca", pl.broker.CAFile(),
		"--credentials", filepath.Join(c.secrets(), "demo-devices.json"), "--log-level", c.LogLevel)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	// Its own group: Ctrl-C at the terminal reaches only us, and we stop it in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 8 * time.Second // then it is killed
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s: %w", filepath.Base(program), err)
	}
	return nil
}
