package bundle_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"zhizheng/evidence/bundle"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/stamp"
	"zhizheng/evidence/stamp/stamptest"
	"zhizheng/ingest/manifest"
)

const forgedOrigin = "test.zhizheng.local/log"

// forgery is what a log that signs anything could put into a bundle. Its tree has eight leaves, the token's is number 5; the tree of
// three was stamped.
type forgery struct {
	subject chain.Subject
	body    string
	token   []byte
	genTime int64
	proof   []byte // the consistency member; nil for none
	more    []member
}

type forger struct {
	t      testing.TB
	tsa    *stamptest.Authority
	skey   string
	vkey   string
	hashes []tlog.Hash // of the tree
	leaves int64
}

func (f *forger) add(leaf []byte) {
	hs, err := tlog.StoredHashes(f.leaves, leaf, f.reader())
	must(f.t, err)
	f.hashes = append(f.hashes, hs...)
	f.leaves++
}

func (f *forger) reader() tlog.HashReaderFunc {
	return func(at []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(at))
		for i, n := range at {
			out[i] = f.hashes[n]
		}
		return out, nil
	}
}

func (f *forger) root(size int64) tlog.Hash {
	h, err := tlog.TreeHash(size, f.reader())
	must(f.t, err)
	return h
}

func (f *forger) body(size int64) string {
	return chain.Checkpoint{Origin: forgedOrigin, Size: size, Root: f.root(size)}.Text()
}

func (f *forger) stamped(body string) (token []byte, genTime int64) {
	digest := sha256.Sum256([]byte(body))
	request, err := stamp.Request(digest, nil)
	must(f.t, err)
	token, err = stamp.Token(f.tsa.Reply(f.t, request))
	must(f.t, err)
	info, err := stamp.Read(token)
	must(f.t, err)
	return token, info.GenTime.UnixMilli()
}

// forge builds the bundle. Only what concerns the timestamp is whole.
func forge(t testing.TB, tsa *stamptest.Authority, change func(*forger, *forgery)) (file []byte, vkey, where string) {
	f := &forger{t: t, tsa: tsa}
	var err error
	f.skey, f.vkey, err = note.GenerateKey(rand.Reader, forgedOrigin)
	must(t, err)
	leaf := func(kind chain.Kind, s chain.Subject, payload any) (d chain.Disclosure) {
		p, err := chain.EncodePayload(payload)
		must(t, err)
		d = chain.Disclosure{Salt: make([]byte, chain.SaltSize), Payload: p}
		d.Leaf, err = chain.Leaf{Version: chain.Version, Kind: kind, Subject: s.Opaque(), Counter: 1, TimeMS: time.Now().UnixMilli(), Commitment: chain.Commitment(d.Salt, p)}.Encode()
		must(t, err)
		return d
	}
	other := func() {
		f.add(leaf(chain.KindAudit, chain.Subject{Type: chain.SubjectPlatform, ID: "audit"}, chain.AuditPayload{Size: f.leaves}).Leaf)
	}
	for range 5 {
		other()
	}
	g := forgery{subject: chain.Subject{Type: chain.SubjectPlatform, ID: "timestamp"}, body: f.body(3)}
	g.token, g.genTime = f.stamped(g.body)
	change(f, &g)
	d := leaf(chain.KindTimestamp, g.subject, chain.TimestampPayload{Authority: "https://tsa.example/", Body: g.body, Token: g.token, GenTime: g.genTime})
	f.add(d.Leaf)
	other()
	other()
	if g.proof == nil {
		p, err := tlog.ProveTree(8, 3, f.reader())
		must(t, err)
		g.proof = bundle.Consistency(3, 8, p)
	}
	signer, err := note.NewSigner(f.skey)
	must(t, err)
	signed, err := note.Sign(&note.Note{Text: f.body(8)}, signer)
	must(t, err)
	inclusion, err := tlog.ProveRecord(8, 5, f.reader())
	must(t, err)
	receipt, err := chain.Receipt{Disclosure: d, Index: 5, Proof: inclusion, Checkpoint: signed}.Marshal()
	must(t, err)
	where = "proofs/000000000005.tlog-proof"
	all := []member{{bundle.ManifestName, nil}, {where, receipt}}
	if len(g.proof) > 0 {
		all = append(all, member{"timestamps/000000000005.consistency", g.proof})
	}
	all = append(append(all, g.more...), member{bundle.ExportName, nil})
	m := bundle.Manifest{Format: bundle.Format, CaseID: "c"}
	for _, x := range all[1 : len(all)-1] {
		sum := sha256.Sum256(x.Body)
		m.Members = append(m.Members, bundle.Member{Name: x.Name, Size: int64(len(x.Body)), SHA256: hex.EncodeToString(sum[:])})
	}
	all[0].Body, err = json.MarshalIndent(m, "", "  ")
	must(t, err)
	all[0].Body = append(all[0].Body, '\n')
	file, err = bundle.Zip(all)
	must(t, err)
	return file, f.vkey, where
}

