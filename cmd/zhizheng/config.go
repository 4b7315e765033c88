package main

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"zhizheng/api"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/blob"
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
	RereadRate    int64  `help:"重读影像每秒最多读多少字节；0 不限。" default:"20000000" env:"ZZ_REREAD_RATE" name:"reread-rate"`
	Signer        string `help:"共用签名进程的地址（unix:套接字路径），供多台服务器；不填则由本机子进程签名。" env:"ZZ_SIGNER" name:"signer"`
	LogLockDays   int    `help:"日志副本在对象存储中的锁定天数；默认十年，示例为一天。" env:"ZZ_LOG_LOCK_DAYS" name:"log-lock-days"`
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
	if c.RereadRate < 0 {
		return errors.New("--reread-rate 不能为负")
	}
	if c.Signer != "" {
		if _, err := signer.NewRemote(c.Signer); err != nil {
			return err
		}
	}
	if c.LogLockDays < 0 {
		return errors.New("--log-lock-days 不能为负")
	}
	if c.RetentionDays < 184 {
		return errors.New("--retention-days 至少为 184（六个月）")
	}
	return nil
}

// logOptions say who signs and where the locked copy lies. An observer signs nothing: beside a running server the key is taken.
func (c *serviceConfig) logOptions(store *blob.Store, observe bool) (o evlog.Options, err error) {
	o.Retain = time.Duration(c.LogLockDays) * 24 * time.Hour // 0 is the log's own default
	if store != nil {
		o.Store = store
	}
	switch {
	case c.Signer != "":
		r, err := signer.NewRemote(c.Signer)
		if err != nil {
			return o, err
		}
		o.Signer = r
		if observe {
			o.Signer = signer.ObserveRemote(r)
		}
	case observe:
		o.Signer = signer.Observe(c.secrets())
	default:
		o.Dir, o.Origin = c.secrets(), c.LogOrigin
	}
	return o, nil
}

// serveCmd runs the platform.
type serveCmd struct {
	serviceConfig
	stampConfig
	keepConfig
	Listen          string        `help:"网页与接口的监听地址。" default:"127.0.0.1:8080" env:"ZZ_LISTEN"`
	PublicURL       string        `help:"用户访问的地址，默认 http://监听地址。https 时 Cookie 只走加密连接。" env:"ZZ_PUBLIC_URL" name:"public-url"`
	MQTTURL         string        `help:"外部 MQTT 服务的地址（mqtts://用户:口令@主机:端口）；不填则内嵌。" env:"ZZ_MQTT_URL" name:"mqtt-url"`
	MQTTCA          string        `help:"外部 MQTT 服务的证书（PEM）；默认信任系统的。" type:"existingfile" env:"ZZ_MQTT_CA" name:"mqtt-ca"`
	MQTTMember      string        `help:"外部 MQTT：本服务器在分担消息的各台中的固定名称；默认由数据目录决定。" env:"ZZ_MQTT_MEMBER" name:"mqtt-member"`
	MQTTConnections int           `help:"外部 MQTT：本服务器用几个连接分担消息。" default:"8" env:"ZZ_MQTT_CONNECTIONS" name:"mqtt-connections"`
	MQTTListen      string        `help:"内嵌 MQTT（TLS）的监听地址，默认为网页端口加二。" env:"ZZ_MQTT_LISTEN" name:"mqtt-listen"`
	MessageDays     int           `help:"设备消息保存几天（按天成批删除）。" default:"3" env:"ZZ_MESSAGE_DAYS" name:"message-days"`
	DeviceRate      int           `help:"每台设备长期平均每秒至多几条消息；超出的不丢，放慢读取（外部 MQTT 只计数）。" default:"50" env:"ZZ_DEVICE_RATE" name:"device-rate"`
	DeviceLetters   int           `help:"每台设备每天至多保存多少条拒收报文；超出的只计数并保存最后一条。" default:"10000" env:"ZZ_DEVICE_LETTERS" name:"device-letters"`
	MQTTCRL         string        `help:"设备证书吊销列表写到哪个文件，供外部 MQTT 服务读取；默认 数据目录/mqtt/crl.pem。" type:"path" env:"ZZ_MQTT_CRL" name:"mqtt-crl"`
	MQTTPublic      string        `help:"设备连接 MQTT 服务所用的地址（mqtts://主机:端口），随证书告知设备。" env:"ZZ_MQTT_PUBLIC" name:"mqtt-public"`
	Demo            bool          `help:"首次启动时装入示例县并模拟设备。" env:"ZZ_DEMO"`
	DemoFootage     bool          `help:"示例：首次启动时生成几分钟影像并归库。" default:"true" negatable:"" env:"ZZ_DEMO_FOOTAGE" name:"demo-footage"`
	DemoCounty      bool          `help:"示例：让 1,600 多台设备上报。" default:"true" negatable:"" env:"ZZ_DEMO_COUNTY" name:"demo-county"`
	Metrics         bool          `help:"开放 /metrics（Prometheus 格式，不需登录，请只让内网访问）。" env:"ZZ_METRICS"`
	AuditAt         string        `help:"每天全册核验的时刻（北京时间）；“off”不自动核验。" default:"03:00" env:"ZZ_AUDIT_AT" name:"audit-at"`
	CanaryEvery     time.Duration `help:"每隔多久试探一次存储的对象锁；0 不试探。" default:"15m" env:"ZZ_CANARY_EVERY" name:"canary-every"`
	RereadEvery     time.Duration `help:"影像多久没有重读就全部重读一遍；0 只由人启动。新封存的总会尽快重读一次。" default:"720h" env:"ZZ_REREAD_EVERY" name:"reread-every"`
	LogLevel        string        `help:"日志级别。" default:"info" enum:"debug,info,warn,error" env:"ZZ_LOG_LEVEL" name:"log-level"`
	WitnessPolicy   string        `help:"见证策略文件（C2SP tlog-policy：见证方的公钥与地址、门限）；不填则不要求见证。" type:"existingfile" env:"ZZ_WITNESS_POLICY" name:"witness-policy"`
	WitnessInterval time.Duration `help:"两次请见证方共签之间的最短间隔（导出证据包时立即请求）。" default:"10s" env:"ZZ_WITNESS_INTERVAL" name:"witness-interval"`
	DemoWitnesses   bool          `help:"示例：另起两个示例见证方（法院、司法局），门限 2/3。" default:"true" negatable:"" env:"ZZ_DEMO_WITNESSES" name:"demo-witnesses"`
	Wipe            string        `help:"采集站何时从记录仪清除已封存的原件：never 不清除，receipt 核对回执后，days:N 核对回执 N 天后再次插入时。" default:"never" env:"ZZ_WIPE"`
	UploadParts     int           `help:"全部采集站同时上传的分片至多几个；按乡镇公平分配，加急优先，每站至少一个。" default:"64" env:"ZZ_UPLOAD_PARTS" name:"upload-parts"`
	NamePatterns    string        `help:"文件名规则（TOML）：从名称中读出记录仪序列号、人员编号、开始时间、序号；内置常见机型，写法见 docs/name-patterns.md。" type:"existingfile" env:"ZZ_NAME_PATTERNS" name:"name-patterns"`
}

