package drill

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"zhizheng/evidence"
	"zhizheng/evidence/bundle"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/internal/fault"
)

// paper is a bundle made for the drill: a real item with its real leaves, in a tree that is the copy's plus the export's two leaves, in the
// chain of the drill's case and in the item's.
type paper struct {
	rec    evidence.Record
	bytes  []byte // of the object
	input  func() bundle.Input
	leaves []evlog.Leaf // to be proven: first the item's own
	own    int          // how many those are
	tree   []chain.Hash
	at     time.Time

	key  keyPair // the drill's own
	read bundle.SignedFile
	good []byte
}

type keyPair struct {
	sign note.Signer
	vkey string
}

func newKey(origin string) (k keyPair, err error) {
	skey, vkey, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return k, err
	}
	k.vkey = vkey
	k.sign, err = note.NewSigner(skey)
	return k, err
}

// paperWay tampers with what is handed out and gives what found it, "" if nothing did.
type paperWay struct {
	Way
	try func(p *paper) (by string, err error)
}

var papers = []paperWay{
	{Way{Name: "object", Check: "digest", Zh: "换影像：改动一份影像的一个字节", En: "an object: one byte of footage changed"}, (*paper).changeObject},
	{Way{Name: "resigned", Check: "verifier", Zh: "重签证据包：改动后用另一把密钥全部重新签署", En: "a bundle altered and signed anew by another key"}, (*paper).signAnew},
	{Way{Name: "chain", Check: "verifier", Zh: "断链：证据包里漏掉保管链中间的一环", En: "a cut chain: a link of custody left out of the bundle"}, (*paper).cutChain},
	{Way{Name: "tail", Check: "verifier", Zh: "截尾：证据包里略去保管链的末尾", En: "a cut tail: the end of a chain of custody left out of the bundle"}, (*paper).cutTail},
}

// paper chooses the smallest sealed item that the copy covers; nil when there is none.
func (d *run) paper(ctx context.Context) (*paper, error) {
	if d.s.o.Evidence == nil {
		return nil, nil
	}
	rec, err := d.s.o.Evidence.SmallestSealed(ctx, mostBytes)
	if fault.Is(err, fault.KindNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p := &paper{rec: rec, tree: d.c.Hashes, at: d.s.o.Now(), read: d.s.o.Read}
	if p.leaves, err = d.c.SubjectLeaves(ctx, evidence.Subject(rec.ID)); err != nil {
		return nil, err
	}
	manifest, err := d.c.Leaf(ctx, rec.ManifestKey)
	if fault.Is(err, fault.KindNotFound) {
		return nil, nil // younger than the copy
	}
	if err != nil {
		return nil, err
	}
	m, err := chain.Payload[chain.ManifestPayload](manifest.Payload)
	if err != nil {
		return nil, err
	}
	key, err := d.s.o.Enrolment(m.Signed)
	if err != nil {
		return nil, err
	}
	enrolled, err := d.c.Leaf(ctx, key)
	if err != nil {
		return nil, err
	}
	seal := int64(-1)
	for _, l := range p.leaves {
		if l.Key == evidence.SealKey(rec.ID) {
			seal = l.Seq
		}
	}
	if seal < 0 {
		return nil, nil
	}
	p.own = len(p.leaves)
	p.leaves = append(p.leaves, manifest, enrolled)
	body, err := d.s.o.Evidence.Open(ctx, rec, evidence.Range{Len: rec.Size})
	if err != nil {
		return nil, err
	}
	if p.bytes, err = readAll(body, rec.Size); err != nil {
		return nil, err
	}
	record := bundle.Record{ID: string(rec.ID), FileName: rec.FileName, Size: rec.Size, SHA256: rec.SHA256Hex(), Status: evidence.StatusSealed, Recorder: rec.Recorder,
		RecordedAt: rec.RecordedAt.UTC().Format(time.RFC3339), Purpose: "自证演练", ManifestLeaf: manifest.Seq, SealLeaf: seal}
	p.input = func() bundle.Input {
		return bundle.Input{CaseID: "DRILL", Case: map[string]string{"note": "自证演练所用，不是案件"}, Index: []byte("<!doctype html>自证演练\n"),
			Items: []bundle.Item{{Record: record, Open: func(context.Context) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(p.bytes)), nil }}}}
	}
	if p.key, err = newKey("drill." + d.s.o.Log.Origin()); err != nil {
		return nil, err
	}
	p.good, err = p.bundle(p.key, p.input(), p.leaves, true)
	return p, err
}

