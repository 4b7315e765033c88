package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"zhizheng/evidence/bundle"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/evidence/witness"
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
	// The last signature lines of the file are those of an item's own leaf of the export, which no manifest covers.
	for back, line := 0, len(file); back < 2; back++ {
		line = bytes.LastIndex(file[:line], []byte("— "))
		bad := bytes.Clone(file)
		bad[line+60] ^= 1
		for name, vkey := range map[string]string{"old": before, "new": after} {
			found := false
			for _, f := range verify(t, bad, vkey).Failures {
				found = found || strings.HasPrefix(f.Where, "tails/")
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

// rotated puts a second key beside the log's own and waits for a checkpoint of both.
func rotated(t *testing.T, c *testcounty.County) []byte {
	t.Helper()
	_, err := c.Signer.Rotate(t.Context(), signer.Change{Actor: "u", Reason: "到期"}, nil)
	must(t, err)
	c.Seals("grows.mp4", testcounty.Bytes(12, 10)) // the tree grows, so both sign
	var both []byte
	testenv.Eventually(t, 20*time.Second, func() bool {
		both, err = c.Log.Checkpoint(t.Context())
		must(t, err)
		_, lines, err := chain.SplitNote(both)
		must(t, err)
		return len(lines) == 2
	})
	return both
}

// A key is added while a bundle is on its way to a court: log.vkey, long written, names the old one alone, and the last receipts carry lines of
// both. They hold for who trusts the old key, because a receipt brings the keys of its own lines along.
func TestKeyAddedWhileABundleIsWritten(t *testing.T) {
	c := testcounty.New(t)
	before := c.Log.VKey()
	c.User("shen", "reviewer")
	caseID := c.Case(c.Seals("large.mp4", testcounty.Bytes(1, 24<<20))) // more than a connection holds: the server waits for the reader
	b := c.SignedIn("shen")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL+"/api/v1/cases/"+caseID+"/bundle", nil)
	must(t, err)
	res, err := b.HTTP.Do(req)
	must(t, err)
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	rotated(t, c)
	file, err := io.ReadAll(res.Body)
	must(t, err)
	all := members(t, file)
	if vkeys := string(all[at(t, all, bundle.VKeyName)].Body); vkeys != before+"\n" {
		t.Fatalf("the key was added too early: %s", vkeys)
	}
	r, err := chain.ParseReceipt(all[at(t, all, bundle.ExportName)].Body)
	must(t, err)
	if _, lines, err := chain.SplitNote(r.Checkpoint); err != nil || len(lines) != 2 {
		t.Fatalf("the key was added too late: %d lines, %v", len(lines), err)
	}
	for name, vkey := range map[string]string{"old": before, "both": before + "\n" + c.Log.VKey()} {
		if rep := verify(t, file, vkey); len(rep.Failures) != 0 || !rep.TailsProven {
			t.Errorf("%s: %+v", name, rep.Failures)
		}
	}
}

// A checkpoint that an exhibit's manifest names carries lines of both keys, and the log has witnesses: neither makes the other's key unknown.
func TestNamedCheckpointOfTwoKeysBesideWitnesses(t *testing.T) {
	c := testcounty.NewWith(t, func(l *evlog.Log) {
		w, err := witness.Open(t.Context(), witness.Options{Dir: t.TempDir(), Name: "witness.court.example", Logs: []string{l.VKey()}})
		must(t, err)
		t.Cleanup(func() { _ = w.Close() }) // the test ends
		p := chain.LogPolicy(l.VKey())
		p.Witnesses = []chain.PolicyWitness{{Name: "court", VKey: w.VKey()}}
		must(t, l.UseWitnesses(t.Context(), evlog.WitnessOptions{Policy: p}))
	})
	before := c.Log.VKey()
	both := rotated(t, c)
	old, err := chain.NewVerifier(before)
	must(t, err)
	known, err := chain.OpenByLog(both, old)
	must(t, err)
	must(t, c.Ingest.SawCheckpoint(t.Context(), both, known.Size))
	sum := sha256.Sum256(both)
	c.Named = sum[:]
	file, after := export(t, c)
	all := members(t, file)
	if !bytes.Contains(all[at(t, all, bundle.ChainName)].Body, []byte("checkpoints")) || at(t, all, bundle.WitnessName) == 0 {
		t.Fatal("no checkpoint is named, or no witness")
	}
	for name, vkey := range map[string]string{"old": before, "new": after} {
		if rep := verify(t, file, vkey); len(rep.Failures) != 0 {
			t.Errorf("%s: %+v", name, rep.Failures)
		}
	}
}
