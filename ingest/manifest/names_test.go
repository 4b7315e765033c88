package manifest

import (
	"strings"
	"testing"
	"time"
)

func TestNamesAreUnderstood(t *testing.T) {
	n := DefaultNames()
	for name, want := range map[string]string{
		"DCIM/DSJ-A1B2C1_012345_20260301120000_0001.mp4": "DSJ-A1B2C1 012345 2026-03-01T04:00:00Z 1",
		`DCIM\100\NO20260101-120000-000001F.MP4`:         "  2026-01-01T04:00:00Z 1",
		"MOV_0581.mp4":                                   "   581",
		"PXL_20220724_210650210.NIGHT.mp4":               "  2022-07-24T13:06:50Z ",
		"录像 20260301120000.mp4":                          "  2026-03-01T04:00:00Z ",
		"DSJ-1_7_20261301120000_0001.mp4":                "DSJ-1 7  1", // month 13
		"a.mp4":                                          "-",
		"":                                               "-",
		"99999999999999.mp4":                             "-",
		"20261301120000.mp4":                             "-",
		"1202603011200001.mp4":                           "-",
		strings.Repeat("x", MaxFileName) + "y":           "-",
	} {
		u, ok := n.Understand(name)
		got := "-"
		if ok {
			got = u.Recorder + " " + u.Officer + " "
			if u.Time != nil {
				got += u.Time.Format(time.RFC3339)
			}
			if got += " "; u.Sequence != nil {
				got += itoa(*u.Sequence)
			}
		}
		if got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	if !n.Sidecar("a/b.NMEA") || n.Sidecar("a/b.mp4") {
		t.Error("sidecars")
	}
}

func itoa(v uint64) string {
	if v < 10 {
		return string(rune('0' + v))
	}
	return itoa(v/10) + itoa(v%10)
}

func TestConfiguredNames(t *testing.T) {
	n, err := ReadNames([]byte(`
sidecars = ["xyz"]
[[rule]]
name = "county's own"
file = '^(?P<t>\d{12})_(?P<recorder>[0-9A-F]{8})_(?P<n>\d+)\.ts$'
zone = "+00:00"
examples = ["260301040000_00AABBCC_17.ts"]
`))
	if err != nil {
		t.Fatal(err)
	}
	u, ok := n.Understand("x/260301040000_00AABBCC_17.ts")
	if !ok || u.Rule != "county's own" || u.Recorder != "00AABBCC" || *u.Sequence != 17 || !u.Time.Equal(time.Date(2026, 3, 1, 4, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v", u)
	}
	if u, ok := n.Understand("MOV_0581.mp4"); !ok || *u.Sequence != 581 || !n.Sidecar("a.xyz") || !n.Sidecar("a.nmea") {
		t.Errorf("the built-in rules are gone: %+v", u)
	}
	if only, err := ReadNames([]byte("builtin = false")); err != nil || len(only.Series()) != 0 {
		t.Errorf("without them: %v", err)
	}
	rule := func(s string) string { return "[[rule]]\nname = \"x\"\n" + s }
	for config, says := range map[string]string{
		"[[rule":                                           "line 1",
		rule("pattern = 'x'"):                              `line 3: unknown key "rule.pattern"`,
		rule("file = '('"):                                 "pattern:",
		rule(`file = '(?P<n>\d+)(?=x)'`):                   "pattern:", // look-ahead: not RE2
		rule(`file = '(a+)+$'`):                            "reads nothing",
		rule("file = '^x$'"):                               "reads nothing",
		rule(`file = '(?P<speed>\d+)'`):                    "unknown group",
		rule("file = '(?P<series>x)'"):                     "reads nothing",
		rule("zone = '8'\nfile = '(?P<t>x)'"):              "zone",
		rule("file = '(?P<n>\\d+)'\nexamples = [\"abc\"]"): "its own example",
		"[[rule]]\nfile = '(?P<n>1)'":                      "no name",
		rule(""):                                           "no pattern",
		rule("file = '(?P<n>" + strings.Repeat("1", 1000) + ")'"):          "more than",
		strings.Repeat("#", maxNameConfig+1):                               "more than",
		strings.Repeat("[[rule]]\nname = \"x\"\nfile = '(?P<n>1)'\n", 201): "more than",
	} {
		if _, err := ReadNames([]byte(config)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.80q: %v, want %q", config, err, says)
		}
	}
}

// A pattern that makes other engines run for ever takes no longer here than the name is long.
func TestHostilePatternIsQuick(t *testing.T) {
	n, err := ReadNames([]byte("builtin = false\n[[rule]]\nname = \"x\"\nfile = '^((?P<n>a*)*)*$'\n"))
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	n.Understand(strings.Repeat("a", MaxFileName-1) + "b")
	if d := time.Since(start); d > time.Second {
		t.Errorf("took %s", d)
	}
}

func FuzzNames(f *testing.F) {
	f.Add("DSJ-A1B2C1_012345_20260301120000_0001.mp4", `[[rule]]
name = "x"
file = '(?P<n>\d+)(?P<t>\d+)'
`)
	f.Fuzz(func(t *testing.T, name, config string) {
		n, err := ReadNames([]byte(config))
		if err != nil {
			n = DefaultNames()
		}
		if u, ok := n.Understand(name); ok && u.Rule == "" {
			t.Fatalf("%+v", u)
		}
	})
}
