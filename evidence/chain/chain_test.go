package chain_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"zhizheng/evidence/chain"
)

var update = flag.Bool("update", false, "write testdata anew; version 1 never changes once it is in use")

type vector struct {
	Subject    chain.Subject
	Opaque     string
	Kind       chain.Kind
	Counter    uint64
	Prev       string
	TimeMS     int64
	Salt       string
	Payload    string
	Commitment string
	Leaf       string
	LeafHash   string
	Root       string // of the tree up to here
}

// vectors builds the leaves of version 1 from fixed inputs.
func vectors(t *testing.T) ([]vector, []chain.Disclosure, chain.Edge) {
	t.Helper()
	var f forge
	for i := range 5 {
		s := chain.Subject{Type: chain.SubjectEvidence, ID: fmt.Sprintf("01JDEMO%019d", i%2)}
		digest := sha256.Sum256(fmt.Appendf(nil, "file %d", i))
		f.leaf(t, chain.KindSealed, s, chain.SealedPayload{
			EvidenceID: s.ID, SHA256: digest[:], Size: int64(i) * 1000, Parts: i, ObjectKey: "obj/" + s.ID, VersionID: "v", Check: "attested",
			RetainUntil: 1900000000000, ManifestKey: "manifest/x", Township: "510821100",
		})
	}
	return f.vectors, f.disclosures, f.edge
}

// forge makes leaves one after another, each with a salt and a time of its own.
type forge struct {
	vectors     []vector
	disclosures []chain.Disclosure
	edge        chain.Edge
	heads       map[chain.SubjectID]forgeHead
}

type forgeHead struct {
	n uint64
	h chain.Hash
}

func (f *forge) leaf(t *testing.T, kind chain.Kind, s chain.Subject, p any) {
	t.Helper()
	if f.heads == nil {
		f.heads = map[chain.SubjectID]forgeHead{}
	}
	i := len(f.vectors)
	salt := sha256.Sum256(fmt.Appendf(nil, "salt %d", i))
	payload, err := chain.EncodePayload(p)
	if err != nil {
		t.Fatal(err)
	}
	id := s.Opaque()
	head := f.heads[id]
	l := chain.Leaf{
		Version: 1, Kind: kind, Subject: id, Counter: head.n + 1, Prev: head.h, TimeMS: 1795000000000 + int64(i),
		Commitment: chain.Commitment(salt[:], payload),
	}
	b, err := l.Encode()
	if err != nil {
		t.Fatal(err)
	}
	h := chain.LeafHash(b)
	f.heads[id] = forgeHead{l.Counter, h}
	f.edge.Append(h)
	root := f.edge.Root()
	f.vectors = append(f.vectors, vector{
		s, hex.EncodeToString(id[:]), l.Kind, l.Counter, hex.EncodeToString(l.Prev[:]), l.TimeMS, hex.EncodeToString(salt[:]),
		hex.EncodeToString(payload), hex.EncodeToString(l.Commitment[:]), hex.EncodeToString(b), hex.EncodeToString(h[:]),
		hex.EncodeToString(root[:]),
	})
	f.disclosures = append(f.disclosures, chain.Disclosure{Leaf: b, Salt: salt[:], Payload: payload})
}

func signed(t testing.TB, origin string, edge chain.Edge) (note.Verifier, []byte) {
	t.Helper()
	s, v := testKey(t, origin)
	b, err := note.Sign(&note.Note{Text: chain.Checkpoint{Origin: origin, Size: edge.Size, Root: edge.Root()}.Text()}, s)
	if err != nil {
		t.Fatal(err)
	}
	return v, b
}

// testKey is derived from the origin, so that vectors come out the same each time.
func testKey(t testing.TB, origin string) (note.Signer, note.Verifier) {
	t.Helper()
	seed := sha256.Sum256([]byte("test key of " + origin))
	sk, vk, err := note.GenerateKey(bytes.NewReader(seed[:]), origin)
	if err != nil {
		t.Fatal(err)
	}
	s, err := note.NewSigner(sk)
	if err != nil {
		t.Fatal(err)
	}
	v, err := chain.NewVerifier(vk)
	if err != nil {
		t.Fatal(err)
	}
	return s, v
}

