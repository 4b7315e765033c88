package api

import (
	"context"
	"encoding/hex"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"zhizheng/authority"
	"zhizheng/evidence/audit"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/internal/fault"
)

// GetSystem tells version and services.
func (s *Server) GetSystem(ctx context.Context, _ GetSystemRequestObject) (GetSystemResponseObject, error) {
	c, err := s.Audit.Capacity(ctx)
	if err != nil {
		return nil, err
	}
	out := GetSystem200JSONResponse{Version: s.Version, Demo: s.Demo, StoreLabel: s.StoreLabel(), Services: s.Ready(ctx), Now: time.Now().UTC(),
		Store: StoreCapacity{KeptBytes: c.Kept, DailyBytes: c.Intake, Full: c.Full}}
	if c.Known {
		out.Store.FreeBytes = &c.Free
	}
	if c.DaysLeft >= 0 {
		out.Store.DaysLeft = &c.DaysLeft
	}
	return out, nil
}

// GetLog tells where the log stands.
func (s *Server) GetLog(ctx context.Context, _ GetLogRequestObject) (GetLogResponseObject, error) {
	st, err := s.Log.Status(ctx)
	if err != nil {
		return nil, err
	}
	out := GetLog200JSONResponse{Origin: st.Origin, Vkey: st.VKey, Vkeys: st.VKeys, Size: st.Size, SignedSize: &st.Published, Root: hex.EncodeToString(st.Root[:]),
		Checkpoint: string(st.Checkpoint), StoreLabel: s.StoreLabel(), Halted: ptr(st.Halted)}
	if out.Gaps, err = s.gapTotals(ctx); err != nil {
		return nil, err
	}
	if !st.PublishedAt.IsZero() {
		out.CheckpointAt = &st.PublishedAt
	}
	if out.Timestamps, err = s.timestamps(ctx); err != nil {
		return nil, err
	}
	if st.Copies {
		out.CopiedSize = &st.Copied
		if !st.CopiedAt.IsZero() {
			out.CopiedAt = &st.CopiedAt
		}
	}
	for kind, run := range map[string]**AuditRun{audit.KindLog: &out.LastAudit, audit.KindReread: &out.LastReread, audit.KindCanary: &out.LastCanary} {
		if *run, err = s.lastRun(ctx, kind); err != nil {
			return nil, err
		}
	}
	open, err := s.Audit.OpenAlarms(ctx, authority.ActorFrom(ctx).Scope())
	if err != nil {
		return nil, err
	}
	out.Alarms = &open
	witnesses, quorum, err := s.Log.Witnesses(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]Witness, len(witnesses))
	for i, w := range witnesses {
		list[i] = Witness{Name: w.Name, KeyName: w.KeyName, KeyHash: fmt.Sprintf("%08x", w.KeyHash), Asked: w.Asked, Size: w.Size, State: WitnessState(w.State),
			Error: ptr(w.Error)}
		if !w.At.IsZero() {
			list[i].At = &w.At
		}
	}
	out.Witnesses = &list
	out.Quorum = &Quorum{Need: quorum.Need, Of: quorum.Of, Met: quorum.Met, Size: quorum.Size}
	if !quorum.At.IsZero() {
		out.Quorum.At = &quorum.At
	}
	return out, nil
}

// RequestWitness gives the file that a witness without network signs.
func (s *Server) RequestWitness(ctx context.Context, r RequestWitnessRequestObject) (RequestWitnessResponseObject, error) {
	text, size, err := s.Log.WitnessRequest(ctx, r.Body.Witness, r.Body.From)
	if err != nil {
		return nil, err
	}
	return RequestWitness200JSONResponse{FileName: fmt.Sprintf("%s-%d.witness-request", r.Body.Witness, size), Text: string(text), Size: size}, nil
}

