package evlog_test

import (
	"context"
	"crypto/sha256"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/evlogtest"
	"zhizheng/evidence/stamp"
	"zhizheng/evidence/stamp/stamptest"
	"zhizheng/internal/fault"
	"zhizheng/internal/testenv"
)

// tokens gives the timestamps in the log, each checked by our verifier and by openssl.
func tokens(t testing.TB, l *evlog.Log, a *stamptest.Authority) []chain.TimestampPayload {
	t.Helper()
	leaves, err := l.SubjectLeaves(t.Context(), chain.Subject{Type: chain.SubjectPlatform, ID: "timestamp"})
	if err != nil {
		t.Fatal(err)
	}
	var out []chain.TimestampPayload
	for _, f := range leaves {
		p, err := chain.Payload[chain.TimestampPayload](f.Payload)
		if err != nil {
			t.Fatal(err)
		}
		digest := sha256.Sum256([]byte(p.Body))
		if _, err := stamp.Verify(p.Token, digest, nil, a.Roots); err != nil {
			t.Errorf("leaf %d: %v", f.Seq, err)
		}
		if err := a.Accepts(p.Token, digest); err != nil {
			t.Errorf("leaf %d: %v", f.Seq, err)
		}
		c, err := chain.ParseCheckpoint(p.Body)
		if err != nil {
			t.Fatal(err)
		}
		if _, root, err := l.InclusionAt(t.Context(), 0, c.Size); err != nil || root != c.Root {
			t.Errorf("leaf %d stamps another tree: %v", f.Seq, err)
		}
		out = append(out, p)
	}
	return out
}

func stamping(every time.Duration, as ...*stamptest.Authority) func(*evlog.Options) {
	return func(o *evlog.Options) {
		o.Stamps = evlog.Stamps{Every: every}
		for _, a := range as {
			o.Stamps.Authorities = append(o.Stamps.Authorities, a.URL+"/tsa")
			o.Stamps.Roots = a.Roots
		}
	}
}

func stateOf(t testing.TB, l *evlog.Log) evlog.StampState {
	t.Helper()
	s, err := l.StampStates(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(s) != 1 {
		t.Fatalf("%d authorities: %+v", len(s), s)
	}
	return s[0]
}

func refused(t testing.TB, pool *pgxpool.Pool) (n int, reason string, answer []byte) {
	t.Helper()
	err := pool.QueryRow(t.Context(), `select count(*), coalesce(max(reason), ''), coalesce((array_agg(answer))[1], '') from log_timestamp_refused`).Scan(&n, &reason, &answer)
	if err != nil {
		t.Fatal(err)
	}
	return n, reason, answer
}

func TestStampedInItsTime(t *testing.T) {
	a := stamptest.New(t, stamptest.Options{Intermediate: true})
	pool := testenv.Pool(t)
	l := evlogtest.With(t, pool, stamping(300*time.Millisecond, a))
	if s := stateOf(t, l); s.State != "late" || s.Authority != a.URL+"/tsa" {
		t.Errorf("before the first: %+v", s)
	}
	add(t, l, pool, viewed("a", "ev1", "u1"))
	testenv.Eventually(t, 10*time.Second, func() bool { return stateOf(t, l).Leaf >= 2 }) // the second token
	got := tokens(t, l, a)
	if len(got) < 2 || got[0].Body == got[1].Body {
		t.Fatalf("%d tokens", len(got))
	}
	if s := stateOf(t, l); s.State != "ok" || s.Error != "" || time.Since(s.GenTime) > time.Minute {
		t.Errorf("%+v", s)
	}
	if rep := sound(t, l); rep.Entries < 3 {
		t.Errorf("%+v", rep)
	}
}

// TestDownThenUp: the log goes on without the authority, and one token catches up.
func TestDownThenUp(t *testing.T) {
	a := stamptest.New(t, stamptest.Options{})
	a.Answer(func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "down", http.StatusInternalServerError) })
	pool := testenv.Pool(t)
	l := evlogtest.With(t, pool, stamping(200*time.Millisecond, a))
	add(t, l, pool, viewed("a", "ev1", "u1"))
	testenv.Eventually(t, 10*time.Second, func() bool { return a.Asked() >= 3 && stateOf(t, l).State == "failed" })
	if s := stateOf(t, l); !strings.Contains(s.Error, "answered 500") || s.Size != 0 {
		t.Errorf("%+v", s)
	}
	for _, k := range []string{"b", "c", "d"} {
		add(t, l, pool, viewed(k, "ev1", "u1"))
		receipt(t, l, k)
	}
	if n, _, _ := refused(t, pool); n != 0 {
		t.Errorf("%d answers kept of a server that gave none", n)
	}
	a.Answer(nil)
	testenv.Eventually(t, 10*time.Second, func() bool { return stateOf(t, l).State == "ok" })
	if got := tokens(t, l, a); !strings.Contains(got[0].Body, "\n4\n") {
		t.Errorf("the first token doesn't cover all four leaves: %q", got[0].Body)
	}
	sound(t, l)
}

