package api_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"zhizheng/evidence/bundle"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/witness"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/testcounty"
	"zhizheng/internal/testenv"
)

// witnessedCounty is a county whose log a court and a justice bureau witness over the network, and a procuratorate by files. Two are needed.
func witnessedCounty(t *testing.T) (c *testcounty.County, policy chain.Policy, away *atomic.Bool, procuratorate *witness.Witness) {
	t.Helper()
	away = &atomic.Bool{}
	c = testcounty.NewWith(t, func(l *evlog.Log) {
		policy = chain.LogPolicy(l.VKey())
		g := chain.PolicyGroup{Name: "见证方", Need: 2}
		for _, name := range []string{"court", "justice", "procuratorate"} {
			w, err := witness.Open(t.Context(), witness.Options{Dir: t.TempDir(), Name: "witness." + name + ".example", Logs: []string{l.VKey()}})
			must(t, err)
			t.Cleanup(func() { _ = w.Close() }) // the test ends
			p := chain.PolicyWitness{Name: name, VKey: w.VKey()}
			if name == "procuratorate" {
				procuratorate = w
			} else {
				h := w.Handler(slog.New(slog.DiscardHandler))
				s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
					if away.Load() && name == "justice" {
						http.Error(rw, "closed today", http.StatusServiceUnavailable)
						return
					}
					h.ServeHTTP(rw, r)
				}))
				t.Cleanup(s.Close)
				p.URL = s.URL
			}
			policy.Witnesses = append(policy.Witnesses, p)
			g.Members = append(g.Members, name)
		}
		policy.Groups, policy.Rule = []chain.PolicyGroup{g}, g.Name
		must(t, l.UseWitnesses(t.Context(), evlog.WitnessOptions{Policy: policy, Interval: 100 * time.Millisecond}))
	})
	return c, policy.Public(), away, procuratorate
}

func verifyBy(t testing.TB, file []byte, trust chain.Policy) bundle.Report {
	t.Helper()
	rep, err := bundle.Verify(bytes.NewReader(file), int64(len(file)), trust, manifest.Open, bundle.Devices(manifest.OpenPlace))
	must(t, err)
	return rep
}

