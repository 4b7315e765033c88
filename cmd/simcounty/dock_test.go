package main

import (
	"bytes"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"zhizheng/internal/testserver"
)

// misbehave plays a county that misbehaves in every way there is.
func misbehave(t *testing.T, s *testserver.Server, store, identities string) {
	t.Helper()
	var said bytes.Buffer
	err := dock(t.Context(), dockConfig{Server: s.URL, Identities: identities, Stations: 2, Recorders: 3, Clips: 3, ClipSize: 96 << 10, Seed: 7, Link: 40_000,
		Delay: 2 * time.Millisecond, Loss: 0.5, StoreLink: store, Misbehave: ways, agent: filepath.Join(testserver.Programs(t), "dock")}, &said)
	t.Logf("%s", &said)
	must(t, err)
	for _, part := range []string{"造出\t21 段", "封存\t18 段", "拒收\t3 段", "没有着落\t0 段"} {
		if !strings.Contains(said.String(), part) {
			t.Errorf("the account lacks %q", part)
		}
	}
}

// atWork has whole stations dock recorders that come one after the other, with the power failing.
func atWork(t *testing.T, s *testserver.Server, store string) {
	t.Helper()
	ids := t.TempDir()
	for _, id := range []string{"ST-33", "ST-34"} {
		enrol(t, s, id, filepath.Join(ids, id))
	}
	var said bytes.Buffer
	err := dock(t.Context(), dockConfig{Server: s.URL, Identities: ids, Stations: 2, Recorders: 3, Clips: 2, ClipSize: 96 << 10, Seed: 9, Station: true, Over: 2 * time.Second,
		StoreLink: store, Misbehave: []string{powerLoss, gaps, skew}, agent: filepath.Join(testserver.Programs(t), "dock")}, &said)
	t.Logf("%s", &said)
	must(t, err)
	if !strings.Contains(said.String(), "封存\t12 段") {
		t.Error("not all is sealed")
	}
}

// tampered shows that the account tells a file that nobody spoke of, a receipt of another file, a changed receipt and a changed file.
func (e *batch) tampered(t *testing.T) {
	t.Helper()
	dockings := e.dockings
	first, second := dockings[0].clips[0], dockings[0].clips[1]
	forged := filepath.Join(t.TempDir(), "receipt")
	text, err := os.ReadFile(dockings[0].lines[first.name].Receipt)
	must(t, err)
	text[bytes.Index(text, []byte("extra "))+40] ^= 1 // within the leaf
	must(t, os.WriteFile(forged, text, 0o600))
	for name, change := range map[string]func(d *docking){
		"no line": func(d *docking) { delete(d.lines, first.name) },
		"another receipt": func(d *docking) {
			l := d.lines[first.name]
			l.Receipt = d.lines[second.name].Receipt
			d.lines[first.name] = l
		},
		"changed receipt": func(d *docking) { l := d.lines[first.name]; l.Receipt = forged; d.lines[first.name] = l },
		"changed file":    func(d *docking) { d.clips[0].sha = second.sha },
	} {
		k := *dockings[0].card
		k.clips = append([]clip{}, k.clips...)
		d := &docking{card: &k, identity: e.identity, lines: maps.Clone(dockings[0].lines)}
		change(d)
		a, err := reckon(t.Context(), e.url, []*docking{d})
		must(t, err)
		if a.tell(io.Discard) == nil {
			t.Errorf("%s: the account comes out even", name)
		}
	}
}

func TestCardsFollowTheSeed(t *testing.T) {
	c := dockConfig{Recorders: 2, Clips: 5, ClipSize: 3 << 20, Seed: 3, Misbehave: []string{gaps, skew}}
	written := func(seed uint64, r int) *card {
		c.Seed = seed
		k := c.planned(0, r)
		must(t, k.write(t.TempDir(), footage(seed)))
		return k
	}
	one, again, other, next := written(3, 0), written(3, 0), written(4, 0), written(3, 1)
	seen := map[string]bool{}
	for i, k := range one.clips {
		if k != again.clips[i] {
			t.Errorf("clip %d: %+v and %+v", i, k, again.clips[i])
		}
		for _, sha := range []string{k.sha, other.clips[i].sha, next.clips[i].sha} {
			if seen[sha] {
				t.Errorf("clip %d is there twice", i)
			}
			seen[sha] = true
		}
	}
	var s size
	for text, want := range map[string]size{"64k": 64 << 10, "5M": 5 << 20, "1G": 1 << 30, "7": 7} {
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q is %d, %v", text, s, err)
		}
	}
	for _, bad := range []string{"", "k", "-1", "0", "5X", "9999999G", "5Mk"} {
		if s.UnmarshalText([]byte(bad)) == nil {
			t.Errorf("%q was taken as %d", bad, s)
		}
	}
}
