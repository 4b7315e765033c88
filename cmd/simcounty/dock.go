package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"zhizheng/evidence/chain"
	"zhizheng/internal/link"
)

// dockConfig are the settings of the docking side: flags, or ZZ_SIM_… variables.
type dockConfig struct {
	Server     string        `help:"平台地址，http(s)://主机:端口。" required:"" env:"ZZ_SIM_SERVER"`
	Identities string        `help:"采集站身份目录所在的文件夹（每座一个子目录，由 zhizheng station enrol 写出）。" required:"" type:"existingdir" env:"ZZ_SIM_IDENTITIES"`
	Stations   int           `help:"几座采集站。" default:"1" env:"ZZ_SIM_STATIONS"`
	Recorders  int           `help:"每座采集站同时插几台记录仪。" default:"4" env:"ZZ_SIM_RECORDERS"`
	Clips      int           `help:"每张卡几段影像。" default:"8" env:"ZZ_SIM_CLIPS"`
	ClipSize   size          `help:"一段影像约多大（64k、5M、1G），上下差四分之一。" default:"5M" name:"clip-size" env:"ZZ_SIM_CLIP_SIZE"`
	Seed       uint64        `help:"随机种子；同一种子造出相同的影像。" default:"1" env:"ZZ_SIM_SEED"`
	Link       int           `help:"线路速率（kbit/s），各站共用一条；0 不限。" default:"0" env:"ZZ_SIM_LINK"`
	Delay      time.Duration `help:"线路的单程延迟。" default:"0" env:"ZZ_SIM_DELAY"`
	Loss       float64       `help:"线路的丢包率（百分之几）。" default:"0" env:"ZZ_SIM_LOSS"`
	StoreLink  string        `help:"影像也走这条线路：监听地址=存储地址。平台须以 ZZ_S3_PUBLIC_ENDPOINT=http://监听地址 启动。" name:"store-link" placeholder:"127.0.0.1:9000=127.0.0.1:8081" env:"ZZ_SIM_STORE_LINK"`
	Misbehave  []string      `help:"捣乱：power-loss 断电，skew 记录仪时钟错几年，duplicates 同一张卡插两座站，gaps 缺号，wrong-key 未登记的密钥，slow 有一台的线路极慢，flood 同一张卡同时归库多次。" env:"ZZ_SIM_MISBEHAVE"`
	Work       string        `help:"造卡用的文件夹；默认用临时文件夹。造出的卡用后删除。" type:"existingdir" env:"ZZ_SIM_WORK"`

	Station bool          `help:"每座站运行 zhizheng-dock station，卡在工位上插着；不填则每张卡一次 zhizheng-dock。" env:"ZZ_SIM_STATION"`
	Over    time.Duration `help:"采集站：记录仪在多长时间内陆续插上；0 为同时。" default:"0" env:"ZZ_SIM_OVER"`

	agent string // program; "" for the one beside this one
}

// The ways to misbehave.
const (
	powerLoss  = "power-loss"
	skew       = "skew"
	duplicates = "duplicates"
	gaps       = "gaps"
	wrongKey   = "wrong-key"
	slow       = "slow"
	flood      = "flood"
)

var ways = []string{powerLoss, skew, duplicates, gaps, wrongKey, slow, flood}

func (c *dockConfig) misbehaves(how string) bool { return slices.Contains(c.Misbehave, how) }

// Validate is called by kong.
func (c *dockConfig) Validate() error {
	u, err := url.Parse(c.Server)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return errors.New("--server 应为 http(s)://主机:端口")
	}
	c.Server = strings.TrimRight(c.Server, "/")
	if c.Stations < 1 || c.Stations > 99 || c.Recorders < 1 || c.Recorders > 999 || c.Clips < 1 || c.Clips > 9999 {
		return errors.New("--stations 应为 1 至 99，--recorders 1 至 999，--clips 1 至 9999")
	}
	if c.Link < 0 || c.Delay < 0 || c.Loss < 0 || c.Loss > 50 {
		return errors.New("--link、--delay 不能为负，--loss 应为 0 至 50")
	}
	for _, m := range c.Misbehave {
		if !slices.Contains(ways, m) {
			return fmt.Errorf("--misbehave：没有 %q（%s）", m, strings.Join(ways, "、"))
		}
	}
	for _, m := range []string{duplicates, wrongKey, slow, flood} {
		if c.Station && c.misbehaves(m) {
			return fmt.Errorf("--station 时不能 --misbehave %s", m)
		}
	}
	if c.Over < 0 || c.Over > 0 && !c.Station {
		return errors.New("--over 不能为负，且只用于 --station")
	}
	if c.misbehaves(duplicates) && c.Stations < 2 {
		return errors.New("--misbehave duplicates 须有两座采集站")
	}
	shaped := c.Link > 0 || c.Delay > 0 || c.Loss > 0
	if u.Scheme != "http" && (shaped || c.misbehaves(slow)) {
		return errors.New("线路只能模拟 http 的平台：证书不是给它的")
	}
	if _, _, ok := strings.Cut(c.StoreLink, "="); shaped && !ok {
		return errors.New("模拟线路须有 --store-link 监听地址=存储地址，否则影像不走线路")
	}
	return nil
}

