package evidence

import (
	"context"
	"fmt"
	"time"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/internal/db"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// Act is what somebody or a job did with an item.
type Act struct {
	Actor   string // user id, station, or "system"
	Session string
	CaseID  string
	Reason  string
	Until   time.Time
	Digest  []byte    // an export's manifest digest
	At      time.Time // zero: now
}

// CustodyEvent is a step of the chain of custody.
type CustodyEvent struct {
	ID      string
	At      time.Time
	Kind    chain.Kind
	Actor   string
	CaseID  string
	Reason  string
	Until   *time.Time
	LogKey  string
	Session string
}

// Note writes a custody event and its leaf when the caller's transaction commits: an item that isn't there fails the commit.
func (k *Keeper) Note(_ context.Context, tx *pg.Tx, eid ID, kind chain.Kind, a Act) error {
	if a.At.IsZero() {
		a.At = k.now()
	}
	a.At = a.At.UTC().Truncate(time.Microsecond)
	key := "custody/" + id.New()
	p := chain.CustodyPayload{EvidenceID: string(eid), Actor: a.Actor, Session: a.Session, CaseID: a.CaseID, Reason: a.Reason, Digest: a.Digest}
	if !a.Until.IsZero() {
		p.Until = a.Until.UnixMilli()
	}
	if err := k.log.Append(tx, chain.Entry{Key: key, Kind: kind, Subject: Subject(eid), Time: a.At, Payload: p}); err != nil {
		return err
	}
	k.addCustody(tx, eid, kind, a, key)
	return nil
}

// addCustody puts off the row of an event whose leaf is appended under key.
func (k *Keeper) addCustody(tx *pg.Tx, eid ID, kind chain.Kind, a Act, key string) {
	if a.At.IsZero() {
		a.At = k.now()
	}
	var until *time.Time
	if !a.Until.IsZero() {
		u := a.Until.UTC()
		until = &u
	}
	k.events.Add(tx, db.CustodyRow{ID: id.New(), EvidenceID: string(eid), At: a.At.UTC(), Kind: int16(kind),
		Actor: a.Actor, Session: a.Session, CaseID: a.CaseID, Reason: a.Reason, Until: until, LogKey: key})
}

// Custody gives the chain of custody, oldest first.
func (k *Keeper) Custody(ctx context.Context, s Scope, eid ID, cursor string, limit int) (Page[CustodyEvent], error) {
	if _, err := k.Get(ctx, s, eid); err != nil {
		return Page[CustodyEvent]{}, err
	}
	at, after, err := readCursor(cursor)
	if err != nil {
		return Page[CustodyEvent]{}, err
	}
	rows, err := db.New(k.pool).Custody(ctx, db.CustodyParams{EvidenceID: string(eid), AfterAt: at, AfterID: opt(after), MaxRows: int32(limit + 1)})
	if err != nil {
		return Page[CustodyEvent]{}, fmt.Errorf("list custody: %w", err)
	}
	var p Page[CustodyEvent]
	for i, r := range rows {
		if i == limit {
			last := p.Items[limit-1]
			p.Next = makeCursor(last.At, last.ID)
			break
		}
		p.Items = append(p.Items, CustodyEvent{ID: r.ID, At: r.At, Kind: chain.Kind(r.Kind), Actor: r.Actor, Session: r.Session, CaseID: r.CaseID,
			Reason: r.Reason, Until: r.Until, LogKey: r.LogKey})
	}
	return p, nil
}
