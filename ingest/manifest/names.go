package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// Bounds of a configuration of names. Patterns are RE2: their time grows with the name's length and nothing else.
const (
	maxNameRules   = 200
	maxNamePattern = 1000
	maxNameConfig  = 256 << 10
)

// Names understands file names by rules, the first that matches. A name that none knows is ingested like any other; what a name says
// is a claim of the recorder's firmware and never decides whose footage it is.
type Names struct {
	rules    []nameRule
	sidecars map[string]bool
}

// Understood is what a name says. Fields that its rule doesn't read are empty.
type Understood struct {
	Rule              string
	Recorder, Officer string
	Time              *time.Time
	Sequence          *uint64
	Series            string // of the sequence
}

type nameRule struct {
	name       string
	pattern    *regexp.Regexp
	at         *time.Location
	series     *SeriesRule
	t, r, o, n int
}

// builtInNames are common recorders: law enforcement recorders that put serial, officer, time and number in the name, action cameras,
// dashcams, cameras by the design rule for camera file systems, and a time anywhere in a name.
const builtInNames = `
[[rule]]
name = "执法记录仪：序列号_人员编号_时间_序号"
file = '(?i)^(?P<series>(?P<recorder>[A-Z0-9][A-Z0-9-]{2,31})_(?P<officer>[A-Z0-9]{1,16}))_(?P<t>\d{14})_(?P<n>\d{3,8})\.[A-Z0-9]{2,4}$'
examples = ["DSJ-A1B2C1_012345_20260301120000_0001.mp4"]
[[rule]]
name = "行车记录仪：前缀日期-时间-序号"
file = '(?i)^(?P<series>NO|EV|PA)(?P<t>\d{8}-\d{6})-(?P<n>\d{6})(?P<series>[FR]?)\.[A-Z0-9]{2,4}$'
examples = ["NO20260101-120000-000001F.MP4"]
[[rule]]
name = "运动相机"
file = '(?i)^(?P<series>GOPR)(?P<n>\d{4})\.[A-Z0-9]{2,4}$'
examples = ["GOPR0042.MP4"]
[[rule]]
name = "运动相机：首章" # later chapters repeat the number
file = '(?i)^(?P<series>G[HXL])01(?P<n>\d{4})\.[A-Z0-9]{2,4}$'
examples = ["GX010042.MP4"]
[[rule]]
name = "相机：前缀加序号"
file = '(?i)^(?P<series>MOV_?|VID_?|MVI_?|IMG_?|DSCF|DSC_?|CLIP_?|REC_?|FILE_?|MAH)(?P<n>\d{3,6})\.[A-Z0-9]{2,4}$'
examples = ["MOV_0581.mp4"]
[[rule]]
name = "名称中的时间"
file = '(?:^|\D)(?P<t>20\d{6}[-_ T]?\d{6})(?:\d{3})?(?:\D|$)'
examples = ["PXL_20220724_210650210.NIGHT.mp4", "录像 20260301120000.mp4"]
`

const builtInSidecars = "txt nmea gps gpx 3gf srt log csv json xml kml thm lrv idx map md tsv"

// DefaultNames are the built-in rules.
func DefaultNames() Names {
	n, err := ReadNames(nil)
	if err != nil {
		panic(err) // a constant of this file
	}
	return n
}

// ReadNames reads a configuration (TOML): its rules come before the built-in ones, which "builtin = false" leaves out. An unknown
// key, a wrong pattern, or an example that its own rule doesn't understand refuses all of it.
func ReadNames(config []byte) (Names, error) {
	var file, built nameConfig
	if len(config) > maxNameConfig {
		return Names{}, fmt.Errorf("configuration of more than %d bytes", maxNameConfig)
	}
	if err := decodeNames(config, &file); err != nil {
		return Names{}, err
	}
	if err := decodeNames([]byte(builtInNames), &built); err != nil {
		return Names{}, err
	}
	if file.BuiltIn == nil || *file.BuiltIn {
		file.Rules = append(file.Rules, built.Rules...)
	}
	n := Names{sidecars: map[string]bool{}}
	for _, e := range append(strings.Fields(builtInSidecars), file.Sidecars...) {
		n.sidecars["."+strings.ToLower(strings.TrimPrefix(e, "."))] = true
	}
	if len(file.Rules) > maxNameRules {
		return Names{}, fmt.Errorf("%d rules, more than %d", len(file.Rules), maxNameRules)
	}
	for i, c := range file.Rules {
		r, err := c.compile()
		if err != nil {
			return Names{}, fmt.Errorf("rule %d %q: %w", i+1, c.Name, err)
		}
		n.rules = append(n.rules, r)
	}
	return n, nil
}

type nameConfig struct {
	BuiltIn  *bool            `toml:"builtin"`
	Sidecars []string         `toml:"sidecars"` // further extensions of files that lie beside footage
	Rules    []nameRuleConfig `toml:"rule"`
}

type nameRuleConfig struct {
	Name     string   `toml:"name"`
	File     string   `toml:"file"`     // matched against the last element of the path
	Zone     string   `toml:"zone"`     // of the time in it, "+08:00" unless said otherwise
	Examples []string `toml:"examples"` // names that this rule must understand
}

