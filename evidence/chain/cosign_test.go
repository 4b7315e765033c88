package chain_test

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	fmtnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/formats/proof"
	fmtwitness "github.com/transparency-dev/formats/witness"
	"golang.org/x/mod/sumdb/note"
	"pgregory.net/rapid"

	"zhizheng/evidence/chain"
)

func cosigner(t testing.TB, name string) (*chain.Cosigner, string) {
	t.Helper()
	skey, err := chain.GenerateCosigner(rand.Reader, name)
	if err != nil {
		t.Fatal(err)
	}
	c, err := chain.NewCosigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	return c, skey
}

// Another implementation signs what ours verifies, and verifies what ours signs; a changed bit holds with neither.
func TestCosignaturesAgreeWithFormats(t *testing.T) {
	vkey := vkeyOf(t, "oracle.zhizheng.test/log")
	log, _ := testKey(t, "oracle.zhizheng.test/log")
	w, skey := cosigner(t, "witness.zhizheng.test")
	theirs, err := fmtnote.NewSignerForCosignatureV1(skey)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := fmtnote.NewVerifierForCosignatureV1(w.VKey())
	if err != nil {
		t.Fatal(err)
	}
	ours, err := chain.NewWitnessVerifier(w.VKey())
	if err != nil {
		t.Fatal(err)
	}
	policy, err := chain.ParsePolicy("log " + vkey + "\nwitness w " + w.VKey() + "\nquorum w\n")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		c := chain.Checkpoint{Origin: log.Name(), Size: rapid.Int64Range(0, 1<<62).Draw(rt, "size")}
		copy(c.Root[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(rt, "root"))
		at := time.Unix(rapid.Int64Range(0, 1<<40).Draw(rt, "at"), 0).UTC()
		byTheirs, err := note.Sign(&note.Note{Text: c.Text()}, log, theirs)
		if err != nil {
			rt.Fatal(err)
		}
		if o, err := policy.Open(byTheirs); err != nil || !o.Quorum || o.Checkpoint != c || o.Cosigned[0].Witness != "w" {
			rt.Fatalf("%+v %v", o, err)
		}
		alone, err := note.Sign(&note.Note{Text: c.Text()}, log)
		if err != nil {
			rt.Fatal(err)
		}
		byOurs := append(bytes.Clone(alone), w.Cosign(c.Text(), at)...)
		n, err := note.Open(byOurs, note.VerifierList(verifier))
		if err != nil || len(n.Sigs) != 1 {
			rt.Fatalf("formats refuses it: %v", err)
		}
		if got, err := fmtnote.CoSigV1Timestamp(n.Sigs[0]); err != nil || !got.Equal(at) {
			rt.Fatalf("at %s, they read %s: %v", at, got, err)
		}
		o, err := policy.Open(byOurs)
		if err != nil || !o.Quorum || !o.Cosigned[0].At.Equal(at) {
			rt.Fatalf("%+v %v", o, err)
		}
		if o, err := policy.Open(alone); err != nil || o.Quorum || len(o.Cosigned) != 0 {
			rt.Fatalf("unwitnessed: %+v %v", o, err)
		}
		bit := rapid.IntRange(0, len(byOurs)*8-1).Draw(rt, "bit")
		bad := bytes.Clone(byOurs)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := policy.Open(bad); err == nil {
			rt.Fatalf("bit %d isn't missed", bit)
		}
		if _, lines, err := chain.SplitNote(byOurs); err != nil || !ours.Verify([]byte(c.Text()), lines[1].Sig) || verifier.Verify([]byte("x"), lines[1].Sig) {
			rt.Fatal("line doesn't hold")
		}
	})
}

