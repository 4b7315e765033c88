package evidence_test

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence"
	"zhizheng/evidence/audit"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/internal/blob"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
	"zhizheng/internal/testcounty"
	"zhizheng/internal/testenv"
)

// shortlived is a county that keeps ordinary footage for two seconds and gives the window for objections.
func shortlived(t *testing.T, window time.Duration) *testcounty.County {
	t.Helper()
	c := testcounty.New(t)
	const term = 2 * time.Second
	c.Ingest.Retain = func(now time.Time) time.Time { return now.Add(term) }
	c.Ingest.OpenLock = time.Second
	c.Keeper.Policy.Keep[evidence.Ordinary] = term
	c.Keeper.Policy.Window = window
	return c
}

func due(t *testing.T, c *testcounty.County) (ids []evidence.ID) {
	t.Helper()
	p, err := c.Keeper.Due(t.Context(), evidence.Scope{}, "", 100)
	must(t, err)
	for _, d := range p.Items {
		ids = append(ids, d.Record.ID)
	}
	return ids
}

// proposed runs the job until so many are proposed.
func proposed(t *testing.T, c *testcounty.County, n int) {
	t.Helper()
	testenv.Eventually(t, 20*time.Second, func() bool {
		must(t, c.Keeper.Expire(t.Context()))
		return len(due(t, c)) == n
	})
}

// windowOver ends the time for objections.
func windowOver(t *testing.T, c *testcounty.County) {
	t.Helper()
	_, err := c.Owner().Exec(t.Context(), `update evidence_deletion set due_at = proposed_at where decided_at is null`)
	must(t, err)
}

func act(t *testing.T, c *testcounty.County, do func(context.Context, *pg.Tx, evidence.ID, evidence.Act) error, id evidence.ID) error {
	t.Helper()
	return c.Log.Do(t.Context(), func(ctx context.Context, tx *pg.Tx) error {
		return do(ctx, tx, id, evidence.Act{Actor: "u1", Reason: "仍有用处"})
	})
}

