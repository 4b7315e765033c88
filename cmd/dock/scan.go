package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/bits"
	"os"
	"slices"
	"strings"
	"time"
)

// card is the folder that is docked. Everything is opened beneath its root, so a symbolic link that is swapped in can't lead out.
type card struct {
	root   *os.Root
	system map[string]bool // lower case
}

func openCard(dir string, system []string) (*card, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("打开卡：%w", err)
	}
	c := &card{root: root, system: map[string]bool{}}
	for _, s := range system {
		c.system[strings.ToLower(strings.TrimSpace(s))] = true
	}
	return c, nil
}

// found is a thing on the card. Names are bytes as they are there, UTF-8 or not.
type found struct {
	name string // path below the root, "/" between elements
	info fs.FileInfo
	skip string // why it isn't taken, "" for a file to seal
	ok   bool   // a skipped thing that is a listed system file
	err  error  // it can't be looked at
}

// scan lists everything below the root: regular files to seal, and all that isn't one with the reason.
func (c *card) scan() []found {
	var all []found
	c.walk("", false, &all)
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(cmp.Compare(class(a), class(b)), b.modified().Compare(a.modified()), strings.Compare(a.name, b.name))
	})
	return all
}

// class orders files by size, roughly: many small ones have their fingerprint in the log before one large one is read. Within
// a class the newest come first.
func class(f found) int {
	if f.info == nil {
		return 0
	}
	return max(bits.Len64(uint64(f.info.Size())), 20)
}

func (f found) modified() time.Time {
	if f.info == nil {
		return time.Time{}
	}
	return f.info.ModTime()
}

func (c *card) walk(dir string, system bool, all *[]found) {
	entries, err := c.list(dir)
	if err != nil {
		*all = append(*all, found{name: orDot(dir), skip: "文件夹无法读取", err: err})
	}
	for _, e := range entries {
		name := e.Name()
		if dir != "" {
			name = dir + "/" + name
		}
		sys := system || c.system[strings.ToLower(e.Name())]
		if e.IsDir() {
			c.walk(name, sys, all)
			continue
		}
		info, err := e.Info()
		f := found{name: name, info: info, err: err}
		switch {
		case err != nil:
			f.skip = "无法读取文件信息"
		case sys && info.Mode().IsRegular():
			f.skip, f.ok = "系统文件", true
		case info.Mode()&fs.ModeSymlink != 0:
			f.skip = "符号链接，不跟随"
		case !info.Mode().IsRegular():
			f.skip = "不是普通文件（" + info.Mode().Type().String() + "）"
		}
		*all = append(*all, f)
	}
}

func orDot(dir string) string {
	if dir == "" {
		return "."
	}
	return dir
}

func (c *card) list(dir string) ([]os.DirEntry, error) {
	d, err := c.root.OpenFile(orDot(dir), openDir, 0)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	entries, err := d.ReadDir(-1)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return entries, err
}

// open opens a file that scan found and makes sure that it is still that one.
func (c *card) open(f found) (*os.File, error) {
	r, err := c.root.OpenFile(f.name, openFile, 0)
	if err != nil {
		return nil, err
	}
	now, err := r.Stat()
	if err != nil {
		r.Close()
		return nil, err
	}
	if err := same(f.info, now); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// unchanged compares a file that was read with what it was when it was listed, by the open file and by its name.
func (c *card) unchanged(f found, r *os.File) error {
	now, err := r.Stat()
	if err != nil {
		return err
	}
	if err := same(f.info, now); err != nil {
		return err
	}
	named, err := c.root.Lstat(f.name)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w（文件已被删除或改名）", errChanged)
	}
	if err != nil {
		return err
	}
	return same(f.info, named)
}

// errChanged says that a file isn't what it was when it was listed: it is still being written, or was cut short or replaced.
var errChanged = errors.New("文件在读取时有变化，未封存；待写完后再采集")

// same compares identity, size and time.
func same(was, now fs.FileInfo) error {
	switch {
	case !now.Mode().IsRegular() || !os.SameFile(was, now):
		return fmt.Errorf("%w（文件已被替换）", errChanged)
	case was.Size() != now.Size():
		return fmt.Errorf("%w（%d 字节变为 %d 字节）", errChanged, was.Size(), now.Size())
	case !was.ModTime().Equal(now.ModTime()):
		return fmt.Errorf("%w（修改时间改变）", errChanged)
	}
	return nil
}
