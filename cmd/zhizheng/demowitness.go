package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/witness"
)

// demoWitness is a witness that the demo runs beside itself, with a directory and a process of its own. It shows how witnessing goes; it
// proves nothing to outsiders, because the same operator holds all keys.
type demoWitness struct {
	name, dir string
	ln        *net.TCPListener // ours, handed to each child: the address outlives it
}

// demoWitnessNames are the example policy's three witnesses. The last one never runs: the quorum of two has to do without.
var demoWitnessNames = []struct{ name, key string }{
	{"示例法院", "witness.court.example"}, {"示例司法局", "witness.justice.example"}, {"示例检察院", "witness.procuratorate.example"},
}

func (c *serveCmd) prepareDemoWitnesses(ctx context.Context, vkey string) (p chain.Policy, all []*demoWitness, err error) {
	defer func() {
		if err != nil {
			err, all = errors.Join(err, closeDemoWitnesses(all)), nil
		}
	}()
	p = chain.LogPolicy(vkey)
	g := chain.PolicyGroup{Name: "示例见证方", Need: 2}
	for i, d := range demoWitnessNames {
		dir := filepath.Join(c.Data, "demo-witnesses", d.key)
		w, err := witness.Open(ctx, witness.Options{Dir: dir, Name: d.key, Logs: []string{vkey}})
		if err != nil {
			return p, all, err
		}
		pw := chain.PolicyWitness{Name: d.name, VKey: w.VKey(), URL: "http://127.0.0.1:1"} // nobody listens on port 1
		if err := w.Close(); err != nil {
			return p, all, err
		}
		if i < 2 {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return p, all, err
			}
			all = append(all, &demoWitness{d.name, dir, ln.(*net.TCPListener)})
			pw.URL = "http://" + ln.Addr().String()
		}
		p.Witnesses = append(p.Witnesses, pw)
		g.Members = append(g.Members, d.name)
	}
	p.Groups, p.Rule = []chain.PolicyGroup{g}, g.Name
	return p, all, nil
}

func closeDemoWitnesses(all []*demoWitness) error {
	var errs []error
	for _, w := range all {
		errs = append(errs, w.ln.Close())
	}
	return errors.Join(errs...)
}

// run keeps the witness's process alive until ctx ends.
func (w *demoWitness) run(ctx context.Context, g *errgroup.Group, logger *slog.Logger) {
	g.Go(func() error {
		// The kernel sends Pdeathsig when the thread that forked ends, not the process.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for {
			err := w.runOnce(ctx)
			if ctx.Err() != nil {
				return nil
			}
			logger.WarnContext(ctx, "demo witness ended, starting it again", "witness", w.name, "err", err)
			t := time.NewTimer(5 * time.Second)
			select {
			case <-ctx.Done():
				t.Stop()
				return nil
			case <-t.C:
			}
		}
	})
}

func (w *demoWitness) runOnce(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	f, err := w.ln.File()
	if err != nil {
		return err
	}
	defer f.Close()
	cmd := exec.CommandContext(ctx, self, "witness", "serve", "--dir", w.dir, "--listen", "fd:3")
	cmd.Env = []string{"LC_ALL=C"} // ours may hold secrets
	cmd.ExtraFiles = []*os.File{f}
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM, Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 8 * time.Second // then it is killed
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run witness: %w", err)
	}
	return errors.New("it ended by itself")
}
