package main

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// mounts finds cards: mount points that match the patterns, with what the kernel knows of the device behind them.
func mounts(patterns []string) ([]arrival, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []arrival
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		// 36 35 98:0 /root /mount/point options … - type source …
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		path := unescape(fields[4])
		if !matches(patterns, path) {
			continue
		}
		a := arrival{key: "mount:" + fields[0] + ":" + path, path: path}
		a.describe(fields[2])
		out = append(out, a)
	}
	return out, lines.Err()
}

// unescape reads mountinfo's \040 for a space.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// usbPort is the folder of a USB device in sysfs: bus-port.port…
var usbPort = regexp.MustCompile(`^\d+-\d+(\.\d+)*$`)

// describe fills in what sysfs and udev's links say of a block device. What they don't say stays empty.
func (a *arrival) describe(device string) {
	dir, err := filepath.EvalSymlinks(filepath.Join("/sys/dev/block", device))
	if err == nil {
		for d := dir; d != "/" && d != "."; d = filepath.Dir(d) {
			if usbPort.MatchString(filepath.Base(d)) {
				a.port, a.usb = filepath.Base(d), usbID(d)
				if serial := line1(filepath.Join(d, "serial")); serial != "" {
					a.words = append(a.words, serial)
				}
				break
			}
		}
	}
	id, label := linkTo("/dev/disk/by-uuid", dir), linkTo("/dev/disk/by-label", dir)
	a.volume = id
	if a.volume == "" {
		a.volume = label
	}
	if a.volume == "" {
		a.volume = filepath.Base(a.path)
	}
	a.words = append(a.words, label, filepath.Base(a.path))
}

func usbID(dir string) string {
	v, p := line1(filepath.Join(dir, "idVendor")), line1(filepath.Join(dir, "idProduct"))
	if v == "" || p == "" {
		return ""
	}
	return strings.ToLower(v + ":" + p)
}

// line1 is a file's one line, "" if it can't be read.
func line1(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// linkTo finds the name under which a folder of links names a block device.
func linkTo(links, sys string) string {
	entries, err := os.ReadDir(links)
	if err != nil || sys == "" {
		return ""
	}
	for _, e := range entries {
		to, err := os.Readlink(filepath.Join(links, e.Name()))
		if err == nil && filepath.Base(to) == filepath.Base(sys) {
			return e.Name()
		}
	}
	return ""
}

// plugged finds devices of the configured kinds, whose storage may still be locked, by port.
func plugged(commands []commandConfig) map[string]commandConfig {
	out := map[string]commandConfig{}
	entries, err := os.ReadDir("/sys/bus/usb/devices")
	if err != nil {
		return out
	}
	for _, e := range entries {
		if !usbPort.MatchString(e.Name()) {
			continue
		}
		id := usbID(filepath.Join("/sys/bus/usb/devices", e.Name()))
		for _, c := range commands {
			if len(c.Unlock) > 0 && strings.EqualFold(c.USB, id) {
				out[e.Name()] = c
			}
		}
	}
	return out
}

// defaultMounts are where desktops mount what is plugged in.
func defaultMounts() []string {
	return []string{"/media/*", "/media/*/*", "/run/media/*/*"}
}

func portSerial(port string) string {
	return line1(fmt.Sprintf("/sys/bus/usb/devices/%s/serial", port))
}
