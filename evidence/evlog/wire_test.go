package evlog_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/signer"
)

// Faults are made on the wire, not in the code under test: every round trip to PostgreSQL, every request to the store and every question to
// the signer is a step, whatever the code does in it.

// way is how a step goes wrong.
type way string

const (
	fails    way = "fails"                    // it doesn't happen, and the connection breaks
	persists way = "fails but persisted"      // it happens, and its answer is lost
	dies     way = "killed before"            // the process dies before it
	diesPast way = "killed after it happened" // and after it
)

// stage counts steps, and lets one go wrong.
type stage struct {
	mu   sync.Mutex
	n    int
	at   int // 0: none
	how  way
	hit  func() // kills or freezes; nil for the faults of a connection
	done bool   // the step was reached
	what string // which it was
	all  []string
}

// arm makes the at-th step from now go wrong.
func (s *stage) arm(at int, how way, hit func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.n, s.at, s.how, s.hit, s.done, s.what, s.all = 0, at, how, hit, false, "", nil
}

func (s *stage) disarm() (reached bool, what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = 0
	return s.done, s.what
}

// step runs do unless it is the one to go wrong; ok says that its answer may be given.
func (s *stage) step(what string, do func()) (ok bool) {
	s.mu.Lock()
	s.n++
	s.all = append(s.all, what)
	wrong := s.at == s.n
	how, hit := s.how, s.hit
	if wrong {
		s.done, s.what = true, what
	}
	s.mu.Unlock()
	if !wrong {
		do()
		return true
	}
	if how == persists || how == diesPast {
		do()
	}
	if hit != nil {
		hit()
	}
	return hit != nil && how == diesPast // a frozen process finds its answer when it wakes
}

// wire passes PostgreSQL's protocol on, one round trip at a time.
type wire struct {
	stage   *stage
	network string
	address string
	l       net.Listener
}

// newWire gives the address to use instead of the database's own.
func newWire(t testing.TB, s *stage, address string) string {
	t.Helper()
	cfg, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{stage: s}
	w.network, w.address = pgconnAddress(cfg)
	if w.l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.l.Close() })
	go func() {
		for {
			c, err := w.l.Accept()
			if err != nil {
				return
			}
			go w.serve(c)
		}
	}()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = w.l.Addr().String()
	q := u.Query()
	q.Del("host")
	q.Del("port")
	q.Set("sslmode", "disable")
	u.RawQuery = q.Encode()
	return u.String()
}

func (w *wire) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial(w.network, w.address)
	if err != nil {
		return
	}
	defer server.Close()
	first := make([]byte, 4)
	if _, err := io.ReadFull(client, first); err != nil {
		return
	}
	rest := make([]byte, binary.BigEndian.Uint32(first)-4)
	if _, err := io.ReadFull(client, rest); err != nil {
		return
	}
	if _, err := server.Write(append(first, rest...)); err != nil {
		return
	}
	if binary.BigEndian.Uint32(rest) == 80877102 { // a request to cancel: nothing follows
		return
	}
	for { // greeting, password, until it is ready
		kind, m, err := message(server)
		if err != nil {
			return
		}
		if _, err := client.Write(m); err != nil {
			return
		}
		if kind == 'Z' {
			break
		}
		if asks := binary.BigEndian.Uint32(m[5:]); kind == 'R' && asks != 0 && asks != 12 {
			_, m, err := message(client)
			if err != nil {
				return
			}
			if _, err := server.Write(m); err != nil {
				return
			}
		}
	}
	for w.roundTrip(client, server) {
	}
}

// roundTrip passes on what the client sends up to a Sync or a simple query, and the answer up to where the server is ready again.
func (w *wire) roundTrip(client, server net.Conn) bool {
	var ask bytes.Buffer
	for {
		kind, m, err := message(client)
		if err != nil || kind == 'X' {
			return false
		}
		ask.Write(m)
		if kind == 'Q' || kind == 'S' {
			break
		}
	}
	var answer bytes.Buffer
	broken := false
	if !w.stage.step("SQL", func() {
		if _, err := server.Write(ask.Bytes()); err != nil {
			broken = true
		}
		for {
			kind, m, err := message(server)
			if err != nil {
				broken = true
				return
			}
			answer.Write(m)
			if kind == 'Z' {
				return
			}
			if kind == 'G' { // a copy: the server takes rows until the client says that there are no more
				if _, err := client.Write(answer.Bytes()); err != nil {
					broken = true
					return
				}
				answer.Reset()
				if broken = !copyIn(client, server); broken {
					return
				}
			}
		}
	}) {
		return false
	}
	_, err := client.Write(answer.Bytes())
	return err == nil && !broken
}

// copyIn passes on a copy's rows up to their end.
func copyIn(client, server net.Conn) bool {
	for {
		kind, m, err := message(client)
		if err != nil {
			return false
		}
		if _, err := server.Write(m); err != nil {
			return false
		}
		if kind == 'c' || kind == 'f' { // CopyDone, CopyFail
			return true
		}
	}
}

// message reads one message: a type, a length that counts itself, the rest.
func message(r io.Reader) (kind byte, whole []byte, err error) {
	head := make([]byte, 5)
	if _, err := io.ReadFull(r, head); err != nil {
		return 0, nil, err
	}
	whole = make([]byte, 1+binary.BigEndian.Uint32(head[1:]))
	copy(whole, head)
	_, err = io.ReadFull(r, whole[5:])
	return head[0], whole, err
}

func pgconnAddress(cfg *pgx.ConnConfig) (network, address string) {
	if len(cfg.Host) > 0 && cfg.Host[0] == '/' {
		return "unix", cfg.Host + "/.s.PGSQL." + itoa(int(cfg.Port))
	}
	return "tcp", net.JoinHostPort(cfg.Host, itoa(int(cfg.Port)))
}

// newGate stands before the store and gives the address to use instead.
func newGate(t testing.TB, s *stage, endpoint string) string {
	t.Helper()
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	p := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(u); r.Out.Host = r.In.Host }, // the host is signed
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) }}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rec := httptest.NewRecorder()
		if !s.step("store "+r.Method, func() { p.ServeHTTP(rec, r) }) {
			panic(http.ErrAbortHandler)
		}
		for k, v := range rec.Header() {
			w.Header()[k] = v
		}
		w.WriteHeader(rec.Code)
		_, _ = w.Write(rec.Body.Bytes()) // the client may be dead
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// asked makes each question to a signer a step.
type asked struct {
	evlog.Signer
	stage *stage
	notes *notes
}

var errLost = errors.New("the signer's answer was lost")

func (a asked) State(ctx context.Context) (st signer.State, err error) {
	if !a.stage.step("signer: state", func() { st, err = a.Signer.State(ctx) }) {
		return signer.State{}, errLost
	}
	return st, err
}

func (a asked) Sign(ctx context.Context, r signer.Request) (b []byte, err error) {
	ok := a.stage.step("signer: sign", func() { b, err = a.Signer.Sign(ctx, r) })
	a.notes.add(b) // whoever gets it: it was signed
	if !ok {
		return nil, errLost
	}
	return b, err
}
