package main

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"embed"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

//go:embed page
var pageFiles embed.FS

// session is the one officer at the screen. It ends by itself when nobody touches anything.
type session struct {
	officer string
	by      string // card, pin
	token   string
	until   time.Time
}

const sessionIdle = 90 * time.Second

// pageCSP: the page has its own script and style, and talks to nobody else.
const pageCSP = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// page serves the station's own screen. It listens on this machine alone, and answers no foreign page: names that resolve here from
// elsewhere are refused, and a word that changes something needs a header that other pages can't send.
func (p *post) page() http.Handler {
	files, err := fs.Sub(pageFiles, "page")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	mux := http.NewServeMux()
	mux.Handle("GET /", http.FileServerFS(files))
	mux.HandleFunc("GET /state", p.getState)
	mux.HandleFunc("POST /act", p.postAct)
	mux.HandleFunc("GET /slip/{id}", p.getSlip)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, "this page is for the station's own screen", http.StatusMisdirectedRequest)
			return
		}
		h := w.Header()
		h.Set("Content-Security-Policy", pageCSP)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

// stateView is all that the page shows.
type stateView struct {
	Station    string      `json:"station"`
	Name       string      `json:"name"`
	Township   string      `json:"township"`
	Demo       bool        `json:"demo"`
	Now        time.Time   `json:"now"`
	Away       string      `json:"away,omitempty"` // why the platform can't be reached
	Live       live        `json:"live"`
	Activities []choice    `json:"activities"`
	PINs       []labelView `json:"pins"` // officers who may type one
	Session    *whoView    `json:"session,omitempty"`
	Mine       []detail    `json:"mine,omitempty"`
	Free       []string    `json:"free,omitempty"` // recorders of the township, for claiming a card
}

type labelView struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

type whoView struct {
	ID    string    `json:"id"`
	Name  string    `json:"name"`
	Until time.Time `json:"until"`
}

// detail is a slot in full, for the officer at the screen.
type detail struct {
	slotView
	Items    []clipView `json:"items"`
	Preset   []int      `json:"preset"` // places in the state's activities, in order
	Gaps     []gap      `json:"gaps"`
	Warnings []string   `json:"warnings,omitempty"`
	Activity string     `json:"activity,omitempty"`
	Urgent   bool       `json:"urgent"`
	Taken    bool       `json:"taken"`
	Own      bool       `json:"own"` // theirs, or nobody's
	Slip     string     `json:"slip,omitempty"`
}

// clipView is a file as its officer sees it. Preset orders the choices for it.
type clipView struct {
	file
	Preset []int `json:"preset"`
}

// who is the officer of the request's session, nil without one. Looking keeps no session open; acting does.
func (p *post) who(r *http.Request, touch bool) *session {
	c, err := r.Cookie("zz-station")
	if err != nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.session
	if s == nil || time.Now().After(s.until) || subtle.ConstantTimeCompare([]byte(c.Value), []byte(s.token)) != 1 {
		return nil
	}
	if touch {
		s.until = time.Now().Add(sessionIdle)
	}
	own := *s
	return &own
}

func (p *post) getState(w http.ResponseWriter, r *http.Request) {
	p.writeState(w, p.who(r, false))
}

func (p *post) writeState(w http.ResponseWriter, who *session) {
	st := p.people.self()
	v := stateView{Station: p.id.Station, Name: st.Name, Township: st.TownshipName, Demo: st.Demo, Now: time.Now(), Live: p.live(),
		Activities: st.choices(time.Now()), PINs: []labelView{}}
	for i := range v.Live.Slots {
		v.Live.Slots[i].Name = p.people.name(v.Live.Slots[i].Officer)
	}
	if a := p.away.Load(); a != nil {
		v.Away = *a
	}
	for _, o := range st.Officers {
		if o.PIN {
			v.PINs = append(v.PINs, labelView{o.ID, o.Name})
		}
	}
	if who != nil {
		v.Session = &whoView{ID: who.officer, Name: p.people.name(who.officer), Until: who.until}
		for _, d := range p.current() {
			v.Mine = append(v.Mine, d.detail(st, who.officer, v.Now))
		}
		for _, rec := range st.Recorders {
			v.Free = append(v.Free, rec.Serial)
		}
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(v) // a screen that went away needs none
}

// current are the dockings in slots.
func (p *post) current() (out []*docking) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, s := range p.slots {
		if s.current != nil {
			out = append(out, s.current)
		}
	}
	return out
}

func (d *docking) detail(st self, officer string, now time.Time) detail {
	v := detail{slotView: d.view()}
	d.mu.Lock()
	defer d.mu.Unlock()
	v.Own = d.officer == officer || d.known == "docking" || d.officer == ""
	v.Items, v.Activity, v.Taken, v.Slip, v.Warnings = []clipView{}, d.activity.id(), d.taken, d.slip, d.warnings
	v.Urgent = d.agent != nil && d.agent.urgent.Load()
	v.Gaps = append([]gap{}, d.gaps...)
	if !v.Own {
		return v // another officer's clips are theirs to see
	}
	var newest time.Time
	for _, f := range d.files {
		at := f.where.modified()
		if at.After(now) { // a clock ahead says nothing of the day
			at = time.Time{}
		}
		day := at
		if at.IsZero() {
			day = now
		}
		if at.After(newest) {
			newest = at
		}
		v.Items = append(v.Items, clipView{*f, st.preset(officer, day, at, now)})
	}
	if newest.IsZero() {
		newest = now
	}
	v.Preset = st.preset(officer, newest, time.Time{}, now)
	return v
}

