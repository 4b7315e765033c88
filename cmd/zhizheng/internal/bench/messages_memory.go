package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

const idle = 15_000

// memory is what idle connections cost the broker's process: devices come in by token or by certificate, over TLS both (the embedded broker has
// nothing else), subscribe to what is sent to them, and say nothing more.
func (b *messageBench) memory(ctx context.Context) error {
	ids, err := b.register(ctx, idle)
	if err != nil {
		return err
	}
	tokens, err := b.tokens(ctx, ids)
	if err != nil {
		return err
	}
	certificates, err := b.certificates(ctx, ids)
	if err != nil {
		return err
	}
	if err := b.idle(ctx, "token", "≤ 32", ids, func(_ int, id string) login { return login{user: id, pass: tokens[id]} }); err != nil {
		return err
	}
	return b.idle(ctx, "certificate", "≤ 45", ids, func(i int, _ string) login { return login{certificates: certificates[i : i+1]} })
}

func (b *messageBench) idle(ctx context.Context, by, target string, ids []string, as func(int, string) login) (err error) {
	p, err := b.startBroker("durable")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.end()) }()
	before, err := p.held()
	if err != nil {
		return err
	}
	all, err := b.connect(ctx, p.address, ids, as)
	if err != nil {
		return err
	}
	defer closeAll(all)
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(5 * time.Second): // presence is written, what the logins took is given back
	}
	after, err := p.held()
	if err != nil {
		return err
	}
	n := float64(len(ids)) * 1024
	figure(fmt.Sprintf("messages: memory a connection, %d idle ones by %s over TLS, resident and collected", len(ids), by), (after.collected-before.collected)/n, "KiB", target)
	figure("messages: … of it Go's heap and stacks", (after.heap-before.heap)/n, "KiB", "-")
	figure("messages: … resident right after all came in, what their logins left included", (after.found-before.found)/n, "KiB", "-")
	return nil
}

// certificates gives devices certificates of the authority, all with one key, and notes them as enrolment would.
func (b *messageBench) certificates(ctx context.Context, ids []string) ([]tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	spki, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	kid := sha256.Sum256(spki)
	now := time.Now()
	all := make([]tls.Certificate, len(ids))
	_, err = b.owner.CopyFrom(ctx, pgx.Identifier{"device_certificate"}, []string{"serial", "device_id", "key_id", "der", "issued_at", "not_after"},
		pgx.CopyFromSlice(len(ids), func(i int) ([]any, error) {
			c, err := b.ca.Device(ids[i], &key.PublicKey, now, now.AddDate(0, 0, 30))
			if err != nil {
				return nil, err
			}
			all[i] = tls.Certificate{Certificate: [][]byte{c.Raw}, PrivateKey: key, Leaf: c}
			return []any{c.SerialNumber.Text(16), ids[i], kid[:], c.Raw, now, c.NotAfter}, nil
		}))
	return all, err
}
