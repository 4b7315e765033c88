// Package manifest owns the bytes by which a docking station (or a recorder with a key of its own) states what it found: one
// signed manifest a file. It is pure and shared by the agent and the server. It promises one encoding for one manifest, so that the
// hash that the next manifest carries is unambiguous; it never decides whose keys count.
//
// A signed manifest is the CBOR array [manifest bytes, signature]; the signature is Ed25519 over "zhizheng/manifest/v1" 0x00 ‖
// manifest bytes. Times are Unix milliseconds.
package manifest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"hash"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
)

// Version of the encoding.
const Version = 1

// Limits of what is accepted.
const (
	MaxEncoded  = 16 << 10
	MaxFileName = 4096 // bytes; 255 a path element is what file systems allow
	maxSerial   = 80
	MaxParts    = 10_000
	MaxSize     = 5 << 40 // S3's largest object
)

const context = "zhizheng/manifest/v1\x00"

// Manifest says what one file on a card was, and where it stands in the signer's own chain.
type Manifest struct {
	Version    int    `cbor:"1,keyasint"`
	KeyID      []byte `cbor:"2,keyasint"` // SHA-256 of the signer's SubjectPublicKeyInfo
	Epoch      uint64 `cbor:"3,keyasint"` // boot epoch: rises when the signer has lost its counter
	Counter    uint64 `cbor:"4,keyasint"` // rises by one a manifest within an epoch, from 1
	Prev       []byte `cbor:"5,keyasint"` // hash of the signer's previous manifest, empty for the first of all
	Recorder   string `cbor:"6,keyasint"` // serial number, "" when unknown
	FileName   []byte `cbor:"7,keyasint"` // path on the card, bytes as they are
	Size       int64  `cbor:"8,keyasint"`
	ModifiedAt int64  `cbor:"9,keyasint"` // of the file, 0 when unknown
	SHA256     []byte `cbor:"10,keyasint"`
	PartSize   int64  `cbor:"11,keyasint"`
	Composite  []byte `cbor:"12,keyasint"`           // SHA-256 of the concatenated SHA-256 digests of the parts
	At         int64  `cbor:"13,keyasint"`           // wall clock of the signer
	Monotonic  int64  `cbor:"14,keyasint"`           // milliseconds since the signer's boot
	Checkpoint []byte `cbor:"15,keyasint,omitempty"` // the last checkpoint the signer saw: SHA-256 of the signed note
}

type signed struct {
	_         struct{} `cbor:",toarray"`
	Manifest  []byte
	Signature []byte
}

var (
	encode = must(cbor.CoreDetEncOptions().EncMode())
	decode = must(cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		MaxNestedLevels: 4, ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, DefaultByteStringType: nil}.DecMode())
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err) // options are constants: this can only fail on a change of the library
	}
	return v
}

// PartSize gives the size of the parts for a file: 5 MiB, larger where 10,000 parts wouldn't do.
func PartSize(size int64) int64 {
	const mib = 1 << 20
	part := int64(5 * mib)
	for size > part*MaxParts {
		part *= 2
	}
	return part
}

// Parts says how many parts a file has; an empty file has none.
func Parts(size, partSize int64) int {
	return int((size + partSize - 1) / partSize)
}

// Composite is SHA-256 over the parts' digests, as S3 computes a COMPOSITE checksum.
func Composite(parts [][]byte) [32]byte {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	return [32]byte(h.Sum(nil))
}

// KeyID names a public key: SHA-256 of its SubjectPublicKeyInfo.
func KeyID(pub ed25519.PublicKey) ([]byte, error) {
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("key id: %w", err)
	}
	sum := sha256.Sum256(spki)
	return sum[:], nil
}

// Sign encodes and signs a manifest. It answers the signed bytes and the hash that the next manifest's Prev carries.
func Sign(m Manifest, key ed25519.PrivateKey) (raw []byte, hash [32]byte, err error) {
	m.Version = Version
	if err := m.check(); err != nil {
		return nil, hash, err
	}
	body, err := encode.Marshal(m)
	if err != nil {
		return nil, hash, fmt.Errorf("encode manifest: %w", err)
	}
	raw, err = encode.Marshal(signed{Manifest: body, Signature: ed25519.Sign(key, append([]byte(context), body...))})
	if err != nil {
		return nil, hash, fmt.Errorf("encode manifest: %w", err)
	}
	return raw, sha256.Sum256(body), nil
}

// Signed is a manifest read from bytes whose signature is yet to be checked.
type Signed struct {
	Manifest
	Hash      [32]byte // of the manifest bytes
	body, sig []byte
}

