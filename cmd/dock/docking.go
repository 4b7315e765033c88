package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"zhizheng/ingest/manifest"
)

// docking is one recorder's stay: from the moment its storage is found until its last file is sealed, which may be long after the
// recorder has left.
type docking struct {
	*post
	from  arrival
	slot  int
	agent *agent
	over  chan struct{}

	read, sent atomic.Int64

	mu       sync.Mutex
	since    time.Time
	recorder string // serial, "" while nobody knows
	officer  string // who had it
	known    string // how the officer was known: card, pin; "docking" by who took it last
	stage    stage
	gone     bool
	files    []*file
	byName   map[string]*file
	bytes    int64
	loggedAt time.Time
	gaps     []gap
	activity label // an officer's word for all clips that have none of their own
	taken    bool  // an officer has said that they take it
	warnings []string
	problem  string
	wiped    int
	slip     string // id of the slip
}

type stage int

const (
	reading stage = iota
	carrying
	through // every file has ended
)

// file is one thing on the card, and how far it got.
type file struct {
	Name     string `json:"name"`
	Size     int64  `json:"size"`
	SHA256   string `json:"sha256,omitempty"`
	Evidence string `json:"evidence_id,omitempty"`
	Status   string `json:"status"` // "" (not read yet), logged, then as in result
	Error    string `json:"error,omitempty"`
	Activity string `json:"activity,omitempty"` // its own label, as it was chosen
	Mistaken string `json:"mistaken,omitempty"` // why it is a mistaken recording
	Leaf     int64  `json:"leaf,omitempty"`

	spooled bool
	fine    bool
	label   label // what Activity stood for then
	told    label // the label that was reported
	where   found
}

const logged = "logged"

