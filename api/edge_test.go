package api_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/fstest"

	"zhizheng/api"
	"zhizheng/authority"
	"zhizheng/internal/testcounty"
)

// A page of another site can't act with a person's session.
func TestRequestsOfOtherSites(t *testing.T) {
	c := testcounty.New(t)
	c.User("li", "officer", testcounty.Donghe)
	b := c.SignedIn("li")
	own, err := url.Parse(c.URL)
	must(t, err)
	for _, x := range []struct {
		head    []string
		foreign bool
	}{
		{nil, false}, // no browser
		{[]string{"Origin", c.URL}, false},
		{[]string{"Origin", "http://" + strings.ToUpper(own.Host)}, false},
		{[]string{"Sec-Fetch-Site", "same-origin"}, false},
		{[]string{"Sec-Fetch-Site", "none"}, false},
		{[]string{"Sec-Fetch-Site", "same-origin", "Origin", c.URL}, false},
		{[]string{"Origin", "https://elsewhere.example"}, true},
		{[]string{"Origin", "null"}, true},
		{[]string{"Origin", "http://" + own.Hostname()}, true}, // another port
		{[]string{"Origin", c.URL + ".elsewhere.example"}, true},
		{[]string{"Origin", "http://%zz"}, true},
		{[]string{"Sec-Fetch-Site", "cross-site"}, true},
		{[]string{"Sec-Fetch-Site", "same-site"}, true},
		{[]string{"Sec-Fetch-Site", "anything"}, true},
		{[]string{"Sec-Fetch-Site", "same-origin", "Origin", "https://elsewhere.example"}, true},
		{[]string{"Sec-Fetch-Site", "cross-site", "Origin", c.URL}, true},
	} {
		for _, method := range []string{"POST", "PUT", "DELETE", "PATCH"} {
			a := b.Do(method, "/api/v1/cases", strings.NewReader("{}"), append(x.head, "Content-Type", "application/json")...)
			if x.foreign {
				refusal(t, fmt.Sprint(method, x.head), a, http.StatusForbidden)
			} else if a.Status == http.StatusForbidden {
				t.Errorf("%s %v: %s", method, x.head, a.Body)
			}
		}
		// Reading is no act; that a foreign page can't see the answer is the browser's doing, which nothing here loosens.
		a := b.Get("/api/v1/session", x.head...)
		if a.Status != http.StatusOK || a.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("GET %v: %d %v", x.head, a.Status, a.Header)
		}
	}
	// A form of another site can send text/plain without asking first.
	if a := b.Do("POST", "/api/v1/session/password", strings.NewReader(`{"current":"`+testcounty.Password+`","new":"taken over by a form"}`), "Content-Type", "text/plain"); a.Status < 400 {
		t.Errorf("a form of text/plain: %d", a.Status)
	}
}

