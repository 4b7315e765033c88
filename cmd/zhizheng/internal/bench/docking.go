package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"golang.org/x/sync/errgroup"

	"zhizheng/internal/sim"
)

const (
	clips    = 6
	clipSize = 350 << 20
	rounds   = 3
	partSize = 5 << 20
	address  = "127.0.0.1:18970"
	store    = "127.0.0.1:18971"
	bucket   = "zhizheng"
)

// withServer runs fn beside a platform of its own, in a folder that goes afterwards.
func withServer(ctx context.Context, fn func(s *server, dir string) error, more ...string) (err error) {
	dir, err := os.MkdirTemp("", "zhizheng-bench-")
	if err != nil {
		return err
	}
	data := filepath.Join(dir, "data")
	defer func() {
		out, cleaned := exec.Command("deploy/clean-data", data).CombinedOutput()
		if cleaned != nil {
			err = errors.Join(err, fmt.Errorf("%w: %s", cleaned, out))
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	server, err := startServer(ctx, data, filepath.Join(dir, "log"), more...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.stop()) }()
	return fn(server, dir)
}

// docking compares a card (a shift, about 2 GB) docked through the agent, to the last verified receipt, with a plain upload of as many bytes to the same
// store, in turns.
func docking(ctx context.Context, server *server, dir string) error {
	seed := filepath.Join(dir, "seed.mp4")
	if err := sim.Render(ctx, seed, sim.Clip{Scene: sim.Street, Start: time.Now().Add(-time.Hour), Length: 10 * time.Second, Unit: "bench", Officer: "0", Lat: 32.2, Lon: 106.3, Seed: 1}); err != nil {
		return err
	}
	var docked, plain []cost
	var first []float64
	for round := range rounds {
		card := filepath.Join(dir, fmt.Sprint("card", round))
		if err := fill(card, seed, clips, clipSize); err != nil {
			return err
		}
		d, at, err := server.dock(ctx, card)
		if err != nil {
			return err
		}
		docked, first = append(docked, d), append(first, at)
		if err := fill(card, seed, clips, clipSize); err != nil { // other bytes: nothing is cached anywhere
			return err
		}
		p, err := server.plain(ctx, card)
		if err != nil {
			return err
		}
		plain = append(plain, p)
		if err := os.RemoveAll(card); err != nil {
			return err
		}
	}
	total := float64(clips*clipSize) / 1e6
	d, p := median(docked), median(plain)
	figure("docking: card of 2.2 GB, sealed with receipts", total/d.wall, "MB/s", "-")
	figure("docking: plain upload of the same size with the same digests", total/p.wall, "MB/s", "-")
	figure("docking: wall against plain upload", d.wall/p.wall, "x", "≤ 1.15")
	figure("docking: agent's CPU against plain uploader's", d.client/p.client, "x", "-")
	figure("docking: CPU of agent, server and store against plain upload", (d.client+d.server)/(p.client+p.server), "x", "≤ 1.15")
	slices.Sort(first)
	figure("docking: start of reading to the last of 6 fingerprints in the log", first[len(first)/2], "s", "≤ 5")

	single := filepath.Join(dir, "single")
	if err := fill(single, seed, 1, clipSize); err != nil {
		return err
	}
	_, at, err := server.dock(ctx, single)
	if err != nil {
		return err
	}
	figure("docking: one clip of 367 MB, start of reading to its fingerprint in the log", at, "s", "≤ 5")
	return nil
}

// cost of a run, in seconds.
type cost struct{ wall, client, server float64 }

func median(all []cost) (m cost) {
	pick := func(f func(cost) float64) float64 {
		var v []float64
		for _, c := range all {
			v = append(v, f(c))
		}
		slices.Sort(v)
		return v[len(v)/2]
	}
	return cost{pick(func(c cost) float64 { return c.wall }), pick(func(c cost) float64 { return c.client }), pick(func(c cost) float64 { return c.server })}
}

// fill makes a card of playable clips: the seed, and a box of random bytes up to the size.
func fill(card, seed string, n, size int) error {
	if err := os.RemoveAll(card); err != nil {
		return err
	}
	if err := os.Mkdir(card, 0o700); err != nil {
		return err
	}
	video, err := os.ReadFile(seed)
	if err != nil {
		return err
	}
	padding := make([]byte, size-len(video))
	for i := range n {
		if _, err := rand.Read(padding); err != nil {
			return err
		}
		binary.BigEndian.PutUint32(padding, uint32(len(padding)))
		copy(padding[4:], "free")
		if err := os.WriteFile(filepath.Join(card, fmt.Sprintf("BENCH_%04d.mp4", i+1)), append(slices.Clip(video), padding...), 0o600); err != nil {
			return err
		}
	}
	return nil
}

type server struct {
	cmd  *exec.Cmd
	data string
	end  chan error // what the process ended with
}

// startServer runs the platform with the demo's docking station, but without its footage and its devices.
func startServer(ctx context.Context, data, log string, more ...string) (*server, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	s := &server{data: data, end: make(chan error, 1)}
	args := append([]string{"serve", "--demo", "--no-demo-county", "--no-demo-footage", "--data", data, "--listen", address, "--s3-listen", store}, more...)
	s.cmd = exec.CommandContext(ctx, "bin/zhizheng", args...)
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(os.Interrupt) }
	s.cmd.Stdout, s.cmd.Stderr = out, out
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { s.end <- s.cmd.Wait() }()
	for range 600 {
		res, err := http.Get("http://" + address + "/readyz")
		if err == nil {
			_, drained := io.Copy(io.Discard, res.Body)
			if err := errors.Join(drained, res.Body.Close()); err != nil {
				return nil, err
			}
			if _, err := os.Stat(filepath.Join(data, "demo-dock", "station.json")); res.StatusCode == http.StatusOK && err == nil {
				return s, nil
			} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		select {
		case err := <-s.end:
			text, read := os.ReadFile(log)
			return nil, errors.Join(fmt.Errorf("the platform ended: %w: %s", err, text), read)
		case <-time.After(100 * time.Millisecond):
		}
	}
	text, err := os.ReadFile(log)
	return nil, errors.Join(fmt.Errorf("the platform doesn't start: %s", text), err, s.stop())
}

func (s *server) stop() error {
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		return err
	}
	return <-s.end
}