// Quorums of random nested policies come out as with formats; what is printed reads back as the same.
func TestPoliciesAgreeWithFormats(t *testing.T) {
	log, _ := testKey(t, "oracle.zhizheng.test/log")
	var all []*chain.Cosigner
	for i := range 6 {
		w, _ := cosigner(t, fmt.Sprintf("w%d.zhizheng.test", i))
		all = append(all, w)
	}
	rapid.Check(t, func(rt *rapid.T) {
		var b strings.Builder
		fmt.Fprintf(&b, "# a comment\n\tlog  %s https://log.example/ \n\n", vkeyOf(t, log.Name()))
		n := rapid.IntRange(1, len(all)).Draw(rt, "witnesses")
		var free []string
		for i, w := range all[:n] {
			fmt.Fprintf(&b, "witness W%d %s https://w%d.example\n", i, w.VKey(), i)
			free = append(free, fmt.Sprint("W", i))
		}
		for g := 0; len(free) > 1 && g < 4 && rapid.Bool().Draw(rt, "another group"); g++ {
			k := rapid.IntRange(1, len(free)).Draw(rt, "members")
			need := rapid.SampledFrom([]string{"any", "all", fmt.Sprint(rapid.IntRange(1, k).Draw(rt, "need"))}).Draw(rt, "threshold")
			fmt.Fprintf(&b, "group G%d %s %s\n", g, need, strings.Join(free[:k], " "))
			free = append(slices.Clone(free[k:]), fmt.Sprint("G", g))
		}
		rule := rapid.SampledFrom(append(free, chain.NoQuorum)).Draw(rt, "quorum")
		fmt.Fprintf(&b, "quorum %s\n", rule)
		ours, err := chain.ParsePolicy(b.String())
		if err != nil {
			rt.Fatalf("%v in\n%s", err, b.String())
		}
		theirs, err := fmtwitness.ParsePolicy([]byte(b.String()))
		if err != nil {
			rt.Fatal(err)
		}
		again, err := chain.ParsePolicy(ours.Text())
		if err != nil || again.Text() != ours.Text() {
			rt.Fatalf("printed and read: %v\n%s", err, ours.Text())
		}
		c := chain.Checkpoint{Origin: log.Name(), Size: 7}
		signed, err := note.Sign(&note.Note{Text: c.Text()}, log)
		if err != nil {
			rt.Fatal(err)
		}
		signers := 0
		for _, w := range all[:n] {
			if rapid.Bool().Draw(rt, "signs") {
				signed = append(signed, w.Cosign(c.Text(), time.Unix(1e9, 0))...)
				signers++
			}
		}
		o, err := again.Open(signed)
		if err != nil || o.Quorum != theirs.Satisfied(signed) || len(o.Signers()) != signers {
			rt.Fatalf("%+v %v, formats: %v\n%s", o, err, theirs.Satisfied(signed), ours.Text())
		}
		need, of := ours.Threshold()
		if of != len(ours.Counting()) || need > of || (need == 0) != (rule == chain.NoQuorum) || !again.Quorum(ours.Counting()) {
			rt.Fatalf("%d of %d, counting %v\n%s", need, of, ours.Counting(), ours.Text())
		}
		if len(ours.Counting()) >= need && need > 0 && ours.Quorum(ours.Counting()[:need-1]) {
			rt.Fatal("fewer than the threshold are enough")
		}
	})
}

// vkeyOf is the key of testKey as a line.
func vkeyOf(t testing.TB, origin string) string {
	t.Helper()
	seed := sha256.Sum256([]byte("test key of " + origin))
	_, vkey, err := note.GenerateKey(bytes.NewReader(seed[:]), origin)
	if err != nil {
		t.Fatal(err)
	}
	return vkey
}

func TestPoliciesThatAreNone(t *testing.T) {
	log := vkeyOf(t, "oracle.zhizheng.test/log")
	w, _ := cosigner(t, "w.zhizheng.test")
	other, _ := cosigner(t, "other.zhizheng.test")
	for _, text := range []string{
		"", "quorum", "quorum x\n", "quorum none\nquorum none\n", "log " + w.VKey() + "\nquorum none\n", "witness w " + log + "\nquorum w\n",
		"witness none " + w.VKey() + "\nquorum none\n", "witness w " + w.VKey() + "\nwitness v " + w.VKey() + "\nquorum w\n",
		"log " + log + "\nlog " + log + "\nquorum none\n", "quorum w\nwitness w " + w.VKey() + "\n", "witness w " + w.VKey() + "\r\nquorum w\r\n",
		"witness w " + w.VKey() + "\ngroup g 2 w\nquorum g\n", "witness w " + w.VKey() + "\ngroup g 0 w\nquorum g\n", "witness w " + w.VKey() + "\ngroup g 01 w\nquorum g\n",
		"witness w " + w.VKey() + "\ngroup g 2 w w\nquorum g\n", "witness w " + w.VKey() + "\ngroup g any\nquorum g\n", "group g any none\nquorum g\n",
		"witness w " + w.VKey() + "\ngroup g any w\ngroup h any w\nquorum h\n", "group g any g\nquorum g\n", "witness w " + w.VKey() + " u more\nquorum w\n",
		"witness w " + strings.Replace(w.VKey(), "w.z", "v.z", 1) + "\nquorum w\n", "witness w " + w.VKey() + "\nwitness w " + other.VKey() + "\nquorum w\n",
		"wittness w " + w.VKey() + "\nquorum none\n", "quorum none\x00\n",
	} {
		if p, err := chain.ParsePolicy(text); err == nil {
			t.Errorf("%q is read as %+v", text, p)
		}
	}
	for _, text := range []string{"", "quorum none\n", w.VKey(), "log\n", log + "x"} {
		if _, err := chain.ParseTrust(text); err == nil {
			t.Errorf("%q is trusted", text)
		}
	}
	if p, err := chain.ParseTrust(log + "\n"); err != nil || !p.Quorum(nil) || len(p.Logs) != 1 {
		t.Errorf("a key alone: %+v %v", p, err)
	}
	if (chain.Policy{}).Quorum([]string{"w"}) {
		t.Error("the zero policy is met")
	}
}

