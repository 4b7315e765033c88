package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

const (
	largeClip  = 4 << 30  // bytes, of each of 16
	memoryRead = 12 << 30 // by a station whose 16 cards are read at once; more would only want more room for its spool
	memorySent = 1 << 30  // by an agent without a spool, after it has read all 64 GB
)

// agentMemory takes the peak of memory of a station that reads sixteen cards of 4 GB at once into its spool, and of an agent that has read as much and
// carries it. The clips are sparse files behind a first block of their own: they cost no disk, and are hashed, encrypted and carried like others.
func agentMemory(ctx context.Context, s *server, dir string) error {
	ports := filepath.Join(dir, "ports")
	for r := range recorders {
		card := filepath.Join(ports, fmt.Sprintf("BENCH-%02d", r))
		if err := os.MkdirAll(card, 0o700); err != nil {
			return err
		}
		clip, head := filepath.Join(card, "BENCH_0001.mp4"), make([]byte, 4096)
		_, _ = rand.Read(head) // never fails since Go 1.24
		if err := errors.Join(os.WriteFile(clip, head, 0o600), os.Truncate(clip, largeClip)); err != nil {
			return err
		}
	}
	site, spool := filepath.Join(dir, "site.yaml"), filepath.Join(dir, "spool")
	if err := os.WriteFile(site, fmt.Appendf(nil, "mounts: []\nfolders: [{path: %q, each: true, settle: 1s}]\n", ports), 0o600); err != nil {
		return err
	}
	identity := filepath.Join(s.data, "demo-dock")
	peak, err := peakWhen(ctx, readFromCards, "station", "--identity", identity, "--spool", spool, "--config", site, "--listen", screen)
	if err != nil {
		return err
	}
	figure("docking: memory of a station that reads 16 cards of 4 GB at once, peak over the first 12 GB", peak/(1<<20), "MiB", "≤ 128")
	if err := os.RemoveAll(spool); err != nil {
		return err
	}
	objects := filepath.Join(s.data, "s3", "objects")
	before, err := bytesIn(objects)
	if err != nil {
		return err
	}
	peak, err = peakWhen(ctx, func() (bool, error) {
		n, err := bytesIn(objects)
		return n-before >= memorySent, err
	}, "--identity", identity, "--source", ports, "--once", "--json")
	if err != nil {
		return err
	}
	figure("docking: memory of an agent with 16 clips of 4 GB, peak over reading all and carrying the first GB", peak/(1<<20), "MiB", "≤ 128")
	return nil
}

// peakWhen runs the agent until reached says so, and gives its peak of memory in bytes. Most is then still to be done.
func peakWhen(ctx context.Context, reached func() (bool, error), args ...string) (float64, error) {
	cmd := exec.CommandContext(ctx, "bin/zhizheng-dock", args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			return 0, fmt.Errorf("the agent ended too early: %w: %s", err, said.Bytes())
		case <-tick.C:
		}
		done, err := reached()
		if err == nil && !done {
			continue
		}
		peak, perr := memoryOfProcess(cmd.Process.Pid, "VmHWM")
		return peak, errors.Join(err, perr, cmd.Process.Kill(), killed(<-ended))
	}
}

// readFromCards asks the station's screen.
func readFromCards() (bool, error) {
	res, err := http.Get("http://" + screen + "/state")
	if err != nil {
		return false, nil // it starts just now
	}
	defer res.Body.Close()
	var state struct {
		Live struct{ Slots []struct{ Read int64 } }
	}
	if err := json.NewDecoder(res.Body).Decode(&state); err != nil {
		return false, err
	}
	var sum int64
	busy := 0
	for _, x := range state.Live.Slots {
		if sum += x.Read; x.Read > 0 {
			busy++
		}
	}
	return busy == recorders && sum >= memoryRead, nil
}

// bytesIn is what the files below a folder hold; some may go while it looks.
func bytesIn(dir string) (n int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				n += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return n, err
}
