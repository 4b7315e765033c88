package api_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"zhizheng/authority"
	"zhizheng/cases"
	"zhizheng/devices"
	"zhizheng/evidence"
	"zhizheng/evidence/bundle"
	"zhizheng/internal/testcounty"
)

const serial = "DSJ-A1B2C1"

// gap docks clips of a recorder, of which three are lost on the way: the fourth clip here is counter 7.
func gap(t *testing.T, c *testcounty.County) (ids []evidence.ID) {
	t.Helper()
	must(t, c.Devices.Register(authority.WithActor(t.Context(), authority.System), []devices.Device{
		{Serial: serial, Kind: devices.Recorder, Name: "执法记录仪", Township: testcounty.Donghe},
		{Serial: testcounty.Station, Kind: devices.Dock, Name: "采集站", Township: testcounty.Donghe}}))
	c.Recorder = serial
	for i := range 3 {
		ids = append(ids, c.Seals(fmt.Sprintf("MOV_%04d.mp4", i+1), []byte{byte(i)}))
	}
	c.Loses(3)
	ids = append(ids, c.Seals("MOV_0007.mp4", []byte("seven")))
	pending, _, _ := c.Registers("MOV_0008.mp4", []byte("eight"))
	return append(ids, pending)
}

type chainAnswer struct {
	Keys []struct {
		KeyID string `json:"key_id"`
		Gaps  []struct {
			First, Last, Missing int64
			State, Reason        string
			ExplainedBy          string `json:"explained_by"`
			LeafIndex            int64  `json:"leaf_index"`
			Before, After        struct {
				Counter  int64
				FileName string `json:"file_name"`
			}
		}
		States []struct{ Closing bool }
		Tail   struct {
			Counter int64
			Closing bool
		}
	}
	Pending []struct {
		FileName string `json:"file_name"`
	}
	Inferred []struct{ First, Last int64 }
}

