package main

import (
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/evidence/evlog"
	"zhizheng/ingest"
	"zhizheng/ingest/manifest"
)

// stationCmd manages docking stations from the machine itself.
type stationCmd struct {
	Enrol  stationEnrolCmd  `cmd:"" help:"登记采集站，写出它的身份目录。"`
	Revoke stationRevokeCmd `cmd:"" help:"吊销采集站的密钥：此后它签的一概不收，此前的仍然算数。"`
}

type stationEnrolCmd struct {
	serviceConfig
	ID        string `help:"采集站编号，如 ST-07；登记后不变。" required:""`
	Township  string `help:"乡镇的行政区划代码。" required:""`
	Name      string `help:"采集站的名称。" required:""`
	Out       string `help:"身份目录：写入 station.json、key.pem、cert.pem，整个交给采集站，此处不留。" required:"" type:"path"`
	PublicURL string `help:"采集站访问平台的地址；默认取正在运行的平台的。" env:"ZZ_PUBLIC_URL" name:"public-url"`
}

// foreignKey is PostgreSQL's code for a row that names one that isn't there.
const foreignKey = "23503"

// Run of `zhizheng station enrol`. The same folder again changes nothing; another folder gives the station one more key.
func (c *stationEnrolCmd) Run(ctx context.Context) error {
	return c.withLog(ctx, func(pool *pgxpool.Pool, log *evlog.Log) error {
		if c.PublicURL == "" {
			r, err := c.beside()
			if err != nil || r.PublicURL == "" {
				return errors.New("平台没有在运行，请用 --public-url 给出采集站访问平台的地址")
			}
			c.PublicURL = r.PublicURL
		}
		s := ingest.New(ingest.Options{Pool: pool, Log: log})
		err := s.WriteIdentity(ctx, c.Out, c.PublicURL, c.ID, c.Township, c.Name, "system")
		if pe, is := errors.AsType[*pgconn.PgError](err); is && pe.Code == foreignKey {
			return fmt.Errorf("没有乡镇 %s", c.Township)
		}
		if err != nil {
			return err
		}
		key, err := keyOf(filepath.Join(c.Out, "cert.pem"))
		if err != nil {
			return err
		}
		fmt.Fprintf(os.Stdout, "采集站 %s 已登记：%s\n密钥 %x（吊销时用）\n", c.ID, filepath.Clean(c.Out), key)
		return nil
	})
}

// keyOf is the id of the key that a station's certificate is for.
func keyOf(file string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, fmt.Errorf("%s 里没有证书", file)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	key, ok := cert.PublicKey.(ed25519.PublicKey)
	if !ok {
		return nil, fmt.Errorf("%s 的密钥不是 Ed25519", file)
	}
	return manifest.KeyID(key)
}

type stationRevokeCmd struct {
	serviceConfig
	Key    string `arg:"" help:"密钥编号（登记时打印），或 cert.pem 的路径。"`
	Reason string `help:"原因，记入日志。" required:""`
}

// Run of `zhizheng station revoke`.
func (c *stationRevokeCmd) Run(ctx context.Context) error {
	key, err := hex.DecodeString(c.Key)
	if err != nil {
		key, err = keyOf(c.Key)
	}
	if err != nil {
		return err
	}
	return c.withLog(ctx, func(pool *pgxpool.Pool, log *evlog.Log) error {
		if err := ingest.New(ingest.Options{Pool: pool, Log: log}).Revoke(ctx, key, "system", c.Reason); err != nil {
			return err
		}
		fmt.Fprintf(os.Stdout, "密钥 %x 已吊销\n", key)
		return nil
	})
}
