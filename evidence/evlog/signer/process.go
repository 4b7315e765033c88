package signer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
)

// A request and its answer are one line of JSON each, on the child's stdin and stdout, or on a connection to the socket.
type question struct {
	Sign   *Request `json:"sign,omitempty"`   // absent, as are the others: tell the state
	Rotate *Change  `json:"rotate,omitempty"` // of the administrator's own socket only
	Retire *Change  `json:"retire,omitempty"`
}

type answer struct {
	State   *State `json:"state,omitempty"`
	Signed  []byte `json:"signed,omitempty"`
	Refused string `json:"refused,omitempty"`
	Error   string `json:"error,omitempty"`
}

// maxLine bounds a question: a proof has at most 63 hashes.
const maxLine = 64 << 10

// Main is the signer as a process. `zhizheng signer --dir DIR [--origin NAME]` is the server's child: it ends when stdin does, so it
// can't outlive the server by more than a moment, and leaves signals to the parent: a Ctrl-C reaches both at once. With --socket PATH
// it serves several servers until it is told to end. `rotate`, `retire` and `show` administer the keys of a directory.
func Main(args []string) int {
	return mainWith(args, func(string) {})
}

func mainWith(args []string, at func(step string)) int {
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		return administer(args[0], args[1:], at)
	}
	f := flag.NewFlagSet("signer", flag.ContinueOnError)
	dir := f.String("dir", "", "签名密钥所在目录（目录只应本进程可读）")
	origin := f.String("origin", "", "新建日志时的名称（origin）；不填则自动取名")
	socket := f.String("socket", "", "供多台服务器共用的 Unix 套接字路径；不填则只服务于启动它的进程")
	if err := f.Parse(args); err != nil {
		return 2
	}
	if *dir == "" || f.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "signer: 须给出 --dir；用法：zhizheng signer --dir 目录 [--socket 路径]，或 zhizheng signer show|rotate|retire --dir 目录")
		return 2
	}
	ctx, stop := context.Background(), func() {}
	if *socket == "" {
		signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	} else {
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	}
	defer stop()
	s, err := openWith(ctx, *dir, Options{Origin: *origin}, at)
	if err != nil {
		if *socket == "" {
			_ = json.NewEncoder(os.Stdout).Encode(answer{Error: err.Error()}) // the parent reads it as the answer to its first question
		}
		fmt.Fprintln(os.Stderr, "signer:", err)
		return 1
	}
	defer s.Close()
	closeAdmin := s.serveAdmin(ctx)
	defer closeAdmin()
	if *socket != "" {
		err = s.listen(ctx, *socket)
	} else {
		err = s.serve(os.Stdin, os.Stdout, false)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "signer:", err)
		return 1
	}
	return 0
}

// serve answers until the questions end. admin allows those that change keys.
func (s *Signer) serve(r io.Reader, w io.Writer, admin bool) error {
	in, out := bufio.NewScanner(r), json.NewEncoder(w)
	in.Buffer(nil, maxLine)
	for in.Scan() {
		var q question
		if err := json.Unmarshal(in.Bytes(), &q); err != nil {
			return fmt.Errorf("read request: %w", err)
		}
		if err := out.Encode(s.answer(q, admin)); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
	if err := in.Err(); err != nil {
		return fmt.Errorf("read request: %w", err)
	}
	return nil
}

func (s *Signer) answer(q question, admin bool) answer {
	ctx := context.Background()
	var a answer
	var st State
	var err error
	switch {
	case q.Sign != nil:
		a.Signed, err = s.Sign(ctx, *q.Sign)
	case (q.Rotate != nil || q.Retire != nil) && !admin:
		err = &Refusal{"keys are changed at the signer itself"}
	case q.Rotate != nil:
		st, err = s.Rotate(ctx, *q.Rotate, nil)
		a.State = &st
	case q.Retire != nil:
		st, err = s.Retire(ctx, *q.Retire)
		a.State = &st
	default:
		st, err = s.State(ctx)
		a.State = &st
	}
	var no *Refusal
	switch {
	case errors.As(err, &no):
		return answer{Refused: no.Reason}
	case err != nil:
		return answer{Error: err.Error()}
	}
	return a
}

// fault is the error an answer tells, nil if none.
func (a answer) fault() error {
	switch {
	case a.Refused != "":
		return &Refusal{a.Refused}
	case a.Error != "":
		return fmt.Errorf("signer: %s", a.Error)
	}
	return nil
}

// ask is one question and its answer.
func ask(w io.Writer, r *bufio.Reader, q question) (answer, error) {
	b, err := json.Marshal(q)
	if err != nil {
		return answer{}, err
	}
	// A child that failed to open its directory has answered already and closed its stdin: read before giving up.
	_, werr := w.Write(append(b, '\n'))
	line, err := r.ReadBytes('\n')
	if err != nil {
		return answer{}, errors.Join(werr, err)
	}
	var a answer
	return a, json.Unmarshal(line, &a)
}

// Process is the client of a signer child. It starts the child when first asked, and again if it died.
type Process struct {
	command []string
	mu      sync.Mutex
	child   *child
	closed  bool
}

type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

// NewProcess takes the command of the child, such as {"/usr/bin/zhizheng", "signer", "--dir", dir}.
func NewProcess(command ...string) *Process { return &Process{command: command} }

// State asks the child for its key and last signed tree.
func (p *Process) State(ctx context.Context) (State, error) {
	a, err := p.ask(ctx, question{})
	if err != nil {
		return State{}, err
	}
	if a.State == nil {
		return State{}, errors.New("signer gave no state")
	}
	return *a.State, nil
}

// Sign asks the child for a signed checkpoint.
func (p *Process) Sign(ctx context.Context, r Request) ([]byte, error) {
	a, err := p.ask(ctx, question{Sign: &r})
	if err != nil {
		return nil, err
	}
	return a.Signed, nil
}

// Close ends the child and waits for it.
func (p *Process) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return p.stop(false)
}

func (p *Process) ask(ctx context.Context, q question) (answer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return answer{}, errors.New("signer is closed")
	}
	if p.child == nil {
		if err := p.start(); err != nil {
			return answer{}, fmt.Errorf("start signer: %w", err)
		}
	}
	type reply struct {
		a   answer
		err error
	}
	got := make(chan reply, 1)
	c := p.child
	go func() {
		var r reply
		r.a, r.err = ask(c.in, c.out, q)
		got <- r
	}()
	var r reply
	select {
	case r = <-got:
	case <-ctx.Done():
		// A child that hangs is of no use any more: the next question starts another. Killing it ends the reader above.
		_ = p.stop(true)
		<-got
		return answer{}, fmt.Errorf("ask signer: %w", ctx.Err())
	}
	if r.err != nil {
		return answer{}, fmt.Errorf("ask signer: %w", errors.Join(r.err, p.stop(true)))
	}
	return r.a, r.a.fault()
}

func (p *Process) start() error {
	cmd := exec.Command(p.command[0], p.command[1:]...)
	cmd.Env = []string{"LC_ALL=C"} // ours may hold secrets
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.child = &child{cmd: cmd, in: in, out: bufio.NewReader(out)}
	return nil
}

func (p *Process) stop(kill bool) error {
	c := p.child
	if c == nil {
		return nil
	}
	p.child = nil
	_ = c.in.Close() // asks it to end; a child that is gone has closed it already
	if kill {
		_ = c.cmd.Process.Kill() // gone already is as good
		_ = c.cmd.Wait()         // its exit status says only that it was killed
		return nil
	}
	return c.cmd.Wait()
}
