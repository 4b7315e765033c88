package bundle

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/chain"
)

// Report is what was checked. Failures is empty when all holds; each names what doesn't, in zh-CN and English.
type Report struct {
	CaseID     string `json:"case_id,omitempty"`
	Origin     string `json:"origin,omitempty"`
	TreeSize   int64  `json:"tree_size,omitempty"`
	ExportLeaf int64  `json:"export_leaf,omitempty"`
	ExportedAt string `json:"exported_at,omitempty"`
	// FrozenRoot is the root over the exhibits that the decision's leaf carries, hex; "" before a decision.
	FrozenRoot  string      `json:"frozen_root,omitempty"`
	DecidedLeaf *int64      `json:"decided_leaf,omitempty"`
	Records     []Record    `json:"records,omitempty"`
	Leaves      int         `json:"leaves"`
	TailsProven bool        `json:"tails_proven"`      // every item's chain is shown up to this export
	Missing     []string    `json:"missing,omitempty"` // what the devices' own chains show to be missing, zh-CN
	Checked     []string    `json:"checked"`
	Timestamps  []Timestamp `json:"timestamps"`
	Failures    []Failure   `json:"failures"`
	Witness     Witness     `json:"witness"`
}

// Witness tells how the reader's own policy judges the cosignatures of the bundle's checkpoints: of the one that has the fewest.
type Witness struct {
	Required bool             `json:"required"` // the policy asks for witnesses
	Need     int              `json:"need"`
	Of       int              `json:"of"`
	Have     int              `json:"have"`
	Met      bool             `json:"met"`
	Cosigned []chain.Cosigned `json:"cosigned,omitempty"` // whoever's key: one without a witness's name counts for nothing
}

// JudgeWitnesses says how a policy judges a proof's cosignatures.
func JudgeWitnesses(trust chain.Policy, p chain.Proven) Witness {
	w := Witness{Required: trust.Rule != chain.NoQuorum, Met: p.Quorum, Cosigned: p.Cosigned}
	w.Need, w.Of = trust.Threshold()
	counting := trust.Counting()
	for _, c := range p.Cosigned {
		if slices.Contains(counting, c.Witness) {
			w.Have++
		}
	}
	return w
}

// String is the judgement in a line, in zh-CN and English.
func (w Witness) String() string {
	var s string
	switch {
	case !w.Required:
		s = "未要求见证 no witnesses required"
	case w.Met:
		s = fmt.Sprintf("见证 %d/%d，达到门限 %d witnessed, quorum met", w.Have, w.Of, w.Need)
	default:
		s = fmt.Sprintf("见证 %d/%d，未达到门限 %d witnesses short of the quorum", w.Have, w.Of, w.Need)
	}
	strangers := 0
	for _, c := range w.Cosigned {
		if c.Witness == "" {
			strangers++
		}
	}
	if strangers > 0 {
		s += fmt.Sprintf("；另有 %d 个共签，其公钥不在可信策略中，不计 cosignatures of keys not in the policy, not counted", strangers)
	}
	return s
}

// Failure is one thing that doesn't hold.
type Failure struct {
	Where string `json:"where"`
	Zh    string `json:"zh"`
	En    string `json:"en"`
}

// SignedFile reads a device's signed manifest: it checks the signature by the key's SubjectPublicKeyInfo and tells what the manifest
// states. It is handed in, because manifests are the docking stations' format and not the log's.
type SignedFile func(signed, spki []byte) (sha256 []byte, size int64, err error)

type verifier struct {
	trust   chain.Policy
	carried []note.Verifier // witnesses that the bundle itself names
	read    SignedFile
	device  SignedChain // nil when nobody handed it in
	r       io.ReaderAt
	size    int64
	zip     *zip.Reader
	files   map[string]*zip.File
	texts   map[string][]byte
	inTexts int64 // bytes in texts
	digest  map[string]string
	roots   map[int64]chain.Hash // by tree size
	leaves  map[int64]chain.Proven
	tailed  bool           // the format has tails
	tail    map[int64]bool // leaves behind EXPORT.tlog-proof
	judged  map[int64]bool // sizes of checkpoints whose witnesses were reported
	report  Report

	tsaRoots *x509.CertPool // nil: timestamps are not judged
}

