package audit_test

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/signer"

	"zhizheng/evidence/audit"
	"zhizheng/evidence/chain"
	"zhizheng/internal/blob"
	"zhizheng/internal/testcounty"
)

// proxy stands before the real store; change may alter a request, which is then signed anew, and answer an answer.
func proxy(t *testing.T, o blob.Options, change func(r *http.Request), answer func(r *http.Response)) blob.Options {
	t.Helper()
	target, err := url.Parse(o.Endpoint)
	must(t, err)
	p := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(target)
			r.Out.Host = target.Host
			if change != nil {
				change(r.Out)
			}
			unchunk(t, r.Out)
			r.Out.Header.Del("Authorization")
			r.Out.Header.Set("X-Amz-Content-Sha256", "UNSIGNED-PAYLOAD")
			r.Out = signer.SignV4(*r.Out, o.AccessKey, o.SecretKey, "", "us-east-1")
		},
		ModifyResponse: func(r *http.Response) error {
			if answer != nil {
				answer(r)
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	srv := httptest.NewServer(p)
	t.Cleanup(srv.Close)
	o.Endpoint = srv.URL
	return o
}

// unchunk takes a body out of the chunks that its client signed one by one.
func unchunk(t *testing.T, r *http.Request) {
	if !strings.HasPrefix(r.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return
	}
	in, body := bufio.NewReader(r.Body), []byte{}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			t.Errorf("chunk: %v", err)
			return
		}
		size, _, _ := strings.Cut(strings.TrimSpace(line), ";")
		n, err := strconv.ParseInt(size, 16, 64)
		if err != nil || n == 0 {
			break
		}
		chunk := make([]byte, n+2)
		if _, err := io.ReadFull(in, chunk); err != nil {
			t.Errorf("chunk: %v", err)
			return
		}
		body = append(body, chunk[:n]...)
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	r.Header.Set("Content-Length", strconv.Itoa(len(body)))
	for _, h := range []string{"X-Amz-Decoded-Content-Length", "Content-Encoding", "X-Amz-Trailer"} {
		r.Header.Del(h)
	}
}

func canaryLeaves(t *testing.T, c *testcounty.County) (out []chain.CanaryPayload) {
	t.Helper()
	all, err := c.Log.SubjectLeaves(t.Context(), chain.Subject{Type: chain.SubjectPlatform, ID: "store"})
	must(t, err)
	for _, l := range all {
		if d, err := l.Decode(); err != nil || d.Kind != chain.KindCanary {
			continue
		}
		p, err := chain.Payload[chain.CanaryPayload](l.Payload)
		must(t, err)
		out = append(out, p)
	}
	return out
}

func failed(i audit.Info) (out []string) {
	for _, s := range i.Steps {
		if !s.OK {
			out = append(out, s.Name)
		}
	}
	return out
}

// A store that holds: one canary for good, a run each time, a leaf a day.
func TestStoreThatHolds(t *testing.T) {
	c := testcounty.New(t)
	s, k := service(c)
	var first string
	for round, want := range []int{1, 1, 2} {
		i, err := s.TryCanaries(t.Context(), "u1")
		must(t, err)
		leaves := canaryLeaves(t, c)
		if i.State != audit.StateOK || len(failed(i)) > 0 || len(leaves) != want || s.LockBroken() || len(alarms(t, s)) != 0 {
			t.Fatalf("round %d: %+v, %d leaves", round, i, len(leaves))
		}
		last := leaves[len(leaves)-1]
		if first == "" {
			first = last.ObjectKey + last.VersionID
		}
		if !last.Held || last.Store != "主存储" || last.ObjectKey+last.VersionID != first || len(last.Steps) < 10 || (i.LogKey != "") != (round != 1) {
			t.Errorf("round %d: %+v", round, last)
		}
		must(t, k.sleep(t.Context(), 13*time.Hour))
	}
}

