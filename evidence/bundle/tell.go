package bundle

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"zhizheng/evidence/chain"
)

// teller computes the second half of chain.json.
type teller struct {
	read        SignedChain
	leaves      map[int64]chain.Proven
	byHash      map[chain.Hash]chain.Proven
	exhibits    map[int64]Record              // by leaf of the manifest
	checkpoints map[[32]byte]chain.Checkpoint // by the hash that manifests name
}

func newTeller(read SignedChain, leaves map[int64]chain.Proven, records []Record, checkpoints map[[32]byte]chain.Checkpoint) *teller {
	t := &teller{read: read, leaves: leaves, byHash: map[chain.Hash]chain.Proven{}, exhibits: map[int64]Record{}, checkpoints: checkpoints}
	for _, p := range leaves {
		t.byHash[p.LeafHash] = p
	}
	for _, r := range records {
		t.exhibits[r.ManifestLeaf] = r
	}
	return t
}

// at is a counter of an epoch.
type at struct{ epoch, counter uint64 }

// told is what the runs of a key hold.
type told struct {
	clips  map[at][]placed // disclosed manifests
	known  map[uint64][]uint64
	closed int
	whole  bool // one run from the key's first leaf on
	states []placed
	odd    []string
}

type placed struct {
	Place
	chain.Proven
}

// tell gives the key's second half.
func (t *teller) tell(k Key) (Key, error) {
	out := Key{KeyID: k.KeyID, Runs: k.Runs, Closed: k.Closed, Clips: []Clip{}, Gaps: []Gap{}, Odd: []string{}, Says: []string{}}
	facts, err := t.facts(k)
	if err != nil {
		return out, err
	}
	out.Odd = append(out.Odd, facts.odd...)
	for _, s := range facts.states {
		if out.State == nil || cmp.Or(cmp.Compare(out.State.Epoch, s.Place.Epoch), cmp.Compare(out.State.Leaf, s.Index)) < 0 {
			out.State = &StateShown{Leaf: s.Index, Epoch: s.Place.Epoch, Counter: s.Place.Counter, At: timeText(s.At), Closing: s.Closing}
		}
	}
	for _, c := range slices.SortedFunc(maps.Keys(facts.clips), func(a, b at) int {
		return cmp.Or(cmp.Compare(a.epoch, b.epoch), cmp.Compare(a.counter, b.counter))
	}) {
		same := facts.clips[c]
		if len(same) > 1 {
			out.Odd = append(out.Odd, fmt.Sprintf("计数 %d 有 %d 份不同的清单", c.counter, len(same)))
		}
		for _, p := range same {
			out.Clips = append(out.Clips, t.clip(p))
			if _, is := t.exhibits[p.Index]; is {
				out.Gaps = append(out.Gaps, facts.beside(c, out.State)...)
			}
		}
		out.Odd = append(out.Odd, facts.breaks(c)...)
	}
	slices.SortFunc(out.Gaps, func(a, b Gap) int { return cmp.Or(cmp.Compare(a.Epoch, b.Epoch), cmp.Compare(a.First, b.First)) })
	out.Gaps = slices.Compact(out.Gaps)
	out.Says = t.sentences(out, facts)
	return out, nil
}

// facts reads the runs. An error names what doesn't hold.
func (t *teller) facts(k Key) (told, error) {
	f := told{clips: map[at][]placed{}, known: map[uint64][]uint64{}}
	subject := (chain.Subject{Type: chain.SubjectKey, ID: k.KeyID}).Opaque()
	closed := map[uint64]Closed{}
	for _, c := range k.Closed {
		if _, twice := closed[c.Leaf]; twice {
			return f, fmt.Errorf("册页 %d 说明了两次 (closed leaf twice)", c.Leaf)
		}
		closed[c.Leaf] = c
	}
	spki, err := t.keyOf(subject, k.KeyID)
	if err != nil {
		return f, err
	}
	f.whole = len(k.Runs) == 1 && k.Runs[0].First == 1
	var end uint64
	for _, r := range k.Runs {
		if len(r.Leaves) == 0 || r.First <= end {
			return f, errors.New("链段为空或重叠 (runs are empty or overlap)")
		}
		if end, err = t.run(r, subject, spki, closed, &f); err != nil {
			return f, err
		}
	}
	if len(closed) > 0 {
		return f, errors.New("说明了不在链段里的册页 (closed leaves that are not in a run)")
	}
	for e := range f.known {
		slices.Sort(f.known[e])
	}
	return f, nil
}

