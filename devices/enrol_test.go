package devices_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"zhizheng/authority"
	"zhizheng/devices"
	"zhizheng/evidence/chain"
	"zhizheng/internal/fault"
	"zhizheng/internal/testenv"
)

// A device types its code, gets a certificate for the key it made, and reports with it; its id comes from the code, whatever it asks for.
func TestEnrolByCode(t *testing.T) {
	e := newEnv(t)
	e.turn(time.Now()) // TLS has no other clock
	b := e.broker()
	id, token := e.device(donghe)
	code, err := e.svc.EnrolmentCode(e.as(), id)
	if err != nil || len(code.Code) != 14 {
		t.Fatalf("%+v, %v", code, err)
	}
	if n := e.count(`select count(*) from device_enrolment where position(convert_to($1, 'UTF8') in code_hash) > 0`, code.Code); n != 0 {
		t.Fatal("the code is kept as it is")
	}
	key, request := newKey(t)
	typed := strings.ToLower(strings.ReplaceAll(strings.ReplaceAll(code.Code, "-", " "), "0", "o"))
	got, err := e.svc.Enrol(t.Context(), typed, request)
	if err != nil || got.Device != id {
		t.Fatalf("%+v, %v", got, err)
	}
	cert := pair(t, got, key)
	if cert.Leaf.Subject.CommonName != id || cert.Leaf.NotAfter.Sub(*e.now.Load()) > 31*24*time.Hour {
		t.Fatalf("certificate of %q until %s", cert.Leaf.Subject.CommonName, cert.Leaf.NotAfter)
	}
	p := dialWith(t, b.URL(), b.CAFile(), id, cert).connect()
	p.sends("hb", heartbeat(1, 1, *e.now.Load(), 80))
	if n := e.stored(id); n != 1 {
		t.Fatalf("%d messages", n)
	}
	// What it was known by before has ended.
	if err := dialAs(t, b.URL(), b.CAFile(), id, token).tryConnect(); err == nil || errors.Is(err, errNoAnswer) {
		t.Errorf("let in by its old token: %v", err)
	}
	// The answer got lost: the same key gets the same certificate. Another key gets nothing.
	again, err := e.svc.Enrol(t.Context(), code.Code, requestOf(t, key))
	if err != nil || again.Certificate != got.Certificate {
		t.Errorf("again: %v, the same certificate: %v", err, again.Certificate == got.Certificate)
	}
	_, other := newKey(t)
	if _, err := e.svc.Enrol(t.Context(), code.Code, other); !fault.Is(err, fault.KindUnauthorized) {
		t.Errorf("a second key by one code: %v", err)
	}
	e.wantLeaf("device-certificate/"+cert.Leaf.SerialNumber.Text(16), chain.KindKeyEnrolled, id)
}

// wantLeaf wants one leaf of that key about the device.
func (e *env) wantLeaf(key string, kind chain.Kind, device string) {
	e.t.Helper()
	var leaf, payload []byte
	if err := e.pool.QueryRow(e.t.Context(), `select e.bytes, p.payload from log_entry e join log_payload p on p.seq = e.seq where e.key = $1`, key).Scan(&leaf, &payload); err != nil {
		e.t.Fatalf("leaf %s: %v", key, err)
	}
	l, err := chain.DecodeLeaf(leaf)
	if said := chain.Describe(kind, payload, true); err != nil || l.Kind != kind || !strings.Contains(said, device) {
		e.t.Errorf("leaf %s: kind %d, %s, %v", key, l.Kind, said, err)
	}
}

