package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// display prints the lines of files to stdout and, on a terminal, a bar a file and a total beneath them on stderr.
type display struct {
	out, err *os.File
	live     bool // stderr is a terminal
	share    bool // stdout is one too: bars are lifted before a line
	json     bool

	mu     sync.Mutex
	bars   []*bar
	drawn  int // lines of bars on the screen
	what   string
	total  int64
	done   atomic.Int64
	begun  time.Time
	counts map[string]int
	ticker *time.Ticker
	halt   chan struct{}
	gone   chan struct{}
}

// bar is a file that is being read or carried.
type bar struct {
	d    *display
	name string
	size int64
	done atomic.Int64
}

// maxBars keeps the picture on one screen.
const maxBars = 8

func newDisplay(stdout, stderr *os.File, json bool) *display {
	d := &display{out: stdout, err: stderr, json: json, begun: time.Now(), counts: map[string]int{}}
	d.live = term.IsTerminal(int(stderr.Fd()))
	d.share = d.live && term.IsTerminal(int(stdout.Fd()))
	if d.live {
		d.ticker = time.NewTicker(150 * time.Millisecond)
		d.halt, d.gone = make(chan struct{}), make(chan struct{})
		go d.run()
	}
	return d
}

func (d *display) run() {
	defer close(d.gone)
	for {
		select {
		case <-d.halt:
			return
		case <-d.ticker.C:
			d.mu.Lock()
			d.draw()
			d.mu.Unlock()
		}
	}
}

// stop removes the bars.
func (d *display) stop() {
	if !d.live {
		return
	}
	d.mu.Lock()
	live := d.live
	d.live = false
	d.mu.Unlock()
	if live {
		d.ticker.Stop()
		close(d.halt)
		<-d.gone
		d.lift()
	}
}

// phase begins another total.
func (d *display) phase(what string, total int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.what, d.total, d.begun = what, total, time.Now()
	d.done.Store(0)
}

func (d *display) start(name string, size int64) meter {
	b := &bar{d: d, name: printable(shown(name)), size: size}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.bars = append(d.bars, b)
	return b
}

func (b *bar) add(n int) {
	b.done.Add(int64(n))
	b.d.done.Add(int64(n))
}

// end takes the bar away; what it didn't carry (it was there already) counts in the total all the same.
func (b *bar) end() {
	b.d.done.Add(b.size - min(b.size, b.done.Load()))
	b.d.mu.Lock()
	defer b.d.mu.Unlock()
	b.d.bars = slices.DeleteFunc(b.d.bars, func(x *bar) bool { return x == b })
}

var statusNames = map[string]string{sealed: "已封存", duplicate: "已在库", rejected: "未封存", skipped: "跳过  "}

func (d *display) kept([]*clip) {}

func (d *display) logged(*task) {}

// ended prints a file's line.
func (d *display) ended(_ string, r result) error {
	text := fmt.Sprintf("%s  %s  %s", statusNames[r.Status], printable(r.File), size(r.Size))
	for _, s := range []string{r.Evidence, r.Error} {
		if s != "" {
			text += "  " + s
		}
	}
	if d.json {
		b, err := json.Marshal(r)
		if err != nil {
			return err
		}
		text = string(b)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[r.Status]++
	if d.share {
		d.lift()
	}
	if _, err := fmt.Fprintln(d.out, text); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// note tells the operator something that is no file's line.
func (d *display) note(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.live {
		d.lift()
	}
	fmt.Fprintln(d.err, printable(text))
}

func (d *display) summary(lines int) {
	d.stop()
	fmt.Fprintf(d.err, "共 %d 个文件：封存 %d，已在库 %d，未封存 %d，跳过 %d\n", lines, d.counts[sealed], d.counts[duplicate], d.counts[rejected], d.counts[skipped])
}

// lift wipes the bars off the screen.
func (d *display) lift() {
	if d.drawn > 0 {
		fmt.Fprintf(d.err, "\x1b[%dA\x1b[J", d.drawn)
		d.drawn = 0
	}
}

func (d *display) draw() {
	if !d.live {
		return
	}
	width, _, err := term.GetSize(int(d.err.Fd()))
	if err != nil || width < 40 {
		width = 80
	}
	var s strings.Builder
	if d.drawn > 0 {
		fmt.Fprintf(&s, "\x1b[%dA\x1b[J", d.drawn)
	}
	d.drawn = 0
	for i, b := range d.bars {
		if i == maxBars {
			fmt.Fprintf(&s, "  … 另有 %d 个文件\n", len(d.bars)-maxBars)
			d.drawn++
			break
		}
		s.WriteString(barLine("  "+b.name, b.done.Load(), b.size, width, ""))
		d.drawn++
	}
	if d.what != "" {
		rate := float64(d.done.Load()) / max(time.Since(d.begun).Seconds(), 0.001)
		s.WriteString(barLine(fmt.Sprintf("%s 合计（%d 个文件已完成）", d.what, d.finished()), d.done.Load(), d.total, width, size(int64(rate))+"/s"))
		d.drawn++
	}
	_, _ = io.WriteString(d.err, s.String()) // a terminal that is gone needs no bars
}

func (d *display) finished() (n int) {
	for _, c := range d.counts {
		n += c
	}
	return n
}

func barLine(name string, done, total int64, width int, rate string) string {
	const cells = 20
	part := 1.0
	if total > 0 {
		part = min(float64(done)/float64(total), 1)
	}
	full := int(part * cells)
	tail := fmt.Sprintf(" %s%s %3.0f%% %s/%s", strings.Repeat("█", full), strings.Repeat("░", cells-full), part*100, size(done), size(total))
	if rate != "" {
		tail += " " + rate
	}
	return fit(name, max(width-displayWidth(tail)-1, 8)) + tail + "\n"
}

// fit cuts or pads text to a number of columns.
func fit(s string, cols int) string {
	w := displayWidth(s)
	if w <= cols {
		return s + strings.Repeat(" ", cols-w)
	}
	var b strings.Builder
	w = 0
	for _, r := range s {
		rw := runeWidth(r)
		if w+rw > cols-1 {
			break
		}
		b.WriteRune(r)
		w += rw
	}
	return b.String() + "…" + strings.Repeat(" ", max(cols-1-w, 0))
}

func displayWidth(s string) (w int) {
	for _, r := range s {
		w += runeWidth(r)
	}
	return w
}

// runeWidth: ideographs and full-width forms take two columns.
func runeWidth(r rune) int {
	if r >= 0x1100 && (r <= 0x115f || (r >= 0x2e80 && r <= 0xa4cf) || (r >= 0xac00 && r <= 0xd7a3) || (r >= 0xf900 && r <= 0xfaff) ||
		(r >= 0xfe30 && r <= 0xfe6f) || (r >= 0xff00 && r <= 0xff60) || (r >= 0xffe0 && r <= 0xffe6) || r >= 0x1f300) {
		return 2
	}
	return 1
}

// shown is a name as text can hold it: bytes that are no UTF-8 are replaced.
func shown(name string) string { return strings.ToValidUTF8(name, string(utf8.RuneError)) }

// printable keeps control characters in a name from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
			return '?'
		}
		return r
	}, s)
}

// size is a number of bytes for people.
func size(n int64) string {
	f, unit := float64(n), "B"
	for _, u := range []string{"KB", "MB", "GB", "TB"} {
		if f < 1024 {
			break
		}
		f, unit = f/1024, u
	}
	if unit == "B" {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, unit)
}
