package link

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"net"
	"testing"
	"time"
)

// through sends data over a line to one who sends it back, and says how long that took.
func through(t *testing.T, l *Line, data []byte) ([]byte, time.Duration) {
	t.Helper()
	far, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer far.Close()
	go func() {
		c, err := far.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = io.Copy(c, c) // the other side compares
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	near, err := Listen(t.Context(), "127.0.0.1:0")
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Relay(ctx, near, far.Addr().String()) }()
	defer func() {
		stop()
		must(t, <-ended)
	}()
	begun := time.Now()
	c, err := net.Dial("tcp", near.Addr().String())
	must(t, err)
	defer c.Close()
	go func() {
		_, _ = c.Write(data) // as above
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(c)
	must(t, err)
	return got, time.Since(begun)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestLineChangesNothingButTheTime(t *testing.T) {
	data := random(100_000)
	for _, c := range []struct {
		name     string
		l        *Line
		at, most time.Duration
	}{
		{"free", &Line{}, 0, time.Second},
		{"1600 kbit/s", &Line{Kbit: 1600}, 450 * time.Millisecond, 3 * time.Second}, // 100 kB at 200 kB/s, both ways at once
		{"late", &Line{Delay: 100 * time.Millisecond}, 200 * time.Millisecond, 2 * time.Second},
		{"lossy", &Line{Loss: 0.03, Seed: 1}, 400 * time.Millisecond, 20 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, took := through(t, c.l, data)
			if !bytes.Equal(got, data) {
				t.Fatalf("%d bytes came back, not what was sent", len(got))
			}
			if took < c.at || took > c.most {
				t.Errorf("it took %s, not %s to %s", took, c.at, c.most)
			}
			if c.l.Up.Load() != 100_000 || c.l.Down.Load() != 100_000 {
				t.Errorf("%d up, %d down", c.l.Up.Load(), c.l.Down.Load())
			}
		})
	}
}

// A server that is down looks like one, and the line goes on.
func TestLineToNobody(t *testing.T) {
	near, err := Listen(t.Context(), "127.0.0.1:0")
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- (&Line{}).Relay(ctx, near, "127.0.0.1:1") }()
	for range 2 {
		c, err := net.Dial("tcp", near.Addr().String())
		must(t, err)
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("nobody answered")
		}
		c.Close()
	}
	stop()
	must(t, <-ended)
}

// A line that is cut ends what it carried and carries nothing, until it is mended. Then it goes to the first that answers.
func TestLineIsCutAndMended(t *testing.T) {
	far, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer far.Close()
	go func() {
		for {
			c, err := far.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); _, _ = io.Copy(c, c) }() // the other side compares
		}
	}()
	near, err := Listen(t.Context(), "127.0.0.1:0")
	must(t, err)
	l := &Line{}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Relay(ctx, near, "127.0.0.1:1", far.Addr().String()) }()
	defer func() { stop(); must(t, <-ended) }()
	echo := func() (net.Conn, error) {
		c, err := net.Dial("tcp", near.Addr().String())
		must(t, err)
		t.Cleanup(func() { c.Close() })
		_, _ = c.Write([]byte("x")) // on a line that is cut it may fail, and then so does what follows
		_, err = io.ReadFull(c, make([]byte, 1))
		return c, err
	}
	open, err := echo()
	must(t, err)
	l.Cut()
	if _, err := open.Read(make([]byte, 1)); err == nil {
		t.Error("what was open goes on after the cut")
	}
	if _, err := echo(); err == nil {
		t.Error("somebody answers over a line that is cut")
	}
	l.Restore()
	_, err = echo()
	must(t, err)
}