// keyOf finds the key in its enrolment, which must be disclosed.
func (t *teller) keyOf(subject chain.SubjectID, keyID string) ([]byte, error) {
	for _, p := range t.leaves {
		if p.Leaf.Kind != chain.KindKeyEnrolled || p.Leaf.Subject != subject {
			continue
		}
		k, err := chain.Payload[chain.KeyPayload](p.Payload)
		if err != nil {
			return nil, err
		}
		if sum := sha256.Sum256(k.SPKI); hex.EncodeToString(sum[:]) == keyID {
			return k.SPKI, nil
		}
	}
	return nil, errors.New("缺少密钥登记的册页 (the enrolment of the key is missing)")
}

// run walks one run: every leaf follows the one before by its hash, and the last one is proven, so all are.
func (t *teller) run(r Run, subject chain.SubjectID, spki []byte, closed map[uint64]Closed, f *told) (end uint64, err error) {
	var prev *chain.Leaf
	var hash chain.Hash
	for i, raw := range r.Leaves {
		l, err := chain.DecodeLeaf(raw)
		if err != nil {
			return 0, err
		}
		switch {
		case l.Subject != subject:
			return 0, errors.New("链段里有另一个主体的册页 (a leaf of another subject)")
		case i == 0 && l.Counter != r.First:
			return 0, errors.New("链段的起点不符 (the run starts elsewhere)")
		case i > 0:
			if err := chain.Link(prev, hash, l); err != nil {
				return 0, fmt.Errorf("链段在第 %d 处缺页或断开 (a leaf in between is missing): %w", l.Counter, err)
			}
		}
		prev, hash = &l, chain.LeafHash(raw)
		if err := t.leaf(l, t.byHash[hash], spki, closed, f); err != nil {
			return 0, fmt.Errorf("册页 %d: %w", l.Counter, err)
		}
	}
	if _, proven := t.byHash[hash]; !proven {
		return 0, errors.New("链段的末页没有回执 (the last leaf of the run isn't proven)")
	}
	return prev.Counter, nil
}

// leaf takes in one leaf of a run. p is its disclosure, zero for a leaf that is only in the run.
func (t *teller) leaf(l chain.Leaf, p chain.Proven, spki []byte, closed map[uint64]Closed, f *told) error {
	if l.Kind == chain.KindEquivocation {
		f.odd = append(f.odd, fmt.Sprintf("册页链第 %d 页：同一计数出现两份清单", l.Counter))
	}
	c, isClosed := closed[l.Counter]
	delete(closed, l.Counter)
	if p.Payload == nil {
		if l.Kind == chain.KindManifest {
			if !isClosed {
				return errors.New("清单的内容不公开，也没有说明计数 (a closed manifest without its counter)")
			}
			f.closed++
			if c.Counter > 0 {
				f.known[c.Epoch] = append(f.known[c.Epoch], c.Counter)
			}
		}
		return nil
	}
	if isClosed {
		return errors.New("已公开的册页又被说明为不公开 (a disclosed leaf is called closed)")
	}
	var signed []byte
	switch l.Kind {
	case chain.KindManifest:
		m, err := chain.Payload[chain.ManifestPayload](p.Payload)
		if err != nil {
			return err
		}
		signed = m.Signed
	case chain.KindDeviceState:
		s, err := chain.Payload[chain.DeviceStatePayload](p.Payload)
		if err != nil {
			return err
		}
		signed = s.Signed
	case chain.KindAnomaly:
		a, err := chain.Payload[chain.AnomalyPayload](p.Payload)
		if err != nil {
			return err
		}
		if a.What == "gap-explained" {
			f.odd = append(f.odd, fmt.Sprintf("缺失 %s 的说明：%s", span(a.First, a.Last), a.Detail))
		} else {
			f.odd = append(f.odd, fmt.Sprintf("计数 %s：%s", span(a.First, a.Last), a.What))
		}
		return nil
	default:
		return nil
	}
	place, err := t.read(signed, spki)
	if err != nil {
		return err
	}
	if place.State != (l.Kind == chain.KindDeviceState) {
		return errors.New("签名的内容与册页种类不符 (signed as something else)")
	}
	if place.State {
		f.states = append(f.states, placed{place, p})
		return nil
	}
	f.clips[at{place.Epoch, place.Counter}] = append(f.clips[at{place.Epoch, place.Counter}], placed{place, p})
	f.known[place.Epoch] = append(f.known[place.Epoch], place.Counter)
	return nil
}

