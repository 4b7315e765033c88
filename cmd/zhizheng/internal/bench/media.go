package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"zhizheng/ingest/media"
)

// mediaFigures tells what the facts of a twelve-hour recording cost: a file with real tables of all its frames and no bytes between.
func mediaFigures(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "zhizheng-bench-media-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "a.mp4")
	if err := longRecording(path, 12*3600); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, "media-facts", path) // a process of its own, so that its and its child's CPU and memory can be told
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("facts of a long recording: %w", err)
	}
	u, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return errors.New("no usage of a process on this system")
	}
	cpu := float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
	figure("media: facts of a 12-hour recording, CPU", cpu, "s", "≤ 10")
	figure("media: … most memory of a process", float64(u.Maxrss)/1024, "MiB", "≤ 300")
	return nil
}

// mediaFacts is that process.
func mediaFacts(ctx context.Context, path string) error {
	r, err := os.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	st, err := r.Stat()
	if err != nil {
		return err
	}
	f, err := media.Probe(ctx, r, st.Size(), filepath.Base(path))
	if err != nil {
		return err
	}
	if f.Verdict != media.OK || f.DurationMs != 12*3600*1000 || f.Frames == nil || f.Frames.Count != 12*3600*30 || len(f.Frames.Keyframes) != 12*3600/2 {
		return fmt.Errorf("wrong facts: %s %v %d ms", f.Verdict, f.Reasons, f.DurationMs)
	}
	return nil
}

// longRecording writes an MP4 with its index at the end: pictures in another order than they are shown, a keyframe each two seconds,
// sound, a chunk a second.
func longRecording(path string, seconds uint32) (err error) {
	const fps, picture, sound, soundRate = 30, 8000, 300, 50
	box := func(typ string, parts ...[]byte) []byte {
		b := bytes.Join(parts, nil)
		return append(append(binary.BigEndian.AppendUint32(nil, uint32(len(b)+8)), typ...), b...)
	}
	n32 := func(v ...uint32) (b []byte) {
		for _, x := range v {
			b = binary.BigEndian.AppendUint32(b, x)
		}
		return b
	}
	table := func(n, width uint32, f func(i uint32) []uint32) []byte {
		b := append(make([]byte, 0, n*width*4+8), n32(0, n)...)
		for i := range n {
			b = append(b, n32(f(i)...)...)
		}
		return b
	}
	same := func(n, size uint32) []byte {
		b := n32(0, 0, n)
		for i := range n {
			b = append(b, n32(size+i%7-3)...)
		}
		return b
	}
	second := uint64(fps*picture + soundRate*sound)
	chunks := func(from uint64) []byte {
		b := n32(0, seconds)
		for i := range uint64(seconds) {
			b = binary.BigEndian.AppendUint64(b, 4096+i*second+from)
		}
		return b
	}
	track := func(id uint32, handler string, scale uint32, entry []byte, tables ...[]byte) []byte {
		return box("trak", box("tkhd", n32(0, 0, 0, id), make([]byte, 68)), box("mdia", box("mdhd", n32(0, 0, 0, scale, seconds*scale, 0)),
			box("hdlr", n32(0, 0), []byte(handler), make([]byte, 13)), box("minf", box("stbl", append([][]byte{box("stsd", n32(0, 1), entry)}, tables...)...))))
	}
	size := append(make([]byte, 24), 7, 0x80, 4, 0x38)
	avc := box("avc1", append(size, make([]byte, 50)...), box("avcC", []byte{1, 77, 0, 30, 0xff, 0xe0, 0}))
	order := [3]uint32{1, 3, 0} // each third picture is shown before the two ahead of it
	video := track(1, "vide", fps*512, avc, box("stts", n32(0, 1, seconds*fps, 512)),
		box("ctts", table(seconds*fps, 2, func(i uint32) []uint32 { return []uint32{1, 512 * order[i%3]} })),
		box("stss", table(seconds/2, 1, func(i uint32) []uint32 { return []uint32{i*2*fps + 1} })),
		box("stsc", n32(0, 1, 1, fps, 1)), box("stsz", same(seconds*fps, picture)), box("co64", chunks(0)))
	audio := track(2, "soun", 48000, box("mp4a", make([]byte, 28)), box("stts", n32(0, 1, seconds*soundRate, 960)),
		box("stsc", n32(0, 1, 1, soundRate, 1)), box("stsz", same(seconds*soundRate, sound)), box("co64", chunks(fps*picture)))
	moov := box("moov", box("mvhd", n32(0, 0, 0, 1000, seconds*1000), make([]byte, 80)), video, audio)

	w, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	ftyp := box("ftyp", []byte("isom"), n32(512), []byte("isomavc1"))
	head := append(ftyp, n32(1)...)
	head = append(head, "mdat"...)
	end := int64(4096 + uint64(seconds)*second + 4096)
	head = binary.BigEndian.AppendUint64(head, uint64(end)-uint64(len(ftyp)))
	if _, err := w.Write(head); err != nil {
		return err
	}
	if _, err := w.WriteAt(bytes.Repeat([]byte{0x5a}, 4096), end-8192); err != nil { // its last bytes are no zeros of a failed card
		return err
	}
	_, err = w.WriteAt(moov, end)
	return err
}
