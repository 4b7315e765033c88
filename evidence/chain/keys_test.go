package chain_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/chain"
)

type logKey struct {
	note.Signer
	vkey     string
	verifier note.Verifier
}

func newLogKey(t testing.TB, name string) logKey {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	v, err := chain.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return logKey{s, vkey, v}
}

func signedBy(t testing.TB, c chain.Checkpoint, keys ...logKey) []byte {
	t.Helper()
	var signers []note.Signer
	for _, k := range keys {
		signers = append(signers, k)
	}
	b, err := note.Sign(&note.Note{Text: c.Text()}, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// While a key is being replaced: who trusts one of the two accepts what both signed, and nobody accepts what neither did.
func TestKeysWhileOneReplacesTheOther(t *testing.T) {
	before, after, thief := newLogKey(t, "log.test"), newLogKey(t, "log.test"), newLogKey(t, "log.test")
	witness := newLogKey(t, "witness.test")
	c := chain.Checkpoint{Origin: "log.test", Size: 7, Root: chain.Hash{1}}
	both, err := chain.NewVerifier(before.vkey + "\n" + after.vkey + "\n")
	if err != nil {
		t.Fatal(err)
	}
	lenient := chain.KeysOf(before.verifier).Lenient()
	type keys = []logKey
	for _, x := range []struct {
		name   string
		log    note.Verifier
		signed keys
		ok     bool
	}{
		{"both trusted, both signed", both, keys{before, after}, true},
		{"both trusted, old signed", both, keys{before}, true},
		{"both trusted, new signed", both, keys{after}, true},
		{"both trusted, a third signed too", both, keys{before, after, thief}, false},
		{"both trusted, a third signed", both, keys{thief}, false},
		{"old trusted, both signed", before.verifier, keys{before, after}, false},
		{"old trusted and lenient, both signed", lenient, keys{before, after}, true},
		{"old trusted and lenient, both signed, new first", lenient, keys{after, before}, true},
		{"old trusted and lenient, new signed", lenient, keys{after}, false},
		{"old trusted and lenient, a stranger's line", lenient, keys{before, witness}, false},
	} {
		got, err := chain.OpenCheckpoint(signedBy(t, c, x.signed...), x.log)
		if (err == nil) != x.ok || x.ok && got != c {
			t.Errorf("%s: %v", x.name, err)
		}
	}
	// A witness beside keys.
	if _, err := chain.OpenCheckpoint(signedBy(t, c, before, after, witness), both, witness.verifier); err != nil {
		t.Error(err)
	}
}

// Whoever knows both keys finds any flipped bit of either line; so does who trusts the old one and is told the new one.
func TestFlippedBitInEitherSignature(t *testing.T) {
	before, after := newLogKey(t, "log.test"), newLogKey(t, "log.test")
	signed := signedBy(t, chain.Checkpoint{Origin: "log.test", Size: 7, Root: chain.Hash{1}}, before, after)
	both, err := chain.NewKeys(before.verifier, after.verifier)
	if err != nil {
		t.Fatal(err)
	}
	second := bytes.LastIndex(signed, []byte("— ")) // the line of the new key
	for i := range len(signed) * 8 {
		bad := bytes.Clone(signed)
		bad[i/8] ^= 1 << (i % 8)
		if _, err := chain.OpenCheckpoint(bad, both); err == nil {
			t.Fatalf("bit %d of byte %d was flipped and not found by who trusts both", i%8, i/8)
		}
		if _, err := chain.LogPolicy(before.vkey).Open(bad, after.verifier); err == nil {
			t.Fatalf("bit %d of byte %d was flipped and not found by who is told the new key", i%8, i/8)
		}
		// The lenient holder of the old key finds all but what the unknown line's bytes say.
		_, err := chain.OpenCheckpoint(bad, chain.KeysOf(before.verifier).Lenient())
		if inLine := i/8 >= second+len("— log.test "); err == nil && !inLine {
			t.Fatalf("lenient: bit %d of byte %d", i%8, i/8)
		}
	}
}

func TestLenientLinesHaveTheFormOfASignature(t *testing.T) {
	k := newLogKey(t, "log.test")
	signed := signedBy(t, chain.Checkpoint{Origin: "log.test", Size: 7}, k)
	lenient := chain.KeysOf(k.verifier).Lenient()
	for name, sig := range map[string][]byte{"short": make([]byte, 67), "long": make([]byte, 69), "other": make([]byte, 4)} {
		bad := append(bytes.Clone(signed), "— log.test "+base64.StdEncoding.EncodeToString(sig)+"\n"...)
		if _, err := chain.OpenCheckpoint(bad, lenient); err == nil {
			t.Errorf("%s line was passed over", name)
		}
	}
	good := append(bytes.Clone(signed), "— log.test "+base64.StdEncoding.EncodeToString(make([]byte, 68))+"\n"...)
	if _, err := chain.OpenCheckpoint(good, lenient); err != nil {
		t.Error(err)
	}
	twice := append(bytes.Clone(good), good[len(signed):]...)
	if _, err := chain.OpenCheckpoint(twice, lenient); err == nil {
		t.Error("the same line twice was passed over")
	}
}

func TestKeysThatAreNone(t *testing.T) {
	a, other := newLogKey(t, "log.test"), newLogKey(t, "other.test")
	for _, text := range []string{"", "\n\n", "nonsense", a.vkey + "\n" + a.vkey, a.vkey + "\n" + other.vkey, strings.Repeat("x", 100_000)} {
		if _, err := chain.ParseKeys(text); err == nil {
			t.Errorf("%.80q was read", text)
		}
	}
}

func FuzzKeys(f *testing.F) {
	a, b := newLogKey(f, "log.test"), newLogKey(f, "log.test")
	f.Add(a.vkey)
	f.Add(a.vkey + "\n" + b.vkey + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		k, err := chain.ParseKeys(text)
		if err != nil {
			return
		}
		for _, v := range k.Trusted() {
			if v.Name() != k.Name() || !strings.Contains(text, v.Name()) {
				t.Fatalf("%q gave a key of %q", text, v.Name())
			}
		}
	})
}