// Whatever is answered carries the headers that keep it in its place.
func TestSecurityHeadersOnEveryKindOfAnswer(t *testing.T) {
	c := testcounty.New(t)
	c.User("li", "officer", testcounty.Donghe)
	id := c.Seals("a.mp4", []byte("bytes"))
	pending, _, _ := c.Registers("late.mp4", []byte("late"))
	c.Receipt("sealed/" + string(id))
	li, nobody := c.SignedIn("li"), c.Browser()
	at := "/api/v1/evidence/" + string(id)
	for _, x := range []struct {
		what   string
		status int
		a      testcounty.Answer
	}{
		{"page", 200, nobody.Get("/")},
		{"page deep inside", 200, nobody.Get("/evidence/01ABC")},
		{"asset", 200, nobody.Get("/assets/a.js")},
		{"missing asset", 404, nobody.Get("/assets/none.js")},
		{"document", 200, li.Get("/api/v1/session")},
		{"list", 200, li.Get("/api/v1/evidence")},
		{"bytes", 200, li.Get(at + "/content")},
		{"part of bytes", 206, li.Get(at+"/content", "Range", "bytes=0-1")},
		{"no such part", 416, li.Get(at+"/content", "Range", "bytes=9-")},
		{"not yet", 202, li.Get("/api/v1/evidence/" + string(pending) + "/receipt")},
		{"receipt", 200, li.Get(at + "/receipt")},
		{"no poster", 404, li.Get(at + "/poster")},
		{"no body", 400, nobody.Do("POST", "/api/v1/session", nil)},
		{"nobody", 401, nobody.Get("/api/v1/evidence")},
		{"not allowed", 403, li.Get("/api/v1/budget/postings")},
		{"not there", 404, li.Get("/api/v1/evidence/01NONE")},
		{"no such address", 404, li.Get("/api/v1/none")},
		{"no such method", 405, li.Do("DELETE", "/api/v1/evidence", nil)},
		{"log", 200, nobody.Get("/log/checkpoint")},
		{"log's key", 200, nobody.Get("/log/vkey")},
		{"no tile", 404, nobody.Get("/log/tile/0/999")},
		{"log can't be written", 405, nobody.Do("POST", "/log/checkpoint", nil)},
		{"contract", 200, nobody.Get("/api/openapi.yaml")},
		{"health", 200, nobody.Get("/healthz")},
		{"readiness", 200, nobody.Get("/readyz")},
		{"signed out", 204, c.SignedIn("li").Do("DELETE", "/api/v1/session", nil)},
	} {
		h := x.a.Header
		if x.a.Status != x.status {
			t.Errorf("%s: %d, want %d: %s", x.what, x.a.Status, x.status, x.a.Body)
		}
		csp := h.Get("Content-Security-Policy")
		if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") == "" || h.Get("Cross-Origin-Opener-Policy") != "same-origin" ||
			h.Get("Permissions-Policy") == "" || h.Get("X-Request-Id") == "" || !strings.Contains(csp, "default-src 'self'") && !strings.Contains(csp, "sandbox") ||
			strings.Contains(csp, "'unsafe-eval'") || strings.Contains(csp, "script-src 'self' 'unsafe-inline'") {
			t.Errorf("%s: %v", x.what, h)
		}
		if h.Get("Server") != "" || h.Get("X-Powered-By") != "" {
			t.Errorf("%s tells what it runs on", x.what)
		}
		if x.status >= 400 && !strings.HasPrefix(x.what, "log") && x.what != "no tile" && x.status != 416 {
			refusal(t, x.what, x.a, x.status)
		}
		// What a person may see stays in no cache of a shared computer.
		if cc := h.Get("Cache-Control"); strings.HasPrefix(x.what, "list") || x.what == "document" || x.what == "bytes" || x.what == "receipt" {
			if !strings.Contains(cc, "no-store") {
				t.Errorf("%s: Cache-Control %q", x.what, cc)
			}
		}
		if h.Get("Strict-Transport-Security") != "" {
			t.Errorf("%s: HSTS without HTTPS", x.what)
		}
	}
	if cc := nobody.Get("/assets/a.js").Header.Get("Cache-Control"); !strings.Contains(cc, "immutable") {
		t.Errorf("asset: %q", cc)
	}
	if cc := nobody.Get("/").Header.Get("Cache-Control"); cc != "no-cache" {
		t.Errorf("page: %q", cc)
	}
}

// No address leads out of the console's files.
func TestConsoleServesItsFilesOnly(t *testing.T) {
	c := testcounty.New(t, func(d *api.Deps) {
		d.Console = fstest.MapFS{"index.html": {Data: []byte("console")}, "assets/a.js": {Data: []byte("1")}}
	})
	b := c.Browser()
	for _, path := range []string{"/../../etc/passwd", "/..%2f..%2fetc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/.git/config", "/assets/../../etc/passwd", "//etc/passwd", "/%00", "/a\\..\\b"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL = &url.URL{Opaque: path, Path: path}
		if u, err := url.ParseRequestURI(path); err == nil {
			r.URL = u
		}
		w := httptest.NewRecorder()
		c.Handler.ServeHTTP(w, r)
		if body := w.Body.String(); w.Code == http.StatusOK && body != "console" || w.Code >= 500 {
			t.Errorf("%s: %d %q", path, w.Code, body)
		}
	}
	for _, path := range []string{"/api/v1/none", "/api/none", "/api/v1/evidence/", "/assets/none.js"} {
		refusal(t, path, b.Get(path), http.StatusNotFound)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "TRACE"} {
		if a := b.Do(method, "/evidence", nil); a.Status != http.StatusNotFound && a.Status != http.StatusMethodNotAllowed {
			t.Errorf("%s of a page: %d", method, a.Status)
		}
	}
}

