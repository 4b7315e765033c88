package evlog_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/http/httptest"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/evlogtest"
	"zhizheng/evidence/transcript"
	"zhizheng/internal/fault"
	"zhizheng/internal/testenv"
)

// views adds so many leaves and waits until a checkpoint covers them.
func views(t testing.TB, l *evlog.Log, pool *pgxpool.Pool, run string, n int) {
	t.Helper()
	var es []chain.Entry
	for i := range n {
		es = append(es, viewed(fmt.Sprint(run, i), fmt.Sprint("ev", i%17), "officer-"+run))
	}
	add(t, l, pool, es...)
	receipt(t, l, fmt.Sprint(run, n-1))
}

func export(t testing.TB, l *evlog.Log, dir string, content bool) evlog.Exported {
	t.Helper()
	x, err := l.Export(t.Context(), dir, content)
	ok(t, err)
	return x
}

func holds(t testing.TB, dir string, trust chain.Policy, kept ...transcript.Kept) transcript.Report {
	t.Helper()
	rep, err := transcript.Verify(os.DirFS(dir), trust, kept...)
	ok(t, err)
	for _, f := range rep.Failures {
		t.Errorf("%+v", f)
	}
	return rep
}

func filesIn(t testing.TB, dir string) (all map[string]time.Time) {
	t.Helper()
	all = map[string]time.Time{}
	ok(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		i, err := d.Info()
		ok(t, err)
		name, err := filepath.Rel(dir, path)
		all[name] = i.ModTime()
		return err
	}))
	return all
}

// A copy holds by the witnesses' policy; the next run adds what is new and leaves the rest alone.
func TestExportAddsWhatIsNew(t *testing.T) {
	pool := testenv.Pool(t)
	l, b := witnessed(t, pool)
	dir := filepath.Join(t.TempDir(), "copy")
	views(t, l, pool, "a", 600)
	_, err := l.ReceiptWitnessed(t.Context(), "a599", 10*time.Second)
	ok(t, err)
	first := export(t, l, dir, false)
	rep := holds(t, dir, b.policy.Public())
	if first.Size < 600 || rep.Size != first.Size || !rep.Quorum || rep.Content {
		t.Fatalf("%+v %+v", first, rep)
	}
	before := filesIn(t, dir)
	if again := export(t, l, dir, false); again.Had != first.Size {
		t.Errorf("%+v", again)
	}
	signed, err := os.ReadFile(filepath.Join(dir, transcript.CheckpointName))
	ok(t, err)
	views(t, l, pool, "b", 200)
	_, err = l.ReceiptWitnessed(t.Context(), "b199", 10*time.Second)
	ok(t, err)
	second := export(t, l, dir, false)
	rep = holds(t, dir, b.policy.Public(), transcript.Kept{Name: "before", Signed: signed})
	if second.Size < first.Size+200 || len(rep.Continues) != 1 {
		t.Errorf("%+v %+v", second, rep)
	}
	after := filesIn(t, dir)
	for _, name := range []string{"tile/0/000", "tile/0/001", "tile/entries/000", "tile/entries/001", "log.vkey", "witness.vkey"} {
		if name = filepath.FromSlash(name); !before[name].Equal(after[name]) || after[name].IsZero() {
			t.Errorf("%s was written again", name)
		}
	}
	for name := range after {
		if _, had := before[name]; had && strings.Contains(name, ".p") && !strings.Contains(name, filepath.FromSlash("tile/1")) {
			t.Errorf("%s was replaced by a wider one", name)
		}
	}
}

// What anyone fetches from /log/, by the commands of docs/verify.md, is such a copy, and grows with the log.
func TestFetchedCopyHolds(t *testing.T) {
	for _, tool := range []string{"wget", "python3"} {
		if _, err := osexec.LookPath(tool); err != nil {
			t.Skipf("the commands need %s", tool)
		}
	}
	var scripts []string
	for _, doc := range []string{"verify.md", "verify.zh-CN.md"} {
		b, err := os.ReadFile(filepath.Join("..", "..", "docs", doc))
		ok(t, err)
		_, rest, _ := strings.Cut(string(b), "U=https://zhizheng.example/log\n")
		script, _, found := strings.Cut(rest, "```")
		if !found {
			t.Fatalf("%s has no such commands", doc)
		}
		scripts = append(scripts, script)
	}
	pool := testenv.Pool(t)
	l, b := witnessed(t, pool)
	server := httptest.NewServer(l.Handler())
	t.Cleanup(server.Close)
	dir := t.TempDir()
	for i, script := range scripts {
		views(t, l, pool, fmt.Sprint("run", i, "-"), 530)
		_, err := l.ReceiptWitnessed(t.Context(), fmt.Sprint("run", i, "-529"), 10*time.Second)
		ok(t, err)
		cmd := osexec.CommandContext(t.Context(), "sh", "-c", "U="+server.URL+"/log\n"+script)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, trust := range []chain.Policy{b.policy.Public(), chain.LogPolicy(l.VKey())} {
			if rep := holds(t, filepath.Join(dir, "copy"), trust); rep.Size < int64(530*(i+1)) || len(rep.Cosigned) < 2 {
				t.Errorf("%+v", rep)
			}
		}
	}
}

