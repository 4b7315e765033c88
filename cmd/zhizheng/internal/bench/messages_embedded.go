package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"time"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
	"golang.org/x/sync/errgroup"

	"zhizheng/devices"
	"zhizheng/internal/ca"
	"zhizheng/internal/embedded"
	"zhizheng/internal/pg"
)

// embedded compares the embedded broker, which commits each message before it acknowledges it, with the same library that only acknowledges: both
// with TLS, to 1,600 devices of which each waits for the acknowledgement of its last message.
func (b *messageBench) embedded(ctx context.Context) (err error) {
	tokens, err := b.tokens(ctx, b.ids)
	if err != nil {
		return err
	}
	const each = 80
	var rates [2][]float64
	var all [2][]*wire
	for i, kind := range []string{"durable", "raw"} {
		p, err := b.startBroker(kind)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, p.end()) }()
		if all[i], err = b.connect(ctx, p.address, b.ids, func(_ int, id string) login { return login{user: id, pass: tokens[id]} }); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
		defer closeAll(all[i])
	}
	for round := range messageRounds + 1 {
		for i := range all {
			b.epoch++
			rate, err := b.chatter(all[i], each)
			if err != nil {
				return err
			}
			if round > 0 { // the first warms up
				rates[i] = append(rates[i], rate)
			}
		}
	}
	var n int
	if err := b.owner.QueryRow(ctx, `select count(*) from device_message where epoch = $1`, b.epoch-1).Scan(&n); err != nil {
		return err
	}
	if n != each*len(b.ids) {
		return fmt.Errorf("%d messages were acknowledged, %d are there", each*len(b.ids), n)
	}
	var ratios []float64
	for i := range rates[0] {
		ratios = append(ratios, rates[0][i]/rates[1][i])
	}
	figure("messages: embedded broker, committed before acknowledged, 1,600 connections", middle(rates[0]), "messages/s", "≥ 25000")
	figure("messages: … the same broker without commit", middle(rates[1]), "messages/s", "-")
	figure("messages: … committed against not", middle(ratios), "x", "≥ 0.55")
	return nil
}

// chatter sends each device's messages, one after the other, all devices at once, and gives messages a second.
func (b *messageBench) chatter(all []*wire, each int) (float64, error) {
	var g errgroup.Group
	begun := time.Now()
	for i, x := range all {
		topic := devices.UpTopic(b.ids[i], "hb")
		g.Go(func() error {
			for seq := range each {
				if err := errors.Join(x.publish(topic, heartbeat(b.epoch, int64(seq), time.Now())), x.w.Flush()); err != nil {
					return err
				}
				if err := x.acknowledged(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err := g.Wait()
	return float64(len(all)*each) / time.Since(begun).Seconds(), err
}

func (b *messageBench) tokens(ctx context.Context, ids []string) (map[string]string, error) {
	pool, err := pg.Open(ctx, b.postgres.URL(), 2)
	if err != nil {
		return nil, err
	}
	defer pool.Close()
	return devices.New(pool, devices.Options{}).IssueTokens(ctx, ids)
}

// connect brings devices in by TLS, some at once, over several local addresses, and subscribes each to what is sent to it.
func (b *messageBench) connect(ctx context.Context, address string, ids []string, as func(i int, id string) login) ([]*wire, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(b.ca.Certificate())) {
		return nil, errors.New("no certificate to trust")
	}
	all := make([]*wire, len(ids))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(32)
	for i, id := range ids {
		g.Go(func() (err error) {
			l := as(i, id)
			l.address, l.id, l.keepalive = address, id, 15*time.Minute
			l.from = &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+i%4))}
			l.tls = &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12, Certificates: l.certificates,
				CurvePreferences: []tls.CurveID{tls.X25519}} // recorders' firmware sends one small key, not Go's 1.2 KB
			if all[i], err = l.open(ctx); err != nil {
				return err
			}
			return all[i].subscribe(devices.DownTopics(id))
		})
	}
	if err := g.Wait(); err != nil {
		closeAll(all)
		return nil, err
	}
	return all, nil
}

func closeAll(all []*wire) {
	for _, x := range all {
		if x != nil {
			_ = x.Conn.Close() // the bench is done with it
		}
	}
}

