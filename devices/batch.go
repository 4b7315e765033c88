package devices

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"zhizheng/devices/internal/db"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// A device's messages all go the same way: two batches at work never hold the same device, so what it said first is written first.
const (
	workers   = 2
	maxBatch  = 4000
	linger    = 3 * time.Millisecond // a commit costs about as much: at a low rate waiting that long halves the commits
	fewEnough = 64
	maxQueue  = 32_000 // of each worker; beyond it the sender waits: limits delay, they never drop
)

// letter is a message on its way: understood, or bad with the reason.
type letter struct {
	device, kind string // of the topic, "" if it names none

	msg    Message
	bad    string
	topic  string
	body   []byte
	result func(error) // called once, after the commit or with why there is none
	came   time.Time   // of a dead letter that is taken again: when it came the first time
	fresh  bool        // it was stored, and had not been before
}

type queue struct {
	mu      sync.Mutex
	waiting []*letter
	wake    chan struct{}
	room    chan struct{} // closed and renewed whenever a batch leaves
	closed  bool
}

func newQueue() *queue {
	return &queue{wake: make(chan struct{}, 1), room: make(chan struct{})}
}

var errStopped = fault.Unavailable(time.Second, "消息接收已停止")

// put adds a letter; it waits while the queue is full.
func (q *queue) put(ctx context.Context, l *letter) error {
	for {
		q.mu.Lock()
		if q.closed {
			q.mu.Unlock()
			return errStopped
		}
		if len(q.waiting) < maxQueue {
			q.waiting = append(q.waiting, l)
			q.mu.Unlock()
			q.nudge()
			return nil
		}
		room := q.room
		q.mu.Unlock()
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (q *queue) nudge() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting)
}

func (q *queue) take() []*letter {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.waiting), maxBatch)
	if n == 0 {
		return nil
	}
	batch := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	if len(q.waiting) == 0 {
		q.waiting = nil // let the array go
	} else {
		q.nudge()
	}
	close(q.room)
	q.room = make(chan struct{})
	return batch
}

// close refuses what waits and what comes.
func (q *queue) close() {
	q.mu.Lock()
	rest := q.waiting
	q.waiting, q.closed = nil, true
	close(q.room)
	q.room = make(chan struct{})
	q.mu.Unlock()
	for _, l := range rest {
		l.result(errStopped)
	}
}

// Take stores one message and returns when it is committed; only then may the broker acknowledge it. A message that can't be
// understood is committed to the dead letters, and is then no error.
func (s *Service) Take(ctx context.Context, topic string, body []byte) error {
	done := make(chan error, 1)
	if err := s.Enqueue(ctx, topic, body, func(err error) { done <- err }); err != nil {
		return err
	}
	return <-done // a batch ends by itself, within its timeout
}

// TakeAgain takes a dead letter again, as of when it came. refused says why it can't be taken still; it is not kept a second time. fresh
// is false for a message that has come in another way since.
func (s *Service) TakeAgain(ctx context.Context, topic string, body []byte, came time.Time) (fresh bool, refused string, err error) {
	l := read(topic, body)
	if l.kind == kindConn {
		return false, "presence holds for its moment, and is not taken later", nil
	}
	done := make(chan error, 1)
	l.came, l.result = came, func(err error) { done <- err }
	if err := s.put(ctx, l); err != nil {
		return false, "", err
	}
	select {
	case err = <-done:
		return l.fresh, l.bad, err
	case <-ctx.Done():
		return false, "", ctx.Err()
	}
}

// Enqueue stores one message and calls result after its commit, or with the reason that there was none. It keeps body.
func (s *Service) Enqueue(ctx context.Context, topic string, body []byte, result func(error)) error {
	l := read(topic, body)
	l.result = result
	if l.kind == kindConn {
		p, err := ParsePresence(body)
		if err == nil {
			s.presence(l.device, p, s.now())
			result(nil)
			return nil
		}
		l.bad = err.Error()
	}
	return s.put(ctx, l)
}