// witnessedReceipt is a receipt of the vectors' tree with three cosignatures.
func witnessedReceipt(t testing.TB, ds []chain.Disclosure, edge chain.Edge) (log note.Verifier, text []byte, policy chain.Policy, all []*chain.Cosigner) {
	t.Helper()
	log, cp := signed(t, "vectors.zhizheng.test/log", edge)
	body, _, err := chain.SplitNote(cp)
	if err != nil {
		t.Fatal(err)
	}
	policy = chain.LogPolicy(vkeyOf(t, log.Name()))
	var vkeys []string
	var lines []chain.SignatureLine
	g := chain.PolicyGroup{Name: "g", Need: 2}
	for _, name := range []string{"witness.court.example", "witness.justice.example", "witness.procuratorate.example"} {
		w, _ := cosigner(t, name)
		all = append(all, w)
		line := w.Cosign(body, time.Unix(1795000000, 0))
		cp = append(cp, line...)
		l, err := chain.ParseSignatureLines(line)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, l...)
		vkeys = append(vkeys, w.VKey())
		policy.Witnesses = append(policy.Witnesses, chain.PolicyWitness{Name: name, VKey: w.VKey()})
		g.Members = append(g.Members, name)
	}
	policy.Groups, policy.Rule = []chain.PolicyGroup{g}, "g"
	hashes, err := chain.ProveInclusion(3, edge.Size, edge.Root(), tilesOf(ds))
	if err != nil {
		t.Fatal(err)
	}
	r := chain.Receipt{Disclosure: ds[3], Index: 3, Proof: hashes, Checkpoint: cp}
	if r.Keys, err = chain.KeysFor(lines, vkeys); err != nil {
		t.Fatal(err)
	}
	if text, err = r.Marshal(); err != nil {
		t.Fatal(err)
	}
	return log, text, policy, all
}

func TestReceiptWithCosignatures(t *testing.T) {
	_, ds, edge := vectors(t)
	log, text, policy, _ := witnessedReceipt(t, ds, edge)
	p, err := policy.VerifyReceipt(text)
	if err != nil || !p.Quorum || len(p.Cosigned) != 3 || p.Cosigned[1].Witness != "witness.justice.example" || p.Cosigned[1].At.Unix() != 1795000000 {
		t.Fatalf("%+v %v", p, err)
	}
	// Who knows no witness still gets an answer, and still finds every bit.
	alone := chain.LogPolicy(policy.Logs[0].VKey)
	if p, err := alone.VerifyReceipt(text); err != nil || len(p.Cosigned) != 3 || p.Cosigned[0].Witness != "" {
		t.Fatalf("%+v %v", p, err)
	}
	if _, err := chain.VerifyReceipt(text, log); err != nil {
		t.Fatal(err)
	}
	if _, err := chain.VerifyReceiptByLog(text, log); err != nil {
		t.Fatal(err)
	}
	for bit := range len(text) * 8 {
		bad := bytes.Clone(text)
		bad[bit/8] ^= 1 << (bit % 8)
		if _, err := alone.VerifyReceipt(bad); err == nil {
			t.Fatalf("bit %d of %q isn't missed by who knows the log only", bit%8, text[max(0, bit/8-10):bit/8+1])
		}
		if _, err := policy.VerifyReceipt(bad); err == nil {
			t.Fatalf("bit %d of %q isn't missed by who knows the witnesses", bit%8, text[max(0, bit/8-10):bit/8+1])
		}
	}
	// Others read it too.
	var theirs proof.TLogProof
	if err := theirs.Unmarshal(text); err != nil || theirs.Index != 3 || !bytes.Equal(theirs.Marshal(), text) {
		t.Fatalf("formats reads it otherwise: %v", err)
	}
	if _, err := note.Open(theirs.Checkpoint, note.VerifierList(log)); err != nil {
		t.Fatal(err)
	}
	// A line more, of nobody's key: refused, but for those who pass over strangers.
	stranger, _ := cosigner(t, "stranger.example")
	more := append(bytes.Clone(text), stranger.Cosign(p.Checkpoint.Text(), time.Unix(1, 0))...)
	if _, err := policy.VerifyReceipt(more); err == nil {
		t.Error("a stranger's line is accepted")
	}
	if _, err := chain.VerifyReceiptByLog(text, log); err != nil {
		t.Error(err)
	}
	// Lines taken away: the quorum is gone, or the keys don't fit any more.
	one := strings.SplitAfter(string(text), "\n")
	cut := strings.Join(slices.Delete(slices.Clone(one), len(one)-3, len(one)-1), "")
	if p, err := policy.VerifyReceipt([]byte(cut)); err == nil && p.Quorum {
		t.Error("one of three is a quorum of two")
	}
	// At a million leaves: twenty hashes, three cosignatures.
	bare := len(text) + (20-len(theirs.Hashes))*45 - len(theirs.ExtraData)*4/3
	t.Logf("proof at 1 M leaves with 3 cosignatures: %d bytes without the disclosed leaf", bare)
	if bare > 1600 {
		t.Errorf("%d bytes", bare)
	}
}

