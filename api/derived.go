package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/gin-gonic/gin"

	"zhizheng/authority"
	"zhizheng/evidence"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// notOriginal is said wherever a derived object is shown, logged or saved.
const notOriginal = "预览，非原件"

// evidenceTrack gives the positions of the file, or of the sidecar beside it.
func (s *Server) evidenceTrack(c *gin.Context) error {
	ctx := c.Request.Context()
	rec, err := s.visible(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	track, _, err := s.Evidence.Timeline(ctx, rec.ID)
	if err != nil {
		return err
	}
	from, name := rec.ID, ""
	if track == nil {
		if from, name, track, err = s.Evidence.PairedTrack(ctx, rec.ID); err != nil {
			return err
		}
	}
	if track == nil {
		return tagged(c, map[string]any{"evidence_id": rec.ID, "source": "", "points": []string{}, "fixes": 0})
	}
	var fields map[string]any
	if err := json.Unmarshal(track, &fields); err != nil {
		return fmt.Errorf("read track of %s: %w", from, err)
	}
	if fields["evidence_id"] = from; name != "" {
		fields["sidecar"] = name
	}
	return tagged(c, fields)
}

// evidenceFrames gives the times of the pictures.
func (s *Server) evidenceFrames(c *gin.Context) error {
	ctx := c.Request.Context()
	rec, err := s.visible(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	_, frames, err := s.Evidence.Timeline(ctx, rec.ID)
	if err != nil {
		return err
	}
	if frames == nil {
		frames = json.RawMessage(`{"count":0}`)
	}
	return tagged(c, frames)
}

// tagged answers JSON that seldom changes: a browser keeps it and asks whether it still holds.
func tagged(c *gin.Context, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(b)
	etag := `"` + hex.EncodeToString(sum[:16]) + `"`
	c.Header("ETag", etag)
	c.Header("Cache-Control", "private, no-cache")
	if c.GetHeader("If-None-Match") == etag {
		c.Status(http.StatusNotModified)
		return nil
	}
	c.Data(http.StatusOK, "application/json; charset=utf-8", b)
	return nil
}

// askDerived queues a preview or a contact sheet, unless it is there and begins where it is wanted.
func (s *Server) askDerived(ctx context.Context, eid, kind string, fromMs int64) (Derived, error) {
	rec, err := s.visible(ctx, eid)
	if err != nil {
		return Derived{}, err
	}
	if err := mayDerive(rec); err != nil {
		return Derived{}, err
	}
	d, err := s.Evidence.Derived(ctx, rec.ID, kind)
	if err != nil && !fault.Is(err, fault.KindNotFound) {
		return Derived{}, err
	}
	if err != nil || d.State == evidence.DerivedFailed || d.State == evidence.DerivedGone || d.State == evidence.DerivedReady && d.FromMs != fromMs {
		if err := s.queueDerived(ctx, rec, kind, fromMs); err != nil {
			return Derived{}, err
		}
		if d, err = s.Evidence.Derived(ctx, rec.ID, kind); err != nil {
			return Derived{}, err
		}
	}
	return derivedView(d), nil
}

func mayDerive(rec evidence.Record) error {
	var facts MediaFacts
	if err := json.Unmarshal(rec.Media, &facts); err != nil {
		return fmt.Errorf("read media facts: %w", err)
	}
	switch {
	case rec.Status == evidence.StatusPending:
		return fault.Conflict("影像待传：字节还没有到达，不能生成预览")
	case rec.Verdict == "":
		return fault.Conflict("影像信息还没有读完，请稍后再试")
	case rec.Verdict == "encrypted":
		return fault.Conflict("影像已加密，不能生成预览")
	case val(facts.VideoCodec) == "" && (rec.Verdict == "sidecar" || rec.Verdict == "not-media" || rec.Verdict == "empty"):
		return fault.Conflict("这个文件没有画面，不能生成预览")
	}
	return nil
}

func (s *Server) queueDerived(ctx context.Context, rec evidence.Record, kind string, fromMs int64) error {
	return pg.InTx(ctx, s.Pool, func(tx *pg.Tx) error {
		queued, err := s.Evidence.AskDerived(ctx, tx, rec, kind, fromMs, authority.ActorFrom(ctx).UserID)
		if err != nil || !queued {
			return err
		}
		return s.Derive(ctx, tx)
	})
}

// exhibited has contact sheets made of new exhibits. A case doesn't wait for it or fail by it.
func (s *Server) exhibited(ctx context.Context, ids ...string) {
	for _, eid := range ids {
		rec, err := s.Evidence.Get(ctx, evidence.Scope{}, evidence.ID(eid))
		if err == nil {
			err = mayDerive(rec)
		}
		if err == nil {
			err = s.queueDerived(ctx, rec, evidence.DerivedContactSheet, 0)
		}
		if err != nil && !fault.Is(err, fault.KindConflict) {
			s.log.WarnContext(ctx, "no contact sheet of an exhibit", "evidence", eid, "cause", err)
		}
	}
}

func (s *Server) derivedState(ctx context.Context, eid, kind string) (Derived, error) {
	rec, err := s.visible(ctx, eid)
	if err != nil {
		return Derived{}, err
	}
	d, err := s.Evidence.Derived(ctx, rec.ID, kind)
	if fault.Is(err, fault.KindNotFound) {
		return Derived{State: DerivedStateNone, Label: notOriginal}, nil
	}
	return derivedView(d), err
}

func derivedView(d evidence.Derived) Derived {
	v := Derived{State: DerivedState(d.State), Percent: d.Percent, Label: notOriginal, FromMs: &d.FromMs, Failure: ptr(d.Failure)}
	if d.State == evidence.DerivedReady {
		v.MadeAt, v.Size, v.Sha256 = d.MadeAt, &d.Size, ptr(hex.EncodeToString(d.SHA256))
	}
	return v
}

// AskPreview has a copy made that browsers play.
func (s *Server) AskPreview(ctx context.Context, r AskPreviewRequestObject) (AskPreviewResponseObject, error) {
	v, err := s.askDerived(ctx, r.ID, evidence.DerivedPreview, 0)
	return AskPreview202JSONResponse(v), err
}

// GetPreview tells how it goes.
func (s *Server) GetPreview(ctx context.Context, r GetPreviewRequestObject) (GetPreviewResponseObject, error) {
	v, err := s.derivedState(ctx, r.ID, evidence.DerivedPreview)
	return GetPreview200JSONResponse(v), err
}

// AskContactSheet has twenty pictures taken.
func (s *Server) AskContactSheet(ctx context.Context, r AskContactSheetRequestObject) (AskContactSheetResponseObject, error) {
	from := int64(0)
	if r.Body != nil {
		from = val(r.Body.FromMs)
	}
	v, err := s.askDerived(ctx, r.ID, evidence.DerivedContactSheet, from)
	return AskContactSheet202JSONResponse(v), err
}

// GetContactSheet tells how it goes.
func (s *Server) GetContactSheet(ctx context.Context, r GetContactSheetRequestObject) (GetContactSheetResponseObject, error) {
	v, err := s.derivedState(ctx, r.ID, evidence.DerivedContactSheet)
	return GetContactSheet200JSONResponse(v), err
}

// derivedContent gives a derived object's bytes; the view is in the log before the first of them, and says that it was of a copy.
func (s *Server) derivedContent(kind, extension string) func(*gin.Context) error {
	return func(c *gin.Context) error {
		ctx := c.Request.Context()
		rec, err := s.visible(ctx, c.Param("id"))
		if err != nil {
			return err
		}
		d, err := s.Evidence.Derived(ctx, rec.ID, kind)
		if err != nil {
			return err
		}
		if c.Request.Method != http.MethodHead && d.State == evidence.DerivedReady {
			act := actOf(ctx)
			act.Reason = notOriginal
			if err := s.Evidence.Viewed(ctx, rec.ID, false, act); err != nil {
				return err
			}
		}
		h := c.Writer.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
		h.Set("Content-Disposition", "inline; filename*=UTF-8''"+url.PathEscape(notOriginal+"_"+baseName(rec.FileName)+extension))
		return s.Evidence.ServeDerived(ctx, c.Writer, c.Request, d)
	}
}
