package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"zhizheng/evidence/bundle"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/internal/fault"
)

// stampPatience is how long an export waits for tokens of its own. Without them it carries earlier ones and says so.
const stampPatience = 5 * time.Second

// timestamps tells where each authority stands.
func (s *Server) timestamps(ctx context.Context) (*[]Timestamp, error) {
	states, err := s.Log.StampStates(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Timestamp, len(states))
	for i, st := range states {
		out[i] = timestampView(st.Stamp, st.State, st.Error)
	}
	return &out, nil
}

func timestampView(t evlog.Stamp, state, reason string) Timestamp {
	v := Timestamp{Authority: t.Authority, Size: t.Size, State: TimestampState(state)}
	if reason != "" {
		v.Error = &reason
	}
	if !t.GenTime.IsZero() {
		v.GenTime, v.Leaf = &t.GenTime, &t.Leaf
	}
	return v
}

// RequestTimestamp writes a request to be carried.
func (s *Server) RequestTimestamp(ctx context.Context, _ RequestTimestampRequestObject) (RequestTimestampResponseObject, error) {
	b, size, err := s.Log.StampRequest(ctx)
	if err != nil {
		return nil, err
	}
	return RequestTimestamp200JSONResponse{FileName: fmt.Sprintf("checkpoint-%d.tsq", size), Der: b, Size: size}, nil
}

// ImportTimestamp logs what was carried back.
func (s *Server) ImportTimestamp(ctx context.Context, r ImportTimestampRequestObject) (ImportTimestampResponseObject, error) {
	t, err := s.Log.ImportStamp(ctx, r.Body.Der)
	if err != nil {
		return nil, err
	}
	return ImportTimestamp200JSONResponse(timestampView(t, "ok", "")), nil
}

// stampForExport asks for tokens over a checkpoint that holds all that was logged so far, so what the export is about.
func (s *Server) stampForExport(ctx context.Context) ([]evlog.Stamped, error) {
	if !s.Log.Stamps() {
		return nil, nil
	}
	before, err := s.Log.Status(ctx)
	if err != nil {
		return nil, err
	}
	_, err = awaited(ctx, 10*time.Second, func() ([]byte, error) {
		now, err := s.Log.Status(ctx)
		if err == nil && now.Published < before.Size {
			err = fault.Pending(time.Second, "检查点尚未覆盖该条目，请稍候")
		}
		return nil, err
	})
	if err != nil {
		return nil, err
	}
	return s.Log.StampNow(ctx, stampPatience), nil
}

// stampPage is what a bundle's index says of time.
type stampPage struct {
	Missing []evlog.Stamped // who was asked for this export and gave nothing
	Tokens  []evlog.Stamp   // what lies in the bundle
	Covered int64           // leaves below this index are covered by the newest of them
}

// stampLeaves chooses the tokens that say most about the items, with their leaves.
func (s *Server) stampLeaves(ctx context.Context, items []bundle.Item) ([]evlog.Stamp, []evlog.Leaf, error) {
	var about []int64
	for _, it := range items {
		about = append(about, it.ManifestLeaf)
		if it.SealLeaf >= 0 {
			about = append(about, it.SealLeaf)
		}
	}
	stamps, err := s.Log.StampsFor(ctx, about)
	if err != nil || len(stamps) == 0 {
		return nil, nil, err
	}
	seqs := make([]int64, len(stamps))
	for i, t := range stamps {
		seqs[i] = t.Leaf
	}
	leaves, err := s.Log.BySeq(ctx, seqs)
	if err != nil {
		return nil, nil, err
	}
	if len(leaves) != len(stamps) {
		return nil, nil, errors.New("leaves of timestamps are missing")
	}
	return stamps, leaves, nil
}

// stampProofs shows of each token that what it stamped is the past of the tree that the receipts are in.
func (s *Server) stampProofs(ctx context.Context, stamps []evlog.Stamp, receipts map[int64][]byte) (map[int64][]byte, error) {
	out := map[int64][]byte{}
	for _, t := range stamps {
		r, err := chain.ParseReceipt(receipts[t.Leaf])
		if err != nil {
			return nil, err
		}
		body, _, _ := strings.Cut(string(r.Checkpoint), "\n\n")
		c, err := chain.ParseCheckpoint(body + "\n")
		if err != nil {
			return nil, err
		}
		proof, err := s.Log.ProveStamped(ctx, t.Size, c.Size)
		if err != nil {
			return nil, err
		}
		out[t.Leaf] = bundle.Consistency(t.Size, c.Size, proof)
	}
	return out, nil
}

// pageOf tells people what the bundle has of trusted time, and what it lacks.
func pageOf(asked []evlog.Stamped, stamps []evlog.Stamp) stampPage {
	p := stampPage{Tokens: stamps}
	for _, t := range stamps {
		p.Covered = max(p.Covered, t.Size)
	}
	for _, a := range asked {
		if a.Missing != "" {
			p.Missing = append(p.Missing, a)
		}
	}
	return p
}
