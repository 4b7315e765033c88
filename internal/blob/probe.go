package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	miniocreds "github.com/minio/minio-go/v7/pkg/credentials"

	"zhizheng/internal/id"
)

// ProbeOptions name the store; its bucket must exist. The probe stores a canary of some bytes below "canary/", locked for LockFor.
type ProbeOptions struct {
	Options
	LockFor time.Duration // 0 means one minute; canaries whose lock has ended are removed by the next probe
}

// The labels of a store.
const (
	LabelAttested = "attested"         // what it says about checksums can be sealed on
	LabelReRead   = "re-read required" // sealing must read every byte again
)

// ProbeResult says what the store was seen to do.
type ProbeResult struct {
	Attested   bool   // it refuses wrong parts and shows the composite checksum
	Locked     bool   // it keeps a locked version against deletion and shortening
	Label      string // LabelAttested or LabelReRead, by Attested
	Transcript []ProbeStep
}

// ProbeStep is one question to the store.
type ProbeStep struct {
	Name string // stable, for machines
	Text string // for people
	OK   bool
	Got  string // what the store did
}

// Probe asks the store, through a client independent of the one Store works with, to do wrong things and looks whether it refuses. An error
// means that the store could not be asked, not that it failed.
func Probe(ctx context.Context, o ProbeOptions) (ProbeResult, error) {
	p, err := newProbe(o)
	if err != nil {
		return ProbeResult{}, fmt.Errorf("probe store: %w", err)
	}
	if ok, err := p.BucketExists(ctx, p.o.Bucket); err != nil || !ok {
		return ProbeResult{}, fmt.Errorf("probe store: bucket %q exists: %t: %w", p.o.Bucket, ok, err)
	}
	p.parts(ctx)
	p.locks(ctx)
	p.clean(ctx)
	if err := ctx.Err(); err != nil {
		return ProbeResult{}, fmt.Errorf("probe store: %w", err)
	}
	r := ProbeResult{Attested: p.all("part-", "composite-"), Locked: p.all("lock-"), Label: LabelReRead, Transcript: p.steps}
	if r.Attested {
		r.Label = LabelAttested
	}
	return r, nil
}

type probe struct {
	minio.Core
	transcript
	o       ProbeOptions
	http    *http.Client
	key     string
	version string // of the canary, once completed
	locked  bool   // by the headers of its upload
	until   time.Time
}

func newProbe(o ProbeOptions) (*probe, error) {
	if o.LockFor == 0 {
		o.LockFor = time.Minute
	}
	c, err := independent(o.Options)
	if err != nil {
		return nil, err
	}
	return &probe{Core: *c, o: o, http: &http.Client{Timeout: 30 * time.Second}, key: "canary/" + id.New()}, nil
}

// independent is a client that shares nothing with the one Store works with.
func independent(o Options) (*minio.Core, error) {
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.Endpoint == "" {
		o.Endpoint = "https://s3." + o.Region + ".amazonaws.com"
	}
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Host == "" {
		return nil, fmt.Errorf("%q is no address", o.Endpoint)
	}
	return minio.NewCore(u.Host, &minio.Options{
		Creds: miniocreds.NewStaticV4(o.AccessKey, o.SecretKey, ""), Secure: u.Scheme == "https", Region: o.Region,
		BucketLookup: minio.BucketLookupPath, MaxRetries: 3,
	})
}

// transcript is what was asked of a store and what it did.
type transcript struct{ steps []ProbeStep }

func (p *transcript) note(name, text string, ok bool, format string, a ...any) bool {
	p.steps = append(p.steps, ProbeStep{Name: name, Text: text, OK: ok, Got: fmt.Sprintf(format, a...)})
	return ok
}

// all reports whether steps with these prefixes were made and all went well.
func (p *transcript) all(prefixes ...string) bool {
	for _, x := range prefixes {
		n := 0
		for _, s := range p.steps {
			if strings.HasPrefix(s.Name, x) {
				if n++; !s.OK {
					return false
				}
			}
		}
		if n == 0 {
			return false
		}
	}
	return true
}

