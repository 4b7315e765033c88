// Package authority owns who may do what, where and when: townships and county departments, people who sign in and their roles,
// officers with certificates, power items and the townships that hold them between two days. It promises that a session, a
// certificate and a power item are judged by what is recorded at the moment of asking. It never decides a case.
//
// Read authority.go for roles and scope, signin.go for sessions, county.go for officers, power.go for power items.
package authority

import (
	"context"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/alexedwards/scs/pgxstore"
	"github.com/alexedwards/scs/v2"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/semaphore"

	"zhizheng/authority/internal/db"
	"zhizheng/evidence/evlog"
)

// Actor is who asks: a person with a session, or the platform itself (System).
type Actor struct {
	UserID, Username, Name, Role string
	Townships                    []string // division codes; nil = the whole county
	Session                      string   // opaque id of the session, for custody events
	MustChange                   bool     // nothing but changing the password is allowed
}

// System is the platform acting by itself: jobs, the demo's data.
var System = Actor{UserID: "system", Username: "system", Name: "系统", Role: "system"}

type actorKey struct{}

// WithActor puts the actor into ctx.
func WithActor(ctx context.Context, a Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, a)
}

// ActorFrom gives the actor of ctx, or the zero Actor, who sees nothing and may do nothing.
func ActorFrom(ctx context.Context) Actor {
	a, _ := ctx.Value(actorKey{}).(Actor)
	return a
}

// Sees reports whether what belongs to the township lies in the actor's scope.
func (a Actor) Sees(township string) bool {
	if a.UserID == "" {
		return false
	}
	return a.Townships == nil || slices.Contains(a.Townships, township)
}

// Scope is the townships for a query's "township = any(scope)": nil for the whole county, empty for nobody.
func (a Actor) Scope() []string {
	if a.UserID == "" {
		return []string{}
	}
	return a.Townships
}

// May reports whether the actor has a permission of openapi's x-permission.
func (a Actor) May(permission string) bool {
	if permission == "public" {
		return true
	}
	if a.UserID == "" || permission == "station" {
		return false
	}
	if permission == "session" || a.Role == System.Role {
		return true
	}
	return !a.MustChange && slices.Contains(roles[a.Role].permissions, permission)
}

// Permissions lists what a role may do.
func Permissions(role string) []string { return slices.Clone(roles[role].permissions) }

// RoleName is the role's name in Chinese.
func RoleName(role string) string { return roles[role].zh }

// Roles lists the roles a person can have.
func Roles() []string {
	return []string{"officer", "reviewer", "manager", "finance", "head", "leader", "supervisor", "archivist", "admin"}
}

type role struct {
	zh          string
	permissions []string
}

var roles = func() map[string]role {
	officer := []string{"evidence:read", "evidence:restrict", "case:read", "case:write", "device:read", "authority:read", "log:read", "gap:write"}
	reviewer := slices.Concat(officer, []string{"evidence:export", "hold:write", "retention:write", "budget:read"})
	reads := []string{"evidence:read", "case:read", "device:read", "budget:read", "authority:read", "log:read", "evidence:export"}
	return map[string]role{
		"officer":    {"执法人员", officer},
		"reviewer":   {"案件审核", reviewer},
		"manager":    {"装备管理", []string{"device:read", "device:write", "evidence:read", "budget:read", "authority:read", "log:read", "gap:write"}},
		"finance":    {"财务", []string{"budget:read", "budget:write", "device:read", "authority:read", "log:read"}},
		"head":       {"乡镇负责人", reviewer},
		"leader":     {"县领导", reads},
		"supervisor": {"执法监督", slices.Concat(reads, []string{"log:audit"})}, // asks for proof, changes nothing
		"archivist":  {"档案管理", []string{"evidence:read", "evidence:export", "case:read", "hold:write", "authority:read", "log:read"}},
		// An administrator keeps the system running and reads no evidence.
		"admin":  {"系统管理", []string{"admin", "authority:read", "authority:write", "device:read", "device:write", "budget:read", "case:read", "log:read", "log:audit", "log:admin"}},
		"system": {"系统", nil},
	}
}()

// Options are the settings of a Service; the zero value is usable.
type Options struct {
	Secure bool             // session cookies only over HTTPS
	Now    func() time.Time // time.Now by default
	Logger *slog.Logger
}

// Service is the one way to the authority tables.
type Service struct {
	sessions *scs.SessionManager
	pool     *pgxpool.Pool
	q        *db.Queries
	log      *evlog.Log
	now      func() time.Time
	logger   *slog.Logger
	// Each check of a password takes memory; more at once would let anyone exhaust it.
	checks *semaphore.Weighted
}

// New makes the service. Grants and recalls of power items are appended to log.
func New(pool *pgxpool.Pool, log *evlog.Log, o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	m := scs.New()
	m.Store = pgxstore.NewWithCleanupInterval(pool, 0) // Run sweeps; a goroutine here would have no owner
	m.HashTokenInStore = true
	m.Lifetime = sessionLifetime
	m.IdleTimeout = sessionIdle
	m.Cookie.Name = "zz_session"
	m.Cookie.HttpOnly = true
	m.Cookie.Secure = o.Secure
	m.Cookie.Path = "/"
	m.Cookie.SameSite = http.SameSiteLaxMode
	return &Service{sessions: m, pool: pool, q: db.New(pool), log: log, now: o.Now, logger: o.Logger, checks: semaphore.NewWeighted(4)}
}

// Sessions keeps sessions in PostgreSQL, their tokens hashed.
func (s *Service) Sessions() *scs.SessionManager { return s.sessions }

// Run sweeps expired sessions, links and counters until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	t := time.NewTicker(10 * time.Minute)
	defer t.Stop()
	for {
		if err := s.sweep(ctx); err != nil && ctx.Err() == nil {
			s.logger.WarnContext(ctx, "expired sessions not swept, next try in ten minutes", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func (s *Service) sweep(ctx context.Context) error {
	now := s.now()
	if err := s.q.SweepSessions(ctx, now); err != nil {
		return err
	}
	if err := s.q.SweepLinks(ctx, now.Add(-24*time.Hour)); err != nil {
		return err
	}
	return s.q.SweepLimits(ctx, now)
}

// County is the time zone of days and deadlines.
var County = time.FixedZone("+08:00", 8*3600)

// Day is the county's calendar day of t, as midnight UTC: how days are stored.
func Day(t time.Time) time.Time {
	y, m, d := t.In(County).Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}
