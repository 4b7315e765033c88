// Command zhizheng-witness is `zhizheng witness serve` and `zhizheng witness sign` alone: small, static, without a database, for the court,
// procuratorate or justice bureau that witnesses a log of others. Read evidence/witness.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"zhizheng/evidence/witness"
	"zhizheng/internal/version"
)

type cli struct {
	witness.Commands
	Version kong.VersionFlag `help:"打印版本。" short:"V"`
}

func main() {
	var c cli
	k := kong.Parse(&c, kong.Name("zhizheng-witness"), kong.UsageOnError(), kong.Vars{"version": version.String()},
		kong.Description("证据日志的见证方（C2SP tlog-witness）：核对日志只增不改，然后共签。 Witness of an evidence log."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	k.BindTo(ctx, (*context.Context)(nil))
	if err := k.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "zhizheng-witness:", err)
		os.Exit(1)
	}
}
