package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"zhizheng/evidence/bundle"
	"zhizheng/evidence/stamp/stamptest"
)

// Timestamps from the command line: judged with roots, told and not judged without, refused with somebody else's.
func TestTimestampsFromTheCommandLine(t *testing.T) {
	dir := filepath.Join("..", "..", "evidence", "bundle", "testdata", "v1", "stamped")
	file, key, roots := filepath.Join(dir, "bundle.zip"), filepath.Join(dir, "log.vkey"), filepath.Join(dir, "tsa-roots.pem")
	run(t, "--trust", key, "--tsa-roots", roots, file).wants(t, 0, "All holds", "sealed no later than", "CN=Test TSA,O=Test", "误差 accuracy 1.5001s")
	plain := run(t, "--trust", key, file)
	plain.wants(t, 0, "All holds", "时间戳存在，未判断（未给出 --tsa-roots）")
	if strings.Contains(plain.out, "no later than") {
		t.Error("a time that nobody vouches for is told as one")
	}
	stranger := filepath.Join(t.TempDir(), "stranger.pem")
	must(t, os.WriteFile(stranger, stamptest.New(t, stamptest.Options{}).RootsPEM, 0o600))
	run(t, "--trust", key, "--tsa-roots", stranger, file).wants(t, 1, "✗ proofs/", "签名证书不出自所给的根证书")
	run(t, "--trust", key, "--tsa-roots", key, file).wants(t, 2, "--tsa-roots", "no certificate")
	// Roots without a key of the log decide nothing.
	run(t, "--tsa-roots", roots, file).wants(t, 2, "仅自洽")

	var rep struct {
		Holds      bool               `json:"holds"`
		Timestamps []bundle.Timestamp `json:"timestamps"`
	}
	said := run(t, "--json", "--trust", key, "--tsa-roots", roots, file)
	must(t, json.Unmarshal([]byte(said.out), &rep))
	if !rep.Holds || len(rep.Timestamps) == 0 || rep.Timestamps[0].State != bundle.StampHolds {
		t.Errorf("%+v", rep)
	}
	if out, err := exec.CommandContext(t.Context(), "python3", filepath.Join("..", "..", "docs", "verify-by-hand.py"), key, file).CombinedOutput(); err != nil {
		t.Errorf("by hand: %v %s", err, out)
	}
	// A bundle without any says so.
	run(t, "--trust", unpack(t).key, "--tsa-roots", roots, unpack(t).bundle).wants(t, 0, "没有可信时间戳")
}
