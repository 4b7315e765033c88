package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"zhizheng/evidence/bundle"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/transcript"
)

// wholeLog verifies a folder that holds a copy of a whole log.
func (c *cli) wholeLog(out io.Writer, trust *chain.Policy) (int, error) {
	if c.File != "" || c.QR != "" || c.TSARoots != "" {
		return undecided, errors.New("--file、--qr、--tsa-roots 不用于整个日志的副本。 They don't go with the copy of a whole log.")
	}
	copy := os.DirFS(c.Subject)
	trusted := trust != nil
	if !trusted {
		own, err := transcript.OwnKeys(copy)
		if err != nil {
			return undecided, fmt.Errorf("没有给出可信公钥（--trust），副本里也没有可供对照的公钥：%w", err)
		}
		trust = &own
	}
	var kept []transcript.Kept
	for _, name := range c.Since {
		b, err := os.ReadFile(name)
		if err != nil {
			return undecided, err
		}
		kept = append(kept, transcript.Kept{Name: name, Signed: b})
	}
	rep, err := transcript.Verify(copy, *trust, kept...)
	if err != nil {
		return undecided, err
	}
	witness := bundle.JudgeWitnesses(*trust, chain.Proven{Cosigned: rep.Cosigned, Quorum: rep.Quorum})
	if c.JSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		if err := e.Encode(struct {
			Trusted bool `json:"trusted"`
			Holds   bool `json:"holds"`
			transcript.Report
			Witness bundle.Witness `json:"witness"`
		}{trusted, trusted && len(rep.Failures) == 0, rep, witness}); err != nil {
			return undecided, err
		}
	} else {
		printLog(out, rep, witness)
	}
	return c.verdict(out, trusted, len(rep.Failures) == 0, *trust)
}

func printLog(out io.Writer, rep transcript.Report, witness bundle.Witness) {
	say(false, out, "日志 log %s · %d 页 leaves · 根 root %s", rep.Origin, rep.Size, rep.Root)
	say(false, out, "  · %d 个文件，%d 字节，%d 个主题的链 files, bytes, subjects' chains", rep.Files, rep.Bytes, rep.Subjects)
	if rep.Content {
		say(false, out, "  · %d 份内容与承诺相符，%d 份已删除并有记录 payloads as committed to, erased on record", rep.Payloads, rep.Erased)
	} else {
		say(false, out, "  · 副本不带内容，未核对承诺 no payloads to compare")
	}
	say(false, out, "  · %s", witness)
	for _, size := range rep.Continues {
		say(false, out, "  · 是所留存证点的延续，前 %d 页未变 continues the kept checkpoint of %d leaves", size, size)
	}
	for _, f := range rep.Failures {
		where := f.Where
		if f.Leaf != nil {
			where += fmt.Sprintf(" 第 %d 页 leaf %d", *f.Leaf, *f.Leaf)
		}
		say(false, out, "✗ %s：%s | %s", where, f.Zh, f.En)
	}
	if rep.More > 0 {
		say(false, out, "✗ 另有 %d 处未列出 and %d more", rep.More, rep.More)
	}
}
