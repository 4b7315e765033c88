package budget

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/authority"
	"zhizheng/devices"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/evlogtest"
	"zhizheng/internal/fault"
	"zhizheng/internal/testenv"
)

const (
	donghe   = "510821100"
	jiachuan = "510821101"
)

// env is two townships with 30,000 yuan each for 2026, and a day in March of that year.
type env struct {
	*Service
	pool    *pgxpool.Pool
	log     *evlog.Log
	devices *devices.Service
	county  context.Context // sees everything
	finance context.Context // of 东河镇
}

func newEnv(t *testing.T) *env {
	t.Helper()
	e := &env{pool: testenv.Pool(t)}
	now := func() time.Time { return time.Date(2026, 3, 2, 2, 0, 0, 0, time.UTC) }
	e.log = evlogtest.Log(t, e.pool)
	auth := authority.New(e.pool, e.log, authority.Options{Now: now})
	e.devices = devices.New(e.pool, devices.Options{Now: now})
	e.Service = New(e.pool, e.log, e.devices, now)
	e.county = authority.WithActor(t.Context(), authority.System)
	e.finance = authority.WithActor(t.Context(), authority.Actor{UserID: "u-finance", Role: "finance", Townships: []string{donghe}})
	ok(t, auth.PutTownships(e.county, []authority.Township{{Code: donghe, Name: "东河镇", Kind: "town", Position: 1},
		{Code: jiachuan, Name: "嘉川镇", Kind: "town", Position: 2}}))
	ok(t, e.SetAllotments(e.county, []Allotment{{donghe, 2026, 3_000_000, "30,000（测试）"}, {jiachuan, 2026, 3_000_000, "30,000（测试）"}}))
	return e
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refusal requires a refusal by that rule and article.
func refusal(t *testing.T, err error, rule, article string) *fault.Error {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind != fault.KindRefused || f.Rule != rule || f.Article != article {
		t.Fatalf("error = %v, want refusal by %s, %s", err, rule, article)
	}
	return f
}

func kind(t *testing.T, err error, k fault.Kind) {
	t.Helper()
	if !fault.Is(err, k) {
		t.Fatalf("error = %v, want %s", err, k)
	}
}

func day(month, d int) time.Time { return time.Date(2026, time.Month(month), d, 0, 0, 0, 0, time.UTC) }

// buys is a recorder's purchase from the year's budget.
func buys(key string, fen Fen, devices ...string) NewPosting {
	return NewPosting{Key: key, Township: donghe, Date: day(2, 1), Memo: "购执法记录仪", DeviceIDs: devices,
		Lines: []Line{{"asset.recorder", fen}, {Budget, -fen}}}
}

func (e *env) recorder(t *testing.T, serial, township string) string {
	t.Helper()
	all := []devices.Device{{Serial: serial, Kind: devices.Recorder, Name: "记录仪", Model: "M1", Township: township}}
	ok(t, e.devices.Register(e.county, all))
	return all[0].ID
}

func (e *env) left(t *testing.T, township string) Fen {
	t.Helper()
	y, err := e.Year(e.county, 2026, township)
	ok(t, err)
	if y.Allotted != y.Spent+y.Left {
		t.Fatalf("allotted %d ≠ spent %d + left %d", y.Allotted, y.Spent, y.Left)
	}
	return y.Left
}

func decode(t *testing.T, l evlog.Leaf) chain.PostingPayload {
	t.Helper()
	p, err := chain.Payload[chain.PostingPayload](l.Payload)
	ok(t, err)
	return p
}

func TestPurchaseNamesItsRecorderAndItsLeaf(t *testing.T) {
	e := newEnv(t)
	rec := e.recorder(t, "R-1", donghe)
	p, existed, err := e.Post(e.finance, buys("k1", 280_000, rec))
	ok(t, err)
	if existed || p.Amount() != 280_000 || p.Year != 2026 || p.PostedBy != "u-finance" || len(p.DeviceIDs) != 1 || p.DeviceIDs[0] != rec {
		t.Fatalf("posting = %+v, existed %v", p, existed)
	}
	if left := e.left(t, donghe); left != 2_720_000 {
		t.Fatalf("left = %d", left)
	}
	d, err := e.devices.Get(e.finance, "R-1")
	ok(t, err)
	if d.Funding != devices.FundPosting || d.PostingID != p.ID || d.PostingYear != 2026 {
		t.Fatalf("recorder's source of funds = %s %s %d", d.Funding, d.PostingID, d.PostingYear)
	}
	seq, err := e.Leaf(e.finance, p)
	ok(t, err)
	leaves, err := e.log.SubjectLeaves(e.finance, chain.Subject{Type: chain.SubjectLedger, ID: donghe})
	ok(t, err)
	if len(leaves) != 2 || leaves[1].Seq != seq { // the allotment, the posting
		t.Fatalf("%d leaves in the ledger's chain, last %d, want the posting's %d", len(leaves), leaves[len(leaves)-1].Seq, seq)
	}
	payload := decode(t, leaves[1])
	if payload.PostingID != p.ID || len(payload.Lines) != 2 || payload.Lines[0].Fen != 280_000 || payload.DeviceIDs[0] != rec {
		t.Fatalf("leaf commits to %+v", payload)
	}
	testenv.Eventually(t, 10*time.Second, func() bool {
		r, err := e.log.Receipt(t.Context(), p.LogKey())
		return err == nil && len(r) > 0
	})
}

func TestSameKeyGivesTheSamePosting(t *testing.T) {
	e := newEnv(t)
	rec := e.recorder(t, "R-1", donghe)
	first, _, err := e.Post(e.finance, buys("k1", 2_900_000, rec))
	ok(t, err)
	again, existed, err := e.Post(e.finance, buys("k1", 2_900_000, rec)) // there is no money for a second one
	ok(t, err)
	if !existed || again.ID != first.ID {
		t.Fatalf("again = %s (existed %v), first %s", again.ID, existed, first.ID)
	}
	_, _, err = e.Post(e.finance, buys("k1", 2_900_001, rec))
	kind(t, err, fault.KindConflict)
	if left := e.left(t, donghe); left != 100_000 {
		t.Fatalf("left = %d", left)
	}
}

func TestOverdraftIsRefusedAndLogged(t *testing.T) {
	e := newEnv(t)
	for range 2 { // a repeated refusal is one leaf
		_, _, err := e.Post(e.finance, buys("k1", 3_000_001))
		f := refusal(t, err, "R23", "预算法第13条、第57条")
		if f.Detail != "2026 年度额度余 30000.00 元，本笔需 30000.01 元，超出 0.01 元" || f.Next == "" {
			t.Fatalf("refusal says %q, next %q", f.Detail, f.Next)
		}
	}
	leaves, err := e.log.SubjectLeaves(t.Context(), chain.Subject{Type: chain.SubjectLedger, ID: donghe})
	ok(t, err)
	if len(leaves) != 2 {
		t.Fatalf("%d leaves, want allotment and one refusal", len(leaves))
	}
	p := decode(t, leaves[1])
	if p.Rule != "R23" || p.PostingID != "" || p.Lines[0].Fen != 3_000_001 {
		t.Fatalf("refusal's leaf = %+v", p)
	}
	page, _, err := e.List(e.county, Filter{})
	ok(t, err)
	if len(page) != 0 || e.left(t, donghe) != 3_000_000 {
		t.Fatalf("%d postings, left %d", len(page), e.left(t, donghe))
	}
	_, _, err = e.Post(e.finance, buys("all of it", 3_000_000))
	ok(t, err)
}

func TestConcurrentPostingsCannotOverdraw(t *testing.T) {
	e := newEnv(t)
	var posted, refused atomic.Int32
	var wg sync.WaitGroup
	for i := range 24 {
		wg.Go(func() {
			_, _, err := e.Post(e.finance, buys(fmt.Sprintf("k%d", i), 400_000)) // seven fit
			switch {
			case err == nil:
				posted.Add(1)
			case fault.Is(err, fault.KindRefused):
				refused.Add(1)
			default:
				t.Errorf("posting %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if posted.Load() != 7 || refused.Load() != 17 || e.left(t, donghe) != 200_000 {
		t.Fatalf("posted %d, refused %d, left %d", posted.Load(), refused.Load(), e.left(t, donghe))
	}
}

func TestConcurrentRetriesPostOnce(t *testing.T) {
	e := newEnv(t)
	ids := make([]string, 12)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			p, _, err := e.Post(e.finance, NewPosting{Key: "gift", Township: donghe, Date: day(1, 5), Memo: "捐赠",
				Lines: []Line{{"asset.other", 50_000}, {"source.donated", -50_000}}}) // takes no allotment's lock
			if err != nil {
				t.Errorf("posting: %v", err)
			}
			ids[i] = p.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatalf("ids differ: %v", ids)
		}
	}
	if left := e.left(t, donghe); left != 3_000_000 {
		t.Fatalf("a gift took from the allotment: left %d", left)
	}
}