// hashesOf gives all leaf hashes as one partial tile: enough of a tree for proofs below 256 leaves.
func tilesOf(ds []chain.Disclosure) chain.Tiles {
	return func(level int, idx int64, width int) ([]byte, error) {
		var hs []chain.Hash
		for _, d := range ds[:width] {
			hs = append(hs, chain.LeafHash(d.Leaf))
		}
		return chain.Join(hs), nil
	}
}

func testReceipt(t testing.TB, ds []chain.Disclosure, edge chain.Edge, index int64) (note.Verifier, []byte) {
	t.Helper()
	v, cp := signed(t, "vectors.zhizheng.test/log", edge)
	proof, err := chain.ProveInclusion(index, edge.Size, edge.Root(), tilesOf(ds))
	if err != nil {
		t.Fatal(err)
	}
	text, err := chain.Receipt{Disclosure: ds[index], Index: index, Proof: proof, Checkpoint: cp}.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return v, text
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "v1", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), string(got)); d != "" {
		t.Errorf("%s differs from what version 1 is:\n%s", name, d)
	}
}

func TestVectorsOfVersion1(t *testing.T) {
	vs, ds, edge := vectors(t)
	b, err := json.MarshalIndent(vs, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "leaves.json", append(b, '\n'))
	v, text := testReceipt(t, ds, edge, 3)
	golden(t, "receipt.tlog-proof", text)
	p, err := chain.VerifyReceipt(text, v)
	if err != nil || p.Index != 3 || p.Leaf.Counter != 2 {
		t.Fatalf("%+v %v", p, err)
	}
	sum, size, err := p.File()
	want := sha256.Sum256([]byte("file 3"))
	if err != nil || size != 3000 || !bytes.Equal(sum, want[:]) {
		t.Fatalf("file %x %d %v", sum, size, err)
	}
	// The stock note library reads the checkpoint as well.
	_, cp, _ := strings.Cut(string(text), "\n\n")
	if _, err := note.Open([]byte(cp), note.VerifierList(v)); err != nil {
		t.Error(err)
	}
}

// Commands to devices and labels of clips, as they are in logs in use: their bytes never change, and what they say is read from the file.
func TestVectorsOfCommandsAndLabels(t *testing.T) {
	device, other := chain.Subject{Type: chain.SubjectDevice, ID: "BWC-0001"}, chain.Subject{Type: chain.SubjectDevice, ID: "BWC-0002"}
	clip := chain.Subject{Type: chain.SubjectEvidence, ID: "01JDEMO0000000000000000000"}
	digest := func(i int) []byte { h := sha256.Sum256(fmt.Appendf(nil, "command %d", i)); return h[:] }
	var commands, labels forge
	commands.leaf(t, chain.KindCommandGiven, device, chain.CommandPayload{ID: 1, Device: device.ID, Command: "lock", Digest: digest(1), Expires: 1795000600000, Reason: "设备遗失", Actor: "01JUSER0000000000000000000"})
	commands.leaf(t, chain.KindCommandGiven, other, chain.CommandPayload{ID: 2, Device: other.ID, Command: "locate", Digest: digest(2), Expires: 1795000600001, Actor: "01JUSER0000000000000000000"})
	commands.leaf(t, chain.KindCommandEnded, device, chain.CommandEndPayload{ID: 1, Device: device.ID, Outcome: "done"})
	commands.leaf(t, chain.KindCommandEnded, other, chain.CommandEndPayload{ID: 2, Device: other.ID, Outcome: "refused", Reason: "不支持"})
	labels.leaf(t, chain.KindLabelled, clip, chain.CustodyPayload{EvidenceID: clip.ID, Actor: "01JOFFICER000000000000000A", Session: "station/DS-1", Reason: "巡查"})
	labels.leaf(t, chain.KindLabelled, clip, chain.CustodyPayload{EvidenceID: clip.ID, Actor: "01JOFFICER000000000000000A", Session: "station/DS-1", Reason: "检查（执法活动 01JACTIVITY00000000000000A）"})
	for name, f := range map[string]*forge{"commands.json": &commands, "labels.json": &labels} {
		b, err := json.MarshalIndent(f.vectors, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, append(b, '\n'))
	}
	var kept []vector
	if err := json.Unmarshal(testdata(t, "commands.json"), &kept); err != nil {
		t.Fatal(err)
	}
	var said []string
	for _, v := range kept {
		payload, err := hex.DecodeString(v.Payload)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := hex.DecodeString(v.Leaf)
		if err != nil {
			t.Fatal(err)
		}
		salt, err := hex.DecodeString(v.Salt)
		if err != nil {
			t.Fatal(err)
		}
		l, err := chain.DecodeLeaf(leaf)
		if err != nil || l.Kind != v.Kind || l.Counter != v.Counter || l.Commitment != chain.Commitment(salt, payload) {
			t.Errorf("%+v, %v", l, err)
		}
		said = append(said, chain.Describe(v.Kind, payload, false))
	}
	want := []string{
		"向设备下达指令：第 1 号，设备 BWC-0001，锁定，SHA-256 b4793bf45977acb4ee0269521749b51bc48b5873dd41b585654849792ca3dcb4，有效至 2026-11-18 19:16:40，事由 设备遗失，经手 01JUSER0000000000000000000",
		"向设备下达指令：第 2 号，设备 BWC-0002，定位，SHA-256 a30075d3517647f54d9d88a42d04f905da2a47c9eb1ccc2e49fbfeaac5500b13，有效至 2026-11-18 19:16:40，经手 01JUSER0000000000000000000",
		"设备指令办结：第 1 号，设备 BWC-0001，已执行",
		"设备指令办结：第 2 号，设备 BWC-0002，设备拒绝，事由 不支持",
	}
	if d := cmp.Diff(want, said); d != "" {
		t.Error(d)
	}
}

