package api

import (
	"context"
	"encoding/hex"

	"zhizheng/authority"
	"zhizheng/devices"
	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/ingest"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/fault"
)

// SubmitDeviceStates logs how far keys have counted.
func (s *Server) SubmitDeviceStates(ctx context.Context, r SubmitDeviceStatesRequestObject) (SubmitDeviceStatesResponseObject, error) {
	st, err := station(ctx)
	if err != nil {
		return nil, err
	}
	results, err := s.Ingest.SubmitStates(ctx, st, r.Body.States)
	if err != nil {
		return nil, err
	}
	out := SubmitDeviceStates200JSONResponse{Items: make([]DeviceStateResult, len(results))}
	for i, x := range results {
		out.Items[i] = DeviceStateResult{Status: DeviceStateResultStatus(x.Status), Error: ptr(x.Error), Code: ptr(x.Code)}
		if x.Status != ingest.Rejected {
			out.Items[i].LeafIndex = &x.LeafIndex
		}
	}
	return out, nil
}

// GetDeviceChain reports on a recorder, a station or a key.
func (s *Server) GetDeviceChain(ctx context.Context, r GetDeviceChainRequestObject) (GetDeviceChainResponseObject, error) {
	of, serial, err := s.chainOf(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	sc, err := scope(ctx, "")
	if err != nil {
		return nil, err
	}
	report, err := s.chain(ctx, sc, of)
	if err != nil {
		return nil, err
	}
	if serial == "" && len(report.Keys) == 0 {
		return nil, fault.NotFound("没有这台设备，也没有这个采集站或密钥")
	}
	v := &chainView{s: s, ctx: ctx, see: authority.ActorFrom(ctx).May("evidence:read")}
	out := GetDeviceChain200JSONResponse{ID: r.ID, Serial: ptr(serial), Keys: []KeyChain{}, Pending: []PendingFootage{}, Inferred: []InferredGap{}}
	for _, k := range report.Keys {
		out.Keys = append(out.Keys, v.key(k))
	}
	if v.see { // names of files are evidence
		for _, p := range report.Pending {
			out.Pending = append(out.Pending, PendingFootage{EvidenceID: string(p.ID), FileName: p.FileName, Size: p.Size, Recorder: ptr(p.Recorder), RegisteredAt: p.RegisteredAt})
		}
		for _, g := range report.Inferred {
			out.Inferred = append(out.Inferred, *v.inferred(&g))
		}
	}
	return out, v.err
}

// chainOf resolves an id: a registered device first, else a station, else a key. A device of another township isn't found.
func (s *Server) chainOf(ctx context.Context, id string) (of ingest.ChainOf, serial string, err error) {
	d, err := s.Devices.Get(ctx, id)
	switch {
	case err == nil && d.Kind == devices.Recorder:
		return ingest.ChainOf{Recorder: d.Serial, DeviceID: d.ID}, d.Serial, nil
	case err == nil:
		return ingest.ChainOf{Station: d.Serial, DeviceID: d.ID}, d.Serial, nil
	case !fault.Is(err, fault.KindNotFound):
		return of, "", err
	}
	if key, err := hex.DecodeString(id); err == nil && len(key) == 32 {
		return ingest.ChainOf{KeyID: key}, "", nil
	}
	return ingest.ChainOf{Station: id}, "", nil
}

// chain asks for a station's chain, and where there is no such station, for that of a recorder which manifests name and nobody registered.
func (s *Server) chain(ctx context.Context, sc evidence.Scope, of ingest.ChainOf) (ingest.Chain, error) {
	report, err := s.Ingest.Chain(ctx, sc, of)
	if err == nil && len(report.Keys) == 0 && of.Station != "" && of.DeviceID == "" {
		return s.Ingest.Chain(ctx, sc, ingest.ChainOf{Recorder: of.Station})
	}
	return report, err
}

// ExplainGap gives a gap its reason.
func (s *Server) ExplainGap(ctx context.Context, r ExplainGapRequestObject) (ExplainGapResponseObject, error) {
	of, _, err := s.chainOf(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	sc, err := scope(ctx, "")
	if err != nil {
		return nil, err
	}
	report, err := s.chain(ctx, sc, of)
	if err != nil {
		return nil, err
	}
	for _, k := range report.Keys {
		if k.KeyID != r.Body.KeyID {
			continue
		}
		for _, g := range k.Gaps {
			if g.Epoch != uint64(r.Body.Epoch) || g.First != uint64(r.Body.First) {
				continue
			}
			g, err := s.Ingest.Explain(ctx, sc, k.KeyID, g.Epoch, g.First, authority.ActorFrom(ctx).UserID, r.Body.Reason)
			if err != nil {
				return nil, err
			}
			v := &chainView{s: s, ctx: ctx, see: authority.ActorFrom(ctx).May("evidence:read")}
			return ExplainGap200JSONResponse(*v.gap(&g)), v.err
		}
	}
	return nil, fault.NotFound("这台设备的链上没有从计数 %d 开始的缺失", r.Body.First)
}

// completenessOf is nil for a record whose manifest shares its counter with another: it has no place of its own in the chain.
func (s *Server) completenessOf(ctx context.Context, sc evidence.Scope, rec evidence.Record) (*Completeness, error) {
	c, err := s.Ingest.Completeness(ctx, sc, rec)
	if fault.Is(err, fault.KindNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	v := &chainView{s: s, ctx: ctx, see: true}
	out := &Completeness{KeyID: c.KeyID, Own: c.Own, Station: ptr(c.Station), StationName: ptr(c.StationName), Epoch: int64(c.Epoch), Counter: int64(c.Counter), SignedAt: c.SignedAt,
		Previous: v.clip(c.Previous), Next: v.clip(c.Next), GapBefore: v.gap(c.GapBefore), GapAfter: v.gap(c.GapAfter),
		InferredBefore: v.inferred(c.InferredBefore), InferredAfter: v.inferred(c.InferredAfter),
		NotAfter: ChainBound{LeafIndex: c.NotAfter.Leaf, At: c.NotAfter.At}, Tail: tailView(c.Tail), Anomalies: v.anomalies(c.Anomalies)}
	if c.NotBefore != nil {
		out.NotBefore = &ChainBound{LeafIndex: c.NotBefore.Leaf, At: c.NotBefore.At}
	}
	return out, v.err
}

// handedOut remembers the checkpoint of a receipt that a station is given: what it signs next may name it.
func (s *Server) handedOut(ctx context.Context, receipt []byte) error {
	if _, is := ingest.StationFrom(ctx); !is {
		return nil
	}
	r, err := chain.ParseReceipt(receipt)
	if err != nil {
		return err
	}
	// The station keeps the lines of the key it has pinned, whoever else has signed. While a key is being replaced that is one of two.
	for _, vkey := range s.Log.VKeys() {
		v, err := chain.NewVerifier(vkey)
		if err != nil {
			return err
		}
		own, err := chain.OnlyLog(r.Checkpoint, v)
		if err != nil {
			return err
		}
		c, err := chain.OpenByLog(own, v)
		if err != nil {
			continue // from before this key signed
		}
		if err := s.Ingest.SawCheckpoint(ctx, own, c.Size); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) gapTotals(ctx context.Context) (*GapTotals, error) {
	sc, err := scope(ctx, "")
	if err != nil {
		return nil, err
	}
	t, err := s.Ingest.GapTotals(ctx, sc)
	if err != nil {
		return nil, err
	}
	return &GapTotals{Keys: t.Keys, OpenGaps: t.OpenGaps, Missing: int64(t.Missing), Inferred: int64(t.Inferred), Pending: t.Pending}, nil
}

// chainView maps reports. Its first error stays: a leaf or a name that couldn't be looked up.
type chainView struct {
	s   *Server
	ctx context.Context
	see bool // whether file names may be shown
	err error
}

func (v *chainView) key(k ingest.KeyChain) KeyChain {
	out := KeyChain{KeyID: k.KeyID, Own: k.DeviceID != "", Station: ptr(k.Station), StationName: ptr(k.StationName), RevokedAt: k.RevokedAt, Epochs: []ChainEpoch{},
		Gaps: []ChainGap{}, States: []ChainState{}, Anomalies: v.anomalies(k.Anomalies), Tail: tailView(k.Tail)}
	for _, e := range k.Epochs {
		out.Epochs = append(out.Epochs, ChainEpoch{Epoch: int64(e.Epoch), Top: int64(e.Top), Arrived: int64(e.Arrived), Ranges: ranges(e.Ranges)})
	}
	for _, g := range k.Gaps {
		out.Gaps = append(out.Gaps, *v.gap(&g))
	}
	for _, st := range k.States {
		out.States = append(out.States, ChainState{Epoch: int64(st.Epoch), Counter: int64(st.Counter), SignedAt: st.SignedAt, ReceivedAt: st.ReceivedAt, Closing: st.Closing,
			Recorder: ptr(st.Recorder), LeafIndex: v.leaf(st.LogKey)})
	}
	return out
}

func (v *chainView) gap(g *ingest.Gap) *ChainGap {
	if g == nil {
		return nil
	}
	return &ChainGap{KeyID: g.KeyID, Epoch: int64(g.Epoch), First: int64(g.First), Last: int64(g.Last), Missing: int64(g.Missing), Parts: ranges(g.Parts),
		State: ChainGapState(g.State), OpenedAt: g.OpenedAt, ClosedAt: g.ClosedAt, Before: v.clip(g.Before), After: v.clip(g.After), Reason: ptr(g.Reason),
		ExplainedBy: v.name(g.ExplainedBy), ExplainedAt: g.ExplainedAt, LeafIndex: v.leaf(g.ReasonKey)}
}

func (v *chainView) clip(c *ingest.Clip) *ChainClip {
	if c == nil {
		return nil
	}
	out := &ChainClip{Counter: int64(c.Counter), Recorder: ptr(c.Recorder), SignedAt: c.SignedAt, ReceivedAt: c.ReceivedAt}
	if v.see {
		out.EvidenceID, out.FileName, out.Status = ptr(string(c.ID)), ptr(c.FileName), ptr(c.Status)
	}
	return out
}

func (v *chainView) anomalies(all []ingest.Anomaly) []ChainAnomaly {
	out := []ChainAnomaly{}
	for _, a := range all {
		out = append(out, ChainAnomaly{What: a.What, WhatName: anomalyNames[a.What], Alarm: manifest.Alarming(a.What), Epoch: int64(a.Epoch), First: int64(a.First),
			Last: int64(a.Last), Detail: ptr(a.Detail), At: a.At, LeafIndex: v.leaf(a.LogKey)})
	}
	return out
}

var anomalyNames = map[string]string{
	manifest.Equivocation: "同一计数有两份清单", manifest.ChainBreak: "前后清单不相接", manifest.CounterReset: "计数重新开始（新的启动纪元）",
	manifest.EpochFall: "旧的启动纪元又出现：身份可能被复制", manifest.ClockJump: "时钟被调整", manifest.ClockBack: "时钟倒退", manifest.ClockAhead: "设备时钟超前",
	manifest.StateBack: "签名状态的计数倒退", manifest.StateFork: "签名状态与清单不符",
}

func (v *chainView) leaf(logKey string) *int64 {
	if logKey == "" || v.err != nil {
		return nil
	}
	l, err := v.s.Log.ByKey(v.ctx, logKey)
	if err != nil {
		v.err = err
		return nil
	}
	return &l.Seq
}

func (v *chainView) name(user string) *string {
	if user == "" || v.err != nil {
		return nil
	}
	names, err := v.s.Authority.Names(v.ctx, []string{user})
	if err != nil {
		v.err = err
		return nil
	}
	return ptr(actorName(user, names))
}

func tailView(t ingest.Tail) ChainTail {
	return ChainTail{Counter: int64(t.Counter), At: t.At, Closing: t.Closing}
}

func ranges(all []manifest.Range) *[]CounterRange {
	if all == nil {
		return nil
	}
	out := make([]CounterRange, len(all))
	for i, r := range all {
		out[i] = CounterRange{First: int64(r.First), Last: int64(r.Last)}
	}
	return &out
}

func (v *chainView) inferred(g *ingest.InferredGap) *InferredGap {
	if g == nil {
		return nil
	}
	out := &InferredGap{Series: g.Series, First: int64(g.First), Last: int64(g.Last), Count: int64(g.Count()), BeforeID: string(g.Before.ID), BeforeName: g.Before.FileName,
		AfterID: string(g.After.ID), AfterName: g.After.FileName}
	if len(g.Reasons) == 0 {
		return out
	}
	reasons := make([]GapReason, len(g.Reasons))
	for i, r := range g.Reasons {
		reasons[i] = GapReason{First: int64(r.First), Last: int64(r.Last), Reason: r.Reason, OfficerName: v.name(r.Officer), Station: ptr(r.Station), At: r.At, LeafIndex: v.leaf(r.LogKey)}
	}
	out.Reasons = &reasons
	return out
}
