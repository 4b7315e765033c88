package main

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"zhizheng/cmd/zhizheng/internal/demo"
	"zhizheng/ingest"
	"zhizheng/ingest/manifest"
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
	if err := c.dockEarlier(ctx, filepath.Join(dir, "earlier"), start); err != nil {
		return err
	}
	err := sim.Card(ctx, card, "东河镇综合行政执法队", demo.DemoRecorder, "000402", start, func(n int) error {
		p.say("  … 生成并归库示例影像 %d/%d", n, sim.DemoClips)
		if err := c.runAgent(ctx, card, demo.DemoRecorder); err != nil || n != sim.BeforeLost {
			return err
		}
		return c.loseClips(ctx, filepath.Join(dir, "lost"))
	})
	if err != nil {
		return err
	}
	n, err := demo.Exhibits(ctx, demo.ExhibitsDeps{Cases: pl.cases, Evidence: pl.evidence})
	if err != nil {
		return err
	}
	st, err := c.demoStation()
	if err != nil {
		return err
	}
	labelled, err := demo.Labels(ctx, demo.LabelsDeps{ActivitiesDeps: pl.demoActivities(start), Evidence: pl.evidence, Ingest: pl.ingest, Station: st})
	if err != nil {
		return err
	}
	p.say("  ✓ 示例影像已由采集程序归库、封存，%d 段关联到案件，%d 段标注了执法活动（%.0f 秒）", n, labelled, time.Since(start).Seconds())
	// The mark comes last: a start that finds none goes over all of it again, and finds what is there already.
	return replaceFile(done, nil)
}

// demoStation is the station that the demo's footage is docked at, as its token would name it.
func (c *serveCmd) demoStation() (ingest.Station, error) {
	b, err := os.ReadFile(filepath.Join(c.Data, "demo-dock", "cert.pem"))
	if err != nil {
		return ingest.Station{}, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return ingest.Station{}, errors.New("the demo station's certificate can't be read")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return ingest.Station{}, fmt.Errorf("the demo station's certificate: %w", err)
	}
	key, ok := cert.PublicKey.(ed25519.PublicKey)
	if !ok {
		return ingest.Station{}, errors.New("the demo station's key is no Ed25519 key")
	}
	keyID, err := manifest.KeyID(key)
	return ingest.Station{ID: demo.DemoDock, Township: demo.DongheCode, KeyID: keyID}, err
}

// dockEarlier docks what the recorder had recorded before: positions of earlier patrols, one small file each, so that the station has counted
// as far as the recorder has numbered its files (one fewer: the last clip before the gap has a track beside it). What is there stays, so a
// second time finds all of it known.
func (c *serveCmd) dockEarlier(ctx context.Context, dir string, now time.Time) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	there, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return err
	}
	for n := len(there) + 2; n < sim.FirstClip; n++ {
		at := now.AddDate(0, 0, n-sim.FirstClip-4)
		name := filepath.Join(dir, fmt.Sprintf("%s_000402_%s_%04d.txt", demo.DemoRecorder, at.Format("20060102")+"090000", n))
		text := fmt.Sprintf("示例：巡查定位记录第 %d 段，东河镇，%s，32.%04dN 106.%04dE\n", n, at.Format("2006-01-02"), 2300+n, 2900+n)
		if err := replaceFile(name, []byte(text)); err != nil {
			return err
		}
		if err := os.Chtimes(name, at, at); err != nil {
			return err
		}
	}
	return c.runAgent(ctx, dir, demo.DemoRecorder)
}

// loseClips lets the agent sign three clips that never reach the platform: it can't reach the server, and then the card is gone. What
// it signs next carries on from there, so the platform sees that 41 to 43 are missing. A second time signs nothing new: the agent
// remembers these files.
func (c *serveCmd) loseClips(ctx context.Context, dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for n := range sim.Lost {
		name := fmt.Sprintf("%s_000402_%04d.mp4", demo.DemoRecorder, sim.Number(sim.BeforeLost-1)+1+n)
		if err := replaceFile(filepath.Join(dir, name), []byte("示例：没有到达的影像 "+name+"\n")); err != nil {
			return err
		}
	}
	agent, err := sibling("zhizheng-dock")
	if err != nil {
		return err
	}
	nobody := "http://127.0.0.1:9" // the discard port: nothing listens
	cmd := exec.CommandContext(ctx, agent, "--identity", filepath.Join(c.Data, "demo-dock"), "--server", nobody, "--source", dir, "--recorder", demo.DemoRecorder,
		"--once", "--json", "--patience", "1s", "--readers", "1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	out, err := cmd.CombinedOutput()
	var left *exec.ExitError
	if err == nil || !errors.As(err, &left) || left.ExitCode() != 1 { // 1: files that it couldn't seal, as meant
		return fmt.Errorf("lose the demo's clips: %v: %s", err, out)
	}
	return os.RemoveAll(dir)
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
