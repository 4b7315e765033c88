package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sys/unix"

	"zhizheng/internal/link"
	"zhizheng/internal/testenv"
	"zhizheng/internal/testserver"
)

// rounds is how often each fault happens.
func rounds() int {
	if os.Getenv("ZZ_SOAK") != "" {
		return 20
	}
	return 2
}

// TestDocking has sixteen recorders docked at one station, on one server with everything embedded, while what can go wrong does. After
// each fault all goes on by itself, and every byte is accounted for.
func TestDocking(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds and runs the whole server")
	}
	near := freePort(t)
	s := testserver.Make(t, append(testserver.Demo(), "--wipe", "receipt", "--s3-public-endpoint", "http://"+near)...)
	disks := newDisks(t, s)
	s.Begin(t)
	s.Loaded(t)
	store := neighbour(t, s.URL, 1)
	ids := t.TempDir()
	for _, id := range []string{"ST-31", "ST-32"} {
		enrol(t, s, id, filepath.Join(ids, id))
	}
	t.Run("a county that misbehaves", func(t *testing.T) { misbehave(t, s, near+"="+store, ids) })
	t.Run("stations at work", func(t *testing.T) { atWork(t, s, near+"="+store) })

	l := &link.Line{}
	over(t, l, near, store)
	st := newStation(t, s, "http://"+over(t, l, "127.0.0.1:0", strings.TrimPrefix(s.URL, "http://")), filepath.Join(ids, "ST-31"))
	docks := func(fault func(t *testing.T, e *batch)) func(t *testing.T) {
		return func(t *testing.T) {
			for range rounds() {
				e := st.dock(t)
				fault(t, e)
				e.even(t)
			}
		}
	}
	t.Run("kills", docks(func(t *testing.T, e *batch) { e.kills(t) }))
	t.Run("network cut", docks(func(t *testing.T, e *batch) { e.cut(t, l) }))
	t.Run("store full", func(t *testing.T) { disks.storeFull(t, st) })
	t.Run("database full", func(t *testing.T) { disks.databaseFull(t, st) })
	t.Run("clocks off", func(t *testing.T) { clocksOff(t, st) })
	t.Run("the account itself", func(t *testing.T) {
		e := st.dock(t)
		e.even(t)
		e.tampered(t)
	})
}

// kills ends server, station, the database's first process and one of its others, in any order, at random moments.
func (e *batch) kills(t *testing.T) {
	t.Helper()
	kill := map[string]func(){
		"server": func() {
			e.server.Kill(t)
			e.server.Start(t)
			e.server.Ready(t)
		},
		"station":  func() { e.kill(t); e.start(t) },
		"database": func() { must(t, syscall.Kill(postmaster(t, e.server), syscall.SIGKILL)) },
		"backend": func() {
			conn := connect(t, e.server)
			defer conn.Close(context.WithoutCancel(t.Context()))
			var pids []int
			testenv.Eventually(t, time.Minute, func() bool {
				must(t, conn.QueryRow(t.Context(), `select coalesce(array_agg(pid), '{}') from pg_stat_activity where application_name = 'zhizheng'`).Scan(&pids))
				return len(pids) > 0
			})
			must(t, syscall.Kill(pids[rand.IntN(len(pids))], syscall.SIGKILL))
		},
	}
	e.randomly(t, kill)
}

// randomly does each thing once: in any order, at random moments of the docking.
func (e *batch) randomly(t *testing.T, things map[string]func()) {
	t.Helper()
	var names []string
	at := make([]float64, 0, len(things))
	for name := range things {
		names, at = append(names, name), append(at, 0.8*rand.Float64()) // of all receipts and wipes: the rest is something to go on with
	}
	slices.Sort(at)
	for i, name := range names {
		e.reached(t, at[i])
		moment := time.NewTimer(rand.N(100 * time.Millisecond))
		<-moment.C
		things[name]()
		t.Logf("%s; of %d files %d have a receipt, %d are on the recorders", name, e.all, e.sealed(), e.left(t))
	}
}

