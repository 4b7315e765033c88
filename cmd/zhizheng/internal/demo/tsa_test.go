package demo

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"zhizheng/evidence/stamp"
	"zhizheng/evidence/stamp/tsa"
)

// The example authority's tokens pass the strict checks and openssl's, and its root stays over starts.
func TestExampleAuthority(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo-tsa")
	digest := sha256.Sum256([]byte("checkpoint"))
	var token []byte
	for range 2 {
		a, err := OpenTSA(dir, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- a.Run(ctx) }()
		nonce := stamp.NewNonce()
		request, err := stamp.Request(digest, nonce)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := tsa.Client{}.Ask(t.Context(), a.URL(), request)
		if err != nil {
			t.Fatal(err)
		}
		fresh, err := stamp.Token(answer)
		if err != nil {
			t.Fatal(err)
		}
		if info, err := stamp.Verify(fresh, digest, nonce, a.Roots()); err != nil || time.Since(info.GenTime) > time.Minute || info.Accuracy != time.Second {
			t.Fatal(info, err)
		}
		if token != nil {
			if _, err := stamp.Verify(token, digest, nil, a.Roots()); err != nil {
				t.Errorf("the token of the first start: %v", err)
			}
		}
		token = fresh
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	path := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(path, token, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "openssl", "ts", "-verify", "-in", path, "-token_in", "-digest", hex.EncodeToString(digest[:]), "-CAfile", filepath.Join(dir, TSARootFile))
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