// docking is a card in a station. Some cards are docked more than once.
type docking struct {
	*card
	program  string
	identity string
	server   string
	moments  []time.Duration // after which the power fails, run by run
	refused  bool            // its key is nobody's

	lines map[string]line // by file name: the last run's word
	lost  int             // times that the power failed
}

// line is what the agent says of a file.
type line struct {
	File     string `json:"file"`
	Size     int64  `json:"size"`
	SHA256   string `json:"sha256"`
	Status   string `json:"status"`
	Evidence string `json:"evidence_id"`
	Leaf     *int64 `json:"leaf_index"`
	Receipt  string `json:"receipt"`
	Error    string `json:"error"`
}

// dock makes the cards, docks them all at once and reckons up. An error means that not every byte is where it should be.
func dock(ctx context.Context, c dockConfig, out io.Writer) (err error) {
	if c.agent == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		c.agent = filepath.Join(filepath.Dir(self), "zhizheng-dock")
	}
	ids, err := identities(c.Identities, c.Stations)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(c.Work, "simcounty-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	all := c.planAll()
	if !c.Station { // else each is made when it comes
		base := footage(c.Seed)
		for _, k := range all {
			if err := k.write(dir, base); err != nil {
				return err
			}
		}
	}
	c.tell(out, all)

	lines, lctx := errgroup.WithContext(ctx)
	lctx, hangUp := context.WithCancel(lctx)
	defer func() {
		hangUp()
		err = errors.Join(err, lines.Wait())
	}()
	line := &link.Line{Kbit: c.Link, Delay: c.Delay, Loss: c.Loss / 100, Seed: c.Seed}
	server, err := c.lay(lctx, lines, line)
	if err != nil {
		return err
	}
	begun := time.Now()
	dockings, err := c.dockAll(lctx, lines, all, ids, server, dir, out)
	if err != nil {
		return err
	}
	lost := 0
	for _, d := range dockings {
		lost += d.lost
	}
	fmt.Fprintf(out, "归库 %d 次，断电 %d 次，用时 %.1f 秒", len(dockings), lost, time.Since(begun).Seconds())
	if server != c.Server {
		fmt.Fprintf(out, "，线路上行 %s，下行 %s", size(line.Up.Load()), size(line.Down.Load()))
	}
	fmt.Fprintln(out)
	a, err := reckon(ctx, c.Server, dockings)
	if err != nil {
		return err
	}
	if a.last[chain.KindManifest].After(begun) { // by the clock of the server
		fmt.Fprintf(out, "按日志：最后一个指纹在开始后 %.1f 秒入册，最后一段在 %.1f 秒封存\n", a.last[chain.KindManifest].Sub(begun).Seconds(),
			a.last[chain.KindSealed].Sub(begun).Seconds())
	}
	return a.tell(out)
}

