package bundle_test

import (
	"archive/zip"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"zhizheng/evidence/bundle"
	"zhizheng/evidence/chain"
	"zhizheng/ingest/manifest"
)

// example is a bundle that was made once (by the tests of api, with -update) and must hold for ever: courts keep them.
func example(t testing.TB) (file []byte, vkey string) {
	t.Helper()
	return exampleOf(t, "v2")
}

func exampleOf(t testing.TB, version string) (file []byte, vkey string) {
	t.Helper()
	file, err := os.ReadFile(filepath.Join("testdata", version, "bundle.zip"))
	must(t, err)
	key, err := os.ReadFile(filepath.Join("testdata", version, "log.vkey"))
	must(t, err)
	return file, strings.TrimSpace(string(key))
}

func TestBundlesOfAllVersionsHold(t *testing.T) {
	for version, tails := range map[string]bool{"v1": false, "v2": true} {
		file, vkey := exampleOf(t, version)
		rep := verify(t, file, vkey)
		if len(rep.Failures) != 0 || len(rep.Records) != 4 || rep.TailsProven != tails {
			t.Errorf("%s: %+v", version, rep)
		}
		if said := slices.ContainsFunc(rep.Checked, func(s string) bool { return strings.HasPrefix(s, "旧版证据包") }); said == tails {
			t.Errorf("%s: %q", version, rep.Checked)
		}
	}
}

// Version 1 has no tails: one that is added to such a bundle is a member too many, and a newer bundle doesn't pass for an old one.
func TestVersionsDoNotPassForEachOther(t *testing.T) {
	old, oldKey := exampleOf(t, "v1")
	file, vkey := example(t)
	all := members(t, file)
	bad, err := bundle.Zip(append(members(t, old), all[len(all)-1]))
	must(t, err)
	if rep := verify(t, bad, oldKey); !names(rep, all[len(all)-1].Name) {
		t.Errorf("%+v", rep.Failures)
	}
	all = all[:at(t, all, "tails/")]
	all[0].Body = bytes.Replace(all[0].Body, []byte("bundle/v2"), []byte("bundle/v1"), 1)
	bad, err = bundle.Zip(all)
	must(t, err)
	if rep := verify(t, bad, vkey); !names(rep, bundle.ExportName) || rep.TailsProven {
		t.Errorf("%+v", rep.Failures)
	}
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
