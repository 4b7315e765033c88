package main

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// card is a recorder's.
type card struct {
	station int
	serial  string
	dir     string
	clips   []clip
	skipped int // numbers that no name has
}

// clip is a file of made-up footage. The digest is there once it is written.
type clip struct {
	name string
	size int64
	time time.Time // the recorder's clock
	mark [2]uint64 // what makes its bytes its own
	sha  string
}

// shift is when the made-up footage begins.
var shift = time.Date(2026, 3, 1, 8, 0, 0, 0, time.FixedZone("", 8*3600))

// planned draws a card from the seed: which clips, of what length, under which numbers. Another card more or less changes no other.
func (c *dockConfig) planned(station, recorder int) *card {
	r := rand.New(rand.NewPCG(c.Seed, uint64(station)<<32|uint64(recorder)))
	k := &card{station: station, serial: fmt.Sprintf("SIM-%02d%03d", station+1, recorder+1)}
	at := shift
	if c.misbehaves(skew) {
		at = at.AddDate(r.IntN(40)-25, 0, 0)
	}
	number := 1 + r.IntN(500)
	for i := range c.Clips {
		if gap := r.IntN(4); c.misbehaves(gaps) && i > 0 && gap == 0 {
			n := 1 + r.IntN(3)
			number, k.skipped = number+n, k.skipped+n
		}
		size := int64(c.ClipSize)
		size += r.Int64N(size/2+1) - size/4
		k.clips = append(k.clips, clip{name: fmt.Sprintf("%s_%06d_%s_%04d.mp4", k.serial, 100*station+recorder, at.Format("20060102150405"), number),
			size: size, time: at, mark: [2]uint64{c.Seed, uint64(station)<<40 | uint64(recorder)<<20 | uint64(i)}})
		at, number = at.Add(12*time.Minute), number+1
	}
	return k
}

// block is how often a clip's bytes are its own: in every part.
const block = 1 << 20

// footage is a block of bytes that nothing compresses.
func footage(seed uint64) []byte {
	b := make([]byte, block)
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	_, _ = rand.NewChaCha8(key).Read(b) // never fails
	return b
}

// write puts the clips on the card.
func (k *card) write(dir string, base []byte) error {
	k.dir = filepath.Join(dir, k.serial)
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		return err
	}
	for i := range k.clips {
		c := &k.clips[i]
		if err := c.write(filepath.Join(k.dir, c.name), base); err != nil {
			return fmt.Errorf("write %s: %w", c.name, err)
		}
	}
	return nil
}

func (c *clip) write(path string, base []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	out, h := bufio.NewWriterSize(f, block), sha256.New()
	own := make([]byte, 24)
	binary.BigEndian.PutUint64(own, c.mark[0])
	binary.BigEndian.PutUint64(own[8:], c.mark[1])
	for at := int64(0); at < c.size; at += block {
		binary.BigEndian.PutUint64(own[16:], uint64(at))
		left := c.size - at
		for _, b := range [][]byte{own[:min(left, int64(len(own)))], base[min(left, int64(len(own))):min(left, block)]} {
			if _, err := out.Write(b); err != nil {
				return err
			}
			h.Write(b)
		}
	}
	c.sha = hex.EncodeToString(h.Sum(nil))
	return errors.Join(out.Flush(), f.Close(), os.Chtimes(path, c.time, c.time))
}

// size is a number of bytes, as people write it: 64k, 5M, 1G.
type size int64

// UnmarshalText is called by kong.
func (s *size) UnmarshalText(text []byte) error {
	digits := strings.TrimRight(string(text), "kKMG")
	n, err := strconv.ParseInt(digits, 10, 64)
	shift, ok := map[string]int{"": 0, "k": 10, "K": 10, "M": 20, "G": 30}[string(text[len(digits):])]
	if err != nil || !ok || n < 1 || n > 1<<40>>shift {
		return errors.New("大小应如 64k、5M、1G")
	}
	*s = size(n << shift)
	return nil
}

func (s size) String() string {
	units := []string{"B", "KiB", "MiB", "GiB"}
	f, i := float64(s), 0
	for ; f >= 1024 && i < len(units)-1; i++ {
		f /= 1024
	}
	return fmt.Sprintf("%.*f %s", cmp.Compare(i, 0), f, units[i])
}
