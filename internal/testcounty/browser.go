package testcounty

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"testing"

	"zhizheng/authority"
)

// Browser keeps cookies, as a person's does. Header is sent with each request.
type Browser struct {
	t      testing.TB
	url    string
	HTTP   http.Client
	Header http.Header
}

// Answer is a response, read.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// User makes an account.
func (c *County) User(username, role string, townships ...string) {
	c.t.Helper()
	if len(townships) == 0 {
		townships = nil
	}
	_, err := c.Auth.CreateUser(c.t.Context(), authority.NewUser{Username: username, Name: username, Role: role, Townships: townships, Password: Password})
	c.must(err)
}

// Browser is a new one, without a session.
func (c *County) Browser() *Browser {
	c.t.Helper()
	jar, err := cookiejar.New(nil)
	c.must(err)
	return &Browser{t: c.t, url: c.URL, HTTP: http.Client{Jar: jar}, Header: http.Header{}}
}

// SignedIn is the browser of somebody who has an account.
func (c *County) SignedIn(username string) *Browser {
	c.t.Helper()
	b := c.Browser()
	if a := b.JSON("POST", "/api/v1/session", map[string]any{"username": username, "password": Password}); a.Status != http.StatusOK {
		c.t.Fatalf("sign in %s: %d %s", username, a.Status, a.Body)
	}
	return b
}

// Do sends a request. header holds pairs that go with this one only.
func (b *Browser) Do(method, path string, body io.Reader, header ...string) Answer {
	b.t.Helper()
	r, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, body)
	b.must(err)
	for k, v := range b.Header {
		r.Header[k] = v
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := b.HTTP.Do(r)
	b.must(err)
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	b.must(err)
	return Answer{res.StatusCode, res.Header, raw}
}

// JSON sends a document.
func (b *Browser) JSON(method, path string, in any) Answer {
	b.t.Helper()
	j, err := json.Marshal(in)
	b.must(err)
	return b.Do(method, path, bytes.NewReader(j), "Content-Type", "application/json")
}

// Get reads a page.
func (b *Browser) Get(path string, header ...string) Answer {
	b.t.Helper()
	return b.Do(http.MethodGet, path, nil, header...)
}

func (b *Browser) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}
