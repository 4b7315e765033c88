package api

import (
	"context"
	"encoding/hex"
	"time"

	"zhizheng/evidence"
	"zhizheng/internal/pg"
)

// SetCategory puts an item into a category.
func (s *Server) SetCategory(ctx context.Context, r SetCategoryRequestObject) (SetCategoryResponseObject, error) {
	v, err := s.hold(ctx, r.ID, r.Body.Reason, func(ctx context.Context, tx *pg.Tx, eid evidence.ID, a evidence.Act) error {
		return s.Evidence.SetCategory(ctx, tx, eid, evidence.Category(r.Body.Category), a)
	})
	return SetCategory200JSONResponse(v), err
}

// KeepDue keeps what would be deleted.
func (s *Server) KeepDue(ctx context.Context, r KeepDueRequestObject) (KeepDueResponseObject, error) {
	v, err := s.hold(ctx, r.ID, r.Body.Reason, s.Evidence.Object)
	return KeepDue200JSONResponse(v), err
}

// ExplainLate notes why an item came late.
func (s *Server) ExplainLate(ctx context.Context, r ExplainLateRequestObject) (ExplainLateResponseObject, error) {
	v, err := s.hold(ctx, r.ID, r.Body.Reason, s.Evidence.ExplainLate)
	return ExplainLate200JSONResponse(v), err
}

// ListDue lists what is going to be deleted.
func (s *Server) ListDue(ctx context.Context, r ListDueRequestObject) (ListDueResponseObject, error) {
	page, err := s.deletions(ctx, val(r.Params.Township), val(r.Params.Cursor), pageLimit(r.Params.Limit), s.Evidence.Due)
	return ListDue200JSONResponse(page), err
}

// ListDeleted lists what was.
func (s *Server) ListDeleted(ctx context.Context, r ListDeletedRequestObject) (ListDeletedResponseObject, error) {
	page, err := s.deletions(ctx, val(r.Params.Township), val(r.Params.Cursor), pageLimit(r.Params.Limit), s.Evidence.Gone)
	return ListDeleted200JSONResponse(page), err
}

func (s *Server) deletions(ctx context.Context, township, cursor string, limit int,
	list func(context.Context, evidence.Scope, string, int) (evidence.Page[evidence.Deletion], error)) (DeletionPage, error) {
	sc, err := scope(ctx, township)
	if err != nil {
		return DeletionPage{}, err
	}
	page, err := list(ctx, sc, cursor, limit)
	if err != nil {
		return DeletionPage{}, err
	}
	names, err := s.townshipNames(ctx)
	if err != nil {
		return DeletionPage{}, err
	}
	out := DeletionPage{Items: make([]Deletion, len(page.Items)), NextCursor: page.Next}
	for i, d := range page.Items {
		v, err := s.evidenceView(d.Record, names)
		if err != nil {
			return DeletionPage{}, err
		}
		out.Items[i] = Deletion{Evidence: v, ProposedAt: d.ProposedAt, DueAt: d.DueAt, DecidedAt: d.DecidedAt, GoneAt: d.GoneAt}
	}
	return out, nil
}

// GetDeletionCertificate gives the certificate with the proof of its leaf.
func (s *Server) GetDeletionCertificate(ctx context.Context, r GetDeletionCertificateRequestObject) (GetDeletionCertificateResponseObject, error) {
	sc, err := scope(ctx, "")
	if err != nil {
		return nil, err
	}
	c, err := s.Evidence.Certificate(ctx, sc, evidence.ID(r.ID))
	if err != nil {
		return nil, err
	}
	receipt, err := s.Log.Receipt(ctx, c.Key)
	if err != nil {
		return nil, err
	}
	if err := s.handedOut(ctx, receipt); err != nil {
		return nil, err
	}
	at := func(ms int64) time.Time { return time.UnixMilli(ms).UTC() }
	return GetDeletionCertificate200JSONResponse{EvidenceID: c.EvidenceID, Sha256: hex.EncodeToString(c.SHA256), Size: c.Size, Category: Category(c.Category),
		SealedAt: at(c.SealedAt), RetainUntil: at(c.RetainUntil), ProposedAt: at(c.ProposedAt), Actor: c.Actor, Reason: c.Reason, DeletedAt: c.At,
		LeafIndex: c.Leaf, DecidedLeafIndex: c.DecidedLeaf, Text: c.Text, Receipt: string(receipt)}, nil
}

// retention fills in how long a record is kept and whether it came late.
func (s *Server) retention(v *Evidence, r evidence.Record) {
	category := Category(r.Category)
	v.Category, v.CategoryReason, v.Permanent = &category, ptr(r.CategoryReason), ptr(r.Permanent)
	v.LockedUntil, v.RecordedEnd, v.LateReason = r.LockedUntil, r.RecordedEnd, ptr(r.LateReason)
	if late := s.Evidence.Late(r); late > 0 {
		v.LateHours = ptr(int(late.Hours()))
	}
	if r.RetainUntil != nil && !r.Permanent && r.Status != evidence.StatusDeleted {
		days := max(0, int(time.Until(*r.RetainUntil).Hours()/24))
		v.DaysLeft = &days
	}
}
