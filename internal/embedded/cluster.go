package embedded

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	"zhizheng/internal/secret"
)

const (
	owner      = "zhizheng"
	sharedRoot = "/var/lib/zhizheng" // clusters of servers run as root
	minVersion = 15
)

// cluster is the place and identity of a private PostgreSQL: files, binaries, the account it runs as.
type cluster struct {
	root      string // holds data/, run/, lock and postgres.log
	data      string
	socketDir string
	bin       string
	password  string
	cred      *syscall.Credential // nil: as ourselves
	lock      *os.File
}

// openCluster finds or makes the cluster's folder and locks it: a second server on the same data is refused here, before it could
// take the first one's postmaster for an orphan.
func openCluster(o PostgresOptions, log *slog.Logger) (*cluster, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	c := &cluster{root: o.Cluster}
	if c.root == "" {
		if c.root, err = clusterRoot(dir, log); err != nil {
			return nil, err
		}
	}
	if c.cred, err = credential(c.root); err != nil {
		return nil, err
	}
	c.data = filepath.Join(c.root, "data")
	if c.bin, err = binaries(c.data); err != nil {
		return nil, err
	}
	// The folder itself stays ours: the database account must not be able to replace the log or the lock we write as root.
	if c.cred != nil {
		err = os.MkdirAll(c.root, 0o711)
	} else {
		err = os.MkdirAll(c.root, 0o700)
	}
	if err != nil {
		return nil, err
	}
	if c.socketDir, err = c.makeSocketDir(); err != nil {
		return nil, err
	}
	if c.password, err = secret.Text(dir, "postgres-password"); err != nil {
		return nil, fmt.Errorf("database password: %w", err)
	}
	c.lock, err = os.OpenFile(filepath.Join(c.root, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(c.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = c.lock.Close()
		return nil, fmt.Errorf("another server is running on the data folder %s (lock %s): stop it first", dir, c.root)
	}
	return c, nil
}

func (c *cluster) unlock() { _ = c.lock.Close() }

// clusterRoot is DATA/postgres. The postgres account can't enter a folder below somebody's home, so as root that is a link to a
// folder below /var/lib/zhizheng, named after the data folder.
func clusterRoot(dir string, log *slog.Logger) (string, error) {
	at := filepath.Join(dir, "postgres")
	if real, err := filepath.EvalSymlinks(at); err == nil {
		return real, nil
	} else if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	target, err := os.Readlink(at)
	switch {
	case err == nil: // the link is there, its folder not yet: a crash between the two below
		return target, os.MkdirAll(target, 0o711)
	case os.Geteuid() != 0:
		return at, os.Mkdir(at, 0o700)
	}
	sum := sha256.Sum256([]byte(dir))
	target = filepath.Join(sharedRoot, hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(sharedRoot, 0o755); err != nil {
		return "", err
	}
	if _, err := os.Stat(target); err == nil {
		// The data folder was removed by hand and made anew; its secrets went with it. The old database is nobody's now, but
		// deleting it is not ours to decide.
		aside := target + ".old-" + time.Now().UTC().Format("20060102T150405.000000000")
		if err := endPostmaster(context.Background(), filepath.Join(target, "data"), log); err != nil {
			return "", err
		}
		if err := os.Rename(target, aside); err != nil {
			return "", err
		}
		log.Warn("a database of a removed data folder was set aside; delete it when you don't need it", "folder", aside)
	}
	if err := os.Symlink(target, at); err != nil {
		return "", err
	}
	return target, os.Mkdir(target, 0o711)
}

// credential says whom to run as: never root. A cluster made by an ordinary user stays that user's when root starts it.
func credential(root string) (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	var st syscall.Stat_t
	if err := syscall.Stat(root, &st); err == nil && st.Uid != 0 {
		return &syscall.Credential{Uid: st.Uid, Gid: st.Gid}, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, fmt.Errorf("the server runs as root and PostgreSQL may not: install the package postgresql, which makes the account postgres: %w", err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, errors.Join(err1, err2)
}

// own makes dir and gives it to the account PostgreSQL runs as.
func (c *cluster) own(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if c.cred == nil {
		return nil
	}
	return os.Chown(dir, int(c.cred.Uid), int(c.cred.Gid))
}

// makeSocketDir: a socket's whole path must fit in 107 bytes, so a deep data folder gets its socket in the temporary folder.
func (c *cluster) makeSocketDir() (string, error) {
	dir := filepath.Join(c.root, "run")
	if len(dir) > 85 {
		sum := sha256.Sum256([]byte(c.root))
		dir = filepath.Join(os.TempDir(), "zhizheng-pg-"+hex.EncodeToString(sum[:8]))
	}
	if err := c.own(dir); err != nil {
		return "", err
	}
	var st syscall.Stat_t
	if err := syscall.Lstat(dir, &st); err != nil {
		return "", err
	}
	want := uint32(os.Geteuid())
	if c.cred != nil {
		want = c.cred.Uid
	}
	if st.Mode&syscall.S_IFMT != syscall.S_IFDIR || st.Uid != want {
		return "", fmt.Errorf("%s is not ours: somebody made it to catch the database's socket", dir)
	}
	return dir, os.Chmod(dir, 0o700)
}

// binaries finds PostgreSQL's programs: those of the cluster's own version, else the newest.
func binaries(data string) (string, error) {
	want := 0
	if b, err := os.ReadFile(filepath.Join(data, "PG_VERSION")); err == nil {
		want, _ = strconv.Atoi(strings.TrimSpace(string(b)))
	}
	type found struct {
		version int
		dir     string
	}
	var all []found
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin"} {
		dirs, err := filepath.Glob(pattern)
		if err != nil {
			return "", err
		}
		for _, d := range dirs {
			name := filepath.Base(filepath.Dir(d))
			v, err := strconv.Atoi(name[strings.LastIndexAny(name, "-@")+1:])
			if _, e := os.Stat(filepath.Join(d, "initdb")); err == nil && e == nil {
				all = append(all, found{v, d})
			}
		}
	}
	if p, err := exec.LookPath("initdb"); err == nil {
		if out, err := exec.Command(p, "--version").Output(); err == nil {
			f := strings.Fields(string(out)) // initdb (PostgreSQL) 15.8 (…)
			if len(f) > 2 {
				v, _ := strconv.Atoi(strings.SplitN(f[2], ".", 2)[0])
				all = append(all, found{v, filepath.Dir(p)})
			}
		}
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].version > all[j].version })
	for _, f := range all {
		if f.version == want || want == 0 && f.version >= minVersion {
			return f.dir, nil
		}
	}
	if want != 0 {
		return "", fmt.Errorf("the database was made by PostgreSQL %d, which is not installed (apt install postgresql-%d)", want, want)
	}
	return "", fmt.Errorf("PostgreSQL %d or newer is not installed: run deploy/setup, or apt install postgresql, or set ZZ_DATABASE_URL", minVersion)
}

// as prepares cmd to run as the cluster's account, with nothing of our environment: it may hold secrets.
func (c *cluster) as(cmd *exec.Cmd) {
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c.cred}
}

// ensure makes the cluster on first start. It is made beside its place and renamed, so that a crash in initdb leaves nothing that
// looks like a database.
func (c *cluster) ensure(ctx context.Context, log *slog.Logger, noSync bool) error {
	if _, err := os.Stat(filepath.Join(c.data, "PG_VERSION")); err == nil {
		return nil
	}
	log.Info("creating the database cluster", "folder", c.root)
	// A killed server's initdb may still be at work: it loses its folder and fails by itself, ours is another. What can't be cleared
	// away now is only room lost; nothing reads it.
	stale, _ := globIn(c.root, "data.new*")
	for _, d := range stale {
		_ = os.RemoveAll(d)
	}
	tmp, err := os.MkdirTemp(c.root, "data.new-")
	if err != nil {
		return err
	}
	if err := c.own(tmp); err != nil {
		return err
	}
	pw := filepath.Join(c.root, "pw.new")
	defer os.Remove(pw) // holds the password only while initdb reads it
	if err := os.WriteFile(pw, []byte(c.password+"\n"), 0o600); err != nil {
		return err
	}
	if c.cred != nil {
		if err := os.Chown(pw, int(c.cred.Uid), int(c.cred.Gid)); err != nil {
			return err
		}
	}
	args := []string{"-D", tmp, "-U", owner, "--pwfile", pw, "--encoding=UTF8", "--locale=C", "--data-checksums",
		"--auth-local=scram-sha-256", "--auth-host=scram-sha-256"}
	if noSync {
		args = append(args, "--no-sync")
	}
	cmd := exec.CommandContext(ctx, filepath.Join(c.bin, "initdb"), args...)
	c.as(cmd)
	cmd.SysProcAttr.Setpgid = true
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("create the database cluster: %w: %s", err, strings.TrimSpace(string(out)))
	}
	if err := os.Rename(tmp, c.data); err != nil {
		return err
	}
	return secret.SyncDir(c.root)
}

