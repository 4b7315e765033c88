package api

import (
	"testing"
	"time"
)

func TestPreferredWait(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"": 0, "wait=2": 2 * time.Second, "respond-async, wait=3": 3 * time.Second, "wait=600": 5 * time.Second,
		"wait=-1": 0, "wait=x": 0, "wait": 0, "await=2": 0,
	} {
		if got := preferredWait(header); got != want {
			t.Errorf("Prefer: %q waits %v", header, got)
		}
	}
}
