package devices_test

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"zhizheng/internal/embedded"
	"zhizheng/internal/pg"
	"zhizheng/internal/testenv"
)

// Database and broker are killed while devices send: what was acknowledged is there, once, and nothing that wasn't sent.
func TestCrashesLoseNothingAcknowledged(t *testing.T) {
	crashes := 4
	if os.Getenv("ZZ_SOAK") != "" {
		crashes = 40
	}
	dir, err := os.MkdirTemp("", "zz-devices-") // t.TempDir's parents are closed to the database's account
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	db, err := embedded.StartPostgres(t.Context(), embedded.PostgresOptions{Dir: dir, Cluster: filepath.Join(dir, "cluster"), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := pg.Migrate(t.Context(), db.URL()); err != nil {
		t.Fatal(err)
	}
	e := newEnvOn(t, db.URL())
	brokerDir := t.TempDir()
	b := e.brokerAt(brokerDir, "")
	address, ca, listen := b.URL(), b.CAFile(), b.Addr()

	const senders = 12
	var acked atomic.Int64 // of all
	var last [senders]atomic.Int64
	ids := make([]string, senders)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var wg sync.WaitGroup
	for i := range senders {
		id, token := e.device(donghe)
		ids[i] = id
		wg.Go(func() {
			var p *peer
			again := time.NewTicker(20 * time.Millisecond)
			defer again.Stop()
			for seq := int64(1); ctx.Err() == nil; {
				if p == nil {
					p = dialAs(t, address, ca, id, token)
					if p.tryConnect() != nil {
						p = nil
						<-again.C
						continue
					}
				}
				if settled(p.publish("hb", heartbeat(1, seq, *e.now.Load(), int(seq%101)))) != nil {
					p.c.Disconnect(0)
					p = nil
					continue
				}
				last[i].Store(seq)
				acked.Add(1)
				seq++
			}
		})
	}
	for n := range crashes {
		target := acked.Load() + 100 + rand.Int64N(400)
		testenv.Eventually(t, 2*soon, func() bool { return acked.Load() > target })
		if n == 0 || n == 2 || n%16 == 8 {
			if err := syscall.Kill(db.Pid(), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := b.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		b = e.brokerAt(brokerDir, listen)
	}
	target := acked.Load() + 100
	testenv.Eventually(t, 2*soon, func() bool { return acked.Load() > target })
	stop()
	wg.Wait()
	for i, id := range ids {
		n, top := e.stored(id), e.count(`select coalesce(max(seq), 0) from device_message where device_id = $1`, id)
		if want := int(last[i].Load()); n < want || n != top || n > want+1 {
			t.Errorf("%s: %d acknowledged, %d stored, the last is number %d", id, want, n, top)
		}
	}
	if n := e.count(`select count(*) from dead_letter`); n != 0 {
		t.Errorf("%d dead letters", n)
	}
	t.Logf("%d messages acknowledged over %d crashes", acked.Load(), crashes)
}