// A run that broke off before its checkpoint: the next one ends it, and nothing half is left.
func TestExportGoesOnAfterACrash(t *testing.T) {
	pool := testenv.Pool(t)
	l := evlogtest.Log(t, pool)
	trust, dir := chain.LogPolicy(l.VKey()), t.TempDir()
	at := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	views(t, l, pool, "a", 300)
	export(t, l, dir, false)
	signed, err := os.ReadFile(at("checkpoint"))
	ok(t, err)
	views(t, l, pool, "b", 300)
	export(t, l, dir, true)
	ok(t, os.WriteFile(at("checkpoint"), signed, 0o600))
	ok(t, os.Remove(at("tile/payloads/002.p/88")))
	ok(t, os.Remove(at("tile/entries/002.p/88")))
	ok(t, os.WriteFile(at("tile/entries/.new-1"), []byte("half"), 0o600))
	export(t, l, dir, true)
	if rep := holds(t, dir, trust); rep.Size != 600 || rep.Payloads != 600 {
		t.Errorf("%+v", rep)
	}
	// Content that was begun, and not finished.
	ok(t, os.WriteFile(at("checkpoint"), signed, 0o600))
	ok(t, os.RemoveAll(at("tile/payloads/001")))
	ok(t, os.RemoveAll(at("tile/payloads/002.p")))
	export(t, l, dir, true)
	holds(t, dir, trust)
}

// What is erased in the log goes from the copy, and the copy holds.
func TestExportFollowsErasures(t *testing.T) {
	pool := testenv.Pool(t)
	l := evlogtest.Log(t, pool)
	dir := t.TempDir()
	views(t, l, pool, "a", 300)
	export(t, l, dir, true)
	payload := func(seq int64) []byte {
		f, err := l.BySeq(t.Context(), []int64{seq})
		ok(t, err)
		return f[0].Salt
	}
	gone := [][]byte{payload(5), payload(299)}
	views(t, l, pool, "b", 300)
	_, err := l.Erase(t.Context(), []int64{5, 299}, "u1", "当事人申请")
	ok(t, err)
	testenv.Eventually(t, 10*time.Second, func() bool {
		_, err := l.Export(t.Context(), dir, true)
		if err != nil && !fault.Is(err, fault.KindPending) {
			t.Fatal(err)
		}
		return err == nil
	})
	rep := holds(t, dir, chain.LogPolicy(l.VKey()))
	if rep.Erased != 2 || rep.Size != 601 {
		t.Errorf("%+v", rep)
	}
	for name := range filesIn(t, dir) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		ok(t, err)
		for _, salt := range gone {
			if bytes.Contains(b, salt) {
				t.Errorf("%s holds what was erased", name)
			}
		}
	}
}

// A folder that is not a copy of this history is evidence, and stays as it is; content in the database that doesn't fit stays out.
func TestExportRefuses(t *testing.T) {
	pool := testenv.Pool(t)
	l := evlogtest.Log(t, pool)
	views(t, l, pool, "a", 40)
	dir := t.TempDir()
	export(t, l, dir, true)
	if _, err := l.Export(t.Context(), dir, false); !fault.Is(err, fault.KindConflict) {
		t.Errorf("content goes stale: %v", err)
	}
	other := testenv.Pool(t)
	o := evlogtest.Log(t, other)
	views(t, o, other, "a", 50)
	before := filesIn(t, dir)
	if _, err := o.Export(t.Context(), dir, true); !fault.Is(err, fault.KindConflict) {
		t.Errorf("another log's: %v", err)
	}
	if after := filesIn(t, dir); len(after) != len(before) || !after["checkpoint"].Equal(before["checkpoint"]) {
		t.Error("it was changed")
	}
	ok(t, os.WriteFile(filepath.Join(dir, "tile", "0", "000.p", "45"), []byte("x"), 0o600))
	views(t, l, pool, "b", 5)
	if _, err := l.Export(t.Context(), dir, true); !fault.Is(err, fault.KindConflict) {
		t.Errorf("another tile's place: %v", err)
	}
}
