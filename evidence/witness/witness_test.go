package witness_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	fmtnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/witness"
)

const origin = "log.zhizheng.test"

// shown is a log of a few hundred leaves, with a key of its own.
type shown struct {
	t      testing.TB
	hashes []chain.Hash
	key    note.Signer
	vkey   string
}

func newLog(t testing.TB, name, content string, n int) shown {
	t.Helper()
	skey, vkey, err := note.GenerateKey(rand.Reader, name)
	must(t, err)
	s := shown{t: t, vkey: vkey}
	s.key, err = note.NewSigner(skey)
	must(t, err)
	s.grow(content, n)
	return s
}

func (s *shown) grow(content string, n int) {
	for range n {
		s.hashes = append(s.hashes, chain.LeafHash([]byte(content+strconv.Itoa(len(s.hashes)))))
	}
}

// fork is the same log, by the same key, with other leaves from n on.
func (s shown) fork(n int) shown {
	f := s
	f.hashes = append([]chain.Hash(nil), s.hashes[:n]...)
	f.grow("fork", len(s.hashes)-n)
	return f
}

func (s shown) root(n int) chain.Hash {
	var e chain.Edge
	for _, h := range s.hashes[:n] {
		e.Append(h)
	}
	return e.Root()
}

func (s shown) text(n int) string {
	return chain.Checkpoint{Origin: s.key.Name(), Size: int64(n), Root: s.root(n)}.Text()
}

func (s shown) signed(n int) []byte {
	s.t.Helper()
	b, err := note.Sign(&note.Note{Text: s.text(n)}, s.key)
	must(s.t, err)
	return b
}

func (s shown) proof(from, to int) []chain.Hash {
	s.t.Helper()
	p, err := chain.ProveConsistency(int64(from), int64(to), s.root(to), func(_ int, _ int64, w int) ([]byte, error) {
		return chain.Join(s.hashes[:w]), nil
	})
	must(s.t, err)
	return p
}