// beside gives the gaps right before and right after a counter.
func (f told) beside(c at, state *StateShown) (gaps []Gap) {
	known := f.known[c.epoch]
	g := Gap{Epoch: c.epoch, Proven: f.whole && f.closed == 0}
	i, _ := slices.BinarySearch(known, c.counter)
	before := uint64(0)
	if i > 0 {
		before = known[i-1]
	}
	if before+1 < c.counter {
		b := g
		b.First, b.Last, b.Before, b.After = before+1, c.counter-1, before, c.counter
		gaps = append(gaps, b)
	}
	for i < len(known) && known[i] == c.counter {
		i++
	}
	a := g
	a.First, a.Before = c.counter+1, c.counter
	switch {
	case i < len(known):
		a.Last, a.After = known[i]-1, known[i]
	case state != nil && state.Epoch == c.epoch:
		a.Last = state.Counter
	}
	if a.Last >= a.First {
		gaps = append(gaps, a)
	}
	return gaps
}

// breaks compares a disclosed manifest with disclosed ones of the counter before.
func (f told) breaks(c at) (odd []string) {
	before := f.clips[at{c.epoch, c.counter - 1}]
	if len(before) == 0 {
		return nil
	}
	for _, p := range f.clips[c] {
		if !slices.ContainsFunc(before, func(b placed) bool { return bytes.Equal(b.Hash[:], p.Prev) }) {
			odd = append(odd, fmt.Sprintf("计数 %d 的清单与前一份不相接", c.counter))
		}
	}
	return odd
}

func (t *teller) clip(p placed) Clip {
	c := Clip{Leaf: p.Index, Exhibit: t.exhibits[p.Index].Number, Epoch: p.Place.Epoch, Counter: p.Place.Counter, Recorder: p.Recorder, SignedAt: timeText(p.At),
		LoggedAt: p.Leaf.Time().Format(time.RFC3339)}
	if len(p.Place.Checkpoint) != 32 {
		return c
	}
	under, ok := t.checkpoints[[32]byte(p.Place.Checkpoint)]
	if !ok {
		return c
	}
	newest := int64(-1)
	for i := range t.leaves {
		if i < under.Size && i > newest {
			newest = i
		}
	}
	if newest >= 0 {
		c.NotBefore = t.leaves[newest].Leaf.Time().Format(time.RFC3339)
	}
	return c
}

// sentences are what a court reads.
func (t *teller) sentences(k Key, f told) []string {
	says := []string{}
	for _, g := range k.Gaps {
		who := whose(f, g)
		text := fmt.Sprintf("%s第 %s 段影像从未到达", who, span(g.First, g.Last))
		switch {
		case g.After == 0:
			text += fmt.Sprintf("：设备签名状态称已计到 %d，第 %d 段之后没有到", k.State.Counter, g.Before)
		case g.Before == 0:
			text += fmt.Sprintf("：第 %d 段之前没有任何一份", g.After)
		default:
			text += fmt.Sprintf("：介于第 %d 段与第 %d 段之间", g.Before, g.After)
		}
		if g.Proven {
			text += "；该密钥从登记起到所示末页的册页全部在此，逐页相接。"
		} else {
			text += fmt.Sprintf("；所示册页逐页相接，其中 %d 份清单属于其他案件，不公开内容，其计数为平台陈述。", f.closed)
		}
		says = append(says, text)
	}
	for _, c := range k.Clips {
		if r, is := t.exhibits[c.Leaf]; is && r.Status == "pending" {
			says = append(says, fmt.Sprintf("证据 %d：指纹于 %s 入册，影像尚未到达。", r.Number, c.LoggedAt))
		}
	}
	switch {
	case k.State == nil:
		says = append(says, "没有设备签名状态：最后一段之后是否还有影像，不得而知。")
	case k.State.Closing:
		says = append(says, fmt.Sprintf("设备于 %s 签名收尾：至此共 %d 段，之后不得而知。", k.State.At, k.State.Counter))
	default:
		says = append(says, fmt.Sprintf("设备于 %s 签名：至此共 %d 段，之后不得而知。", k.State.At, k.State.Counter))
	}
	return says
}

// whose names the recorder of a gap, when the disclosed clips on its sides agree.
func whose(f told, g Gap) string {
	name := ""
	for _, c := range []uint64{g.Before, g.After} {
		for _, p := range f.clips[at{g.Epoch, c}] {
			if p.Recorder == "" || name != "" && name != p.Recorder {
				return "该签名密钥的"
			}
			name = p.Recorder
		}
	}
	if name == "" {
		return "该签名密钥的"
	}
	return "记录仪 " + name + " 的"
}

func span(first, last uint64) string {
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d–%d", first, last)
}

func timeText(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }
