package api_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"zhizheng/authority"
	"zhizheng/devices"
	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/ingest"
	"zhizheng/internal/id"
	"zhizheng/internal/testcounty"
)

type activityAnswer struct {
	ID, Township, Kind, Title, Place, Day, From, To string
	KindName                                        string `json:"kind_name"`
	Officers                                        []struct{ ID, Name string }
	Revision                                        int
	Editable                                        bool
	CancelReason                                    string `json:"cancel_reason"`
	ClipCount                                       int64  `json:"clip_count"`
	CreatedBy                                       string `json:"created_by_name"`
	Changes                                         []struct {
		ActorName    string `json:"actor_name"`
		What, Reason string
		Fields       []struct{ Field, Before, After string }
	}
}

type activityPage struct {
	Items      []activityAnswer
	Total      int64
	NextCursor string `json:"next_cursor"`
}

// From the plan to the station's buttons, to the clip, and back: the record names the activity, the activity counts its clips, the log is told
// its id alone.
func TestAnActivityAndItsClips(t *testing.T) {
	c := testcounty.New(t)
	c.User("chen", "officer", testcounty.Donghe)
	c.User("far", "officer", testcounty.Jiachuan)
	c.User("gao", "supervisor")
	chen, far, gao, station := c.SignedIn("chen"), c.SignedIn("far"), c.SignedIn("gao"), stationAt(c)
	today := authority.Day(time.Now()).Format(time.DateOnly)
	officers := c.Officers[testcounty.Donghe][:2]
	plan := map[string]any{"township": testcounty.Donghe, "kind": "inspection", "title": "集市占道检查", "place": "王某门前", "day": today, "from": "09:00", "to": "11:30", "officers": officers[:1], "key": "k1"}

	if p := refusal(t, "one officer", chen.JSON("POST", "/api/v1/activities", plan), http.StatusUnprocessableEntity); !strings.Contains(p.Detail, "不得少于两人") {
		t.Errorf("%+v", p)
	}
	refusal(t, "a supervisor", gao.JSON("POST", "/api/v1/activities", plan), http.StatusForbidden)
	plan["officers"] = officers
	refusal(t, "another township", far.JSON("POST", "/api/v1/activities", plan), http.StatusNotFound)
	made := chen.JSON("POST", "/api/v1/activities", plan)
	if made.Status != http.StatusCreated {
		t.Fatalf("%d %s", made.Status, made.Body)
	}
	made.Status = http.StatusOK
	a := read[activityAnswer](t, made)
	if a.KindName != "检查" || len(a.Officers) != 2 || a.Officers[0].Name == "" || !a.Editable || a.From != "09:00" || a.Revision != 1 || a.CreatedBy == "" {
		t.Fatalf("%+v", a)
	}
	at := "/api/v1/activities/" + a.ID
	refusal(t, "read by another township", far.Get(at), http.StatusNotFound)
	if seen := read[activityAnswer](t, gao.Get(at)); seen.Editable || seen.Title != a.Title {
		t.Errorf("the supervisor sees %+v", seen)
	}
	if page := read[activityPage](t, far.Get("/api/v1/activities")); page.Total != 0 || len(page.Items) != 0 {
		t.Errorf("another township lists %+v", page)
	}

	// The station hears of it, and a clip is labelled with it.
	self := read[struct {
		Planned []struct {
			ID, Kind, Title, Day string
			Officers             []string
			AllDay               bool `json:"all_day"`
		}
	}](t, station.Get("/api/v1/station"))
	if len(self.Planned) != 1 || self.Planned[0].ID != a.ID || !slices.Equal(self.Planned[0].Officers, officers) || self.Planned[0].AllDay || self.Planned[0].Day != today {
		t.Fatalf("%+v", self)
	}
	clip, other := c.Seals("clip.mp4", testcounty.Bytes(1, 2000)), c.Seals("other.mp4", testcounty.Bytes(2, 2000))
	c.User("head-of-jiachuan", "head", testcounty.Jiachuan)
	theirs := map[string]any{"township": testcounty.Jiachuan, "kind": "patrol", "title": "别处的巡查", "day": today, "officers": c.Officers[testcounty.Jiachuan][:1]}
	foreign := far.JSON("POST", "/api/v1/activities", theirs)
	foreign.Status = http.StatusOK
	say := func(clip evidence.ID, activity string) map[string]any {
		return map[string]any{"kind": "labelled", "officer_id": officers[0], "evidence_id": string(clip), "data": map[string]any{"activity": "inspection", "activity_id": activity}}
	}
	got := happened(t, station, say(clip, a.ID), say(other, "01NONE"), say(other, read[activityAnswer](t, foreign).ID), say(other, ""))
	for i, want := range []string{"", "unknown-activity", "unknown-activity", ""} {
		if got.Items[i].Code != want {
			t.Errorf("%d: %+v", i, got.Items[i])
		}
	}
	type record struct {
		ID, Activity string
		ActivityName string `json:"activity_name"`
		ActivityRef  *struct {
			ID, Title string
			Cancelled bool
		} `json:"activity_ref"`
	}
	rec := read[record](t, chen.Get("/api/v1/evidence/"+string(clip)))
	if rec.Activity != "inspection" || rec.ActivityName != "检查" || rec.ActivityRef == nil || rec.ActivityRef.ID != a.ID || rec.ActivityRef.Title != "集市占道检查" {
		t.Errorf("%+v", rec)
	}
	for query, want := range map[string]int{"activity_id=" + a.ID: 1, "activity=inspection": 2, "activity=patrol": 0, "activity_id=01NONE": 0} {
		if page := read[struct{ Items []record }](t, chen.Get("/api/v1/evidence?"+query)); len(page.Items) != want {
			t.Errorf("%s: %d records, want %d", query, len(page.Items), want)
		}
	}
	refusal(t, "a kind of nobody", chen.Get("/api/v1/evidence?activity=sleeping"), http.StatusBadRequest)
	leaves, err := c.Log.SubjectLeaves(t.Context(), evidence.Subject(clip))
	must(t, err)
	said := 0
	for _, l := range leaves {
		if d, err := l.Decode(); err != nil || d.Kind != chain.KindLabelled {
			must(t, err)
			continue
		}
		p, err := chain.Payload[chain.CustodyPayload](l.Payload)
		must(t, err)
		said++
		if p.Reason != "检查（执法活动 "+a.ID+"）" || p.Actor != officers[0] || strings.Contains(string(l.Payload), "王某") || strings.Contains(string(l.Payload), "集市") {
			t.Errorf("the log is told %+v", p)
		}
	}
	if said != 1 {
		t.Errorf("%d labels in the log", said)
	}

	// It changes while its day lasts, over what was seen; it is cancelled, never gone.
	change := map[string]any{"revision": 1, "kind": "patrol", "title": "集市巡查", "day": today, "officers": officers[:1]}
	changed := read[activityAnswer](t, chen.JSON("PUT", at, change))
	if changed.Revision != 2 || changed.ClipCount != 1 || len(changed.Changes) != 2 {
		t.Fatalf("%+v", changed)
	}
	fields := map[string]string{}
	for _, f := range changed.Changes[1].Fields {
		fields[f.Field] = f.Before + " → " + f.After
	}
	if fields["title"] != "集市占道检查 → 集市巡查" || fields["kind"] != "检查 → 巡查" || fields["time"] != today+" 09:00–11:30 → "+today || fields["place"] != "王某门前 → " || len(fields) != 5 {
		t.Errorf("%+v", fields)
	}
	refusal(t, "over another's change", chen.JSON("PUT", at, change), http.StatusConflict)
	refusal(t, "by a supervisor", gao.JSON("PUT", at, change), http.StatusForbidden)
	refusal(t, "by another township", far.JSON("POST", at+"/cancel", map[string]any{"revision": 2, "reason": "大雨"}), http.StatusNotFound)
	gone := read[activityAnswer](t, chen.JSON("POST", at+"/cancel", map[string]any{"revision": 2, "reason": "大雨"}))
	if gone.CancelReason != "大雨" || gone.Editable || gone.Changes[2].What != "cancelled" || gone.ClipCount != 1 {
		t.Errorf("%+v", gone)
	}
	refusal(t, "twice", chen.JSON("POST", at+"/cancel", map[string]any{"revision": 3, "reason": "大雨"}), http.StatusConflict)
	if rec := read[record](t, chen.Get("/api/v1/evidence/"+string(clip))); rec.ActivityRef == nil || !rec.ActivityRef.Cancelled {
		t.Errorf("%+v", rec)
	}
	if got := happened(t, station, say(other, a.ID)); got.Items[0].Status != "accepted" {
		t.Errorf("said at a station that hadn't heard of it: %+v", got)
	}
	if page := read[activityPage](t, chen.Get("/api/v1/activities?from="+today+"&to="+today)); page.Total != 1 || page.Items[0].ID != a.ID || page.Items[0].ClipCount != 2 {
		t.Errorf("%+v", page)
	}
	refusal(t, "a day of nobody", chen.Get("/api/v1/activities?from=yesterday"), http.StatusBadRequest)
}

