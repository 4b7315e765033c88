package api

import (
	"net/http"
	"testing"
	"time"

	"zhizheng/authority"
	"zhizheng/budget"
	"zhizheng/devices"
)

// A finance officer buys a recorder; the recorder's page, the posting and the township's year name each other.
func TestPurchaseOverHTTP(t *testing.T) {
	s := newSite(t)
	ctx := authority.WithActor(t.Context(), authority.System)
	today := authority.Day(time.Now())
	must(t, s.ledger.SetAllotments(ctx, []budget.Allotment{{Township: donghe, Year: today.Year(), Fen: 2_000_000, Formula: "20,000（测试）"}}))
	recorders := []devices.Device{{Serial: "R-1", Kind: devices.Recorder, Name: "记录仪", Model: "M", Township: donghe}}
	must(t, s.registry.Register(ctx, recorders))
	s.user(t, authority.NewUser{Username: "finance", Role: "finance", Townships: []string{donghe}})
	s.user(t, authority.NewUser{Username: "officer", Role: "officer", Townships: []string{donghe}})
	s.user(t, authority.NewUser{Username: "other", Role: "finance", Townships: []string{jiachuan}})
	b := s.signedIn(t, "finance")

	var chart struct{ Items []Account }
	b.do("GET", "/api/v1/budget/accounts", nil, http.StatusOK, &chart)
	if len(chart.Items) != len(budget.Accounts()) {
		t.Fatalf("%d accounts", len(chart.Items))
	}
	order := func(key string, fen int64) map[string]any {
		return map[string]any{"key": key, "township": donghe, "date": today.Format(time.DateOnly), "memo": "购执法记录仪", "device_ids": []string{recorders[0].ID},
			"lines": []map[string]any{{"account": "asset.recorder", "fen": fen}, {"account": "budget", "fen": -fen}}}
	}
	var p, again Posting
	b.do("POST", "/api/v1/budget/postings", order("k", 280_000), http.StatusCreated, &p)
	b.do("POST", "/api/v1/budget/postings", order("k", 280_000), http.StatusOK, &again)
	if again.ID != p.ID || p.LeafIndex == nil || *p.AmountFen != 280_000 || *p.PostedByName != "finance" || (*p.Devices)[0].Serial != "R-1" {
		t.Fatalf("posting %+v, again %s", p, again.ID)
	}
	b.do("POST", "/api/v1/budget/postings", order("k", 280_001), http.StatusConflict, nil)

	var refusal Problem
	b.do("POST", "/api/v1/budget/postings", order("k2", 1_720_001), http.StatusUnprocessableEntity, &refusal)
	if val(refusal.Rule) != "R23" || val(refusal.Article) != "预算法第13条、第57条" || val(refusal.Detail) == "" {
		t.Fatalf("refusal = %+v", refusal)
	}
	var year BudgetYear
	b.do("GET", "/api/v1/budget/years/"+today.Format("2006")+"/"+donghe, nil, http.StatusOK, &year)
	if year.AllottedFen != 2_000_000 || year.SpentFen != 280_000 || year.LeftFen != 1_720_000 {
		t.Fatalf("year = %+v", year)
	}
	var device Device
	b.do("GET", "/api/v1/devices/"+recorders[0].ID, nil, http.StatusOK, &device)
	if device.Posting == nil || device.Posting.ID != p.ID || device.Funding != devices.FundPosting || val(device.PostingYear) != today.Year() {
		t.Fatalf("recorder's page = %+v", device)
	}
	var page PostingPage
	b.do("GET", "/api/v1/budget/postings?device_id="+recorders[0].ID, nil, http.StatusOK, &page)
	if len(page.Items) != 1 || page.Items[0].ID != p.ID {
		t.Fatalf("postings of the recorder: %+v", page)
	}

	b.do("POST", "/api/v1/budget/postings/"+p.ID+"/reversal", map[string]any{"reason": "型号订错"}, http.StatusCreated, nil)
	b.do("GET", "/api/v1/budget/postings/"+p.ID, nil, http.StatusOK, &p)
	if val(p.ReversedBy) == "" {
		t.Fatal("the posting doesn't name its reversal")
	}

	other := s.signedIn(t, "other")
	other.do("GET", "/api/v1/budget/postings/"+p.ID, nil, http.StatusNotFound, nil)
	other.do("POST", "/api/v1/budget/postings", order("x", 100), http.StatusNotFound, nil)
	other.do("GET", "/api/v1/budget/postings", nil, http.StatusOK, &page)
	if len(page.Items) != 0 {
		t.Fatalf("嘉川镇 sees %d postings of 东河镇", len(page.Items))
	}
	officer := s.signedIn(t, "officer")
	officer.do("GET", "/api/v1/budget/postings", nil, http.StatusForbidden, nil)
	officer.do("POST", "/api/v1/budget/postings", order("y", 100), http.StatusForbidden, nil)
}
