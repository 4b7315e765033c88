package authority

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/authority/internal/db"
	"zhizheng/evidence/chain"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// Mode is the way in which a township holds a power (行政处罚法 arts. 20, 21, 24): it fixes decider, seal and review body.
type Mode string

// The modes.
const (
	Statutory Mode = "statutory" // 法定
	Delegated Mode = "delegated" // 赋权, by the province's decision, in the township's own name
	Entrusted Mode = "entrusted" // 委托, in the principal's name and with its seal
)

// Name is the mode in Chinese.
func (m Mode) Name() string {
	return map[Mode]string{Statutory: "法定", Delegated: "赋权", Entrusted: "委托"}[m]
}

// PowerItem is an enforcement power of the county's list.
type PowerItem struct {
	Code, Name   string
	Field        string // domain of law
	Law, Article string
	FineMin      int64  // fen
	FineMax      *int64 // fen, nil: the article names none
	Note         string
	InForce      int // townships that hold it today; catalogue only
}

// Grant is a township's hold on an item, from From to To, both days included; To nil: not taken back.
type Grant struct {
	ID, Township  string
	Item          PowerItem
	Mode          Mode
	From          time.Time
	To            *time.Time
	Principal     string // the department an entrusted power belongs to
	Batch, Reason string
}

// InForce reports whether the grant covers the day.
func (g Grant) InForce(day time.Time) bool {
	return !day.Before(g.From) && (g.To == nil || !day.After(*g.To))
}

// PutPowerItems records items of the catalogue; a known code stays as it is.
func (s *Service) PutPowerItems(ctx context.Context, items []PowerItem) error {
	return pg.InTx(ctx, s.pool, func(tx *pg.Tx) error {
		q := db.New(tx)
		for _, i := range items {
			err := q.PutPowerItem(ctx, db.PutPowerItemParams{Code: i.Code, Name: i.Name, Field: i.Field, Law: i.Law, Article: i.Article,
				FineMinFen: i.FineMin, FineMaxFen: i.FineMax, Note: i.Note})
			if err != nil {
				return fmt.Errorf("put power item %s: %w", i.Code, err)
			}
		}
		return nil
	})
}

// GrantPowers hands items down, each grant with a leaf, all in one transaction. An item a township holds in an overlapping interval
// is a conflict. Item.Code, Township, Mode and From are needed; ids are given where missing.
func (s *Service) GrantPowers(ctx context.Context, grants []Grant) error {
	actor := ActorFrom(ctx).UserID
	return pg.InTx(ctx, s.pool, func(tx *pg.Tx) error {
		q := db.New(tx)
		leaves := make([]chain.Entry, 0, len(grants))
		for i := range grants {
			g := &grants[i]
			if g.ID == "" {
				g.ID = id.New()
			}
			n, err := q.GrantsOverlapping(ctx, db.GrantsOverlappingParams{Item: g.Item.Code, Township: g.Township, ValidFrom: g.From, ValidTo: g.To})
			if err != nil {
				return fmt.Errorf("look up grants: %w", err)
			}
			if n > 0 {
				return fault.Conflict("%s 在该时段已下放给 %s", g.Item.Code, g.Township)
			}
			p := db.AddGrantParams{ID: g.ID, Item: g.Item.Code, Township: g.Township, Mode: string(g.Mode), ValidFrom: g.From, ValidTo: g.To,
				Batch: g.Batch, CreatedBy: actor}
			if g.Principal != "" {
				p.Principal = &g.Principal
			}
			// Two grants at once: the partial unique index refuses the second open one.
			if err := q.AddGrant(ctx, p); pg.IsUnique(err, "power_grant_open") {
				return fault.Conflict("%s 在该时段已下放给 %s", g.Item.Code, g.Township)
			} else if err != nil {
				return fmt.Errorf("grant %s to %s: %w", g.Item.Code, g.Township, err)
			}
			leaves = append(leaves, powerLeaf(chain.KindPowerGrant, "power-grant/"+g.ID, s.now(), chain.PowerPayload{PowerItem: g.Item.Code,
				Township: g.Township, Mode: string(g.Mode), From: dayText(&g.From), To: dayText(g.To), Batch: g.Batch, Actor: actor}))
		}
		return s.log.Append(tx, leaves...)
	})
}

