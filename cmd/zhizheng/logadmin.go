package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/internal/pg"
)

// logCmd administers the evidence log from the machine itself.
type logCmd struct {
	Status     logStatusCmd     `cmd:"" help:"日志的大小、存证点、锁定副本、公钥与停止原因。"`
	Erase      logEraseCmd      `cmd:"" help:"删除册页的内容（盐与载荷），并记入日志；册页与证明不变。"`
	Checkpoint logCheckpointCmd `cmd:"" help:"打印数据库与锁定副本所知的最新存证点（签名文本），供签名进程找回记忆。须先停止平台。"`
	Export     logExportCmd     `cmd:"" help:"把整个日志导出到文件夹（C2SP tlog-tiles），供任何人用 zhizheng-verify 离线核验；再次运行只补新的。"`
	Recover    logRecoverCmd    `cmd:"" help:"数据库恢复到旧状态后，从锁定副本补回已签发的册页。须先停止平台。"`
}

type logStatusCmd struct {
	serviceConfig
}

// Run of `zhizheng log status`.
func (c *logStatusCmd) Run(ctx context.Context) error {
	return c.withLog(ctx, func(_ *pgxpool.Pool, log *evlog.Log) error {
		st, err := log.Status(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("名称 %s\n数据库 %d 条\n存证点 %d 条", st.Origin, st.Size, st.Published)
		if !st.PublishedAt.IsZero() {
			fmt.Printf("（%s）", st.PublishedAt.Local().Format("2006-01-02 15:04:05"))
		}
		fmt.Printf("\n锁定副本 %d 条", st.Copied)
		if !st.CopiedAt.IsZero() {
			fmt.Printf("（%s）", st.CopiedAt.Local().Format("2006-01-02 15:04:05"))
		}
		fmt.Println()
		for _, k := range st.VKeys {
			fmt.Printf("公钥 %s\n", k)
		}
		if st.Halted != "" {
			return fmt.Errorf("日志停止写入：%s（处理办法见 docs/runbook.zh-CN.md）", st.Halted)
		}
		fmt.Println("正常写入")
		return nil
	})
}

type logEraseCmd struct {
	serviceConfig
	Leaf   []int64 `help:"册页序号，可多次给出。" required:"" name:"leaf"`
	Reason string  `help:"原因，记入日志。" required:""`
	Actor  string  `help:"经办人的账号编号，记入日志。" default:"system"`
}

// Run of `zhizheng log erase`.
func (c *logEraseCmd) Run(ctx context.Context) error {
	return c.withLog(ctx, func(_ *pgxpool.Pool, log *evlog.Log) error {
		n, err := log.Erase(ctx, c.Leaf, c.Actor, c.Reason)
		if err != nil {
			return err
		}
		fmt.Printf("已删除 %d 条册页的内容；册页与证明不变，删除已记入日志\n", n)
		return nil
	})
}

type logExportCmd struct {
	serviceConfig
	Dir      string `arg:"" help:"副本的文件夹，不存在时新建。" type:"path"`
	Payloads bool   `help:"连同册页的内容（盐与载荷）导出。内容不公开，请妥善保管；日志中已删除的内容，再次导出时也从副本删除。"`
}

// Run of `zhizheng log export`.
func (c *logExportCmd) Run(ctx context.Context) error {
	return c.withLog(ctx, func(_ *pgxpool.Pool, log *evlog.Log) error {
		if err := log.UseLoggedWitnesses(ctx); err != nil {
			return err
		}
		x, err := log.Export(ctx, c.Dir, c.Payloads)
		if err != nil {
			return err
		}
		fmt.Printf("副本 %d 条，新增 %d 条，写入 %d 个文件\n", x.Size, x.Size-x.Had, x.Files)
		if x.Erased > 0 {
			fmt.Printf("其中 %d 个内容文件因日志中有删除而改写\n", x.Erased)
		}
		fmt.Printf("核验：zhizheng-verify --trust 公钥文件 %s\n", c.Dir)
		return nil
	})
}

type logCheckpointCmd struct {
	serviceConfig
}

// Run of `zhizheng log checkpoint`.
func (c *logCheckpointCmd) Run(ctx context.Context) error {
	return c.withServices(ctx, func(pool *pgxpool.Pool, svc *services) error {
		signed, err := evlog.NewestCheckpoint(ctx, pool, svc.store)
		if err != nil {
			return err
		}
		if signed == nil {
			return errors.New("还没有存证点")
		}
		_, err = os.Stdout.Write(signed)
		return err
	})
}

// withServices opens database and store in the place of a stopped server.
func (c *serviceConfig) withServices(ctx context.Context, fn func(*pgxpool.Pool, *services) error) error {
	if err := c.validate(); err != nil {
		return err
	}
	release, err := lockUnlessExternal(c.Data, c.DatabaseURL != "" && c.S3Endpoint != "")
	if err != nil {
		return err
	}
	defer release()
	svc := &services{}
	defer func() { _ = svc.stop() }() // the process ends here; what matters was printed
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))
	if err := errors.Join(c.startDatabase(ctx, svc, quiet), c.startStore(ctx, svc, quiet)); err != nil {
		return err
	}
	pool, err := pg.Open(ctx, svc.databaseURL, 4)
	if err != nil {
		return err
	}
	defer pool.Close()
	return fn(pool, svc)
}

