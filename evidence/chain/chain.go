// Package chain owns the bytes of the evidence log: leaves, the tree over them, tiles, checkpoints, proofs and receipts. It is
// pure: no SQL, no network, no clock. It promises that what it accepts has exactly one encoding, and that a flipped bit in a leaf,
// salt, payload, proof or checkpoint is found. It never decides whom to trust: verifier keys come from the caller.
//
// Read leaf.go for what a leaf says, tree.go for the tree (RFC 6962), receipt.go for what a verifier is handed.
package chain

import (
	"crypto/sha256"
	"time"
)

// Subject is what a chain of leaves is about: a signing key, an evidence item, a case, a ledger. Type is one of the Subject
// constants, ID the domain's own id.
type Subject struct{ Type, ID string }

// SubjectID is how a subject appears in a public leaf: opaque, and the same for the same subject.
type SubjectID [16]byte

// Opaque gives the subject's public id: the first 16 bytes of SHA-256("zz-subject" 0x00 type 0x00 id).
func (s Subject) Opaque() SubjectID {
	h := sha256.New()
	h.Write([]byte("zz-subject\x00"))
	h.Write([]byte(s.Type))
	h.Write([]byte{0})
	h.Write([]byte(s.ID))
	return SubjectID(h.Sum(nil)[:16])
}

// Entry is one statement on its way into the log. Key is its idempotency key, unique over the whole log ("sealed/" + id): the same
// key with the same kind, subject and payload is the same entry, however often it is sent. Time is not part of that sameness,
// because a retry comes later. Payload is a struct of payloads.go, or []byte that is deterministic CBOR already.
type Entry struct {
	Key     string
	Kind    Kind
	Subject Subject
	Time    time.Time
	Payload any
}

// Commitment binds a leaf to its payload without telling it: SHA-256(salt ‖ payload).
func Commitment(salt, payload []byte) [32]byte {
	h := sha256.New()
	h.Write(salt)
	h.Write(payload)
	return [32]byte(h.Sum(nil))
}