// What is over its retention, and nothing else, is proposed, waits for objections, and goes with a certificate that the log proves.
func TestWhatIsOverGoes(t *testing.T) {
	c := shortlived(t, time.Hour)
	body := []byte("over")
	over := c.Seals("over.mp4", body)
	_, err := c.Store.Put(t.Context(), "posters/"+string(over)+".jpg", []byte("jpeg"), blob.CreateOptions{})
	must(t, err)
	must(t, c.Keeper.SetPoster(t.Context(), over, "posters/"+string(over)+".jpg"))
	held, permanent, restricted, damaged := c.Seals("held.mp4", []byte("h")), c.Seals("p.mp4", []byte("p")), c.Seals("r.mp4", []byte("r")), c.Seals("d.mp4", []byte("d"))
	must(t, act(t, c, c.Keeper.SetHold, held))
	must(t, categorize(c, t, permanent, evidence.Obstruction))
	_, err = c.Keeper.Restrict(t.Context(), evidence.Scope{}, restricted, true, evidence.Act{Actor: "u1", Reason: "误录"})
	must(t, err)
	must(t, c.Log.Do(t.Context(), func(ctx context.Context, tx *pg.Tx) error {
		_, err := c.Keeper.Damaged(ctx, tx, damaged, evidence.Check{Run: "r", Damage: evidence.DamageDiffers, At: time.Now()})
		return err
	}))
	elsewhere := c.Seals("store-says-no.mp4", []byte("longer at the store"))
	r := record(t, c, elsewhere)
	must(t, c.Store.ExtendRetention(t.Context(), r.ObjectKey, r.VersionID, time.Now().Add(time.Minute)))
	c.Keeper.Policy.Keep[evidence.Ordinary] = time.Minute // what comes now is not over
	c.Ingest.Retain = func(now time.Time) time.Time { return now.Add(time.Minute) }
	c.Seals("young.mp4", []byte("young"))

	proposed(t, c, 1)
	if got := due(t, c); got[0] != over {
		t.Fatalf("due: %v", got)
	}
	must(t, c.Keeper.Expire(t.Context()))
	if r := record(t, c, over); r.Status != evidence.StatusSealed {
		t.Fatalf("in the time for objections: %s", r.Status)
	}
	c.User("li", "officer", testcounty.Donghe)
	c.User("jia", "officer", testcounty.Jiachuan)
	li := c.SignedIn("li")
	if a := li.Get("/api/v1/evidence/" + string(over) + "/deletion-certificate"); a.Status != 404 {
		t.Errorf("certificate of what is there: %d", a.Status)
	}
	windowOver(t, c)
	must(t, c.Keeper.Expire(t.Context()))
	gone(t, c, over)
	for _, id := range []evidence.ID{held, permanent, restricted, damaged, elsewhere} {
		r := record(t, c, id)
		if _, err := c.Store.HeadVersion(t.Context(), r.ObjectKey, r.VersionID); err != nil || r.Status == evidence.StatusDeleted {
			t.Errorf("%s is %s, %v", r.FileName, r.Status, err)
		}
	}
	rec := record(t, c, over)
	if _, err := c.Store.Head(t.Context(), "posters/"+string(over)+".jpg"); !fault.Is(err, fault.KindNotFound) || rec.PosterKey != "" {
		t.Errorf("the poster is left: %v", err)
	}

	// The edge says so plainly.
	a := li.Get(content(over))
	if a.Status != http.StatusGone || !strings.Contains(a.Header.Get("Link"), "/deletion-certificate") || !strings.Contains(string(a.Body), "deletion-certificate") {
		t.Errorf("content: %d %s %s", a.Status, a.Header.Get("Link"), a.Body)
	}
	c.Receipt(evidence.DeletedKey(over))
	var cert struct {
		SHA256  string `json:"sha256"`
		Text    string
		Receipt string
		Leaf    int64 `json:"leaf_index"`
		Decided int64 `json:"decided_leaf_index"`
	}
	a = li.Get("/api/v1/evidence/" + string(over) + "/deletion-certificate")
	must(t, json.Unmarshal(a.Body, &cert))
	sum := hex.EncodeToString(rec.SHA256)
	if a.Status != 200 || cert.SHA256 != sum || !strings.Contains(cert.Text, sum) || cert.Leaf <= cert.Decided || !strings.Contains(cert.Receipt, "c2sp.org/tlog-proof") {
		t.Errorf("certificate: %d %s", a.Status, a.Body)
	}
	log, err := note.NewVerifier(c.Log.VKey())
	must(t, err)
	proven, err := chain.VerifyReceiptByLog([]byte(cert.Receipt), log)
	must(t, err)
	if p, err := chain.Payload[chain.DeletedPayload](proven.Payload); err != nil || proven.Index != cert.Leaf || hex.EncodeToString(p.SHA256) != sum || p.EvidenceID != string(over) {
		t.Errorf("the receipt proves %+v, %v", p, err)
	}
	if a := c.SignedIn("jia").Get("/api/v1/evidence/" + string(over) + "/deletion-certificate"); a.Status != 404 {
		t.Errorf("another township's certificate: %d", a.Status)
	}
	var list struct {
		Items []struct{ Evidence struct{ ID string } }
	}
	must(t, json.Unmarshal(li.Get("/api/v1/retention/deleted").Body, &list))
	if len(list.Items) != 1 || list.Items[0].Evidence.ID != string(over) {
		t.Errorf("deleted: %+v", list)
	}

	// Nothing more can be done with it, and nobody looks for it.
	for what, err := range map[string]error{"held": act(t, c, c.Keeper.SetHold, over), "kept": act(t, c, c.Keeper.Object, over), "categorized": categorize(c, t, over, evidence.Major)} {
		if !fault.Is(err, fault.KindGone) {
			t.Errorf("%s: %v", what, err)
		}
	}
	run, err := c.Audit.Start(t.Context(), audit.KindReread, "u1")
	must(t, err)
	must(t, c.Audit.ReadRun(t.Context(), run.ID))
	run, err = c.Audit.Get(t.Context(), run.ID)
	must(t, err)
	if run.DoneObjects != 6 || run.TotalObjects != 6 || run.Missing != 0 {
		t.Errorf("read again: %+v", run)
	}
	if rep, err := c.Log.Audit(t.Context()); err != nil || len(rep.Findings) > 0 {
		t.Errorf("log: %v %v", rep.Findings, err)
	}
}

// gone: the bytes are away, both leaves are there once, the record says so.
func gone(t *testing.T, c *testcounty.County, id evidence.ID) {
	t.Helper()
	r := record(t, c, id)
	_, err := c.Store.HeadVersion(t.Context(), r.ObjectKey, r.VersionID)
	if !fault.Is(err, fault.KindNotFound) || r.Status != evidence.StatusDeleted {
		t.Errorf("%s is %s, the store: %v", r.FileName, r.Status, err)
	}
	if vs, _, err := c.Store.Versions(t.Context(), r.ObjectKey, "", 10); err != nil || len(vs) != 0 {
		t.Errorf("versions %v %v", vs, err)
	}
	if got := kinds(t, c, id); got[chain.KindDeleting] != 1 || got[chain.KindDeleted] != 1 {
		t.Errorf("leaves %v", got)
	}
	cert, err := c.Keeper.Certificate(t.Context(), evidence.Scope{}, id)
	must(t, err)
	decided, err := c.Log.ByKey(t.Context(), evidence.DeletingKey(id))
	must(t, err)
	if [32]byte(cert.Decided) != decided.Hash || cert.Size != r.Size {
		t.Errorf("certificate %+v", cert)
	}
}