type logRecoverCmd struct {
	serviceConfig
	From []string `help:"回执（.tlog-proof）或装有回执的文件夹：补上副本之后的册页，并找回其内容。可多次给出。" type:"existingpath" placeholder:"PATH"`
}

// Run of `zhizheng log recover`.
func (c *logRecoverCmd) Run(ctx context.Context) error {
	others, err := disclosures(c.From)
	if err != nil {
		return err
	}
	return c.withServices(ctx, func(pool *pgxpool.Pool, svc *services) error { return c.recover(ctx, pool, svc, others) })
}

func (c *logRecoverCmd) recover(ctx context.Context, pool *pgxpool.Pool, svc *services, others map[int64]chain.Disclosure) error {
	o, err := c.logOptions(svc.store, true)
	if err != nil {
		return err
	}
	o.Logger = slog.New(slog.NewTextHandler(io.Discard, nil)) // the reasons are printed below
	log, err := evlog.New(pool, o)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }() // nothing is signed any more
	r, err := log.Recover(ctx, others)
	if err != nil {
		return err
	}
	if r.Unchanged {
		fmt.Printf("数据库的 %d 条都在，没有可补的册页\n", r.Now)
	} else {
		fmt.Printf("补回 %d 条（%d → %d），其中 %d 条连内容一并找回，其余内容已失并已记入日志\n", r.Now-r.Had, r.Had, r.Now, r.Payloads)
	}
	if r.Missing > 0 {
		return fmt.Errorf("还缺 %d 条（%d 至 %d）：它们签发于最后一次副本之后。请用 --from 给出采集站 receipts 文件夹、证据包 proofs 文件夹等处的回执", r.Missing, r.Now, r.Now+r.Missing-1)
	}
	if r.Halted != "" {
		return fmt.Errorf("日志仍停止写入：%s", r.Halted)
	}
	fmt.Println("日志可以继续写入；请运行 zhizheng audit 全册核验后再启动平台")
	return nil
}

// disclosures reads receipts. They prove themselves later: by the tree they become part of.
func disclosures(paths []string) (map[int64]chain.Disclosure, error) {
	out := map[int64]chain.Disclosure{}
	for _, root := range paths {
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || path != root && filepath.Ext(path) != ".tlog-proof" {
				return err
			}
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			r, err := chain.ParseReceipt(b)
			if err != nil {
				return fmt.Errorf("%s：%w", path, err)
			}
			if have, ok := out[r.Index]; !ok || have.Salt == nil {
				out[r.Index] = r.Disclosure
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// signerCmd stands in the list of commands; main hands `zhizheng signer …` over before it is parsed.
type signerCmd struct {
	Args []string `arg:"" optional:"" passthrough:"" help:"见 zhizheng signer --help。"`
}

// Run of `zhizheng signer`.
func (c *signerCmd) Run() error {
	if code := signer.Main(c.Args); code != 0 {
		return fmt.Errorf("signer ended with %d", code)
	}
	return nil
}
