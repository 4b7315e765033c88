package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"zhizheng/authority"
	"zhizheng/budget"
	"zhizheng/cases"
	"zhizheng/devices"
	"zhizheng/evidence"
	"zhizheng/evidence/audit"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/internal/testenv"
)

const (
	donghe   = "510821100"
	jiachuan = "510821101"
	password = "correct horse battery"
)

// site is the edge on a real database, with a small county: two townships with two certified officers each, one item for both.
type site struct {
	url      string
	auth     *authority.Service
	registry *devices.Service
	ledger   *budget.Service
	officers map[string][]string
}

func newSite(t *testing.T) *site { return newSiteWith(t, func(*Deps) {}) }

func newSiteWith(t *testing.T, change func(*Deps)) *site {
	t.Helper()
	pool := testenv.Pool(t)
	sg, err := signer.Open(t.Context(), t.TempDir(), "test.example/log")
	must(t, err)
	log, err := evlog.New(pool, evlog.Options{Signer: sg})
	must(t, err)
	t.Cleanup(func() { _ = log.Close() })
	auth := authority.New(pool, log, authority.Options{})
	keeper := evidence.NewKeeper(pool, log, nil, nil)
	jobs, err := river.NewClient[pgx.Tx](riverpgxv5.New(pool), &river.Config{})
	must(t, err)
	registry := devices.New(pool, devices.Options{})
	ledger := budget.New(pool, log, registry, nil)
	deps := Deps{Devices: registry, Budget: ledger, Pool: pool, Log: log, Evidence: keeper, Audit: audit.New(audit.Options{Pool: pool, Log: log, Evidence: keeper}), Authority: auth, Cases: cases.New(pool, log, auth, keeper, jobs, nil),
		Console: fstest.MapFS{"index.html": {Data: []byte("console")}}, Version: "test",
		Ready: func(context.Context) map[string]string { return map[string]string{"database": "ok"} }}
	change(&deps)
	h, err := New(deps)
	must(t, err)
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	s := &site{url: srv.URL, auth: auth, registry: registry, ledger: ledger, officers: map[string][]string{}}
	ctx := authority.WithActor(t.Context(), authority.System)
	must(t, auth.PutTownships(ctx, []authority.Township{{Code: donghe, Name: "东河镇", Kind: "town"}, {Code: jiachuan, Name: "嘉川镇", Kind: "town"}}))
	item := authority.PowerItem{Code: "FQ-001", Name: "露天焚烧秸秆", Field: "生态环境", Law: "大气污染防治法", Article: "第119条"}
	must(t, auth.PutPowerItems(ctx, []authority.PowerItem{item}))
	today := authority.Day(time.Now())
	for _, town := range []string{donghe, jiachuan} {
		must(t, auth.GrantPowers(ctx, []authority.Grant{{Item: item, Township: town, Mode: authority.Delegated, From: today.AddDate(-1, 0, 0)}}))
		all := []authority.Officer{{Township: town, Name: "甲（示例）"}, {Township: town, Name: "乙（示例）"}}
		for i := range all {
			all[i].Certificates = []authority.Certificate{{Number: town + all[i].Name, From: today.AddDate(-1, 0, 0), To: today.AddDate(1, 0, 0)}}
		}
		must(t, auth.AddOfficers(ctx, all))
		s.officers[town] = []string{all[0].ID, all[1].ID}
	}
	return s
}

func (s *site) user(t *testing.T, n authority.NewUser) {
	t.Helper()
	n.Name, n.Password = n.Username, password
	_, err := s.auth.CreateUser(t.Context(), n)
	must(t, err)
}

// browser keeps cookies, as a person's browser does.
type browser struct {
	t    *testing.T
	url  string
	http http.Client
	head http.Header
}

func (s *site) browser(t *testing.T) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	must(t, err)
	return &browser{t: t, url: s.url, http: http.Client{Jar: jar}, head: http.Header{}}
}

