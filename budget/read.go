package budget

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"zhizheng/authority"
	"zhizheng/budget/internal/db"
	"zhizheng/evidence/chain"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// SetAllotments sets standards of years, in one transaction; each is a leaf. A standard equal to the one in force changes nothing, one
// below what is spent is refused. Only those who see the whole county set standards.
func (s *Service) SetAllotments(ctx context.Context, all []Allotment) error {
	a := authority.ActorFrom(ctx)
	if a.UserID == "" || a.Townships != nil {
		return fault.Forbidden("年度额度由县级核定")
	}
	err := pg.InTx(ctx, s.pool, func(tx *pg.Tx) error {
		q := db.New(tx)
		p := db.LockAllotmentsParams{}
		for _, n := range all {
			if err := n.check(); err != nil {
				return err
			}
			p.Townships, p.Years = append(p.Townships, n.Township), append(p.Years, int32(n.Year))
		}
		rows, err := q.LockAllotments(ctx, p)
		if err != nil {
			return fmt.Errorf("lock allotments: %w", err)
		}
		known := map[yearOf]db.LockAllotmentsRow{}
		for _, r := range rows {
			known[yearOf{r.Township, int(r.Year)}] = r
		}
		for _, n := range all {
			if old, ok := known[yearOf{n.Township, n.Year}]; ok && old.Fen == int64(n.Fen) && old.Formula == n.Formula {
				continue
			}
			if err := s.setAllotment(ctx, tx, q, a, n); err != nil {
				return err
			}
		}
		return nil
	})
	var pe *pgconn.PgError
	if errors.As(err, &pe) && pe.ConstraintName == "allotment_not_overdrawn" {
		return fault.Refused("R23", articleBudget, "核定额度低于已支出的金额").Because(err)
	}
	return err
}

func (s *Service) setAllotment(ctx context.Context, tx *pg.Tx, q *db.Queries, a authority.Actor, n Allotment) error {
	act, now := id.New(), s.now().UTC()
	err := q.AddAllotmentAct(ctx, db.AddAllotmentActParams{ID: act, Township: n.Township, Year: int32(n.Year), Fen: int64(n.Fen),
		Formula: n.Formula, Actor: a.UserID, At: now})
	if err != nil {
		return fmt.Errorf("set allotment: %w", err)
	}
	err = q.PutAllotment(ctx, db.PutAllotmentParams{Township: n.Township, Year: int32(n.Year), Fen: int64(n.Fen), Formula: n.Formula, ActID: act})
	if err != nil {
		return fmt.Errorf("set allotment: %w", err)
	}
	return s.log.Append(tx, chain.Entry{Key: "allotment/" + act, Kind: chain.KindAllotment, Subject: ledger(n.Township), Time: now,
		Payload: chain.AllotmentPayload{Township: n.Township, Year: n.Year, Fen: int64(n.Fen), Formula: n.Formula, Actor: a.UserID}})
}

// Sum is what a year's postings come to on an account.
type Sum struct {
	Account Account
	Fen     Fen
}

// Year is a township's year: allotted = spent + left.
type Year struct {
	Township, TownshipName string
	Year                   int
	Allotted, Spent, Left  Fen
	Formula                string
	Accounts               []Sum // in order of the chart, without accounts that have nothing
}

// Years gives a year of every township in the actor's scope, or of the one named.
func (s *Service) Years(ctx context.Context, year int, township string) ([]Year, error) {
	scope := authority.ActorFrom(ctx).Scope()
	rows, err := s.q.Years(ctx, db.YearsParams{Year: int32(year), Scope: scope, Township: township})
	if err != nil {
		return nil, fmt.Errorf("list budget years: %w", err)
	}
	sums, err := s.q.SumByAccount(ctx, db.SumByAccountParams{Year: int32(year), Scope: scope, Township: township})
	if err != nil {
		return nil, fmt.Errorf("sum postings: %w", err)
	}
	by := map[[2]string]Fen{}
	for _, x := range sums {
		by[[2]string{x.Township, x.Account}] = Fen(x.Fen)
	}
	all := make([]Year, len(rows))
	for i, r := range rows {
		y := Year{Township: r.Township, TownshipName: r.TownshipName, Year: int(r.Year), Allotted: Fen(r.Fen), Spent: Fen(r.SpentFen),
			Left: Fen(r.Fen - r.SpentFen), Formula: r.Formula}
		for _, a := range chart {
			if fen := by[[2]string{r.Township, a.Code}]; fen != 0 {
				y.Accounts = append(y.Accounts, Sum{a, fen})
			}
		}
		all[i] = y
	}
	return all, nil
}

