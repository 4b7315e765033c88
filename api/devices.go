package api

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gin-gonic/gin"
	openapi_types "github.com/oapi-codegen/runtime/types"

	"zhizheng/authority"
	"zhizheng/devices"
	"zhizheng/evidence"
	"zhizheng/ingest"
	"zhizheng/internal/fault"
)

// ListDevices gives a page of devices with their latest state.
func (s *Server) ListDevices(ctx context.Context, r ListDevicesRequestObject) (ListDevicesResponseObject, error) {
	p := r.Params
	page, next, total, err := s.Devices.List(ctx, devices.Filter{Township: val(p.Township), Kind: string(val(p.Kind)), Connected: p.Connected,
		Q: val(p.Q), Cursor: val(p.Cursor), Limit: val(p.Limit)})
	if err != nil {
		return nil, err
	}
	names, err := s.officerNames(ctx, page)
	if err != nil {
		return nil, err
	}
	out := ListDevices200JSONResponse{Items: make([]Device, len(page)), NextCursor: next}
	for i, d := range page {
		out.Items[i] = deviceView(d, names)
	}
	if val(p.Cursor) == "" { // counted for the first page only
		out.Total = &total
	}
	return out, nil
}

// CountDevices counts kinds.
func (s *Server) CountDevices(ctx context.Context, r CountDevicesRequestObject) (CountDevicesResponseObject, error) {
	counts, err := s.Devices.Counts(ctx, val(r.Params.Township))
	if err != nil {
		return nil, err
	}
	type kind = struct {
		Connected int        `json:"connected"`
		Kind      DeviceKind `json:"kind"`
		KindName  string     `json:"kind_name"`
		Total     int        `json:"total"`
	}
	out := CountDevices200JSONResponse{Kinds: []kind{}}
	for _, c := range counts {
		out.Total += c.Total
		out.Connected += c.Connected
		out.Kinds = append(out.Kinds, kind{c.Connected, DeviceKind(c.Kind), devices.KindName(c.Kind), c.Total})
	}
	return out, nil
}

