package demo

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/digitorus/timestamp"

	"zhizheng/evidence/stamp"
)

// TSA is the demo's time-stamp authority (示例时间戳机构): it says what the clock of the machine says, so it proves nothing to anybody. It
// shows what a token looks like where no real authority can be reached.
type TSA struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	roots *x509.CertPool
	ln    net.Listener
}

// Files of the demo's authority: the root for --tsa-roots, certificate, key.
const (
	TSARootFile = "root.pem"
	tsaCertFile = "tsa.pem"
	tsaKeyFile  = "tsa.key"
)

// OpenTSA makes or opens the authority in dir and takes its address.
func OpenTSA(dir, listen string) (*TSA, error) {
	a, err := readTSA(dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = makeTSA(dir); err == nil {
			a, err = readTSA(dir)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("demo time-stamp authority: %w", err)
	}
	if a.ln, err = net.Listen("tcp", listen); err != nil {
		return nil, fmt.Errorf("demo time-stamp authority: %w", err)
	}
	return a, nil
}

// URL is where it is asked, Roots whom to trust.
func (a *TSA) URL() string           { return "http://" + a.ln.Addr().String() + "/demo-tsa" }
func (a *TSA) Roots() *x509.CertPool { return a.roots }

// Close lets go of the address.
func (a *TSA) Close() error { return a.ln.Close() }

// Run answers until ctx ends.
func (a *TSA) Run(ctx context.Context) error {
	s := &http.Server{Handler: http.HandlerFunc(a.serve), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() }) // Serve says that it was closed
	defer stop()
	if err := s.Serve(a.ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("demo time-stamp authority: %w", err)
	}
	return nil
}

func (a *TSA) serve(w http.ResponseWriter, r *http.Request) {
	query, err := io.ReadAll(io.LimitReader(r.Body, 4096))
	if err != nil {
		return // the client has left
	}
	req, err := timestamp.ParseRequest(query)
	if err != nil {
		http.Error(w, "no time-stamp request", http.StatusBadRequest)
		return
	}
	t := timestamp.Timestamp{HashAlgorithm: req.HashAlgorithm, HashedMessage: req.HashedMessage, Time: time.Now().UTC(), Accuracy: time.Second, Nonce: req.Nonce,
		Policy: asn1.ObjectIdentifier{2, 999, 1}, AddTSACertificate: req.Certificates} // 2.999: the arc of examples
	b, err := t.CreateResponseWithOpts(a.cert, a.key, crypto.SHA256)
	if err != nil {
		http.Error(w, "no time-stamp", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/timestamp-reply")
	_, _ = w.Write(b) // a client that left asks again
}

func readTSA(dir string) (*TSA, error) {
	root, err := os.ReadFile(filepath.Join(dir, TSARootFile))
	if err != nil {
		return nil, err
	}
	var der [2][]byte
	for i, name := range []string{tsaCertFile, tsaKeyFile} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		block, _ := pem.Decode(b)
		if block == nil {
			return nil, fmt.Errorf("%s is damaged", name)
		}
		der[i] = block.Bytes
	}
	a := &TSA{}
	if a.roots, err = stamp.ParseRoots(root); err != nil {
		return nil, err
	}
	if a.cert, err = x509.ParseCertificate(der[0]); err != nil {
		return nil, err
	}
	a.key, err = x509.ParseECPrivateKey(der[1])
	return a, err
}

// makeTSA writes root and key. The root comes last and replaces nothing but a whole set: a start that finds none makes all anew.
func makeTSA(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	now := time.Now()
	usage, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 8}})
	if err != nil {
		return err
	}
	var keys [2]*ecdsa.PrivateKey
	for i := range keys {
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			return err
		}
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "示例时间戳根证书（不具法律效力）", Organization: []string{"执证示例 Zhizheng demo"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	own := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: "示例时间戳机构（不具法律效力）", Organization: []string{"执证示例 Zhizheng demo"}},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(10, 0, 0), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtraExtensions: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: usage}}}
	root, err := x509.CreateCertificate(rand.Reader, ca, ca, keys[0].Public(), keys[0])
	if err != nil {
		return err
	}
	cert, err := x509.CreateCertificate(rand.Reader, own, ca, keys[1].Public(), keys[0])
	if err != nil {
		return err
	}
	key, err := x509.MarshalECPrivateKey(keys[1])
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name, kind string
		der        []byte
	}{{tsaKeyFile, "EC PRIVATE KEY", key}, {tsaCertFile, "CERTIFICATE", cert}, {TSARootFile, "CERTIFICATE", root}} {
		if err := os.WriteFile(filepath.Join(dir, f.name), pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der}), 0o600); err != nil {
			return err
		}
	}
	return nil
}
