package witness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"zhizheng/evidence/chain"
)

// Commands are the two ways to run a witness, for zhizheng and for the small zhizheng-witness that a court runs. The tags are read by kong.
type Commands struct {
	Serve ServeCommand `cmd:"" help:"在网络上见证：平台来问，核对后共签。 Cosign over the network."`
	Sign  SignCommand  `cmd:"" help:"离线见证：读请求文件，核对后写出共签文件（可用 U 盘传递）。 Cosign a request carried as a file."`
}

// Place says where a witness lives and which logs it knows.
type Place struct {
	Dir  string   `help:"见证方的目录（密钥与已见证的进度；不要从备份恢复）。 Key and memory; never restore it from a backup." required:"" type:"path" env:"ZZ_WITNESS_DIR"`
	Name string   `help:"首次运行时密钥的名称，如 witness.court.example。 Name of the key, when it is made." env:"ZZ_WITNESS_NAME"`
	Log  []string `help:"所见证的日志的公钥文件（每行一把）；给过一次即记住。 Files with keys of logs to witness; remembered." type:"existingfile" placeholder:"VKEYFILE"`
}

func (p Place) open(ctx context.Context) (*Witness, error) {
	o := Options{Dir: p.Dir, Name: p.Name}
	for _, file := range p.Log {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		o.Logs = append(o.Logs, strings.Fields(string(b))...)
	}
	return Open(ctx, o)
}

// ServeCommand is `witness serve`.
type ServeCommand struct {
	Place
	Listen string `help:"监听地址。 Address to listen on." default:"127.0.0.1:8090" env:"ZZ_WITNESS_LISTEN"`
	URL    string `help:"平台访问本见证方的地址，写入打印的策略行；默认 http://监听地址。 Address the platform reaches it at." env:"ZZ_WITNESS_URL" name:"url"`
}

// Run serves until ctx ends.
func (c *ServeCommand) Run(ctx context.Context) error {
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	w, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer w.Close()
	ln, err := listen(c.Listen)
	if err != nil {
		return err
	}
	url := c.URL
	if url == "" {
		url = "http://" + ln.Addr().String()
	}
	w.introduce(os.Stdout, url)
	s := &http.Server{Handler: w.Handler(logger), ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug)}
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ln) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	err = s.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.Close()
	}
	if serr := <-ended; !errors.Is(serr, http.ErrServerClosed) {
		err = errors.Join(err, serr)
	}
	return err
}

// listen takes fd:N for a listener that the parent opened, so that its address outlives us.
func listen(address string) (net.Listener, error) {
	n, inherited := strings.CutPrefix(address, "fd:")
	if !inherited {
		return net.Listen("tcp", address)
	}
	fd, err := strconv.Atoi(n)
	if err != nil || fd < 3 {
		return nil, fmt.Errorf("listen on %q: no such file", address)
	}
	f := os.NewFile(uintptr(fd), address)
	defer f.Close() // the listener is a copy
	return net.FileListener(f)
}

// introduce prints what the platform's operator needs.
func (w *Witness) introduce(out io.Writer, url string) {
	fmt.Fprintf(out, "见证方公钥 witness's key:\n  %s\n", w.VKey())
	fmt.Fprintf(out, "交给平台，写入其策略文件 line for the platform's policy:\n  %s\n", w.policyLine(url))
	known := w.Known()
	if len(known) == 0 {
		fmt.Fprintf(out, "! 还不认识任何日志：用 --log 公钥文件 告知。 No log is known yet: --log VKEYFILE.\n")
	}
	for _, c := range known {
		fmt.Fprintf(out, "日志 log %s：已见证 cosigned %d\n", c.Origin, c.Size)
	}
}

func (w *Witness) policyLine(url string) string {
	return strings.TrimRight(fmt.Sprintf("witness %s %s %s", w.Name(), w.VKey(), url), " ")
}

// SignCommand is `witness sign`.
type SignCommand struct {
	Place
	Request string `arg:"" optional:"" help:"请求文件；不给则读标准输入。 Request file; standard input without." type:"existingfile"`
	Out     string `help:"共签文件；不给则写到标准输出。 File to write; standard output without." type:"path"`
}

// Run cosigns one request.
func (c *SignCommand) Run(ctx context.Context) error {
	return c.run(ctx, os.Stdin, os.Stdout, os.Stderr)
}

func (c *SignCommand) run(ctx context.Context, in io.Reader, out, say io.Writer) error {
	w, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer w.Close()
	if c.Request != "" {
		f, err := os.Open(c.Request)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, maxRequest+1))
	if err != nil {
		return err
	}
	signed, err := w.SignFile(text)
	var no *Refusal
	if errors.As(err, &no) && no.Code == http.StatusConflict {
		return fmt.Errorf("%w\n本见证方上次见证到 %d：请平台从这里起重新导出请求（zhizheng witness export --from %d）", err, no.Size, no.Size)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(say, "%s\n", w.policyLine(""))
	if c.Out != "" {
		return writeFile(c.Out, signed)
	}
	_, err = out.Write(signed)
	return err
}

// SignFile cosigns a request that came as a file, and gives the file that goes back: the checkpoint with the log's signature lines and ours.
func (w *Witness) SignFile(request []byte) ([]byte, error) {
	r, err := ParseRequest(request)
	if err != nil {
		return nil, err
	}
	line, err := w.Add(r)
	if err != nil {
		return nil, err
	}
	// Lines that an earlier journey added stay; one of ours is replaced.
	body, lines, err := chain.SplitNote(r.Checkpoint)
	if err != nil {
		return nil, err
	}
	out := []byte(body + "\n")
	for _, l := range lines {
		if l.Name != w.key.Name() || l.Hash != w.key.KeyHash() {
			out = append(out, l.String()...)
		}
	}
	return append(out, line...), nil
}
