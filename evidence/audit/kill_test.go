package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

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

// childWork is what a copy of the test binary is told to do.
type childWork struct {
	Database, Secrets string
	Store             blob.Options
	Run               string // a re-read to work, or
	Hang              bool   // begin an audit of the log and never end it
}

const childEnv = "ZZ_TEST_AUDIT_CHILD"

func TestMain(m *testing.M) {
	if raw := os.Getenv(childEnv); raw != "" {
		if err := child(raw); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(raw string) error {
	var w childWork
	if err := json.Unmarshal([]byte(raw), &w); err != nil {
		return err
	}
	ctx := context.Background()
	pool, err := pg.Open(ctx, w.Database, 6)
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
	s := audit.New(audit.Options{Pool: pool, Log: log, Evidence: evidence.NewKeeper(pool, log, store, nil), Rate: 1 << 20})
	if w.Hang {
		if _, err := s.Begin(ctx, audit.KindLog, "u1"); err != nil {
			return err
		}
		fmt.Println("begun")
		select {}
	}
	return s.ReadRun(ctx, w.Run)
}

// spawn starts it; it is killed with the test at the latest.
func spawn(t testing.TB, w childWork) (*exec.Cmd, *bytes.Buffer) {
	t.Helper()
	raw, err := json.Marshal(w)
	must(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(raw))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd, &out
}

// A reader that is killed in the middle, twice: the next one goes on where it was, and in the end each item has exactly one leaf of the
// run and was read to its end once.
func TestKilledReaderGoesOn(t *testing.T) {
	c := testcounty.New(t)
	var ids []evidence.ID
	for i := range 12 {
		ids = append(ids, c.Seals(fmt.Sprint(i, ".mp4"), testcounty.Bytes(byte(i), 200_000)))
	}
	s, _ := service(c, func(o *audit.Options) { o.Now = time.Now })
	run, err := s.Start(t.Context(), audit.KindReread, "u1")
	must(t, err)
	w := childWork{Database: c.DatabaseURL(), Secrets: c.Secrets, Store: c.StoreOptions, Run: run.ID}
	done := func() int64 {
		i, err := s.Get(t.Context(), run.ID)
		must(t, err)
		return i.DoneObjects
	}
	for _, until := range []int64{3, 7} {
		cmd, out := spawn(t, w)
		testenv.Eventually(t, 60*time.Second, func() bool { return done() >= until })
		must(t, cmd.Process.Kill()) // SIGKILL: 200 KB an item at 1 MB/s, so it is in the middle of one
		if err := cmd.Wait(); err == nil {
			t.Fatalf("it had ended by itself: %s", out)
		}
		if i, err := s.Get(t.Context(), run.ID); err != nil || i.State != audit.StateRunning || i.DoneObjects >= 12 {
			t.Fatalf("after the kill: %+v %v", i, err)
		}
	}
	before, read := done(), int64(0)
	// The dead session's lock goes when the database notices, which a local one does at once.
	const rate = 1 << 20
	s, k := service(c, func(o *audit.Options) { o.Rate = rate })
	testenv.Eventually(t, 20*time.Second, func() bool {
		err := s.ReadRun(t.Context(), run.ID)
		if err != nil && !fault.Is(err, fault.KindConflict) {
			t.Fatal(err)
		}
		return err == nil
	})
	if most := time.Duration(float64((12-before)*200_000) / rate * float64(time.Second)); k.slept > most+time.Millisecond {
		t.Errorf("the third read for %s by the rate, %d items left are %s", k.slept, 12-before, most)
	}
	for _, id := range ids {
		n, _ := leaves(t, c, id, chain.KindVerified)
		if _, err := c.Log.ByKey(t.Context(), evidence.CheckKey(id, run.ID)); err != nil || n != 1 {
			t.Errorf("%s: %d leaves, %v", id, n, err)
		}
		custody, err := c.Keeper.Custody(t.Context(), evidence.Scope{}, id, "", 50)
		must(t, err)
		for _, e := range custody.Items {
			if e.Kind == chain.KindVerified {
				read++
			}
		}
	}
	i, err := s.Get(t.Context(), run.ID)
	must(t, err)
	if before < 7 || i.State != audit.StateOK || i.DoneObjects != 12 || i.DoneBytes != 12*200_000 || read != 12 {
		t.Errorf("%d were done before, then %+v, %d custody events", before, i, read)
	}
	if rep, err := c.Log.Audit(t.Context()); err != nil || len(rep.Findings) > 0 {
		t.Errorf("log: %v %v", rep.Findings, err)
	}
}

// A run whose process was killed is shown as interrupted, and the next one can begin.
func TestKilledAuditIsShownAsInterrupted(t *testing.T) {
	c := testcounty.New(t)
	s, _ := service(c)
	cmd, out := spawn(t, childWork{Database: c.DatabaseURL(), Secrets: c.Secrets, Store: c.StoreOptions, Hang: true})
	testenv.Eventually(t, 30*time.Second, func() bool {
		i, err := s.Last(t.Context(), audit.KindLog)
		return err == nil && i.State == audit.StateRunning
	})
	if _, _, err := s.AuditLog(t.Context(), "u2"); !fault.Is(err, fault.KindConflict) {
		t.Errorf("beside a living one: %v %s", err, out)
	}
	killed, err := s.Last(t.Context(), audit.KindLog)
	must(t, err)
	must(t, cmd.Process.Kill())
	_ = cmd.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	testenv.Eventually(t, 40*time.Second, func() bool {
		i, err := s.Get(t.Context(), killed.ID)
		must(t, err)
		return i.State == audit.StateInterrupted && i.EndedAt != nil && i.LogKey == ""
	})
	cancel()
	must(t, <-ended)
	report, i, err := s.AuditLog(t.Context(), "u2")
	must(t, err)
	if len(report.Findings) != 0 || i.State != audit.StateOK || i.Actor != "u2" {
		t.Errorf("the next: %+v", i)
	}
	leaf, err := c.Log.ByKey(t.Context(), i.LogKey)
	must(t, err)
	if p, err := chain.Payload[chain.AuditPayload](leaf.Payload); err != nil || p.Size != report.Entries || p.Actor != "u2" || p.Findings != 0 {
		t.Errorf("leaf: %+v %v", p, err)
	}
}

// A log that doesn't hold: the run says where, the alarm is up, the leaf tells the first finding.
func TestLogThatDoesNotHold(t *testing.T) {
	c := testcounty.New(t)
	s, _ := service(c)
	c.Seals("a.mp4", []byte("a"))
	_, err := c.Owner().Exec(t.Context(), `update log_payload set payload = payload || '\x00' where seq = 0`)
	must(t, err)
	report, i, err := s.AuditLog(t.Context(), "u1")
	must(t, err)
	if len(report.Findings) == 0 || i.State != audit.StateFindings || i.FindingCount != int64(len(report.Findings)) || i.Findings[0].Where != "leaf 0" {
		t.Errorf("%+v", i)
	}
	if a := alarms(t, s, testcounty.Jiachuan); len(a) != 1 || a[0].Kind != "log-audit" || a[0].RunID != i.ID {
		t.Errorf("alarms: %+v", a)
	}
}
