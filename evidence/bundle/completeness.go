package bundle

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"maps"

	"zhizheng/evidence/chain"
)

// Chains is chain.json: what the own chains of the keys that signed the exhibits' manifests show to be missing. Its first half are facts
// that the leaves can't tell by themselves; the second half (Clips, Gaps, Odd, State, Says) follows from them, and a reader computes it
// again.
//
// How far it goes: a run holds every leaf of the key's chain in the log between two of its counters, each naming the hash of the one
// before, so none can be left out. Leaves of other items stay closed: what kind they are is public, which counter their manifest has
// is the platform's word (Closed), to which it is bound by the export's leaf, and any of them can be opened later. Docs:
// docs/decisions/completeness.md.
type Chains struct {
	Note        string   `json:"note"`
	Keys        []Key    `json:"keys"`
	Checkpoints [][]byte `json:"checkpoints,omitempty"` // signed notes that exhibits' manifests name
}

// Key is one signer.
type Key struct {
	KeyID  string   `json:"key_id"`
	Runs   []Run    `json:"runs"`
	Closed []Closed `json:"closed,omitempty"`

	Clips []Clip      `json:"clips"`
	Gaps  []Gap       `json:"gaps"`
	Odd   []string    `json:"odd"` // what is odd in the leaves shown, zh-CN
	State *StateShown `json:"state,omitempty"`
	Says  []string    `json:"says"` // all of it in sentences, zh-CN
}

// Run is a key's leaves in the log, one behind the other, verbatim.
type Run struct {
	First  uint64   `json:"first"` // the key's counter in the log of the first of them
	Leaves [][]byte `json:"leaves"`
}

// Closed says which counter of the device's own chain the manifest of a closed leaf has. Counter 0 is one whose content was erased.
type Closed struct {
	Leaf    uint64 `json:"leaf"` // the key's counter in the log
	Epoch   uint64 `json:"epoch"`
	Counter uint64 `json:"counter"`
}

// Clip is a manifest that the bundle discloses: an exhibit's, or the one at the other edge of a gap.
type Clip struct {
	Leaf      int64  `json:"leaf"`
	Exhibit   int    `json:"exhibit,omitempty"` // its number; 0 for an edge
	Epoch     uint64 `json:"epoch"`
	Counter   uint64 `json:"counter"`
	Recorder  string `json:"recorder,omitempty"`
	SignedAt  string `json:"signed_at"`
	LoggedAt  string `json:"logged_at"`
	NotBefore string `json:"not_before,omitempty"` // time of the newest leaf shown that lies under the checkpoint its manifest names
}

// Gap is a run of counters beside an exhibit that have no manifest.
type Gap struct {
	Epoch  uint64 `json:"epoch"`
	First  uint64 `json:"first"`
	Last   uint64 `json:"last"`
	Before uint64 `json:"before"` // the nearest counters that are there; 0 at the chain's ends
	After  uint64 `json:"after"`
	// Proven: the key's chain in the log lies here from its enrolment to the last leaf shown, and no manifest of it is closed. What came
	// after that leaf no chain can show.
	Proven bool `json:"proven"`
}

// StateShown is the newest statement of the signer that the bundle discloses.
type StateShown struct {
	Leaf    int64  `json:"leaf"`
	Epoch   uint64 `json:"epoch"`
	Counter uint64 `json:"counter"`
	At      string `json:"at"`
	Closing bool   `json:"closing"`
}

// Place is what a device signed about its own chain, in a manifest or in a state.
type Place = struct {
	State          bool
	Epoch, Counter uint64
	Hash           [32]byte
	Prev           []byte
	At             int64 // Unix milliseconds
	Checkpoint     []byte
	Recorder       string
	Closing        bool
}

// SignedChain reads a manifest or a state and checks its signature by the key's SubjectPublicKeyInfo. It is handed in like SignedFile.
type SignedChain func(signed, spki []byte) (Place, error)

const chainsNote = "本文件说明签名密钥自己的计数链：缺失的计数由其两侧的签名清单证明曾被签署；其他案件的册页不公开内容（closed），其计数为平台的陈述，随本次导出入册，可依法逐页打开核对。"

// ofKey says whether a kind of leaf lies on a signing key's chain.
func ofKey(k chain.Kind) bool {
	switch k {
	case chain.KindManifest, chain.KindEquivocation, chain.KindAnomaly, chain.KindKeyEnrolled, chain.KindKeyRevoked, chain.KindDeviceState:
		return true
	}
	return false
}