// Any single flipped bit of a receipt is noticed.
func TestFlippedBitInReceipt(t *testing.T) {
	_, ds, edge := vectors(t)
	v, text := testReceipt(t, ds, edge, 2)
	for i := range text {
		for bit := range 8 {
			bad := bytes.Clone(text)
			bad[i] ^= 1 << bit
			if _, err := chain.VerifyReceipt(bad, v); err == nil {
				t.Fatalf("bit %d of byte %d (%q) flipped and accepted", bit, i, text[i])
			}
		}
	}
	for _, bad := range [][]byte{append(bytes.Clone(text), '\n'), text[:len(text)-1], append([]byte("\n"), text...), nil} {
		if _, err := chain.VerifyReceipt(bad, v); err == nil {
			t.Errorf("accepted with bytes added or missing")
		}
	}
	_, other := testKey(t, "vectors.zhizheng.test/other")
	if _, err := chain.VerifyReceipt(text, other); err == nil {
		t.Error("accepted under another log's key")
	}
}

// A signature line that nobody can judge is refused, a known witness's is accepted.
func TestCosignatures(t *testing.T) {
	_, _, edge := vectors(t)
	v, cp := signed(t, "vectors.zhizheng.test/log", edge)
	n, err := note.Open(cp, note.VerifierList(v))
	if err != nil {
		t.Fatal(err)
	}
	ws, wv := testKey(t, "witness.test")
	both, err := note.Sign(n, ws)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chain.OpenCheckpoint(both, v, wv); err != nil {
		t.Error(err)
	}
	if _, err := chain.OpenCheckpoint(both, v); err == nil {
		t.Error("a line of an unknown key was accepted")
	}
	if _, err := chain.OpenCheckpoint(both, wv, v); err == nil {
		t.Error("a checkpoint of another origin was accepted")
	}
	lines := strings.SplitAfter(string(cp), "\n")
	doubled := string(cp) + lines[len(lines)-2]
	if _, err := chain.OpenCheckpoint([]byte(doubled), v); err == nil {
		t.Error("a doubled line was accepted")
	}
}

