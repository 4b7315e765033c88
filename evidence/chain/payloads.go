package chain

// Payloads are what leaves commit to: deterministic CBOR with integer keys, kept in an erasable table and disclosed by receipts and
// bundles. Times are Unix milliseconds. Actor is an opaque user or key id, never a name. Fields are only ever added.

// ManifestPayload holds a device's signed manifest exactly as it came.
type ManifestPayload struct {
	EvidenceID string `cbor:"1,keyasint"`
	Signed     []byte `cbor:"2,keyasint"` // SignedManifest, the bytes the key signed and the signature
	Cert       []byte `cbor:"3,keyasint"` // SHA-256 of the signer's certificate (DER)
	ReceivedAt int64  `cbor:"4,keyasint"`
}

// EquivocationPayload keeps the second manifest for a (key, epoch, counter).
type EquivocationPayload struct {
	Signed    []byte `cbor:"1,keyasint"`
	FirstLeaf uint64 `cbor:"2,keyasint"` // index of the leaf with the first one
}

// ManifestNamePayload keeps a later manifest for bytes that are known already.
type ManifestNamePayload struct {
	EvidenceID string `cbor:"1,keyasint"`
	Signed     []byte `cbor:"2,keyasint"`
}

// SealedPayload says which bytes lie where, and how it was checked that they do.
type SealedPayload struct {
	EvidenceID  string `cbor:"1,keyasint"`
	SHA256      []byte `cbor:"2,keyasint"` // whole file, as the manifest claims it; confirmed by a Verified leaf
	Size        int64  `cbor:"3,keyasint"`
	Composite   []byte `cbor:"4,keyasint"` // SHA-256 of the concatenated part digests; empty for single-put objects
	Parts       int    `cbor:"5,keyasint"`
	ObjectKey   string `cbor:"6,keyasint"`
	VersionID   string `cbor:"7,keyasint"`
	Check       string `cbor:"8,keyasint"` // "attested" by the store, or "re-read"
	RetainUntil int64  `cbor:"9,keyasint"`
	ManifestKey string `cbor:"10,keyasint"` // idempotency key of the manifest's leaf
	DeviceID    string `cbor:"11,keyasint"` // recorder, "" when unknown
	Township    string `cbor:"12,keyasint"`
}

// VerifiedPayload is what reading sealed bytes again gave (KindVerified and KindDamaged).
type VerifiedPayload struct {
	EvidenceID string `cbor:"1,keyasint"`
	SHA256     []byte `cbor:"2,keyasint"`
	SM3        []byte `cbor:"3,keyasint"`
	Size       int64  `cbor:"4,keyasint"`
	Reason     string `cbor:"5,keyasint,omitempty"` // of damage: "differs", "short", "long", "missing" (nothing else is set then), "record"
}

// CustodyPayload is an act of a person or job on an item: views, downloads, exports, links, holds, retention changes, restrictions.
type CustodyPayload struct {
	EvidenceID string `cbor:"1,keyasint"`
	Actor      string `cbor:"2,keyasint"` // user id, key id, or "system"
	Session    string `cbor:"3,keyasint,omitempty"`
	CaseID     string `cbor:"4,keyasint,omitempty"`
	Reason     string `cbor:"5,keyasint,omitempty"`
	Until      int64  `cbor:"6,keyasint,omitempty"`
	Digest     []byte `cbor:"7,keyasint,omitempty"` // an export's MANIFEST digest
}

// CasePayload is an act in a case file.
type CasePayload struct {
	CaseID       string `cbor:"1,keyasint"`
	Actor        string `cbor:"2,keyasint"`
	Stage        string `cbor:"3,keyasint"`
	PowerItem    string `cbor:"4,keyasint,omitempty"`
	Township     string `cbor:"5,keyasint,omitempty"`
	EvidenceRoot []byte `cbor:"6,keyasint,omitempty"` // root over the frozen exhibits (R16)
	Note         string `cbor:"7,keyasint,omitempty"`
	Digest       []byte `cbor:"8,keyasint,omitempty"`
}

// PostingPayload is one balanced ledger posting, or a refused one.
type PostingPayload struct {
	PostingID string        `cbor:"1,keyasint"`
	Key       string        `cbor:"2,keyasint"`
	Township  string        `cbor:"3,keyasint"`
	Date      string        `cbor:"4,keyasint"` // 2006-01-02
	Actor     string        `cbor:"5,keyasint"`
	Lines     []PostingLine `cbor:"6,keyasint"`
	DeviceIDs []string      `cbor:"7,keyasint,omitempty"`
	Reverses  string        `cbor:"8,keyasint,omitempty"`
	Rule      string        `cbor:"9,keyasint,omitempty"` // of a refusal
	Memo      string        `cbor:"10,keyasint,omitempty"`
}

