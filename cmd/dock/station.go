package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/goccy/go-yaml"
	"golang.org/x/sync/errgroup"

	"zhizheng/internal/version"
)

// stationConfig are the settings of a whole station.
type stationConfig struct {
	hubConfig
	Config string `help:"站点配置（YAML）：工位、挂载点、文件夹、命令、限速。" type:"existingfile" env:"ZZ_DOCK_CONFIG"`
	Listen string `help:"触摸屏页面的地址，只供本机。" default:"127.0.0.1:8470" env:"ZZ_DOCK_LISTEN"`

	site siteConfig
}

// siteConfig is the file: what is plugged in where.
type siteConfig struct {
	Slots    int             `yaml:"slots"`    // 16 by default
	Ports    map[string]int  `yaml:"ports"`    // USB port → slot
	Disabled map[int]string  `yaml:"disabled"` // slot → why
	Mounts   []string        `yaml:"mounts"`   // patterns of mount points
	Folders  []folderConfig  `yaml:"folders"`
	Commands []commandConfig `yaml:"commands"`
	Schedule []window        `yaml:"schedule"`
}

// maxSlots is what a page can show.
const maxSlots = 64

// Validate is called by kong.
func (c *stationConfig) Validate() error {
	if err := c.hubConfig.Validate(); err != nil {
		return err
	}
	if c.Spool == "" {
		return errors.New("采集站须有暂存目录：--spool")
	}
	host, _, err := net.SplitHostPort(c.Listen)
	if ip := net.ParseIP(host); err != nil || (host != "localhost" && (ip == nil || !ip.IsLoopback())) {
		return errors.New("--listen 只能是本机地址，如 127.0.0.1:8470")
	}
	c.site = siteConfig{Slots: 16, Mounts: defaultMounts()}
	if c.Config != "" {
		b, err := os.ReadFile(c.Config)
		if err != nil {
			return err
		}
		if err := yaml.UnmarshalWithOptions(b, &c.site, yaml.Strict()); err != nil {
			return fmt.Errorf("站点配置 %s：%w", filepath.Base(c.Config), err)
		}
	}
	return c.site.check()
}

func (s *siteConfig) check() error {
	if s.Slots < 1 || s.Slots > maxSlots {
		return fmt.Errorf("slots 应为 1 至 %d", maxSlots)
	}
	for port, n := range s.Ports {
		if n < 1 || n > s.Slots {
			return fmt.Errorf("ports：%s 的工位 %d 不存在", port, n)
		}
	}
	for n := range s.Disabled {
		if n < 1 || n > s.Slots {
			return fmt.Errorf("disabled：工位 %d 不存在", n)
		}
	}
	for _, p := range s.Mounts {
		if _, err := filepath.Match(p, ""); err != nil {
			return fmt.Errorf("mounts：%q：%w", p, err)
		}
	}
	for _, f := range s.Folders {
		if !filepath.IsAbs(f.Path) || f.Slot < 0 || f.Slot > s.Slots {
			return fmt.Errorf("folders：%q 应为绝对路径，工位应存在", f.Path)
		}
	}
	for _, c := range s.Commands {
		if v, p, ok := strings.Cut(c.USB, ":"); !ok || len(v) != 4 || len(p) != 4 {
			return fmt.Errorf("commands：usb 应为 厂商:产品，如 1234:abcd，实为 %q", c.USB)
		}
	}
	for i := range s.Schedule {
		if err := s.Schedule[i].check(); err != nil {
			return err
		}
	}
	return nil
}

// settle is the shortest time that a folder has to be quiet.
func (s *siteConfig) settle() time.Duration {
	shortest := defaultSettle
	for _, f := range s.Folders {
		shortest = min(shortest, cmp.Or(f.Settle, defaultSettle))
	}
	return shortest
}

// post is a station at work: its slots, its page, what it knows of people.
type post struct {
	*hub
	cfg    stationConfig
	site   siteConfig
	people *register
	diary  *diary
	labels *labelBook
	log    *slog.Logger
	slips  string

	filled []arrival // folders, as they were when last walked; of look alone
	held   map[string]steady
	walked time.Time

	liveNext   time.Time // no report before; of reportLive alone
	liveMoving bool      // as the last report said

	away atomic.Pointer[string] // why the platform can't be reached, nil while it can

	mu       sync.Mutex
	slots    []*slotOf
	dockings map[*docking]bool // all that have not ended or are still in their slot
	unlocked map[string]bool   // ports on which the unlock command ran since they were plugged
	session  *session
	problem  string
	rate     rateMeter
	running  sync.WaitGroup
}

