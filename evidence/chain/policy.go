package chain

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Policy says whom to trust (C2SP tlog-policy): logs, any of which may have signed, witnesses, and how many of them must have
// cosigned. Several logs of one origin are one log whose key changes. The zero value trusts nobody.
type Policy struct {
	Logs      []PolicyLog
	Witnesses []PolicyWitness
	Groups    []PolicyGroup // members of a group come before it
	Rule      string        // the witness or group that has to have signed, or NoQuorum
}

// PolicyLog is a log's key.
type PolicyLog struct {
	VKey string
	URL  string // may be empty
}

// PolicyWitness is a witness.
type PolicyWitness struct {
	Name string // in this policy only
	VKey string
	URL  string // its submission prefix; empty for one that is asked by carrying files
}

// PolicyGroup has signed when Need of its members have.
type PolicyGroup struct {
	Name    string
	Need    int
	Members []string // witnesses or groups; each name is a member once in the whole policy
}

// NoQuorum is the rule that asks for no witness.
const NoQuorum = "none"

// Bounds of a policy: C2SP asks for 32 of each at least.
const (
	maxPolicy = 64 << 10
	maxDefs   = 64
)

// LogPolicy trusts a log's key, or keys while one replaces the other, and asks for no witness.
func LogPolicy(vkeys ...string) Policy {
	p := Policy{Rule: NoQuorum}
	for _, k := range vkeys {
		p.Logs = append(p.Logs, PolicyLog{VKey: strings.TrimSpace(k)})
	}
	return p
}

// ParseTrust reads what a verifier is told to trust: a log's keys, one a line, or a policy that names a log at least.
func ParseTrust(text string) (Policy, error) {
	if t := strings.TrimSpace(text); t != "" && !strings.ContainsAny(t, " \t") { // keys, as /log/vkey lists them
		if _, err := ParseKeys(t); err != nil {
			return Policy{}, err
		}
		return LogPolicy(strings.Fields(t)...), nil
	}
	p, err := ParsePolicy(text)
	if err == nil && len(p.Logs) == 0 {
		err = errors.New("read policy: it names no log")
	}
	return p, err
}

// ParsePolicy reads a policy. Comments, blanks and the words any and all are read, and not kept: see Text.
func ParsePolicy(text string) (Policy, error) {
	if len(text) > maxPolicy {
		return Policy{}, fmt.Errorf("read policy: %d bytes, more than %d", len(text), maxPolicy)
	}
	r := policyReader{defined: map[string]bool{NoQuorum: true}, member: map[string]bool{}, keys: map[string]bool{}}
	for i, line := range strings.Split(text, "\n") {
		if strings.ContainsFunc(line, func(c rune) bool { return (c < 0x20 && c != '\t') || c == 0x7f }) {
			return Policy{}, fmt.Errorf("read policy: line %d holds a control character", i+1)
		}
		fields := strings.FieldsFunc(line, func(c rune) bool { return c == ' ' || c == '\t' })
		if len(fields) == 0 || fields[0][0] == '#' {
			continue
		}
		if err := r.line(fields); err != nil {
			return Policy{}, fmt.Errorf("read policy: line %d: %w", i+1, err)
		}
	}
	if r.p.Rule == "" {
		return Policy{}, errors.New("read policy: no quorum line")
	}
	return r.p, nil
}

type policyReader struct {
	p       Policy
	defined map[string]bool // names of witnesses and groups
	member  map[string]bool
	keys    map[string]bool // the kind of line with the bare key: two names don't make two keys
}

