package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"time"

	"zhizheng/devices"
)

// mosquitto is a broker set up as the product tells counties to, with a third listener on this machine alone, without TLS and names, over which the
// load comes and all consumers read: what is compared is the consumers.
type mosquitto struct {
	dir, address string
	cmd          *exec.Cmd
	said         bytes.Buffer
}

// startMosquitto starts a broker that knows nothing of the one before, so that no session of an earlier consumer takes a share.
func (b *messageBench) startMosquitto(ctx context.Context) (*mosquitto, error) {
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto"
	}
	m := &mosquitto{dir: filepath.Join(b.dir, "mosquitto")}
	if err := os.RemoveAll(m.dir); err != nil {
		return nil, err
	}
	if err := os.Mkdir(m.dir, 0o700); err != nil {
		return nil, err
	}
	var at [3]string
	for i := range at {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		at[i] = ln.Addr().String()
		if err := ln.Close(); err != nil {
			return nil, err
		}
	}
	list, err := b.ca.CRL(nil, time.Now())
	if err != nil {
		return nil, err
	}
	files, err := devices.Mosquitto{Dir: m.dir, Devices: at[0], Platform: at[1], Password: "bench", CA: b.ca, CRL: list}.Files()
	if err != nil {
		return nil, err
	}
	me, err := user.Current()
	if err != nil {
		return nil, err
	}
	_, port, _ := net.SplitHostPort(at[2]) // it is a listener's own address
	files["mosquitto.conf"] += fmt.Sprintf("\nuser %s\nlistener %s 127.0.0.1\nallow_anonymous true\n", me.Username, port)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	m.address = at[2]
	m.cmd = exec.Command(program, "-c", filepath.Join(m.dir, "mosquitto.conf"))
	m.cmd.Stdout, m.cmd.Stderr = &m.said, &m.said
	if err := m.cmd.Start(); err != nil {
		return nil, fmt.Errorf("mosquitto (deploy/setup test installs it): %w", err)
	}
	for range 200 {
		c, err := net.Dial("tcp", m.address)
		if err == nil {
			return m, c.Close()
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), m.stop())
		case <-time.After(25 * time.Millisecond):
		}
	}
	return nil, errors.Join(fmt.Errorf("mosquitto doesn't start: %s", m.said.Bytes()), m.stop())
}

// stop ends it at once: what it would write down for its next start is not wanted.
func (m *mosquitto) stop() error {
	err := m.cmd.Process.Kill()
	_ = m.cmd.Wait() // killed
	return err
}
