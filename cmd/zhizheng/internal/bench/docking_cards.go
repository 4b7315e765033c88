package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"zhizheng/internal/sim"
)

const manySize = 140 << 20 // of the one clip of each card

// manyCards docks sixteen cards at once, each by an agent of the same station, and compares that with sixteen plain uploads at once, in turns.
func manyCards(ctx context.Context, s *server, dir string) error {
	seed := filepath.Join(dir, "seed.mp4")
	if err := sim.Render(ctx, seed, sim.Clip{Scene: sim.Street, Start: time.Now().Add(-time.Hour), Length: 10 * time.Second, Unit: "bench", Officer: "0", Lat: 32.2, Lon: 106.3, Seed: 2}); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ways := []struct {
		command func(card string) *exec.Cmd
		says    string
		costs   []cost
	}{{command: func(card string) *exec.Cmd {
		return exec.CommandContext(ctx, "bin/zhizheng-dock", "--identity", filepath.Join(s.data, "demo-dock"), "--source", card, "--once", "--json")
	}, says: `"status":"sealed"`}, {command: func(card string) *exec.Cmd {
		return exec.CommandContext(ctx, self, "plain-upload", filepath.Join(s.data, "secrets"), card)
	}}}
	cards := filepath.Join(dir, "cards")
	for range rounds {
		for i := range ways {
			way := &ways[i]
			if err := os.MkdirAll(cards, 0o700); err != nil {
				return err
			}
			var all []*exec.Cmd
			for n := range recorders {
				card := filepath.Join(cards, fmt.Sprint(n))
				if err := fill(card, seed, 1, manySize); err != nil { // bytes of their own each time
					return err
				}
				all = append(all, way.command(card))
			}
			c, err := s.together(all, way.says)
			if err = errors.Join(err, os.RemoveAll(cards)); err != nil {
				return err
			}
			way.costs = append(way.costs, c)
		}
	}
	ours, plain := median(ways[0].costs), median(ways[1].costs)
	total := float64(recorders*manySize) / 1e6
	figure("docking: 16 cards at once, 2.3 GB in all, sealed with receipts", total/ours.wall, "MB/s", "-")
	figure("docking: … 16 plain uploads of the same size with the same digests", total/plain.wall, "MB/s", "-")
	figure("docking: … wall against plain uploads", ours.wall/plain.wall, "x", "≤ 1.15")
	figure("docking: … CPU of agents, server and store against plain uploads", (ours.client+ours.server)/(plain.client+plain.server), "x", "≤ 1.15")
	return nil
}

// together runs programs side by side. Each must end well and say what it should.
func (s *server) together(all []*exec.Cmd, says string) (c cost, err error) {
	before, err := s.cpu()
	if err != nil {
		return c, err
	}
	start := time.Now()
	var g errgroup.Group
	for _, cmd := range all {
		g.Go(func() error {
			var said bytes.Buffer
			cmd.Stderr = &said
			out, err := cmd.Output()
			if err == nil && !strings.Contains(string(out), says) {
				err = errors.New("not what it should have said")
			}
			if err != nil {
				return fmt.Errorf("%s: %w: %s%s", cmd, err, out, said.Bytes())
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return c, err
	}
	c.wall = time.Since(start).Seconds()
	for _, cmd := range all {
		c.client += cpuOf(cmd.ProcessState)
	}
	after, err := s.cpu()
	c.server = after - before
	return c, err
}
