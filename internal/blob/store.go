// Package blob owns the way to the object store, whichever S3 it is. It promises bounded retries, errors as faults, and that a part
// goes to the store only with the checksum it was announced with. It never judges a store by its brand: Probe asks it. It never
// decides whether an upload is whole: Head gives size and checksum, the caller compares.
//
// Read store.go (opening, single requests), upload.go (uploads in parts), probe.go (what the store can prove), canary.go
// (whether it still keeps what is locked).
package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"zhizheng/internal/fault"
)

// Options say which store and bucket.
type Options struct {
	Endpoint       string // http(s)://host:port; "" means AWS
	PublicEndpoint string // as docking stations reach it, for presigned part URLs; "" means Endpoint
	Bucket         string
	Region         string // "" means us-east-1
	AccessKey      string
	SecretKey      string
	// SignPayload binds presigned parts by x-amz-content-sha256 too, for stores that ignore checksum headers on presigned requests.
	// Stores that verify those may refuse it; the embedded one does.
	SignPayload bool
}

// Store is one bucket with Object Lock. Safe for concurrent use.
type Store struct {
	o      Options
	bucket string
	client *s3.Client
	slow   *s3.Client // for Complete: some stores copy every byte before they answer
	http   *http.Transport
	creds  aws.CredentialsProvider
}

// Mode is the kind of lock.
type Mode string

// Compliance can't be lifted by anyone before its time; Governance can, with a special permission.
const (
	Compliance Mode = "COMPLIANCE"
	Governance Mode = "GOVERNANCE"
)

// CreateOptions describe a new object. A zero RetainUntil sets no lock, an empty Mode means Compliance.
type CreateOptions struct {
	ContentType string
	RetainUntil time.Time
	Mode        Mode
}

func (o CreateOptions) mode() types.ObjectLockMode {
	if o.RetainUntil.IsZero() {
		return ""
	}
	if o.Mode == "" {
		return types.ObjectLockModeCompliance
	}
	return types.ObjectLockMode(o.Mode)
}

func (o CreateOptions) until() *time.Time {
	if o.RetainUntil.IsZero() {
		return nil
	}
	// Stores keep whole seconds; cutting would end the lock early.
	t := o.RetainUntil.UTC().Truncate(time.Second)
	if t.Before(o.RetainUntil) {
		t = t.Add(time.Second)
	}
	return &t
}

// Object is what the store says about one version.
type Object struct {
	Key         string
	Version     string // "" when the bucket keeps no versions
	Size        int64
	ContentType string
	Composite   string // SHA-256 over the part digests, "base64-N"; "" when the object was not made in parts or the store shows none
	SHA256      []byte // of the whole object, when it was put in one request and the store shows it
	Mode        Mode   // "" when not locked
	RetainUntil time.Time
	Hold        bool
	Modified    time.Time
}

// Open connects and makes the bucket with Object Lock when it is absent. A bucket without Object Lock is refused.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Bucket == "" || o.AccessKey == "" || o.SecretKey == "" {
		return nil, errors.New("object store: bucket, access key and secret key are required")
	}
	if o.Region == "" {
		o.Region = "us-east-1"
	}
	if o.PublicEndpoint == "" {
		o.PublicEndpoint = o.Endpoint
	}
	if o.Endpoint == "" {
		o.Endpoint = "https://s3." + o.Region + ".amazonaws.com"
	}
	if o.PublicEndpoint == "" {
		o.PublicEndpoint = o.Endpoint
	}
	for _, e := range []string{o.Endpoint, o.PublicEndpoint} {
		if u, err := url.Parse(e); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("object store: %q is no http(s) address", e)
		}
	}
	s := &Store{o: o, bucket: o.Bucket, creds: credentials.NewStaticCredentialsProvider(o.AccessKey, o.SecretKey, "")}
	s.http = &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		MaxIdleConns:        128,
		MaxIdleConnsPerHost: 64,
		IdleConnTimeout:     60 * time.Second,
		TLSHandshakeTimeout: 5 * time.Second,
		// A store that hangs is away: callers get Unavailable, not a request that never ends.
		ResponseHeaderTimeout: 30 * time.Second,
	}
	slow := s.http.Clone()
	slow.ResponseHeaderTimeout = 30 * time.Minute
	s.client, s.slow = s.newClient(s.http), s.newClient(slow)
	return s, s.ensureBucket(ctx)
}

