package ingest_test

import (
	"bytes"
	"crypto/rand"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/ingest"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/fault"
)

func (c *county) record(id evidence.ID) evidence.Record {
	c.t.Helper()
	rec, err := c.keeper.Get(c.t.Context(), evidence.Scope{}, id)
	must(c.t, err)
	return rec
}

// Whatever a card calls its files: the bytes are kept as they are, what people see is text that can't play tricks.
func TestNamesOfAllKinds(t *testing.T) {
	c := newCounty(t)
	for i, x := range []struct{ name, shown string }{
		{"DCIM/片段 一（示例）.mp4", "DCIM/片段 一（示例）.mp4"},
		{strings.Repeat("长", 85), strings.Repeat("长", 85)}, // 255 bytes
		{" a  b .mp4 ", " a  b .mp4 "},
		{"\xff\xfe\xb9\xfa.mp4", "\uFFFD.mp4"},
		{"a\x00b\nc\x1b[2K.mp4", "a\uFFFDb\uFFFDc\uFFFD[2K.mp4"},
		{"evidence\u202e4pm.exe", "evidence\uFFFD4pm.exe"}, // else it reads evidenceexe.mp4
		{"../../etc/passwd", "../../etc/passwd"},
		{strings.Repeat("x", manifest.MaxFileName), strings.Repeat("x", manifest.MaxFileName)},
		{"🎥.mp4", "🎥.mp4"},
	} {
		m, _ := c.clip(x.name, []byte{byte(i)})
		r := c.submit(c.next(m))[0]
		if r.Status != ingest.Accepted {
			t.Fatalf("%q: %+v", x.name, r)
		}
		rec := c.record(r.EvidenceID)
		if string(rec.FileNameBytes) != x.name || rec.FileName != x.shown || !utf8.ValidString(rec.FileName) {
			t.Errorf("%q: kept %q, shown %q", x.name, rec.FileNameBytes, rec.FileName)
		}
		if strings.Contains(rec.ObjectKey, "片段") || strings.Contains(rec.ObjectKey, "passwd") {
			t.Errorf("%q: object %s tells the name", x.name, rec.ObjectKey)
		}
		if p, err := c.keeper.List(t.Context(), evidence.Scope{}, evidence.Filter{}, "", 100); err != nil || len(p.Items) != i+1 {
			t.Fatalf("%q: list of %d, %v", x.name, len(p.Items), err)
		}
	}
}

// Clocks that are wrong: what the station claims is kept, but nothing was recorded in the future, and the log tells our time.
func TestClocksThatAreWrong(t *testing.T) {
	c := newCounty(t)
	now := time.Now()
	for i, x := range []struct {
		claimed int64
		kept    bool // as modified; recorded then too, if it isn't ahead
		ahead   bool
	}{
		{now.AddDate(-2, 0, 0).UnixMilli(), true, false},
		{now.AddDate(2, 0, 0).UnixMilli(), true, true},
		{1, true, false},
		{0, false, false},
		{-1, false, false},
		{-1 << 62, false, false},
		{1 << 62, false, false}, // year 146 million
	} {
		m, _ := c.clip("a.mp4", []byte{byte(i)})
		m.ModifiedAt, m.At, m.Monotonic = x.claimed, x.claimed, -1
		r := c.submit(c.next(m))[0]
		if r.Status != ingest.Accepted {
			t.Fatalf("%d: %+v", x.claimed, r)
		}
		rec := c.record(r.EvidenceID)
		if (rec.ModifiedAt != nil) != x.kept || x.kept && rec.ModifiedAt.UnixMilli() != x.claimed {
			t.Errorf("%d: modified %v", x.claimed, rec.ModifiedAt)
		}
		if x.kept && !x.ahead && rec.RecordedAt.UnixMilli() != x.claimed {
			t.Errorf("%d: recorded %v", x.claimed, rec.RecordedAt)
		}
		if rec.RecordedAt.After(time.Now()) {
			t.Errorf("%d: recorded in the future, %v", x.claimed, rec.RecordedAt)
		}
		leaf, err := c.log.ByKey(t.Context(), rec.ManifestKey)
		must(t, err)
		d, err := leaf.Decode()
		must(t, err)
		if d.Time().Before(now.Add(-time.Second)) || d.Time().After(time.Now().Add(time.Second)) {
			t.Errorf("%d: leaf of %v", x.claimed, d.Time())
		}
	}
}

// put sends bytes to a part's address and answers the store's status.
func (c *county) put(p ingest.MissingPart, body []byte, change func(http.Header)) int {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPut, p.URL, bytes.NewReader(body))
	must(c.t, err)
	for k, v := range p.Headers {
		req.Header[k] = v
	}
	if change != nil {
		change(req.Header)
	}
	res, err := http.DefaultClient.Do(req)
	must(c.t, err)
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	must(c.t, err)
	return res.StatusCode
}

