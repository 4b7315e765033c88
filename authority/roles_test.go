package authority

import (
	"slices"
	"strings"
	"testing"
)

// Duties that must not meet in one role, whatever else the table says.
func TestDutiesThatStayApart(t *testing.T) {
	for _, role := range Roles() {
		has := func(p string) bool { return slices.Contains(Permissions(role), p) }
		if RoleName(role) == "" || len(Permissions(role)) == 0 {
			t.Errorf("%s has no name or may do nothing", role)
		}
		for _, apart := range [][2]string{
			{"authority:write", "evidence:read"}, // who makes accounts doesn't look at footage
			{"authority:write", "budget:write"},
			{"budget:write", "case:write"},
			{"budget:write", "evidence:read"},
			{"admin", "evidence:read"},
			{"device:write", "case:write"},
		} {
			if has(apart[0]) && has(apart[1]) {
				t.Errorf("%s has both %s and %s", role, apart[0], apart[1])
			}
		}
		if has("evidence:export") && !(has("evidence:read") && has("case:read")) {
			t.Errorf("%s exports what it can't read", role)
		}
		if has("hold:write") && !has("evidence:read") || has("evidence:restrict") && !has("evidence:read") {
			t.Errorf("%s acts on evidence it can't read", role)
		}
		if !has("log:read") {
			t.Errorf("%s can't see the log, which is everybody's", role)
		}
		seen := map[string]bool{}
		for _, p := range Permissions(role) {
			if seen[p] || p == "public" || p == "session" || p == "station" || p == "" {
				t.Errorf("%s: permission %q twice, or no permission", role, p)
			}
			seen[p] = true
		}
	}
	for _, watching := range []string{"leader", "supervisor"} {
		for _, p := range Permissions(watching) {
			if strings.HasSuffix(p, ":write") || p == "evidence:restrict" || p == "admin" {
				t.Errorf("%s, who only watches, has %s", watching, p)
			}
		}
	}
}

func TestWhoMayNothing(t *testing.T) {
	all := map[string]bool{"session": true, "station": true, "admin": true, "": true, "no:such": true}
	for _, r := range Roles() {
		for _, p := range Permissions(r) {
			all[p] = true
		}
	}
	for p := range all {
		for what, a := range map[string]Actor{
			"nobody":           {},
			"a role of nobody": {Role: "head"},
		} {
			if a.May(p) {
				t.Errorf("%s may %q", what, p)
			}
		}
		for what, a := range map[string]Actor{
			"no such role":                 {UserID: "u", Role: "emperor"},
			"no role":                      {UserID: "u"},
			"who has to change a password": {UserID: "u", Role: "head", MustChange: true},
		} {
			if a.May(p) != (p == "session") {
				t.Errorf("%s and %q: %v", what, p, a.May(p))
			}
		}
	}
	// Changing the list that was handed out changes nobody's rights.
	Permissions("finance")[0] = "admin"
	if (Actor{UserID: "u", Role: "finance"}).May("admin") {
		t.Error("the table was handed out")
	}
}