func (s *Store) newClient(t *http.Transport) *s3.Client {
	return s3.New(s3.Options{
		Region: s.o.Region, Credentials: s.creds, BaseEndpoint: aws.String(s.o.Endpoint), UsePathStyle: true,
		HTTPClient: &http.Client{Transport: t},
		Retryer: retry.NewStandard(func(o *retry.StandardOptions) {
			o.MaxAttempts, o.MaxBackoff = 3, 2*time.Second
			o.RateLimiter = noLimit{}
		}),
		// We name the checksums that matter; the defaults would hash every body once more.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	})
}

// noLimit: the SDK's token bucket would refuse every request for a while after a store was down; three attempts are bound enough.
type noLimit struct{}

func (noLimit) GetToken(context.Context, uint) (func() error, error) {
	return func() error { return nil }, nil
}
func (noLimit) AddTokens(uint) error { return nil }

// Close drops idle connections.
func (s *Store) Close() {
	s.http.CloseIdleConnections()
	if c, ok := s.slow.Options().HTTPClient.(*http.Client); ok {
		c.CloseIdleConnections()
	}
}

// Bucket is the bucket's name.
func (s *Store) Bucket() string { return s.bucket }

func (s *Store) ensureBucket(ctx context.Context) error {
	err := s.Ready(ctx)
	if fault.Is(err, fault.KindNotFound) {
		_, err = s.client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &s.bucket, ObjectLockEnabledForBucket: aws.Bool(true)})
		var mine *types.BucketAlreadyOwnedByYou // another server made it in between
		if errors.As(err, &mine) {
			err = nil
		}
		err = mapErr("create bucket", err)
	}
	if err != nil {
		return err
	}
	lock, err := s.client.GetObjectLockConfiguration(ctx, &s3.GetObjectLockConfigurationInput{Bucket: &s.bucket})
	if err != nil {
		if code(err) == "ObjectLockConfigurationNotFoundError" {
			return fmt.Errorf("bucket %s has no Object Lock; evidence needs a bucket made with it", s.bucket)
		}
		return mapErr("read bucket lock", err)
	}
	if lock.ObjectLockConfiguration == nil || lock.ObjectLockConfiguration.ObjectLockEnabled != types.ObjectLockEnabledEnabled {
		return fmt.Errorf("bucket %s has no Object Lock; evidence needs a bucket made with it", s.bucket)
	}
	return nil
}

// Ready asks the store for the bucket.
func (s *Store) Ready(ctx context.Context) error {
	_, err := s.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &s.bucket})
	return mapErr("reach bucket", err)
}

// Put stores a small object in one request, its SHA-256 checked by the store. A key that is taken answers Conflict: after a lost
// answer, Head decides. Files of 0 bytes may be stored so, or as an upload of one empty part.
func (s *Store) Put(ctx context.Context, key string, body []byte, o CreateOptions) (Object, error) {
	return s.put(ctx, s.client, key, bytes.NewReader(body), int64(len(body)), sha256.Sum256(body), o)
}

// PutFrom is Put for a body that isn't held in memory; S3 takes 5 GiB in one request, and a store answers once it has made them durable.
func (s *Store) PutFrom(ctx context.Context, key string, body io.ReadSeeker, size int64, sum [32]byte, o CreateOptions) (Object, error) {
	return s.put(ctx, s.slow, key, body, size, sum, o)
}

func (s *Store) put(ctx context.Context, client *s3.Client, key string, body io.ReadSeeker, size int64, sum [32]byte, o CreateOptions) (Object, error) {
	in := &s3.PutObjectInput{
		Bucket: &s.bucket, Key: &key, Body: body, ContentLength: &size,
		ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(sum[:])), IfNoneMatch: aws.String("*"),
		ObjectLockMode: o.mode(), ObjectLockRetainUntilDate: o.until(),
	}
	if o.ContentType != "" {
		in.ContentType = &o.ContentType
	}
	out, err := client.PutObject(ctx, in)
	if code(err) == "NotImplemented" { // a store without conditional writes; our keys are never used twice
		in.IfNoneMatch = nil
		if _, err := body.Seek(0, io.SeekStart); err != nil {
			return Object{}, fmt.Errorf("read %s again: %w", key, err)
		}
		out, err = client.PutObject(ctx, in)
	}
	if err != nil {
		return Object{}, mapErr("put object", err)
	}
	return s.HeadVersion(ctx, key, aws.ToString(out.VersionId))
}

// Head describes the newest version of key; NotFound when there is none.
func (s *Store) Head(ctx context.Context, key string) (Object, error) {
	return s.HeadVersion(ctx, key, "")
}

