package transcript_test

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/transcript"
)

func verify(t testing.TB, files map[string][]byte, trust chain.Policy, kept ...transcript.Kept) transcript.Report {
	t.Helper()
	rep, err := transcript.Verify(inMemory(files), trust, kept...)
	ok(t, err)
	return rep
}

func named(rep transcript.Report, where string, leaf int64) bool {
	return slices.ContainsFunc(rep.Failures, func(f transcript.Failure) bool {
		return f.Where == where && (leaf < 0 || f.Leaf != nil && *f.Leaf == leaf)
	})
}

// A copy holds at every size, with and without payloads; and every earlier checkpoint is its beginning.
func TestCopyHoldsAtEverySize(t *testing.T) {
	c := newCounty(t, 300)
	c.erase(3, 290)
	c.grow(1000 - len(c.leaves))
	var kept []transcript.Kept
	for _, size := range []int{0, 1, 2, 255, 256, 257, 301, 511, 512, 513, 1000} {
		kept = append(kept, transcript.Kept{Name: fmt.Sprint("kept ", size), Signed: c.signed(size)})
		files := c.files(size, size > 300 || size < 3)
		rep := verify(t, files, c.witnessed(), kept...)
		if len(rep.Failures) > 0 || rep.Size != int64(size) || !rep.Quorum || len(rep.Continues) != len(kept) || int(rep.Files) != len(files) {
			t.Fatalf("%d leaves: %+v", size, rep)
		}
		if size == 1000 && (rep.Erased != 2 || rep.Payloads != 998) {
			t.Errorf("%+v", rep)
		}
	}
	dir, err := transcript.Verify(os.DirFS(onDisk(t, c.files(1000, true))), c.trust())
	if ok(t, err); len(dir.Failures) > 0 || dir.Subjects != int64(len(c.heads)) {
		t.Errorf("%+v", dir)
	}
}

// Where tiles of the second level are full.
func TestCopyOfManyLeaves(t *testing.T) {
	c := newCounty(t, 0)
	for range 256*256 + 700 {
		c.add(chain.KindViewed, chain.Subject{Type: chain.SubjectEvidence, ID: "one"}, chain.NotePayload{Text: "x"})
	}
	files := c.files(len(c.leaves), false)
	if rep := verify(t, files, c.trust()); len(rep.Failures) > 0 {
		t.Fatalf("%+v", rep.Failures)
	}
	for _, name := range []string{"tile/1/000", "tile/1/001.p/2", "tile/2/000.p/1"} {
		b := files[name]
		files[name] = slices.Clone(b)
		files[name][len(b)-1] ^= 1
		if rep := verify(t, files, c.trust()); len(rep.Failures) != 1 || rep.Failures[0].Where != name {
			t.Errorf("%s: %+v", name, rep.Failures)
		}
		delete(files, name)
		if rep := verify(t, files, c.trust()); len(rep.Failures) != 1 || rep.Failures[0].Where != name {
			t.Errorf("%s: %+v", name, rep.Failures)
		}
		files[name] = b
	}
}

// Any bit of any file: a sample of them, other ones each time; all in a long run.
func TestAnyFlippedBitIsFound(t *testing.T) {
	c := newCounty(t, 280)
	c.erase(7, 270)
	c.grow(20)
	files := c.files(len(c.leaves), true)
	type bit struct {
		name string
		at   int
	}
	var bits []bit
	long := os.Getenv("ZZ_SOAK") != ""
	for name, b := range files {
		every := 1
		if !long {
			every = max(16, len(b)/50)
		}
		for i := range len(b) * 8 {
			if rand.IntN(every) == 0 {
				bits = append(bits, bit{name, i})
			}
		}
	}
	var wg sync.WaitGroup
	missed := make([][]string, runtime.GOMAXPROCS(0))
	for w := range missed {
		wg.Go(func() {
			for i := w; i < len(bits); i += len(missed) {
				x := bits[i]
				bad := maps.Clone(files)
				bad[x.name] = slices.Clone(bad[x.name])
				bad[x.name][x.at/8] ^= 1 << (x.at % 8)
				rep, err := transcript.Verify(inMemory(bad), c.trust())
				if err != nil || !named(rep, x.name, -1) && !strings.HasPrefix(x.name, "log.vkey") {
					missed[w] = append(missed[w], fmt.Sprintf("bit %d of %s: %v %+v", x.at, x.name, err, rep.Failures))
				}
			}
		})
	}
	wg.Wait()
	if all := slices.Concat(missed...); len(all) > 0 {
		t.Fatalf("%d of %d: %s", len(all), len(bits), strings.Join(all[:min(5, len(all))], "\n"))
	}
	t.Logf("%d bits", len(bits))
}

