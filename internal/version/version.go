// Package version owns the build's version, set by the linker.
package version

import "runtime/debug"

// Version is "git describe" of the build, or empty.
var Version string

// String is the version, or the commit the Go tool stamped, or "dev".
func String() string {
	if Version != "" {
		return Version
	}
	if bi, ok := debug.ReadBuildInfo(); ok {
		for _, s := range bi.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return s.Value[:12]
			}
		}
	}
	return "dev"
}
