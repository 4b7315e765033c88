package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence"
	"zhizheng/ingest/internal/db"
	"zhizheng/internal/blob"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// CompleteUpload completes at the store, lets HEAD decide what is there, and seals. Doing it again is safe at every point:
// crash after the store's completion and before our commit, and the next call finds the object by HEAD; crash after the commit, and it
// finds the record sealed.
func (s *Service) CompleteUpload(ctx context.Context, st Station, uploadID string) (Upload, error) {
	row, err := db.New(s.Pool).Upload(ctx, uploadID)
	if errors.Is(err, pgx.ErrNoRows) {
		return Upload{}, fault.NotFound("没有这个上传")
	}
	if err != nil {
		return Upload{}, fmt.Errorf("look up upload: %w", err)
	}
	defer s.locks.lock(row.EvidenceID)()
	var rec evidence.Record
	err = s.exclusively(ctx, evidence.ID(row.EvidenceID), func() error {
		if row, rec, err = s.upload(ctx, uploadID); err != nil || rec.Status != evidence.StatusPending {
			return err // whoever held the lock may have sealed it
		}
		if err := s.complete(ctx, row, rec); err != nil {
			return err
		}
		return s.seal(ctx, row, rec)
	})
	if err != nil {
		return Upload{}, err
	}
	leaf, err := s.Log.ByKey(ctx, evidence.SealKey(rec.ID))
	if err != nil {
		return Upload{}, fmt.Errorf("find sealing leaf: %w", err)
	}
	return Upload{ID: row.ID, EvidenceID: rec.ID, State: UploadSealed, PartSize: rec.PartSize, LeafIndex: leaf.Seq}, nil
}

// seal is the end: what HEAD says, then record, custody event, leaf and the jobs that follow, in one transaction.
func (s *Service) seal(ctx context.Context, row db.Upload, rec evidence.Record) error {
	sealed, err := s.confirm(ctx, row, rec)
	if err != nil {
		return err
	}
	err = s.Log.Do(ctx, func(ctx context.Context, tx *pg.Tx) error {
		if err := s.Evidence.Seal(ctx, tx, rec.ID, sealed); err != nil {
			return err
		}
		s.sealed.Add(tx, db.SealedUpload{ID: row.ID, At: sealed.At})
		if s.AfterSeal == nil {
			return nil
		}
		return s.AfterSeal(ctx, tx, rec)
	})
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	s.Logger.InfoContext(ctx, "sealed", "evidence", rec.ID, "bytes", rec.Size, "check", sealed.Check)
	return nil
}

// complete brings the object into being at the store. A retried completion may be answered with success or with "no such upload": both
// mean nothing, confirm's HEAD does.
func (s *Service) complete(ctx context.Context, row db.Upload, rec evidence.Record) error {
	if rec.Size == 0 {
		_, err := s.Store.Put(ctx, rec.ObjectKey, nil, blob.CreateOptions{ContentType: "application/octet-stream", RetainUntil: s.Retain(s.Now())})
		if fault.Is(err, fault.KindConflict) { // put before, and not sealed then
			return nil
		}
		return err
	}
	have, err := s.Store.ListParts(ctx, rec.ObjectKey, row.StoreID)
	if fault.Is(err, fault.KindNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if missing := missingParts(row, rec, have); len(missing) > 0 {
		return fault.Conflict("还缺 %d 个分片", len(missing)).Then("查询上传状态，补传后再完成")
	}
	parts := make([]blob.Part, len(row.Parts)/32)
	for _, p := range have {
		if n := int(p.Number); n >= 1 && n <= len(parts) && p.Size == partLen(rec, n) && (p.SHA256 == nil || bytes.Equal(p.SHA256, digest(row, n))) {
			p.SHA256 = digest(row, n)
			parts[n-1] = p
		}
	}
	if err = s.Store.Complete(ctx, rec.ObjectKey, row.StoreID, parts); err == nil {
		return nil
	}
	// Its failure proves nothing either: the answer may have been lost, or this be the second try. What is there is compared by confirm.
	if _, herr := s.Store.Head(ctx, rec.ObjectKey); herr == nil || fault.Is(err, fault.KindNotFound) {
		return nil
	}
	return err
}

// confirm asks the store what it holds, locks it until the end of its retention, and asks again.
func (s *Service) confirm(ctx context.Context, row db.Upload, rec evidence.Record) (evidence.Sealed, error) {
	obj, err := s.Store.Head(ctx, rec.ObjectKey)
	if fault.Is(err, fault.KindNotFound) {
		return evidence.Sealed{}, fault.Conflict("存储中还没有这份影像的全部字节").Then("查询上传状态，补传后再完成").Because(err)
	}
	if err != nil {
		return evidence.Sealed{}, err
	}
	parts := len(row.Parts) / 32
	attested := s.Attested() && (rec.Size == 0 || obj.Composite != "")
	if obj.Size != rec.Size || (obj.Composite != "" && rec.Size > 0 && obj.Composite != blob.Composite(split(row.Parts))) {
		return evidence.Sealed{}, s.mismatch(ctx, rec, "size or composite at the store differs")
	}
	check := "attested"
	if !attested {
		check = "re-read"
		if err := s.reread(ctx, rec, obj); err != nil {
			return evidence.Sealed{}, err
		}
	}
	now := s.Now().UTC()
	until := s.Retain(now)
	if obj.RetainUntil.Before(until) {
		if err := s.Store.ExtendRetention(ctx, rec.ObjectKey, obj.Version, until); err != nil {
			return evidence.Sealed{}, err
		}
		again, err := s.Store.HeadVersion(ctx, rec.ObjectKey, obj.Version)
		if err != nil {
			return evidence.Sealed{}, err
		}
		if again.RetainUntil.Before(until) && s.Attested() {
			return evidence.Sealed{}, fmt.Errorf("the store took the retention and doesn't show it: %s", again.RetainUntil)
		}
	} else {
		until = obj.RetainUntil
	}
	return evidence.Sealed{VersionID: obj.Version, Parts: parts, Check: check, RetainUntil: until, At: now}, nil
}

// reread hashes the object, for stores that can't vouch for what they hold.
func (s *Service) reread(ctx context.Context, rec evidence.Record, obj blob.Object) error {
	body, err := s.Store.Get(ctx, rec.ObjectKey, obj.Version, 0, rec.Size)
	if err != nil {
		return err
	}
	defer body.Close()
	h := sha256.New()
	n, err := io.Copy(h, body)
	if err != nil {
		return fault.Unavailable(retrySoon, "回读影像时存储中断，请稍后重试").Because(err)
	}
	if n != rec.Size || !bytes.Equal(h.Sum(nil), rec.SHA256) {
		return s.mismatch(ctx, rec, "bytes read back differ")
	}
	return nil
}

// mismatch alarms: the store holds other bytes than the manifest named. The record stays 影像待传 and the card is not released.
func (s *Service) mismatch(ctx context.Context, rec evidence.Record, why string) error {
	s.Logger.ErrorContext(ctx, "store and manifest disagree", "evidence", rec.ID, "why", why)
	return fault.Conflict("存储中的字节与清单不符，未封存，已报警").Then("请保留记录仪上的原件，并通知管理员").Because(errMismatch)
}

var errMismatch = errors.New("the store holds other bytes than the manifest names")

func split(digests []byte) [][]byte {
	out := make([][]byte, len(digests)/32)
	for i := range out {
		out[i] = digests[i*32 : (i+1)*32]
	}
	return out
}
