package budget

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"zhizheng/authority"
	"zhizheng/budget/internal/db"
	"zhizheng/devices"
	"zhizheng/evidence/chain"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// errRaced: another transaction took the key between our look and our insert.
var errRaced = errors.New("another posting took the key")

// entry is a posting on its way.
type entry struct {
	NewPosting
	id       string
	year     int
	reverses *string
	digest   []byte
}

// Post posts one entry; existed says that the key was posted before with the same content. A rule's refusal is logged and returned.
func (s *Service) Post(ctx context.Context, n NewPosting) (p Posting, existed bool, err error) {
	ids, there, err := s.PostAll(ctx, []NewPosting{n})
	if err != nil {
		return Posting{}, false, err
	}
	p, err = s.Get(ctx, ids[0])
	return p, there == 1, err
}

// PostAll posts entries in one transaction, all or none, and gives their ids in order and how many were there before.
func (s *Service) PostAll(ctx context.Context, all []NewPosting) (ids []string, existed int, err error) {
	a := authority.ActorFrom(ctx)
	entries := make([]*entry, len(all))
	for i, n := range all {
		if !a.Sees(n.Township) {
			return nil, 0, fault.NotFound("没有乡镇 %s", n.Township)
		}
		if err := n.Check(s.today()); err != nil {
			return nil, 0, s.refused(ctx, a, n, err)
		}
		entries[i] = &entry{NewPosting: n, year: n.Date.Year(), digest: n.digest()}
	}
	existed, err = s.commit(ctx, a, entries)
	if err != nil {
		if len(all) == 1 {
			err = s.refused(ctx, a, all[0], err)
		}
		return nil, 0, err
	}
	for _, e := range entries {
		ids = append(ids, e.id)
	}
	return ids, existed, nil
}

// Reverse posts the counter-posting of a posting, once: again gives the same reversal. Its day is today, its year the original's.
func (s *Service) Reverse(ctx context.Context, postingID, reason string) (Posting, error) {
	a := authority.ActorFrom(ctx)
	p, err := s.Get(ctx, postingID)
	switch {
	case err != nil:
		return Posting{}, err
	case p.ReversedBy != "":
		return s.Get(ctx, p.ReversedBy)
	case p.Reverses != "":
		return Posting{}, fault.Conflict("冲销记账不能再冲销").Then("请重新记一笔")
	}
	n := NewPosting{Key: reversalKey + p.ID, Township: p.Township, Date: s.today(), Memo: "冲销：" + reason}
	for _, l := range p.Lines {
		n.Lines = append(n.Lines, Line{l.Account, -l.Fen})
	}
	e := &entry{NewPosting: n, year: p.Year, reverses: &p.ID, digest: n.digest()}
	if _, err := s.commit(ctx, a, []*entry{e}); err != nil {
		// Two who reverse at once: the second finds the first's.
		if now, e2 := s.Get(ctx, postingID); e2 == nil && now.ReversedBy != "" {
			return s.Get(ctx, now.ReversedBy)
		}
		return Posting{}, err
	}
	return s.Get(ctx, e.id)
}

func (s *Service) commit(ctx context.Context, a authority.Actor, entries []*entry) (existed int, err error) {
	for try := 0; ; try++ {
		err = pg.InTx(ctx, s.pool, func(tx *pg.Tx) error {
			existed, err = s.post(ctx, tx, a, entries)
			return err
		})
		if errors.Is(err, errRaced) && try < 3 {
			continue
		}
		var pe *pgconn.PgError
		if errors.As(err, &pe) && pe.ConstraintName == "posting_township_fkey" {
			err = fault.NotFound("没有这个乡镇").Because(err)
		}
		return existed, err
	}
}

// post runs under the locks of the allotments it spends from, taken in one order by everybody. Crash before the commit: nothing
// happened. Crash after it: the caller's retry finds the key.
func (s *Service) post(ctx context.Context, tx *pg.Tx, a authority.Actor, entries []*entry) (existed int, err error) {
	q := db.New(tx)
	left, err := lockAllotments(ctx, q, entries)
	if err != nil {
		return 0, err
	}
	known, err := findKeys(ctx, q, entries)
	if err != nil {
		return 0, err
	}
	now := s.now().UTC()
	var lines []db.AddLinesParams
	var links []db.AddDevicesParams
	spent := map[yearOf]Fen{}
	for _, e := range entries {
		if old, ok := known[[2]string{e.Township, e.Key}]; ok {
			if !bytes.Equal(old.Digest, e.digest) {
				return 0, fault.Conflict("幂等键 %s 已用于另一笔记账", e.Key)
			}
			e.id = old.ID
			existed++
			continue
		}
		y := yearOf{e.Township, e.year}
		if err := afford(left, y, spends(e.Lines)); err != nil {
			return 0, err
		}
		spent[y] += spends(e.Lines)
		e.id = id.New()
		n, err := q.AddPosting(ctx, db.AddPostingParams{ID: e.id, Township: e.Township, Key: e.Key, Year: int32(e.year), OnDay: e.Date, Memo: e.Memo,
			Digest: e.digest, Reverses: e.reverses, PostedBy: a.UserID, PostedAt: now})
		if err != nil {
			return 0, fmt.Errorf("add posting: %w", err)
		}
		if n == 0 {
			return 0, errRaced
		}
		known[[2]string{e.Township, e.Key}] = db.ByKeysRow{ID: e.id, Digest: e.digest}
		for i, l := range e.Lines {
			lines = append(lines, db.AddLinesParams{PostingID: e.id, N: int32(i), Account: l.Account, Fen: int64(l.Fen)})
		}
		for _, d := range e.DeviceIDs {
			links = append(links, db.AddDevicesParams{PostingID: e.id, DeviceID: d})
		}
		if err := s.assets(ctx, tx, e); err != nil {
			return 0, err
		}
		if err := s.log.Append(tx, leafOf(a, e, now)); err != nil {
			return 0, err
		}
	}
	if _, err := q.AddLines(ctx, lines); err != nil {
		return 0, fmt.Errorf("add lines: %w", err)
	}
	if _, err := q.AddDevices(ctx, links); err != nil {
		return 0, fmt.Errorf("link devices: %w", err)
	}
	for y, fen := range spent {
		if fen != 0 {
			if err := q.SpendAllotment(ctx, db.SpendAllotmentParams{Township: y.township, Year: int32(y.year), Fen: int64(fen)}); err != nil {
				return 0, fmt.Errorf("spend allotment: %w", err)
			}
		}
	}
	return existed, nil
}

