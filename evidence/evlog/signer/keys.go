package signer

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/chain"
)

// Key is one of the log's keys: what it is, since when it signs, and when it ended. No secret is in it.
type Key struct {
	VKey    string  `json:"vkey"`
	File    string  `json:"file,omitempty"` // holds the private key, in the signer's directory; "" when something else holds it
	From    int64   `json:"from"`           // size of the tree signed last when it was added
	Added   Change  `json:"added"`
	Retired *Change `json:"retired,omitempty"`
}

// Change says who changed the log's keys, when and why.
type Change struct {
	Actor  string `json:"actor,omitempty"` // opaque id, or "system"
	Reason string `json:"reason,omitempty"`
	AtMS   int64  `json:"at,omitempty"` // Unix milliseconds
}

// Active are the keys that sign, oldest first.
func (s State) Active() []Key {
	var out []Key
	for _, k := range s.Keys {
		if k.Retired == nil {
			out = append(out, k)
		}
	}
	return out
}

// readKeys reads the list of keys. A directory whose first key was never replaced has none, only the key.
func readKeys(dir string) ([]Key, error) {
	b, err := os.ReadFile(filepath.Join(dir, listFile))
	if errors.Is(err, fs.ErrNotExist) {
		vkey, err := vkeyOfFile(filepath.Join(dir, keyFile))
		return []Key{{VKey: vkey, File: keyFile}}, err
	}
	if err != nil {
		return nil, fmt.Errorf("read log keys: %w", err)
	}
	var keys []Key
	if err := json.Unmarshal(b, &keys); err != nil {
		return nil, fmt.Errorf("read log keys: %w", err)
	}
	var vs []note.Verifier
	active := 0
	for _, k := range keys {
		v, err := note.NewVerifier(k.VKey)
		if err != nil {
			return nil, fmt.Errorf("read log keys: %w", err)
		}
		if k.File != filepath.Base(k.File) && k.File != "" {
			return nil, errors.New("read log keys: a key's file is elsewhere")
		}
		if k.Retired == nil {
			active++
		}
		vs = append(vs, v)
	}
	if active == 0 || keys[len(keys)-1].Retired != nil {
		return nil, errors.New("read log keys: the newest must sign")
	}
	_, err = chain.NewKeys(vs...) // of one name, none twice
	return keys, err
}

// hold makes the keys sign that aren't retired.
func (s *Signer) hold(elsewhere []crypto.Signer) error {
	s.sign = nil
	for _, k := range s.keys {
		if k.Retired != nil {
			// Crash between the list and this when it was retired: the private key is still there.
			if err := s.forget(k); err != nil {
				return err
			}
			continue
		}
		n, err := s.signerOf(k, elsewhere)
		if err != nil {
			return err
		}
		s.sign = append(s.sign, n)
	}
	return nil
}

func (s *Signer) signerOf(k Key, elsewhere []crypto.Signer) (note.Signer, error) {
	if k.File != "" {
		key, name, err := readSecret(filepath.Join(s.dir, k.File))
		if err != nil {
			return nil, err
		}
		n, err := noteSignerOf(name, key)
		if err == nil && n.vkey != k.VKey {
			err = errors.New("a key file holds another key than the list says")
		}
		return n, err
	}
	for _, key := range elsewhere {
		if n, err := noteSignerOf(s.last.Origin, key); err == nil && n.vkey == k.VKey {
			return n, nil
		}
	}
	return nil, fmt.Errorf("the key %.60s is held elsewhere and was not given", k.VKey)
}

// forget removes the private key of a retired key.
func (s *Signer) forget(k Key) error {
	if k.File == "" {
		return nil
	}
	if err := os.Remove(filepath.Join(s.dir, k.File)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the retired key: %w", err)
	}
	return nil
}

// create makes the first key. The state comes first: a crash in between leaves a state without a key, which has signed nothing.
func (s *Signer) create(o Options) error {
	if o.Origin == "" {
		var b [4]byte
		_, _ = rand.Read(b[:]) // never fails since Go 1.24
		o.Origin = "zhizheng.local/" + hex.EncodeToString(b[:])
	}
	var foreign []byte
	secret := ""
	if len(o.Keys) > 0 {
		n, err := noteSignerOf(o.Origin, o.Keys[0])
		if err != nil {
			return err
		}
		if foreign, err = json.MarshalIndent([]Key{{VKey: n.vkey}}, "", "  "); err != nil {
			return err
		}
	} else {
		var err error
		if secret, _, err = generate(o.Origin); err != nil {
			return err
		}
	}
	empty := chain.Edge{}
	start := chain.Checkpoint{Origin: o.Origin, Root: empty.Root()}
	if err := s.writeFile(stateFile, []byte(start.Text())); err != nil {
		return err
	}
	if foreign != nil {
		return s.writeFile(listFile, foreign)
	}
	return s.writeFile(keyFile, []byte(secret+"\n"))
}