func read[T any](t *testing.T, a testcounty.Answer) (v T) {
	t.Helper()
	if a.Status != http.StatusOK {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	must(t, json.Unmarshal(a.Body, &v))
	return v
}

func TestChainOfADevice(t *testing.T) {
	c := testcounty.New(t)
	ids := gap(t, c)
	body := strings.NewReader(`{"states":["` + base64.StdEncoding.EncodeToString(c.Closing()) + `","AAAA"]}`)
	b := c.Browser()
	a := b.Do("POST", "/api/v1/device-states", body, "Authorization", "Bearer "+c.Token(), "Content-Type", "application/json")
	states := read[struct {
		Items []struct{ Status, Code string }
	}](t, a)
	if states.Items[0].Status != "accepted" || states.Items[1].Status != "rejected" || states.Items[1].Code != "malformed" {
		t.Fatalf("%+v", states)
	}
	c.User("wang", "officer", testcounty.Donghe)
	c.User("he", "officer", testcounty.Jiachuan)
	c.User("li", "leader")
	wang, he, li := c.SignedIn("wang"), c.SignedIn("he"), c.SignedIn("li")
	var keyID string
	for _, id := range []string{serial, testcounty.Station} {
		got := read[chainAnswer](t, wang.Get("/api/v1/devices/"+id+"/chain"))
		if len(got.Keys) != 1 || len(got.Keys[0].Gaps) != 1 || len(got.Pending) != 1 || got.Pending[0].FileName != "MOV_0008.mp4" || !got.Keys[0].Tail.Closing || got.Keys[0].Tail.Counter != 8 {
			t.Fatalf("%s: %+v", id, got)
		}
		g := got.Keys[0].Gaps[0]
		if g.First != 4 || g.Last != 6 || g.State != "open" || g.Before.FileName != "MOV_0003.mp4" || g.After.Counter != 7 {
			t.Fatalf("%s: %+v", id, g)
		}
		keyID = got.Keys[0].KeyID
	}
	if got := read[chainAnswer](t, wang.Get("/api/v1/devices/"+serial+"/chain")); len(got.Inferred) != 1 || got.Inferred[0].First != 4 || got.Inferred[0].Last != 6 {
		t.Fatalf("inferred: %+v", got.Inferred)
	}
	// The key itself is an address too; nothing of it is there for another township.
	if got := read[chainAnswer](t, li.Get("/api/v1/devices/"+keyID+"/chain")); len(got.Keys) != 1 {
		t.Fatalf("%+v", got)
	}
	reason := map[string]any{"key_id": keyID, "epoch": 1, "first": 4, "reason": "电池更换，口述"}
	for _, id := range []string{serial, testcounty.Station, keyID} {
		if a := he.Get("/api/v1/devices/" + id + "/chain"); a.Status != http.StatusNotFound {
			t.Errorf("another township reads %s: %d %s", id, a.Status, a.Body)
		}
		if a := he.JSON("POST", "/api/v1/devices/"+id+"/chain/gaps", reason); a.Status != http.StatusNotFound {
			t.Errorf("another township explains %s: %d %s", id, a.Status, a.Body)
		}
	}
	if a := li.JSON("POST", "/api/v1/devices/"+serial+"/chain/gaps", reason); a.Status != http.StatusForbidden {
		t.Errorf("a leader explains: %d", a.Status)
	}
	if a := wang.JSON("POST", "/api/v1/devices/"+serial+"/chain/gaps", map[string]any{"key_id": keyID, "epoch": 1, "first": 5, "reason": "没有"}); a.Status != http.StatusNotFound {
		t.Errorf("a gap that isn't there: %d", a.Status)
	}
	if a := wang.JSON("POST", "/api/v1/devices/"+serial+"/chain/gaps", reason); a.Status != http.StatusOK {
		t.Fatalf("explain: %d %s", a.Status, a.Body)
	}
	g := read[chainAnswer](t, wang.Get("/api/v1/devices/"+serial+"/chain")).Keys[0].Gaps[0]
	if g.State != "explained" || g.Reason != "电池更换，口述" || g.ExplainedBy != "wang" || g.LeafIndex == 0 {
		t.Fatalf("%+v", g)
	}

	// The record says what stands beside it, the integrity page how much is missing, each within one's townships.
	type completeness struct {
		Counter   int64
		Own       bool
		GapBefore *struct{ First, Last int64 } `json:"gap_before"`
		Next      *struct {
			FileName string `json:"file_name"`
		}
	}
	rec := read[struct{ Completeness completeness }](t, wang.Get("/api/v1/evidence/"+string(ids[3]))).Completeness
	if rec.Counter != 7 || rec.Own || rec.GapBefore == nil || rec.GapBefore.First != 4 || rec.GapBefore.Last != 6 || rec.Next == nil || rec.Next.FileName != "MOV_0008.mp4" {
		t.Fatalf("%+v", rec)
	}
	type totals struct {
		Gaps struct {
			Keys, Missing, Inferred, Pending int64
			OpenGaps                         int64 `json:"open_gaps"`
		}
	}
	if got := read[totals](t, wang.Get("/api/v1/log")).Gaps; got.Keys != 1 || got.OpenGaps != 1 || got.Missing != 3 || got.Inferred != 3 || got.Pending != 1 {
		t.Fatalf("%+v", got)
	}
	if got := read[totals](t, he.Get("/api/v1/log")); got != (totals{}) {
		t.Fatalf("another township counts %+v", got)
	}
	// Who reads no evidence sees the counters, and no names.
	c.User("fin", "finance")
	fin := read[chainAnswer](t, c.SignedIn("fin").Get("/api/v1/devices/"+serial+"/chain"))
	if len(fin.Pending) != 0 || len(fin.Inferred) != 0 || fin.Keys[0].Gaps[0].Before.FileName != "" || fin.Keys[0].Gaps[0].Before.Counter != 3 {
		t.Fatalf("finance: %+v", fin)
	}
}

// The bundle shows the clips that never arrived, and its verifier computes the same from the leaves. Another case's clips stay closed.
func TestBundleShowsWhatIsMissing(t *testing.T) {
	c := testcounty.New(t)
	ids := gap(t, c)
	_, err := c.Ingest.SubmitStates(t.Context(), c.StationID(), [][]byte{c.Closing()})
	must(t, err)
	c.User("shen", "reviewer")
	b := c.SignedIn("shen")
	vkey := c.Log.VKey()
	export := func(exhibits ...evidence.ID) ([]byte, bundle.Report, bundle.Chains) {
		t.Helper()
		a := b.Get("/api/v1/cases/" + c.Case(exhibits...) + "/bundle")
		if a.Status != http.StatusOK {
			t.Fatalf("export: %d %s", a.Status, a.Body)
		}
		rep := verify(t, a.Body, vkey)
		if len(rep.Failures) != 0 {
			t.Fatalf("%+v", rep.Failures)
		}
		all := members(t, a.Body)
		var doc bundle.Chains
		must(t, json.Unmarshal(all[at(t, all, bundle.ChainName)].Body, &doc))
		return a.Body, rep, doc
	}
	// All that the key signed is in the case: the gap is proven.
	_, rep, doc := export(ids...)
	if k := doc.Keys[0]; len(k.Closed) != 0 || len(k.Gaps) != 1 || k.Gaps[0] != (bundle.Gap{Epoch: 1, First: 4, Last: 6, Before: 3, After: 7, Proven: true}) || k.State == nil || !k.State.Closing {
		t.Fatalf("%+v", k)
	}
	if !said(rep, "记录仪 "+serial+" 的第 4–6 段影像从未到达：介于第 3 段与第 7 段之间；该密钥从登记起到所示末页的册页全部在此") || !said(rep, "证据 5：指纹于") || !said(rep, "签名收尾：至此共 8 段") {
		t.Fatalf("%q", rep.Missing)
	}
	// One exhibit: the gap's other edge is disclosed, the rest stays closed and is said to be.
	file, rep, doc := export(ids[3])
	k := doc.Keys[0]
	if len(k.Closed) != 3 || len(k.Clips) != 2 || len(k.Gaps) != 1 || k.Gaps[0].Proven || k.Clips[0].Exhibit != 0 || k.Clips[0].Counter != 3 || !said(rep, "其中 3 份清单属于其他案件") {
		t.Fatalf("%+v %q", k, rep.Missing)
	}
	if bytes.Contains(file, []byte("MOV_0001")) || bytes.Contains(file, []byte(ids[1])) {
		t.Error("another case's clip is disclosed")
	}
	// A restricted neighbour isn't disclosed either.
	if a := b.JSON("PUT", "/api/v1/evidence/"+string(ids[2])+"/restriction", map[string]any{"restricted": true, "reason": "涉及隐私"}); a.Status != http.StatusOK {
		t.Fatalf("restrict: %d", a.Status)
	}
	_, _, doc = export(ids[3])
	if k := doc.Keys[0]; len(k.Closed) != 4 || len(k.Clips) != 1 || k.Gaps[0].First != 4 {
		t.Fatalf("%+v", k)
	}
	lies(t, c, file)
}

func said(rep bundle.Report, text string) bool {
	return slices.ContainsFunc(rep.Missing, func(s string) bool { return strings.Contains(s, text) })
}

// lies: a platform that says otherwise than its log, and logs and signs that export properly. Each is refused.
func lies(t *testing.T, c *testcounty.County, file []byte) {
	t.Helper()
	vkey := c.Log.VKey()
	all := members(t, file)
	good := verify(t, file, vkey)
	for _, d := range []struct {
		what, says string
		change     func(doc *bundle.Chains, m map[string][]byte)
	}{
		{"as it is", "", func(*bundle.Chains, map[string][]byte) {}},
		{"a leaf in between left out", "缺页", func(doc *bundle.Chains, _ map[string][]byte) {
			r := &doc.Keys[0].Runs[0]
			r.Leaves = slices.Delete(r.Leaves, 2, 3)
			doc.Keys[0].Closed = slices.DeleteFunc(doc.Keys[0].Closed, func(x bundle.Closed) bool { return x.Leaf == 3 })
		}},
		{"the last leaves left out", "没有回执", func(doc *bundle.Chains, _ map[string][]byte) {
			r := &doc.Keys[0].Runs[0]
			r.Leaves = r.Leaves[:2]
			doc.Keys[0].Closed = doc.Keys[0].Closed[:1]
		}},
		{"two leaves exchanged", "缺页", func(doc *bundle.Chains, _ map[string][]byte) {
			l := doc.Keys[0].Runs[0].Leaves
			l[1], l[2] = l[2], l[1]
		}},
		{"the gap left out", "所述与册页不符", func(doc *bundle.Chains, _ map[string][]byte) { doc.Keys[0].Gaps = []bundle.Gap{} }},
		{"a smaller gap", "所述与册页不符", func(doc *bundle.Chains, _ map[string][]byte) { doc.Keys[0].Gaps[0].Last = 5 }},
		{"a gap called proven", "所述与册页不符", func(doc *bundle.Chains, _ map[string][]byte) { doc.Keys[0].Gaps[0].Proven = true }},
		{"other sentences", "所述与册页不符", func(doc *bundle.Chains, _ map[string][]byte) { doc.Keys[0].Says[0] = "没有缺失。" }},
		{"a later closing state", "所述与册页不符", func(doc *bundle.Chains, _ map[string][]byte) { doc.Keys[0].State.Counter = 9 }},
		{"a closed leaf without its counter", "没有说明计数", func(doc *bundle.Chains, _ map[string][]byte) { doc.Keys[0].Closed = doc.Keys[0].Closed[1:] }},
		{"a closed leaf that isn't there", "不在链段里", func(doc *bundle.Chains, _ map[string][]byte) {
			doc.Keys[0].Closed = append(doc.Keys[0].Closed, bundle.Closed{Leaf: 99, Epoch: 1, Counter: 4})
		}},
		{"an exhibit called closed", "已公开", func(doc *bundle.Chains, _ map[string][]byte) {
			doc.Keys[0].Closed = append(doc.Keys[0].Closed, bundle.Closed{Leaf: 5, Epoch: 1, Counter: 7})
		}},
		{"a lost clip that a closed leaf is said to hold", "所述与册页不符", func(doc *bundle.Chains, _ map[string][]byte) { doc.Keys[0].Closed[0].Counter = 5 }},
		{"a run twice", "重叠", func(doc *bundle.Chains, _ map[string][]byte) {
			doc.Keys[0].Runs = append(doc.Keys[0].Runs, doc.Keys[0].Runs[0])
		}},
		{"an empty run", "为空", func(doc *bundle.Chains, _ map[string][]byte) { doc.Keys[0].Runs[0].Leaves = nil }},
		{"no runs", "不在链段里", func(doc *bundle.Chains, _ map[string][]byte) { doc.Keys[0].Runs = nil }},
		{"another key", "缺少密钥登记", func(doc *bundle.Chains, _ map[string][]byte) { doc.Keys[0].KeyID = strings.Repeat("0", 64) }},
		{"the key left out", "不在任何设备链里", func(doc *bundle.Chains, _ map[string][]byte) { doc.Keys = []bundle.Key{} }},
		{"the key twice", "同一密钥出现两次", func(doc *bundle.Chains, _ map[string][]byte) { doc.Keys = append(doc.Keys, doc.Keys[0]) }},
		{"a checkpoint of nobody", "存证点不成立", func(doc *bundle.Chains, _ map[string][]byte) { doc.Checkpoints = [][]byte{[]byte("x")} }},
		{"another note", "说明文字", func(doc *bundle.Chains, _ map[string][]byte) { doc.Note = "全部齐全。" }},
	} {
		var doc bundle.Chains
		must(t, json.Unmarshal(all[at(t, all, bundle.ChainName)].Body, &doc))
		bodies := map[string][]byte{}
		for _, m := range all {
			bodies[m.Name] = m.Body
		}
		d.change(&doc, bodies)
		got := verify(t, exported(t, c, good, all, doc), vkey)
		switch {
		case d.says == "" && len(got.Failures) != 0:
			t.Fatalf("%s: %+v", d.what, got.Failures)
		case d.says != "" && !slices.ContainsFunc(got.Failures, func(f bundle.Failure) bool { return f.Where == bundle.ChainName && strings.Contains(f.Zh, d.says) }):
			t.Errorf("%s: %+v", d.what, got.Failures)
		}
	}
}

// exported writes the members anew with this chain.json, and logs the export.
func exported(t *testing.T, c *testcounty.County, good bundle.Report, all []member, doc bundle.Chains) []byte {
	t.Helper()
	in := bundle.Input{CaseID: good.CaseID, Case: json.RawMessage(`{}`), VKey: c.Log.VKey(), Proofs: map[int64][]byte{}}
	for _, m := range all {
		var n int64
		if _, err := fmt.Sscanf(m.Name, "proofs/%d.tlog-proof", &n); err == nil {
			in.Proofs[n] = m.Body
		}
	}
	own, err := c.Log.SubjectLeaves(t.Context(), cases.Subject(good.CaseID))
	must(t, err)
	for _, l := range own {
		in.Proofs[l.Seq] = c.Receipt(l.Key)
	}
	for _, r := range good.Records {
		item := bundle.Item{Record: r}
		if r.Member != "" {
			body := all[at(t, all, r.Member)].Body
			item.Open = func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
		}
		item.Member = ""
		in.Items = append(in.Items, item)
	}
	in.Chains = &doc
	plan, err := bundle.NewPlan(in)
	must(t, err)
	last := logged(t, c, plan, good.CaseID, good)
	var b bytes.Buffer
	must(t, plan.Write(t.Context(), &b, func(context.Context) (bundle.Last, error) { return last, nil }))
	return b.Bytes()
}
