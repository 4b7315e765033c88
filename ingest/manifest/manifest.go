// Package manifest owns the bytes that a docking station or recorder signs about one file, before the file itself travels. It is
// pure and shared by the agent and the server. It promises that what it accepts has exactly one encoding, and it never decides
// whether a key is to be trusted.
//
// Read manifest.go for what a manifest says, sign.go for how it is signed, parts.go for how a file is cut.
package manifest

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// Version of the format. Another version is another decoder, never a change of this one.
const Version = 1

// Bounds of what is accepted. A file name on any file system is at most 255 bytes (ext4) or 255 UTF-16 units (exFAT).
const (
	MaxSigned   = 4096
	maxName     = 1024
	maxRecorder = 80
)

// Manifest is a signed statement about one file. As bytes it is a deterministic CBOR map (RFC 8949 §4.2) with these integer keys.
// The chain belongs to the signing key: (KeyID, Epoch, Counter) names one manifest, Prev is the hash of the one before it.
type Manifest struct {
	Version        uint64   `cbor:"1,keyasint"`
	KeyID          [32]byte `cbor:"2,keyasint"`  // SHA-256 of the signer's SubjectPublicKeyInfo
	Epoch          int64    `cbor:"3,keyasint"`  // of the signer's counter; a new one each time the counter's memory was lost
	Counter        int64    `cbor:"4,keyasint"`  // 1, 2, 3 … within the epoch
	Prev           [32]byte `cbor:"5,keyasint"`  // Hash of the manifest before it in this epoch, zero for the first
	Recorder       string   `cbor:"6,keyasint"`  // serial of the recorder the file is from, "" when unknown
	Name           []byte   `cbor:"7,keyasint"`  // file name with its folders below the card's root, byte for byte
	Size           int64    `cbor:"8,keyasint"`  //
	ModifiedMS     int64    `cbor:"9,keyasint"`  // the file's own time, Unix milliseconds
	SHA256         [32]byte `cbor:"10,keyasint"` // of the whole file
	PartSize       int64    `cbor:"11,keyasint"` //
	Composite      [32]byte `cbor:"12,keyasint"` // SHA-256 of the concatenated SHA-256 of the parts, see parts.go
	WallMS         int64    `cbor:"13,keyasint"` // the signer's clock, Unix milliseconds, right or wrong
	MonotonicMS    int64    `cbor:"14,keyasint"` // since the signer's machine started
	CheckpointSize int64    `cbor:"15,keyasint"` // last checkpoint of the log that the signer saw; 0 when it has seen none
	CheckpointRoot [32]byte `cbor:"16,keyasint"` // it bounds the manifest's time from below
}

var (
	enc = must(cbor.CoreDetEncOptions().EncMode())
	dec = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels:   4,
	}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // options are constants of this file
	}
	return v
}

// Encode gives the manifest's bytes, after the same checks that Decode makes.
func (m Manifest) Encode() ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	b, err := enc.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode manifest: %w", err)
	}
	return b, nil
}

// Decode reads a manifest and refuses bytes that are not exactly what Encode gives for it.
func Decode(b []byte) (Manifest, error) {
	if len(b) > MaxSigned {
		return Manifest{}, fmt.Errorf("decode manifest: %d bytes, at most %d", len(b), MaxSigned)
	}
	var m Manifest
	if err := dec.Unmarshal(b, &m); err != nil {
		return Manifest{}, fmt.Errorf("decode manifest: %w", err)
	}
	again, err := m.Encode()
	if err != nil {
		return Manifest{}, fmt.Errorf("decode manifest: %w", err)
	}
	if !bytes.Equal(b, again) {
		return Manifest{}, errors.New("decode manifest: not the deterministic encoding")
	}
	return m, nil
}

func (m Manifest) check() error {
	switch {
	case m.Version != Version:
		return fmt.Errorf("manifest version %d is unknown", m.Version)
	case m.Epoch < 0 || m.Counter < 1:
		return errors.New("manifest counter starts at 1 in an epoch of 0 or more")
	case (m.Counter == 1) != (m.Prev == [32]byte{}):
		return errors.New("the first manifest of an epoch, and only that, has no previous one")
	case len(m.Name) == 0 || len(m.Name) > maxName:
		return fmt.Errorf("file name has %d bytes, 1 to %d are allowed", len(m.Name), maxName)
	case len(m.Recorder) > maxRecorder:
		return fmt.Errorf("recorder serial has %d bytes, at most %d", len(m.Recorder), maxRecorder)
	case m.Size < 0:
		return errors.New("size is negative")
	case m.MonotonicMS < 0 || m.CheckpointSize < 0:
		return errors.New("monotonic time or checkpoint size is negative")
	case (m.CheckpointSize == 0) != (m.CheckpointRoot == [32]byte{}):
		return errors.New("a checkpoint has a size and a root, or neither")
	}
	return CheckParts(m.Size, m.PartSize)
}

// Hash is what the next manifest of the chain names as previous: SHA-256 of the encoded manifest, without signature.
func Hash(encoded []byte) [32]byte { return sha256.Sum256(encoded) }

// Modified is the file's own time.
func (m Manifest) Modified() time.Time { return time.UnixMilli(m.ModifiedMS).UTC() }

// Wall is the signer's clock when it signed.
func (m Manifest) Wall() time.Time { return time.UnixMilli(m.WallMS).UTC() }
