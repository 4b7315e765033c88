package devices

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"time"

	"zhizheng/devices/internal/db"
)

// Broker is one that knows who is connected.
type Broker interface {
	Sessions() map[string]string // device → number of its certificate, "" for a token
	Disconnect(device string)
}

// Attach names the broker whose connections end with what let them in.
func (s *Service) Attach(b Broker) { s.broker.Store(&b) }

// watchEvery is how late a revocation by another process is seen; our own is seen at once.
const (
	watchEvery = 3 * time.Second
	crlEvery   = 24 * time.Hour
)

// watch has connections and revocation list looked at now.
func (s *Service) watch() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *Service) runWatch(ctx context.Context) {
	t := time.NewTicker(watchEvery)
	defer t.Stop()
	var list crl
	for {
		if err := s.cutOff(ctx); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "connections of revoked devices not looked for, trying again", "err", err)
		}
		if err := s.writeCRL(ctx, &list); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "revocation list not written, trying again", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-s.changed:
		}
	}
}

// cutOff ends the connections of devices that may not be there any more: revoked, expired, lost, retired.
func (s *Service) cutOff(ctx context.Context) error {
	b := s.broker.Load()
	if b == nil {
		return s.cutOffElsewhere(ctx)
	}
	p := db.NoLongerAllowedParams{Now: s.now()}
	for d, c := range (*b).Sessions() {
		p.Devices, p.Credentials = append(p.Devices, d), append(p.Credentials, c)
	}
	if len(p.Devices) == 0 {
		return nil
	}
	gone, err := s.q.NoLongerAllowed(ctx, p)
	if err != nil {
		return fmt.Errorf("ask who may stay: %w", err)
	}
	for _, d := range gone {
		s.log.InfoContext(ctx, "device cut off", "device", d)
		(*b).Disconnect(d)
	}
	return nil
}

// cutOffElsewhere does the same at a broker that is not ours. It knows who is connected by what devices say of themselves; one that comes back before
// the broker has read the revocation list says so, and is cut off again.
func (s *Service) cutOffElsewhere(ctx context.Context) error {
	w := s.sender.Load()
	if w == nil {
		return nil
	}
	broker, ok := (*w).(interface{ CutOff(device string) error })
	if !ok {
		return nil
	}
	gone, err := s.q.ConnectedWithoutRight(ctx, s.now())
	if err != nil {
		return fmt.Errorf("ask who may stay: %w", err)
	}
	for _, d := range gone {
		s.log.InfoContext(ctx, "device cut off", "device", d)
		if err := broker.CutOff(d); err != nil {
			return fmt.Errorf("cut off %s: %w", d, err)
		}
	}
	return nil
}

// crl is what was written last.
type crl struct {
	at      time.Time
	serials []string
}

// writeCRL brings the file for external brokers up to date, once a day at least: after a week brokers refuse an old one.
func (s *Service) writeCRL(ctx context.Context, last *crl) error {
	if s.ca == nil || s.crlFile == "" {
		return nil
	}
	entries, err := s.revoked(ctx)
	if err != nil {
		return err
	}
	serials := make([]string, len(entries))
	for i, e := range entries {
		serials[i] = e.SerialNumber.Text(16)
	}
	now := time.Now() // brokers live by it
	if !last.at.IsZero() && now.Sub(last.at) < crlEvery && slices.Equal(serials, last.serials) {
		return nil
	}
	text, err := s.ca.CRL(entries, now)
	if err != nil {
		return fmt.Errorf("sign revocation list: %w", err)
	}
	if err := replaceFile(s.crlFile, text); err != nil {
		return err
	}
	*last = crl{now, serials}
	return nil
}

// CRL signs the list of revoked certificates as it is now, PEM.
func (s *Service) CRL(ctx context.Context) ([]byte, error) {
	if s.ca == nil {
		return nil, noAuthority()
	}
	entries, err := s.revoked(ctx)
	if err != nil {
		return nil, err
	}
	return s.ca.CRL(entries, time.Now())
}

func (s *Service) revoked(ctx context.Context) ([]x509.RevocationListEntry, error) {
	rows, err := s.q.RevokedCertificates(ctx, s.now())
	if err != nil {
		return nil, fmt.Errorf("list revoked certificates: %w", err)
	}
	entries := make([]x509.RevocationListEntry, len(rows))
	for i, r := range rows {
		n, ok := new(big.Int).SetString(r.Serial, 16)
		if !ok {
			return nil, fmt.Errorf("%q is no number of a certificate", r.Serial)
		}
		entries[i] = x509.RevocationListEntry{SerialNumber: n, RevocationTime: r.RevokedAt}
	}
	return entries, nil
}

// replaceFile writes for another program's account to read: whole or not at all.
func replaceFile(path string, b []byte) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, b) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	making := path + ".new"
	if err := os.WriteFile(making, b, 0o644); err != nil {
		return err
	}
	return os.Rename(making, path)
}
