package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	partsInFlight = 4 // the agent's --parallel by default
	cutClips      = 4
	cutSize       = 64 << 20
)

// powerCut kills the agent in the middle of its uploads and starts it again, over a store behind a counter: what is sent twice, and what the
// platform reads of an object before it is sealed.
func powerCut(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "zhizheng-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	o, stop, err := startStore(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	c, end, err := countStore(o.Endpoint)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, end()) }()
	var again []float64
	err = withServer(ctx, func(s *server, dir string) error {
		for round := range rounds {
			card := filepath.Join(dir, fmt.Sprint("card", round))
			n, err := s.cut(ctx, c, card, float64(round+1)/(rounds+1))
			if err != nil {
				return err
			}
			again = append(again, float64(n)/partSize)
			if err := os.RemoveAll(card); err != nil {
				return err
			}
		}
		return nil
	}, "--s3-endpoint", c.address, "--s3-access-key", o.AccessKey, "--s3-secret-key", o.SecretKey)
	if err != nil {
		return err
	}
	figure("docking: sent again after kill -9 of the agent while it carries, worst of 3, of parts of 5 MiB (4 are in flight)", slices.Max(again), "parts", fmt.Sprint("≤ ", partsInFlight))
	figure(fmt.Sprintf("docking: read of %d objects at the store before they were sealed", c.sealed.Load()), float64(c.early.Load()), "B", "≤ 0")
	return nil
}

// cut docks a card, kills the agent when that part of the bytes was sent, docks again, and gives how many bytes were sent beyond the card's.
func (s *server) cut(ctx context.Context, c *counted, card string, part float64) (int64, error) {
	if err := os.Mkdir(card, 0o700); err != nil {
		return 0, err
	}
	content := make([]byte, cutSize)
	for i := range cutClips {
		_, _ = rand.Read(content) // never fails since Go 1.24
		if err := os.WriteFile(filepath.Join(card, fmt.Sprintf("BENCH_%04d.mp4", i+1)), content, 0o600); err != nil {
			return 0, err
		}
	}
	const total = cutClips * cutSize
	before := c.sent.Load()
	var said, problems bytes.Buffer
	agent := func() *exec.Cmd {
		cmd := exec.CommandContext(ctx, "bin/zhizheng-dock", "--identity", filepath.Join(s.data, "demo-dock"), "--source", card, "--once", "--json", "--parallel", fmt.Sprint(partsInFlight))
		cmd.Stdout, cmd.Stderr = &said, &problems
		return cmd
	}
	first := agent()
	if err := first.Start(); err != nil {
		return 0, err
	}
	ended := make(chan error, 1)
	go func() { ended <- first.Wait() }()
	for float64(c.sent.Load()-before) < part*total {
		select {
		case err := <-ended:
			return 0, fmt.Errorf("the agent ended before it was killed: %w: %s", err, problems.Bytes())
		case <-time.After(2 * time.Millisecond):
		}
	}
	if err := errors.Join(first.Process.Kill(), killed(<-ended)); err != nil {
		return 0, err
	}
	said.Reset()
	if err := agent().Run(); err != nil {
		return 0, fmt.Errorf("dock again: %w: %s", err, problems.Bytes())
	}
	for line := range strings.Lines(said.String()) {
		var f struct{ Status string }
		if err := json.Unmarshal([]byte(line), &f); err != nil || f.Status != "sealed" {
			return 0, fmt.Errorf("docked as %s", line)
		}
	}
	return c.sent.Load() - before - total, nil
}

// counted is a store behind a proxy that counts bodies of parts, and bodies of objects read before the platform has seen their lock extended, which
// is the last it asks before it seals.
type counted struct {
	address string
	sent    atomic.Int64
	early   atomic.Int64
	sealed  atomic.Int64

	mu    sync.Mutex
	stage map[string]int // of objects that came in parts
}

const (
	stageParts  = iota + 1 // parts have come
	stageLocked            // its lock was extended
	stageSealed            // and looked at
)

func countStore(store string) (*counted, func() error, error) {
	target, err := url.Parse(store)
	if err != nil {
		return nil, nil, err
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, nil, err
	}
	c := &counted{address: "http://" + ln.Addr().String(), stage: map[string]int{}}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // it is signed
	}, ModifyResponse: c.answered, ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) }} // the agent was killed
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPut && r.URL.Query().Has("partNumber") {
			c.move(r.URL.Path, stageParts)
			r.Body = &countedBody{r.Body, &c.sent}
		}
		proxy.ServeHTTP(w, r)
	})}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	return c, func() error {
		err := srv.Close()
		if served := <-done; !errors.Is(served, http.ErrServerClosed) {
			err = errors.Join(err, served)
		}
		return err
	}, nil
}

// answered follows an object by what the platform asks of it.
func (c *counted) answered(res *http.Response) error {
	r := res.Request
	stage := c.at(r.URL.Path)
	switch {
	case stage == 0 || res.StatusCode >= 300:
	case r.Method == http.MethodPut && r.URL.Query().Has("retention"):
		c.move(r.URL.Path, stageLocked)
	case r.Method == http.MethodHead && stage == stageLocked:
		c.move(r.URL.Path, stageSealed)
		c.sealed.Add(1)
	case r.Method == http.MethodGet && stage < stageSealed && !r.URL.Query().Has("uploadId"):
		res.Body = &countedBody{res.Body, &c.early}
	}
	return nil
}

func (c *counted) at(key string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stage[key]
}

func (c *counted) move(key string, to int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stage[key] = max(c.stage[key], to)
}

type countedBody struct {
	io.ReadCloser
	n *atomic.Int64
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.n.Add(int64(n))
	return n, err
}
