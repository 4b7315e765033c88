package devices

import (
	"context"
	"sync"
	"time"

	"zhizheng/authority"
	"zhizheng/internal/fault"
)

const (
	liveEvery      = time.Second
	maxSubscribers = 256
	maxOfOne       = 16 // a browser holds one, however many pages it shows
)

// hub spreads changed states to those who watch. What changed is read from the database once a second, however many watch, and
// each watcher holds at most one state a device: a slow one skips states, it never piles them up.
type hub struct {
	mu    sync.Mutex
	dirty map[string]bool
	subs  map[*Subscription]bool
}

func newHub() *hub {
	return &hub{dirty: map[string]bool{}, subs: map[*Subscription]bool{}}
}

func (h *hub) changed(ids []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.subs) == 0 {
		return
	}
	for _, d := range ids {
		h.dirty[d] = true
	}
}

// Subscription is one watcher. Close it.
type Subscription struct {
	hub     *hub
	actor   authority.Actor
	mu      sync.Mutex
	pending map[string]State
	wake    chan struct{}
}

// Subscribe watches the devices in the actor's scope, from now on.
func (s *Service) Subscribe(ctx context.Context) (*Subscription, error) {
	h := s.live
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.subs) >= maxSubscribers {
		return nil, fault.Unavailable(10*time.Second, "同时查看设备动态的人过多，请稍后再试")
	}
	actor, own := authority.ActorFrom(ctx), 0
	for x := range h.subs {
		if x.actor.UserID == actor.UserID {
			own++
		}
	}
	if own >= maxOfOne {
		return nil, fault.Unavailable(10*time.Second, "这个账号同时打开的设备动态过多，请先关闭一些")
	}
	x := &Subscription{hub: h, actor: actor, pending: map[string]State{}, wake: make(chan struct{}, 1)}
	h.subs[x] = true
	return x, nil
}

// Close ends the subscription.
func (x *Subscription) Close() {
	x.hub.mu.Lock()
	defer x.hub.mu.Unlock()
	delete(x.hub.subs, x)
	if len(x.hub.subs) == 0 {
		clear(x.hub.dirty)
	}
}

// Wake tells that Take has something.
func (x *Subscription) Wake() <-chan struct{} { return x.wake }

// Take gives what changed since the last Take, the latest state of each device.
func (x *Subscription) Take() []State {
	x.mu.Lock()
	defer x.mu.Unlock()
	all := make([]State, 0, len(x.pending))
	for _, st := range x.pending {
		all = append(all, st)
	}
	clear(x.pending)
	return all
}

func (x *Subscription) offer(states []State, townships []string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, st := range states {
		if x.actor.Sees(townships[i]) {
			x.pending[st.ID] = st
		}
	}
	if len(x.pending) > 0 {
		select {
		case x.wake <- struct{}{}:
		default:
		}
	}
}

func (s *Service) runLive(ctx context.Context) {
	t := time.NewTicker(liveEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := s.spread(ctx); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "changed states not read, trying again", "err", err)
			}
		}
	}
}

func (s *Service) spread(ctx context.Context) error {
	h := s.live
	h.mu.Lock()
	ids := make([]string, 0, len(h.dirty))
	for d := range h.dirty {
		ids = append(ids, d)
	}
	clear(h.dirty)
	h.mu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	rows, err := s.q.States(ctx, ids)
	if err != nil {
		h.changed(ids)
		return err
	}
	states, townships := make([]State, len(rows)), make([]string, len(rows))
	for i, r := range rows {
		states[i] = State{ID: r.DeviceID, Connected: r.Connected, LastData: r.LastDataAt, LastDock: r.LastDockAt, LastUpload: r.LastUploadAt,
			Battery: percent(r.Battery), StorageUsed: percent(r.StorageUsed), Docked: r.Docked, Skew: skew(r.SkewMs)}
		if r.State != nil {
			states[i].State = *r.State
		}
		townships[i] = r.Township
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for x := range h.subs {
		x.offer(states, townships)
	}
	return nil
}
