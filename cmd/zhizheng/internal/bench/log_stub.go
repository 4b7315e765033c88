package main

import (
	"context"
	"os"
	"runtime/pprof"
)

func (b *logBench) lone(context.Context) error      { return nil }
func (b *logBench) replicas(context.Context) error  { return nil }
func (b *logBench) wal(context.Context) error       { return nil }
func (b *logBench) published(context.Context) error { return nil }
func (b *logBench) auditing(context.Context) error  { return nil }
func (b *logBench) proofFile(context.Context) error { return nil }

func profile() (func(), error) {
	p := os.Getenv("PROF")
	if p == "" {
		return func() {}, nil
	}
	f, err := os.Create(p)
	if err != nil {
		return nil, err
	}
	return func() { pprof.StopCPUProfile() }, pprof.StartCPUProfile(f)
}
