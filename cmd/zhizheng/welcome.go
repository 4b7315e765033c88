package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"zhizheng/authority"
	"zhizheng/cases"
	"zhizheng/cmd/zhizheng/internal/demo"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// welcome loads the demo if asked to, and tells the person at the terminal where to go.
func (c *serveCmd) welcome(ctx context.Context, p *progress, pl *platform) error {
	if !c.Demo {
		return c.firstAdministrator(ctx, p, pl)
	}
	accounts, err := c.loadDemo(ctx, p, pl)
	if err != nil {
		return err
	}
	reviewer := slices.IndexFunc(accounts, func(a demo.Account) bool { return a.Role == "reviewer" })
	link, err := pl.authority.IssueLink(authority.WithActor(ctx, authority.System), accounts[reviewer].Username)
	if err != nil {
		return err
	}
	host, port, err := net.SplitHostPort(strings.TrimPrefix(strings.TrimPrefix(c.PublicURL, "http://"), "https://"))
	if err != nil {
		host, port = c.PublicURL, "443"
	}
	p.say("\n执证已就绪：%s", c.PublicURL)
	p.say("\n  一次性登录（案件审核员，30 分钟内有效）：\n    %s/sign-in?token=%s", c.PublicURL, url.QueryEscape(link))
	p.say("\n  示例账号（另存于 %s）：", filepath.Join(c.Data, "demo-accounts.json"))
	for _, a := range accounts {
		p.say("    %-10s %-12s %s", authority.RoleName(a.Role), a.Username, a.Password)
	}
	p.say("\n  从自己的电脑访问：ssh -L %s:%s:%s 本机", port, host, port)
	p.say("\n  归库自己的文件夹：\n    bin/zhizheng-dock --identity %s --server %s --source 文件夹 --once\n", quoted(filepath.Join(c.Data, "demo-dock")), c.PublicURL)
	p.say("  Ctrl-C 停止。")
	return nil
}

// untilThere does it again after a while when the database went away meanwhile: that ends no server that is already answering.
func untilThere(ctx context.Context, p *progress, fn func() error) error {
	for {
		err := fn()
		var away *fault.Error
		if !errors.As(pg.Away(err), &away) || away.Kind != fault.KindUnavailable {
			return err
		}
		p.say("  ! %s", away.Detail)
		t := time.NewTimer(away.RetryAfter)
		select {
		case <-ctx.Done():
			t.Stop()
			return err
		case <-t.C:
		}
	}
}

// quoted is a path as a shell takes it.
func quoted(p string) string {
	if strings.ContainsAny(p, " '\"\\$`&|;<>()*?[]#~!\t\n") {
		return "'" + strings.ReplaceAll(p, "'", `'\''`) + "'"
	}
	return p
}

// firstAdministrator makes the one account of a new platform; it has no password until its holder sets one through the link.
func (c *serveCmd) firstAdministrator(ctx context.Context, p *progress, pl *platform) error {
	ctx = authority.WithActor(ctx, authority.System)
	p.say("\n执证已就绪：%s", c.PublicURL)
	users, err := pl.authority.CountUsers(ctx)
	if err != nil || users > 0 {
		return err
	}
	if _, err := pl.authority.CreateUser(ctx, authority.NewUser{Username: "admin", Name: "管理员", Role: "admin", MustChange: true}); err != nil {
		return err
	}
	link, err := pl.authority.IssueLink(ctx, "admin")
	if err != nil {
		return err
	}
	p.say("\n  首次使用：管理员的一次性登录链接（请随后设置密码）：\n    %s/sign-in?token=%s\n", c.PublicURL, url.QueryEscape(link))
	return nil
}

// credentialsFile holds what the simulated county signs in to the broker with.
func (c *serveCmd) credentialsFile() string { return filepath.Join(c.secrets(), "demo-devices.json") }

func (c *serveCmd) accountsFile() string { return filepath.Join(c.Data, "demo-accounts.json") }

func (c *serveCmd) loadDemo(ctx context.Context, p *progress, pl *platform) (accounts []demo.Account, err error) {
	var known []demo.Account
	b, err := os.ReadFile(c.accountsFile())
	switch {
	case err == nil:
		if err := json.Unmarshal(b, &known); err != nil {
			return nil, fmt.Errorf("read %s: %w", c.accountsFile(), err)
		}
	case !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	now := time.Now()
	err = p.step("示例：乡镇、人员、证件、赋权事项、账号", func() error {
		accounts, err = demo.Authority(ctx, demo.AuthorityDeps{Authority: pl.authority, Known: known, Now: now})
		if err != nil {
			return err
		}
		b, err := json.MarshalIndent(accounts, "", "  ")
		if err != nil {
			return err
		}
		return replaceFile(c.accountsFile(), append(b, '\n'))
	})
	if err != nil {
		return nil, err
	}
	err = p.step("示例：案件", func() error {
		return demo.Cases(ctx, demo.CasesDeps{Authority: pl.authority, Cases: pl.cases, Now: now})
	})
	if err != nil {
		return nil, err
	}
	err = p.step("示例：执法活动", func() error { return demo.Activities(ctx, pl.demoActivities(now)) })
	if err != nil {
		return nil, err
	}
	err = p.step("示例：1,600 多台设备", func() error {
		credentials, err := demo.Devices(ctx, demo.DevicesDeps{Authority: pl.authority, Devices: pl.devices, Now: now})
		if err != nil {
			return err
		}
		b, err := json.Marshal(credentials)
		if err != nil {
			return err
		}
		return replaceFile(c.credentialsFile(), append(b, '\n'))
	})
	if err != nil {
		return nil, err
	}
	err = p.step("示例：经费台账", func() error {
		return demo.Budget(ctx, demo.BudgetDeps{Budget: pl.budget, Devices: pl.devices, Now: now})
	})
	if err != nil {
		return nil, err
	}
	return accounts, p.step("示例：采集站身份", func() error {
		return pl.ingest.WriteIdentity(ctx, filepath.Join(c.Data, "demo-dock"), c.PublicURL, demo.DemoDock, demo.DongheCode, "示例采集站", "system")
	})
}

// demoActivities are the demo's activities' needs.
func (pl *platform) demoActivities(now time.Time) demo.ActivitiesDeps {
	return demo.ActivitiesDeps{Authority: pl.authority, Now: now, Cases: func(now time.Time) *cases.Service {
		return cases.New(pl.pool, pl.log, pl.authority, pl.evidence, pl.jobs, func() time.Time { return now })
	}}
}

// sibling finds a program that was built beside this one.
func sibling(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is not beside %s: run make build: %w", name, self, err)
	}
	return path, nil
}

// replaceFile writes a file (mode 0600) whole or not at all.
func replaceFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