func TestMethodsThatAreNotThere(t *testing.T) {
	c := testcounty.New(t)
	b := c.Browser()
	for _, x := range []struct{ method, path, allow string }{
		{"DELETE", "/api/v1/evidence", "GET"}, {"PUT", "/api/v1/session", "GET"}, {"POST", "/healthz", "GET"}, {"BREW", "/api/v1/cases", "POST"},
	} {
		a := b.Do(x.method, x.path, nil)
		if p := refusal(t, x.method+" "+x.path, a, http.StatusMethodNotAllowed); !strings.Contains(a.Header.Get("Allow"), x.allow) || !strings.Contains(p.Detail, x.method) {
			t.Errorf("%s %s: Allow %q, %s", x.method, x.path, a.Header.Get("Allow"), p.Detail)
		}
	}
}

// A body that can't be understood is refused with what is wrong with it, and never with a schema or an inner error.
func TestBodiesThatCannotBeUnderstood(t *testing.T) {
	c := testcounty.New(t)
	c.User("li", "officer", testcounty.Donghe)
	b := c.SignedIn("li")
	for what, x := range map[string]struct{ path, body, says string }{
		"no JSON":           {"/api/v1/cases", `{"township":`, ""},
		"nothing":           {"/api/v1/cases", ``, ""},
		"a list":            {"/api/v1/cases", `[]`, ""},
		"null":              {"/api/v1/cases", `null`, ""},
		"a word":            {"/api/v1/cases", `"case"`, ""},
		"a field missing":   {"/api/v1/session", `{"username":"li"}`, "password"},
		"another type":      {"/api/v1/session", `{"username":1,"password":"x"}`, "username"},
		"too long a text":   {"/api/v1/session", `{"username":"` + strings.Repeat("a", 81) + `","password":"x"}`, "username"},
		"boxes in boxes":    {"/api/v1/cases", strings.Repeat("[", 100_000), ""},
		"a number too much": {"/api/v1/session", `{"username":` + strings.Repeat("9", 5000) + `,"password":"x"}`, ""},
	} {
		a := b.Do("POST", x.path, strings.NewReader(x.body), "Content-Type", "application/json")
		p := refusal(t, what, a, http.StatusBadRequest)
		if !strings.Contains(p.Detail, x.says) || !strings.Contains(p.Detail, "不合要求") || len(p.Detail) > 500 || strings.Contains(p.Detail, "Schema:") {
			t.Errorf("%s: %s", what, p.Detail)
		}
	}
	for _, kind := range []string{"text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/xml", ""} {
		a := b.Do("POST", "/api/v1/session", strings.NewReader(`{"username":"li","password":"`+testcounty.Password+`"}`), "Content-Type", kind)
		if a.Status != http.StatusBadRequest && a.Status != http.StatusUnsupportedMediaType {
			t.Errorf("%q: %d", kind, a.Status)
		}
	}
	// Characters that no database takes are the caller's mistake, wherever they stand.
	for what, a := range map[string]testcounty.Answer{
		"in a name":        b.JSON("POST", "/api/v1/session", map[string]any{"username": "a\x00b", "password": "x"}),
		"in a query":       b.Get("/api/v1/evidence?q=%00"),
		"no text":          b.Get("/api/v1/evidence?q=%ff%fe"),
		"in a place":       b.Get("/api/v1/evidence/%00"),
		"no text in place": b.Get("/api/v1/cases/%ff"),
		"in a case": b.JSON("POST", "/api/v1/cases", map[string]any{"township": testcounty.Donghe, "power_item": testcounty.Item, "title": "案\x00件的标题",
			"officers": c.Officers[testcounty.Donghe]}),
	} {
		if a.Status >= 500 || (a.Status < 400 && what != "no text") { // a search finds nothing
			t.Errorf("NUL %s: %d %s", what, a.Status, a.Body)
		}
	}
}

