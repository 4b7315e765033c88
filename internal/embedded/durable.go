package embedded

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3err"
	"github.com/versity/versitygw/s3response"

	"zhizheng/internal/secret"
)

// durable wraps the gateway's file backend, which never syncs, so that everything it acknowledges is on disk. The order matters in
// each write: the bytes first, then the name. A name that survives a power cut without its bytes would still show the checksum
// it was uploaded with, and evidence would be sealed that is not there.
type durable struct {
	*posix.Posix
	objects, versions string
	minFree           int64
	completing        keyedMutex
}

func newDurable(root string, minFree int64) (*durable, error) {
	d := &durable{objects: filepath.Join(root, "objects"), versions: filepath.Join(root, "versions"), minFree: minFree}
	// ETags from a CRC instead of MD5: nobody compares them, and MD5 would be computed beside SHA-256 for nothing.
	o := posix.PosixOpts{VersioningDir: d.versions, DataIntegrityEtag: true}
	o.SetNewDirPerm(0o700)
	o.SetNewFilePerm(0o600)
	// It greets on standard output, which belongs to the server's own messages. This is the only line it ever prints there.
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	stdout := os.Stdout
	os.Stdout = null
	p, err := posix.New(d.objects, slimMeta{}, o)
	os.Stdout = stdout
	if err != nil {
		return nil, fmt.Errorf("open the store's folder: %w", err)
	}
	d.Posix = p
	return d, nil
}

// room refuses a write that would leave less than minFree: the database often lives on the same disk and must go on.
func (d *durable) room(need int64) error {
	free, err := d.free()
	if err != nil {
		return err
	}
	if free < need {
		return s3err.GetAPIError(s3err.ErrNoSpaceLeftOnDevice)
	}
	return nil
}

func (d *durable) free() (int64, error) {
	var st syscall.Statfs_t
	if err := syscall.Statfs(d.objects, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail)*st.Bsize - d.minFree, nil
}

func (d *durable) CreateBucket(ctx context.Context, in *s3.CreateBucketInput, acl []byte) error {
	if err := d.Posix.CreateBucket(ctx, in, acl); err != nil {
		return err
	}
	return syncAll(filepath.Join(d.objects, *in.Bucket), d.objects)
}

func (d *durable) PutBucketVersioning(ctx context.Context, bucket string, st types.BucketVersioningStatus) error {
	if err := d.Posix.PutBucketVersioning(ctx, bucket, st); err != nil {
		return err
	}
	return syncAll(filepath.Join(d.objects, bucket))
}

func (d *durable) PutObjectLockConfiguration(ctx context.Context, bucket string, config []byte) error {
	if err := d.Posix.PutObjectLockConfiguration(ctx, bucket, config); err != nil {
		return err
	}
	return syncAll(filepath.Join(d.objects, bucket))
}

func (d *durable) CreateMultipartUpload(ctx context.Context, in s3response.CreateMultipartUploadInput) (s3response.InitiateMultipartUploadResult, error) {
	if err := d.room(0); err != nil {
		return s3response.InitiateMultipartUploadResult{}, err
	}
	res, err := d.Posix.CreateMultipartUpload(ctx, in)
	if err != nil {
		return res, err
	}
	up := d.uploadsOf(*in.Bucket, *in.Key)
	return res, syncAll(filepath.Join(up, res.UploadId), up, filepath.Dir(up), filepath.Dir(filepath.Dir(up)))
}

// uploadsOf is the folder of unfinished uploads of one key.
func (d *durable) uploadsOf(bucket, key string) string {
	return filepath.Join(d.objects, bucket, posix.MetaTmpMultipartDir, fmt.Sprintf("%x", sha256.Sum256([]byte(key))))
}

// UploadPart syncs the part before it gets its name. The name itself may be lost in a power cut: then the part is missing and is
// asked for again.
func (d *durable) UploadPart(ctx context.Context, in *s3.UploadPartInput) (*s3.UploadPartOutput, error) {
	var size int64
	if in.ContentLength != nil {
		size = *in.ContentLength
	}
	if err := d.room(size); err != nil {
		return nil, err
	}
	return d.UploadPartWithPostFunc(ctx, in, (*os.File).Sync)
}

