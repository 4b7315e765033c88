package api

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/gin-gonic/gin"

	"zhizheng/authority"
	"zhizheng/cases"
	"zhizheng/evidence"
	"zhizheng/evidence/bundle"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
	"zhizheng/ingest"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

//go:embed bundle.html
var bundleHTML embed.FS

var bundleIndex = template.Must(template.New("bundle.html").Funcs(template.FuncMap{
	"local": func(t time.Time) string { return t.In(china).Format("2006-01-02 15:04:05") },
}).ParseFS(bundleHTML, "bundle.html"))

var china = time.FixedZone("UTC+8", 8*60*60)

// caseBundle exports a case. Everything that the bundle says is fixed and logged before its first byte leaves: an export is an act in
// the case and in the custody of every item.
func (s *Server) caseBundle(c *gin.Context) error {
	ctx := c.Request.Context()
	var f cases.File
	var x exported
	stamped, err := s.stampForExport(ctx)
	if err != nil {
		return err
	}
	for end := time.Now().Add(exportPatience); ; {
		var err error
		if f, err = s.Cases.Get(ctx, c.Param("id")); err == nil {
			x, err = s.exportOnce(ctx, f, stamped)
		}
		if err == nil {
			break
		}
		if !errors.Is(err, cases.ErrMoved) || time.Now().After(end) {
			return err
		}
	}
	h := c.Writer.Header()
	h.Set("Content-Type", "application/zip")
	h.Set("Cache-Control", "private, no-store")
	h.Set("Content-Disposition", "attachment; filename*=UTF-8''"+url.PathEscape("证据包-"+f.Number+".zip"))
	c.Status(http.StatusOK)
	return x.plan.Write(ctx, flusher{c.Writer}, func(ctx context.Context) (bundle.Last, error) {
		tails, _, err := s.receipts(ctx, append(x.tails, x.leaf))
		last := bundle.Last{Export: tails[x.leaf.Seq], Tails: tails}
		delete(tails, x.leaf.Seq)
		return last, err
	})
}

// exported is an export that is in the log.
type exported struct {
	plan  *bundle.Plan
	leaf  evlog.Leaf   // in the case's chain
	tails []evlog.Leaf // in the items' chains: its leaves there, and whatever came between the planning and them
}

// flusher sends what it is given at once, so that a download shows progress from the first member on.
type flusher struct{ gin.ResponseWriter }

func (w flusher) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	if len(p) < 4096 {
		w.Flush()
	}
	return n, err
}

// exportPatience is how long an export is planned again because others act in the case.
const exportPatience = 30 * time.Second

// witnessPatience is how long an export waits for the witnesses' quorum. Without it the bundle says so.
const witnessPatience = 15 * time.Second

