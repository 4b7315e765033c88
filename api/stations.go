package api

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"zhizheng/authority"
	"zhizheng/devices"
	"zhizheng/evidence"
	"zhizheng/ingest"
	"zhizheng/internal/fault"
)

// WipeRule is when stations remove originals.
type WipeRule struct {
	When string // never, receipt, days
	Days int
}

// activities in the order of a station's buttons.
var activities = []ActivityKind{ActivityKindPatrol, ActivityKindInspection, ActivityKindPersuasion, ActivityKindService, ActivityKindOther,
	ActivityKindInvestigation, ActivityKindPublicity}

// GetStation tells a station what its page and its work need. Names of its township's officers are among it.
func (s *Server) GetStation(ctx context.Context, _ GetStationRequestObject) (GetStationResponseObject, error) {
	st, err := station(ctx)
	if err != nil {
		return nil, err
	}
	dock, err := s.Ingest.Dock(ctx, evidence.Scope{}, st.ID)
	if err != nil {
		return nil, err
	}
	towns, err := s.townshipNames(ctx)
	if err != nil {
		return nil, err
	}
	out := GetStation200JSONResponse{ID: st.ID, Name: dock.Name, Township: st.Township, TownshipName: towns[st.Township], Demo: s.Demo,
		Wipe: WipePolicy{When: WipePolicyWhen(s.Wipe.When)}, Officers: []StationOfficer{}, Recorders: []StationRecorder{}, Activities: []ActivityWord{}}
	if s.Wipe.When == "" {
		out.Wipe.When = Never
	}
	if s.Wipe.Days > 0 {
		out.Wipe.Days = &s.Wipe.Days
	}
	for _, a := range activities {
		out.Activities = append(out.Activities, ActivityWord{ID: a, Name: evidence.ActivityNames[string(a)]})
	}
	system := authority.WithActor(ctx, authority.System) // the township stands in each question
	planned, err := s.planned(system, st.Township)
	if err != nil {
		return nil, err
	}
	out.Planned = &planned
	officers, err := s.Authority.StationOfficers(system, st.Township)
	if err != nil {
		return nil, err
	}
	for _, o := range officers {
		cards := o.Cards
		if cards == nil {
			cards = []string{}
		}
		out.Officers = append(out.Officers, StationOfficer{ID: o.ID, Name: o.Name, Cards: cards, Pin: o.PIN})
	}
	worn, err := s.Ingest.Worn(ctx, st.Township)
	if err != nil {
		return nil, err
	}
	recorders, _, _, err := s.Devices.List(system, devices.Filter{Township: st.Township, Kind: devices.Recorder, Limit: 2000})
	if err != nil {
		return nil, err
	}
	for _, d := range recorders {
		who := d.OfficerID
		if w := worn[d.Serial]; w != "" {
			who = w
		}
		out.Recorders = append(out.Recorders, StationRecorder{Serial: d.Serial, Name: d.Name, OfficerID: ptr(who)})
	}
	return out, nil
}

