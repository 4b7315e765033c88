package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"zhizheng/authority"
	"zhizheng/cases"
	"zhizheng/evidence"
	"zhizheng/internal/testcounty"
	"zhizheng/internal/testenv"
)

// The buttons of a clip: the activities of its day, one's own first, by how near their hours are; the words; the rest.
func TestChoicesOfAClip(t *testing.T) {
	at := func(day, hour int) time.Time { return time.Date(2026, 3, day, hour, 0, 0, 0, county) }
	of := func(id string, day, from, to int, who ...string) planned {
		p := planned{ID: id, Kind: "patrol", Title: id, Day: at(day, 0).Format(time.DateOnly), Starts: at(day, from), Ends: at(day, to), AllDay: to-from == 24, Officers: who}
		return p
	}
	st := self{Activities: []labelView{{"patrol", "巡查"}, {"other", "其他"}}, Planned: []planned{
		of("night", 1, 22, 26, "li"), of("market", 2, 9, 11, "wang"), of("fires", 2, 14, 17, "li"), of("papers", 2, 15, 16, "wang", "li"), of("all day", 2, 0, 24, "wang"), of("tomorrow", 3, 9, 10, "li"),
	}}
	for _, c := range []struct {
		what, who string
		day, at   time.Time
		want      string
	}{
		{"one's own, within the hours", "li", at(2, 14), at(2, 14), "fires papers all day market | patrol other | night"},
		{"the nearest hours", "wang", at(2, 12), at(2, 12), "all day market papers fires | patrol other | night"},
		{"through the night", "li", at(2, 1), at(2, 1), "night fires papers all day market | patrol other |"},
		{"a whole card", "li", at(2, 18), time.Time{}, "fires papers all day market | patrol other | night"},
		{"of a day without any", "li", at(9, 9), at(9, 9), "| patrol other | tomorrow fires papers night all day market"},
		{"an officer of none", "zhao", at(2, 10), at(2, 10), "all day market fires papers | patrol other | night"},
	} {
		var parts [3][]string
		n := 0
		for _, i := range st.preset(c.who, c.day, c.at, c.day.Add(time.Hour)) {
			if i < len(st.Activities) {
				n = 1
				parts[1] = append(parts[1], st.choices(c.day)[i].ID)
				continue
			}
			if n == 1 {
				n = 2
			}
			parts[n] = append(parts[n], st.choices(c.day)[i].ID)
		}
		got := strings.TrimSpace(strings.Join([]string{strings.Join(parts[0], " "), strings.Join(parts[1], " "), strings.Join(parts[2], " ")}, " | "))
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
	if l, ok := st.label("fires"); !ok || l != (label{"patrol", "fires"}) {
		t.Errorf("%+v", l)
	}
	if l, ok := st.label("other"); !ok || l != (label{kind: "other"}) {
		t.Errorf("%+v", l)
	}
	if _, ok := st.label("sleeping"); ok {
		t.Error("a word of nobody")
	}
	if empty := (self{}).preset("li", at(2, 9), at(2, 9), at(2, 9)); empty == nil || len(empty) != 0 {
		t.Errorf("of a station that has heard nothing: %v", empty)
	}
	for i, want := range map[int]string{0: "", 2: "巡查 03-01 22:00–02:00", 3: "巡查 09:00–11:00", 6: "巡查"} {
		if got := st.choices(at(2, 9))[i].More; got != want {
			t.Errorf("%d: %q, want %q", i, got, want)
		}
	}
}

// The day's activities are the station's buttons, also once the link is away; a clip labelled with one is linked to it, and a word instead
// unlinks it.
func TestClipsAreLabelledWithTheDaysActivities(t *testing.T) {
	c := testcounty.New(t)
	ctx := c.As("officer", testcounty.Donghe)
	mine := c.Officers[testcounty.Donghe][:1]
	plan := func(kind, title, from, to string, officers []string) string {
		a, err := c.Cases.PlanActivity(ctx, testcounty.Donghe, "", cases.Plan{Kind: kind, Title: title, Place: "东河镇集市", Day: authority.Day(time.Now()), From: from, To: to, Officers: officers})
		must(t, err)
		return a.ID
	}
	others := plan("publicity", "普法进集市", "", "", c.Officers[testcounty.Donghe][1:2])
	patrol := plan("patrol", "秸秆禁烧巡查", "00:00", "23:59", mine)
	s := onScreen(t, c)
	testenv.Eventually(t, 20*time.Second, func() bool { return len(s.state().Activities) == 9 })
	s.stop()
	s.begin(func(cfg *stationConfig) { cfg.Server = "http://127.0.0.1:1" }) // nobody listens there
	s.docks(serial, map[string][]byte{clipName(1): random(1, 50_000), clipName(2): random(2, 50_000), clipName(3): random(3, 50_000)})
	testenv.Eventually(t, 20*time.Second, func() bool { v := s.state(); return v.Live.Slots[0].Files == 3 && v.Away != "" })
	v := s.touches(act{Do: "card", Number: s.card(0)})
	if len(v.Mine) != 1 || len(v.Mine[0].Items) != 3 {
		t.Fatalf("%+v", v)
	}
	names := func(preset []int) (ids []string) {
		for _, i := range preset {
			ids = append(ids, v.Activities[i].ID)
		}
		return ids
	}
	for _, got := range [][]string{names(v.Mine[0].Preset), names(v.Mine[0].Items[0].Preset)} {
		if want := []string{patrol, others, "patrol", "inspection", "persuasion", "service", "other", "investigation", "publicity"}; !slices.Equal(got, want) {
			t.Errorf("buttons: %v, want %v", got, want)
		}
	}
	place := func(n int) int {
		return slices.IndexFunc(v.Mine[0].Items, func(f clipView) bool { return f.Name == clipName(n) })
	}
	s.touches(act{Do: "label", Slot: 1, File: -1, Activity: patrol})
	s.touches(act{Do: "label", Slot: 1, File: place(2), Activity: others})
	s.touches(act{Do: "label", Slot: 1, File: place(3), Activity: patrol})
	if _, no := s.touch(act{Do: "label", Slot: 1, File: place(3), Activity: "01J0000000000000000000NONE"}); no == "" {
		t.Error("labelled with what nobody planned")
	}
	if w := s.touches(act{Do: "label", Slot: 1, File: place(3), Activity: "service"}); w.Mine[0].Activity != patrol || w.Mine[0].Items[place(2)].Activity != others {
		t.Errorf("shown: %+v", w.Mine[0])
	}
	s.stop()
	_, err := c.Cases.CancelActivity(ctx, others, 1, "大雨") // what was said of it at the station stays said
	must(t, err)

	// The power went before the platform had a record of any of them; what was said is not said again.
	s.begin()
	records := map[string]evidence.Record{}
	read := func() map[string]evidence.Record {
		p, err := c.Keeper.List(t.Context(), evidence.Scope{}, evidence.Filter{}, "", 100)
		must(t, err)
		for _, r := range p.Items {
			records[r.FileName] = r
		}
		return records
	}
	testenv.Eventually(t, time.Minute, func() bool {
		read()
		return records[clipName(1)].Activity != "" && records[clipName(2)].Activity != "" && records[clipName(3)].Activity != ""
	})
	if one := records[clipName(1)]; one.Activity != "patrol" || one.ActivityID != patrol {
		t.Errorf("%+v", one)
	}
	if two := records[clipName(2)]; two.Activity != "publicity" || two.ActivityID != others {
		t.Errorf("%+v", two)
	}
	if three := records[clipName(3)]; three.Activity != "service" || three.ActivityID != "" {
		t.Errorf("%+v", three)
	}
	if b, err := os.ReadFile(filepath.Join(c.Identity, "state", "labels.json")); err != nil || string(b) != "{}" {
		t.Errorf("still kept: %s %v", b, err)
	}

	// Another word replaces it.
	s.until(serial, slotWipeable)
	v = s.touches(act{Do: "card", Number: s.card(0)})
	s.touches(act{Do: "label", Slot: v.Mine[0].Slot, File: place(2), Activity: patrol})
	testenv.Eventually(t, 20*time.Second, func() bool { return read()[clipName(2)].ActivityID == patrol })
	counts, err := c.Keeper.CountByActivity(t.Context(), []string{patrol, others})
	must(t, err)
	if counts[patrol] != 2 || counts[others] != 0 {
		t.Errorf("%v", counts)
	}
}

// A word about a clip that the platform has no record of outlives the power and the card: it comes with the copy in the spool.
func TestWordsComeWithTheSpool(t *testing.T) {
	c := testcounty.New(t)
	s := onScreen(t, c)
	testenv.Eventually(t, 20*time.Second, func() bool { return len(s.state().Activities) == 7 })
	s.stop()
	s.begin(func(cfg *stationConfig) { cfg.Server = "http://127.0.0.1:1" })
	clip := random(9, 50_000)
	s.docks(serial, map[string][]byte{clipName(1): clip})
	testenv.Eventually(t, 20*time.Second, func() bool {
		_, err := os.Stat(filepath.Join(c.Identity, "spool", sum(clip)))
		return err == nil && s.state().Away != ""
	})
	s.touches(act{Do: "card", Number: s.card(0)})
	s.touches(act{Do: "label", Slot: 1, File: -1, Activity: "inspection"})
	s.stop()
	must(t, os.RemoveAll(filepath.Join(s.ports, serial)))
	s.begin()
	testenv.Eventually(t, time.Minute, func() bool {
		p, err := c.Keeper.List(t.Context(), evidence.Scope{}, evidence.Filter{}, "", 10)
		must(t, err)
		return len(p.Items) == 1 && p.Items[0].Activity == "inspection"
	})
}
