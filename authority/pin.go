package authority

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/alexedwards/argon2id"
	"github.com/jackc/pgx/v5"

	"zhizheng/authority/internal/db"
	"zhizheng/internal/fault"
)

// CardDigest is what a station knows an officer's card by: of the certificate's number, as the card's chip or bar code gives it. A number is
// no secret; a card says who stands there as the station's own page asks it, and opens nothing else.
func CardDigest(number string) string {
	sum := sha256.Sum256([]byte("zhizheng officer card v1\n" + strings.ToUpper(strings.TrimSpace(number))))
	return hex.EncodeToString(sum[:])
}

// pinFailures is how many wrong PINs of an officer are let through in a window.
const pinFailures = 5

// NewPIN gives an officer a fresh PIN of six digits, which ends an older one. It is shown once.
func (s *Service) NewPIN(ctx context.Context, officer string) (string, error) {
	os, err := s.Officers(ctx, []string{officer})
	if err != nil {
		return "", err
	}
	if len(os) == 0 || !ActorFrom(ctx).Sees(os[0].Township) {
		return "", fault.NotFound("没有这名执法人员")
	}
	if os[0].Left != nil && !s.now().Before(*os[0].Left) {
		return "", fault.Conflict("已离岗的人员不能设置 PIN")
	}
	n, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
	if err != nil {
		return "", err
	}
	pin := fmt.Sprintf("%06d", n)
	if err := s.checks.Acquire(ctx, 1); err != nil {
		return "", err
	}
	hash, err := argon2id.CreateHash(pin, hashing)
	s.checks.Release(1)
	if err != nil {
		return "", fmt.Errorf("hash PIN: %w", err)
	}
	if err := s.q.PutPin(ctx, db.PutPinParams{OfficerID: officer, Hash: hash, SetAt: s.now(), SetBy: ActorFrom(ctx).UserID}); err != nil {
		return "", fmt.Errorf("set PIN: %w", err)
	}
	return pin, nil
}

// CheckPIN says whether an officer of the township typed the right PIN. Guesses are counted by officer before anything is looked at.
func (s *Service) CheckPIN(ctx context.Context, township, officer, pin string) error {
	key := limitKey("pin", officer)
	if err := s.count(ctx, key, pinFailures); err != nil {
		return err
	}
	hash, err := s.q.Pin(ctx, db.PinParams{OfficerID: officer, Township: township, Day: Day(s.now())})
	unknown := errors.Is(err, pgx.ErrNoRows)
	if unknown {
		hash = nobodysHash
	} else if err != nil {
		return fmt.Errorf("look up PIN: %w", err)
	}
	ok, err := s.check(ctx, pin, hash)
	if err != nil {
		return err
	}
	if !ok || unknown {
		return fault.Unauthorized("PIN 不正确，或尚未设置 PIN")
	}
	if err := s.q.ForgetAttempts(ctx, key); err != nil {
		return fmt.Errorf("forget attempts: %w", err)
	}
	return nil
}

// StationOfficers are a township's officers as its stations show them.
func (s *Service) StationOfficers(ctx context.Context, township string) ([]StationOfficer, error) {
	var out []StationOfficer
	cursor := ""
	for {
		page, next, err := s.ListOfficers(ctx, OfficerFilter{Township: township, After: cursor, Limit: 200})
		if err != nil {
			return nil, err
		}
		for _, o := range page {
			if o.Left != nil && !s.now().Before(*o.Left) {
				continue
			}
			so := StationOfficer{ID: o.ID, Name: o.Name}
			for _, c := range o.Certificates {
				if c.ValidOn(Day(s.now())) {
					so.Cards = append(so.Cards, CardDigest(c.Number))
				}
			}
			out = append(out, so)
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	ids := make([]string, len(out))
	for i, o := range out {
		ids[i] = o.ID
	}
	with, err := s.q.HavePins(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("list PINs: %w", err)
	}
	have := map[string]bool{}
	for _, id := range with {
		have[id] = true
	}
	for i := range out {
		out[i].PIN = have[out[i].ID]
	}
	return out, nil
}

// StationOfficer is an officer at a station.
type StationOfficer struct {
	ID, Name string
	Cards    []string // digests of valid certificates
	PIN      bool     // there is one
}

// IsOfficer says whether there is an officer with an id.
func (s *Service) IsOfficer(ctx context.Context, id string) (bool, error) {
	os, err := s.Officers(ctx, []string{id})
	return len(os) == 1, err
}
