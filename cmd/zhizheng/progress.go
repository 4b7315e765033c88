package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// progress tells the person at the terminal what is going on, a line a step, in the order in which steps end.
type progress struct {
	mu  sync.Mutex
	out io.Writer
}

// step prints the act and how long it took.
func (p *progress) step(what string, fn func() error) error {
	start := time.Now()
	err := fn()
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		if !errors.Is(err, context.Canceled) { // stopped because something else failed, which says so itself
			fmt.Fprintf(p.out, "  ✗ %s：%v\n", what, err)
		}
		return fmt.Errorf("%s：%w", what, err)
	}
	fmt.Fprintf(p.out, "  ✓ %s（%.1f 秒）\n", what, time.Since(start).Seconds())
	return nil
}

func (p *progress) say(format string, a ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, format+"\n", a...)
}
