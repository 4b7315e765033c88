package signer

import (
	"context"
	"errors"
)

// Observer reads keys and memory of a signer without taking part: for an audit beside a running server. It signs nothing.
type Observer struct {
	dir    string
	remote *Remote // instead of dir
}

// Observe looks at the signer's files in dir.
func Observe(dir string) Observer { return Observer{dir: dir} }

// ObserveRemote asks a shared signer where it stands.
func ObserveRemote(r *Remote) Observer { return Observer{remote: r} }

// State reads what the signer remembers now.
func (o Observer) State(ctx context.Context) (State, error) {
	if o.remote != nil {
		return o.remote.State(ctx)
	}
	s := &Signer{dir: o.dir}
	if err := s.read(); err != nil {
		return State{}, err
	}
	return s.state(), nil
}

// Sign refuses.
func (o Observer) Sign(context.Context, Request) ([]byte, error) {
	return nil, errors.New("an observer doesn't sign")
}

// Close lets go of the shared signer.
func (o Observer) Close() error {
	if o.remote != nil {
		return o.remote.Close()
	}
	return nil
}
