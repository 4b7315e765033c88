package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"zhizheng/api"
	"zhizheng/devices"
	"zhizheng/internal/testcounty"
)

func certificateRequest(t testing.TB, key *ecdsa.PrivateKey) string {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	must(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// A manager asks for a code, the device enrols with it and renews, the manager revokes it: renewal is refused, and the list names it.
// Guesses are limited by address.
func TestDeviceEnrolsOverHTTP(t *testing.T) {
	c := testcounty.New(t, func(d *api.Deps) { d.Broker = "mqtts://broker.example:8883" })
	d := []devices.Device{{Serial: "BWC-1", Kind: devices.Recorder, Name: "n", Model: "m", Township: testcounty.Donghe}}
	must(t, c.Devices.Register(t.Context(), d))
	c.User("he", "manager")
	c.User("wu", "manager", testcounty.Jiachuan)
	he, nobody := c.SignedIn("he"), c.Browser()
	at := "/api/v1/devices/" + d[0].ID
	refusal(t, "another township's manager", c.SignedIn("wu").JSON("POST", at+"/enrolment-code", nil), http.StatusNotFound)
	a := he.JSON("POST", at+"/enrolment-code", nil)
	var code struct{ Code string }
	if err := json.Unmarshal(a.Body, &code); err != nil || a.Status != http.StatusCreated {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	a = nobody.JSON("POST", "/api/v1/enrol", map[string]any{"code": code.Code, "csr": certificateRequest(t, key)})
	var got struct{ Device, Certificate, CA, Broker string }
	if err := json.Unmarshal(a.Body, &got); err != nil || a.Status != http.StatusOK || got.Device != d[0].ID || got.Broker != "mqtts://broker.example:8883" {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	cert, trusted := readCertificate(t, got.Certificate), readCertificate(t, got.CA)
	if err := cert.CheckSignatureFrom(trusted); err != nil || cert.Subject.CommonName != d[0].ID || !key.PublicKey.Equal(cert.PublicKey) {
		t.Fatalf("%v, of %s", err, cert.Subject)
	}
	if a := nobody.JSON("POST", "/api/v1/enrol/renew", map[string]any{"csr": certificateRequest(t, key)}); a.Status != http.StatusOK {
		t.Errorf("renew: %d %s", a.Status, a.Body)
	}
	if a := he.JSON("POST", at+"/revoke", map[string]any{"reason": "遗失"}); a.Status != http.StatusNoContent {
		t.Fatalf("revoke: %d %s", a.Status, a.Body)
	}
	refusal(t, "renewal of a revoked key", nobody.JSON("POST", "/api/v1/enrol/renew", map[string]any{"csr": certificateRequest(t, key)}), http.StatusUnauthorized)
	block, _ := pem.Decode(nobody.Get("/api/v1/enrol/crl.pem").Body)
	list, err := x509.ParseRevocationList(block.Bytes)
	must(t, err)
	if len(list.RevokedCertificateEntries) != 1 || list.RevokedCertificateEntries[0].SerialNumber.Cmp(cert.SerialNumber) != 0 {
		t.Errorf("revoked: %v", list.RevokedCertificateEntries)
	}
	guess := map[string]any{"code": "0000-0000-0000", "csr": certificateRequest(t, key)}
	status := 0
	for range 45 {
		if status = nobody.JSON("POST", "/api/v1/enrol", guess).Status; status != http.StatusUnauthorized {
			break
		}
	}
	if status != http.StatusTooManyRequests {
		t.Errorf("guesses end with %d", status)
	}
}

// A code lets in one key, until it expires, a newer one is made or the device is revoked; the answers are as published.
func TestEnrolmentCodesThatDoNotCount(t *testing.T) {
	c := testcounty.New(t)
	d := []devices.Device{{Serial: "BWC-1", Kind: devices.Recorder, Name: "n", Model: "m", Township: testcounty.Donghe}}
	must(t, c.Devices.Register(t.Context(), d))
	c.User("he", "manager")
	c.User("li", "officer")
	he, nobody := c.SignedIn("he"), c.Browser()
	at := "/api/v1/devices/" + d[0].ID
	code := func() string {
		t.Helper()
		a := he.JSON("POST", at+"/enrolment-code", nil)
		var got struct{ Code string }
		if err := json.Unmarshal(a.Body, &got); err != nil || a.Status != http.StatusCreated {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
		return got.Code
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	enrol := func(code string, key *ecdsa.PrivateKey) testcounty.Answer {
		t.Helper()
		body := map[string]any{"code": code, "csr": certificateRequest(t, key)}
		asPublished(t, nobody, "enrol.json", body)
		return nobody.JSON("POST", "/api/v1/enrol", body)
	}

	late := code()
	_, err = c.Pool.Exec(t.Context(), `update device_enrolment set expires_at = now() - interval '1 second'`)
	must(t, err)
	refusal(t, "an expired code", enrol(late, key), http.StatusUnauthorized)
	old := code()
	good := code()
	refusal(t, "the code before", enrol(old, key), http.StatusUnauthorized)
	first := enrol(strings.ToLower(strings.ReplaceAll(good, "-", " ")), key)
	if first.Status != http.StatusOK {
		t.Fatalf("%d %s", first.Status, first.Body)
	}
	var identity map[string]any
	must(t, json.Unmarshal(first.Body, &identity))
	asPublished(t, nobody, "identity.json", identity)
	refusal(t, "another key with a used code", enrol(good, other), http.StatusUnauthorized)
	var again map[string]any
	if a := enrol(good, key); a.Status != http.StatusOK || json.Unmarshal(a.Body, &again) != nil || again["certificate"] != identity["certificate"] {
		t.Errorf("the same key again: %d %s", a.Status, a.Body)
	}
	type access struct {
		Until   *string `json:"certificate_until"`
		Revoked *string `json:"revoked_at"`
		Why     string  `json:"revoke_reason"`
		Code    *string `json:"code_until"`
		Token   bool
	}
	look := func() access {
		var v struct{ Access access }
		must(t, json.Unmarshal(he.Get(at).Body, &v))
		return v.Access
	}
	if a := look(); a.Until == nil || a.Revoked != nil || a.Code != nil || a.Token {
		t.Errorf("enrolled: %+v", a)
	}
	open := code()
	if a := look(); a.Code == nil {
		t.Errorf("with an open code: %+v", a)
	}
	refusal(t, "no reason", he.JSON("POST", at+"/revoke", map[string]any{"reason": ""}), http.StatusBadRequest)
	if a := he.JSON("POST", at+"/revoke", map[string]any{"reason": "遗失"}); a.Status != http.StatusNoContent {
		t.Fatalf("revoke: %d %s", a.Status, a.Body)
	}
	if a := look(); a.Revoked == nil || a.Why != "遗失" || a.Code != nil {
		t.Errorf("revoked: %+v", a)
	}
	refusal(t, "an open code of a revoked device", enrol(open, other), http.StatusUnauthorized)
	refusal(t, "a used code of a revoked device", enrol(good, key), http.StatusUnauthorized)
	refusal(t, "no request", nobody.JSON("POST", "/api/v1/enrol", map[string]any{"code": open, "csr": strings.Repeat("x", 200)}), http.StatusBadRequest)
	for _, act := range []string{"/enrolment-code", "/revoke"} {
		refusal(t, "an officer", c.SignedIn("li").JSON("POST", at+act, map[string]any{"reason": "遗失"}), http.StatusForbidden)
		refusal(t, "nobody", nobody.JSON("POST", at+act, map[string]any{"reason": "遗失"}), http.StatusUnauthorized)
	}
	_, err = c.Pool.Exec(t.Context(), `update device set status = 'lost'`)
	must(t, err)
	refusal(t, "a lost device", he.JSON("POST", at+"/enrolment-code", nil), http.StatusConflict)
	refusal(t, "no such schema", nobody.Get("/schemas/device/v1/nothing.json"), http.StatusNotFound)
}

// asPublished holds a document against the schema at its public address.
func asPublished(t testing.TB, b *testcounty.Browser, file string, v any) {
	t.Helper()
	a := b.Get("/schemas/device/v1/" + file)
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(string(a.Body)))
	if err != nil || a.Header.Get("Content-Type") != "application/schema+json" {
		t.Fatalf("%d %v: %v", a.Status, a.Header, err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	must(t, c.AddResource("https://county.example/"+file, doc))
	s, err := c.Compile("https://county.example/" + file)
	must(t, err)
	if err := s.Validate(v); err != nil {
		t.Errorf("%s: %v", file, err)
	}
}

// A manager gives commands to devices he sees, others read them at most; what can't be meant is refused before anything is written.
func TestCommandsOverHTTP(t *testing.T) {
	c := testcounty.New(t)
	d := []devices.Device{{Serial: "BWC-1", Kind: devices.Recorder, Name: "n", Model: "m", Township: testcounty.Donghe}}
	must(t, c.Devices.Register(t.Context(), d))
	c.User("he", "manager", testcounty.Donghe)
	c.User("wu", "manager", testcounty.Jiachuan)
	c.User("li", "officer", testcounty.Donghe)
	c.User("an", "archivist")
	he, wu, li := c.SignedIn("he"), c.SignedIn("wu"), c.SignedIn("li")
	at := "/api/v1/devices/BWC-1/commands" // by serial as well
	lock := map[string]any{"command": "lock", "reason": "遗失待查"}
	refusal(t, "another township's manager", wu.JSON("POST", at, lock), http.StatusNotFound)
	refusal(t, "another township's manager", wu.Get(at), http.StatusNotFound)
	refusal(t, "an officer", li.JSON("POST", at, lock), http.StatusForbidden)
	refusal(t, "an archivist", c.SignedIn("an").Get(at), http.StatusForbidden)
	refusal(t, "nobody", c.Browser().Get(at), http.StatusUnauthorized)
	for what, body := range map[string]map[string]any{
		"no reason": {"command": "lock"}, "short reason": {"command": "lock", "reason": "x"}, "unknown": {"command": "explode", "reason": "盘点"},
		"config without": {"command": "config", "reason": "盘点"}, "lock with": {"command": "lock", "reason": "盘点", "args": map[string]any{"a": 1}},
		"args no object": {"command": "config", "reason": "盘点", "args": []int{1}}, "args too long": {"command": "config", "reason": "盘点", "args": map[string]any{"a": strings.Repeat("x", 5000)}},
		"no time": {"command": "lock", "reason": "盘点", "minutes": 0}, "for ever": {"command": "lock", "reason": "盘点", "minutes": 43201}} {
		refusal(t, what, he.JSON("POST", at, body), http.StatusBadRequest)
	}
	type command struct {
		ID                            int64
		Command, Reason, State, Given string
		By                            string    `json:"given_by"`
		At                            time.Time `json:"given_at"`
		Expires                       time.Time `json:"expires_at"`
	}
	list := func(b *testcounty.Browser) []command {
		t.Helper()
		var v struct{ Items []command }
		a := b.Get(at)
		if err := json.Unmarshal(a.Body, &v); err != nil || a.Status != http.StatusOK || v.Items == nil {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
		return v.Items
	}
	if all := list(he); len(all) != 0 {
		t.Fatalf("%+v", all)
	}
	give := func(body map[string]any) (v command) {
		t.Helper()
		a := he.JSON("POST", at, body)
		if err := json.Unmarshal(a.Body, &v); err != nil || a.Status != http.StatusCreated {
			t.Fatalf("%d %s", a.Status, a.Body)
		}
		return v
	}
	first := give(lock)
	second := give(map[string]any{"command": "config", "reason": "盘点", "minutes": 5, "args": map[string]any{"bitrate": 4000}})
	if first.State != "waiting" || first.By == "" || first.Expires.Sub(first.At) != 24*time.Hour || second.Expires.Sub(second.At) != 5*time.Minute || second.ID <= first.ID {
		t.Errorf("%+v, %+v", first, second)
	}
	if all := list(li); len(all) != 2 || all[0].ID != second.ID || all[1].Reason != "遗失待查" {
		t.Errorf("%+v", all)
	}
}

func readCertificate(t testing.TB, text string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(strings.TrimSpace(text)))
	cert, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	return cert
}
