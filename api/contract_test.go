package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/gin-gonic/gin"

	"zhizheng/authority"
	"zhizheng/internal/testcounty"
)

// problem is RFC 9457's.
type problem struct {
	Type, Title, Detail, Instance, Next string
	Status                              int
	RetryAfter                          *int `json:"retry_after"`
}

// refusal wants a problem document with the status, in the caller's words.
func refusal(t testing.TB, what string, a testcounty.Answer, status int) (p problem) {
	t.Helper()
	if err := json.Unmarshal(a.Body, &p); err != nil || a.Status != status || p.Status != status || p.Title == "" || p.Detail == "" || p.Type == "" ||
		a.Header.Get("Content-Type") != "application/problem+json" || a.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: %d, want %d; %v %s", what, a.Status, status, a.Header, a.Body)
	}
	return p
}

// operation is one of the contract.
type operation struct{ method, path, permission string }

func (o operation) String() string { return o.method + " " + o.path }

// address fills the path's places with what nobody has.
func (o operation) address() string {
	return strings.NewReplacer("{id}", "01NOSUCHTHING", "{evidence_id}", "01NOSUCHTHING", "{year}", "2026", "{township}", testcounty.Donghe).Replace(o.path)
}

func contract(t testing.TB, c *testcounty.County) (ops []operation) {
	t.Helper()
	a := c.Browser().Get("/api/openapi.yaml")
	doc, err := openapi3.NewLoader().LoadFromData(a.Body)
	must(t, err)
	must(t, doc.Validate(t.Context()))
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			perm, _ := op.Extensions["x-permission"].(string)
			if perm == "" {
				t.Errorf("%s %s names no x-permission", method, path)
			}
			ops = append(ops, operation{method, path, perm})
		}
	}
	sort.Slice(ops, func(i, j int) bool { return ops[i].String() < ops[j].String() })
	if len(ops) < 40 {
		t.Fatalf("%d operations", len(ops))
	}
	return ops
}

// ask sends an operation without its body, and reads no more than the answer's head: one of them streams for ever.
func ask(t testing.TB, b *testcounty.Browser, url string, o operation, header ...string) testcounty.Answer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, o.method, url+o.address(), nil)
	must(t, err)
	if o.method != http.MethodGet {
		r, err = http.NewRequestWithContext(ctx, o.method, url+o.address(), strings.NewReader("{}"))
		must(t, err)
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := b.HTTP.Do(r)
	must(t, err)
	defer res.Body.Close()
	a := testcounty.Answer{Status: res.StatusCode, Header: res.Header}
	if res.StatusCode >= 400 {
		var buf bytes.Buffer
		_, err = buf.ReadFrom(res.Body)
		must(t, err)
		a.Body = buf.Bytes()
	}
	return a
}

// Every operation, asked by nobody, by a station and by each role: refused unless the table of roles allows it.
func TestEveryOperationAsksForItsPermission(t *testing.T) {
	c := testcounty.New(t)
	ops := contract(t, c)
	known := []string{"public", "session", "station"}
	for _, role := range authority.Roles() {
		known = append(known, authority.Permissions(role)...)
		c.User("the-"+role, role)
	}
	c.User("the-one-who-leaves", "admin")
	nobody := c.Browser()
	for _, o := range ops {
		if !slices.Contains(known, o.permission) {
			t.Errorf("%s: nobody can have %q", o, o.permission)
		}
		a := ask(t, nobody, c.URL, o)
		if o.permission != "public" {
			refusal(t, "nobody "+o.String(), a, http.StatusUnauthorized)
		} else if a.Status == http.StatusForbidden || (a.Status == http.StatusUnauthorized && o.path != "/api/v1/session/link") {
			t.Errorf("%s: %d", o, a.Status)
		}
		if o.permission != "public" {
			refusal(t, "a forged token "+o.String(), ask(t, nobody, c.URL, o, "Authorization", "Bearer abc.def.ghi"), http.StatusUnauthorized)
		}
		a = ask(t, nobody, c.URL, o, "Authorization", "Bearer "+c.Token())
		switch {
		case o.permission == "station" || o.path == "/api/v1/evidence/{id}/receipt" || o.permission == "public":
			if a.Status == http.StatusUnauthorized && o.permission != "public" || a.Status == http.StatusForbidden {
				t.Errorf("station %s: %d %s", o, a.Status, a.Body)
			}
		default:
			refusal(t, "station "+o.String(), a, http.StatusUnauthorized)
		}
	}
	for _, role := range authority.Roles() {
		b := c.SignedIn("the-" + role)
		may := authority.Permissions(role)
		for _, o := range ops {
			if o.path == "/api/v1/session" && o.method != http.MethodGet {
				continue // signs in or out
			}
			a := ask(t, b, c.URL, o)
			switch {
			case o.permission == "station":
				refusal(t, role+" "+o.String(), a, http.StatusUnauthorized)
			case slices.Contains(may, o.permission) || o.permission == "session" || o.permission == "public":
				if a.Status == http.StatusForbidden || (a.Status == http.StatusUnauthorized && o.permission != "public") || a.Status >= 500 {
					t.Errorf("%s %s: %d %s", role, o, a.Status, a.Body)
				}
			default:
				if p := refusal(t, role+" "+o.String(), a, http.StatusForbidden); !strings.Contains(p.Detail, o.permission) {
					t.Errorf("%s %s: %s", role, o, p.Detail)
				}
			}
		}
	}
}