// UploadPartCopy is not wrapped, so it is not offered.
func (d *durable) UploadPartCopy(context.Context, *s3.UploadPartCopyInput) (s3response.CopyPartResult, error) {
	return s3response.CopyPartResult{}, s3err.GetAPIError(s3err.ErrNotImplemented)
}

// CopyObject is not wrapped, so it is not offered.
func (d *durable) CopyObject(context.Context, s3response.CopyObjectInput) (s3response.CopyObjectOutput, error) {
	return s3response.CopyObjectOutput{}, s3err.GetAPIError(s3err.ErrNotImplemented)
}

// CompleteMultipartUpload assembles and syncs the bytes, lets the gateway name the object, then syncs attributes and folders. One
// at a time for a key: the gateway answers 200 to a second call while the first still copies.
func (d *durable) CompleteMultipartUpload(ctx context.Context, in *s3.CompleteMultipartUploadInput) (s3response.CompleteMultipartUploadResult, string, error) {
	var none s3response.CompleteMultipartUploadResult
	if in.Bucket == nil || in.Key == nil || in.MultipartUpload == nil {
		return none, "", s3err.GetAPIError(s3err.ErrInvalidRequest)
	}
	defer d.completing.lock(*in.Bucket + "/" + *in.Key)()
	size, err := d.sizeOf(in)
	if err != nil {
		return none, "", err
	}
	if err := d.room(size); err != nil {
		return none, "", err
	}
	left := len(in.MultipartUpload.Parts)
	var failed error
	res, version, err := d.CompleteMultipartUploadWithCopy(ctx, in, func(from, to *os.File) (bool, error) {
		_, err := io.Copy(to, from) // copy_file_range: a reflink where the file system has them
		if left--; err == nil && left == 0 {
			err = to.Sync()
		}
		if err != nil {
			// The gateway would now copy the part once more behind what is there. Closing the source makes it give up,
			// and it puts the upload back so that the complete can be tried again.
			failed = err
			_ = from.Close()
		}
		return true, err
	})
	switch {
	case errors.Is(failed, syscall.ENOSPC), errors.Is(failed, syscall.EDQUOT):
		return none, "", s3err.GetAPIError(s3err.ErrNoSpaceLeftOnDevice)
	case failed != nil:
		return none, "", fmt.Errorf("assemble object: %w", failed)
	case err != nil:
		return res, version, err
	}
	return res, version, d.syncObject(*in.Bucket, *in.Key)
}

// sizeOf adds up the parts on disk; an upload that is gone has size 0 and the gateway says what became of it.
func (d *durable) sizeOf(in *s3.CompleteMultipartUploadInput) (n int64, err error) {
	if in.UploadId == nil {
		return 0, nil
	}
	dir := filepath.Join(d.uploadsOf(*in.Bucket, *in.Key), filepath.Base(*in.UploadId))
	for _, p := range in.MultipartUpload.Parts {
		if p.PartNumber == nil {
			continue
		}
		st, err := os.Stat(filepath.Join(dir, fmt.Sprint(*p.PartNumber)))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		n += st.Size()
	}
	return n, nil
}

func (d *durable) PutObject(ctx context.Context, in s3response.PutObjectInput) (s3response.PutObjectOutput, error) {
	var size int64
	if in.ContentLength != nil {
		size = *in.ContentLength
	}
	if err := d.room(size); err != nil {
		return s3response.PutObjectOutput{}, err
	}
	out, err := d.PutObjectWithPostFunc(ctx, in, (*os.File).Sync)
	if err != nil {
		return out, err
	}
	return out, d.syncObject(*in.Bucket, *in.Key)
}

func (d *durable) DeleteObject(ctx context.Context, in *s3.DeleteObjectInput) (*s3.DeleteObjectOutput, error) {
	out, err := d.Posix.DeleteObject(ctx, in)
	if err != nil {
		return out, err
	}
	return out, d.syncObject(*in.Bucket, *in.Key)
}

func (d *durable) DeleteObjects(ctx context.Context, in *s3.DeleteObjectsInput) (s3response.DeleteResult, error) {
	out, err := d.Posix.DeleteObjects(ctx, in)
	if err != nil || in.Delete == nil {
		return out, err
	}
	for _, o := range in.Delete.Objects {
		if o.Key != nil {
			err = errors.Join(err, d.syncObject(*in.Bucket, *o.Key))
		}
	}
	return out, err
}

