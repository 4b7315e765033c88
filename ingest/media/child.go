package media

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Limits of the child that reads an index. An address-space limit kills Go programs at 1.2 GB already, so the kernel counts data
// pages, the parent watches resident memory, and the runtime is told to stay below both.
const (
	childRSS    = 320 << 20
	childData   = 640 << 20
	childSoft   = "200MiB"
	childCPU    = 10 // seconds
	childWall   = 60 * time.Second
	childAnswer = 4 << 20
)

// ProbeMain is the command "probe-media" of the server's binary; it returns the exit code. Without arguments it is the child that
// reads an index from its input and writes what it found to its output; with "track" it reads blocks of positions. With
// "limit CPU_SECONDS DATA_MB FILE_MB -- PROGRAM ARGS…" it limits itself and becomes that program.
func ProbeMain(args []string) int {
	if len(args) > 0 && args[0] == "limit" {
		return limitMain(args[1:])
	}
	if err := limitSelf(childCPU, childData, 0); err != nil {
		fmt.Fprintln(os.Stderr, "probe-media:", err)
		return 2
	}
	debug.SetMaxStack(16 << 20)
	work := answer
	if len(args) > 0 && args[0] == "track" {
		work = trackAnswer
	}
	if err := work(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "probe-media:", err)
		return 1
	}
	return 0
}

// answer is the child's work: length and bytes of an index in, an inspection out.
func answer(in io.Reader, out io.Writer) error {
	var n [8]byte
	if _, err := io.ReadFull(in, n[:]); err != nil {
		return fmt.Errorf("read length: %w", err)
	}
	size := binary.BigEndian.Uint64(n[:])
	if size > 2*maxIndex+sniffLen+64 {
		return fmt.Errorf("index of %d bytes", size)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(in, data); err != nil {
		return fmt.Errorf("read index: %w", err)
	}
	return json.NewEncoder(out).Encode(inspect(index{data}))
}

// limitSelf limits this process before it sees a byte of the file.
func limitSelf(cpu, data, file uint64) error {
	for _, l := range []struct {
		what  int
		value uint64
	}{{syscall.RLIMIT_CPU, cpu}, {syscall.RLIMIT_DATA, data}, {syscall.RLIMIT_CORE, 0}, {syscall.RLIMIT_FSIZE, file}} {
		if err := syscall.Setrlimit(l.what, &syscall.Rlimit{Cur: l.value, Max: l.value}); err != nil {
			return fmt.Errorf("set limit %d: %w", l.what, err)
		}
	}
	return nil
}

// limitMain becomes another program, limited and nice.
func limitMain(args []string) int {
	fail := func(err error) int { fmt.Fprintln(os.Stderr, "probe-media limit:", err); return 2 }
	if len(args) < 5 || args[3] != "--" {
		return fail(errors.New("want CPU_SECONDS DATA_MB FILE_MB -- PROGRAM ARGS"))
	}
	cpu, err1 := strconv.ParseUint(args[0], 10, 32)
	mb, err2 := strconv.ParseUint(args[1], 10, 32)
	file, err3 := strconv.ParseUint(args[2], 10, 32)
	if err := errors.Join(err1, err2, err3); err != nil {
		return fail(err)
	}
	path, err := exec.LookPath(args[4])
	if err != nil {
		return fail(err)
	}
	runtime.LockOSThread() // niceness is a thread's, and this thread becomes the program
	if err := syscall.Setpriority(syscall.PRIO_PROCESS, 0, 15); err != nil {
		return fail(err)
	}
	if err := limitSelf(cpu, mb<<20, file<<20); err != nil {
		return fail(err)
	}
	return fail(syscall.Exec(path, args[4:], []string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}))
}

// errGaveUp is a child that was ended by a limit, crashed or made no sense: a finding about the file, not a failure of ours.
var errGaveUp = errors.New("the index couldn't be read within its limits")

// inspectIn has a child of this binary read the index that feed writes. errGaveUp is about the file; other errors are ours.
func inspectIn(ctx context.Context, self string, size uint64, feed func(io.Writer) error) (in inspection, err error) {
	err = child(ctx, self, &in, func(w io.Writer) error {
		if _, err := w.Write(binary.BigEndian.AppendUint64(nil, size)); err != nil {
			return err
		}
		return feed(w)
	})
	return in, err
}

// child runs "probe-media" with more arguments on what feed writes and reads its answer.
func child(ctx context.Context, self string, answer any, feed func(io.Writer) error, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, childWall)
	defer cancel()
	cmd := exec.CommandContext(ctx, self, append([]string{"probe-media"}, args...)...)
	cmd.Env = []string{"GOMEMLIMIT=" + childSoft, "GOMAXPROCS=1", "GOTRACEBACK=none", "GOGC=50"}
	cmd.WaitDelay = 2 * time.Second
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	var out, errs capped
	out.max, errs.max = childAnswer, 4096
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the probe's child: %w", err)
	}
	stop := watchRSS(cmd.Process, childRSS)
	feedErr := feed(stdin)
	stdin.Close()
	waitErr := cmd.Wait()
	over := stop()
	if feedErr != nil && !errors.Is(feedErr, syscall.EPIPE) && !errors.Is(feedErr, os.ErrClosed) && !over {
		return feedErr // the source failed; the child only saw the end of it
	}
	if err := ctx.Err(); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if waitErr != nil || over {
		return fmt.Errorf("%w: %v %s", errGaveUp, waitErr, firstLine(errs.String()))
	}
	if err := json.Unmarshal(out.Bytes(), answer); err != nil {
		return fmt.Errorf("%w: %v", errGaveUp, err)
	}
	return nil
}

// capped keeps the first max bytes and refuses more.
type capped struct {
	bytes.Buffer
	max int
}

func (c *capped) Write(p []byte) (int, error) {
	if c.Len()+len(p) > c.max {
		return 0, errors.New("more output than allowed")
	}
	return c.Buffer.Write(p)
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s[:min(len(s), 200)]
}

// watchRSS kills p when it keeps more than limit bytes resident. stop ends the watch and tells whether it did.
func watchRSS(p *os.Process, limit int64) (stop func() bool) {
	done, over := make(chan struct{}), make(chan bool, 1)
	go func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				over <- false
				return
			case <-tick.C:
				if rss(p.Pid) > limit {
					_ = p.Kill() // it may just have ended by itself
					over <- true
					return
				}
			}
		}
	}()
	return func() bool { close(done); return <-over }
}

// rss is 0 when the process is gone.
func rss(pid int) int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(b))
	if len(f) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}
