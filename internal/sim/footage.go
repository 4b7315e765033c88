// Package sim draws the demo's footage: invented places of a mountain county, seen by a body-worn recorder, with burned-in time, unit
// and officer number, spoken Mandarin and positions. Everything it shows is marked 示例.
package sim

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Clip is one recording.
type Clip struct {
	Scene    Scene
	Start    time.Time
	Length   time.Duration
	Unit     string // burned in, as is the officer's number
	Officer  string
	Lat, Lon float64  // degrees, WGS 84
	Say      []string // what is spoken, a sentence an entry
	Seed     uint64
}

const (
	frameRate = 15
	caption   = 22 // pixels a line of the burned-in captions
)

var shanghai = time.FixedZone("+08:00", 8*3600)

// Render writes the clip to path as MP4 (H.264, AAC), whole or not at all. It needs ffmpeg; without espeak-ng nobody speaks, without a
// Chinese font the captions are left out.
func Render(ctx context.Context, path string, c Clip) (err error) {
	dir, err := os.MkdirTemp(filepath.Dir(path), ".clip-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	font := chineseFont(ctx)
	ts, err := typeset(ctx, font, signs)
	if err != nil {
		return err
	}
	sc := paintScene(c.Scene, rand.New(rand.NewPCG(c.Seed, 5)), ts)
	voice, err := speak(ctx, dir, c.Say)
	if err != nil {
		return err
	}
	captions, err := burnIn(dir, font, c)
	if err != nil {
		return err
	}
	out := filepath.Join(dir, "clip.mp4")
	args := []string{"-nostdin", "-v", "error", "-f", "rawvideo", "-pix_fmt", "rgba", "-video_size", fmt.Sprintf("%dx%d", frameW, frameH),
		"-framerate", fmt.Sprint(frameRate), "-i", "pipe:0",
		"-f", "lavfi", "-i", fmt.Sprintf("anoisesrc=color=%s:amplitude=%.3f:sample_rate=16000:seed=%d", sc.noise, sc.loud, c.Seed%1000+1)}
	sound := "[1:a]acopy[a]"
	if voice != "" {
		args = append(args, "-i", voice)
		sound = "[2:a]aresample=16000,adelay=1500,apad[v];[1:a][v]amix=inputs=2:duration=first:normalize=0[a]"
	}
	args = append(args, "-filter_complex", "[0:v]"+captions+"format=yuv420p[p];"+sound, "-map", "[p]", "-map", "[a]",
		"-t", fmt.Sprintf("%.3f", c.Length.Seconds()), "-c:v", "libx264", "-preset", "veryfast", "-crf", "27", "-g", fmt.Sprint(2*frameRate),
		"-c:a", "aac", "-b:a", "48k", "-ac", "1", "-metadata", "creation_time="+c.Start.UTC().Format(time.RFC3339),
		"-metadata", fmt.Sprintf("location=%+08.4f%+09.4f/", c.Lat, c.Lon), out)
	cmd := exec.CommandContext(ctx, "ffmpeg", args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	frames, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("render footage: %w", err)
	}
	drawn := drawFrames(frames, sc, c)
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("render footage with ffmpeg: %w: %s", err, tail(said.String()))
	}
	if drawn != nil {
		return fmt.Errorf("render footage: %w", drawn)
	}
	end := c.Start.Add(c.Length)
	if err := os.Chtimes(out, end, end); err != nil {
		return err
	}
	return os.Rename(out, path)
}

func drawFrames(w interface {
	Write([]byte) (int, error)
	Close() error
}, sc scenery, c Clip) (err error) {
	defer func() { err = errors.Join(err, w.Close()) }()
	f := newPicture(frameW, frameH)
	eye := camera{period: 24 + float64(c.Seed%9), phase: float64(c.Seed % 6), walk: 1}
	buf := bufio.NewWriterSize(w, 1<<20)
	for i := range int(c.Length.Seconds() * frameRate) {
		sc.draw(f, eye, float64(i)/frameRate)
		if _, err := buf.Write(f.pix); err != nil {
			return err
		}
	}
	return buf.Flush()
}

// burnIn is the filter of the captions. What they say goes to ffmpeg as files, so that nothing in it is a command to it.
func burnIn(dir, font string, c Clip) (string, error) {
	if font == "" {
		return "", nil
	}
	lines := []struct{ name, text, expansion, x, y string }{
		{"unit", c.Unit + "　示例", "none", "18", "14"},
		{"officer", "执法人员 " + c.Officer, "none", "18", "h-th-16"},
		{"place", fmt.Sprintf("N%.4f° E%.4f°", c.Lat, c.Lon), "none", "w-tw-18", "h-th-16"},
		// The clock runs with the frames; gmtime of a moment eight hours on is the county's local time.
		{"clock", fmt.Sprintf(`%%{pts:gmtime:%d:%%Y-%%m-%%d %%H\:%%M\:%%S}`, c.Start.Add(8*time.Hour).Unix()), "normal", "w-tw-18", "14"},
	}
	var b strings.Builder
	for _, l := range lines {
		file := filepath.Join(dir, l.name)
		if err := os.WriteFile(file, []byte(l.text), 0o600); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "drawtext=font='%s':textfile='%s':expansion=%s:fontsize=%d:fontcolor=white:borderw=2:bordercolor=black@0.65:x=%s:y=%s,",
			strings.ReplaceAll(font, "'", ""), file, l.expansion, caption, l.x, l.y)
	}
	return b.String(), nil
}

// speak writes the sentences as a WAV file; "" when this machine has no voice.
func speak(ctx context.Context, dir string, say []string) (string, error) {
	program, err := exec.LookPath("espeak-ng")
	if err != nil || len(say) == 0 {
		return "", nil
	}
	out := filepath.Join(dir, "voice.wav")
	cmd := exec.CommandContext(ctx, program, "-v", "cmn", "-s", "155", "-w", out, "--stdin")
	cmd.Stdin = strings.NewReader(strings.Join(say, "\n\n"))
	if msg, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("speak: %w: %s", err, tail(string(msg)))
	}
	return out, nil
}
