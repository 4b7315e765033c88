package api_test

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"zhizheng/cases"
	"zhizheng/evidence"
	"zhizheng/evidence/bundle"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/pg"
	"zhizheng/internal/testcounty"
)

var update = flag.Bool("update", false, "write the example bundle anew: only for a new version of the format")

// sealed are the exhibits of the example, in order; the last one's bytes have not arrived.
var sealed = []struct {
	name    string
	content []byte
}{
	{"DCIM/100/示例 片段 (1).mp4", testcounty.Bytes(1, 3000)},
	{"DCIM/100/空.mp4", nil},
	{"a.gpx", []byte("<gpx/>\n")},
}

// export is a case with exhibits that were docked, viewed and linked, exported over HTTP.
func export(t *testing.T, c *testcounty.County) (file []byte, vkey string) {
	t.Helper()
	c.User("shen", "reviewer")
	b := c.SignedIn("shen")
	var ids []evidence.ID
	for _, s := range sealed {
		ids = append(ids, c.Seals(s.name, s.content))
	}
	pending, _, _ := c.Registers("DCIM/待传.mp4", []byte("not here yet"))
	caseID := c.Case(append(ids, pending)...)
	if a := b.Get("/api/v1/evidence/" + string(ids[0]) + "/content"); a.Status != http.StatusOK {
		t.Fatalf("view: %d", a.Status)
	}
	a := b.Get("/api/v1/cases/" + caseID + "/bundle")
	if a.Status != http.StatusOK || a.Header.Get("Content-Type") != "application/zip" {
		t.Fatalf("export: %d %s", a.Status, a.Body)
	}
	return a.Body, c.Log.VKey()
}

// The whole way on real services: what was docked lies in the bundle byte for byte, and all of it holds.
func TestExportedCaseHolds(t *testing.T) {
	c := testcounty.New(t)
	file, vkey := export(t, c)
	rep := verify(t, file, vkey)
	if len(rep.Failures) != 0 {
		t.Fatalf("failures: %+v", rep.Failures)
	}
	if len(rep.Records) != len(sealed)+1 || rep.Records[3].Status != "pending" || rep.Records[3].Member != "" || rep.ExportLeaf == 0 || rep.Origin != c.Log.Origin() ||
		!rep.TailsProven {
		t.Fatalf("report: %+v", rep)
	}
	bodies := map[string][]byte{}
	for _, m := range members(t, file) {
		bodies[m.Name] = m.Body
	}
	for i, s := range sealed {
		if got, ok := bodies[rep.Records[i].Member]; !ok || !bytes.Equal(got, s.content) {
			t.Errorf("%s: %d bytes in the bundle, %d docked", s.name, len(got), len(s.content))
		}
	}
	if *update {
		v2 := filepath.Join("..", "evidence", "bundle", "testdata", "v2")
		must(t, os.MkdirAll(v2, 0o755))
		must(t, os.WriteFile(filepath.Join(v2, "bundle.zip"), file, 0o644))
		must(t, os.WriteFile(filepath.Join(v2, "log.vkey"), []byte(vkey+"\n"), 0o644))
	}
	// The next export of the same case contains this one as an act.
	again := c.SignedIn("shen").Get("/api/v1/cases/" + rep.CaseID + "/bundle")
	if next := verify(t, again.Body, vkey); len(next.Failures) != 0 || next.Leaves <= rep.Leaves {
		t.Fatalf("exported again: %d leaves after %d, %+v", next.Leaves, rep.Leaves, next.Failures)
	}
}