// GetDevice gives one device, by id or serial.
func (s *Server) GetDevice(ctx context.Context, r GetDeviceRequestObject) (GetDeviceResponseObject, error) {
	d, err := s.Devices.Get(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	names, err := s.officerNames(ctx, []devices.Device{d})
	if err != nil {
		return nil, err
	}
	v := deviceView(d, names)
	access, err := s.Devices.AccessOf(ctx, d.ID)
	if err != nil {
		return nil, err
	}
	v.Access = &DeviceAccess{CertificateFrom: access.From, CertificateUntil: access.Until, RevokedAt: access.RevokedAt, RevokeReason: ptr(access.RevokeReason),
		Token: access.Token, CodeUntil: access.CodeUntil, RefusedToday: access.Refused}
	if a := authority.ActorFrom(ctx); a.May("evidence:read") {
		n, err := s.Evidence.CountOf(ctx, evidence.Scope{Townships: a.Scope()}, d.ID)
		if err != nil {
			return nil, err
		}
		v.EvidenceCount = &n
	}
	if d.PostingID != "" && authority.ActorFrom(ctx).May("budget:read") {
		p, err := s.Budget.Get(ctx, d.PostingID)
		if err != nil {
			return nil, err
		}
		pv, err := s.postingView(ctx, p)
		if err != nil {
			return nil, err
		}
		v.Posting = &pv
	}
	return GetDevice200JSONResponse(v), nil
}

// wholeCounty lets only those read dead letters who see the whole county: whose a letter was is often unknown.
func wholeCounty(ctx context.Context) error {
	if authority.ActorFrom(ctx).Scope() != nil {
		return fault.Forbidden("被拒收的报文只对全县范围的账号开放")
	}
	return nil
}

// ListDeadLetters gives what was refused.
func (s *Server) ListDeadLetters(ctx context.Context, r ListDeadLettersRequestObject) (ListDeadLettersResponseObject, error) {
	if err := wholeCounty(ctx); err != nil {
		return nil, err
	}
	p := r.Params
	page, next, err := s.Ingest.DeadLetters(ctx, ingest.LetterFilter{Source: val(p.Source), Reason: val(p.Reason), Open: val(p.Open)}, val(p.Cursor), pageLimit(p.Limit))
	if err != nil {
		return nil, err
	}
	out := ListDeadLetters200JSONResponse{Items: make([]DeadLetter, len(page)), NextCursor: next}
	for i, d := range page {
		out.Items[i] = deadLetterView(d)
	}
	return out, nil
}

// GetDeadLetter gives one with its bytes.
func (s *Server) GetDeadLetter(ctx context.Context, r GetDeadLetterRequestObject) (GetDeadLetterResponseObject, error) {
	if err := wholeCounty(ctx); err != nil {
		return nil, err
	}
	d, err := s.Ingest.DeadLetter(ctx, r.ID)
	return GetDeadLetter200JSONResponse(deadLetterView(d)), err
}

// ReplayDeadLetter takes one again.
func (s *Server) ReplayDeadLetter(ctx context.Context, r ReplayDeadLetterRequestObject) (ReplayDeadLetterResponseObject, error) {
	if err := wholeCounty(ctx); err != nil {
		return nil, err
	}
	d, err := s.Ingest.Replay(ctx, r.ID, authority.ActorFrom(ctx).UserID)
	return ReplayDeadLetter200JSONResponse(deadLetterView(d)), err
}

// ListDeadLetterReasons counts them by what was wrong.
func (s *Server) ListDeadLetterReasons(ctx context.Context, _ ListDeadLetterReasonsRequestObject) (ListDeadLetterReasonsResponseObject, error) {
	if err := wholeCounty(ctx); err != nil {
		return nil, err
	}
	all, err := s.Ingest.LetterReasons(ctx)
	out := ListDeadLetterReasons200JSONResponse{Items: make([]DeadLetterReason, len(all))}
	for i, r := range all {
		out.Items[i] = DeadLetterReason{Source: r.Source, Reason: r.Reason, Count: r.Count, Open: r.Open, Newest: r.Newest}
	}
	return out, err
}

// ReplayDeadLetters takes several again.
func (s *Server) ReplayDeadLetters(ctx context.Context, r ReplayDeadLettersRequestObject) (ReplayDeadLettersResponseObject, error) {
	if err := wholeCounty(ctx); err != nil {
		return nil, err
	}
	b, by := r.Body, authority.ActorFrom(ctx).UserID
	var done []ingest.Replayed
	var next string
	var err error
	switch named := b.Ids != nil; {
	case named == (b.Source != nil && b.Reason != nil):
		return nil, fault.Invalid("请给出报文编号，或来源与原因")
	case named:
		done, err = s.Ingest.ReplayNamed(ctx, *b.Ids, by)
	default:
		done, next, err = s.Ingest.ReplayNext(ctx, *b.Source, *b.Reason, val(b.Cursor), pageLimit(b.Limit), by)
	}
	if err != nil {
		return nil, err
	}
	items, err := reshape[[]ReplayedDeadLetter](done)
	return ReplayDeadLetters200JSONResponse{Items: items, NextCursor: next}, err
}

func deadLetterView(d ingest.DeadLetter) DeadLetter {
	v := DeadLetter{ID: d.ID, Time: d.At, Source: d.Source, Topic: ptr(d.Origin), Reason: d.Reason, Size: d.Size, Skipped: ptr(d.Skipped),
		AgainAt: d.AgainAt, AgainBy: ptr(d.AgainBy), Outcome: ptr(DeadLetterOutcome(d.Outcome)), OutcomeReason: ptr(d.Why), Hex: ptr(hex.EncodeToString(d.Raw))}
	control := func(r rune) bool { return unicode.IsControl(r) && !strings.ContainsRune("\t\r\n", r) }
	if text := string(d.Raw); utf8.ValidString(text) && !strings.ContainsFunc(text, control) {
		v.Text = ptr(text)
	}
	return v
}

// officerNames gives the names of those who have the devices, as far as the actor sees them.
func (s *Server) officerNames(ctx context.Context, page []devices.Device) (map[string]string, error) {
	var ids []string
	for _, d := range page {
		if d.OfficerID != "" {
			ids = append(ids, d.OfficerID)
		}
	}
	names := map[string]string{}
	if len(ids) == 0 {
		return names, nil
	}
	officers, err := s.Authority.Officers(ctx, ids)
	for _, o := range officers {
		names[o.ID] = o.Name
	}
	return names, err
}

func deviceView(d devices.Device, officers map[string]string) Device {
	v := Device{ID: d.ID, Serial: d.Serial, Kind: DeviceKind(d.Kind), KindName: devices.KindName(d.Kind), Name: d.Name, Model: d.Model,
		Township: d.Township, TownshipName: d.TownshipName, OfficerID: ptr(d.OfficerID), OfficerName: ptr(officers[d.OfficerID]), CostFen: d.CostFen,
		Status: ptr(DeviceStatus(d.Status)), StatusName: ptr(devices.StatusName(d.Status)),
		Funding: d.Funding, FundingName: ptr(devices.FundingName(d.Funding)), PostingID: ptr(d.PostingID), PostingYear: ptr(d.PostingYear),
		State: deviceState(d.State)}
	if d.BoughtOn != nil {
		v.BoughtOn = &openapi_types.Date{Time: *d.BoughtOn}
	}
	return v
}

func deviceState(st devices.State) DeviceState {
	return DeviceState{ID: st.ID, Connected: st.Connected, LastDataAt: st.LastData, LastDockAt: st.LastDock, LastUploadAt: st.LastUpload,
		Battery: st.Battery, StorageUsed: st.StorageUsed, Docked: st.Docked, State: ptr(st.State)}
}

const (
	keepAlive   = 15 * time.Second
	eventWindow = 10 * time.Second // a reader that takes longer for one event has gone
	// Watching is no activity: a stream ends when the session of somebody who only watches has run out, and asking again is refused.
	longestStream = 31 * time.Minute
)

// deviceEvents streams changed states. Every list shows the latest state already: a watcher that lost its connection lists again.
func (s *Server) deviceEvents(c *gin.Context) error {
	ctx := c.Request.Context() // ends with the request and with the server
	sub, err := s.Devices.Subscribe(c)
	if err != nil {
		return err
	}
	defer sub.Close()
	h := c.Writer.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	c.Status(http.StatusOK)
	control := http.NewResponseController(c.Writer)
	send := func(text string) error {
		if err := control.SetWriteDeadline(time.Now().Add(eventWindow)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return err
		}
		if _, err := c.Writer.WriteString(text); err != nil {
			return err
		}
		c.Writer.Flush()
		return nil
	}
	if send(": devices\nretry: 3000\n\n") != nil {
		return nil // the watcher has gone; there is nobody to tell
	}
	defer func() { _ = control.SetWriteDeadline(time.Time{}) }() // the connection may serve another request
	tick, end := time.NewTicker(keepAlive), time.NewTimer(longestStream)
	defer tick.Stop()
	defer end.Stop()
	for {
		text := ": alive\n\n"
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if _, err := s.Authority.Current(c); err != nil {
				return nil // locked meanwhile; the browser asks again and hears it
			}
		case <-end.C:
			return nil
		case <-sub.Wake():
			states := sub.Take()
			views := make([]DeviceState, len(states))
			for i, st := range states {
				views[i] = deviceState(st)
			}
			b, err := json.Marshal(views)
			if err != nil {
				return fmt.Errorf("write device states: %w", err)
			}
			text = "event: devices\ndata: " + string(b) + "\n\n"
		}
		if send(text) != nil {
			return nil
		}
	}
}
