// Package embedded owns the services that run inside the server until an address of an external one is given: PostgreSQL as a child
// process and the S3 store in process. It promises that what they acknowledged survives kill -9 of the server or of themselves,
// and that the next start recovers by itself. It never runs PostgreSQL as root and never trusts a connection without a password.
//
// Read postgres.go (the child and its life), cluster.go (where its files are, first start, orphans), s3.go (the store).
package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// PostgresOptions say where the private cluster lives.
type PostgresOptions struct {
	Dir     string       // the data folder; the cluster is Dir/postgres, as root a link to /var/lib/zhizheng/<id>
	Log     *slog.Logger // nil: slog.Default()
	Cluster string       // set to keep the cluster elsewhere (tests); its parents must be open to the postgres user
	NoSync  bool         // tests only: a crash of the machine may lose everything
}

// Postgres is a running private cluster. Should its process die, it is started again, for as long as it takes.
type Postgres struct {
	c    *cluster
	log  *slog.Logger
	args []string
	url  string

	mu       sync.Mutex
	cmd      *exec.Cmd
	stopping bool
	served   bool          // it has answered once
	ending   chan struct{} // closed when stopping
	done     chan struct{} // closed when the supervisor has ended
	err      error         // why it ended, when not by Stop; read after done
}

const databaseName = "zhizheng"

// StartPostgres creates the cluster on first start, ends a postmaster that an earlier server left behind, starts it and returns
// once it answers queries. The context bounds the start only.
func StartPostgres(ctx context.Context, o PostgresOptions) (*Postgres, error) {
	log := o.Log
	if log == nil {
		log = slog.Default()
	}
	c, err := openCluster(o, log)
	if err != nil {
		return nil, err
	}
	p := &Postgres{c: c, log: log, ending: make(chan struct{}), done: make(chan struct{})}
	if err := p.start(ctx, o); err != nil {
		c.unlock()
		return nil, err
	}
	return p, nil
}

func (p *Postgres) start(ctx context.Context, o PostgresOptions) error {
	if err := p.c.endOrphan(ctx, p.log); err != nil {
		return err
	}
	if err := p.c.ensure(ctx, p.log, o.NoSync); err != nil {
		return err
	}
	p.args = p.c.settings(o.NoSync)
	p.url = p.c.url(databaseName)
	started := make(chan error, 1)
	go p.supervise(started)
	if err := <-started; err != nil {
		return err
	}
	if err := p.ready(ctx); err != nil {
		p.kill()
		return err
	}
	return nil
}

// URL is the address of the platform's database, as its owner; it holds a password.
func (p *Postgres) URL() string { return p.url }

// Done is closed when PostgreSQL has ended for good; Err then says why.
func (p *Postgres) Done() <-chan struct{} { return p.done }

// Err is nil after Stop, otherwise the reason PostgreSQL could not be kept running. Valid once Done is closed.
func (p *Postgres) Err() error {
	<-p.done
	return p.err
}

// Pid is the process id of the postmaster.
func (p *Postgres) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return 0
	}
	return p.cmd.Process.Pid
}

// Stop ends PostgreSQL in order: running transactions are rolled back, the WAL is flushed. When ctx ends first, it is stopped at
// once and recovers from the WAL on the next start.
func (p *Postgres) Stop(ctx context.Context) error {
	p.signal(syscall.SIGINT) // fast shutdown
	select {
	case <-p.done:
		return p.err
	case <-ctx.Done():
	}
	p.log.Warn("PostgreSQL did not stop in time, ending it at once")
	p.kill()
	return p.err
}

func (p *Postgres) kill() {
	p.signal(syscall.SIGQUIT) // immediate shutdown
	select {
	case <-p.done:
		return
	case <-time.After(10 * time.Second):
	}
	p.signal(syscall.SIGKILL)
	<-p.done
}

func (p *Postgres) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.stopping {
		p.stopping = true
		close(p.ending)
	}
	if p.cmd != nil {
		_ = p.cmd.Process.Signal(s) // already gone: the supervisor sees it
	}
}

// supervise starts the postmaster and starts it again when it dies. It keeps its OS thread: the kernel sends Pdeathsig when the
// thread that forked ends, not the process.
func (p *Postgres) supervise(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.done)
	defer p.c.unlock()
	first := true
	for quick := 0; ; {
		begun := time.Now()
		wait, err := p.spawn()
		if first {
			started <- err
			first = false
		}
		if err == nil {
			err = wait()
		}
		p.mu.Lock()
		stopping, served := p.stopping, p.served
		p.mu.Unlock()
		if stopping {
			return
		}
		if quick++; time.Since(begun) > time.Minute {
			quick = 1
		}
		if quick > 5 && !served {
			p.err = fmt.Errorf("PostgreSQL ended %d times in a row: %w; %s", quick, err, p.c.logTail())
			p.log.Error("PostgreSQL can't be kept running", "err", p.err)
			return
		}
		p.log.Error("PostgreSQL ended, starting it again", "err", err, "times", quick, "last", p.c.logTail())
		// Its children notice the death of the postmaster within moments and let go of the shared memory; a start before that
		// fails and is tried again. What keeps it from starting once it has served, such as a full disk, is waited out.
		if !p.pause(min(time.Duration(quick)*200*time.Millisecond, restartEvery)) {
			return
		}
		if err := p.c.endOrphan(context.Background(), p.log); err != nil {
			p.log.Error("PostgreSQL's earlier process", "err", err) // the start will fail, and is tried again
		}
	}
}

