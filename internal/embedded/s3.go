package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/embedgw"
	"github.com/versity/versitygw/s3api"

	"zhizheng/internal/secret"
)

// S3Options say where the embedded store keeps its objects and where it listens.
type S3Options struct {
	Dir       string // the data folder; objects are below Dir/s3
	Listen    string // host:port; port 0 takes a free one; "" means 127.0.0.1:0
	AccessKey string // "" takes DATA/secrets/s3-access-key, made at random on first start; the same for the secret
	SecretKey string
	MinFree   int64        // bytes of the disk kept free: writes that would go below answer 507. 0 means 512 MiB
	Log       *slog.Logger // nil: slog.Default()
}

// S3 is the running store. One a process, and the working directory of the process is its folder from now on: use absolute paths.
type S3 struct {
	endpoint, access, secret string
	cancel                   context.CancelFunc
	done                     chan struct{}
	err                      error // read after done
	lock                     *os.File
	free                     func() (int64, error)
}

const defaultMinFree = 512 << 20

// StartS3 recovers uploads that a crash left half completed, starts the store and returns once it listens.
func StartS3(ctx context.Context, o S3Options) (*S3, error) {
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.MinFree == 0 {
		o.MinFree = defaultMinFree
	}
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	s := &S3{access: o.AccessKey, secret: o.SecretKey, done: make(chan struct{})}
	if s.access == "" || s.secret == "" {
		if s.access, err = secret.Text(dir, "s3-access-key"); err != nil {
			return nil, err
		}
		if s.secret, err = secret.Text(dir, "s3-secret-key"); err != nil {
			return nil, err
		}
	}
	root := filepath.Join(dir, "s3")
	for _, d := range []string{"objects", "versions"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o700); err != nil {
			return nil, err
		}
	}
	if err := XattrsWork(root); err != nil {
		return nil, err
	}
	s.lock, err = os.OpenFile(filepath.Join(root, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(s.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("another server keeps its objects in %s: stop it first", root), s.lock.Close())
	}
	if err := recoverUploads(filepath.Join(root, "objects"), o.Log); err != nil {
		return nil, errors.Join(fmt.Errorf("recover uploads: %w", err), s.lock.Close())
	}
	be, err := newDurable(root, o.MinFree)
	if err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	s.free = be.free
	if err := s.serve(ctx, be, o); err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	return s, nil
}

// serve starts the gateway. It opens its listener itself and tells nobody the port it got, so for port 0 we choose a free one and
// try again should another process take it in between.
func (s *S3) serve(ctx context.Context, be *durable, o S3Options) error {
	host, port, err := net.SplitHostPort(orDefault(o.Listen, "127.0.0.1:0"))
	if err != nil {
		return fmt.Errorf("address of the store: %w", err)
	}
	for try := 1; ; try++ {
		addr := net.JoinHostPort(host, port)
		if port == "0" {
			l, err := net.Listen("tcp", addr)
			if err != nil {
				return err
			}
			addr = l.Addr().String()
			if err := l.Close(); err != nil {
				return err
			}
		}
		err := s.run(ctx, be, addr)
		if err == nil {
			return nil
		}
		if port != "0" || try == 5 || !strings.Contains(err.Error(), "address already in use") {
			return fmt.Errorf("start the store on %s: %w", addr, err)
		}
		s.done = make(chan struct{})
	}
}

func (s *S3) run(ctx context.Context, be *durable, addr string) error {
	life, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	listening := make(chan struct{})
	var once sync.Once
	cfg := &embedgw.Config{
		IAMService:     auth.NewIAMServiceSingle(auth.Account{Access: s.access, Secret: s.secret, Role: auth.RoleAdmin}),
		RootUserAccess: s.access, RootUserSecret: s.secret, Region: Region, Ports: []string{addr},
		// Beyond these the gateway answers SlowDown at once; a dock tries again.
		MaxConnections: 2048, MaxRequests: 1024, MultipartMaxParts: 10000,
		KeepAlive: true, Quiet: true, DisableACLs: true,
		S3Options: []s3api.Option{s3api.WithOnListen(func() { once.Do(func() { close(listening) }) })},
	}
	go func() {
		defer close(s.done)
		s.err = embedgw.RunVersityGW(life, be, cfg)
	}()
	select {
	case <-listening:
	case <-s.done:
		cancel()
		if s.err == nil {
			return errors.New("it ended at once")
		}
		return s.err
	case <-ctx.Done():
		cancel()
		<-s.done
		return ctx.Err()
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	s.endpoint = "http://" + net.JoinHostPort(host, port)
	return nil
}

// Region is the only one the embedded store knows.
const Region = "us-east-1"

// Endpoint is the store's own address, for clients on this machine.
func (s *S3) Endpoint() string { return s.endpoint }

// Credentials are the root account's.
func (s *S3) Credentials() (accessKey, secretKey string) { return s.access, s.secret }

// Free is how many bytes objects may still take before writes answer 507.
func (s *S3) Free() (int64, error) { return s.free() }

// Done is closed when the store has ended; Err then says why.
func (s *S3) Done() <-chan struct{} { return s.done }

// Err is nil after Stop. Valid once Done is closed.
func (s *S3) Err() error {
	<-s.done
	return s.err
}

// Stop lets running requests end and closes the listener. What was acknowledged is on disk already, so giving up when ctx ends
// loses nothing.
func (s *S3) Stop(ctx context.Context) error {
	s.cancel()
	select {
	case <-s.done:
		return errors.Join(s.err, s.lock.Close())
	case <-ctx.Done():
		return fmt.Errorf("stop the store: %w", ctx.Err())
	}
}

// XattrsWork reports whether the file system of dir keeps user attributes; the store keeps locks and checksums in them.
func XattrsWork(dir string) error {
	f, err := os.CreateTemp(dir, ".xattr-")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // a probe
	defer f.Close()
	err = syscall.Setxattr(f.Name(), "user.zz", []byte("1"), 0)
	if err != nil {
		return fmt.Errorf("the file system of %s keeps no user attributes (%w): put the data folder on ext4 or XFS, or set ZZ_S3_ENDPOINT", dir, err)
	}
	return nil
}

func orDefault(s, d string) string {
	if s == "" {
		return d
	}
	return s
}
