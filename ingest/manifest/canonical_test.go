package manifest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"math"
	"math/big"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
	"pgregory.net/rapid"
)

func bytesOf(n int) *rapid.Generator[[]byte] { return rapid.SliceOfN(rapid.Byte(), n, n) }

// drawn is any manifest that says something sensible: names and serials of whatever bytes, clocks gone wrong, files of any size.
func drawn(rt *rapid.T) Manifest {
	size := rapid.OneOf(rapid.Just(int64(0)), rapid.Int64Range(1, 100<<20), rapid.Int64Range(0, MaxSize)).Draw(rt, "size")
	m := Manifest{
		KeyID: bytesOf(32).Draw(rt, "key"), Epoch: rapid.Uint64Range(0, math.MaxInt64).Draw(rt, "epoch"),
		Counter:  rapid.Uint64Range(1, math.MaxInt64).Draw(rt, "counter"),
		Recorder: rapid.StringN(0, 20, maxSerial).Filter(func(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) }).Draw(rt, "recorder"),
		FileName: rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(rt, "name"),
		Size:     size, PartSize: PartSize(size), ModifiedAt: rapid.Int64().Draw(rt, "mtime"), SHA256: bytesOf(32).Draw(rt, "sha256"),
		Composite: bytesOf(32).Draw(rt, "composite"), At: rapid.Int64().Draw(rt, "at"), Monotonic: rapid.Int64().Draw(rt, "monotonic"),
	}
	if rapid.Bool().Draw(rt, "has prev") {
		m.Prev = bytesOf(32).Draw(rt, "prev")
	}
	if rapid.Bool().Draw(rt, "has checkpoint") {
		m.Checkpoint = bytesOf(32).Draw(rt, "checkpoint")
	}
	return m
}

func TestAnyManifestReadsBack(t *testing.T) {
	key, _ := testKey(t)
	pub := key.Public().(ed25519.PublicKey)
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		t.Fatal(err)
	}
	other, err := x509.MarshalPKIXPublicKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, 32)).Public())
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		m := drawn(rt)
		raw, hash, err := Sign(m, key)
		if err != nil {
			rt.Fatal(err)
		}
		s, err := Parse(raw)
		if err != nil {
			rt.Fatal(err)
		}
		again, hash2, err := Sign(s.Manifest, key)
		if err != nil || !bytes.Equal(again, raw) || hash2 != hash || s.Hash != hash {
			rt.Fatalf("the same manifest has other bytes: %v", err)
		}
		if !bytes.Equal(s.FileName, m.FileName) || s.Recorder != m.Recorder || s.At != m.At || s.ModifiedAt != m.ModifiedAt || s.Size != m.Size || s.Counter != m.Counter {
			rt.Fatalf("%+v became %+v", m, s.Manifest)
		}
		if sum, size, err := Open(raw, spki); err != nil || !bytes.Equal(sum, m.SHA256) || size != m.Size {
			rt.Fatalf("opened: %x, %d, %v", sum, size, err)
		}
		if _, _, err := Open(raw, other); err == nil {
			rt.Fatal("it opens with another key")
		}
		bad := bytes.Clone(raw)
		bit := rapid.IntRange(0, len(bad)*8-1).Draw(rt, "bit")
		bad[bit/8] ^= 1 << (bit % 8)
		if _, _, err := Open(bad, spki); err == nil {
			rt.Fatalf("bit %d flipped, and it opens", bit)
		}
	})
}

