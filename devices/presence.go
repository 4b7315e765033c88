package devices

import (
	"context"
	"slices"
	"sync"
	"time"

	"zhizheng/devices/internal/db"
	"zhizheng/internal/pg"
)

// grace is how long a device that fell silent without goodbye counts as there: 1.5 × the longest keepalive we ask for.
const grace = 90 * time.Second

// presence is who is there, by session. Writes gather for half a second, so that a county that reconnects at once is a few writes.
type presence struct {
	mu      sync.Mutex
	session map[string]string    // device → its current session
	leaving map[string]time.Time // device → when it counts as gone
	online  map[string]bool      // not written yet
	uploads map[string]time.Time // not written yet
}

func newPresence() *presence {
	return &presence{session: map[string]string{}, leaving: map[string]time.Time{}, online: map[string]bool{}, uploads: map[string]time.Time{}}
}

// Online notes that a device has a session.
func (s *Service) Online(device, session string) {
	p := s.here
	p.mu.Lock()
	defer p.mu.Unlock()
	p.session[device] = session
	delete(p.leaving, device)
	p.online[device] = true
}

// Offline notes that a session ended: with goodbye it counts at once, else after the grace. The end of a session that is not the
// device's current one means nothing: connections die later than they are replaced.
func (s *Service) Offline(device, session string, goodbye bool) {
	s.offline(device, session, goodbye, s.now())
}

func (s *Service) offline(device, session string, goodbye bool, at time.Time) {
	p := s.here
	p.mu.Lock()
	defer p.mu.Unlock()
	if cur, ok := p.session[device]; ok && cur != session {
		return
	}
	if !goodbye {
		p.leaving[device] = at.Add(grace)
		return
	}
	delete(p.session, device)
	delete(p.leaving, device)
	p.online[device] = false
}

// presence takes a birth, a will or a goodbye of an external broker.
func (s *Service) presence(device string, m Presence, at time.Time) {
	if m.Online {
		s.Online(device, m.Session)
		s.Listening(device) // it subscribes before it says so
		return
	}
	s.offline(device, m.Session, m.Goodbye, at)
}

// Uploaded notes that footage of the device was sealed. It is news for the device's page, kept beside the record, and may be lost by
// a crash.
func (s *Service) Uploaded(device string, at time.Time) {
	if device == "" {
		return
	}
	p := s.here
	p.mu.Lock()
	defer p.mu.Unlock()
	p.uploads[device] = at.UTC()
}

// ResetPresence marks all as gone; the start of an embedded broker, to which nobody can be connected yet.
func (s *Service) ResetPresence(ctx context.Context) error { return s.q.DisconnectAll(ctx) }

func (s *Service) runPresence(ctx context.Context) {
	t := time.NewTicker(500 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if err := s.writePresence(ctx); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "presence not written, trying again", "err", err)
			}
		}
	}
}

func (s *Service) writePresence(ctx context.Context) error {
	p, now := s.here, s.now()
	p.mu.Lock()
	for d, at := range p.leaving {
		if now.After(at) {
			delete(p.leaving, d)
			delete(p.session, d)
			p.online[d] = false
		}
	}
	online, uploads := p.online, p.uploads
	p.online, p.uploads = map[string]bool{}, map[string]time.Time{}
	p.mu.Unlock()
	if len(online) == 0 && len(uploads) == 0 {
		return nil
	}
	ids, err := s.store(ctx, online, uploads)
	if err != nil { // put back what nothing newer has replaced
		p.mu.Lock()
		defer p.mu.Unlock()
		for d, v := range online {
			if _, ok := p.online[d]; !ok {
				p.online[d] = v
			}
		}
		for d, v := range uploads {
			if _, ok := p.uploads[d]; !ok {
				p.uploads[d] = v
			}
		}
		return err
	}
	s.live.changed(ids)
	return nil
}

func (s *Service) store(ctx context.Context, online map[string]bool, uploads map[string]time.Time) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	all := make([]string, 0, len(online)+len(uploads))
	for d := range online {
		all = append(all, d)
	}
	for d := range uploads {
		all = append(all, d)
	}
	rows, err := s.q.TownshipsOf(ctx, all) // an external broker may let anyone speak
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.ID
	}
	slices.Sort(ids) // the order of all who write several devices' rows
	var here db.PutPresenceParams
	var up db.NoteUploadsParams
	for _, d := range ids {
		if v, ok := online[d]; ok {
			here.Devices, here.Connected = append(here.Devices, d), append(here.Connected, v)
		}
		if at, ok := uploads[d]; ok {
			up.Devices, up.Times = append(up.Devices, d), append(up.Times, at)
		}
	}
	if len(here.Devices) > 0 {
		if err := s.q.PutPresence(ctx, here); err != nil {
			return nil, pg.Away(err)
		}
	}
	if len(up.Devices) > 0 {
		if err := s.q.NoteUploads(ctx, up); err != nil {
			return nil, pg.Away(err)
		}
	}
	return ids, nil
}
