package signer

import (
	"context"
	"errors"
)

// Observer reads key and memory of a signer without taking part: for an audit beside a running server. It signs nothing.
type Observer struct{ dir string }

// Observe looks at the signer's files in dir.
func Observe(dir string) Observer { return Observer{dir} }

// State reads what the signer remembers now.
func (o Observer) State(context.Context) (State, error) {
	s := &Signer{dir: o.dir}
	if err := s.read(); err != nil {
		return State{}, err
	}
	return State{VKey: s.vkey, Size: s.last.Size, Root: s.last.Root}, nil
}

// Sign refuses.
func (o Observer) Sign(context.Context, Request) ([]byte, error) {
	return nil, errors.New("an observer doesn't sign")
}

// Close has nothing to let go of.
func (o Observer) Close() error { return nil }