// Year gives one township's year; fault.NotFound if nothing was allotted or it lies outside the actor's scope.
func (s *Service) Year(ctx context.Context, year int, township string) (Year, error) {
	all, err := s.Years(ctx, year, township)
	if err != nil {
		return Year{}, err
	}
	if len(all) == 0 || township == "" {
		return Year{}, fault.NotFound("%d 年度没有核定额度", year)
	}
	return all[0], nil
}

// Filter narrows a list of postings. Cursor is the previous page's.
type Filter struct {
	Township, DeviceID, Cursor string
	Year, Limit                int
}

// List gives postings in the actor's scope, newest first, and the next page's cursor ("" at the end).
func (s *Service) List(ctx context.Context, f Filter) ([]Posting, string, error) {
	limit := 50
	if f.Limit > 0 {
		limit = min(f.Limit, 200)
	}
	p := db.ListPostingsParams{Scope: authority.ActorFrom(ctx).Scope(), Township: f.Township, Year: int32(f.Year), Device: f.DeviceID, Max: int32(limit + 1)}
	if f.Cursor != "" {
		day, last, ok := strings.Cut(f.Cursor, "_")
		d, err := time.Parse(time.DateOnly, day)
		if !ok || err != nil || !id.Valid(last) {
			return nil, "", fault.Invalid("翻页游标不对")
		}
		p.BeforeDay, p.BeforeID = &d, last
	}
	rows, err := s.q.ListPostings(ctx, p)
	if err != nil {
		return nil, "", fmt.Errorf("list postings: %w", err)
	}
	next := ""
	if len(rows) > limit {
		rows = rows[:limit]
		next = rows[limit-1].OnDay.Format(time.DateOnly) + "_" + rows[limit-1].ID
	}
	page := make([]Posting, len(rows))
	for i, r := range rows {
		page[i] = postingOf(db.GetPostingRow(r))
	}
	return page, next, s.fill(ctx, page)
}

// Get gives one posting in the actor's scope.
func (s *Service) Get(ctx context.Context, postingID string) (Posting, error) {
	r, err := s.q.GetPosting(ctx, db.GetPostingParams{ID: postingID, Scope: authority.ActorFrom(ctx).Scope()})
	if errors.Is(err, pgx.ErrNoRows) {
		return Posting{}, fault.NotFound("没有这笔记账")
	}
	if err != nil {
		return Posting{}, fmt.Errorf("get posting: %w", err)
	}
	one := []Posting{postingOf(r)}
	err = s.fill(ctx, one)
	return one[0], err
}

// Leaf gives the index of the posting's leaf in the log.
func (s *Service) Leaf(ctx context.Context, p Posting) (int64, error) {
	l, err := s.log.ByKey(ctx, p.LogKey())
	return l.Seq, err
}

func postingOf(r db.GetPostingRow) Posting {
	p := Posting{ID: r.ID, Key: r.Key, Township: r.Township, TownshipName: r.TownshipName, Memo: r.Memo, Year: int(r.Year), Date: r.OnDay,
		PostedAt: r.PostedAt, PostedBy: r.PostedBy, ReversedBy: r.ReversedBy, DeviceIDs: []string{}}
	if r.Reverses != nil {
		p.Reverses = *r.Reverses
	}
	return p
}

// fill adds lines and devices.
func (s *Service) fill(ctx context.Context, page []Posting) error {
	ids, at := make([]string, len(page)), map[string]int{}
	for i, p := range page {
		ids[i], at[p.ID] = p.ID, i
	}
	lines, err := s.q.Lines(ctx, ids)
	if err != nil {
		return fmt.Errorf("get lines: %w", err)
	}
	for _, l := range lines {
		p := &page[at[l.PostingID]]
		p.Lines = append(p.Lines, Line{l.Account, Fen(l.Fen)})
	}
	links, err := s.q.Devices(ctx, ids)
	if err != nil {
		return fmt.Errorf("get devices: %w", err)
	}
	for _, l := range links {
		p := &page[at[l.PostingID]]
		p.DeviceIDs = append(p.DeviceIDs, l.DeviceID)
	}
	return nil
}
