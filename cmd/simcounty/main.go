// Command zhizheng-simcounty plays a county. Its devices have one MQTT connection each, speaking the public protocol and nothing else: a
// message is sent again, under the same number, until the broker has acknowledged it. Its docking stations are the real agent over cards of
// made-up footage, and at the end every byte is accounted for, by receipts and by the log as anyone may read it. It knows no database
// and no secret but those of devices and stations.
//
// Devices: county.go for a device's connection, play.go for what it says. Stations: dock.go for what happens, cards.go for the footage,
// evening.go for whole stations at work, account.go for the reckoning.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"zhizheng/internal/version"
)

// cli are the county's two sides.
type cli struct {
	Devices config           `cmd:"" default:"withargs" help:"设备：每台一个 MQTT 连接，上报心跳、电量、存储与在站状态（默认）。"`
	Dock    dockConfig       `cmd:"" help:"采集站：用真正的采集程序归库造出的影像，最后逐字节对账。"`
	Version kong.VersionFlag `help:"打印版本。" short:"V"`
}

// config is the devices' settings: flags, or ZZ_SIM_… variables.
type config struct {
	Broker      string        `help:"MQTT 服务的地址，mqtts://主机:端口。" required:"" env:"ZZ_SIM_BROKER"`
	CA          string        `help:"信任的证书（PEM）；不填用系统的。" name:"ca" type:"existingfile" env:"ZZ_SIM_CA"`
	Credentials string        `help:"设备凭据文件（JSON）。" required:"" type:"existingfile" env:"ZZ_SIM_CREDENTIALS"`
	Every       time.Duration `help:"每台设备多久报一次。" default:"30s" env:"ZZ_SIM_EVERY"`
	Ramp        time.Duration `help:"开始时在多长时间内逐台上线。" default:"20s" env:"ZZ_SIM_RAMP"`
	Seed        uint64        `help:"随机种子；同一种子演出相同。" default:"1" env:"ZZ_SIM_SEED"`
	LogLevel    string        `help:"日志级别。" default:"info" enum:"debug,info,warn,error" env:"ZZ_SIM_LOG_LEVEL" name:"log-level"`
}

// Validate is called by kong.
func (c *config) Validate() error {
	u, err := url.Parse(c.Broker)
	if err != nil || u.Hostname() == "" || u.Port() == "" || (u.Scheme != "mqtts" && u.Scheme != "mqtt") {
		return errors.New("--broker 应为 mqtts://主机:端口")
	}
	if c.Every < 100*time.Millisecond || c.Ramp < 0 {
		return errors.New("--every 至少 100ms，--ramp 不能为负")
	}
	return nil
}

func main() {
	debug.SetGCPercent(50) // 1,600 connections hold 40 MB that never move; twice that would be kept for nothing
	var c cli
	k := kong.Parse(&c, kong.Name("zhizheng-simcounty"), kong.UsageOnError(), kong.Vars{"version": version.String()},
		kong.Description("模拟全县：设备上报，采集站归库。Ctrl-C 停止。"))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		stop() // a second Ctrl-C ends it at once
	}()
	if k.Command() == "dock" {
		k.FatalIfErrorf(dock(ctx, c.Dock, os.Stdout))
		return
	}
	k.FatalIfErrorf(run(ctx, c.Devices))
}

func run(ctx context.Context, c config) error {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.LogLevel)); err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	all, err := readCredentials(c.Credentials)
	if err != nil {
		return err
	}
	trust, err := readCA(c.CA)
	if err != nil {
		return err
	}
	return newCounty(c, trust, all, log).run(ctx)
}

// credential is a line of the credentials file.
type credential struct {
	ID    string `json:"id"`
	Kind  string `json:"kind"`
	Token string `json:"token"`
	Play  string `json:"play"`
}

// How a device is played.
const (
	playLive  = "live"  // reports as long as the simulation runs
	playBrief = "brief" // reports once, then says goodbye: switched off for the night
	playFault = "fault" // reports that it doesn't work
)

func readCredentials(file string) ([]credential, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []credential
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	for i, c := range all {
		if c.ID == "" || c.Token == "" || (c.Play != playLive && c.Play != playBrief && c.Play != playFault) {
			return nil, fmt.Errorf("read %s: entry %d lacks an id or a token, or its play is unknown", file, i)
		}
	}
	return all, nil
}

func readCA(file string) (*tls.Config, error) {
	if file == "" {
		return &tls.Config{MinVersion: tls.VersionTLS12}, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}, nil
}