// dock docks the card; at is when the last fingerprint came into the log, in seconds from the agent's start.
func (s *server) dock(ctx context.Context, card string) (c cost, at float64, err error) {
	before, err := s.cpu()
	if err != nil {
		return c, 0, err
	}
	start := time.Now()
	cmd := exec.CommandContext(ctx, "bin/zhizheng-dock", "--identity", filepath.Join(s.data, "demo-dock"), "--source", card, "--once", "--json")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		return c, 0, fmt.Errorf("dock: %w: %s%s", err, out, said.Bytes())
	}
	c.wall, c.client = time.Since(start).Seconds(), cpuOf(cmd.ProcessState)
	after, err := s.cpu()
	if err != nil {
		return c, 0, err
	}
	c.server = after - before
	for line := range strings.Lines(string(out)) {
		var f struct {
			Status  string `json:"status"`
			Receipt string `json:"receipt"`
		}
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			return c, 0, err
		}
		if f.Status != "sealed" {
			return c, 0, fmt.Errorf("docked as %s", line)
		}
	}
	registered, err := s.lastRegistered(ctx)
	return c, registered.Sub(start).Seconds(), err
}

// plain uploads the card's files as lean as it goes: the same part size, as many parts at once, the same digests.
func (s *server) plain(ctx context.Context, card string) (c cost, err error) {
	before, err := s.cpu()
	if err != nil {
		return c, err
	}
	start := time.Now()
	self, err := os.Executable()
	if err != nil {
		return c, err
	}
	cmd := exec.CommandContext(ctx, self, "plain-upload", filepath.Join(s.data, "secrets"), card)
	if out, err := cmd.CombinedOutput(); err != nil {
		return c, fmt.Errorf("plain upload: %w: %s", err, out)
	}
	c.wall, c.client = time.Since(start).Seconds(), cpuOf(cmd.ProcessState)
	after, err := s.cpu()
	c.server = after - before
	return c, err
}

func cpuOf(p *os.ProcessState) float64 { return (p.UserTime() + p.SystemTime()).Seconds() }

// cpu is what the platform's own process has used, the embedded store included, in seconds.
func (s *server) cpu() (float64, error) { return cpuOfProcess(s.cmd.Process.Pid) }

func cpuOfProcess(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	var user, system float64
	if _, err := fmt.Sscan(fields[11]+" "+fields[12], &user, &system); err != nil {
		return 0, err
	}
	return (user + system) / 100, nil
}

