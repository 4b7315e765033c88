package blob

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"sort"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
)

// Part is one stored part of an upload.
type Part struct {
	Number int32
	Size   int64
	SHA256 []byte // nil when the store doesn't tell
	ETag   string
	At     time.Time // when it arrived
}

// Composite is the checksum a store shows for an object made of parts with these digests: "base64(SHA-256(d1|d2|…))-N".
func Composite(digests [][]byte) string {
	h := sha256.New()
	for _, d := range digests {
		h.Write(d)
	}
	return base64.StdEncoding.EncodeToString(h.Sum(nil)) + "-" + strconv.Itoa(len(digests))
}

// CreateUpload begins an upload in parts with composite SHA-256. The lock it names holds from the completion on.
func (s *Store) CreateUpload(ctx context.Context, key string, o CreateOptions) (uploadID string, err error) {
	in := &s3.CreateMultipartUploadInput{
		Bucket: &s.bucket, Key: &key, ChecksumAlgorithm: types.ChecksumAlgorithmSha256, ChecksumType: types.ChecksumTypeComposite,
		ObjectLockMode: o.mode(), ObjectLockRetainUntilDate: o.until(),
	}
	if o.ContentType != "" {
		in.ContentType = &o.ContentType
	}
	out, err := s.client.CreateMultipartUpload(ctx, in)
	if err != nil {
		return "", mapErr("create upload", err)
	}
	return aws.ToString(out.UploadId), nil
}

// PresignPart gives a URL that stores exactly these bytes as one part: length and SHA-256 are signed, and the store verifies them. The
// caller sends the returned headers with it. A file of 0 bytes is one part of 0 bytes.
func (s *Store) PresignPart(ctx context.Context, key, uploadID string, part int32, size int64, sum []byte, expires time.Duration) (string, http.Header, error) {
	if len(sum) != sha256.Size || part < 1 || part > 10000 || size < 0 {
		return "", nil, fmt.Errorf("presign part %d: size %d and a digest of %d bytes make no part", part, size, len(sum))
	}
	q := url.Values{"partNumber": {strconv.Itoa(int(part))}, "uploadId": {uploadID}}
	h := http.Header{}
	h.Set("X-Amz-Checksum-Sha256", base64.StdEncoding.EncodeToString(sum))
	payload := "UNSIGNED-PAYLOAD"
	if s.o.SignPayload {
		payload = hex.EncodeToString(sum)
		h.Set("X-Amz-Content-Sha256", payload)
	}
	return s.presign(ctx, http.MethodPut, key, q, h, size, payload, expires)
}

// presign signs with header hoisting as the SDK does, against the public address.
func (s *Store) presign(ctx context.Context, method, key string, q url.Values, h http.Header, size int64, payload string, expires time.Duration) (string, http.Header, error) {
	creds, err := s.creds.Retrieve(ctx)
	if err != nil {
		return "", nil, err
	}
	u, err := url.Parse(s.o.PublicEndpoint)
	if err != nil {
		return "", nil, err
	}
	u = u.JoinPath(s.bucket)
	u.Path += "/" + key
	u.RawPath = "" // Path alone: keys are escaped once, by URL
	q.Set("X-Amz-Expires", strconv.FormatInt(int64(expires/time.Second), 10))
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return "", nil, err
	}
	for k, v := range h {
		req.Header[k] = v
	}
	if method == http.MethodPut {
		// The signer leaves a length of 0 out, and the header is what every store checks.
		req.Header.Set("Content-Length", strconv.FormatInt(size, 10))
	}
	signed, header, err := v4.NewSigner().PresignHTTP(ctx, creds, req, payload, "s3", s.o.Region, time.Now(), func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = true
	})
	if err != nil {
		return "", nil, fmt.Errorf("presign: %w", err)
	}
	header.Del("Host")
	return signed, header, nil
}

