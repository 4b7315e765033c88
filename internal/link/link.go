// Package link plays a township's line: a TCP relay through which bytes pass at a rate, late, and with the stalls that lost packets cause,
// until it is cut. It promises that no byte is changed or brought out of order, and none dropped while a connection lasts. It is for
// simulations and measurements; nothing in service uses it.
package link

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/time/rate"
)

// Line is what all its relays share. Its settings must not change once it relays.
type Line struct {
	Kbit  int           // kbit/s each way; 0 for no limit
	Delay time.Duration // each way
	Loss  float64       // share of packets that are lost, 0 to 1
	Seed  uint64

	Up, Down atomic.Int64 // bytes that went through, those sent twice not counted

	once     sync.Once
	up, down *rate.Limiter
	mu       sync.Mutex
	r        *rand.Rand
	cut      bool
	open     map[*func()]bool // what ends the connections there are
}

const (
	packet  = 1460                   // payload of an Ethernet frame
	timeout = 200 * time.Millisecond // Linux's shortest wait before a packet is sent again
	queued  = 64                     // packets on their way, a connection and direction
	window  = 32 << 10               // bytes that a sender may be ahead
)

func (l *Line) begin() {
	l.r = rand.New(rand.NewPCG(l.Seed, 0))
	limit := rate.Inf
	if l.Kbit > 0 {
		limit = rate.Limit(l.Kbit) * 1000 / 8
	}
	l.up, l.down = rate.NewLimiter(limit, 2*packet), rate.NewLimiter(limit, 2*packet)
}

// Listen makes a listener for Relay. Its connections are like those over a real line: packets of its size and a small window. Otherwise the
// loopback's megabytes of buffers would take what the line hasn't carried yet, and nobody could give way to anybody.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		cerr := raw.Control(func(fd uintptr) {
			err = errors.Join(syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, packet),
				syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, window))
		})
		return errors.Join(cerr, err)
	}}
	return c.Listen(ctx, "tcp", address)
}

// Cut breaks the connections there are, and new ones end at once until Restore.
func (l *Line) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	for end := range l.open {
		(*end)()
	}
}

// Restore mends what was cut.
func (l *Line) Restore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = false
}

// hold remembers how a connection is ended, until it is let go. It is false while the line is cut.
func (l *Line) hold(end func()) (letGo func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return nil, false
	}
	if l.open == nil {
		l.open = map[*func()]bool{}
	}
	l.open[&end] = true
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.open, &end)
	}, true
}

// Relay carries the connections of a listener until ctx ends, each to the first of the addresses where somebody answers. Several may share
// the line.
func (l *Line) Relay(ctx context.Context, ln net.Listener, to ...string) error {
	l.once.Do(l.begin)
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	var all sync.WaitGroup
	defer all.Wait()
	for {
		near, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		all.Go(func() { l.connect(ctx, near, to) })
	}
}

// connect carries one connection. Where nobody answers it ends, as a line to a server that is down.
func (l *Line) connect(ctx context.Context, near net.Conn, to []string) {
	defer near.Close()
	ctx, end := context.WithCancel(ctx)
	defer end()
	letGo, ok := l.hold(end)
	if !ok {
		return
	}
	defer letGo()
	var far net.Conn
	for _, address := range to {
		var err error
		if far, err = (&net.Dialer{}).DialContext(ctx, "tcp", address); err == nil {
			break
		}
	}
	if far == nil {
		return
	}
	defer far.Close()
	defer context.AfterFunc(ctx, func() { near.Close(); far.Close() })()
	var both sync.WaitGroup
	both.Go(func() { l.carry(ctx, end, far, near, l.up, &l.Up) })
	both.Go(func() { l.carry(ctx, end, near, far, l.down, &l.Down) })
	both.Wait()
}

// sent is a packet and when it arrives.
type sent struct {
	b  []byte
	at time.Time
}

// carry brings what one side says to the other. The end of what it says is passed on; a failure ends both directions.
func (l *Line) carry(ctx context.Context, end func(), to, from net.Conn, pace *rate.Limiter, count *atomic.Int64) {
	way := make(chan sent, queued)
	var arriving sync.WaitGroup
	arriving.Go(func() {
		for p := range way {
			if !wait(ctx, time.Until(p.at)) {
				continue // drained
			}
			if _, err := to.Write(p.b); err != nil {
				end()
			}
		}
	})
	err := l.send(ctx, way, from, pace, count)
	close(way)
	arriving.Wait()
	if half, ok := to.(*net.TCPConn); ok && errors.Is(err, io.EOF) && half.CloseWrite() == nil {
		return
	}
	end()
}

func (l *Line) send(ctx context.Context, way chan<- sent, from net.Conn, pace *rate.Limiter, count *atomic.Int64) error {
	for {
		b := make([]byte, packet)
		n, err := from.Read(b)
		if n > 0 {
			if err := pace.WaitN(ctx, n); err != nil {
				return err
			}
			for l.lost() { // it is sent again, and what comes after it waits for it
				if err := pace.WaitN(ctx, n); err != nil {
					return err
				}
				if !wait(ctx, max(timeout, 2*l.Delay)) {
					return ctx.Err()
				}
			}
			count.Add(int64(n))
			select {
			case way <- sent{b[:n], time.Now().Add(l.Delay)}:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err != nil {
			return err
		}
	}
}

func (l *Line) lost() bool {
	if l.Loss <= 0 {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Float64() < l.Loss
}

// wait says whether there is more to do.
func wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
