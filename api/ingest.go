package api

import (
	"context"
	"net/http"

	"zhizheng/evidence"
	"zhizheng/ingest"
	"zhizheng/internal/fault"
)

func station(ctx context.Context) (ingest.Station, error) {
	st, ok := ingest.StationFrom(ctx)
	if !ok {
		return st, fault.Unauthorized("只有采集站可以上传")
	}
	return st, nil
}

// SubmitManifests logs fingerprints.
func (s *Server) SubmitManifests(ctx context.Context, r SubmitManifestsRequestObject) (SubmitManifestsResponseObject, error) {
	st, err := station(ctx)
	if err != nil {
		return nil, err
	}
	results, err := s.Ingest.SubmitManifests(ctx, st, r.Body.Manifests)
	if err != nil {
		return nil, err
	}
	out := SubmitManifests200JSONResponse{Items: make([]ManifestResult, len(results))}
	for i, m := range results {
		item := ManifestResult{Status: ManifestResultStatus(m.Status), EvidenceID: ptr(string(m.EvidenceID)), Error: ptr(m.Error), Code: ptr(m.Code)}
		if m.Status != ingest.Rejected {
			item.LeafIndex = &m.LeafIndex
			item.EvidenceStatus = ptr(EvidenceStatus(m.EvidenceStatus))
		}
		out.Items[i] = item
	}
	return out, nil
}

// BeginUpload answers the missing parts.
func (s *Server) BeginUpload(ctx context.Context, r BeginUploadRequestObject) (BeginUploadResponseObject, error) {
	st, err := station(ctx)
	if err != nil {
		return nil, err
	}
	digests, err := ingest.DecodeDigests(r.Body.PartSha256)
	if err != nil {
		return nil, err
	}
	u, err := s.Ingest.BeginUpload(ctx, st, evidence.ID(r.Body.EvidenceID), r.Body.PartSize, digests)
	if err != nil {
		return nil, err
	}
	return BeginUpload200JSONResponse(uploadOf(u)), nil
}

// GetUpload answers what is still missing.
func (s *Server) GetUpload(ctx context.Context, r GetUploadRequestObject) (GetUploadResponseObject, error) {
	st, err := station(ctx)
	if err != nil {
		return nil, err
	}
	u, err := s.Ingest.UploadState(ctx, st, r.ID)
	if err != nil {
		return nil, err
	}
	return GetUpload200JSONResponse(uploadOf(u)), nil
}

// CompleteUpload seals.
func (s *Server) CompleteUpload(ctx context.Context, r CompleteUploadRequestObject) (CompleteUploadResponseObject, error) {
	st, err := station(ctx)
	if err != nil {
		return nil, err
	}
	u, err := s.Ingest.CompleteUpload(ctx, st, r.ID)
	if err != nil {
		return nil, err
	}
	return CompleteUpload200JSONResponse{EvidenceID: string(u.EvidenceID), Status: SealResultStatusSealed, LeafIndex: &u.LeafIndex}, nil
}

func uploadOf(u ingest.Upload) Upload {
	out := Upload{ID: u.ID, EvidenceID: string(u.EvidenceID), Status: UploadStatus(u.State), PartSize: u.PartSize, Parts: []UploadPart{}}
	for _, p := range u.Missing {
		out.Parts = append(out.Parts, UploadPart{Number: p.Number, Size: p.Size, URL: p.URL, Headers: flat(p.Headers)})
	}
	if len(u.Missing) > 0 {
		out.ExpiresIn = ptr(int(u.Life.Seconds()))
	}
	if u.State == ingest.UploadSealed {
		out.LeafIndex = &u.LeafIndex
	}
	return out
}

func flat(h http.Header) map[string]string {
	out := map[string]string{}
	for k := range h {
		out[k] = h.Get(k)
	}
	return out
}
