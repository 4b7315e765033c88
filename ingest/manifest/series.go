package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A recorder without a key of its own signs nothing, so that a clip lacks can only be inferred from the names of the others. Such a gap
// proves nothing (files are deleted and renamed for good reasons) and is always labelled 推断.

// SeriesRule reads the number of a file out of its name. The pattern is matched against the last element of the path; its groups named n
// hold the rising number (digits), t a time of digits that sorts, series (any number of groups) what tells one series from another.
type SeriesRule struct {
	pattern *regexp.Regexp
	n, t    int
	series  []int
}

// NewSeriesRule compiles a pattern (RE2).
func NewSeriesRule(pattern string) (SeriesRule, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return SeriesRule{}, fmt.Errorf("pattern of file names: %w", err)
	}
	r := SeriesRule{pattern: re, n: re.SubexpIndex("n"), t: re.SubexpIndex("t")}
	if r.n < 0 {
		return SeriesRule{}, errors.New("pattern of file names: no group (?P<n>…) for the number")
	}
	for i, name := range re.SubexpNames() {
		if name == "series" {
			r.series = append(r.series, i)
		}
	}
	return r, nil
}

// DefaultSeries are the built-in rules that read a number, see DefaultNames.
func DefaultSeries() []SeriesRule { return DefaultNames().Series() }

// MaxInferred is the longest run of numbers that is taken for missing clips. A longer one is a counter that was set anew.
const MaxInferred = 200

// Inferred is a run of numbers that no name has, between two names that are there.
type Inferred struct {
	Series        string
	First, Last   uint64
	Before, After int // indexes of the names around it
}

// Count is how many numbers it has.
func (i Inferred) Count() uint64 { return i.Last - i.First + 1 }

type numbered struct {
	series, t string
	n         uint64
	at        int
}

// InferGaps finds the runs of numbers that the names of one recorder skip. Names that no rule knows are passed over. With times in the
// names the order is that of the times, and a number that falls begins a new run; without them all numbers are one run.
func InferGaps(rules []SeriesRule, names []string) []Inferred {
	var all []numbered
	for i, name := range names {
		if f, ok := number(rules, name); ok {
			f.at = i
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b numbered) int {
		return cmp.Or(cmp.Compare(a.series, b.series), cmp.Compare(a.t, b.t), cmp.Compare(a.n, b.n), cmp.Compare(a.at, b.at))
	})
	var out []Inferred
	for i := 1; i < len(all); i++ {
		a, b := all[i-1], all[i]
		if a.series != b.series || b.n <= a.n+1 || b.n-a.n-1 > MaxInferred {
			continue // another series, the next number, a sidecar of the same one, or a counter set anew
		}
		out = append(out, Inferred{Series: a.series, First: a.n + 1, Last: b.n - 1, Before: a.at, After: b.at})
	}
	return out
}

func number(rules []SeriesRule, name string) (numbered, bool) {
	if len(name) > MaxFileName {
		return numbered{}, false
	}
	base := path.Base(strings.ReplaceAll(name, `\`, "/"))
	for i, r := range rules {
		m := r.pattern.FindStringSubmatch(base)
		if m == nil {
			continue
		}
		n, err := strconv.ParseUint(m[r.n], 10, 64)
		if err != nil || n > math.MaxInt64 { // no number that rises by one
			return numbered{}, false
		}
		f := numbered{n: n}
		if r.t >= 0 {
			f.t = m[r.t]
		}
		parts := []string{}
		for _, g := range r.series {
			parts = append(parts, strings.ToUpper(m[g]))
		}
		f.series = strings.TrimRight(strings.Join(parts, "·"), "·")
		if f.series == "" {
			f.series = "#" + strconv.Itoa(i+1)
		}
		return f, true
	}
	return numbered{}, false
}