func (s shown) request(from, to int) witness.Request {
	s.t.Helper()
	return witness.Request{Old: int64(from), Proof: s.proof(from, to), Checkpoint: s.signed(to)}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func open(t testing.TB, dir string, logs ...string) *witness.Witness {
	t.Helper()
	w, err := witness.Open(context.Background(), witness.Options{Dir: dir, Name: "witness.zhizheng.test", Logs: logs})
	must(t, err)
	t.Cleanup(func() { _ = w.Close() }) // some tests have closed it already
	return w
}

func serve(t testing.TB, w *witness.Witness) string {
	t.Helper()
	s := httptest.NewServer(w.Handler(slog.New(slog.DiscardHandler)))
	t.Cleanup(s.Close)
	return s.URL
}

func post(t testing.TB, url string, body []byte) (int, string, string) {
	t.Helper()
	res, err := http.Post(url+"/add-checkpoint", "text/plain", bytes.NewReader(body))
	must(t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	must(t, err)
	return res.StatusCode, res.Header.Get("Content-Type"), string(b)
}

// The status of each answer is the protocol's, and no answer but 200 moves the witness.
func TestAnswersOfTheProtocol(t *testing.T) {
	log := newLog(t, origin, "a", 20)
	dir := t.TempDir()
	w := open(t, dir, log.vkey)
	url := serve(t, w)
	verifier, err := fmtnote.NewVerifierForCosignatureV1(w.VKey())
	must(t, err)
	signs := func(r witness.Request) {
		t.Helper()
		code, _, body := post(t, url, r.Text())
		if code != 200 {
			t.Fatalf("%d %s", code, body)
		}
		n, err := note.Open(append(bytes.Clone(r.Checkpoint), body...), note.VerifierList(verifier))
		if err != nil || len(n.Sigs) != 1 {
			t.Fatalf("%q: %v", body, err)
		}
	}
	size := func() int64 { return w.Known()[0].Size }
	other := newLog(t, "other.zhizheng.test", "a", 20)
	impostor := newLog(t, origin, "a", 20)
	fork := log.fork(3)
	altered := log.request(0, 5)
	altered.Checkpoint = bytes.Replace(altered.Checkpoint, []byte("\n5\n"), []byte("\n6\n"), 1)
	wrongProof := log.request(5, 9)
	wrongProof.Proof[0][0] ^= 1
	short := log.request(5, 9)
	short.Proof = short.Proof[1:]

	signs(log.request(0, 0)) // an empty log has a checkpoint too
	signs(log.request(0, 5))
	signs(log.request(5, 5)) // the answer was lost
	for _, c := range []struct {
		what string
		body []byte
		code int
	}{
		{"nothing", nil, 400},
		{"no old line", log.signed(5), 400},
		{"a size with a zero before it", bytes.Replace(log.request(5, 9).Text(), []byte("old 5"), []byte("old 05"), 1), 400},
		{"a negative size", []byte("old -1\n\n" + string(log.signed(5))), 400},
		{"carriage returns", bytes.ReplaceAll(log.request(5, 9).Text(), []byte("\n"), []byte("\r\n")), 400},
		{"a proof of 64", []byte("old 5\n" + strings.Repeat("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n", 64) + "\n" + string(log.signed(9))), 400},
		{"a note without signature", []byte("old 5\n\n" + log.text(9) + "\n"), 400},
		{"too much", bytes.Repeat([]byte("x"), 1<<20), 400},
		{"old beyond the checkpoint", witness.Request{Old: 9, Checkpoint: log.signed(5)}.Text(), 400},
		{"another log", other.request(0, 5).Text(), 404},
		{"another key", impostor.request(5, 9).Text(), 403},
		{"an altered checkpoint", altered.Text(), 403},
		{"an old size that isn't", log.request(3, 9).Text(), 409},
		{"from the start", log.request(0, 9).Text(), 409},
		{"an older checkpoint", witness.Request{Old: 3, Checkpoint: log.signed(3)}.Text(), 409},
		{"another tree of the same size", witness.Request{Old: 5, Checkpoint: fork.signed(5)}.Text(), 409},
		{"another tree that is longer", fork.request(5, 9).Text(), 422},
		{"no proof", witness.Request{Old: 5, Checkpoint: log.signed(9)}.Text(), 422},
		{"a wrong proof", wrongProof.Text(), 422},
		{"a short proof", short.Text(), 422},
		{"a proof too many", witness.Request{Old: 5, Proof: wrongProof.Proof, Checkpoint: log.signed(5)}.Text(), 422},
	} {
		code, kind, body := post(t, url, c.body)
		if code != c.code || size() != 5 {
			t.Errorf("%s: %d %s, size %d", c.what, code, body, size())
		}
		if code == 409 && (kind != "text/x.tlog.size" || body != "5\n") {
			t.Errorf("%s: %s %q", c.what, kind, body)
		}
	}
	res, err := http.Get(url + "/add-checkpoint")
	must(t, err)
	res.Body.Close()
	if res.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("GET: %d", res.StatusCode)
	}
	signs(log.request(5, 20))

	// Extension lines of other logs are cosigned with the rest.
	extended, err := note.Sign(&note.Note{Text: log.text(20) + "an extension\n"}, log.key)
	must(t, err)
	signs(witness.Request{Old: 20, Checkpoint: extended})

	// What it cosigned outlives it.
	must(t, w.Close())
	again := open(t, dir)
	if k := again.Known(); len(k) != 1 || k[0].Size != 20 || k[0].Root != log.root(20) || again.VKey() != w.VKey() {
		t.Fatalf("%+v", k)
	}
}

func TestTwoKeysOfALog(t *testing.T) {
	old := newLog(t, origin, "a", 9)
	fresh := newLog(t, origin, "a", 9)
	dir := t.TempDir()
	w := open(t, dir, old.vkey)
	if _, err := w.Add(old.request(0, 4)); err != nil {
		t.Fatal(err)
	}
	must(t, w.Close())
	w = open(t, dir, fresh.vkey) // told of the new key; the old one it remembers, and where it stood
	if _, err := w.Add(fresh.request(4, 6)); err != nil {
		t.Fatal(err)
	}
	both, err := note.Sign(&note.Note{Text: old.text(9)}, old.key, fresh.key)
	must(t, err)
	if _, err := w.Add(witness.Request{Old: 6, Proof: old.proof(6, 9), Checkpoint: both}); err != nil {
		t.Fatal(err)
	}
}

// A key without its memory, or with a damaged one, is no fresh start.
func TestNoKeyWithoutMemory(t *testing.T) {
	log := newLog(t, origin, "a", 9)
	dir := t.TempDir()
	w := open(t, dir, log.vkey)
	if _, err := w.Add(log.request(0, 9)); err != nil {
		t.Fatal(err)
	}
	must(t, w.Close())
	path := filepath.Join(dir, "witness.state")
	good, err := os.ReadFile(path)
	must(t, err)
	refuses := func(what string) {
		t.Helper()
		if _, err := witness.Open(t.Context(), witness.Options{Dir: dir, Name: "witness.zhizheng.test", Logs: []string{log.vkey}}); err == nil {
			t.Errorf("%s: it starts", what)
		}
	}
	for bit := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		must(t, os.WriteFile(path, bad, 0o600))
		if _, err := witness.Open(t.Context(), witness.Options{Dir: dir}); err == nil {
			t.Fatalf("bit %d of the state", bit)
		}
	}
	must(t, os.WriteFile(path, good[:len(good)/2], 0o600))
	refuses("half a state")
	must(t, os.Remove(path))
	refuses("no state")
	must(t, os.WriteFile(path, good, 0o600))
	w = open(t, dir)
	if w.Known()[0].Size != 9 {
		t.Error("it forgot")
	}
}

