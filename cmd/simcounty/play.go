package main

import (
	"math/rand/v2"
	"time"

	"zhizheng/devices"
)

// What a device says of itself; the console has a word for each.
const (
	idle      = "idle"
	recording = "recording"
	docked    = "docked"
	charging  = "charging"
	uploading = "uploading"
	printing  = "printing"
	broken    = "error"
)

// part is what one device plays. It knows no clock: step says how long has passed.
type part struct {
	kind, play       string
	r                *rand.Rand
	battery, storage float64 // percent
	inDock           bool
	state            string
	next             time.Duration // until it does something else
	shift            time.Duration // until it goes to its dock, or leaves it
}

func newPart(kind, play string, r *rand.Rand) *part {
	p := &part{kind: kind, play: play, r: r, state: idle, storage: 20 + 50*r.Float64(), battery: 100}
	switch kind {
	case devices.Recorder:
		p.inDock = r.IntN(100) < 40
		p.battery, p.storage, p.shift = 25+75*r.Float64(), 60*r.Float64(), p.between(time.Minute, 5*time.Hour)
	case devices.Other:
		p.battery = 15 + 85*r.Float64()
	}
	p.choose()
	return p
}

func (p *part) between(low, high time.Duration) time.Duration {
	return low + time.Duration(p.r.Int64N(int64(high-low)))
}

// rate turns percent an hour into percent of the time that passed.
func rate(perHour float64, d time.Duration) float64 { return perHour * d.Hours() }

// step lets time pass and gives the kind of message that tells of it.
func (p *part) step(d time.Duration) (kind string) {
	state, inDock := p.state, p.inDock
	p.next, p.shift = p.next-d, p.shift-d
	switch p.kind {
	case devices.Recorder:
		p.recorder(d)
	case devices.Other:
		p.battery -= rate(2, d)
		if p.battery < 8 {
			p.battery = 100 // a fresh one
		}
	case devices.Dock:
		if p.state == uploading {
			p.storage += rate(3, d)
		} else {
			p.storage -= rate(2, d)
		}
		p.storage = min(max(p.storage, 10), 90)
	case devices.Computer:
		p.storage = min(p.storage+rate(0.05, d), 90)
	}
	if p.next <= 0 {
		p.choose()
	}
	switch {
	case p.inDock != inDock:
		return "dock"
	case p.state != state:
		return "state"
	}
	return "hb"
}

// recorder is worn, goes to its dock when the shift ends or something runs out, empties its card there, charges, and leaves again.
func (p *part) recorder(d time.Duration) {
	if p.inDock {
		p.battery = min(p.battery+rate(45, d), 100)
		p.storage = max(p.storage-rate(70, d), 2)
		if p.shift <= 0 && p.battery > 90 && p.storage < 5 {
			p.inDock, p.next, p.shift = false, 0, p.between(2*time.Hour, 6*time.Hour)
		} else {
			p.choose()
		}
		return
	}
	drain := 6.0
	if p.state == recording {
		drain = 14
		p.storage = min(p.storage+rate(10, d), 100)
	}
	p.battery = max(p.battery-rate(drain, d), 1)
	if p.shift <= 0 || p.battery < 12 || p.storage > 88 {
		p.inDock, p.next, p.shift = true, 0, p.between(30*time.Minute, 5*time.Hour)
	}
}

// choose decides what the device does next and for how long.
func (p *part) choose() {
	p.next = p.between(3*time.Minute, 25*time.Minute)
	luck := p.r.IntN(100)
	p.state = idle
	switch {
	case p.play == playFault:
		p.state = broken
	case p.kind == devices.Recorder && p.inDock:
		p.state = docked
		if p.storage > 3 {
			p.state = uploading
		} else if p.battery < 99 {
			p.state = charging
		}
	case p.kind == devices.Recorder && luck < 35:
		p.state = recording
	case p.kind == devices.Dock && luck < 30:
		p.state = uploading
	case p.kind == devices.Printer && luck < 12:
		p.state, p.next = printing, p.between(20*time.Second, 3*time.Minute)
	}
}

func (p *part) snapshot() devices.Snapshot {
	s := devices.Snapshot{State: p.state}
	percent := func(f float64) *int { n := int(f); return &n }
	if p.kind == devices.Recorder || p.kind == devices.Other {
		s.Battery = percent(p.battery)
	}
	if p.kind == devices.Recorder || p.kind == devices.Dock || p.kind == devices.Computer {
		s.StorageUsed = percent(p.storage)
	}
	if p.kind == devices.Recorder {
		s.Docked = &p.inDock
	}
	return s
}

// wrongClock is how far a device's clock is off: most are right, some by minutes, a few were never set.
func wrongClock(r *rand.Rand) time.Duration {
	switch luck := r.IntN(400); {
	case luck == 0:
		return -2 * 365 * 24 * time.Hour
	case luck < 8:
		return time.Duration(r.IntN(600)-300) * time.Second
	}
	return time.Duration(r.IntN(1600)-800) * time.Millisecond
}