// TestBadAnswers: whatever comes that is no valid token is kept as it came, never as a leaf.
func TestBadAnswers(t *testing.T) {
	reply := func(b []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/timestamp-reply")
			_, _ = w.Write(b)
		}
	}
	other, bare := stamptest.New(t, stamptest.Options{}), stamptest.New(t, stamptest.Options{})
	req, err := stamp.Request(sha256.Sum256([]byte("another log")), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
		kept   bool
	}{
		"garbage":           {reply([]byte("garbage")), "no time-stamp response", true},
		"another's token":   {other.Grant, "given root", true},
		"replayed":          {reply(bare.Reply(t, req)), "digest differs", true},
		"huge":              {reply(make([]byte, 1<<20)), "more than", false},
		"refused by status": {reply([]byte{0x30, 5, 0x30, 3, 2, 1, 2}), "status 2", true},
	} {
		t.Run(name, func(t *testing.T) {
			a := stamptest.New(t, stamptest.Options{})
			a.Answer(c.answer)
			pool := testenv.Pool(t)
			l := evlogtest.With(t, pool, stamping(time.Hour, a))
			add(t, l, pool, viewed("a", "ev1", "u1"))
			testenv.Eventually(t, 10*time.Second, func() bool { return stateOf(t, l).State == "failed" })
			if s := stateOf(t, l); !strings.Contains(s.Error, c.want) || s.Leaf != 0 || !s.GenTime.IsZero() {
				t.Errorf("%+v", s)
			}
			n, reason, answer := refused(t, pool)
			if (n == 1) != c.kept || c.kept && (!strings.Contains(reason, c.want) || len(answer) == 0) {
				t.Errorf("%d kept: %q, %d bytes", n, reason, len(answer))
			}
			if got := tokens(t, l, a); len(got) != 0 {
				t.Errorf("%d tokens", len(got))
			}
		})
	}
}

func TestStampNow(t *testing.T) {
	good, slow := stamptest.New(t, stamptest.Options{}), stamptest.New(t, stamptest.Options{})
	release := make(chan struct{})
	slow.Answer(func(http.ResponseWriter, *http.Request) { <-release })
	defer close(release)
	pool := testenv.Pool(t)
	l := evlogtest.With(t, pool, func(o *evlog.Options) {
		o.Stamps = evlog.Stamps{Authorities: []string{good.URL, slow.URL}, Roots: good.Roots}
	})
	add(t, l, pool, viewed("a", "ev1", "u1"))
	receipt(t, l, "a")
	got := l.StampNow(t.Context(), 2*time.Second)
	if len(got) != 2 || got[0].Missing != "" || got[0].Size < 1 || got[0].Authority != good.URL {
		t.Fatalf("%+v", got)
	}
	if !strings.Contains(got[1].Missing, "in time") || got[1].Leaf != 0 {
		t.Errorf("%+v", got[1])
	}
	if none := evlogtest.Log(t, testenv.Pool(t)).StampNow(t.Context(), time.Second); none != nil {
		t.Errorf("nobody is configured: %+v", none)
	}
	// What a bundle takes: the earliest that covers a leaf, and the newest; never one that doesn't hold under the roots in force.
	add(t, l, pool, viewed("b", "ev1", "u1"))
	receipt(t, l, "b")
	l.StampNow(t.Context(), time.Second)
	last := l.StampNow(t.Context(), time.Second)[0]
	first, err := l.StampsFor(t.Context(), []int64{0})
	if err != nil {
		t.Fatal(err)
	}
	// The loop of its own may have stamped before us: the earliest is the one with the least size.
	if len(first) != 2 || first[0].Size > got[0].Size || first[1].Key != last.Key {
		t.Errorf("%+v", first)
	}
	p, err := l.ProveStamped(t.Context(), first[0].Size, last.Size)
	if err != nil {
		t.Fatal(err)
	}
	_, old, err := l.InclusionAt(t.Context(), 0, first[0].Size)
	if err != nil {
		t.Fatal(err)
	}
	_, root, err := l.InclusionAt(t.Context(), 0, last.Size)
	if err != nil {
		t.Fatal(err)
	}
	if err := chain.CheckConsistency(p, first[0].Size, old, last.Size, root); err != nil {
		t.Error(err)
	}
}

