// Package ca owns the platform's own certificate authority: devices trust it and nothing else, and it alone says who a device is. Its
// key stays in DATA/secrets. It never knows a database: what was issued and revoked is told to it.
package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"zhizheng/internal/secret"
)

const (
	caYears      = 20
	serverDays   = 180
	renewBefore  = 30 * 24 * time.Hour
	clockAllowed = 48 * time.Hour     // a device whose clock is a little behind still connects
	crlLife      = 7 * 24 * time.Hour // after it, brokers that read the list let nobody in
)

// Authority issues certificates of servers and of devices.
type Authority struct {
	File string // its certificate, PEM
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Open reads the authority of dir/secrets or makes it. The key is on disk before the certificate: a crash in between leaves a key for
// which the next start makes a certificate.
func Open(dir string) (*Authority, error) {
	a := &Authority{File: filepath.Join(dir, "secrets", "mqtt-ca.crt")}
	keyFile := filepath.Join(dir, "secrets", "mqtt-ca.key")
	block, err := readPEM(keyFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
		text, err := keyPEM(a.key)
		if err != nil {
			return nil, err
		}
		if err := secret.Write(keyFile, text); err != nil {
			return nil, err
		}
		return a, a.makeCertificate()
	case err != nil:
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(block)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", keyFile, err)
	}
	ok := false
	if a.key, ok = key.(*ecdsa.PrivateKey); !ok {
		return nil, fmt.Errorf("%s holds another kind of key", keyFile)
	}
	block, err = readPEM(a.File)
	if errors.Is(err, fs.ErrNotExist) {
		return a, a.makeCertificate()
	}
	if err != nil {
		return nil, err
	}
	if a.cert, err = x509.ParseCertificate(block); err != nil {
		return nil, fmt.Errorf("read %s: %w", a.File, err)
	}
	if !a.key.PublicKey.Equal(a.cert.PublicKey) {
		return nil, fmt.Errorf("%s is not the certificate of %s", a.File, keyFile)
	}
	return a, nil
}

func readPEM(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s holds no PEM", path)
	}
	return block.Bytes, nil
}

func keyPEM(key *ecdsa.PrivateKey) (string, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})), err
}

// PEM is the form of a certificate in files and answers.
func PEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

func (a *Authority) makeCertificate() error {
	now := time.Now()
	t := &x509.Certificate{Subject: pkix.Name{CommonName: "Zhizheng devices"}, NotBefore: now.Add(-clockAllowed), NotAfter: now.AddDate(caYears, 0, 0),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	var err error
	if a.cert, err = a.sign(t, t, &a.key.PublicKey); err != nil {
		return err
	}
	return secret.Write(a.File, PEM(a.cert.Raw))
}

// sign gives the certificate a number of its own.
func (a *Authority) sign(t, parent *x509.Certificate, pub any) (*x509.Certificate, error) {
	var err error
	if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120)); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, pub, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// Certificate is the authority's own, PEM.
func (a *Authority) Certificate() string { return PEM(a.cert.Raw) }

// Device issues a device's certificate for the key of a request: the device's id is its common name, whatever the request says.
func (a *Authority) Device(id string, pub any, now, until time.Time) (*x509.Certificate, error) {
	return a.sign(&x509.Certificate{Subject: pkix.Name{CommonName: id}, NotBefore: now.Add(-clockAllowed), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}, a.cert, pub)
}

// Server issues a certificate and key for a server known under these names, PEM, for a broker that isn't ours.
func (a *Authority) Server(names []string) (cert, key string, err error) {
	c, k, err := a.server(names)
	if err != nil {
		return "", "", err
	}
	key, err = keyPEM(k)
	return PEM(c.Raw) + a.Certificate(), key, err
}

func (a *Authority) server(names []string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	now := time.Now()
	t := &x509.Certificate{Subject: pkix.Name{CommonName: "zhizheng"}, NotBefore: now.Add(-clockAllowed), NotAfter: now.AddDate(0, 0, serverDays),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	c, err := a.sign(t, a.cert, &key.PublicKey)
	return c, key, err
}

// TLS serves a certificate for the names under which devices know us, renewed while the broker runs. A device may show its own, which
// must then be the authority's; whether it was revoked is asked when the device says who it is.
func (a *Authority) TLS(names []string) *tls.Config {
	var mu sync.Mutex
	var current *tls.Certificate
	var until time.Time
	devices := x509.NewCertPool()
	devices.AddCert(a.cert)
	return &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: devices,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			mu.Lock()
			defer mu.Unlock()
			if current == nil || time.Until(until) < renewBefore {
				c, key, err := a.server(names)
				if err != nil {
					return nil, err
				}
				current, until = &tls.Certificate{Certificate: [][]byte{c.Raw, a.cert.Raw}, PrivateKey: key}, c.NotAfter
			}
			return current, nil
		}}
}

// CRL is the list of revoked certificates (RFC 5280), PEM. Its number rises with time.
func (a *Authority) CRL(revoked []x509.RevocationListEntry, now time.Time) ([]byte, error) {
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(now.UnixMilli()), ThisUpdate: now.Add(-clockAllowed),
		NextUpdate: now.Add(crlLife), RevokedCertificateEntries: revoked}, a.cert, a.key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), nil
}

// Names lists what a server's certificate is good for: this machine, the address it listens on, and those given.
func Names(listen string, more []string) []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if h, err := os.Hostname(); err == nil && h != "" {
		names = append(names, h)
	}
	if host, _, err := net.SplitHostPort(listen); err == nil {
		if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
			names = append(names, host)
		}
	}
	for _, n := range more {
		if n != "" {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
