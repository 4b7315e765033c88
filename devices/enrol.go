package devices

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/authority"
	"zhizheng/devices/internal/db"
	"zhizheng/evidence/chain"
	"zhizheng/internal/ca"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

const (
	codeLife        = 72 * time.Hour
	certificateLife = 30 * 24 * time.Hour
	renewAfter      = 20 * 24 * time.Hour
	issueAgainAfter = 24 * time.Hour // before it, asking again gives the same certificate: an answer may have got lost
)

// Code is what a person types into a device.
type Code struct {
	Code    string // XXXX-XXXX-XXXX
	Expires time.Time
}

// Identity is what a device gets for its key.
type Identity struct {
	Device              string
	Certificate         string // PEM
	RenewAfter, Expires time.Time
}

// Access is what a device may come in by, and what was refused of what it sent today (UTC).
type Access struct {
	From, Until  *time.Time // of its newest certificate
	RevokedAt    *time.Time
	RevokeReason string
	Token        bool
	CodeUntil    *time.Time // of an enrolment code that nobody has used
	Refused      int
}

// AccessOf gives a device's, without regard to scope.
func (s *Service) AccessOf(ctx context.Context, device string) (a Access, err error) {
	c, err := s.q.LatestCertificate(ctx, device)
	switch {
	case err == nil:
		a.From, a.Until, a.RevokedAt = &c.IssuedAt, &c.NotAfter, c.RevokedAt
		if c.RevokeReason != nil {
			a.RevokeReason = *c.RevokeReason
		}
	case !errors.Is(err, pgx.ErrNoRows):
		return a, fmt.Errorf("look up certificate: %w", err)
	}
	o, err := s.q.OtherAccess(ctx, db.OtherAccessParams{Device: device, Now: s.now()})
	if err != nil {
		return a, fmt.Errorf("look up access: %w", err)
	}
	a.Token, a.CodeUntil, a.Refused = o.Token, o.CodeUntil, int(o.Letters)
	return a, nil
}

// Crockford's digits: none is taken for another.
var codeDigits = base32.NewEncoding("0123456789ABCDEFGHJKMNPQRSTVWXYZ").WithPadding(base32.NoPadding)

var readCode = strings.NewReplacer("-", "", " ", "", "O", "0", "I", "1", "L", "1")

func codeHash(code string) []byte {
	h := sha256.Sum256([]byte(readCode.Replace(strings.ToUpper(code))))
	return h[:]
}

// EnrolmentCode makes a device's code; the one before ends. Only its digest is kept.
func (s *Service) EnrolmentCode(ctx context.Context, idOrSerial string) (Code, error) {
	d, err := s.Get(ctx, idOrSerial)
	if err != nil {
		return Code{}, err
	}
	if d.Status == Lost || d.Status == Retired {
		return Code{}, fault.Conflict("设备已%s，不能接入", StatusName(d.Status))
	}
	raw := make([]byte, 10)
	_, _ = rand.Read(raw) // never fails since Go 1.24
	text := codeDigits.EncodeToString(raw)
	c := Code{text[:4] + "-" + text[4:8] + "-" + text[8:12], s.now().UTC().Add(codeLife)}
	err = s.q.PutEnrolment(ctx, db.PutEnrolmentParams{DeviceID: d.ID, CodeHash: codeHash(c.Code), MadeBy: authority.ActorFrom(ctx).UserID, ExpiresAt: c.Expires})
	if err != nil {
		return Code{}, fmt.Errorf("make enrolment code: %w", err)
	}
	return c, nil
}

