package manifest

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
)

// domain separates manifests from anything else the same key signs.
const domain = "zhizheng/manifest/v1\x00"

// ErrSignature says that the signature isn't the key's over these bytes.
var ErrSignature = errors.New("manifest signature does not verify")

// Signed is a manifest's bytes with a signature over them, as it travels and as the log keeps it: CBOR [manifest, signature].
type Signed struct {
	_         struct{} `cbor:",toarray"`
	Manifest  []byte
	Signature []byte
}

// Sign encodes and signs a manifest. The key must be the one that KeyID names.
func Sign(m Manifest, key crypto.Signer) (signed []byte, hash [32]byte, err error) {
	id, _, err := KeyID(key.Public())
	if err != nil {
		return nil, hash, err
	}
	if id != m.KeyID {
		return nil, hash, errors.New("sign manifest: it names another key")
	}
	body, err := m.Encode()
	if err != nil {
		return nil, hash, err
	}
	sig, err := key.Sign(rand.Reader, append([]byte(domain), body...), crypto.Hash(0))
	if err != nil {
		return nil, hash, fmt.Errorf("sign manifest: %w", err)
	}
	signed, err = enc.Marshal(Signed{Manifest: body, Signature: sig})
	if err != nil {
		return nil, hash, fmt.Errorf("encode signed manifest: %w", err)
	}
	return signed, Hash(body), nil
}

// Open reads a signed manifest without checking its signature: the key it names has to be looked up first, then Verify.
func Open(signed []byte) (Signed, Manifest, error) {
	if len(signed) > MaxSigned {
		return Signed{}, Manifest{}, fmt.Errorf("signed manifest has %d bytes, at most %d", len(signed), MaxSigned)
	}
	var s Signed
	if err := dec.Unmarshal(signed, &s); err != nil {
		return Signed{}, Manifest{}, fmt.Errorf("decode signed manifest: %w", err)
	}
	again, err := enc.Marshal(s)
	if err != nil {
		return Signed{}, Manifest{}, fmt.Errorf("decode signed manifest: %w", err)
	}
	if !bytes.Equal(again, signed) {
		return Signed{}, Manifest{}, errors.New("decode signed manifest: not the deterministic encoding")
	}
	m, err := Decode(s.Manifest)
	return s, m, err
}

// Verify checks the signature by the key whose SubjectPublicKeyInfo is given.
func (s Signed) Verify(spki []byte) error {
	pub, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return fmt.Errorf("verify manifest: %w", err)
	}
	key, ok := pub.(ed25519.PublicKey)
	if !ok {
		return fmt.Errorf("verify manifest: key is %T, not Ed25519", pub)
	}
	if !ed25519.Verify(key, append([]byte(domain), s.Manifest...), s.Signature) {
		return ErrSignature
	}
	return nil
}

// KeyID names a public key: SHA-256 of its SubjectPublicKeyInfo, which is given too.
func KeyID(pub crypto.PublicKey) (id [32]byte, spki []byte, err error) {
	spki, err = x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return id, nil, fmt.Errorf("name key: %w", err)
	}
	return sha256.Sum256(spki), spki, nil
}
