package embedded

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
)

const (
	caYears      = 20
	serverDays   = 180
	renewBefore  = 30 * 24 * time.Hour
	clockAllowed = 48 * time.Hour // a device whose clock is a little behind still connects
)

// authorityOfDevices is the platform's own certificate authority: devices trust it and nothing else. Its key stays in DATA/secrets.
type authorityOfDevices struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string // the certificate, PEM

	mu     sync.Mutex
	names  []string
	server *tls.Certificate
	until  time.Time
}

// openAuthority reads the authority of DATA/secrets or makes it. The key is on disk before the certificate: a crash in between
// leaves a key for which the next start makes a certificate.
func openAuthority(dir string, names []string) (*authorityOfDevices, error) {
	a := &authorityOfDevices{file: filepath.Join(dir, "secrets", "mqtt-ca.crt"), names: names}
	keyFile := filepath.Join(dir, "secrets", "mqtt-ca.key")
	block, err := readPEM(keyFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if a.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return nil, err
		}
		der, err := x509.MarshalPKCS8PrivateKey(a.key)
		if err != nil {
			return nil, err
		}
		if err := writeSecret(keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))); err != nil {
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
	block, err = readPEM(a.file)
	if errors.Is(err, fs.ErrNotExist) {
		return a, a.makeCertificate()
	}
	if err != nil {
		return nil, err
	}
	if a.cert, err = x509.ParseCertificate(block); err != nil {
		return nil, fmt.Errorf("read %s: %w", a.file, err)
	}
	if !a.key.PublicKey.Equal(a.cert.PublicKey) {
		return nil, fmt.Errorf("%s is not the certificate of %s", a.file, keyFile)
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

func (a *authorityOfDevices) makeCertificate() error {
	serial, err := serialNumber()
	if err != nil {
		return err
	}
	now := time.Now()
	t := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "Zhizheng devices"}, NotBefore: now.Add(-clockAllowed),
		NotAfter: now.AddDate(caYears, 0, 0), IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &a.key.PublicKey, a.key)
	if err != nil {
		return err
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	return writeSecret(a.file, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

func serialNumber() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
}

// config serves a certificate for the names under which devices know us, renewed while the broker runs.
func (a *authorityOfDevices) config() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		if a.server == nil || time.Until(a.until) < renewBefore {
			if err := a.issue(); err != nil {
				return nil, err
			}
		}
		return a.server, nil
	}}
}

func (a *authorityOfDevices) issue() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := serialNumber()
	if err != nil {
		return err
	}
	now := time.Now()
	t := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "zhizheng"}, NotBefore: now.Add(-clockAllowed),
		NotAfter: now.AddDate(0, 0, serverDays), KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, n := range a.names {
		if ip := net.ParseIP(n); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, n)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return err
	}
	a.server, a.until = &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}, t.NotAfter
	return nil
}

// namesFor lists what the server's certificate is good for: this machine, the address it listens on, and those given.
func namesFor(listen string, more []string) []string {
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
