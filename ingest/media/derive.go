package media

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/jpeg"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/riverqueue/river"

	"zhizheng/evidence"
	"zhizheng/internal/blob"
	"zhizheng/internal/id"
)

// DeriveQueue is River's queue of previews and contact sheets.
const DeriveQueue = "media_derive"

// DeriveJob makes whatever's turn it is: the jobs are as many as the things to make, and the turns are taken in the database, so that
// no township keeps the others waiting.
type DeriveJob struct{}

// Kind names the job in River's tables.
func (DeriveJob) Kind() string { return "media_derive" }

// InsertOpts puts it into its own queue.
func (DeriveJob) InsertOpts() river.InsertOpts {
	return river.InsertOpts{Queue: DeriveQueue, MaxAttempts: 25}
}

// PeriodicDerive looks every minute for what a killed server left behind.
func PeriodicDerive() *river.PeriodicJob {
	return river.NewPeriodicJob(river.PeriodicInterval(time.Minute), func() (river.JobArgs, *river.InsertOpts) { return DeriveJob{}, nil },
		&river.PeriodicJobOpts{RunOnStart: true})
}

// Bounds of what is made.
const (
	previewWidth    = 854
	previewMB       = 4900 // a store takes 5 GiB in one request
	sheetColumns    = 5
	sheetRows       = 4
	sheetTile       = 320
	sheetTileHeight = 180
	deriveTries     = 4
	notOriginal     = "预览，非原件"
)

// DeriveWorker makes previews and contact sheets.
type DeriveWorker struct {
	river.WorkerDefaults[DeriveJob]
	Keeper *evidence.Keeper
	Store  *blob.Store
	Prober Prober
	Most   int          // how many at once in the whole county
	Logger *slog.Logger // nil is the default one
}

// Timeout: a recording of twelve hours takes as long as it takes; ffmpeg has limits of its own.
func (*DeriveWorker) Timeout(*river.Job[DeriveJob]) time.Duration { return -1 }

// Work takes a turn. A crash anywhere leaves a turn whose lease ends, and perhaps an object nobody names.
func (w *DeriveWorker) Work(ctx context.Context, _ *river.Job[DeriveJob]) error {
	d, busy, err := w.Keeper.TakeTurn(ctx, max(w.Most, 1))
	switch {
	case err != nil:
		return err
	case busy:
		return river.JobSnooze(3 * time.Second)
	case d.EvidenceID == "":
		return nil
	}
	err = w.make(ctx, d)
	if err == nil || errors.Is(err, evidence.ErrTurnLost) {
		return nil
	}
	forGood, failure := d.Attempts >= deriveTries, "生成没有成功，可以再试"
	if errors.Is(err, errNoPicture) {
		forGood, failure = true, "从这份影像里取不出画面"
	}
	logger := w.Logger
	if logger == nil {
		logger = slog.Default()
	}
	logger.WarnContext(ctx, "derived object not made", "evidence", d.EvidenceID, "kind", d.Kind, "attempt", d.Attempts, "cause", err)
	if gerr := w.Keeper.GiveUp(context.WithoutCancel(ctx), d, failure, forGood); gerr != nil || forGood {
		return gerr
	}
	return fmt.Errorf("make %s of %s: %w", d.Kind, d.EvidenceID, err)
}

func (w *DeriveWorker) make(ctx context.Context, d evidence.Derived) (err error) {
	rec, err := w.Keeper.Get(ctx, evidence.Scope{}, evidence.ID(d.EvidenceID))
	if err != nil {
		return err
	}
	var f Facts
	if err := json.Unmarshal(rec.Media, &f); err != nil {
		return fmt.Errorf("read media facts: %w", err)
	}
	demuxer := demuxerOf(f.Container)
	if demuxer == "" || rec.Status == evidence.StatusPending {
		return errNoPicture
	}
	self, err := w.Prober.self()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 10*time.Minute+4*time.Duration(f.DurationMs)*time.Millisecond, errNoPicture)
	defer cancel()
	dir, err := os.MkdirTemp("", "zhizheng-derive-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	address, stop, err := w.serve(ctx, rec)
	if err != nil {
		return err
	}
	defer stop()
	path := filepath.Join(dir, "out")
	extension := ".mp4"
	progress := func(percent int) error { return w.Keeper.Progress(ctx, d, percent) }
	if d.Kind == evidence.DerivedPreview {
		d.ContentType = "video/mp4"
		err = preview(ctx, self, demuxer, address, path, f.DurationMs, progress)
	} else {
		d.ContentType, extension = "image/jpeg", ".jpg"
		err = contactSheet(ctx, self, demuxer, address, path, d.FromMs, f.DurationMs, progress)
	}
	if err != nil {
		return err
	}
	d.ObjectKey = "derived/" + d.Kind + "/" + d.EvidenceID + "/" + id.New() + extension
	if err := w.put(ctx, path, &d); err != nil {
		return err
	}
	return w.Keeper.Made(ctx, d)
}