// Rotate adds a key under the same name: one that it makes and keeps in its directory, or the one given. From the next checkpoint on both
// sign. One replacement at a time: the older key has to be retired before the next.
func (s *Signer) Rotate(_ context.Context, c Change, elsewhere crypto.Signer) (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sign) > 1 {
		return State{}, &Refusal{"two keys sign already: retire the older one first"}
	}
	k := Key{From: s.last.Size, Added: c}
	var n *noteSigner
	if elsewhere != nil {
		var err error
		if n, err = noteSignerOf(s.last.Origin, elsewhere); err != nil {
			return State{}, err
		}
	} else {
		secret, made, err := generate(s.last.Origin)
		if err != nil {
			return State{}, err
		}
		n, k.File = made, fmt.Sprintf("log-%08x.key", made.KeyHash())
		// Crash after this: a key that the list doesn't name and that never signed. It stays where it is, unused.
		if err := s.writeFile(k.File, []byte(secret+"\n")); err != nil {
			return State{}, err
		}
	}
	k.VKey = n.vkey
	for _, known := range s.keys {
		if known.VKey == k.VKey {
			return State{}, &Refusal{"this key has been the log's before"}
		}
	}
	keys := append(append([]Key(nil), s.keys...), k)
	// The list is the moment: before it the old key signs alone, after it both do, whoever asks next and however we end.
	if err := s.writeKeys(keys); err != nil {
		return State{}, err
	}
	s.keys, s.vkey, s.sign = keys, k.VKey, append(s.sign, n)
	return s.state(), nil
}

// Retire ends the older of two keys, once the newer has signed a checkpoint beside it: who holds the old key can then follow the change
// to a checkpoint that both signed. The private key is removed.
func (s *Signer) Retire(_ context.Context, c Change) (State, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sign) < 2 {
		return State{}, &Refusal{"only one key signs"}
	}
	if newest := s.keys[len(s.keys)-1]; s.last.Size <= newest.From {
		return State{}, &Refusal{fmt.Sprintf("the new key has not signed yet: the tree still has the %d leaves of when it was added", newest.From)}
	}
	keys := append([]Key(nil), s.keys...)
	for i := range keys {
		if keys[i].Retired != nil {
			continue
		}
		keys[i].Retired = &c
		// The list is the moment. Crash after it: the next opening finds the key retired and removes its file.
		if err := s.writeKeys(keys); err != nil {
			return State{}, err
		}
		s.keys, s.sign = keys, s.sign[1:]
		return s.state(), s.forget(keys[i])
	}
	return State{}, errors.New("no key to retire") // unreachable: two sign
}

func (s *Signer) writeKeys(keys []Key) error {
	b, err := json.MarshalIndent(keys, "", "  ")
	if err != nil {
		return err
	}
	return s.writeFile(listFile, append(b, '\n'))
}

// noteSigner signs notes with any crypto.Signer that holds an Ed25519 key.
type noteSigner struct {
	note.Verifier
	vkey string
	pub  ed25519.PublicKey
	key  crypto.Signer
}

func noteSignerOf(name string, key crypto.Signer) (*noteSigner, error) {
	pub, ok := key.Public().(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the log's keys are Ed25519, this one is %T", key.Public())
	}
	vkey, err := note.NewEd25519VerifierKey(name, pub)
	if err != nil {
		return nil, fmt.Errorf("origin %q is no key name", name)
	}
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("origin %q is no key name", name)
	}
	return &noteSigner{v, vkey, pub, key}, nil
}

// Sign signs, and looks at the signature before it is given out: a module that errs must not be the first to show it at a court.
func (n *noteSigner) Sign(msg []byte) ([]byte, error) {
	sig, err := n.key.Sign(rand.Reader, msg, crypto.Hash(0)) // Ed25519 takes the message itself
	if err != nil {
		return nil, err
	}
	if !ed25519.Verify(n.pub, msg, sig) {
		return nil, errors.New("the key gave a signature that doesn't hold")
	}
	return sig, nil
}

// generate makes a key: its secret as a note signer key.
func generate(origin string) (secret string, n *noteSigner, err error) {
	secret, _, err = note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return "", nil, fmt.Errorf("make log key: %w", err)
	}
	key, name, err := parseSecret(secret)
	if err != nil || name != origin {
		return "", nil, fmt.Errorf("make log key: origin %q is no key name", origin)
	}
	n, err = noteSignerOf(origin, key)
	return secret, n, err
}

func readSecret(path string) (ed25519.PrivateKey, string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, "", fmt.Errorf("read log key: %w", err)
	}
	return parseSecret(string(b))
}

// parseSecret reads a note signer key: PRIVATE+KEY+name+hash+base64(algorithm ‖ seed). Errors don't quote it.
func parseSecret(skey string) (ed25519.PrivateKey, string, error) {
	bad := errors.New("the key file is damaged")
	skey = strings.TrimSpace(skey)
	s, err := note.NewSigner(skey)
	if err != nil {
		return nil, "", bad
	}
	parts := strings.SplitN(skey, "+", 5)
	if len(parts) != 5 {
		return nil, "", bad
	}
	raw, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(raw) != 1+ed25519.SeedSize || raw[0] != 1 {
		return nil, "", bad
	}
	return ed25519.NewKeyFromSeed(raw[1:]), s.Name(), nil
}

func vkeyOfFile(path string) (string, error) {
	key, name, err := readSecret(path)
	if err != nil {
		return "", err
	}
	n, err := noteSignerOf(name, key)
	if err != nil {
		return "", err
	}
	return n.vkey, nil
}

// now is when a change is made.
func (c Change) now() Change {
	c.AtMS = time.Now().UnixMilli()
	return c
}