// RecallPower takes an item back: lastDay is its last day in force. Cases opened before go on; none can be opened after.
func (s *Service) RecallPower(ctx context.Context, grantID string, lastDay time.Time, reason string) error {
	actor := ActorFrom(ctx).UserID
	return pg.InTx(ctx, s.pool, func(tx *pg.Tx) error {
		g, err := db.New(tx).RecallGrant(ctx, db.RecallGrantParams{ID: grantID, LastDay: lastDay, Reason: reason})
		if errors.Is(err, pgx.ErrNoRows) {
			return fault.Conflict("该事项未下放、已收回，或收回日早于下放日")
		}
		if err != nil {
			return fmt.Errorf("recall %s: %w", grantID, err)
		}
		return s.log.Append(tx, powerLeaf(chain.KindPowerRecall, "power-recall/"+grantID, s.now(), chain.PowerPayload{PowerItem: g.Item,
			Township: g.Township, Mode: g.Mode, From: dayText(&g.ValidFrom), To: dayText(&lastDay), Batch: g.Batch, Actor: actor}))
	})
}

func powerLeaf(k chain.Kind, key string, at time.Time, p chain.PowerPayload) chain.Entry {
	return chain.Entry{Key: key, Kind: k, Subject: chain.Subject{Type: chain.SubjectTownship, ID: p.Township}, Time: at, Payload: p}
}

func dayText(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.Format(time.DateOnly)
}

// PowerFilter narrows a list of power items. Day: only grants in force that day. After is the previous page's cursor.
type PowerFilter struct {
	Township, Q string
	Day         *time.Time
	After       string
	Limit       int
}

// ListPowerItems gives a page of one township's grants, past ones too unless Day is set, and the next page's cursor.
func (s *Service) ListPowerItems(ctx context.Context, f PowerFilter) ([]Grant, string, error) {
	if !ActorFrom(ctx).Sees(f.Township) {
		return nil, "", fault.NotFound("没有乡镇 %s", f.Township)
	}
	limit := pageSize(f.Limit)
	rows, err := s.q.Powers(ctx, db.PowersParams{Township: f.Township, Day: f.Day, Q: f.Q, After: f.After, Max: int32(limit + 1)})
	if err != nil {
		return nil, "", fmt.Errorf("list power items: %w", err)
	}
	next := ""
	if len(rows) > limit {
		rows = rows[:limit]
		next = rows[limit-1].Item + "/" + rows[limit-1].ID
	}
	page := make([]Grant, len(rows))
	for i, r := range rows {
		page[i] = grantOf(db.GrantOnRow(r))
	}
	return page, next, nil
}

// Catalogue gives a page of the county's items with the number of townships that hold each on day (f.Day, or today).
func (s *Service) Catalogue(ctx context.Context, f PowerFilter) ([]PowerItem, string, error) {
	day, limit := Day(s.now()), pageSize(f.Limit)
	if f.Day != nil {
		day = *f.Day
	}
	rows, err := s.q.Catalogue(ctx, db.CatalogueParams{Day: day, Q: f.Q, After: f.After, Max: int32(limit + 1)})
	if err != nil {
		return nil, "", fmt.Errorf("list catalogue: %w", err)
	}
	next := ""
	if len(rows) > limit {
		rows = rows[:limit]
		next = rows[limit-1].Code
	}
	page := make([]PowerItem, len(rows))
	for i, r := range rows {
		page[i] = PowerItem{r.Code, r.Name, r.Field, r.Law, r.Article, r.FineMinFen, r.FineMaxFen, r.Note, int(r.InForce)}
	}
	return page, next, nil
}

// GrantOn gives the grant under which the township holds the item (or grant) that day; ok is false if it holds none.
func (s *Service) GrantOn(ctx context.Context, township, item string, day time.Time) (g Grant, ok bool, err error) {
	r, err := s.q.GrantOn(ctx, db.GrantOnParams{Township: township, Item: item, Day: day})
	if errors.Is(err, pgx.ErrNoRows) {
		return Grant{}, false, nil
	}
	if err != nil {
		return Grant{}, false, fmt.Errorf("look up power item: %w", err)
	}
	return grantOf(r), true, nil
}

func grantOf(r db.GrantOnRow) Grant {
	g := Grant{ID: r.ID, Township: r.Township, Mode: Mode(r.Mode), From: r.ValidFrom, To: r.ValidTo, Batch: r.Batch, Reason: r.Reason,
		Item: PowerItem{Code: r.Item, Name: r.Name, Field: r.Field, Law: r.Law, Article: r.Article, FineMin: r.FineMinFen, FineMax: r.FineMaxFen, Note: r.Note}}
	if r.Principal != nil {
		g.Principal = *r.Principal
	}
	return g
}
