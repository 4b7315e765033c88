package main

import (
	"context"
	"math"
	"net/http"
	"slices"
	"sync"
	"time"

	"zhizheng/internal/version"
)

// slotView is a slot as the page and the platform see it; field names are the platform's.
type slotView struct {
	Slot         int        `json:"slot"`
	State        string     `json:"state"`
	Officer      string     `json:"officer_id,omitempty"`
	Name         string     `json:"officer_name,omitempty"`
	Recorder     string     `json:"recorder,omitempty"`
	Volume       string     `json:"volume,omitempty"`
	Since        *time.Time `json:"since,omitempty"`
	Files        int        `json:"files,omitempty"`
	Fingerprints int        `json:"fingerprints,omitempty"`
	LoggedAt     *time.Time `json:"logged_at,omitempty"`
	Bytes        int64      `json:"bytes,omitempty"`
	Read         int64      `json:"read,omitempty"`
	Sent         int64      `json:"sent,omitempty"`
	Sealed       int        `json:"sealed,omitempty"`
	Failed       int        `json:"failed,omitempty"`
	Missing      int        `json:"missing,omitempty"`
	Done         *time.Time `json:"done,omitempty"`
	Note         string     `json:"note,omitempty"`
}

// States of a slot, as the platform names them.
const (
	slotEmpty     = "empty"
	slotUnlocking = "unlocking"
	slotReading   = "reading"
	slotTakeable  = "takeable"  // every fingerprint is in the log, every byte in the station's spool
	slotUploading = "uploading" // there is no copy here: the recorder has to stay
	slotWipeable  = "wipeable"  // every byte is sealed, every receipt verified
	slotWiped     = "wiped"
	slotAttention = "attention" // an officer's word is wanted
	slotUnclaimed = "unclaimed"
	slotFailed    = "failed"
	slotDisabled  = "disabled"
)

// view sums a docking up.
func (d *docking) view() slotView {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := slotView{Slot: d.slot, Officer: d.officer, Name: d.people.name(d.officer), Recorder: d.recorder, Volume: d.from.volume, Since: &d.since,
		Files: len(d.files), Bytes: d.bytes, Read: min(d.read.Load(), d.bytes), Sent: min(d.sent.Load(), d.bytes), Note: d.problem}
	if !d.loggedAt.IsZero() {
		at := d.loggedAt
		v.LoggedAt = &at
	}
	kept := true // every byte that was read is in the spool or sealed
	for _, f := range d.files {
		if f.Evidence != "" {
			v.Fingerprints++
		}
		switch {
		case f.fine:
			v.Sealed++
		case f.Status == rejected:
			v.Failed++
		case !f.spooled:
			kept = false
		}
	}
	for _, g := range d.gaps {
		if g.Reason == "" {
			v.Missing += int(g.Last - g.First + 1)
		}
	}
	if v.Note == "" && len(d.warnings) > 0 {
		v.Note = d.warnings[0]
	}
	v.State = d.stateOf(v, kept)
	// Without a link all that the recorder is needed for is done once every file is read, copied and signed.
	if v.State == slotReading && d.away.Load() != nil && v.Files > 0 && kept {
		v.State, v.Note = slotTakeable, "网络中断：已全部读入暂存并签名，联网后自动入册"
	}
	return v
}

func (d *docking) stateOf(v slotView, kept bool) string {
	switch {
	case d.stage == reading:
		return slotReading
	case d.problem != "" || v.Failed > 0:
		return slotFailed
	case d.recorder == "":
		return slotUnclaimed
	case v.Missing > 0:
		return slotAttention
	case v.Sealed == v.Files && d.wiped > 0 && d.wiped >= v.Files:
		return slotWiped
	case v.Sealed == v.Files && d.stage == through:
		return slotWipeable
	case kept:
		return slotTakeable
	}
	return slotUploading
}

// view of all slots.
func (p *post) view() []slotView {
	p.mu.Lock()
	slots := make([]slotOf, len(p.slots))
	for i, s := range p.slots {
		slots[i] = *s
	}
	p.mu.Unlock()
	out := make([]slotView, len(slots))
	for i, s := range slots {
		switch {
		case s.current != nil:
			out[i] = s.current.view()
		case s.disabled != "":
			out[i] = slotView{Slot: s.n, State: slotDisabled, Note: s.disabled}
		case s.port != "":
			out[i] = slotView{Slot: s.n, State: slotUnlocking, Note: "正在解锁"}
		default:
			out[i] = slotView{Slot: s.n, State: slotEmpty}
		}
	}
	return out
}