// Requests are small: one that is larger than any can be is refused while it is read. Only a station may send a batch of manifests.
func TestBodiesThatAreTooLarge(t *testing.T) {
	c := testcounty.New(t)
	for _, x := range []struct {
		path      string
		size      int64
		announced bool
		token     string
		status    int
	}{
		{"/api/v1/session", 1<<20 + 1, true, "", 413},
		{"/api/v1/session", 1 << 40, false, "", 413},
		{"/api/v1/session", 1 << 20, true, "", 400}, // nothing but spaces
		{"/api/v1/manifests", 12<<20 + 1, true, c.Token(), 413},
		{"/api/v1/manifests", 1 << 40, false, c.Token(), 413},
		{"/api/v1/manifests", 12 << 20, true, c.Token(), 400},
		{"/api/v1/manifests", 1 << 40, false, "", 401},
		{"/api/v1/cases", 1 << 40, false, "", 401},
	} {
		body := &counting{Reader: io.LimitReader(spaces{}, x.size)}
		r := httptest.NewRequest("POST", x.path, body)
		r.ContentLength = -1
		if x.announced {
			r.ContentLength = x.size
		}
		r.Header.Set("Content-Type", "application/json")
		if x.token != "" {
			r.Header.Set("Authorization", "Bearer "+x.token)
		}
		w := httptest.NewRecorder()
		c.Handler.ServeHTTP(w, r)
		refusal(t, fmt.Sprintf("%d bytes to %s", x.size, x.path), testcounty.Answer{Status: w.Code, Header: w.Header(), Body: w.Body.Bytes()}, x.status)
		if x.status == 401 && body.n > 0 {
			t.Errorf("%s: %d bytes read of nobody", x.path, body.n)
		}
	}
}

type counting struct {
	io.Reader
	n int64
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	return n, err
}

type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func cookieOf(t testing.TB, a testcounty.Answer) *http.Cookie {
	t.Helper()
	for _, line := range a.Header.Values("Set-Cookie") {
		k, err := http.ParseSetCookie(line)
		must(t, err)
		if k.Name == "zz_session" {
			return k
		}
	}
	t.Fatalf("no session cookie in %v", a.Header)
	return nil
}

