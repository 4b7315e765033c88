package blob_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"zhizheng/internal/blob"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
	"zhizheng/internal/testenv"
)

const mib = 1 << 20

func random(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(b)
	return b
}

func digest(b []byte) []byte { d := sha256.Sum256(b); return d[:] }

// put sends bytes to a presigned URL as a docking station does.
func put(t testing.TB, url string, h http.Header, body []byte) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPut, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range h {
		req.Header[k] = v
	}
	if len(body) == 0 {
		req.Body = http.NoBody
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// upload stores parts under a fresh key and completes them.
func upload(t testing.TB, s *blob.Store, o blob.CreateOptions, parts ...[]byte) (key string, again func() error) {
	t.Helper()
	key = id.New()
	up, err := s.CreateUpload(context.Background(), key, o)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range parts {
		url, h, err := s.PresignPart(context.Background(), key, up, int32(i+1), int64(len(p)), digest(p), time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if res := put(t, url, h, p); res.StatusCode != 200 {
			b, _ := io.ReadAll(res.Body)
			t.Fatalf("part %d: %s %s", i+1, res.Status, b)
		}
	}
	stored, err := s.ListParts(context.Background(), key, up)
	if err != nil {
		t.Fatal(err)
	}
	if len(stored) != len(parts) {
		t.Fatalf("%d parts are stored, %d were sent", len(stored), len(parts))
	}
	if err := s.Complete(context.Background(), key, up, stored); err != nil {
		t.Fatal(err)
	}
	return key, func() error { return s.Complete(context.Background(), key, up, stored) }
}

func TestUploadInParts(t *testing.T) {
	s := testenv.Store(t)
	all := random(11 * mib)
	parts := [][]byte{all[:5*mib], all[5*mib : 10*mib], all[10*mib:]}
	until := time.Now().Add(time.Minute)
	key, completeAgain := upload(t, s, blob.CreateOptions{ContentType: "video/mp4", RetainUntil: until}, parts...)

	o, err := s.Head(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	want := blob.Composite([][]byte{digest(parts[0]), digest(parts[1]), digest(parts[2])})
	if o.Size != int64(len(all)) || o.Composite != want || o.ContentType != "video/mp4" || o.Version == "" {
		t.Fatalf("head: %+v, composite should be %s", o, want)
	}
	if o.Mode != blob.Compliance || o.RetainUntil.Before(until) || o.RetainUntil.After(until.Add(time.Second)) {
		t.Fatalf("lock: %s until %s, asked for %s", o.Mode, o.RetainUntil, until)
	}
	for _, r := range [][2]int64{{0, -1}, {3, 10}, {5*mib - 1, 2}, {11*mib - 1, -1}, {7, 0}} {
		body, err := s.Get(t.Context(), key, o.Version, r[0], r[1])
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		_ = body.Close()
		end := int64(len(all))
		if r[1] >= 0 {
			end = r[0] + r[1]
		}
		if err != nil || !bytes.Equal(got, all[r[0]:end]) {
			t.Fatalf("range %v: %d bytes, %v", r, len(got), err)
		}
	}
	if _, err := s.Get(t.Context(), key, "", 12*mib, 1); !fault.Is(err, fault.KindInvalid) {
		t.Fatalf("a range behind the end: %v", err)
	}
	// A complete that is tried again, as after a lost answer: whatever it says, the object is as it was.
	t.Log("complete again:", completeAgain())
	if again, err := s.Head(t.Context(), key); err != nil || !reflect.DeepEqual(again, o) {
		t.Fatalf("after a second complete: %+v %v", again, err)
	}
}

func TestPartOfWrongBytesIsRefused(t *testing.T) {
	s := testenv.Store(t)
	key := id.New()
	up, err := s.CreateUpload(t.Context(), key, blob.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	good := random(64 << 10)
	url, h, err := s.PresignPart(t.Context(), key, up, 1, int64(len(good)), digest(good), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(good)
	bad[777] ^= 1
	without, other := h.Clone(), h.Clone()
	without.Del("X-Amz-Checksum-Sha256")
	other["X-Amz-Checksum-Sha256"] = []string{"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="}
	for what, res := range map[string]*http.Response{
		"flipped bit":             put(t, url, h, bad),
		"shorter":                 put(t, url, h, good[:len(good)-1]),
		"longer":                  put(t, url, h, append(bytes.Clone(good), 0)),
		"checksum left out":       put(t, url, without, bad),
		"another checksum":        put(t, url, other, nil),
		"another part number":     put(t, strings.Replace(url, "partNumber=1", "partNumber=2", 1), h, good),
		"another key":             put(t, strings.Replace(url, key, id.New(), 1), h, good),
		"a signature that is cut": put(t, url[:len(url)-1], h, good),
	} {
		if res.StatusCode/100 != 4 {
			t.Errorf("%s: %s", what, res.Status)
		}
	}
	if parts, err := s.ListParts(t.Context(), key, up); err != nil || len(parts) != 0 {
		t.Fatalf("stored: %v %v", parts, err)
	}
	for range 2 { // sent twice, stored once
		if res := put(t, url, h, good); res.StatusCode != 200 {
			t.Fatalf("the right bytes: %s", res.Status)
		}
	}
	parts, err := s.ListParts(t.Context(), key, up)
	if err != nil || len(parts) != 1 || !bytes.Equal(parts[0].SHA256, digest(good)) || parts[0].Size != int64(len(good)) {
		t.Fatalf("stored: %v %v", parts, err)
	}
	missing := append(parts, blob.Part{Number: 2, SHA256: digest(nil), ETag: parts[0].ETag})
	if err := s.Complete(t.Context(), key, up, missing); !fault.Is(err, fault.KindConflict) {
		t.Fatalf("complete with a part that is not there: %v", err)
	}
	if err := s.Abort(t.Context(), key, up); err != nil {
		t.Fatal(err)
	}
	if err := s.Abort(t.Context(), key, up); err != nil {
		t.Fatalf("abort again: %v", err)
	}
	if _, err := s.ListParts(t.Context(), key, up); !fault.Is(err, fault.KindNotFound) {
		t.Fatalf("parts of an upload given up: %v", err)
	}
	if _, err := s.Head(t.Context(), key); !fault.Is(err, fault.KindNotFound) {
		t.Fatalf("head of nothing: %v", err)
	}
}

func TestFileOfNoBytes(t *testing.T) {
	s := testenv.Store(t)
	until := time.Now().Add(time.Minute)
	key, _ := upload(t, s, blob.CreateOptions{RetainUntil: until}, nil)
	o, err := s.Head(t.Context(), key)
	if err != nil || o.Size != 0 || o.Composite != blob.Composite([][]byte{digest(nil)}) || o.Mode != blob.Compliance {
		t.Fatalf("one empty part: %+v %v", o, err)
	}
	key = id.New()
	o, err = s.Put(t.Context(), key, nil, blob.CreateOptions{RetainUntil: until})
	if err != nil || o.Size != 0 || !bytes.Equal(o.SHA256, digest(nil)) || o.Mode != blob.Compliance || o.RetainUntil.Before(until) {
		t.Fatalf("an empty put: %+v %v", o, err)
	}
	if _, err := s.Put(t.Context(), key, []byte("other"), blob.CreateOptions{}); !fault.Is(err, fault.KindConflict) {
		t.Fatalf("a key that is taken: %v", err)
	}
}

func TestLocksAndHolds(t *testing.T) {
	s := testenv.Store(t)
	until := time.Now().Add(30 * time.Second)
	key, _ := upload(t, s, blob.CreateOptions{RetainUntil: until}, []byte("a clip"))
	o, err := s.Head(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	later := until.Add(time.Hour)
	if err := s.ExtendRetention(t.Context(), key, o.Version, later); err != nil {
		t.Fatal(err)
	}
	if err := s.ExtendRetention(t.Context(), key, o.Version, until); !fault.Is(err, fault.KindForbidden) {
		t.Fatalf("making the lock shorter: %v", err)
	}
	if err := s.SetHold(t.Context(), key, o.Version, true); err != nil {
		t.Fatal(err)
	}
	o, err = s.HeadVersion(t.Context(), key, o.Version)
	if err != nil || !o.Hold || o.RetainUntil.Before(later) {
		t.Fatalf("%+v %v", o, err)
	}
	if err := s.SetHold(t.Context(), key, o.Version, false); err != nil {
		t.Fatal(err)
	}
	if o, err = s.Head(t.Context(), key); err != nil || o.Hold {
		t.Fatalf("%+v %v", o, err)
	}
}

func TestPresignedReadAndAwayStore(t *testing.T) {
	s := testenv.Store(t)
	key := id.New()
	o, err := s.Put(t.Context(), key, []byte("poster"), blob.CreateOptions{ContentType: "image/jpeg"})
	if err != nil {
		t.Fatal(err)
	}
	url, err := s.PresignGet(t.Context(), key, o.Version, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if b, err := io.ReadAll(res.Body); err != nil || string(b) != "poster" || res.Header.Get("Content-Type") != "image/jpeg" {
		t.Fatalf("%s %q %v", res.Status, b, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err = blob.Open(ctx, blob.Options{Endpoint: "http://127.0.0.1:1", Bucket: "x", AccessKey: "a", SecretKey: "b"})
	if !fault.Is(err, fault.KindUnavailable) {
		t.Fatalf("a store that is away: %v", err)
	}
	if ctx.Err() != nil {
		t.Fatal("retries are not bounded")
	}
}
