package chain

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// FuzzLeafReader: reading by position and the general decoder take the same bytes for the same leaf.
func FuzzLeafReader(f *testing.F) {
	for _, l := range []Leaf{
		{Version: 1, Kind: 1, Counter: 1, TimeMS: 1},
		{Version: 1, Kind: 13, Counter: 24, Prev: [32]byte{1}, TimeMS: 1_700_000_000_000, Commitment: [32]byte{2}},
		{Version: 1, Kind: 65535, Counter: 1<<64 - 1, Prev: [32]byte{1}, TimeMS: 1<<63 - 1},
	} {
		b, err := l.Encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(bytes.Clone(b), 0))
		f.Add(bytes.Replace(b, []byte{1, 1}, []byte{1, 24, 1}, 1)) // the version in two bytes
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fast, ok := readLeaf(b)
		slow, err := decodeLeaf(b)
		if ok != (err == nil) || fast != slow && err == nil {
			t.Fatalf("by position %v %+v, by the decoder %v %+v", ok, fast, err, slow)
		}
	})
}

func TestLeafIsWrittenAsTheEncoderWritesIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := Leaf{Version: Version, Kind: Kind(rapid.Uint16Min(1).Draw(t, "kind")), Counter: rapid.Uint64Min(1).Draw(t, "counter"),
			TimeMS: rapid.Int64Min(1).Draw(t, "time")}
		copy(l.Subject[:], rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "subject"))
		copy(l.Commitment[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "commitment"))
		if l.Counter > 1 {
			l.Prev[rapid.IntRange(0, 31).Draw(t, "at")] = 7
		}
		got, err := l.Encode()
		if err != nil {
			t.Fatal(err)
		}
		want, err := enc.Marshal(l)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%x, the encoder says %x, %v", got, want, err)
		}
		if back, ok := readLeaf(got); !ok || back != l {
			t.Fatalf("%+v came back as %+v", l, back)
		}
	})
}