// signedIn is a browser in which a person of the name has signed in.
func (s *site) signedIn(t *testing.T, username string) *browser {
	t.Helper()
	b := s.browser(t)
	b.do("POST", "/api/v1/session", map[string]any{"username": username, "password": password}, http.StatusOK, nil)
	return b
}

// do sends a request, wants the status, and reads the answer into out.
func (b *browser) do(method, path string, in any, want int, out any) http.Header {
	b.t.Helper()
	var body io.Reader
	if in != nil {
		j, err := json.Marshal(in)
		must(b.t, err)
		body = bytes.NewReader(j)
	}
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, body)
	must(b.t, err)
	for k, v := range b.head {
		r.Header[k] = v
	}
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	resp, err := b.http.Do(r)
	must(b.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	must(b.t, err)
	if resp.StatusCode != want {
		b.t.Fatalf("%s %s: %d, want %d: %s", method, path, resp.StatusCode, want, raw)
	}
	if out != nil {
		must(b.t, json.Unmarshal(raw, out))
	}
	return resp.Header
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSessionOverHTTP(t *testing.T) {
	s := newSite(t)
	s.user(t, authority.NewUser{Username: "li", Role: "officer", Townships: []string{donghe}})
	b := s.browser(t)
	b.do("GET", "/api/v1/session", nil, http.StatusUnauthorized, nil)
	b.do("POST", "/api/v1/session", map[string]any{"username": "li", "password": "not the password"}, http.StatusUnauthorized, nil)
	var who Session
	h := b.do("POST", "/api/v1/session", map[string]any{"username": "li", "password": password}, http.StatusOK, &who)
	if c := h.Get("Set-Cookie"); !bytes.Contains([]byte(c), []byte("HttpOnly")) || !bytes.Contains([]byte(c), []byte("SameSite=Lax")) {
		t.Fatalf("cookie %q", c)
	}
	if who.Role != "officer" || who.RoleName == "" || who.WholeCounty || len(who.Townships) != 1 || len(who.Permissions) == 0 {
		t.Fatalf("session %+v", who)
	}
	b.do("GET", "/api/v1/session", nil, http.StatusOK, nil)
	b.head.Set("Origin", "https://elsewhere.example")
	b.do("DELETE", "/api/v1/session", nil, http.StatusForbidden, nil)
	b.head.Del("Origin")
	b.do("DELETE", "/api/v1/session", nil, http.StatusNoContent, nil)
	b.do("GET", "/api/v1/session", nil, http.StatusUnauthorized, nil)
}

func TestLinkAndNewPasswordOverHTTP(t *testing.T) {
	s := newSite(t)
	s.user(t, authority.NewUser{Username: "zhou", Role: "reviewer", MustChange: true})
	token, err := s.auth.IssueLink(t.Context(), "zhou")
	must(t, err)
	b := s.browser(t)
	var who Session
	b.do("POST", "/api/v1/session/link", map[string]any{"token": token}, http.StatusOK, &who)
	if !who.MustChangePassword || !who.WholeCounty {
		t.Fatalf("session %+v", who)
	}
	s.browser(t).do("POST", "/api/v1/session/link", map[string]any{"token": token}, http.StatusUnauthorized, nil)
	b.do("GET", "/api/v1/cases", nil, http.StatusForbidden, nil)
	b.do("POST", "/api/v1/session/password", map[string]any{"current": password, "new": "a new long passphrase"}, http.StatusNoContent, nil)
	b.do("GET", "/api/v1/cases", nil, http.StatusOK, nil)
}

func TestSignInLimitOverHTTP(t *testing.T) {
	s := newSite(t)
	s.user(t, authority.NewUser{Username: "zhao", Role: "officer", Townships: []string{donghe}})
	b := s.browser(t)
	for i := range 20 {
		b.head.Set("X-Forwarded-For", time.Unix(int64(i), 0).String()) // claiming to be someone else doesn't help
		resp, err := b.http.Post(b.url+"/api/v1/session", "application/json", bytes.NewReader([]byte(`{"username":"zhao","password":"guess"}`)))
		must(t, err)
		must(t, resp.Body.Close())
		if resp.StatusCode == http.StatusTooManyRequests {
			if resp.Header.Get("Retry-After") == "" {
				t.Fatal("no Retry-After")
			}
			return
		}
	}
	t.Fatal("20 wrong passwords in a row weren't slowed down")
}

func TestCaseOverHTTP(t *testing.T) {
	s := newSite(t)
	s.user(t, authority.NewUser{Username: "li", Role: "officer", Townships: []string{donghe}})
	s.user(t, authority.NewUser{Username: "wu", Role: "officer", Townships: []string{jiachuan}})
	s.user(t, authority.NewUser{Username: "fin", Role: "finance", Townships: []string{donghe}})
	b := s.signedIn(t, "li")

	var towns struct{ Items []Township }
	b.do("GET", "/api/v1/townships", nil, http.StatusOK, &towns)
	if len(towns.Items) != 1 || towns.Items[0].Code != donghe || *towns.Items[0].Officers != 2 {
		t.Fatalf("townships %+v", towns)
	}
	var items PowerItemPage
	b.do("GET", "/api/v1/power-items?township="+donghe, nil, http.StatusOK, &items)
	if len(items.Items) != 1 || !*items.Items[0].InForce || *items.Items[0].ModeName != "赋权" {
		t.Fatalf("power items %+v", items)
	}
	b.do("GET", "/api/v1/power-items?township="+jiachuan, nil, http.StatusNotFound, nil)
	var people OfficerPage
	b.do("GET", "/api/v1/officers?township="+donghe, nil, http.StatusOK, &people)
	if len(people.Items) != 2 || !people.Items[0].Certified || people.Items[0].UnitName != "东河镇" {
		t.Fatalf("officers %+v", people)
	}

	form := map[string]any{"township": donghe, "power_item": items.Items[0].ID, "title": "王某（示例）露天焚烧秸秆案", "officers": s.officers[donghe][:1]}
	var p Problem
	b.do("POST", "/api/v1/cases", form, http.StatusUnprocessableEntity, &p)
	if val(p.Rule) != "R02" || val(p.Article) == "" || val(p.Next) == "" {
		t.Fatalf("problem %+v", p)
	}
	form["power_item"] = "FQ-404"
	b.do("POST", "/api/v1/cases", form, http.StatusUnprocessableEntity, &p)
	if val(p.Rule) != "R01" {
		t.Fatalf("problem %+v", p)
	}
	form["power_item"], form["officers"] = "FQ-001", s.officers[donghe]
	var c Case
	b.do("POST", "/api/v1/cases", form, http.StatusCreated, &c)
	if c.StageName != "立案" || val(c.DaysLeft) != 90 || len(*c.Officers) != 2 || len(*c.Acts) != 1 || (*c.Acts)[0].LeafIndex == nil || len(*c.NextStages) != 2 {
		t.Fatalf("case %+v", c)
	}
	b.do("POST", "/api/v1/cases/"+c.ID+"/stage", map[string]any{"stage": "investigation", "note": "指派"}, http.StatusOK, &c)
	if c.Stage != "investigation" {
		t.Fatalf("stage %s", c.Stage)
	}
	b.do("POST", "/api/v1/cases/"+c.ID+"/evidence", map[string]any{"evidence_id": "01JNOTHERE", "purpose": "证明目的"}, http.StatusNotFound, nil)
	var page CasePage
	b.do("GET", "/api/v1/cases?open=true&q=秸秆", nil, http.StatusOK, &page)
	if len(page.Items) != 1 || val(page.Total) != 1 {
		t.Fatalf("page %+v", page)
	}
	wu := s.signedIn(t, "wu")
	wu.do("GET", "/api/v1/cases/"+c.ID, nil, http.StatusNotFound, nil)
	wu.do("GET", "/api/v1/cases", nil, http.StatusOK, &page)
	if len(page.Items) != 0 {
		t.Fatalf("another township lists %+v", page)
	}
	s.signedIn(t, "fin").do("GET", "/api/v1/cases", nil, http.StatusForbidden, nil)
}
