package evlog_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"pgregory.net/rapid"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/evlogtest"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
	"zhizheng/internal/testenv"
)

// The test binary is its own signer child, and its own server processes.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "signer" {
		os.Exit(signer.Main(os.Args[2:]))
	}
	if j := os.Getenv(jobVariable); j != "" {
		os.Exit(runJob(j))
	}
	os.Exit(m.Run())
}

func viewed(key, item, actor string) chain.Entry {
	return chain.Entry{
		Key: key, Kind: chain.KindViewed, Subject: chain.Subject{Type: chain.SubjectEvidence, ID: item},
		Payload: chain.CustodyPayload{EvidenceID: item, Actor: actor},
	}
}

func add(t testing.TB, l *evlog.Log, pool *pgxpool.Pool, entries ...chain.Entry) {
	t.Helper()
	if err := pg.InTx(t.Context(), pool, func(tx *pg.Tx) error { return l.Append(tx, entries...) }); err != nil {
		t.Fatal(err)
	}
}

func receipt(t testing.TB, l *evlog.Log, key string) []byte {
	t.Helper()
	var r []byte
	testenv.Eventually(t, 10*time.Second, func() bool {
		var err error
		r, err = l.Receipt(t.Context(), key)
		if err != nil && !fault.Is(err, fault.KindPending) {
			t.Fatal(err)
		}
		return err == nil
	})
	return r
}

