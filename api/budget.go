package api

import (
	"context"

	openapi_types "github.com/oapi-codegen/runtime/types"

	"zhizheng/budget"
	"zhizheng/devices"
)

// ListAccounts gives the chart of accounts.
func (s *Server) ListAccounts(context.Context, ListAccountsRequestObject) (ListAccountsResponseObject, error) {
	var items []Account
	for _, a := range budget.Accounts() {
		items = append(items, Account{Code: a.Code, Name: a.Name, Kind: a.Kind})
	}
	return ListAccounts200JSONResponse{Items: items}, nil
}

// ListBudgetYears gives a year of every township in the caller's scope.
func (s *Server) ListBudgetYears(ctx context.Context, r ListBudgetYearsRequestObject) (ListBudgetYearsResponseObject, error) {
	years, err := s.Budget.Years(ctx, r.Year, "")
	if err != nil {
		return nil, err
	}
	items := make([]BudgetYear, len(years))
	for i, y := range years {
		items[i] = yearView(y)
	}
	return ListBudgetYears200JSONResponse{Items: items}, nil
}

// GetBudgetYear gives a township's year.
func (s *Server) GetBudgetYear(ctx context.Context, r GetBudgetYearRequestObject) (GetBudgetYearResponseObject, error) {
	y, err := s.Budget.Year(ctx, r.Year, r.Township)
	if err != nil {
		return nil, err
	}
	return GetBudgetYear200JSONResponse(yearView(y)), nil
}

func yearView(y budget.Year) BudgetYear {
	v := BudgetYear{Township: y.Township, TownshipName: y.TownshipName, Year: y.Year, AllottedFen: int64(y.Allotted), SpentFen: int64(y.Spent),
		LeftFen: int64(y.Left), Formula: y.Formula}
	type sum = struct {
		Account string `json:"account"`
		Fen     int64  `json:"fen"`
		Name    string `json:"name"`
	}
	sums := []sum{}
	for _, a := range y.Accounts {
		sums = append(sums, sum{a.Account.Code, int64(a.Fen), a.Account.Name})
	}
	v.Accounts = &sums
	return v
}

// ListPostings gives a page of postings, newest first.
func (s *Server) ListPostings(ctx context.Context, r ListPostingsRequestObject) (ListPostingsResponseObject, error) {
	p := r.Params
	page, next, err := s.Budget.List(ctx, budget.Filter{Township: val(p.Township), DeviceID: val(p.DeviceID), Cursor: val(p.Cursor),
		Year: val(p.Year), Limit: pageLimit(p.Limit)})
	if err != nil {
		return nil, err
	}
	items, err := s.postingViews(ctx, page)
	return ListPostings200JSONResponse{Items: items, NextCursor: next}, err
}

// CreatePosting posts an entry: 201, or 200 when the key was posted before.
func (s *Server) CreatePosting(ctx context.Context, r CreatePostingRequestObject) (CreatePostingResponseObject, error) {
	b := r.Body
	n := budget.NewPosting{Key: b.Key, Township: b.Township, Memo: b.Memo, Date: b.Date.Time, DeviceIDs: val(b.DeviceIds)}
	for _, l := range b.Lines {
		n.Lines = append(n.Lines, budget.Line{Account: l.Account, Fen: budget.Fen(l.Fen)})
	}
	p, existed, err := s.Budget.Post(ctx, n)
	if err != nil {
		return nil, err
	}
	v, err := s.postingView(ctx, p)
	if err != nil {
		return nil, err
	}
	if existed {
		return CreatePosting200JSONResponse(v), nil
	}
	return CreatePosting201JSONResponse(v), nil
}

// GetPosting gives one posting with its devices.
func (s *Server) GetPosting(ctx context.Context, r GetPostingRequestObject) (GetPostingResponseObject, error) {
	p, err := s.Budget.Get(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	v, err := s.postingView(ctx, p)
	return GetPosting200JSONResponse(v), err
}

// ReversePosting posts the counter-posting.
func (s *Server) ReversePosting(ctx context.Context, r ReversePostingRequestObject) (ReversePostingResponseObject, error) {
	p, err := s.Budget.Reverse(ctx, r.ID, r.Body.Reason)
	if err != nil {
		return nil, err
	}
	v, err := s.postingView(ctx, p)
	return ReversePosting201JSONResponse(v), err
}

func (s *Server) postingView(ctx context.Context, p budget.Posting) (Posting, error) {
	all, err := s.postingViews(ctx, []budget.Posting{p})
	if err != nil {
		return Posting{}, err
	}
	return all[0], nil
}

// postingViews adds names of people and devices and the leaves.
func (s *Server) postingViews(ctx context.Context, page []budget.Posting) ([]Posting, error) {
	var people, bought []string
	for _, p := range page {
		people, bought = append(people, p.PostedBy), append(bought, p.DeviceIDs...)
	}
	names, err := s.Authority.Names(ctx, people)
	if err != nil {
		return nil, err
	}
	known, err := s.Devices.Devices(ctx, bought)
	if err != nil {
		return nil, err
	}
	out := make([]Posting, len(page))
	for i, p := range page {
		leaf, err := s.Budget.Leaf(ctx, p)
		if err != nil {
			return nil, err
		}
		refs, amount := []DeviceRef{}, int64(p.Amount())
		for _, id := range p.DeviceIDs {
			refs = append(refs, deviceRef(known[id]))
		}
		v := Posting{ID: p.ID, Key: p.Key, Township: p.Township, TownshipName: p.TownshipName, Date: openapi_types.Date{Time: p.Date}, Memo: p.Memo,
			DeviceIds: p.DeviceIDs, Devices: &refs, AmountFen: &amount, PostedAt: p.PostedAt, PostedByName: ptr(actorName(p.PostedBy, names)),
			LeafIndex: &leaf, Reverses: ptr(p.Reverses), ReversedBy: ptr(p.ReversedBy)}
		for _, l := range p.Lines {
			a, _ := budget.AccountOf(l.Account)
			v.Lines = append(v.Lines, PostingLine{Account: l.Account, AccountName: ptr(a.Name), Fen: int64(l.Fen)})
		}
		out[i] = v
	}
	return out, nil
}

// deviceRef is a device where another page names it.
func deviceRef(d devices.Device) DeviceRef {
	return DeviceRef{ID: d.ID, Serial: d.Serial, Name: d.Name, Kind: DeviceKind(d.Kind), Township: d.Township, PostingID: ptr(d.PostingID),
		Funding: ptr(devices.FundingName(d.Funding)), Year: ptr(d.PostingYear)}
}

// recorderOf gives the registered device behind an evidence record, with the posting that bought it; nil when there is none.
func (s *Server) recorderOf(ctx context.Context, id string) (*DeviceRef, error) {
	if id == "" {
		return nil, nil
	}
	known, err := s.Devices.Devices(ctx, []string{id})
	if err != nil {
		return nil, err
	}
	d, ok := known[id]
	if !ok {
		return nil, nil
	}
	ref := deviceRef(d)
	return &ref, nil
}
