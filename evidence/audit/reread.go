package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/evidence"
	"zhizheng/evidence/audit/internal/db"
	"zhizheng/evidence/chain"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// One server of all reads: the one that holds the reader's lock. It reads what was never read again (soon after sealing), and while a
// run is under way it works that, never read first, then what was read longest ago. Where a run stands is in the records themselves:
// each names the run that read it last, written in the transaction of its leaf. So a run that is killed goes on with the next item,
// and an item has one leaf a run.

const (
	idle        = 2 * time.Second // between looks for something to read
	checkEvery  = time.Second     // while reading: was the run paused?
	maxAttempts = 5               // on one item, the store answering otherwise, before it counts as unreadable
	maxBackOff  = time.Minute
)

// errPaused ends the reading of an item whose run was paused; it is read from its start later.
var errPaused = errors.New("re-read paused")

// startReread writes the run down; the reader of whichever server finds it.
func (s *Service) startReread(ctx context.Context, actor string) (Info, error) {
	if _, err := s.q.RunningOf(ctx, KindReread); err == nil {
		return Info{}, fault.Conflict("影像重读核验正在进行")
	} else if !noRows(err) {
		return Info{}, pg.Away(fmt.Errorf("begin re-read: %w", err))
	}
	now := s.Now().UTC()
	objects, bytes, err := s.Evidence.Stored(ctx, now)
	if err != nil {
		return Info{}, err
	}
	runID := id.New()
	err = s.q.AddRun(ctx, db.AddRunParams{ID: runID, Kind: KindReread, Actor: actor, StartedAt: now, TotalObjects: objects, TotalBytes: bytes})
	if pg.IsUnique(err, "audit_run_one") {
		return Info{}, fault.Conflict("影像重读核验正在进行")
	}
	if err != nil {
		return Info{}, pg.Away(fmt.Errorf("begin re-read: %w", err))
	}
	s.nudge()
	return s.Get(ctx, runID)
}

// Pause stops a re-read before its next item, until Resume.
func (s *Service) Pause(ctx context.Context, runID string) (Info, error) {
	return s.setPaused(ctx, runID, true)
}

// Resume lets it go on.
func (s *Service) Resume(ctx context.Context, runID string) (Info, error) {
	return s.setPaused(ctx, runID, false)
}

func (s *Service) setPaused(ctx context.Context, runID string, paused bool) (Info, error) {
	n, err := s.q.SetPaused(ctx, db.SetPausedParams{ID: runID, Paused: paused})
	if err != nil {
		return Info{}, pg.Away(fmt.Errorf("pause re-read: %w", err))
	}
	i, err := s.Get(ctx, runID)
	if err == nil && n == 0 {
		return i, fault.Conflict("只有正在进行的影像重读核验可以暂停或继续")
	}
	s.nudge()
	return i, err
}

func (s *Service) nudge() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// readLoop takes the reader's part whenever it is free.
func (s *Service) readLoop(ctx context.Context) error {
	for ctx.Err() == nil {
		conn, err := s.lock(ctx, KindReread)
		if err == nil {
			err = s.read(ctx, conn)
			s.unlock(ctx, conn, KindReread)
		}
		if err != nil && ctx.Err() == nil && !fault.Is(err, fault.KindConflict) {
			s.Logger.WarnContext(ctx, "re-reading footage broke off, tried again", "err", err)
		}
		if s.Sleep(ctx, tick) != nil {
			return nil
		}
	}
	return nil
}

// read works while the lock's session lives, and returns with the first failure that isn't one item's.
func (s *Service) read(ctx context.Context, conn *pgxpool.Conn) error {
	for turn := 0; ; turn++ {
		worked, err := s.readNext(ctx, conn, turn)
		if err != nil {
			return err
		}
		if worked {
			continue
		}
		t := time.NewTimer(idle)
		select {
		case <-s.wake:
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		}
		t.Stop()
	}
}

// ReadRun works a run that was started until it ends, for administration without a server. Conflict: a server's reader is at it.
func (s *Service) ReadRun(ctx context.Context, runID string) error {
	conn, err := s.lock(ctx, KindReread)
	if err != nil {
		return err
	}
	defer s.unlock(ctx, conn, KindReread)
	for {
		row, err := db.New(conn).GetRun(ctx, runID)
		if err != nil {
			return pg.Away(fmt.Errorf("read audit run: %w", err))
		}
		if row.State != StateRunning || row.Paused {
			return nil
		}
		if _, err := s.readNext(ctx, conn, 0); err != nil {
			return err
		}
	}
}