// Files that are missing, exchanged, doubled, cut short or too long.
func TestAnyChangedFileIsFound(t *testing.T) {
	c := newCounty(t, 800)
	files := c.files(len(c.leaves), true)
	names := slices.Sorted(maps.Keys(files))
	try := func(what, where string, change func(m map[string][]byte)) {
		t.Helper()
		bad := maps.Clone(files)
		change(bad)
		if rep := verify(t, bad, c.trust()); !named(rep, where, -1) {
			t.Errorf("%s: %+v", what, rep.Failures)
		}
	}
	for i, name := range names {
		if name != transcript.VKeyName { // for comparison only; who trusts the key needs it not
			where := name
			if name == transcript.WitnessesName { // nobody can check the witness's line
				where = transcript.CheckpointName
			}
			try("without "+name, where, func(m map[string][]byte) { delete(m, name) })
		}
		for _, n := range []int{1, 31, 32, len(files[name]) / 2, len(files[name])} {
			if name == transcript.VKeyName || n > len(files[name]) {
				continue
			}
			try(fmt.Sprintf("%s cut by %d", name, n), name, func(m map[string][]byte) { m[name] = m[name][:len(m[name])-n] })
		}
		try(name+" longer", name, func(m map[string][]byte) { m[name] = append(slices.Clone(m[name]), 0) })
		other := names[(i+1+rand.IntN(len(names)-1))%len(names)]
		if !bytes.Equal(files[name], files[other]) {
			try(name+" is "+other, name, func(m map[string][]byte) { m[name] = m[other] })
		}
		for _, extra := range []string{name + ".new", name + "~", "tile/" + name, "tile/8/000", "tile/entries/0000", "README"} {
			try("with "+extra, extra, func(m map[string][]byte) { m[extra] = []byte("x") })
		}
	}
	for _, beyond := range []string{"tile/entries/003.p/33", "tile/entries/004", "tile/0/003", "tile/1/000", "tile/2/000.p/1", "tile/payloads/900"} {
		try("beyond", beyond, func(m map[string][]byte) { m[beyond] = m["tile/entries/000"] })
	}
	try("end cut", "tile/entries/002", func(m map[string][]byte) {
		for name := range m {
			if strings.Contains(name, "/002") || strings.Contains(name, "/003") {
				delete(m, name)
			}
		}
	})
}

// Leaves taken out by somebody who makes tiles anew, and even signs anew: a kept checkpoint tells.
func TestKeptCheckpointShowsRemoval(t *testing.T) {
	c := newCounty(t, 500)
	kept := transcript.Kept{Name: "october", Signed: c.signed(500)}
	if rep := verify(t, c.files(500, true), c.trust(), kept); len(rep.Failures) > 0 || !slices.Equal(rep.Continues, []int64{500}) {
		t.Fatalf("%+v", rep)
	}
	rep := verify(t, c.files(499, true), c.trust(), kept)
	if len(rep.Failures) != 1 || !named(rep, "october", -1) {
		t.Errorf("one fewer: %+v", rep.Failures)
	}
	forged := newCounty(t, 499)
	forged.skey, forged.vkey, forged.witness = c.skey, c.vkey, c.witness
	forged.grow(100) // counters and times agree, one item's leaf is another
	forged.leaves[300], forged.leaves[301] = forged.leaves[301], forged.leaves[300]
	if rep := verify(t, forged.files(599, false), c.trust(), kept); !named(rep, "october", -1) {
		t.Errorf("another history: %+v", rep.Failures)
	}
	other := newCounty(t, 10)
	if rep := verify(t, c.files(500, true), c.trust(), transcript.Kept{Name: "other", Signed: other.signed(10)}); !named(rep, "other", -1) {
		t.Errorf("another log's: %+v", rep.Failures)
	}
}