func (r *policyReader) line(f []string) error {
	if len(r.p.Logs) > maxDefs || len(r.p.Witnesses) > maxDefs || len(r.p.Groups) > maxDefs {
		return fmt.Errorf("more than %d of a kind", maxDefs)
	}
	switch {
	case f[0] == "log" && (len(f) == 2 || len(f) == 3):
		r.p.Logs = append(r.p.Logs, PolicyLog{f[1], at(f, 2)})
		return r.key("log", f[1], typeEd25519)
	case f[0] == "witness" && (len(f) == 3 || len(f) == 4):
		r.p.Witnesses = append(r.p.Witnesses, PolicyWitness{f[1], f[2], at(f, 3)})
		if err := r.define(f[1]); err != nil {
			return err
		}
		return r.key("witness", f[2], typeCosignature)
	case f[0] == "group" && len(f) >= 4:
		return r.group(f[1], f[2], f[3:])
	case f[0] == "quorum" && len(f) == 2:
		if r.p.Rule != "" {
			return errors.New("a second quorum")
		}
		if !r.defined[f[1]] {
			return fmt.Errorf("%q is not defined before", f[1])
		}
		r.p.Rule = f[1]
		return nil
	}
	return fmt.Errorf("%q with %d words is no line of a policy", f[0], len(f)-1)
}

func at(f []string, i int) string {
	if i < len(f) {
		return f[i]
	}
	return ""
}

func (r *policyReader) define(name string) error {
	if r.defined[name] {
		return fmt.Errorf("%q is defined already", name)
	}
	r.defined[name] = true
	return nil
}

func (r *policyReader) key(kind, vkey string, typ byte) error {
	k, err := parseKey(vkey)
	if err != nil {
		return err
	}
	if k.typ != typ {
		return fmt.Errorf("the key %s is of type %d, a %s's is of type %d", k.name, k.typ, kind, typ)
	}
	if id := kind + string(k.public); !r.keys[id] {
		r.keys[id] = true
		return nil
	}
	return fmt.Errorf("the key of %s is there twice", k.name)
}

func (r *policyReader) group(name, need string, members []string) error {
	g := PolicyGroup{Name: name, Members: members}
	switch need {
	case "any":
		g.Need = 1
	case "all":
		g.Need = len(members)
	default:
		n, err := strconv.Atoi(need)
		if err != nil || n < 1 || n > len(members) || strconv.Itoa(n) != need {
			return fmt.Errorf("%q of %d members", need, len(members))
		}
		g.Need = n
	}
	for _, m := range members {
		switch {
		case m == NoQuorum || !r.defined[m]:
			return fmt.Errorf("%q is not defined before", m)
		case r.member[m]: // a witness counts in one way only
			return fmt.Errorf("%q is a member already", m)
		}
		r.member[m] = true
	}
	r.p.Groups = append(r.p.Groups, g)
	return r.define(name)
}

// Text is the policy in its one spelling: logs, witnesses, groups, the quorum, single spaces, numbers for any and all.
func (p Policy) Text() string {
	var b strings.Builder
	line := func(words ...string) {
		b.WriteString(strings.TrimRight(strings.Join(words, " "), " ") + "\n")
	}
	for _, l := range p.Logs {
		line("log", l.VKey, l.URL)
	}
	for _, w := range p.Witnesses {
		line("witness", w.Name, w.VKey, w.URL)
	}
	for _, g := range p.Groups {
		line(append([]string{"group", g.Name, strconv.Itoa(g.Need)}, g.Members...)...)
	}
	line("quorum", p.Rule)
	return b.String()
}

// Public is the policy without addresses: what others need to verify by.
func (p Policy) Public() Policy {
	p.Logs, p.Witnesses = slices.Clone(p.Logs), slices.Clone(p.Witnesses)
	for i := range p.Logs {
		p.Logs[i].URL = ""
	}
	for i := range p.Witnesses {
		p.Witnesses[i].URL = ""
	}
	return p
}

// LogVerifiers are the logs' keys.
func (p Policy) LogVerifiers() ([]note.Verifier, error) {
	vs := make([]note.Verifier, len(p.Logs))
	for i, l := range p.Logs {
		v, err := NewVerifier(l.VKey)
		if err != nil {
			return nil, err
		}
		vs[i] = v
	}
	return vs, nil
}