// HeadVersion describes one version of key.
func (s *Store) HeadVersion(ctx context.Context, key, version string) (Object, error) {
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{
		Bucket: &s.bucket, Key: &key, VersionId: optional(version), ChecksumMode: types.ChecksumModeEnabled,
	})
	if err != nil {
		return Object{}, mapErr("head object", err)
	}
	o := Object{
		Key: key, Version: aws.ToString(out.VersionId), Size: aws.ToInt64(out.ContentLength), ContentType: aws.ToString(out.ContentType),
		Mode: Mode(out.ObjectLockMode), RetainUntil: aws.ToTime(out.ObjectLockRetainUntilDate),
		Hold: out.ObjectLockLegalHoldStatus == types.ObjectLockLegalHoldStatusOn, Modified: aws.ToTime(out.LastModified),
	}
	if o.Version == "null" {
		o.Version = ""
	}
	if sum := aws.ToString(out.ChecksumSHA256); strings.Contains(sum, "-") {
		o.Composite = sum
	} else if raw, err := base64.StdEncoding.DecodeString(sum); err == nil && len(raw) == sha256.Size {
		o.SHA256 = raw
	}
	return o, nil
}

// ExtendRetention moves the lock's end later, in Compliance mode. Making it earlier is refused by the store.
func (s *Store) ExtendRetention(ctx context.Context, key, version string, until time.Time) error {
	_, err := s.client.PutObjectRetention(ctx, &s3.PutObjectRetentionInput{
		Bucket: &s.bucket, Key: &key, VersionId: optional(version),
		Retention: &types.ObjectLockRetention{Mode: types.ObjectLockRetentionModeCompliance, RetainUntilDate: CreateOptions{RetainUntil: until}.until()},
	})
	return mapErr("extend retention", err)
}

// SetHold sets or lifts the legal hold of a version.
func (s *Store) SetHold(ctx context.Context, key, version string, on bool) error {
	status := types.ObjectLockLegalHoldStatusOff
	if on {
		status = types.ObjectLockLegalHoldStatusOn
	}
	_, err := s.client.PutObjectLegalHold(ctx, &s3.PutObjectLegalHoldInput{
		Bucket: &s.bucket, Key: &key, VersionId: optional(version), LegalHold: &types.ObjectLockLegalHold{Status: status},
	})
	return mapErr("set legal hold", err)
}

// Delete removes one version of key for good; with version "" in a bucket that keeps versions it only hides the key. What is gone already
// is no error; what is locked is Forbidden.
func (s *Store) Delete(ctx context.Context, key, version string) error {
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.bucket, Key: &key, VersionId: optional(version)})
	if c := code(err); c == "NoSuchKey" || c == "NoSuchVersion" {
		return nil
	}
	return mapErr("delete object", err)
}

// DeleteAll removes every version of key.
func (s *Store) DeleteAll(ctx context.Context, key string) error {
	for {
		vs, _, err := s.Versions(ctx, key, "", 1000)
		if err != nil {
			return err
		}
		found := false
		for _, v := range vs {
			if v.Key != key {
				continue
			}
			found = true
			if err := s.Delete(ctx, key, v.Version); err != nil {
				return err
			}
		}
		if !found {
			return nil
		}
	}
}

// Get reads n bytes of a version from off; n < 0 reads to the end, version "" means the newest. The caller closes it, and keeps ctx
// alive until then.
func (s *Store) Get(ctx context.Context, key, version string, off, n int64) (io.ReadCloser, error) {
	if n == 0 {
		return io.NopCloser(strings.NewReader("")), nil // a range can't say this
	}
	in := &s3.GetObjectInput{Bucket: &s.bucket, Key: &key, VersionId: optional(version)}
	if n > 0 {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", off, off+n-1))
	} else if off > 0 {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", off))
	}
	out, err := s.client.GetObject(ctx, in)
	if err != nil {
		return nil, mapErr("get object", err)
	}
	return out.Body, nil
}

// PresignGet gives a URL that reads one version for a while; version "" means the newest.
func (s *Store) PresignGet(ctx context.Context, key, version string, expires time.Duration) (string, error) {
	q := url.Values{}
	if version != "" {
		q.Set("versionId", version)
	}
	u, _, err := s.presign(ctx, http.MethodGet, key, q, nil, 0, "UNSIGNED-PAYLOAD", expires)
	return u, err
}

func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}
