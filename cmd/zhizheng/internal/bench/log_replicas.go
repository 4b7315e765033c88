package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"zhizheng/internal/pg"
)

// replicas compares three servers' processes with one, each with as many writers, on one database.
func (b *logBench) replicas(ctx context.Context) (err error) {
	address, err := b.database(ctx)
	if err != nil {
		return err
	}
	var servers []*writerProcess
	defer func() {
		for _, s := range servers {
			err = errors.Join(err, s.end())
		}
	}()
	for i := range 3 {
		s, err := startWriters(ctx, address, filepath.Join(b.dir, fmt.Sprint("replica", i)), fmt.Sprint("r", i, "/"))
		if err != nil {
			return err
		}
		servers = append(servers, s)
	}
	// The publisher is this process. The writers compared their own signers with the database before it published anything.
	l, err := openLog(ctx, address, filepath.Join(b.dir, "replicas"), true)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.stop()) }()
	var total int64
	var one, three []float64
	var ratios []float64
	for round := range logRounds + 1 {
		n1, rate1, err := together(servers[:1])
		if err != nil {
			return err
		}
		n3, rate3, err := together(servers)
		if err != nil {
			return err
		}
		total += n1 + n3
		if round > 0 {
			one, three, ratios = append(one, rate1), append(three, rate3), append(ratios, rate3/rate1)
		}
	}
	if err := sound(ctx, l.Log, total); err != nil { // no gap, no fork: every leaf that was acknowledged is in the one tree that was signed
		return err
	}
	figure("log: one process of 256 writers", middle(one), "entries/s", "-")
	figure("log: three processes of 256 writers on one database", middle(three), "entries/s", "-")
	figure("log: three processes against one", middle(ratios), "x", "≥ 0.5")
	return nil
}

// writerProcess is a process of this program that appends when it is told to.
type writerProcess struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startWriters(ctx context.Context, address, dir, prefix string) (*writerProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, "log-writers", dir, prefix)
	cmd.Env = append(os.Environ(), "ZZ_BENCH_DATABASE="+address) // it holds a password
	cmd.Stderr = os.Stderr
	p := &writerProcess{cmd: cmd}
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := p.read(); err != nil { // ready
		return nil, errors.Join(err, p.end())
	}
	return p, nil
}

func (p *writerProcess) read() (int64, error) {
	line, err := p.out.ReadString('\n')
	if err != nil {
		return 0, fmt.Errorf("writers: %w", err)
	}
	return strconv.ParseInt(strings.TrimSpace(line), 10, 64)
}

func (p *writerProcess) end() error { return errors.Join(p.in.Close(), p.cmd.Wait()) }

func together(servers []*writerProcess) (int64, float64, error) {
	began := time.Now()
	for _, s := range servers {
		if _, err := io.WriteString(s.in, "go\n"); err != nil {
			return 0, 0, err
		}
	}
	var total int64
	for _, s := range servers {
		n, err := s.read()
		if err != nil {
			return 0, 0, err
		}
		total += n
	}
	return total, float64(total) / time.Since(began).Seconds(), nil
}

// logWriterProcess is the other side: for every line it hammers the log for a turn and says how many entries that were.
func logWriterProcess(ctx context.Context, args []string) error {
	l, err := openLog(ctx, os.Getenv("ZZ_BENCH_DATABASE"), args[0], false)
	if err != nil {
		return err
	}
	fmt.Println(0)
	var next int64
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		n, _, err := hammer(ctx, logWriters, turn, &next, func(ctx context.Context, i int64) error {
			e := plainEntry(i)
			e.Key = args[1] + e.Key
			return l.Do(ctx, func(_ context.Context, tx *pg.Tx) error { return l.Append(tx, e) })
		})
		if err != nil {
			return errors.Join(err, l.stop())
		}
		fmt.Println(n)
	}
	return l.stop()
}
