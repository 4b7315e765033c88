package authority

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/jackc/pgx/v5"

	"zhizheng/authority/internal/db"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
)

const (
	sessionLifetime = 12 * time.Hour
	sessionIdle     = 2 * time.Hour
	linkLife        = 30 * time.Minute
)

// OWASP's second recommendation (19 MiB, 2 passes): about 30 ms on an office server.
var hashing = &argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// An unknown user name is checked against this, so that it takes as long as a known one.
const nobodysHash = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

func errSignIn() error { return fault.Unauthorized("用户名或密码不正确") }

// SignIn checks a password and makes the session in ctx (of Sessions().Load) the person's; the edge then commits it and sets the
// cookie. Attempts are counted by user name and by address (addr: the client's IP) before the password is looked
// at, so that parallel guesses are limited too.
func (s *Service) SignIn(ctx context.Context, username, password, addr string) (Actor, error) {
	username = strings.ToLower(strings.TrimSpace(username))
	byUser, byAddr := limitKey("user", username), limitKey("addr", network(addr))
	if err := s.count(ctx, byAddr, addressFailures); err != nil {
		return Actor{}, err
	}
	if err := s.count(ctx, byUser, userFailures); err != nil {
		return Actor{}, err
	}
	u, err := s.q.UserByName(ctx, username)
	unknown := errors.Is(err, pgx.ErrNoRows)
	if err != nil && !unknown {
		return Actor{}, fmt.Errorf("look up user: %w", err)
	}
	hash := u.PasswordHash
	if unknown {
		hash = nobodysHash
	}
	ok, err := s.check(ctx, password, hash)
	if err != nil {
		return Actor{}, err
	}
	if !ok || unknown || u.Disabled {
		return Actor{}, errSignIn()
	}
	if err := s.forgive(ctx, byUser, byAddr); err != nil {
		return Actor{}, err
	}
	return s.begin(ctx, u, false)
}

func (s *Service) check(ctx context.Context, password, hash string) (bool, error) {
	if err := s.checks.Acquire(ctx, 1); err != nil {
		return false, err
	}
	defer s.checks.Release(1)
	ok, err := argon2id.ComparePasswordAndHash(password, hash)
	if err != nil {
		return false, fmt.Errorf("compare password: %w", err)
	}
	return ok, nil
}

func (s *Service) begin(ctx context.Context, u db.AppUser, byLink bool) (Actor, error) {
	// A new token for each sign-in: one that was planted before it can't become a session.
	if err := s.sessions.RenewToken(ctx); err != nil {
		return Actor{}, fmt.Errorf("begin session: %w", err)
	}
	sid := id.New()
	s.sessions.Put(ctx, "user", u.ID)
	s.sessions.Put(ctx, "epoch", int(u.SessionEpoch))
	s.sessions.Put(ctx, "sid", sid)
	s.sessions.Put(ctx, "link", byLink)
	return actorOf(u, sid), nil
}

func actorOf(u db.AppUser, sid string) Actor {
	return Actor{UserID: u.ID, Username: u.Username, Name: u.Name, Role: u.Role, Townships: u.Townships, Session: sid, MustChange: u.MustChange}
}

// Current gives the actor behind the session in ctx (of Sessions().Load): role and scope from the tables, so that a change or a
// locked account counts at once.
func (s *Service) Current(ctx context.Context) (Actor, error) {
	uid := s.sessions.GetString(ctx, "user")
	if uid == "" {
		return Actor{}, fault.Unauthorized("请先登录")
	}
	u, err := s.user(ctx, uid)
	if err != nil {
		return Actor{}, err
	}
	if u.Disabled || int(u.SessionEpoch) != s.sessions.GetInt(ctx, "epoch") {
		return Actor{}, fault.Unauthorized("登录已失效，请重新登录")
	}
	return actorOf(u, s.sessions.GetString(ctx, "sid")), nil
}

// SignOut ends the session in ctx; the edge then takes the cookie away.
func (s *Service) SignOut(ctx context.Context) error {
	if err := s.sessions.Destroy(ctx); err != nil {
		return fmt.Errorf("end session: %w", err)
	}
	return nil
}

// IssueLink makes a one-time sign-in token for a user, good for half an hour; only its hash is kept.
func (s *Service) IssueLink(ctx context.Context, username string) (string, error) {
	u, err := s.q.UserByName(ctx, strings.ToLower(username))
	if errors.Is(err, pgx.ErrNoRows) {
		return "", fault.NotFound("没有用户 %s", username)
	}
	if err != nil {
		return "", fmt.Errorf("look up user: %w", err)
	}
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails since Go 1.24
	token := base64.RawURLEncoding.EncodeToString(raw)
	hash := sha256.Sum256([]byte(token))
	err = s.q.AddLink(ctx, db.AddLinkParams{TokenHash: hash[:], UserID: u.ID, ExpiresAt: s.now().Add(linkLife)})
	if err != nil {
		return "", fmt.Errorf("keep link: %w", err)
	}
	return token, nil
}

// RedeemLink signs in with a one-time token; a second use is refused. Attempts count for the address.
func (s *Service) RedeemLink(ctx context.Context, token, addr string) (Actor, error) {
	byAddr := limitKey("addr", network(addr))
	if err := s.count(ctx, byAddr, addressFailures); err != nil {
		return Actor{}, err
	}
	hash := sha256.Sum256([]byte(token))
	uid, err := s.q.UseLink(ctx, db.UseLinkParams{TokenHash: hash[:], Now: s.now()})
	if errors.Is(err, pgx.ErrNoRows) {
		return Actor{}, fault.Unauthorized("登录链接已使用或已过期").Then("请用用户名和密码登录")
	}
	if err != nil {
		return Actor{}, fmt.Errorf("use link: %w", err)
	}
	u, err := s.q.UserByID(ctx, uid)
	if err != nil {
		return Actor{}, fmt.Errorf("look up user: %w", err)
	}
	if u.Disabled {
		return Actor{}, errSignIn()
	}
	if err := s.q.ForgiveAttempt(ctx, byAddr); err != nil {
		return Actor{}, fmt.Errorf("forgive attempt: %w", err)
	}
	return s.begin(ctx, u, true)
}

// KeepSession moves the idle limit of the caller's session, at most once a minute, and says whether it did. It never brings back a
// session that another request has ended meanwhile, as storing the session again would.
func (s *Service) KeepSession(ctx context.Context) (token string, expiry time.Time, moved bool, err error) {
	token = s.sessions.Token(ctx)
	expiry = s.now().Add(sessionIdle)
	if end := s.sessions.Deadline(ctx); end.Before(expiry) {
		expiry = end
	}
	hash := sha256.Sum256([]byte(token)) // as scs names a session in its store
	n, err := s.q.KeepSession(ctx, db.KeepSessionParams{Token: base64.RawURLEncoding.EncodeToString(hash[:]), Expiry: expiry})
	if err != nil {
		return "", time.Time{}, false, fmt.Errorf("keep session: %w", err)
	}
	return token, expiry, n > 0, nil
}
