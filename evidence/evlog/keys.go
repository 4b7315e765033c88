package evlog

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/internal/pg"
)

// logKeys are the log's keys as the signer tells them. They pass for one verifier, which follows when a key is added or retired: old
// checkpoints stay signed by keys that have been retired since.
type logKeys struct{ p atomic.Pointer[keySet] }

type keySet struct {
	state signer.State
	keys  chain.Keys // all there ever were
}

func newKeySet(st signer.State) (*keySet, error) {
	var vs []note.Verifier
	for _, k := range st.Keys {
		v, err := chain.NewVerifier(k.VKey)
		if err != nil {
			return nil, err
		}
		vs = append(vs, v)
	}
	keys, err := chain.NewKeys(vs...)
	return &keySet{st, keys}, err
}

func (k *logKeys) Keys() chain.Keys            { return k.p.Load().keys }
func (k *logKeys) Name() string                { return k.Keys().Name() }
func (k *logKeys) KeyHash() uint32             { return k.Keys().KeyHash() }
func (k *logKeys) Verify(msg, sig []byte) bool { return k.Keys().Verify(msg, sig) }

// VKey is the log's C2SP verifier key, the newest, one line without an end of line.
func (l *Log) VKey() string { return l.keys.p.Load().state.VKey }

// VKeys are the keys that sign now, oldest first: one, or two while one replaces the other.
func (l *Log) VKeys() []string {
	var out []string
	for _, k := range l.keys.p.Load().state.Active() {
		out = append(out, k.VKey)
	}
	return out
}

// EveryVKey lists all keys the log ever had, one a line, oldest first: what a bundle names, so that every signature line in it can be checked.
func (l *Log) EveryVKey() string {
	var out []string
	for _, k := range l.keys.p.Load().state.Keys {
		out = append(out, k.VKey)
	}
	return strings.Join(out, "\n")
}

// follow takes over what the signer tells of its keys. Keys may be added and retired; one that has gone, or was another before, means that
// this is not the signer the log was opened with.
func (l *Log) follow(ctx context.Context, st signer.State) error {
	known := l.keys.p.Load()
	same := len(st.Keys) >= len(known.state.Keys)
	changed := len(st.Keys) > len(known.state.Keys)
	for i := range known.state.Keys {
		if same && st.Keys[i].VKey == known.state.Keys[i].VKey {
			changed = changed || (st.Keys[i].Retired != nil) != (known.state.Keys[i].Retired != nil)
		} else {
			same = false
		}
	}
	if !same {
		err := errors.New("the signer's keys are not those it had")
		l.stop(ctx, "签名密钥在运行中被换成别的密钥", err)
		return err
	}
	if !changed {
		return nil
	}
	set, err := newKeySet(st)
	if err != nil {
		return err
	}
	l.keys.p.Store(set)
	l.log.InfoContext(ctx, "the log's keys changed", "sign", len(st.Active()), "ever", len(st.Keys))
	return nil
}

// NoteKeys logs every key the signer ever had and every one it retired, if the log doesn't say so yet. A leaf about a change comes after
// the change: crash in between, and the next call finds the leaf missing.
func (l *Log) NoteKeys(ctx context.Context) error {
	keys := l.keys.p.Load().state.Keys
	var entries []chain.Entry
	entry := func(act, vkey string, old string, c signer.Change) {
		sum := sha256.Sum256([]byte(vkey))
		if c.Actor == "" {
			c.Actor = "system"
		}
		entries = append(entries, chain.Entry{Key: "log-key/" + act + "/" + hex.EncodeToString(sum[:8]), Kind: chain.KindLogKey,
			Subject: chain.Subject{Type: chain.SubjectPlatform, ID: "log"}, Time: l.now(),
			Payload: chain.LogKeyPayload{Old: old, New: vkey, Act: act, Actor: c.Actor, Reason: c.Reason}})
	}
	for i, k := range keys {
		old := ""
		if i > 0 {
			old = keys[i-1].VKey
		}
		entry("added", k.VKey, old, k.Added)
	}
	for _, k := range keys {
		if k.Retired != nil {
			entry("retired", k.VKey, k.VKey, *k.Retired)
		}
	}
	if n := int64(len(entries)); l.noted.Load() == n {
		return nil
	}
	err := pg.InTx(ctx, l.pool, func(tx *pg.Tx) error { return l.Append(tx, entries...) })
	if err != nil {
		return fmt.Errorf("log the log's keys: %w", err)
	}
	l.noted.Store(int64(len(entries)))
	return nil
}

// watchKeys asks the signer and logs what changed. The first key alone is logged by whoever opens the platform, see NoteKeys.
func (l *Log) watchKeys(ctx context.Context) error {
	st, err := l.signer.State(ctx)
	if err != nil {
		return err
	}
	if err := l.follow(ctx, st); err != nil || l.Halted() != "" {
		return err
	}
	if len(st.Keys) == 1 {
		return nil
	}
	return l.NoteKeys(ctx)
}
