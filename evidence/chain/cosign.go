package chain

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"
)

// Signature types of C2SP signed-note, the first byte of a key. Others are not spoken here.
const (
	typeEd25519     = 1 // a log's
	typeCosignature = 4 // a witness's: Ed25519 over the checkpoint and the time (C2SP tlog-cosignature)
)

const cosignatureSize = 8 + ed25519.SignatureSize // the time, then the signature

// key is a public key with its name: what a vkey tells.
type key struct {
	name   string
	hash   uint32
	public ed25519.PublicKey
	typ    byte
}

func (k key) Name() string    { return k.name }
func (k key) KeyHash() uint32 { return k.hash }

// Verify is note.Verifier's.
func (k key) Verify(msg, sig []byte) bool {
	switch {
	case k.typ == typeEd25519:
		return len(sig) == ed25519.SignatureSize && ed25519.Verify(k.public, msg, sig)
	case len(sig) != cosignatureSize:
		return false
	}
	at := binary.BigEndian.Uint64(sig)
	return at <= math.MaxInt64 && ed25519.Verify(k.public, cosigned(at, string(msg)), sig[8:])
}

// raw is the key with its type in front, as vkeys and receipts hold it.
func (k key) raw() []byte { return append([]byte{k.typ}, k.public...) }

func (k key) vkey() string {
	return fmt.Sprintf("%s+%08x+%s", k.name, k.hash, b64.EncodeToString(k.raw()))
}

// newKey reads a key with its type in front.
func newKey(name string, raw []byte) (key, error) {
	if !isKeyName(name) {
		return key{}, fmt.Errorf("%q is no name of a key", name)
	}
	if len(raw) != 1+ed25519.PublicKeySize || (raw[0] != typeEd25519 && raw[0] != typeCosignature) {
		return key{}, errors.New("it is neither an Ed25519 key of a log nor one of a witness")
	}
	return key{name: name, hash: keyHash(name, raw), public: ed25519.PublicKey(raw[1:]), typ: raw[0]}, nil
}

func parseKey(vkey string) (key, error) {
	name, rest, _ := strings.Cut(vkey, "+")
	_, encoded, _ := strings.Cut(rest, "+")
	raw, err := b64.DecodeString(encoded)
	if err != nil {
		return key{}, fmt.Errorf("it is no verifier key: %w", err)
	}
	k, err := newKey(name, raw)
	if err != nil {
		return key{}, err
	}
	if k.vkey() != vkey {
		return key{}, errors.New("its parts don't belong together, or are spelt otherwise")
	}
	return k, nil
}

// keyHash is the short name of a key (C2SP signed-note): a hint, no proof.
func keyHash(name string, raw []byte) uint32 {
	h := sha256.New()
	h.Write([]byte(name + "\n"))
	h.Write(raw)
	return binary.BigEndian.Uint32(h.Sum(nil))
}

func isKeyName(s string) bool {
	return s != "" && utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == '+' || unicode.IsSpace(r) })
}

// NewWitnessVerifier reads a witness's verifier key: type 0x04, as tlog-cosignature has it. A log's key is refused: its signatures say
// something else.
func NewWitnessVerifier(vkey string) (note.Verifier, error) {
	k, err := parseKey(strings.TrimSpace(vkey))
	if err == nil && k.typ != typeCosignature {
		err = errors.New("it is the key of a log, not of a witness")
	}
	if err != nil {
		return nil, fmt.Errorf("read witness's key: %w", err)
	}
	return k, nil
}

// cosigned is what a witness signs: that at this time this was the largest tree of the log it had seen, and each of its trees the
// beginning of the next.
func cosigned(at uint64, text string) []byte {
	return []byte("cosignature/v1\ntime " + strconv.FormatUint(at, 10) + "\n" + text)
}

// Cosigner holds a witness's private key.
type Cosigner struct {
	key
	private ed25519.PrivateKey
}

// GenerateCosigner makes a key and gives it in the note format of signer keys (PRIVATE+KEY+…).
func GenerateCosigner(rand io.Reader, name string) (skey string, err error) {
	if !isKeyName(name) {
		return "", fmt.Errorf("make witness's key: %q is no name of a key", name)
	}
	seed := make([]byte, ed25519.SeedSize)
	if _, err := io.ReadFull(rand, seed); err != nil {
		return "", fmt.Errorf("make witness's key: %w", err)
	}
	public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
	hash := keyHash(name, append([]byte{typeCosignature}, public...))
	return fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", name, hash, b64.EncodeToString(append([]byte{typeCosignature}, seed...))), nil
}

