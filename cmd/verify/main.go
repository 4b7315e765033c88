// Command zhizheng-verify checks receipts and court bundles offline: no network, no database, and no trust in anything but the key
// it is given with --trust. It ends with 0 when all holds, 1 when something doesn't (each named in a line), 2 when no key was given.
package main

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"
	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/bundle"
	"zhizheng/evidence/chain"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/version"
)

// Exit codes.
const (
	holds     = 0
	fails     = 1
	untrusted = 2
)

type cli struct {
	Trust   string           `help:"可信的日志公钥文件（从县司法局等可信渠道取得，不要取自证据包）。 File with the log's key, from a source you trust." type:"existingfile" placeholder:"VKEYFILE"`
	File    string           `help:"回执所证明的影像文件。 The file a receipt is about." type:"existingfile"`
	JSON    bool             `help:"以 JSON 输出。 Report as JSON." name:"json"`
	Version kong.VersionFlag `help:"打印版本。" short:"V"`
	Subject string           `arg:"" name:"bundle-or-receipt" help:"证据包（zip）或回执（.tlog-proof）。" type:"existingfile"`
}

func main() {
	var c cli
	k, err := kong.New(&c, kong.Name("zhizheng-verify"), kong.Vars{"version": version.String()},
		kong.Description("离线核验执证的证据包与回执。退出码：0 全部成立；1 有不成立之处；2 未给出可信公钥（--trust）。"),
		kong.Exit(func(code int) {
			if code != 0 {
				code = fails
			}
			os.Exit(code)
		}))
	if err != nil {
		panic(err) // the struct above is wrong
	}
	_, err = k.Parse(os.Args[1:])
	k.FatalIfErrorf(err)
	code, err := c.run(os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "zhizheng-verify:", err)
		code = max(code, fails)
	}
	os.Exit(code)
}

func (c *cli) run(out io.Writer) (int, error) {
	f, err := os.Open(c.Subject)
	if err != nil {
		return fails, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return fails, err
	}
	head := make([]byte, len(chain.ReceiptHeader))
	if _, err := f.ReadAt(head, 0); err == nil && string(head) == chain.ReceiptHeader {
		return c.receipt(out, f)
	}
	return c.bundle(out, f, info.Size())
}

// trusted reads the key the caller trusts; nil without --trust.
func (c *cli) trusted() (note.Verifier, error) {
	if c.Trust == "" {
		return nil, nil
	}
	b, err := os.ReadFile(c.Trust)
	if err != nil {
		return nil, err
	}
	return chain.NewVerifier(string(b))
}

func (c *cli) bundle(out io.Writer, f io.ReaderAt, size int64) (int, error) {
	key, err := c.trusted()
	if err != nil {
		return fails, err
	}
	trusted := key != nil
	if !trusted {
		if key, err = ownKey(f, size); err != nil {
			return untrusted, fmt.Errorf("没有给出可信公钥（--trust），证据包里也没有可供对照的公钥：%w", err)
		}
	}
	rep, err := bundle.Verify(f, size, key, manifest.Open)
	if err != nil {
		return fails, err
	}
	if c.JSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		if err := e.Encode(struct {
			Trusted bool `json:"trusted"`
			Holds   bool `json:"holds"`
			bundle.Report
		}{trusted, trusted && len(rep.Failures) == 0, rep}); err != nil {
			return fails, err
		}
	} else {
		printReport(out, rep)
	}
	switch {
	case len(rep.Failures) > 0:
		return fails, nil
	case !trusted:
		say(c.JSON, out, "\n仅自洽：没有给出可信公钥（--trust）。签名公钥为 %s，请与公布的公钥比对。\nConsistent in itself only; compare this key with the published one.", key.Name()+"+"+fmt.Sprintf("%08x", key.KeyHash()))
		return untrusted, nil
	}
	say(c.JSON, out, "\n核验通过：全部成立。 All holds.")
	return holds, nil
}

