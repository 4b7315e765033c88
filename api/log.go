package api

import (
	"context"
	"encoding/hex"
	"math"
	"strconv"
	"time"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/internal/fault"
)

// GetSystem tells version and services.
func (s *Server) GetSystem(ctx context.Context, _ GetSystemRequestObject) (GetSystemResponseObject, error) {
	return GetSystem200JSONResponse{Version: s.Version, Demo: s.Demo, StoreLabel: s.StoreLabel(), Services: s.Ready(ctx), Now: time.Now().UTC()}, nil
}

// GetLog tells where the log stands.
func (s *Server) GetLog(ctx context.Context, _ GetLogRequestObject) (GetLogResponseObject, error) {
	st, err := s.Log.Status(ctx)
	if err != nil {
		return nil, err
	}
	out := GetLog200JSONResponse{Origin: st.Origin, Vkey: st.VKey, Size: st.Size, SignedSize: &st.Published, Root: hex.EncodeToString(st.Root[:]),
		Checkpoint: string(st.Checkpoint), StoreLabel: s.StoreLabel(), Halted: ptr(st.Halted)}
	if !st.PublishedAt.IsZero() {
		out.CheckpointAt = &st.PublishedAt
	}
	if out.Timestamps, err = s.timestamps(ctx); err != nil {
		return nil, err
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