// NewCosigner reads such a key. Its errors quote nothing of it.
func NewCosigner(skey string) (*Cosigner, error) {
	damaged := errors.New("read witness's key: it is damaged, or no witness's")
	parts := strings.SplitN(strings.TrimSpace(skey), "+", 5)
	if len(parts) != 5 || parts[0] != "PRIVATE" || parts[1] != "KEY" {
		return nil, damaged
	}
	raw, err := b64.DecodeString(parts[4])
	if err != nil || len(raw) != 1+ed25519.SeedSize || raw[0] != typeCosignature {
		return nil, damaged
	}
	private := ed25519.NewKeyFromSeed(raw[1:])
	k, err := newKey(parts[2], append([]byte{typeCosignature}, private.Public().(ed25519.PublicKey)...))
	if err != nil || fmt.Sprintf("%08x", k.hash) != parts[3] {
		return nil, damaged
	}
	return &Cosigner{k, private}, nil
}

// VKey is the public half, one line without an end of line.
func (c *Cosigner) VKey() string { return c.vkey() }

// Cosign gives the signature line, with its end of line, over a checkpoint's note body. Whether the tree may be signed is the caller's to
// have checked, and to have written down.
func (c *Cosigner) Cosign(text string, at time.Time) string {
	t := uint64(max(at.Unix(), 0))
	sig := binary.BigEndian.AppendUint32(nil, c.hash)
	sig = binary.BigEndian.AppendUint64(sig, t)
	sig = append(sig, ed25519.Sign(c.private, cosigned(t, text))...)
	return SignatureLine{c.name, c.hash, sig[4:]}.String()
}

// SignatureLine is one line below a note.
type SignatureLine struct {
	Name string
	Hash uint32
	Sig  []byte // without the hash
}

// String is the line in its one spelling, with its end of line.
func (s SignatureLine) String() string {
	return "— " + s.Name + " " + b64.EncodeToString(append(binary.BigEndian.AppendUint32(nil, s.Hash), s.Sig...)) + "\n"
}

// CosignedAt is the time that a cosignature states; ok is false for a signature of another length.
func (s SignatureLine) CosignedAt() (at time.Time, ok bool) {
	if len(s.Sig) != cosignatureSize {
		return time.Time{}, false
	}
	t := binary.BigEndian.Uint64(s.Sig)
	return time.Unix(int64(t), 0).UTC(), t <= math.MaxInt64
}

// maxSignatures bounds the lines of a note. C2SP asks for 16 at least.
const maxSignatures = 64

// ParseSignatureLines reads signature lines, each with its end of line, in their one spelling.
func ParseSignatureLines(text string) ([]SignatureLine, error) {
	var out []SignatureLine
	for line := range strings.SplitAfterSeq(text, "\n") {
		if line == "" {
			break
		}
		if len(out) == maxSignatures {
			return nil, fmt.Errorf("more than %d signature lines", maxSignatures)
		}
		rest, ok := strings.CutPrefix(line, "— ")
		name, encoded, ok2 := strings.Cut(strings.TrimSuffix(rest, "\n"), " ")
		raw, err := b64.DecodeString(encoded)
		if !ok || !ok2 || err != nil || len(raw) < 5 || !isKeyName(name) {
			return nil, fmt.Errorf("signature line %d is none", len(out)+1)
		}
		s := SignatureLine{name, binary.BigEndian.Uint32(raw), raw[4:]}
		if s.String() != line {
			return nil, fmt.Errorf("signature line %d is spelt otherwise", len(out)+1)
		}
		out = append(out, s)
	}
	return out, nil
}

// SplitNote takes a signed note apart: its body with the last end of line, and its signature lines. It proves nothing.
func SplitNote(signed []byte) (text string, lines []SignatureLine, err error) {
	if !utf8.Valid(signed) || strings.ContainsFunc(string(signed), func(r rune) bool { return r < 0x20 && r != '\n' }) {
		return "", nil, errors.New("it is no text")
	}
	i := strings.LastIndex(string(signed), "\n\n")
	if i < 0 {
		return "", nil, errors.New("it has no signatures")
	}
	if lines, err = ParseSignatureLines(string(signed[i+2:])); err != nil {
		return "", nil, err
	}
	if len(lines) == 0 {
		return "", nil, errors.New("it has no signatures")
	}
	return string(signed[:i+1]), lines, nil
}
