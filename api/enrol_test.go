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

func readCertificate(t testing.TB, text string) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode([]byte(strings.TrimSpace(text)))
	cert, err := x509.ParseCertificate(block.Bytes)
	must(t, err)
	return cert
}
