package audit_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"zhizheng/evidence"
	"zhizheng/evidence/audit"
	"zhizheng/evidence/chain"
	"zhizheng/internal/fault"
	"zhizheng/internal/testcounty"
	"zhizheng/internal/testenv"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clock runs by what is slept, and on by itself only as far as it is pushed.
type clock struct {
	mu    sync.Mutex
	at    time.Time
	slept time.Duration
}

// An hour ahead of what is sealed while it stands still.
func newClock() *clock { return &clock{at: time.Now().Add(time.Hour)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	c.at, c.slept = c.at.Add(d), c.slept+d
	c.mu.Unlock()
	return ctx.Err()
}

// service is the county's auditor with a clock of its own.
func service(c *testcounty.County, change ...func(*audit.Options)) (*audit.Service, *clock) {
	k := newClock()
	o := audit.Options{Pool: c.Pool, Log: c.Log, Evidence: c.Keeper, CasesOf: c.Cases.IDsOfEvidence, Now: k.now, Sleep: k.sleep,
		Stores: []audit.Store{{Name: "主存储", Options: c.StoreOptions}}}
	for _, f := range change {
		f(&o)
	}
	return audit.New(o), k
}

// reread runs a whole re-read.
func reread(t testing.TB, s *audit.Service) audit.Info {
	t.Helper()
	run, err := s.Start(t.Context(), audit.KindReread, "u1")
	must(t, err)
	must(t, s.ReadRun(t.Context(), run.ID))
	run, err = s.Get(t.Context(), run.ID)
	must(t, err)
	return run
}

func record(t testing.TB, c *testcounty.County, id evidence.ID) evidence.Record {
	t.Helper()
	r, err := c.Keeper.Get(t.Context(), evidence.Scope{}, id)
	must(t, err)
	return r
}

func file(t testing.TB, c *testcounty.County, id evidence.ID) string {
	t.Helper()
	return testenv.StoreFile(t, c.Store.Bucket(), record(t, c, id).ObjectKey)
}

// flip changes one bit of a stored file where it lies, beneath the store.
func flip(t testing.TB, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	must(t, err)
	b[0] ^= 0x10
	_, err = f.WriteAt(b, at)
	must(t, err)
	must(t, f.Close())
}

func alarms(t testing.TB, s *audit.Service, townships ...string) []audit.Alarm {
	t.Helper()
	if len(townships) == 0 {
		townships = nil
	}
	all, _, err := s.Alarms(t.Context(), townships, true, "", 50)
	must(t, err)
	return all
}

// leaves counts an item's leaves of a kind.
func leaves(t testing.TB, c *testcounty.County, id evidence.ID, kind chain.Kind) (n int, last chain.VerifiedPayload) {
	t.Helper()
	all, err := c.Log.SubjectLeaves(t.Context(), evidence.Subject(id))
	must(t, err)
	for _, l := range all {
		d, err := l.Decode()
		must(t, err)
		if d.Kind == kind {
			n++
			if last, err = chain.Payload[chain.VerifiedPayload](l.Payload); err != nil {
				t.Fatal(err)
			}
		}
	}
	return n, last
}

// One flipped bit, one file gone, one cut short, one grown: each is found, named and alarmed with its case and township, and what is
// whole is marked so. Put back, the damaged one is whole again, by a leaf.
func TestDamageIsFoundAndNamed(t *testing.T) {
	c := testcounty.New(t)
	s, _ := service(c)
	big := testcounty.Bytes(1, 3<<20)
	ids := map[string]evidence.ID{"whole": c.Seals("a.mp4", testcounty.Bytes(2, 100)), "flipped": c.Seals("b.mp4", big), "gone": c.Seals("c.mp4", testcounty.Bytes(3, 4000)),
		"cut": c.Seals("d.mp4", testcounty.Bytes(4, 4000)), "grown": c.Seals("e.mp4", testcounty.Bytes(5, 4000)), "empty": c.Seals("f.mp4", nil)}
	caseID := c.Case(ids["flipped"])
	if run := reread(t, s); run.State != audit.StateOK || run.DoneObjects != 6 || run.TotalObjects != 6 || run.DoneBytes != 3<<20+12100 || run.FindingCount != 0 {
		t.Fatalf("nothing is damaged yet: %+v", run)
	}
	for what, id := range ids {
		if r := record(t, c, id); r.VerifiedAt == nil || len(r.SM3) != 32 || r.Status != evidence.StatusSealed {
			t.Errorf("%s: %+v", what, r)
		}
	}

	flip(t, file(t, c, ids["flipped"]), 2<<20)
	must(t, os.Remove(file(t, c, ids["gone"])))
	must(t, os.Truncate(file(t, c, ids["cut"]), 3999))
	f, err := os.OpenFile(file(t, c, ids["grown"]), os.O_WRONLY|os.O_APPEND, 0)
	must(t, err)
	_, err = f.Write([]byte("x"))
	must(t, err)
	must(t, f.Close())

	run := reread(t, s)
	if run.State != audit.StateFindings || run.Damaged != 3 || run.Missing != 1 || run.FindingCount != 4 || len(run.Findings) != 4 || run.DoneObjects != 6 {
		t.Fatalf("run: %+v", run)
	}
	for what, damage := range map[string]string{"flipped": evidence.DamageDiffers, "gone": evidence.DamageMissing, "cut": evidence.DamageShort,
		"grown": evidence.DamageLong, "whole": "", "empty": ""} {
		r := record(t, c, ids[what])
		if r.Damage != damage || (r.Status == evidence.StatusDamaged) != (damage != "") || r.VerifiedAt == nil {
			t.Errorf("%s: status %s, damage %q", what, r.Status, r.Damage)
		}
		n, p := leaves(t, c, ids[what], chain.KindDamaged)
		if want := map[bool]int{true: 1}[damage != ""]; n != want || p.Reason != damage {
			t.Errorf("%s: %d leaves of damage, %q", what, n, p.Reason)
		}
		if damage != "" {
			custody, err := c.Keeper.Custody(t.Context(), evidence.Scope{}, ids[what], "", 50)
			must(t, err)
			if last := custody.Items[len(custody.Items)-1]; last.Kind != chain.KindDamaged || last.Reason != evidence.DamageText(damage) {
				t.Errorf("%s: custody ends with %+v", what, last)
			}
		}
		open := slices.DeleteFunc(alarms(t, s), func(a audit.Alarm) bool { return a.EvidenceID != string(ids[what]) })
		if damage == "" && len(open) != 0 || damage != "" && len(open) != 1 {
			t.Fatalf("%s: alarms %+v", what, open)
		}
		if damage != "" && (open[0].Township != testcounty.Donghe || open[0].RunID != run.ID || (open[0].Kind == "missing") != (damage == evidence.DamageMissing)) {
			t.Errorf("%s: %+v", what, open[0])
		}
		if what == "flipped" && !slices.Equal(open[0].CaseIDs, []string{caseID}) {
			t.Errorf("cases of the damaged exhibit: %v", open[0].CaseIDs)
		}
	}
	if got := alarms(t, s, testcounty.Jiachuan); len(got) != 0 {
		t.Errorf("another township sees %+v", got)
	}

	// The hold that the case has set is settled at the store, damaged or not.
	if _, _, err := c.Keeper.SettleHolds(t.Context()); err != nil {
		t.Errorf("settle holds: %v", err)
	}
	if r := record(t, c, ids["flipped"]); r.HoldState != "active" {
		t.Errorf("hold of the damaged exhibit: %s", r.HoldState)
	}

	// Acknowledged with a reason, once; what is still damaged is alarmed again by the next run; what was mended is whole again.
	first := alarms(t, s)[0]
	if _, err := s.Acknowledge(t.Context(), []string{testcounty.Jiachuan}, first.ID, "u9", "不是我镇的"); !fault.Is(err, fault.KindNotFound) {
		t.Errorf("another township's alarm: %v", err)
	}
	for _, a := range alarms(t, s) {
		got, err := s.Acknowledge(t.Context(), nil, a.ID, "u9", "已通知存储管理员")
		must(t, err)
		if got.AcknowledgedAt == nil || got.AcknowledgedBy != "u9" || got.AcknowledgeReason != "已通知存储管理员" {
			t.Errorf("acknowledged: %+v", got)
		}
		if _, err := s.Acknowledge(t.Context(), nil, a.ID, "u8", "再来一次"); !fault.Is(err, fault.KindConflict) {
			t.Errorf("again: %v", err)
		}
	}
	flip(t, file(t, c, ids["flipped"]), 2<<20)
	run = reread(t, s)
	if r := record(t, c, ids["flipped"]); r.Status != evidence.StatusSealed || r.Damage != "" || run.Damaged != 2 || run.Missing != 1 || len(alarms(t, s)) != 3 {
		t.Errorf("mended: %s %q; run %+v; %d alarms", r.Status, r.Damage, run, len(alarms(t, s)))
	}
	if n, _ := leaves(t, c, ids["flipped"], chain.KindVerified); n != 2 {
		t.Errorf("%d leaves say that it was whole", n)
	}
	if rep, err := c.Log.Audit(t.Context()); err != nil || len(rep.Findings) > 0 {
		t.Errorf("log: %v %v", rep.Findings, err)
	}
	payload, err := c.Log.ByKey(t.Context(), "reread/"+run.ID)
	must(t, err)
	p, err := chain.Payload[chain.RereadPayload](payload.Payload)
	must(t, err)
	if p.Run != run.ID || p.Objects != 6 || p.Damaged != 2 || p.Missing != 1 || p.Actor != "u1" {
		t.Errorf("leaf of the run: %+v", p)
	}
}

// A record whose digest somebody changed in the database is found by the leaf of its sealing.
func TestRecordThatWasChanged(t *testing.T) {
	c := testcounty.New(t)
	s, _ := service(c)
	id := c.Seals("a.mp4", []byte("as sealed"))
	_, err := c.Owner().Exec(t.Context(), `update evidence set sha256 = sha256('other'::bytea) where id = $1`, string(id))
	must(t, err)
	run := reread(t, s)
	if r := record(t, c, id); run.Damaged != 1 || r.Damage != evidence.DamageRecord {
		t.Errorf("%+v %s", run, r.Damage)
	}
}

// The published vectors of GB/T 32905, through the store and back.
func TestVectorsOfSM3(t *testing.T) {
	c := testcounty.New(t)
	s, _ := service(c)
	long := make([]byte, 0, 64)
	for range 16 {
		long = append(long, "abcd"...)
	}
	want := map[evidence.ID]string{
		c.Seals("abc.txt", []byte("abc")): "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0",
		c.Seals("abcd.txt", long):         "debe9ff92275b8a138604889c18e5a4d6fdb70e5387e5765293dcba39c0c5732",
	}
	reread(t, s)
	for id, sum := range want {
		if r := record(t, c, id); hex.EncodeToString(r.SM3) != sum {
			t.Errorf("%s: %x, want %s", r.FileName, r.SM3, sum)
		}
		if n, p := leaves(t, c, id, chain.KindVerified); n != 1 || hex.EncodeToString(p.SM3) != sum || p.Size != record(t, c, id).Size {
			t.Errorf("leaf: %d %+v", n, p)
		}
	}
}

// The limit is kept by the bytes read: the clock moves only by what the reader waits.
func TestRateIsObeyed(t *testing.T) {
	c := testcounty.New(t)
	const rate = 1 << 20
	s, k := service(c, func(o *audit.Options) { o.Rate = rate })
	total := int64(0)
	for i, n := range []int{0, 1, 999_999, 3 << 20, 2<<20 + 5} {
		c.Seals(fmt.Sprint(i, ".mp4"), testcounty.Bytes(byte(i+10), n))
		total += int64(n)
	}
	if run := reread(t, s); run.DoneBytes != total {
		t.Fatalf("%+v", run)
	}
	want := time.Duration(float64(total) / rate * float64(time.Second))
	if k.slept < want-time.Microsecond || k.slept > want+time.Millisecond {
		t.Errorf("%d bytes at %d a second took %s by the clock, want %s", total, rate, k.slept, want)
	}
}

// Paused, a run reads nothing; resumed, it reads the rest; a second one can't begin meanwhile.
func TestPauseAndResume(t *testing.T) {
	c := testcounty.New(t)
	s, _ := service(c)
	for i := range 3 {
		c.Seals(fmt.Sprint(i, ".mp4"), []byte{byte(i)})
	}
	run, err := s.Start(t.Context(), audit.KindReread, "u1")
	must(t, err)
	if _, err := s.Start(t.Context(), audit.KindReread, "u2"); !fault.Is(err, fault.KindConflict) {
		t.Errorf("a second run: %v", err)
	}
	run, err = s.Pause(t.Context(), run.ID)
	must(t, err)
	must(t, s.ReadRun(t.Context(), run.ID))
	if got, err := s.Get(t.Context(), run.ID); err != nil || !got.Paused || got.DoneObjects != 0 || got.State != audit.StateRunning {
		t.Fatalf("paused: %+v %v", got, err)
	}
	_, err = s.Resume(t.Context(), run.ID)
	must(t, err)
	must(t, s.ReadRun(t.Context(), run.ID))
	if got, err := s.Get(t.Context(), run.ID); err != nil || got.State != audit.StateOK || got.DoneObjects != 3 {
		t.Fatalf("resumed: %+v %v", got, err)
	}
	if _, err := s.Pause(t.Context(), run.ID); !fault.Is(err, fault.KindConflict) {
		t.Errorf("pause what has ended: %v", err)
	}
	if _, err := s.Resume(t.Context(), "01NOSUCHRUN"); !fault.Is(err, fault.KindNotFound) {
		t.Errorf("resume nothing: %v", err)
	}
}

// What was just sealed is read again by itself, and so is what is sealed while a run is on.
func TestFirstReadingFollowsTheSealing(t *testing.T) {
	c := testcounty.New(t)
	s := c.Audit
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() { cancel(); must(t, <-done) })
	id := c.Seals("a.mp4", []byte("fresh"))
	testenv.Eventually(t, 20*time.Second, func() bool { return record(t, c, id).VerifiedAt != nil })
	if n, _ := leaves(t, c, id, chain.KindVerified); n != 1 {
		t.Errorf("%d leaves", n)
	}
	flip(t, file(t, c, id), 0)
	run, err := s.Start(t.Context(), audit.KindReread, "u1")
	must(t, err)
	testenv.Eventually(t, 30*time.Second, func() bool {
		got, err := s.Get(t.Context(), run.ID)
		must(t, err)
		return got.State == audit.StateFindings
	})
	logRun, err := s.Start(t.Context(), audit.KindLog, "u1")
	must(t, err)
	testenv.Eventually(t, 20*time.Second, func() bool {
		got, err := s.Get(t.Context(), logRun.ID)
		must(t, err)
		return got.State == audit.StateOK && got.LogKey != "" && got.DoneObjects > 0
	})
}
