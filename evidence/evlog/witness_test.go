package evlog_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/evlogtest"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/evidence/witness"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
	"zhizheng/internal/testenv"
)

// bench is a court, a justice bureau and a procuratorate that witness a log, two of three needed. Each can be away.
type bench struct {
	t      testing.TB
	names  []string
	all    []*witness.Witness
	away   []atomic.Bool
	policy chain.Policy
}

// newBench starts witnesses that will know the log by the vkey; hang says which of them takes questions and never answers.
func newBench(t testing.TB, vkey string, carried ...string) *bench {
	t.Helper()
	b := &bench{t: t, names: []string{"court", "justice", "procuratorate"}, away: make([]atomic.Bool, 3), policy: chain.LogPolicy(vkey)}
	for i, name := range b.names {
		w, err := witness.Open(t.Context(), witness.Options{Dir: t.TempDir(), Name: name + ".witness.test", Logs: []string{vkey}})
		ok(t, err)
		t.Cleanup(func() { _ = w.Close() }) // the test ends
		h := w.Handler(slog.New(slog.DiscardHandler))
		s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if b.away[i].Load() {
				_, _ = io.Copy(io.Discard, r.Body)
				<-r.Context().Done() // the worst way to be away
				return
			}
			h.ServeHTTP(rw, r)
		}))
		t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
		b.all = append(b.all, w)
		p := chain.PolicyWitness{Name: name, VKey: w.VKey(), URL: s.URL}
		if slices.Contains(carried, name) {
			p.URL = ""
		}
		b.policy.Witnesses = append(b.policy.Witnesses, p)
	}
	b.policy.Groups, b.policy.Rule = []chain.PolicyGroup{{Name: "bench", Need: 2, Members: b.names}}, "bench"
	return b
}