// Verifiers are the witnesses' keys.
func (p Policy) Verifiers() ([]note.Verifier, error) {
	vs := make([]note.Verifier, len(p.Witnesses))
	for i, w := range p.Witnesses {
		v, err := NewWitnessVerifier(w.VKey)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", w.Name, err)
		}
		vs[i] = v
	}
	return vs, nil
}

// Witness finds a witness by its name in the policy.
func (p Policy) Witness(name string) (PolicyWitness, bool) {
	i := slices.IndexFunc(p.Witnesses, func(w PolicyWitness) bool { return w.Name == name })
	if i < 0 {
		return PolicyWitness{}, false
	}
	return p.Witnesses[i], true
}

// Quorum says whether these witnesses, by their names in the policy, are enough.
func (p Policy) Quorum(signers []string) bool {
	if p.Rule == NoQuorum {
		return true
	}
	has := map[string]bool{}
	for _, w := range p.Witnesses {
		has[w.Name] = slices.Contains(signers, w.Name)
	}
	for _, g := range p.Groups {
		n := 0
		for _, m := range g.Members {
			if has[m] {
				n++
			}
		}
		has[g.Name] = n >= g.Need
	}
	return has[p.Rule] // false in the zero policy
}

// Threshold tells the quorum in two numbers: of witnesses that count, need at least. With groups in groups not just any need of them do.
func (p Policy) Threshold() (need, of int) {
	type size struct{ need, of int }
	sizes := map[string]size{NoQuorum: {}}
	for _, w := range p.Witnesses {
		sizes[w.Name] = size{1, 1}
	}
	for _, g := range p.Groups {
		var s size
		var needs []int
		for _, m := range g.Members {
			needs = append(needs, sizes[m].need)
			s.of += sizes[m].of
		}
		slices.Sort(needs)
		for _, n := range needs[:min(g.Need, len(needs))] {
			s.need += n
		}
		sizes[g.Name] = s
	}
	return sizes[p.Rule].need, sizes[p.Rule].of
}

// Counting are the names of the witnesses that the quorum can count.
func (p Policy) Counting() []string {
	counts := map[string]bool{p.Rule: true}
	for _, g := range slices.Backward(p.Groups) {
		for _, m := range g.Members {
			counts[m] = counts[m] || counts[g.Name]
		}
	}
	var out []string
	for _, w := range p.Witnesses {
		if counts[w.Name] {
			out = append(out, w.Name)
		}
	}
	return out
}

// Open verifies a signed checkpoint strictly: signed by one of the policy's logs, every line of a known key and valid. carried are
// keys that came along with the checkpoint: their lines are checked for integrity and count for nothing. It says which witnesses signed, when, and whether they are
// enough; too few are no error.
func (p Policy) Open(signed []byte, carried ...note.Verifier) (Opened, error) {
	logs, err := p.LogVerifiers()
	if err != nil {
		return Opened{}, err
	}
	witnesses, err := p.Verifiers()
	if err != nil {
		return Opened{}, err
	}
	o, err := openCheckpoint(signed, logs, append(slices.Clone(witnesses), carried...), false)
	if err != nil {
		return Opened{}, err
	}
	var names []string
	for i := range o.Cosigned {
		c := &o.Cosigned[i]
		if j := slices.IndexFunc(witnesses, func(v note.Verifier) bool { return idOf(v) == (keyID{c.Key, c.Hash}) }); j >= 0 {
			c.Witness = p.Witnesses[j].Name
			names = append(names, c.Witness)
		}
	}
	o.Quorum = p.Quorum(names)
	return o, nil
}

// Signers are the names in the policy of those who cosigned.
func (o Opened) Signers() []string {
	var names []string
	for _, c := range o.Cosigned {
		if c.Witness != "" {
			names = append(names, c.Witness)
		}
	}
	return names
}
