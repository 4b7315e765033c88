// Command zhizheng-dock is the agent of a docking station. It reads a card once, signs a manifest for each file so that its
// fingerprint is in the log within seconds, then carries the bytes to the store, and calls a file sealed only after it has verified
// the log's receipt itself. It promises that every regular file of the folder gets a line that says what became of it. It never
// changes or deletes anything on the card.
//
// Read dock.go for the whole way of a file, then scan.go, read.go, submit.go, upload.go, receipt.go in that order; state.go for what
// survives a crash, tell.go for what the station states of itself.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"

	"zhizheng/internal/version"
)

// Exit codes: 0 only if every file is sealed, a known duplicate or a listed system file.
const (
	exitAll  = 0
	exitSome = 1
	exitNone = 2 // it couldn't begin: wrong flags, no identity, no folder
)

// cli are the two ways to run: once for a card, or as a station with slots and a page.
type cli struct {
	Card    config           `cmd:"" default:"withargs" help:"采集一张卡（默认）。"`
	Station stationConfig    `cmd:"" help:"采集站：看守各工位，提供触摸屏页面。"`
	Version kong.VersionFlag `help:"打印版本。" short:"V"`
}

func main() { os.Exit(run()) }

func run() int {
	var c cli
	k, err := kong.New(&c, kong.Name("zhizheng-dock"), kong.Vars{"version": version.String(), "system": strings.Join(systemFiles, ",")},
		kong.Description("采集站代理：读取一张卡（文件夹），先登记指纹，再上传，核对回执后才算封存。\n\n"+
			"退出码：0 全部封存（或已知重复、系统文件）；1 有文件未封存；2 未能开始。"))
	if err != nil {
		fmt.Fprintln(os.Stderr, "zhizheng-dock:", err)
		return exitNone
	}
	cmd, err := k.Parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "zhizheng-dock:", err)
		fmt.Fprintln(os.Stderr, "用法见 zhizheng-dock --help")
		return exitNone
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		stop() // a second Ctrl-C ends it at once; the next run goes on where this one stopped
	}()
	if cmd.Command() == "station" {
		return station(ctx, c.Station)
	}
	all, err := dock(ctx, c.Card, os.Stdout, os.Stderr)
	switch {
	case err != nil:
		if ctx.Err() != nil {
			err = errors.New("已中断；再次运行会接着上传")
		}
		fmt.Fprintln(os.Stderr, "zhizheng-dock:", err)
		return exitNone
	case !all:
		return exitSome
	}
	return exitAll
}
