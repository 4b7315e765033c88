package chain

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
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
	Keys       [][]byte // of the checkpoint's lines below the log's own, in their order: type byte, then the key; see KeysFor
	Index      int64
	Proof      []Hash
	Checkpoint []byte // signed note
}

// extra is what the receipt's extra line holds. Nobody signs the keys: they only make a changed bit in a cosignature show, for those
// who don't know the witness.
type extra struct {
	Leaf    []byte   `cbor:"1,keyasint"`
	Salt    []byte   `cbor:"2,keyasint,omitempty"`
	Payload []byte   `cbor:"3,keyasint,omitempty"`
	Keys    [][]byte `cbor:"4,keyasint,omitempty"`
}

// Disclosure is a leaf with what it commits to. Salt and Payload are both absent once erased.
type Disclosure struct{ Leaf, Salt, Payload []byte }

// Proven is what a receipt or bundle has been shown to say.
type Proven struct {
	Checkpoint Checkpoint
	Cosigned   []Cosigned // by whom the checkpoint was cosigned
	Quorum     bool       // enough of the policy's witnesses did
	Index      int64
	Leaf       Leaf
	LeafHash   Hash
	Payload    []byte // nil if it was erased
}

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
	x, err := enc.Marshal(extra{r.Disclosure.Leaf, r.Disclosure.Salt, r.Disclosure.Payload, r.Keys})
	if err != nil {
		return nil, fmt.Errorf("write receipt: %w", err)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nextra %s\nindex %d\n", ReceiptHeader, b64.EncodeToString(x), r.Index)
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
	raw, err := b64.DecodeString(encoded)
	if err != nil {
		return Receipt{}, fmt.Errorf("extra line: %w", err)
	}
	var x extra
	if err := strict.Unmarshal(raw, &x); err != nil {
		return Receipt{}, fmt.Errorf("extra line: %w", err)
	}
	r := Receipt{Disclosure: Disclosure{x.Leaf, x.Salt, x.Payload}, Keys: x.Keys, Checkpoint: []byte(checkpoint)}
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

// VerifyReceipt proves a receipt's leaf against the log's key: signature, inclusion, commitment. Cosignatures must be of these witnesses
// or of keys that the receipt carries.
func VerifyReceipt(text []byte, log note.Verifier, witnesses ...note.Verifier) (Proven, error) {
	return verifyReceipt(text, func(r Receipt, carried []note.Verifier) (Opened, error) {
		return openCheckpoint(r.Checkpoint, []note.Verifier{log}, append(slices.Clone(witnesses), carried...), false)
	})
}

// VerifyReceiptByLog is VerifyReceipt for those who know the log's keys and nothing else; see OpenByLog.
func VerifyReceiptByLog(text []byte, logs ...note.Verifier) (Proven, error) {
	return verifyReceipt(text, func(r Receipt, _ []note.Verifier) (Opened, error) {
		return openCheckpoint(r.Checkpoint, logs, nil, true)
	})
}

// VerifyReceipt proves a receipt against the policy and says who cosigned and whether they are enough. Too few are no error. carried is as
// for Open.
func (p Policy) VerifyReceipt(text []byte, carried ...note.Verifier) (Proven, error) {
	return verifyReceipt(text, func(r Receipt, own []note.Verifier) (Opened, error) {
		return p.Open(r.Checkpoint, append(slices.Clone(carried), own...)...)
	})
}

func verifyReceipt(text []byte, open func(Receipt, []note.Verifier) (Opened, error)) (Proven, error) {
	r, err := ParseReceipt(text)
	if err != nil {
		return Proven{}, err
	}
	carried, err := r.verifiers()
	if err != nil {
		return Proven{}, err
	}
	o, err := open(r, carried)
	if err != nil {
		return Proven{}, err
	}
	p, err := Prove(o.Checkpoint, r.Index, r.Proof, r.Disclosure)
	if err != nil {
		return Proven{}, err
	}
	p.Cosigned, p.Quorum = o.Cosigned, o.Quorum
	return p, nil
}

// verifiers gives the keys that the receipt carries: they belong to the last lines of its checkpoint, one each, in order.
func (r Receipt) verifiers() ([]note.Verifier, error) {
	if len(r.Keys) == 0 {
		return nil, nil
	}
	_, lines, err := SplitNote(r.Checkpoint)
	if err != nil {
		return nil, fmt.Errorf("open checkpoint: %w", err)
	}
	if len(r.Keys) > len(lines) {
		return nil, errors.New("read receipt: more keys than signatures")
	}
	lines = lines[len(lines)-len(r.Keys):]
	vs := make([]note.Verifier, len(lines))
	for i, raw := range r.Keys {
		k, err := newKey(lines[i].Name, raw)
		if err != nil {
			return nil, fmt.Errorf("read receipt: key %d: %w", i+1, err)
		}
		if k.hash != lines[i].Hash {
			return nil, fmt.Errorf("read receipt: key %d is not that of the line of %q", i+1, lines[i].Name)
		}
		vs[i] = k
	}
	return vs, nil
}

// KeysFor gives what a receipt has to carry for these lines at the end of its checkpoint: their keys, picked from vkeys.
func KeysFor(lines []SignatureLine, vkeys []string) ([][]byte, error) {
	known := map[keyID][]byte{}
	for _, vkey := range vkeys {
		k, err := parseKey(vkey)
		if err != nil {
			return nil, err
		}
		known[keyID{k.name, k.hash}] = k.raw()
	}
	out := make([][]byte, len(lines))
	for i, l := range lines {
		if out[i] = known[keyID{l.Name, l.Hash}]; out[i] == nil {
			return nil, fmt.Errorf("no key for the line of %q", l.Name)
		}
	}
	return out, nil
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