// An objection keeps it for another term, at the store too; a hold, a link or a restriction after the proposal takes it off the list.
func TestObjected(t *testing.T) {
	c := shortlived(t, time.Hour)
	kept, held, linked := c.Seals("kept.mp4", []byte("kept")), c.Seals("held.mp4", []byte("held")), c.Seals("linked.mp4", []byte("linked"))
	proposed(t, c, 3)
	c.Keeper.Policy.Keep[evidence.Ordinary] = 24 * time.Hour
	c.User("shen", "reviewer", testcounty.Donghe)
	c.User("li", "officer", testcounty.Donghe)
	at, reason := "/api/v1/retention/"+string(kept)+"/keep", map[string]any{"reason": "当事人可能复议"}
	if a := c.SignedIn("li").JSON("POST", at, reason); a.Status != 403 {
		t.Errorf("an officer: %d", a.Status)
	}
	b := c.SignedIn("shen")
	if a := b.JSON("POST", at, reason); a.Status != 200 {
		t.Fatalf("keep: %d %s", a.Status, a.Body)
	}
	if a := b.JSON("POST", at, reason); a.Status != 409 {
		t.Errorf("keep again: %d", a.Status)
	}
	settleLocks(t, c)
	r := record(t, c, kept)
	o, err := c.Store.HeadVersion(t.Context(), r.ObjectKey, r.VersionID)
	must(t, err)
	if o.RetainUntil.Before(time.Now().Add(23*time.Hour)) || !r.RetainUntil.Equal(*r.LockedUntil) {
		t.Errorf("kept until %s, at the store %s", r.RetainUntil, o.RetainUntil)
	}
	must(t, act(t, c, c.Keeper.SetHold, held))
	c.Case(linked)
	windowOver(t, c)
	must(t, c.Keeper.Expire(t.Context()))
	if got := due(t, c); len(got) != 0 {
		t.Errorf("due: %v", got)
	}
	for _, id := range []evidence.ID{kept, held, linked} {
		if r := record(t, c, id); r.Status != evidence.StatusSealed || kinds(t, c, id)[chain.KindDeleting] != 0 {
			t.Errorf("%s: %s", r.FileName, r.Status)
		}
	}
	// The hold is lifted: it is proposed again, with a window of its own.
	must(t, act(t, c, c.Keeper.LiftHold, held))
	_, _, err = c.Keeper.SettleHolds(t.Context())
	must(t, err)
	proposed(t, c, 1)
	if p, err := c.Keeper.Due(t.Context(), evidence.Scope{Townships: []string{testcounty.Jiachuan}}, "", 10); err != nil || len(p.Items) != 0 {
		t.Errorf("another township sees %v %v", p.Items, err)
	}
}

