package embedded_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"zhizheng/internal/blob"
	"zhizheng/internal/embedded"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
)

// serveStore starts the store, says its address and waits to be killed. ZZ_TEST_MINFREE leaves it without room.
func serveStore(dir string) {
	free, _ := strconv.ParseInt(os.Getenv("ZZ_TEST_MINFREE"), 10, 64)
	s, err := embedded.StartS3(context.Background(), embedded.S3Options{Dir: dir, MinFree: free})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	access, secret := s.Credentials()
	fmt.Println("ready", s.Endpoint(), access, secret)
	if os.Getenv("ZZ_TEST_STOP") == "" {
		select {}
	}
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the test closes it
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func startStore(t *testing.T, dir string, env ...string) (server, *blob.Store) {
	t.Helper()
	cmd, w := child(t, "store", dir, env...)
	s, err := blob.Open(t.Context(), blob.Options{Endpoint: w[0], AccessKey: w[1], SecretKey: w[2], Bucket: "evidence"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return cmd, s
}

func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

func sum(b []byte) []byte { d := sha256.Sum256(b); return d[:] }

// send stores one part and reports what the store said; 0 when it was away.
func send(s *blob.Store, key, up string, n int, b []byte) (int, error) {
	url, h, err := s.PresignPart(context.Background(), key, up, int32(n), int64(len(b)), sum(b), time.Minute)
	if err != nil {
		return 0, err
	}
	req, err := http.NewRequest(http.MethodPut, url, bytes.NewReader(b))
	if err != nil {
		return 0, err
	}
	for k, v := range h {
		req.Header[k] = v
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}

func TestStoreSurvivesKillAfterAnswer(t *testing.T) {
	dir := t.TempDir()
	srv, s := startStore(t, dir)
	until := time.Now().Add(time.Minute)
	small, err := s.Put(t.Context(), "small", []byte("poster"), blob.CreateOptions{RetainUntil: until})
	if err != nil {
		t.Fatal(err)
	}
	clip := noise(1, 6<<20)
	up, err := s.CreateUpload(t.Context(), "clip", blob.CreateOptions{RetainUntil: until})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := send(s, "clip", up, 1, clip[:5<<20]); st != 200 {
		t.Fatal(st, err)
	}
	srv.kill(t) // between two parts
	srv, s = startStore(t, dir)
	if got, err := s.Head(t.Context(), "small"); err != nil || !got.RetainUntil.Equal(small.RetainUntil) || got.Version != small.Version {
		t.Fatalf("%+v %v", got, err)
	}
	if st, err := send(s, "clip", up, 2, clip[5<<20:]); st != 200 {
		t.Fatal(st, err)
	}
	parts, err := s.ListParts(t.Context(), "clip", up)
	if err != nil || len(parts) != 2 {
		t.Fatal(parts, err)
	}
	if err := s.Complete(t.Context(), "clip", up, parts); err != nil {
		t.Fatal(err)
	}
	srv.kill(t) // right after the answer
	_, s = startStore(t, dir)
	if got := read(t, s, "clip"); !bytes.Equal(got, clip) {
		t.Fatalf("%d bytes, not the clip", len(got))
	}
}

func read(t *testing.T, s *blob.Store, key string) []byte {
	t.Helper()
	body, err := s.Get(t.Context(), key, "", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The server is killed at varying moments of Complete. Whatever moment it was: after the restart either the object is whole, or the
// upload is still there and can be completed.
func TestStoreSurvivesKillInComplete(t *testing.T) {
	dir := t.TempDir()
	clip := noise(2, 40<<20)
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	reopened := 0
	for round := range rounds {
		srv, s := startStore(t, dir)
		key := id.New()
		up, err := s.CreateUpload(t.Context(), key, blob.CreateOptions{RetainUntil: time.Now().Add(time.Minute)})
		if err != nil {
			t.Fatal(err)
		}
		var digests [][]byte
		for n := range 8 {
			part := clip[n*5<<20 : (n+1)*5<<20]
			digests = append(digests, sum(part))
			if st, err := send(s, key, up, n+1, part); st != 200 {
				t.Fatal(st, err)
			}
		}
		parts, err := s.ListParts(t.Context(), key, up)
		if err != nil {
			t.Fatal(err)
		}
		answered := make(chan error, 1)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { answered <- s.Complete(ctx, key, up, parts) }()
		// The first round kills when the upload was claimed, later ones a little after that.
		claimed := filepath.Join(dir, "s3/objects/evidence/.sgwtmp/multipart/*", up+".*.inprogress")
		for end := time.Now().Add(10 * time.Second); ; {
			if m, _ := filepath.Glob(claimed); len(m) > 0 {
				break
			}
			if time.Now().After(end) {
				t.Fatal("the complete never began")
			}
		}
		<-time.After(time.Duration(round) * 60 * time.Millisecond)
		srv.kill(t)
		cancel()
		if m, _ := filepath.Glob(claimed); len(m) > 0 {
			reopened++
		}
		srv, s = startStore(t, dir)
		<-answered // an error or a success that came just in time; Head decides
		if _, err := s.Head(t.Context(), key); fault.Is(err, fault.KindNotFound) {
			if again, err := s.ListParts(t.Context(), key, up); err != nil || len(again) != len(parts) {
				t.Fatalf("round %d: no object and %d parts, %v", round, len(again), err)
			}
			if err := s.Complete(t.Context(), key, up, parts); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		}
		o, err := s.Head(t.Context(), key)
		if err != nil || o.Composite != blob.Composite(digests) || o.Mode != blob.Compliance {
			t.Fatalf("round %d: %+v %v", round, o, err)
		}
		if !bytes.Equal(read(t, s, key), clip) {
			t.Fatalf("round %d: other bytes", round)
		}
		srv.kill(t)
	}
	t.Logf("%d of %d kills left an upload half completed", reopened, rounds)
	if reopened == 0 {
		t.Error("no kill hit Complete: the test proves nothing")
	}
}

func TestStoreWithoutRoom(t *testing.T) {
	dir := t.TempDir()
	srv, s := startStore(t, dir)
	up, err := s.CreateUpload(t.Context(), "clip", blob.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	srv.kill(t)
	_, s = startStore(t, dir, "ZZ_TEST_MINFREE="+strconv.FormatInt(1<<60, 10))
	if _, err := s.Put(t.Context(), "x", []byte("x"), blob.CreateOptions{}); !fault.Is(err, fault.KindStorageFull) {
		t.Errorf("put: %v", err)
	}
	if _, err := s.CreateUpload(t.Context(), "y", blob.CreateOptions{}); !fault.Is(err, fault.KindStorageFull) {
		t.Errorf("create: %v", err)
	}
	if st, err := send(s, "clip", up, 1, noise(3, 100)); st != http.StatusInsufficientStorage {
		t.Errorf("part: %d %v", st, err)
	}
	if _, err := s.Head(t.Context(), "x"); !fault.Is(err, fault.KindNotFound) {
		t.Errorf("head: %v", err)
	}
}

func TestStoreStopsAndIsAlone(t *testing.T) {
	dir := t.TempDir()
	srv, _ := child(t, "store", dir, "ZZ_TEST_STOP=1")
	second := exec.Command(os.Args[0])
	second.Env = append(os.Environ(), "ZZ_TEST_ROLE=store", "ZZ_TEST_DIR="+dir)
	if out, err := second.CombinedOutput(); err == nil || !strings.Contains(string(out), "another server") {
		t.Errorf("a second store on one folder: %v %s", err, out)
	}
	begun := time.Now()
	if err := srv.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := srv.Wait(); err != nil {
		t.Fatalf("stop: %v", err)
	}
	t.Log("stopped in", time.Since(begun))
	_, _ = child(t, "store", dir) // the folder is free again
}
