// Package bundle owns the court export: a zip that anyone can open and that proves itself against the log's key. It is pure: the
// writer is given bytes and proofs, the reader a file and a key. It promises that a changed bit anywhere in the file is found (the zip's
// own headers included: a bundle has one encoding, see layout.go), that a file made to exhaust the reader doesn't, and that a
// bundle never vouches for itself: trust comes from the key the reader is handed.
//
// Members, in this order:
//
//	MANIFEST.json         size and SHA-256 of every other member up to EXPORT.tlog-proof; its own digest is what the export's leaf commits to
//	index.html            for people
//	case.json             the case as recorded
//	evidence.json         the records: id, name, size, digests, which member holds the bytes
//	chain.json            what the signers' own chains show: clips that never arrived, what the signers state (completeness.go)
//	log.vkey              the log's key as information: it proves nothing, compare it with the published one
//	witness.policy        where the log has witnesses: their keys and rule at export, as C2SP tlog-policy. It makes a changed bit of a
//	                      cosignature show; how many must have signed, the reader's own policy says
//	files/…               the original bytes
//	proofs/N.tlog-proof   a C2SP receipt for each leaf: the items' chains, the case's chain, manifests, enrolments of keys
//	timestamps/N.consistency  that what the token of leaf N stamped is the past of the tree of proofs/
//	EXPORT.tlog-proof     the receipt of the export itself
//	tails/N.tlog-proof    receipts of what the items' chains held since, each up to its own leaf of this export (tail.go). They are
//	                      younger than the manifest, which can't list them: they prove themselves. Bundles of version 1 have none
//
// Read bundle.go for the format, write.go for making one, verify.go for what is checked, tail.go for where chains end, completeness.go and
// tell.go for what is missing, stamp.go for trusted time, layout.go for the zip's own bytes.
package bundle

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// Names of members.
const (
	ManifestName = "MANIFEST.json"
	IndexName    = "index.html"
	CaseName     = "case.json"
	EvidenceName = "evidence.json"
	ChainName    = "chain.json"
	VKeyName     = "log.vkey"
	WitnessName  = "witness.policy"
	ExportName   = "EXPORT.tlog-proof"
	proofsDir    = "proofs/"
	proofSuffix  = ".tlog-proof"
	filesDir     = "files/"
)

// Formats of bundles, named in MANIFEST.json. What is written has the first; courts keep bundles of the other.
const (
	Format   = "zhizheng-bundle/v2"
	formatV1 = "zhizheng-bundle/v1" // ends with EXPORT.tlog-proof
)

// Members that are read into memory: bounds of each, and of all together.
const (
	maxText  = 64 << 20
	maxTexts = 256 << 20
)

// Manifest lists the members.
type Manifest struct {
	Format  string   `json:"format"`
	CaseID  string   `json:"case_id"`
	Members []Member `json:"members"`
}

// Member is one file of the bundle.
type Member struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // hex
}

// Record is an evidence record as evidence.json tells it. What counts is in the leaves; this says where to look.
type Record struct {
	ID         string `json:"id"`
	Number     int    `json:"number"`
	FileName   string `json:"file_name"`
	Member     string `json:"member,omitempty"` // "" while the bytes have not arrived, or once they were deleted
	Size       int64  `json:"size"`
	SHA256     string `json:"sha256"`
	Status     string `json:"status"`
	Recorder   string `json:"recorder,omitempty"`
	RecordedAt string `json:"recorded_at"`
	SealedAt   string `json:"sealed_at,omitempty"`
	Purpose    string `json:"purpose"`
	Verdict    string `json:"verdict,omitempty"`
	// ManifestLeaf and SealLeaf are indexes of leaves, whose receipts lie in proofs/. SealLeaf is -1 while the item isn't sealed.
	ManifestLeaf int64 `json:"manifest_leaf"`
	SealLeaf     int64 `json:"seal_leaf"`
}

// encodeJSON gives the one text of a document: indented, no HTML escapes, a line feed at the end.
func encodeJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// decodeJSON reads a document and refuses any other text of it, so that no byte of it goes unread.
func decodeJSON(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("something follows the document")
	}
	again, err := encodeJSON(v)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, b) {
		return fmt.Errorf("the text is not the one this format writes")
	}
	return nil
}
