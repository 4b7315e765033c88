package bundle_test

import (
	"archive/zip"
	"bytes"
	"flag"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zhizheng/evidence"
	"zhizheng/evidence/bundle"
	"zhizheng/evidence/chain"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/testcounty"
)

var update = flag.Bool("update", false, "write testdata/v1 anew: only for a new version of the format")

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

func verify(t testing.TB, file []byte, vkey string) bundle.Report {
	t.Helper()
	key, err := chain.NewVerifier(vkey)
	must(t, err)
	rep, err := bundle.Verify(bytes.NewReader(file), int64(len(file)), key, manifest.Open)
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

// The whole way on real services: what was docked lies in the bundle byte for byte, and all of it holds.
func TestExportedCaseHolds(t *testing.T) {
	c := testcounty.New(t)
	file, vkey := export(t, c)
	rep := verify(t, file, vkey)
	if len(rep.Failures) != 0 {
		t.Fatalf("failures: %+v", rep.Failures)
	}
	if len(rep.Records) != len(sealed)+1 || rep.Records[3].Status != "pending" || rep.Records[3].Member != "" || rep.ExportLeaf == 0 || rep.Origin != c.Log.Origin() {
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
		must(t, os.MkdirAll(filepath.Join("testdata", "v1"), 0o755))
		must(t, os.WriteFile(filepath.Join("testdata", "v1", "bundle.zip"), file, 0o644))
		must(t, os.WriteFile(filepath.Join("testdata", "v1", "log.vkey"), []byte(vkey+"\n"), 0o644))
	}
	// The next export of the same case contains this one as an act.
	again := c.SignedIn("shen").Get("/api/v1/cases/" + rep.CaseID + "/bundle")
	if next := verify(t, again.Body, vkey); len(next.Failures) != 0 || next.Leaves <= rep.Leaves {
		t.Fatalf("exported again: %d leaves after %d, %+v", next.Leaves, rep.Leaves, next.Failures)
	}
}

// example is a bundle that was made once and must hold for ever: courts keep them.
func example(t testing.TB) (file []byte, vkey string) {
	t.Helper()
	file, err := os.ReadFile(filepath.Join("testdata", "v1", "bundle.zip"))
	must(t, err)
	key, err := os.ReadFile(filepath.Join("testdata", "v1", "log.vkey"))
	must(t, err)
	return file, strings.TrimSpace(string(key))
}

func TestBundleOfVersion1Holds(t *testing.T) {
	file, vkey := example(t)
	if rep := verify(t, file, vkey); len(rep.Failures) != 0 || len(rep.Records) != 4 {
		t.Fatalf("%+v", rep)
	}
}