func judge(t testing.TB, file []byte, vkey string, roots *x509.CertPool) bundle.Report {
	t.Helper()
	rep, err := bundle.Verify(bytes.NewReader(file), int64(len(file)), chain.LogPolicy(vkey), manifest.Open, bundle.TSARoots(roots))
	must(t, err)
	return rep
}

func TestForgedTimestamps(t *testing.T) {
	a, stranger := stamptest.New(t, stamptest.Options{}), stamptest.New(t, stamptest.Options{})
	for what, c := range map[string]struct {
		change       func(*forger, *forgery)
		want         string // "" if it holds
		withoutRoots bool   // found even by who trusts no authority
	}{
		"nothing": {func(*forger, *forgery) {}, "", false},
		"another history of that size": {func(f *forger, g *forgery) {
			g.body = chain.Checkpoint{Origin: forgedOrigin, Size: 3, Root: f.root(4)}.Text()
			g.token, g.genTime = f.stamped(g.body)
		}, "not the past", true},
		"a tree larger than the bundle's": {func(f *forger, g *forgery) {
			g.body = chain.Checkpoint{Origin: forgedOrigin, Size: 3000, Root: f.root(4)}.Text()
			g.token, g.genTime = f.stamped(g.body)
		}, "between other trees", true},
		"another log's checkpoint": {func(f *forger, g *forgery) {
			g.body = chain.Checkpoint{Origin: "elsewhere.example/log", Size: 3, Root: f.root(3)}.Text()
			g.token, g.genTime = f.stamped(g.body)
		}, "no checkpoint of this log", true},
		"no checkpoint": {func(f *forger, g *forgery) {
			g.body = "some text"
			g.token, g.genTime = f.stamped(g.body)
		}, "no checkpoint of this log", true},
		"no consistency proof": {func(_ *forger, g *forgery) { g.proof = []byte{} }, "no consistency proof", true},
		"a proof of other trees": {func(f *forger, g *forgery) {
			p, err := tlog.ProveTree(5, 3, f.reader())
			must(f.t, err)
			g.proof = bundle.Consistency(3, 5, p)
		}, "between other trees", true},
		"a wrong proof": {func(f *forger, g *forgery) {
			p, err := tlog.ProveTree(5, 3, f.reader())
			must(f.t, err)
			g.proof = bundle.Consistency(3, 8, p)
		}, "not the past", true},
		"a proof spelt otherwise": {func(f *forger, g *forgery) {
			p, err := tlog.ProveTree(5, 3, f.reader())
			must(f.t, err)
			g.proof = bytes.Replace(bundle.Consistency(3, 8, p), []byte("old 3"), []byte("old 03"), 1)
		}, "not the spelling", true},
		"a token over something else":   {func(f *forger, g *forgery) { g.token, g.genTime = f.stamped("else") }, "over something else", true},
		"another time than the token's": {func(_ *forger, g *forgery) { g.genTime -= 3_600_000 }, "another time", true},
		"no token":                      {func(_ *forger, g *forgery) { g.token = []byte("token") }, "not DER", true},
		"another authority's": {func(f *forger, g *forgery) {
			f.tsa = stranger
			g.token, g.genTime = f.stamped(g.body)
			f.tsa = a
		}, "given root", false},
		"a tampered signature": {func(_ *forger, g *forgery) { g.token[len(g.token)-1] ^= 1 }, "signature doesn't hold", false},
		"on another chain":     {func(_ *forger, g *forgery) { g.subject.ID = "audit" }, "holds no timestamp", true},
		"a proof of no token": {func(_ *forger, g *forgery) {
			g.more = []member{{"timestamps/000000000007.consistency", bundle.Consistency(1, 8, nil)}}
		}, "no timestamp that this belongs to", true},
	} {
		t.Run(what, func(t *testing.T) {
			file, vkey, where := forge(t, a, c.change)
			if c.want == "no timestamp that this belongs to" {
				where = "timestamps/000000000007.consistency"
			}
			about := func(rep bundle.Report) (said []string) {
				for _, f := range rep.Failures {
					if f.Where == where {
						said = append(said, f.En)
					}
				}
				return said
			}
			rep := judge(t, file, vkey, a.Roots)
			said := about(rep)
			if c.want == "" {
				if len(said) != 0 || len(rep.Timestamps) != 1 || rep.Timestamps[0].State != bundle.StampHolds || rep.Timestamps[0].Size != 3 {
					t.Fatalf("%v %+v", said, rep.Timestamps)
				}
				if _, ok := rep.StampedBy(2); !ok {
					t.Error("leaf 2 was there")
				}
				if _, ok := rep.StampedBy(3); ok {
					t.Error("leaf 3 came later")
				}
				return
			}
			if !slices.ContainsFunc(said, func(s string) bool { return strings.Contains(s, c.want) }) {
				t.Errorf("%q, want %q", said, c.want)
			}
			if _, ok := rep.StampedBy(0); ok && where == "proofs/000000000005.tlog-proof" {
				t.Error("it still vouches for leaf 0")
			}
			if said := about(judge(t, file, vkey, nil)); (len(said) > 0) != c.withoutRoots {
				t.Errorf("without roots: %q", said)
			}
		})
	}
}

