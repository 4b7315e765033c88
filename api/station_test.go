package api_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"zhizheng/internal/testcounty"
)

// What a station sends is checked before anything is done with it; a session of a person is no station's token.
func TestWhatStationsSend(t *testing.T) {
	c := testcounty.New(t)
	c.User("gao", "admin")
	b := c.Browser()
	b.Header.Set("Authorization", "Bearer "+c.Token())
	many := func(n int, s string) []string { return slices.Repeat([]string{s}, n) }
	b64 := base64.StdEncoding.EncodeToString
	digest := strings.Repeat("ab", 32)
	for _, x := range []struct {
		what, path string
		body       any
		status     int
	}{
		{"no manifests", "/api/v1/manifests", map[string]any{"manifests": []string{}}, 400},
		{"501 manifests", "/api/v1/manifests", map[string]any{"manifests": many(501, "AA==")}, 400},
		{"no base64", "/api/v1/manifests", map[string]any{"manifests": []string{"***"}}, 400},
		{"half of base64", "/api/v1/manifests", map[string]any{"manifests": []string{"AAA"}}, 400},
		{"null", "/api/v1/manifests", map[string]any{"manifests": []any{nil}}, 400},
		{"a number", "/api/v1/manifests", map[string]any{"manifests": []any{7}}, 400},
		{"a manifest too long", "/api/v1/manifests", map[string]any{"manifests": []string{b64(make([]byte, 16385))}}, 400},
		{"an unknown record", "/api/v1/uploads", map[string]any{"evidence_id": "01NONE", "part_size": 5 << 20, "part_sha256": []string{digest}}, 404},
		{"parts of nothing", "/api/v1/uploads", map[string]any{"evidence_id": "01NONE", "part_size": 0, "part_sha256": []string{digest}}, 400},
		{"a digest too short", "/api/v1/uploads", map[string]any{"evidence_id": "01NONE", "part_size": 5 << 20, "part_sha256": []string{digest[2:]}}, 400},
		{"a digest in capitals", "/api/v1/uploads", map[string]any{"evidence_id": "01NONE", "part_size": 5 << 20, "part_sha256": []string{strings.ToUpper(digest)}}, 400},
		{"10,001 parts", "/api/v1/uploads", map[string]any{"evidence_id": "01NONE", "part_size": 5 << 20, "part_sha256": many(10_001, digest)}, 400},
		{"an unknown upload", "/api/v1/uploads/01NONE/complete", map[string]any{}, 404},
	} {
		refusal(t, x.what, b.JSON("POST", x.path, x.body), x.status)
	}
	refusal(t, "an unknown upload", b.Get("/api/v1/uploads/01NONE"), http.StatusNotFound)

	// A batch is answered one by one: what can't be taken is said of that one.
	a := b.JSON("POST", "/api/v1/manifests", map[string]any{"manifests": []string{"", b64([]byte("no manifest")), b64([]byte{0x82, 0x40, 0x40})}})
	var out struct {
		Items []struct{ Status, Code, Error string }
	}
	must(t, json.Unmarshal(a.Body, &out))
	if a.Status != http.StatusOK || len(out.Items) != 3 {
		t.Fatalf("batch: %d %s", a.Status, a.Body)
	}
	for i, r := range out.Items {
		if r.Status != "rejected" || r.Code != "malformed" || r.Error == "" {
			t.Errorf("manifest %d: %+v", i, r)
		}
	}
	// What was refused is kept, and those who look after the stations see it.
	letters := c.SignedIn("gao").Get("/api/v1/dead-letters")
	if letters.Status != http.StatusOK || strings.Count(string(letters.Body), `"malformed`) != 3 {
		t.Errorf("dead letters: %d %s", letters.Status, letters.Body)
	}

	refusal(t, "a person as a station", c.SignedIn("gao").JSON("POST", "/api/v1/manifests", map[string]any{"manifests": []string{"AA=="}}), http.StatusUnauthorized)
	must(t, c.Ingest.Revoke(t.Context(), c.KeyID(), "test", "遗失"))
	refusal(t, "a revoked station", b.JSON("POST", "/api/v1/manifests", map[string]any{"manifests": []string{"AA=="}}), http.StatusUnauthorized)
}