// What an officer said at the station about missing numbers stands beside the gap, on the device's page and on the records around it.
func TestReasonsStandBesideInferredGaps(t *testing.T) {
	const serial = "DSJ-A1"
	c := testcounty.New(t)
	c.Recorder = serial
	must(t, c.Devices.Register(authority.WithActor(t.Context(), authority.System), []devices.Device{
		{Serial: serial, Kind: devices.Recorder, Name: "记录仪", Model: "DSJ-V8", Township: testcounty.Donghe, Funding: "opening"}}))
	name := func(n string) string { return serial + "_01_20260301120000_00" + n + ".mp4" }
	before := c.Seals(name("40"), testcounty.Bytes(1, 2000))
	after := c.Seals(name("44"), testcounty.Bytes(2, 2000))
	c.Seals(name("47"), testcounty.Bytes(3, 2000))
	c.User("shen", "reviewer")
	shen, station := c.SignedIn("shen"), stationAt(c)
	type reason struct {
		First, Last int64
		Reason      string
		Officer     string `json:"officer_name"`
		Station     string
		Leaf        *int64 `json:"leaf_index"`
	}
	type inferred struct {
		Series      string
		First, Last int64
		Reasons     []reason
	}
	chainOf := func() []inferred {
		return read[struct{ Inferred []inferred }](t, shen.Get("/api/v1/devices/"+serial+"/chain")).Inferred
	}
	gaps := chainOf()
	if len(gaps) != 2 || gaps[0].Reasons != nil {
		t.Fatalf("%+v", gaps)
	}
	officer := c.Officers[testcounty.Donghe][0]
	got := happened(t, station,
		map[string]any{"kind": "gap-reason", "officer_id": officer, "recorder": serial, "data": map[string]any{"reason": "更换电池", "series": gaps[0].Series, "first": 42, "last": 43}},
		map[string]any{"kind": "gap-reason", "officer_id": officer, "recorder": serial, "data": map[string]any{"reason": "别的卡", "series": "another series", "first": 41, "last": 43}},
		map[string]any{"kind": "gap-reason", "officer_id": officer, "recorder": "DSJ-B2", "data": map[string]any{"reason": "别的记录仪", "series": gaps[0].Series, "first": 41, "last": 43}})
	for _, e := range got.Items {
		if e.Status != "accepted" {
			t.Fatalf("%+v", got)
		}
	}
	gaps = chainOf()
	if len(gaps[0].Reasons) != 1 || len(gaps[1].Reasons) != 0 {
		t.Fatalf("%+v", gaps)
	}
	if r := gaps[0].Reasons[0]; r.Reason != "更换电池" || r.First != 42 || r.Officer == "" || r.Leaf == nil || r.Station != testcounty.Station {
		t.Errorf("%+v", r)
	}
	type sides struct {
		Completeness struct {
			Before *inferred `json:"inferred_before"`
			After  *inferred `json:"inferred_after"`
		}
	}
	if r := read[sides](t, shen.Get("/api/v1/evidence/"+string(before))).Completeness; r.After == nil || len(r.After.Reasons) != 1 {
		t.Errorf("beside the clip before: %+v", r)
	}
	if r := read[sides](t, shen.Get("/api/v1/evidence/"+string(after))).Completeness; r.Before == nil || len(r.Before.Reasons) != 1 || r.After == nil || r.After.Reasons != nil {
		t.Errorf("beside the clip after: %+v", r)
	}
}

