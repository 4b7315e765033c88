package chain

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// Version of the leaf format. Another version is another decoder, never a change of this one.
const Version = 1

// MaxLeaf bounds a leaf's bytes. Leaves of version 1 are far smaller.
const MaxLeaf = 4096

// SaltSize is the length of the random salt of a commitment.
const SaltSize = 32

// Leaf is what the public log says: of which kind and subject, in which order, when, and a commitment to the rest. As bytes it is
// a deterministic CBOR map (RFC 8949 §4.2) with these integer keys.
type Leaf struct {
	Version    uint64    `cbor:"1,keyasint"`
	Kind       Kind      `cbor:"2,keyasint"`
	Subject    SubjectID `cbor:"3,keyasint"`
	Counter    uint64    `cbor:"4,keyasint"` // 1, 2, 3 … within the subject
	Prev       [32]byte  `cbor:"5,keyasint"` // hash of the subject's previous leaf, zero for the first
	TimeMS     int64     `cbor:"6,keyasint"` // Unix milliseconds
	Commitment [32]byte  `cbor:"7,keyasint"`
}

// Time is the leaf's time in UTC.
func (l Leaf) Time() time.Time { return time.UnixMilli(l.TimeMS).UTC() }

var (
	enc = must(encOptions().EncMode())
	// Strict: unknown fields, duplicates, tags and indefinite lengths are refused. That the rest has one encoding only is
	// then proved by encoding again.
	strict = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels:   8,
	}.DecMode())
	// Payload fields are only ever added: an older program reads a newer payload and passes over what it doesn't know.
	lenient = must(cbor.DecOptions{
		DupMapKey:       cbor.DupMapKeyEnforcedAPF,
		IndefLength:     cbor.IndefLengthForbidden,
		TagsMd:          cbor.TagsForbidden,
		MaxNestedLevels: 16,
	}.DecMode())
)

// encOptions are those of RFC 8949 §4.2.1. A byte string or list that is nil is an empty one, not null: both mean the same, so they
// are one encoding.
func encOptions() cbor.EncOptions {
	o := cbor.CoreDetEncOptions()
	o.NilContainers = cbor.NilContainerAsEmpty
	return o
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // options are constants of this file
	}
	return v
}

// ErrNotDeterministic says that bytes decode, but are not the one encoding of what they say.
var ErrNotDeterministic = errors.New("not the deterministic encoding")

// Encode gives the leaf's bytes, after the same checks that DecodeLeaf makes.
func (l Leaf) Encode() ([]byte, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	return appendLeaf(make([]byte, 0, 160), &l), nil
}

// DecodeLeaf reads a leaf and refuses bytes that are not exactly what Encode gives for it.
func DecodeLeaf(b []byte) (Leaf, error) {
	if len(b) > MaxLeaf {
		return Leaf{}, fmt.Errorf("decode leaf: %d bytes, at most %d", len(b), MaxLeaf)
	}
	if l, ok := readLeaf(b); ok {
		return l, nil
	}
	return decodeLeaf(b)
}

// decodeLeaf is DecodeLeaf by the general decoder, which knows what is wrong.
func decodeLeaf(b []byte) (Leaf, error) {
	var l Leaf
	if err := strict.Unmarshal(b, &l); err != nil {
		return Leaf{}, fmt.Errorf("decode leaf: %w", err)
	}
	if err := l.check(); err != nil {
		return Leaf{}, fmt.Errorf("decode leaf: %w", err)
	}
	again, err := enc.Marshal(l)
	if err != nil {
		return Leaf{}, fmt.Errorf("decode leaf: %w", err)
	}
	if !bytes.Equal(b, again) {
		return Leaf{}, fmt.Errorf("decode leaf: %w", ErrNotDeterministic)
	}
	return l, nil
}

func (l Leaf) check() error {
	switch {
	case l.Version != Version:
		return fmt.Errorf("leaf version %d is unknown", l.Version)
	case l.Kind == 0:
		return errors.New("leaf has no kind")
	case l.Counter == 0:
		return errors.New("leaf counter starts at 1")
	case (l.Counter == 1) != (l.Prev == [32]byte{}):
		return errors.New("the first leaf of a subject, and only that, has no previous one")
	case l.TimeMS <= 0:
		return errors.New("leaf has no time")
	}
	return nil
}

// EncodePayload gives the deterministic bytes of a payload struct. Bytes pass if they are deterministic CBOR already.
func EncodePayload(p any) ([]byte, error) {
	if b, ok := p.([]byte); ok {
		if err := Deterministic(b); err != nil {
			return nil, fmt.Errorf("encode payload: %w", err)
		}
		return b, nil
	}
	b, err := enc.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode payload: %w", err)
	}
	return b, nil
}

// Deterministic refuses bytes that are not one deterministic CBOR item.
func Deterministic(b []byte) error {
	var v any
	if err := lenient.Unmarshal(b, &v); err != nil {
		return err
	}
	again, err := enc.Marshal(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(b, again) {
		return ErrNotDeterministic
	}
	return nil
}

// Link checks that next follows prev in the same subject's chain; prev is nil before the first. prevHash is the hash of prev's bytes.
func Link(prev *Leaf, prevHash Hash, next Leaf) error {
	if prev == nil {
		if next.Counter != 1 {
			return fmt.Errorf("chain starts at %d instead of 1", next.Counter)
		}
		return nil
	}
	switch {
	case prev.Subject != next.Subject:
		return errors.New("leaf belongs to another subject")
	case next.Counter != prev.Counter+1:
		return fmt.Errorf("after %d comes %d: leaves are missing or doubled", prev.Counter, next.Counter)
	case next.Prev != [32]byte(prevHash):
		return fmt.Errorf("leaf %d does not continue the leaf before it", next.Counter)
	}
	return nil
}