// Enrol gives the key of a certificate request (PKCS #10, PEM) the identity of the device that the code is for, and ends what the device
// was known by before. The code then lets in that key alone, so that a device whose answer got lost asks again.
func (s *Service) Enrol(ctx context.Context, code, request string) (Identity, error) {
	pub, key, err := readRequest(request)
	if err != nil {
		return Identity{}, err
	}
	var out Identity
	err = s.certify(ctx, func(tx *pg.Tx, q *db.Queries) error {
		wrong := fault.Unauthorized("登记码不对、已使用或已过期").Then("请向装备管理员要一个新的登记码")
		e, err := q.Enrolment(ctx, codeHash(code))
		if errors.Is(err, pgx.ErrNoRows) {
			return wrong
		}
		if err != nil {
			return fmt.Errorf("look up enrolment: %w", err)
		}
		if s.now().After(e.ExpiresAt) || (e.UsedBy != nil && string(e.UsedBy) != string(key.id)) {
			return wrong
		}
		d, err := q.LockDevice(ctx, e.DeviceID)
		if err != nil {
			return fmt.Errorf("look up device: %w", err)
		}
		if d.Status == Lost || d.Status == Retired {
			return wrong
		}
		if e.UsedBy != nil {
			out, err = s.again(ctx, q, key.id)
			return err
		}
		if err := s.endIdentity(ctx, tx, d.ID, e.MadeBy, "重新登记"); err != nil {
			return err
		}
		if err := q.UseEnrolment(ctx, db.UseEnrolmentParams{DeviceID: d.ID, KeyID: key.id}); err != nil {
			return fmt.Errorf("use enrolment: %w", err)
		}
		out, err = s.issue(ctx, tx, d.ID, pub, key, e.MadeBy, "")
		return err
	})
	return out, err
}

// Renew gives a key that has a valid certificate its next one. The request is signed by that key, which is the proof; whoever sends a
// copy of it gets a certificate he has no key for.
func (s *Service) Renew(ctx context.Context, request string) (Identity, error) {
	pub, key, err := readRequest(request)
	if err != nil {
		return Identity{}, err
	}
	var out Identity
	err = s.certify(ctx, func(tx *pg.Tx, q *db.Queries) error {
		wrong := fault.Unauthorized("这把密钥没有有效的证书").Then("请用新的登记码重新登记")
		c, err := q.NewestCertificate(ctx, key.id)
		if errors.Is(err, pgx.ErrNoRows) {
			return wrong
		}
		if err != nil {
			return fmt.Errorf("look up certificate: %w", err)
		}
		d, err := q.LockDevice(ctx, c.DeviceID)
		if err != nil {
			return fmt.Errorf("look up device: %w", err)
		}
		if c, err = q.NewestCertificate(ctx, key.id); err != nil { // as it is now that nobody else changes it
			return fmt.Errorf("look up certificate: %w", err)
		}
		now := s.now()
		switch {
		case c.RevokedAt != nil || now.After(c.NotAfter) || d.Status == Lost || d.Status == Retired:
			return wrong
		case now.Before(c.IssuedAt.Add(issueAgainAfter)):
			out = identityOf(c)
			return nil
		}
		out, err = s.issue(ctx, tx, d.ID, pub, key, d.ID, "续期")
		return err
	})
	return out, err
}

// Revoke ends all a device is known by, its certificates, token and enrolment code, and cuts its connection.
func (s *Service) Revoke(ctx context.Context, idOrSerial, reason string) error {
	d, err := s.Get(ctx, idOrSerial)
	if err != nil {
		return err
	}
	return s.certify(ctx, func(tx *pg.Tx, q *db.Queries) error {
		if _, err := q.LockDevice(ctx, d.ID); err != nil {
			return fmt.Errorf("look up device: %w", err)
		}
		if err := q.EndEnrolment(ctx, d.ID); err != nil {
			return fmt.Errorf("end enrolment: %w", err)
		}
		return s.endIdentity(ctx, tx, d.ID, authority.ActorFrom(ctx).UserID, reason)
	})
}

// certify runs what changes identities; whoever lost his is cut off when it is committed.
func (s *Service) certify(ctx context.Context, fn func(tx *pg.Tx, q *db.Queries) error) error {
	if s.ca == nil || s.leaves == nil {
		return noAuthority()
	}
	if err := pg.InTx(ctx, s.pool, func(tx *pg.Tx) error { return fn(tx, db.New(tx)) }); err != nil {
		return err
	}
	s.watch()
	return nil
}

func noAuthority() error {
	return fault.Unavailable(time.Minute, "本服务没有签发设备证书的密钥")
}

// Trusted is what devices trust, PEM.
func (s *Service) Trusted() string { return s.ca.Certificate() }

