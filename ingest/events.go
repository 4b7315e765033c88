package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/ingest/internal/db"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// What a station reports besides footage. Those with a leaf are marked so.
const (
	EventDocked    = "docked"     // a recorder came
	EventUndocked  = "undocked"   // it went
	EventTaken     = "taken"      // leaf: an officer took it
	EventReturned  = "returned"   // leaf: an officer brought it back
	EventLabelled  = "labelled"   // leaf: an officer says which activity a clip shows
	EventMistaken  = "mistaken"   // leaf: an officer says that a clip is a mistaken recording
	EventGapReason = "gap-reason" // leaf: an officer says why clips are missing
	EventWiped     = "wiped"      // leaf: an original was removed from its recorder
	EventClaimed   = "claimed"    // an officer says whose card it is
	EventSlip      = "slip"       // a docking slip was made out
)

// Event is one of them. ID is a ULID the station made when it happened: the same one again changes nothing.
type Event struct {
	ID       string      `json:"id"`
	Kind     string      `json:"kind"`
	At       time.Time   `json:"at"` // by the station's clock
	Officer  string      `json:"officer_id,omitempty"`
	Recorder string      `json:"recorder,omitempty"`
	Evidence evidence.ID `json:"evidence_id,omitempty"`
	Data     EventData   `json:"data"`
}

// EventData are the particulars; each kind has its own few.
type EventData struct {
	Slot       int    `json:"slot,omitempty"`
	Activity   string `json:"activity,omitempty"`    // kind, of evidence.ActivityNames
	ActivityID string `json:"activity_id,omitempty"` // the planned one, "" for the kind alone
	Reason     string `json:"reason,omitempty"`
	Series     string `json:"series,omitempty"` // what tells one run of file names from another
	First      uint64 `json:"first,omitempty"`  // numbers that are missing
	Last       uint64 `json:"last,omitempty"`
	Leaf       int64  `json:"leaf,omitempty"` // of the sealing, by the receipt that the station verified
	Files      int    `json:"files,omitempty"`
	Volume     string `json:"volume,omitempty"` // what the card is known by
	Digest     string `json:"digest,omitempty"` // SHA-256 of a slip
	By         string `json:"by,omitempty"`     // how the officer was known: card, pin; or "docking" when nobody said anything
}

// EventResult answers one event.
type EventResult struct {
	Status, Code, Error string // Accepted, Already or Rejected
}

