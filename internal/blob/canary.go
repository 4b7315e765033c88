package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"zhizheng/internal/id"
)

// Canary is one small locked object that exists to be attacked.
type Canary struct {
	Key, Version string // Key is "" for one that has yet to be planted
	SHA256       [sha256.Size]byte
	Until        time.Time // end of its lock
}

// CanaryResult is what a store did with it.
type CanaryResult struct {
	Canary  Canary // as it is now; to be planted anew when the store let go of it
	Held    bool   // nothing happened to it, as far as the store could be asked
	Asked   bool   // every question was answered
	Planted bool   // now, because there was none
	Steps   []ProbeStep
}

// canaryLock is how long a canary is locked for. The lock is extended, as the platform's own are, when less than half is left.
const canaryLock = 7 * 24 * time.Hour

// canaryTimeout bounds one try; a store that hangs is one that couldn't be asked.
const canaryTimeout = 2 * time.Minute

// TryCanary tries to delete, overwrite, shorten and downgrade the locked object c, alone and in bulk, with the permission to bypass. What
// counts is not what the store says but whether the version is still there afterwards, the same bytes under the same lock. An error
// means that no try was made.
func TryCanary(ctx context.Context, o Options, c Canary) (CanaryResult, error) {
	core, err := independent(o)
	if err != nil {
		return CanaryResult{}, errors.New("try canary: the store's address is no address") // which it doesn't repeat
	}
	ctx, cancel := context.WithTimeout(ctx, canaryTimeout)
	defer cancel()
	t := &canaryTry{core: core, bucket: o.Bucket, c: c, held: true, asked: true}
	planted := c.Key == ""
	if planted {
		err := t.plant(ctx)
		if s := minio.ToErrorResponse(err).StatusCode; s == http.StatusBadRequest || s == http.StatusNotImplemented {
			t.note("canary-planted", "接受带锁定的对象", false, "%s", said(err)) // it says itself that it locks nothing
			return CanaryResult{Asked: true, Steps: t.steps}, nil
		}
		if err != nil {
			return CanaryResult{}, fmt.Errorf("plant canary: %s", said(err)) // the error itself may hold an address
		}
	}
	if t.present(ctx) {
		t.deletions(ctx)
		t.weakenings(ctx)
		t.replacements(ctx)
	}
	if t.held && t.asked {
		t.extend(ctx)
	}
	t.clean(ctx)
	if !t.held {
		t.c.Key = ""
	}
	return CanaryResult{Canary: t.c, Held: t.held, Asked: t.asked, Planted: planted, Steps: t.steps}, nil
}

type canaryTry struct {
	transcript
	core   *minio.Core
	bucket string
	c      Canary
	held   bool
	asked  bool
}

func canaryBody(key string) []byte { return []byte("执证锁定试探 canary " + key) }

// plant stores a new one.
func (t *canaryTry) plant(ctx context.Context) error {
	key := "canary/worm/" + id.New()
	body := canaryBody(key)
	sum := sha256.Sum256(body)
	o := ifAbsent()
	o.Mode, o.RetainUntilDate = minio.Compliance, lockEnd(time.Now())
	up, err := t.core.PutObject(ctx, t.bucket, key, bytes.NewReader(body), int64(len(body)), "", hex.EncodeToString(sum[:]), o)
	if err != nil {
		return err
	}
	t.c = Canary{Key: key, Version: up.VersionID, SHA256: sum, Until: o.RetainUntilDate}
	return nil
}

func lockEnd(now time.Time) time.Time { return now.Add(canaryLock).UTC().Truncate(time.Second) }

// intact looks at the version: the same bytes, still locked as before.
func (t *canaryTry) intact(ctx context.Context) (whole, asked bool, got string) {
	o, err := t.core.StatObject(ctx, t.bucket, t.c.Key, minio.StatObjectOptions{VersionID: t.c.Version})
	if err != nil {
		return false, gone(err), said(err)
	}
	mode, until := lockOf(o)
	body, _, _, err := t.core.GetObject(ctx, t.bucket, t.c.Key, minio.GetObjectOptions{VersionID: t.c.Version})
	if err != nil {
		return false, gone(err), said(err)
	}
	b, err := io.ReadAll(io.LimitReader(body, 1<<16))
	if cerr := body.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return false, false, said(err)
	}
	got = fmt.Sprintf("%d bytes, %q until %s", len(b), mode, until.Format(time.RFC3339))
	return t.c.Version != "" && sha256.Sum256(b) == t.c.SHA256 && mode == string(minio.Compliance) && !until.Before(t.c.Until), true, got
}

// gone: the store says that the version isn't there. Any other error says nothing about it.
func gone(err error) bool {
	s := minio.ToErrorResponse(err).StatusCode
	return s == http.StatusNotFound || s == http.StatusMethodNotAllowed // a deletion marker answers 405
}

// present begins: what isn't there under its lock can't be defended.
func (t *canaryTry) present(ctx context.Context) bool {
	whole, asked, got := t.intact(ctx)
	return t.judge("canary-present", "试探对象在，锁定未变", nil, true, whole, asked, got)
}

// after notes an act: the answer to it, and what became of the version. tolerated acts may succeed, the version just has to survive.
func (t *canaryTry) after(ctx context.Context, name, text string, err error, tolerated bool) {
	whole, asked, got := t.intact(ctx)
	t.judge(name, text, err, tolerated, whole, asked, said(err)+" → "+got)
}