func read(topic string, body []byte) *letter {
	l := &letter{topic: topic, body: body}
	var err error
	if l.msg, err = ParseMessage(topic, body); err == nil {
		l.device, l.kind = l.msg.Device, l.msg.Kind
		return l
	}
	l.bad = err.Error()
	l.device, l.kind, _ = ParseTopic(topic) // what is wrong with it has been told
	return l
}

func (s *Service) put(ctx context.Context, l *letter) error {
	return s.queues[maphash.String(s.seed, l.device)%workers].put(ctx, l)
}

// Run stores messages, keeps presence, feeds the stream of changes, makes and drops days of messages, until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	s.tryKeepDays(ctx) // before the first message, which would go to the table for all other days
	g, ctx := errgroup.WithContext(ctx)
	for _, q := range s.queues {
		g.Go(func() error { s.work(ctx, q); return nil })
	}
	g.Go(func() error { s.runPresence(ctx); return nil })
	g.Go(func() error { s.runLive(ctx); return nil })
	g.Go(func() error { s.runDays(ctx); return nil })
	g.Go(func() error { s.runWatch(ctx); return nil })
	g.Go(func() error { s.runCommands(ctx); return nil })
	err := g.Wait()
	for _, q := range s.queues {
		q.close()
	}
	return err
}

// work commits what came while the last commit ran.
func (s *Service) work(ctx context.Context, q *queue) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-q.wake:
		}
		if q.len() < fewEnough {
			t := time.NewTimer(linger)
			select {
			case <-ctx.Done():
			case <-t.C:
			}
			t.Stop()
		}
		if batch := q.take(); batch != nil {
			s.settle(context.WithoutCancel(ctx), batch)
		}
	}
}

// settle commits a batch and tells each sender. A batch that fails by its content is halved until the culprit stands alone; that
// one goes to the dead letters. Without a database nobody is told anything but to try again.
func (s *Service) settle(ctx context.Context, batch []*letter) {
	err := s.commit(ctx, batch)
	if pg.IsPassing(err) { // a day was made while the batch waited for its place; now it goes there
		err = s.commit(ctx, batch)
	}
	if err == nil || fault.Is(err, fault.KindUnavailable) || fault.Is(err, fault.KindStorageFull) || errors.Is(err, context.DeadlineExceeded) {
		if err != nil {
			s.log.WarnContext(ctx, "messages not stored, devices will send them again", "messages", len(batch), "err", err)
		}
		for _, l := range batch {
			l.result(err)
		}
		return
	}
	if len(batch) == 1 {
		l := batch[0]
		if l.bad == "" {
			l.bad = "could not be stored: " + err.Error()
			err = s.commit(ctx, batch)
		}
		if err != nil {
			s.log.ErrorContext(ctx, "message neither stored nor kept as a dead letter", "err", err)
		}
		l.result(err)
		return
	}
	s.settle(ctx, batch[:len(batch)/2])
	s.settle(ctx, batch[len(batch)/2:])
}