// parts sends a wrong and a right part through a presigned URL, as docking stations do, and completes the canary under a lock.
func (p *probe) parts(ctx context.Context) {
	body := []byte("执证存储探测 canary " + p.key)
	wrong := bytes.Clone(body)
	wrong[0] ^= 1
	digest := sha256.Sum256(body)
	sum := base64.StdEncoding.EncodeToString(digest[:])
	p.until = time.Now().Add(p.o.LockFor).UTC().Truncate(time.Second)
	up, err := p.NewMultipartUpload(ctx, p.o.Bucket, p.key, minio.PutObjectOptions{
		Mode: minio.Compliance, RetainUntilDate: p.until,
		UserMetadata: map[string]string{"X-Amz-Checksum-Algorithm": "SHA256", "X-Amz-Checksum-Type": "COMPOSITE"},
	})
	if !p.note("part-upload", "接受带 SHA-256 校验与锁定的分段上传", err == nil, "%v", said(err)) {
		return
	}
	done := false
	defer func() {
		if !done {
			if err := p.AbortMultipartUpload(ctx, p.o.Bucket, p.key, up); err != nil {
				p.note("clean-abort", "放弃未完成的探测上传", false, "%v", said(err))
			}
		}
	}()
	status, err := p.send(ctx, up, sum, wrong)
	p.note("part-wrong", "拒绝校验值不符的分段", err == nil && status/100 == 4, "%d %v", status, said(err))
	stored, err := p.ListObjectParts(ctx, p.o.Bucket, p.key, up, 0, 10)
	p.note("part-not-kept", "不保留被拒绝的分段", err == nil && len(stored.ObjectParts) == 0, "%d parts, %v", len(stored.ObjectParts), said(err))
	status, err = p.send(ctx, up, sum, body)
	if !p.note("part-right", "接受校验值相符的分段", err == nil && status == http.StatusOK, "%d %v", status, said(err)) {
		return
	}
	stored, err = p.ListObjectParts(ctx, p.o.Bucket, p.key, up, 0, 10)
	if !p.note("part-listed", "列出已存分段", err == nil && len(stored.ObjectParts) == 1, "%d parts, %v", len(stored.ObjectParts), said(err)) {
		return
	}
	_, err = p.CompleteMultipartUpload(ctx, p.o.Bucket, p.key, up, []minio.CompletePart{
		{PartNumber: 1, ETag: stored.ObjectParts[0].ETag, ChecksumSHA256: sum}}, minio.PutObjectOptions{})
	if done = p.note("part-complete", "完成分段上传", err == nil, "%v", said(err)); !done {
		return
	}
	o, err := p.StatObject(ctx, p.o.Bucket, p.key, minio.StatObjectOptions{Checksum: true})
	if err != nil {
		p.note("composite-shown", "HEAD 返回组合校验值", false, "%v", said(err))
		return
	}
	p.version = o.VersionID
	whole := sha256.Sum256(digest[:])
	want := base64.StdEncoding.EncodeToString(whole[:])
	p.note("composite-shown", "HEAD 返回组合校验值", strings.TrimSuffix(o.ChecksumSHA256, "-1") == want && o.Size == int64(len(body)),
		"%q, %d bytes", o.ChecksumSHA256, o.Size)
	mode, until := lockOf(o)
	p.locked = p.note("upload-locked", "分段上传时的锁定生效（否则在封存时才锁定）", mode == "COMPLIANCE" && !until.Before(p.until), "%q until %s", mode, until.Format(time.RFC3339))
}

// lockOf reads the lock off a HEAD; the client's own call for it fails on one store that keeps locks well.
func lockOf(o minio.ObjectInfo) (mode string, until time.Time) {
	until, err := time.Parse(time.RFC3339, o.Metadata.Get("X-Amz-Object-Lock-Retain-Until-Date"))
	if err != nil {
		return o.Metadata.Get("X-Amz-Object-Lock-Mode"), time.Time{} // a date nobody can read locks nothing
	}
	return o.Metadata.Get("X-Amz-Object-Lock-Mode"), until
}

func (p *probe) send(ctx context.Context, up, sum string, body []byte) (int, error) {
	h := http.Header{"X-Amz-Checksum-Sha256": {sum}}
	u, err := p.PresignHeader(ctx, http.MethodPut, p.o.Bucket, p.key, time.Minute, url.Values{"partNumber": {"1"}, "uploadId": {up}}, h)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, u.String(), bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header = h.Clone()
	res, err := p.http.Do(req)
	if err != nil {
		return 0, err
	}
	_, err = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<20))
	if e := res.Body.Close(); err == nil {
		err = e
	}
	return res.StatusCode, err
}

