package evlog

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/internal/db"
	"zhizheng/evidence/evlog/signer"
)

// audit is one run of Audit.
type audit struct {
	l      *Log
	rep    AuditReport
	signer signer.State

	edge  chain.Edge
	next  int64 // index of the leaf that has to come
	open  []chain.Hash
	roots []tileSum // of the full tiles of level 0
	heads map[chain.SubjectID]auditHead
	want  map[int64][]wanted // by size
	found int64              // payloads
	bare  map[int64]bool     // leaves without payload
	named map[int64]bool     // leaves of which a statement says that they were erased
}

type auditHead struct {
	leaf chain.Leaf
	hash chain.Hash
}

// wanted is a root that the tree must have at a size.
type wanted struct {
	where string
	size  int64
	root  chain.Hash
}

// tileSum stands for a tile without keeping its 8 KB.
type tileSum struct {
	sum  [32]byte
	root chain.Hash
}

func sumOf(hashes []byte) tileSum {
	s := tileSum{sum: sha256.Sum256(hashes)}
	if r, err := chain.TileRoot(hashes); err == nil { // a tile of another length has another sum anyway
		s.root = r
	}
	return s
}

func (a *audit) find(where, what string, args ...any) {
	if len(a.rep.Findings) >= maxFindings {
		a.rep.More++
		return
	}
	a.rep.Findings = append(a.rep.Findings, Finding{where, fmt.Sprintf(what, args...)})
}

func (a *audit) expect(where string, size int64, root chain.Hash) {
	a.want[size] = append(a.want[size], wanted{where, size, root})
}

// meet compares the tree as it stands with the roots that were promised for its size.
func (a *audit) meet() {
	for _, w := range a.want[a.edge.Size] {
		if w.root != a.edge.Root() {
			a.find(w.where, "根与叶重算的结果不符")
		}
	}
	delete(a.want, a.edge.Size)
}

// leaf takes the next stored leaf. What the tree is made of is its bytes; every other column has to agree with them.
func (a *audit) leaf(r db.EntriesToAuditRow) {
	where := fmt.Sprint("leaf ", r.Seq)
	if r.Seq != a.next {
		a.find(where, "其前缺%d条", r.Seq-a.next)
	}
	a.next = r.Seq + 1
	a.rep.Entries++
	hash := chain.LeafHash(r.Bytes)
	if string(hash[:]) != string(r.LeafHash) {
		a.find(where, "所存哈希与字节不符")
	}
	if string(keySum(hash, r.Key)) != string(r.KeySum) {
		a.find(where, "幂等键与叶不符")
	}
	a.edge.Append(hash)
	if a.open = append(a.open, hash); len(a.open) == chain.TileWidth {
		a.roots = append(a.roots, sumOf(chain.Join(a.open)))
		a.open = a.open[:0]
	}
	a.meet()

	leaf, err := chain.DecodeLeaf(r.Bytes)
	if err != nil {
		a.find(where, "不是合规的叶：%v", err)
		return
	}
	if string(leaf.Subject[:]) != string(r.Subject) || int64(leaf.Counter) != r.Counter {
		a.find(where, "所存主题或计数与字节不符")
	}
	var prev *chain.Leaf
	before, ok := a.heads[leaf.Subject]
	if ok {
		prev = &before.leaf
	}
	if err := chain.Link(prev, before.hash, leaf); err != nil {
		a.find(where, "主题链断裂：%v", err)
	}
	a.heads[leaf.Subject] = auditHead{leaf, hash}
	switch {
	case r.Salt == nil:
		a.rep.Erased++
		a.bare[r.Seq] = true
		return
	case len(r.Salt) != chain.SaltSize || chain.Commitment(r.Salt, r.Payload) != leaf.Commitment:
		a.find(where, "内容与承诺不符")
	case leaf.Kind == chain.KindErased:
		a.erasure(where, r.Payload)
	}
	a.found++
}

// erasure takes down which leaves a statement names.
func (a *audit) erasure(where string, payload []byte) {
	p, err := chain.Payload[chain.ErasedPayload](payload)
	if err != nil {
		a.find(where, "不是合规的删除记录：%v", err)
		return
	}
	for _, seq := range p.Leaves {
		a.named[int64(seq)] = true
	}
}

// erasures finds content that went without a word.
func (a *audit) erasures() {
	for _, seq := range slices.Sorted(maps.Keys(a.bare)) {
		if !a.named[seq] {
			a.find(fmt.Sprint("leaf ", seq), "内容缺失而无删除记录")
		}
	}
}