// readNext reads one item. Every other turn during a run is for what was sealed since: neither waits for the other to end.
func (s *Service) readNext(ctx context.Context, conn *pgxpool.Conn, turn int) (worked bool, err error) {
	q := db.New(conn) // the lock's own session: if it is gone, so is our part
	row, err := q.RunningOf(ctx, KindReread)
	running := err == nil && !row.Paused
	if err != nil && !noRows(err) {
		return false, pg.Away(fmt.Errorf("look for a re-read: %w", err))
	}
	var since time.Time // what the run will come to is its own
	if err == nil {
		since = row.StartedAt
	}
	if !running || turn%2 == 1 {
		rec, ok, err := s.Evidence.NextUnread(ctx, since)
		if err != nil {
			return false, err
		}
		if ok {
			return true, s.readOne(ctx, rec, evidence.FirstRun)
		}
		if !running {
			return false, nil
		}
	}
	rec, ok, err := s.Evidence.NextToRead(ctx, row.ID, row.StartedAt)
	if err != nil {
		return false, err
	}
	if !ok {
		return true, s.finishReread(ctx, row.ID)
	}
	if err := s.readOne(ctx, rec, row.ID); !errors.Is(err, errPaused) {
		return true, err
	}
	return true, nil
}

// readOne reads an item until it is known what became of it. A store that is away is waited for. Bytes that differ are read once more
// before that is called damage: what a cable or a memory cell did is not the store's. An item that alone can't be read, the store
// answering otherwise, is alarmed as unreadable and keeps its state.
func (s *Service) readOne(ctx context.Context, rec evidence.Record, runID string) error {
	suspect, attempts := "", 0
	for backOff := time.Second; ; backOff = min(2*backOff, maxBackOff) {
		reading, err := s.Evidence.ReadAgain(ctx, rec, s.paced(runID))
		damage := evidence.DamageMissing
		switch {
		case err == nil:
			if damage, err = s.Evidence.Judge(ctx, rec, reading); err != nil {
				return err
			}
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, errPaused):
			return err
		default:
			if away := s.Evidence.StoreAnswers(ctx); away != nil {
				if err := s.waitForStore(ctx, runID, backOff, away); err != nil {
					return err
				}
				suspect = "" // what it said before it went away counts for nothing
				continue
			}
			if !fault.Is(err, fault.KindNotFound) {
				if attempts++; attempts >= maxAttempts {
					return s.keep(ctx, rec, runID, "", &reading, err)
				}
				if err := s.Sleep(ctx, backOff); err != nil {
					return err
				}
				continue
			}
		}
		if damage == "" || damage == suspect {
			return s.keep(ctx, rec, runID, damage, &reading, nil)
		}
		suspect = damage
		if err := s.Sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

// paced is asked for each chunk: it keeps to the rate, and now and then looks whether the run was paused.
func (s *Service) paced(runID string) func(ctx context.Context, n int64) error {
	checked := s.Now()
	return func(ctx context.Context, n int64) error {
		if err := s.pace.took(ctx, n); err != nil {
			return err
		}
		if runID == evidence.FirstRun || s.Now().Sub(checked) < checkEvery {
			return nil
		}
		checked = s.Now()
		row, err := s.q.GetRun(ctx, runID)
		if err != nil {
			return nil // the database is away: what was read is written down when it is back
		}
		if row.Paused || row.State != StateRunning {
			return errPaused
		}
		return nil
	}
}

func (s *Service) waitForStore(ctx context.Context, runID string, d time.Duration, why error) error {
	s.Logger.WarnContext(ctx, "re-reading waits for the store", "err", why)
	if err := s.say(ctx, runID, "存储暂时不可用，等它恢复后继续"); err != nil {
		return err
	}
	if err := s.Sleep(ctx, d); err != nil {
		return err
	}
	return s.say(ctx, runID, "")
}

func (s *Service) say(ctx context.Context, runID, text string) error {
	if runID == evidence.FirstRun {
		return nil
	}
	if err := s.q.SetText(ctx, db.SetTextParams{ID: runID, Text: text}); err != nil {
		return pg.Away(fmt.Errorf("write state of a re-read: %w", err))
	}
	return nil
}

// keep writes down what reading an item gave, in one transaction: record, custody, leaf, run, alarm. unreadable is why there is no
// reading.
func (s *Service) keep(ctx context.Context, rec evidence.Record, runID, damage string, reading *evidence.Reading, unreadable error) error {
	var alarm *db.AddAlarmParams
	var finding []byte
	if damage != "" || unreadable != nil {
		kind, text := "damaged", evidence.DamageText(damage)
		switch {
		case unreadable != nil:
			kind, text = "unreadable", "存储多次未能给出这份影像的字节"
			s.Logger.WarnContext(ctx, "item can't be read", "evidence", rec.ID, "err", unreadable)
		case damage == evidence.DamageMissing:
			kind = "missing"
		}
		// Asked before the transaction: one that waits for a second connection could starve.
		cases, err := s.CasesOf(ctx, string(rec.ID))
		if err != nil {
			return fmt.Errorf("cases of %s: %w", rec.ID, err)
		}
		alarm = &db.AddAlarmParams{ID: id.New(), At: s.Now().UTC(), Kind: kind, About: string(rec.ID), EvidenceID: string(rec.ID), Township: rec.Township,
			CaseIds: cases, Text: text}
		if runID != evidence.FirstRun {
			alarm.RunID = runID
		}
		if finding, err = json.Marshal(Finding{Where: "evidence/" + string(rec.ID), What: text, EvidenceID: string(rec.ID), Township: rec.Township}); err != nil {
			return err
		}
		if s.Log.Halted() != "" { // no leaf can be written, but nobody waits for the alarm
			now := *alarm
			now.ID = id.New() // the one of the transaction comes later, and may find this one acknowledged
			if err := s.alarm(ctx, s.q, now); err != nil {
				return err
			}
		}
	}
	c := evidence.Check{Run: runID, Damage: damage, Reading: *reading, At: s.Now().UTC().Truncate(time.Microsecond)}
	return s.Log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error {
		write := s.Evidence.Verified
		switch {
		case unreadable != nil:
			write = s.Evidence.Tried
		case damage != "":
			write = s.Evidence.Damaged
		}
		fresh, err := write(ctx, tx, rec.ID, c)
		if err != nil || !fresh { // read by another in between, or before our commit's answer was lost
			return err
		}
		q := db.New(tx)
		if runID != evidence.FirstRun {
			n, err := q.ObjectDone(ctx, db.ObjectDoneParams{ID: runID, Bytes: rec.Size, Cursor: string(rec.ID), Finding: finding, Most: maxFindings,
				Damaged: one(damage != "" && damage != evidence.DamageMissing), Missing: one(damage == evidence.DamageMissing)})
			if err != nil {
				return fmt.Errorf("count re-read item: %w", err)
			}
			if n == 0 {
				return fmt.Errorf("the re-read %s was ended by another", runID)
			}
		}
		if alarm == nil {
			return nil
		}
		return s.alarm(ctx, q, *alarm)
	})
}