// assets keeps the registry and the book in step (R24).
func (s *Service) assets(ctx context.Context, tx *pg.Tx, e *entry) error {
	if e.reverses != nil {
		return s.devices.Unbought(ctx, tx, *e.reverses)
	}
	if len(e.DeviceIDs) == 0 {
		return nil
	}
	units, err := s.devices.TownshipsOf(ctx, tx, e.DeviceIDs)
	if err != nil {
		return err
	}
	for _, d := range e.DeviceIDs {
		if t, ok := units[d]; !ok {
			return fault.NotFound("没有设备 %s", d)
		} else if t != e.Township {
			return fault.Refused("R24", articleAssets, "设备 %s 不属于记账的乡镇，账实不符", d).Then("先办理设备调拨，或改由设备所在乡镇记账")
		}
	}
	if !buysAssets(e.Lines) {
		return nil
	}
	return s.devices.Bought(ctx, tx, devices.Purchase{PostingID: e.id, Year: e.year, Day: e.Date, DeviceIDs: e.DeviceIDs})
}

type yearOf struct {
	township string
	year     int
}

// lockAllotments gives what is left of each year that the entries spend from.
func lockAllotments(ctx context.Context, q *db.Queries, entries []*entry) (map[yearOf]Fen, error) {
	var townships []string
	var years []int32
	for _, e := range entries {
		if spends(e.Lines) != 0 {
			townships, years = append(townships, e.Township), append(years, int32(e.year))
		}
	}
	slices.Sort(townships)
	slices.Sort(years)
	rows, err := q.LockAllotments(ctx, db.LockAllotmentsParams{Townships: slices.Compact(townships), Years: slices.Compact(years)})
	if err != nil {
		return nil, fmt.Errorf("lock allotments: %w", err)
	}
	left := map[yearOf]Fen{}
	for _, r := range rows {
		left[yearOf{r.Township, int(r.Year)}] = Fen(r.Fen - r.SpentFen)
	}
	return left, nil
}

// afford takes an amount from what is left, or refuses.
func afford(left map[yearOf]Fen, y yearOf, amount Fen) error {
	if amount == 0 {
		return nil
	}
	have, ok := left[y]
	if !ok {
		return fault.Refused("R23", articleBudget, "%d 年度额度尚未核定，不得支出", y.year).Then("请先由县级核定该年度额度")
	}
	if amount > have {
		return fault.Refused("R23", articleBudget, "%d 年度额度余 %s 元，本笔需 %s 元，超出 %s 元", y.year, yuan(have), yuan(amount), yuan(amount-have)).
			Then("调减本笔支出，或申请调整年度额度")
	}
	left[y] = have - amount
	return nil
}

func findKeys(ctx context.Context, q *db.Queries, entries []*entry) (map[[2]string]db.ByKeysRow, error) {
	p := db.ByKeysParams{}
	for _, e := range entries {
		p.Townships, p.Keys = append(p.Townships, e.Township), append(p.Keys, e.Key)
	}
	rows, err := q.ByKeys(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("look up keys: %w", err)
	}
	known := make(map[[2]string]db.ByKeysRow, len(rows))
	for _, r := range rows {
		known[[2]string{r.Township, r.Key}] = r
	}
	return known, nil
}

func payload(a authority.Actor, n NewPosting) chain.PostingPayload {
	p := chain.PostingPayload{Key: n.Key, Township: n.Township, Date: n.Date.Format(time.DateOnly), Actor: a.UserID, DeviceIDs: n.DeviceIDs, Memo: n.Memo}
	for _, l := range n.Lines {
		p.Lines = append(p.Lines, chain.PostingLine{Account: l.Account, Fen: int64(l.Fen)})
	}
	return p
}

func leafOf(a authority.Actor, e *entry, at time.Time) chain.Entry {
	p := payload(a, e.NewPosting)
	p.PostingID = e.id
	if e.reverses != nil {
		p.Reverses = *e.reverses
	}
	return chain.Entry{Key: "posting/" + e.id, Kind: chain.KindPosting, Subject: ledger(e.Township), Time: at, Payload: p}
}

// refused logs a rule's refusal, once for the same request by the same person, and gives it back. Other errors pass through.
func (s *Service) refused(ctx context.Context, a authority.Actor, n NewPosting, cause error) error {
	var f *fault.Error
	if !errors.As(cause, &f) || f.Kind != fault.KindRefused {
		return cause
	}
	p := payload(a, n)
	p.Rule = f.Rule
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%s\n%x", a.UserID, n.Key, f.Rule, n.digest())
	key := "posting-refused/" + hex.EncodeToString(h.Sum(nil))
	err := s.log.Do(ctx, func(_ context.Context, tx *pg.Tx) error {
		return s.log.Append(tx, chain.Entry{Key: key, Kind: chain.KindPostingRefused, Subject: ledger(n.Township), Time: s.now(), Payload: p})
	})
	if err != nil {
		return fmt.Errorf("log refused posting: %w", err)
	}
	return cause
}