// cut breaks the line to server and store until the screen says so.
func (e *batch) cut(t *testing.T, l *link.Line) {
	t.Helper()
	e.reached(t, 0.4*rand.Float64())
	l.Cut()
	t.Logf("cut; of %d files %d have a receipt, %d are on the recorders", e.all, e.sealed(), e.left(t))
	testenv.Eventually(t, time.Minute, func() bool {
		away, _ := e.page(t)
		return away != ""
	})
	had := e.sealed()
	l.Restore()
	if had == e.all {
		t.Error("nothing was left to do when the line was cut")
	}
}

// postmaster is the first process of the embedded database.
func postmaster(t *testing.T, s *testserver.Server) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(s.Data, "postgres", "data", "postmaster.pid"))
	must(t, err)
	pid, err := strconv.Atoi(strings.Split(string(b), "\n")[0])
	must(t, err)
	return pid
}

// connect opens the embedded database as its owner, once it answers.
func connect(t *testing.T, s *testserver.Server) *pgx.Conn {
	t.Helper()
	var running struct {
		URL string `json:"database_url"`
	}
	b, err := os.ReadFile(filepath.Join(s.Data, "secrets", "running.json"))
	must(t, err)
	must(t, json.Unmarshal(b, &running))
	var conn *pgx.Conn
	testenv.Eventually(t, time.Minute, func() bool {
		conn, err = pgx.Connect(t.Context(), running.URL)
		return err == nil
	})
	return conn
}

// disks are small ones, of the store and of the database.
type disks struct{ store, database *disk }

// newDisks puts the server's store and database on disks of their own, where mounting is permitted.
func newDisks(t *testing.T, s *testserver.Server) *disks {
	t.Helper()
	must(t, os.Mkdir(s.Data, 0o700))
	d := &disks{store: mount(t, filepath.Join(s.Data, "s3"), 512+24*rounds())} // beyond what the store keeps free
	if d.store == nil {
		return d
	}
	run, err := testenv.Dir()
	must(t, err)
	cluster, err := os.MkdirTemp(run, "cluster-") // the database's own account can come here
	must(t, err)
	d.database = mount(t, cluster, 600+20*rounds())
	must(t, errors.Join(os.Chmod(cluster, 0o711), os.Symlink(cluster, filepath.Join(s.Data, "postgres"))))
	return d
}

// disk is a file system in memory. Ballast fills it.
type disk struct{ dir string }

// mount gives nil where that isn't permitted.
func mount(t *testing.T, dir string, mib int) *disk {
	t.Helper()
	must(t, os.MkdirAll(dir, 0o700))
	err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", mib))
	if errors.Is(err, syscall.EPERM) {
		return nil
	}
	must(t, err)
	t.Cleanup(func() { must(t, syscall.Unmount(dir, 0)) })
	if err := unix.Setxattr(dir, "user.zz", []byte("1"), 0); err != nil {
		t.Fatalf("a file system in memory keeps no user attributes (Linux 6.6 does): %v", err)
	}
	return &disk{dir}
}

func (d *disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// fill leaves so many bytes free.
func (d *disk) fill(t *testing.T, leave int64) {
	t.Helper()
	f, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_WRONLY, 0o600)
	must(t, err)
	defer f.Close()
	for size := int64(0); ; {
		var st unix.Statfs_t
		must(t, unix.Statfs(d.dir, &st))
		more := int64(st.Bavail)*st.Bsize - leave
		if more <= 0 {
			return
		}
		switch err := unix.Fallocate(int(f.Fd()), 0, size, more); {
		case err == nil:
			size += more
		case !errors.Is(err, syscall.ENOSPC): // somebody else took some of it meanwhile
			t.Fatal(err)
		}
	}
}

func (d *disk) free(t *testing.T) {
	t.Helper()
	must(t, os.Remove(d.ballast()))
}

// permitted skips the test where there is no small disk.
func (d *disks) permitted(t *testing.T) {
	t.Helper()
	if d.store == nil {
		t.Skip("a full disk needs the right to mount a small one (root, and mount not forbidden by the container)")
	}
}