// bundle writes a bundle whose log is the copy's tree and the export's leaves, signed by that key, with or without the tail of custody.
func (p *paper) bundle(key keyPair, in bundle.Input, leaves []evlog.Leaf, tail bool) ([]byte, error) {
	before, err := sign(key, p.tree)
	if err != nil {
		return nil, err
	}
	in.VKey, in.Proofs = key.vkey, map[int64][]byte{}
	for _, l := range leaves {
		if in.Proofs[l.Seq], err = receipt(p.tree, l.Seq, l.Disclosure(), before); err != nil {
			return nil, err
		}
	}
	plan, err := bundle.NewPlan(in)
	if err != nil {
		return nil, err
	}
	ofCase, err := p.disclosed(chain.Leaf{Kind: chain.KindCaseExported, Subject: chain.Subject{Type: chain.SubjectCase, ID: in.CaseID}.Opaque(), Counter: 1},
		chain.CasePayload{CaseID: in.CaseID, Actor: "system", Stage: "drill", Digest: plan.Digest()})
	if err != nil {
		return nil, err
	}
	end := chain.Leaf{Kind: chain.KindExported, Subject: evidence.Subject(p.rec.ID).Opaque(), Counter: uint64(p.own) + 1, Prev: chain.LeafHash(p.leaves[p.own-1].Bytes)}
	ofItem, err := p.disclosed(end, chain.CustodyPayload{EvidenceID: string(p.rec.ID), Actor: "system", CaseID: in.CaseID, Digest: plan.Digest()})
	if err != nil {
		return nil, err
	}
	n := int64(len(p.tree))
	tree := append(p.tree[:n:n], chain.LeafHash(ofCase.Leaf), chain.LeafHash(ofItem.Leaf))
	after, err := sign(key, tree)
	if err != nil {
		return nil, err
	}
	var last bundle.Last
	if last.Export, err = receipt(tree, n, ofCase, after); err != nil {
		return nil, err
	}
	if tail {
		r, err := receipt(tree, n+1, ofItem, after)
		if err != nil {
			return nil, err
		}
		last.Tails = map[int64][]byte{n + 1: r}
	}
	var out bytes.Buffer
	err = plan.Write(context.Background(), &out, func(context.Context) (bundle.Last, error) { return last, nil })
	return out.Bytes(), err
}

// disclosed completes a leaf and gives it with what it commits to.
func (p *paper) disclosed(l chain.Leaf, of any) (d chain.Disclosure, err error) {
	if d.Payload, err = chain.EncodePayload(of); err != nil {
		return d, err
	}
	d.Salt = make([]byte, chain.SaltSize)
	_, _ = rand.Read(d.Salt) // never fails since Go 1.24
	l.Version, l.TimeMS, l.Commitment = chain.Version, p.at.UnixMilli(), chain.Commitment(d.Salt, d.Payload)
	d.Leaf, err = l.Encode()
	return d, err
}

func sign(key keyPair, tree []chain.Hash) ([]byte, error) {
	var edge chain.Edge
	for _, h := range tree {
		edge.Append(h)
	}
	return note.Sign(&note.Note{Text: chain.Checkpoint{Origin: key.sign.Name(), Size: edge.Size, Root: edge.Root()}.Text()}, key.sign)
}

