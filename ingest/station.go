package ingest

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/chain"
	"zhizheng/ingest/internal/db"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// Audience of a station's tokens, and how long one may live.
const (
	Audience    = "zhizheng"
	MaxTokenAge = 5 * time.Minute
)

// Station is an enrolled docking station.
type Station struct {
	ID, Township string
	KeyID        []byte

	again bool // what it says was refused before, and is kept already
}

type stationKey struct{}

// WithStation says who speaks.
func WithStation(ctx context.Context, s Station) context.Context {
	return context.WithValue(ctx, stationKey{}, s)
}

// StationFrom gives the station that speaks, if one does.
func StationFrom(ctx context.Context) (Station, bool) {
	s, ok := ctx.Value(stationKey{}).(Station)
	return s, ok
}

// AuthenticateStation checks a station's token: a JWT (RFC 7519) signed with EdDSA by its enrolled key, at most five minutes old.
func (s *Service) AuthenticateStation(ctx context.Context, bearer string) (Station, error) {
	if bearer == "" {
		return Station{}, fault.Unauthorized("采集站须出示令牌（Authorization: Bearer …）")
	}
	var st Station
	var lookup error
	var claims jwt.RegisteredClaims
	_, err := jwt.ParseWithClaims(bearer, &claims, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		keyID, err := hex.DecodeString(kid)
		if err != nil || len(keyID) != 32 {
			return nil, errors.New("no key id")
		}
		k, err := db.New(s.Pool).Key(ctx, keyID)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil, errors.New("key is not enrolled")
		}
		if err != nil {
			lookup = err
			return nil, err
		}
		if k.RevokedAt != nil {
			return nil, errors.New("key is revoked")
		}
		if k.Station == nil {
			return nil, errors.New("key is no station's")
		}
		st = Station{ID: *k.Station, Township: k.Township, KeyID: keyID}
		return ed25519.PublicKey(k.PublicKey), nil
	}, jwt.WithValidMethods([]string{"EdDSA"}), jwt.WithAudience(Audience), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithLeeway(30*time.Second), jwt.WithTimeFunc(s.Now))
	switch {
	case lookup != nil:
		return Station{}, fmt.Errorf("look up station key: %w", lookup)
	case err != nil:
		return Station{}, fault.Unauthorized("采集站的令牌无效：密钥未登记、已吊销，或令牌过期（请检查采集站时钟，服务器时间 %s）",
			s.Now().UTC().Format(time.RFC3339)).Because(err)
	case claims.IssuedAt == nil || claims.ExpiresAt.Sub(claims.IssuedAt.Time) > MaxTokenAge:
		return Station{}, fault.Unauthorized("采集站的令牌有效期不得超过 5 分钟")
	case claims.Issuer != st.ID:
		return Station{}, fault.Unauthorized("采集站的令牌与密钥不符")
	}
	return st, nil
}

// KeySubject is a signing key's chain in the log.
func KeySubject(keyID []byte) chain.Subject {
	return chain.Subject{Type: chain.SubjectKey, ID: hex.EncodeToString(keyID)}
}

// Enrol registers a station and its key. The same key again changes nothing.
func (s *Service) Enrol(ctx context.Context, id, township, name string, cert *x509.Certificate, actor string) error {
	pub, ok := cert.PublicKey.(ed25519.PublicKey)
	if !ok {
		return fault.Invalid("采集站的密钥应为 Ed25519")
	}
	keyID, err := manifest.KeyID(pub)
	if err != nil {
		return err
	}
	now := s.Now().UTC()
	certHash := sha256.Sum256(cert.Raw)
	return pg.InTx(ctx, s.Pool, func(tx *pg.Tx) error {
		q := db.New(tx)
		if err := q.AddStation(ctx, db.AddStationParams{ID: id, Township: township, Name: name, CreatedAt: now}); err != nil {
			return fmt.Errorf("add station: %w", err)
		}
		n, err := q.AddKey(ctx, db.AddKeyParams{KeyID: keyID, Station: &id, PublicKey: pub, CertHash: certHash[:], EnrolledAt: now})
		if err != nil {
			return fmt.Errorf("add key: %w", err)
		}
		if n == 0 {
			return nil
		}
		return s.Log.Append(tx, chain.Entry{Key: enrolledKey(keyID), Kind: chain.KindKeyEnrolled, Subject: KeySubject(keyID),
			Time: now, Payload: chain.KeyPayload{KeyID: keyID, SPKI: cert.RawSubjectPublicKeyInfo, Cert: cert.Raw, Actor: actor}})
	})
}