// act is a touch.
type act struct {
	Do       string `json:"do"`
	Number   string `json:"number"`   // card
	Officer  string `json:"officer"`  // pin
	PIN      string `json:"pin"`      //
	Slot     int    `json:"slot"`     //
	File     int    `json:"file"`     // index; -1 for all
	Activity string `json:"activity"` //
	Reason   string `json:"reason"`   //
	First    uint64 `json:"first"`    // of a gap
	Series   string `json:"series"`   //
	Recorder string `json:"recorder"` // claim
	On       bool   `json:"on"`       // urgent
}

// refused is what the officer is told.
type refused struct{ text string }

func (r *refused) Error() string { return r.text }

func (p *post) postAct(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("X-Zhizheng") == "" {
		http.Error(w, "header X-Zhizheng is missing", http.StatusForbidden)
		return
	}
	var a act
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 8<<10)).Decode(&a); err != nil {
		http.Error(w, "cannot be read", http.StatusBadRequest)
		return
	}
	who, err := p.do(r, a)
	if err == nil {
		if a.Do == "card" || a.Do == "pin" {
			http.SetCookie(w, &http.Cookie{Name: "zz-station", Value: who.token, Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode})
		}
		p.writeState(w, who)
		return
	}
	status := http.StatusInternalServerError
	var no *refused
	if errors.As(err, &no) {
		status = http.StatusConflict
	} else {
		p.log.Error("act failed", "do", a.Do, "err", err)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": plain(err)}) // as above
}

// do does what was touched. who is the session afterwards, nil for none.
func (p *post) do(r *http.Request, a act) (who *session, err error) {
	switch a.Do {
	case "card":
		id, ok := p.people.byCard(a.Number)
		if !ok {
			return nil, &refused{"不认识这张证件，或执法证已过有效期"}
		}
		return p.signIn(id, "card"), nil
	case "pin":
		if err := p.checkPIN(r.Context(), a); err != nil {
			return nil, err
		}
		return p.signIn(a.Officer, "pin"), nil
	case "exit":
		p.mu.Lock()
		defer p.mu.Unlock()
		p.session = nil
		return nil, nil
	}
	if who = p.who(r, true); who == nil {
		return nil, &refused{"请先刷执法证"}
	}
	var d *docking
	for _, c := range p.current() {
		if c.slot == a.Slot {
			d = c
		}
	}
	if d == nil {
		return nil, &refused{"这个工位是空的"}
	}
	return who, d.act(who, a)
}

func (p *post) signIn(officer, by string) *session {
	b := make([]byte, 18)
	_, _ = rand.Read(b) // crypto/rand.Read never fails (Go 1.24)
	s := &session{officer: officer, by: by, token: base64.RawURLEncoding.EncodeToString(b), until: time.Now().Add(sessionIdle)}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.session = s
	own := *s
	return &own
}

func (p *post) checkPIN(ctx context.Context, a act) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	err := p.client.try(ctx, http.MethodPost, "/api/v1/station/sign-in", map[string]any{"officer_id": a.Officer, "pin": a.PIN}, nil)
	var away *awayError
	var no *answerError
	switch {
	case errors.As(err, &away) || ctx.Err() != nil:
		return &refused{"网络中断，无法核对 PIN：请刷执法证"}
	case errors.As(err, &no):
		return &refused{no.text}
	}
	return err
}

// maxReason is what the platform takes.
const maxReason = 200

// act does an officer's word about a docking. It is written down before the screen says that it is done.
func (d *docking) act(who *session, a act) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	own := d.officer == who.officer || d.known == "docking" || d.officer == ""
	if !own && a.Do != "take" { // whoever is next takes it, once its clips are safe
		return &refused{"这是别人的记录仪"}
	}
	if a.Do != "take" && d.officer != who.officer { // the one who brings it says so
		d.officer, d.known = who.officer, who.by
		if d.recorder != "" {
			if err := d.returned(who); err != nil {
				return err
			}
		}
		for _, f := range d.files {
			d.tellOf(f)
		}
	}
	switch a.Do {
	case "mine":
		return nil
	case "claim":
		return d.claim(who, a.Recorder)
	case "label":
		return d.label(a)
	case "mistaken":
		return d.mistaken(who, a)
	case "gap":
		return d.explain(who, a)
	case "urgent":
		if d.agent != nil {
			d.agent.urgent.Store(a.On)
		}
		return nil
	case "confirm":
		return d.confirm(who)
	case "take":
		return d.take(who)
	}
	return &refused{"不认识的操作"}
}

