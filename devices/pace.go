package devices

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"zhizheng/devices/internal/db"
	"zhizheng/internal/id"
)

const (
	defaultRate    = 50     // messages a second; a device of the county sends one in ten seconds
	defaultBurst   = 1000   // ahead of its rate: what it kept while it had no network
	defaultLetters = 10_000 // a day: all that such a device sends, and a little more
	letterCost     = 50     // messages that a dead letter beyond the day's allowance counts for
	maxWait        = 10 * time.Second
	tellEvery      = time.Hour
)

// pace says how far a device is ahead of its rate. It refuses nothing: who reads the device's connection waits that long.
type pace struct {
	interval time.Duration // between two messages in the long run
	burst    int

	mu    sync.Mutex
	of    map[string]*paceOf
	sweep int // how many devices make a look at who may be forgotten worth it
	ahead int64
}

type paceOf struct {
	due  time.Time // when the rate allows for what has come
	told time.Time
}

func newPace(rate, burst int) *pace {
	return &pace{interval: time.Second / time.Duration(rate), burst: burst, of: map[string]*paceOf{}, sweep: 4096}
}

// take counts messages of a device and gives how far it is ahead, at most maxWait. tell is true once an hour for those that are.
func (p *pace) take(device string, messages int, now time.Time) (ahead time.Duration, tell bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.of[device]
	if x == nil {
		x = &paceOf{}
		p.forget(now)
		p.of[device] = x
	}
	due := x.due
	if due.Before(now) {
		due = now
	}
	due = due.Add(time.Duration(messages) * p.interval)
	allowed := now.Add(time.Duration(p.burst) * p.interval)
	if most := allowed.Add(maxWait); due.After(most) {
		due = most
	}
	x.due = due
	if ahead = due.Sub(allowed); ahead <= 0 {
		return 0, false
	}
	p.ahead++
	if tell = now.Sub(x.told) >= tellEvery; tell {
		x.told = now
	}
	return ahead, tell
}

// forget drops those whose time is over, now and then: on a broker of the county's own anybody may name any device.
func (p *pace) forget(now time.Time) {
	if len(p.of) < p.sweep {
		return
	}
	for d, x := range p.of {
		if x.due.Before(now) && now.Sub(x.told) >= tellEvery {
			delete(p.of, d)
		}
	}
	p.sweep = max(4096, 2*len(p.of))
}

func (p *pace) count() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ahead
}

// measure counts a message that has come and gives how long its device's connection should wait.
func (s *Service) measure(ctx context.Context, device string) time.Duration {
	ahead, tell := s.pace.take(device, 1, time.Now())
	if tell {
		s.log.WarnContext(ctx, "device sends more than it may", "device", device, "ahead", ahead)
	}
	return ahead
}

// Floods counts, since the start, messages that came ahead of their device's rate, and dead letters that were counted and not kept.
func (s *Service) Floods() (ahead, skipped int64) { return s.pace.count(), s.skipped.Load() }

// bury keeps dead letters: of each device what a day allows, and of the rest the last and how many there were. Gives how many were not
// kept, by device.
func (s *Service) bury(ctx context.Context, q *db.Queries, dead []*letter, now time.Time) (map[string]int, error) {
	slices.SortStableFunc(dead, func(a, b *letter) int { return cmp.Compare(a.device, b.device) })
	p := db.CountLettersParams{Day: now}
	for _, l := range dead {
		if n := len(p.Devices); n == 0 || p.Devices[n-1] != l.device {
			p.Devices, p.Letters, p.Ids = append(p.Devices, l.device), append(p.Letters, 0), append(p.Ids, id.New())
		}
		p.Letters[len(p.Letters)-1]++
	}
	rows, err := q.CountLetters(ctx, p)
	if err != nil {
		return nil, err
	}
	days := make(map[string]db.CountLettersRow, len(rows))
	for _, r := range rows {
		days[r.DeviceID] = r
	}
	var keep []db.AddDeadLettersParams
	beyond := map[string]int{}
	for i, device := range p.Devices {
		came := int(p.Letters[i])
		room := min(max(s.letters-(int(days[device].Letters)-came), 0), came)
		for _, l := range dead[:room] {
			keep = append(keep, db.AddDeadLettersParams{ID: id.New(), At: now, Source: "mqtt", Origin: short(l.topic), Reason: short(l.bad), Raw: l.body})
		}
		if room < came {
			l := dead[came-1]
			err := q.KeepLastLetter(ctx, db.KeepLastLetterParams{ID: days[device].LastID, At: now, Source: "mqtt", Origin: short(l.topic), Reason: short(l.bad), Raw: l.body,
				Skipped: int32(came - room - 1)})
			if err != nil {
				return nil, err
			}
			beyond[device] = came - room
		}
		dead = dead[came:]
	}
	_, err = q.AddDeadLetters(ctx, keep)
	return beyond, err
}