// commit writes a batch in one transaction. Crash before the commit: no acknowledgement went out, the devices send again. Crash after
// it: they send again too, and device_seen has the number already.
func (s *Service) commit(ctx context.Context, batch []*letter) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := s.recognise(ctx, batch); err != nil {
		return err
	}
	now := s.now().UTC()
	good := make([]*letter, 0, len(batch))
	var dead []*letter
	for _, l := range batch {
		if l.bad == "" {
			if _, scattered := s.scattered.Load(boot{l.msg.Device, l.msg.Epoch}); scattered {
				l.bad = "the numbers of this boot have too many gaps"
			}
		}
		if l.bad == "" {
			good = append(good, l)
		} else if l.came.IsZero() {
			dead = append(dead, l)
		}
	}
	// One order for all who write several devices' rows, so that they can't wait for each other.
	slices.SortFunc(good, func(a, b *letter) int {
		return cmp.Or(cmp.Compare(a.msg.Device, b.msg.Device), cmp.Compare(a.msg.Epoch, b.msg.Epoch), cmp.Compare(a.msg.Seq, b.msg.Seq))
	})
	var states db.PutStatesParams
	var beyond map[string]int
	var news []*letter
	err := pg.InTx(ctx, s.pool, func(tx *pg.Tx) (err error) {
		q := db.New(tx)
		if len(dead) > 0 {
			if beyond, err = s.bury(ctx, q, dead, now); err != nil {
				return fmt.Errorf("keep dead letters: %w", err)
			}
		}
		if len(good) == 0 {
			return nil
		}
		if news, err = s.unseen(ctx, q, good, now); err != nil || len(news) == 0 {
			return err
		}
		if _, err := q.AddMessages(ctx, messageRows(news, now)); err != nil {
			return fmt.Errorf("store messages: %w", err)
		}
		if err := s.answers(ctx, q, news, now); err != nil {
			return err
		}
		states = newest(news, now)
		if err := q.PutStates(ctx, states); err != nil {
			return fmt.Errorf("store states: %w", err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.live.changed(states.Devices)
	for _, l := range news {
		l.fresh = true
	}
	for device, n := range beyond {
		s.skipped.Add(int64(n))
		s.pace.take(device, n*letterCost, time.Now())
	}
	return nil
}

// recognise marks letters of devices that nobody registered.
func (s *Service) recognise(ctx context.Context, batch []*letter) error {
	var ask []string
	for _, l := range batch {
		if l.bad == "" {
			if _, ok := s.known.Load(l.msg.Device); !ok {
				ask = append(ask, l.msg.Device)
			}
		}
	}
	if len(ask) == 0 {
		return nil
	}
	rows, err := s.q.TownshipsOf(ctx, ask)
	if err != nil {
		return pg.Away(err)
	}
	for _, r := range rows {
		s.known.Store(r.ID, r.Township)
	}
	for _, l := range batch {
		if l.bad == "" {
			if _, ok := s.known.Load(l.msg.Device); !ok {
				l.bad = "unknown device"
			}
		}
	}
	return nil
}

func messageRows(news []*letter, now time.Time) []db.AddMessagesParams {
	rows := make([]db.AddMessagesParams, len(news))
	for i, l := range news {
		rows[i] = db.AddMessagesParams{DeviceID: l.msg.Device, Epoch: l.msg.Epoch, Seq: l.msg.Seq, Kind: l.msg.Kind, DeviceTime: l.msg.Time, ReceivedAt: now, Body: l.body}
	}
	return rows
}

// newest folds letters that are new, in order, into one change a device. A repetition changes nothing, not even when the device was
// last heard of.
func newest(news []*letter, now time.Time) db.PutStatesParams {
	var p db.PutStatesParams
	for _, l := range news {
		m, at := l.msg, now
		if !l.came.IsZero() {
			at = l.came
		}
		i := len(p.Devices) - 1
		if i < 0 || p.Devices[i] != m.Device {
			i++
			p.Devices, p.Epochs, p.Seqs = append(p.Devices, m.Device), append(p.Epochs, 0), append(p.Seqs, 0)
			p.DockTimes, p.Batteries, p.Storages = append(p.DockTimes, time.Unix(0, 0)), append(p.Batteries, -1), append(p.Storages, -1)
			p.Docked, p.States, p.Skews = append(p.Docked, -1), append(p.States, ""), append(p.Skews, 0)
			p.Times = append(p.Times, at)
		}
		p.Epochs[i], p.Seqs[i], p.Skews[i] = m.Epoch, m.Seq, m.Time.Sub(at).Milliseconds()
		if at.After(p.Times[i]) {
			p.Times[i] = at
		}
		if m.Data.Battery != nil {
			p.Batteries[i] = int16(*m.Data.Battery)
		}
		if m.Data.StorageUsed != nil {
			p.Storages[i] = int16(*m.Data.StorageUsed)
		}
		if m.Data.State != "" {
			p.States[i] = m.Data.State
		}
		if m.Data.Docked != nil {
			p.Docked[i] = 0
			if *m.Data.Docked {
				p.Docked[i] = 1
				if m.Kind == kindDock {
					p.DockTimes[i] = at
				}
			}
		}
	}
	return p
}

// short keeps a text of any length and kind fit for a column people read.
func short(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
	if len(s) > 300 {
		s = strings.ToValidUTF8(s[:300], "") + "…"
	}
	return s
}
