package sim

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// mask is a text as coverage, 0–255 a pixel.
type mask struct {
	w, h int
	pix  []uint8
}

// typesetter turns texts into masks with the system's Chinese font, by one run of ffmpeg for all of them.
type typesetter struct {
	font  string // as fontconfig names it
	masks map[string]*mask
}

const (
	lineHeight = 48 // pixels a line of the sheet
	sheetWidth = 1600
)

// chineseFont asks fontconfig; "" means this machine has none.
func chineseFont(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "fc-list", ":lang=zh", "family").Output()
	if err != nil || len(bytes.TrimSpace(out)) == 0 {
		return ""
	}
	for _, want := range []string{"Noto Sans CJK SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei", "Droid Sans Fallback"} {
		if strings.Contains(string(out), want) {
			return want
		}
	}
	first, _, _ := strings.Cut(string(out), "\n")
	first, _, _ = strings.Cut(first, ",")
	return strings.TrimSpace(first)
}

// typeset renders each text once. Texts go to ffmpeg as files, so that nothing in them is a command to it.
func typeset(ctx context.Context, font string, texts []string) (*typesetter, error) {
	ts := &typesetter{font: font, masks: map[string]*mask{}}
	if font == "" {
		return ts, nil
	}
	dir, err := os.MkdirTemp("", "zhizheng-sim-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var filter strings.Builder
	var lines []string
	for _, t := range texts {
		if _, ok := ts.masks[t]; ok || t == "" {
			continue
		}
		ts.masks[t] = nil
		file := filepath.Join(dir, strconv.Itoa(len(lines)))
		if err := os.WriteFile(file, []byte(t), 0o600); err != nil {
			return nil, err
		}
		fmt.Fprintf(&filter, "drawtext=font='%s':textfile=%s:expansion=none:fontsize=36:fontcolor=white:x=6:y=%d,\n",
			strings.ReplaceAll(font, "'", ""), file, len(lines)*lineHeight+4)
		lines = append(lines, t)
	}
	filter.WriteString("format=gray")
	script := filepath.Join(dir, "filter")
	if err := os.WriteFile(script, []byte(filter.String()), 0o600); err != nil {
		return nil, err
	}
	h := len(lines) * lineHeight
	cmd := exec.CommandContext(ctx, "ffmpeg", "-nostdin", "-v", "error", "-f", "lavfi", "-i", fmt.Sprintf("color=black:s=%dx%d", sheetWidth, h),
		"-filter_script:v", script, "-frames:v", "1", "-f", "rawvideo", "pipe:1")
	var sheet, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &sheet, &errs
	if err := cmd.Run(); err != nil || sheet.Len() != sheetWidth*h {
		return nil, fmt.Errorf("typeset with ffmpeg: %w: %s", err, tail(errs.String()))
	}
	for i, t := range lines {
		ts.masks[t] = cutLine(sheet.Bytes()[i*lineHeight*sheetWidth:])
	}
	return ts, nil
}

// cutLine takes a line of the sheet up to its last mark.
func cutLine(b []byte) *mask {
	right := 0
	for y := range lineHeight {
		for x := sheetWidth - 1; x > right; x-- {
			if b[y*sheetWidth+x] > 24 {
				right = x
				break
			}
		}
	}
	m := &mask{w: min(right+4, sheetWidth), h: lineHeight}
	m.pix = make([]uint8, m.w*m.h)
	for y := range lineHeight {
		copy(m.pix[y*m.w:(y+1)*m.w], b[y*sheetWidth:])
	}
	return m
}

func (ts *typesetter) of(text string) *mask { return ts.masks[text] }

// tail is the end of a program's complaint.
func tail(s string) string {
	s = strings.TrimSpace(s)
	return s[max(0, len(s)-400):]
}