// brokerProcess is a process with an embedded broker; for every line it gets it says how many bytes its heap and stacks hold.
type brokerProcess struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	address string
}

func (b *messageBench) startBroker(kind string) (*brokerProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "message-broker", kind, b.dir)
	cmd.Env = append(os.Environ(), "ZZ_BENCH_DATABASE="+b.postgres.URL()) // it holds a password
	cmd.Stderr = os.Stderr
	p := &brokerProcess{cmd: cmd}
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewReader(out)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	if p.address, err = p.read(); err != nil {
		return nil, errors.Join(err, p.end())
	}
	return p, nil
}

func (p *brokerProcess) read() (string, error) {
	line, err := p.out.ReadString('\n')
	if err != nil {
		return "", fmt.Errorf("broker: %w", err)
	}
	return strings.TrimSpace(line), nil
}

// held is a process's memory in bytes: what the system counts, as it is and once Go has collected, and what of that Go's heap and stacks are.
type held struct{ found, collected, heap float64 }

func (p *brokerProcess) held() (h held, err error) {
	if h.found, err = memoryOfProcess(p.cmd.Process.Pid, "VmRSS"); err != nil {
		return h, err
	}
	if _, err := io.WriteString(p.in, "collect\n"); err != nil {
		return h, err
	}
	line, err := p.read()
	if err != nil {
		return h, err
	}
	if _, err := fmt.Sscan(line, &h.heap); err != nil {
		return h, err
	}
	h.collected, err = memoryOfProcess(p.cmd.Process.Pid, "VmRSS")
	return h, err
}

func (p *brokerProcess) end() error { return errors.Join(p.in.Close(), p.cmd.Wait()) }

// memoryOfProcess is a line of /proc/pid/status, in bytes.
func memoryOfProcess(pid int, name string) (n float64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if k, v, _ := strings.Cut(line, ":"); k == name {
			_, err := fmt.Sscan(v, &n)
			return n * 1024, err
		}
	}
	return 0, fmt.Errorf("process %d has no %s", pid, name)
}

// messageBroker is that process: durable is the broker as serve runs it, raw its library with the same settings that only acknowledges.
func messageBroker(ctx context.Context, kind, dir string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	address, stop := "", func(context.Context) error { return nil }
	if kind == "raw" {
		a, err := ca.Open(dir)
		if err != nil {
			return err
		}
		ln, err := tls.Listen("tcp", "127.0.0.1:0", a.TLS([]string{"127.0.0.1"}))
		if err != nil {
			return err
		}
		s := mqtt.New(&mqtt.Options{Logger: quiet()})
		if err := errors.Join(s.AddHook(new(open), nil), s.AddListener(listeners.NewNet("tls", ln)), s.Serve()); err != nil {
			return err
		}
		address = ln.Addr().String()
	} else {
		pool, err := pg.Open(ctx, os.Getenv("ZZ_BENCH_DATABASE"), 24) // as serve opens it
		if err != nil {
			return err
		}
		defer pool.Close()
		svc := devices.New(pool, devices.Options{Logger: quiet()})
		g.Go(func() error { return svc.Run(ctx) })
		br, err := embedded.StartBroker(ctx, embedded.BrokerOptions{Dir: dir, Authenticate: svc.Authenticate, May: devices.May, Publish: svc.TakeDirect,
			Online: svc.Online, Offline: svc.Offline, Listening: svc.Listening, Log: quiet()})
		if err != nil {
			return err
		}
		svc.Attach(br)
		svc.SendBy(br)
		address, stop = br.Addr(), br.Stop
	}
	fmt.Println(address)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		debug.FreeOSMemory()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		fmt.Println(m.HeapAlloc + m.StackInuse)
	}
	err := stop(context.WithoutCancel(ctx))
	cancel()
	return errors.Join(err, g.Wait())
}

// open lets everybody in, and to everything.
type open struct{ mqtt.HookBase }

func (*open) ID() string                                              { return "open" }
func (*open) Provides(b byte) bool                                    { return b == mqtt.OnConnectAuthenticate || b == mqtt.OnACLCheck }
func (*open) OnConnectAuthenticate(*mqtt.Client, packets.Packet) bool { return true }
func (*open) OnACLCheck(*mqtt.Client, string, bool) bool              { return true }