// exportOnce plans the bundle and logs its digest.
func (s *Server) exportOnce(ctx context.Context, f cases.File, stamped []evlog.Stamped) (x exported, err error) {
	in, err := s.bundleInput(ctx, f, stamped)
	if err != nil {
		return x, err
	}
	if x.plan, err = bundle.NewPlan(in); err != nil {
		return x, err
	}
	act := actOf(ctx)
	act.CaseID, act.Digest = f.ID, x.plan.Digest()
	err = s.Log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error {
		if err := s.Cases.Exported(ctx, tx, f.ID, x.plan.Digest(), lastEvent(f)); err != nil {
			return err
		}
		for _, it := range in.Items {
			if err := s.Evidence.Note(ctx, tx, evidence.ID(it.ID), chain.KindExported, act); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return x, fmt.Errorf("log the export: %w", err)
	}
	own, err := s.upTo(ctx, cases.Subject(f.ID), func(l evlog.Leaf) bool {
		p, err := chain.Payload[chain.CasePayload](l.Payload)
		return err == nil && bytes.Equal(p.Digest, act.Digest)
	})
	if err != nil {
		return x, err
	}
	x.leaf = own[len(own)-1]
	for _, it := range in.Items {
		own, err := s.upTo(ctx, evidence.Subject(evidence.ID(it.ID)), func(l evlog.Leaf) bool {
			p, err := chain.Payload[chain.CustodyPayload](l.Payload)
			return err == nil && bytes.Equal(p.Digest, act.Digest)
		})
		if err != nil {
			return x, err
		}
		x.tails = append(x.tails, slices.DeleteFunc(own, func(l evlog.Leaf) bool { return in.Proofs[l.Seq] != nil })...)
	}
	return x, nil
}

// upTo gives a chain from its beginning to the leaf of an export.
func (s *Server) upTo(ctx context.Context, subject chain.Subject, is func(evlog.Leaf) bool) ([]evlog.Leaf, error) {
	own, err := s.Log.SubjectLeaves(ctx, subject)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(own, is)
	if i < 0 {
		return nil, fmt.Errorf("the export's leaf is not in the chain of the %s", subject.Type)
	}
	return own[:i+1], nil
}

func lastEvent(f cases.File) (n int) {
	for _, e := range f.Events {
		n = max(n, e.N)
	}
	return n
}

// bundleInput collects records, leaves and proofs.
func (s *Server) bundleInput(ctx context.Context, f cases.File, stamped []evlog.Stamped) (in bundle.Input, err error) {
	v, err := s.caseFile(ctx, f)
	if err != nil {
		return in, err
	}
	leaves, err := s.Log.SubjectLeaves(ctx, cases.Subject(f.ID))
	if err != nil {
		return in, err
	}
	records, err := s.exhibitRecords(ctx, f)
	if err != nil {
		return in, err
	}
	for i, e := range f.Exhibits {
		rec := records[i]
		item := bundle.Item{Record: bundle.Record{ID: e.EvidenceID, FileName: rec.FileName, Size: rec.Size, SHA256: rec.SHA256Hex(), Status: rec.Status,
			Recorder: rec.Recorder, RecordedAt: rec.RecordedAt.UTC().Format(time.RFC3339), Purpose: e.Purpose, Verdict: rec.Verdict, SealLeaf: -1}}
		own, err := s.itemLeaves(ctx, rec, &item)
		if err != nil {
			return in, err
		}
		leaves = append(leaves, own...)
		in.Items = append(in.Items, item)
	}
	beside, err := s.bundleChains(ctx, &in)
	if err != nil {
		return in, err
	}
	leaves = append(beside, leaves...) // a leaf that is closed there and disclosed here is disclosed
	stamps, tokens, err := s.stampLeaves(ctx, in.Items)
	if err != nil {
		return in, err
	}
	in.CaseID, in.Case, in.VKey, in.Policy = f.ID, v, s.Log.EveryVKey(), s.Log.Policy()
	var quorum evlog.Quorum
	if in.Proofs, quorum, err = s.receipts(ctx, append(leaves, tokens...)); err != nil {
		return in, err
	}
	if in.Stamps, err = s.stampProofs(ctx, stamps, in.Proofs); err != nil {
		return in, err
	}
	if err := in.Tell(manifest.OpenPlace); err != nil {
		return in, err
	}
	var page bytes.Buffer
	err = bundleIndex.ExecuteTemplate(&page, "bundle.html", map[string]any{"Case": f, "Items": in.Items, "VKey": in.VKey, "Origin": s.Log.Origin(),
		"Quorum": quorum, "Chains": in.Chains, "Now": time.Now(), "Actor": authority.ActorFrom(ctx).Name, "Demo": s.Demo,
		"Time": pageOf(stamped, stamps)})
	in.Index = page.Bytes()
	return in, err
}

// exhibitRecords gives the exhibits' records in order. One that the actor may not see refuses the whole export: half a case proves
// nothing.
func (s *Server) exhibitRecords(ctx context.Context, f cases.File) ([]evidence.Record, error) {
	out := make([]evidence.Record, len(f.Exhibits))
	for i, e := range f.Exhibits {
		rec, err := s.visible(ctx, e.EvidenceID)
		if err != nil {
			return nil, err
		}
		out[i] = rec
	}
	return out, nil
}

// itemLeaves gives an item's chain, its manifest's leaf and the enrolment of the key that signed it, and completes the record.
func (s *Server) itemLeaves(ctx context.Context, rec evidence.Record, item *bundle.Item) ([]evlog.Leaf, error) {
	m, err := s.Log.ByKey(ctx, rec.ManifestKey)
	if err != nil {
		return nil, err
	}
	item.ManifestLeaf = m.Seq
	enrolled, err := s.enrolment(ctx, m)
	if err != nil {
		return nil, err
	}
	own, err := s.Log.SubjectLeaves(ctx, evidence.Subject(rec.ID))
	if err != nil {
		return nil, err
	}
	for _, l := range own {
		if l.Key == evidence.SealKey(rec.ID) {
			if rec.SealedAt == nil { // its bytes arrived since the record was read
				return nil, cases.ErrMoved
			}
			item.SealLeaf = l.Seq
			item.SealedAt = rec.SealedAt.UTC().Format(time.RFC3339)
			if rec.Status == evidence.StatusDeleted { // the leaves of its deletion stand for its bytes
				continue
			}
			item.Open = func(ctx context.Context) (io.ReadCloser, error) {
				return s.Evidence.Open(ctx, rec, evidence.Range{Off: 0, Len: rec.Size})
			}
		}
	}
	return append(own, m, enrolled), nil
}

func (s *Server) enrolment(ctx context.Context, m evlog.Leaf) (evlog.Leaf, error) {
	p, err := chain.Payload[chain.ManifestPayload](m.Payload)
	if err != nil {
		return evlog.Leaf{}, err
	}
	key, err := ingest.EnrolmentKey(p.Signed)
	if err != nil {
		return evlog.Leaf{}, err
	}
	return s.Log.ByKey(ctx, key)
}

// receipts proves each leaf, all under one checkpoint, which has the witnesses' quorum if they are there.
func (s *Server) receipts(ctx context.Context, leaves []evlog.Leaf) (map[int64][]byte, evlog.Quorum, error) {
	seqs := make([]int64, len(leaves))
	for i, l := range leaves {
		seqs[i] = l.Seq
	}
	var proven evlog.Proven
	_, err := awaited(ctx, 10*time.Second, func() (_ []byte, err error) {
		proven, err = s.Log.ProofsWitnessed(ctx, seqs, witnessPatience)
		return nil, err
	})
	if err != nil {
		return nil, evlog.Quorum{}, err
	}
	out := map[int64][]byte{}
	for _, l := range leaves {
		if out[l.Seq], err = proven.Receipt(l); err != nil {
			return nil, evlog.Quorum{}, err
		}
	}
	return out, proven.Quorum, nil
}

// awaited asks until a checkpoint covers what was asked for; when the time is over it gives the last answer.
func awaited(ctx context.Context, limit time.Duration, ask func() ([]byte, error)) ([]byte, error) {
	over := time.NewTimer(limit)
	defer over.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		b, err := ask()
		if !fault.Is(err, fault.KindPending) {
			return b, err
		}
		select {
		case <-tick.C:
		case <-over.C:
			return nil, err
		case <-ctx.Done():
			return nil, err
		}
	}
}
