package chain_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"zhizheng/evidence/chain"
)

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", "v1", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// FuzzReceipt: nothing makes the parser panic, what it reads has one spelling, and by the vectors' key holds the vectors' receipt alone.
func FuzzReceipt(f *testing.F) {
	text := testdata(f, "receipt.tlog-proof")
	f.Add(text)
	f.Add([]byte(chain.ReceiptHeader + "\nextra oA==\nindex 0\n\n"))
	f.Add(bytes.Replace(text, []byte("index 3"), []byte("index 03"), 1))
	f.Add(bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")))
	f.Add(append(bytes.Clone(text), "— x AAAAAA==\n"...))
	f.Add([]byte(chain.ReceiptHeader + "\nextra " + strings.Repeat("gYGB", 1000) + "\nindex 9223372036854775807\n\n"))
	_, key := testKey(f, "vectors.zhizheng.test/log")
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := chain.ParseReceipt(b)
		if err != nil {
			return
		}
		again, err := r.Marshal()
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("two spellings of one receipt: %v", err)
		}
		if _, err := chain.VerifyReceipt(b, key); err == nil && !bytes.Equal(b, text) {
			// The vectors' own tree has other leaves, which could be proven; a mutation doesn't sign.
			t.Fatal("another receipt holds")
		}
	})
}

// FuzzLeaf: what decodes has one encoding.
func FuzzLeaf(f *testing.F) {
	var vs []vector
	if err := json.Unmarshal(testdata(f, "leaves.json"), &vs); err != nil {
		f.Fatal(err)
	}
	for _, v := range vs {
		for _, s := range []string{v.Leaf, v.Payload} {
			b, err := hex.DecodeString(s)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Add(bytes.Repeat([]byte{0x81}, chain.MaxLeaf+1))
	f.Add([]byte{0xbf, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := chain.DecodeLeaf(b); err == nil {
			again, err := l.Encode()
			if err != nil || !bytes.Equal(again, b) {
				t.Fatalf("two encodings of one leaf: %x", b)
			}
		}
		for _, k := range chain.Kinds() {
			if _, err := chain.DecodePayload(k.Kind, b); err == nil {
				if _, err := chain.EncodePayload(b); err != nil {
					t.Fatalf("read as %s, and not written again: %v", k.Name, err)
				}
			}
		}
	})
}

// FuzzCheckpoint: one spelling, and no signature but the key's.
func FuzzCheckpoint(f *testing.F) {
	_, note, _ := strings.Cut(string(testdata(f, "receipt.tlog-proof")), "\n\n")
	f.Add([]byte(note))
	f.Add([]byte("origin\n1\nAAAA\n\n— origin AAAA\n"))
	f.Add([]byte("origin\n-1\n\n\n"))
	f.Add([]byte(strings.Replace(note, "\n5\n", "\n05\n", 1)))
	_, key := testKey(f, "vectors.zhizheng.test/log")
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := chain.ParseCheckpoint(string(b)); err == nil && c.Text() != string(b) {
			t.Fatal("two spellings of one checkpoint")
		}
		if _, err := chain.OpenCheckpoint(b, key); err == nil && string(b) != note {
			t.Fatal("another checkpoint holds")
		}
	})
}

// FuzzTiles: paths and bundles of the public log read back as they were written.
func FuzzTiles(f *testing.F) {
	f.Add("tile/0/x001/234.p/17", []byte{0, 1, 'a', 0, 0})
	f.Add("tile/entries/000", []byte{0xff, 0xff, 'a'})
	f.Add("tile/63/x999/x999/x999/x999/x999/x999/999", []byte{})
	f.Fuzz(func(t *testing.T, path string, b []byte) {
		if level, idx, width, err := chain.ParseTilePath(path); err == nil {
			again := chain.TilePath(level, idx, width)
			if level == chain.EntriesLevel {
				again = chain.EntriesPath(idx, width)
			}
			if again != path || idx < 0 || width < 1 || width > chain.TileWidth {
				t.Fatalf("%q is read as level %d, index %d, width %d", path, level, idx, width)
			}
		}
		if leaves, err := chain.SplitBundle(b); err == nil {
			var again []byte
			for _, l := range leaves {
				again = chain.AppendBundle(again, l)
			}
			if !bytes.Equal(again, b) {
				t.Fatal("a bundle is read otherwise than it is written")
			}
		}
	})
}