func one(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}

// finishReread ends a run that has read everything, with its leaf.
func (s *Service) finishReread(ctx context.Context, runID string) error {
	return s.Log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error {
		q := db.New(tx)
		r, err := q.GetRun(ctx, runID)
		if err != nil {
			return fmt.Errorf("read audit run: %w", err)
		}
		now := s.Now().UTC()
		key := "reread/" + runID
		p := db.FinishRereadParams{ID: runID, State: StateOK, EndedAt: &now, LogKey: key,
			Text: fmt.Sprintf("重读 %d 份影像，%d 字节，全部与封存时一致", r.DoneObjects, r.DoneBytes)}
		if r.FindingCount > 0 {
			p.State = StateFindings
			p.Text = fmt.Sprintf("重读 %d 份影像，%d 字节：损坏 %d，缺失 %d，读不出 %d", r.DoneObjects, r.DoneBytes, r.Damaged, r.Missing,
				r.FindingCount-r.Damaged-r.Missing)
		}
		n, err := q.FinishReread(ctx, p)
		if err != nil || n == 0 {
			return err
		}
		return s.Log.Append(tx, chain.Entry{Key: key, Kind: chain.KindReread, Subject: chain.Subject{Type: chain.SubjectPlatform, ID: "audit"}, Time: now,
			Payload: chain.RereadPayload{Run: runID, Objects: r.DoneObjects, Bytes: r.DoneBytes, Damaged: r.Damaged, Missing: r.Missing,
				TookMS: now.Sub(r.StartedAt).Milliseconds(), Actor: r.Actor}})
	})
}