func (b *bench) options() evlog.WitnessOptions {
	return evlog.WitnessOptions{Policy: b.policy, Interval: 50 * time.Millisecond, Client: witness.Client{Timeout: 300 * time.Millisecond}}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func witnessed(t testing.TB, pool *pgxpool.Pool, carried ...string) (*evlog.Log, *bench) {
	t.Helper()
	var b *bench
	l := evlogtest.LogWith(t, pool, func(l *evlog.Log) {
		b = newBench(t, l.VKey(), carried...)
		ok(t, l.UseWitnesses(t.Context(), b.options()))
	})
	return l, b
}

func (b *bench) states(l *evlog.Log) map[string]string {
	b.t.Helper()
	all, _, err := l.Witnesses(b.t.Context())
	ok(b.t, err)
	out := map[string]string{}
	for _, w := range all {
		out[w.Name] = w.State
	}
	return out
}

// public is what anyone sees of the public log.
func public(t testing.TB, l *evlog.Log, path string) (int, string) {
	t.Helper()
	r := httptest.NewRecorder()
	l.Handler().ServeHTTP(r, httptest.NewRequest(http.MethodGet, "/log/"+path, nil))
	return r.Code, r.Body.String()
}

// proven waits for a checkpoint over the leaves, then for their witnesses.
func proven(t testing.TB, l *evlog.Log, key string, wait time.Duration) (evlog.Proven, evlog.Leaf) {
	t.Helper()
	f, err := l.ByKey(t.Context(), key)
	ok(t, err)
	var p evlog.Proven
	testenv.Eventually(t, 10*time.Second, func() bool {
		p, err = l.ProofsWitnessed(t.Context(), []int64{f.Seq}, wait)
		if err != nil && !fault.Is(err, fault.KindPending) {
			t.Fatal(err)
		}
		return err == nil
	})
	return p, f
}

func TestWitnessesCosignCheckpoints(t *testing.T) {
	database := testenv.DatabaseURL(t)
	pool, err := pg.Open(t.Context(), database, 8)
	ok(t, err)
	t.Cleanup(pool.Close)
	l, b := witnessed(t, pool)
	trust := b.policy.Public()
	for i := range 300 { // beyond a tile
		add(t, l, pool, viewed(fmt.Sprint("k", i), "ev", "u"))
	}
	p, f := proven(t, l, "k299", 10*time.Second)
	text, err := p.Receipt(f)
	ok(t, err)
	got, err := trust.VerifyReceipt(text)
	if err != nil || !got.Quorum || !p.Quorum.Met || p.Quorum.Need != 2 || p.Quorum.Of != 3 || len(got.Cosigned) != p.Quorum.Have {
		t.Fatalf("%+v %+v %v", got, p.Quorum, err)
	}
	// A receipt that waits for nobody is under that checkpoint too, for older leaves as well.
	for _, key := range []string{"k3", "k299"} {
		if got, err := trust.VerifyReceipt(receipt(t, l, key)); err != nil || !got.Quorum {
			t.Fatalf("%s: %+v %v", key, got, err)
		}
	}
	testenv.Eventually(t, 10*time.Second, func() bool {
		s := b.states(l)
		return s["court"] == evlog.WitnessSigned && s["justice"] == evlog.WitnessSigned && s["procuratorate"] == evlog.WitnessSigned
	})
	code, cp := public(t, l, "checkpoint")
	if o, err := trust.Open([]byte(cp)); err != nil || code != 200 || !o.Quorum || len(o.Cosigned) != 3 {
		t.Errorf("/log/checkpoint: %d %+v %v", code, o, err)
	}
	if code, same := public(t, l, "checkpoint.witnessed"); code != 200 || same != cp {
		t.Errorf("/log/checkpoint.witnessed: %d %s", code, same)
	}
	code, policy := public(t, l, "policy")
	if p, err := chain.ParseTrust(policy); err != nil || code != 200 || p.Text() != trust.Text() || strings.Contains(policy, "http") {
		t.Errorf("/log/policy: %d %s %v", code, policy, err)
	}
	if _, q, err := l.Witnesses(t.Context()); err != nil || !q.Met || q.Size < 300 || q.At.IsZero() {
		t.Errorf("%+v %v", q, err)
	}
	sound(t, l)

	// What is stored of a cosignature can't be changed unnoticed.
	owner, err := pgxpool.New(t.Context(), database)
	ok(t, err)
	t.Cleanup(owner.Close)
	for _, change := range []string{
		"size = c.size + 1", "witness = c.witness || 'x'", "key_hash = set_byte(c.key_hash, 0, get_byte(c.key_hash, 0) # 1)", "at = c.at + interval '1 second'",
		"line = replace(c.line, 'witness', 'Witness')",
		"line = overlay(c.line placing case substr(c.line, length(c.line) - 30, 1) when 'A' then 'B' else 'A' end from length(c.line) - 30 for 1)",
	} {
		tx, err := owner.Begin(t.Context())
		ok(t, err)
		_, err = tx.Exec(t.Context(), "create table kept as select * from log_cosignature")
		ok(t, err)
		_, err = tx.Exec(t.Context(), "update log_cosignature c set "+change+" where c.witness = 'court.witness.test' and c.size = (select max(size) from kept where witness = 'court.witness.test')")
		ok(t, err)
		ok(t, tx.Commit(t.Context()))
		rep, err := l.Audit(t.Context())
		if err != nil || !slices.ContainsFunc(rep.Findings, func(f evlog.Finding) bool { return strings.HasPrefix(f.Where, "cosignature ") }) {
			t.Errorf("%s: %+v %v", change, rep.Findings, err)
		}
		_, err = owner.Exec(t.Context(), "delete from log_cosignature; insert into log_cosignature select * from kept; drop table kept")
		ok(t, err)
	}
	sound(t, l)
	if _, err := pool.Exec(t.Context(), "update log_cosignature set line = line"); err == nil {
		t.Error("the application may change cosignatures")
	}
	if _, err := pool.Exec(t.Context(), "delete from log_cosignature"); err == nil {
		t.Error("the application may delete cosignatures")
	}
}

// Witnesses that take questions and never answer hold up neither publishing nor those who do answer; without a quorum an export says so.
func TestPublishingGoesOnWithoutWitnesses(t *testing.T) {
	pool := testenv.Pool(t)
	l, b := witnessed(t, pool)
	b.away[2].Store(true)
	add(t, l, pool, viewed("a", "ev", "u"))
	began := time.Now()
	p, _ := proven(t, l, "a", 10*time.Second)
	if !p.Quorum.Met || p.Quorum.Have != 2 || time.Since(began) > 3*time.Second {
		t.Fatalf("two of three: %+v after %s", p.Quorum, time.Since(began))
	}
	b.away[0].Store(true)
	b.away[1].Store(true)
	for i := range 20 { // each with a receipt of its own, in time
		key := fmt.Sprint("b", i)
		began := time.Now()
		add(t, l, pool, viewed(key, "ev", "u"))
		receipt(t, l, key)
		if d := time.Since(began); d > 1500*time.Millisecond {
			t.Errorf("receipt after %s", d)
		}
	}
	began = time.Now()
	p, f := proven(t, l, "b19", 10*time.Second)
	if p.Quorum.Met || p.Quorum.Have != 0 || p.Quorum.Need != 2 || time.Since(began) > 5*time.Second {
		t.Fatalf("nobody: %+v after %s", p.Quorum, time.Since(began))
	}
	text, err := p.Receipt(f)
	ok(t, err)
	if got, err := b.policy.VerifyReceipt(text); err != nil || got.Quorum {
		t.Fatalf("%+v %v", got, err)
	}
	testenv.Eventually(t, 10*time.Second, func() bool {
		s := b.states(l)
		return s["court"] == evlog.WitnessUnreachable && s["justice"] == evlog.WitnessUnreachable && s["procuratorate"] == evlog.WitnessUnreachable
	})
	// One of two comes back: it is said which one.
	b.away[0].Store(false)
	if p, _ = proven(t, l, "b19", 10*time.Second); p.Quorum.Met || !slices.Equal(p.Quorum.Names, []string{"court"}) {
		t.Fatalf("one: %+v", p.Quorum)
	}
	// And all: the log catches up by itself.
	b.away[1].Store(false)
	b.away[2].Store(false)
	testenv.Eventually(t, 20*time.Second, func() bool {
		s := b.states(l)
		return s["court"] == evlog.WitnessSigned && s["justice"] == evlog.WitnessSigned && s["procuratorate"] == evlog.WitnessSigned
	})
	sound(t, l)
}

// A witness that has seen another history refuses, and is shown to.
func TestWitnessThatSawAnotherHistory(t *testing.T) {
	pool := testenv.Pool(t)
	dir := t.TempDir()
	s, err := signer.Open(t.Context(), dir, "forked.zhizheng.test")
	ok(t, err)
	st, err := s.State(t.Context())
	ok(t, err)
	b := newBench(t, st.VKey)
	// The same key signs another beginning, before its state is set back: what a restored backup of everything looks like.
	var e chain.Edge
	for i := range 5 {
		e.Append(chain.LeafHash([]byte{byte(i)}))
	}
	other, err := s.Sign(t.Context(), signer.Request{Size: e.Size, Root: e.Root()})
	ok(t, err)
	if _, err := b.all[0].Add(witness.Request{Checkpoint: other}); err != nil {
		t.Fatal(err)
	}
	ok(t, s.Close())
	empty := chain.Edge{}
	start := chain.Checkpoint{Origin: "forked.zhizheng.test", Root: empty.Root()}
	ok(t, os.WriteFile(filepath.Join(dir, "log.signed"), []byte(start.Text()), 0o600))
	if s, err = signer.Open(t.Context(), dir, ""); err != nil {
		t.Fatal(err)
	}
	l, err := evlog.New(pool, evlog.Options{Signer: s, Interval: 20 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	ok(t, err)
	ok(t, l.UseWitnesses(t.Context(), b.options()))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; _ = l.Close() }) // the test ends
	for i := range 8 {
		add(t, l, pool, viewed(fmt.Sprint("k", i), "ev", "u"))
	}
	testenv.Eventually(t, 10*time.Second, func() bool {
		s := b.states(l)
		return s["court"] == evlog.WitnessRefused && s["justice"] == evlog.WitnessSigned
	})
	if k := b.all[0].Known(); k[0].Size != 5 || k[0].Root != e.Root() {
		t.Errorf("it moved: %+v", k)
	}
}

// The policy is logged when it changes, and only then.
func TestPolicyIsLogged(t *testing.T) {
	pool := testenv.Pool(t)
	dir := t.TempDir()
	start := func(use func(l *evlog.Log) error) {
		t.Helper()
		s, err := signer.Open(t.Context(), dir, "policy.zhizheng.test")
		ok(t, err)
		l, err := evlog.New(pool, evlog.Options{Signer: s})
		ok(t, err)
		ok(t, use(l))
		ok(t, l.Close())
	}
	var b *bench
	policies := func() (out []string) {
		start(func(l *evlog.Log) error {
			leaves, err := l.SubjectLeaves(t.Context(), chain.Subject{Type: chain.SubjectPlatform, ID: "witnesses"})
			for _, f := range leaves {
				p, perr := chain.Payload[chain.WitnessesPayload](f.Payload)
				ok(t, perr)
				out = append(out, p.Policy)
			}
			return err
		})
		return out
	}
	none := func(l *evlog.Log) error {
		return l.UseWitnesses(t.Context(), evlog.WitnessOptions{Policy: chain.LogPolicy(l.VKey())})
	}
	start(none)
	if p := policies(); len(p) != 0 {
		t.Fatalf("logged without witnesses: %q", p)
	}
	start(func(l *evlog.Log) error {
		b = newBench(t, l.VKey())
		return l.UseWitnesses(t.Context(), b.options())
	})
	moved := b.options()
	moved.Policy.Witnesses = slices.Clone(moved.Policy.Witnesses)
	moved.Policy.Witnesses[0].URL = "http://127.0.0.1:1" // an address is no change of trust
	start(func(l *evlog.Log) error { return l.UseWitnesses(t.Context(), moved) })
	start(none)
	start(func(l *evlog.Log) error { return l.UseWitnesses(t.Context(), b.options()) })
	want := b.policy.Public().Text()
	if p := policies(); len(p) != 3 || p[0] != want || !strings.HasSuffix(p[1], "quorum none\n") || p[2] != want {
		t.Fatalf("%q", p)
	}
	start(func(l *evlog.Log) error {
		foreign := chain.LogPolicy(strings.TrimSpace("x.test+5cf8d9ab+AYMILRkVvymkXHlFI5qELgxFaN37sxePYI6fpQNKDv+b"))
		if err := l.UseWitnesses(t.Context(), evlog.WitnessOptions{Policy: foreign}); err == nil {
			t.Error("another log's policy is in force")
		}
		return l.UseLoggedWitnesses(t.Context())
	})
}

// A witness without network, by files.
func TestCarriedCosignatures(t *testing.T) {
	pool := testenv.Pool(t)
	l, b := witnessed(t, pool, "court", "procuratorate")
	add(t, l, pool, viewed("a", "ev", "u"), viewed("b", "ev", "u"))
	receipt(t, l, "b")
	request := func(name string, from *int64) []byte {
		t.Helper()
		text, _, err := l.WitnessRequest(t.Context(), name, from)
		ok(t, err)
		return text
	}
	file, err := b.all[0].SignFile(request("court", nil))
	ok(t, err)
	got, err := l.ImportCosignatures(t.Context(), string(file))
	if err != nil || len(got) != 1 || got[0].Witness != "court" || !got[0].New {
		t.Fatalf("%+v %v", got, err)
	}
	if got, err = l.ImportCosignatures(t.Context(), string(file)); err != nil || got[0].New {
		t.Fatalf("again: %+v %v", got, err)
	}
	// The line alone is enough; the log finds what it is over.
	add(t, l, pool, viewed("c", "ev", "u"))
	receipt(t, l, "c")
	r, err := witness.ParseRequest(request("court", nil))
	ok(t, err)
	if r.Old == 0 {
		t.Error("it forgot how far the court had come")
	}
	line, err := b.all[0].Add(r)
	ok(t, err)
	add(t, l, pool, viewed("d", "ev", "u"))
	receipt(t, l, "d")
	if got, err = l.ImportCosignatures(t.Context(), line); err != nil || len(got) != 1 || !got[0].New {
		t.Fatalf("%+v %v", got, err)
	}
	// The stick got lost: the court is further than we know, and says so.
	file, err = b.all[0].SignFile(request("court", nil))
	ok(t, err)
	add(t, l, pool, viewed("e", "ev", "u"))
	receipt(t, l, "e")
	if _, err := b.all[0].SignFile(request("court", nil)); err == nil {
		t.Error("signed from an old size")
	}
	from := b.all[0].Known()[0].Size
	if _, err := b.all[0].SignFile(request("court", &from)); err != nil {
		t.Fatal(err)
	}
	// What can't be true isn't taken.
	flipped := []byte(line)
	flipped[len(flipped)-10] ^= 1
	stranger, err := witness.Open(t.Context(), witness.Options{Dir: t.TempDir(), Name: "stranger.test", Logs: []string{l.VKey()}})
	ok(t, err)
	t.Cleanup(func() { _ = stranger.Close() }) // the test ends
	zero := int64(0)
	foreign, err := stranger.SignFile(request("procuratorate", &zero))
	ok(t, err)
	altered := bytes.Replace(file, []byte("court.witness.test "), []byte("justice.witness.test "), 1)
	for what, text := range map[string]string{"a flipped bit": string(flipped), "a stranger's": string(foreign), "nothing": "", "no line": "hello\n", "a page": "<html>\n\n</html>",
		"another name": string(altered), "another root": strings.Replace(string(file), "\n\n", "A\n\n", 1)} {
		if got, err := l.ImportCosignatures(t.Context(), text); !fault.Is(err, fault.KindInvalid) {
			t.Errorf("%s: %+v %v", what, got, err)
		}
	}
	if _, _, err := l.WitnessRequest(t.Context(), "nobody", nil); !fault.Is(err, fault.KindNotFound) {
		t.Error(err)
	}
	beyond := int64(1 << 40)
	if _, _, err := l.WitnessRequest(t.Context(), "court", &beyond); !fault.Is(err, fault.KindInvalid) {
		t.Error(err)
	}
	sound(t, l)
}
