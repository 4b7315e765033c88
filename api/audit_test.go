package api_test

import (
	"encoding/json"
	"os"
	"testing"

	"zhizheng/evidence"
	"zhizheng/evidence/audit"
	"zhizheng/internal/testcounty"
	"zhizheng/internal/testenv"
)

// Damage as the people concerned see it: the township's officer with item and case, another township's not at all, finance without
// either; the administrator answers for it.
func TestAlarmsAndRunsAtTheEdge(t *testing.T) {
	c := testcounty.New(t)
	id := c.Seals("a.mp4", []byte("as sealed"))
	caseID := c.Case(id)
	read := func() audit.Info {
		t.Helper()
		run, err := c.Audit.Start(t.Context(), audit.KindReread, audit.System)
		must(t, err)
		must(t, c.Audit.ReadRun(t.Context(), run.ID))
		run, err = c.Audit.Get(t.Context(), run.ID)
		must(t, err)
		return run
	}
	c.User("li", "officer", testcounty.Donghe)
	c.User("wang", "officer", testcounty.Jiachuan)
	c.User("qian", "finance", testcounty.Donghe)
	c.User("root", "admin")
	li, wang, qian, root := c.SignedIn("li"), c.SignedIn("wang"), c.SignedIn("qian"), c.SignedIn("root")
	get := func(b *testcounty.Browser, path string, into any) {
		t.Helper()
		a := b.Get(path)
		if a.Status != 200 {
			t.Fatalf("%s: %d %s", path, a.Status, a.Body)
		}
		must(t, json.Unmarshal(a.Body, into))
	}
	var item struct {
		Status, SM3, Damage string
		VerifiedAt          *string `json:"verified_at"`
	}
	get(li, "/api/v1/evidence/"+string(id), &item)
	if item.VerifiedAt != nil || item.SM3 != "" {
		t.Errorf("before it was read again: %+v", item)
	}
	read()
	get(li, "/api/v1/evidence/"+string(id), &item)
	if item.VerifiedAt == nil || len(item.SM3) != 64 || item.Status != "sealed" {
		t.Errorf("read again: %+v", item)
	}
	rec, err := c.Keeper.Get(t.Context(), evidence.Scope{}, id)
	must(t, err)
	must(t, os.WriteFile(testenv.StoreFile(t, c.Store.Bucket(), rec.ObjectKey), []byte("as forged"), 0o600))
	run := read()
	get(li, "/api/v1/evidence/"+string(id), &item)
	if item.Status != "damaged" || item.Damage != "differs" {
		t.Errorf("damaged: %+v", item)
	}

	type alarms struct {
		Items []struct {
			ID, Kind, Township, Text, Reason string
			TownshipName                     string   `json:"township_name"`
			EvidenceID                       string   `json:"evidence_id"`
			CaseIDs                          []string `json:"case_ids"`
			By                               string   `json:"acknowledged_by_name"`
			At                               *string  `json:"acknowledged_at"`
		}
	}
	var all alarms
	get(li, "/api/v1/log/alarms", &all)
	if len(all.Items) != 1 || all.Items[0].EvidenceID != string(id) || len(all.Items[0].CaseIDs) != 1 || all.Items[0].CaseIDs[0] != caseID ||
		all.Items[0].TownshipName != "东河镇" || all.Items[0].Kind != "damaged" {
		t.Fatalf("the township's officer: %+v", all)
	}
	alarm := all.Items[0].ID
	all = alarms{}
	get(wang, "/api/v1/log/alarms", &all)
	if len(all.Items) != 0 {
		t.Errorf("another township's officer: %+v", all)
	}
	all = alarms{}
	get(qian, "/api/v1/log/alarms", &all)
	if len(all.Items) != 1 || all.Items[0].EvidenceID != "" || len(all.Items[0].CaseIDs) != 0 {
		t.Errorf("finance: %+v", all)
	}
	var one struct {
		State    string
		Leaf     *int64 `json:"leaf_index"`
		Findings []struct{ What, Township string }
	}
	get(li, "/api/v1/log/audits/"+run.ID, &one)
	if one.State != "findings" || one.Leaf == nil || len(one.Findings) != 1 {
		t.Errorf("run: %+v", one)
	}
	one.Findings = nil
	get(wang, "/api/v1/log/audits/"+run.ID, &one)
	if len(one.Findings) != 0 {
		t.Errorf("another township's findings: %+v", one)
	}
	var page struct {
		Items []struct{ ID, Kind string }
		Next  string `json:"next_cursor"`
	}
	get(li, "/api/v1/log/audits?kind=reread&limit=1", &page)
	if len(page.Items) != 1 || page.Items[0].ID != run.ID || page.Next == "" {
		t.Errorf("first page: %+v", page)
	}
	get(li, "/api/v1/log/audits?kind=reread&limit=1&cursor="+page.Next, &page)
	if len(page.Items) != 1 || page.Items[0].ID == run.ID || page.Next != "" {
		t.Errorf("second page: %+v", page)
	}
	var state struct {
		Alarms     int
		LastReread *struct{ ID string } `json:"last_reread"`
		LastCanary *struct{ ID string } `json:"last_canary"`
	}
	get(li, "/api/v1/log", &state)
	if state.Alarms != 1 || state.LastReread == nil || state.LastReread.ID != run.ID || state.LastCanary != nil {
		t.Errorf("state: %+v", state)
	}

	refusal(t, "an officer acknowledges", li.JSON("POST", "/api/v1/log/alarms/"+alarm+"/acknowledge", map[string]any{"reason": "看过了"}), 403)
	refusal(t, "an officer starts a run", li.JSON("POST", "/api/v1/log/audits", map[string]any{"kind": "log"}), 403)
	refusal(t, "without a reason", root.JSON("POST", "/api/v1/log/alarms/"+alarm+"/acknowledge", map[string]any{"reason": ""}), 400)
	if a := root.JSON("POST", "/api/v1/log/alarms/"+alarm+"/acknowledge", map[string]any{"reason": "已从备份取回"}); a.Status != 200 {
		t.Errorf("acknowledge: %d %s", a.Status, a.Body)
	}
	refusal(t, "twice", root.JSON("POST", "/api/v1/log/alarms/"+alarm+"/acknowledge", map[string]any{"reason": "已从备份取回"}), 409)
	all = alarms{}
	get(li, "/api/v1/log/alarms", &all)
	if len(all.Items) != 1 || all.Items[0].At == nil || all.Items[0].Reason != "已从备份取回" || all.Items[0].By != "root" {
		t.Errorf("acknowledged: %+v", all)
	}
	all = alarms{}
	get(li, "/api/v1/log/alarms?open=true", &all)
	if len(all.Items) != 0 {
		t.Errorf("open: %+v", all)
	}
	refusal(t, "pause what has ended", root.Do("POST", "/api/v1/log/audits/"+run.ID+"/pause", nil), 409)
	if a := root.JSON("POST", "/api/v1/log/audits", map[string]any{"kind": "reread"}); a.Status != 202 {
		t.Errorf("start: %d %s", a.Status, a.Body)
	}
	refusal(t, "another beside it", root.JSON("POST", "/api/v1/log/audits", map[string]any{"kind": "reread"}), 409)
}
