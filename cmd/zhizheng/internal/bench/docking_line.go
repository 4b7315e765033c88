package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"zhizheng/internal/link"
)

// dockingFigures are those of one card on a fast line, of a station's evening on a slow one, of an agent that is killed, of a station full of large
// cards, and of sealing.
func dockingFigures(ctx context.Context, only string) error {
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"card", func(ctx context.Context) error {
			return withServer(ctx, func(s *server, dir string) error { return docking(ctx, s, dir) })
		}},
		{"cards", func(ctx context.Context) error {
			return withServer(ctx, func(s *server, dir string) error { return manyCards(ctx, s, dir) })
		}},
		{"line", func(ctx context.Context) error {
			return withServer(ctx, func(s *server, dir string) error { return overLine(ctx, s, dir) }, "--s3-public-endpoint", "http://"+lineStore)
		}},
		{"powercut", powerCut},
		{"memory", func(ctx context.Context) error {
			return withServer(ctx, func(s *server, dir string) error { return agentMemory(ctx, s, dir) })
		}},
		{"seal", sealing},
	} {
		if only != "" && only != part.name {
			continue
		}
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("docking, %s: %w", part.name, err)
		}
	}
	return nil
}

const (
	recorders  = 16
	lineStore  = "127.0.0.1:18981" // the line's near end
	lineServer = "127.0.0.1:18982"
	screen     = "127.0.0.1:18983"
)

// overLine docks sixteen recorders at once at a station whose line has 256 kbit/s, 30 ms each way, and loses every twentieth packet. Their clips are
// small, which is the hard case: all are hashed in a moment, so that all manifests go at once, and footage wants the line as well.
func overLine(ctx context.Context, s *server, dir string) (err error) {
	ctx, end := context.WithCancel(ctx)
	relays, rctx := errgroup.WithContext(ctx)
	defer func() {
		end()
		err = errors.Join(err, relays.Wait())
	}()
	line := &link.Line{Kbit: 256, Delay: 30 * time.Millisecond, Loss: 0.05, Seed: 1}
	for near, far := range map[string]string{lineStore: store, lineServer: address} {
		ln, err := link.Listen(rctx, near)
		if err != nil {
			return err
		}
		relays.Go(func() error { return line.Relay(rctx, ln, far) })
	}
	var values []float64
	var up int64
	for round := range rounds {
		before := line.Up.Load()
		took, err := evening(ctx, s, filepath.Join(dir, fmt.Sprint("evening", round)))
		if err != nil {
			return err
		}
		values, up = append(values, took.Seconds()), line.Up.Load()-before
	}
	slices.Sort(values)
	figure("docking: 16 cards of 6 clips over 256 kbit/s with 5 % loss, from all hashed to all fingerprints in the log", values[len(values)/2], "s", "≤ 5")
	figure("docking: the same, worst of 3", values[len(values)-1], "s", "-")
	figure("docking: bytes up the line by then, a fingerprint, all else included", float64(up)/(recorders*clips), "B", "-")
	return nil
}

// evening starts a station and puts its cards in.
func evening(ctx context.Context, s *server, dir string) (took time.Duration, err error) {
	ports := filepath.Join(dir, "ports")
	clip := make([]byte, 1<<20)
	for r := range recorders {
		card := filepath.Join(ports, fmt.Sprintf("BENCH-%02d", r))
		if err := os.MkdirAll(card, 0o700); err != nil {
			return 0, err
		}
		for n := range clips {
			_, _ = rand.Read(clip) // never fails (Go 1.24)
			if err := os.WriteFile(filepath.Join(card, fmt.Sprintf("BENCH_%04d.mp4", n+1)), clip, 0o600); err != nil {
				return 0, err
			}
		}
	}
	site := filepath.Join(dir, "site.yaml")
	if err := os.WriteFile(site, fmt.Appendf(nil, "mounts: []\nfolders: [{path: %q, each: true, settle: 1s}]\n", ports), 0o600); err != nil {
		return 0, err
	}
	station := exec.Command("bin/zhizheng-dock", "station", "--identity", filepath.Join(s.data, "demo-dock"), "--server", "http://"+lineServer,
		"--spool", filepath.Join(dir, "spool"), "--config", site, "--listen", screen)
	var said bytes.Buffer
	station.Stderr = &said
	if err := station.Start(); err != nil {
		return 0, err
	}
	defer func() {
		_ = station.Process.Kill() // most of the footage is still to be carried
		_ = station.Wait()
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	if took, err = fingerprinted(ctx); err != nil {
		err = fmt.Errorf("%w: %s", err, said.Bytes())
	}
	return took, err
}

// fingerprinted watches the station's screen until all fingerprints are in the log, and says how long that took from when all was read.
func fingerprinted(ctx context.Context) (time.Duration, error) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var read time.Time
	for begun := time.Now(); time.Since(begun) < 5*time.Minute; {
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-tick.C:
		}
		var state struct {
			Live struct {
				Slots []struct {
					Files, Fingerprints int
					Bytes, Read         int64
					State               string
				}
			}
		}
		res, err := http.Get("http://" + screen + "/state")
		if err != nil {
			continue // it starts just now
		}
		err = json.NewDecoder(res.Body).Decode(&state)
		res.Body.Close()
		if err != nil {
			return 0, err
		}
		var hashed, logged int
		for _, s := range state.Live.Slots {
			if s.Files == clips && s.Read == s.Bytes {
				hashed++
				if s.Fingerprints == clips {
					logged++
				}
			}
		}
		if hashed == recorders && read.IsZero() {
			read = time.Now()
		}
		if logged == recorders {
			return time.Since(read), nil
		}
	}
	return 0, errors.New("fingerprints didn't come into the log")
}