func (d *docking) returned(who *session) error {
	if err := d.diary.write(event{Kind: "returned", Officer: who.officer, Recorder: d.recorder, Data: eventData{Slot: d.slot, By: who.by}}); err != nil {
		return err
	}
	d.people.setWearer(d.recorder, "")
	return nil
}

func (d *docking) claim(who *session, serial string) error {
	if d.recorder != "" {
		return &refused{"这张卡已认领"}
	}
	if !slices.ContainsFunc(d.people.self().Recorders, func(r recorder) bool { return r.Serial == serial }) {
		return &refused{"本乡镇没有这台记录仪"}
	}
	if err := d.diary.write(event{Kind: "claimed", Officer: who.officer, Recorder: serial, Data: eventData{Slot: d.slot, Volume: cut(d.from.volume, 100), By: who.by}}); err != nil {
		return err
	}
	if err := d.people.claim(d.from.volume, serial); err != nil {
		return err
	}
	d.recorder = serial
	return d.returned(who)
}

func (d *docking) label(a act) error {
	said, ok := d.people.self().label(a.Activity)
	if !ok {
		return &refused{"没有这种执法活动"}
	}
	if a.File < 0 {
		d.activity = said
		for _, f := range d.files {
			d.tellOf(f)
		}
		return d.keepLabels(d.files...)
	}
	f, err := d.fileAt(a.File)
	if err != nil {
		return err
	}
	f.Activity, f.label = a.Activity, said
	d.tellOf(f)
	return d.keepLabels(f)
}

func (d *docking) fileAt(i int) (*file, error) {
	if i < 0 || i >= len(d.files) {
		return nil, &refused{"没有这段影像"}
	}
	return d.files[i], nil
}

func reason(s string) (string, error) {
	s = strings.TrimSpace(s)
	if n := utf8.RuneCountInString(s); n == 0 || n > maxReason {
		return "", &refused{fmt.Sprintf("请写明原因，不超过 %d 字", maxReason)}
	}
	return s, nil
}

func (d *docking) mistaken(who *session, a act) error {
	f, err := d.fileAt(a.File)
	if err != nil {
		return err
	}
	why, err := reason(a.Reason)
	if err != nil {
		return err
	}
	if f.Evidence == "" {
		return &refused{"指纹尚未入册，请稍候再标记"}
	}
	if err := d.diary.write(event{Kind: "mistaken", Officer: who.officer, Evidence: f.Evidence, Recorder: d.recorder, Data: eventData{Slot: d.slot, Reason: why, By: who.by}}); err != nil {
		return err
	}
	f.Mistaken = why
	return nil
}

func (d *docking) explain(who *session, a act) error {
	why, err := reason(a.Reason)
	if err != nil {
		return err
	}
	for i := range d.gaps {
		g := &d.gaps[i]
		if g.First != a.First || g.Series != a.Series {
			continue
		}
		if err := d.diary.write(event{Kind: "gap-reason", Officer: who.officer, Recorder: d.recorder,
			Data: eventData{Slot: d.slot, Reason: why, Series: cut(g.Series, 100), First: g.First, Last: g.Last, By: who.by}}); err != nil {
			return err
		}
		g.Reason = why
		return nil
	}
	return &refused{"没有这段缺失"}
}

// confirm makes out the slip.
func (d *docking) confirm(who *session) error {
	signed, digest, err := signSlip(slipText(d.people.self(), d, time.Now()), d.id.Station, d.id.key)
	if err != nil {
		return err
	}
	name := digest[:32]
	if err := writeWhole(filepath.Join(d.slips, name+".txt"), signed); err != nil {
		return err
	}
	if err := d.diary.write(event{Kind: "slip", Officer: who.officer, Recorder: d.recorder, Data: eventData{Slot: d.slot, Digest: digest, Files: len(d.files), By: who.by}}); err != nil {
		return err
	}
	d.slip = name
	return nil
}

// take lets an officer take the recorder out: only when nothing on it is the only copy.
func (d *docking) take(who *session) error {
	if d.recorder == "" {
		return &refused{"不知道是哪台记录仪：请先认领"}
	}
	if d.stage == reading {
		return &refused{"正在读卡，请勿取走"}
	}
	for _, f := range d.files {
		if !f.fine && !f.spooled && f.Status != rejected {
			return &refused{"影像还没有传完，本站没有副本：请稍候"}
		}
	}
	if err := d.diary.write(event{Kind: "taken", Officer: who.officer, Recorder: d.recorder, Data: eventData{Slot: d.slot, By: who.by}}); err != nil {
		return err
	}
	d.people.setWearer(d.recorder, who.officer)
	d.taken = true
	return nil
}

// getSlip shows a slip that was made out, as text that can be printed.
func (p *post) getSlip(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if len(id) != 32 || strings.Trim(id, "0123456789abcdef") != "" {
		http.NotFound(w, r)
		return
	}
	b, err := os.ReadFile(filepath.Join(p.slips, id+".txt"))
	if err != nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write(b) // as above
}
