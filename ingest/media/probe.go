package media

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"zhizheng/ingest/manifest"
)

// scanWall bounds the scan of a file over a slow store; what is known by then is said to be incomplete.
const scanWall = 60 * time.Second

// Prober probes files. The zero value runs this binary as its child, which has to dispatch "probe-media" to ProbeMain.
type Prober struct {
	Self  string          // path of a binary that does, "" for this one
	Names *manifest.Names // how file names are read, nil for the built-in rules
}

var defaultNames = sync.OnceValue(manifest.DefaultNames)

func (p Prober) names() manifest.Names {
	if p.Names != nil {
		return *p.Names
	}
	return defaultNames()
}

// Probe probes with the zero Prober.
func Probe(ctx context.Context, r io.ReaderAt, size int64, name string) (Facts, error) {
	return Prober{}.Probe(ctx, r, size, name)
}

// Probe gives facts about a file of any content. Errors are only the reader's, ctx's, or a child that couldn't be started: try again
// then. Memory is bounded by some MB here and by limits in the child; r is read at random by one goroutine.
func (p Prober) Probe(ctx context.Context, r io.ReaderAt, size int64, name string) (Facts, error) {
	f := Facts{}
	if u, ok := p.names().Understand(name); ok {
		f.NameTime, f.NameRecorder, f.NameOfficer, f.NameSequence = u.Time, u.Recorder, u.Officer, u.Sequence
	}
	if size == 0 {
		f.Verdict = Empty
		f.because("文件为空（0 字节）")
		return f, nil
	}
	cached := &blocks{r: r, size: size}
	k, head, err := sniff(cached, size)
	if err != nil {
		return f, err
	}
	f.Container, f.demuxer = k.container, k.demuxer
	switch {
	case k.mp4:
		return p.mp4(ctx, f, r, cached, size)
	case k.media:
		f.Verdict = Unknown
		f.because(k.zh + " 格式：原样封存，浏览器不能直接播放，需转换后查看")
		if parts := streamParts(k, head, size); parts != nil {
			return f, p.stream(ctx, &f, cached, size, parts)
		}
	case p.names().Sidecar(name) || text(head): // what isn't media and belongs beside footage
		f.Verdict = Sidecar
		f.because("随附文件（定位、日志等），与同名录像一并封存")
		if positions(head) {
			return f, p.track(ctx, &f, cached, size, []gpsRange{{Kind: kindText, Size: min(size, maxText)}})
		}
	default:
		f.Verdict = NotMedia
		if k.zh != "" {
			f.because("不是音视频：" + k.zh)
		} else if allZero(head) {
			f.Verdict = Damaged
			f.because("文件开头全为零，可能是存储卡故障")
		} else {
			f.because("不是可识别的音视频文件")
		}
	}
	return f, nil
}

func allZero(b []byte) bool {
	return len(b) > 0 && !slices.ContainsFunc(b, func(c byte) bool { return c != 0 })
}

func (p Prober) mp4(ctx context.Context, f Facts, r io.ReaderAt, cached *blocks, size int64) (Facts, error) {
	scanCtx, cancel := context.WithTimeout(ctx, scanWall)
	l, err := Scan(scanCtx, cached, size)
	cancel()
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		l.Cut, err = true, nil
	}
	if err != nil {
		return f, err
	}
	f.layout = l
	if l.Brand == "qt" || l.Ftyp == nil {
		f.Container = "mov"
	}
	if l.Moov == nil {
		noIndex(&f, l)
		return f, p.track(ctx, &f, cached, size, boxedPositions(l, 0))
	}
	if present(*l.Moov, l) > maxIndex {
		f.Verdict = Unknown
		f.because(fmt.Sprintf("索引过大（%d 字节），没有解析", l.Moov.Size))
		return f, nil
	}
	self, err := p.self()
	if err != nil {
		return f, err
	}
	total, feed := indexOf(r, cached, l)
	in, err := inspectIn(ctx, self, total, feed)
	switch {
	case errors.Is(err, errGaveUp):
		f.Verdict = Damaged
		f.because("索引无法在限定的时间和内存内解析")
		return f, nil
	case err != nil:
		return f, err
	}
	end := conclude(&f, l, in)
	if f.Verdict == OK && end > 0 {
		if err := blankEnd(&f, cached, l, end); err != nil {
			return f, err
		}
	}
	ranges := in.GPS
	if len(ranges) == 0 {
		ranges = boxedPositions(l, f.DurationMs)
	}
	return f, p.track(ctx, &f, cached, size, ranges)
}

// self is the program that is its own child.
func (p Prober) self() (string, error) {
	if p.Self != "" {
		return p.Self, nil
	}
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find own binary: %w", err)
	}
	return self, nil
}

