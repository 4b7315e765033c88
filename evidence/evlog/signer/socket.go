package signer

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// adminFile is the administrator's socket, in the signer's directory: who may read the keys may change them.
const adminFile = "log.admin"

// maxServers bounds the connections a shared signer holds: a server has one.
const maxServers = 64

// listen serves several servers on a socket of mode 0600, each its own connection, one question at a time. It returns when ctx ends. The
// directory's lock is held, so a socket that lies there is a dead signer's.
func (s *Signer) listen(ctx context.Context, path string) error {
	l, err := bind(path)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "signer: 已就绪，套接字 %s\n", path)
	return s.accept(ctx, l, false)
}

// serveAdmin answers on the administrator's socket until ctx ends or the returned function is called. Without it the signer signs all the same.
func (s *Signer) serveAdmin(ctx context.Context) (end func()) {
	ctx, cancel := context.WithCancel(ctx)
	l, err := inDir(s.dir, bind)
	if err != nil {
		fmt.Fprintln(os.Stderr, "signer: keys can't be changed while it runs:", err)
		return cancel
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.accept(ctx, l, true); err != nil {
			fmt.Fprintln(os.Stderr, "signer: administration:", err)
		}
	}()
	return func() { cancel(); <-done }
}

// inDir calls f with a short path to the administrator's socket: addresses of sockets hold some hundred bytes, paths may be longer.
func inDir[T any](dir string, f func(path string) (T, error)) (T, error) {
	d, err := os.Open(dir)
	if err != nil {
		var none T
		return none, err
	}
	defer d.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), adminFile))
}

// bind makes a socket of mode 0600, and gives it its name only once it listens: who finds it finds an answer.
func bind(path string) (net.Listener, error) {
	tmp := filepath.Join(filepath.Dir(path), fmt.Sprintf(".s%d", os.Getpid()))
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("socket: %w", err)
	}
	old := unix.Umask(0o177) // of the whole process, for a moment: at most a file made meanwhile is more private than asked
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	unix.Umask(old)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	l.SetUnlinkOnClose(false) // its successor's would go
	if err = notOurs(path); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = l.Close()      // the error below is the one to tell
		_ = os.Remove(tmp) // it never had its name
		return nil, fmt.Errorf("socket: %w", err)
	}
	return l, nil
}

// notOurs refuses to replace anything but a socket nobody listens on.
func notOurs(path string) error {
	st, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if st.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%s is there and is no socket", path)
	}
	if c, err := net.Dial("unix", path); err == nil {
		c.Close()
		return fmt.Errorf("another signer answers on %s", path)
	}
	return nil
}

func (s *Signer) accept(ctx context.Context, l net.Listener, admin bool) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(ctx, func() { l.Close() })
	room := make(chan struct{}, maxServers)
	for {
		c, err := l.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("accept: %w", err)
		}
		select {
		case room <- struct{}{}:
		default:
			c.Close()
			continue
		}
		wg.Go(func() {
			defer func() { <-room }()
			stop := context.AfterFunc(ctx, func() { c.Close() })
			defer stop()
			defer c.Close()
			if err := s.serve(c, c, admin); err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, "signer: connection:", err)
			}
		})
	}
}

// Remote is the client of a shared signer. It connects when first asked, and again after the signer was restarted.
type Remote struct {
	path   string
	mu     sync.Mutex
	conn   net.Conn
	in     *bufio.Reader
	closed bool
}

// patience is how long a question waits for a signer that is being restarted.
const patience = 5 * time.Second

// NewRemote takes an address: unix:PATH.
func NewRemote(address string) (*Remote, error) {
	path, ok := strings.CutPrefix(address, "unix:")
	if !ok || path == "" {
		return nil, fmt.Errorf("签名进程的地址应为 unix:路径，而不是 %q", address)
	}
	return &Remote{path: path}, nil
}

// State asks the signer for its keys and last signed tree.
func (r *Remote) State(ctx context.Context) (State, error) {
	a, err := r.ask(ctx, question{})
	if err != nil {
		return State{}, err
	}
	if a.State == nil {
		return State{}, errors.New("signer gave no state")
	}
	return *a.State, nil
}

// Sign asks the signer for a signed checkpoint.
func (r *Remote) Sign(ctx context.Context, q Request) ([]byte, error) {
	a, err := r.ask(ctx, question{Sign: &q})
	return a.Signed, err
}

// Close ends the connection.
func (r *Remote) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	r.drop()
	return nil
}

func (r *Remote) drop() {
	if r.conn != nil {
		r.conn.Close()
		r.conn = nil
	}
}

// ask asks once more if the connection breaks: asking the same twice gives the same answer, also to Sign.
func (r *Remote) ask(ctx context.Context, q question) (answer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		a, err := r.try(ctx, q)
		if err == nil {
			return a, a.fault()
		}
		r.drop()
		t := time.NewTimer(50 * time.Millisecond)
		select {
		case <-ctx.Done():
			t.Stop()
			return answer{}, fmt.Errorf("ask signer: %w", err)
		case <-t.C:
		}
	}
}

func (r *Remote) try(ctx context.Context, q question) (answer, error) {
	if r.closed {
		return answer{}, errors.New("signer is closed")
	}
	if r.conn == nil {
		var d net.Dialer
		c, err := d.DialContext(ctx, "unix", r.path)
		if err != nil {
			return answer{}, err
		}
		r.conn, r.in = c, bufio.NewReader(c)
	}
	deadline, _ := ctx.Deadline()
	if err := r.conn.SetDeadline(deadline); err != nil {
		return answer{}, err
	}
	conn := r.conn
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	return ask(r.conn, r.in, q)
}

// atAdmin asks the signer that runs on dir; fs.ErrNotExist or ECONNREFUSED if none does.
func atAdmin(dir string, q question) (answer, error) {
	c, err := inDir(dir, func(path string) (net.Conn, error) { return net.DialTimeout("unix", path, patience) })
	if err != nil {
		return answer{}, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(2 * patience)); err != nil {
		return answer{}, err
	}
	return ask(c, bufio.NewReader(c), q)
}

func nobodyThere(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED)
}
