package api

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"zhizheng/authority"
	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/ingest"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// scope is the townships the actor sees, narrowed to one if the request names one.
func scope(ctx context.Context, township string) (evidence.Scope, error) {
	a := authority.ActorFrom(ctx)
	if township == "" {
		return evidence.Scope{Townships: a.Scope()}, nil
	}
	if !a.Sees(township) {
		return evidence.Scope{}, fault.Forbidden("您看不到这个乡镇的内容")
	}
	return evidence.Scope{Townships: []string{township}}, nil
}

func actOf(ctx context.Context) evidence.Act {
	a := authority.ActorFrom(ctx)
	return evidence.Act{Actor: a.UserID, Session: a.Session}
}

// ListEvidence gives a page of records, newest recording first.
func (s *Server) ListEvidence(ctx context.Context, r ListEvidenceRequestObject) (ListEvidenceResponseObject, error) {
	p := r.Params
	sc, err := scope(ctx, val(p.Township))
	if err != nil {
		return nil, err
	}
	page, err := s.Evidence.List(ctx, sc, evidence.Filter{Status: string(val(p.Status)), Verdict: val(p.Verdict), Recorder: val(p.Recorder),
		DeviceID: val(p.DeviceID), SHA256: val(p.Sha256), Query: val(p.Q), From: p.From, To: p.To, Late: val(p.Late),
		Activity: string(val(p.Activity)), ActivityID: val(p.ActivityID)}, val(p.Cursor), pageLimit(p.Limit))
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(page.Items))
	for i, rec := range page.Items {
		ids[i] = string(rec.ID)
	}
	counts, err := s.Cases.Counts(ctx, ids)
	if err != nil {
		return nil, err
	}
	names, err := s.townshipNames(ctx)
	if err != nil {
		return nil, err
	}
	out := ListEvidence200JSONResponse{Items: make([]Evidence, len(page.Items)), NextCursor: page.Next}
	for i, rec := range page.Items {
		v, err := s.evidenceView(rec, names)
		if err != nil {
			return nil, err
		}
		v.CaseCount = counts[string(rec.ID)]
		out.Items[i] = v
	}
	return out, nil
}

// GetEvidence gives one record with its links.
func (s *Server) GetEvidence(ctx context.Context, r GetEvidenceRequestObject) (GetEvidenceResponseObject, error) {
	v, err := s.evidenceFile(ctx, evidence.ID(r.ID))
	if err != nil {
		return nil, err
	}
	return GetEvidence200JSONResponse(v), nil
}

func (s *Server) evidenceFile(ctx context.Context, eid evidence.ID) (Evidence, error) {
	sc, err := scope(ctx, "")
	if err != nil {
		return Evidence{}, err
	}
	rec, err := s.Evidence.Get(ctx, sc, eid)
	if err != nil {
		return Evidence{}, err
	}
	names, err := s.townshipNames(ctx)
	if err != nil {
		return Evidence{}, err
	}
	v, err := s.evidenceView(rec, names)
	if err != nil {
		return Evidence{}, err
	}
	refs, err := s.Cases.OfEvidence(ctx, string(eid))
	if err != nil {
		return Evidence{}, err
	}
	cases := make([]CaseRef, len(refs))
	for i, c := range refs {
		cases[i] = CaseRef{ID: c.ID, Number: c.Number, Title: c.Title, Stage: c.Stage.Name(), Purpose: ptr(c.Purpose)}
	}
	v.Cases, v.CaseCount = &cases, len(cases)
	if v.Device, err = s.recorderOf(ctx, rec.DeviceID); err != nil {
		return Evidence{}, err
	}
	if v.Leaves, err = s.leavesOf(ctx, rec); err != nil {
		return Evidence{}, err
	}
	if v.Completeness, err = s.completenessOf(ctx, sc, rec); err != nil {
		return Evidence{}, err
	}
	if v.Wearer, err = s.wearerOf(ctx, rec); err != nil {
		return Evidence{}, err
	}
	v.ActivityRef, err = s.activityOf(ctx, rec)
	return v, err
}

