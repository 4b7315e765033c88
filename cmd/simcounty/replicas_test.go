package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/internal/link"
	"zhizheng/internal/testenv"
	"zhizheng/internal/testserver"
)

// TestReplicas has sixteen recorders docked, and devices report, at a county with everything elsewhere: two servers that share database,
// store, broker and signer, behind one address. Servers join and leave, store, broker and signer are killed. What was acknowledged is
// there, footage and messages.
func TestReplicas(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds and runs the whole server, twice")
	}
	dir := t.TempDir()
	db, store := testenv.DatabaseURL(t), testenv.NewStore(t)
	key := newProcess(t, filepath.Join(testserver.Programs(t), "zhizheng"), "signer", "--dir", filepath.Join(dir, "signer"), "--socket", filepath.Join(dir, "signer.sock"))
	socket := filepath.Join(dir, "signer.sock")
	env := []string{"ZZ_DATABASE_URL=" + db, "ZZ_S3_ENDPOINT=" + store.Endpoint, "ZZ_S3_ACCESS_KEY=" + store.Access, "ZZ_S3_SECRET_KEY=" + store.Secret,
		"ZZ_SIGNER=unix:" + socket, "ZZ_WIPE=receipt", "ZZ_LOG_LOCK_DAYS=1"}
	key.answers(t, "unix", socket)

	one := testserver.Make(t, append(testserver.Demo(), "--no-demo-witnesses")...)
	other := testserver.Make(t)
	one.Env = env
	broker := newMosquitto(t, one, filepath.Join(dir, "mosquitto"))
	one.Env = append(env, broker.settings...)
	other.Env = append(env, broker.settings...)
	one.Begin(t)
	one.Loaded(t)
	county := filepath.Join(dir, "county.json")
	devices := broker.letIn(t, one, county, 24)
	shareKeys(t, one, other)

	l := &link.Line{}
	url := "http://" + over(t, l, "127.0.0.1:0", strings.TrimPrefix(one.URL, "http://"), strings.TrimPrefix(other.URL, "http://"))
	enrol(t, one, "ST-31", filepath.Join(dir, "ST-31"), "--public-url", url)
	st := newStation(t, one, url, filepath.Join(dir, "ST-31"))
	all, err := readCredentials(county)
	must(t, err)
	trust, err := readCA(broker.ca)
	must(t, err)
	x := newCounty(config{Broker: broker.url, Every: 100 * time.Millisecond, Ramp: time.Second, Seed: 1}, trust, all, slog.New(slog.DiscardHandler))
	reports, stop := context.WithCancel(t.Context())
	var reporting sync.WaitGroup
	reporting.Go(func() { _ = x.run(reports) }) // it ends when it is told to
	defer reporting.Wait()
	defer stop()
	other.Begin(t) // it joins
	joined := time.Now()
	testenv.Eventually(t, time.Minute, func() bool { // what a broker forgets that dies before it has saved who listens is not what is tested here
		info, err := os.Stat(filepath.Join(broker.dir, "mosquitto.db"))
		return err == nil && info.ModTime().After(joined)
	})

	var kills []time.Time // of the broker
	for range rounds() {
		b := st.dock(t)
		b.randomly(t, map[string]func(){
			"one server leaves and joins again": func() {
				one.Kill(t)
				b.reached(t, float64(b.sealed()+1)/float64(2*b.all)) // by way of the other
				one.Start(t)
				one.Ready(t)
			},
			"the other server leaves and joins again": func() { other.Kill(t); other.Start(t); other.Ready(t) },
			"store": func() { store.Kill(t); store.Start(t) },
			"broker": func() {
				broker.kill(t)
				kills = append(kills, time.Now())
				broker.start(t)
				broker.answers(t, "tcp", broker.platform)
			},
			"signer": func() { key.kill(t); key.start(t); key.answers(t, "unix", socket) },
		})
		b.even(t)
	}

	conn, err := pgx.Connect(t.Context(), db)
	must(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	testenv.Eventually(t, time.Minute, func() (again bool) { // all devices are back
		must(t, conn.QueryRow(t.Context(), `select count(distinct device_id) = $1 from device_message where received_at > $2`, len(x.devices), kills[len(kills)-1].Add(time.Second)).Scan(&again))
		return again
	})
	stop()
	reporting.Wait()
	for _, d := range x.devices {
		acked := d.seq
		if d.unsent != nil {
			acked--
		}
		testenv.Eventually(t, time.Minute, func() (there bool) {
			must(t, conn.QueryRow(t.Context(), `select coalesce(max(seq), 0) >= $2 from device_message where device_id = $1`, d.ID, acked).Scan(&there))
			return there
		})
	}
	// A device sends a number once the one before it was acknowledged. Mosquitto acknowledges before it saves, and so forgets what was on its
	// way within the five seconds before its death; the embedded broker doesn't. At any other time nothing is missing.
	var messages, lost, elsewhere int
	must(t, conn.QueryRow(t.Context(), `with m as (
			select device_id, seq, received_at, lag(seq, 1, 0) over w as before, lag(received_at, 1, received_at) over w as at from device_message
			where device_id = any($1) window w as (partition by device_id order by seq))
		select count(distinct (device_id, seq)), coalesce(sum(seq - before - 1) filter (where seq > before), 0),
			coalesce(sum(seq - before - 1) filter (where seq > before and not exists (
				select from unnest($2::timestamptz[]) as k where m.at between k - interval '7 s' and k + interval '1 s')), 0) from m`, devices, kills).Scan(&messages, &lost, &elsewhere))
	t.Logf("%d messages of %d devices; %d that the broker lost in %d kills", messages, len(devices), lost, len(kills))
	if elsewhere != 0 {
		t.Errorf("%d messages are missing that were acknowledged at another time", elsewhere)
	}
}

