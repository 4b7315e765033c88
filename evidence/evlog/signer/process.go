package signer

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/base64"
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

	"golang.org/x/mod/sumdb/note"
)

// A request and its answer are one line of JSON each, on the child's stdin and stdout.
type question struct {
	Sign *Request `json:"sign,omitempty"` // absent: tell the state
}

type answer struct {
	State   *State `json:"state,omitempty"`
	Signed  []byte `json:"signed,omitempty"`
	Refused string `json:"refused,omitempty"`
	Error   string `json:"error,omitempty"`
}

// Main is the child process: zhizheng signer --dir DIR [--origin NAME]. It ends when stdin does, so it can't outlive the server
// by more than a moment, and leaves signals to the parent: a Ctrl-C reaches both at once.
func Main(args []string) int {
	f := flag.NewFlagSet("signer", flag.ContinueOnError)
	dir := f.String("dir", "", "directory of the log key")
	origin := f.String("origin", "", "name of a new log; one is made up if empty")
	if err := f.Parse(args); err != nil {
		return 2
	}
	if *dir == "" {
		fmt.Fprintln(os.Stderr, "signer: --dir is missing")
		return 2
	}
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	s, err := Open(context.Background(), *dir, *origin)
	if err != nil {
		_ = json.NewEncoder(os.Stdout).Encode(answer{Error: err.Error()}) // the parent reads it as the answer to its first question
		fmt.Fprintln(os.Stderr, "signer:", err)
		return 1
	}
	defer s.Close()
	if err := serve(s, os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "signer:", err)
		return 1
	}
	return 0
}

func serve(s *Signer, r io.Reader, w io.Writer) error {
	in, out := json.NewDecoder(r), json.NewEncoder(w)
	for {
		var q question
		if err := in.Decode(&q); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read request: %w", err)
		}
		if err := out.Encode(s.answer(q)); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
	}
}

func (s *Signer) answer(q question) answer {
	ctx := context.Background()
	if q.Sign == nil {
		st, err := s.State(ctx)
		if err != nil {
			return answer{Error: err.Error()}
		}
		return answer{State: &st}
	}
	signed, err := s.Sign(ctx, *q.Sign)
	var no *Refusal
	switch {
	case errors.As(err, &no):
		return answer{Refused: no.Reason}
	case err != nil:
		return answer{Error: err.Error()}
	}
	return answer{Signed: signed}
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
		r.a, r.err = c.ask(q)
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
	if r.a.Refused != "" {
		return answer{}, &Refusal{r.a.Refused}
	}
	if r.a.Error != "" {
		return answer{}, fmt.Errorf("signer: %s", r.a.Error)
	}
	return r.a, nil
}

func (c *child) ask(q question) (answer, error) {
	b, err := json.Marshal(q)
	if err != nil {
		return answer{}, err
	}
	// A child that failed to open its directory has answered already and closed its stdin: read before giving up.
	_, werr := c.in.Write(append(b, '\n'))
	line, err := c.out.ReadBytes('\n')
	if err != nil {
		return answer{}, errors.Join(werr, err)
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		return answer{}, err
	}
	return a, nil
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

// vkeyOf derives the verifier key from a note signer key (PRIVATE+KEY+name+hash+base64(algorithm ‖ seed)).
func vkeyOf(skey string) (string, error) {
	bad := errors.New("the key file is damaged")
	parts := strings.SplitN(strings.TrimSpace(skey), "+", 5)
	if len(parts) != 5 {
		return "", bad
	}
	raw, err := base64.StdEncoding.DecodeString(parts[4])
	if err != nil || len(raw) != 1+ed25519.SeedSize || raw[0] != 1 {
		return "", bad
	}
	pub := ed25519.NewKeyFromSeed(raw[1:]).Public().(ed25519.PublicKey)
	return note.NewEd25519VerifierKey(parts[2], pub)
}
