package media

import (
	"os"
	"testing"
)

// TestMain lets the test binary be the child it starts, as the server's binary is.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "probe-media" {
		os.Exit(ProbeMain(os.Args[2:]))
	}
	os.Exit(m.Run())
}