// Verify checks a bundle against the logs and witnesses of a policy. The error is for a file that can't be read; whatever doesn't hold, a file that is
// no zip included, is in the report.
func Verify(r io.ReaderAt, size int64, trust chain.Policy, read SignedFile, options ...Option) (Report, error) {
	in := &watched{r: io.NewSectionReader(r, 0, size)}
	v := &verifier{trust: trust, read: read, r: in, size: size, files: map[string]*zip.File{}, texts: map[string][]byte{}, digest: map[string]string{},
		roots: map[int64]chain.Hash{}, leaves: map[int64]chain.Proven{}, tail: map[int64]bool{}, judged: map[int64]bool{}}
	for _, o := range options {
		o(v)
	}
	v.report.Checked, v.report.Failures = []string{}, []Failure{}
	v.report.Witness = JudgeWitnesses(trust, chain.Proven{})
	var err error
	if v.zip, err = zip.NewReader(in, size); err != nil {
		v.fail("zip", "不是完整的证据包（zip 打不开，可能被截断）："+err.Error(), "not a whole bundle (the zip can't be opened, it may be cut short): "+err.Error())
	} else if v.layout() {
		v.members()
		v.keys()
		v.policy()
		v.proofs()
		v.export()
		v.tails()
		if len(v.judged) > 0 {
			v.held("%s", v.report.Witness)
		}
		v.chains()
		v.records()
		v.ends()
		v.frozen()
		v.completeness()
		v.stamps()
	}
	return v.report, in.err
}

// watched remembers that the file itself couldn't be read: then nothing was found out about the bundle.
type watched struct {
	r   io.ReaderAt
	err error
}

func (w *watched) ReadAt(p []byte, off int64) (int, error) {
	n, err := w.r.ReadAt(p, off)
	if err != nil && err != io.EOF {
		w.err = err
	}
	return n, err
}

func (v *verifier) fail(where, zh, en string) {
	v.report.Failures = append(v.report.Failures, Failure{where, zh, en})
}

func (v *verifier) held(format string, a ...any) {
	v.report.Checked = append(v.report.Checked, fmt.Sprintf(format, a...))
}

// members compares the zip with MANIFEST.json: the same members, in the same order, with the same bytes, and nothing else.
func (v *verifier) members() {
	for _, f := range v.zip.File {
		if v.files[f.Name] != nil {
			v.fail(f.Name, "同名成员出现两次", "member appears twice")
		}
		if !wellNamed(f.Name) {
			v.fail(f.Name, "成员名不是证据包的格式", "a bundle has no member of this name")
		}
		v.files[f.Name] = f
	}
	raw, err := v.load(ManifestName)
	var m Manifest
	if err == nil {
		err = decodeJSON(raw, &m)
	}
	if err == nil && m.Format != Format && m.Format != formatV1 {
		err = fmt.Errorf("format %q is not known", m.Format)
	}
	if err != nil {
		v.fail(ManifestName, "清单无法读取："+err.Error(), "manifest can't be read: "+err.Error())
		return
	}
	v.report.CaseID, v.tailed = m.CaseID, m.Format == Format
	want, listed := []string{ManifestName}, map[string]bool{ManifestName: true, ExportName: true}
	for _, mem := range m.Members {
		if listed[mem.Name] { // read once, however often it is listed
			v.fail(mem.Name, "清单重复列出这个成员", "the manifest lists this member twice")
			continue
		}
		listed[mem.Name] = true
		want = append(want, mem.Name)
		v.member(mem)
	}
	want = append(want, ExportName)
	want = append(want, v.tailNames()...)
	var got []string
	for _, f := range v.zip.File {
		got = append(got, f.Name)
		if !listed[f.Name] && !(v.tailed && isTailName(f.Name)) {
			v.fail(f.Name, "清单里没有这个成员", "the manifest doesn't know this member")
		}
	}
	if len(v.report.Failures) == 0 && !slices.Equal(want, got) {
		v.fail(ManifestName, "压缩包的成员与清单的次序不一致", "the zip's members are not in the manifest's order")
	}
	v.held("%d 个成员与清单逐一比对 members compared with the manifest", len(m.Members))
}

// keys reads the log's keys as the bundle names them. They give no trust; but while a key is being replaced checkpoints carry a line of
// the other one, which only its own key can check.
func (v *verifier) keys() {
	named, err := chain.ParseKeys(string(v.texts[VKeyName]))
	var trusted []note.Verifier
	if err == nil {
		trusted, err = v.trust.LogVerifiers()
	}
	if err == nil && !slices.ContainsFunc(trusted, func(t note.Verifier) bool { return t.Name() == named.Name() }) {
		err = fmt.Errorf("they are of %q", named.Name())
	}
	if err != nil {
		v.fail(VKeyName, "所列公钥不属于可信公钥所指的日志："+err.Error(), "the keys named are not those of the trusted key's log: "+err.Error())
		return
	}
	v.carried = append(v.carried, named.Trusted()...)
}