func TestAskingFromTheWrongSize(t *testing.T) {
	log := newLog(t, origin, "a", 200)
	w := open(t, t.TempDir(), log.vkey)
	url := serve(t, w)
	key, err := chain.NewWitnessVerifier(w.VKey())
	must(t, err)
	there := witness.Remote{URL: url + "/", Key: key}
	prove := func(to int) witness.Prove {
		return func(_ context.Context, old int64) ([]chain.Hash, error) { return log.proof(int(old), to), nil }
	}
	for _, step := range []struct{ old, to int }{{0, 5}, {3, 100}, {0, 150}, {160, 160}, {160, 200}, {200, 200}, {0, 200}} {
		line, err := (witness.Client{}).Ask(t.Context(), there, log.signed(step.to), int64(step.old), prove(step.to))
		if err != nil || !key.Verify([]byte(log.text(step.to)), line.Sig) {
			t.Fatalf("%+v: %v", step, err)
		}
	}
	var no *witness.Refusal
	if _, err := (witness.Client{}).Ask(t.Context(), there, log.signed(150), 150, prove(150)); !errors.As(err, &no) || no.Code != 409 || no.Size != 200 {
		t.Errorf("an older one: %v", err)
	}
	fork := log.fork(9)
	if _, err := (witness.Client{}).Ask(t.Context(), there, fork.signed(200), 200, prove(200)); !errors.As(err, &no) || no.Code != 409 || no.Size != 200 {
		t.Errorf("a fork: %v", err)
	}
}

