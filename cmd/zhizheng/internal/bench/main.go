// Command bench prints the product's figures beside a baseline that ran right next to them: name, value, unit, target, ok or short,
// separated by tabs, and first the machine. It starts its own platform on real services in a temporary folder.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"syscall"

	"zhizheng/ingest/media"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "probe-media" {
		os.Exit(media.ProbeMain(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) > 0 && args[0] == "plain-upload" { // the baseline, a process of its own so that its CPU can be told
		return plainUpload(ctx, args[1:])
	}
	if len(args) > 0 && args[0] == "log-writers" { // a server's share of appending, told what to do on its standard input
		return logWriterProcess(ctx, args[1:])
	}
	if len(args) > 1 && args[0] == "message-listener" { // consumers, each a process of its own for the same reason
		return messageListener(ctx, args[1])
	}
	if len(args) > 2 && args[0] == "message-inserter" {
		return messageInserter(ctx, args[1], args[2])
	}
	if len(args) > 2 && args[0] == "message-broker" {
		return messageBroker(ctx, args[1], args[2])
	}
	if len(args) > 1 && args[0] == "bare-store" {
		return bareStore(ctx, args[1])
	}
	if len(args) > 1 && args[0] == "media-facts" {
		return mediaFacts(ctx, args[1])
	}
	only := ""
	if len(args) > 0 {
		only = args[0] // "docking", "audit", "media", "messages", "log", or a part of one: "docking:line", "log:append"
	}
	part, of, _ := strings.Cut(only, ":")
	fmt.Println(machine())
	fmt.Println("name\tvalue\tunit\ttarget\tresult")
	if part == "" || part == "docking" {
		if err := dockingFigures(ctx, of); err != nil {
			return err
		}
	}
	if only == "" || only == "audit" {
		if err := auditFigures(ctx); err != nil {
			return err
		}
	}
	if only == "" || only == "media" {
		if err := mediaFigures(ctx); err != nil {
			return err
		}
	}
	if part == "" || part == "messages" {
		if err := messageFigures(ctx, of); err != nil {
			return err
		}
	}
	if part == "" || part == "log" {
		return logFigures(ctx, of)
	}
	return nil
}

// figure prints a line. A target of "≤ x" or "≥ x" is judged; "-" is only told.
func figure(name string, value float64, unit, target string) {
	result := "ok"
	var limit float64
	if sign, number, found := strings.Cut(target, " "); found {
		if _, err := fmt.Sscan(number, &limit); err == nil && (sign == "≤" && value > limit || sign == "≥" && value < limit) {
			result = "short"
		}
	}
	fmt.Printf("%s\t%.3g\t%s\t%s\t%s\n", name, value, unit, target, result)
}

// killed is nil for the end of a process that we killed.
func killed(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

func machine() string {
	model := "unknown CPU"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				model = strings.TrimSpace(v)
				break
			}
		}
	}
	memory := ""
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kb int64
		if _, err := fmt.Sscanf(string(b), "MemTotal: %d kB", &kb); err == nil {
			memory = fmt.Sprintf(", %.0f GiB", float64(kb)/(1<<20))
		}
	}
	fs := ""
	if out, err := exec.Command("stat", "-f", "-c", "%T", os.TempDir()).Output(); err == nil {
		fs = ", " + strings.TrimSpace(string(out))
	}
	return fmt.Sprintf("machine\t%s, %d cores%s%s, %s/%s, %s", model, runtime.NumCPU(), memory, fs, runtime.GOOS, runtime.GOARCH, runtime.Version())
}
