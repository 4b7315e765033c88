package api_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zhizheng/api"
	"zhizheng/evidence"
	"zhizheng/internal/testcounty"
)

// A leaf tells its place to everyone who reads the log, and what it says only to those who see the whole county.
func TestLeafInDetail(t *testing.T) {
	c := testcounty.New(t)
	c.User("shen", "supervisor")
	c.User("li", "officer", testcounty.Donghe)
	eid := c.Seals("a.mp4", []byte("a"))
	c.Receipt(evidence.SealKey(eid))
	leaf, err := c.Log.ByKey(t.Context(), evidence.SealKey(eid))
	must(t, err)
	at := fmt.Sprint("/api/v1/log/leaves/", leaf.Seq)
	for who, sees := range map[string]bool{"shen": true, "li": false} {
		a := c.SignedIn(who).Get(at)
		var d map[string]any
		must(t, json.Unmarshal(a.Body, &d))
		sum := sha256.Sum256([]byte("a"))
		sentence, _ := d["sentence"].(string)
		if a.Status != http.StatusOK || d["hash"] != hex.EncodeToString(leaf.Hash[:]) || d["erased"] != false || d["proof_steps"] == nil || d["tree_size"].(float64) <= float64(leaf.Seq) {
			t.Fatalf("%s: %d %s", who, a.Status, a.Body)
		}
		if strings.Contains(sentence, hex.EncodeToString(sum[:])) != sees {
			t.Errorf("%s is told %q", who, sentence)
		}
	}
	if a := c.SignedIn("li").Get("/api/v1/log/leaves/999999"); a.Status != http.StatusNotFound {
		t.Errorf("a leaf that isn't there: %d", a.Status)
	}
}

// The verifier's builds are there for anyone, with their digests; nothing else of the folder is.
func TestVerifierDownloads(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "zhizheng-verify"), []byte("build"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "zhizheng"), []byte("server"), 0o755))
	c := testcounty.New(t, func(d *api.Deps) { d.Tools = &api.Tools{Dir: dir} })
	b := c.Browser()
	sum := sha256.Sum256([]byte("build"))
	if a := b.Get("/downloads/SHA256SUMS"); a.Status != http.StatusOK || string(a.Body) != hex.EncodeToString(sum[:])+"  zhizheng-verify\n" {
		t.Errorf("sums: %d %q", a.Status, a.Body)
	}
	if a := b.Get("/downloads/zhizheng-verify"); a.Status != http.StatusOK || string(a.Body) != "build" {
		t.Errorf("build: %d %q", a.Status, a.Body)
	}
	for _, p := range []string{"zhizheng", "zhizheng-verify.exe"} {
		if a := b.Get("/downloads/" + p); a.Status != http.StatusNotFound {
			t.Errorf("%q: %d", p, a.Status)
		}
	}
	for _, p := range []string{"..%2fzhizheng", "%2e%2e/zhizheng", "./zhizheng", "zhizheng%00-verify"} {
		if a := b.Get("/downloads/" + p); string(a.Body) == "server" {
			t.Errorf("%q gives what isn't offered", p)
		}
	}
}