// signedBody signs bytes that Sign would not write.
func signedBody(t testing.TB, key ed25519.PrivateKey, body []byte) []byte {
	t.Helper()
	raw, err := encode.Marshal(signed{Manifest: body, Signature: ed25519.Sign(key, append([]byte(context), body...))})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Other spellings of one manifest, each signed properly: were one accepted, the chain could hold two hashes of one statement.
func TestOnlyOneSpelling(t *testing.T) {
	key, id := testKey(t)
	raw, _, err := Sign(example(id), key)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	body := s.body
	if _, err := Parse(signedBody(t, key, body)); err != nil {
		t.Fatalf("the one spelling: %v", err)
	}
	var fields map[uint64]cbor.RawMessage
	if err := cbor.Unmarshal(body, &fields); err != nil {
		t.Fatal(err)
	}
	// written gives the map with its keys in this order.
	written := func(keys []uint64, f map[uint64]cbor.RawMessage) []byte {
		b := []byte{0xa0 | byte(len(keys))}
		for _, k := range keys {
			b = append(append(b, byte(k)), f[k]...)
		}
		return b
	}
	var keys []uint64
	for k := range uint64(24) {
		if _, ok := fields[k]; ok {
			keys = append(keys, k)
		}
	}
	if !bytes.Equal(written(keys, fields), body) {
		t.Fatal("the example isn't written as this test writes it")
	}
	with := func(k uint64, v ...byte) []byte {
		f := map[uint64]cbor.RawMessage{}
		for i, x := range fields {
			f[i] = x
		}
		f[k] = v
		all := keys
		if !slices.Contains(all, k) {
			all = append(slices.Clone(keys), k)
		}
		return written(all, f)
	}
	swapped := slices.Clone(keys)
	swapped[0], swapped[1] = swapped[1], swapped[0]
	for what, other := range map[string][]byte{
		"keys in another order":            written(swapped, fields),
		"a key twice":                      written(append(slices.Clone(keys), 1), fields),
		"a field it doesn't know":          with(20, 0x01),
		"a number longer than needed":      with(1, 0x18, 0x01),
		"a number with a fraction":         with(4, 0xf9, 0x3c, 0x00),
		"a big number":                     with(8, 0xc2, 0x41, 0x03),
		"a tag":                            with(8, append([]byte{0xc1}, fields[8]...)...),
		"an empty previous hash":           with(5, 0x40),
		"an empty checkpoint":              with(15, 0x40),
		"no checkpoint, spelt out":         with(15, 0xf6),
		"a serial of bytes":                with(6, 0x46, 'D', 'S', 'J', '-', '0', '1'),
		"a serial in pieces":               with(6, 0x7f, 0x63, 'D', 'S', 'J', 0x63, '-', '0', '1', 0xff),
		"a name as text":                   with(7, 0x61, 'a'),
		"a name as a list of numbers":      with(7, 0x81, 0x18, 'a'),
		"an endless map":                   append(append([]byte{0xbf}, body[1:]...), 0xff),
		"a field missing":                  written(keys[:len(keys)-1], fields),
		"something behind it":              append(bytes.Clone(body), 0xf6),
		"a serial that is no text":         with(6, 0x62, 0xff, 0xfe),
		"undefined instead of no previous": with(5, 0xf7),
		"nothing":                          {},
		"a list":                           {0x80},
	} {
		if got, err := Parse(signedBody(t, key, other)); err == nil {
			t.Errorf("%s: taken as %+v", what, got.Manifest)
		}
	}
	for what, outer := range map[string][]byte{
		"something behind":         append(bytes.Clone(raw), 0),
		"three elements":           append(append([]byte{0x83}, raw[1:]...), 0x40),
		"an endless list":          append(append([]byte{0x9f}, raw[1:]...), 0xff),
		"a tag before it":          append([]byte{0xd9, 0xd9, 0xf7}, raw...),
		"more than it may have":    append(bytes.Clone(raw), make([]byte, MaxEncoded)...),
		"boxes in boxes":           bytes.Repeat([]byte{0x81}, 10_000),
		"a length beyond the end":  {0x82, 0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"a list of 2^60 elements":  {0x9b, 0x10, 0, 0, 0, 0, 0, 0, 0},
		"only half of its bytes":   raw[:len(raw)/2],
		"signature as text":        slices.Concat(raw[:len(raw)-66], []byte{0x78, 64}, raw[len(raw)-64:]),
		"signature with its owner": slices.Concat(raw[:len(raw)-66], []byte{0x58, 65}, raw[len(raw)-64:], []byte{0}),
	} {
		if s, err := Parse(outer); err == nil && s.Verify(key.Public().(ed25519.PublicKey)) {
			t.Errorf("%s: taken", what)
		}
	}
}

// Signatures that are the key's, but not over this manifest as a manifest.
func TestSignaturesOfSomethingElse(t *testing.T) {
	key, id := testKey(t)
	pub := key.Public().(ed25519.PublicKey)
	raw, _, err := Sign(example(id), key)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	// S + L verifies too where the range of S isn't checked (RFC 8032 §5.1.7): a second signature of one statement.
	l, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	half := slices.Clone(s.sig[32:])
	slices.Reverse(half)
	sum := new(big.Int).Add(new(big.Int).SetBytes(half), l).FillBytes(make([]byte, 32))
	slices.Reverse(sum)
	for what, sig := range map[string][]byte{
		"without its context": ed25519.Sign(key, s.body),
		"of another format":   ed25519.Sign(key, append([]byte("zhizheng/manifest/v2\x00"), s.body...)),
		"S and L":             slices.Concat(s.sig[:32], sum),
		"short":               s.sig[:63],
		"none":                nil,
	} {
		b, err := encode.Marshal(signed{Manifest: s.body, Signature: sig})
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Parse(b); err == nil && got.Verify(pub) {
			t.Errorf("%s: it counts", what)
		}
	}
	if s.Verify(nil) || s.Verify(pub[:31]) {
		t.Error("it verifies with half a key")
	}
	if _, _, err := Open(raw, []byte("no key")); err == nil {
		t.Error("it opens with no key")
	}
}