func (v *verifier) member(mem Member) {
	f := v.files[mem.Name]
	if f == nil {
		v.fail(mem.Name, "清单列出的成员不在压缩包里", "member of the manifest is missing")
		return
	}
	body, err := open(f)
	if err != nil {
		v.fail(mem.Name, "无法读取："+err.Error(), "can't be read: "+err.Error())
		return
	}
	defer body.Close()
	h := sha256.New()
	var text bytes.Buffer
	w, in := io.Writer(h), io.Reader(body)
	if !isFile(mem.Name) {
		w = io.MultiWriter(h, &text)
		in = io.LimitReader(body, min(maxText, maxTexts-v.inTexts))
	}
	n, err := io.Copy(w, in)
	v.inTexts += int64(text.Len())
	sum := hex.EncodeToString(h.Sum(nil))
	switch {
	case err != nil:
		v.fail(mem.Name, "读取中断（内容损坏）："+err.Error(), "reading broke off (damaged): "+err.Error())
	case n != mem.Size || sum != mem.SHA256:
		v.fail(mem.Name, "内容与清单的指纹不符", "content differs from the manifest's digest")
	}
	v.texts[mem.Name], v.digest[mem.Name] = text.Bytes(), sum
}

func (v *verifier) load(name string) ([]byte, error) {
	f := v.files[name]
	if f == nil {
		return nil, errors.New("member is missing")
	}
	body, err := open(f)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return io.ReadAll(io.LimitReader(body, maxText))
}

// open refuses compressed members: a few bytes could become any number.
func open(f *zip.File) (io.ReadCloser, error) {
	if f.Method != zip.Store {
		return nil, errors.New("成员被压缩过，不是原样 the member is compressed")
	}
	return f.Open()
}

// wellNamed says whether a bundle may have a member of this name: none leads out of the folder it is unpacked in.
func wellNamed(name string) bool {
	switch name {
	case ManifestName, IndexName, CaseName, EvidenceName, ChainName, VKeyName, WitnessName, ExportName:
		return true
	}
	if base, ok := strings.CutPrefix(name, filesDir); ok {
		number, file, ok := strings.Cut(base, "-")
		n, err := strconv.Atoi(number)
		return ok && err == nil && memberName(n, file) == name
	}
	if isStampName(name) || isTailName(name) {
		return true
	}
	digits := strings.TrimSuffix(strings.TrimPrefix(name, proofsDir), proofSuffix)
	n, err := strconv.ParseInt(digits, 10, 64)
	return err == nil && n >= 0 && proofName(n) == name
}

// policy reads whom the bundle names as the log's witnesses. It is believed in nothing but this: lines of theirs have to be valid.
func (v *verifier) policy() {
	if v.files[WitnessName] == nil {
		return
	}
	text := string(v.texts[WitnessName])
	p, err := chain.ParsePolicy(text)
	if err == nil && p.Text() != text {
		err = errors.New("not the spelling of what it says")
	}
	var witnesses []note.Verifier
	if err == nil {
		witnesses, err = p.Verifiers()
		v.carried = append(v.carried, witnesses...)
	}
	if err != nil {
		v.fail(WitnessName, "见证策略无法读取："+err.Error(), "witness policy can't be read: "+err.Error())
	}
}

// proofs proves each leaf against the log's key.
func (v *verifier) proofs() {
	for _, f := range v.zip.File {
		if !strings.HasPrefix(f.Name, proofsDir) {
			continue
		}
		p, err := v.trust.VerifyReceipt(v.texts[f.Name], v.carried...)
		if err != nil {
			v.fail(f.Name, "回执不成立："+err.Error(), "receipt doesn't hold: "+err.Error())
			continue
		}
		if f.Name != proofName(p.Index) {
			v.fail(f.Name, "回执属于另一个叶子", "receipt is another leaf's")
			continue
		}
		v.leaves[p.Index] = p
		v.oneTree(f.Name, p)
	}
	v.report.Leaves = len(v.leaves)
	v.held("%d 个叶子均在 %s 签名的树中 leaves proven in the signed tree", len(v.leaves), v.report.Origin)
}