func TestErasedPayloadStillProves(t *testing.T) {
	_, ds, edge := vectors(t)
	ds[1].Salt, ds[1].Payload = nil, nil
	v, text := testReceipt(t, ds, edge, 1)
	p, err := chain.VerifyReceipt(text, v)
	if err != nil || p.Payload != nil {
		t.Fatalf("%+v %v", p, err)
	}
	if _, _, err := p.File(); err == nil {
		t.Error("an erased leaf names a file")
	}
}

func TestLeafHasOneEncoding(t *testing.T) {
	vs, _, _ := vectors(t)
	b, _ := hex.DecodeString(vs[0].Leaf)
	l, err := chain.DecodeLeaf(b)
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string][]byte{
		"trailing byte": append(bytes.Clone(b), 0),
		"long integer":  append([]byte{0xa7, 0x01, 0x18, 0x01}, b[3:]...),
		"long map head": append([]byte{0xb8, 0x07}, b[1:]...),
		"indefinite":    append(append([]byte{0xbf}, b[1:]...), 0xff),
		"eighth field":  append(append([]byte{0xa8}, b[1:]...), 0x08, 0x00),
		"field missing": append([]byte{0xa6}, b[1:len(b)-35]...),
		"doubled field": append([]byte{0xa8, 0x01, 0x01}, b[1:]...),
		"empty":         nil,
	}
	for name, x := range bad {
		if _, err := chain.DecodeLeaf(x); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	for name, change := range map[string]func(*chain.Leaf){
		"version 2":         func(l *chain.Leaf) { l.Version = 2 },
		"no kind":           func(l *chain.Leaf) { l.Kind = 0 },
		"counter 0":         func(l *chain.Leaf) { l.Counter = 0 },
		"first with a prev": func(l *chain.Leaf) { l.Prev[0] = 1 },
		"later without":     func(l *chain.Leaf) { l.Counter = 2 },
		"no time":           func(l *chain.Leaf) { l.TimeMS = 0 },
	} {
		c := l
		change(&c)
		if _, err := c.Encode(); err == nil {
			t.Errorf("%s: encoded", name)
		}
	}
}

func TestPayloadsOfAllKinds(t *testing.T) {
	for _, k := range chain.Kinds() {
		if k.Zh == "" || k.En == "" || k.Kind.Sentence(false) != k.Zh || k.Kind.Sentence(true) != k.En {
			t.Errorf("kind %d has no sentences", k.Kind)
		}
		empty, err := chain.EncodePayload(map[int]int{})
		if err != nil {
			t.Fatal(err)
		}
		p, err := chain.DecodePayload(k.Kind, empty)
		if err != nil {
			t.Errorf("%s: %v", k.Name, err)
			continue
		}
		b, err := chain.EncodePayload(p)
		if err == nil {
			_, err = chain.DecodePayload(k.Kind, b)
		}
		if err != nil {
			t.Errorf("%s: %v", k.Name, err)
		}
	}
	newer, err := chain.EncodePayload(map[int]any{1: "ev", 2: "u", 99: "a field of a later version"})
	if err != nil {
		t.Fatal(err)
	}
	if p, err := chain.Payload[chain.CustodyPayload](newer); err != nil || p.Actor != "u" {
		t.Errorf("newer payload: %+v %v", p, err)
	}
	if _, err := chain.EncodePayload([]byte{0x18, 0x01}); err == nil {
		t.Error("bytes that are not deterministic were taken as a payload")
	}
}

func TestLeafRoundTrip(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		l := chain.Leaf{
			Version: 1, Kind: chain.Kind(rapid.Uint16Range(1, 65535).Draw(r, "kind")), Counter: rapid.Uint64Range(1, 1<<63).Draw(r, "counter"),
			TimeMS:  rapid.Int64Range(1, 1<<62).Draw(r, "time"),
			Subject: chain.SubjectID(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(r, "subject")),
		}
		if l.Counter > 1 {
			l.Prev = sha256.Sum256([]byte{byte(l.Counter)})
		}
		l.Commitment = sha256.Sum256(l.Prev[:])
		b, err := l.Encode()
		if err != nil {
			r.Fatal(err)
		}
		back, err := chain.DecodeLeaf(b)
		if err != nil || back != l {
			r.Fatalf("%+v came back as %+v, %v", l, back, err)
		}
	})
}