// restartEvery is the longest time between two starts.
const restartEvery = 5 * time.Second

// pause waits, and says whether there is still a PostgreSQL to run.
func (p *Postgres) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-p.ending:
		return false
	}
}

func (p *Postgres) spawn() (wait func() error, err error) {
	out, err := p.c.openLog()
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(filepath.Join(p.c.bin, "postgres"), p.args...)
	p.c.as(cmd)
	cmd.Stdout, cmd.Stderr = out, out
	// Its own group: Ctrl-C at the terminal reaches only us, and we stop it in order. If we are killed, it shuts down by itself.
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGINT
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopping {
		return nil, errors.New("stopped while starting")
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	p.cmd = cmd
	return cmd.Wait, nil
}

// ready waits until the cluster answers a query, then makes sure that the platform's database is there.
func (p *Postgres) ready(ctx context.Context) error {
	var last error
	for {
		conn, err := pgx.Connect(ctx, p.c.url("postgres"))
		if err == nil {
			err = ensureDatabase(ctx, conn)
			_ = conn.Close(ctx)
			if err == nil {
				p.mu.Lock()
				p.served = true
				p.mu.Unlock()
				return nil
			}
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-p.done:
			return fmt.Errorf("PostgreSQL did not start: %w", p.err)
		case <-ctx.Done():
			return fmt.Errorf("PostgreSQL is not ready: %w (last: %v); %s", ctx.Err(), last, p.c.logTail())
		case <-time.After(25 * time.Millisecond):
		}
	}
}

func ensureDatabase(ctx context.Context, conn *pgx.Conn) error {
	var there bool
	err := conn.QueryRow(ctx, `select exists (select from pg_database where datname = $1)`, databaseName).Scan(&there)
	if err != nil || there {
		return err
	}
	_, err = conn.Exec(ctx, `create database `+databaseName)
	return err
}

func (c *cluster) url(database string) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(owner, c.password), Path: "/" + database,
		RawQuery: url.Values{"host": {c.socketDir}}.Encode()}
	return u.String()
}

// settings suit a small machine that also runs the server; durability is never traded.
func (c *cluster) settings(noSync bool) []string {
	mem := memoryMB()
	s := []string{
		"listen_addresses=", "unix_socket_directories=" + c.socketDir, "unix_socket_permissions=0777",
		"password_encryption=scram-sha-256", "max_connections=100", "timezone=UTC", "log_timezone=UTC",
		fmt.Sprintf("shared_buffers=%dMB", min(max(mem/8, 64), 2048)),
		fmt.Sprintf("effective_cache_size=%dMB", max(mem/2, 256)),
		"work_mem=8MB", "maintenance_work_mem=64MB", "jit=off", "random_page_cost=1.1",
		"max_wal_size=2GB", "min_wal_size=128MB", "wal_compression=on", "checkpoint_timeout=10min",
		"max_parallel_workers_per_gather=1", "autovacuum_max_workers=2",
		// A log line must not carry what users typed: no statements, no parameter values, no DETAIL with key values.
		"log_min_error_statement=panic", "log_error_verbosity=terse", "log_checkpoints=off", "logging_collector=off",
		"log_line_prefix=%m [%p] ", "cluster_name=zhizheng",
	}
	if noSync {
		s = append(s, "fsync=off", "full_page_writes=off", "synchronous_commit=off", "shared_buffers=48MB", "autovacuum=off",
			"max_wal_size=1GB", "wal_level=minimal", "max_wal_senders=0")
	}
	args := []string{"-D", c.data}
	for _, kv := range s {
		args = append(args, "-c", kv)
	}
	return args
}

func memoryMB() int {
	var si syscall.Sysinfo_t
	if err := syscall.Sysinfo(&si); err != nil {
		return 2048
	}
	return int(uint64(si.Totalram) * uint64(si.Unit) >> 20)
}

func (c *cluster) logPath() string { return filepath.Join(c.root, "postgres.log") }

// openLog keeps one older log of at most 16 MB.
func (c *cluster) openLog() (*os.File, error) {
	if st, err := os.Stat(c.logPath()); err == nil && st.Size() > 16<<20 {
		if err := os.Rename(c.logPath(), c.logPath()+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(c.logPath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

func (c *cluster) logTail() string {
	b, err := os.ReadFile(c.logPath())
	if err != nil {
		return "no log: " + err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return "its log " + c.logPath() + " ends: " + strings.Join(lines[max(0, len(lines)-4):], " | ")
}