// endIdentity revokes certificates and token; each certificate's end is a leaf.
func (s *Service) endIdentity(ctx context.Context, tx *pg.Tx, device, actor, reason string) error {
	q, now := db.New(tx), s.now().UTC()
	if _, err := q.RevokeCredential(ctx, db.RevokeCredentialParams{DeviceID: device, At: now}); err != nil {
		return fmt.Errorf("revoke token: %w", err)
	}
	all, err := q.RevokeCertificates(ctx, db.RevokeCertificatesParams{DeviceID: device, At: now, Reason: reason})
	if err != nil {
		return fmt.Errorf("revoke certificates: %w", err)
	}
	for _, c := range all {
		err := s.leaves.Append(tx, chain.Entry{Key: "device-certificate-revoked/" + c.Serial, Kind: chain.KindKeyRevoked, Subject: keySubject(c.KeyID), Time: now,
			Payload: chain.KeyPayload{KeyID: c.KeyID, DeviceID: device, Actor: actor, Reason: reason}})
		if err != nil {
			return err
		}
	}
	return nil
}

// issue makes a certificate, its row and its leaf.
func (s *Service) issue(ctx context.Context, tx *pg.Tx, device string, pub any, key requestKey, actor, reason string) (Identity, error) {
	now := s.now().UTC()
	cert, err := s.ca.Device(device, pub, now, now.Add(certificateLife))
	if err != nil {
		return Identity{}, fmt.Errorf("issue certificate: %w", err)
	}
	row := db.AddCertificateParams{Serial: cert.SerialNumber.Text(16), DeviceID: device, KeyID: key.id, Der: cert.Raw, IssuedAt: now, NotAfter: cert.NotAfter}
	if err := db.New(tx).AddCertificate(ctx, row); err != nil {
		return Identity{}, fmt.Errorf("keep certificate: %w", err)
	}
	err = s.leaves.Append(tx, chain.Entry{Key: "device-certificate/" + row.Serial, Kind: chain.KindKeyEnrolled, Subject: keySubject(key.id), Time: now,
		Payload: chain.KeyPayload{KeyID: key.id, SPKI: key.spki, Cert: cert.Raw, DeviceID: device, Actor: actor, Reason: reason}})
	return identityOf(db.DeviceCertificate{DeviceID: device, Der: cert.Raw, IssuedAt: now, NotAfter: cert.NotAfter}), err
}

// again gives what the key was given before.
func (s *Service) again(ctx context.Context, q *db.Queries, key []byte) (Identity, error) {
	c, err := q.NewestCertificate(ctx, key)
	if err != nil {
		return Identity{}, fmt.Errorf("look up certificate: %w", err)
	}
	if c.RevokedAt != nil {
		return Identity{}, fault.Unauthorized("登记码不对、已使用或已过期")
	}
	return identityOf(c), nil
}

func identityOf(c db.DeviceCertificate) Identity {
	return Identity{Device: c.DeviceID, Certificate: ca.PEM(c.Der), RenewAfter: c.IssuedAt.Add(renewAfter), Expires: c.NotAfter}
}

func keySubject(key []byte) chain.Subject {
	return chain.Subject{Type: chain.SubjectKey, ID: hex.EncodeToString(key)}
}

type requestKey struct{ id, spki []byte }

// readRequest checks that who asks has the key he asks for.
func readRequest(text string) (pub any, key requestKey, err error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return nil, key, fault.Invalid("证书请求应为 PKCS #10（PEM，CERTIFICATE REQUEST）")
	}
	r, err := x509.ParseCertificateRequest(block.Bytes)
	if err == nil {
		err = r.CheckSignature()
	}
	if err != nil {
		return nil, key, fault.Invalid("证书请求读不懂，或签名不对").Because(err)
	}
	switch k := r.PublicKey.(type) {
	case *ecdsa.PublicKey, ed25519.PublicKey:
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 || k.N.BitLen() > 4096 {
			return nil, key, fault.Invalid("RSA 密钥应为 2048 至 4096 位")
		}
	default:
		return nil, key, fault.Invalid("密钥应为 ECDSA、Ed25519 或 RSA")
	}
	h := sha256.Sum256(r.RawSubjectPublicKeyInfo)
	return r.PublicKey, requestKey{h[:], r.RawSubjectPublicKeyInfo}, nil
}
