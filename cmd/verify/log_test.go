package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zhizheng/evidence/bundle"
	"zhizheng/evidence/transcript"
)

// The copy of a whole log from the command line: judged by a key or a policy, each failure with its file and leaf.
func TestWholeLogFromTheCommandLine(t *testing.T) {
	v1 := filepath.Join("..", "..", "evidence", "transcript", "testdata", "v1")
	policy, key, checkpoint := filepath.Join(v1, "trust.policy"), filepath.Join(v1, "log.vkey"), filepath.Join(v1, "copy", "checkpoint")
	dir := filepath.Join(t.TempDir(), "copy")
	must(t, os.CopyFS(dir, os.DirFS(filepath.Join(v1, "copy"))))
	run(t, "--trust", policy, dir).wants(t, 0, "All holds", "302 页 leaves", "300 份内容与承诺相符，2 份已删除", "达到门限 2")
	run(t, "--trust", key, "--since", checkpoint, "--since", checkpoint, dir).wants(t, 0, "continues the kept checkpoint of 302 leaves")
	run(t, dir).wants(t, 2, "仅自洽", "--trust")

	entries := filepath.Join(dir, "tile", "entries", "000")
	b, err := os.ReadFile(entries)
	must(t, err)
	b[len(b)-1] ^= 1
	must(t, os.WriteFile(entries, b, 0o600))
	r := run(t, "--trust", policy, dir)
	r.wants(t, 1, "✗ tile/entries/000 第 255 页 leaf 255", "✗ tile/payloads/000 第 255 页", "✗ checkpoint")
	if strings.Contains(r.out, "All holds") {
		t.Error("it says both")
	}
	run(t, dir).wants(t, 2, "连自洽也不成立")
	var rep struct {
		Trusted, Holds bool
		Failures       []transcript.Failure
		Witness        bundle.Witness
	}
	r = run(t, "--json", "--trust", policy, dir)
	if err := json.Unmarshal([]byte(r.out), &rep); err != nil || r.code != 1 || !rep.Trusted || rep.Holds || len(rep.Failures) == 0 || rep.Failures[0].Leaf == nil || !rep.Witness.Met {
		t.Errorf("%v %s", err, r.out)
	}
	e := unpack(t)
	run(t, "--trust", key, "--since", e.receipt, filepath.Join(v1, "copy")).wants(t, 1, "✗ "+e.receipt)
	run(t, "--trust", key, "--file", e.file, dir).wants(t, 2, "--file")
	run(t, "--trust", key, "--since", checkpoint, e.bundle).wants(t, 2, "--since")
}