// queue is what is still on its way to the store, of recorders that have left too, and whether any of it is urgent.
func (p *post) queue() (files int, bytes int64, urgent bool) {
	p.mu.Lock()
	all := make([]*docking, 0, len(p.dockings))
	for d := range p.dockings {
		all = append(all, d)
	}
	p.mu.Unlock()
	for _, d := range all {
		d.mu.Lock()
		left := 0
		for _, f := range d.files {
			if !f.fine && f.Status != rejected {
				left++
			}
		}
		files, urgent = files+left, urgent || left > 0 && d.agent != nil && d.agent.urgent.Load()
		bytes += max(0, d.bytes-d.sent.Load())
		d.mu.Unlock()
	}
	return files, bytes, urgent
}

// rateMeter is the link's rate over some seconds.
type rateMeter struct {
	mu      sync.Mutex
	at      time.Time
	sent    int64
	average float64 // bytes a second
}

// now updates the average by what was carried until now, and gives it.
func (r *rateMeter) now(sent int64) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if !r.at.IsZero() {
		if dt := now.Sub(r.at).Seconds(); dt > 0.2 {
			const memory = 4 // seconds, however often it is asked
			r.average += (1 - math.Exp(-dt/memory)) * (float64(sent-r.sent)/dt - r.average)
			r.at, r.sent = now, sent
		}
	} else {
		r.at, r.sent = now, sent
	}
	return int64(r.average)
}

// live is what the platform is told.
type live struct {
	SpoolFree  int64      `json:"spool_free,omitempty"`
	QueueFiles int        `json:"queue_files,omitempty"`
	QueueBytes int64      `json:"queue_bytes,omitempty"`
	Rate       int64      `json:"rate,omitempty"`
	Limit      int64      `json:"limit,omitempty"`
	Parallel   int        `json:"parallel"`
	Share      int        `json:"share"`
	Urgent     bool       `json:"urgent,omitempty"`
	Done       *time.Time `json:"done,omitempty"`
	Problem    string     `json:"problem,omitempty"`
	Version    string     `json:"version,omitempty"`
	Slots      []slotView `json:"slots"`
}

func (p *post) live() live {
	l := live{Slots: p.view(), Version: version.String(), Rate: p.rate.now(p.carried.Load())}
	l.QueueFiles, l.QueueBytes, l.Urgent = p.queue()
	if l.QueueFiles == 0 {
		l.Rate = 0 // what was
	}
	l.Parallel, l.Share = p.cfg.Parallel, p.gate.size()
	if free, _, err := freeSpace(p.spool.dir); err == nil {
		l.SpoolFree = free
	}
	if kbit, ok := p.pace.limit(); ok {
		l.Limit = int64(kbit) * 1000 / 8
	}
	if l.QueueBytes > 0 && l.Rate > 1000 {
		at := time.Now().Add(time.Duration(float64(l.QueueBytes) / float64(l.Rate) * float64(time.Second))).Truncate(time.Minute)
		l.Done = &at
	}
	p.mu.Lock()
	l.Problem = p.problem
	p.mu.Unlock()
	if answer := p.client.waitsOut(); answer != "" {
		l.Problem = "影像先存在本站，恢复后自动补传（" + answer + "）"
	}
	for i := range l.Slots { // the platform knows the names itself
		l.Slots[i].Name = ""
		l.Slots[i].Note = cut(l.Slots[i].Note, 200)
		l.Slots[i].Volume = cut(l.Slots[i].Volume, 100)
	}
	l.Problem = cut(l.Problem, 200)
	return l
}

// cut keeps a text to a number of characters.
func cut(s string, n int) string {
	r := []rune(s)
	if len(r) <= n {
		return s
	}
	return string(r[:n-1]) + "…"
}

// A report is worth little: it may cost a twentieth of the line, and comes at least as often as the platform expects it of a station that is there.
const (
	liveCost  = 20
	liveLeast = 10 * time.Second
)

// reportLive tells the platform how the docking goes, and hears how much may be sent at once. What can't be sent is not kept: the next one says
// more.
func (p *post) reportLive(ctx context.Context) {
	l := p.live()
	soon := l.moving() && !p.liveMoving // somebody has just come
	if p.pace.behind() != nil || time.Now().Before(p.liveNext) && !soon {
		return // fingerprints are on their way, or it is too early
	}
	ctx, cancel := context.WithTimeout(ctx, liveLeast)
	defer cancel()
	var share struct {
		Parallel int `json:"parallel"`
	}
	begun := time.Now()
	err := p.client.try(ctx, http.MethodPut, "/api/v1/station/live", l, &share)
	took := time.Since(begun)
	pause := min(liveCost*took, liveLeast-took)
	if p.liveMoving = l.moving(); !p.liveMoving {
		pause = liveLeast - took
	}
	p.liveNext = time.Now().Add(pause)
	if err != nil {
		p.log.Debug("live report not sent", "err", plain(err))
		return
	}
	p.gate.resize(min(max(share.Parallel, 1), p.cfg.Parallel))
}

// moving says that something is read or carried: people watch it.
func (l *live) moving() bool {
	return l.QueueFiles > 0 || slices.ContainsFunc(l.Slots, func(s slotView) bool { return s.State == slotReading })
}