func printReport(out io.Writer, rep bundle.Report) {
	if rep.CaseID != "" {
		fmt.Fprintf(out, "案件 case %s · 日志 log %s · 叶子 leaf %d · 导出于 exported %s\n", rep.CaseID, rep.Origin, rep.ExportLeaf, rep.ExportedAt)
	}
	for _, r := range rep.Records {
		fmt.Fprintf(out, "  证据 %d  %s  %d 字节  sha256 %s  %s\n", r.Number, r.FileName, r.Size, r.SHA256, r.Status)
	}
	for _, s := range rep.Checked {
		fmt.Fprintf(out, "  · %s\n", s)
	}
	for _, f := range rep.Failures {
		fmt.Fprintf(out, "✗ %s：%s | %s\n", f.Where, f.Zh, f.En)
	}
}

func say(quiet bool, out io.Writer, format string, a ...any) {
	if !quiet {
		fmt.Fprintf(out, format+"\n", a...)
	}
}

// ownKey is the key a bundle names itself. It proves nothing.
func ownKey(f io.ReaderAt, size int64) (note.Verifier, error) {
	z, err := zip.NewReader(f, size)
	if err != nil {
		return nil, err
	}
	m, err := z.Open(bundle.VKeyName)
	if err != nil {
		return nil, err
	}
	defer m.Close()
	b, err := io.ReadAll(io.LimitReader(m, 4096))
	if err != nil {
		return nil, err
	}
	return chain.NewVerifier(string(b))
}

// receiptReport is what a receipt was shown to say.
type receiptReport struct {
	Trusted bool   `json:"trusted"`
	Holds   bool   `json:"holds"`
	Leaf    int64  `json:"leaf"`
	Kind    string `json:"kind"`
	Time    string `json:"time"`
	Origin  string `json:"origin"`
	Size    int64  `json:"tree_size"`
	SHA256  string `json:"sha256,omitempty"`
	Failure string `json:"failure,omitempty"`
}

func (c *cli) receipt(out io.Writer, f io.Reader) (int, error) {
	text, err := io.ReadAll(io.LimitReader(f, 4<<20))
	if err != nil {
		return fails, err
	}
	key, err := c.trusted()
	if err != nil {
		return fails, err
	}
	if key == nil {
		return untrusted, errors.New("没有给出可信公钥（--trust），不能断定回执的真伪。 Without --trust a receipt proves nothing.")
	}
	rep := receiptReport{Trusted: true}
	p, err := chain.VerifyReceipt(text, key)
	if err == nil {
		rep.Leaf, rep.Kind, rep.Time, rep.Origin, rep.Size = p.Index, p.Leaf.Kind.Sentence(false), p.Leaf.Time().Format("2006-01-02T15:04:05Z07:00"), p.Checkpoint.Origin, p.Checkpoint.Size
		err = c.compare(p, &rep)
	}
	rep.Holds = err == nil
	if err != nil {
		rep.Failure = err.Error()
	}
	if c.JSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		if jerr := e.Encode(rep); jerr != nil {
			return fails, jerr
		}
	} else if err == nil {
		fmt.Fprintf(out, "日志 log %s · 叶子 leaf %d · %s · %s\n  sha256 %s\n核验通过：全部成立。 All holds.\n", rep.Origin, rep.Leaf, rep.Time, rep.Kind, rep.SHA256)
	} else {
		fmt.Fprintf(out, "✗ 回执：%s\n", rep.Failure)
	}
	if err != nil {
		return fails, nil
	}
	return holds, nil
}

// compare holds the file against what the leaf says.
func (c *cli) compare(p chain.Proven, rep *receiptReport) error {
	want, size, err := p.File()
	if errors.Is(err, chain.ErrNoFile) && c.File == "" {
		return nil // a receipt of something else: proven, and no file to compare
	}
	if err != nil {
		return err
	}
	rep.SHA256 = hex.EncodeToString(want)
	if c.File == "" {
		return nil
	}
	f, err := os.Open(c.File)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	if err != nil {
		return err
	}
	if n != size || !bytes.Equal(h.Sum(nil), want) {
		return errors.New("文件不是回执所证明的那一份（字节不同） the file is not the one the receipt proves")
	}
	return nil
}