// Stores that let go, each a proxy before the real one, which really deletes.
func TestStoresThatLetGo(t *testing.T) {
	// A bucket with versions and no lock: what asks for one is told that there is one.
	noLock := func(t *testing.T, o blob.Options) blob.Options {
		o.Bucket += "-open"
		cl, err := minio.New(strings.TrimPrefix(o.Endpoint, "http://"), &minio.Options{Creds: credentials.NewStaticV4(o.AccessKey, o.SecretKey, ""), Region: "us-east-1"})
		must(t, err)
		must(t, cl.MakeBucket(t.Context(), o.Bucket, minio.MakeBucketOptions{}))
		must(t, cl.EnableVersioning(t.Context(), o.Bucket))
		return o
	}
	dropLock := func(r *http.Request) {
		for k := range r.Header {
			if strings.HasPrefix(k, "X-Amz-Object-Lock-") {
				r.Header.Del(k)
			}
		}
	}
	claimLock := func(r *http.Response) {
		if r.Request.Method == http.MethodHead && r.StatusCode == http.StatusOK {
			r.Header.Set("X-Amz-Object-Lock-Mode", "COMPLIANCE")
			r.Header.Set("X-Amz-Object-Lock-Retain-Until-Date", time.Now().Add(8*24*time.Hour).UTC().Format(time.RFC3339))
		}
	}
	for _, x := range []struct {
		name  string
		store func(t *testing.T, o blob.Options) blob.Options
		finds string
	}{
		{"takes no lock at all", noLock, "canary-planted"},
		{"swallows the lock and claims it", func(t *testing.T, o blob.Options) blob.Options {
			return proxy(t, noLock(t, o), dropLock, claimLock)
		}, "canary-delete-bypass-false"},
		{"swallows the lock silently", func(t *testing.T, o blob.Options) blob.Options { return proxy(t, noLock(t, o), dropLock, nil) }, "canary-present"},
		{"locks so that a bypass works, and claims more", func(t *testing.T, o blob.Options) blob.Options {
			return proxy(t, o, func(r *http.Request) {
				if r.Header.Get("X-Amz-Object-Lock-Mode") != "" {
					r.Header.Set("X-Amz-Object-Lock-Mode", "GOVERNANCE")
				}
			}, claimLock)
		}, "canary-delete-bypass-true"},
		{"refuses one deletion and obeys a bulk", func(t *testing.T, o blob.Options) blob.Options {
			return proxy(t, o, func(r *http.Request) {
				if r.Header.Get("X-Amz-Object-Lock-Mode") != "" {
					r.Header.Set("X-Amz-Object-Lock-Mode", "GOVERNANCE")
				}
				if r.URL.Query().Has("delete") {
					r.Header.Set("X-Amz-Bypass-Governance-Retention", "true")
				} else {
					r.Header.Del("X-Amz-Bypass-Governance-Retention")
				}
			}, claimLock)
		}, "canary-bulk-delete-bypass-false"},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := testcounty.New(t)
			store := x.store(t, c.StoreOptions)
			s, k := service(c, func(o *audit.Options) { o.Stores = []audit.Store{{Name: "镜像", Options: store}, o.Stores[0]} })
			i, err := s.TryCanaries(t.Context(), "u1")
			must(t, err)
			if bad := failed(i); i.State != audit.StateFindings || !slices.Contains(bad, x.finds) || !s.LockBroken() || i.FindingCount == 0 {
				t.Fatalf("failed steps %v, want %s; %+v", bad, x.finds, i)
			}
			a := alarms(t, s)
			if len(a) != 1 || a[0].Kind != "canary" || !strings.Contains(a[0].Text, "镜像") || a[0].RunID != i.ID {
				t.Fatalf("alarms: %+v", a)
			}
			if l := canaryLeaves(t, c); len(l) != 2 || l[0].Held || !l[1].Held {
				t.Errorf("leaves: %+v", l)
			}
			// The same again is the same alarm; answered for, the store is still not trusted, for it still lets go.
			must(t, k.sleep(t.Context(), 15*time.Minute))
			_, err = s.TryCanaries(t.Context(), "u1")
			must(t, err)
			if again := alarms(t, s); len(again) != 1 || again[0].ID != a[0].ID {
				t.Errorf("alarms: %+v", again)
			}
			_, err = s.Acknowledge(t.Context(), nil, a[0].ID, "u9", "联系厂商")
			must(t, err)
			if !s.LockBroken() {
				t.Error("trusted again by a signature")
			}
		})
	}
}