// locks tries to get rid of the canary. A store that says no is believed only after the canary was seen again.
func (p *probe) locks(ctx context.Context) {
	if p.version == "" {
		p.note("lock-version", "对象有版本号", false, "no canary version to try locks on")
		return
	}
	p.note("lock-version", "对象有版本号", true, "%s", p.version)
	mode := minio.Compliance
	if !p.locked { // as when footage is sealed, which trusts no header of the upload
		err := p.PutObjectRetention(ctx, p.o.Bucket, p.key, minio.PutObjectRetentionOptions{VersionID: p.version, Mode: &mode, RetainUntilDate: &p.until})
		p.note("lock-set", "为已有的对象设置锁定", err == nil, "%v", said(err))
	}
	for _, bypass := range []bool{false, true} {
		err := p.RemoveObject(ctx, p.o.Bucket, p.key, minio.RemoveObjectOptions{VersionID: p.version, GovernanceBypass: bypass})
		p.note("lock-delete-bypass-"+strconv.FormatBool(bypass), "拒绝删除锁定期内的版本", refused(err), "%v", said(err))
	}
	earlier := p.until.Add(-p.o.LockFor / 2)
	err := p.PutObjectRetention(ctx, p.o.Bucket, p.key, minio.PutObjectRetentionOptions{
		VersionID: p.version, Mode: &mode, RetainUntilDate: &earlier, GovernanceBypass: true})
	p.note("lock-shorten", "拒绝缩短锁定期", refused(err), "%v", said(err))
	weaker := minio.Governance
	err = p.PutObjectRetention(ctx, p.o.Bucket, p.key, minio.PutObjectRetentionOptions{
		VersionID: p.version, Mode: &weaker, RetainUntilDate: &p.until, GovernanceBypass: true})
	p.note("lock-weaken", "拒绝降低锁定等级", refused(err), "%v", said(err))
	o, err := p.StatObject(ctx, p.o.Bucket, p.key, minio.StatObjectOptions{VersionID: p.version})
	locked, lockedUntil := lockOf(o)
	p.note("lock-still-there", "上述操作之后对象仍在、锁定未变", err == nil && locked == "COMPLIANCE" && !lockedUntil.Before(p.until),
		"%d bytes, %q until %s, %v", o.Size, locked, lockedUntil.Format(time.RFC3339), said(err))
	_, err = p.Core.PutObject(ctx, p.o.Bucket, p.key, strings.NewReader("x"), 1, "", "", ifAbsent())
	p.note("if-none-match", "If-None-Match 拒绝覆盖已有的键", minio.ToErrorResponse(err).StatusCode == http.StatusPreconditionFailed, "%v", said(err))
}

func ifAbsent() minio.PutObjectOptions {
	var o minio.PutObjectOptions
	o.SetMatchETagExcept("*")
	return o
}

// refused: the store said no. Any other error proves nothing about locks.
func refused(err error) bool {
	s := minio.ToErrorResponse(err).StatusCode
	return err != nil && (s == http.StatusForbidden || s == http.StatusBadRequest || s == http.StatusConflict || s == http.StatusMethodNotAllowed)
}

// clean removes canaries of earlier probes whose lock has ended.
func (p *probe) clean(ctx context.Context) {
	removed, kept := 0, 0
	for o := range p.ListObjectsIter(ctx, p.o.Bucket, minio.ListObjectsOptions{Prefix: "canary/", Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			p.note("clean", "清理以往的探测对象", false, "%v", said(o.Err))
			return
		}
		if o.Key == p.key || time.Since(o.LastModified) < p.o.LockFor {
			continue
		}
		if err := p.RemoveObject(ctx, p.o.Bucket, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID}); err != nil {
			kept++ // another server's canary with a longer lock
			continue
		}
		removed++
	}
	p.note("clean", "清理以往的探测对象", true, "%d removed, %d still locked", removed, kept)
}

// said shortens an answer for the transcript; it holds no address and no signature.
func said(err error) string {
	if err == nil {
		return "ok"
	}
	if r := minio.ToErrorResponse(err); r.Code != "" {
		return strings.TrimSpace(fmt.Sprintf("%d %s", r.StatusCode, r.Code))
	}
	return fmt.Sprintf("%T", err)
}