// leavesOf gives the leaves that carry the record: the manifest and everything on its own chain.
func (s *Server) leavesOf(ctx context.Context, rec evidence.Record) ([]LogPosition, error) {
	first, err := s.Log.ByKey(ctx, rec.ManifestKey)
	if err != nil {
		return nil, err
	}
	own, err := s.Log.SubjectLeaves(ctx, evidence.Subject(rec.ID))
	if err != nil {
		return nil, err
	}
	out := []LogPosition{}
	for _, l := range append([]evlog.Leaf{first}, own...) {
		p, err := position(l)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func (s *Server) evidenceView(r evidence.Record, townships map[string]string) (Evidence, error) {
	v := Evidence{
		ID: string(r.ID), Township: r.Township, TownshipName: townships[r.Township], FileName: r.FileName, Size: r.Size, Sha256: r.SHA256Hex(),
		Composite: ptr(hex.EncodeToString(r.Composite)), PartSize: &r.PartSize, Status: EvidenceStatus(r.Status), Recorder: ptr(r.Recorder),
		DeviceID: ptr(r.DeviceID), Station: ptr(r.Station), RecordedAt: &r.RecordedAt, RegisteredAt: r.RegisteredAt, SealedAt: r.SealedAt,
		RetainUntil: r.RetainUntil, Check: ptr(r.Check), Restricted: r.Restricted, Held: r.HoldState == "pending" || r.HoldState == "active",
		HoldState: &r.HoldState, HasPoster: r.PosterKey != "", Leaves: []LogPosition{},
		VerifiedAt: r.VerifiedAt, Sm3: ptr(hex.EncodeToString(r.SM3)), Damage: ptr(r.Damage),
		ActivityName: ptr(evidence.ActivityNames[r.Activity]), WipedAt: r.WipedAt,
	}
	if err := json.Unmarshal(r.Media, &v.Media); err != nil {
		return v, fmt.Errorf("read media facts of %s: %w", r.ID, err)
	}
	v.Media.Verdict = r.Verdict
	if r.Activity != "" {
		v.Activity = new(ActivityKind(r.Activity))
	}
	v.ContentType = contentTypeOf(r, v.Media)
	s.retention(&v, r)
	return v, nil
}

// contentTypeOf lets a browser play what the probe understood, and nothing else: a page or a script that somebody put on a card is
// never run.
func contentTypeOf(r evidence.Record, m MediaFacts) string {
	name := strings.ToLower(r.FileName)
	switch {
	case m.Playable && val(m.VideoCodec) == "":
		return "audio/mp4"
	case m.Playable:
		return "video/mp4"
	case strings.HasSuffix(name, ".txt") || strings.HasSuffix(name, ".log") || strings.HasSuffix(name, ".csv") || strings.HasSuffix(name, ".nmea"):
		return "text/plain; charset=utf-8"
	case strings.HasSuffix(name, ".jpg"), strings.HasSuffix(name, ".jpeg"):
		return "image/jpeg"
	}
	return "application/octet-stream"
}

// evidenceContent gives the sealed bytes. The view is in the log before the first of them.
func (s *Server) evidenceContent(c *gin.Context) error {
	ctx := c.Request.Context()
	rec, err := s.visible(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	download := c.Query("download") == "true" || c.Query("download") == "1"
	if c.Request.Method != http.MethodHead && rec.Status != evidence.StatusPending && rec.Status != evidence.StatusDeleted {
		if err := s.Evidence.Viewed(ctx, rec.ID, download, actOf(ctx)); err != nil {
			return err
		}
	}
	var facts MediaFacts
	if err := json.Unmarshal(rec.Media, &facts); err != nil {
		return fmt.Errorf("read media facts: %w", err)
	}
	h := c.Writer.Header()
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	disposition := "inline"
	if download {
		disposition = "attachment"
	}
	h.Set("Content-Disposition", disposition+"; filename*=UTF-8''"+url.PathEscape(baseName(rec.FileName)))
	return s.Evidence.Serve(ctx, c.Writer, c.Request, rec, contentTypeOf(rec, facts))
}

// visible gives a record whose content the actor may see.
func (s *Server) visible(ctx context.Context, id string) (evidence.Record, error) {
	sc, err := scope(ctx, "")
	if err != nil {
		return evidence.Record{}, err
	}
	rec, err := s.Evidence.Get(ctx, sc, evidence.ID(id))
	if err != nil {
		return rec, err
	}
	if rec.Restricted && !authority.ActorFrom(ctx).May("evidence:restrict") {
		return rec, fault.Forbidden("这条影像已限制查看（误录或涉及隐私）")
	}
	return rec, nil
}

func baseName(p string) string { return p[strings.LastIndexAny(p, `/\`)+1:] }

// evidencePoster gives a frame of the footage: a view, which is in the log before the first byte. A browser keeps it as long as that
// stands, and for this session alone.
func (s *Server) evidencePoster(c *gin.Context) error {
	ctx := c.Request.Context()
	rec, err := s.visible(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	if rec.Status == evidence.StatusDeleted {
		return fault.Gone("这份影像已在留存期满后销毁")
	}
	if rec.PosterKey == "" {
		return fault.NotFound("这条影像没有封面")
	}
	if err := s.Evidence.Glimpsed(ctx, rec.ID, actOf(ctx)); err != nil {
		return err
	}
	body, err := s.Store.Get(ctx, rec.PosterKey, "", 0, -1)
	if err != nil {
		return err
	}
	defer body.Close()
	c.Header("Content-Type", "image/jpeg")
	c.Header("Cache-Control", fmt.Sprintf("private, max-age=%d", int(time.Until(evidence.NextDay(time.Now())).Seconds())))
	c.Writer.Header().Add("Vary", "Cookie")
	c.Status(http.StatusOK)
	if _, err := io.Copy(c.Writer, body); err != nil && ctx.Err() == nil {
		return fmt.Errorf("read poster: %w", err)
	}
	return nil
}

// evidenceReceipt gives the proof of the sealing, to those who see the record and to stations.
func (s *Server) evidenceReceipt(c *gin.Context) error {
	ctx := c.Request.Context()
	sc := evidence.Scope{}
	if _, station := ingest.StationFrom(ctx); !station {
		var err error
		if sc, err = scope(ctx, ""); err != nil {
			return err
		}
	}
	rec, err := s.Evidence.Get(ctx, sc, evidence.ID(c.Param("id")))
	if err != nil {
		return err
	}
	if rec.Status == evidence.StatusPending {
		return fault.Pending(pendingRetry, "影像待传：字节还没有封存，尚无回执")
	}
	receipt, err := awaited(ctx, preferredWait(c.GetHeader("Prefer")), func() ([]byte, error) { return s.Log.Receipt(ctx, evidence.SealKey(rec.ID)) })
	if err != nil {
		return err
	}
	if err := s.handedOut(ctx, receipt); err != nil {
		return err
	}
	c.Header("Content-Disposition", `attachment; filename="`+string(rec.ID)+`.tlog-proof"`)
	c.Data(http.StatusOK, "text/plain; charset=utf-8", receipt)
	return nil
}

// preferredWait reads "wait=N" of a Prefer header (RFC 7240 §4.3), five seconds at most.
func preferredWait(header string) time.Duration {
	for p := range strings.SplitSeq(header, ",") {
		if v, ok := strings.CutPrefix(strings.TrimSpace(p), "wait="); ok {
			if n, err := strconv.Atoi(v); err == nil && n > 0 {
				return time.Duration(min(n, 5)) * time.Second
			}
		}
	}
	return 0
}

// ListCustody gives the chain of custody.
func (s *Server) ListCustody(ctx context.Context, r ListCustodyRequestObject) (ListCustodyResponseObject, error) {
	sc, err := scope(ctx, "")
	if err != nil {
		return nil, err
	}
	page, err := s.Evidence.Custody(ctx, sc, evidence.ID(r.ID), val(r.Params.Cursor), pageLimit(r.Params.Limit))
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(page.Items))
	for i, e := range page.Items {
		ids[i] = e.Actor
	}
	names, err := s.Authority.Names(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := ListCustody200JSONResponse{Items: make([]CustodyEvent, len(page.Items)), NextCursor: page.Next}
	for i, e := range page.Items {
		leaf, err := s.Log.ByKey(ctx, e.LogKey)
		if err != nil {
			return nil, err
		}
		info, _ := chain.InfoOf(e.Kind)
		out.Items[i] = CustodyEvent{ID: e.ID, Time: e.At, Kind: int(e.Kind), KindName: info.Name, Sentence: ptr(e.Kind.Sentence(false)), Actor: e.Actor,
			ActorName: actorName(e.Actor, names), CaseID: ptr(e.CaseID), Reason: ptr(e.Reason), LeafIndex: &leaf.Seq}
	}
	return out, nil
}

func actorName(id string, names map[string]string) string {
	if id == "system" {
		return "系统"
	}
	if n := names[id]; n != "" {
		return n
	}
	return id
}

// RestrictEvidence restricts or opens an item.
func (s *Server) RestrictEvidence(ctx context.Context, r RestrictEvidenceRequestObject) (RestrictEvidenceResponseObject, error) {
	sc, err := scope(ctx, "")
	if err != nil {
		return nil, err
	}
	act := actOf(ctx)
	act.Reason = r.Body.Reason
	if _, err := s.Evidence.Restrict(ctx, sc, evidence.ID(r.ID), r.Body.Restricted, act); err != nil {
		return nil, err
	}
	v, err := s.evidenceFile(ctx, evidence.ID(r.ID))
	return RestrictEvidence200JSONResponse(v), err
}

// SetHold sets a hold by hand.
func (s *Server) SetHold(ctx context.Context, r SetHoldRequestObject) (SetHoldResponseObject, error) {
	v, err := s.hold(ctx, r.ID, r.Body.Reason, s.Evidence.SetHold)
	return SetHold202JSONResponse(v), err
}

// LiftHold lifts a hold set by hand.
func (s *Server) LiftHold(ctx context.Context, r LiftHoldRequestObject) (LiftHoldResponseObject, error) {
	v, err := s.hold(ctx, r.ID, r.Body.Reason, s.Evidence.LiftHold)
	return LiftHold202JSONResponse(v), err
}

func (s *Server) hold(ctx context.Context, id, reason string, do func(context.Context, *pg.Tx, evidence.ID, evidence.Act) error) (Evidence, error) {
	if _, err := s.visible(ctx, id); err != nil {
		return Evidence{}, err
	}
	act := actOf(ctx)
	act.Reason = reason
	err := s.Log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error {
		if err := do(ctx, tx, evidence.ID(id), act); err != nil {
			return err
		}
		return s.SettleHolds(ctx, tx)
	})
	if err != nil {
		return Evidence{}, err
	}
	return s.evidenceFile(ctx, evidence.ID(id))
}