// oneTree compares checkpoints: two trees of one size are two histories. It also judges the witnesses, each checkpoint once.
func (v *verifier) oneTree(where string, p chain.Proven) {
	if v.report.Origin == "" {
		v.report.Origin = p.Checkpoint.Origin
	}
	if v.report.Origin != p.Checkpoint.Origin {
		v.fail(where, "回执属于另一本日志", "the receipt is of another log")
		return
	}
	w := JudgeWitnesses(v.trust, p)
	if len(v.judged) == 0 || w.Have < v.report.Witness.Have || (v.report.Witness.Met && !w.Met) {
		v.report.Witness = w
	}
	if !w.Met && !v.judged[p.Checkpoint.Size] {
		v.fail(where, fmt.Sprintf("见证未达到可信策略的门限：%d/%d，门限 %d", w.Have, w.Of, w.Need),
			fmt.Sprintf("short of the trusted policy's quorum: %d of %d witnesses, %d needed", w.Have, w.Of, w.Need))
	}
	v.judged[p.Checkpoint.Size] = true
	root, known := v.roots[p.Checkpoint.Size]
	if known && root != p.Checkpoint.Root {
		v.fail(where, "日志对同一大小签发了两棵不同的树：日志分叉", "the log signed two trees of one size: it has forked")
	}
	v.roots[p.Checkpoint.Size] = p.Checkpoint.Root
}

// export proves that this very bundle was logged: its leaf commits to the digest of MANIFEST.json.
func (v *verifier) export() {
	raw, err := v.load(ExportName)
	if err != nil {
		v.fail(ExportName, "缺少导出回执", "the export's receipt is missing")
		return
	}
	p, err := v.trust.VerifyReceipt(raw, v.carried...)
	if err != nil {
		v.fail(ExportName, "导出回执不成立："+err.Error(), "the export's receipt doesn't hold: "+err.Error())
		return
	}
	c, err := chain.Payload[chain.CasePayload](p.Payload)
	manifest, merr := v.load(ManifestName)
	sum := sha256.Sum256(manifest)
	switch {
	case p.Leaf.Kind != chain.KindCaseExported || err != nil || merr != nil:
		v.fail(ExportName, "导出回执不是案件导出的叶子", "the receipt is not that of a case's export")
	case !bytes.Equal(c.Digest, sum[:]):
		v.fail(ExportName, "清单不是导出时记入日志的那一份", "the manifest is not the one that was logged at export")
	case c.CaseID != v.report.CaseID:
		v.fail(ExportName, "导出回执属于另一个案件", "the receipt is another case's")
	default:
		v.held("导出已记入日志 export is leaf %d", p.Index)
	}
	v.report.TreeSize, v.report.ExportLeaf = p.Checkpoint.Size, p.Index
	v.report.ExportedAt = p.Leaf.Time().Format("2006-01-02T15:04:05Z07:00")
	v.leaves[p.Index] = p
	v.oneTree(ExportName, p)
}

// chains checks that every subject's leaves are all there, from the first on, each naming the one before: nothing was left out of the
// middle. Keys are exempt: a docking station's chain holds the manifests of every case; completeness.go shows what it can of them. So are
// timestamps: a bundle takes those that tell most about it.
func (v *verifier) chains() {
	bySubject := map[chain.SubjectID]map[uint64]chain.Proven{}
	for _, p := range v.leaves {
		if ofKey(p.Leaf.Kind) || p.Leaf.Kind == chain.KindTimestamp {
			continue
		}
		s := bySubject[p.Leaf.Subject]
		if s == nil {
			s = map[uint64]chain.Proven{}
			bySubject[p.Leaf.Subject] = s
		}
		if _, twice := s[p.Leaf.Counter]; twice {
			v.fail("chain "+hex.EncodeToString(p.Leaf.Subject[:]), fmt.Sprintf("链上有两个第 %d 个叶子：链分叉", p.Leaf.Counter), fmt.Sprintf("the chain has two leaves %d: it has forked", p.Leaf.Counter))
		}
		s[p.Leaf.Counter] = p
	}
	for subject, leaves := range bySubject {
		var prev [32]byte
		for n := uint64(1); n <= uint64(len(leaves)); n++ {
			p, ok := leaves[n]
			if !ok {
				v.fail("chain "+hex.EncodeToString(subject[:]), fmt.Sprintf("链上缺少第 %d 个叶子", n), fmt.Sprintf("leaf %d of the chain is missing", n))
				break
			}
			if p.Leaf.Prev != prev {
				v.fail(proofName(p.Index), "链在此处断开：前一叶子的指纹不符", "the chain breaks here: it names another leaf before it")
			}
			prev = p.LeafHash
		}
	}
	v.held("%d 条链完整 chains complete", len(bySubject))
}

