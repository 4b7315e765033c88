package embedded

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/versity/versitygw/backend"
)

// ext4 keeps 4 KB of attributes a file, which 10,000 part offsets would not fit.
func TestAttributesOfManyParts(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "o"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m := backend.MpUploadMetadata{UploadID: "0e4a6a5e-8a0f-4a0b-9b5e-7d9d3f3d3b1a"}
	for i := range 10000 {
		m.Parts = append(m.Parts, int64(i+1)*5242880+int64(i*i%7919)) // not the regular row that compresses away
	}
	b, err := backend.MarshalMpUploadMetadata(m, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := (slimMeta{}).StoreAttribute(nil, dir, "o", mpMetaAttribute, b); err != nil {
		t.Fatalf("%d bytes: %v", len(b), err)
	}
	if b, err = (slimMeta{}).RetrieveAttribute(nil, dir, "o", mpMetaAttribute); err != nil {
		t.Fatal(err)
	}
	if got, err := backend.UnmarshalMpUploadMetadata(b, false); err != nil || got.UploadID != m.UploadID {
		t.Fatalf("%+v %v", got, err)
	}
}

// Four leftovers of a kill: a completed upload whose parts are still there, one that was being completed, a part without its name, a
// part with a second name.
func TestRecoverUploads(t *testing.T) {
	objects := filepath.Join(t.TempDir(), "数据 [a] *") // a data folder may be called anything
	dir := filepath.Join(objects, "evidence/.sgwtmp/multipart", fmt.Sprintf("%x", sha256.Sum256([]byte("clip"))))
	write := func(path string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("part"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	attr := func(path, name string, value []byte) {
		t.Helper()
		if err := syscall.Setxattr(path, "user."+name, value, 0); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(objects, "evidence/clip"))
	write(filepath.Join(objects, "evidence/.sgwtmp/staged"))
	write(filepath.Join(dir, "done.etag-2.inprogress/1"))
	write(filepath.Join(dir, "open.etag-2.inprogress/1"))
	write(filepath.Join(dir, "other/1"))
	write(filepath.Join(dir, "other/.1.sgwtmp.42"))
	write(filepath.Join(dir, "nameless"))
	attr(dir, "objname", []byte("clip"))
	b, err := backend.MarshalMpUploadMetadata(backend.MpUploadMetadata{UploadID: "done"}, false)
	if err != nil {
		t.Fatal(err)
	}
	attr(filepath.Join(objects, "evidence/clip"), mpMetaAttribute, b)
	for range 2 { // the second finds nothing to do
		if err := recoverUploads(objects, slog.Default()); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]bool{
			"evidence/clip": true, "evidence/.sgwtmp/staged": false,
			dir + "/open/1": true, dir + "/open.etag-2.inprogress": false,
			dir + "/done": false, dir + "/done.etag-2.inprogress": false,
			dir + "/other/1": true, dir + "/other/.1.sgwtmp.42": false, dir + "/nameless": false,
		} {
			if !filepath.IsAbs(path) {
				path = filepath.Join(objects, path)
			}
			if _, err := os.Stat(path); (err == nil) != want {
				t.Errorf("%s is there: %t, want %t", path, err == nil, want)
			}
		}
	}
}
