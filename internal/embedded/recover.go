package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"

	"zhizheng/internal/secret"
)

const inProgress = ".inprogress"

// recoverUploads repairs what a kill in the middle of a request leaves behind, before the gateway sees it:
//   - Complete renames an upload to <id>.<etag>.inprogress while it works. Left so, the upload is hidden, and a retried Complete may
//     answer 200 with no object there. It gets its name back, or is removed when its object is already in place.
//   - temporary files of parts and objects that never got their name are removed.
func recoverUploads(objects string, log *slog.Logger) error {
	uploads, err := globIn(objects, path.Join("*", posix.MetaTmpMultipartDir, "*"))
	if err != nil {
		return err
	}
	for _, dir := range uploads {
		if err := recoverKey(dir, log); err != nil {
			return err
		}
	}
	temps, err := globIn(objects, path.Join("*", posix.MetaTmpDir, "*"))
	if err != nil {
		return err
	}
	for _, t := range temps {
		if filepath.Join(filepath.Dir(t), "multipart") == t {
			continue
		}
		if err := os.RemoveAll(t); err != nil {
			return err
		}
	}
	return nil
}

// recoverKey works in the folder of one key's unfinished uploads, named by the hash of the key.
func recoverKey(dir string, log *slog.Logger) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch {
		case !e.IsDir(): // a part that never got its name
			err = os.Remove(path)
		case strings.HasSuffix(e.Name(), inProgress):
			err = recoverComplete(path, log)
		default:
			err = removeHalfLinked(path)
		}
		if err != nil {
			return err
		}
	}
	if err := os.Remove(dir); err == nil { // only when empty
		return secret.SyncDir(filepath.Dir(dir))
	}
	return secret.SyncDir(dir)
}

func recoverComplete(path string, log *slog.Logger) error {
	id, _, _ := strings.Cut(filepath.Base(path), ".")
	dir := filepath.Dir(path)
	done, err := completed(dir, id)
	if err != nil {
		return fmt.Errorf("upload %s: %w", id, err)
	}
	if done {
		log.Info("an upload was completed just before a crash, its parts are removed", "upload", id)
		return os.RemoveAll(path)
	}
	log.Warn("an upload was being completed when the server was killed, it is open again", "upload", id)
	return os.Rename(path, filepath.Join(dir, id))
}

// completed reports whether the key's object came from this upload.
func completed(dir, id string) (bool, error) {
	bucket := filepath.Dir(filepath.Dir(filepath.Dir(dir)))
	x := meta.XattrMeta{}
	key, err := x.RetrieveAttribute(nil, dir, "", "objname")
	if err != nil {
		return false, fmt.Errorf("key of uploads: %w", err)
	}
	b, err := x.RetrieveAttribute(nil, bucket, string(key), mpMetaAttribute)
	if errors.Is(err, meta.ErrNoSuchKey) || errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	m, err := backend.UnmarshalMpUploadMetadata(b, false)
	return err == nil && m.UploadID == id, err
}

// removeHalfLinked removes the second names that replacing a part uses for a moment.
func removeHalfLinked(upload string) error {
	half, err := globIn(upload, ".*.sgwtmp.*")
	if err != nil {
		return err
	}
	for _, h := range half {
		if err := os.Remove(h); err != nil {
			return err
		}
	}
	return nil
}

// globIn finds files below a folder whose own name is no pattern: a data folder may be called anything.
func globIn(dir, pattern string) ([]string, error) {
	found, err := fs.Glob(os.DirFS(dir), pattern)
	for i, f := range found {
		found[i] = filepath.Join(dir, f)
	}
	return found, err
}
