package api_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"zhizheng/api"
	"zhizheng/evidence/bundle"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/stamp/stamptest"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/testcounty"
)

// judged verifies a bundle whose reader trusts an authority.
func judged(t testing.TB, file []byte, vkey string, a *stamptest.Authority) bundle.Report {
	t.Helper()
	rep, err := bundle.Verify(bytes.NewReader(file), int64(len(file)), chain.LogPolicy(vkey), manifest.Open, bundle.Devices(manifest.OpenPlace), bundle.TSARoots(a.Roots))
	must(t, err)
	return rep
}

func body(t testing.TB, file []byte, name string) string {
	t.Helper()
	for _, m := range members(t, file) {
		if m.Name == name {
			return string(m.Body)
		}
	}
	t.Fatalf("no member %s", name)
	return ""
}

func TestExportIsStamped(t *testing.T) {
	a, stranger := stamptest.New(t, stamptest.Options{Intermediate: true}), stamptest.New(t, stamptest.Options{})
	c := testcounty.NewWithLog(t, func(o *evlog.Options) {
		o.Stamps = evlog.Stamps{Authorities: []string{a.URL}, Roots: a.Roots}
	})
	began := time.Now().Add(-time.Second)
	file, vkey := export(t, c)
	rep := judged(t, file, vkey, a)
	if len(rep.Failures) != 0 || len(rep.Timestamps) == 0 {
		t.Fatalf("%+v %+v", rep.Failures, rep.Timestamps)
	}
	for _, r := range rep.Records {
		for _, leaf := range []int64{r.ManifestLeaf, r.SealLeaf} {
			ts, ok := rep.StampedBy(leaf)
			at, err := time.Parse(time.RFC3339Nano, ts.GenTime)
			if leaf >= 0 && (!ok || err != nil || at.Before(began) || at.After(time.Now().Add(time.Second)) || ts.Authority != "CN=Test TSA,O=Test") {
				t.Errorf("leaf %d of %s: %+v", leaf, r.FileName, ts)
			}
		}
	}
	index := body(t, file, bundle.IndexName)
	if !strings.Contains(index, a.URL) || strings.Contains(index, "没有可信时间戳") || strings.Contains(index, "没有取得") {
		t.Error(index)
	}
	// Without roots nothing is judged, and nothing fails.
	if plain := verify(t, file, vkey); len(plain.Failures) != 0 || plain.Timestamps[0].State != bundle.StampUndecided {
		t.Errorf("%+v %+v", plain.Failures, plain.Timestamps)
	}
	// Roots of another authority don't hold for it.
	if other := judged(t, file, vkey, stranger); len(other.Failures) != len(other.Timestamps) || !strings.Contains(other.Failures[0].En, "given root") {
		t.Errorf("%+v", other.Failures)
	}
	// The authority goes away: the export goes on with the tokens there are, and says plainly what it lacks.
	a.Answer(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusServiceUnavailable) })
	again := c.SignedIn("shen").Get("/api/v1/cases/" + rep.CaseID + "/bundle")
	if again.Status != http.StatusOK {
		t.Fatalf("export: %d %s", again.Status, again.Body)
	}
	late := judged(t, again.Body, vkey, a)
	if len(late.Failures) != 0 || len(late.Timestamps) == 0 {
		t.Fatalf("%+v", late)
	}
	if index := body(t, again.Body, bundle.IndexName); !strings.Contains(index, "没有取得 "+a.URL) || !strings.Contains(index, "不在其证明之内") {
		t.Error(index)
	}
	var state api.LogState
	must(t, json.Unmarshal(c.SignedIn("shen").Get("/api/v1/log").Body, &state))
	if ts := *state.Timestamps; len(ts) != 1 || ts[0].State != "failed" || ts[0].Authority != a.URL || ts[0].Leaf == nil || !strings.Contains(*ts[0].Error, "503") {
		t.Errorf("%+v", ts)
	}
}

func TestExportWithoutAuthority(t *testing.T) {
	c := testcounty.New(t)
	file, vkey := export(t, c)
	rep := verify(t, file, vkey)
	if len(rep.Failures) != 0 || len(rep.Timestamps) != 0 {
		t.Fatalf("%+v", rep)
	}
	if index := body(t, file, bundle.IndexName); !strings.Contains(index, "本证据包没有可信时间戳") {
		t.Error(index)
	}
}

// Tokens are leaves of a bundle like others: who changes anything about them, and packs anew, is found.
func TestTamperedStampMembers(t *testing.T) {
	a := stamptest.New(t, stamptest.Options{})
	c := testcounty.NewWithLog(t, func(o *evlog.Options) { o.Stamps = evlog.Stamps{Authorities: []string{a.URL}, Roots: a.Roots} })
	file, vkey := export(t, c)
	all := members(t, file)
	for i, m := range all {
		if !strings.HasPrefix(m.Name, "timestamps/") {
			continue
		}
		for _, bit := range []int{0, len(m.Body) * 4, len(m.Body)*8 - 1} {
			bad := bytes.Clone(file)
			at := bytes.Index(bad, m.Body)
			bad[at+bit/8] ^= 1 << (bit % 8)
			if rep := judged(t, bad, vkey, a); len(rep.Failures) == 0 {
				t.Errorf("bit %d of %s goes unseen", bit, all[i].Name)
			}
		}
		return
	}
	t.Fatal("no consistency proof is in the bundle")
}

func TestTimestampsAreCarried(t *testing.T) {
	a := stamptest.New(t, stamptest.Options{})
	c := testcounty.NewWithLog(t, func(o *evlog.Options) { o.Stamps.Roots = a.Roots })
	c.User("shen", "reviewer")
	c.User("guan", "admin")
	c.Seals("a.mp4", []byte("a"))
	if s := c.SignedIn("shen").JSON("POST", "/api/v1/log/timestamp-request", nil).Status; s != http.StatusForbidden {
		t.Errorf("a reviewer: %d", s)
	}
	admin := c.SignedIn("guan")
	got := admin.JSON("POST", "/api/v1/log/timestamp-request", nil)
	var file api.TimestampRequestFile
	must(t, json.Unmarshal(got.Body, &file))
	if got.Status != http.StatusOK || file.Size < 1 || !strings.HasSuffix(file.FileName, ".tsq") {
		t.Fatalf("%d %s", got.Status, got.Body)
	}
	if s := c.SignedIn("shen").JSON("POST", "/api/v1/log/timestamps", map[string]any{"der": []byte("x")}).Status; s != http.StatusForbidden {
		t.Errorf("a reviewer: %d", s)
	}
	in := admin.JSON("POST", "/api/v1/log/timestamps", map[string]any{"der": a.Reply(t, file.Der)})
	var ts api.Timestamp
	must(t, json.Unmarshal(in.Body, &ts))
	if in.Status != http.StatusOK || ts.Authority != "carried" || ts.Size != file.Size || ts.Leaf == nil {
		t.Fatalf("%d %s", in.Status, in.Body)
	}
	if bad := admin.JSON("POST", "/api/v1/log/timestamps", map[string]any{"der": []byte("garbage")}); bad.Status != http.StatusBadRequest || !strings.Contains(string(bad.Body), "时间戳不成立") {
		t.Errorf("%d %s", bad.Status, bad.Body)
	}
}