// stampedExample is a bundle with tokens that was made once (by the tests of api, with -update) and must hold for ever.
func stampedExample(t testing.TB) (file []byte, vkey string, roots *x509.CertPool) {
	t.Helper()
	var b [3][]byte
	for i, name := range []string{"bundle.zip", "log.vkey", "tsa-roots.pem"} {
		var err error
		b[i], err = os.ReadFile(filepath.Join("testdata", "v1", "stamped", name))
		must(t, err)
	}
	roots, err := stamp.ParseRoots(b[2])
	must(t, err)
	return b[0], strings.TrimSpace(string(b[1])), roots
}

func TestStampedBundleOfVersion1Holds(t *testing.T) {
	file, vkey, roots := stampedExample(t)
	rep := judge(t, file, vkey, roots)
	if len(rep.Failures) != 0 || len(rep.Timestamps) == 0 {
		t.Fatalf("%+v", rep)
	}
	for _, r := range rep.Records {
		if _, ok := rep.StampedBy(r.ManifestLeaf); !ok {
			t.Errorf("%s is covered by no token", r.FileName)
		}
	}
	// A bit of whatever tells of time, in the file as it lies there: the receipts with their tokens, and the consistency proofs.
	for _, m := range members(t, file) {
		var p chain.Proven
		if strings.HasPrefix(m.Name, "proofs/") {
			key, err := chain.NewVerifier(vkey)
			must(t, err)
			p, err = chain.VerifyReceipt(m.Body, key)
			must(t, err)
		}
		if !strings.HasPrefix(m.Name, "timestamps/") && p.Leaf.Kind != chain.KindTimestamp {
			continue
		}
		at := bytes.Index(file, m.Body)
		for bit := 0; bit < len(m.Body)*8; bit += 61 {
			bad := bytes.Clone(file)
			bad[at+bit/8] ^= 1 << (bit % 8)
			if rep := judge(t, bad, vkey, roots); !names(rep, m.Name) {
				t.Fatalf("bit %d of %s goes unseen: %+v", bit, m.Name, rep.Failures)
			}
		}
	}
}

func FuzzConsistency(f *testing.F) {
	f.Add([]byte("zhizheng-consistency/v1\nold 3\nsize 8\n" + strings.Repeat("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 3)))
	f.Add(bundle.Consistency(0, 0, nil))
	f.Fuzz(func(t *testing.T, text []byte) {
		old, size, proof, err := bundle.ParseConsistency(text)
		if err == nil && !bytes.Equal(bundle.Consistency(old, size, proof), text) {
			t.Fatalf("%q has two spellings", text)
		}
	})
}
