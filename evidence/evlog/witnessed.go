package evlog

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/internal/db"
	"zhizheng/evidence/witness"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// Quorum says how far a checkpoint's cosignatures go towards the policy in force. Need 0: the policy asks for none.
type Quorum struct {
	Need, Of, Have int      // of Of witnesses that count, Need must sign, Have did
	Met            bool     //
	Names          []string // of the witnesses that signed, in the policy
	Size           int64    // of the checkpoint; 0 if there is none
	At             time.Time
}

// Proven is a checkpoint with its cosignatures and proofs of leaves in its tree.
type Proven struct {
	Checkpoint []byte // signed note, cosignatures included
	Keys       [][]byte
	Proofs     map[int64][]chain.Hash
	Quorum     Quorum
}

// Receipt gives the tlog-proof of one of the leaves.
func (p Proven) Receipt(f Leaf) ([]byte, error) {
	proof, ok := p.Proofs[f.Seq]
	if !ok {
		return nil, fmt.Errorf("leaf %d was not proven", f.Seq)
	}
	return chain.Receipt{Disclosure: f.Disclosure(), Keys: p.Keys, Index: f.Seq, Proof: proof, Checkpoint: p.Checkpoint}.Marshal()
}

// ProofsWitnessed proves leaves under one checkpoint with the policy's quorum. It asks the witnesses at once and waits for them, wait at
// most and not beyond their last answer; then it settles for the checkpoint with the most cosignatures, and Quorum says so.
// fault.Pending if no checkpoint covers all leaves yet.
func (l *Log) ProofsWitnessed(ctx context.Context, seqs []int64, wait time.Duration) (Proven, error) {
	size := int64(1)
	for _, s := range seqs {
		size = max(size, s+1)
	}
	_, c, err := l.published(ctx)
	if err != nil {
		return Proven{}, err
	}
	if c.Size < size {
		return Proven{}, fault.Pending(time.Second, "检查点尚未覆盖该条目，请稍候")
	}
	if err := l.inForce().await(ctx, size, wait); err != nil {
		return Proven{}, err
	}
	return l.proven(ctx, seqs, size)
}

// ReceiptWitnessed is Receipt with the patience of ProofsWitnessed.
func (l *Log) ReceiptWitnessed(ctx context.Context, key string, wait time.Duration) ([]byte, error) {
	f, err := l.ByKey(ctx, key)
	if err != nil {
		return nil, err
	}
	p, err := l.ProofsWitnessed(ctx, []int64{f.Seq}, wait)
	if err != nil {
		return nil, err
	}
	return p.Receipt(f)
}

// proven proves leaves under the best checkpoint there is for a tree of that size.
func (l *Log) proven(ctx context.Context, seqs []int64, size int64) (Proven, error) {
	b, err := l.best(ctx, size)
	if err != nil {
		return Proven{}, err
	}
	proofs, err := l.prove(ctx, b.checkpoint, seqs)
	if err != nil {
		return Proven{}, err
	}
	return Proven{Checkpoint: b.signed, Keys: b.keys, Proofs: proofs, Quorum: b.quorum}, nil
}