// PostingLine is an amount in fen on an account; the lines of a posting sum to zero.
type PostingLine struct {
	Account string `cbor:"1,keyasint"`
	Fen     int64  `cbor:"2,keyasint"`
}

// AllotmentPayload is a township's yearly standard and how it was reckoned.
type AllotmentPayload struct {
	Township string `cbor:"1,keyasint"`
	Year     int    `cbor:"2,keyasint"`
	Fen      int64  `cbor:"3,keyasint"`
	Formula  string `cbor:"4,keyasint"` // the sum, readable
	Actor    string `cbor:"5,keyasint"`
}

// KeyPayload enrols or revokes a device key.
type KeyPayload struct {
	KeyID    []byte `cbor:"1,keyasint"` // SHA-256 of the SubjectPublicKeyInfo
	SPKI     []byte `cbor:"2,keyasint"`
	Cert     []byte `cbor:"3,keyasint,omitempty"` // DER
	DeviceID string `cbor:"4,keyasint"`
	Actor    string `cbor:"5,keyasint"`
	Reason   string `cbor:"6,keyasint,omitempty"`
}

// PowerPayload hands a power item down to a township or takes it back.
type PowerPayload struct {
	PowerItem string `cbor:"1,keyasint"`
	Township  string `cbor:"2,keyasint"`
	Mode      string `cbor:"3,keyasint"` // statutory, delegated, entrusted
	From      string `cbor:"4,keyasint"`
	To        string `cbor:"5,keyasint,omitempty"`
	Batch     string `cbor:"6,keyasint,omitempty"`
	Actor     string `cbor:"7,keyasint"`
}

// AnomalyPayload says what is odd about a device's own chain, and where in it.
type AnomalyPayload struct {
	KeyID  []byte `cbor:"1,keyasint"`
	What   string `cbor:"2,keyasint"` // "clock-jump", "counter-reset", "chain-break" …: the words of ingest/manifest
	Epoch  uint64 `cbor:"3,keyasint"`
	First  uint64 `cbor:"4,keyasint"` // counters it concerns
	Last   uint64 `cbor:"5,keyasint"`
	Detail string `cbor:"6,keyasint,omitempty"`
	Actor  string `cbor:"7,keyasint,omitempty"` // who gave a gap its reason ("gap-explained"); "" for what the platform found itself
}

// ClippedPayload lies on the chain of the item that was clipped. The clip is evidence of its own.
type ClippedPayload struct {
	EvidenceID string `cbor:"1,keyasint"`
	Clip       string `cbor:"2,keyasint"` // evidence id of the clip
	Actor      string `cbor:"3,keyasint"`
	FromMS     int64  `cbor:"4,keyasint"` // on the item's own time line
	ToMS       int64  `cbor:"5,keyasint"`
	Tool       string `cbor:"6,keyasint"` // name and version
}

// DeletedPayload is the certificate of a deletion at the end of retention (KindDeleting, then KindDeleted).
type DeletedPayload struct {
	EvidenceID  string `cbor:"1,keyasint"`
	Actor       string `cbor:"2,keyasint"`
	SHA256      []byte `cbor:"3,keyasint"`
	Size        int64  `cbor:"4,keyasint"`
	RetainUntil int64  `cbor:"5,keyasint"`
	Reason      string `cbor:"6,keyasint"`
	SealedAt    int64  `cbor:"7,keyasint,omitempty"`
	ObjectKey   string `cbor:"8,keyasint,omitempty"`
	VersionID   string `cbor:"9,keyasint,omitempty"`
	Category    string `cbor:"10,keyasint,omitempty"`
	ProposedAt  int64  `cbor:"11,keyasint,omitempty"` // from when it could be objected to
	Decided     []byte `cbor:"12,keyasint,omitempty"` // of KindDeleted: hash of the leaf with the decision
}

// DeviceStatePayload holds a signing key's own statement of how far its counter has come, exactly as it came.
type DeviceStatePayload struct {
	Signed     []byte `cbor:"1,keyasint"`
	ReceivedAt int64  `cbor:"2,keyasint"`
}

// CertificatePayload is an enforcement certificate that was issued, changed or withdrawn.
type CertificatePayload struct {
	CertificateID string `cbor:"1,keyasint"`
	OfficerID     string `cbor:"2,keyasint"`
	From          string `cbor:"3,keyasint"` // 2006-01-02
	To            string `cbor:"4,keyasint"`
	Actor         string `cbor:"5,keyasint"`
	Reason        string `cbor:"6,keyasint,omitempty"`
}

// LogKeyPayload replaces the log's key. Checkpoints carry both signatures until the old key is retired.
type LogKeyPayload struct {
	Old    string `cbor:"1,keyasint"` // verifier key; "" in the log's first statement
	New    string `cbor:"2,keyasint"` // verifier key; the same as Old when Old alone is retired
	Act    string `cbor:"3,keyasint"` // "added", "retired"
	Actor  string `cbor:"4,keyasint"`
	Reason string `cbor:"5,keyasint,omitempty"`
}

