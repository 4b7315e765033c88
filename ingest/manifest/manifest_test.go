package manifest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"
)

// testKey is a fixed key, so that signed manifests are the same bytes each time: Ed25519 is deterministic.
func testKey(t testing.TB) (ed25519.PrivateKey, []byte) {
	t.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	id, err := KeyID(key.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	return key, id
}

func example(keyID []byte) Manifest {
	h := NewHasher(3)
	_, _ = h.Write([]byte("abc"))
	whole, composite, _ := h.Sum()
	return Manifest{KeyID: keyID, Epoch: 1772000000000, Counter: 1, Recorder: "DSJ-01", FileName: []byte("DCIM/片段.mp4"), Size: 3,
		ModifiedAt: 1772000000123, SHA256: whole[:], PartSize: PartSize(3), Composite: composite[:], At: 1772000001000, Monotonic: 5000}
}

func TestSignedManifestReadsBack(t *testing.T) {
	key, id := testKey(t)
	m := example(id)
	raw, hash, err := Sign(m, key)
	if err != nil {
		t.Fatal(err)
	}
	// The bytes are a format: a change here breaks every station that is out there.
	if got := hex.EncodeToString(hash[:]); got != wantHash {
		t.Errorf("hash of the example: %s, it was %s", got, wantHash)
	}
	s, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	m.Version = Version
	m.Prev = nil
	s.Manifest.Prev = nil
	if !reflect.DeepEqual(s.Manifest, m) || s.Hash != hash || !s.Verify(key.Public().(ed25519.PublicKey)) {
		t.Fatalf("read back: %+v", s.Manifest)
	}
}

const wantHash = "97dc0438adcc8c0e0a4ef9739aca79812dc02b712dfbd93ff0198a11da5e90cc"

func TestAnyFlippedBitIsFound(t *testing.T) {
	key, id := testKey(t)
	raw, _, err := Sign(example(id), key)
	if err != nil {
		t.Fatal(err)
	}
	pub := key.Public().(ed25519.PublicKey)
	for i := range raw {
		for bit := range 8 {
			bad := bytes.Clone(raw)
			bad[i] ^= 1 << bit
			if s, err := Parse(bad); err == nil && s.Verify(pub) {
				t.Fatalf("bit %d of byte %d flipped, and it still verifies", bit, i)
			}
		}
	}
}

func TestManifestsThatSayNonsense(t *testing.T) {
	key, id := testKey(t)
	for what, spoil := range map[string]func(*Manifest){
		"counter 0":           func(m *Manifest) { m.Counter = 0 },
		"counter of 64 bits":  func(m *Manifest) { m.Counter = 1 << 63 },
		"epoch of 64 bits":    func(m *Manifest) { m.Epoch = 1 << 63 },
		"no name":             func(m *Manifest) { m.FileName = nil },
		"endless name":        func(m *Manifest) { m.FileName = make([]byte, MaxFileName+1) },
		"negative size":       func(m *Manifest) { m.Size = -1 },
		"other part size":     func(m *Manifest) { m.PartSize++ },
		"short digest":        func(m *Manifest) { m.SHA256 = m.SHA256[:31] },
		"serial with a NUL":   func(m *Manifest) { m.Recorder = "a\x00b" },
		"serial that's long":  func(m *Manifest) { m.Recorder = strings.Repeat("x", 81) },
		"half a checkpoint":   func(m *Manifest) { m.Checkpoint = make([]byte, 16) },
		"half a previous one": func(m *Manifest) { m.Prev = make([]byte, 31) },
	} {
		m := example(id)
		spoil(&m)
		if _, _, err := Sign(m, key); err == nil {
			t.Errorf("%s: signed", what)
		}
	}
}

func TestPartsOfFiles(t *testing.T) {
	const gib = 1 << 30
	for _, size := range []int64{0, 1, 5<<20 - 1, 5 << 20, 5<<20 + 1, 48 * gib, 49 * gib, 200 * gib, MaxSize} {
		p := PartSize(size)
		if n := Parts(size, p); n > MaxParts || (size <= 48*gib && p != 5<<20) {
			t.Errorf("%d bytes: %d parts of %d", size, n, p)
		}
	}
}

func TestHasherCutsAsTheStoreDoes(t *testing.T) {
	for _, size := range []int{0, 1, 5<<20 - 1, 5 << 20, 5<<20 + 1, 11<<20 + 3} {
		b := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
		h := NewHasher(int64(size))
		for rest := b; len(rest) > 0; { // uneven pieces
			n := min(len(rest), 700_001)
			_, _ = h.Write(rest[:n])
			rest = rest[n:]
		}
		whole, composite, parts := h.Sum()
		var want [][]byte
		for off := 0; off < size; off += 5 << 20 {
			d := sha256.Sum256(b[off:min(off+5<<20, size)])
			want = append(want, d[:])
		}
		if whole != sha256.Sum256(b) || composite != Composite(want) || len(parts) != len(want) || h.Size != int64(size) {
			t.Errorf("%d bytes: %d parts, want %d", size, len(parts), len(want))
		}
		for i := range want {
			if !bytes.Equal(parts[i], want[i]) {
				t.Errorf("%d bytes: part %d", size, i+1)
			}
		}
	}
}

// FuzzParse: nothing makes the parser panic, and what it takes is the one encoding of what it says.
func FuzzParse(f *testing.F) {
	key, id := testKey(f)
	raw, _, err := Sign(example(id), key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte{0x82, 0x41, 0xa0, 0x40})
	f.Add(bytes.Repeat([]byte{0x81}, 1000))
	f.Add([]byte{0x9f, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b)
		if err != nil {
			return
		}
		again, hash, err := Sign(s.Manifest, key)
		if err != nil {
			t.Fatalf("parsed, but can't be written: %v", err)
		}
		p, err := Parse(again)
		if err != nil || hash != s.Hash || p.Hash != s.Hash {
			t.Fatalf("the same manifest has other bytes: %v", err)
		}
	})
}
