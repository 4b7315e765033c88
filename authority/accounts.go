package authority

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/alexedwards/argon2id"
	"github.com/jackc/pgx/v5"

	"zhizheng/authority/internal/db"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// NewUser is an account to make. Townships nil means the whole county.
type NewUser struct {
	Username, Name, Role string
	Townships            []string
	Password             string // "" with MustChange: the person comes in by a link and sets one
	MustChange           bool   // ask for a new password at the first sign-in
}

var usernames = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{1,63}$`)

// CreateUser makes an account; fault.Conflict if the name is taken.
func (s *Service) CreateUser(ctx context.Context, n NewUser) (Actor, error) {
	name := strings.ToLower(strings.TrimSpace(n.Username))
	if !usernames.MatchString(name) {
		return Actor{}, fault.Invalid("用户名须为 2 至 64 个小写字母、数字、点、横线或下划线")
	}
	if _, ok := roles[n.Role]; !ok || n.Role == System.Role {
		return Actor{}, fault.Invalid("没有角色 %q", n.Role)
	}
	if n.Townships != nil && len(n.Townships) == 0 {
		return Actor{}, fault.Invalid("请指定乡镇范围")
	}
	if n.Password == "" && n.MustChange {
		n.Password = rand.Text() // nobody is told it
	}
	hash, err := s.hash(ctx, name, n.Password)
	if err != nil {
		return Actor{}, err
	}
	a := Actor{UserID: id.New(), Username: name, Name: n.Name, Role: n.Role, Townships: n.Townships, MustChange: n.MustChange}
	err = s.q.AddUser(ctx, db.AddUserParams{
		ID: a.UserID, Username: name, Name: n.Name, Role: n.Role, Townships: n.Townships, PasswordHash: hash, MustChange: n.MustChange,
	})
	if pg.IsUnique(err, "") {
		return Actor{}, fault.Conflict("用户名 %s 已存在", name)
	}
	if err != nil {
		return Actor{}, fmt.Errorf("add user: %w", err)
	}
	return a, nil
}

// hash refuses what is too easily guessed. Length is what counts (NIST SP 800-63B); no rules about kinds of characters.
func (s *Service) hash(ctx context.Context, username, password string) (string, error) {
	switch n := utf8.RuneCountInString(password); {
	case n < 12:
		return "", fault.Invalid("密码至少 12 个字符")
	case n > 200:
		return "", fault.Invalid("密码最多 200 个字符")
	case strings.Contains(strings.ToLower(password), username):
		return "", fault.Invalid("密码不能包含用户名")
	}
	if err := s.checks.Acquire(ctx, 1); err != nil {
		return "", err
	}
	defer s.checks.Release(1)
	h, err := argon2id.CreateHash(password, hashing)
	if err != nil {
		return "", fmt.Errorf("hash password: %w", err)
	}
	return h, nil
}

// ChangePassword replaces one's own password, ends all sessions of the account and makes the one in ctx a new one. Wrong guesses of
// the current password count as failed sign-ins. Who came by a link to an account that must change its password has none to give.
func (s *Service) ChangePassword(ctx context.Context, current, next string) error {
	a := ActorFrom(ctx)
	key := limitKey("user", a.Username)
	if err := s.count(ctx, key, userFailures); err != nil {
		return err
	}
	u, err := s.q.UserByID(ctx, a.UserID)
	if err != nil {
		return fmt.Errorf("look up user: %w", err)
	}
	if !u.MustChange || !s.sessions.GetBool(ctx, "link") {
		ok, err := s.check(ctx, current, u.PasswordHash)
		if err != nil {
			return err
		}
		if !ok {
			return fault.Invalid("当前密码不正确")
		}
	}
	if current == next {
		return fault.Invalid("新密码须与当前密码不同")
	}
	if err := s.SetPassword(ctx, u.ID, next, false); err != nil {
		return err
	}
	if err := s.q.ForgetAttempts(ctx, key); err != nil {
		return fmt.Errorf("forget sign-ins: %w", err)
	}
	if u, err = s.q.UserByID(ctx, u.ID); err != nil {
		return fmt.Errorf("look up user: %w", err)
	}
	_, err = s.begin(ctx, u, false)
	return err
}

// SetPassword sets an account's password and ends its sessions.
func (s *Service) SetPassword(ctx context.Context, userID, password string, mustChange bool) error {
	u, err := s.user(ctx, userID)
	if err != nil {
		return err
	}
	hash, err := s.hash(ctx, u.Username, password)
	if err != nil {
		return err
	}
	if _, err := s.q.SetPassword(ctx, db.SetPasswordParams{ID: u.ID, PasswordHash: hash, MustChange: mustChange}); err != nil {
		return fmt.Errorf("set password: %w", err)
	}
	return nil
}

// SetDisabled locks an account, or opens it again, and ends its sessions.
func (s *Service) SetDisabled(ctx context.Context, userID string, disabled bool) error {
	n, err := s.q.SetDisabled(ctx, db.SetDisabledParams{ID: userID, Disabled: disabled})
	if err != nil {
		return fmt.Errorf("disable user: %w", err)
	}
	if n == 0 {
		return fault.NotFound("没有这个用户")
	}
	return nil
}

func (s *Service) user(ctx context.Context, userID string) (db.AppUser, error) {
	u, err := s.q.UserByID(ctx, userID)
	if errors.Is(err, pgx.ErrNoRows) {
		return u, fault.NotFound("没有这个用户")
	}
	if err != nil {
		return u, fmt.Errorf("look up user: %w", err)
	}
	return u, nil
}

// UserByName gives an account as an actor without a session; fault.NotFound if there is none.
func (s *Service) UserByName(ctx context.Context, username string) (Actor, error) {
	u, err := s.q.UserByName(ctx, strings.ToLower(username))
	if errors.Is(err, pgx.ErrNoRows) {
		return Actor{}, fault.NotFound("没有用户 %s", username)
	}
	if err != nil {
		return Actor{}, fmt.Errorf("look up user: %w", err)
	}
	return actorOf(u, ""), nil
}

// CheckPassword reports whether a password is an account's, without signing in.
func (s *Service) CheckPassword(ctx context.Context, username, password string) (bool, error) {
	u, err := s.q.UserByName(ctx, strings.ToLower(username))
	if errors.Is(err, pgx.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up user: %w", err)
	}
	return s.check(ctx, password, u.PasswordHash)
}

// Names gives the names of users by id, for pages that show who acted; unknown ids are left out.
func (s *Service) Names(ctx context.Context, ids []string) (map[string]string, error) {
	names := map[string]string{System.UserID: System.Name}
	rows, err := s.q.UserNames(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("look up names: %w", err)
	}
	for _, r := range rows {
		names[r.ID] = r.Name
	}
	return names, nil
}

// CountUsers says how many accounts there are; a new platform has none.
func (s *Service) CountUsers(ctx context.Context) (int64, error) {
	n, err := s.q.CountUsers(ctx)
	if err != nil {
		return 0, fmt.Errorf("count accounts: %w", err)
	}
	return n, nil
}