// Damage by somebody who signs anew: what leaves say of each other, of their payloads and of erasures has to fit.
func TestSignedContradictionsAreFound(t *testing.T) {
	for what, x := range map[string]struct {
		change func(c *county)
		where  string
		leaf   int64
	}{
		"a leaf left out": {func(c *county) {
			c.leaves, c.openings = slices.Delete(c.leaves, 100, 101), slices.Delete(c.openings, 100, 101)
		}, "tile/entries/", -1},
		"a leaf twice":          {func(c *county) { c.leaves[299], c.openings[299] = c.leaves[298], c.openings[298] }, "tile/entries/001.p/44", 299},
		"no leaf":               {func(c *county) { c.leaves[299] = []byte("no leaf") }, "tile/entries/001.p/44", 299},
		"one byte too many":     {func(c *county) { c.leaves[299] = append(c.leaves[299], 0) }, "tile/entries/001.p/44", 299},
		"another payload":       {func(c *county) { c.openings[5] = c.openings[6] }, "tile/payloads/000", 5},
		"content gone silently": {func(c *county) { c.openings[280] = nil }, "tile/payloads/001.p/44", 280},
	} {
		c := newCounty(t, 300)
		x.change(c)
		rep := verify(t, c.files(len(c.leaves), true), c.trust())
		if !slices.ContainsFunc(rep.Failures, func(f transcript.Failure) bool {
			return strings.HasPrefix(f.Where, x.where) && f.Leaf != nil && (x.leaf < 0 || *f.Leaf == x.leaf)
		}) {
			t.Errorf("%s: %+v", what, rep.Failures)
		}
	}
}

// Who is trusted decides: another key, a quorum that isn't met, lines that nobody can check.
func TestTrustDecides(t *testing.T) {
	c := newCounty(t, 20)
	files := c.files(20, true)
	if rep := verify(t, files, newCounty(t, 0).trust()); !named(rep, transcript.CheckpointName, -1) {
		t.Errorf("another key: %+v", rep.Failures)
	}
	s, err := chain.OnlyLog(files[transcript.CheckpointName], verifier(t, c.vkey))
	ok(t, err)
	files[transcript.CheckpointName] = s
	if rep := verify(t, files, c.witnessed()); !named(rep, transcript.CheckpointName, -1) || rep.Quorum {
		t.Errorf("no witness: %+v", rep)
	}
	if rep := verify(t, files, c.trust()); len(rep.Failures) > 0 {
		t.Errorf("none is asked for: %+v", rep)
	}
}

// The store's copy and one fetched from the server are laid out a little otherwise.
func TestOtherCopies(t *testing.T) {
	c := newCounty(t, 700)
	store := c.files(700, false)
	for name := range store {
		if !strings.HasPrefix(name, "tile/") || strings.Contains(name, ".p/") && !strings.HasPrefix(name, "tile/entries") {
			delete(store, name)
		}
	}
	for _, size := range []int{100, 256, 600, 700} {
		log, err := chain.OnlyLog(c.signed(size), verifier(t, c.vkey))
		ok(t, err)
		store[fmt.Sprintf("checkpoints/%019d", size)] = log
		if idx, w := int64(size/256), size%256; w > 0 {
			store[chain.EntriesPath(idx, w)] = c.files(size, false)[chain.EntriesPath(idx, w)]
		}
	}
	if rep := verify(t, store, c.trust()); len(rep.Failures) > 0 || rep.Size != 700 {
		t.Fatalf("%+v", rep)
	}
	for _, name := range []string{"tile/entries/000.p/100", "tile/entries/002.p/88", "checkpoints/0000000000000000256"} {
		bad := maps.Clone(store)
		bad[name] = slices.Clone(bad[name])
		bad[name][40] ^= 1
		if rep := verify(t, bad, c.trust()); !named(rep, name, -1) {
			t.Errorf("%s: %+v", name, rep.Failures)
		}
	}
	served := c.files(700, false)
	served["vkey"], served["policy"] = served[transcript.VKeyName], []byte(c.witnessed().Text())
	delete(served, transcript.VKeyName)
	delete(served, transcript.WitnessesName)
	if rep := verify(t, served, c.trust()); len(rep.Failures) > 0 {
		t.Errorf("%+v", rep)
	}
}

func TestFolderWithoutACopy(t *testing.T) {
	if _, err := transcript.Verify(inMemory(map[string][]byte{"letter": nil}), newCounty(t, 0).trust()); err == nil {
		t.Error("something was decided")
	}
}
