package media

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"
)

const (
	posterWidth  = 640
	posterMax    = 2 << 20
	posterData   = 12 << 20 // of footage is enough for the first second of 4K
	posterHead   = 1 << 20
	posterWall   = 40 * time.Second
	posterCPU    = 20   // seconds
	posterMemory = 1024 // MB
)

// errNoPicture is a file ffmpeg makes no picture of: a finding, not a failure.
var errNoPicture = errors.New("no picture could be made")

// Poster makes a JPEG of a frame near the start, 640 wide. ffmpeg gets a sparse file with the index and the first seconds at their
// places: no network, no other file, the demuxer named, memory and time limited. errNoPicture is about the file.
func (p Prober) Poster(ctx context.Context, r io.ReaderAt, size int64, f Facts) ([]byte, error) {
	demuxer, ranges := posterParts(f, size)
	if demuxer == "" {
		return nil, errNoPicture
	}
	dir, err := os.MkdirTemp("", "zhizheng-poster-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "in")
	if err := sparseCopy(path, r, ranges); err != nil {
		return nil, err
	}
	self, err := p.self()
	if err != nil {
		return nil, err
	}
	seeks := []string{"0"}
	if f.DurationMs > 2500 {
		seeks = []string{"1", "0"} // recorders often begin with a dark or blurred frame
	}
	var last error
	for _, ss := range seeks {
		jpeg, err := frame(ctx, self, demuxer, "file", path, ss, posterWidth)
		if err == nil {
			return jpeg, nil
		}
		if !errors.Is(err, errNoPicture) {
			return nil, err
		}
		last = err
	}
	return nil, last
}

type byteRange struct{ off, n int64 }

// posterParts says which demuxer and which bytes: of MP4 the head, the index and the first media data, of streams the beginning.
func posterParts(f Facts, size int64) (demuxer string, ranges []byteRange) {
	if f.demuxer != "" && f.demuxer != "mov" {
		return f.demuxer, []byteRange{{0, min(size, posterData)}}
	}
	l := f.layout
	if f.demuxer == "" || l.Moov == nil || f.VideoCodec == "" || f.Verdict == Encrypted {
		return "", nil
	}
	ranges = []byteRange{{0, min(size, posterHead)}, {l.Moov.Off, present(*l.Moov, l)}}
	if l.MdatFirst > 0 {
		from := max(l.MdatFirst-64, 0) // with the box's header
		ranges = append(ranges, byteRange{from, min(size-from, posterData)})
	}
	return "mov", ranges
}

func sparseCopy(path string, r io.ReaderAt, ranges []byteRange) (err error) {
	w, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	buf := make([]byte, 1<<20)
	for _, c := range ranges {
		for off, end := c.off, c.off+c.n; off < end; {
			p := buf[:min(int64(len(buf)), end-off)]
			if err := readFull(r, p, off); err != nil {
				return err
			}
			if _, err := w.WriteAt(p, off); err != nil {
				return fmt.Errorf("copy for the poster: %w", err)
			}
			off += int64(len(p))
		}
	}
	return nil
}

// frame takes one picture of what lies under a protocol (file, or http on this machine), limited.
func frame(ctx context.Context, self, demuxer, protocol, path, seek string, width int) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, posterWall)
	defer cancel()
	protocols := protocol
	if protocol == "http" {
		protocols = "http,tcp"
	}
	cmd := exec.CommandContext(ctx, self, "probe-media", "limit", strconv.Itoa(posterCPU), strconv.Itoa(posterMemory), "0", "--",
		"ffmpeg", "-nostdin", "-hide_banner", "-v", "error", "-max_alloc", "268435456", "-protocol_whitelist", protocols,
		"-threads", "1", "-max_pixels", "70000000", "-f", demuxer, "-ss", seek, "-i", protocol+":"+path,
		"-map", "0:v:0", "-frames:v", "1", "-filter_threads", "1", "-vf", "scale="+strconv.Itoa(width)+":-2,format=yuvj420p",
		"-q:v", "4", "-f", "mjpeg", "pipe:1")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"} // ours may hold secrets
	cmd.WaitDelay = 2 * time.Second
	var out, errs capped
	out.max, errs.max = posterMax, 64<<10
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start ffmpeg: %w", err)
	}
	stop := watchRSS(cmd.Process, posterMemory<<20)
	err := cmd.Wait()
	stop()
	if cerr := ctx.Err(); cerr != nil && !errors.Is(cerr, context.DeadlineExceeded) {
		return nil, cerr
	}
	if err != nil || !bytes.HasPrefix(out.Bytes(), []byte{0xff, 0xd8}) {
		return nil, fmt.Errorf("%w: %v %s", errNoPicture, err, firstLine(errs.String()))
	}
	return out.Bytes(), nil
}
