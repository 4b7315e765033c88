package devices

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"zhizheng/devices/internal/db"
	"zhizheng/internal/fault"
)

// IssueTokens gives each device a new token for the broker; the one before stops working. Only its digest is kept.
func (s *Service) IssueTokens(ctx context.Context, ids []string) (map[string]string, error) {
	tokens := make(map[string]string, len(ids))
	p := db.PutCredentialsParams{At: s.now().UTC()}
	for _, d := range ids {
		raw := make([]byte, 32)
		_, _ = rand.Read(raw) // never fails since Go 1.24
		token := base64.RawURLEncoding.EncodeToString(raw)
		h := sha256.Sum256([]byte(token))
		tokens[d] = token
		p.Ids, p.Hashes = append(p.Ids, d), append(p.Hashes, h[:])
	}
	if err := s.q.PutCredentials(ctx, p); err != nil {
		return nil, fmt.Errorf("issue tokens: %w", err)
	}
	return tokens, nil
}

// Token gives a device that can't make a key its token. One that has a valid certificate gets none: the weaker door must not stand open
// beside the stronger one.
func (s *Service) Token(ctx context.Context, idOrSerial string) (device, token string, err error) {
	d, err := s.Get(ctx, idOrSerial)
	if err != nil {
		return "", "", err
	}
	a, err := s.AccessOf(ctx, d.ID)
	switch {
	case err != nil:
		return "", "", err
	case d.Status == Lost || d.Status == Retired:
		return "", "", fault.Conflict("设备已%s，不能接入", StatusName(d.Status))
	case a.Until != nil && a.RevokedAt == nil && a.Until.After(s.now()):
		return "", "", fault.Conflict("设备已有有效的证书").Then("先吊销证书，再发令牌")
	}
	tokens, err := s.IssueTokens(ctx, []string{d.ID})
	return d.ID, tokens[d.ID], err
}

// RevokeToken ends a device's token and the connection it let in.
func (s *Service) RevokeToken(ctx context.Context, device string) error {
	n, err := s.q.RevokeCredential(ctx, db.RevokeCredentialParams{DeviceID: device, At: s.now().UTC()})
	if err != nil {
		return fmt.Errorf("revoke token: %w", err)
	}
	if n == 0 {
		return fault.NotFound("设备没有有效的接入凭据")
	}
	s.watch()
	return nil
}

// Authenticate checks what a device shows, its certificate or else its token, and that the device is not lost or retired.
// fault.Unauthorized if any of it is wrong, without telling which. That the certificate is ours and in its time was checked by TLS.
func (s *Service) Authenticate(ctx context.Context, device, token string, cert *x509.Certificate) error {
	wrong := fault.Unauthorized("设备凭据不对")
	if cert != nil {
		c, err := s.q.Certificate(ctx, cert.SerialNumber.Text(16))
		if errors.Is(err, pgx.ErrNoRows) {
			return wrong
		}
		if err != nil {
			return fmt.Errorf("look up certificate: %w", err)
		}
		if c.DeviceID != device || cert.Subject.CommonName != device || c.RevokedAt != nil || c.Status == Lost || c.Status == Retired {
			return wrong
		}
		s.known.Store(device, c.Township)
		return nil
	}
	c, err := s.q.Credential(ctx, device)
	if errors.Is(err, pgx.ErrNoRows) {
		return wrong
	}
	if err != nil {
		return fmt.Errorf("look up credential: %w", err)
	}
	h := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(h[:], c.TokenHash) != 1 || c.RevokedAt != nil || c.Status == Lost || c.Status == Retired {
		return wrong
	}
	s.known.Store(device, c.Township)
	return nil
}