// lastRegistered asks the platform, as its reviewer, when the newest fingerprint was logged.
func (s *server) lastRegistered(ctx context.Context) (t time.Time, err error) {
	b, err := os.ReadFile(filepath.Join(s.data, "demo-accounts.json"))
	if err != nil {
		return t, err
	}
	var accounts []struct{ Role, Username, Password string }
	if err := json.Unmarshal(b, &accounts); err != nil {
		return t, err
	}
	i := slices.IndexFunc(accounts, func(a struct{ Role, Username, Password string }) bool { return a.Role == "reviewer" })
	body, err := json.Marshal(map[string]string{"username": accounts[i].Username, "password": accounts[i].Password})
	if err != nil {
		return t, err
	}
	var cookies []*http.Cookie
	ask := func(method, path string, body []byte, into any) error {
		req, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Origin", "http://"+address)
		for _, c := range cookies {
			req.AddCookie(c)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode >= 300 {
			text, err := io.ReadAll(res.Body)
			return errors.Join(fmt.Errorf("%s %s: %s %s", method, path, res.Status, text), err)
		}
		cookies = append(cookies, res.Cookies()...)
		return json.NewDecoder(res.Body).Decode(into)
	}
	var session any
	if err := ask("POST", "/api/v1/session", body, &session); err != nil {
		return t, err
	}
	var list struct {
		Items []struct {
			RegisteredAt time.Time `json:"registered_at"`
		} `json:"items"`
	}
	if err := ask("GET", "/api/v1/evidence?limit=20", nil, &list); err != nil {
		return t, err
	}
	for _, x := range list.Items {
		if x.RegisteredAt.After(t) {
			t = x.RegisteredAt
		}
	}
	return t, nil
}

// plainUpload is the baseline.
func plainUpload(ctx context.Context, args []string) error {
	var key [2]string
	for i, name := range []string{"s3-access-key", "s3-secret-key"} {
		b, err := os.ReadFile(filepath.Join(args[0], name))
		if err != nil {
			return err
		}
		key[i] = strings.TrimSpace(string(b))
	}
	client, err := minio.New(store, &minio.Options{Creds: credentials.NewStaticV4(key[0], key[1], ""), Region: "us-east-1"})
	if err != nil {
		return err
	}
	core := minio.Core{Client: client}
	files, err := os.ReadDir(args[1])
	if err != nil {
		return err
	}
	run := time.Now().UnixNano()
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2) // as many files at once as the agent reads
	for _, f := range files {
		g.Go(func() error {
			if err := plainFile(gctx, core, filepath.Join(args[1], f.Name()), fmt.Sprintf("bench/%d/%s", run, f.Name())); err != nil {
				return fmt.Errorf("%s: %w", f.Name(), err)
			}
			return nil
		})
	}
	return g.Wait()
}

// plainFile reads a file once and uploads it in parts, two at once, with the digests that docking makes too: SHA-256 of the whole and
// of each part, which the store checks.
func plainFile(ctx context.Context, core minio.Core, path, key string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	id, err := core.NewMultipartUpload(ctx, bucket, key, minio.PutObjectOptions{UserMetadata: map[string]string{"X-Amz-Checksum-Algorithm": "SHA256"}})
	if err != nil {
		return err
	}
	whole := sha256.New()
	var mu sync.Mutex
	var parts []minio.CompletePart
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(2)
	for n := 1; ; n++ {
		part := make([]byte, partSize)
		got, err := io.ReadFull(f, part)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		part = part[:got]
		whole.Write(part)
		g.Go(func() error {
			sum := sha256.Sum256(part)
			digest := base64.StdEncoding.EncodeToString(sum[:])
			p, err := core.PutObjectPart(gctx, bucket, key, id, n, bytes.NewReader(part), int64(len(part)),
				minio.PutObjectPartOptions{CustomHeader: http.Header{"X-Amz-Checksum-Sha256": {digest}}, DisableContentSha256: true})
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			parts = append(parts, minio.CompletePart{PartNumber: n, ETag: p.ETag, ChecksumSHA256: digest})
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	slices.SortFunc(parts, func(a, b minio.CompletePart) int { return cmp.Compare(a.PartNumber, b.PartNumber) })
	_, err = core.CompleteMultipartUpload(ctx, bucket, key, id, parts, minio.PutObjectOptions{})
	return err
}
