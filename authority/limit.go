package authority

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"time"

	"zhizheng/authority/internal/db"
	"zhizheng/internal/fault"
)

// Failed sign-ins that are let through in a window. An address may stand for a whole office behind one router.
const (
	limitWindow     = 15 * time.Minute
	userFailures    = 8
	addressFailures = 40
)

// limitKey hashes what is counted, so that the table holds neither names nor addresses.
func limitKey(kind, value string) []byte {
	h := sha256.Sum256([]byte(kind + "\x00" + value))
	return h[:]
}

// network is the address as it is counted: an IPv6 customer owns at least a /64.
func network(addr string) string {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return addr
	}
	ip = ip.Unmap()
	if ip.Is4() {
		return ip.String()
	}
	p, err := ip.WithZone("").Prefix(64)
	if err != nil {
		return addr
	}
	return p.String()
}

// count takes one attempt. Success gives it back by forgive.
func (s *Service) count(ctx context.Context, key []byte, most int32) error {
	now := s.now()
	c, err := s.q.CountAttempt(ctx, db.CountAttemptParams{Key: key, Now: now, WindowEnd: now.Add(limitWindow)})
	if err != nil {
		return fmt.Errorf("count attempt: %w", err)
	}
	if c.Failures > most {
		return fault.RateLimited(max(c.WindowEnd.Sub(now), time.Second), "尝试过多，请稍后再试")
	}
	return nil
}

func (s *Service) forgive(ctx context.Context, byUser, byAddr []byte) error {
	if err := s.q.ForgetAttempts(ctx, byUser); err != nil {
		return fmt.Errorf("forget sign-ins: %w", err)
	}
	if err := s.q.ForgiveAttempt(ctx, byAddr); err != nil {
		return fmt.Errorf("forgive sign-in: %w", err)
	}
	return nil
}

// Attempt runs what strangers may try, such as a code they were given; what fails counts for the address.
func (s *Service) Attempt(ctx context.Context, what, addr string, fn func() error) error {
	key := limitKey(what, network(addr))
	if err := s.count(ctx, key, addressFailures); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err
	}
	if err := s.q.ForgiveAttempt(ctx, key); err != nil {
		return fmt.Errorf("forgive attempt: %w", err)
	}
	return nil
}