func decodeNames(b []byte, c *nameConfig) error {
	d := toml.NewDecoder(bytes.NewReader(b)).DisallowUnknownFields()
	err := d.Decode(c)
	var strict *toml.StrictMissingError
	var at *toml.DecodeError
	switch {
	case errors.As(err, &strict) && len(strict.Errors) > 0:
		row, _ := strict.Errors[0].Position()
		return fmt.Errorf("line %d: unknown key %q", row, strings.Join(strict.Errors[0].Key(), "."))
	case errors.As(err, &at):
		row, column := at.Position()
		return fmt.Errorf("line %d, column %d: %s", row, column, at.Error())
	}
	return err
}

var nameGroups = map[string]bool{"": true, "recorder": true, "officer": true, "t": true, "n": true, "series": true}

func (c nameRuleConfig) compile() (nameRule, error) {
	r := nameRule{name: c.Name}
	switch {
	case c.Name == "":
		return r, errors.New("has no name")
	case c.File == "":
		return r, errors.New("has no pattern (file)")
	case len(c.File) > maxNamePattern:
		return r, fmt.Errorf("pattern of more than %d characters", maxNamePattern)
	}
	var err error
	if r.pattern, err = regexp.Compile(c.File); err != nil {
		return r, fmt.Errorf("pattern: %w", err)
	}
	useful := false
	for _, g := range r.pattern.SubexpNames() {
		if !nameGroups[g] {
			return r, fmt.Errorf("unknown group (?P<%s>…); known are recorder, officer, t, n and series", g)
		}
		useful = useful || g != "" && g != "series"
	}
	if !useful {
		return r, errors.New("reads nothing: no group recorder, officer, t or n")
	}
	r.r, r.o, r.t, r.n = r.pattern.SubexpIndex("recorder"), r.pattern.SubexpIndex("officer"), r.pattern.SubexpIndex("t"), r.pattern.SubexpIndex("n")
	if r.n >= 0 {
		s, err := NewSeriesRule(c.File)
		if err != nil {
			return r, err
		}
		r.series = &s
	}
	zone := c.Zone
	if zone == "" {
		zone = "+08:00"
	}
	at, err := time.Parse("-07:00", zone)
	if err != nil {
		return r, fmt.Errorf("zone %q is none like +08:00", zone)
	}
	r.at = at.Location()
	for _, e := range c.Examples {
		if _, ok := r.understand(e); !ok {
			return r, fmt.Errorf("doesn't understand its own example %q", e)
		}
	}
	return r, nil
}

// Series are the rules that read a number, for InferGaps.
func (n Names) Series() (out []SeriesRule) {
	for _, r := range n.rules {
		if r.series != nil {
			out = append(out, *r.series)
		}
	}
	return out
}

// Sidecar tells whether a name is one of a file beside footage.
func (n Names) Sidecar(name string) bool { return n.sidecars[strings.ToLower(path.Ext(name))] }

// Understand reads a name by the first rule that matches; a time that it doesn't read may be read by a later one.
func (n Names) Understand(name string) (u Understood, ok bool) {
	if len(name) > MaxFileName {
		return u, false
	}
	for _, r := range n.rules {
		v, matches := r.understand(name)
		if !matches {
			continue
		}
		if !ok {
			u, ok = v, true
		} else if u.Time == nil {
			u.Time = v.Time
		}
		if u.Time != nil {
			break
		}
	}
	return u, ok
}

func (r nameRule) understand(name string) (u Understood, ok bool) {
	m := r.pattern.FindStringSubmatch(path.Base(strings.ReplaceAll(name, `\`, "/")))
	if m == nil {
		return u, false
	}
	u.Rule = r.name
	if r.r >= 0 {
		u.Recorder = m[r.r]
	}
	if r.o >= 0 {
		u.Officer = m[r.o]
	}
	if r.n >= 0 {
		if v, err := strconv.ParseUint(m[r.n], 10, 64); err == nil {
			u.Sequence = &v
		}
		if f, ok := number([]SeriesRule{*r.series}, name); ok && !strings.HasPrefix(f.series, "#") {
			u.Series = f.series
		}
	}
	if r.t >= 0 {
		if u.Time = digitsTime(m[r.t], r.at); u.Time == nil && r.n < 0 && r.r < 0 && r.o < 0 {
			return Understood{}, false // a rule for times that found none, such as month 13
		}
	}
	return u, true
}

// digitsTime reads the digits of a time: year to second, or with a year of two digits.
func digitsTime(s string, at *time.Location) *time.Time {
	digits := strings.Map(func(c rune) rune {
		if c < '0' || c > '9' {
			return -1
		}
		return c
	}, s)
	if len(digits) == 12 {
		digits = "20" + digits
	}
	if len(digits) < 14 {
		return nil
	}
	t, err := time.ParseInLocation("20060102150405", digits[:14], at)
	if err != nil {
		return nil
	}
	t = t.UTC()
	return &t
}