func (w *DeriveWorker) put(ctx context.Context, path string, d *evidence.Derived) error {
	r, err := os.Open(path)
	if err != nil {
		return err
	}
	defer r.Close()
	h := sha256.New()
	if d.Size, err = io.Copy(h, r); err != nil {
		return err
	}
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return err
	}
	d.SHA256 = h.Sum(nil)
	_, err = w.Store.PutFrom(ctx, d.ObjectKey, r, d.Size, [32]byte(d.SHA256), blob.CreateOptions{ContentType: d.ContentType})
	return err
}

// serve gives ffmpeg one file on this machine under an address that nobody can guess. It reads what it needs, where it needs it: a
// recording of 4 GB is not copied first.
func (w *DeriveWorker) serve(ctx context.Context, rec evidence.Record) (address string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	secret := "/" + rand.Text()
	ctx, cancel := context.WithCancel(ctx)
	s := &http.Server{ReadHeaderTimeout: 10 * time.Second, BaseContext: func(net.Listener) context.Context { return ctx },
		Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
			if r.URL.Path != secret || r.Method != http.MethodGet {
				http.NotFound(out, r)
				return
			}
			off, end := int64(0), rec.Size
			if spec, ok := strings.CutPrefix(r.Header.Get("Range"), "bytes="); ok {
				from, to, _ := strings.Cut(spec, "-")
				off, _ = strconv.ParseInt(from, 10, 64)
				if n, err := strconv.ParseInt(to, 10, 64); err == nil {
					end = min(n+1, rec.Size)
				}
				if off < 0 || off >= end {
					out.Header().Set("Content-Range", fmt.Sprintf("bytes */%d", rec.Size))
					out.WriteHeader(http.StatusRequestedRangeNotSatisfiable)
					return
				}
				out.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", off, end-1, rec.Size))
			}
			body, err := w.Keeper.Open(r.Context(), rec, evidence.Range{Off: off, Len: end - off})
			if err != nil {
				out.Header().Del("Content-Range")
				http.Error(out, "store", http.StatusBadGateway)
				return
			}
			defer body.Close()
			out.Header().Set("Accept-Ranges", "bytes")
			out.Header().Set("Content-Length", strconv.FormatInt(end-off, 10))
			if off > 0 || end < rec.Size || r.Header.Get("Range") != "" {
				out.WriteHeader(http.StatusPartialContent)
			}
			_, _ = io.Copy(out, body) // ffmpeg leaves when it seeks
		})}
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }() // ends with Close
	return "//" + l.Addr().String() + secret, func() { cancel(); _ = s.Close(); <-done }, nil
}