// StationSignIn checks an officer's PIN for a station.
func (s *Server) StationSignIn(ctx context.Context, r StationSignInRequestObject) (StationSignInResponseObject, error) {
	st, err := station(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Authority.CheckPIN(ctx, st.Township, r.Body.OfficerID, r.Body.Pin); err != nil {
		return nil, err
	}
	return StationSignIn204Response{}, nil
}

// SubmitStationEvents takes what happened at a station.
func (s *Server) SubmitStationEvents(ctx context.Context, r SubmitStationEventsRequestObject) (SubmitStationEventsResponseObject, error) {
	st, err := station(ctx)
	if err != nil {
		return nil, err
	}
	events, err := reshape[[]ingest.Event](r.Body.Events)
	if err != nil {
		return nil, err
	}
	results, err := s.Ingest.SubmitEvents(ctx, st, events)
	if err != nil {
		return nil, err
	}
	out := SubmitStationEvents200JSONResponse{Items: make([]StationEventResult, len(results))}
	for i, e := range results {
		out.Items[i] = StationEventResult{Status: StationEventResultStatus(e.Status), Code: ptr(e.Code), Error: ptr(e.Error)}
	}
	return out, nil
}

// PutStationLive takes how a docking goes, and answers how much may be sent at once.
func (s *Server) PutStationLive(ctx context.Context, r PutStationLiveRequestObject) (PutStationLiveResponseObject, error) {
	st, err := station(ctx)
	if err != nil {
		return nil, err
	}
	live, err := reshape[ingest.Live](r.Body)
	if err != nil {
		return nil, err
	}
	parallel, err := s.Ingest.ReportLive(ctx, st, live)
	if err != nil {
		return nil, err
	}
	return PutStationLive200JSONResponse{Parallel: parallel}, nil
}

// NewOfficerPin gives an officer a fresh PIN.
func (s *Server) NewOfficerPin(ctx context.Context, r NewOfficerPinRequestObject) (NewOfficerPinResponseObject, error) {
	pin, err := s.Authority.NewPIN(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return NewOfficerPin200JSONResponse{Pin: pin}, nil
}

// reshape maps between the contract's types and a domain's of the same JSON.
func reshape[T any](in any) (out T, err error) {
	b, err := json.Marshal(in)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(b, &out); err != nil {
		return out, fault.Invalid("请求内容无法理解").Because(err)
	}
	return out, nil
}

// ListDocks gives the stations in scope with the day of their townships.
func (s *Server) ListDocks(ctx context.Context, _ ListDocksRequestObject) (ListDocksResponseObject, error) {
	sc, err := scope(ctx, "")
	if err != nil {
		return nil, err
	}
	docks, err := s.Ingest.Docks(ctx, sc, "")
	if err != nil {
		return nil, err
	}
	now := time.Now()
	y, m, d := authority.Day(now).Date()
	days, err := s.Ingest.Days(ctx, sc, time.Date(y, m, d, 0, 0, 0, 0, authority.County))
	if err != nil {
		return nil, err
	}
	towns, err := s.Authority.ListTownships(ctx)
	if err != nil {
		return nil, err
	}
	v, err := s.dockViewer(ctx, docks)
	if err != nil {
		return nil, err
	}
	out := ListDocks200JSONResponse{Items: []Dock{}, Townships: []DockDay{}}
	byTown := map[string]*DockDay{}
	for _, t := range towns {
		y := days[t.Code]
		out.Townships = append(out.Townships, DockDay{Township: t.Code, TownshipName: t.Name, Fingerprints: y.Fingerprints, Sealed: y.Sealed, Bytes: y.Bytes,
			SealedBytes: y.SealedBytes, Missing: y.Missing, Newest: y.Newest})
	}
	for i := range out.Townships {
		byTown[out.Townships[i].Township] = &out.Townships[i]
	}
	for _, d := range docks {
		item, err := v.view(d, now)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, item)
		t := byTown[d.Township]
		if t == nil {
			continue // a unit of the county that is no township
		}
		t.Stations++
		if item.Online {
			t.Online++
			for _, slot := range d.Live.Slots {
				t.Missing += int64(slot.Missing)
			}
		}
	}
	return out, nil
}

// GetDock gives one station.
func (s *Server) GetDock(ctx context.Context, r GetDockRequestObject) (GetDockResponseObject, error) {
	sc, err := scope(ctx, "")
	if err != nil {
		return nil, err
	}
	d, err := s.Ingest.Dock(ctx, sc, r.ID)
	if err != nil {
		return nil, err
	}
	v, err := s.dockViewer(ctx, []ingest.Dock{d})
	if err != nil {
		return nil, err
	}
	out, err := v.view(d, time.Now())
	return GetDock200JSONResponse(out), err
}

// dockViewer knows the names that stations only have ids of.
type dockViewer struct{ towns, people map[string]string }

func (s *Server) dockViewer(ctx context.Context, docks []ingest.Dock) (v dockViewer, err error) {
	if v.towns, err = s.townshipNames(ctx); err != nil {
		return v, err
	}
	var ids []string
	for _, d := range docks {
		for _, slot := range d.Live.Slots {
			if slot.Officer != "" {
				ids = append(ids, slot.Officer)
			}
		}
	}
	v.people, err = s.Authority.Names(ctx, ids)
	return v, err
}

func (v dockViewer) view(d ingest.Dock, now time.Time) (Dock, error) {
	live, err := reshape[StationLive](d.Live)
	if err != nil {
		return Dock{}, fmt.Errorf("show station %s: %w", d.ID, err)
	}
	if live.Slots == nil {
		live.Slots = []StationSlot{}
	}
	for i := range live.Slots {
		live.Slots[i].OfficerName = ptr(v.people[val(live.Slots[i].OfficerID)])
	}
	return Dock{ID: d.ID, Name: d.Name, Township: d.Township, TownshipName: v.towns[d.Township], At: d.At, Online: d.Online(now), Live: live}, nil
}

// ListDockEvents gives what happened at a station.
func (s *Server) ListDockEvents(ctx context.Context, r ListDockEventsRequestObject) (ListDockEventsResponseObject, error) {
	sc, err := scope(ctx, "")
	if err != nil {
		return nil, err
	}
	limit := val(r.Params.Limit)
	if limit == 0 {
		limit = 50
	}
	events, next, err := s.Ingest.Events(ctx, sc, r.ID, val(r.Params.Cursor), limit)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range events {
		ids = append(ids, e.Officer)
	}
	names, err := s.Authority.Names(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := ListDockEvents200JSONResponse{Items: []DockEvent{}, NextCursor: next}
	for _, e := range events {
		data, err := reshape[StationEventData](e.Data)
		if err != nil {
			return nil, err
		}
		item := DockEvent{ID: e.ID, Kind: e.Kind, At: e.At, ReceivedAt: e.ReceivedAt, OfficerID: ptr(e.Officer), OfficerName: ptr(names[e.Officer]),
			Recorder: ptr(e.Recorder), EvidenceID: ptr(string(e.Evidence)), Data: data}
		if e.LogKey != "" {
			leaf, err := s.Log.ByKey(ctx, e.LogKey)
			if err != nil {
				return nil, err
			}
			item.LeafIndex = &leaf.Seq
		}
		out.Items = append(out.Items, item)
	}
	return out, nil
}

// wearerOf says who had the recorder when the clip began, nil if nobody had taken it at a station.
func (s *Server) wearerOf(ctx context.Context, rec evidence.Record) (*Wearer, error) {
	officer, err := s.Ingest.Wearer(ctx, rec.Recorder, rec.RecordedAt)
	if err != nil || officer == "" {
		return nil, err
	}
	names, err := s.Authority.Names(ctx, []string{officer})
	if err != nil {
		return nil, err
	}
	return &Wearer{OfficerID: officer, Name: names[officer]}, nil
}
