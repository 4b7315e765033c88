package authority

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
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
	// How long the idle clock may lag: a session is written back at most this often, not with every request.
	touchEvery = 5 * time.Minute
	linkLife   = 30 * time.Minute
)

// OWASP's second recommendation (19 MiB, 2 passes): about 30 ms on an office server.
var hashing = &argon2id.Params{Memory: 19 * 1024, Iterations: 2, Parallelism: 1, SaltLength: 16, KeyLength: 32}

// An unknown user name is checked against this, so that it takes as long as a known one.
const nobodysHash = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

// Session is a fresh sign-in: who, and the token for the cookie.
type Session struct {
	Actor   Actor
	Token   string
	Expires time.Time
}

func errSignIn() error { return fault.Unauthorized("用户名或密码不正确") }

// SignIn checks a password. Attempts are counted by user name and by address (addr: the client's IP) before the password is looked
// at, so that parallel guesses are limited too.
func (s *Service) SignIn(ctx context.Context, username, password, addr string) (Session, error) {
	username = strings.ToLower(strings.TrimSpace(username))
	byUser, byAddr := limitKey("user", username), limitKey("addr", network(addr))
	if err := s.count(ctx, byAddr, addressFailures); err != nil {
		return Session{}, err
	}
	if err := s.count(ctx, byUser, userFailures); err != nil {
		return Session{}, err
	}
	u, err := s.q.UserByName(ctx, username)
	unknown := errors.Is(err, pgx.ErrNoRows)
	if err != nil && !unknown {
		return Session{}, fmt.Errorf("look up user: %w", err)
	}
	hash := u.PasswordHash
	if unknown {
		hash = nobodysHash
	}
	ok, err := s.check(ctx, password, hash)
	if err != nil {
		return Session{}, err
	}
	if !ok || unknown || u.Disabled {
		return Session{}, errSignIn()
	}
	if err := s.forgive(ctx, byUser, byAddr); err != nil {
		return Session{}, err
	}
	return s.begin(ctx, u)
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

func (s *Service) begin(ctx context.Context, u db.AppUser) (Session, error) {
	// A token of its own for each sign-in: one planted before it can't become a session.
	sctx, err := s.Sessions.Load(ctx, "")
	if err != nil {
		return Session{}, fmt.Errorf("begin session: %w", err)
	}
	sid := id.New()
	s.Sessions.Put(sctx, "user", u.ID)
	s.Sessions.Put(sctx, "epoch", int(u.SessionEpoch))
	s.Sessions.Put(sctx, "sid", sid)
	s.Sessions.Put(sctx, "touched", s.now().Unix())
	token, expires, err := s.Sessions.Commit(sctx)
	if err != nil {
		return Session{}, fmt.Errorf("keep session: %w", err)
	}
	return Session{Actor: actorOf(u, sid), Token: token, Expires: expires}, nil
}

func actorOf(u db.AppUser, sid string) Actor {
	return Actor{UserID: u.ID, Username: u.Username, Name: u.Name, Role: u.Role, Townships: u.Townships, Session: sid, MustChange: u.MustChange}
}

// Cookie carries the session to the browser; with the zero Session it takes it away again.
func (s *Service) Cookie(sn Session) *http.Cookie {
	c := &http.Cookie{
		Name: s.Sessions.Cookie.Name, Value: sn.Token, Path: "/", HttpOnly: true, Secure: s.Sessions.Cookie.Secure,
		SameSite: http.SameSiteLaxMode, MaxAge: -1,
	}
	if sn.Token != "" {
		c.MaxAge = int(sessionLifetime.Seconds())
	}
	return c
}

// Authenticate gives the actor behind a session token: from the tables, so that a changed role or a disabled account counts at once.
func (s *Service) Authenticate(ctx context.Context, token string) (Actor, error) {
	if token == "" {
		return Actor{}, fault.Unauthorized("请先登录")
	}
	sctx, err := s.Sessions.Load(ctx, token)
	if err != nil {
		return Actor{}, fmt.Errorf("load session: %w", err)
	}
	uid := s.Sessions.GetString(sctx, "user")
	if uid == "" {
		return Actor{}, fault.Unauthorized("登录已过期，请重新登录")
	}
	u, err := s.q.UserByID(ctx, uid)
	if err != nil {
		return Actor{}, fmt.Errorf("look up user: %w", err)
	}
	if u.Disabled || int(u.SessionEpoch) != s.Sessions.GetInt(sctx, "epoch") {
		return Actor{}, fault.Unauthorized("登录已失效，请重新登录")
	}
	if now := s.now(); now.Sub(time.Unix(s.Sessions.GetInt64(sctx, "touched"), 0)) > touchEvery {
		s.Sessions.Put(sctx, "touched", now.Unix())
		if _, _, err := s.Sessions.Commit(sctx); err != nil {
			return Actor{}, fmt.Errorf("keep session: %w", err)
		}
	}
	return actorOf(u, s.Sessions.GetString(sctx, "sid")), nil
}

// FromRequest authenticates the request's cookie; without one the zero Actor and no error.
func (s *Service) FromRequest(r *http.Request) (Actor, error) {
	c, err := r.Cookie(s.Sessions.Cookie.Name)
	if err != nil || c.Value == "" {
		return Actor{}, nil
	}
	return s.Authenticate(r.Context(), c.Value)
}

// SignOut ends the session of a token.
func (s *Service) SignOut(ctx context.Context, token string) error {
	sctx, err := s.Sessions.Load(ctx, token)
	if err != nil {
		return fmt.Errorf("load session: %w", err)
	}
	if err := s.Sessions.Destroy(sctx); err != nil {
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
func (s *Service) RedeemLink(ctx context.Context, token, addr string) (Session, error) {
	byAddr := limitKey("addr", network(addr))
	if err := s.count(ctx, byAddr, addressFailures); err != nil {
		return Session{}, err
	}
	hash := sha256.Sum256([]byte(token))
	uid, err := s.q.UseLink(ctx, db.UseLinkParams{TokenHash: hash[:], Now: s.now()})
	if errors.Is(err, pgx.ErrNoRows) {
		return Session{}, fault.Unauthorized("登录链接已使用或已过期").Then("请用用户名和密码登录")
	}
	if err != nil {
		return Session{}, fmt.Errorf("use link: %w", err)
	}
	u, err := s.q.UserByID(ctx, uid)
	if err != nil {
		return Session{}, fmt.Errorf("look up user: %w", err)
	}
	if u.Disabled {
		return Session{}, errSignIn()
	}
	if err := s.q.ForgiveAttempt(ctx, byAddr); err != nil {
		return Session{}, fmt.Errorf("forgive attempt: %w", err)
	}
	return s.begin(ctx, u)
}
