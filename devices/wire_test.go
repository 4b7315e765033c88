package devices

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"zhizheng/internal/testenv"
)

// wires are the two ends of a connection, ours behind the buffers.
func wires(t *testing.T) (*bufferedConn, net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return newBufferedConn(near), far
}

// What was written before the end arrives, in its order, though nobody read while it was written and the connection was closed at once.
func TestGatheredWrites(t *testing.T) {
	c, far := wires(t)
	const n = 200_000
	wrote := make(chan error, 1)
	go func() {
		for i := range uint32(n) {
			if _, err := c.Write(binary.BigEndian.AppendUint32(nil, i)); err != nil {
				wrote <- err
				return
			}
		}
		wrote <- c.Close()
	}()
	got, err := io.ReadAll(far)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-wrote; err != nil {
		t.Fatal(err)
	}
	if len(got) != 4*n {
		t.Fatalf("%d bytes came of %d", len(got), 4*n)
	}
	for i := range uint32(n) {
		if v := binary.BigEndian.Uint32(got[4*i:]); v != i {
			t.Fatalf("number %d is %d", i, v)
		}
	}
}

// A peer that reads nothing makes writers wait, and holds up no end.
func TestGatheredWritesToOneWhoDoesNotRead(t *testing.T) {
	c, _ := wires(t)
	wrote := make(chan error, 1)
	go func() {
		b := make([]byte, 4096)
		for {
			if _, err := c.Write(b); err != nil {
				wrote <- err
				return
			}
		}
	}()
	full := func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.writing && len(c.out) > outBuffer
	}
	testenv.Eventually(t, time.Minute, full)
	if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	if err := <-wrote; err == nil {
		t.Fatal("writing to a closed connection succeeds")
	}
}
