package ingest

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence"
	"zhizheng/ingest/internal/db"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/blob"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
)

const (
	retrySoon = 5 * time.Second
	// maxURLs bounds one answer; the agent asks again when it has sent these.
	maxURLs = 256
)

// States of an upload, as the agent sees them.
const (
	UploadOpen      = "open"
	UploadCompleted = "completed" // all bytes are at the store: ask for completion
	UploadSealed    = "sealed"
)

// Upload says what is missing.
type Upload struct {
	ID         string
	EvidenceID evidence.ID
	State      string
	PartSize   int64
	Missing    []MissingPart
	Life       time.Duration // of their addresses
	LeafIndex  int64         // of the sealing, when sealed
}

// MissingPart is a part to send and where: PUT to URL with exactly these headers and Size bytes.
type MissingPart struct {
	Number  int
	Size    int64
	URL     string
	Headers http.Header
}

// BeginUpload starts or finds the upload of a registered file. digests are the SHA-256 of its parts, in order; they must add up to the
// composite that the signed manifest named, so that no URL can carry bytes the manifest didn't.
func (s *Service) BeginUpload(ctx context.Context, st Station, eid evidence.ID, partSize int64, digests [][]byte) (Upload, error) {
	rec, err := s.Evidence.Get(ctx, evidence.Scope{}, eid)
	if err != nil {
		return Upload{}, err
	}
	if rec.Status != evidence.StatusPending {
		return s.sealedUpload(ctx, rec)
	}
	composite := manifest.Composite(digests)
	if partSize != rec.PartSize || len(digests) != manifest.Parts(rec.Size, rec.PartSize) || !bytes.Equal(composite[:], rec.Composite) {
		return Upload{}, fault.Conflict("分片指纹与已登记的清单不符").Then("请重新读取文件；文件若已改变，会作为另一份影像登记")
	}
	defer s.locks.lock(string(eid))()
	q := db.New(s.Pool)
	row, err := q.UploadOf(ctx, string(eid))
	if errors.Is(err, pgx.ErrNoRows) {
		row, err = s.startUpload(ctx, rec, digests)
	}
	if err != nil {
		return Upload{}, fmt.Errorf("begin upload: %w", err)
	}
	return s.describe(ctx, row, rec)
}

// startUpload opens the store's upload first. Crash before our row: the store holds an empty upload that its own clean-up removes.
// Another server may be faster: then its upload counts and ours is given back.
func (s *Service) startUpload(ctx context.Context, rec evidence.Record, digests [][]byte) (db.Upload, error) {
	storeID := ""
	if rec.Size > 0 {
		var err error
		if storeID, err = s.createAtStore(ctx, rec); err != nil {
			return db.Upload{}, err
		}
	}
	row, err := db.New(s.Pool).AddUpload(ctx, db.AddUploadParams{ID: id.New(), EvidenceID: string(rec.ID), StoreID: storeID,
		Parts: bytes.Join(digests, nil), BegunAt: s.Now().UTC()})
	if storeID != "" && (err != nil || row.StoreID != storeID) {
		if aerr := s.Store.Abort(context.WithoutCancel(ctx), rec.ObjectKey, storeID); aerr != nil {
			s.Logger.WarnContext(ctx, "give back upload", "evidence", rec.ID, "err", aerr)
		}
	}
	return row, err
}

func (s *Service) createAtStore(ctx context.Context, rec evidence.Record) (string, error) {
	return s.Store.CreateUpload(ctx, rec.ObjectKey, blob.CreateOptions{ContentType: "application/octet-stream", RetainUntil: s.Now().Add(s.OpenLock)})
}

// UploadState tells what is missing now, with fresh addresses.
func (s *Service) UploadState(ctx context.Context, st Station, uploadID string) (Upload, error) {
	row, rec, err := s.upload(ctx, uploadID)
	if err != nil {
		return Upload{}, err
	}
	if rec.Status != evidence.StatusPending {
		return s.sealedUpload(ctx, rec)
	}
	defer s.locks.lock(string(rec.ID))()
	return s.describe(ctx, row, rec)
}

func (s *Service) upload(ctx context.Context, uploadID string) (db.Upload, evidence.Record, error) {
	row, err := db.New(s.Pool).Upload(ctx, uploadID)
	if errors.Is(err, pgx.ErrNoRows) {
		return row, evidence.Record{}, fault.NotFound("没有这个上传")
	}
	if err != nil {
		return row, evidence.Record{}, fmt.Errorf("look up upload: %w", err)
	}
	rec, err := s.Evidence.Get(ctx, evidence.Scope{}, evidence.ID(row.EvidenceID))
	return row, rec, err
}

