package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net/http"

	"golang.org/x/sync/errgroup"
)

// maxRefused is how often the store or the server may refuse the same thing before a file is given up.
const maxRefused = 4

// upload is what the server says is missing.
type upload struct {
	ID     string `json:"id"`
	Status string `json:"status"` // open, completed (all bytes are there), sealed
	Parts  []part `json:"parts"`
}

type part struct {
	Number  int               `json:"number"`
	Size    int64             `json:"size"`
	URL     string            `json:"url"`
	Headers map[string]string `json:"headers"`
}

// carryAll carries what isn't sealed yet. Files with the same bytes share a record; the first of them carries it.
func (a *agent) carryAll(ctx context.Context, tasks []*task) error {
	var order []string
	byRecord := map[string][]*task{}
	var total int64
	for _, t := range tasks {
		if byRecord[t.evidence] == nil {
			order = append(order, t.evidence)
			if !t.sealed {
				total += t.size()
			}
		}
		byRecord[t.evidence] = append(byRecord[t.evidence], t)
	}
	a.show.phase("上传", total)
	turn := a.turns.Add(1)
	// Receipts wait for the next checkpoint, up to a second each: they don't hold the line.
	receipts, rctx := errgroup.WithContext(ctx)
	receipts.SetLimit(64)
	files, fctx := errgroup.WithContext(rctx)
	files.SetLimit(a.c.Parallel)
	for i, id := range order {
		files.Go(func() error {
			group := byRecord[id]
			err := a.carry(fctx, group, rank{card: turn, file: i})
			if fctx.Err() != nil {
				return fctx.Err()
			}
			receipts.Go(func() error { return a.conclude(rctx, group, err) })
			return nil
		})
	}
	ferr := files.Wait()
	if err := receipts.Wait(); err != nil { // it is what cancelled the files
		return err
	}
	return ferr
}