// Cards hold files of any name, cases hold any number of them, none included: every bundle holds.
func TestExportsOfOddCases(t *testing.T) {
	c := testcounty.New(t)
	c.User("shen", "reviewer")
	c.User("ling", "leader")
	b := c.SignedIn("shen")
	var all []evidence.ID
	for i, name := range []string{"\xff\xfe.mp4", "..", "/", ". .", "a/b/..", "CON", strings.Repeat("长", 85), "x\u202ey.mp4", "trailing. ", `a\b:c*?"<>|.mp4`, "\u0085.mp4", "~",
		"a\x00\n.mp4", "MANIFEST.json", "../../evil", "🎥" + strings.Repeat(" ", 200)} {
		all = append(all, c.Seals(name, []byte{byte(i)}))
	}
	for what, exhibits := range map[string][]evidence.ID{"none": nil, "odd names": all, "large": {c.Seals("large.mp4", testcounty.Bytes(9, 11<<20))}} {
		a := b.Get("/api/v1/cases/" + c.Case(exhibits...) + "/bundle")
		if a.Status != http.StatusOK {
			t.Fatalf("%s: %d %s", what, a.Status, a.Body)
		}
		if rep := verify(t, a.Body, c.Log.VKey()); len(rep.Failures) != 0 || len(rep.Records) != len(exhibits) {
			t.Errorf("%s: %d records, %+v", what, len(rep.Records), rep.Failures)
		}
	}
	// An exhibit that the exporter may not see refuses the whole export, and nothing is logged.
	caseID := c.Case(all[0])
	a := b.JSON("PUT", "/api/v1/evidence/"+string(all[0])+"/restriction", map[string]any{"restricted": true, "reason": "涉及隐私"})
	if a.Status != http.StatusOK {
		t.Fatalf("restrict: %d", a.Status)
	}
	if a := c.SignedIn("ling").Get("/api/v1/cases/" + caseID + "/bundle"); a.Status != http.StatusForbidden {
		t.Errorf("a leader exports what is restricted: %d", a.Status)
	}
	own, err := c.Log.SubjectLeaves(t.Context(), cases.Subject(caseID))
	must(t, err)
	if len(own) != 1 {
		t.Errorf("%d leaves of a case that wasn't exported", len(own))
	}
	c.User("wu", "head", testcounty.Jiachuan)
	if a := c.SignedIn("wu").Get("/api/v1/cases/" + caseID + "/bundle"); a.Status != http.StatusNotFound {
		t.Errorf("another township exports: %d", a.Status)
	}
}

// Several export one case at once, and each export is an act in it: every bundle holds, none lacks an act before its own.
func TestExportsAtOnce(t *testing.T) {
	c := testcounty.New(t)
	c.User("shen", "reviewer")
	b := c.SignedIn("shen")
	caseID := c.Case(c.Seals("a.mp4", []byte("a")), c.Seals("b.mp4", []byte("b")))
	answers := make([]testcounty.Answer, 8)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = b.Get("/api/v1/cases/" + caseID + "/bundle") })
	}
	wg.Wait()
	good := 0
	for _, a := range answers {
		if a.Status == http.StatusServiceUnavailable && a.Header.Get("Retry-After") != "" {
			continue // told to come again
		}
		if a.Status != http.StatusOK {
			t.Errorf("export: %d %s", a.Status, a.Body)
			continue
		}
		good++
		if rep := verify(t, a.Body, c.Log.VKey()); len(rep.Failures) != 0 {
			t.Errorf("%+v", rep.Failures)
		}
	}
	own, err := c.Log.SubjectLeaves(t.Context(), cases.Subject(caseID))
	must(t, err)
	if good == 0 || len(own) != 1+good { // the filing, and nothing that nobody was given
		t.Errorf("%d bundles, %d leaves of the case", good, len(own))
	}
}

