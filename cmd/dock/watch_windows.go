package main

import (
	"fmt"

	"golang.org/x/sys/windows"
)

// mounts finds removable drives. Patterns are of their roots: E:\ …
func mounts(patterns []string) ([]arrival, error) {
	set, err := windows.GetLogicalDrives()
	if err != nil {
		return nil, err
	}
	var out []arrival
	for i := range 26 {
		if set&(1<<i) == 0 {
			continue
		}
		root := fmt.Sprintf(`%c:\`, 'A'+i)
		p, err := windows.UTF16PtrFromString(root)
		if err != nil {
			return nil, err
		}
		if windows.GetDriveType(p) != windows.DRIVE_REMOVABLE || !matches(patterns, root) {
			continue
		}
		var serial uint32
		label := make([]uint16, windows.MAX_PATH+1)
		if windows.GetVolumeInformation(p, &label[0], uint32(len(label)), &serial, nil, nil, nil, 0) != nil {
			continue // a reader without a card
		}
		name := windows.UTF16ToString(label)
		volume := fmt.Sprintf("%04X-%04X", serial>>16, serial&0xffff)
		out = append(out, arrival{key: root + volume, path: root, volume: volume, words: []string{name}})
	}
	return out, nil
}

// plugged: what unlocks a recorder on Windows is the vendor's own service.
func plugged([]commandConfig) map[string]commandConfig { return nil }

func defaultMounts() []string { return []string{`?:\`} }

func portSerial(string) string { return "" }
