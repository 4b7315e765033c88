package media

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// What runs under limit is stopped by the kernel.
func TestLimit(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) (string, error) {
		b, err := exec.CommandContext(t.Context(), self, append([]string{"probe-media", "limit"}, args...)...).CombinedOutput()
		return string(b), err
	}
	if out, err := run("5", "64", "0", "--", "sh", "-c", "ulimit -t; nice"); err != nil || strings.TrimSpace(out) != "5\n15" {
		t.Errorf("within its limits: %q %v", out, err)
	}
	if out, err := run("5", "64", "0", "--", "dd", "if=/dev/zero", "of=/dev/null", "bs=512M", "count=1"); err == nil {
		t.Errorf("512 MB were given: %s", out)
	}
	// One second of its own is given; how long that takes a niced process is the machine's affair. Without a limit this never ends.
	if out, err := run("1", "64", "0", "--", "sh", "-c", "while :; do :; done"); err == nil {
		t.Errorf("a busy loop ended well: %s", out)
	}
	if _, err := run("1", "64"); err == nil {
		t.Error("no program, no complaint")
	}
}

func TestWatchEndsWhatGrows(t *testing.T) {
	cmd := exec.Command("dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=100000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop := watchRSS(cmd.Process, 64<<20)
	err := cmd.Wait()
	if over := stop(); !over || err == nil {
		t.Errorf("over %v, %v", over, err)
	}
}
