package bundle_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"zhizheng/cases"
	"zhizheng/evidence/bundle"
	"zhizheng/evidence/chain"
	"zhizheng/internal/pg"
	"zhizheng/internal/testcounty"
)

// A platform that leaves something out, or says something else than its log, and then logs and signs that export properly.
func TestExportsThatAreNotWhatTheLogSays(t *testing.T) {
	c := testcounty.New(t)
	file, vkey := export(t, c)
	all := members(t, file)
	var records []bundle.Record
	must(t, json.Unmarshal(all[at(t, all, bundle.EvidenceName)].Body, &records))
	rep := verify(t, file, vkey)
	bodies := map[string][]byte{}
	for _, m := range all {
		bodies[m.Name] = m.Body
	}
	proofs := func() map[int64][]byte {
		out := map[int64][]byte{}
		for _, m := range all {
			var n int64
			if _, err := fmt.Sscanf(m.Name, "proofs/%d.tlog-proof", &n); err == nil {
				out[n] = m.Body
			}
		}
		own, err := c.Log.SubjectLeaves(t.Context(), cases.Subject(rep.CaseID))
		must(t, err)
		for _, l := range own { // earlier exports are acts of the case
			out[l.Seq] = c.Receipt(l.Key)
		}
		return out
	}
	clip := records[0]
	elsewhere := c.Case()
	ofCase, err := c.Log.SubjectLeaves(t.Context(), cases.Subject(rep.CaseID))
	must(t, err)
	for _, d := range []struct {
		what, says string
		change     func(in *bundle.Input)
		logged     string // case under which the export is logged
	}{
		{what: "as it is", change: func(*bundle.Input) {}},
		{"the case's filing left out", "链上缺少第 1 个叶子", func(in *bundle.Input) { delete(in.Proofs, ofCase[0].Seq) }, ""},
		{"the sealing left out", "its leaf is missing", func(in *bundle.Input) { delete(in.Proofs, clip.SealLeaf) }, ""},
		{"the manifest's leaf left out", "its leaf is missing", func(in *bundle.Input) { delete(in.Proofs, clip.ManifestLeaf) }, ""},
		{"the key's enrolment left out", "the enrolment of its key is missing", func(in *bundle.Input) { delete(in.Proofs, enrolment(t, in.Proofs, vkey)) }, ""},
		{"another item's sealing", "its leaf is another item's", func(in *bundle.Input) { in.Items[0].SealLeaf = records[1].SealLeaf }, ""},
		{"another item's manifest", "its leaf is another item's", func(in *bundle.Input) { in.Items[0].ManifestLeaf = records[1].ManifestLeaf }, ""},
		{"other bytes, all digests made to fit", "it names another file", func(in *bundle.Input) {
			in.Items[0].Size, in.Items[0].SHA256 = 5, fmt.Sprintf("%x", sha256.Sum256([]byte("other")))
			in.Items[0].Open = func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("other")), nil }
		}, ""},
		{"the bytes left out", "the file in the bundle has another digest", func(in *bundle.Input) { in.Items[0].Open = nil }, ""},
		{"a proof under another leaf's name", "回执属于另一个叶子", func(in *bundle.Input) {
			in.Proofs[clip.SealLeaf], in.Proofs[clip.ManifestLeaf] = in.Proofs[clip.ManifestLeaf], in.Proofs[clip.SealLeaf]
		}, ""},
		{"logged as another case's export", "导出回执属于另一个案件", func(*bundle.Input) {}, elsewhere},
	} {
		in := bundle.Input{CaseID: rep.CaseID, Case: json.RawMessage(`{}`), VKey: vkey, Proofs: proofs()}
		for _, r := range records {
			item := bundle.Item{Record: r}
			if r.Member != "" {
				item.Open = func(context.Context) (io.ReadCloser, error) {
					return io.NopCloser(bytes.NewReader(bodies[r.Member])), nil
				}
			}
			item.Member = ""
			in.Items = append(in.Items, item)
		}
		d.change(&in)
		plan, err := bundle.NewPlan(in)
		must(t, err)
		caseID := rep.CaseID
		if d.logged != "" {
			caseID = d.logged
		}
		ctx := c.As("reviewer")
		must(t, c.Log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error { return c.Cases.Exported(ctx, tx, caseID, plan.Digest()) }))
		own, err := c.Log.SubjectLeaves(ctx, cases.Subject(caseID))
		must(t, err)
		receipt := c.Receipt(own[len(own)-1].Key)
		var b bytes.Buffer
		must(t, plan.Write(ctx, &b, func(context.Context) ([]byte, error) { return receipt, nil }))
		got := verify(t, b.Bytes(), vkey)
		if d.says == "" {
			if len(got.Failures) != 0 {
				t.Fatalf("%s: %+v", d.what, got.Failures)
			}
			continue
		}
		if !slices.ContainsFunc(got.Failures, func(f bundle.Failure) bool { return strings.Contains(f.Zh, d.says) || strings.Contains(f.En, d.says) }) {
			t.Errorf("%s: %+v", d.what, got.Failures)
		}
	}
}

func enrolment(t *testing.T, proofs map[int64][]byte, vkey string) int64 {
	t.Helper()
	key, err := chain.NewVerifier(vkey)
	must(t, err)
	for seq, text := range proofs {
		p, err := chain.VerifyReceipt(text, key)
		must(t, err)
		if p.Leaf.Kind == chain.KindKeyEnrolled {
			return seq
		}
	}
	t.Fatal("no enrolment among the proofs")
	return 0
}
