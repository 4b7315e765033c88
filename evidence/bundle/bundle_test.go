package bundle_test

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zhizheng/evidence/bundle"
	"zhizheng/evidence/chain"
	"zhizheng/ingest/manifest"
)

// example is a bundle that was made once (by the tests of api, with -update) and must hold for ever: courts keep them.
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

func verify(t testing.TB, file []byte, vkey string) bundle.Report {
	t.Helper()
	rep, err := bundle.Verify(bytes.NewReader(file), int64(len(file)), chain.LogPolicy(vkey), manifest.Open)
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
