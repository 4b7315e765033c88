package transcript_test

import (
	"bytes"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/transcript"
)

const example = "testdata/v1"

func exampleTrust(t testing.TB) chain.Policy {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(example, "trust.policy"))
	ok(t, err)
	p, err := chain.ParseTrust(string(b))
	ok(t, err)
	return p
}

// A copy that a released version wrote is good forever.
func TestCopyOfVersion1(t *testing.T) {
	rep, err := transcript.Verify(os.DirFS(filepath.Join(example, "copy")), exampleTrust(t))
	if ok(t, err); len(rep.Failures) > 0 || rep.Size != 302 || rep.Payloads != 300 || rep.Erased != 2 || !rep.Quorum {
		t.Fatalf("%+v", rep)
	}
}

// fuzzFile puts other bytes in the place of one file: nothing panics, and only the bytes that were there hold.
func fuzzFile(f *testing.F, name string, seeds ...[]byte) {
	files := map[string][]byte{}
	copy := os.DirFS(filepath.Join(example, "copy"))
	ok(f, fs.WalkDir(copy, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[path], err = fs.ReadFile(copy, path)
		return err
	}))
	right := files[name]
	for _, s := range append(seeds, right, right[:len(right)-1], append(bytes.Clone(right), 0)) {
		f.Add(s)
	}
	trust := exampleTrust(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		other := maps.Clone(files)
		other[name] = b
		rep, err := transcript.Verify(inMemory(other), trust)
		if ok(t, err); named(rep, name, -1) == bytes.Equal(b, right) {
			t.Fatalf("%x: %+v", b, rep.Failures)
		}
	})
}

func FuzzEntries(f *testing.F) {
	fuzzFile(f, chain.EntriesPath(1, 46), []byte{0xff, 0xff}, []byte{0, 0, 0, 0}, nil)
}

func FuzzPayloads(f *testing.F) {
	fuzzFile(f, transcript.PayloadsPath(1, 46), []byte{0xff, 0xff, 0xff, 0xff}, []byte{0, 0, 0, 31, 1}, make([]byte, 80), nil)
}

func FuzzSigned(f *testing.F) {
	fuzzFile(f, transcript.CheckpointName, []byte("test.zhizheng.local/log\n9223372036854775807\nAAAA\n\n— x AAAA\n"), nil)
}
