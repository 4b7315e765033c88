package api_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"zhizheng/evidence/bundle"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/internal/testcounty"
	"zhizheng/internal/testenv"
)

// While the log's key is replaced a bundle carries lines of both keys: it holds for who trusts either, a flipped bit in either line is
// found by both, and a key that is only named in the bundle gives no trust.
func TestBundleWhileTheKeyIsReplaced(t *testing.T) {
	c := testcounty.New(t)
	before := c.Log.VKey()
	_, err := c.Signer.Rotate(t.Context(), signer.Change{Actor: "u", Reason: "到期"}, nil)
	must(t, err)
	c.Seals("x.mp4", testcounty.Bytes(9, 10)) // the tree grows, so both sign
	testenv.Eventually(t, 20*time.Second, func() bool { return len(c.Log.VKeys()) == 2 })
	file, after := export(t, c)
	if before == after {
		t.Fatal("the key is the same")
	}
	for name, vkey := range map[string]string{"old": before, "new": after, "both": before + "\n" + after} {
		if rep := verify(t, file, vkey); len(rep.Failures) != 0 {
			t.Errorf("%s: %+v", name, rep.Failures)
		}
	}
	// The last signature lines of the file are those of the export's own receipt, which no manifest covers.
	for back, line := 0, len(file); back < 2; back++ {
		line = bytes.LastIndex(file[:line], []byte("— "))
		bad := bytes.Clone(file)
		bad[line+60] ^= 1
		for name, vkey := range map[string]string{"old": before, "new": after} {
			found := false
			for _, f := range verify(t, bad, vkey).Failures {
				found = found || f.Where == bundle.ExportName
			}
			if !found {
				t.Errorf("%s: a flipped bit in line %d was not found", name, back)
			}
		}
	}
	_, err = c.Signer.Retire(t.Context(), signer.Change{Actor: "u", Reason: "已公布"})
	must(t, err)
	c.Seals("y.mp4", testcounty.Bytes(10, 10))
	testenv.Eventually(t, 20*time.Second, func() bool { return len(c.Log.VKeys()) == 1 })
	c.User("wang", "officer", testcounty.Donghe)
	caseID := c.Case(c.Seals("z.mp4", testcounty.Bytes(11, 10)))
	a := c.SignedIn("shen").Get("/api/v1/cases/" + caseID + "/bundle")
	if rep := verify(t, a.Body, after); a.Status != 200 || len(rep.Failures) != 0 {
		t.Errorf("%d %+v", a.Status, rep.Failures)
	}
	if rep := verify(t, a.Body, before); len(rep.Failures) == 0 {
		t.Error("the retired key is named in the bundle, and that was enough")
	}
	// The console is told which keys sign.
	var st struct {
		Vkey  string
		Vkeys []string
	}
	must(t, json.Unmarshal(c.SignedIn("shen").Get("/api/v1/log").Body, &st))
	if len(st.Vkeys) != 1 || st.Vkeys[0] != after || st.Vkey != after || strings.Contains(after, "\n") {
		t.Errorf("%+v", st)
	}
}