// Nothing is routed that the contract doesn't name: what isn't in it has no permission and no schema.
func TestEveryRouteIsInTheContract(t *testing.T) {
	c := testcounty.New(t)
	named := map[string]bool{}
	for _, o := range contract(t, c) {
		named[o.method+" "+strings.NewReplacer("{", ":", "}", "").Replace(o.path)] = true
	}
	routed := map[string]bool{}
	for _, r := range c.Handler.(*gin.Engine).Routes() {
		at := r.Method + " " + r.Path
		routed[at] = true
		if r.Path == "/log/*path" || (r.Method == http.MethodHead && named["GET "+r.Path]) {
			continue
		}
		if !named[at] {
			t.Errorf("%s is routed and not in the contract", at)
		}
	}
	for at := range named {
		if !routed[at] {
			t.Errorf("%s is in the contract and not routed", at)
		}
	}
}

// Whoever must change the password can do nothing else, whatever the role.
func TestPasswordHasToBeChangedFirst(t *testing.T) {
	c := testcounty.New(t)
	ops := contract(t, c)
	for _, role := range []string{"head", "admin"} {
		_, err := c.Auth.CreateUser(t.Context(), authority.NewUser{Username: "new-" + role, Name: role, Role: role, Password: testcounty.Password, MustChange: true})
		must(t, err)
		b := c.SignedIn("new-" + role)
		for _, o := range ops {
			if o.permission == "public" || o.permission == "station" || o.permission == "session" {
				continue
			}
			refusal(t, role+" "+o.String(), ask(t, b, c.URL, o), http.StatusForbidden)
		}
		for what, change := range map[string]map[string]any{
			"the same again":      {"current": testcounty.Password, "new": testcounty.Password},
			"a short one":         {"current": testcounty.Password, "new": "short"},
			"with the name in it": {"current": testcounty.Password, "new": "new-" + role + "-is-my-name"},
			"without the old one": {"current": "something else entirely", "new": "a new long passphrase"},
		} {
			refusal(t, what, b.JSON("POST", "/api/v1/session/password", change), http.StatusBadRequest)
		}
		if a := b.JSON("POST", "/api/v1/session/password", map[string]any{"current": testcounty.Password, "new": "a new long passphrase"}); a.Status != http.StatusNoContent {
			t.Fatalf("change: %d %s", a.Status, a.Body)
		}
		if a := b.Get("/api/v1/townships"); a.Status != http.StatusOK {
			t.Errorf("afterwards: %d", a.Status)
		}
		refusal(t, "the old password", c.Browser().JSON("POST", "/api/v1/session", map[string]any{"username": "new-" + role, "password": testcounty.Password}), http.StatusUnauthorized)
	}
}

