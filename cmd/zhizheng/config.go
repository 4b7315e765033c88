package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
)

// serviceConfig says where state lives. A service without an address is embedded.
type serviceConfig struct {
	Data          string `help:"数据目录。" default:"./data" env:"ZZ_DATA" type:"path"`
	DatabaseURL   string `help:"外部 PostgreSQL 的地址；不填则内嵌。" env:"ZZ_DATABASE_URL" name:"database-url"`
	S3Endpoint    string `help:"外部 S3 存储的地址；不填则内嵌。" env:"ZZ_S3_ENDPOINT" name:"s3-endpoint"`
	S3Public      string `help:"采集站访问存储所用的地址，默认同上。" env:"ZZ_S3_PUBLIC_ENDPOINT" name:"s3-public-endpoint"`
	S3Bucket      string `help:"存储桶，须开启对象锁。" default:"zhizheng" env:"ZZ_S3_BUCKET" name:"s3-bucket"`
	S3Region      string `help:"区域。" default:"us-east-1" env:"ZZ_S3_REGION" name:"s3-region"`
	S3AccessKey   string `help:"访问键（外部存储）。" env:"ZZ_S3_ACCESS_KEY" name:"s3-access-key"`
	S3SecretKey   string `help:"密钥（外部存储）。" env:"ZZ_S3_SECRET_KEY" name:"s3-secret-key"`
	S3Listen      string `help:"内嵌存储的监听地址，默认为网页端口加一。" env:"ZZ_S3_LISTEN" name:"s3-listen"`
	LogOrigin     string `help:"证据日志的名称（origin），建成后不可改。" default:"zhizheng.example/log" env:"ZZ_LOG_ORIGIN" name:"log-origin"`
	RetentionDays int    `help:"新封存影像的最短保存天数（不少于六个月）。" default:"184" env:"ZZ_RETENTION_DAYS" name:"retention-days"`
}

func (c *serviceConfig) secrets() string { return filepath.Join(c.Data, "secrets") }

func (c *serviceConfig) validate() error {
	if c.S3Endpoint != "" && (c.S3AccessKey == "" || c.S3SecretKey == "") {
		return errors.New("用外部存储时须给出 ZZ_S3_ACCESS_KEY 与 ZZ_S3_SECRET_KEY")
	}
	for name, v := range map[string]string{"ZZ_S3_ENDPOINT": c.S3Endpoint, "ZZ_S3_PUBLIC_ENDPOINT": c.S3Public} {
		if v == "" {
			continue
		}
		if u, err := url.Parse(v); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return fmt.Errorf("%s 应为 http(s)://主机:端口", name)
		}
	}
	if c.RetentionDays < 184 {
		return errors.New("--retention-days 至少为 184（六个月）")
	}
	return nil
}

// serveCmd runs the platform.
type serveCmd struct {
	serviceConfig
	stampConfig
	Listen      string `help:"网页与接口的监听地址。" default:"127.0.0.1:8080" env:"ZZ_LISTEN"`
	PublicURL   string `help:"用户访问的地址，默认 http://监听地址。https 时 Cookie 只走加密连接。" env:"ZZ_PUBLIC_URL" name:"public-url"`
	MQTTURL     string `help:"外部 MQTT 服务的地址（mqtts://用户:口令@主机:端口）；不填则内嵌。" env:"ZZ_MQTT_URL" name:"mqtt-url"`
	MQTTCA      string `help:"外部 MQTT 服务的证书（PEM）；默认信任系统的。" type:"existingfile" env:"ZZ_MQTT_CA" name:"mqtt-ca"`
	MQTTListen  string `help:"内嵌 MQTT（TLS）的监听地址，默认为网页端口加二。" env:"ZZ_MQTT_LISTEN" name:"mqtt-listen"`
	Demo        bool   `help:"首次启动时装入示例县并模拟设备。" env:"ZZ_DEMO"`
	DemoFootage bool   `help:"示例：首次启动时生成几分钟影像并归库。" default:"true" negatable:"" env:"ZZ_DEMO_FOOTAGE" name:"demo-footage"`
	DemoCounty  bool   `help:"示例：让 1,600 多台设备上报。" default:"true" negatable:"" env:"ZZ_DEMO_COUNTY" name:"demo-county"`
	Metrics     bool   `help:"开放 /metrics（Prometheus 格式，不需登录，请只让内网访问）。" env:"ZZ_METRICS"`
	LogLevel    string `help:"日志级别。" default:"info" enum:"debug,info,warn,error" env:"ZZ_LOG_LEVEL" name:"log-level"`
}

// Validate is called by kong.
func (c *serveCmd) Validate() error {
	if err := errors.Join(c.serviceConfig.validate(), c.stampConfig.validate()); err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return fmt.Errorf("--listen 应为 主机:端口，如 127.0.0.1:8080：%w", err)
	}
	p, err := strconv.Atoi(port)
	if err != nil || p < 0 || p > 65533 {
		return fmt.Errorf("--listen 的端口 %q 不对", port)
	}
	next := func(n int) string {
		if p == 0 {
			return net.JoinHostPort(host, "0")
		}
		return net.JoinHostPort(host, strconv.Itoa(p+n))
	}
	if c.S3Listen == "" {
		c.S3Listen = next(1)
	}
	if c.MQTTListen == "" {
		c.MQTTListen = next(2)
	}
	if c.PublicURL != "" {
		u, err := url.Parse(c.PublicURL)
		if err != nil || u.Host == "" {
			return errors.New("--public-url 应为 http(s)://主机")
		}
		c.PublicURL = strings.TrimRight(c.PublicURL, "/")
	}
	return nil
}

// secure says whether users come over HTTPS.
func (c *serveCmd) secure() bool { return strings.HasPrefix(c.PublicURL, "https://") }