// Footage arrives while its case is exported: each bundle says of each exhibit either that it waits, or has its bytes.
func TestExportsWhileFootageArrives(t *testing.T) {
	c := testcounty.New(t)
	c.User("shen", "reviewer")
	b := c.SignedIn("shen")
	const n = 12
	var ids []evidence.ID
	var carry []func()
	for i := range n {
		body := testcounty.Bytes(byte(i), 500)
		id, m, parts := c.Registers(fmt.Sprint(i, ".mp4"), body)
		ids, carry = append(ids, id), append(carry, func() { c.Carries(id, m, parts, body) })
	}
	caseID := c.Case(ids...)
	arrived := make(chan struct{})
	go func() {
		defer close(arrived)
		for _, f := range carry {
			f()
		}
	}()
	defer func() { <-arrived }()
	for last := false; ; {
		a := b.Get("/api/v1/cases/" + caseID + "/bundle")
		if a.Status != http.StatusOK {
			t.Fatalf("export: %d %s", a.Status, a.Body)
		}
		rep := verify(t, a.Body, c.Log.VKey())
		if len(rep.Failures) != 0 || len(rep.Records) != n {
			t.Fatalf("%d records, %+v", len(rep.Records), rep.Failures)
		}
		here := 0
		for _, r := range rep.Records {
			if (r.Member != "") != (r.Status == "sealed") || (r.SealLeaf >= 0) != (r.Status == "sealed") {
				t.Errorf("%+v", r)
			}
			if r.Status == "sealed" {
				here++
			}
		}
		if last {
			if here != n {
				t.Errorf("%d of %d arrived", here, n)
			}
			return
		}
		select {
		case <-arrived:
			last = true
		default:
		}
	}
}

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
	tail := func(l bundle.Last, n int) int64 { // index of the nth leaf behind the exhibit's proofs, from the end if negative
		own, err := c.Log.SubjectLeaves(t.Context(), evidence.Subject(evidence.ID(clip.ID)))
		must(t, err)
		own = slices.DeleteFunc(own, func(l evlog.Leaf) bool { return l.Seq <= rep.ExportLeaf })
		if n < 0 {
			n += len(own)
		}
		if l.Tails[own[n].Seq] == nil {
			t.Fatalf("leaf %d is not in the tails", own[n].Seq)
		}
		return own[n].Seq
	}
	elsewhere := c.Case()
	ofCase, err := c.Log.SubjectLeaves(t.Context(), cases.Subject(rep.CaseID))
	must(t, err)
	for _, d := range []struct {
		what, says string
		change     func(in *bundle.Input)
		logged     string // case under which the export is logged
		last       func(l bundle.Last)
	}{
		{what: "as it is", change: func(*bundle.Input) {}},
		{"the case's filing left out", "链上缺少第 1 个叶子", func(in *bundle.Input) { delete(in.Proofs, ofCase[0].Seq) }, "", nil},
		{"the sealing left out", "its leaf is missing", func(in *bundle.Input) { delete(in.Proofs, clip.SealLeaf) }, "", nil},
		{"the manifest's leaf left out", "its leaf is missing", func(in *bundle.Input) { delete(in.Proofs, clip.ManifestLeaf) }, "", nil},
		{"the key's enrolment left out", "the enrolment of its key is missing", func(in *bundle.Input) { delete(in.Proofs, enrolment(t, in.Proofs, vkey)) }, "", nil},
		{"another item's sealing", "its leaf is another item's", func(in *bundle.Input) { in.Items[0].SealLeaf = records[1].SealLeaf }, "", nil},
		{"another item's manifest", "its leaf is another item's", func(in *bundle.Input) { in.Items[0].ManifestLeaf = records[1].ManifestLeaf }, "", nil},
		{"other bytes, all digests made to fit", "it names another file", func(in *bundle.Input) {
			in.Items[0].Size, in.Items[0].SHA256 = 5, fmt.Sprintf("%x", sha256.Sum256([]byte("other")))
			in.Items[0].Open = func(context.Context) (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("other")), nil }
		}, "", nil},
		{"the bytes left out", "the file in the bundle has another digest", func(in *bundle.Input) { in.Items[0].Open = nil }, "", nil},
		{"the bytes left out and said to be deleted", "no leaf says that it was deleted", func(in *bundle.Input) { in.Items[0].Open, in.Items[0].Status = nil, "deleted" }, "", nil},
		{"said to be deleted, and here", "it is here and said to be deleted", func(in *bundle.Input) { in.Items[0].Status = "deleted" }, "", nil},
		{"a proof under another leaf's name", "回执属于另一个叶子", func(in *bundle.Input) {
			in.Proofs[clip.SealLeaf], in.Proofs[clip.ManifestLeaf] = in.Proofs[clip.ManifestLeaf], in.Proofs[clip.SealLeaf]
		}, "", nil},
		{what: "logged as another case's export", says: "导出回执属于另一个案件", change: func(*bundle.Input) {}, logged: elsewhere},
		{what: "no tails", says: "缺少本次导出的末页", last: func(l bundle.Last) { clear(l.Tails) }},
		{what: "an older export's leaf as the end", says: "末页属于另一次导出", last: func(l bundle.Last) { delete(l.Tails, tail(l, -1)) }},
		{what: "a link before the end left out", says: "链上缺少第", last: func(l bundle.Last) { delete(l.Tails, tail(l, -2)) }},
		{what: "a link after the last proof left out", says: "链上缺少第", last: func(l bundle.Last) { delete(l.Tails, tail(l, 0)) }},
		{what: "a leaf behind the end", says: "缺少本次导出的末页", last: func(l bundle.Last) {
			must(t, c.Keeper.Viewed(t.Context(), evidence.ID(clip.ID), true, evidence.Act{Actor: "u"}))
			own, err := c.Log.SubjectLeaves(t.Context(), evidence.Subject(evidence.ID(clip.ID)))
			must(t, err)
			l.Tails[own[len(own)-1].Seq] = c.Receipt(own[len(own)-1].Key)
		}},
		{what: "another item's leaf", says: "不在本包任何一份证据的保管链上", last: func(l bundle.Last) {
			foreign, err := c.Log.ByKey(t.Context(), evidence.SealKey(c.Seals("foreign.mp4", []byte("foreign"))))
			must(t, err)
			l.Tails[foreign.Seq] = c.Receipt(foreign.Key)
		}},
		{what: "a receipt under another leaf's name", says: "回执属于另一个叶子", last: func(l bundle.Last) {
			l.Tails[tail(l, -1)], l.Tails[tail(l, -2)] = l.Tails[tail(l, -2)], l.Tails[tail(l, -1)]
		}},
		{what: "a leaf that is proven before", says: "回执属于另一个叶子", last: func(l bundle.Last) { l.Tails[clip.SealLeaf] = c.Receipt(evidence.SealKey(evidence.ID(clip.ID))) }},
		{what: "no receipt at all", says: "回执不成立", last: func(l bundle.Last) { l.Tails[tail(l, -1)] = []byte("x") }},
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
		if d.change != nil {
			d.change(&in)
		}
		plan, err := bundle.NewPlan(in)
		must(t, err)
		last := logged(t, c, plan, cmp.Or(d.logged, rep.CaseID), rep)
		if d.last != nil {
			d.last(last)
		}
		var b bytes.Buffer
		must(t, plan.Write(t.Context(), &b, func(context.Context) (bundle.Last, error) { return last, nil }))
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

