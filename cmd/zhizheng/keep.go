package main

import (
	"errors"
	"fmt"
	"time"

	"zhizheng/evidence"
)

// keepConfig says how long footage is kept and when it came late.
type keepConfig struct {
	Keep           map[string]int `help:"各类影像自封存起保存多少天，0 为永久：case（案件证据）、complaint（投诉）、obstruction（阻碍执法）、major（重大或群体性事件）；不填均为永久。" placeholder:"major=0;complaint=1095" env:"ZZ_KEEP"`
	LateAfter      time.Duration  `help:"录制结束多久之后才封存算迟传。" default:"24h" env:"ZZ_LATE_AFTER" name:"late-after"`
	StoreCapacity  int64          `help:"外部存储可用于影像的总字节数，用来推算还可用多少天；0 未知。内嵌存储看磁盘。" env:"ZZ_STORE_CAPACITY" name:"store-capacity"`
	DeletionWindow time.Duration  `help:"留存期满后公示多久才销毁，其间可以保留。" default:"168h" env:"ZZ_DELETION_WINDOW" name:"deletion-window"`
}

func (c *keepConfig) validate(retentionDays int) error {
	if c.LateAfter <= 0 || c.DeletionWindow < 24*time.Hour {
		return errors.New("--late-after 应大于 0，--deletion-window 至少 24h")
	}
	if c.StoreCapacity < 0 {
		return errors.New("--store-capacity 不能为负")
	}
	for name, days := range c.Keep {
		if cat := evidence.Category(name); cat.Name() == "" || cat == evidence.Ordinary {
			return fmt.Errorf("--keep：没有类别 %q（case、complaint、obstruction、major）", name)
		}
		if days != 0 && days < retentionDays {
			return fmt.Errorf("--keep：%s 不能短于 --retention-days（%d 天）", name, retentionDays)
		}
	}
	return nil
}

// policy is how footage is kept.
func (c *keepConfig) policy(retentionDays int) evidence.Policy {
	const day = 24 * time.Hour
	p := evidence.DefaultPolicy()
	p.LateAfter, p.Window = c.LateAfter, c.DeletionWindow
	p.Keep[evidence.Ordinary] = time.Duration(retentionDays) * day
	for name, days := range c.Keep {
		p.Keep[evidence.Category(name)] = time.Duration(days) * day
	}
	return p
}

// free is what footage may still take: of the disk with an embedded store, of what was configured with another.
func (c *keepConfig) free(svc *services) func(kept int64) (int64, bool, error) {
	return func(kept int64) (int64, bool, error) {
		if svc.s3 != nil {
			free, err := svc.s3.Free()
			return free, err == nil, err
		}
		return c.StoreCapacity - kept, c.StoreCapacity > 0, nil
	}
}