// An address takes the bytes that the manifest named, and no others.
func TestOtherBytesAreNeverSealed(t *testing.T) {
	c := newCounty(t)
	content := make([]byte, 5<<20+100)
	_, _ = rand.Read(content)
	m, parts := c.clip("a.mp4", content)
	r := c.submit(c.next(m))[0]
	u, err := c.BeginUpload(t.Context(), c.station, r.EvidenceID, m.PartSize, parts)
	must(t, err)
	if len(u.Missing) != 2 {
		t.Fatalf("upload: %+v", u)
	}
	last := u.Missing[1]
	other := bytes.Clone(content[5<<20:])
	other[17] ^= 1
	if status := c.put(last, other, nil); status < 400 {
		t.Errorf("a flipped bit: the store answers %d", status)
	}
	if status := c.put(last, other[:50], nil); status < 400 {
		t.Errorf("half of it: the store answers %d", status)
	}
	for h := range last.Headers {
		if strings.Contains(strings.ToLower(h), "checksum-sha256") {
			if status := c.put(last, other, func(x http.Header) { x.Del(h) }); status < 400 {
				t.Errorf("without %s: the store answers %d", h, status)
			}
			if status := c.put(last, other, func(x http.Header) { x.Set(h, "AAAA") }); status < 400 {
				t.Errorf("with another %s: the store answers %d", h, status)
			}
		}
	}
	if _, err := c.CompleteUpload(t.Context(), c.station, u.ID); !fault.Is(err, fault.KindConflict) {
		t.Errorf("complete: %v", err)
	}
	if rec := c.record(r.EvidenceID); rec.Status != evidence.StatusPending {
		t.Fatalf("it is %s", rec.Status)
	}
	u, err = c.UploadState(t.Context(), c.station, u.ID)
	must(t, err)
	c.send(u, content)
	if _, err := c.CompleteUpload(t.Context(), c.station, u.ID); err != nil {
		t.Fatal(err)
	}
	body, err := c.keeper.Open(t.Context(), c.record(r.EvidenceID), evidence.Range{Len: int64(len(content))})
	must(t, err)
	defer body.Close()
	if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

// Nonsense in a batch is kept and refused; what is good beside it is taken, in its order.
func TestBatchOfGoodAndBad(t *testing.T) {
	c := newCounty(t)
	good, _ := c.clip("good.mp4", []byte("good"))
	also, _ := c.clip("also.mp4", []byte("also"))
	raws := [][]byte{nil, {}, bytes.Repeat([]byte{0x81}, 100_000), c.next(good), []byte("\x00"), c.next(also)}
	r := c.submit(raws...)
	for i, want := range []string{ingest.Rejected, ingest.Rejected, ingest.Rejected, ingest.Accepted, ingest.Rejected, ingest.Accepted} {
		if r[i].Status != want || (want == ingest.Rejected) != (r[i].Error != "") {
			t.Errorf("manifest %d: %+v", i, r[i])
		}
	}
	var letters int
	must(t, c.pool.QueryRow(t.Context(), "select count(*) from dead_letter").Scan(&letters))
	if letters != 4 {
		t.Errorf("%d dead letters", letters)
	}
	if got := c.kinds(ingest.KeySubject(c.keyID())); len(got) != 3 || got[2] != chain.KindManifest {
		t.Errorf("leaves of the key: %v", got)
	}
}

// Files of no bytes: all are the same evidence, sealed without a single part.
func TestFilesOfNoBytes(t *testing.T) {
	c := newCounty(t)
	m, parts := c.clip("a.mp4", nil)
	other, _ := c.clip("b.mp4", nil)
	r := c.submit(c.next(m), c.next(other))
	if r[0].Status != ingest.Accepted || r[1].Status != ingest.Duplicate || r[1].EvidenceID != r[0].EvidenceID {
		t.Fatalf("%+v", r)
	}
	u, err := c.BeginUpload(t.Context(), c.station, r[0].EvidenceID, m.PartSize, parts)
	must(t, err)
	if len(u.Missing) != 0 {
		t.Fatalf("parts of nothing: %+v", u)
	}
	for range 2 { // and again
		u, err = c.CompleteUpload(t.Context(), c.station, u.ID)
		must(t, err)
		if u.State != ingest.UploadSealed {
			t.Fatalf("%+v", u)
		}
	}
	if rec := c.record(r[0].EvidenceID); rec.Status != evidence.StatusSealed || rec.Size != 0 {
		t.Fatalf("%+v", rec)
	}
}
