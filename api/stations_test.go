package api_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"zhizheng/api"
	"zhizheng/authority"
	"zhizheng/devices"
	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/ingest"
	"zhizheng/internal/id"
	"zhizheng/internal/testcounty"
)

type eventAnswer struct {
	Items []struct{ Status, Code, Error string }
}

// stationAt is a browser that speaks as the county's station.
func stationAt(c *testcounty.County) *testcounty.Browser {
	b := c.Browser()
	b.Header.Set("Authorization", "Bearer "+c.Token())
	return b
}

func happened(t *testing.T, b *testcounty.Browser, events ...map[string]any) eventAnswer {
	t.Helper()
	for _, e := range events {
		if e["id"] == nil {
			e["id"] = id.New()
		}
		if e["at"] == nil {
			e["at"] = time.Now().UTC()
		}
	}
	a := b.JSON("POST", "/api/v1/station/events", map[string]any{"events": events})
	if a.Status != http.StatusOK {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	return read[eventAnswer](t, a)
}

// What officers do at a station is custody: it is in the log, once, by whom, and the record shows it.
func TestWhatOfficersDoAtAStation(t *testing.T) {
	const serial = "DSJ-77"
	c := testcounty.New(t, func(d *api.Deps) { d.Wipe = api.WipeRule{When: "days", Days: 3} })
	must(t, c.Devices.Register(authority.WithActor(t.Context(), authority.System), []devices.Device{
		{Serial: serial, Kind: devices.Recorder, Name: "记录仪", Model: "DSJ-V8", Township: testcounty.Donghe, Funding: "opening"}}))
	officer, other := c.Officers[testcounty.Donghe][0], c.Officers[testcounty.Donghe][1]
	c.Recorder = serial
	b := stationAt(c)

	self := read[struct {
		ID, Name string
		Wipe     struct {
			When string
			Days int
		}
		Officers []struct {
			ID, Name string
			Cards    []string
			Pin      bool
		}
		Recorders []struct {
			Serial    string
			OfficerID string `json:"officer_id"`
		}
		Activities []struct{ ID, Name string }
	}](t, b.Get("/api/v1/station"))
	if self.ID != testcounty.Station || self.Wipe.When != "days" || self.Wipe.Days != 3 || len(self.Activities) != 7 || len(self.Officers) < 2 ||
		len(self.Officers[0].Cards) != 1 || len(self.Officers[0].Cards[0]) != 64 || len(self.Recorders) != 1 || self.Recorders[0].OfficerID != "" {
		t.Fatalf("%+v", self)
	}

	began := time.Now().Add(-time.Minute)
	taken := map[string]any{"kind": "taken", "officer_id": officer, "recorder": serial, "at": began, "data": map[string]any{"by": "card"}}
	if got := happened(t, b, taken); got.Items[0].Status != "accepted" {
		t.Fatalf("%+v", got)
	}
	if got := happened(t, b, taken); got.Items[0].Status != "known" {
		t.Fatalf("the same again: %+v", got)
	}
	clip := string(c.Seals("clip.mp4", testcounty.Bytes(1, 2000)))
	pending, _, _ := c.Registers("later.mp4", testcounty.Bytes(2, 2000))
	got := happened(t, b,
		map[string]any{"kind": "labelled", "officer_id": officer, "evidence_id": clip, "data": map[string]any{"activity": "persuasion"}},
		map[string]any{"kind": "mistaken", "officer_id": officer, "evidence_id": string(pending), "data": map[string]any{"reason": "误触开机"}},
		map[string]any{"kind": "gap-reason", "officer_id": officer, "recorder": serial, "data": map[string]any{"reason": "更换电池", "series": "DSJ-77_01", "first": 41, "last": 43}},
		map[string]any{"kind": "wiped", "recorder": serial, "evidence_id": clip, "data": map[string]any{"leaf": 7}},
		map[string]any{"kind": "wiped", "recorder": serial, "evidence_id": string(pending), "data": map[string]any{"leaf": 8}},
		map[string]any{"kind": "taken", "officer_id": other, "recorder": serial},
		map[string]any{"kind": "returned", "officer_id": other, "recorder": serial},
		map[string]any{"kind": "taken", "officer_id": "01NOBODY", "recorder": serial},
		map[string]any{"kind": "labelled", "officer_id": officer, "evidence_id": clip, "data": map[string]any{"activity": "sleeping"}},
		map[string]any{"kind": "labelled", "officer_id": officer, "evidence_id": "01NONE", "data": map[string]any{"activity": "patrol"}},
		map[string]any{"kind": "danced"},
		map[string]any{"kind": "gap-reason", "officer_id": officer, "recorder": serial, "data": map[string]any{"reason": strings.Repeat("长", 201), "first": 1, "last": 2}},
	)
	for i, want := range []string{"", "", "", "", "", "", "", "unknown-officer", "malformed", "unknown-evidence", "unknown-kind", "malformed"} {
		if g := got.Items[i]; g.Code != want || (want == "") != (g.Status == "accepted") || (want != "") != (g.Error != "") {
			t.Errorf("event %d: %+v, want %q", i, g, want)
		}
	}
	dead, _, err := c.Ingest.DeadLetters(t.Context(), ingest.LetterFilter{}, "", 100)
	must(t, err)
	if len(dead) != 5 || dead[0].Source != "event" {
		t.Errorf("dead letters: %+v", dead)
	}

	// The record says it, and so does its chain of custody, by the officer's name.
	c.User("shen", "reviewer")
	shen := c.SignedIn("shen")
	type record struct {
		Activity string
		Wearer   *struct {
			OfficerID string `json:"officer_id"`
			Name      string
		}
		WipedAt    *time.Time `json:"wiped_at"`
		Restricted bool
	}
	if r := read[record](t, shen.Get("/api/v1/evidence/"+clip)); r.Activity != "persuasion" || r.WipedAt == nil || r.Wearer == nil || r.Wearer.OfficerID != officer || r.Wearer.Name == "" {
		t.Errorf("%+v", r)
	}
	if r := read[record](t, shen.Get("/api/v1/evidence/"+string(pending))); !r.Restricted {
		t.Errorf("mistaken: %+v", r)
	}
	custody := string(shen.Get("/api/v1/evidence/" + clip + "/custody").Body)
	for _, want := range []string{"labelled", "wiped", "劝导", "回执第 7 页"} {
		if !strings.Contains(custody, want) {
			t.Errorf("custody lacks %q: %s", want, custody)
		}
	}
	// A wipe before the seal is against the platform's promise: the key that did it carries that for ever.
	leaves, err := c.Log.SubjectLeaves(t.Context(), ingest.KeySubject(c.KeyID()))
	must(t, err)
	odd := map[string]int{}
	for _, l := range leaves {
		leaf, err := l.Decode()
		must(t, err)
		if leaf.Kind == chain.KindAnomaly {
			p, err := chain.Payload[chain.AnomalyPayload](l.Payload)
			must(t, err)
			odd[p.What]++
		}
	}
	if odd[ingest.WipedUnsealed] != 1 || odd[ingest.InferredGapExplained] != 1 {
		t.Errorf("anomalies: %v", odd)
	}
	// Taken, back because another took it, taken, back.
	worn, err := c.Log.SubjectLeaves(t.Context(), chain.Subject{Type: chain.SubjectRecorder, ID: serial})
	must(t, err)
	var kinds []chain.Kind
	for _, l := range worn {
		leaf, err := l.Decode()
		must(t, err)
		kinds = append(kinds, leaf.Kind)
	}
	if len(kinds) != 4 || kinds[0] != chain.KindTaken || kinds[1] != chain.KindReturned || kinds[2] != chain.KindTaken || kinds[3] != chain.KindReturned {
		t.Errorf("%v", kinds)
	}
	rep, err := c.Log.Audit(t.Context())
	if err != nil || len(rep.Findings) != 0 {
		t.Errorf("%+v %v", rep, err)
	}

	// The console sees it, within scope.
	c.User("wang", "manager", testcounty.Donghe)
	c.User("li", "manager", testcounty.Jiachuan)
	events := read[struct {
		Items []struct {
			Kind        string
			OfficerName string `json:"officer_name"`
			LeafIndex   *int64 `json:"leaf_index"`
		}
		NextCursor string `json:"next_cursor"`
	}](t, c.SignedIn("wang").Get("/api/v1/docks/"+testcounty.Station+"/events?limit=3"))
	if len(events.Items) != 3 || events.NextCursor == "" || events.Items[0].Kind != "returned" || events.Items[0].OfficerName == "" || events.Items[0].LeafIndex == nil {
		t.Errorf("%+v", events)
	}
	refusal(t, "another township's station", c.SignedIn("li").Get("/api/v1/docks/"+testcounty.Station+"/events"), http.StatusNotFound)
	refusal(t, "another township's station", c.SignedIn("li").Get("/api/v1/docks/"+testcounty.Station), http.StatusNotFound)
}

// Many events share a commit; one that nothing can keep is refused and kept among the dead letters, and holds up none of the others.
func TestManyEventsAtOnce(t *testing.T) {
	c := testcounty.New(t)
	b := stationAt(c)
	officer := c.Officers[testcounty.Donghe][0]
	eid := string(c.Seals("a.mp4", testcounty.Bytes(1, 1000)))
	var events []map[string]any
	for range 150 {
		events = append(events, map[string]any{"kind": "wiped", "evidence_id": eid, "data": map[string]any{"slot": 1, "leaf": 1}})
	}
	events[70] = map[string]any{"kind": "gap-reason", "officer_id": officer, "data": map[string]any{"reason": "电池\x00耗尽", "first": 3, "last": 4}}
	for i, e := range happened(t, b, events...).Items {
		if want := map[bool]string{true: "rejected", false: "accepted"}[i == 70]; e.Status != want {
			t.Fatalf("event %d: %+v, want %s", i, e, want)
		}
	}
	dead, _, err := c.Ingest.DeadLetters(t.Context(), ingest.LetterFilter{}, "", 10)
	must(t, err)
	if len(dead) != 1 || !strings.HasPrefix(dead[0].Reason, "unstorable") || dead[0].Size == 0 {
		t.Errorf("dead letters: %+v", dead)
	}
	for i, e := range happened(t, b, events...).Items { // sent again: known, and refused again
		if want := map[bool]string{true: "rejected", false: "known"}[i == 70]; e.Status != want {
			t.Fatalf("event %d sent again: %+v, want %s", i, e, want)
		}
	}
}

func TestStationReportsHowADockingGoes(t *testing.T) {
	c := testcounty.New(t)
	b := stationAt(c)
	officer := c.Officers[testcounty.Donghe][0]
	live := map[string]any{"queue_files": 2, "queue_bytes": 900, "slots": []map[string]any{{"slot": 2, "state": "reading", "officer_id": officer, "files": 7, "fingerprints": 4, "missing": 3}}}
	if a := b.JSON("PUT", "/api/v1/station/live", live); a.Status != http.StatusOK || !strings.Contains(string(a.Body), `"parallel":4`) {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	refusal(t, "an unknown state", b.JSON("PUT", "/api/v1/station/live", map[string]any{"slots": []map[string]any{{"slot": 2, "state": "dancing"}}}), http.StatusBadRequest)
	c.Seals("a.mp4", testcounty.Bytes(1, 1000))
	c.Registers("b.mp4", testcounty.Bytes(2, 500))
	c.Loses(2)
	c.Registers("c.mp4", testcounty.Bytes(3, 500))
	c.User("wang", "manager", testcounty.Donghe)
	c.User("li", "manager", testcounty.Jiachuan)
	type docks struct {
		Items []struct {
			ID     string
			Online bool
			Live   ingest.Live
		}
		Townships []struct {
			Township             string
			Stations, Online     int
			Fingerprints, Sealed int
			Bytes                int
			SealedBytes          int `json:"sealed_bytes"`
			Missing              int
		}
	}
	d := read[docks](t, c.SignedIn("wang").Get("/api/v1/docks"))
	if len(d.Items) != 1 || !d.Items[0].Online || d.Items[0].Live.QueueBytes != 900 || len(d.Townships) != 1 {
		t.Fatalf("%+v", d)
	}
	if y := d.Townships[0]; y.Fingerprints != 3 || y.Sealed != 1 || y.Bytes != 2000 || y.SealedBytes != 1000 || y.Missing != 5 || y.Online != 1 || y.Stations != 1 {
		t.Errorf("%+v", y)
	}
	if !strings.Contains(string(c.SignedIn("wang").Get("/api/v1/docks/"+testcounty.Station).Body), "officer_name") {
		t.Error("the officer's name is not shown")
	}
	if d := read[docks](t, c.SignedIn("li").Get("/api/v1/docks")); len(d.Items) != 0 || len(d.Townships) != 1 || d.Townships[0].Fingerprints != 0 {
		t.Errorf("another township: %+v", d)
	}
}

// A PIN is six digits, shown once, counted when wrong, and only for its township's stations.
func TestOfficersPIN(t *testing.T) {
	c := testcounty.New(t)
	b := stationAt(c)
	officer := c.Officers[testcounty.Donghe][0]
	c.User("wang", "manager", testcounty.Donghe)
	c.User("li", "manager", testcounty.Jiachuan)
	c.User("shen", "reviewer")
	refusal(t, "a reviewer sets no PIN", c.SignedIn("shen").JSON("POST", "/api/v1/officers/"+officer+"/pin", map[string]any{}), http.StatusForbidden)
	refusal(t, "another township's manager", c.SignedIn("li").JSON("POST", "/api/v1/officers/"+officer+"/pin", map[string]any{}), http.StatusNotFound)
	refusal(t, "no PIN yet", b.JSON("POST", "/api/v1/station/sign-in", map[string]any{"officer_id": officer, "pin": "123456"}), http.StatusUnauthorized)
	pin := read[struct{ Pin string }](t, c.SignedIn("wang").JSON("POST", "/api/v1/officers/"+officer+"/pin", map[string]any{})).Pin
	if len(pin) != 6 {
		t.Fatalf("%q", pin)
	}
	if a := b.JSON("POST", "/api/v1/station/sign-in", map[string]any{"officer_id": officer, "pin": pin}); a.Status != http.StatusNoContent {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	wrong := "000000"
	if pin == wrong {
		wrong = "000001"
	}
	for range 5 {
		refusal(t, "a wrong PIN", b.JSON("POST", "/api/v1/station/sign-in", map[string]any{"officer_id": officer, "pin": wrong}), http.StatusUnauthorized)
	}
	refusal(t, "too many", b.JSON("POST", "/api/v1/station/sign-in", map[string]any{"officer_id": officer, "pin": pin}), http.StatusTooManyRequests)
	abroad := c.Officers[testcounty.Jiachuan][0]
	pin = read[struct{ Pin string }](t, c.SignedIn("li").JSON("POST", "/api/v1/officers/"+abroad+"/pin", map[string]any{})).Pin
	refusal(t, "an officer of another township", b.JSON("POST", "/api/v1/station/sign-in", map[string]any{"officer_id": abroad, "pin": pin}), http.StatusUnauthorized)
}

// Many answers of one event at once leave one row and one leaf.
func TestAnEventIsTakenOnce(t *testing.T) {
	c := testcounty.New(t)
	e := ingest.Event{ID: id.New(), Kind: ingest.EventTaken, At: time.Now(), Officer: c.Officers[testcounty.Donghe][0], Recorder: "R-1"}
	errs := make(chan error, 16)
	for range cap(errs) {
		go func() {
			_, err := c.Ingest.SubmitEvents(context.WithoutCancel(t.Context()), c.StationID(), []ingest.Event{e})
			errs <- err
		}()
	}
	for range cap(errs) {
		must(t, <-errs)
	}
	leaves, err := c.Log.SubjectLeaves(t.Context(), chain.Subject{Type: chain.SubjectRecorder, ID: "R-1"})
	must(t, err)
	if len(leaves) != 1 {
		t.Fatalf("%d leaves", len(leaves))
	}
	officer, err := c.Ingest.Wearer(t.Context(), "R-1", time.Now().Add(time.Second))
	must(t, err)
	if officer != e.Officer {
		t.Fatalf("%q", officer)
	}
}

// A card that one station sealed may be wiped at another, which was given the same receipts. That is in the log; other words about the
// clip stay with the station that registered it.
func TestWipedElsewhere(t *testing.T) {
	c := testcounty.New(t)
	clip := c.Seals("clip.mp4", testcounty.Bytes(1, 2000))
	must(t, c.Ingest.WriteIdentity(t.Context(), t.TempDir(), c.URL, "ST-02", testcounty.Jiachuan, "另一站", "test"))
	other := ingest.Station{ID: "ST-02", Township: testcounty.Jiachuan, KeyID: c.KeyID()}
	got, err := c.Ingest.SubmitEvents(t.Context(), other, []ingest.Event{
		{ID: id.New(), Kind: ingest.EventWiped, At: time.Now(), Recorder: "R-1", Evidence: clip, Data: ingest.EventData{Leaf: 3}},
		{ID: id.New(), Kind: ingest.EventLabelled, At: time.Now(), Officer: c.Officers[testcounty.Jiachuan][0], Evidence: clip, Data: ingest.EventData{Activity: "patrol"}}})
	must(t, err)
	if got[0].Status != ingest.Accepted || got[1].Code != "unknown-evidence" {
		t.Fatalf("%+v", got)
	}
	r, err := c.Keeper.Get(t.Context(), evidence.Scope{}, clip)
	must(t, err)
	if r.WipedAt == nil || r.Activity != "" {
		t.Fatalf("%+v", r)
	}
}