// shareKeys gives another server what all servers of a county have alike: the authority of devices and the key of commands.
func shareKeys(t *testing.T, from, to *testserver.Server) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Join(to.Data, "secrets"), 0o700))
	for _, name := range []string{"mqtt-ca.key", "mqtt-ca.crt", "device-command.key"} {
		b, err := os.ReadFile(filepath.Join(from.Data, "secrets", name))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(to.Data, "secrets", name), b, 0o600))
	}
}

// process is a program that is killed and started again. It ends with the test.
type process struct {
	program string
	args    []string
	cmd     *exec.Cmd
	said    *os.File
}

func newProcess(t *testing.T, program string, args ...string) *process {
	t.Helper()
	said, err := os.Create(filepath.Join(t.TempDir(), "said"))
	must(t, err)
	p := &process{program: program, args: args, said: said}
	p.start(t)
	t.Cleanup(func() {
		p.kill(t)
		if t.Failed() {
			b, _ := os.ReadFile(said.Name()) // nothing then
			t.Logf("%s:\n%s", filepath.Base(program), b[max(0, len(b)-4000):])
		}
		said.Close()
	})
	return p
}

func (p *process) start(t *testing.T) {
	t.Helper()
	p.cmd = exec.Command(p.program, p.args...)
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	must(t, p.cmd.Start())
}

func (p *process) kill(t *testing.T) {
	t.Helper()
	must(t, p.cmd.Process.Kill())
	_ = p.cmd.Wait() // it was killed
}