// Validate is called by kong.
func (c *serveCmd) Validate() error {
	if err := errors.Join(c.serviceConfig.validate(), c.stampConfig.validate(), c.keepConfig.validate(c.RetentionDays)); err != nil {
		return err
	}
	if _, _, err := c.auditAt(); err != nil {
		return err
	}
	if _, err := c.names(); err != nil {
		return fmt.Errorf("--name-patterns：%w", err)
	}
	if _, err := c.wipe(); err != nil {
		return err
	}
	if c.MQTTConnections < 1 || c.MQTTConnections > 64 {
		return errors.New("--mqtt-connections 应为 1 至 64")
	}
	if c.UploadParts < 1 || c.UploadParts > 10_000 {
		return errors.New("--upload-parts 应为 1 至 10000")
	}
	if c.MessageDays < 1 {
		return errors.New("--message-days 至少为 1")
	}
	if c.DeviceRate < 1 || c.DeviceRate > 100_000 || c.DeviceLetters < 1 {
		return errors.New("--device-rate 应为 1 至 100000，--device-letters 至少为 1")
	}
	if c.CanaryEvery < 0 || c.RereadEvery < 0 {
		return errors.New("--canary-every 与 --reread-every 不能为负")
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

// auditAt is when the daily audit begins, after midnight at +08:00.
func (c *serveCmd) auditAt() (at time.Duration, daily bool, err error) {
	if c.AuditAt == "off" {
		return 0, false, nil
	}
	t, err := time.Parse("15:04", cmp.Or(c.AuditAt, "03:00"))
	if err != nil {
		return 0, false, fmt.Errorf("--audit-at 应为 时:分（如 03:00）或 off，实为 %q", c.AuditAt)
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, true, nil
}

// wipe is when stations remove originals.
func (c *serveCmd) wipe() (api.WipeRule, error) {
	switch rule, days, _ := strings.Cut(c.Wipe, ":"); rule {
	case "", "never", "receipt":
		if days == "" {
			return api.WipeRule{When: cmp.Or(rule, "never")}, nil
		}
	case "days":
		if n, err := strconv.Atoi(days); err == nil && n >= 1 && n <= 3650 {
			return api.WipeRule{When: rule, Days: n}, nil
		}
	}
	return api.WipeRule{}, fmt.Errorf("--wipe 应为 never、receipt 或 days:N（1 至 3650 天），实为 %q", c.Wipe)
}

// names reads the rules of file names.
func (c *serveCmd) names() (manifest.Names, error) {
	if c.NamePatterns == "" {
		return manifest.DefaultNames(), nil
	}
	b, err := os.ReadFile(c.NamePatterns)
	if err != nil {
		return manifest.Names{}, err
	}
	return manifest.ReadNames(b)
}

// secure says whether users come over HTTPS.
func (c *serveCmd) secure() bool { return strings.HasPrefix(c.PublicURL, "https://") }