// await returns when a checkpoint of that size or more has the quorum, or nobody is left to wait for.
func (w *witnesses) await(ctx context.Context, size int64, wait time.Duration) error {
	if w.policy.Rule == chain.NoQuorum || len(w.all) == 0 {
		return nil
	}
	if b, err := w.l.best(ctx, size); err != nil || b.quorum.Met {
		return err
	}
	t, err := w.aim(ctx, size, true)
	if err != nil {
		return err
	}
	over := time.NewTimer(wait)
	defer over.Stop()
	for {
		w.mu.Lock()
		changed, settled := w.changed, w.settled(t)
		w.mu.Unlock()
		b, err := w.l.best(ctx, size)
		if err != nil || b.quorum.Met || settled {
			return err
		}
		select {
		case <-changed:
		case <-over.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// cosigned is a checkpoint with the lines of the policy's witnesses.
type cosigned struct {
	signed     []byte
	checkpoint chain.Checkpoint
	keys       [][]byte
	quorum     Quorum
}

// best gives the newest checkpoint of that size or more with the quorum, else the one with the most cosignatures, else the newest.
func (l *Log) best(ctx context.Context, size int64) (cosigned, error) {
	w := l.inForce()
	rows, err := l.q.CosignaturesFrom(ctx, db.CosignaturesFromParams{First: size, Most: 300})
	if err != nil {
		return cosigned{}, pg.Away(fmt.Errorf("read cosignatures: %w", err))
	}
	var pick []db.LogCosignature
	most := 0
	for len(rows) > 0 {
		n := 1
		for n < len(rows) && rows[n].Size == rows[0].Size {
			n++
		}
		these := w.mine(rows[:n])
		rows = rows[n:]
		if q := w.quorum(these); q.Met && len(these) > 0 {
			pick = these
			break
		} else if len(these) > most {
			pick, most = these, len(these)
		}
	}
	if pick == nil {
		signed, c, err := l.published(ctx)
		if err != nil {
			return cosigned{}, err
		}
		return l.cosignedAt(ctx, signed, c)
	}
	kept, err := l.q.CheckpointAt(ctx, pick[0].Size)
	if err != nil {
		return cosigned{}, pg.Away(fmt.Errorf("read checkpoint of %d: %w", pick[0].Size, err))
	}
	c, err := chain.OpenByLog([]byte(kept.Note), w.l.verifier)
	if err != nil {
		return cosigned{}, fmt.Errorf("checkpoint of %d: %w", pick[0].Size, err)
	}
	return w.with([]byte(kept.Note), c, pick)
}

// cosignedAt gives a checkpoint with what cosignatures there are for its size.
func (l *Log) cosignedAt(ctx context.Context, signed []byte, c chain.Checkpoint) (cosigned, error) {
	rows, err := l.q.CosignaturesAt(ctx, c.Size)
	if err != nil {
		return cosigned{}, pg.Away(fmt.Errorf("read cosignatures: %w", err))
	}
	w := l.inForce()
	return w.with(signed, c, w.mine(rows))
}

// mine picks the lines of the policy's witnesses: nobody can check the others.
func (w *witnesses) mine(rows []db.LogCosignature) (out []db.LogCosignature) {
	for _, r := range rows {
		if w.keys[keyOfRow(r)] != nil {
			out = append(out, r)
		}
	}
	return out
}

func keyOfRow(r db.LogCosignature) witnessKey {
	h := r.KeyHash
	return witnessKey{r.Witness, uint32(h[0])<<24 | uint32(h[1])<<16 | uint32(h[2])<<8 | uint32(h[3])}
}

// quorum judges the lines of one checkpoint.
func (w *witnesses) quorum(rows []db.LogCosignature) Quorum {
	var q Quorum
	q.Need, q.Of = w.policy.Threshold()
	counting := w.policy.Counting()
	for _, r := range rows {
		name := w.names[keyOfRow(r)]
		q.Names = append(q.Names, name)
		if slices.Contains(counting, name) {
			q.Have++
		}
		q.Size = r.Size
		if r.At.After(q.At) {
			q.At = r.At
		}
	}
	q.Met = w.policy.Quorum(q.Names)
	return q
}

func (w *witnesses) with(signed []byte, c chain.Checkpoint, rows []db.LogCosignature) (cosigned, error) {
	out := cosigned{signed: slices.Clone(signed), checkpoint: c, quorum: w.quorum(rows)}
	out.quorum.Size = c.Size
	_, own, err := chain.SplitNote(signed)
	if err != nil {
		return cosigned{}, fmt.Errorf("signed checkpoint: %w", err)
	}
	var lines []chain.SignatureLine
	var vkeys []string
	if len(own) > 1 { // a key is being replaced: whoever knows one of both needs the other to check its line
		lines, vkeys = own, strings.Fields(w.l.EveryVKey())
	}
	for _, r := range rows {
		out.signed = append(out.signed, r.Line...)
		l, err := chain.ParseSignatureLines(r.Line)
		if err != nil {
			return cosigned{}, fmt.Errorf("stored cosignature: %w", err)
		}
		lines = append(lines, l...)
	}
	for _, p := range w.policy.Witnesses {
		vkeys = append(vkeys, p.VKey)
	}
	if out.keys, err = chain.KeysFor(lines, vkeys); err != nil {
		return cosigned{}, fmt.Errorf("stored cosignature: %w", err)
	}
	return out, nil
}

// States of a witness, see WitnessStatus.
const (
	WitnessSigned      = "signed"      // the newest checkpoint it was asked about, or a later one
	WitnessBehind      = "behind"      // an older one, or none yet
	WitnessUnreachable = "unreachable" // no answer, or none that makes sense
	WitnessRefused     = "refused"     // it says no: see Error
)

// WitnessStatus is where a witness of the policy stands.
type WitnessStatus struct {
	Name    string // in the policy
	KeyName string
	KeyHash uint32
	Asked   bool      // over the network; the others' files are carried
	Size    int64     // of the last tree it cosigned, 0 before the first
	At      time.Time // when it did, by its own clock
	State   string
	Error   string // of the last question, "" if it was answered
}

// Witnesses tells where each witness stands, and the newest checkpoint with the policy's quorum: without one Size is 0.
func (l *Log) Witnesses(ctx context.Context) ([]WitnessStatus, Quorum, error) {
	w := l.inForce()
	out := make([]WitnessStatus, 0, len(w.policy.Witnesses))
	vs, err := w.policy.Verifiers()
	if err != nil {
		return nil, Quorum{}, err
	}
	for i, p := range w.policy.Witnesses {
		s := WitnessStatus{Name: p.Name, KeyName: vs[i].Name(), KeyHash: vs[i].KeyHash(), Asked: p.URL != "", State: WitnessBehind}
		last, ok, err := w.lastOf(ctx, vs[i])
		if err != nil {
			return nil, Quorum{}, err
		}
		if ok {
			s.Size, s.At = last.Size, last.At
		}
		w.stateOf(&s)
		out = append(out, s)
	}
	b, err := l.best(ctx, 1)
	if fault.Is(err, fault.KindPending) {
		return out, w.quorum(nil), nil
	}
	if err != nil {
		return nil, Quorum{}, err
	}
	if !b.quorum.Met {
		b.quorum.Size, b.quorum.At = 0, time.Time{}
	}
	return out, b.quorum, nil
}

func (w *witnesses) stateOf(s *WitnessStatus) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t := w.target; s.Size > 0 && (t == nil || s.Size >= t.Size) {
		s.State = WitnessSigned
	}
	i := slices.IndexFunc(w.all, func(a *asked) bool { return a.Name == s.Name })
	if i < 0 || w.all[i].err == "" {
		return
	}
	s.Error, s.State = w.all[i].err, WitnessUnreachable
	if w.all[i].refused {
		s.State = WitnessRefused
	}
}

// WitnessRequest gives what a witness without network is to sign: an add-checkpoint body in a file. from is the size it cosigned last; nil
// takes what is known here.
func (l *Log) WitnessRequest(ctx context.Context, name string, from *int64) (text []byte, size int64, err error) {
	w := l.inForce()
	p, ok := w.policy.Witness(name)
	if !ok {
		return nil, 0, fault.NotFound("见证策略中没有 %s", name)
	}
	v, err := chain.NewWitnessVerifier(p.VKey)
	if err != nil {
		return nil, 0, err
	}
	signed, c, err := l.published(ctx)
	if err != nil {
		return nil, 0, err
	}
	var old int64
	if from != nil {
		old = *from
	} else if last, ok, err := w.lastOf(ctx, v); err != nil {
		return nil, 0, err
	} else if ok {
		old = last.Size
	}
	if old < 0 || old > c.Size {
		return nil, 0, fault.Invalid("最新检查点有%d条，不能从%d起证明", c.Size, old)
	}
	proof, err := l.consistency(ctx, old, c)
	if err != nil {
		return nil, 0, err
	}
	if err := l.keep(ctx, c, signed); err != nil { // the cosignature may come back without it
		return nil, 0, err
	}
	return witness.Request{Old: old, Proof: proof, Checkpoint: signed}.Text(), c.Size, nil
}

// Imported is a cosignature that was carried here.
type Imported struct {
	Witness string
	Size    int64
	At      time.Time
	New     bool // it was not known before
}

// ImportCosignatures takes what a witness gave: the file of `witness sign`, a checkpoint with signature lines, or the lines alone.
// fault.Invalid if a line doesn't verify, or none is a witness's.
func (l *Log) ImportCosignatures(ctx context.Context, text string) ([]Imported, error) {
	w := l.inForce()
	var lines []chain.SignatureLine
	var c chain.Checkpoint
	var err error
	if strings.Contains(text, "\n\n") {
		c, lines, err = l.ownCheckpoint(ctx, text)
	} else if lines, err = chain.ParseSignatureLines(text); err != nil {
		err = fault.Invalid("这不是共签").Because(err)
	}
	if err != nil {
		return nil, err
	}
	var out []Imported
	for _, line := range lines {
		key := witnessKey{line.Name, line.Hash}
		v := w.keys[key]
		if v == nil {
			continue // the log's own, or of someone the policy doesn't know
		}
		body := c
		if body.Origin == "" {
			if body, err = l.checkpointOf(ctx, line, v.Verify); err != nil {
				return nil, err
			}
		} else if !v.Verify([]byte(c.Text()), line.Sig) {
			return nil, fault.Invalid("%s 的共签对这个检查点不成立", w.names[key])
		}
		at, _ := line.CosignedAt()
		n, err := l.q.InsertCosignature(ctx, db.InsertCosignatureParams{Size: body.Size, Witness: line.Name, KeyHash: hashBytes(line.Hash), Line: line.String(), At: at})
		if err != nil {
			return nil, pg.Away(fmt.Errorf("store cosignature: %w", err))
		}
		out = append(out, Imported{w.names[key], body.Size, at, n > 0})
	}
	if len(out) == 0 {
		return nil, fault.Invalid("其中没有见证策略所列见证方的共签")
	}
	w.mu.Lock()
	w.tell()
	w.mu.Unlock()
	return out, nil
}

// ownCheckpoint reads a checkpoint that came back and finds it to be one of ours.
func (l *Log) ownCheckpoint(ctx context.Context, text string) (chain.Checkpoint, []chain.SignatureLine, error) {
	foreign := func(err error) error { return fault.Invalid("这不是本日志签发过的检查点").Because(err) }
	body, lines, err := chain.SplitNote([]byte(text))
	if err != nil {
		return chain.Checkpoint{}, nil, fault.Invalid("这不是共签").Because(err)
	}
	c, err := chain.ParseCheckpoint(body)
	if err != nil {
		return chain.Checkpoint{}, nil, foreign(err)
	}
	kept, err := l.q.CheckpointAt(ctx, c.Size)
	if err == nil {
		ours, _, err := chain.SplitNote([]byte(kept.Note))
		if err == nil && ours != body {
			err = errors.New("another body than the one kept")
		}
		if err != nil {
			return chain.Checkpoint{}, nil, foreign(err)
		}
		return c, lines, nil
	}
	if !errors.Is(err, pgx.ErrNoRows) {
		return chain.Checkpoint{}, nil, pg.Away(fmt.Errorf("read checkpoint of %d: %w", c.Size, err))
	}
	// Not kept here, as when the request was made before a restore: it has to be signed by us, and be the beginning of our tree.
	if _, err := chain.OpenByLog([]byte(text), l.verifier); err != nil {
		return chain.Checkpoint{}, nil, foreign(err)
	}
	root, err := l.rootAt(ctx, c.Size)
	if err != nil {
		return chain.Checkpoint{}, nil, err
	}
	if root != c.Root {
		return chain.Checkpoint{}, nil, foreign(errors.New("another root than the tree has"))
	}
	signed := body + "\n"
	for _, line := range lines {
		if line.Name == c.Origin {
			signed += line.String()
		}
	}
	return c, lines, l.keep(ctx, c, []byte(signed))
}

// checkpointOf finds the kept checkpoint that a line alone is over, among the newest few thousand.
func (l *Log) checkpointOf(ctx context.Context, line chain.SignatureLine, verify func(msg, sig []byte) bool) (chain.Checkpoint, error) {
	before := int64(math.MaxInt64)
	for range 4 {
		rows, err := l.q.CheckpointsBefore(ctx, db.CheckpointsBeforeParams{Before: before, Most: 1000})
		if err != nil {
			return chain.Checkpoint{}, pg.Away(fmt.Errorf("read checkpoints: %w", err))
		}
		for _, r := range rows {
			body, _, err := chain.SplitNote([]byte(r.Note))
			if err == nil && verify([]byte(body), line.Sig) {
				return chain.ParseCheckpoint(body)
			}
			before = r.Size
		}
		if len(rows) < 1000 {
			break
		}
	}
	return chain.Checkpoint{}, fault.Invalid("%s 的共签不成立，或不是对本日志近期检查点的", line.Name)
}
