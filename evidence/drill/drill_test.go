package drill_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"zhizheng/authority"
	"zhizheng/budget"
	"zhizheng/evidence"
	"zhizheng/evidence/drill"
	"zhizheng/ingest"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/fault"
	"zhizheng/internal/testcounty"
)

func service(c *testcounty.County) *drill.Service {
	return drill.New(drill.Options{Log: c.Log, Evidence: c.Keeper, Read: manifest.Open, Enrolment: ingest.EnrolmentKey})
}

// Whatever is done to the copy is found, and nothing of it reaches the log.
func TestEveryWayIsFound(t *testing.T) {
	c := testcounty.New(t)
	var ids []evidence.ID
	for i := range 130 { // past the first full tile
		ids = append(ids, c.Seals("clip.mp4", testcounty.Bytes(byte(i), 1000+i)))
	}
	c.Case(ids[0], ids[1])
	posts(t, c)
	c.Receipt(evidence.SealKey(ids[129]))
	before, err := c.Log.Status(t.Context())
	must(t, err)

	var heard []string
	r, err := service(c).Run(t.Context(), func(done, of int, w drill.Way) {
		if done != len(heard)+1 || of != 11 {
			t.Errorf("step %d of %d", done, of)
		}
		heard = append(heard, w.Name)
	})
	must(t, err)
	if !r.AllFound() || r.Problem != "" || r.Evidence == "" || r.Size < 256 {
		t.Fatalf("%+v", r)
	}
	want := []string{"row", "tile", "leaf", "payload", "order", "posting", "rollback", "object", "resigned", "chain", "tail"}
	if !slices.Equal(heard, want) {
		t.Fatalf("ways %v", heard)
	}
	for _, w := range r.Ways {
		t.Logf("%s: %s (%s)", w.Name, w.By, w.Took)
		if w.By == "" || w.Check == "" {
			t.Errorf("%s: found by nothing", w.Name)
		}
	}
	if by := r.Ways[6].By; !strings.HasPrefix(by, "signer") {
		t.Errorf("a rolled-back backup is found by %q, not by the signer's memory", by)
	}
	after, err := c.Log.Status(t.Context())
	must(t, err)
	rep, err := c.Log.Audit(t.Context())
	must(t, err)
	if len(rep.Findings) != 0 || after.Size != before.Size {
		t.Fatalf("the log itself: %d leaves after %d, %v", after.Size, before.Size, rep.Findings)
	}
}

// A log without postings and footage is drilled with what there is.
func TestDrillOfAYoungLog(t *testing.T) {
	c := testcounty.New(t)
	c.Receipt(enrolled(t, c))
	r, err := service(c).Run(t.Context(), nil)
	must(t, err)
	if !r.AllFound() || r.Evidence != "" || len(r.Ways) != 6 {
		t.Fatalf("%+v", r)
	}
}

// A timestamp and a cosignature that are younger than the checkpoint the copy ends at don't spoil it.
func TestDrillBesideYoungerTimestamps(t *testing.T) {
	c := testcounty.New(t)
	c.Receipt(enrolled(t, c))
	st, err := c.Log.Status(t.Context())
	must(t, err)
	_, err = c.Owner().Exec(t.Context(), `insert into log_timestamp (key, authority, size, gen_time) values ('younger', 'tsa.example', $1, now())`, st.Size+1)
	must(t, err)
	_, err = c.Owner().Exec(t.Context(), `insert into log_cosignature (size, witness, key_hash, line, at) values ($1, 'w', '\x00000001', '\x00', now())`, st.Size+1)
	must(t, err)
	r, err := service(c).Run(t.Context(), nil)
	must(t, err)
	if !r.AllFound() || !strings.HasPrefix(r.Ways[len(r.Ways)-1].By, "signer") {
		t.Fatalf("%+v", r)
	}
}

// A copy that doesn't pass proves nothing, and says so.
func TestDrillOfADamagedLog(t *testing.T) {
	c := testcounty.New(t)
	c.Receipt(evidence.SealKey(c.Seals("a.mp4", []byte("a"))))
	_, err := c.Owner().Exec(t.Context(), `update log_payload set payload = set_byte(payload, 0, 0) where seq = 1`)
	must(t, err)
	r, err := service(c).Run(t.Context(), nil)
	must(t, err)
	if r.Control || r.AllFound() || r.Problem == "" || len(r.Ways) != 0 {
		t.Fatalf("%+v", r)
	}
}

// One at a time.
func TestTwoDrillsAtOnce(t *testing.T) {
	c := testcounty.New(t)
	c.Receipt(enrolled(t, c))
	s := service(c)
	_, err := s.Run(t.Context(), func(int, int, drill.Way) {
		if _, err := s.Run(t.Context(), nil); !fault.Is(err, fault.KindConflict) {
			t.Errorf("a second drill: %v", err)
		}
	})
	must(t, err)
}

// enrolled gives the key of a fingerprint's leaf; before it lies the station's enrolment.
func enrolled(t *testing.T, c *testcounty.County) string {
	t.Helper()
	eid, _, _ := c.Registers("x.mp4", []byte("x"))
	rec, err := c.Keeper.Get(t.Context(), evidence.Scope{}, eid)
	must(t, err)
	return rec.ManifestKey
}

// posts gives 东河镇 an allotment and a posting on it.
func posts(t *testing.T, c *testcounty.County) {
	t.Helper()
	year := authority.Day(time.Now()).Year()
	must(t, c.Budget.SetAllotments(authority.WithActor(t.Context(), authority.System), []budget.Allotment{{Township: testcounty.Donghe, Year: year, Fen: 3_000_000, Formula: "30,000（示例）"}}))
	p, _, err := c.Budget.Post(c.As("finance", testcounty.Donghe), budget.NewPosting{Key: "p1", Township: testcounty.Donghe, Memo: "执法服装（示例）", Date: authority.Day(time.Now()),
		Lines: []budget.Line{{Account: "expense.uniform", Fen: 120_000}, {Account: budget.Budget, Fen: -120_000}}})
	must(t, err)
	c.Receipt(p.LogKey()) // a checkpoint covers it: the copy reaches that far
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