// records holds evidence.json against the leaves: what the log says counts.
func (v *verifier) records() {
	var records []Record
	if err := decodeJSON(v.texts[EvidenceName], &records); err != nil {
		v.fail(EvidenceName, "无法读取："+err.Error(), "can't be read: "+err.Error())
		return
	}
	v.report.Records = records
	for _, r := range records {
		where := fmt.Sprintf("证据 %d（%s）", r.Number, r.ID)
		if err := v.fingerprint(r); err != nil {
			v.fail(where, "设备的签名清单不成立："+err.Error(), "the device's signed manifest doesn't hold: "+err.Error())
		}
		if r.Status == "pending" {
			continue
		}
		if err := v.seal(r); err != nil {
			v.fail(where, "封存记录不成立："+err.Error(), "the sealing doesn't hold: "+err.Error())
		}
	}
	v.held("%d 份证据与日志相符 records compared with the log", len(records))
}

// fingerprint checks the manifest that the docking station signed before any byte travelled.
func (v *verifier) fingerprint(r Record) error {
	p, ok := v.leaves[r.ManifestLeaf]
	if !ok || p.Leaf.Kind != chain.KindManifest {
		return errors.New("its leaf is missing")
	}
	m, err := chain.Payload[chain.ManifestPayload](p.Payload)
	if err != nil {
		return err
	}
	if m.EvidenceID != r.ID {
		return errors.New("its leaf is another item's")
	}
	spki, err := v.keyOf(p.Leaf.Subject)
	if err != nil {
		return err
	}
	sum, size, err := v.read(m.Signed, spki)
	if err != nil {
		return err
	}
	if hex.EncodeToString(sum) != r.SHA256 || size != r.Size {
		return errors.New("it names another file")
	}
	return nil
}

// keyOf finds the enrolment of the key whose chain a manifest is on.
func (v *verifier) keyOf(subject chain.SubjectID) ([]byte, error) {
	for _, p := range v.leaves {
		if p.Leaf.Kind != chain.KindKeyEnrolled || p.Leaf.Subject != subject {
			continue
		}
		k, err := chain.Payload[chain.KeyPayload](p.Payload)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(k.SPKI)
		if !bytes.Equal(sum[:], k.KeyID) || (chain.Subject{Type: chain.SubjectKey, ID: hex.EncodeToString(k.KeyID)}).Opaque() != subject {
			return nil, errors.New("the enrolment names another key")
		}
		return k.SPKI, nil
	}
	return nil, errors.New("the enrolment of its key is missing")
}

func (v *verifier) seal(r Record) error {
	p, ok := v.leaves[r.SealLeaf]
	if !ok || p.Leaf.Kind != chain.KindSealed {
		return errors.New("its leaf is missing")
	}
	s, err := chain.Payload[chain.SealedPayload](p.Payload)
	if err != nil {
		return err
	}
	switch {
	case s.EvidenceID != r.ID || p.Leaf.Subject != (chain.Subject{Type: chain.SubjectEvidence, ID: r.ID}).Opaque():
		return errors.New("its leaf is another item's")
	case hex.EncodeToString(s.SHA256) != r.SHA256 || s.Size != r.Size:
		return errors.New("its leaf names other bytes")
	case r.Status == "deleted":
		return v.deleted(r)
	case v.digest[r.Member] != r.SHA256:
		return errors.New("the file in the bundle has another digest")
	}
	return nil
}

// deleted: only the log can say that a sealed file is missing here because its retention was over.
func (v *verifier) deleted(r Record) error {
	if r.Member != "" {
		return errors.New("it is here and said to be deleted")
	}
	for _, p := range v.leaves {
		if p.Leaf.Kind != chain.KindDeleting || p.Leaf.Subject != (chain.Subject{Type: chain.SubjectEvidence, ID: r.ID}).Opaque() {
			continue
		}
		d, err := chain.Payload[chain.DeletedPayload](p.Payload)
		if err == nil && d.EvidenceID == r.ID && hex.EncodeToString(d.SHA256) == r.SHA256 {
			return nil
		}
	}
	return errors.New("it is not here and no leaf says that it was deleted")
}