// logged logs an export in the case and in the items of a bundle that was exported before, and gives the receipts.
func logged(t *testing.T, c *testcounty.County, plan *bundle.Plan, caseID string, before bundle.Report) bundle.Last {
	t.Helper()
	ctx := c.As("reviewer")
	f, err := c.Cases.Get(ctx, caseID)
	must(t, err)
	must(t, c.Log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error {
		for _, r := range before.Records {
			act := evidence.Act{Actor: "user-reviewer", CaseID: caseID, Digest: plan.Digest()}
			if err := c.Keeper.Note(ctx, tx, evidence.ID(r.ID), chain.KindExported, act); err != nil {
				return err
			}
		}
		return c.Cases.Exported(ctx, tx, caseID, plan.Digest(), f.Events[len(f.Events)-1].N)
	}))
	own, err := c.Log.SubjectLeaves(ctx, cases.Subject(caseID))
	must(t, err)
	last := bundle.Last{Export: c.Receipt(own[len(own)-1].Key), Tails: map[int64][]byte{}}
	for _, r := range before.Records {
		own, err := c.Log.SubjectLeaves(ctx, evidence.Subject(evidence.ID(r.ID)))
		must(t, err)
		for _, l := range own {
			if l.Seq > before.ExportLeaf {
				last.Tails[l.Seq] = c.Receipt(l.Key)
			}
		}
	}
	return last
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
func verify(t testing.TB, file []byte, vkey string) bundle.Report {
	t.Helper()
	rep, err := bundle.Verify(bytes.NewReader(file), int64(len(file)), chain.LogPolicy(vkey), manifest.Open, bundle.Devices(manifest.OpenPlace))
	must(t, err)
	return rep
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type member = struct {
	Name string
	Body []byte
}

// members reads a zip as anybody would.
func members(t testing.TB, file []byte) (out []member) {
	t.Helper()
	z, err := zip.NewReader(bytes.NewReader(file), int64(len(file)))
	must(t, err)
	for _, f := range z.File {
		r, err := f.Open()
		must(t, err)
		b, err := io.ReadAll(r)
		must(t, err)
		out = append(out, member{f.Name, b})
	}
	return out
}

func at(t testing.TB, all []member, name string) int {
	t.Helper()
	i := slices.IndexFunc(all, func(m member) bool { return m.Name == name })
	if i < 0 {
		t.Fatalf("no member %s", name)
	}
	return i
}