// Tell fills in the second half of Chains from the receipts, as a reader will compute it again.
func (in *Input) Tell(read SignedChain) error {
	var records []Record
	for i, it := range in.Items {
		it.Number = i + 1
		records = append(records, it.Record)
	}
	leaves := map[int64]chain.Proven{}
	for i, text := range in.Proofs {
		r, err := chain.ParseReceipt(text)
		if err != nil {
			return err
		}
		l, err := r.Disclosure.Open()
		if err != nil {
			return err
		}
		leaves[i] = chain.Proven{Index: r.Index, Leaf: l, LeafHash: chain.LeafHash(r.Disclosure.Leaf), Payload: r.Disclosure.Payload}
	}
	checkpoints := map[[32]byte]chain.Checkpoint{}
	verifier, err := chain.NewVerifier(in.VKey)
	if err != nil {
		return err
	}
	for _, note := range in.Chains.Checkpoints {
		c, err := chain.OpenCheckpoint(note, verifier)
		if err != nil {
			return err
		}
		checkpoints[sha256.Sum256(note)] = c
	}
	t := newTeller(read, leaves, records, checkpoints)
	doc := Chains{Note: chainsNote, Keys: []Key{}, Checkpoints: in.Chains.Checkpoints}
	for _, k := range in.Chains.Keys {
		told, err := t.tell(k)
		if err != nil {
			return fmt.Errorf("tell a device's chain: %w", err)
		}
		doc.Keys = append(doc.Keys, told)
	}
	in.Chains = &doc
	return nil
}

// completeness computes chain.json's second half again and refuses any other. A bundle without chain.json says nothing of what is
// missing, and the report says that.
func (v *verifier) completeness() {
	raw, there := v.texts[ChainName]
	if !there {
		v.held("证据包没有说明设备链，缺失与否不得而知 nothing is said about what is missing")
		return
	}
	var doc Chains
	if err := decodeJSON(raw, &doc); err != nil {
		v.fail(ChainName, "无法读取："+err.Error(), "can't be read: "+err.Error())
		return
	}
	if v.device == nil {
		v.fail(ChainName, "没有读取设备签名的方法，未能核对", "no way to read what devices signed: not checked")
		return
	}
	checkpoints := map[[32]byte]chain.Checkpoint{}
	for _, note := range doc.Checkpoints {
		c, err := v.trust.Open(note, v.carried...)
		if err != nil {
			v.fail(ChainName, "存证点不成立："+err.Error(), "a checkpoint doesn't hold: "+err.Error())
			return
		}
		checkpoints[sha256.Sum256(note)] = c.Checkpoint
	}
	leaves := maps.Clone(v.leaves)
	delete(leaves, v.report.ExportLeaf) // it came after chain.json was written
	maps.DeleteFunc(leaves, func(i int64, _ chain.Proven) bool { return v.tail[i] })
	t := newTeller(v.device, leaves, v.report.Records, checkpoints)
	seen := map[string]bool{}
	placed := map[int64]bool{}
	for _, k := range doc.Keys {
		if seen[k.KeyID] {
			v.fail(ChainName, "同一密钥出现两次", "a key appears twice")
		}
		seen[k.KeyID] = true
		want, err := t.tell(k)
		if err != nil {
			v.fail(ChainName, "设备链不成立："+err.Error(), "a device's chain doesn't hold: "+err.Error())
			continue
		}
		if !sameJSON(want, k) {
			v.fail(ChainName, "所述与册页不符：重新推算得 "+fmt.Sprint(want.Says), "it says otherwise than the leaves; recomputed: "+fmt.Sprint(want.Says))
			continue
		}
		for _, c := range want.Clips {
			placed[c.Leaf] = true
		}
		v.report.Missing = append(v.report.Missing, want.Says...)
	}
	for _, r := range v.report.Records {
		if !placed[r.ManifestLeaf] {
			v.fail(ChainName, fmt.Sprintf("证据 %d 不在任何设备链里", r.Number), fmt.Sprintf("exhibit %d is on no device's chain", r.Number))
		}
	}
	if doc.Note != chainsNote {
		v.fail(ChainName, "说明文字不是本格式的", "the note isn't the format's")
	}
	v.held("%d 条设备链重新推算 device chains computed again", len(doc.Keys))
}

func sameJSON(a, b any) bool {
	x, err := encodeJSON(a)
	y, yerr := encodeJSON(b)
	return err == nil && yerr == nil && bytes.Equal(x, y)
}