// Once a store has let go and holds again, it is trusted only after somebody has answered for it. A store that is away has not let go.
func TestTrustComesBack(t *testing.T) {
	c := testcounty.New(t)
	var lets, away atomic.Bool
	store := proxy(t, c.StoreOptions, func(r *http.Request) {
		if away.Load() {
			r.URL.Host = "127.0.0.1:1"
		}
		if lets.Load() && r.Header.Get("X-Amz-Object-Lock-Mode") != "" {
			r.Header.Set("X-Amz-Object-Lock-Mode", "GOVERNANCE")
		}
	}, nil)
	s, _ := service(c, func(o *audit.Options) { o.Stores = []audit.Store{{Name: "主存储", Options: store}} })
	try := func(want string) audit.Info {
		t.Helper()
		i, err := s.TryCanaries(t.Context(), "u1")
		must(t, err)
		if i.State != want {
			t.Fatalf("%+v", i)
		}
		return i
	}
	lets.Store(true)
	try(audit.StateFindings)
	lets.Store(false)
	try(audit.StateOK)
	if !s.LockBroken() {
		t.Error("trusted without anybody having looked")
	}
	_, err := s.Acknowledge(t.Context(), nil, alarms(t, s)[0].ID, "u9", "已修复并核对全部影像")
	must(t, err)
	if s.LockBroken() {
		t.Error("never trusted again")
	}
	away.Store(true)
	i := try(audit.StateFailed)
	if s.LockBroken() || len(alarms(t, s)) != 0 || strings.Contains(i.Text+i.Steps[0].Got, "127.0.0.1") {
		t.Errorf("a store that is away: %+v", i)
	}
}

// A store that is away while footage is read: waited for, nothing is called damaged; one item that can't be read, the others being
// readable, is alarmed and keeps its state; an answer that breaks off or differs once is read again.
func TestStoreTroubleIsNoDamage(t *testing.T) {
	c := testcounty.New(t)
	odd := c.Seals("odd.mp4", testcounty.Bytes(1, 5000))
	fine := c.Seals("fine.mp4", testcounty.Bytes(2, 5000))
	key := record(t, c, odd).ObjectKey
	var away, once, cutOnce, stuck atomic.Int32
	front := proxy(t, c.StoreOptions, func(r *http.Request) {
		if away.Load() > 0 {
			away.Add(-1)
			r.URL.Host = "127.0.0.1:1"
		}
		if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, key) && stuck.Load() > 0 {
			r.URL.Host = "127.0.0.1:1"
		}
	}, func(r *http.Response) {
		if r.Request.Method != http.MethodGet || !strings.HasSuffix(r.Request.URL.Path, key) {
			return
		}
		if once.CompareAndSwap(1, 0) {
			b, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			b[10] ^= 1
			r.Body = io.NopCloser(strings.NewReader(string(b)))
		}
		if cutOnce.CompareAndSwap(1, 0) {
			r.Body = io.NopCloser(io.LimitReader(r.Body, 100))
			r.ContentLength = 100
			r.Header.Set("Content-Length", "100")
		}
	})
	store, err := blob.Open(t.Context(), front)
	must(t, err)
	t.Cleanup(store.Close)
	s, k := service(c, func(o *audit.Options) { o.Evidence = c.KeeperOn(store) })
	for what, trouble := range map[string]func(){
		"away for a while": func() { away.Store(12) }, "differs once": func() { once.Store(1) }, "short once": func() { cutOnce.Store(1) },
	} {
		trouble()
		if run := reread(t, s); run.State != audit.StateOK || run.DoneObjects != 2 || len(alarms(t, s)) != 0 {
			t.Errorf("%s: %+v", what, run)
		}
		if away.Load() != 0 || once.Load() != 0 || cutOnce.Load() != 0 {
			t.Errorf("%s: the trouble was not met", what)
		}
	}
	stuck.Store(1)
	before := k.slept
	run := reread(t, s)
	if a := alarms(t, s); run.State != audit.StateFindings || run.Damaged+run.Missing != 0 || run.FindingCount != 1 || run.DoneObjects != 2 || len(a) != 1 ||
		a[0].Kind != "unreadable" || a[0].EvidenceID != string(odd) || k.slept-before < 10*time.Second {
		t.Errorf("%+v %+v", run, a)
	}
	if r := record(t, c, odd); r.Status != "sealed" || r.Damage != "" {
		t.Errorf("the record: %s %s", r.Status, r.Damage)
	}
	if n, _ := leaves(t, c, odd, chain.KindDamaged); n != 0 {
		t.Error("it is called damaged")
	}
	if n, _ := leaves(t, c, fine, chain.KindVerified); n != 4 {
		t.Errorf("the other one was verified %d times", n)
	}
}
