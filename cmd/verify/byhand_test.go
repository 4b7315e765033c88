package main

import (
	"archive/zip"
	"bytes"
	"crypto/rand"
	"errors"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

// The way by hand that docs/verify.md tells shares no line with this program, and comes to the same verdict.
func TestVerdictByHand(t *testing.T) {
	for _, tool := range []string{"python3", "openssl"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the way by hand needs %s", tool)
		}
	}
	e := unpack(t)
	byHand := func(key, file string) (code int, said string) {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "python3", filepath.Join("..", "..", "docs", "verify-by-hand.py"), key, file).CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if exit != nil {
			code = exit.ExitCode()
		}
		return code, string(out)
	}
	if code, said := byHand(e.key, e.bundle); code != 0 || !strings.Contains(said, "all holds") || strings.Count(said, "up to this export") != 4 {
		t.Fatalf("exit %d: %s", code, said)
	}
	old := unpackOf(t, "v1")
	if code, said := byHand(old.key, old.bundle); code != 0 || !strings.Contains(said, "version 1") {
		t.Errorf("version 1: exit %d: %s", code, said)
	}
	_, other, err := note.GenerateKey(rand.Reader, "test.zhizheng.local/log")
	must(t, err)
	if code, said := byHand(e.put("other.vkey", []byte(other+"\n")), e.bundle); code == 0 {
		t.Errorf("another key: %s", said)
	}
	key, err := os.ReadFile(e.key)
	must(t, err)
	if code, said := byHand(e.put("both.vkey", []byte(other+"\n"+string(key))), e.bundle); code != 0 {
		t.Errorf("two keys of which one signed: %s", said)
	}
	_, elsewhere, err := note.GenerateKey(rand.Reader, "elsewhere.example/log")
	must(t, err)
	for what, keys := range map[string]string{"a key of another log beside it": string(key) + elsewhere + "\n", "no key": "\n", "a bit of its key": strings.Replace(string(key), "+A", "+B", 1)} {
		if code, said := byHand(e.put("bad.vkey", []byte(keys)), e.bundle); code == 0 {
			t.Errorf("%s: %s", what, said)
		}
	}
	all, err := os.ReadFile(e.bundle)
	must(t, err)
	z, err := zip.NewReader(bytes.NewReader(all), int64(len(all)))
	must(t, err)
	for _, f := range z.File {
		if f.UncompressedSize64 == 0 {
			continue
		}
		off, err := f.DataOffset()
		must(t, err)
		bad := bytes.Clone(all)
		bad[off+mathrand.Int64N(int64(f.UncompressedSize64))] ^= 1 << mathrand.IntN(8)
		spoilt := e.put("spoilt.zip", bad)
		if code, said := byHand(e.key, spoilt); code == 0 {
			t.Errorf("a bit of %s: %s", f.Name, said)
		}
		run(t, "--trust", e.key, spoilt).wants(t, 1, "✗ "+f.Name)
	}
}
