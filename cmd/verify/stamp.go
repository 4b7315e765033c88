package main

import (
	"crypto/x509"
	"fmt"
	"io"
	"os"

	"zhizheng/evidence/bundle"
	"zhizheng/evidence/stamp"
)

type stampFlags struct {
	TSARoots string `help:"可信的时间戳机构根证书（PEM，从可信渠道取得）。 Roots to trust for time." type:"existingfile" name:"tsa-roots" placeholder:"PEMFILE"`
}

// tsaRoots reads whom the caller trusts for time; none without --tsa-roots.
func (c *stampFlags) tsaRoots() (*x509.CertPool, error) {
	if c.TSARoots == "" {
		return nil, nil
	}
	b, err := os.ReadFile(c.TSARoots)
	if err != nil {
		return nil, err
	}
	roots, err := stamp.ParseRoots(b)
	if err != nil {
		return nil, fmt.Errorf("--tsa-roots：%w", err)
	}
	return roots, nil
}

// printStamps tells each token, and of each item since when it is known to have been there.
func printStamps(out io.Writer, rep bundle.Report) {
	for _, t := range rep.Timestamps {
		switch t.State {
		case bundle.StampHolds:
			say(false, out, "  时间戳 timestamp 叶 leaf %d：%s 时，前 %d 叶已经存在 existed（%s，误差 accuracy %s）", t.Leaf, t.GenTime, t.Size, t.Authority, orUnknown(t.Accuracy))
		case bundle.StampUndecided:
			say(false, out, "  时间戳存在，未判断（未给出 --tsa-roots） timestamp not judged：叶 leaf %d 称 claims %s，前 %d 叶（%s）", t.Leaf, t.GenTime, t.Size, t.Authority)
		}
	}
	for _, r := range rep.Records {
		if r.SealLeaf < 0 {
			continue
		}
		if t, ok := rep.StampedBy(r.SealLeaf); ok {
			say(false, out, "  证据 %d 封存不晚于 sealed no later than %s（%s）", r.Number, t.GenTime, t.Authority)
		}
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "未声明 not told"
	}
	return s
}
