package authority

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/internal/fault"
	"zhizheng/internal/testenv"
)

type env struct {
	*Service
	pool  *pgxpool.Pool
	log   *evlog.Log
	clock time.Time
}

func newEnv(t *testing.T) *env {
	t.Helper()
	e := &env{pool: testenv.Pool(t), clock: time.Now()}
	sg, err := signer.Open(t.Context(), t.TempDir(), "test.example/log")
	if err != nil {
		t.Fatal(err)
	}
	if e.log, err = evlog.New(e.pool, evlog.Options{Signer: sg}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.log.Close() })
	e.Service = New(e.pool, e.log, Options{Now: func() time.Time { return e.clock }})
	return e
}

func (e *env) user(t *testing.T, n NewUser) Actor {
	t.Helper()
	a, err := e.CreateUser(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// browser is a request context with the session of a cookie's token.
func (e *env) browser(t *testing.T, token string) context.Context {
	t.Helper()
	ctx, err := e.Sessions().Load(context.Background(), token)
	if err != nil {
		t.Fatal(err)
	}
	return ctx
}

func (e *env) commit(t *testing.T, ctx context.Context) string {
	t.Helper()
	token, _, err := e.Sessions().Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

const goodPassword = "correct horse battery"

func wantKind(t *testing.T, err error, k fault.Kind) {
	t.Helper()
	if fault.KindOf(err) != k {
		t.Fatalf("error %v is %q, want %q", err, fault.KindOf(err), k)
	}
}

func TestSessionFromSignInToSignOut(t *testing.T) {
	e := newEnv(t)
	made := e.user(t, NewUser{Username: "Wang.Li", Name: "王丽", Role: "officer", Townships: []string{"510821100"}, Password: goodPassword})
	planted := e.commit(t, e.browser(t, ""))

	ctx := e.browser(t, planted)
	a, err := e.SignIn(ctx, " wang.li ", goodPassword, "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	token := e.commit(t, ctx)
	if token == planted {
		t.Fatal("signing in kept the token from before")
	}
	if a.UserID != made.UserID || a.Session == "" {
		t.Fatalf("signed in as %+v", a)
	}
	got, err := e.Current(e.browser(t, token))
	if err != nil || got.UserID != made.UserID || !got.Sees("510821100") || got.Sees("510821101") {
		t.Fatalf("session gives %+v, %v", got, err)
	}
	var stored int
	if err := e.pool.QueryRow(t.Context(), `select count(*) from sessions where token = $1`, token).Scan(&stored); err != nil || stored != 0 {
		t.Fatalf("the token itself lies in the table (%d, %v)", stored, err)
	}
	out := e.browser(t, token)
	if err := e.SignOut(out); err != nil {
		t.Fatal(err)
	}
	_, err = e.Current(e.browser(t, token))
	wantKind(t, err, fault.KindUnauthorized)
}

func TestDisabledAccountAndNewPasswordEndSessions(t *testing.T) {
	e := newEnv(t)
	u := e.user(t, NewUser{Username: "li", Name: "李", Role: "admin", Password: goodPassword, MustChange: true})
	signIn := func(password string) string {
		ctx := e.browser(t, "")
		if _, err := e.SignIn(ctx, "li", password, "192.0.2.1"); err != nil {
			t.Fatal(err)
		}
		return e.commit(t, ctx)
	}
	first, second := signIn(goodPassword), signIn(goodPassword)
	ctx := e.browser(t, second)
	a, err := e.Current(ctx)
	if err != nil || a.May("admin") || !a.May("session") {
		t.Fatalf("who must change the password may do only that: %+v %v", a, err)
	}
	const next = "another long passphrase"
	wantKind(t, e.ChangePassword(WithActor(ctx, a), "wrong guess at it", next), fault.KindInvalid)
	if err := e.ChangePassword(WithActor(ctx, a), goodPassword, next); err != nil {
		t.Fatal(err)
	}
	changed := e.commit(t, ctx)
	if a, err := e.Current(e.browser(t, changed)); err != nil || !a.May("admin") {
		t.Fatalf("after the change: %+v %v", a, err)
	}
	_, err = e.Current(e.browser(t, first))
	wantKind(t, err, fault.KindUnauthorized)
	if err := e.SetDisabled(t.Context(), u.UserID, true); err != nil {
		t.Fatal(err)
	}
	_, err = e.Current(e.browser(t, changed))
	wantKind(t, err, fault.KindUnauthorized)
	_, err = e.SignIn(e.browser(t, ""), "li", next, "192.0.2.1")
	wantKind(t, err, fault.KindUnauthorized)
}

func TestSignInIsLimitedByUserAndByAddress(t *testing.T) {
	e := newEnv(t)
	e.user(t, NewUser{Username: "zhao", Name: "赵", Role: "officer", Password: goodPassword})
	try := func(user, password, addr string) error {
		_, err := e.SignIn(e.browser(t, ""), user, password, addr)
		return err
	}
	for range userFailures {
		wantKind(t, try("zhao", "not the password", "192.0.2.1"), fault.KindUnauthorized)
	}
	err := try("zhao", goodPassword, "198.51.100.9") // the right one, from elsewhere
	wantKind(t, err, fault.KindRateLimited)
	var f *fault.Error
	if !errors.As(err, &f) || f.RetryAfter <= 0 || f.RetryAfter > limitWindow {
		t.Fatalf("retry after %v", err)
	}
	e.clock = e.clock.Add(limitWindow + time.Second)
	if err := try("zhao", goodPassword, "198.51.100.9"); err != nil {
		t.Fatalf("after the window: %v", err)
	}
	for i := range addressFailures {
		wantKind(t, try("nobody"+strings.Repeat("x", i), "guess", "2001:db8::1"), fault.KindUnauthorized)
	}
	wantKind(t, try("zhao", goodPassword, "2001:db8::2"), fault.KindRateLimited) // the same /64
	if err := try("zhao", goodPassword, "2001:db8:0:1::2"); err != nil {
		t.Fatalf("another network is limited too: %v", err)
	}
}

func TestNetwork(t *testing.T) {
	for in, want := range map[string]string{"192.0.2.7": "192.0.2.7", "::ffff:192.0.2.7": "192.0.2.7", "2001:db8::5": "2001:db8::/64", "?": "?"} {
		if got := network(in); got != want {
			t.Errorf("network(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestLinkSignsInOnce(t *testing.T) {
	e := newEnv(t)
	u := e.user(t, NewUser{Username: "demo-reviewer", Name: "周", Role: "reviewer", Password: goodPassword})
	token, err := e.IssueLink(t.Context(), "demo-reviewer")
	if err != nil {
		t.Fatal(err)
	}
	a, err := e.RedeemLink(e.browser(t, ""), token, "192.0.2.1")
	if err != nil || a.UserID != u.UserID {
		t.Fatalf("redeemed as %+v, %v", a, err)
	}
	_, err = e.RedeemLink(e.browser(t, ""), token, "192.0.2.1")
	wantKind(t, err, fault.KindUnauthorized)
	late, err := e.IssueLink(t.Context(), "demo-reviewer")
	if err != nil {
		t.Fatal(err)
	}
	e.clock = e.clock.Add(linkLife + time.Second)
	_, err = e.RedeemLink(e.browser(t, ""), late, "192.0.2.1")
	wantKind(t, err, fault.KindUnauthorized)
}

func TestFirstAccountSetsItsPasswordByLink(t *testing.T) {
	e := newEnv(t)
	e.user(t, NewUser{Username: "admin", Name: "管理员", Role: "admin", MustChange: true})
	token, err := e.IssueLink(t.Context(), "admin")
	if err != nil {
		t.Fatal(err)
	}
	ctx := e.browser(t, "")
	a, err := e.RedeemLink(ctx, token, "192.0.2.1")
	if err != nil || !a.MustChange {
		t.Fatalf("came in as %+v, %v", a, err)
	}
	if err := e.ChangePassword(WithActor(ctx, a), "", goodPassword); err != nil {
		t.Fatal(err)
	}
	// From now on the link's session is an ordinary one: the current password is asked for.
	wantKind(t, e.ChangePassword(WithActor(ctx, a), "", "yet another passphrase"), fault.KindInvalid)
	if _, err := e.SignIn(e.browser(t, ""), "admin", goodPassword, "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
}

func TestCreateUserRefuses(t *testing.T) {
	e := newEnv(t)
	ok := NewUser{Username: "abc", Name: "示例", Role: "officer", Townships: []string{"510821100"}, Password: goodPassword}
	e.user(t, ok)
	_, err := e.CreateUser(t.Context(), ok)
	wantKind(t, err, fault.KindConflict)
	for name, change := range map[string]func(*NewUser){
		"short password":        func(n *NewUser) { n.Password = "short" },
		"name in password":      func(n *NewUser) { n.Password = "it is abcdabcd" },
		"role of the platform":  func(n *NewUser) { n.Role = "system" },
		"nobody's scope":        func(n *NewUser) { n.Townships = []string{} },
		"space in the username": func(n *NewUser) { n.Username = "a b" },
	} {
		n := ok
		n.Username = "abcd"
		change(&n)
		if _, err := e.CreateUser(t.Context(), n); fault.KindOf(err) != fault.KindInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNobodySeesAndMayNothing(t *testing.T) {
	nobody := ActorFrom(context.Background())
	if nobody.Sees("510821100") || nobody.May("session") || nobody.May("evidence:read") || nobody.Scope() == nil || !nobody.May("public") {
		t.Fatalf("the zero actor has rights: %+v", nobody)
	}
	if (Actor{UserID: "x", Role: "admin"}).May("evidence:read") {
		t.Fatal("an administrator reads evidence")
	}
	if (Actor{UserID: "x", Role: "leader"}).May("station") {
		t.Fatal("a person is a station")
	}
}

func day(s string) time.Time {
	d, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return d
}

func TestGrantAndRecallAreLeaves(t *testing.T) {
	e := newEnv(t)
	ctx := WithActor(t.Context(), System)
	if err := e.PutTownships(ctx, []Township{{Code: "510821100", Name: "东河镇", Kind: "town"}, {Code: "510821101", Name: "嘉川镇", Kind: "town"}}); err != nil {
		t.Fatal(err)
	}
	item := PowerItem{Code: "FQ-001", Name: "露天焚烧秸秆", Field: "生态环境", Law: "大气污染防治法", Article: "第119条"}
	if err := e.PutPowerItems(ctx, []PowerItem{item}); err != nil {
		t.Fatal(err)
	}
	g := []Grant{{Item: item, Township: "510821100", Mode: Delegated, From: day("2022-01-01"), Batch: "第一批"}}
	if err := e.GrantPowers(ctx, g); err != nil {
		t.Fatal(err)
	}
	wantKind(t, e.GrantPowers(ctx, []Grant{{Item: item, Township: "510821100", Mode: Delegated, From: day("2023-01-01")}}), fault.KindConflict)
	if err := e.RecallPower(ctx, g[0].ID, day("2024-06-30"), "收回"); err != nil {
		t.Fatal(err)
	}
	wantKind(t, e.RecallPower(ctx, g[0].ID, day("2024-07-30"), "收回"), fault.KindConflict)
	for d, want := range map[string]bool{"2021-12-31": false, "2022-01-01": true, "2024-06-30": true, "2024-07-01": false} {
		_, ok, err := e.GrantOn(ctx, "510821100", "FQ-001", day(d))
		if err != nil || ok != want {
			t.Errorf("in force on %s: %v %v, want %v", d, ok, err, want)
		}
	}
	leaves, err := e.log.SubjectLeaves(ctx, chain.Subject{Type: chain.SubjectTownship, ID: "510821100"})
	if err != nil || len(leaves) != 2 {
		t.Fatalf("%d leaves, %v", len(leaves), err)
	}
	officer := WithActor(t.Context(), Actor{UserID: "u", Role: "officer", Townships: []string{"510821101"}})
	_, _, err = e.ListPowerItems(officer, PowerFilter{Township: "510821100"})
	wantKind(t, err, fault.KindNotFound)
	towns, err := e.ListTownships(officer)
	if err != nil || len(towns) != 1 || towns[0].Code != "510821101" {
		t.Fatalf("towns %+v, %v", towns, err)
	}
}

func TestOfficersByCertificateDay(t *testing.T) {
	e := newEnv(t)
	ctx := WithActor(t.Context(), System)
	if err := e.PutTownships(ctx, []Township{{Code: "510821100", Name: "东河镇", Kind: "town"}}); err != nil {
		t.Fatal(err)
	}
	err := e.AddOfficers(ctx, []Officer{
		{Township: "510821100", Name: "甲（示例）", Certificates: []Certificate{{Number: "A1", From: day("2020-01-01"), To: day("2024-12-31")}, {Number: "A2", From: day("2025-01-01"), To: day("2029-12-31")}}},
		{Township: "510821100", Name: "乙（示例）", Certificates: []Certificate{{Number: "B1", From: day("2020-01-01"), To: day("2025-06-30")}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	list := func(f OfficerFilter) []Officer {
		t.Helper()
		all, _, err := e.ListOfficers(ctx, f)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	on := day("2025-07-01")
	if got := list(OfficerFilter{ValidOn: &on}); len(got) != 1 || got[0].Certificates[0].Number != "A2" {
		t.Fatalf("certified on %s: %+v", on, got)
	}
	if got := list(OfficerFilter{Q: "B1"}); len(got) != 1 || got[0].Name != "乙（示例）" {
		t.Fatalf("by number: %+v", got)
	}
	first, next, err := e.ListOfficers(ctx, OfficerFilter{Limit: 1})
	if err != nil || len(first) != 1 || next == "" {
		t.Fatalf("page one: %v %q %v", first, next, err)
	}
	second, end, err := e.ListOfficers(ctx, OfficerFilter{Limit: 1, After: next})
	if err != nil || len(second) != 1 || end != "" || second[0].ID == first[0].ID {
		t.Fatalf("page two: %v %q %v", second, end, err)
	}
	elsewhere := WithActor(t.Context(), Actor{UserID: "u", Role: "officer", Townships: []string{"510821101"}})
	if got, _, err := e.ListOfficers(elsewhere, OfficerFilter{}); err != nil || len(got) != 0 {
		t.Fatalf("another township sees %v, %v", got, err)
	}
}

// A session that is used goes on, and one that was ended stays ended, whatever requests were under way.
func TestKeepSession(t *testing.T) {
	e := newEnv(t)
	e.user(t, NewUser{Username: "li", Name: "李（示例）", Role: "reviewer", Password: goodPassword})
	ctx := e.browser(t, "")
	if _, err := e.SignIn(ctx, "li", goodPassword, "192.0.2.1"); err != nil {
		t.Fatal(err)
	}
	token := e.commit(t, ctx)
	keep := func(ctx context.Context) bool {
		t.Helper()
		got, expiry, moved, err := e.KeepSession(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if moved && (got != token || expiry.After(time.Now().Add(sessionIdle+10*time.Minute))) {
			t.Errorf("moved to %v", expiry)
		}
		return moved
	}
	underWay := e.browser(t, token)
	if keep(underWay) {
		t.Error("written at each request")
	}
	e.clock = e.clock.Add(5 * time.Minute)
	if !keep(underWay) {
		t.Error("a used session doesn't go on")
	}
	if err := e.SignOut(e.browser(t, token)); err != nil {
		t.Fatal(err)
	}
	e.clock = e.clock.Add(5 * time.Minute)
	if keep(underWay) {
		t.Error("moved a session that has ended")
	}
	if _, err := e.Current(e.browser(t, token)); err == nil {
		t.Error("the session came back")
	}
}