// Codes that let nobody in: a wrong one, an expired one, one that a newer replaced, one of a lost device. Many at once use a code once.
func TestCodesThatDontCount(t *testing.T) {
	e := newEnv(t)
	id, _ := e.device(donghe)
	old, err := e.svc.EnrolmentCode(e.as(), id)
	if err != nil {
		t.Fatal(err)
	}
	code, err := e.svc.EnrolmentCode(e.as(), id)
	if err != nil {
		t.Fatal(err)
	}
	lost, _ := e.device(donghe)
	lostCode, err := e.svc.EnrolmentCode(e.as(), lost)
	if err != nil {
		t.Fatal(err)
	}
	e.exec(`update device set status = 'lost' where id = $1`, lost)
	if _, err := e.svc.EnrolmentCode(e.as(), lost); !fault.Is(err, fault.KindConflict) {
		t.Errorf("a code for a lost device: %v", err)
	}
	elsewhere := authority.WithActor(t.Context(), authority.Actor{UserID: "u", Role: "manager", Townships: []string{jiachuan}})
	if _, err := e.svc.EnrolmentCode(elsewhere, id); !fault.Is(err, fault.KindNotFound) {
		t.Errorf("a code for another township's device: %v", err)
	}
	_, request := newKey(t)
	for name, c := range map[string]string{"wrong": "0000-0000-0000", "empty": "", "replaced": old.Code, "of a lost device": lostCode.Code} {
		if _, err := e.svc.Enrol(t.Context(), c, request); !fault.Is(err, fault.KindUnauthorized) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, r := range map[string]string{"no request": "hello", "damaged": damaged(request), "a short RSA key": shortRSA(t)} {
		if _, err := e.svc.Enrol(t.Context(), code.Code, r); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var wg sync.WaitGroup
	results := make(chan error, 8)
	for range cap(results) {
		_, r := newKey(t)
		wg.Go(func() {
			_, err := e.svc.Enrol(context.Background(), code.Code, r)
			results <- err
		})
	}
	wg.Wait()
	close(results)
	let := 0
	for err := range results {
		if err == nil {
			let++
		} else if !fault.Is(err, fault.KindUnauthorized) {
			t.Error(err)
		}
	}
	if n := e.count(`select count(*) from device_certificate where device_id = $1`, id); let != 1 || n != 1 {
		t.Fatalf("%d let in, %d certificates", let, n)
	}
	late, err := e.svc.EnrolmentCode(e.as(), id)
	if err != nil {
		t.Fatal(err)
	}
	e.turn(late.Expires.Add(time.Second))
	if _, err := e.svc.Enrol(t.Context(), late.Code, request); !fault.Is(err, fault.KindUnauthorized) {
		t.Errorf("expired: %v", err)
	}
}

func damaged(request string) string {
	block, _ := pem.Decode([]byte(request))
	block.Bytes[len(block.Bytes)-5] ^= 1 // in the signature
	return string(pem.EncodeToMemory(block))
}

func shortRSA(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// Renewal by the key alone, as often as it likes and at most one new certificate a day; not after the end, and not for another key.
func TestRenew(t *testing.T) {
	e := newEnv(t)
	e.turn(time.Now().Add(-21 * 24 * time.Hour))
	b := e.broker()
	id, _ := e.device(donghe)
	code, err := e.svc.EnrolmentCode(e.as(), id)
	if err != nil {
		t.Fatal(err)
	}
	key, request := newKey(t)
	first, err := e.svc.Enrol(t.Context(), code.Code, request)
	if err != nil {
		t.Fatal(err)
	}
	same, err := e.svc.Renew(t.Context(), requestOf(t, key))
	if err != nil || same.Certificate != first.Certificate {
		t.Fatalf("on the same day: %v", err)
	}
	_, stranger := newKey(t)
	if _, err := e.svc.Renew(t.Context(), stranger); !fault.Is(err, fault.KindUnauthorized) {
		t.Errorf("a stranger's key: %v", err)
	}
	e.turn(time.Now())
	next, err := e.svc.Renew(t.Context(), requestOf(t, key))
	if err != nil || next.Certificate == first.Certificate || !next.Expires.After(first.Expires) {
		t.Fatalf("renewal: %+v, %v", next, err)
	}
	for _, i := range []devices.Identity{first, next} { // both, each in its time: an answer that got lost ends nothing
		dialWith(t, b.URL(), b.CAFile(), id, pair(t, i, key)).connect().c.Disconnect(100)
	}
	e.turn(next.Expires.Add(time.Second))
	if _, err := e.svc.Renew(t.Context(), requestOf(t, key)); !fault.Is(err, fault.KindUnauthorized) {
		t.Errorf("after its end: %v", err)
	}
}

// Revocation cuts a live connection at once, refuses the next, and is in the list for other brokers; a new code lets the device in again.
func TestRevocationCutsOff(t *testing.T) {
	e := newEnv(t)
	e.turn(time.Now()) // TLS has no other clock
	b := e.broker()
	id, _ := e.device(donghe)
	other, _ := e.device(donghe)
	cert, otherCert := e.enrolled(id), e.enrolled(other)
	p := dialWith(t, b.URL(), b.CAFile(), id, cert).connect()
	neighbour := dialWith(t, b.URL(), b.CAFile(), other, otherCert).connect()
	p.sends("hb", heartbeat(1, 1, *e.now.Load(), 80))
	begun := time.Now()
	if err := e.svc.Revoke(e.as(), id, "遗失"); err != nil {
		t.Fatal(err)
	}
	<-p.lost
	if d := time.Since(begun); d > 2*time.Second { // before the next look of its own
		t.Errorf("cut off after %s", d)
	}
	if err := dialWith(t, b.URL(), b.CAFile(), id, cert).tryConnect(); err == nil || errors.Is(err, errNoAnswer) {
		t.Errorf("let in after its revocation: %v", err)
	}
	serial := cert.Leaf.SerialNumber
	e.wantLeaf("device-certificate-revoked/"+serial.Text(16), chain.KindKeyRevoked, id)
	testenv.Eventually(t, soon, func() bool { return len(e.revokedInFile()) == 1 })
	if got := e.revokedInFile()[0].SerialNumber; got.Cmp(serial) != 0 {
		t.Errorf("%x is revoked, not %x", got, serial)
	}
	neighbour.sends("hb", heartbeat(1, 1, *e.now.Load(), 80)) // it isn't disturbed
	dialWith(t, b.URL(), b.CAFile(), id, e.enrolled(id)).connect()

	// By another process, or by the device's status: the next look finds it.
	e.exec(`update device set status = 'lost' where id = $1`, other)
	<-neighbour.lost
}

func (e *env) revokedInFile() []x509.RevocationListEntry {
	e.t.Helper()
	b, err := os.ReadFile(filepath.Join(e.dir, "mqtt", "crl.pem"))
	if err != nil {
		return nil // not written yet
	}
	block, _ := pem.Decode(b)
	list, err := x509.ParseRevocationList(block.Bytes)
	if err != nil {
		e.t.Fatal(err)
	}
	caPEM, _ := pem.Decode([]byte(e.svc.Trusted()))
	authority, err := x509.ParseCertificate(caPEM.Bytes)
	if err != nil {
		e.t.Fatal(err)
	}
	if err := list.CheckSignatureFrom(authority); err != nil {
		e.t.Fatal(err)
	}
	return list.RevokedCertificateEntries
}

// Certificates that don't count: of another authority, an expired one, one under another's name, the server's own.
func TestCertificatesThatDontCount(t *testing.T) {
	e := newEnv(t)
	e.turn(time.Now()) // TLS has no other clock
	b := e.broker()
	id, _ := e.device(donghe)
	other, otherToken := e.device(donghe)
	cert := e.enrolled(id)
	for name, p := range map[string]*peer{
		"another authority's":    dialWith(t, b.URL(), b.CAFile(), id, selfSigned(t, id)),
		"another's client id":    dialWith(t, b.URL(), b.CAFile(), other, cert),
		"another's user name":    dialWith(t, b.URL(), b.CAFile(), id, cert, func(o *mqtt.ClientOptions) { o.SetUsername(other).SetPassword(otherToken) }),
		"another's will":         dialWith(t, b.URL(), b.CAFile(), id, cert, func(o *mqtt.ClientOptions) { o.WillTopic = devices.UpTopic(other, "conn") }),
		"another with his token": dialWith(t, b.URL(), b.CAFile(), other, cert, func(o *mqtt.ClientOptions) { o.SetUsername(other).SetPassword(otherToken) }),
	} {
		if err := p.tryConnect(); err == nil || errors.Is(err, errNoAnswer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	e.turn(e.now.Load().Add(-40 * 24 * time.Hour)) // what is issued now ended ten days ago
	old := e.enrolled(other)
	e.turn(e.now.Load().Add(40 * 24 * time.Hour))
	if err := dialWith(t, b.URL(), b.CAFile(), other, old).tryConnect(); err == nil || errors.Is(err, errNoAnswer) {
		t.Errorf("expired: %v", err)
	}
	dialWith(t, b.URL(), b.CAFile(), id, cert, func(o *mqtt.ClientOptions) { o.SetUsername(id) }).connect() // a name that agrees is no harm
}

func selfSigned(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A token is for a device without a certificate: it lets it in, and ends when the device enrols.
func TestTokenBesideCertificate(t *testing.T) {
	e := newEnv(t)
	b := e.broker()
	id, _ := e.device(donghe)
	_, token, err := e.svc.Token(e.as(), id)
	if err != nil {
		t.Fatal(err)
	}
	dialAs(t, b.URL(), b.CAFile(), id, token).connect()
	e.enrolled(id)
	if err := dialAs(t, b.URL(), b.CAFile(), id, token).tryConnect(); err == nil {
		t.Error("the token lets in beside the certificate")
	}
	if _, _, err := e.svc.Token(e.as(), id); !fault.Is(err, fault.KindConflict) {
		t.Errorf("a token beside a certificate: %v", err)
	}
	if err := e.svc.Revoke(e.as(), id, "换机"); err != nil {
		t.Fatal(err)
	}
	if _, token, err = e.svc.Token(e.as(), id); err != nil {
		t.Fatal(err)
	}
	dialAs(t, b.URL(), b.CAFile(), id, token).connect()
	e.exec(`update device set status = 'lost' where id = $1`, id)
	if _, _, err := e.svc.Token(e.as(), id); !fault.Is(err, fault.KindConflict) {
		t.Errorf("a token for a lost device: %v", err)
	}
}