// blankEnd looks for what failing cards do to a file whose index was written first: the media data ends in zeros.
func blankEnd(f *Facts, r io.ReaderAt, l Layout, end int64) error {
	blank := max((end-l.MdatFirst)/8, 4096)
	if l.MdatFirst == 0 || end-blank < l.MdatFirst {
		return nil
	}
	zero, err := zeros(r, end-blank, end)
	if err != nil || !zero {
		return err
	}
	f.Verdict = Damaged
	f.because("录像后面的数据全为零，可能是存储卡故障")
	return nil
}

// present is how much of a box the file has.
func present(b Box, l Layout) int64 { return min(b.End(), l.Size) - b.Off }

// indexOf is ftyp, moov and every moof as one stream. Headers are written anew with the bytes that are there, so that a cut moov
// still tells what it holds.
func indexOf(r io.ReaderAt, cached *blocks, l Layout) (total uint64, feed func(io.Writer) error) {
	var parts []Box
	if l.Ftyp != nil && present(*l.Ftyp, l) <= sniffLen {
		parts = append(parts, *l.Ftyp)
	}
	parts = append(parts, *l.Moov)
	parts = append(parts, l.Moofs...)
	parts = slices.DeleteFunc(parts, func(b Box) bool { return present(b, l) < b.Header })
	sum := int64(0)
	for i, b := range parts {
		if n := 8 + present(b, l) - b.Header; sum+n > 2*maxIndex {
			parts = parts[:i]
			break
		} else {
			sum += n
		}
	}
	return uint64(sum), func(w io.Writer) error {
		buf := make([]byte, 1<<20)
		for _, b := range parts {
			n := present(b, l) - b.Header
			var h [8]byte
			binary.BigEndian.PutUint32(h[:], uint32(n+8))
			copy(h[4:], b.Type)
			if _, err := w.Write(h[:]); err != nil {
				return err
			}
			for off, end := b.Off+b.Header, b.Off+b.Header+n; off < end; {
				p := buf[:min(int64(len(buf)), end-off)]
				var src io.ReaderAt = cached
				if len(p) > blockSize {
					src = r
				}
				if err := readFull(src, p, off); err != nil {
					return err
				}
				if _, err := w.Write(p); err != nil {
					return err
				}
				off += int64(len(p))
			}
		}
		return nil
	}
}

// noIndex concludes about a file without moov: nothing plays it, and its bytes may be all there is of what happened.
func noIndex(f *Facts, l Layout) {
	f.Verdict = Damaged
	switch {
	case l.Overrun != nil:
		f.Verdict = Truncated
		f.ExpectedBytes, f.ActualBytes = l.Overrun.End(), l.Size
		f.because(fmt.Sprintf("文件被截断：应至少 %d 字节，实有 %d 字节", f.ExpectedBytes, f.ActualBytes))
	case l.ToEnd:
		f.Verdict = Truncated
		f.because("录制没有正常结束（可能断电）")
	case l.ZeroTail:
		f.because(fmt.Sprintf("从第 %d 字节起全为零，可能是存储卡故障", l.BadAt))
	case l.BadAt >= 0:
		f.because(fmt.Sprintf("第 %d 字节处结构损坏", l.BadAt))
	case l.Cut:
		f.Verdict = Unknown
		f.because("结构异常繁多，没有全部检查")
		return
	}
	f.because("缺少索引（moov），不能播放；原样封存，可另作修复件")
}