func TestExportIsWitnessed(t *testing.T) {
	c, trust, away, procuratorate := witnessedCounty(t)
	file, vkey := export(t, c)
	rep := verifyBy(t, file, trust)
	if len(rep.Failures) != 0 || !rep.Witness.Met || rep.Witness.Need != 2 || rep.Witness.Of != 3 || rep.Witness.Have != 2 {
		t.Fatalf("%+v", rep)
	}
	if !slices.Contains(rep.Checked, "见证 2/3，达到门限 2 witnessed, quorum met") {
		t.Errorf("%q", rep.Checked)
	}
	// Who trusts the log's key alone reads the same bundle, with its cosignatures checked.
	if rep := verify(t, file, vkey); len(rep.Failures) != 0 || rep.Witness.Required || len(rep.Witness.Cosigned) != 2 {
		t.Fatalf("%+v", rep)
	}
	all := trust
	all.Groups = slices.Clone(all.Groups)
	all.Groups[0].Need = 3
	if rep := verifyBy(t, file, all); !slices.ContainsFunc(rep.Failures, func(f bundle.Failure) bool {
		return strings.Contains(f.Zh, "见证未达到可信策略的门限：2/3，门限 3")
	}) {
		t.Errorf("three of three: %+v", rep.Failures)
	}

	// One witness is away: the bundle comes all the same, says so itself, and fails by the policy that asks for two.
	away.Store(true)
	shen := c.SignedIn("shen")
	if a := shen.Get("/api/v1/evidence/" + rep.Records[0].ID + "/content"); a.Status != http.StatusOK { // a leaf that nobody has witnessed yet
		t.Fatal(a.Status)
	}
	began := time.Now()
	a := shen.Get("/api/v1/cases/" + rep.CaseID + "/bundle")
	if d := time.Since(began); a.Status != http.StatusOK || d > 10*time.Second {
		t.Fatalf("%d after %s", a.Status, d)
	}
	if rep := verifyBy(t, a.Body, trust); len(rep.Failures) != 2 || rep.Witness.Met || rep.Witness.Have != 1 { // the proofs' checkpoint, and the export's
		t.Errorf("%+v", rep)
	}
	for _, m := range members(t, a.Body) {
		if m.Name == bundle.IndexName && !bytes.Contains(m.Body, []byte("没有达到门限：1/3 个见证方共签，门限 2")) {
			t.Errorf("its page doesn't say so: %s", m.Body)
		}
	}

	// The administrator sees it, and carries a file.
	c.User("root", "admin")
	root := c.SignedIn("root")
	var st struct {
		Witnesses []struct {
			Name, State, Error string
			Size               int64
		}
		Quorum struct {
			Need, Of int
			Met      bool
			Size     int64
		}
	}
	testenv.Eventually(t, 10*time.Second, func() bool {
		must(t, json.Unmarshal(root.Get("/api/v1/log").Body, &st))
		return st.Witnesses[1].State == "unreachable"
	})
	if len(st.Witnesses) != 3 || st.Quorum.Need != 2 || !st.Quorum.Met || st.Witnesses[1].Error == "" || st.Witnesses[2].State != "behind" {
		t.Errorf("%+v", st)
	}
	var request struct{ Text string }
	got := root.JSON("POST", "/api/v1/log/witness-request", map[string]any{"witness": "procuratorate"})
	must(t, json.Unmarshal(got.Body, &request))
	signed, err := procuratorate.SignFile([]byte(request.Text))
	must(t, err)
	if got := root.JSON("POST", "/api/v1/log/cosignatures", map[string]any{"text": string(signed)}); got.Status != http.StatusOK || !bytes.Contains(got.Body, []byte(`"witness":"procuratorate"`)) {
		t.Fatalf("%d %s", got.Status, got.Body)
	}
	bad := bytes.Clone(signed)
	bad[len(bad)-12] ^= 1
	if got := root.JSON("POST", "/api/v1/log/cosignatures", map[string]any{"text": string(bad)}); got.Status != http.StatusBadRequest {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	if got := root.JSON("POST", "/api/v1/log/witness-request", map[string]any{"witness": "nobody"}); got.Status != http.StatusNotFound {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	for _, path := range []string{"witness-request", "cosignatures"} {
		if got := c.SignedIn("shen").JSON("POST", "/api/v1/log/"+path, map[string]any{"witness": "procuratorate", "text": string(signed)}); got.Status != http.StatusForbidden && got.Status != http.StatusBadRequest {
			t.Errorf("%s by a reviewer: %d", path, got.Status)
		}
	}
	if audit, err := c.Log.Audit(t.Context()); err != nil || len(audit.Findings) != 0 {
		t.Errorf("%+v %v", audit.Findings, err)
	}
}

// A station knows the log's key alone: the checkpoint it keeps of a receipt, and names when it signs on, has no witness's line.
func TestStationNamesAWitnessedCheckpoint(t *testing.T) {
	c, _, _, _ := witnessedCounty(t)
	v, err := chain.NewVerifier(c.Log.VKey())
	must(t, err)
	station := c.Browser()
	var own []byte
	first := c.Seals("first.mp4", testcounty.Bytes(1, 900))
	testenv.Eventually(t, 20*time.Second, func() bool {
		a := station.Get("/api/v1/evidence/"+string(first)+"/receipt", "Authorization", "Bearer "+c.Token())
		if a.Status == http.StatusAccepted {
			return false
		}
		if a.Status != http.StatusOK {
			t.Fatalf("receipt: %d %s", a.Status, a.Body)
		}
		r, err := chain.ParseReceipt(a.Body)
		must(t, err)
		own, err = chain.OnlyLog(r.Checkpoint, v)
		must(t, err)
		return len(own) < len(r.Checkpoint) // witnessed
	})
	known, err := chain.OpenByLog(own, v)
	must(t, err)
	sum := sha256.Sum256(own)
	c.Named = sum[:]
	second := c.Seals("second.mp4", testcounty.Bytes(2, 900))
	c.User("shen", "reviewer")
	got := read[struct {
		Completeness struct {
			NotBefore *struct {
				Leaf int64 `json:"leaf_index"`
			} `json:"not_before"`
		}
	}](t, c.SignedIn("shen").Get("/api/v1/evidence/"+string(second)))
	if b := got.Completeness.NotBefore; b == nil || b.Leaf != known.Size-1 {
		t.Fatalf("%+v, checkpoint of %d", got, known.Size)
	}
}