// ImportCosignatures takes what a witness without network gave.
func (s *Server) ImportCosignatures(ctx context.Context, r ImportCosignaturesRequestObject) (ImportCosignaturesResponseObject, error) {
	all, err := s.Log.ImportCosignatures(ctx, r.Body.Text)
	if err != nil {
		return nil, err
	}
	var out ImportCosignatures200JSONResponse
	for _, i := range all {
		out.Items = append(out.Items, struct {
			At      time.Time `json:"at"`
			New     bool      `json:"new"`
			Size    int64     `json:"size"`
			Witness string    `json:"witness"`
		}{i.At, i.New, i.Size, i.Witness})
	}
	return out, nil
}

// ListLeaves gives leaves, newest first, without payloads.
func (s *Server) ListLeaves(ctx context.Context, r ListLeavesRequestObject) (ListLeavesResponseObject, error) {
	before := int64(math.MaxInt64)
	if c := val(r.Params.Cursor); c != "" {
		n, err := strconv.ParseInt(c, 10, 64)
		if err != nil || n < 0 {
			return nil, fault.Invalid("cursor 无效，请从第一页重新开始")
		}
		before = n
	}
	limit := pageLimit(r.Params.Limit)
	leaves, err := s.Log.Before(ctx, before, limit+1)
	if err != nil {
		return nil, err
	}
	out := ListLeaves200JSONResponse{Items: []Leaf{}}
	for i, l := range leaves {
		if i == limit {
			out.NextCursor = strconv.FormatInt(leaves[limit-1].Seq, 10)
			break
		}
		p, err := position(l)
		if err != nil {
			return nil, err
		}
		out.Items = append(out.Items, Leaf{Index: p.Index, Kind: p.Kind, KindName: p.KindName, Time: p.Time, Hash: val(p.Hash)})
	}
	return out, nil
}

// GetLeaf gives one leaf. Payloads belong to their domains and townships: only who sees the whole county is told what a leaf says.
func (s *Server) GetLeaf(ctx context.Context, r GetLeafRequestObject) (GetLeafResponseObject, error) {
	found, err := s.Log.BySeq(ctx, []int64{r.Index})
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fault.NotFound("证据册还没有第 %d 页", r.Index)
	}
	l := found[0]
	d, err := l.Decode()
	if err != nil {
		return nil, err
	}
	out := GetLeaf200JSONResponse{Index: l.Seq, Kind: int(d.Kind), KindName: kindName(d.Kind), Time: d.Time(), Hash: hex.EncodeToString(l.Hash[:]),
		Subject: hex.EncodeToString(d.Subject[:]), Counter: int64(d.Counter), Commitment: hex.EncodeToString(d.Commitment[:]), Erased: l.Payload == nil}
	if d.Counter > 1 {
		out.Previous = ptr(hex.EncodeToString(d.Prev[:]))
	}
	if authority.ActorFrom(ctx).Scope() == nil {
		out.Sentence, out.SentenceEn = ptr(chain.Describe(d.Kind, l.Payload, false)), ptr(chain.Describe(d.Kind, l.Payload, true))
	}
	st, err := s.Log.Status(ctx)
	if err != nil {
		return nil, err
	}
	if l.Seq < st.Published {
		signed, proofs, err := s.Log.Proofs(ctx, []int64{l.Seq})
		if err != nil {
			return nil, err
		}
		body, _, _ := strings.Cut(string(signed), "\n\n")
		cp, err := chain.ParseCheckpoint(body + "\n")
		if err != nil {
			return nil, err
		}
		out.ProofSteps, out.TreeSize = ptr(len(proofs[l.Seq])), &cp.Size
	}
	return out, nil
}

func position(l evlog.Leaf) (LogPosition, error) {
	d, err := l.Decode()
	if err != nil {
		return LogPosition{}, err
	}
	return LogPosition{Index: l.Seq, Kind: int(d.Kind), KindName: kindName(d.Kind), Time: d.Time(), Hash: ptr(hex.EncodeToString(l.Hash[:]))}, nil
}

func kindName(k chain.Kind) string { return k.Sentence(false) }

// pageLimit is the contract's default where the request names none.
func pageLimit(p *int) int {
	if n := val(p); n > 0 {
		return n
	}
	return 50
}
