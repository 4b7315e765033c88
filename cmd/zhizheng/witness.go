package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/witness"
)

// witnessCmd runs a witness (serve, sign), or carries files to and from one that has no network (export, import), beside a running
// server too.
type witnessCmd struct {
	witness.Commands
	Export witnessExportCmd `cmd:"" help:"平台一侧：导出请求文件，交给没有网络的见证方。"`
	Import witnessImportCmd `cmd:"" help:"平台一侧：导入见证方的共签文件。"`
}

type witnessExportCmd struct {
	serviceConfig
	Witness string `arg:"" help:"见证方在策略文件中的名称。"`
	From    *int64 `help:"见证方上次见证到的大小；不给则按平台所知。"`
	Out     string `help:"写入的文件；不给则写到标准输出。" type:"path"`
}

// Run of `zhizheng witness export`.
func (c *witnessExportCmd) Run(ctx context.Context) error {
	return c.withLog(ctx, func(_ *pgxpool.Pool, log *evlog.Log) error {
		if err := log.UseLoggedWitnesses(ctx); err != nil {
			return err
		}
		text, size, err := log.WitnessRequest(ctx, c.Witness, c.From)
		if err != nil {
			return err
		}
		if c.Out == "" {
			_, err = os.Stdout.Write(text)
			return err
		}
		fmt.Fprintf(os.Stderr, "请 %s 见证大小为 %d 的检查点：zhizheng-witness sign --dir 目录 --out 共签文件 %s\n", c.Witness, size, c.Out)
		return os.WriteFile(c.Out, text, 0o644)
	})
}

type witnessImportCmd struct {
	serviceConfig
	File string `arg:"" help:"共签文件；- 为标准输入。"`
}

// Run of `zhizheng witness import`.
func (c *witnessImportCmd) Run(ctx context.Context) error {
	in := os.Stdin
	if c.File != "-" {
		f, err := os.Open(c.File)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, 1<<20))
	if err != nil {
		return err
	}
	return c.withLog(ctx, func(_ *pgxpool.Pool, log *evlog.Log) error {
		if err := log.UseLoggedWitnesses(ctx); err != nil {
			return err
		}
		all, err := log.ImportCosignatures(ctx, string(text))
		if err != nil {
			return err
		}
		for _, i := range all {
			known := ""
			if !i.New {
				known = "（此前已有）"
			}
			fmt.Printf("✓ %s 于 %s 共签了大小为 %d 的检查点%s\n", i.Witness, i.At.Local().Format(time.DateTime), i.Size, known)
		}
		return nil
	})
}

// useWitnesses puts the configured policy in force, or the demo's.
func (c *serveCmd) useWitnesses(ctx context.Context, p *progress, pl *platform) (err error) {
	if pl.log.Halted() != "" { // nothing can be logged, a new policy neither
		return pl.log.UseLoggedWitnesses(ctx)
	}
	o := evlog.WitnessOptions{Policy: chain.LogPolicy(pl.log.VKey()), Interval: c.WitnessInterval}
	switch {
	case c.WitnessPolicy != "":
		text, err := os.ReadFile(c.WitnessPolicy)
		if err != nil {
			return err
		}
		if o.Policy, err = chain.ParsePolicy(string(text)); err != nil {
			return fmt.Errorf("%s: %w", c.WitnessPolicy, err)
		}
	case c.Demo && c.DemoWitnesses:
		if o.Policy, pl.demoWitnesses, err = c.prepareDemoWitnesses(ctx, pl.log.VKey()); err != nil {
			return fmt.Errorf("示例见证方：%w", err)
		}
	}
	if err := pl.log.UseWitnesses(ctx, o); err != nil {
		return err
	}
	if need, of := o.Policy.Threshold(); need > 0 {
		p.say("  · 见证：%d 个见证方，门限 %d", of, need)
	}
	return nil
}
