package chain

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// ReceiptHeader is the first line of a receipt: a C2SP tlog-proof.
const ReceiptHeader = "c2sp.org/tlog-proof@v1"

// Receipt proves one leaf: a signed checkpoint, the way from the leaf to its root, and, in the extra line, the leaf with the salt
// and payload it commits to.
type Receipt struct {
	Disclosure Disclosure
	Index      int64
	Proof      []Hash
	Checkpoint []byte // signed note
}

// Disclosure is a leaf with what it commits to, as deterministic CBOR. Salt and Payload are both absent once erased.
type Disclosure struct {
	Leaf    []byte `cbor:"1,keyasint"`
	Salt    []byte `cbor:"2,keyasint,omitempty"`
	Payload []byte `cbor:"3,keyasint,omitempty"`
}

// Proven is what a receipt or bundle has been shown to say.
type Proven struct {
	Checkpoint Checkpoint
	Index      int64
	Leaf       Leaf
	LeafHash   Hash
	Payload    []byte // nil if it was erased
}

// Encode gives the disclosure's bytes.
func (d Disclosure) Encode() ([]byte, error) { return enc.Marshal(d) }

// Open reads the leaf and checks that salt and payload are the ones it commits to.
func (d Disclosure) Open() (Leaf, error) {
	l, err := DecodeLeaf(d.Leaf)
	if err != nil {
		return Leaf{}, err
	}
	if d.Salt == nil && d.Payload == nil {
		return l, nil
	}
	if len(d.Salt) != SaltSize {
		return Leaf{}, fmt.Errorf("salt of %d bytes instead of %d", len(d.Salt), SaltSize)
	}
	if Commitment(d.Salt, d.Payload) != l.Commitment {
		return Leaf{}, errors.New("payload is not what the leaf commits to")
	}
	return l, nil
}

// Marshal writes the receipt's text.
func (r Receipt) Marshal() ([]byte, error) {
	extra, err := r.Disclosure.Encode()
	if err != nil {
		return nil, fmt.Errorf("write receipt: %w", err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nextra %s\nindex %d\n", ReceiptHeader, b64.EncodeToString(extra), r.Index)
	for _, h := range r.Proof {
		b.WriteString(b64.EncodeToString(h[:]))
		b.WriteByte('\n')
	}
	b.WriteByte('\n')
	b.Write(r.Checkpoint)
	return b.Bytes(), nil
}

// ParseReceipt reads a receipt's text in its one spelling. It proves nothing yet.
func ParseReceipt(text []byte) (Receipt, error) {
	r, err := parseReceipt(string(text))
	if err != nil {
		return Receipt{}, fmt.Errorf("read receipt: %w", err)
	}
	again, err := r.Marshal()
	if err != nil {
		return Receipt{}, err
	}
	if !bytes.Equal(again, text) {
		return Receipt{}, errors.New("read receipt: not the spelling of what it says")
	}
	return r, nil
}

func parseReceipt(text string) (Receipt, error) {
	head, checkpoint, ok := strings.Cut(text, "\n\n")
	lines := strings.Split(head, "\n")
	if !ok || len(lines) < 3 || lines[0] != ReceiptHeader {
		return Receipt{}, errors.New("it is no tlog-proof")
	}
	if len(lines) > 3+63 {
		return Receipt{}, errors.New("more hashes than a tree has levels")
	}
	encoded, ok := strings.CutPrefix(lines[1], "extra ")
	if !ok {
		return Receipt{}, errors.New("it discloses no leaf")
	}
	extra, err := b64.DecodeString(encoded)
	if err != nil {
		return Receipt{}, fmt.Errorf("extra line: %w", err)
	}
	r := Receipt{Checkpoint: []byte(checkpoint)}
	if err := strict.Unmarshal(extra, &r.Disclosure); err != nil {
		return Receipt{}, fmt.Errorf("extra line: %w", err)
	}
	index, ok := strings.CutPrefix(lines[2], "index ")
	if !ok {
		return Receipt{}, errors.New("no index line")
	}
	if r.Index, err = strconv.ParseInt(index, 10, 64); err != nil || r.Index < 0 {
		return Receipt{}, fmt.Errorf("index %q", index)
	}
	for _, line := range lines[3:] {
		h, err := b64.DecodeString(line)
		if err != nil || len(h) != tlog.HashSize {
			return Receipt{}, fmt.Errorf("proof line %q", line)
		}
		r.Proof = append(r.Proof, Hash(h))
	}
	return r, nil
}

// VerifyReceipt proves a receipt's leaf against the log's key: signature, inclusion, commitment.
func VerifyReceipt(text []byte, log note.Verifier, witnesses ...note.Verifier) (Proven, error) {
	r, err := ParseReceipt(text)
	if err != nil {
		return Proven{}, err
	}
	c, err := OpenCheckpoint(r.Checkpoint, log, witnesses...)
	if err != nil {
		return Proven{}, err
	}
	return Prove(c, r.Index, r.Proof, r.Disclosure)
}

// Prove shows that a disclosed leaf lies at index in the checkpoint's tree. The checkpoint must have been opened before.
func Prove(c Checkpoint, index int64, proof []Hash, d Disclosure) (Proven, error) {
	l, err := d.Open()
	if err != nil {
		return Proven{}, fmt.Errorf("leaf %d: %w", index, err)
	}
	h := LeafHash(d.Leaf)
	if err := CheckInclusion(proof, index, c.Size, c.Root, h); err != nil {
		return Proven{}, fmt.Errorf("leaf %d is not in the tree of %d: %w", index, c.Size, err)
	}
	return Proven{Checkpoint: c, Index: index, Leaf: l, LeafHash: h, Payload: d.Payload}, nil
}

// ErrNoFile says that a leaf names no file.
var ErrNoFile = errors.New("this leaf names no file")

// File gives the SHA-256 and size of the file the leaf is about; ErrNoFile if it is about none, or was erased. A manifest's leaf
// holds the device's own signed statement: read that.
func (p Proven) File() (sha256 []byte, size int64, err error) {
	if p.Payload == nil {
		return nil, 0, fmt.Errorf("%w: its payload was erased", ErrNoFile)
	}
	switch p.Leaf.Kind {
	case KindSealed:
		s, err := Payload[SealedPayload](p.Payload)
		return s.SHA256, s.Size, err
	case KindVerified, KindDamaged:
		v, err := Payload[VerifiedPayload](p.Payload)
		return v.SHA256, v.Size, err
	}
	return nil, 0, ErrNoFile
}