// The session's cookie: out of reach of scripts and other sites, new at each sign-in, worthless once signed out.
func TestSessionCookie(t *testing.T) {
	c := testcounty.New(t)
	c.User("li", "officer", testcounty.Donghe)
	signIn := map[string]any{"username": "li", "password": testcounty.Password}
	planted := "planted-by-somebody-who-wants-in-00000000000"
	j, err := json.Marshal(signIn)
	must(t, err)
	a := c.Browser().Do("POST", "/api/v1/session", bytes.NewReader(j), "Content-Type", "application/json", "Cookie", "zz_session="+planted)
	k := cookieOf(t, a)
	if k.Value == planted || len(k.Value) < 32 || !k.HttpOnly || k.SameSite != http.SameSiteLaxMode || k.Path != "/" || k.Domain != "" || k.Secure {
		t.Fatalf("cookie %+v", k)
	}
	if bytes.Contains(a.Body, []byte(k.Value)) {
		t.Error("the answer tells the token to scripts")
	}
	var kept int
	must(t, c.Pool.QueryRow(t.Context(), `select count(*) from sessions where token = $1`, k.Value).Scan(&kept))
	if kept != 0 {
		t.Error("the database holds the token itself")
	}
	asking := func(token string) int {
		return c.Browser().Get("/api/v1/session", "Cookie", "zz_session="+token).Status
	}
	if asking(k.Value) != http.StatusOK || asking(planted) != http.StatusUnauthorized || asking(k.Value+"x") != http.StatusUnauthorized || asking("") != http.StatusUnauthorized {
		t.Fatal("which tokens are sessions")
	}
	// Signing in again from inside a session gives another token, and the first is no longer one.
	again := cookieOf(t, c.Browser().Do("POST", "/api/v1/session", bytes.NewReader(j), "Content-Type", "application/json", "Cookie", "zz_session="+k.Value))
	if again.Value == k.Value || asking(k.Value) != http.StatusUnauthorized || asking(again.Value) != http.StatusOK {
		t.Error("a session's token outlives the next sign-in")
	}
	out := c.Browser().Do("DELETE", "/api/v1/session", nil, "Cookie", "zz_session="+again.Value)
	if gone := cookieOf(t, out); out.Status != http.StatusNoContent || gone.MaxAge >= 0 || gone.Value != "" {
		t.Errorf("signed out: %d %+v", out.Status, gone)
	}
	if asking(again.Value) != http.StatusUnauthorized {
		t.Error("signed out, and the token still opens")
	}
	secure := testcounty.New(t, func(d *api.Deps) {
		d.SecureCookies, d.Authority = true, authority.New(d.Pool, d.Log, authority.Options{Secure: true})
	})
	secure.User("li", "officer", testcounty.Donghe)
	a = secure.Browser().JSON("POST", "/api/v1/session", signIn)
	if k := cookieOf(t, a); !k.Secure || a.Header.Get("Strict-Transport-Security") == "" {
		t.Errorf("over HTTPS: %+v %v", k, a.Header)
	}
}

// Guessing passwords is slowed down with a problem that says how long; the right password isn't told from a wrong one meanwhile.
func TestGuessingIsSlowedDown(t *testing.T) {
	c := testcounty.New(t)
	c.User("li", "officer", testcounty.Donghe)
	b := c.Browser()
	var unknown, wrong problem
	must(t, json.Unmarshal(b.JSON("POST", "/api/v1/session", map[string]any{"username": "nobody-there", "password": "guess guess guess"}).Body, &unknown))
	must(t, json.Unmarshal(b.JSON("POST", "/api/v1/session", map[string]any{"username": "li", "password": "guess guess guess"}).Body, &wrong))
	if unknown.Detail != wrong.Detail || unknown.Status != wrong.Status {
		t.Errorf("%+v tells from %+v who has an account", unknown, wrong)
	}
	for i := 0; ; i++ {
		a := b.JSON("POST", "/api/v1/session", map[string]any{"username": "LI ", "password": fmt.Sprint("guess ", i)})
		if a.Status == http.StatusUnauthorized && i < 20 {
			continue
		}
		if p := refusal(t, "many guesses", a, http.StatusTooManyRequests); p.RetryAfter == nil || a.Header.Get("Retry-After") != fmt.Sprint(*p.RetryAfter) {
			t.Errorf("%+v %v", p, a.Header)
		}
		break
	}
	refusal(t, "the right one", b.JSON("POST", "/api/v1/session", map[string]any{"username": "li", "password": testcounty.Password}), http.StatusTooManyRequests)
}

// An inner error is told as a number to ask for, never as what it is.
func TestInnerErrorsStayInside(t *testing.T) {
	c := testcounty.New(t)
	c.User("li", "officer", testcounty.Donghe)
	b := c.SignedIn("li")
	if _, err := c.Owner().Exec(t.Context(), `alter table evidence rename column file_name to secret_column`); err != nil {
		t.Fatal(err)
	}
	a := b.Get("/api/v1/evidence")
	p := refusal(t, "list", a, http.StatusInternalServerError)
	if bytes.Contains(a.Body, []byte("column")) || bytes.Contains(a.Body, []byte("SQLSTATE")) || !strings.Contains(p.Detail, a.Header.Get("X-Request-Id")) || p.Instance != a.Header.Get("X-Request-Id") {
		t.Errorf("%s", a.Body)
	}
	if _, err := b.HTTP.Get(c.URL + "/healthz"); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}