// slotOf is a place at the station.
type slotOf struct {
	n        int
	disabled string
	current  *docking // nil while it is empty
	port     string   // where something is being unlocked, "" else
	idle     bool     // what it shows is a folder that is empty by now
}

// station runs until it is told to end. What was begun goes on at the next start.
func station(ctx context.Context, c stationConfig) int {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := runStation(ctx, c, logger, nil); err != nil {
		fmt.Fprintln(os.Stderr, "zhizheng-dock:", err)
		return exitNone
	}
	return exitAll
}

// foreverPatient: a station doesn't give up; it says that the platform is away, and goes on when it is back.
const foreverPatient = 100 * 365 * 24 * time.Hour

// runStation tells ready the page's address once it is there.
func runStation(ctx context.Context, c stationConfig, logger *slog.Logger, ready func(address string)) (err error) {
	c.Patience, c.schedule = foreverPatient, c.site.Schedule
	h, err := openHub(c.hubConfig)
	if err != nil {
		return err
	}
	defer h.close()
	dir := filepath.Join(c.Identity, "state")
	p := &post{hub: h, cfg: c, site: c.site, log: logger, dockings: map[*docking]bool{}, unlocked: map[string]bool{}, slips: filepath.Join(c.Identity, "slips")}
	h.client.trouble = p.trouble
	if err := os.MkdirAll(p.slips, 0o700); err != nil {
		return err
	}
	if p.people, err = openRegister(h.client, dir); err != nil {
		return fmt.Errorf("站点资料：%w", err)
	}
	if p.labels, err = openLabels(filepath.Join(dir, "labels.json")); err != nil {
		return fmt.Errorf("待报的标注：%w", err)
	}
	if p.diary, err = openDiary(h.client, dir); err != nil {
		return err
	}
	defer p.diary.close()
	for n := 1; n <= c.site.Slots; n++ {
		p.slots = append(p.slots, &slotOf{n: n, disabled: c.site.Disabled[n]})
	}
	ln, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: p.page(), ReadHeaderTimeout: 5 * time.Second}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		return srv.Close()
	})
	g.Go(func() error {
		return p.diary.run(ctx, func(e event, why string) { logger.Warn("event not taken", "kind", e.Kind, "id", e.ID, "why", why) })
	})
	g.Go(func() error { return p.every(ctx, time.Minute, p.learn) })
	g.Go(func() error { return p.every(ctx, time.Second, p.look) })
	g.Go(func() error { return p.every(ctx, time.Second, p.reportLive) })
	g.Go(func() error { return p.every(ctx, 30*time.Second, p.backlog) })
	logger.Info("station is up", "station", h.id.Station, "page", "http://"+ln.Addr().String(), "slots", c.site.Slots, "version", version.String())
	if ready != nil {
		ready("http://" + ln.Addr().String())
	}
	err = g.Wait()
	p.running.Wait()
	return err
}

