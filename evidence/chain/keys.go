package chain

import (
	"bufio"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// Keys are the verifier keys of one log: one, or several of one name while a key is being replaced and checkpoints carry the signatures
// of both. They pass for a note.Verifier, so that whoever is handed a log's key may be handed its keys: OpenCheckpoint then asks that
// one of the trusted has signed.
type Keys struct {
	note.Verifier                 // the newest trusted one
	trusted       []note.Verifier // oldest first
	lenient       bool
}

// maxKeys bounds a list: a log has one key, or two.
const maxKeys = 16

// ParseKeys reads verifier keys as /log/vkey and a bundle's log.vkey list them: one a line, oldest first, all of one name.
func ParseKeys(text string) (Keys, error) {
	var vs []note.Verifier
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" {
			continue
		}
		v, err := note.NewVerifier(line)
		if err != nil {
			return Keys{}, fmt.Errorf("read verifier key: %w", err)
		}
		vs = append(vs, v)
	}
	if err := lines.Err(); err != nil {
		return Keys{}, fmt.Errorf("read verifier keys: %w", err)
	}
	return NewKeys(vs...)
}

// NewKeys gives the keys of one log, all of them trusted, oldest first.
func NewKeys(vs ...note.Verifier) (Keys, error) {
	switch {
	case len(vs) == 0:
		return Keys{}, errors.New("read verifier key: there is none")
	case len(vs) > maxKeys:
		return Keys{}, fmt.Errorf("read verifier keys: %d are more than a log has", len(vs))
	}
	for i, v := range vs {
		if v.Name() != vs[0].Name() {
			return Keys{}, fmt.Errorf("read verifier keys: of two logs, %q and %q", vs[0].Name(), v.Name())
		}
		if holds(vs[:i], v.Name(), v.KeyHash()) {
			return Keys{}, errors.New("read verifier keys: one is there twice")
		}
	}
	return Keys{Verifier: vs[len(vs)-1], trusted: slices.Clone(vs)}, nil
}

// Keys gives the keys themselves.
func (k Keys) Keys() Keys { return k }

// KeysOf sees any log key as keys.
func KeysOf(log note.Verifier) Keys {
	if k, ok := log.(interface{ Keys() Keys }); ok {
		return k.Keys()
	}
	return Keys{Verifier: log, trusted: []note.Verifier{log}}
}

// Trusted are the keys of which one must have signed, oldest first.
func (k Keys) Trusted() []note.Verifier { return slices.Clone(k.trusted) }

// Lenient passes over signature lines of keys that bear the log's name and are not known: what a holder of the old key sees once a new
// one signs too. Such a line may say anything. It is for a docking station, which has nowhere to learn of the new key; bundles name it, receipts
// bring it along, and are opened without this.
func (k Keys) Lenient() Keys {
	k.lenient = true
	return k
}

// passes says whether a line of an unknown key may stand.
func (k Keys) passes(l SignatureLine) bool {
	return k.lenient && l.Name == k.Name() && len(l.Sig) == ed25519.SignatureSize
}

func holds(vs []note.Verifier, name string, hash uint32) bool {
	return slices.ContainsFunc(vs, func(v note.Verifier) bool { return v.Name() == name && v.KeyHash() == hash })
}