// Servers that don't keep to the protocol: none of their answers is taken for a cosignature, none keeps the asker waiting.
func TestWitnessesThatMisbehave(t *testing.T) {
	log := newLog(t, origin, "a", 9)
	mine := open(t, t.TempDir(), log.vkey)
	key, err := chain.NewWitnessVerifier(mine.VKey())
	must(t, err)
	late, err := mine.Add(log.request(0, 4))
	must(t, err)
	stranger := open(t, t.TempDir(), log.vkey)
	foreign, err := stranger.Add(log.request(0, 9))
	must(t, err)
	for what, answer := range map[string]func(http.ResponseWriter, *http.Request){
		"another checkpoint's": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, late) },
		"a stranger's":         func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, foreign) },
		"nothing":              func(http.ResponseWriter, *http.Request) {},
		"a page":               func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") },
		"endless":              func(w http.ResponseWriter, _ *http.Request) { _, _ = io.Copy(w, io.LimitReader(rand.Reader, 8<<20)) },
		"409 without a size":   func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusConflict) },
		"409 for ever": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/x.tlog.size")
			w.WriteHeader(409)
			fmt.Fprint(w, "7\n")
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
		"broken": func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "\x1b[2Jboom", 500) },
		"silent": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // before that the server doesn't notice a client that left
			<-r.Context().Done()
		},
	} {
		s := httptest.NewServer(http.HandlerFunc(answer))
		began := time.Now()
		c := witness.Client{Timeout: time.Second}
		line, err := c.Ask(t.Context(), witness.Remote{URL: s.URL, Key: key}, log.signed(9), 0, func(_ context.Context, old int64) ([]chain.Hash, error) {
			return log.proof(int(old), 9), nil
		})
		if err == nil || strings.Contains(err.Error(), "\x1b") || time.Since(began) > 5*time.Second {
			t.Errorf("%s: %v %v after %s", what, line, err, time.Since(began))
		}
		s.CloseClientConnections()
		s.Close()
	}
}

// By USB stick: the request as a file, the cosignature as a file.
func TestSigningAFile(t *testing.T) {
	log := newLog(t, origin, "a", 30)
	dir := t.TempDir()
	vkey := filepath.Join(dir, "log.vkey")
	must(t, os.WriteFile(vkey, []byte(log.vkey+"\n"), 0o600))
	place := witness.Place{Dir: filepath.Join(dir, "w"), Name: "witness.zhizheng.test", Log: []string{vkey}}
	sign := func(r witness.Request) ([]byte, error) {
		in, out := filepath.Join(dir, "request"), filepath.Join(dir, "cosigned")
		must(t, os.WriteFile(in, r.Text(), 0o600))
		_ = os.Remove(out) // of the time before
		c := witness.SignCommand{Place: place, Request: in, Out: out}
		if err := c.Run(t.Context()); err != nil {
			return nil, err
		}
		place.Log = nil // it remembers
		return os.ReadFile(out)
	}
	signed, err := sign(log.request(0, 12))
	must(t, err)
	w := open(t, place.Dir)
	policy, err := chain.ParsePolicy("log " + log.vkey + "\nwitness w " + w.VKey() + "\nquorum w\n")
	must(t, err)
	must(t, w.Close())
	if o, err := policy.Open(signed); err != nil || !o.Quorum || o.Size != 12 {
		t.Fatalf("%+v %v", o, err)
	}
	if _, err := sign(log.request(5, 20)); err == nil || !strings.Contains(err.Error(), "--from 12") {
		t.Errorf("from another size: %v", err)
	}
	if _, err := sign(log.fork(3).request(12, 20)); err == nil {
		t.Error("it signs a fork")
	}
	if _, err := sign(log.request(12, 20)); err != nil {
		t.Error(err)
	}
}

// FuzzRequest: one spelling, and no witness is moved by what it can't have been asked.
func FuzzRequest(f *testing.F) {
	log := newLog(f, origin, "a", 20)
	w := open(f, f.TempDir(), log.vkey)
	if _, err := w.Add(log.request(0, 7)); err != nil {
		f.Fatal(err)
	}
	f.Add(log.fork(3).request(7, 20).Text())
	f.Add(log.request(7, 7).Text())
	f.Add([]byte("old 0\n\nx\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n— x AAAAAAA=\n"))
	f.Add([]byte("old 0\n\n\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := witness.ParseRequest(b)
		if err != nil {
			return
		}
		if !bytes.Equal(r.Text(), b) {
			t.Fatal("two spellings of one request")
		}
		_, err = w.Add(r)
		var no *witness.Refusal
		if err != nil && !errors.As(err, &no) {
			t.Fatal(err)
		}
		if k := w.Known(); len(k) != 1 || k[0].Size != 7 || k[0].Root != log.root(7) {
			t.Fatalf("moved to %+v", k)
		}
	})
}
