package ingest_test

import (
	"testing"
	"time"

	"zhizheng/evidence"
	"zhizheng/ingest"
	"zhizheng/internal/blob"
	"zhizheng/internal/fault"
	"zhizheng/internal/testenv"
)

// begun is a registered clip with an upload, nothing of it sent.
func (c *county) begun(name string, content []byte) (evidence.Record, ingest.Upload, [][]byte) {
	c.t.Helper()
	m, parts := c.clip(name, content)
	res := c.submit(c.next(m))
	u, err := c.BeginUpload(c.t.Context(), c.station, res[0].EvidenceID, m.PartSize, parts)
	must(c.t, err)
	rec, err := c.keeper.Get(c.t.Context(), evidence.Scope{}, res[0].EvidenceID)
	must(c.t, err)
	return rec, u, parts
}

func (c *county) collect() ingest.Collected {
	c.t.Helper()
	got, err := c.CollectOrphans(c.t.Context())
	must(c.t, err)
	return got
}

// An upload nothing came for is given up when its lock's time is over and not before, also with parts; the station that comes again
// is told to send all of it, and it is sealed.
func TestUploadNobodyEnds(t *testing.T) {
	c := newCounty(t)
	body := []byte("slow")
	rec, u, parts := c.begun("slow.mp4", body)
	c.send(u, body)
	if got := c.collect(); got != (ingest.Collected{}) {
		t.Fatalf("at once: %+v", got)
	}
	c.Now = func() time.Time { return time.Now().Add(71 * time.Hour) }
	if got := c.collect(); got != (ingest.Collected{}) {
		t.Fatalf("after 71 h: %+v", got)
	}
	c.Now = func() time.Time { return time.Now().Add(73 * time.Hour) }
	c.OpenLock = 74 * time.Hour
	if got := c.collect(); got != (ingest.Collected{}) {
		t.Fatalf("a longer lock: %+v", got)
	}
	c.OpenLock = 72 * time.Hour
	if got := c.collect(); got != (ingest.Collected{Aborted: 1}) {
		t.Fatalf("after 73 h: %+v", got)
	}
	if open, err := c.store.OpenUploads(t.Context(), rec.ObjectKey); err != nil || len(open) != 0 {
		t.Errorf("open: %v %v", open, err)
	}
	c.Now = time.Now
	again, err := c.BeginUpload(t.Context(), c.station, rec.ID, rec.PartSize, parts)
	must(t, err)
	if again.ID != u.ID || len(again.Missing) != 1 {
		t.Fatalf("again: %+v", again)
	}
	c.send(again, body)
	_, err = c.CompleteUpload(t.Context(), c.station, again.ID)
	must(t, err)
}

// What was completed at the store and not sealed before a crash is sealed, though its station never comes again.
func TestObjectNobodySealed(t *testing.T) {
	c := newCounty(t)
	body := []byte("whole")
	rec, u, parts := c.begun("whole.mp4", body)
	c.send(u, body)
	open, err := c.store.OpenUploads(t.Context(), rec.ObjectKey)
	must(t, err)
	have, err := c.store.ListParts(t.Context(), rec.ObjectKey, open[0].ID)
	must(t, err)
	have[0].SHA256 = parts[0]
	must(t, c.store.Complete(t.Context(), rec.ObjectKey, open[0].ID, have))
	c.Now = func() time.Time { return time.Now().Add(73 * time.Hour) }
	if got := c.collect(); got != (ingest.Collected{Sealed: 1}) {
		t.Fatalf("%+v", got)
	}
	if r, err := c.keeper.Get(t.Context(), evidence.Scope{}, rec.ID); err != nil || r.Status != evidence.StatusSealed || len(c.sealed) != 1 {
		t.Errorf("%s %v", r.Status, err)
	}
}

// Other bytes than the manifest names lie at a record's key: they are never sealed, they stay as long as their lock, then they go, and the
// right ones can come.
func TestObjectThatCanNeverBeSealed(t *testing.T) {
	c := newCounty(t)
	c.OpenLock = 10 * time.Millisecond
	body := []byte("right")
	rec, _, parts := c.begun("right.mp4", body)
	o, err := c.store.Put(t.Context(), rec.ObjectKey, []byte("wrong"), blob.CreateOptions{RetainUntil: time.Now().Add(3 * time.Second)})
	must(t, err)
	there := func() bool {
		_, err := c.store.HeadVersion(t.Context(), rec.ObjectKey, o.Version)
		if err != nil && !fault.Is(err, fault.KindNotFound) {
			t.Fatal(err)
		}
		return err == nil
	}
	removed := 0
	testenv.Eventually(t, 20*time.Second, func() bool {
		removed += c.collect().Removed
		gone := !there()
		if left := time.Until(o.RetainUntil); gone && left > 0 {
			t.Fatalf("removed while it was locked for another %s", left)
		}
		return gone
	})
	if r, err := c.keeper.Get(t.Context(), evidence.Scope{}, rec.ID); err != nil || r.Status != evidence.StatusPending || removed != 1 {
		t.Errorf("%s, %d removed, %v", r.Status, removed, err)
	}
	c.OpenLock = time.Hour
	u, err := c.BeginUpload(t.Context(), c.station, rec.ID, rec.PartSize, parts)
	must(t, err)
	c.send(u, body)
	_, err = c.CompleteUpload(t.Context(), c.station, u.ID)
	must(t, err)
}