// Revoke ends a key: its manifests and tokens are refused from now on; what it signed before stays.
func (s *Service) Revoke(ctx context.Context, keyID []byte, actor, reason string) error {
	now := s.Now().UTC()
	return pg.InTx(ctx, s.Pool, func(tx *pg.Tx) error {
		n, err := db.New(tx).RevokeKey(ctx, db.RevokeKeyParams{KeyID: keyID, RevokedAt: &now, RevokeReason: &reason})
		if err != nil {
			return fmt.Errorf("revoke key: %w", err)
		}
		if n == 0 {
			return fault.Conflict("密钥不存在或已吊销")
		}
		return s.Log.Append(tx, chain.Entry{Key: "key-revoked/" + hex.EncodeToString(keyID), Kind: chain.KindKeyRevoked, Subject: KeySubject(keyID),
			Time: now, Payload: chain.KeyPayload{KeyID: keyID, Actor: actor, Reason: reason}})
	})
}

// Identity is what station.json holds: where the server is, who the station is, which log key it trusts.
type Identity struct {
	Server  string `json:"server"`
	Station string `json:"station"`
	VKey    string `json:"vkey"`
}

// WriteIdentity makes a station's identity in dir (station.json, key.pem, cert.pem; mode 0600) unless it is there, brings the
// server's address up to date, and enrols it. The key never leaves dir.
func (s *Service) WriteIdentity(ctx context.Context, dir, server, id, township, name, actor string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	certFile := filepath.Join(dir, "cert.pem")
	pemBytes, err := os.ReadFile(certFile)
	if errors.Is(err, os.ErrNotExist) {
		pemBytes, err = newIdentity(dir, certFile, id, s.Now())
	}
	if err != nil {
		return fmt.Errorf("station identity: %w", err)
	}
	block, _ := pem.Decode(pemBytes)
	if block == nil {
		return fmt.Errorf("station identity: %s holds no certificate", certFile)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return fmt.Errorf("station identity: %w", err)
	}
	b, err := json.MarshalIndent(Identity{Server: server, Station: id, VKey: strings.Join(s.Log.VKeys(), "\n")}, "", "  ")
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(dir, "station.json"), append(b, '\n')); err != nil {
		return err
	}
	return s.Enrol(ctx, id, township, name, cert, actor)
}

// newIdentity writes the key before the certificate: a crash between the two leaves no certificate, and the next start makes both.
func newIdentity(dir, certFile, id string, now time.Time) ([]byte, error) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	tmpl := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: id}, NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(5, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature}
	certDER, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, pub, key)
	if err != nil {
		return nil, err
	}
	if err := writeFile(filepath.Join(dir, "key.pem"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return nil, err
	}
	out := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certDER})
	return out, writeFile(certFile, out)
}

// writeFile replaces a file whole or not at all.
func writeFile(path string, b []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, b) {
		return nil
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // made with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// EnrolmentKey is the idempotency key of the leaf that enrolled the key a manifest is signed with.
func EnrolmentKey(signedManifest []byte) (string, error) {
	m, err := manifest.Parse(signedManifest)
	if err != nil {
		return "", err
	}
	return enrolledKey(m.KeyID), nil
}

func enrolledKey(keyID []byte) string { return "key-enrolled/" + hex.EncodeToString(keyID) }