// endOrphan ends a postmaster that a killed server left behind.
func (c *cluster) endOrphan(ctx context.Context, log *slog.Logger) error {
	return endPostmaster(ctx, c.data, log)
}

func endPostmaster(ctx context.Context, data string, log *slog.Logger) error {
	pid := postmaster(data)
	if pid == 0 {
		return nil
	}
	log.Warn("a database process of an earlier run is still there, stopping it", "pid", pid)
	for _, try := range []struct {
		sig  syscall.Signal
		wait time.Duration
	}{{syscall.SIGINT, 15 * time.Second}, {syscall.SIGQUIT, 10 * time.Second}, {syscall.SIGKILL, 10 * time.Second}} {
		if err := syscall.Kill(pid, try.sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("stop the earlier database process %d: %w", pid, err)
		}
		for end := time.Now().Add(try.wait); time.Now().Before(end); {
			if postmaster(data) != pid {
				return nil
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return fmt.Errorf("the earlier database process %d does not end", pid)
}

// postmaster gives the pid of a live postmaster on data, 0 if there is none. postmaster.pid alone proves nothing: after a reboot
// the number may be anybody's, so the process must also work in this folder and not be a zombie.
func postmaster(data string) int {
	b, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.SplitN(string(b), "\n", 2)[0])
	if err != nil || pid <= 1 {
		return 0
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)) // fails for a zombie
	if err != nil || cwd != data {
		return 0
	}
	return pid
}