// gap is a run of numbers that the names on the card skip.
type gap struct {
	Series string `json:"series"`
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
	From   string `json:"from,omitempty"` // names around it
	To     string `json:"to,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// run docks what has arrived. It ends when every file has ended, or the station does.
func (d *docking) run(ctx context.Context) {
	defer close(d.over)
	err := d.dock(ctx)
	if d.agent != nil {
		d.agent.letGo()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stage = through
	if err != nil && ctx.Err() == nil {
		d.problem = plain(err)
	}
	if d.gone && d.unread() > 0 {
		d.problem = fmt.Sprintf("读卡时被取走，还有 %d 个文件未读，请重新插入", d.unread())
	}
}

// unread counts files that were never read, under the lock.
func (d *docking) unread() (n int) {
	for _, f := range d.files {
		if f.Status == "" || f.Status == rejected && f.SHA256 == "" {
			n++
		}
	}
	return n
}

func (d *docking) dock(ctx context.Context) error {
	e := event{Kind: "docked", Recorder: d.recorder, Officer: d.officer, Data: eventData{Slot: d.slot, Volume: d.from.volume, By: d.known}}
	if err := d.diary.write(e); err != nil {
		return err
	}
	d.commands(ctx)
	cd, err := openCard(d.from.path, d.cfg.System)
	if err != nil {
		return err
	}
	defer cd.root.Close()
	d.agent = &agent{hub: d.hub, c: config{hubConfig: d.cfg.hubConfig, Recorder: d.recorder, others: true}, card: cd, show: d, all: true}
	if err := d.agent.stating(ctx, func() error {
		found := d.list(cd.scan())
		tasks, err := d.agent.readAll(ctx)
		if err != nil {
			return err
		}
		d.allRead(found)
		return d.agent.carryAll(ctx, tasks)
	}); err != nil {
		return err
	}
	return d.wipe(cd)
}

// commands runs what is configured for the recorder's make. None of them is needed to dock.
func (d *docking) commands(ctx context.Context) {
	if free, total, err := freeSpace(d.from.path); err == nil && !d.from.folder && free*10 < total {
		d.warn("存储卡已用 %d%%，请在封存后清理", 100-free*100/total)
	}
	for _, c := range d.site.Commands {
		if !strings.EqualFold(c.USB, d.from.usb) || d.from.usb == "" {
			continue
		}
		if len(c.Clock) > 0 {
			if _, err := runCommand(ctx, filled(c.Clock, d.from, d.recorder)); err != nil {
				d.warn("校时没有成功：%v", err)
			}
		}
		if len(c.Battery) > 0 {
			out, err := runCommand(ctx, filled(c.Battery, d.from, d.recorder))
			var percent int
			if _, serr := fmt.Sscan(strings.TrimSuffix(out, "%"), &percent); err != nil || serr != nil {
				d.warn("读不到电量")
			} else if percent < 20 {
				d.warn("电量只有 %d%%，请先充电", percent)
			}
		}
	}
}

// commandTime bounds a configured command.
const commandTime = 20 * time.Second

// runCommand gives what it printed, without the space around it.
func runCommand(ctx context.Context, command []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	c := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // the station's own configuration
	c.WaitDelay = time.Second
	out, err := c.Output()
	if len(out) > 4096 {
		out = out[:4096]
	}
	return strings.TrimSpace(string(out)), err
}

func (d *docking) warn(text string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.warnings = append(d.warnings, fmt.Sprintf(text, args...))
}

// list takes down what is on the card before any of it is read.
func (d *docking) list(all []found) []found {
	d.mu.Lock()
	defer d.mu.Unlock()
	newest := time.Time{}
	var kept []found
	for _, f := range all {
		if f.info == nil || f.skip != "" {
			continue
		}
		kept = append(kept, f)
		v := &file{Name: shown(f.name), Size: f.info.Size(), where: f}
		d.files, d.byName[f.name] = append(d.files, v), v
		d.bytes += v.Size
		if f.modified().After(newest) {
			newest = f.modified()
		}
	}
	if ahead := time.Until(newest); ahead > 5*time.Second {
		d.warnings = append(d.warnings, fmt.Sprintf("记录仪的时钟快了 %s，影像时间以入册时间为准", ahead.Round(time.Second)))
	}
	return kept
}

// allRead notes which numbers the names skip.
func (d *docking) allRead(all []found) {
	names := make([]string, len(all))
	for i, f := range all {
		names[i] = f.name
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stage = carrying
	for _, g := range manifest.InferGaps(manifest.DefaultSeries(), names) {
		d.gaps = append(d.gaps, gap{Series: g.Series, First: g.First, Last: g.Last, From: shown(names[g.Before]), To: shown(names[g.After])})
	}
}

// What the agent tells as it goes: docking is its audience.

func (d *docking) phase(string, int64) {}

type counter struct {
	n    *atomic.Int64
	size int64
	done int64
}

func (c *counter) add(n int) { c.done += int64(n); c.n.Add(int64(n)) }

// end counts what was there already and needed no carrying.
func (c *counter) end() { c.n.Add(c.size - min(c.size, c.done)) }

// start counts reading before carrying begins. Parts of one file come from several goroutines, so the carrying counter locks.
func (d *docking) start(_ string, size int64) meter {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stage == reading {
		return &counter{n: &d.read, size: size}
	}
	return &sharedCounter{counter: counter{n: &d.sent, size: size}}
}

type sharedCounter struct {
	mu sync.Mutex
	counter
}

func (c *sharedCounter) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counter.add(n)
}

func (c *sharedCounter) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counter.end()
}

func (d *docking) kept(clips []*clip) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, c := range clips {
		if f := d.byName[c.name]; f != nil {
			f.spooled = c.spooled != ""
		}
	}
}

func (d *docking) logged(t *task) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.loggedAt = time.Now()
	f := d.byName[t.name]
	if f == nil { // a copy in the spool: its card is long gone
		d.tellKept(t)
		return
	}
	f.Status, f.Evidence, f.SHA256 = logged, t.evidence, t.sha()
	if f.label.kind == "" && d.activity.kind == "" { // nobody said anything this time
		d.tellKept(t)
		return
	}
	d.tellOf(f)
}

func (d *docking) ended(name string, r result) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.byName[name]
	if f == nil {
		if r.Status == rejected { // it couldn't even be listed
			d.files = append(d.files, &file{Name: shown(name), Status: rejected, Error: r.Error})
		}
		return nil
	}
	f.Status, f.Error, f.fine = r.Status, r.Error, r.fine
	if r.SHA256 != "" {
		f.SHA256 = r.SHA256
	}
	if r.LeafIndex != nil {
		f.Leaf = *r.LeafIndex
	}
	return nil
}

func (d *docking) note(text string) { d.log.Info(text, "slot", d.slot) }

// tellOf reports what an officer has said of a clip, once the platform has a record of it; under the lock. What can't be written down is
// said again at the next word.
func (d *docking) tellOf(f *file) {
	if f.Evidence == "" || d.officer == "" {
		return
	}
	label := f.label
	if label.kind == "" {
		label = d.activity
	}
	if label.kind != "" && label != f.told {
		if err := d.diary.write(event{Kind: "labelled", Officer: d.officer, Evidence: f.Evidence, Recorder: d.recorder, Data: eventData{Activity: label.kind, ActivityID: label.activity, Slot: d.slot, By: d.known}}); err != nil {
			d.log.Error("label not written", "err", err)
			return
		}
		f.told = label
	}
	if err := d.labels.forget(keptAs(d.recorder, f.where.name, f.Size)); err != nil {
		d.log.Error("label not crossed out", "err", err)
	}
}

// wipe removes originals by the county's rule: only those whose bytes are sealed and whose receipt was verified in this docking, only while the file is still the one
// that was read, and not before the station has written down that it does. Crash after that line: the next docking finds the file and
// removes it then.
func (d *docking) wipe(cd *card) error {
	rule := d.people.self().Wipe
	if rule.When == "never" || rule.When == "" || d.from.folder && !d.from.wipe {
		return nil
	}
	d.mu.Lock()
	files := append([]*file{}, d.files...)
	d.mu.Unlock()
	var dirs = map[string]bool{}
	for _, f := range files {
		if !f.fine || f.Error != "" || f.Evidence == "" || (f.Status != sealed && f.Status != duplicate) {
			continue
		}
		if rule.When == "days" {
			info, err := os.Stat(filepath.Join(d.receipts, filepath.Base(f.Evidence)+".tlog-proof"))
			if err != nil || time.Since(info.ModTime()) < time.Duration(rule.Days)*24*time.Hour {
				continue
			}
		}
		if err := d.wipeOne(cd, f); err != nil {
			if d.isGone() {
				return nil // nothing was lost: the rest stays on the recorder
			}
			return fmt.Errorf("清除 %s：%w", f.Name, err)
		}
		dirs[filepath.Dir(f.where.name)] = true
		d.mu.Lock()
		d.wiped++
		d.mu.Unlock()
	}
	var errs []error
	for dir := range dirs {
		if err := syncDir(filepath.Join(d.from.path, dir)); err != nil && !d.isGone() {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (d *docking) wipeOne(cd *card, f *file) error {
	r, err := cd.open(f.where) // the same file, by identity, size and time
	if err != nil {
		return err
	}
	if err := r.Close(); err != nil {
		return err
	}
	if err := d.diary.write(event{Kind: "wiped", Evidence: f.Evidence, Recorder: d.recorder, Data: eventData{Leaf: f.Leaf, Slot: d.slot}}); err != nil {
		return err
	}
	return cd.root.Remove(f.where.name)
}

func (d *docking) isGone() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.gone
}

// left notes that the recorder went. What lies in the spool goes on; what wasn't read fails by itself.
func (d *docking) left() {
	d.mu.Lock()
	d.gone = true
	d.mu.Unlock()
	e := event{Kind: "undocked", Recorder: d.recorder, Data: eventData{Slot: d.slot, Volume: d.from.volume}}
	if err := d.diary.write(e); err != nil {
		d.log.Error("not written", "err", err)
	}
}