// While the log's key changes both keys sign; a policy may name both, or either.
func TestTwoKeysOfOneLog(t *testing.T) {
	old, oldV := testKey(t, "rotating.zhizheng.test/log")
	sk, newVKey, err := note.GenerateKey(rand.Reader, "rotating.zhizheng.test/log")
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := note.NewSigner(sk)
	if err != nil {
		t.Fatal(err)
	}
	c := chain.Checkpoint{Origin: old.Name(), Size: 4}
	both, err := note.Sign(&note.Note{Text: c.Text()}, old, fresh)
	if err != nil {
		t.Fatal(err)
	}
	p := chain.LogPolicy(vkeyOf(t, old.Name()))
	if _, err := p.Open(both); err == nil {
		t.Error("a key that isn't trusted signed, and it is accepted")
	}
	newV, err := chain.NewVerifier(newVKey)
	if err != nil {
		t.Fatal(err)
	}
	if o, err := p.Open(both, newV); err != nil || len(o.Log) != 1 {
		t.Errorf("%+v %v", o, err)
	}
	p.Logs = append(p.Logs, chain.PolicyLog{VKey: newVKey})
	if o, err := p.Open(both); err != nil || len(o.Log) != 2 {
		t.Errorf("%+v %v", o, err)
	}
	for _, v := range []note.Verifier{oldV, newV} {
		if got, err := chain.OpenByLog(both, v); err != nil || got != c {
			t.Errorf("%+v %v", got, err)
		}
		if only, err := chain.OnlyLog(both, v); err != nil || bytes.Count(only, []byte("— ")) != 1 {
			t.Errorf("%q %v", only, err)
		}
	}
}

// FuzzPolicy: what is read has one spelling, and reads back as the same.
func FuzzPolicy(f *testing.F) {
	w, _ := cosigner(f, "w.zhizheng.test")
	f.Add("log " + vkeyOf(f, "oracle.zhizheng.test/log") + " u\nwitness w " + w.VKey() + "\ngroup g any w\nquorum g\n")
	f.Add("\t# x\n quorum\tnone")
	f.Add("witness \xff " + w.VKey() + "\nquorum \xff\n")
	f.Add("quorum none\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := chain.ParsePolicy(text)
		if err != nil {
			return
		}
		again, err := chain.ParsePolicy(p.Text())
		if err != nil || again.Text() != p.Text() {
			t.Fatalf("%q is printed as %q, which reads as %v", text, p.Text(), err)
		}
		if need, of := p.Threshold(); need > of || need < 0 {
			t.Fatalf("%d of %d", need, of)
		}
		_ = p.Quorum(p.Counting())
		if _, err := p.Verifiers(); err != nil {
			t.Fatal(err)
		}
		if _, err := p.LogVerifiers(); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzSignatureLines: one spelling; and no line but the witness's own is taken for it.
func FuzzSignatureLines(f *testing.F) {
	seed := bytes.Repeat([]byte{7}, 32)
	skey, err := chain.GenerateCosigner(bytes.NewReader(seed), "w.zhizheng.test")
	if err != nil {
		f.Fatal(err)
	}
	w, err := chain.NewCosigner(skey)
	if err != nil {
		f.Fatal(err)
	}
	v, err := chain.NewWitnessVerifier(w.VKey())
	if err != nil {
		f.Fatal(err)
	}
	text := chain.Checkpoint{Origin: "o", Size: 1}.Text()
	line := w.Cosign(text, time.Unix(1e9, 0))
	f.Add(line)
	f.Add(line + line)
	f.Add("— w AAAAAAA=\n")
	f.Add(strings.TrimSuffix(line, "\n"))
	f.Fuzz(func(t *testing.T, s string) {
		lines, err := chain.ParseSignatureLines(s)
		if err != nil {
			return
		}
		var again strings.Builder
		for _, l := range lines {
			again.WriteString(l.String())
			if l.Name == v.Name() && l.Hash == v.KeyHash() && v.Verify([]byte(text), l.Sig) && l.String() != line {
				t.Fatalf("another cosignature holds: %q", l.String())
			}
		}
		if again.String() != s {
			t.Fatalf("two spellings: %q", s)
		}
	})
}
