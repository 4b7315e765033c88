package bundle

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"zhizheng/evidence/chain"
)

// Tails of custody in a bundle. An export is a leaf in the chain of every exhibit too, and that leaf is where the chain ends here: it names
// the digest of MANIFEST.json, and counter and hash of the leaf before it. So nothing can be cut off a chain's end without breaking it.
// What was done with an exhibit between the planning of a bundle and its export lies in tails/ as well.

const tailsDir = "tails/"

func tailName(index int64) string { return fmt.Sprintf("%s%012d%s", tailsDir, index, proofSuffix) }

func isTailName(name string) bool {
	n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(name, tailsDir), proofSuffix), 10, 64)
	return err == nil && n >= 0 && tailName(n) == name
}

// tailNames are the tails' names, in the order that the format has.
func (v *verifier) tailNames() (names []string) {
	for _, f := range v.zip.File {
		if v.tailed && isTailName(f.Name) {
			names = append(names, f.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// tails proves each leaf behind the export's.
func (v *verifier) tails() {
	for _, name := range v.tailNames() {
		raw, err := v.load(name)
		var p chain.Proven
		if err == nil {
			p, err = v.trust.VerifyReceipt(raw, v.carried...)
		}
		if err != nil {
			v.fail(name, "回执不成立："+err.Error(), "receipt doesn't hold: "+err.Error())
			continue
		}
		if _, there := v.leaves[p.Index]; there || name != tailName(p.Index) {
			v.fail(name, "回执属于另一个叶子", "receipt is another leaf's")
			continue
		}
		v.leaves[p.Index], v.tail[p.Index] = p, true
		v.oneTree(name, p)
	}
}

// ends checks that each exhibit's chain is shown up to its leaf of this very export. That none before it is missing, chains checks.
func (v *verifier) ends() {
	if !v.tailed {
		v.held("旧版证据包：各份证据的保管链在其末页之后是否还有，未证 a bundle of version 1: it isn't proven that the items' chains end where they end here")
		return
	}
	last := map[chain.SubjectID]chain.Proven{}
	for _, p := range v.leaves {
		if l, ok := last[p.Leaf.Subject]; !ok || l.Leaf.Counter < p.Leaf.Counter {
			last[p.Leaf.Subject] = p
		}
	}
	manifest, _ := v.load(ManifestName) // export has named what is wrong with it
	digest := sha256.Sum256(manifest)
	exhibits, ended := map[chain.SubjectID]bool{}, 0
	for _, r := range v.report.Records {
		subject := chain.Subject{Type: chain.SubjectEvidence, ID: r.ID}.Opaque()
		exhibits[subject] = true
		if err := v.end(r, last[subject], digest[:]); err != nil {
			v.fail(fmt.Sprintf("证据 %d（%s）", r.Number, r.ID), "保管链的末尾缺失或不符："+err.Error(), "the end of the chain of custody is missing or another: "+err.Error())
			continue
		}
		ended++
	}
	for index := range v.tail {
		if !exhibits[v.leaves[index].Leaf.Subject] {
			v.fail(tailName(index), "不在本包任何一份证据的保管链上", "the leaf is on no exhibit's chain of custody")
		}
	}
	v.report.TailsProven = ended == len(v.report.Records)
	v.held("%d 份证据的保管链到本次导出为止 chains of custody shown up to this export", ended)
}

// end judges the last leaf shown of an exhibit's chain.
func (v *verifier) end(r Record, p chain.Proven, digest []byte) error {
	if p.Leaf.Kind != chain.KindExported {
		return errors.New("缺少本次导出的末页 the leaf of this export is not its last one")
	}
	c, err := chain.Payload[chain.CustodyPayload](p.Payload)
	switch {
	case err != nil:
		return err
	case c.EvidenceID != r.ID || c.CaseID != v.report.CaseID || !bytes.Equal(c.Digest, digest):
		return errors.New("末页属于另一次导出 its last leaf is another export's")
	}
	return nil
}
