package chain_test

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"zhizheng/evidence/chain"
)

// The root is the set's: it doesn't depend on the order, and any exhibit more, less or changed gives another.
func TestFrozenRootIsTheSets(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := rapid.SliceOfNDistinct(rapid.StringMatching(`[0-9A-Z]{26}`), 1, 8, rapid.ID[string]).Draw(t, "ids")
		var set []chain.Frozen
		for _, id := range ids {
			sum := sha256.Sum256([]byte(id))
			set = append(set, chain.Frozen{EvidenceID: id, SHA256: sum[:]})
		}
		root := chain.FrozenRoot(set)
		if got := chain.FrozenRoot(rapid.Permutation(set).Draw(t, "order")); !bytes.Equal(got, root) {
			t.Fatal("the root depends on the order")
		}
		if bytes.Equal(chain.FrozenRoot(set[1:]), root) {
			t.Fatal("an exhibit was left out unseen")
		}
		changed := bytes.Clone(set[0].SHA256)
		changed[rapid.IntRange(0, 31).Draw(t, "byte")] ^= 1
		if bytes.Equal(chain.FrozenRoot(append([]chain.Frozen{{EvidenceID: set[0].EvidenceID, SHA256: changed}}, set[1:]...)), root) {
			t.Fatal("an exhibit was changed unseen")
		}
	})
}

func TestMarkReadsBack(t *testing.T) {
	m := chain.Mark{CaseID: "01KXYZ", Root: bytes.Repeat([]byte{7}, 32), Key: chain.Fingerprint("log.example+00000000+AAAA")}
	got, err := chain.ParseMark(" " + m.Text() + "\n")
	if err != nil || !cmp.Equal(got, m) {
		t.Fatalf("%+v, %v", got, err)
	}
	text := m.Text()
	for i := range text {
		b := []byte(text)
		b[i] ^= 1
		if other, err := chain.ParseMark(string(b)); err == nil && cmp.Equal(other, m) {
			t.Errorf("a changed character at %d reads as the same mark", i)
		}
	}
}

func FuzzParseMark(f *testing.F) {
	f.Add("zhizheng:frozen?case=1&root=00&key=00")
	f.Add(chain.Mark{CaseID: "a&b", Root: make([]byte, 32), Key: chain.Fingerprint("k")}.Text())
	f.Fuzz(func(t *testing.T, s string) {
		if m, err := chain.ParseMark(s); err == nil {
			if again, err := chain.ParseMark(m.Text()); err != nil || !cmp.Equal(again, m) {
				t.Fatalf("%q doesn't read back: %v", m.Text(), err)
			}
		}
	})
}
