// Command zhizheng-verify checks receipts, court bundles and copies of the whole log offline: no network, no database, and no trust in anything but the key
// it is given with --trust. It ends with 0 when all holds, 1 when something doesn't (each named in a line), 2 when nothing could be
// decided: no key was given, or what was given can't be read.
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
	"io/fs"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/alecthomas/kong"
	"zhizheng/evidence/bundle"
	"zhizheng/evidence/chain"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/version"
)

// Exit codes.
const (
	holds     = 0
	fails     = 1
	undecided = 2
)

type cli struct {
	Trust   string           `help:"可信的日志公钥文件，或写明日志、见证方与门限的策略文件（C2SP tlog-policy）；从县司法局等可信渠道取得，不要取自证据包。 File with the log's key, or a policy naming log, witnesses and quorum, from a source you trust." type:"existingfile" placeholder:"FILE"`
	File    string           `help:"回执所证明的影像文件。 The file a receipt is about." type:"existingfile"`
	QR      string           `help:"打印文书上二维码的文字，与证据包比对。 Text of a printed document's QR code, compared with the bundle." name:"qr" placeholder:"TEXT"`
	JSON    bool             `help:"以 JSON 输出。 Report as JSON." name:"json"`
	Version kong.VersionFlag `help:"打印版本。" short:"V"`
	Since   []string         `help:"以前留存的存证点文件，可多次给出：证明整个日志的副本是它的延续。 Checkpoint kept earlier, which the copy of a whole log has to continue." type:"existingfile" sep:"none" placeholder:"FILE"`
	Subject string           `arg:"" name:"bundle-receipt-or-log" help:"证据包（zip）、回执（.tlog-proof），或装有整个日志副本的文件夹。" type:"existingpath"`
	stampFlags
}

func main() {
	var c cli
	k, err := kong.New(&c, kong.Name("zhizheng-verify"), kong.Vars{"version": version.String()},
		kong.Description("离线核验执证的证据包、回执与整个日志的副本。退出码：0 全部成立；1 有不成立之处；2 未给出可信公钥（--trust），或给出的文件无法读取，未作判断。"),
		kong.Exit(func(code int) {
			if code != 0 {
				code = undecided
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
		fmt.Fprintln(os.Stderr, "zhizheng-verify:", clean(err.Error()))
		code = undecided
	}
	os.Exit(code)
}

// run's error says that nothing was decided.
func (c *cli) run(out io.Writer) (int, error) {
	f, err := os.Open(c.Subject)
	if err != nil {
		return undecided, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return undecided, err
	}
	trust, err := c.trusted()
	if err != nil {
		return undecided, err
	}
	if info.IsDir() {
		return c.wholeLog(out, trust)
	}
	if len(c.Since) > 0 {
		return undecided, errors.New("--since 只用于整个日志的副本。 --since goes with the copy of a whole log.")
	}
	head := make([]byte, len(chain.ReceiptHeader))
	n, err := f.ReadAt(head, 0)
	if err != nil && err != io.EOF {
		return undecided, err
	}
	// With --file a receipt is meant: one damaged in its first line too fails as a receipt.
	isZip := strings.HasPrefix(string(head[:n]), "PK")
	if string(head) == chain.ReceiptHeader || (c.File != "" && !isZip) {
		return c.receipt(out, f, trust)
	}
	if c.File != "" {
		return undecided, errors.New("--file 只用于回执；证据包里的文件会逐一核验。 --file goes with a receipt; a bundle's files are all checked.")
	}
	return c.bundle(out, f, info.Size(), trust)
}

// trusted reads whom the caller trusts; nil without --trust.
func (c *cli) trusted() (*chain.Policy, error) {
	if c.Trust == "" {
		return nil, nil
	}
	b, err := os.ReadFile(c.Trust)
	if err != nil {
		return nil, err
	}
	p, err := chain.ParseTrust(string(b))
	return &p, err
}

func (c *cli) bundle(out io.Writer, f io.ReaderAt, size int64, trust *chain.Policy) (int, error) {
	trusted := trust != nil
	if !trusted {
		vkey, err := ownKey(f, size)
		if err != nil {
			return undecided, fmt.Errorf("没有给出可信公钥（--trust），证据包里也没有可供对照的公钥：%w", err)
		}
		p := chain.LogPolicy(vkey)
		trust = &p
	}
	roots, err := c.tsaRoots()
	if err != nil {
		return undecided, err
	}
	rep, err := bundle.Verify(f, size, *trust, manifest.Open, bundle.Devices(manifest.OpenPlace), bundle.TSARoots(roots))
	if err != nil {
		return undecided, err
	}
	if err := c.mark(&rep); err != nil {
		return undecided, err
	}
	if c.JSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		if err := e.Encode(struct {
			Trusted bool `json:"trusted"`
			Holds   bool `json:"holds"`
			bundle.Report
		}{trusted, trusted && len(rep.Failures) == 0, rep}); err != nil {
			return undecided, err
		}
	} else {
		printReport(out, rep)
	}
	return c.verdict(out, trusted, len(rep.Failures) == 0, *trust)
}

// verdict says the last word.
func (c *cli) verdict(out io.Writer, trusted, all bool, trust chain.Policy) (int, error) {
	switch {
	case !trusted:
		what := "仅自洽"
		if !all {
			what = "连自洽也不成立"
		}
		say(c.JSON, out, "\n%s：没有给出可信公钥（--trust），未作判断。签名公钥为 %s，请与公布的公钥比对。\nNothing decided without --trust; compare this key with the published one.",
			what, fingerprint(trust.Logs[0].VKey))
		return undecided, nil
	case !all:
		return fails, nil
	}
	say(c.JSON, out, "\n核验通过：全部成立。 All holds.")
	return holds, nil
}

// mark compares the QR code of a printed document, if one is given.
func (c *cli) mark(rep *bundle.Report) error {
	if c.QR == "" {
		return nil
	}
	m, err := chain.ParseMark(c.QR)
	if err != nil {
		return fmt.Errorf("--qr 不是本平台文书的二维码：%w", err)
	}
	trust, err := c.trusted()
	if err != nil {
		return err
	}
	var trusted []string
	if trust != nil {
		for _, l := range trust.Logs {
			trusted = append(trusted, chain.Fingerprint(l.VKey))
		}
	}
	if fails := rep.CheckMark(m, trusted...); len(fails) > 0 {
		rep.Failures = append(rep.Failures, fails...)
	} else {
		rep.Checked = append(rep.Checked, "文书二维码与证据包、可信公钥一致 the printed code agrees with bundle and trusted key")
	}
	return nil
}

func printReport(out io.Writer, rep bundle.Report) {
	if rep.CaseID != "" {
		say(false, out, "案件 case %s · 日志 log %s · 叶子 leaf %d · 导出于 exported %s", rep.CaseID, rep.Origin, rep.ExportLeaf, rep.ExportedAt)
	}
	for _, r := range rep.Records {
		say(false, out, "  证据 %d  %s  %d 字节  sha256 %s  %s", r.Number, r.FileName, r.Size, r.SHA256, r.Status)
	}
	for _, s := range rep.Missing {
		say(false, out, "  设备链 %s", s)
	}
	for _, s := range rep.Checked {
		say(false, out, "  · %s", s)
	}
	printStamps(out, rep)
	for _, f := range rep.Failures {
		say(false, out, "✗ %s：%s | %s", f.Where, f.Zh, f.En)
	}
}

func say(quiet bool, out io.Writer, format string, a ...any) {
	if quiet {
		return
	}
	for i := range a {
		if s, ok := a[i].(string); ok {
			a[i] = clean(s)
		}
	}
	fmt.Fprintf(out, format+"\n", a...)
}

// clean takes the power over a terminal from what a bundle says: a file name could else erase the line that names a failure.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return utf8.RuneError
		}
		return r
	}, s)
}