// preview makes an H.264 copy at path. Its CPU is bounded by the length of the recording: 4K takes some three seconds a second.
func preview(ctx context.Context, self, demuxer, address, path string, durationMs int64, progress func(int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if durationMs <= 0 {
		durationMs = 3_600_000 // for the limit; percents would say nothing
	}
	cmd := exec.CommandContext(ctx, self, "probe-media", "limit", strconv.FormatInt(120+durationMs/1000*4, 10), strconv.Itoa(posterMemory), strconv.Itoa(previewMB), "--",
		"ffmpeg", "-nostdin", "-hide_banner", "-v", "error", "-progress", "pipe:1", "-stats_period", "1", "-max_alloc", "268435456",
		"-protocol_whitelist", "http,tcp", "-threads", "1", "-max_pixels", "70000000", "-f", demuxer, "-i", "http:"+address,
		"-map", "0:v:0", "-map", "0:a:0?", "-sn", "-dn", "-map_metadata", "-1", "-metadata", "title="+notOriginal,
		"-filter_threads", "1", "-vf", "scale='min("+strconv.Itoa(previewWidth)+",iw)':-2,format=yuv420p", "-c:v", "libx264", "-preset", "veryfast", "-crf", "27", "-g", "50", "-threads", "1",
		"-c:a", "aac", "-b:a", "64k", "-ac", "1", "-movflags", "+faststart", "-f", "mp4", "-y", "file:"+path)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.WaitDelay = 5 * time.Second
	var errs capped
	errs.max = 64 << 10
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start ffmpeg: %w", err)
	}
	stop := watchRSS(cmd.Process, posterMemory<<20)
	at := int64(0)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), "=")
		switch key {
		case "out_time_us":
			at, _ = strconv.ParseInt(value, 10, 64)
		case "progress":
			if err := progress(int(at / 10 / durationMs)); err != nil {
				cancel(err)
			}
		}
	}
	err = cmd.Wait()
	stop()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if st, serr := os.Stat(path); err != nil || serr != nil || st.Size() < 1024 {
		return broken(err, errs.String())
	}
	return nil
}

// broken tells a store that failed, which is worth trying again, from a file that gives no picture.
func broken(err error, said string) error {
	if strings.Contains(said, "Server returned 5") || strings.Contains(said, "Connection") || strings.Contains(said, "Input/output error") {
		return fmt.Errorf("read footage: %v %s", err, firstLine(said))
	}
	return fmt.Errorf("%w: %v %s", errNoPicture, err, firstLine(said))
}

// contactSheet takes pictures evenly from fromMs to the end and puts them on one page.
func contactSheet(ctx context.Context, self, demuxer, address, path string, fromMs, durationMs int64, progress func(int) error) error {
	const n = sheetColumns * sheetRows
	page := image.NewRGBA(image.Rect(0, 0, sheetColumns*sheetTile, sheetRows*sheetTileHeight))
	draw.Draw(page, page.Bounds(), image.NewUniform(color.Gray{0x20}), image.Point{}, draw.Src)
	fromMs = min(fromMs, max(durationMs-1000, 0))
	taken := 0
	var last error
	for i := range int64(n) {
		at := fromMs + (durationMs-fromMs)*i/n
		b, err := frame(ctx, self, demuxer, "http", address, strconv.FormatFloat(float64(at)/1000, 'f', 3, 64), sheetTile)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			if last = err; taken == 0 && i >= 2 {
				return broken(err, err.Error())
			}
			continue
		}
		pic, err := jpeg.Decode(bytes.NewReader(b))
		if err != nil {
			return fmt.Errorf("%w: %v", errNoPicture, err)
		}
		taken++
		tile := image.Rect(0, 0, sheetTile-2, sheetTileHeight-2).Add(image.Pt(int(i)%sheetColumns*sheetTile+1, int(i)/sheetColumns*sheetTileHeight+1))
		fit(page, tile, pic)
		if err := progress(int((i + 1) * 100 / n)); err != nil {
			return err
		}
	}
	if taken == 0 {
		return broken(last, fmt.Sprint(last))
	}
	w, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(jpeg.Encode(w, page, &jpeg.Options{Quality: 80}), w.Close())
}

// fit draws a picture into the middle of a tile, as large as it goes.
func fit(page *image.RGBA, tile image.Rectangle, pic image.Image) {
	b := pic.Bounds()
	w, h := tile.Dx(), tile.Dx()*b.Dy()/max(b.Dx(), 1)
	if h > tile.Dy() {
		w, h = tile.Dy()*b.Dx()/max(b.Dy(), 1), tile.Dy()
	}
	corner := image.Pt(tile.Min.X+(tile.Dx()-w)/2, tile.Min.Y+(tile.Dy()-h)/2)
	for y := range h {
		for x := range w {
			page.Set(corner.X+x, corner.Y+y, pic.At(b.Min.X+x*b.Dx()/w, b.Min.Y+y*b.Dy()/h))
		}
	}
}

// RegisterDerive adds the worker of previews and contact sheets to River's.
func RegisterDerive(workers *river.Workers, k *evidence.Keeper, store *blob.Store, most int, logger *slog.Logger) {
	river.AddWorker(workers, &DeriveWorker{Keeper: k, Store: store, Most: most, Logger: logger})
}