// carry brings a record's bytes to the store and has it sealed. If the copy of one name is lost, another name's is as good.
func (a *agent) carry(ctx context.Context, group []*task, turn rank) error {
	var err error
	for _, t := range group {
		if t.sealed {
			return nil
		}
		bar := a.show.start(t.name, t.size())
		err = a.carryOne(ctx, t, turn, bar)
		bar.end()
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (a *agent) carryOne(ctx context.Context, t *task, turn rank, bar meter) error {
	digests := make([]string, len(t.parts))
	for i, d := range t.parts {
		digests[i] = hex.EncodeToString(d)
	}
	begin := map[string]any{"evidence_id": t.evidence, "part_size": t.partSize(), "part_sha256": digests}
	var u upload
	refused := 0
	for ask := true; ; {
		var err error
		if ask || u.ID == "" {
			err = a.client.call(ctx, http.MethodPost, "/api/v1/uploads", begin, &u)
			ask = false
		} else {
			id := u.ID
			u = upload{}
			err = a.client.call(ctx, http.MethodGet, "/api/v1/uploads/"+id, nil, &u)
		}
		var answer *answerError
		switch {
		case errors.As(err, &answer) && answer.status == http.StatusNotFound && refused < maxRefused:
			refused, ask = refused+1, true // the server has forgotten the upload (it was restored): begin again
			continue
		case err != nil:
			return err
		case u.Status == "sealed":
			return nil
		case u.Status == "completed" || len(u.Parts) == 0:
			err := a.client.call(ctx, http.MethodPost, "/api/v1/uploads/"+u.ID+"/complete", nil, nil)
			if err == nil {
				return nil
			}
			if !errors.As(err, &answer) || answer.status != http.StatusConflict || refused >= maxRefused {
				return err
			}
			refused++ // parts are missing after all: look again
			continue
		}
		soft, err := a.sendParts(ctx, t, turn, u.Parts, bar)
		if err != nil {
			return err
		}
		if soft != nil {
			if refused++; refused > maxRefused {
				return soft
			}
		} else {
			refused = 0
		}
	}
}

// rank says how soon a file's parts may go. Whether they are urgent may change while they wait for their turn.
func (a *agent) rank(t *task, turn rank) rank {
	turn.urgent, turn.class = a.urgent.Load(), max(bits.Len64(uint64(t.size())), 20)
	return turn
}

// refusal is a part that wasn't taken, for a reason that new addresses may mend.
type refusal struct{ text string }

func (r *refusal) Error() string { return r.text }

// sendParts sends parts side by side, in any order. soft is a refusal after which it is worth asking the server again.
func (a *agent) sendParts(ctx context.Context, t *task, turn rank, parts []part, bar meter) (soft, err error) {
	g, gctx := errgroup.WithContext(ctx)
	refusals := make([]error, len(parts))
	for i, p := range parts {
		if a.pace.open(gctx) != nil || a.gate.enter(gctx, a.rank(t, turn)) != nil {
			break
		}
		a.client.forward() // waiting for one's turn is no standstill
		g.Go(func() error {
			defer a.gate.leave()
			err := a.client.retry(gctx, func(int) error { return a.sendPart(gctx, t, p) })
			var r *refusal
			if errors.As(err, &r) {
				refusals[i] = r
				return nil
			}
			if err == nil {
				a.carried.Add(p.Size)
				bar.add(int(p.Size))
			}
			return err
		})
	}
	err = g.Wait()
	return errors.Join(refusals...), err
}

// sendPart puts one part to its presigned address, straight from the file: no part is ever held in memory.
func (a *agent) sendPart(ctx context.Context, t *task, p part) error {
	if p.Number < 1 || p.Number > len(t.parts) || p.Size != a.partLen(t, p.Number) {
		return fmt.Errorf("服务器要的分片 %d 不存在", p.Number)
	}
	f, err := a.openClip(t.clip)
	if err != nil {
		return err
	}
	defer f.Close()
	off := int64(p.Number-1) * t.partSize()
	open := func() (io.ReadCloser, error) {
		return io.NopCloser(a.pace.reader(ctx, io.NewSectionReader(f, off, p.Size))), nil
	}
	body, _ := open()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, p.URL, body)
	if err != nil {
		return errors.New("服务器给的上传地址无法使用") // the address holds a signature: not shown
	}
	req.GetBody, req.ContentLength = open, p.Size
	for k, v := range p.Headers {
		if http.CanonicalHeaderKey(k) != "Content-Length" {
			req.Header.Set(k, v)
		}
	}
	req.Header.Set("Expect", "100-continue") // a store that won't take it says so before the bytes travel
	res, err := a.client.http.Do(req)
	if err != nil {
		if cerr := a.checkPart(f, t, p.Number, off, p.Size); cerr != nil {
			return cerr // a file cut short ends the request from our side
		}
		return &awayError{"影像存储连接不上", err}
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if res.StatusCode == http.StatusOK {
		if err != nil {
			return &awayError{"影像存储连接中断", err}
		}
		a.client.forward()
		return nil
	}
	answer := asAnswer(res, nil)
	answer.text = fmt.Sprintf("影像存储回答 %d%s", res.StatusCode, storeCode(text))
	switch res.StatusCode {
	case http.StatusInsufficientStorage:
		answer.text = "影像存储空间已满（507）"
		return answer
	case http.StatusForbidden, http.StatusNotFound, http.StatusUnauthorized: // the address has expired, or the upload is gone
		return &refusal{answer.text}
	}
	if answer.passing() {
		return answer
	}
	if err := a.checkPart(f, t, p.Number, off, p.Size); err != nil {
		return err
	}
	return &refusal{answer.text + "，而文件内容未变"}
}

func (a *agent) partLen(t *task, n int) int64 {
	return min(t.partSize(), t.size()-int64(n-1)*t.partSize())
}

// checkPart reads a part again: other bytes than the manifest named must not be called the same file.
func (a *agent) checkPart(f source, t *task, n int, off, size int64) error {
	h := sha256.New()
	got, err := io.Copy(h, io.NewSectionReader(f, off, size))
	if err != nil {
		return fmt.Errorf("读卡出错：%w", err)
	}
	if got != size || !bytes.Equal(h.Sum(nil), t.parts[n-1]) {
		return fmt.Errorf("%w（第 %d 个分片与已登记的指纹不符）", errChanged, n)
	}
	return nil
}

// storeCode is the store's own word for an error.
func storeCode(text []byte) string {
	var e struct {
		Code string `xml:"Code"`
	}
	if xml.Unmarshal(text, &e) != nil || e.Code == "" || len(e.Code) > 60 {
		return ""
	}
	return " " + e.Code
}