// answers waits until somebody listens.
func (p *process) answers(t *testing.T, network, address string) {
	t.Helper()
	testenv.Eventually(t, time.Minute, func() bool {
		c, err := net.Dial(network, address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// mosquitto is a broker that is not ours, set up as we tell counties to.
type mosquitto struct {
	*process
	dir, url, ca, platform string
	settings               []string // of the platform
}

var setting = regexp.MustCompile(`(?m)^ZZ_MQTT_\w+=.*$`)

func newMosquitto(t *testing.T, s *testserver.Server, dir string) *mosquitto {
	t.Helper()
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto"
	}
	if _, err := os.Stat(program); err != nil {
		if os.Getenv("ZZ_TEST_NO_MOSQUITTO") != "" {
			t.Skip("ZZ_TEST_NO_MOSQUITTO is set: no broker that is not ours")
		}
		t.Fatal("mosquitto is not installed: deploy/setup test installs it, ZZ_TEST_NO_MOSQUITTO=1 goes without")
	}
	m := &mosquitto{dir: dir, ca: filepath.Join(dir, "ca.crt"), platform: freePort(t)}
	m.url = "mqtts://" + m.platform // devices that have only a token come in beside the platform
	m.settings = setting.FindAllString(s.Run(t, "mqtt-config", "--out", dir, "--name", "127.0.0.1", "--devices", freePort(t), "--platform", m.platform), -1)
	me, err := user.Current()
	must(t, err)
	conf, err := os.ReadFile(filepath.Join(dir, "mosquitto.conf"))
	must(t, err)
	own := filepath.Join(dir, "own.conf") // as root it would become its own user, who may not read the folder
	must(t, os.WriteFile(own, fmt.Appendf(conf, "user %s\n", me.Username), 0o600))
	m.process = newProcess(t, program, "-c", own)
	m.answers(t, "tcp", m.platform)
	return m
}

// letIn gives some of the demo's devices a password at the broker, and a file of their credentials.
func (m *mosquitto) letIn(t *testing.T, s *testserver.Server, file string, n int) (ids []string) {
	t.Helper()
	var all []credential
	b, err := os.ReadFile(filepath.Join(s.Data, "secrets", "demo-devices.json"))
	must(t, err)
	must(t, json.Unmarshal(b, &all))
	var some []credential
	var passwords strings.Builder
	for _, c := range all {
		if c.Play == playLive && len(some) < n {
			some, ids = append(some, c), append(ids, c.ID)
			fmt.Fprintf(&passwords, "%s:%s\n", c.ID, c.Token)
		}
	}
	b, err = json.Marshal(some)
	must(t, err)
	tokens := filepath.Join(m.dir, "tokens")
	must(t, errors.Join(os.WriteFile(file, b, 0o600), os.WriteFile(tokens, []byte(passwords.String()), 0o600)))
	if out, err := exec.Command("mosquitto_passwd", "-U", tokens).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v: %s", err, out)
	}
	hashed, err := os.ReadFile(tokens)
	must(t, err)
	f, err := os.OpenFile(filepath.Join(m.dir, "passwords"), os.O_APPEND|os.O_WRONLY, 0)
	must(t, err)
	_, err = f.Write(hashed)
	must(t, errors.Join(err, f.Close(), m.cmd.Process.Signal(syscall.SIGHUP)))
	return ids
}

// TestCeph has sixteen recorders docked to a store that is spread over machines and can't attest what it took: all is read again to be sealed.
func TestCeph(t *testing.T) {
	if os.Getenv("ZZ_SOAK") == "" {
		t.Skip("it starts a whole Ceph: only with ZZ_SOAK")
	}
	if os.Getenv("ZZ_TEST_NO_CEPH") != "" {
		t.Skip("ZZ_TEST_NO_CEPH is set: no store that is spread")
	}
	env := startCeph(t)
	s := testserver.Make(t, append(testserver.Demo(), "--wipe", "receipt")...)
	s.Env = env
	s.Begin(t)
	s.Loaded(t)
	if out := s.Run(t, "probe"); !strings.Contains(out, "存储：re-read required") {
		t.Errorf("the probe found: %s", out)
	}
	identity := filepath.Join(t.TempDir(), "ST-31")
	enrol(t, s, "ST-31", identity)
	st := newStation(t, s, s.URL, identity)
	b := st.dock(t)
	b.randomly(t, map[string]func(){"server": func() { s.Kill(t); s.Start(t); s.Ready(t) }, "station": func() { st.kill(t); st.start(t) }})
	b.even(t)
	conn := connect(t, s)
	defer conn.Close(context.WithoutCancel(t.Context()))
	var reread int
	must(t, conn.QueryRow(t.Context(), `select count(*) from evidence where station = 'ST-31' and checked = 're-read'`).Scan(&reread))
	if reread != b.all {
		t.Errorf("%d of %d files were read again to be sealed", reread, b.all)
	}
}

// startCeph runs deploy/ceph until the end of the test, and gives a server's settings for it.
func startCeph(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command(filepath.Join("..", "..", "deploy", "ceph"), filepath.Join(t.TempDir(), "ceph"))
	cmd.Stderr = t.Output()
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		must(t, in.Close()) // it ends with its input
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	said := strings.Fields(line)
	if err != nil || len(said) != 4 || said[0] != "ready" {
		t.Fatalf("deploy/ceph said %q: %v (deploy/setup soak installs what it needs, ZZ_TEST_NO_CEPH=1 goes without)", line, err)
	}
	return []string{"ZZ_S3_ENDPOINT=" + said[1], "ZZ_S3_ACCESS_KEY=" + said[2], "ZZ_S3_SECRET_KEY=" + said[3]}
}
