// Package stamptest gives tests a real time-stamp authority: openssl's, a process for each answer, behind a small HTTP server. It never
// ships in a command.
package stamptest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// Options of New; the zero value is an authority as RFC 3161 wants it.
type Options struct {
	NotBefore, NotAfter time.Time        // of its certificate
	Uses                []pkix.Extension // instead of the critical extended key usage
	Digest              string           // of its signatures; sha256 if ""
	ESS                 string           // hash of the signing-certificate attribute; sha256 if ""
	Intermediate        bool             // its certificate is issued by one between it and the root
}

// Authority answers at URL.
type Authority struct {
	URL      string
	RootsPEM []byte
	Roots    *x509.CertPool
	Cert     *x509.Certificate
	Key      *ecdsa.PrivateKey
	Chain    []*x509.Certificate // issuers that go into tokens

	dir    string
	mu     sync.Mutex
	answer http.HandlerFunc
	asked  int
}

var serial = big.NewInt(time.Now().UnixNano())

// TimeStamping is the usage of RFC 3161 §2.3.
func TimeStamping(critical bool, more ...asn1.ObjectIdentifier) pkix.Extension {
	v, err := asn1.Marshal(append([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}}, more...))
	if err != nil {
		panic(err) // constants
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: critical, Value: v}
}

// New makes a root, a certificate and a server that lives as long as the test.
func New(t testing.TB, o Options) *Authority {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Fatalf("openssl is needed (deploy/setup test installs it): %v", err)
	}
	a := &Authority{dir: t.TempDir(), Roots: x509.NewCertPool()}
	now := time.Now()
	if o.NotBefore.IsZero() {
		o.NotBefore = now.Add(-time.Hour)
	}
	if o.NotAfter.IsZero() {
		o.NotAfter = now.Add(time.Hour)
	}
	if o.Uses == nil {
		o.Uses = []pkix.Extension{TimeStamping(true)}
	}
	ca := &x509.Certificate{Subject: pkix.Name{CommonName: "Test Root", Organization: []string{"Test"}}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.AddDate(-20, 0, 0), NotAfter: now.AddDate(20, 0, 0), KeyUsage: x509.KeyUsageCertSign}
	root, rootKey := certificate(t, ca, nil, nil)
	a.Roots.AddCert(root)
	a.RootsPEM = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})
	issuer, issuerKey := root, rootKey
	if o.Intermediate {
		between := *ca
		between.Subject.CommonName = "Test Issuer"
		issuer, issuerKey = certificate(t, &between, root, rootKey)
		a.Chain = []*x509.Certificate{issuer, root}
	}
	a.Cert, a.Key = certificate(t, &x509.Certificate{Subject: pkix.Name{CommonName: "Test TSA", Organization: []string{"Test"}}, NotBefore: o.NotBefore, NotAfter: o.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtraExtensions: o.Uses}, issuer, issuerKey)
	a.configure(t, o)
	s := httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(s.Close)
	a.URL = s.URL
	return a
}

func certificate(t testing.TB, c, parent *x509.Certificate, parentKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if parent == nil {
		parent, parentKey = c, key
	}
	n, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber = n.Add(n, serial)
	b, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), parentKey)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(b)
	if err != nil {
		t.Fatal(err)
	}
	return out, key
}

func (a *Authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *Authority) configure(t testing.TB, o Options) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(a.Key)
	if err != nil {
		t.Fatal(err)
	}
	var chain []byte
	for _, c := range a.Chain {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	digest, ess, certs := o.Digest, o.ESS, ""
	if digest == "" {
		digest = "sha256"
	}
	if ess == "" {
		ess = "sha256"
	}
	if chain != nil {
		certs = "certs = " + a.path("chain.pem") + "\n"
	}
	for name, b := range map[string][]byte{
		"root.pem": a.RootsPEM, "chain.pem": chain, "serial": []byte("01\n"),
		"tsa.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Cert.Raw}),
		"tsa.key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
		"ts.cnf": fmt.Appendf(nil, "[tsa]\ndefault_tsa = one\n[one]\nserial = %s\ncrypto_device = builtin\nsigner_cert = %s\n%ssigner_key = %s\nsigner_digest = %s\n"+
			"default_policy = 1.2.3.4.1\ndigests = sha256, sha512\naccuracy = secs:1, millisecs:500, microsecs:100\nordering = yes\ntsa_name = yes\n"+
			"ess_cert_id_chain = no\ness_cert_id_alg = %s\nclock_precision_digits = 3\n",
			a.path("serial"), a.path("tsa.pem"), certs, a.path("tsa.key"), digest, ess),
	} {
		if err := os.WriteFile(a.path(name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// Answer replaces what the server does, until it is called with nil: an authority that is down, slow or out of its mind.
func (a *Authority) Answer(h http.HandlerFunc) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer = h
}

// Asked is how often the server was asked.
func (a *Authority) Asked() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.asked
}

func (a *Authority) serve(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	a.asked++
	h := a.answer
	a.mu.Unlock()
	if h != nil {
		h(w, r)
		return
	}
	a.Grant(w, r)
}

// Grant answers as openssl does.
func (a *Authority) Grant(w http.ResponseWriter, r *http.Request) {
	query, err := io.ReadAll(r.Body)
	if err == nil {
		query, err = a.reply(query)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/timestamp-reply")
	_, _ = w.Write(query)
}

// Reply is openssl's answer to a request.
func (a *Authority) Reply(t testing.TB, request []byte) []byte {
	t.Helper()
	b, err := a.reply(request)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (a *Authority) reply(request []byte) ([]byte, error) {
	a.mu.Lock() // the file of serial numbers is one
	defer a.mu.Unlock()
	if err := os.WriteFile(a.path("in.tsq"), request, 0o600); err != nil {
		return nil, err
	}
	if _, err := run("ts", "-reply", "-config", a.path("ts.cnf"), "-queryfile", a.path("in.tsq"), "-out", a.path("out.tsr")); err != nil {
		return nil, err
	}
	return os.ReadFile(a.path("out.tsr"))
}

// Accepts asks openssl whether a token over the digest holds, with this authority's root.
func (a *Authority) Accepts(token []byte, digest [32]byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := os.WriteFile(a.path("token.der"), token, 0o600); err != nil {
		return err
	}
	_, err := run("ts", "-verify", "-digest", hex.EncodeToString(digest[:]), "-in", a.path("token.der"), "-token_in", "-CAfile", a.path("root.pem"))
	return err
}

func run(args ...string) ([]byte, error) {
	cmd := exec.Command("openssl", args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("openssl %s: %w: %s", args[0], err, errs.Bytes())
	}
	return out.Bytes(), nil
}