// every calls fn at once and then again and again.
func (p *post) every(ctx context.Context, interval time.Duration, fn func(context.Context)) error {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		fn(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// trouble hears from the client what passes: the page says it.
func (p *post) trouble(err error) {
	if err == nil {
		p.away.Store(nil)
		return
	}
	s := plain(err)
	p.away.Store(&s)
}

func (p *post) learn(ctx context.Context) {
	if err := p.people.refresh(ctx); err != nil && ctx.Err() == nil {
		p.log.Warn("station's register not refreshed", "err", plain(err))
	}
}

// look finds out what has come and what has gone.
func (p *post) look(ctx context.Context) {
	here, err := mounts(p.site.Mounts)
	if err != nil {
		p.say("看不到挂载点：" + err.Error())
		return
	}
	// A folder is walked whole, and may lie behind a network: no oftener than it has to be quiet.
	if now := time.Now(); now.Sub(p.walked) >= p.site.settle() {
		more, held, errs := folders(p.site.Folders, now, p.held)
		p.filled, p.held, p.walked = more, held, now
		problem := ""
		if len(errs) > 0 {
			problem = "文件夹读不到：" + errors.Join(errs...).Error()
		}
		p.say(problem)
	}
	p.compare(ctx, slices.Concat(here, p.filled))
	p.unlock(ctx, here)
}

func (p *post) say(problem string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.problem = problem
}

// compare begins dockings of what has come, and tells those whose recorder has gone.
func (p *post) compare(ctx context.Context, here []arrival) {
	p.mu.Lock()
	defer p.mu.Unlock()
	there := map[string]arrival{}
	for _, a := range here {
		there[a.key] = a
	}
	taken := map[string]bool{}
	for _, s := range p.slots {
		d := s.current
		if d == nil {
			continue
		}
		a, still := there[d.from.key]
		s.idle = false
		switch {
		case !still && d.from.folder: // it became empty, or is being filled again; what is shown stays until it is gone or replaced
			_, err := os.Stat(d.from.path)
			if s.idle = d.finished(); s.idle && err != nil {
				s.current, s.idle = nil, false
			}
		case !still:
			d.left()
			s.current = nil
			delete(p.unlocked, d.from.port)
		case a.folder && d.finished() && a.held != d.from.held:
			s.current = nil // something new is in it
		default:
			taken[a.key] = true
		}
	}
	for _, a := range here {
		if !taken[a.key] {
			p.place(ctx, a)
		}
	}
}

// place finds a slot: the one its port or its folder is configured for, else the next free one. Without any it waits for one.
func (p *post) place(ctx context.Context, a arrival) {
	n := cmp.Or(p.site.Ports[a.port], a.slot)
	for _, idle := range []bool{false, true} {
		for _, s := range p.slots {
			free := s.current == nil || idle && s.idle
			if !free || s.disabled != "" || (n != 0 && s.n != n) || (n == 0 && p.reserved(s.n)) {
				continue
			}
			s.current, s.port, s.idle = p.begin(ctx, s.n, a), "", false
			return
		}
	}
}

// reserved says that a slot has a port or folder of its own, under the lock.
func (p *post) reserved(n int) bool {
	for _, own := range p.site.Ports {
		if own == n {
			return true
		}
	}
	for _, f := range p.site.Folders {
		if f.Slot == n {
			return true
		}
	}
	return false
}

func (p *post) begin(ctx context.Context, slot int, a arrival) *docking {
	d := &docking{post: p, from: a, slot: slot, over: make(chan struct{}), since: time.Now(), byName: map[string]*file{}}
	d.recorder = p.people.recorder(a.volume, a.words...)
	if d.recorder != "" {
		d.officer, d.known = p.people.wearer(d.recorder), "docking"
	}
	p.dockings[d] = true
	p.running.Go(func() {
		d.run(ctx)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.dockings, d)
	})
	return d
}

func (d *docking) finished() bool {
	select {
	case <-d.over:
		return true
	default:
		return false
	}
}

// unlock runs the command of recorders whose storage isn't there yet, once for each time they are plugged in.
func (p *post) unlock(ctx context.Context, here []arrival) {
	ports := plugged(p.site.Commands)
	p.mu.Lock()
	defer p.mu.Unlock()
	for port := range p.unlocked {
		if _, still := ports[port]; !still {
			delete(p.unlocked, port)
		}
	}
	for _, a := range here {
		delete(ports, a.port)
	}
	for _, s := range p.slots {
		if s.port != "" {
			if _, waiting := ports[s.port]; !waiting {
				s.port = ""
			}
		}
	}
	for port, c := range ports {
		if n := p.site.Ports[port]; n > 0 && p.slots[n-1].current == nil {
			p.slots[n-1].port = port
		}
		if p.unlocked[port] {
			continue
		}
		p.unlocked[port] = true
		p.running.Go(func() {
			if _, err := runCommand(ctx, filled(c.Unlock, arrival{port: port}, portSerial(port))); err != nil && ctx.Err() == nil {
				p.log.Warn("recorder not unlocked", "port", port, "err", err)
			}
		})
	}
}

// backlog carries copies that an earlier run, or a docking that failed, left in the spool.
func (p *post) backlog(ctx context.Context) {
	p.mu.Lock()
	busy := len(p.dockings) > 0
	p.mu.Unlock()
	if busy { // it may be about to read the same files
		return
	}
	if err := p.spool.tidy(p.state.finished); err != nil {
		p.log.Warn("spool not tidied", "err", err)
	}
	names, err := p.spool.names()
	if err != nil || len(names) == 0 {
		return
	}
	d := &docking{post: p, since: time.Now(), byName: map[string]*file{}, stage: carrying}
	a := &agent{hub: p.hub, c: config{hubConfig: p.cfg.hubConfig}, show: d, all: true}
	defer a.letGo()
	if err := a.run(ctx); err != nil && ctx.Err() == nil {
		p.log.Warn("copies in the spool not carried", "err", plain(err))
	}
}
