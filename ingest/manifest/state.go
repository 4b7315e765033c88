package manifest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"
)

// A chain of manifests can't show that its newest ones are missing. So a signer states from time to time how far it has counted. The
// bytes are the CBOR array [state bytes, signature]; the signature is Ed25519 over "zhizheng/state/v1" 0x00 ‖ state bytes, so that no
// manifest can be taken for a state, nor the other way round.

// StateVersion of the encoding.
const StateVersion = 1

// MaxEncodedState bounds a signed state's bytes.
const MaxEncodedState = 1 << 10

const stateContext = "zhizheng/state/v1\x00"

// State says how far a key has counted.
type State struct {
	Version    int    `cbor:"1,keyasint"`
	KeyID      []byte `cbor:"2,keyasint"`
	Epoch      uint64 `cbor:"3,keyasint"`
	Counter    uint64 `cbor:"4,keyasint"`           // of the last manifest of the epoch; 0 before the first
	Last       []byte `cbor:"5,keyasint"`           // hash of that manifest, empty before the first
	At         int64  `cbor:"6,keyasint"`           // wall clock of the signer, Unix milliseconds
	Monotonic  int64  `cbor:"7,keyasint"`           // milliseconds since the signer's boot
	Checkpoint []byte `cbor:"8,keyasint,omitempty"` // the last checkpoint the signer saw: SHA-256 of the signed note
	Closing    bool   `cbor:"9,keyasint"`           // the end of a docking: all of it was signed before this
	Recorder   string `cbor:"10,keyasint"`          // whose docking that was; "" when unknown
}

// SignedState is a state read from bytes whose signature is yet to be checked.
type SignedState struct {
	State
	Hash      [32]byte // of the state bytes
	body, sig []byte
}

// SignState encodes and signs a state.
func SignState(s State, key ed25519.PrivateKey) (raw []byte, hash [32]byte, err error) {
	s.Version = StateVersion
	if s.Last == nil {
		s.Last = []byte{}
	}
	if err := s.check(); err != nil {
		return nil, hash, err
	}
	body, err := encode.Marshal(s)
	if err != nil {
		return nil, hash, fmt.Errorf("encode state: %w", err)
	}
	raw, err = encode.Marshal(signed{Manifest: body, Signature: ed25519.Sign(key, append([]byte(stateContext), body...))})
	if err != nil {
		return nil, hash, fmt.Errorf("encode state: %w", err)
	}
	return raw, sha256.Sum256(body), nil
}

// ParseState reads a signed state. Like Parse it refuses anything but the one encoding.
func ParseState(raw []byte) (SignedState, error) {
	if len(raw) > MaxEncodedState {
		return SignedState{}, fmt.Errorf("state has %d bytes, more than %d", len(raw), MaxEncodedState)
	}
	var outer signed
	if err := decode.Unmarshal(raw, &outer); err != nil {
		return SignedState{}, fmt.Errorf("read signed state: %w", err)
	}
	var s State
	if err := decode.Unmarshal(outer.Manifest, &s); err != nil {
		return SignedState{}, fmt.Errorf("read state: %w", err)
	}
	if err := s.check(); err != nil {
		return SignedState{}, err
	}
	body, err := encode.Marshal(s)
	if err != nil {
		return SignedState{}, fmt.Errorf("encode state: %w", err)
	}
	again, err := encode.Marshal(outer)
	if err != nil {
		return SignedState{}, fmt.Errorf("encode state: %w", err)
	}
	if !bytes.Equal(body, outer.Manifest) || !bytes.Equal(again, raw) {
		return SignedState{}, errors.New("state is not in its one encoding")
	}
	return SignedState{State: s, Hash: sha256.Sum256(body), body: body, sig: outer.Signature}, nil
}

// Verify checks the signature.
func (s SignedState) Verify(pub ed25519.PublicKey) bool {
	return len(pub) == ed25519.PublicKeySize && ed25519.Verify(pub, append([]byte(stateContext), s.body...), s.sig)
}

func (s State) check() error {
	switch {
	case s.Version != StateVersion:
		return fmt.Errorf("state version %d is not known", s.Version)
	case len(s.KeyID) != 32:
		return errors.New("key id has 32 bytes")
	case s.Counter > math.MaxInt64 || s.Epoch > math.MaxInt64:
		return errors.New("counters and epochs have 63 bits")
	case s.Last == nil, s.Counter == 0 && len(s.Last) != 0, s.Counter > 0 && len(s.Last) != 32:
		return errors.New("a state names the hash of its last manifest, and none before the first")
	case len(s.Checkpoint) != 0 && len(s.Checkpoint) != 32:
		return errors.New("checkpoint has 32 bytes or none")
	case len(s.Recorder) > maxSerial || strings.ContainsFunc(s.Recorder, unicode.IsControl) || !utf8.ValidString(s.Recorder):
		return fmt.Errorf("recorder serial is text of at most %d bytes", maxSerial)
	}
	return nil
}

// keyOf reads an Ed25519 key from its SubjectPublicKeyInfo.
func keyOf(spki []byte) (ed25519.PublicKey, error) {
	pub, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, fmt.Errorf("read the signer's key: %w", err)
	}
	key, ok := pub.(ed25519.PublicKey)
	if !ok {
		return nil, errors.New("the signer's key is not Ed25519")
	}
	return key, nil
}
