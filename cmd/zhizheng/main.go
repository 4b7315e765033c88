// Command zhizheng is the server of the evidence platform and its administration. `zhizheng serve` runs everything in one process
// with three child processes: the embedded database, the log's signer and, in the demo, the simulated county.
//
// Read serve.go for what runs and in which order it starts and stops, config.go for the settings.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"zhizheng/evidence/evlog/signer"
	"zhizheng/ingest/media"
	"zhizheng/internal/version"
)

type cli struct {
	Serve      serveCmd         `cmd:"" help:"启动平台：网页、接口、日志、内嵌的数据库、消息服务与对象存储。"`
	Probe      probeCmd         `cmd:"" help:"检查对象存储（minio-go，独立客户端）并打印过程。"`
	Audit      auditCmd         `cmd:"" help:"核验：日志（默认）、全部影像、自证演练。"`
	Log        logCmd           `cmd:"" help:"日志：状态、删除册页内容、恢复。"`
	Signer     signerCmd        `cmd:"" help:"签名进程：供多台服务器共用（--dir --socket），以及查看、更换、停用密钥（show、rotate、retire）。"`
	Stamp      stampCmd         `cmd:"" help:"可信时间戳：写出请求、导入带回的时间戳。"`
	User       userCmd          `cmd:"" help:"账号：建立、一次性登录链接。"`
	Device     deviceCmd        `cmd:"" help:"设备：登记码、吊销。"`
	Station    stationCmd       `cmd:"" help:"采集站：登记、吊销。"`
	MQTTConfig mqttConfigCmd    `cmd:"" name:"mqtt-config" help:"为自有的 Mosquitto 写出设置：监听、访问规则、证书、吊销列表。"`
	Witness    witnessCmd       `cmd:"" help:"见证：运行见证方，或为没有网络的见证方传递文件。"`
	Version    kong.VersionFlag `help:"打印版本。" short:"V"`
}

func main() {
	// The children that this binary starts of itself; their protocols are pipes, not flags.
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "signer":
			os.Exit(signer.Main(os.Args[2:]))
		case "probe-media":
			os.Exit(media.ProbeMain(os.Args[2:]))
		}
	}
	var c cli
	k := kong.Parse(&c, kong.Name("zhizheng"), kong.UsageOnError(), kong.Vars{"version": version.String()},
		kong.Description("执证：乡镇执法证据平台。设置项都可用命令行参数或 ZZ_… 环境变量给出。"))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	go func() {
		<-ctx.Done()
		stop() // a second Ctrl-C ends the process at once; the next start recovers
	}()
	k.BindTo(ctx, (*context.Context)(nil))
	if err := k.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "zhizheng:", err)
		os.Exit(1)
	}
}
