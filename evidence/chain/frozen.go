package chain

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/url"
	"slices"
	"strings"
)

// Frozen is an exhibit as it stood at the decision.
type Frozen struct {
	EvidenceID string
	SHA256     []byte
}

// FrozenRoot commits to a set of exhibits: SHA-256 over "zz-exhibits" 0x00 and, in order of ids, id 0x00 SHA-256 of the bytes. A
// decision's leaf carries it, because evidence gathered later can't support the decision (行政诉讼证据规定第60条).
func FrozenRoot(set []Frozen) []byte {
	set = slices.SortedFunc(slices.Values(set), func(a, b Frozen) int { return strings.Compare(a.EvidenceID, b.EvidenceID) })
	var b bytes.Buffer
	b.WriteString("zz-exhibits\x00")
	for _, f := range set {
		b.WriteString(f.EvidenceID)
		b.WriteByte(0)
		b.Write(f.SHA256)
	}
	h := sha256.Sum256(b.Bytes())
	return h[:]
}

// Fingerprint is a verifier key as people compare it: the hex SHA-256 of its one line, what `printf %s KEY | sha256sum` prints.
func Fingerprint(vkey string) string {
	h := sha256.Sum256([]byte(strings.TrimSpace(vkey)))
	return hex.EncodeToString(h[:])
}

// Mark is what the QR code on a printed document says: which evidence the decision rests on, and by whose log.
type Mark struct {
	CaseID string
	Root   []byte // FrozenRoot of the exhibits
	Key    string // Fingerprint of the log's key
}

const markScheme = "zhizheng:frozen?"

// Text is the mark's one spelling.
func (m Mark) Text() string {
	return markScheme + "case=" + url.QueryEscape(m.CaseID) + "&root=" + hex.EncodeToString(m.Root) + "&key=" + m.Key
}

// ParseMark reads a mark as a scanner gives it.
func ParseMark(text string) (Mark, error) {
	text = strings.TrimSpace(text)
	q, ok := strings.CutPrefix(text, markScheme)
	if !ok {
		return Mark{}, errors.New("read mark: it is not the code of a printed document")
	}
	v, err := url.ParseQuery(q)
	if err != nil {
		return Mark{}, errors.New("read mark: it is damaged")
	}
	m := Mark{CaseID: v.Get("case"), Key: v.Get("key")}
	if m.Root, err = hex.DecodeString(v.Get("root")); err != nil || len(m.Root) != sha256.Size || len(m.Key) != 2*sha256.Size || m.Text() != text {
		return Mark{}, errors.New("read mark: it is damaged")
	}
	return m, nil
}