func (s *Service) sealedUpload(ctx context.Context, rec evidence.Record) (Upload, error) {
	u := Upload{EvidenceID: rec.ID, State: UploadSealed, PartSize: rec.PartSize}
	leaf, err := s.Log.ByKey(ctx, evidence.SealKey(rec.ID))
	if err != nil {
		return Upload{}, fmt.Errorf("find sealing leaf: %w", err)
	}
	row, err := db.New(s.Pool).UploadOf(ctx, string(rec.ID))
	if err != nil {
		return Upload{}, fmt.Errorf("look up upload: %w", err)
	}
	u.ID, u.LeafIndex = row.ID, leaf.Seq
	return u, nil
}

// describe compares what the store has with what there should be. The store is the truth: parts that it doesn't list, or lists with
// another digest or size, are missing.
func (s *Service) describe(ctx context.Context, row db.Upload, rec evidence.Record) (Upload, error) {
	u := Upload{ID: row.ID, EvidenceID: rec.ID, State: UploadOpen, PartSize: rec.PartSize, Life: s.AddressLife}
	if rec.Size == 0 {
		u.State = UploadCompleted
		return u, nil
	}
	parts, err := s.Store.ListParts(ctx, rec.ObjectKey, row.StoreID)
	if fault.Is(err, fault.KindNotFound) {
		// Completed and not yet sealed, or dropped by the store: HEAD decides, once nobody is completing it.
		completed := false
		err = s.exclusively(ctx, rec.ID, func() (err error) {
			if _, err = s.Store.Head(ctx, rec.ObjectKey); !fault.Is(err, fault.KindNotFound) {
				completed = err == nil
				return err
			}
			row, err = s.restart(ctx, row, rec)
			return err
		})
		if err != nil {
			return Upload{}, err
		}
		if completed {
			u.State = UploadCompleted
			return u, nil
		}
		parts = nil
	} else if err != nil {
		return Upload{}, err
	}
	missing := missingParts(row, rec, parts)
	if len(missing) == 0 {
		u.State = UploadCompleted
		return u, nil
	}
	for _, n := range missing[:min(len(missing), maxURLs)] {
		size := partLen(rec, n)
		url, headers, err := s.Store.PresignPart(ctx, rec.ObjectKey, row.StoreID, int32(n), size, digest(row, n), s.AddressLife)
		if err != nil {
			return Upload{}, fmt.Errorf("presign part: %w", err)
		}
		u.Missing = append(u.Missing, MissingPart{Number: n, Size: size, URL: url, Headers: headers})
	}
	return u, nil
}

// restart replaces an upload that the store has dropped. Two servers may try: one wins, both use its upload.
func (s *Service) restart(ctx context.Context, row db.Upload, rec evidence.Record) (db.Upload, error) {
	fresh, err := s.createAtStore(ctx, rec)
	if err != nil {
		return row, err
	}
	q := db.New(s.Pool)
	n, err := q.RestartUpload(ctx, db.RestartUploadParams{Fresh: fresh, At: s.Now().UTC(), ID: row.ID, Stale: row.StoreID})
	if err != nil {
		return row, fmt.Errorf("restart upload: %w", err)
	}
	if n == 0 {
		if aerr := s.Store.Abort(ctx, rec.ObjectKey, fresh); aerr != nil {
			s.Logger.WarnContext(ctx, "give back upload", "evidence", rec.ID, "err", aerr)
		}
	}
	return q.Upload(ctx, row.ID)
}

// digest is the SHA-256 of part n (from 1).
func digest(row db.Upload, n int) []byte { return row.Parts[(n-1)*32 : n*32] }

// partLen is the number of bytes of part n (from 1).
func partLen(rec evidence.Record, n int) int64 {
	return min(rec.PartSize, rec.Size-int64(n-1)*rec.PartSize)
}

// missingParts lists part numbers in order. Some stores list a part twice after it was sent again: any listing that fits counts. A
// store that tells no digests is asked for size alone; sealing then re-reads.
func missingParts(row db.Upload, rec evidence.Record, have []blob.Part) []int {
	total := len(row.Parts) / 32
	ok := make([]bool, total+1)
	for _, p := range have {
		n := int(p.Number)
		if n < 1 || n > total || p.Size != partLen(rec, n) || (p.SHA256 != nil && !bytes.Equal(p.SHA256, digest(row, n))) {
			continue
		}
		ok[n] = true
	}
	var out []int
	for n := 1; n <= total; n++ {
		if !ok[n] {
			out = append(out, n)
		}
	}
	return out
}

// DecodeDigests reads the parts' digests from hex.
func DecodeDigests(in []string) ([][]byte, error) {
	out := make([][]byte, len(in))
	for i, h := range in {
		b, err := hex.DecodeString(h)
		if err != nil || len(b) != 32 {
			return nil, fault.Invalid("part_sha256[%d] 应为 64 位十六进制", i)
		}
		out[i] = b
	}
	return out, nil
}