func sound(t testing.TB, l *evlog.Log) evlog.AuditReport {
	t.Helper()
	rep, err := l.Audit(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range rep.Findings {
		t.Errorf("audit: %s", f)
	}
	return rep
}

func TestReceiptProvesTheLeaf(t *testing.T) {
	pool := testenv.Pool(t)
	l := evlogtest.Log(t, pool)
	add(t, l, pool, viewed("a", "ev1", "u1"), viewed("b", "ev1", "u2"), viewed("c", "ev2", "u1"))
	text := receipt(t, l, "b")
	v, err := chain.NewVerifier(l.VKey())
	if err != nil {
		t.Fatal(err)
	}
	p, err := chain.VerifyReceipt(text, v)
	if err != nil {
		t.Fatal(err)
	}
	got, err := chain.Payload[chain.CustodyPayload](p.Payload)
	if err != nil || got.Actor != "u2" || p.Index != 1 || p.Leaf.Counter != 2 || p.Leaf.Kind != chain.KindViewed {
		t.Fatalf("receipt says %+v %+v, %v", p, got, err)
	}
	if rep := sound(t, l); rep.Entries != 3 || rep.Subjects != 2 {
		t.Fatalf("audit of %+v", rep)
	}
	if _, err := l.Receipt(t.Context(), "nowhere"); !fault.Is(err, fault.KindNotFound) {
		t.Fatalf("receipt of an unknown key: %v", err)
	}
}

func TestKeyNamesOneLeaf(t *testing.T) {
	pool := testenv.Pool(t)
	l := evlogtest.Log(t, pool)
	e := viewed("k", "ev1", "u1")
	add(t, l, pool, e, e)
	later := e
	later.Time = time.Now().Add(time.Hour)
	add(t, l, pool, later)
	if err := l.Do(t.Context(), func(_ context.Context, tx *pg.Tx) error { return l.Append(tx, e) }); err != nil {
		t.Fatal(err)
	}
	if rep := sound(t, l); rep.Entries != 1 {
		t.Fatalf("%d leaves of one key", rep.Entries)
	}
	other := []chain.Entry{viewed("k", "ev1", "u2"), viewed("k", "ev2", "u1")}
	kind := e
	kind.Kind = chain.KindDownloaded
	for _, o := range append(other, kind) {
		err := pg.InTx(t.Context(), pool, func(tx *pg.Tx) error { return l.Append(tx, o) })
		if !fault.Is(err, fault.KindConflict) {
			t.Errorf("same key, other content: %v", err)
		}
		err = l.Do(t.Context(), func(_ context.Context, tx *pg.Tx) error { return l.Append(tx, o) })
		if !fault.Is(err, fault.KindConflict) {
			t.Errorf("same key, other content, by Do: %v", err)
		}
	}
	if rep := sound(t, l); rep.Entries != 1 {
		t.Fatalf("%d leaves after refusals", rep.Entries)
	}
}

func TestRolledBackEntriesLeaveNoTrace(t *testing.T) {
	pool := testenv.Pool(t)
	l := evlogtest.Log(t, pool)
	boom := errors.New("boom")
	err := pg.InTx(t.Context(), pool, func(tx *pg.Tx) error {
		if err := l.Append(tx, viewed("gone", "ev", "u")); err != nil {
			return err
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Fatal(err)
	}
	add(t, l, pool, viewed("kept", "ev", "u"))
	if _, err := l.ByKey(t.Context(), "gone"); !fault.Is(err, fault.KindNotFound) {
		t.Fatalf("rolled back entry: %v", err)
	}
	f, err := l.ByKey(t.Context(), "kept")
	if err != nil || f.Seq != 0 {
		t.Fatalf("%+v %v", f, err)
	}
}

func TestAppendFromManyAtOnce(t *testing.T) {
	pool := testenv.Pool(t)
	l := evlogtest.Log(t, pool)
	const writers, each = 16, 60 // 960 leaves: crosses three tile borders
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				e := viewed(fmt.Sprintf("w%d/%d", w, i), fmt.Sprintf("ev%d", i%7), "u")
				var err error
				if w%4 == 0 {
					err = pg.InTx(t.Context(), pool, func(tx *pg.Tx) error { return l.Append(tx, e) })
				} else {
					err = l.Do(t.Context(), func(_ context.Context, tx *pg.Tx) error { return l.Append(tx, e) })
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	rep := sound(t, l)
	if rep.Entries != writers*each || rep.Subjects != 7 {
		t.Fatalf("%+v", rep)
	}
	v, err := chain.NewVerifier(l.VKey())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"w0/0", "w3/59", "w15/30"} {
		if _, err := chain.VerifyReceipt(receipt(t, l, key), v); err != nil {
			t.Error(err)
		}
	}
	// A subject's leaves are its whole chain, 1..n.
	leaves, err := l.SubjectLeaves(t.Context(), chain.Subject{Type: chain.SubjectEvidence, ID: "ev3"})
	if err != nil {
		t.Fatal(err)
	}
	var prev *chain.Leaf
	var hash chain.Hash
	for _, f := range leaves {
		n, err := f.Decode()
		if err == nil {
			err = chain.Link(prev, hash, n)
		}
		if err != nil {
			t.Fatal(err)
		}
		prev, hash = &n, f.Hash
	}
}

// Any mixture of batch sizes gives the tree that RFC 6962 gives over the same leaves, and proofs that hold.
func TestAnyBatchingGivesOneTree(t *testing.T) {
	pool := testenv.Pool(t)
	l := evlogtest.Log(t, pool)
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		if n > 3000 {
			return // enough tiles; each run goes on with the same log
		}
		size := rapid.IntRange(1, 300).Draw(r, "entries")
		var es []chain.Entry
		for range size {
			es = append(es, viewed(fmt.Sprint("n", n), fmt.Sprint("ev", rapid.IntRange(0, 5).Draw(r, "item")), "u"))
			n++
		}
		add(t, l, pool, es...)
		seq, at := rapid.Int64Range(0, int64(n-1)).Draw(r, "seq"), rapid.Int64Range(1, int64(n)).Draw(r, "size")
		if seq >= at {
			return
		}
		proof, root, err := l.InclusionAt(t.Context(), seq, at)
		if err != nil {
			r.Fatal(err)
		}
		f, err := l.BySeq(t.Context(), []int64{seq})
		if err != nil {
			r.Fatal(err)
		}
		if err := chain.CheckInclusion(proof, seq, at, root, chain.LeafHash(f[0].Bytes)); err != nil {
			r.Fatal(err)
		}
	})
	if rep := sound(t, l); rep.Entries != int64(n) {
		t.Fatalf("%d leaves, %d expected", rep.Entries, n)
	}
}

func TestLogIsReadableOverSignerChild(t *testing.T) {
	pool := testenv.Pool(t)
	l, err := evlog.New(pool, evlog.Options{Dir: t.TempDir(), Origin: "child.zhizheng.local", Interval: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(l.VKey(), "child.zhizheng.local+") {
		t.Fatalf("vkey %q", l.VKey())
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	add(t, l, pool, viewed("x", "ev", "u"))
	receipt(t, l, "x")
	sound(t, l)
	cancel()
	if err := errors.Join(<-done, l.Close()); err != nil {
		t.Fatal(err)
	}
}
