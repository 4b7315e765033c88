package bundle

import (
	"bytes"
	"encoding/hex"

	"zhizheng/evidence/chain"
)

// frozen holds the exhibits against the root that was logged with the decision: none was added, taken out or exchanged since.
func (v *verifier) frozen() {
	set := make([]chain.Frozen, len(v.report.Records))
	for i, r := range v.report.Records {
		sum, err := hex.DecodeString(r.SHA256)
		if err != nil {
			return // records has named it
		}
		set[i] = chain.Frozen{EvidenceID: r.ID, SHA256: sum}
	}
	subject := chain.Subject{Type: chain.SubjectCase, ID: v.report.CaseID}.Opaque()
	for index, p := range v.leaves {
		if p.Leaf.Kind != chain.KindCaseDecided || p.Leaf.Subject != subject {
			continue
		}
		c, err := chain.Payload[chain.CasePayload](p.Payload)
		switch {
		case err != nil || c.CaseID != v.report.CaseID || p.Payload == nil:
			v.fail(proofName(index), "处罚决定的册页无法读取", "the decision's leaf can't be read")
		case !bytes.Equal(c.EvidenceRoot, chain.FrozenRoot(set)):
			v.fail(EvidenceName, "证据与处罚决定时固定的证据根不符：有增减或调换", "the exhibits are not those frozen at the decision: some were added, taken out or exchanged")
		default:
			v.report.FrozenRoot, v.report.DecidedLeaf = hex.EncodeToString(c.EvidenceRoot), &p.Index
			v.held("%d 份证据与处罚决定时固定的证据根一致 exhibits are those frozen at the decision (leaf %d)", len(set), index)
		}
	}
}

// CheckMark holds a printed document's mark against what a bundle was shown to say, and the fingerprint of a trusted key.
func (r Report) CheckMark(m chain.Mark, fingerprints ...string) []Failure {
	var out []Failure
	fail := func(zh, en string) { out = append(out, Failure{"二维码 QR", zh, en}) }
	if m.CaseID != r.CaseID {
		fail("二维码属于另一个案件", "the code is another case's")
	}
	if r.FrozenRoot == "" {
		fail("证据包里没有成立的处罚决定，无从比对证据根", "the bundle proves no decision to compare the root with")
	} else if hex.EncodeToString(m.Root) != r.FrozenRoot {
		fail("二维码的证据根与证据包不符", "the code's evidence root is not the bundle's")
	}
	for _, f := range fingerprints {
		if f == m.Key {
			return out
		}
	}
	fail("二维码的公钥指纹不是可信公钥的", "the code names another key than the trusted one")
	return out
}
