package main

import (
	"fmt"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// hubConfig are the settings that one card and a whole station share: flags, or ZZ_DOCK_… variables.
type hubConfig struct {
	Identity string        `help:"采集站身份目录（station.json、key.pem、cert.pem）。" required:"" type:"existingdir" env:"ZZ_DOCK_IDENTITY"`
	Server   string        `help:"平台地址；默认取 station.json 中的。" env:"ZZ_DOCK_SERVER"`
	Spool    string        `help:"暂存目录（加密）：边读边拷入，读完记录仪即可取走。" type:"path" env:"ZZ_DOCK_SPOOL"`
	SpoolKey string        `help:"暂存的密钥文件（32 字节），默认在身份目录中；可放在另一块盘或由 systemd 凭据提供。" type:"path" name:"spool-key" env:"ZZ_DOCK_SPOOL_KEY"`
	Parallel int           `help:"同时上传的分片数。" default:"4" env:"ZZ_DOCK_PARALLEL"`
	Readers  int           `help:"同时读取并计算指纹的文件数。" default:"2" env:"ZZ_DOCK_READERS"`
	Patience time.Duration `help:"服务器或存储多久毫无进展就放弃（下次接着传）。" default:"5m" env:"ZZ_DOCK_PATIENCE"`
	States   time.Duration `help:"采集期间每隔多久签署一次状态（签到第几份清单）。" default:"15m" env:"ZZ_DOCK_STATES"`
	System   []string      `help:"跳过的系统文件或文件夹名（不分大小写）。" name:"system-files" env:"ZZ_DOCK_SYSTEM_FILES" default:"${system}"`
	schedule []window
}

// config are the settings for one card.
type config struct {
	hubConfig
	Source   string `help:"要采集的文件夹（卡的挂载点）。" required:"" type:"existingdir" env:"ZZ_DOCK_SOURCE"`
	Recorder string `help:"记录仪序列号；不填为未识别，照样封存。" env:"ZZ_DOCK_RECORDER"`
	Once     bool   `help:"采集一遍后退出。"`
	JSON     bool   `help:"每个文件输出一行 JSON。" name:"json"`
	others   bool   // copies of earlier runs are another agent's
}

// systemFiles are made by computers the card was plugged into, never by a recorder. Everything else is evidence, hidden files and
// sidecars too.
var systemFiles = []string{"Thumbs.db", "ehthumbs.db", "desktop.ini", ".DS_Store", "System Volume Information", "$RECYCLE.BIN", "RECYCLER",
	".Trashes", ".Spotlight-V100", ".fseventsd", ".TemporaryItems", "lost+found"}

// Validate is called by kong.
func (c *config) Validate() error {
	if err := c.hubConfig.Validate(); err != nil {
		return err
	}
	if len(c.Recorder) > 80 || !utf8.ValidString(c.Recorder) || strings.ContainsFunc(c.Recorder, unicode.IsControl) {
		return fmt.Errorf("--recorder 应为 80 字节以内的文字")
	}
	return nil
}

// Validate is called by kong.
func (c *hubConfig) Validate() error {
	if c.Server != "" {
		u, err := url.Parse(c.Server)
		if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			return fmt.Errorf("--server 应为 http(s)://主机:端口")
		}
		c.Server = strings.TrimRight(c.Server, "/")
	}
	if c.Parallel < 1 || c.Parallel > 64 || c.Readers < 1 || c.Readers > 16 {
		return fmt.Errorf("--parallel 应为 1 至 64，--readers 应为 1 至 16")
	}
	if c.Patience < time.Second {
		return fmt.Errorf("--patience 至少 1s")
	}
	if c.States < time.Second {
		return fmt.Errorf("--states 至少 1s")
	}
	return nil
}
