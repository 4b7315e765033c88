package main

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/authority"
	"zhizheng/devices"
	"zhizheng/evidence/evlog"
	"zhizheng/internal/ca"
	"zhizheng/internal/secret"
)

// deviceCmd manages devices' identities from the machine itself.
type deviceCmd struct {
	EnrolCode deviceCodeCmd   `cmd:"" help:"生成登记码：在设备上输入一次，换取证书。"`
	Token     deviceTokenCmd  `cmd:"" help:"为不能生成密钥的设备发令牌，连同它须信任的证书和核对指令的公钥（JSON）。"`
	Revoke    deviceRevokeCmd `cmd:"" help:"吊销设备的证书、令牌与登记码，并切断其连接。"`
}

type deviceCodeCmd struct {
	serviceConfig
	Device []string `arg:"" help:"设备编号或序列号，可多个。"`
}

// Run of `zhizheng device enrol-code`.
func (c *deviceCodeCmd) Run(ctx context.Context) error {
	return c.withDevices(ctx, func(ctx context.Context, s *devices.Service) error {
		for _, d := range c.Device {
			code, err := s.EnrolmentCode(ctx, d)
			if err != nil {
				return fmt.Errorf("%s：%w", d, err)
			}
			fmt.Printf("%s  %s  有效至 %s\n", d, code.Code, code.Expires.In(time.FixedZone("", 8*3600)).Format(time.RFC3339))
		}
		return nil
	})
}

type deviceTokenCmd struct {
	serviceConfig
	Device string `arg:"" help:"设备编号或序列号。"`
}

// Run of `zhizheng device token`; the token before ends.
func (c *deviceTokenCmd) Run(ctx context.Context) error {
	return c.withDevices(ctx, func(ctx context.Context, s *devices.Service) error {
		device, token, err := s.Token(ctx, c.Device)
		if err != nil {
			return err
		}
		b, err := json.MarshalIndent(map[string]any{"device": device, "token": token, "ca": s.Trusted(), "command_key": []byte(s.CommandKey())}, "", "  ")
		fmt.Println(string(b))
		return err
	})
}

type deviceRevokeCmd struct {
	serviceConfig
	Device []string `arg:"" help:"设备编号或序列号，可多个。"`
	Reason string   `help:"原因，记入日志。" required:""`
}

// Run of `zhizheng device revoke`. A server that runs beside sees it within seconds.
func (c *deviceRevokeCmd) Run(ctx context.Context) error {
	return c.withDevices(ctx, func(ctx context.Context, s *devices.Service) error {
		for _, d := range c.Device {
			if err := s.Revoke(ctx, d, c.Reason); err != nil {
				return fmt.Errorf("%s：%w", d, err)
			}
			fmt.Printf("%s 已吊销\n", d)
		}
		return nil
	})
}

func (c *serviceConfig) withDevices(ctx context.Context, fn func(context.Context, *devices.Service) error) error {
	return c.withLog(ctx, func(pool *pgxpool.Pool, log *evlog.Log) error {
		a, err := ca.Open(c.Data)
		if err != nil {
			return err
		}
		key, err := secret.Ed25519(c.Data, "device-command.key")
		if err != nil {
			return err
		}
		return fn(authority.WithActor(ctx, authority.System), devices.New(pool, devices.Options{Log: log, CA: a, CommandKey: key}))
	})
}