// Pages of lists: bounds of limit, and cursors that nobody gave out.
func TestLimitsAndCursorsOfLists(t *testing.T) {
	c := testcounty.New(t)
	for i := range 5 {
		c.Seals(fmt.Sprintf("%d.mp4", i), []byte{byte(i)})
	}
	c.Case()
	c.User("shen", "reviewer")
	c.User("gao", "admin")
	id := firstID(t, c.SignedIn("shen"), "/api/v1/evidence")
	doc, err := openapi3.NewLoader().LoadFromData(c.Browser().Get("/api/openapi.yaml").Body)
	must(t, err)
	lists := 0
	for path, item := range doc.Paths.Map() {
		if item.Get == nil || item.Get.Parameters.GetByInAndName("query", "limit") == nil {
			continue
		}
		lists++
		who := "shen"
		if perm, _ := item.Get.Extensions["x-permission"].(string); !slices.Contains(authority.Permissions("reviewer"), perm) {
			who = "gao"
		}
		b := c.SignedIn(who)
		of := id
		if strings.HasPrefix(path, "/api/v1/docks/") {
			of = testcounty.Station
		}
		at := strings.ReplaceAll(path, "{id}", of)
		most := fmt.Sprint(int(*item.Get.Parameters.GetByInAndName("query", "limit").Schema.Value.Max))
		for _, limit := range []string{"0", "-1", most + "0", "1e3", "ten", "9223372036854775808", "1.5", "%00"} {
			if a := b.Get(at + "?limit=" + limit); a.Status != http.StatusBadRequest {
				t.Errorf("%s?limit=%s: %d %s", at, limit, a.Status, a.Body)
			}
		}
		for _, limit := range []string{"1", most} {
			a := b.Get(at + "?limit=" + limit)
			var page struct{ Items []json.RawMessage }
			if err := json.Unmarshal(a.Body, &page); err != nil || a.Status != http.StatusOK || page.Items == nil || (limit == "1" && len(page.Items) > 1) {
				t.Errorf("%s?limit=%s: %d %s", at, limit, a.Status, a.Body)
			}
		}
		for _, cursor := range []string{"x", "-1", "AAAA", "%00", "%FF%FE", "..%2F..", "'%3B+drop+table+evidence%3B--", strings.Repeat("a", 201),
			"MjAyNi0xMS0yNFQxMDowMDowMFogAA",     // a time, and an id of NUL
			"MjAyNi0xMS0yNFQxMDowMDowMFog__8",    // a time, and an id that is no text
			"OTk5OTk5LTExLTI0VDEwOjAwOjAwWiAwMQ", // the year 999999
			"LTAwMDEtMTEtMjRUMTA6MDA6MDBaIDAx",   // before Christ
			"eyJhZnRlciI6IjAxIn0", "bnVsbA", "MA", "0", "9223372036854775808"} {
			if a := b.Get(at + "?limit=2&cursor=" + cursor); a.Status != http.StatusBadRequest && a.Status != http.StatusOK {
				t.Errorf("%s?cursor=%s: %d %s", at, cursor, a.Status, a.Body)
			}
		}
	}
	if lists < 6 {
		t.Fatalf("%d lists", lists)
	}
	// A page's own cursor leads on, and a bit changed in it never to another township's records.
	b := c.SignedIn("shen")
	var page struct {
		Items []struct{ ID string }
		Next  string `json:"next_cursor"`
	}
	seen := map[string]bool{}
	for at := "/api/v1/evidence?limit=2"; at != ""; {
		page.Next = ""
		must(t, json.Unmarshal(b.Get(at).Body, &page))
		for _, e := range page.Items {
			if seen[e.ID] {
				t.Errorf("%s twice", e.ID)
			}
			seen[e.ID] = true
		}
		at = ""
		if page.Next != "" {
			at = "/api/v1/evidence?limit=2&cursor=" + page.Next
		}
	}
	if len(seen) != 5 {
		t.Errorf("%d of 5 records on the pages", len(seen))
	}
	c.User("wu", "officer", testcounty.Jiachuan)
	wu := c.SignedIn("wu")
	must(t, json.Unmarshal(b.Get("/api/v1/evidence?limit=2").Body, &page))
	var other struct{ Items []json.RawMessage }
	must(t, json.Unmarshal(wu.Get("/api/v1/evidence?cursor="+page.Next).Body, &other))
	if page.Next == "" || len(other.Items) != 0 {
		t.Errorf("another's cursor shows %d records", len(other.Items))
	}
}

func firstID(t testing.TB, b *testcounty.Browser, at string) string {
	t.Helper()
	var page struct{ Items []struct{ ID string } }
	a := b.Get(at)
	if err := json.Unmarshal(a.Body, &page); err != nil || len(page.Items) == 0 {
		t.Fatalf("%s: %d %s", at, a.Status, a.Body)
	}
	return page.Items[0].ID
}