// Several servers run the job at once: each item goes once, and no server fails over another.
func TestManyServersDeleteOnce(t *testing.T) {
	c := shortlived(t, time.Hour)
	var ids []evidence.ID
	for i := range 12 {
		ids = append(ids, c.Seals(fmt.Sprint(i, ".mp4"), []byte{byte(i)}))
	}
	proposed(t, c, len(ids))
	windowOver(t, c)
	ended := make(chan error)
	const servers = 4
	for range servers {
		go func() { ended <- c.KeeperOn(c.Store).Expire(t.Context()) }()
	}
	for range servers {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	for _, id := range ids {
		gone(t, c, id)
	}
	p, err := c.Keeper.Gone(t.Context(), evidence.Scope{}, "", 5)
	must(t, err)
	seen := map[evidence.ID]bool{}
	for pages := 1; ; pages++ {
		for _, d := range p.Items {
			seen[d.Record.ID] = true
		}
		if p.Next == "" {
			if len(seen) != len(ids) || pages != 3 {
				t.Errorf("%d of %d on %d pages", len(seen), len(ids), pages)
			}
			break
		}
		p, err = c.Keeper.Gone(t.Context(), evidence.Scope{}, p.Next, 5)
		must(t, err)
	}
}

// A record that was changed to point at other bytes than its decision names takes nothing along.
func TestDecisionNamesItsBytes(t *testing.T) {
	c := shortlived(t, 0)
	id := c.Seals("a.mp4", []byte("a"))
	other := record(t, c, c.Seals("b.mp4", []byte("b")))
	must(t, categorize(c, t, other.ID, evidence.Major))
	_, err := c.Owner().Exec(t.Context(), `alter table evidence_deletion add constraint broken check (gone_at is null)`)
	must(t, err)
	testenv.Eventually(t, 20*time.Second, func() bool {
		_ = c.Keeper.Expire(t.Context())
		return kinds(t, c, id)[chain.KindDeleting] == 1
	})
	_, err = c.Owner().Exec(t.Context(), `alter table evidence_deletion drop constraint broken`)
	must(t, err)
	_, err = c.Owner().Exec(t.Context(), `update evidence set version_id = $2 where id = $1`, string(id), other.VersionID)
	must(t, err)
	if err := c.Keeper.Expire(t.Context()); err == nil || kinds(t, c, id)[chain.KindDeleted] != 0 {
		t.Errorf("removed: %v", err)
	}
	if _, err := c.Store.HeadVersion(t.Context(), other.ObjectKey, other.VersionID); err != nil {
		t.Error(err)
	}
}

// childKeeper is what a copy of the test binary is told to do: run the job once.
type childKeeper struct {
	Database, Secrets string
	Store             blob.Options
}

const childEnv = "ZZ_TEST_EXPIRY_CHILD"

func TestMain(m *testing.M) {
	if raw := os.Getenv(childEnv); raw != "" {
		if err := expireChild(raw); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func expireChild(raw string) error {
	var w childKeeper
	if err := json.Unmarshal([]byte(raw), &w); err != nil {
		return err
	}
	ctx := context.Background()
	pool, err := pg.Open(ctx, w.Database, 4)
	if err != nil {
		return err
	}
	log, err := evlog.New(pool, evlog.Options{Signer: signer.Observe(w.Secrets)})
	if err != nil {
		return err
	}
	store, err := blob.Open(ctx, w.Store)
	if err != nil {
		return err
	}
	k := evidence.NewKeeper(pool, log, store, nil)
	k.Policy.Window = 0
	return k.Expire(ctx)
}

// Killed before the decision, before the store's deletion, after it, before the look and before the last commit: in the end the item is
// gone once, with one leaf of each, and never were its bytes gone without the decision's leaf.
func TestKilledWhileDeleting(t *testing.T) {
	for _, at := range []string{"HEAD 1 before", "HEAD 1 after", "DELETE 1 before", "DELETE 1 after", "DELETE 2 before", "DELETE 2 after", "HEAD 2 before", "HEAD 2 after"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			c := shortlived(t, 0)
			id := c.Seals("a.mp4", []byte(at))
			poster := "posters/" + string(id) + ".jpg"
			_, err := c.Store.Put(t.Context(), poster, []byte("jpeg"), blob.CreateOptions{})
			must(t, err)
			must(t, c.Keeper.SetPoster(t.Context(), id, poster))
			c.Keeper.Policy.Window = time.Hour
			proposed(t, c, 1)
			windowOver(t, c)

			var n int
			var method, when string
			_, err = fmt.Sscanf(at, "%s %d %s", &method, &n, &when)
			must(t, err)
			var child *exec.Cmd
			var seen atomic.Int64
			target, err := url.Parse(c.StoreOptions.Endpoint)
			must(t, err)
			forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host }}
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mine := r.Method == method && strings.Count(r.URL.Path, "/") > 1 && seen.Add(1) == int64(n) // of objects, not the bucket
				if !mine {
					forward.ServeHTTP(w, r)
					return
				}
				if when == "after" {
					forward.ServeHTTP(httptest.NewRecorder(), r)
				}
				if r.Method == http.MethodDelete && kinds(t, c, id)[chain.KindDeleting] != 1 {
					t.Error("bytes are to go before their leaf is there")
				}
				_ = child.Process.Kill()
				<-r.Context().Done()
			}))
			defer proxy.Close()
			w := childKeeper{Database: c.DatabaseURL(), Secrets: c.Secrets, Store: c.StoreOptions}
			w.Store.Endpoint = proxy.URL
			raw, err := json.Marshal(w)
			must(t, err)
			child = exec.Command(os.Args[0])
			child.Env = append(os.Environ(), childEnv+"="+string(raw))
			var out strings.Builder
			child.Stdout, child.Stderr = &out, &out
			must(t, child.Start())
			if err := child.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
				t.Fatalf("the child was to be killed: %v %s", err, out.String())
			}
			r := record(t, c, id)
			if _, err := c.Store.HeadVersion(t.Context(), r.ObjectKey, r.VersionID); err != nil && kinds(t, c, id)[chain.KindDeleting] != 1 {
				t.Errorf("gone without its leaf: %v", err)
			}
			for range 2 { // the second finds nothing to do
				must(t, c.Keeper.Expire(t.Context()))
			}
			gone(t, c, id)
			if _, err := c.Store.Head(t.Context(), poster); !fault.Is(err, fault.KindNotFound) {
				t.Errorf("the poster is left: %v", err)
			}
			if rep, err := c.Log.Audit(t.Context()); err != nil || len(rep.Findings) > 0 {
				t.Errorf("log: %v %v", rep.Findings, err)
			}
		})
	}
}
