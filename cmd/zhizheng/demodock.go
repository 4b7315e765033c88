package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"zhizheng/cmd/zhizheng/internal/demo"
	"zhizheng/internal/sim"
)

// dockDemo generates the footage of the demo's recorder and docks it once through the real agent, while the platform is in use already.
func (c *serveCmd) dockDemo(ctx context.Context, p *progress, pl *platform) error {
	dir := filepath.Join(c.Data, "demo-footage")
	done := filepath.Join(dir, ".docked")
	if _, err := os.Stat(done); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := exec.LookPath("ffmpeg"); err != nil {
		p.say("  ! 没有 ffmpeg，不生成示例影像（make setup 会安装）。")
		return nil
	}
	card := filepath.Join(dir, "card")
	start := time.Now()
	err := sim.Card(ctx, card, "东河镇综合行政执法队", demo.DemoRecorder, "000402", start, func(n int) error {
		p.say("  … 生成并归库示例影像 %d/%d", n, sim.DemoClips)
		return c.runAgent(ctx, card, demo.DemoRecorder)
	})
	if err != nil {
		return err
	}
	n, err := demo.Exhibits(ctx, demo.ExhibitsDeps{Cases: pl.cases, Evidence: pl.evidence})
	if err != nil {
		return err
	}
	p.say("  ✓ 示例影像已由采集程序归库、封存，%d 段关联到案件（%.0f 秒）", n, time.Since(start).Seconds())
	// The mark comes last: a start that finds none goes over all of it again, and finds what is there already.
	return replaceFile(done, nil)
}

// runAgent docks a folder with the dock agent that was built beside this program.
func (c *serveCmd) runAgent(ctx context.Context, source, recorder string) error {
	agent, err := sibling("zhizheng-dock")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, agent, "--identity", filepath.Join(c.Data, "demo-dock"), "--server", c.PublicURL, "--source", source, "--recorder", recorder, "--once", "--json")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("dock the demo's footage: %w: %s", err, out)
	}
	return nil
}
