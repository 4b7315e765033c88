package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"zhizheng/ingest/manifest"
)

// clip is a file that was read once.
type clip struct {
	found
	length    int64 // bytes
	recorder  string
	sha256    [32]byte
	composite [32]byte
	parts     [][]byte // digests
	spooled   string   // path of its copy, "" when it is carried from the card
}

func (c *clip) size() int64     { return c.length }
func (c *clip) sha() string     { return hex.EncodeToString(c.sha256[:]) }
func (c *clip) partSize() int64 { return manifest.PartSize(c.size()) }

// read hashes a file, whole and by parts, in one pass, and copies it into the spool on the way if there is one. A file that grew,
// shrank or was replaced meanwhile is refused: its digest would be of something that never existed.
func (a *agent) read(ctx context.Context, f found, seen func(n int)) (*clip, error) {
	r, err := a.card.open(f)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	h := manifest.NewHasher(f.info.Size())
	copyTo, err := a.copying()
	if err != nil {
		return nil, fmt.Errorf("暂存：%w", err)
	}
	defer func() {
		if copyTo != nil {
			copyTo.discard()
		}
	}()
	buf := make([]byte, 1<<20)
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := r.Read(buf)
		_, _ = h.Write(buf[:n]) // hashes don't fail
		if copyTo != nil && n > 0 {
			if err := copyTo.write(buf[:n]); errors.Is(err, noSpace) {
				copyTo.discard() // it is carried from the card then, which has to stay until that is done
				copyTo = nil
			} else if err != nil {
				return nil, fmt.Errorf("暂存：%w", err)
			}
		}
		seen(n)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("读卡出错：%w", err)
		}
		if h.Size > f.info.Size() {
			break // it grows; no need to read on for as long as it does
		}
	}
	if h.Size != f.info.Size() {
		return nil, fmt.Errorf("%w（应有 %d 字节，读到 %d 字节）", errChanged, f.info.Size(), h.Size)
	}
	if err := a.card.unchanged(f, r); err != nil {
		return nil, err
	}
	c := &clip{found: f, length: h.Size, recorder: a.c.Recorder}
	c.sha256, c.composite, c.parts = h.Sum()
	if copyTo != nil {
		if c.spooled, err = copyTo.keep(c.sha()); err != nil {
			return nil, fmt.Errorf("暂存：%w", err)
		}
		a.hold(c.sha())
	}
	return c, nil
}

// copying begins a copy in the spool; nil where there is none, or no room.
func (a *agent) copying() (*copying, error) {
	if a.spool == nil {
		return nil, nil
	}
	c, err := a.spool.begin()
	if errors.Is(err, noSpace) {
		return nil, nil
	}
	return c, err
}

// openClip opens a clip's bytes for carrying: the spool's copy, or the card's file if it is still the one that was hashed.
func (a *agent) openClip(c *clip) (source, error) {
	if c.spooled != "" {
		return a.spool.open(c.spooled)
	}
	if a.card == nil {
		return nil, errors.New("卡已取走")
	}
	return a.card.open(c.found)
}
