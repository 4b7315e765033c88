package api_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"zhizheng/authority"
	"zhizheng/devices"
	"zhizheng/ingest"
	"zhizheng/internal/id"
	"zhizheng/internal/testcounty"
)

type deadLetter struct {
	ID, Source, Reason, Outcome, Text, Hex string
	OutcomeReason                          string     `json:"outcome_reason"`
	AgainAt                                *time.Time `json:"again_at"`
	AgainBy                                string     `json:"again_by"`
	Skipped                                int
}

func letter(t testing.TB, a testcounty.Answer) (d deadLetter) {
	t.Helper()
	if err := json.Unmarshal(a.Body, &d); err != nil || a.Status != http.StatusOK {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	return d
}

// messages has the county's messages stored until the end of the test.
func messages(t testing.TB, c *testcounty.County) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Devices.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// What was refused is looked at and taken again: refused still for its old reason, accepted once the reason is gone, and not twice. It
// stays in the list, and leaves no second letter.
func TestDeadLettersAreTakenAgain(t *testing.T) {
	c := testcounty.New(t)
	messages(t, c)
	c.User("he", "manager")
	he := c.SignedIn("he")
	all := func() map[string]deadLetter { // by source
		var page struct{ Items []deadLetter }
		a := he.Get("/api/v1/dead-letters")
		if err := json.Unmarshal(a.Body, &page); err != nil {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
		m := map[string]deadLetter{}
		for _, d := range page.Items {
			m[d.Source] = d
		}
		if len(m) != len(page.Items) {
			t.Errorf("%d letters of %d sources", len(page.Items), len(m))
		}
		return m
	}
	device, officer := devices.Device{ID: id.New(), Serial: "BWC-7", Kind: devices.Recorder, Name: "n", Model: "m", Township: testcounty.Donghe}, id.New()
	body := `{"epoch":1,"seq":1,"time":"2026-11-24T09:00:00Z","data":{"battery":61}}`
	must(t, c.Devices.Take(t.Context(), devices.UpTopic(device.ID, "hb"), []byte(body)))
	_, err := c.Pool.Exec(t.Context(), `update signing_key set revoked_at = now(), revoke_reason = '误' where key_id = $1`, c.KeyID())
	must(t, err)
	manifest := c.Signs("a.mp4", []byte("a"))
	m, err := c.Ingest.SubmitManifests(t.Context(), c.StationID(), [][]byte{manifest})
	must(t, err)
	s, err := c.Ingest.SubmitStates(t.Context(), c.StationID(), [][]byte{c.Closing()})
	must(t, err)
	e, err := c.Ingest.SubmitEvents(t.Context(), c.StationID(), []ingest.Event{{ID: id.New(), Kind: ingest.EventTaken, At: time.Now(), Officer: officer, Recorder: device.Serial}})
	must(t, err)
	if m[0].Status != ingest.Rejected || s[0].Status != ingest.Rejected || e[0].Status != ingest.Rejected {
		t.Fatalf("%+v %+v %+v", m, s, e)
	}
	letters := all()
	if len(letters) != 4 {
		t.Fatalf("%d letters", len(letters))
	}
	at := func(source string) string { return "/api/v1/dead-letters/" + letters[source].ID }

	if d := letter(t, he.Get(at("mqtt"))); d.Text != body || d.Hex != hex.EncodeToString([]byte(body)) || d.Reason != "unknown device" {
		t.Errorf("%+v", d)
	}
	if d := letter(t, he.Get(at("manifest"))); d.Text != "" || d.Hex != hex.EncodeToString(manifest) {
		t.Errorf("%+v", d)
	}
	for source := range letters {
		if d := letter(t, he.JSON("POST", at(source)+"/replay", nil)); d.Outcome != "refused" || d.OutcomeReason == "" || d.AgainAt == nil || d.AgainBy == "" {
			t.Errorf("%s: %+v", source, d)
		}
	}
	if again := all(); len(again) != 4 || again["mqtt"].Outcome != "refused" {
		t.Errorf("%+v", again)
	}

	must(t, c.Devices.Register(t.Context(), []devices.Device{device}))
	_, err = c.Pool.Exec(t.Context(), `update signing_key set revoked_at = null, revoke_reason = null where key_id = $1`, c.KeyID())
	must(t, err)
	must(t, c.Auth.AddOfficers(authority.WithActor(t.Context(), authority.System), []authority.Officer{{ID: officer, Township: testcounty.Donghe, Name: "丙（示例）"}}))
	for source := range letters {
		if d := letter(t, he.JSON("POST", at(source)+"/replay", nil)); d.Outcome != "accepted" || d.OutcomeReason != "" {
			t.Errorf("%s: %+v", source, d)
		}
		refusal(t, "a third time", he.JSON("POST", at(source)+"/replay", nil), http.StatusConflict)
	}
	if again := all(); len(again) != 4 || again["event"].Outcome != "accepted" {
		t.Errorf("%+v", again)
	}
	d, err := c.Devices.Get(authority.WithActor(t.Context(), authority.System), device.ID)
	must(t, err)
	var first time.Time
	must(t, c.Pool.QueryRow(t.Context(), `select at from dead_letter where id = $1`, letters["mqtt"].ID).Scan(&first))
	if d.State.Battery == nil || *d.State.Battery != 61 || !d.State.LastData.Equal(first) {
		t.Errorf("%+v, the message came %v", d.State, first)
	}
	for what, sql := range map[string]string{"messages": `select count(*) from device_message`, "records": `select count(*) from evidence`,
		"states": `select count(*) from device_chain_state`, "events": `select count(*) from station_event`} {
		var n int
		if err := c.Pool.QueryRow(t.Context(), sql).Scan(&n); err != nil || n != 1 {
			t.Errorf("%d %s, %v", n, what, err)
		}
	}

	// A message that came in another way meanwhile is known, and presence isn't taken later.
	unknown := devices.Device{ID: id.New(), Serial: "BWC-8", Kind: devices.Recorder, Name: "n", Model: "m", Township: testcounty.Donghe}
	must(t, c.Devices.Take(t.Context(), devices.UpTopic(unknown.ID, "hb"), []byte(body)))
	must(t, c.Devices.Register(t.Context(), []devices.Device{unknown}))
	must(t, c.Devices.Take(t.Context(), devices.UpTopic(unknown.ID, "hb"), []byte(body)))
	must(t, c.Devices.Take(t.Context(), devices.UpTopic(unknown.ID, "conn"), []byte("{}")))
	for reason, outcome := range map[string]string{"unknown device": "known", "presence names no session": "refused"} {
		var n string
		must(t, c.Pool.QueryRow(t.Context(), `select id from dead_letter where reason = $1 and outcome is null`, reason).Scan(&n))
		if d := letter(t, he.JSON("POST", "/api/v1/dead-letters/"+n+"/replay", nil)); d.Outcome != outcome {
			t.Errorf("%s: %+v", reason, d)
		}
	}

	// Only who may write devices, and sees the whole county.
	c.User("wu", "manager", testcounty.Jiachuan)
	c.User("li", "officer")
	for _, name := range []string{"wu", "li"} {
		b := c.SignedIn(name)
		for _, a := range []testcounty.Answer{b.Get(at("mqtt")), b.JSON("POST", at("mqtt")+"/replay", nil), b.Get("/api/v1/dead-letters")} {
			if p := refusal(t, name, a, http.StatusForbidden); strings.Contains(p.Detail, "BWC") {
				t.Error(p.Detail)
			}
		}
	}
	refusal(t, "no such letter", he.Get("/api/v1/dead-letters/"+id.New()), http.StatusNotFound)
	refusal(t, "no such letter", he.JSON("POST", "/api/v1/dead-letters/"+id.New()+"/replay", nil), http.StatusNotFound)
}