// dockAll has all cards docked, one agent a card or at stations.
func (c *dockConfig) dockAll(ctx context.Context, lines *errgroup.Group, all []*card, ids []string, server, dir string, out io.Writer) ([]*docking, error) {
	if c.Station {
		e := &evening{c: c, server: server, dir: dir, base: footage(c.Seed), out: out}
		for i, id := range ids {
			if err := e.open(id, all[i*c.Recorders:(i+1)*c.Recorders]); err != nil {
				return nil, err
			}
		}
		return e.run(ctx, all)
	}
	dockings, err := c.dockings(all, ids, server, dir)
	if err != nil {
		return nil, err
	}
	if c.misbehaves(slow) {
		thin := &link.Line{Kbit: 256, Delay: 300 * time.Millisecond, Loss: 0.02, Seed: c.Seed}
		if dockings[0].server, err = relay(ctx, lines, thin, "127.0.0.1:0", strings.TrimPrefix(c.Server, "http://")); err != nil {
			return nil, err
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, d := range dockings {
		g.Go(func() error { return d.run(ctx) })
	}
	return dockings, g.Wait()
}

// planAll draws all cards; with wrongKey one more, of a station that nobody knows.
func (c *dockConfig) planAll() (all []*card) {
	for s := range c.Stations {
		for r := range c.Recorders {
			all = append(all, c.planned(s, r))
		}
	}
	if c.misbehaves(wrongKey) {
		all = append(all, c.planned(c.Stations, 0))
	}
	return all
}

func (c *dockConfig) tell(out io.Writer, all []*card) {
	var clips, skipped int
	var total size
	for _, k := range all {
		clips, skipped = clips+len(k.clips), skipped+k.skipped
		for _, f := range k.clips {
			total += size(f.size)
		}
	}
	fmt.Fprintf(out, "采集站 %d 座，卡 %d 张，影像 %d 段，共 %s，缺号 %d 个；种子 %d\n", c.Stations, len(all), clips, total, skipped, c.Seed)
	if len(c.Misbehave) > 0 {
		fmt.Fprintf(out, "捣乱：%s\n", strings.Join(c.Misbehave, "、"))
	}
}

// identities finds stations that were enrolled.
func identities(dir string, n int) ([]string, error) {
	found, err := filepath.Glob(filepath.Join(dir, "*", "station.json"))
	if err != nil {
		return nil, err
	}
	for i, f := range found {
		found[i] = filepath.Dir(f)
	}
	if len(found) < n {
		return nil, fmt.Errorf("%s 里只有 %d 座采集站的身份，需要 %d 座（zhizheng station enrol）", dir, len(found), n)
	}
	return found[:n], nil
}

// stranger makes the identity of a station that was never enrolled.
func stranger(dir, like string) error {
	b, err := os.ReadFile(filepath.Join(like, "station.json"))
	if err != nil {
		return err
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(os.Mkdir(dir, 0o700), os.WriteFile(filepath.Join(dir, "station.json"), b, 0o600),
		os.WriteFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600))
}

// lay puts the line before server and store; without one the server is where it is.
func (c *dockConfig) lay(ctx context.Context, g *errgroup.Group, l *link.Line) (server string, err error) {
	near, far, ok := strings.Cut(c.StoreLink, "=")
	if !ok {
		return c.Server, nil
	}
	if _, err := relay(ctx, g, l, near, far); err != nil {
		return "", err
	}
	return relay(ctx, g, l, "127.0.0.1:0", strings.TrimPrefix(c.Server, "http://"))
}

func relay(ctx context.Context, g *errgroup.Group, l *link.Line, near, far string) (string, error) {
	ln, err := link.Listen(ctx, near)
	if err != nil {
		return "", err
	}
	g.Go(func() error { return l.Relay(ctx, ln, far) })
	return "http://" + ln.Addr().String(), nil
}

// dockings says which card goes where, and what befalls it. The first is one that only the slow line troubles.
func (c *dockConfig) dockings(all []*card, ids []string, server, dir string) ([]*docking, error) {
	r := rand.New(rand.NewPCG(c.Seed, 1<<63))
	var out []*docking
	put := func(k *card, identity string) *docking {
		d := &docking{card: k, program: c.agent, identity: identity, server: server, lines: map[string]line{}}
		out = append(out, d)
		return d
	}
	for i, k := range all {
		if k.station == len(ids) {
			id := filepath.Join(dir, "stranger")
			if err := stranger(id, ids[0]); err != nil {
				return nil, err
			}
			put(k, id).refused = true
			continue
		}
		d := put(k, ids[k.station])
		if c.misbehaves(powerLoss) && (i%3 == 1 || len(all) == 1) {
			for range 3 {
				d.moments = append(d.moments, 50*time.Millisecond+time.Duration(r.Int64N(int64(1200*time.Millisecond))))
			}
		}
	}
	if c.misbehaves(duplicates) {
		put(all[0], ids[1])
	}
	if c.misbehaves(flood) {
		for range 6 {
			put(all[c.Recorders-1], ids[0])
		}
	}
	return out, nil
}

// run docks until the agent has come to its end; where the power fails it is started again.
func (d *docking) run(ctx context.Context) error {
	for {
		ends, cancel := ctx, func() {}
		if d.lost < len(d.moments) {
			ends, cancel = context.WithTimeout(ctx, d.moments[d.lost])
		}
		again, err := d.once(ends)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("%s：%w", d.serial, err)
		}
		if !again {
			return nil
		}
		d.lost++
	}
}

// once runs the agent. Whether its files are sealed is for the reckoning to say; an error is that it didn't begin or broke down.
func (d *docking) once(ctx context.Context) (killed bool, err error) {
	cmd := exec.CommandContext(ctx, d.program, "--identity", d.identity, "--server", d.server, "--source", d.dir, "--recorder", d.serial, "--once", "--json")
	cmd.WaitDelay = 5 * time.Second
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	killed = ctx.Err() != nil
	if left, is := errors.AsType[*exec.ExitError](err); err != nil && !killed && (!is || left.ExitCode() != 1) { // 1: files that it couldn't seal
		return false, fmt.Errorf("采集程序：%w：%s", err, said.Bytes())
	}
	for text := range bytes.Lines(out) {
		var l line
		if err := json.Unmarshal(text, &l); err != nil {
			if killed {
				break // torn
			}
			return false, fmt.Errorf("采集程序说的 %q：%w", text, err)
		}
		d.lines[l.File] = l
	}
	return killed, nil
}
