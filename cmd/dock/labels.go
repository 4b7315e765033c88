package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"sync"
	"time"
)

// What a clip may be labelled with, in which order, and what was said of clips that the platform has no record of yet.

// planned is an activity that the township entered.
type planned struct {
	ID       string    `json:"id"`
	Kind     string    `json:"kind"` // a word's id
	Title    string    `json:"title"`
	Place    string    `json:"place"`
	Day      string    `json:"day"` // 2006-01-02, at +08:00
	Starts   time.Time `json:"starts"`
	Ends     time.Time `json:"ends"`
	AllDay   bool      `json:"all_day"`
	Officers []string  `json:"officers"`
}

// covers says whether it was going on, or was to be on that day.
func (p planned) covers(at time.Time) bool {
	return p.Day == at.In(county).Format(time.DateOnly) || !at.Before(p.Starts) && at.Before(p.Ends)
}

// off is how far a time lies outside its hours: 0 within them, and for one that has none.
func (p planned) off(at time.Time) time.Duration {
	switch {
	case at.IsZero() || p.AllDay:
		return 0
	case at.Before(p.Starts):
		return p.Starts.Sub(at)
	case at.After(p.Ends):
		return at.Sub(p.Ends)
	}
	return 0
}

// preset puts into order what an officer may label a clip with: the activities of a day, the officer's own first, then by how near their
// hours are to when it was recorded (zero: to none); the words; activities of other days, but for those to come. It gives places in choices.
func (s self) preset(officer string, day, at, now time.Time) []int {
	var near, far []int
	today := now.In(county).Format(time.DateOnly)
	for i, p := range s.Planned {
		if p.covers(day) {
			near = append(near, i)
		} else if p.Day <= today {
			far = append(far, i)
		}
	}
	others := func(p planned) int {
		if slices.Contains(p.Officers, officer) {
			return 0
		}
		return 1
	}
	for _, places := range [][]int{near, far} {
		slices.SortStableFunc(places, func(i, j int) int {
			a, b := s.Planned[i], s.Planned[j]
			return cmp.Or(cmp.Compare(others(a), others(b)), cmp.Compare(a.off(at), b.off(at)), a.Starts.Compare(b.Starts), cmp.Compare(a.ID, b.ID))
		})
	}
	out := []int{}
	for _, i := range near {
		out = append(out, len(s.Activities)+i)
	}
	for i := range s.Activities {
		out = append(out, i)
	}
	for _, i := range far {
		out = append(out, len(s.Activities)+i)
	}
	return out
}

// label is what a choice says of a clip: a word's id and, if it is a planned activity, that one's.
type label struct {
	kind, activity string
}

// id is what was chosen.
func (l label) id() string {
	if l.activity != "" {
		return l.activity
	}
	return l.kind
}

// label finds what an id of preset stands for.
func (s self) label(id string) (label, bool) {
	for _, p := range s.Planned {
		if p.ID == id {
			return label{p.Kind, p.ID}, true
		}
	}
	return label{kind: id}, slices.ContainsFunc(s.Activities, func(w labelView) bool { return w.ID == id })
}

// choice is a button: a word, or a planned activity with its kind, day (another than today), hours and place.
type choice struct {
	labelView
	More string `json:"more,omitempty"`
}

func (s self) choices(now time.Time) []choice {
	out := []choice{}
	names := map[string]string{}
	for _, w := range s.Activities {
		out = append(out, choice{labelView: w})
		names[w.ID] = w.Name
	}
	for _, p := range s.Planned {
		more := names[p.Kind]
		if p.Day != now.In(county).Format(time.DateOnly) {
			more += " " + p.Starts.In(county).Format("01-02")
		}
		if !p.AllDay {
			more += " " + p.Starts.In(county).Format("15:04") + "–" + p.Ends.In(county).Format("15:04")
		}
		if p.Place != "" {
			more += " · " + p.Place
		}
		out = append(out, choice{labelView{p.ID, p.Title}, more})
	}
	return out
}

// labelBook keeps what officers said of clips that the platform has no record of yet: the link may be away, and the power go, before it has.
// A word leaves the book once it is in the diary. Crash between the two: it is said twice, which changes nothing.
type labelBook struct {
	path string

	mu   sync.Mutex
	said map[string]saidLabel // by keptAs
}

// saidLabel is an officer's word about a clip.
type saidLabel struct {
	Kind     string `json:"kind"`
	Activity string `json:"activity,omitempty"`
	Officer  string `json:"officer"`
	By       string `json:"by"`
	Recorder string `json:"recorder,omitempty"`
	Slot     int    `json:"slot"`
}

// keptAs names a file by what its card and its manifest agree on.
func keptAs(recorder, name string, size int64) string {
	return fmt.Sprintf("%s/%d/%s", recorder, size, name)
}

func openLabels(path string) (*labelBook, error) {
	l := &labelBook{path: path, said: map[string]saidLabel{}}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, err
	}
	return l, json.Unmarshal(b, &l.said)
}

// keep writes words down before anybody is told that they were taken.
func (l *labelBook) keep(words map[string]saidLabel) error {
	if len(words) == 0 {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	fresh := maps.Clone(l.said)
	maps.Copy(fresh, words)
	return l.write(fresh)
}

func (l *labelBook) find(key string) (saidLabel, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w, ok := l.said[key]
	return w, ok
}

func (l *labelBook) forget(key string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.said[key]; !ok {
		return nil
	}
	fresh := maps.Clone(l.said)
	delete(fresh, key)
	return l.write(fresh)
}

func (l *labelBook) write(fresh map[string]saidLabel) error {
	b, err := json.Marshal(fresh)
	if err != nil {
		return err
	}
	if err := writeWhole(l.path, b); err != nil {
		return err
	}
	l.said = fresh
	return nil
}

// keepLabels writes down the words about files that have no record yet; under the docking's lock.
func (d *docking) keepLabels(files ...*file) error {
	words := map[string]saidLabel{}
	for _, f := range files {
		l := f.label
		if l.kind == "" {
			l = d.activity
		}
		if f.Evidence == "" && l.kind != "" {
			words[keptAs(d.recorder, f.where.name, f.Size)] = saidLabel{Kind: l.kind, Activity: l.activity, Officer: d.officer, By: d.known, Recorder: d.recorder, Slot: d.slot}
		}
	}
	return d.labels.keep(words)
}

// tellKept reports a word that was kept of a clip, now that there is a record of it. What can't be written down stays in the book.
func (d *docking) tellKept(t *task) {
	key := keptAs(t.recorder, t.name, t.size())
	w, ok := d.labels.find(key)
	if !ok {
		return
	}
	err := d.diary.write(event{Kind: "labelled", Officer: w.Officer, Evidence: t.evidence, Recorder: w.Recorder,
		Data: eventData{Activity: w.Kind, ActivityID: w.Activity, Slot: w.Slot, By: w.By}})
	if err == nil {
		err = d.labels.forget(key)
	}
	if err != nil {
		d.log.Error("label not written", "err", err)
	}
}
