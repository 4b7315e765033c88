package blob_test

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	miniocreds "github.com/minio/minio-go/v7/pkg/credentials"

	"zhizheng/internal/blob"
	"zhizheng/internal/testenv"
)

// A delete marker hides an object from readers, not from who asks for versions.
func TestVersionsShowWhatMarkersHide(t *testing.T) {
	o := testenv.StoreOptions(t)
	s, err := blob.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	lock := blob.CreateOptions{RetainUntil: time.Now().Add(time.Minute)}
	for i := range 5 {
		if _, err := s.Put(t.Context(), fmt.Sprintf("log/c/%03d", i), []byte{byte(i)}, lock); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Put(t.Context(), "log/d", nil, lock); err != nil {
		t.Fatal(err)
	}
	c, err := minio.New(o.Endpoint[len("http://"):], &minio.Options{Creds: miniocreds.NewStaticV4(o.AccessKey, o.SecretKey, ""), Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"log/c/003", "log/c/004"} {
		if err := c.RemoveObject(t.Context(), o.Bucket, k, minio.RemoveObjectOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Head(t.Context(), "log/c/004"); err == nil {
		t.Fatal("the marker hides nothing")
	}
	vs, _, err := s.Versions(t.Context(), "log/c/", "", 1000)
	if err != nil || len(vs) != 5 || vs[4].Key != "log/c/004" {
		t.Fatalf("%v %v", vs, err)
	}
	body, err := s.Get(t.Context(), vs[4].Key, vs[4].Version, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(body)
	if err != nil || len(b) != 1 || b[0] != 4 || body.Close() != nil {
		t.Fatalf("%v %v", b, err)
	}
	for after, want := range map[string]int{"log/c/000": 4, "log/c/002": 2, "log/c/003": 1, "log/c/0035": 1, "log/c/004": 0, "log/c/9": 0} {
		if vs, _, err := s.Versions(t.Context(), "log/c/", after, 1000); err != nil || len(vs) != want {
			t.Errorf("behind %s: %v %v", after, vs, err)
		}
	}
	if vs, more, err := s.Versions(t.Context(), "log/c/", "log/c/000", 1); err != nil || !more || len(vs) != 1 || vs[0].Key != "log/c/001" {
		t.Errorf("one behind: %v %v", vs, err)
	}
	if vs, _, err := s.Versions(t.Context(), "log/none/", "", 1); err != nil || len(vs) != 0 {
		t.Errorf("none: %v %v", vs, err)
	}
}