// conclude weighs what the child read against the bytes that are there. It answers where the last sample ends.
func conclude(f *Facts, l Layout, in inspection) (end int64) {
	f.CreatedAt, f.Position = epoch(in.Created), in.Position
	f.Device = strings.TrimSpace(in.Make + " " + in.Model)
	if in.Make != "" && strings.HasPrefix(in.Model, in.Make) {
		f.Device = in.Model
	}
	if in.TooDeep || in.TooMany {
		f.Verdict = Damaged
		f.because("索引的结构嵌套过深或过多，没有解析")
		return 0
	}
	encrypted, videos := false, 0
	for _, t := range in.Tracks {
		end = max(end, t.End)
		encrypted = encrypted || t.Encrypted
		if t.Handler == "vide" {
			videos++
		}
	}
	if videos > 1 {
		f.Videos = videos
	}
	video, audio := firstWithSamples(in.Tracks, "vide"), firstWithSamples(in.Tracks, "soun")
	if f.Frames = in.Frames; in.Frames != nil {
		f.Variable = in.Frames.Variable
	}
	streams(f, in, video, audio)
	samples := uint64(0)
	for _, t := range []*track{video, audio} {
		if t != nil {
			samples += t.Samples
		}
	}
	cutIndex := l.Overrun != nil && l.Overrun.Type == "moov"
	f.Verdict = OK
	switch {
	case cutIndex:
		f.cut(l.Overrun.End(), l.Size, "索引（moov）不完整，不能播放")
	case video == nil && audio == nil:
		f.Verdict = Damaged
		f.because("索引里没有画面和声音")
	case samples == 0:
		f.Verdict = Truncated
		f.because("只有文件头，没有录制的内容")
	case end > l.Size:
		f.cut(end, l.Size, "后面的内容缺失，只能播放前面部分")
	case in.Fragmented && l.Overrun != nil:
		f.cut(l.Overrun.End(), l.Size, "最后一段不完整，前面部分可以播放")
	case encrypted:
		f.Verdict = Encrypted
		f.because("内容已加密，需密钥才能查看")
	case len(in.Broken) > 0 && (video == nil || video.Codec == "" || video.Width == 0):
		f.Verdict = Damaged
		f.because("索引有损坏：" + in.Broken[0])
	}
	f.Playable = (f.Verdict == OK || f.Verdict == Truncated && samples > 0 && !cutIndex && l.MdatBytes > 0) && playable(f, video, audio)
	if f.Verdict == OK {
		remarks(f, l)
	}
	return end
}

func (f *Facts) cut(expected, actual int64, what string) {
	f.Verdict, f.ExpectedBytes, f.ActualBytes = Truncated, expected, actual
	if expected == math.MaxInt64 {
		f.Verdict, f.ExpectedBytes, f.ActualBytes = Damaged, 0, 0
		f.because("索引指向文件以外的位置，" + what)
		return
	}
	f.because(fmt.Sprintf("文件被截断：应至少 %d 字节，实有 %d 字节；%s", expected, actual, what))
}

// streams takes over codecs, size and times.
func streams(f *Facts, in inspection, video, audio *track) {
	seconds := 0.0
	for _, t := range []*track{video, audio} {
		if t != nil {
			seconds = max(seconds, t.seconds())
		}
	}
	if in.Scale > 0 && in.Duration > 0 && !in.Fragmented {
		if d := float64(in.Duration) / float64(in.Scale); seconds == 0 || d < 1.5*seconds+1 {
			seconds = d // the presentation, edit lists included, unless it contradicts its own tracks
		}
	}
	if seconds < 100*24*3600 { // longer is a lie
		f.DurationMs = int64(math.Round(seconds * 1000))
	}
	if video != nil {
		f.VideoCodec, f.Width, f.Height, f.Keyframes = video.Codec, video.Width, video.Height, video.Keyframes
		f.Rotation = video.Rotation
		if s := video.seconds(); s > 0 {
			if r := math.Round(float64(video.Samples)/s*100) / 100; r > 0 && r < 1000 {
				f.FrameRate = r
			}
		}
	}
	if audio != nil {
		f.AudioCodec = audio.Codec
	}
}

// playable says what the usual browsers do without plug-ins: H.264, VP8, VP9, AV1. HEVC depends on the machine's hardware.
func playable(f *Facts, video, audio *track) bool {
	if video == nil {
		return audio != nil && slices.Contains([]string{"aac", "mp3", "opus", "flac"}, audio.Codec)
	}
	switch video.Codec {
	case "h264":
		if video.Odd != "" {
			f.because(video.Odd)
			return false
		}
	case "vp8", "vp9", "av1":
	case "hevc":
		f.because("HEVC（H.265）编码：多数浏览器不能直接播放，需转换后查看")
		return false
	default:
		f.because("编码 " + video.Codec + " 浏览器不能直接播放，需转换后查看")
		return false
	}
	if audio != nil && audio.Samples > 0 && !slices.Contains([]string{"aac", "mp3", "opus", "flac"}, audio.Codec) {
		f.because("声音编码 " + audio.Codec + " 浏览器可能不支持")
	}
	return true
}

// remarks are oddities that take nothing away.
func remarks(f *Facts, l Layout) {
	switch {
	case l.Overrun != nil:
		f.because(fmt.Sprintf("最后一个数据块（%s）声明的长度超出文件，但索引所列内容都在", printable([]byte(l.Overrun.Type))))
	case l.ZeroTail && l.BadAt >= 0:
		f.because(fmt.Sprintf("第 %d 字节之后是填充的零", l.BadAt))
	case l.BadAt >= 0:
		f.because(fmt.Sprintf("第 %d 字节之后有多余的内容", l.BadAt))
	case l.Cut:
		f.because("分段太多，没有全部检查，时长为下限")
	}
}
