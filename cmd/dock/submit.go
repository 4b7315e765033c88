package main

import (
	"context"
	"errors"
	"io"
	"path/filepath"
	"strings"

	"zhizheng/ingest/manifest"
)

// task is a file whose fingerprint is in the log.
type task struct {
	*clip
	evidence string
	first    bool   // this manifest registered the record; else the bytes were known
	sealed   bool   // before we carried anything
	status   string // of the record when its fingerprint came
}

// manifestResult is the server's answer to one manifest.
type manifestResult struct {
	Status         string `json:"status"`
	EvidenceID     string `json:"evidence_id"`
	EvidenceStatus string `json:"evidence_status"`
	Error          string `json:"error"`
	Code           string `json:"code"`
}

func (a *agent) submitAll(ctx context.Context, out *outbox) error {
	for {
		batch, err := out.take(maxBatch)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		tasks, err := a.submit(ctx, batch)
		if err != nil {
			return err
		}
		out.tasks = append(out.tasks, tasks...)
	}
}

// submit has one batch signed and logged. What the server refuses gets its line here.
func (a *agent) submit(ctx context.Context, clips []*clip) ([]*task, error) {
	items, err := a.courier.fingerprints(ctx, clips, func() { a.show.kept(clips) })
	var broken *signingError
	if errors.As(err, &broken) {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	var tasks []*task
	for i, c := range clips {
		problem := ""
		switch {
		case err != nil:
			problem = err.Error()
		case items[i].Status == rejected || items[i].EvidenceID == "":
			problem = "清单被拒绝：" + items[i].Error
		}
		if problem != "" {
			if rerr := a.report(c.name, result{Size: c.size(), SHA256: c.sha(), Status: rejected, Error: problem}); rerr != nil {
				return nil, rerr
			}
			continue
		}
		r := items[i]
		t := &task{clip: c, evidence: r.EvidenceID, first: r.Status == "accepted", sealed: r.EvidenceStatus != "pending", status: r.EvidenceStatus}
		a.show.logged(t)
		tasks = append(tasks, t)
	}
	return tasks, nil
}

// rehash reads a spooled copy again before it is carried: it may be torn, or not be what the manifest named.
func (a *agent) rehash(ctx context.Context, path string, m manifest.Signed) (*clip, error) {
	f, err := a.spool.open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	h := manifest.NewHasher(m.Size)
	buf := make([]byte, 1<<20)
	r := io.NewSectionReader(f, 0, m.Size+1) // one more, so that a longer copy has another digest
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := r.Read(buf)
		_, _ = h.Write(buf[:n]) // hashes don't fail
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	c := &clip{found: found{name: string(m.FileName)}, length: m.Size, recorder: m.Recorder, spooled: path}
	c.sha256, c.composite, c.parts = h.Sum()
	if c.sha() != strings.ToLower(filepath.Base(path)) {
		return nil, errors.New("内容与指纹不符")
	}
	return c, nil
}
