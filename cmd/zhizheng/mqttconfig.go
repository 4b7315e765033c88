package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"zhizheng/devices"
	"zhizheng/internal/ca"
	"zhizheng/internal/secret"
)

// mqttConfigCmd sets up a Mosquitto of the county's own.
type mqttConfigCmd struct {
	serviceConfig
	Out      string   `help:"写到哪个文件夹（Mosquitto 的账号须能读）。" required:"" type:"path"`
	Devices  string   `help:"设备连接的监听地址（双向 TLS）。" default:"0.0.0.0:8883"`
	Platform string   `help:"平台连接的监听地址（TLS，口令）。" default:"0.0.0.0:8884"`
	Name     []string `help:"设备与平台访问它所用的主机名或地址，可多次给出。" required:""`
}

// Run of `zhizheng mqtt-config`.
func (c *mqttConfigCmd) Run(ctx context.Context) error {
	_, port, err := net.SplitHostPort(c.Platform)
	if err != nil {
		return fmt.Errorf("--platform 应为 主机:端口：%w", err)
	}
	a, err := ca.Open(c.Data)
	if err != nil {
		return err
	}
	password, err := secret.Text(c.Data, "mqtt-platform-password")
	if err != nil {
		return err
	}
	m := devices.Mosquitto{Dir: c.Out, Devices: c.Devices, Platform: c.Platform, Password: password, Names: c.Name, CA: a}
	err = c.withDevices(ctx, func(ctx context.Context, s *devices.Service) error {
		m.CRL, err = s.CRL(ctx)
		return err
	})
	if err != nil {
		return err
	}
	files, err := m.Files()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.Out, 0o750); err != nil {
		return err
	}
	var errs []error
	for name, text := range files {
		errs = append(errs, os.WriteFile(filepath.Join(c.Out, name), []byte(text), 0o640)) // its group may be Mosquitto's
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	address := url.URL{Scheme: "mqtts", User: url.UserPassword(devices.PlatformUser, password), Host: net.JoinHostPort(c.Name[0], port)}
	fmt.Printf("已写入 %s。平台的设置：\nZZ_MQTT_URL=%s\nZZ_MQTT_CA=%s\nZZ_MQTT_CRL=%s\n", c.Out, address.String(), filepath.Join(c.Out, "ca.crt"), filepath.Join(c.Out, "crl.pem"))
	return nil
}
