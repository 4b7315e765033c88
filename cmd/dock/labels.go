package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"sync"
)

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
