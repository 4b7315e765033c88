package main

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// arrival is a recorder's storage that can be read: a card that was mounted, or a folder that another docking station, a share or an FTP
// server fills.
type arrival struct {
	key    string // tells one from another for as long as it is there
	path   string
	port   string // USB port, "" where there is none
	usb    string // vendor:product, "" where there is none
	volume string // what the card is known by: the file system's id, else its label; a folder's path
	words  []string
	slot   int // where a folder is shown; 0 for the next free one
	folder bool
	wipe   bool     // a folder of which originals may be removed
	held   contents // of a folder
}

// folderConfig is a source that is no card.
type folderConfig struct {
	Path   string        `yaml:"path"`
	Each   bool          `yaml:"each"`   // each folder below is a recorder's, named by its serial
	Slot   int           `yaml:"slot"`   // where it is shown, when not each
	Settle time.Duration `yaml:"settle"` // how long nothing must have changed: who fills it may still be writing
	Wipe   bool          `yaml:"wipe"`   // originals may be removed by the county's rule
}

const defaultSettle = 10 * time.Second

// commandConfig are commands for recorders of one USB vendor and product. {path}, {serial}, {port} are replaced.
type commandConfig struct {
	USB     string   `yaml:"usb"`     // 1234:abcd
	Unlock  []string `yaml:"unlock"`  // opens the storage, after which it is mounted
	Clock   []string `yaml:"clock"`   // sets the recorder's clock
	Battery []string `yaml:"battery"` // prints its charge in percent
}

// contents is what a folder holds, as far as one sees without reading it.
type contents struct {
	newest int64 // Unix nanoseconds of the latest change below it, by whatever clock
	files  int
	bytes  int64
}

// steady is what a folder held when it was walked, and since when.
type steady struct {
	contents
	since time.Time
}

// folders finds what is settled in the configured folders. before is what they held when they were walked the last time, and held is what they
// hold now. A file's own time says that it is settled, but not that it isn't: recorders' clocks run ahead too, and so it is enough that
// nothing has changed for as long here.
func folders(all []folderConfig, now time.Time, before map[string]steady) (out []arrival, held map[string]steady, errs []error) {
	held = map[string]steady{}
	for _, f := range all {
		dirs := []string{f.Path}
		if f.Each {
			entries, err := os.ReadDir(f.Path)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			dirs = dirs[:0]
			for _, e := range entries {
				if e.IsDir() {
					dirs = append(dirs, filepath.Join(f.Path, e.Name()))
				}
			}
		}
		for _, dir := range dirs {
			c, err := contentsOf(dir)
			if err != nil {
				errs = append(errs, err)
				continue
			}
			s, known := before[dir]
			if !known || s.contents != c {
				s = steady{c, now}
			}
			held[dir] = s
			if settle := cmp.Or(f.Settle, defaultSettle); c.files == 0 || now.Sub(time.Unix(0, c.newest)) < settle && now.Sub(s.since) < settle {
				continue
			}
			a := arrival{key: "folder:" + dir, path: dir, volume: dir, slot: f.Slot, folder: true, wipe: f.Wipe, held: c}
			if f.Each {
				a.words = []string{filepath.Base(dir)}
			}
			out = append(out, a)
		}
	}
	return out, held, errs
}

func contentsOf(dir string) (c contents, err error) {
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		c.newest = max(c.newest, info.ModTime().UnixNano())
		if info.Mode().IsRegular() {
			c.files++
			c.bytes += info.Size()
		}
		return nil
	})
	return c, err
}

// matches says whether a mount point is one of the patterns'.
func matches(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		ok, err := filepath.Match(p, path)
		return ok && err == nil // patterns were checked when they were read
	})
}

// filled puts the particulars into a command.
func filled(command []string, a arrival, serial string) []string {
	r := strings.NewReplacer("{path}", a.path, "{serial}", serial, "{port}", a.port)
	out := make([]string, len(command))
	for i, c := range command {
		out[i] = r.Replace(c)
	}
	return out
}