// Several dead letters are taken again at once: those named, or all of a reason page by page; what was taken before is passed over.
func TestSeveralDeadLettersAreTakenAgain(t *testing.T) {
	c := testcounty.New(t)
	messages(t, c)
	c.User("he", "manager")
	c.User("wu", "manager", testcounty.Jiachuan)
	he := c.SignedIn("he")
	device := devices.Device{ID: id.New(), Serial: "BWC-7", Kind: devices.Recorder, Name: "n", Model: "m", Township: testcounty.Donghe}
	for seq := range 5 {
		must(t, c.Devices.Take(t.Context(), devices.UpTopic(device.ID, "hb"), []byte(`{"epoch":1,"seq":`+string(rune('1'+seq))+`,"time":"2026-11-24T09:00:00Z","data":{"battery":61}}`)))
	}
	must(t, c.Devices.Take(t.Context(), devices.UpTopic(device.ID, "conn"), []byte("{}")))
	officer := id.New()
	_, err := c.Ingest.SubmitEvents(t.Context(), c.StationID(), []ingest.Event{{ID: id.New(), Kind: ingest.EventTaken, At: time.Now(), Officer: officer, Recorder: device.Serial}})
	must(t, err)

	type group struct {
		Source, Reason string
		Count, Open    int64
	}
	groups := func() map[string]group {
		m := map[string]group{}
		for _, g := range read[struct{ Items []group }](t, he.Get("/api/v1/dead-letters/reasons")).Items {
			m[g.Source+"/"+g.Reason] = g
		}
		return m
	}
	const unknown = "mqtt/unknown device"
	if g := groups(); g[unknown].Open != 6 && g[unknown].Open != 5 || len(g) < 2 {
		t.Fatalf("%+v", g)
	}
	all := groups()[unknown].Open
	type done struct {
		Items []struct {
			ID, Outcome string
			Why         string `json:"outcome_reason"`
		}
		NextCursor string `json:"next_cursor"`
	}
	again := func(in map[string]any) done { return read[done](t, he.JSON("POST", "/api/v1/dead-letters/replay", in)) }
	reason := map[string]any{"source": "mqtt", "reason": "unknown device", "limit": 2}
	run := func() (outcomes map[string]int, calls int) {
		outcomes = map[string]int{}
		delete(reason, "cursor")
		for {
			d := again(reason)
			calls++
			for _, x := range d.Items {
				outcomes[x.Outcome]++
			}
			if reason["cursor"] = d.NextCursor; d.NextCursor == "" {
				return outcomes, calls
			}
		}
	}
	if got, calls := run(); got["refused"] != int(all) || len(got) != 1 || calls != int(all+1)/2 {
		t.Errorf("still unknown: %v in %d calls", got, calls)
	}
	must(t, c.Devices.Register(t.Context(), []devices.Device{device}))
	if got, _ := run(); got["accepted"] != 5 || got["accepted"]+got["refused"] != int(all) {
		t.Errorf("known now: %v", got)
	}
	if got, _ := run(); got["accepted"] != 0 {
		t.Errorf("once more: %v", got)
	}
	if g := groups()[unknown]; g.Count != all || g.Open != all-5 {
		t.Errorf("%+v", g)
	}
	var left int64
	for _, g := range groups() {
		left += g.Open
	}
	if open := read[struct{ Items []deadLetter }](t, he.Get("/api/v1/dead-letters?open=true")); len(open.Items) != int(left) || left == 0 {
		t.Errorf("%d are listed of %+v", len(open.Items), groups())
	}

	must(t, c.Auth.AddOfficers(authority.WithActor(t.Context(), authority.System), []authority.Officer{{ID: officer, Township: testcounty.Donghe, Name: "丙（示例）"}}))
	var ids []string
	for _, l := range read[struct{ Items []deadLetter }](t, he.Get("/api/v1/dead-letters?limit=100")).Items {
		ids = append(ids, l.ID)
	}
	outcomes := map[string]int{}
	named := again(map[string]any{"ids": ids})
	for _, x := range named.Items {
		outcomes[x.Outcome]++
		if x.Outcome != "accepted" && x.Why == "" {
			t.Errorf("%+v says nothing", x)
		}
	}
	if outcomes["accepted"] != 1 || outcomes["passed"] != 5 || len(named.Items) != len(ids) || named.NextCursor != "" {
		t.Errorf("%v of %d", outcomes, len(ids))
	}

	for what, in := range map[string]map[string]any{"nothing": {}, "both": {"ids": ids, "source": "mqtt", "reason": "x"}, "a reason of no source": {"reason": "x"}, "none": {"ids": []string{}},
		"a cursor of nothing": {"source": "mqtt", "reason": "unknown device", "cursor": "x"}} {
		refusal(t, what, he.JSON("POST", "/api/v1/dead-letters/replay", in), http.StatusBadRequest)
	}
	refusal(t, "one that isn't there", he.JSON("POST", "/api/v1/dead-letters/replay", map[string]any{"ids": append(ids, "01NONE")}), http.StatusNotFound)
	wu := c.SignedIn("wu")
	for _, a := range []testcounty.Answer{wu.Get("/api/v1/dead-letters/reasons"), wu.JSON("POST", "/api/v1/dead-letters/replay", map[string]any{"ids": ids})} {
		refusal(t, "one township", a, http.StatusForbidden)
	}
}
