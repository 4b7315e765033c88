package api_test

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"zhizheng/evidence/chain"
	"zhizheng/internal/testcounty"
)

// The code on a decided case's paper agrees with its bundle and the log's key, and with nothing else.
func TestPrintedCodeAgreesWithTheBundle(t *testing.T) {
	c := testcounty.New(t)
	c.User("shen", "reviewer")
	c.User("head", "head", testcounty.Donghe)
	b := c.SignedIn("head")
	caseID := c.Case(c.Seals("a.mp4", []byte("a")), c.Seals("b.mp4", []byte("b")))
	for _, s := range []string{"investigation", "review", "notice", "decision"} {
		by := b
		if s == "notice" {
			by = c.SignedIn("shen") // passes the legal review
		}
		body := map[string]any{"stage": s, "note": "示例"}
		if s == "decision" {
			body["decision"] = "警告（示例）"
		}
		a := by.JSON("POST", "/api/v1/cases/"+caseID+"/stage", body)
		if a.Status != http.StatusOK {
			t.Fatalf("%s: %d %s", s, a.Status, a.Body)
		}
	}
	var file struct {
		Frozen *struct{ Root, Key, Mark string }
	}
	a := b.Get("/api/v1/cases/" + caseID)
	must(t, json.Unmarshal(a.Body, &file))
	if file.Frozen == nil || file.Frozen.Key != chain.Fingerprint(c.Log.VKey()) {
		t.Fatalf("frozen: %s", a.Body)
	}
	rep := verify(t, c.SignedIn("shen").Get("/api/v1/cases/"+caseID+"/bundle").Body, c.Log.VKey())
	if len(rep.Failures) != 0 || rep.FrozenRoot != file.Frozen.Root || rep.DecidedLeaf == nil {
		t.Fatalf("report: %+v", rep)
	}
	mark, err := chain.ParseMark(file.Frozen.Mark)
	must(t, err)
	if f := rep.CheckMark(mark, chain.Fingerprint(c.Log.VKey())); len(f) != 0 {
		t.Fatalf("the right code: %+v", f)
	}
	other, root := mark, mark
	other.CaseID = "01ANOTHER"
	root.Root, _ = hex.DecodeString(strings.Repeat("ab", 32))
	for what, f := range map[string]int{
		"another case": len(rep.CheckMark(other, mark.Key)), "another root": len(rep.CheckMark(root, mark.Key)), "another key": len(rep.CheckMark(mark, chain.Fingerprint("other"))),
	} {
		if f != 1 {
			t.Errorf("%s: %d failures", what, f)
		}
	}
}