// storeFull docks while the store has no room, until the officer's screen has said what is missing.
func (d *disks) storeFull(t *testing.T, st *station) {
	d.permitted(t)
	d.store.fill(t, 512<<20) // what the store keeps free for others
	e := st.dock(t)
	e.says(t, "存储空间已满")
	if n := e.sealed(); n != 0 {
		t.Errorf("%d files sealed without room for them", n)
	}
	d.store.free(t)
	e.even(t)
}

// databaseFull takes the database's room during a docking: first tables can't grow, then its log can't, and it dies again and again.
func (d *disks) databaseFull(t *testing.T, st *station) {
	d.permitted(t)
	d.database.fill(t, 0)
	e := st.dock(t)
	e.says(t, "数据库所在的磁盘已满")
	conn := connect(t, e.server)
	defer conn.Close(context.WithoutCancel(t.Context()))
	for alive := true; alive; {
		_, err := conn.Exec(t.Context(), `select pg_logical_emit_message(false, 'fill', repeat('x', 1000000))`)
		alive = err == nil
	}
	const ended = "PostgreSQL ended, starting it again"
	before := bytes.Count(e.server.Log(t), []byte(ended))
	testenv.Eventually(t, time.Minute, func() bool { return bytes.Count(e.server.Log(t), []byte(ended)) >= before+6 })
	e.says(t, "数据库暂时不可用")
	d.database.free(t)
	e.even(t)
}

// clocksOff docks cards whose clocks are years off at a station whose clock is two years off. Times are kept as they were claimed, the
// station's clock is told off, and how long footage is kept is reckoned by the server's own.
func clocksOff(t *testing.T, st *station) {
	agent := st.agent
	restart := func(agent string, years time.Duration) {
		st.kill(t)
		st.agent, st.env = agent, []string{fmt.Sprintf("ZZ_TEST_CLOCK=%d", int64((years * 365 * 24 * time.Hour).Seconds()))}
		st.start(t)
	}
	shifted := testserver.BuildShifted(t, "zhizheng/cmd/dock")
	for _, c := range []struct {
		name  string
		years time.Duration
		odd   []string
	}{{"ahead", 2, []string{"clock-ahead"}}, {"behind", -2, []string{"clock-back", "clock-jump"}}} {
		t.Run(c.name, func(t *testing.T) {
			restart(shifted, c.years)
			begun := time.Now()
			e := st.dock(t, skew)
			e.even(t)
			conn := connect(t, st.server)
			defer conn.Close(context.WithoutCancel(t.Context()))
			for _, d := range e.dockings {
				for _, k := range d.clips {
					var sealed, retained, modified time.Time
					must(t, conn.QueryRow(t.Context(), `select sealed_at, retain_until, modified_at from evidence where id = $1`, d.lines[k.name].Evidence).
						Scan(&sealed, &retained, &modified))
					if sealed.Before(begun) || sealed.After(time.Now()) {
						t.Errorf("%s was sealed at %s", k.name, sealed)
					}
					if kept := retained.Sub(sealed); kept < 184*24*time.Hour || kept > 185*24*time.Hour {
						t.Errorf("%s is kept for %s from its sealing", k.name, kept)
					}
					if !modified.Equal(k.time) {
						t.Errorf("%s is of %s, not of %s as its card says", k.name, modified, k.time)
					}
				}
			}
			var signed time.Time
			var told bool
			must(t, conn.QueryRow(t.Context(), `select to_timestamp(max(signed_ms) / 1000) from manifest where received_at >= $1`, begun).Scan(&signed))
			if off := signed.Sub(begun) - c.years*365*24*time.Hour; off.Abs() > time.Hour {
				t.Errorf("the station signed at %s by its clock", signed)
			}
			must(t, conn.QueryRow(t.Context(), `select exists (select from chain_anomaly where what = any($1) and at >= $2)`, c.odd, begun).Scan(&told))
			if !told {
				t.Errorf("nothing is said of the station's clock: %s", c.odd)
			}
		})
	}
	restart(agent, 0)
}