func receipt(tree []chain.Hash, index int64, d chain.Disclosure, checkpoint []byte) ([]byte, error) {
	proof, err := tlog.ProveRecord(int64(len(tree)), index, nodes(tree))
	if err != nil {
		return nil, err
	}
	return chain.Receipt{Disclosure: d, Index: index, Proof: proof, Checkpoint: checkpoint}.Marshal()
}

// nodes reads the tree's nodes, reckoned from the leaves each time: a proof needs few.
type nodes []chain.Hash

func (n nodes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		level, at := tlog.SplitStoredHashIndex(x)
		first := at << level
		if first+1<<level > int64(len(n)) {
			return nil, fmt.Errorf("no node %d of level %d", at, level)
		}
		var edge chain.Edge
		for _, h := range n[first : first+1<<level] {
			edge.Append(h)
		}
		out[i] = edge.Root()
	}
	return out, nil
}

func (p *paper) verify(file []byte) (bundle.Report, error) {
	return bundle.Verify(bytes.NewReader(file), int64(len(file)), chain.LogPolicy(p.key.vkey), p.read)
}

// said gives the first failure a verifier names.
func (p *paper) said(file []byte) (string, error) {
	rep, err := p.verify(file)
	if err != nil || len(rep.Failures) == 0 {
		return "", err
	}
	return rep.Failures[0].Where + "：" + rep.Failures[0].Zh, nil
}

// changeObject flips a bit of a copy of the object's bytes and compares with the digest in the sealing leaf, as a re-read does.
func (p *paper) changeObject() (string, error) {
	body := bytes.Clone(p.bytes)
	if len(body) == 0 {
		body = []byte{0} // an empty file can only grow
	} else {
		body[len(body)/2] ^= 1
	}
	for _, l := range p.leaves {
		if l.Key != evidence.SealKey(p.rec.ID) {
			continue
		}
		s, err := chain.Payload[chain.SealedPayload](l.Payload)
		if err != nil {
			return "", err
		}
		if sum := sha256.Sum256(body); !bytes.Equal(sum[:], s.SHA256) {
			return fmt.Sprintf("第 %d 页：册中 %s…，实读 %s…", l.Seq, hex.EncodeToString(s.SHA256[:8]), hex.EncodeToString(sum[:8])), nil
		}
		return "", nil
	}
	return "", errors.New("the item has no sealing leaf")
}

// signAnew alters the record and signs the whole bundle again, so that nothing in it disagrees: only the key isn't the log's.
func (p *paper) signAnew() (string, error) {
	other, err := newKey(p.key.sign.Name())
	if err != nil {
		return "", err
	}
	in := p.input()
	in.Items[0].Purpose = "改动后的证明目的"
	file, err := p.bundle(other, in, p.leaves, true)
	if err != nil {
		return "", err
	}
	if rep, err := bundle.Verify(bytes.NewReader(file), int64(len(file)), chain.LogPolicy(other.vkey), p.read); err != nil || len(rep.Failures) > 0 {
		return "", fmt.Errorf("the forged bundle isn't consistent in itself: %v, %w", rep.Failures, err)
	}
	return p.said(file)
}

// cutChain leaves a link out of the item's chain; the rest, the manifest and the export agree with that.
func (p *paper) cutChain() (string, error) {
	middle := (p.own - 1) / 2 // one that has another behind it, if there are two
	file, err := p.bundle(p.key, p.input(), slices.Delete(slices.Clone(p.leaves), middle, middle+1), true)
	if err != nil {
		return "", err
	}
	return p.said(file)
}

// cutTail leaves out how the item's chain ends: what is left follows one from the other without a gap.
func (p *paper) cutTail() (string, error) {
	leaves := slices.Clone(p.leaves)
	if p.leaves[p.own-1].Key != evidence.SealKey(p.rec.ID) { // the sealing stays
		leaves = slices.Delete(leaves, p.own-1, p.own)
	}
	file, err := p.bundle(p.key, p.input(), leaves, false)
	if err != nil {
		return "", err
	}
	return p.said(file)
}