// SubmitEvents takes events in their order. Each is committed with its leaf before it is answered, those of a batch in one transaction; a
// rejected one is kept with its bytes among the dead letters. An error means that none may count on being taken: send the batch again.
func (s *Service) SubmitEvents(ctx context.Context, st Station, events []Event) ([]EventResult, error) {
	out := make([]EventResult, len(events))
	ids := make([]string, len(events))
	for i, e := range events {
		ids[i] = e.ID
	}
	rows, err := db.New(s.Pool).EventsKnown(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("look up events: %w", err)
	}
	known := map[string]string{}
	for _, r := range rows {
		known[r.ID] = r.Station
	}
	var all []*preparedEvent
	at := map[*preparedEvent]int{}
	for i, e := range events {
		var p *preparedEvent
		switch whose, ok := known[e.ID]; {
		case ok && whose == st.ID:
			out[i] = EventResult{Status: Already}
			continue
		case ok:
			err = &rejection{"foreign-id", "这个编号已被另一采集站使用"}
		default:
			p, err = s.prepareEvent(ctx, st, e)
		}
		if rej := asRejection(err); rej != nil {
			if out[i], err = s.rejectEvent(ctx, st, e, rej); err != nil {
				return nil, err
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		all, at[p], out[i] = append(all, p), i, EventResult{Status: Accepted}
	}
	if len(all) == 0 || s.keepEvents(ctx, st, all...) == nil {
		return out, nil
	}
	for _, p := range all { // one that can't be kept, whatever is tried, must not hold up the others for ever
		err := s.keepEvents(ctx, st, p)
		if rej := unkeepable(err); rej != nil {
			s.Logger.ErrorContext(ctx, "event can't be kept", "station", st.ID, "kind", p.Kind, "err", err)
			out[at[p]], err = s.rejectEvent(ctx, st, p.Event, rej)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// unkeepable is why an event that looked well can't be kept; nil if trying again may help.
func unkeepable(err error) *rejection {
	var pe *pgconn.PgError
	if errors.As(err, &pe) && (strings.HasPrefix(pe.Code, "22") || strings.HasPrefix(pe.Code, "23")) {
		return &rejection{"unstorable", "事项的内容无法存入，已留存原件待查"}
	}
	var f *fault.Error
	if errors.As(err, &f) && slices.Contains([]fault.Kind{fault.KindInvalid, fault.KindNotFound, fault.KindConflict, fault.KindGone, fault.KindRefused}, f.Kind) {
		return &rejection{"refused", f.Detail}
	}
	return nil
}

func (s *Service) rejectEvent(ctx context.Context, st Station, e Event, r *rejection) (EventResult, error) {
	raw, err := json.Marshal(e)
	if err != nil {
		return EventResult{}, err
	}
	return EventResult{Status: Rejected, Code: r.code, Error: r.reason}, s.deadLetter(ctx, "event", st, raw, r)
}

// keepEvents does what they say, in one transaction. Crash before the commit: the station sends them again.
func (s *Service) keepEvents(ctx context.Context, st Station, all ...*preparedEvent) error {
	return s.Log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error {
		for _, p := range all {
			if err := s.keepEvent(ctx, tx, st, p); err != nil {
				return err
			}
		}
		return nil
	})
}

// Already answers an event that was taken before.
const Already = "known"

// maxReason bounds what an officer writes.
const maxReason = 200

func (s *Service) checkEvent(ctx context.Context, st Station, e Event) error {
	needs := func(ok bool, what string) error {
		if ok {
			return nil
		}
		return &rejection{"malformed", "“" + e.Kind + "”缺少" + what}
	}
	var err error
	switch e.Kind {
	case EventDocked, EventUndocked, EventClaimed, EventSlip:
	case EventTaken, EventReturned:
		err = errors.Join(needs(e.Officer != "", "人员"), needs(e.Recorder != "", "记录仪"))
	case EventLabelled:
		_, ok := evidence.ActivityNames[e.Data.Activity]
		err = errors.Join(needs(e.Evidence != "", "证据编号"), needs(ok, "执法活动"), needs(e.Officer != "", "人员"))
	case EventMistaken:
		err = errors.Join(needs(e.Evidence != "", "证据编号"), needs(e.Officer != "", "人员"), needs(e.Data.Reason != "", "事由"))
	case EventGapReason:
		err = errors.Join(needs(e.Officer != "", "人员"), needs(e.Data.Reason != "", "事由"), needs(e.Data.First <= e.Data.Last && e.Data.Last > 0, "编号范围"))
	case EventWiped:
		err = needs(e.Evidence != "", "证据编号")
	default:
		return &rejection{"unknown-kind", "不认识的事项：" + e.Kind}
	}
	if err != nil {
		return err
	}
	if !id.Valid(e.ID) || e.At.IsZero() || !utf8.ValidString(e.Data.Reason) || utf8.RuneCountInString(e.Data.Reason) > maxReason || len(e.Recorder) > 80 {
		return &rejection{"malformed", fmt.Sprintf("编号应为 ULID，须有时间，事由不超过 %d 字，记录仪序列号不超过 80 字节", maxReason)}
	}
	if e.Officer != "" {
		ok, err := s.Officer(ctx, e.Officer)
		if err != nil {
			return err
		}
		if !ok {
			return &rejection{"unknown-officer", "没有这名执法人员"}
		}
	}
	if e.Data.ActivityID != "" { // one that was cancelled since is still what the officer said
		town, err := s.Activity(ctx, e.Data.ActivityID)
		if err != nil {
			return err
		}
		if town != st.Township {
			return &rejection{"unknown-activity", "本采集站所属乡镇没有这项执法活动"}
		}
	}
	if e.Evidence != "" {
		sc := evidence.Scope{Townships: []string{st.Township}}
		if e.Kind == EventWiped { // of a card that was docked elsewhere before, perhaps: that it was wiped is a fact, whoever registered the bytes
			sc = evidence.Scope{}
		}
		rec, err := s.Evidence.Get(ctx, sc, e.Evidence)
		if fault.Is(err, fault.KindNotFound) {
			return &rejection{"unknown-evidence", "本采集站所属乡镇没有这条证据"}
		}
		if err != nil {
			return err
		}
		if rec.Station != st.ID && e.Kind != EventWiped {
			return &rejection{"foreign-evidence", "这条证据不是由本采集站登记的"}
		}
	}
	return nil
}

// preparedEvent is one that may be taken.
type preparedEvent struct {
	Event
	device string // the recorder's, "" if it isn't registered
	row    db.AddEventParams
}

func (s *Service) prepareEvent(ctx context.Context, st Station, e Event) (*preparedEvent, error) {
	if err := s.checkEvent(ctx, st, e); err != nil {
		return nil, err
	}
	p := &preparedEvent{Event: e}
	if e.Recorder != "" {
		var err error
		if p.device, err = s.Recorder(ctx, e.Recorder); err != nil {
			return nil, fmt.Errorf("look up recorder: %w", err)
		}
	}
	data, err := json.Marshal(e.Data)
	if err != nil {
		return nil, err
	}
	p.row = db.AddEventParams{ID: e.ID, Station: st.ID, Township: st.Township, Kind: e.Kind, At: e.At.UTC(), ReceivedAt: s.Now().UTC(), OfficerID: e.Officer,
		Recorder: e.Recorder, Data: data}
	if e.Evidence != "" {
		p.row.EvidenceID = (*string)(&p.Evidence)
	}
	// What becomes custody of an item has its own key there; the others' leaves are named by the event.
	if slices.Contains([]string{EventTaken, EventReturned, EventGapReason}, e.Kind) {
		key := "station-event/" + e.ID
		p.row.LogKey = &key
	}
	return p, nil
}

// keepEvent does what an event says and keeps it.
func (s *Service) keepEvent(ctx context.Context, tx *pg.Tx, st Station, p *preparedEvent) error {
	n, err := db.New(tx).AddEvent(ctx, p.row)
	if err != nil {
		return fmt.Errorf("keep event: %w", err)
	}
	if n == 0 {
		return nil // another request was faster, or it is in the batch twice
	}
	act := evidence.Act{Actor: p.Officer, Session: "station/" + st.ID, Reason: p.Data.Reason}
	switch p.Kind {
	case EventTaken:
		return s.taken(ctx, tx, st, p.Event, p.device)
	case EventReturned:
		return s.returned(ctx, tx, st, p.Event, p.device, *p.row.LogKey)
	case EventLabelled:
		return s.Evidence.Label(ctx, tx, p.Evidence, evidence.Label{Kind: p.Data.Activity, Activity: p.Data.ActivityID}, act)
	case EventMistaken:
		return s.Evidence.Mistaken(ctx, tx, p.Evidence, act)
	case EventGapReason:
		return s.Log.Append(tx, chain.Entry{Key: *p.row.LogKey, Kind: chain.KindAnomaly, Subject: KeySubject(st.KeyID), Time: s.Now().UTC(), Payload: chain.AnomalyPayload{
			KeyID: st.KeyID, What: InferredGapExplained, First: p.Data.First, Last: p.Data.Last, Detail: p.Recorder + " " + p.Data.Series + "：" + p.Data.Reason, Actor: p.Officer}})
	case EventWiped:
		return s.wiped(ctx, tx, st, p.Event)
	}
	return nil
}

// What anomalies of stations' events say.
const (
	InferredGapExplained = "inferred-gap-explained"
	WipedUnsealed        = "wiped-unsealed"
)

func recorderEntry(kind chain.Kind, key string, st Station, recorder, device, officer string, at, now time.Time) chain.Entry {
	return chain.Entry{Key: key, Kind: kind, Subject: chain.Subject{Type: chain.SubjectRecorder, ID: recorder}, Time: now,
		Payload: chain.RecorderPayload{Recorder: recorder, DeviceID: device, Officer: officer, Station: st.ID, At: at.UnixMilli()}}
}

// taken begins an officer's time with a recorder. If it was out with somebody else, it has evidently come back.
func (s *Service) taken(ctx context.Context, tx *pg.Tx, st Station, e Event, device string) error {
	if err := s.returned(ctx, tx, st, e, device, ""); err != nil {
		return err
	}
	err := db.New(tx).AddWear(ctx, db.AddWearParams{ID: e.ID, Recorder: e.Recorder, DeviceID: device, Township: st.Township, OfficerID: e.Officer, TakenAt: e.At.UTC()})
	if err != nil {
		return fmt.Errorf("note who took a recorder: %w", err)
	}
	return s.Log.Append(tx, recorderEntry(chain.KindTaken, "station-event/"+e.ID, st, e.Recorder, device, e.Officer, e.At, s.Now().UTC()))
}

// returned ends the time that is open. key "" is for one that ends because somebody else took the recorder: its leaf names who had it.
func (s *Service) returned(ctx context.Context, tx *pg.Tx, st Station, e Event, device, key string) error {
	ended, err := db.New(tx).CloseWear(ctx, db.CloseWearParams{Recorder: e.Recorder, At: e.At.UTC()})
	if err != nil {
		return fmt.Errorf("note who returned a recorder: %w", err)
	}
	officer := e.Officer
	if key == "" {
		if len(ended) == 0 {
			return nil
		}
		key, officer = "station-event/"+e.ID+"/before", ended[0].OfficerID
	}
	return s.Log.Append(tx, recorderEntry(chain.KindReturned, key, st, e.Recorder, device, officer, e.At, s.Now().UTC()))
}

// wiped notes that an original is gone. A station that removed what isn't sealed broke the platform's promise: that is in the log too.
func (s *Service) wiped(ctx context.Context, tx *pg.Tx, st Station, e Event) error {
	rec, err := s.Evidence.Get(ctx, evidence.Scope{}, e.Evidence)
	if err != nil {
		return err
	}
	if rec.Status == evidence.StatusPending {
		err := s.Log.Append(tx, chain.Entry{Key: WipedUnsealed + "/" + e.ID, Kind: chain.KindAnomaly, Subject: KeySubject(st.KeyID), Time: s.Now().UTC(),
			Payload: chain.AnomalyPayload{KeyID: st.KeyID, What: WipedUnsealed, Detail: string(e.Evidence)}})
		if err != nil {
			return err
		}
		s.Logger.ErrorContext(ctx, "a station removed an original before it was sealed", "station", st.ID, "evidence", e.Evidence)
	}
	return s.Evidence.Wiped(ctx, tx, e.Evidence, evidence.Act{Actor: st.ID, At: e.At, Reason: fmt.Sprintf("回执第 %d 页", e.Data.Leaf)})
}

// StationEvent is an event as it was kept.
type StationEvent struct {
	Event
	ReceivedAt time.Time
	LogKey     string
}

// Events gives a page of the events of a station in scope, newest first.
func (s *Service) Events(ctx context.Context, sc evidence.Scope, station, cursor string, limit int) (page []StationEvent, next string, err error) {
	at, after, err := readCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	if _, err := s.Dock(ctx, sc, station); err != nil {
		return nil, "", err
	}
	rows, err := db.New(s.Pool).Events(ctx, db.EventsParams{Station: station, BeforeAt: at, BeforeID: after, MaxRows: int32(limit + 1)})
	if err != nil {
		return nil, "", fmt.Errorf("list events: %w", err)
	}
	if len(rows) > limit {
		rows = rows[:limit]
		last := rows[limit-1]
		next = makeCursor(last.ReceivedAt, last.ID)
	}
	for _, r := range rows {
		e := StationEvent{Event: Event{ID: r.ID, Kind: r.Kind, At: r.At, Officer: r.OfficerID, Recorder: r.Recorder}, ReceivedAt: r.ReceivedAt}
		if err := json.Unmarshal(r.Data, &e.Data); err != nil {
			return nil, "", fmt.Errorf("read event %s: %w", r.ID, err)
		}
		if r.EvidenceID != nil {
			e.Evidence = evidence.ID(*r.EvidenceID)
		}
		if r.LogKey != nil {
			e.LogKey = *r.LogKey
		}
		page = append(page, e)
	}
	return page, next, nil
}

// Wearer is who had a recorder at a time, "" when nobody had taken it.
func (s *Service) Wearer(ctx context.Context, recorder string, at time.Time) (officer string, err error) {
	if recorder == "" {
		return "", nil
	}
	r, err := db.New(s.Pool).WornAt(ctx, db.WornAtParams{Recorder: recorder, At: at.UTC()})
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look up who wore a recorder: %w", err)
	}
	return r.OfficerID, nil
}

// Worn tells of each recorder that is out in a township who has it.
func (s *Service) Worn(ctx context.Context, township string) (map[string]string, error) {
	rows, err := db.New(s.Pool).OpenWears(ctx, township)
	if err != nil {
		return nil, fmt.Errorf("list recorders that are out: %w", err)
	}
	out := map[string]string{}
	for _, r := range rows {
		out[r.Recorder] = r.OfficerID
	}
	return out, nil
}
