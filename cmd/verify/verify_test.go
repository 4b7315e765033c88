package main

import (
	"archive/zip"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/bundle"
)

// A copy of the test binary is the verifier itself.
func TestMain(m *testing.M) {
	if os.Getenv("ZZ_TEST_VERIFY") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// ran is what the program did.
type ran struct {
	code     int
	out, err string
}

func run(t *testing.T, args ...string) ran {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), "ZZ_TEST_VERIFY=1")
	var out, msg bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &msg
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return ran{cmd.ProcessState.ExitCode(), out.String(), msg.String()}
}

func (r ran) wants(t *testing.T, code int, said ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit %d, want %d\n%s%s", r.code, code, r.out, r.err)
	}
	for _, s := range said {
		if !strings.Contains(r.out+r.err, s) {
			t.Errorf("nothing about %q in\n%s%s", s, r.out, r.err)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// exhibit is the example bundle taken apart: the bundle, the published key, the first file and the receipt of its sealing.
type exhibit struct {
	t                          *testing.T
	dir                        string
	bundle, key, file, receipt string
	sealed                     string // member that is the receipt
}

func unpack(t *testing.T) exhibit {
	t.Helper()
	return unpackOf(t, "v2")
}

func unpackOf(t *testing.T, version string) exhibit {
	t.Helper()
	dir := filepath.Join("..", "..", "evidence", "bundle", "testdata", version)
	e := exhibit{t: t, dir: t.TempDir(), bundle: filepath.Join(dir, "bundle.zip"), key: filepath.Join(dir, "log.vkey")}
	var records []bundle.Record
	must(t, json.Unmarshal(e.member(bundle.EvidenceName), &records))
	e.sealed = fmt.Sprintf("proofs/%012d.tlog-proof", records[0].SealLeaf)
	e.file = e.put("示例 片段.mp4", e.member(records[0].Member))
	e.receipt = e.put("a.tlog-proof", e.member(e.sealed))
	return e
}

func (e exhibit) member(name string) []byte {
	e.t.Helper()
	z, err := zip.OpenReader(e.bundle)
	must(e.t, err)
	defer z.Close()
	f, err := z.Open(name)
	must(e.t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	must(e.t, err)
	return b
}

func (e exhibit) put(name string, b []byte) string {
	e.t.Helper()
	p := filepath.Join(e.dir, name)
	must(e.t, os.WriteFile(p, b, 0o600))
	return p
}

// spoilt is the file at path with one bit flipped where part begins.
func (e exhibit) spoilt(path string, part []byte) string {
	e.t.Helper()
	b, err := os.ReadFile(path)
	must(e.t, err)
	i := bytes.Index(b, part)
	if i < 0 {
		e.t.Fatalf("%q isn't in %s", part, path)
	}
	b[i] ^= 1
	return e.put("spoilt-"+filepath.Base(path), b)
}

func TestBundleFromTheCommandLine(t *testing.T) {
	e := unpack(t)
	run(t, "--trust", e.key, e.bundle).wants(t, 0, "核验通过", "All holds", "示例 片段 (1).mp4", "4 份证据的保管链到本次导出为止")
	old := unpackOf(t, "v1")
	run(t, "--trust", old.key, old.bundle).wants(t, 0, "All holds", "旧版证据包")
	file, err := os.ReadFile(e.file)
	must(t, err)
	bad := run(t, "--trust", e.key, e.spoilt(e.bundle, file))
	bad.wants(t, 1, "✗ files/001-示例 片段 (1).mp4")
	if strings.Contains(bad.out, "All holds") {
		t.Error("it says both")
	}
	run(t, "--trust", e.key, e.spoilt(e.bundle, e.member(e.sealed)[30:])).wants(t, 1, "✗ "+e.sealed)
	all, err := os.ReadFile(e.bundle)
	must(t, err)
	run(t, "--trust", e.key, e.put("short.zip", all[:len(all)-7])).wants(t, 1, "✗ zip")
	run(t, "--trust", e.key, e.put("empty.zip", nil)).wants(t, 1, "✗ zip")
	run(t, "--trust", e.key, e.put("letter.txt", []byte("Dear court,"))).wants(t, 1, "✗ zip")
	_, other, err := note.GenerateKey(rand.Reader, "test.zhizheng.local/log")
	must(t, err)
	run(t, "--trust", e.put("other.vkey", []byte(other+"\n")), e.bundle).wants(t, 1, "✗ EXPORT.tlog-proof", "✗ "+e.sealed)
}

func TestNothingIsDecidedWithoutAKey(t *testing.T) {
	e := unpack(t)
	r := run(t, e.bundle)
	r.wants(t, 2, "--trust", "test.zhizheng.local/log+")
	if strings.Contains(r.out, "All holds") {
		t.Error("it decides")
	}
	file, err := os.ReadFile(e.file)
	must(t, err)
	run(t, e.spoilt(e.bundle, file)).wants(t, 2, "✗ files/001", "--trust")
	run(t, e.receipt, "--file", e.file).wants(t, 2, "--trust")
	for what, args := range map[string][]string{
		"no argument":              {"--trust", e.key},
		"no such bundle":           {"--trust", e.key, filepath.Join(e.dir, "none.zip")},
		"no such key":              {"--trust", filepath.Join(e.dir, "none"), e.bundle},
		"no such file":             {"--trust", e.key, e.receipt, "--file", filepath.Join(e.dir, "none.mp4")},
		"a key that is none":       {"--trust", e.file, e.bundle},
		"a key that is empty":      {"--trust", e.put("no.vkey", nil), e.bundle},
		"a folder":                 {"--trust", e.key, e.dir},
		"no such flag":             {"--trusted", e.key, e.bundle},
		"a file beside the bundle": {"--trust", e.key, e.bundle, "--file", e.file},
	} {
		if r := run(t, args...); r.code != 2 || r.err == "" || strings.Contains(r.out, "All holds") {
			t.Errorf("%s: %+v", what, r)
		}
	}
}

func TestReceiptFromTheCommandLine(t *testing.T) {
	e := unpack(t)
	run(t, "--trust", e.key, e.receipt, "--file", e.file).wants(t, 0, "All holds", "封存入库")
	run(t, "--trust", e.key, e.receipt).wants(t, 0, "All holds", "没有对照影像文件")
	file, err := os.ReadFile(e.file)
	must(t, err)
	for what, b := range map[string][]byte{"other": []byte("other footage"), "short": file[:len(file)-1], "long": append(bytes.Clone(file), 0), "empty": nil} {
		r := run(t, "--trust", e.key, e.receipt, "--file", e.put(what, b))
		r.wants(t, 1, "✗ 回执", "not the one")
		if strings.Contains(r.out, "All holds") {
			t.Errorf("%s: it says both", what)
		}
	}
	run(t, "--trust", e.key, e.receipt, "--file", e.spoilt(e.file, file)).wants(t, 1, "✗ 回执")
	text, err := os.ReadFile(e.receipt)
	must(t, err)
	for i := 0; i < len(text); i += 1 + i%41 {
		bad := bytes.Clone(text)
		bad[i] ^= 1 << (i % 8)
		r := run(t, "--trust", e.key, e.put("bad.tlog-proof", bad), "--file", e.file)
		if r.code != 1 || !strings.Contains(r.out+r.err, "✗") {
			t.Fatalf("bit %d of byte %d: %+v", i%8, i, r)
		}
	}
	for what, b := range map[string][]byte{"empty": {}, "short": []byte("c2sp"), "first letter": append([]byte("C"), text[1:]...)} {
		run(t, "--trust", e.key, e.put(what+".tlog-proof", b), "--file", e.file).wants(t, 1, "✗ 回执")
	}
	// A leaf that names no file proves itself, and nothing about a file.
	exported := e.put("export.tlog-proof", e.member(bundle.ExportName))
	run(t, "--trust", e.key, exported).wants(t, 0)
	run(t, "--trust", e.key, exported, "--file", e.file).wants(t, 1, "no file")
}

func TestReportsAsJSON(t *testing.T) {
	e := unpack(t)
	file, err := os.ReadFile(e.file)
	must(t, err)
	for _, c := range []struct {
		args           []string
		code           int
		trusted, holds bool
	}{
		{[]string{"--trust", e.key, e.bundle}, 0, true, true},
		{[]string{"--trust", e.key, e.spoilt(e.bundle, file)}, 1, true, false},
		{[]string{"--trust", e.key, e.put("short.zip", []byte("PK"))}, 1, true, false},
		{[]string{e.bundle}, 2, false, false},
		{[]string{"--trust", e.key, e.receipt, "--file", e.file}, 0, true, true},
		{[]string{"--trust", e.key, e.receipt, "--file", e.key}, 1, true, false},
	} {
		r := run(t, append(c.args, "--json")...)
		var got struct {
			Trusted, Holds bool
			Failures       []bundle.Failure
			Failure        string
		}
		if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != c.code || got.Trusted != c.trusted || got.Holds != c.holds {
			t.Errorf("%v: exit %d, %v: %s", c.args, r.code, err, r.out)
		}
		if (r.code == 1) != (len(got.Failures) > 0 || got.Failure != "") {
			t.Errorf("%v: exit %d, and failures %+v %q", c.args, r.code, got.Failures, got.Failure)
		}
	}
}

// A file name can't write over the line that says what doesn't hold.
func TestNamesHaveNoPowerOverTheTerminal(t *testing.T) {
	e := unpack(t)
	all, err := os.ReadFile(e.bundle)
	must(t, err)
	evil := bytes.ReplaceAll(all, []byte("DCIM/100/示"), []byte(`\u001b[2K\r `)) // in evidence.json, as long as it was
	if bytes.Equal(evil, all) {
		t.Fatal("the example has other names")
	}
	r := run(t, "--trust", e.key, e.put("evil.zip", evil))
	r.wants(t, 1, "✗ evidence.json", "例 片段 (1).mp4")
	if strings.ContainsAny(r.out+r.err, "\x1b\r") {
		t.Errorf("it goes to the terminal: %q", r.out)
	}
}

func TestHelpAndVersion(t *testing.T) {
	run(t, "--help").wants(t, 0, "--trust", "--file", "退出码")
	for _, v := range []string{"--version", "-V"} {
		if r := run(t, v); r.code != 0 || strings.TrimSpace(r.out) == "" {
			t.Errorf("%s: %+v", v, r)
		}
	}
}

// --trust may be a policy: then the witnesses are judged by it.
func TestTrustingAPolicy(t *testing.T) {
	e := unpack(t)
	dir := filepath.Join("..", "..", "evidence", "bundle", "testdata", "v1", "witnessed")
	e.bundle = filepath.Join(dir, "bundle.zip")
	text, err := os.ReadFile(filepath.Join(dir, "trust.policy"))
	must(t, err)
	two := e.put("two.policy", text)
	three := e.put("three.policy", bytes.Replace(text, []byte("见证方 2 "), []byte("见证方 3 "), 1))
	vkey := e.put("log.vkey", []byte(strings.TrimPrefix(strings.SplitAfter(string(text), "\n")[0], "log ")))
	receipt := e.put("w.tlog-proof", e.member(e.anyReceipt()))
	for _, file := range []string{e.bundle, receipt} {
		run(t, "--trust", two, file).wants(t, 0, "见证 2/3，达到门限 2", "All holds")
		r := run(t, "--trust", three, file)
		r.wants(t, 1, "见证未达到可信策略的门限：2/3，门限 3")
		if strings.Contains(r.out, "All holds") {
			t.Error("it says both")
		}
		run(t, "--trust", vkey, file).wants(t, 0, "未要求见证", "另有 2 个共签", "All holds")
		run(t, "--trust", e.put("none.policy", []byte("quorum none\n")), file).wants(t, 2)
		var got struct {
			Holds   bool
			Witness bundle.Witness
		}
		r = run(t, "--json", "--trust", three, file)
		if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.code != 1 || got.Holds || got.Witness.Met || got.Witness.Have != 2 || got.Witness.Need != 3 || len(got.Witness.Cosigned) != 2 {
			t.Errorf("%v %s", err, r.out)
		}
	}
	// A bit in a cosignature is found by who knows the log's key alone.
	b, err := os.ReadFile(receipt)
	must(t, err)
	b[len(b)-20] ^= 1
	run(t, "--trust", vkey, e.put("bad.tlog-proof", b)).wants(t, 1, "✗ 回执")
}

// anyReceipt is the name of the first receipt in the bundle.
func (e exhibit) anyReceipt() string {
	e.t.Helper()
	z, err := zip.OpenReader(e.bundle)
	must(e.t, err)
	defer z.Close()
	for _, f := range z.File {
		if strings.HasPrefix(f.Name, "proofs/") {
			return f.Name
		}
	}
	e.t.Fatal("no receipt")
	return ""
}