func TestReplicasAskOnce(t *testing.T) {
	a := stamptest.New(t, stamptest.Options{})
	pool := testenv.Pool(t)
	l := evlogtest.With(t, pool, stamping(time.Hour, a))
	add(t, l, pool, viewed("a", "ev1", "u1"))
	testenv.Eventually(t, 10*time.Second, func() bool { return stateOf(t, l).State == "ok" })
	// Two more replicas look after the same authority; each looks at the state before it would ask.
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	done := make(chan error, 2)
	for range 2 {
		go func() { done <- l.RunStamps(ctx) }()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if n := a.Asked(); n != 1 {
		t.Errorf("asked %d times in an hour", n)
	}
}

func TestCarried(t *testing.T) {
	a, stranger := stamptest.New(t, stamptest.Options{}), stamptest.New(t, stamptest.Options{})
	pool := testenv.Pool(t)
	l := evlogtest.With(t, pool, func(o *evlog.Options) { o.Stamps.Roots = a.Roots })
	if _, _, err := l.StampRequest(t.Context()); !fault.Is(err, fault.KindPending) {
		t.Fatalf("a request before the first checkpoint: %v", err)
	}
	add(t, l, pool, viewed("a", "ev1", "u1"))
	receipt(t, l, "a")
	request, size, err := l.StampRequest(t.Context())
	if err != nil || size != 1 {
		t.Fatal(size, err)
	}
	add(t, l, pool, viewed("b", "ev1", "u1")) // the log goes on while the stick travels
	receipt(t, l, "b")
	response := a.Reply(t, request)
	s, err := l.ImportStamp(t.Context(), response)
	if err != nil {
		t.Fatal(err)
	}
	if s.Authority != evlog.Carried || s.Size != 1 || s.Leaf != 2 {
		t.Errorf("%+v", s)
	}
	token, err := stamp.Token(response)
	if err != nil {
		t.Fatal(err)
	}
	for _, again := range [][]byte{response, token} {
		if r, err := l.ImportStamp(t.Context(), again); err != nil || r.Leaf != s.Leaf {
			t.Errorf("again: %+v, %v", r, err)
		}
	}
	if got := tokens(t, l, a); len(got) != 1 {
		t.Errorf("%d tokens", len(got))
	}
	if st := stateOf(t, l); st.Authority != evlog.Carried || st.State != "ok" {
		t.Errorf("%+v", st)
	}
	foreign, err := stamp.Request(sha256.Sum256([]byte("else")), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][]byte{"garbage": []byte("x"), "empty": nil, "another's": stranger.Reply(t, request), "of something else": a.Reply(t, foreign)} {
		if _, err := l.ImportStamp(t.Context(), file); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := evlogtest.Log(t, testenv.Pool(t)).ImportStamp(t.Context(), response); !fault.Is(err, fault.KindInvalid) {
		t.Errorf("without roots: %v", err)
	}
	sound(t, l)
}

// TestAuditFindsTamperedTimestamps: rows beside the leaves are held against them.
func TestAuditFindsTamperedTimestamps(t *testing.T) {
	a := stamptest.New(t, stamptest.Options{})
	for name, sql := range map[string]string{
		"time":      `update log_timestamp set gen_time = gen_time - interval '1 hour'`,
		"size":      `update log_timestamp set size = size + 1`,
		"authority": `update log_timestamp set authority = 'https://tsa.example/'`,
		"deleted":   `delete from log_timestamp`,
		"added":     `insert into log_timestamp select key || '0', authority, size, gen_time from log_timestamp`,
	} {
		t.Run(name, func(t *testing.T) {
			url := testenv.DatabaseURL(t)
			pool := open(t, url)
			l := evlogtest.With(t, pool, stamping(time.Hour, a))
			add(t, l, pool, viewed("a", "ev1", "u1"))
			testenv.Eventually(t, 10*time.Second, func() bool { return stateOf(t, l).State == "ok" })
			sound(t, l)
			if name != "added" { // the one thing the application may do
				if _, err := pool.Exec(t.Context(), sql); err == nil {
					t.Fatal("the application may change timestamps")
				}
			}
			exec(t, owner(t, url), sql)
			rep, err := l.Audit(t.Context())
			if err != nil || len(rep.Findings) == 0 {
				t.Fatalf("not found: %v", err)
			}
		})
	}
}