func (t *canaryTry) judge(name, text string, err error, tolerated, whole, asked bool, got string) bool {
	switch {
	case !asked:
		t.asked = false
		return t.note(name, text, false, "未得到回答：%s", got)
	case !whole, err == nil && !tolerated: // gone, or the store says that it did it
		t.held = false
		return t.note(name, text, false, "%s", got)
	case err != nil && !refused(err):
		t.asked = false
		return t.note(name, text, false, "未得到回答：%s", got)
	}
	return t.note(name, text, true, "%s", got)
}

func (t *canaryTry) deletions(ctx context.Context) {
	for _, bypass := range []bool{false, true} {
		err := t.core.RemoveObject(ctx, t.bucket, t.c.Key, minio.RemoveObjectOptions{VersionID: t.c.Version, GovernanceBypass: bypass})
		t.after(ctx, "canary-delete-bypass-"+strconv.FormatBool(bypass), "拒绝删除锁定的版本"+withBypass(bypass), err, false)
	}
	for _, bypass := range []bool{false, true} {
		t.after(ctx, "canary-bulk-delete-bypass-"+strconv.FormatBool(bypass), "拒绝批量删除锁定的版本"+withBypass(bypass), t.bulkDelete(ctx, bypass), false)
	}
}

func withBypass(on bool) string {
	if on {
		return "（带绕过权限）"
	}
	return ""
}

// bulkDelete gives the error of the version, which a store tells inside an answer of 200.
func (t *canaryTry) bulkDelete(ctx context.Context, bypass bool) error {
	objects := make(chan minio.ObjectInfo, 1)
	objects <- minio.ObjectInfo{Key: t.c.Key, VersionID: t.c.Version}
	close(objects)
	var first error
	for r := range t.core.RemoveObjects(ctx, t.bucket, objects, minio.RemoveObjectsOptions{GovernanceBypass: bypass}) {
		if first == nil {
			first = ofOneObject(r.Err)
		}
	}
	return first
}

// ofOneObject gives an object's own error the status that it would have had as an answer.
func ofOneObject(err error) error {
	r := minio.ToErrorResponse(err)
	if r.Code == "" || r.StatusCode != 0 {
		return err
	}
	switch r.Code {
	case "InternalError", "SlowDown", "ServiceUnavailable":
		r.StatusCode = http.StatusServiceUnavailable
	default:
		r.StatusCode = http.StatusForbidden
	}
	return r
}

func (t *canaryTry) weakenings(ctx context.Context) {
	compliance, governance := minio.Compliance, minio.Governance
	earlier := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	for _, x := range []struct {
		name, text string
		mode       *minio.RetentionMode
		until      *time.Time
	}{
		{"canary-shorten", "拒绝缩短锁定期", &compliance, &earlier},
		{"canary-weaken", "拒绝把合规锁降为可绕过的锁", &governance, &t.c.Until},
		{"canary-clear", "拒绝取消锁定", nil, nil},
	} {
		err := t.core.PutObjectRetention(ctx, t.bucket, t.c.Key, minio.PutObjectRetentionOptions{VersionID: t.c.Version, Mode: x.mode,
			RetainUntilDate: x.until, GovernanceBypass: true})
		t.after(ctx, x.name, x.text, err, false)
	}
}

// replacements may succeed: they make a new version or a deletion marker, under which the locked version must still be readable.
func (t *canaryTry) replacements(ctx context.Context) {
	other := []byte("其他内容 " + id.New())
	sum := sha256.Sum256(other)
	_, err := t.core.PutObject(ctx, t.bucket, t.c.Key, bytes.NewReader(other), int64(len(other)), "", hex.EncodeToString(sum[:]), minio.PutObjectOptions{})
	t.after(ctx, "canary-overwrite", "覆盖同名对象后，锁定的版本仍是原字节", err, true)
	err = t.core.RemoveObject(ctx, t.bucket, t.c.Key, minio.RemoveObjectOptions{})
	t.after(ctx, "canary-delete-marker", "不指明版本地删除后，锁定的版本仍可读", err, true)
}

func (t *canaryTry) extend(ctx context.Context) {
	now := time.Now()
	if t.c.Until.Sub(now) > canaryLock/2 {
		return
	}
	mode, until := minio.Compliance, lockEnd(now)
	err := t.core.PutObjectRetention(ctx, t.bucket, t.c.Key, minio.PutObjectRetentionOptions{VersionID: t.c.Version, Mode: &mode, RetainUntilDate: &until})
	if !t.note("canary-extend", "接受延长锁定期", err == nil, "%s", said(err)) {
		t.asked = false // the lock in force still holds; the next try extends it
		return
	}
	t.c.Until = until
}

// clean removes what the replacements left. What stays is removed by the next try.
func (t *canaryTry) clean(ctx context.Context) {
	removed, kept := 0, 0
	for o := range t.core.ListObjectsIter(ctx, t.bucket, minio.ListObjectsOptions{Prefix: t.c.Key, Recursive: true, WithVersions: true}) {
		if o.Err != nil {
			t.note("clean", "清理试探留下的版本", false, "%s", said(o.Err))
			return
		}
		if o.Key != t.c.Key || o.VersionID == t.c.Version {
			continue
		}
		if err := t.core.RemoveObject(ctx, t.bucket, o.Key, minio.RemoveObjectOptions{VersionID: o.VersionID}); err != nil {
			kept++
			continue
		}
		removed++
	}
	t.note("clean", "清理试探留下的版本", true, "%s", strings.TrimSpace(fmt.Sprintf("%d removed, %d kept", removed, kept)))
}