// ListParts gives what the store holds of an upload, by number; of a part sent twice the newest. NotFound when the store doesn't know the
// upload (any more).
func (s *Store) ListParts(ctx context.Context, key, uploadID string) ([]Part, error) {
	byNumber := map[int32]Part{}
	p := s3.NewListPartsPaginator(s.client, &s3.ListPartsInput{Bucket: &s.bucket, Key: &key, UploadId: &uploadID})
	for p.HasMorePages() {
		page, err := p.NextPage(ctx)
		if err != nil {
			return nil, mapErr("list parts", err)
		}
		for _, x := range page.Parts {
			d := Part{Number: aws.ToInt32(x.PartNumber), Size: aws.ToInt64(x.Size), ETag: aws.ToString(x.ETag), At: aws.ToTime(x.LastModified)}
			if raw, err := base64.StdEncoding.DecodeString(aws.ToString(x.ChecksumSHA256)); err == nil && len(raw) == sha256.Size {
				d.SHA256 = raw
			}
			if old, ok := byNumber[d.Number]; !ok || !d.At.Before(old.At) {
				byNumber[d.Number] = d
			}
		}
	}
	parts := make([]Part, 0, len(byNumber))
	for _, d := range byNumber {
		parts = append(parts, d)
	}
	sort.Slice(parts, func(i, j int) bool { return parts[i].Number < parts[j].Number })
	return parts, nil
}

// Complete makes the object of the parts, in their order; each needs its ETag and SHA-256. Its answer is no proof, nor is its failure: Head
// decides. NotFound: the upload is gone, perhaps because it was completed. Conflict: the key is taken, or a part is not as named.
func (s *Store) Complete(ctx context.Context, key, uploadID string, parts []Part) error {
	var size int64
	done := make([]types.CompletedPart, len(parts))
	for i, p := range parts {
		size += p.Size
		done[i] = types.CompletedPart{PartNumber: aws.Int32(p.Number), ETag: aws.String(p.ETag),
			ChecksumSHA256: aws.String(base64.StdEncoding.EncodeToString(p.SHA256))}
	}
	in := &s3.CompleteMultipartUploadInput{
		Bucket: &s.bucket, Key: &key, UploadId: &uploadID, ChecksumType: types.ChecksumTypeComposite, IfNoneMatch: aws.String("*"),
		MpuObjectSize: aws.Int64(size), MultipartUpload: &types.CompletedMultipartUpload{Parts: done},
	}
	_, err := s.slow.CompleteMultipartUpload(ctx, in)
	if c := code(err); c == "NotImplemented" || c == "InvalidArgument" {
		// A store without conditional completes or without the size header; keys are never used twice and Head checks the size.
		in.IfNoneMatch, in.MpuObjectSize = nil, nil
		_, err = s.slow.CompleteMultipartUpload(ctx, in)
	}
	return mapErr("complete upload", err)
}

// Abort gives an upload up and frees its parts. An upload that is gone is no error.
func (s *Store) Abort(ctx context.Context, key, uploadID string) error {
	_, err := s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &s.bucket, Key: &key, UploadId: &uploadID})
	if code(err) == "NoSuchUpload" {
		return nil
	}
	return mapErr("abort upload", err)
}

// OpenUpload is one that was begun and neither completed nor given up.
type OpenUpload struct {
	Key, ID string
	Begun   time.Time
}

// OpenUploads lists those of keys that begin with prefix.
func (s *Store) OpenUploads(ctx context.Context, prefix string) (all []OpenUpload, err error) {
	p := s3.NewListMultipartUploadsPaginator(s.client, &s3.ListMultipartUploadsInput{Bucket: &s.bucket, Prefix: &prefix})
	for p.HasMorePages() {
		page, err := p.NextPage(ctx)
		if err != nil {
			return nil, mapErr("list uploads", err)
		}
		for _, u := range page.Uploads {
			all = append(all, OpenUpload{Key: aws.ToString(u.Key), ID: aws.ToString(u.UploadId), Begun: aws.ToTime(u.Initiated)})
		}
	}
	return all, nil
}
