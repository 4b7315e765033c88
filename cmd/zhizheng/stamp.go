package main

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/cmd/zhizheng/internal/demo"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/stamp"
	"zhizheng/evidence/stamp/tsa"
)

// stampConfig says who is asked for trusted timestamps.
type stampConfig struct {
	TSA      []string      `help:"时间戳机构（RFC 3161）的地址，可给多个。" env:"ZZ_TSA" name:"tsa"`
	TSARoots string        `help:"时间戳机构的根证书（PEM）。" env:"ZZ_TSA_ROOTS" name:"tsa-roots" type:"existingfile"`
	TSAEvery time.Duration `help:"每隔多久取一次时间戳。" default:"1h" env:"ZZ_TSA_EVERY" name:"tsa-every"`
}

func (c *stampConfig) validate() error {
	for _, address := range c.TSA {
		if _, err := tsa.Name(address); err != nil {
			return errors.New("--tsa 应为 http(s)://主机/路径")
		}
	}
	if len(c.TSA) > 0 && c.TSARoots == "" {
		return errors.New("用 --tsa 时须以 --tsa-roots 给出时间戳机构的根证书（PEM）")
	}
	if c.TSAEvery < time.Minute {
		return errors.New("--tsa-every 至少为 1m")
	}
	return nil
}

func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	roots, err := stamp.ParseRoots(b)
	if err != nil {
		return nil, fmt.Errorf("%s：%w", path, err)
	}
	return roots, nil
}

// stamps is who the log asks: the configured authorities, or in the demo, where there is none, the demo's own.
func (c *serveCmd) stamps(p *progress, pl *platform) (evlog.Stamps, error) {
	roots, err := readRoots(c.TSARoots)
	if err != nil || !c.Demo || len(c.TSA) > 0 || roots != nil {
		return evlog.Stamps{Authorities: c.TSA, Roots: roots, Every: c.TSAEvery}, err
	}
	dir := filepath.Join(c.Data, "demo-tsa")
	if pl.demoTSA, err = demo.OpenTSA(dir, c.demoTSAListen()); err != nil { // the demo goes on without
		p.say("  ! 没有示例时间戳机构：%v", err)
		return evlog.Stamps{}, nil
	}
	p.say("  ✓ 示例时间戳机构（时间取自本机，不具法律效力）%s，根证书 %s", pl.demoTSA.URL(), filepath.Join(dir, demo.TSARootFile))
	return evlog.Stamps{Authorities: []string{pl.demoTSA.URL()}, Roots: pl.demoTSA.Roots(), Every: c.TSAEvery}, nil
}

// demoTSAListen is the fourth port from the console's, on this machine only: the same address at each start, because it is in the log.
func (c *serveCmd) demoTSAListen() string {
	port := 0
	if _, p, err := net.SplitHostPort(c.Listen); err == nil {
		if n, err := strconv.Atoi(p); err == nil && n > 0 && n+3 < 65536 {
			port = n + 3
		}
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}

// stampCmd carries timestamps over a network gap.
type stampCmd struct {
	Export stampExportCmd `cmd:"" help:"为最新存证点写出时间戳请求（.tsq），带到时间戳机构签发。"`
	Import stampImportCmd `cmd:"" help:"核验带回的时间戳（.tsr）并记入日志。"`
}

type stampExportCmd struct {
	serviceConfig
	Out string `help:"写到哪个文件；默认 checkpoint-大小.tsq。" short:"o" type:"path"`
}

// Run of `zhizheng stamp export`.
func (c *stampExportCmd) Run(ctx context.Context) error {
	return c.withLog(ctx, func(_ *pgxpool.Pool, log *evlog.Log) error {
		request, size, err := log.StampRequest(ctx)
		if err != nil {
			return err
		}
		if c.Out == "" {
			c.Out = fmt.Sprintf("checkpoint-%d.tsq", size)
		}
		if err := os.WriteFile(c.Out, request, 0o644); err != nil {
			return err
		}
		fmt.Printf("时间戳请求：%s（前 %d 叶的存证点）\n带到时间戳机构签发，取回 .tsr 后：zhizheng stamp import 文件.tsr --tsa-roots 根证书.pem\n", c.Out, size)
		return nil
	})
}

type stampImportCmd struct {
	serviceConfig
	File     string `arg:"" help:"时间戳机构的答复（.tsr），或令牌本身。" type:"existingfile"`
	TSARoots string `help:"时间戳机构的根证书（PEM）。" env:"ZZ_TSA_ROOTS" name:"tsa-roots" type:"existingfile" required:""`
}

// Run of `zhizheng stamp import`. Beside a running server the leaf is in its database at once, and the server publishes it.
func (c *stampImportCmd) Run(ctx context.Context) error {
	roots, err := readRoots(c.TSARoots)
	if err != nil {
		return err
	}
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, stamp.MaxResponse+1)) // one byte more is refused as too large
	if err != nil {
		return err
	}
	return c.withLogOptions(ctx, evlog.Options{Stamps: evlog.Stamps{Roots: roots}}, func(_ *pgxpool.Pool, log *evlog.Log) error {
		s, err := log.ImportStamp(ctx, b)
		if err != nil {
			return err
		}
		fmt.Printf("✓ 时间戳成立：%s 时，前 %d 叶已经存在。已记入日志第 %d 叶\n", s.GenTime.Format(time.RFC3339Nano), s.Size, s.Leaf)
		return nil
	})
}