// HeadObject fills in the lock of a version that is not the newest, which the gateway keeps and obeys but doesn't show.
func (d *durable) HeadObject(ctx context.Context, in *s3.HeadObjectInput) (*s3.HeadObjectOutput, error) {
	out, err := d.Posix.HeadObject(ctx, in)
	if err != nil || out.ObjectLockMode != "" || in.Bucket == nil || in.Key == nil || in.VersionId == nil || *in.VersionId == "" {
		return out, err
	}
	if lock, err := d.GetObjectRetention(ctx, *in.Bucket, *in.Key, *in.VersionId); err == nil {
		if r, err := auth.ParseObjectLockRetentionOutput(lock); err == nil {
			out.ObjectLockMode, out.ObjectLockRetainUntilDate = types.ObjectLockMode(r.Mode), r.RetainUntilDate
		}
	}
	if held, err := d.GetObjectLegalHold(ctx, *in.Bucket, *in.Key, *in.VersionId); err == nil {
		if h := auth.ParseObjectLegalHoldOutput(held); h != nil {
			out.ObjectLockLegalHoldStatus = h.Status
		}
	}
	return out, nil // none to show is no failure
}

func (d *durable) PutObjectRetention(ctx context.Context, bucket, object, version string, retention []byte) error {
	if err := d.Posix.PutObjectRetention(ctx, bucket, object, version, retention); err != nil {
		return err
	}
	return d.syncObject(bucket, object)
}

func (d *durable) PutObjectLegalHold(ctx context.Context, bucket, object, version string, on bool) error {
	if err := d.Posix.PutObjectLegalHold(ctx, bucket, object, version, on); err != nil {
		return err
	}
	return d.syncObject(bucket, object)
}

// syncObject makes the object, its older versions and every folder up to the bucket durable, whichever of them are there.
func (d *durable) syncObject(bucket, key string) error {
	path := filepath.Join(d.objects, bucket, key)
	paths := []string{path}
	for dir := filepath.Dir(path); len(dir) >= len(d.objects); dir = filepath.Dir(dir) {
		paths = append(paths, dir)
	}
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte(key)))
	old := filepath.Join(d.versions, bucket, sum[:2], sum[2:4], sum[4:6], sum)
	entries, err := os.ReadDir(old)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err == nil {
		for _, e := range entries {
			paths = append(paths, filepath.Join(old, e.Name()))
		}
		for dir := old; len(dir) >= len(d.versions); dir = filepath.Dir(dir) {
			paths = append(paths, dir)
		}
	}
	return syncAll(paths...)
}

// syncAll syncs files and folders; what is not there needs no sync.
func syncAll(paths ...string) error {
	for _, p := range paths {
		if err := secret.SyncDir(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// slimMeta keeps attributes in xattrs, of which ext4 holds 4 KB a file. The gateway wants to keep the offset of each part there,
// for reads by part number that nobody here does; with more than some hundred parts that alone would make Complete fail.
type slimMeta struct{ meta.XattrMeta }

const mpMetaAttribute = "mp-metadata"

func (m slimMeta) StoreAttribute(f *os.File, bucket, object, attribute string, value []byte) error {
	if attribute == mpMetaAttribute && len(value) > 1024 {
		all, err := backend.UnmarshalMpUploadMetadata(value, false)
		if err != nil {
			return err
		}
		if value, err = backend.MarshalMpUploadMetadata(backend.MpUploadMetadata{UploadID: all.UploadID}, false); err != nil {
			return err
		}
	}
	return m.XattrMeta.StoreAttribute(f, bucket, object, attribute, value)
}

// keyedMutex is a lock for each key; keys not in use take no memory.
type keyedMutex struct {
	mu   sync.Mutex
	held map[string]*heldKey
}

type heldKey struct {
	sync.Mutex
	users int
}

func (k *keyedMutex) lock(key string) (unlock func()) {
	k.mu.Lock()
	if k.held == nil {
		k.held = map[string]*heldKey{}
	}
	h := k.held[key]
	if h == nil {
		h = &heldKey{}
		k.held[key] = h
	}
	h.users++
	k.mu.Unlock()
	h.Lock()
	return func() {
		h.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if h.users--; h.users == 0 {
			delete(k.held, key)
		}
	}
}