// ownKey is the key a bundle names itself. It proves nothing.
func ownKey(f io.ReaderAt, size int64) (string, error) {
	z, err := zip.NewReader(f, size)
	if err != nil {
		return "", err
	}
	m, err := z.Open(bundle.VKeyName)
	if err != nil {
		return "", err
	}
	defer m.Close()
	b, err := io.ReadAll(io.LimitReader(m, 4096))
	if err != nil {
		return "", err
	}
	_, err = chain.NewVerifier(string(b))
	return strings.TrimSpace(string(b)), err
}

// fingerprint is a key's name and hash, which are short enough to compare by eye.
func fingerprint(vkey string) string {
	name, rest, _ := strings.Cut(vkey, "+")
	hash, _, _ := strings.Cut(rest, "+")
	return name + "+" + hash
}

// receiptReport is what a receipt was shown to say.
type receiptReport struct {
	Trusted bool           `json:"trusted"`
	Holds   bool           `json:"holds"`
	Leaf    int64          `json:"leaf"`
	Kind    string         `json:"kind"`
	Time    string         `json:"time"`
	Origin  string         `json:"origin"`
	Size    int64          `json:"tree_size"`
	SHA256  string         `json:"sha256,omitempty"`
	Witness bundle.Witness `json:"witness"`
	Failure string         `json:"failure,omitempty"`
}

func (c *cli) receipt(out io.Writer, f io.Reader, trust *chain.Policy) (int, error) {
	text, err := io.ReadAll(io.LimitReader(f, 4<<20))
	if err != nil {
		return undecided, err
	}
	if trust == nil {
		return undecided, errors.New("没有给出可信公钥（--trust），不能断定回执的真伪。 Without --trust a receipt proves nothing.")
	}
	rep := receiptReport{Trusted: true}
	p, err := trust.VerifyReceipt(text)
	rep.Witness = bundle.JudgeWitnesses(*trust, p)
	if err == nil {
		rep.Leaf, rep.Kind, rep.Time, rep.Origin, rep.Size = p.Index, p.Leaf.Kind.Sentence(false), p.Leaf.Time().Format("2006-01-02T15:04:05Z07:00"), p.Checkpoint.Origin, p.Checkpoint.Size
		err = c.compare(p, &rep)
	}
	if err == nil && !p.Quorum {
		err = fmt.Errorf("见证未达到可信策略的门限：%d/%d，门限 %d short of the trusted policy's quorum", rep.Witness.Have, rep.Witness.Of, rep.Witness.Need)
	}
	if unread, is := errors.AsType[*fs.PathError](err); is {
		return undecided, unread
	}
	rep.Holds = err == nil
	if err != nil {
		rep.Failure = err.Error()
	}
	if c.JSON {
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		if jerr := e.Encode(rep); jerr != nil {
			return undecided, jerr
		}
	}
	if err != nil {
		say(c.JSON, out, "✗ 回执：%s", rep.Failure)
		return fails, nil
	}
	say(c.JSON, out, "日志 log %s · 叶子 leaf %d · %s · %s", rep.Origin, rep.Leaf, rep.Time, rep.Kind)
	if rep.SHA256 != "" {
		say(c.JSON, out, "  sha256 %s", rep.SHA256)
	}
	say(c.JSON, out, "  · %s", rep.Witness.String())
	if c.File == "" {
		say(c.JSON, out, "  没有对照影像文件（--file）。 No file was compared.")
	}
	say(c.JSON, out, "核验通过：全部成立。 All holds.")
	return holds, nil
}

// compare holds the file against what the leaf says. A file that can't be read gives a *fs.PathError.
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