// Parse reads a signed manifest. It refuses anything but the one encoding, unknown fields included.
func Parse(raw []byte) (Signed, error) {
	if len(raw) > MaxEncoded {
		return Signed{}, fmt.Errorf("manifest has %d bytes, more than %d", len(raw), MaxEncoded)
	}
	var s signed
	if err := decode.Unmarshal(raw, &s); err != nil {
		return Signed{}, fmt.Errorf("read signed manifest: %w", err)
	}
	var m Manifest
	if err := decode.Unmarshal(s.Manifest, &m); err != nil {
		return Signed{}, fmt.Errorf("read manifest: %w", err)
	}
	if err := m.check(); err != nil {
		return Signed{}, err
	}
	body, err := encode.Marshal(m)
	if err != nil {
		return Signed{}, fmt.Errorf("encode manifest: %w", err)
	}
	outer, err := encode.Marshal(s)
	if err != nil {
		return Signed{}, fmt.Errorf("encode manifest: %w", err)
	}
	if !bytes.Equal(body, s.Manifest) || !bytes.Equal(outer, raw) {
		return Signed{}, errors.New("manifest is not in its one encoding")
	}
	return Signed{Manifest: m, Hash: sha256.Sum256(body), body: body, sig: s.Signature}, nil
}

// Verify checks the signature.
func (s Signed) Verify(pub ed25519.PublicKey) bool {
	return len(pub) == ed25519.PublicKeySize && ed25519.Verify(pub, append([]byte(context), s.body...), s.sig)
}

// Open reads a signed manifest and checks it by the signer's SubjectPublicKeyInfo: what the bundle's verifier asks.
func Open(raw, spki []byte) (sha256 []byte, size int64, err error) {
	key, err := keyOf(spki)
	if err != nil {
		return nil, 0, err
	}
	m, err := Parse(raw)
	if err != nil {
		return nil, 0, err
	}
	if !m.Verify(key) {
		return nil, 0, errors.New("the device's signature doesn't hold")
	}
	return m.SHA256, m.Size, nil
}

func (m Manifest) check() error {
	switch {
	case m.Version != Version:
		return fmt.Errorf("manifest version %d is not known", m.Version)
	case len(m.KeyID) != 32 || len(m.SHA256) != 32 || len(m.Composite) != 32:
		return errors.New("key id, sha256 and composite have 32 bytes each")
	case m.Prev != nil && len(m.Prev) != 32, len(m.Checkpoint) != 0 && len(m.Checkpoint) != 32:
		return errors.New("previous hash and checkpoint have 32 bytes or none")
	case m.Counter == 0 || m.Counter > math.MaxInt64 || m.Epoch > math.MaxInt64:
		return errors.New("counters begin at 1 and, like epochs, have 63 bits")
	case m.Size < 0 || m.Size > MaxSize:
		return fmt.Errorf("size %d is outside 0 … %d", m.Size, int64(MaxSize))
	case m.PartSize != PartSize(m.Size):
		return fmt.Errorf("part size %d is not %d, the one for this size", m.PartSize, PartSize(m.Size))
	case len(m.FileName) == 0 || len(m.FileName) > MaxFileName:
		return fmt.Errorf("file name has %d bytes, not 1 … %d", len(m.FileName), MaxFileName)
	case len(m.Recorder) > maxSerial || strings.ContainsFunc(m.Recorder, unicode.IsControl) || !utf8.ValidString(m.Recorder):
		return fmt.Errorf("recorder serial is text of at most %d bytes", maxSerial)
	}
	return nil
}

// Hasher computes a file's digest and its parts' digests in one pass.
type Hasher struct {
	whole, part hash.Hash
	partSize    int64
	inPart      int64
	Size        int64
	digests     [][]byte
}

// NewHasher hashes a file that has size bytes now.
func NewHasher(size int64) *Hasher {
	return &Hasher{whole: sha256.New(), part: sha256.New(), partSize: PartSize(size)}
}

// Write never fails.
func (h *Hasher) Write(p []byte) (int, error) {
	n := len(p)
	h.whole.Write(p)
	h.Size += int64(n)
	for len(p) > 0 {
		take := min(int64(len(p)), h.partSize-h.inPart)
		h.part.Write(p[:take])
		h.inPart += take
		p = p[take:]
		if h.inPart == h.partSize {
			h.endPart()
		}
	}
	return n, nil
}

func (h *Hasher) endPart() {
	h.digests = append(h.digests, h.part.Sum(nil))
	h.part.Reset()
	h.inPart = 0
}

// Sum ends the file. Composite of an empty file is the digest of nothing.
func (h *Hasher) Sum() (whole, composite [32]byte, parts [][]byte) {
	if h.inPart > 0 {
		h.endPart()
	}
	return [32]byte(h.whole.Sum(nil)), Composite(h.digests), h.digests
}