// WitnessesPayload is the witness policy in force from here on.
type WitnessesPayload struct {
	Policy string `cbor:"1,keyasint"` // C2SP tlog-policy
	Actor  string `cbor:"2,keyasint"`
}

// AuditPayload is the result of reckoning the whole log again from its bytes.
type AuditPayload struct {
	Size     int64  `cbor:"1,keyasint"`
	Root     []byte `cbor:"2,keyasint"`
	Findings int64  `cbor:"3,keyasint"` // 0: all of it holds
	TookMS   int64  `cbor:"4,keyasint"`
	Actor    string `cbor:"5,keyasint"`
	First    string `cbor:"6,keyasint,omitempty"` // the first finding
}

// TimestampPayload is an RFC 3161 token over a checkpoint's note body.
type TimestampPayload struct {
	Authority string `cbor:"1,keyasint"` // address it was asked at, or "carried" for an imported one
	Body      string `cbor:"2,keyasint"` // the checkpoint's note body; its SHA-256 is what was stamped
	Token     []byte `cbor:"3,keyasint"` // DER TimeStampToken
	GenTime   int64  `cbor:"4,keyasint"`
}

// CanaryPayload is the transcript of one attempt to get rid of a locked object.
type CanaryPayload struct {
	Store     string       `cbor:"1,keyasint"` // name of the configured store, no address
	ObjectKey string       `cbor:"2,keyasint"`
	VersionID string       `cbor:"3,keyasint"`
	Held      bool         `cbor:"4,keyasint"`
	Steps     []CanaryStep `cbor:"5,keyasint"`
}

// CanaryStep is one question to the store and what it did.
type CanaryStep struct {
	Name string `cbor:"1,keyasint"`
	OK   bool   `cbor:"2,keyasint"`
	Got  string `cbor:"3,keyasint"`
}

// RereadPayload is the result of a run that read every stored object again. Each object has a leaf of its own.
type RereadPayload struct {
	Run     string `cbor:"1,keyasint"`
	Objects int64  `cbor:"2,keyasint"`
	Bytes   int64  `cbor:"3,keyasint"`
	Damaged int64  `cbor:"4,keyasint"`
	Missing int64  `cbor:"5,keyasint"`
	TookMS  int64  `cbor:"6,keyasint"`
	Actor   string `cbor:"7,keyasint"`
}

// DrillPayload is the result of a self-proof drill on a copy.
type DrillPayload struct {
	Actor   string      `cbor:"1,keyasint"`
	Tampers []DrillStep `cbor:"2,keyasint"`
	TookMS  int64       `cbor:"3,keyasint"`
}

// DrillStep is one way the copy was tampered with and what found it.
type DrillStep struct {
	Name  string `cbor:"1,keyasint"`
	Found bool   `cbor:"2,keyasint"`
	By    string `cbor:"3,keyasint"`
}

// ErasedPayload names leaves whose salt and payload were deleted. Their bytes and all proofs stay.
type ErasedPayload struct {
	Leaves []uint64 `cbor:"1,keyasint"`
	Actor  string   `cbor:"2,keyasint"`
	Reason string   `cbor:"3,keyasint"`
}

// NotePayload is any other statement of the platform about itself.
type NotePayload struct {
	Text  string `cbor:"1,keyasint"`
	Bytes []byte `cbor:"2,keyasint,omitempty"`
	OK    bool   `cbor:"3,keyasint"`
}

// RecorderPayload says who took or returned which recorder, and where. The officer's name is not in it.
type RecorderPayload struct {
	Recorder string `cbor:"1,keyasint"` // serial
	DeviceID string `cbor:"2,keyasint,omitempty"`
	Officer  string `cbor:"3,keyasint"` // id
	Station  string `cbor:"4,keyasint"`
	At       int64  `cbor:"5,keyasint"` // by the station's clock, Unix milliseconds
}

// CommandPayload is a command as it was signed for a device.
type CommandPayload struct {
	ID      int64  `cbor:"1,keyasint"`
	Device  string `cbor:"2,keyasint"`
	Command string `cbor:"3,keyasint"` // "locate", "lock", "sync-clock", "config"
	Digest  []byte `cbor:"4,keyasint"` // SHA-256 of the signed bytes
	Expires int64  `cbor:"5,keyasint"` // Unix milliseconds
	Reason  string `cbor:"6,keyasint,omitempty"`
	Actor   string `cbor:"7,keyasint"`
}

// CommandEndPayload is how a command ended.
type CommandEndPayload struct {
	ID      int64  `cbor:"1,keyasint"`
	Device  string `cbor:"2,keyasint"`
	Outcome string `cbor:"3,keyasint"` // "done", "refused", "expired"
	Reason  string `cbor:"4,keyasint,omitempty"`
}
