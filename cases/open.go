package cases

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"zhizheng/authority"
	"zhizheng/cases/internal/db"
	"zhizheng/evidence/chain"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// Opening is a case to be opened. ActOn is the day of the act (today if nil), PowerItem an item's code or a grant's id.
type Opening struct {
	Key                 string // idempotency key, may be empty
	Township, PowerItem string
	Title, Facts, Place string
	PartyKind, Party    string // citizen (default) or entity; the party's name
	Officers            []string
	ActOn               *time.Time
}

// Open opens a case, or gives the one that was opened under the same key. It refuses by R01, R02 and R04.
func (s *Service) Open(ctx context.Context, o Opening) (File, error) {
	actor := authority.ActorFrom(ctx)
	if !actor.Sees(o.Township) {
		return File{}, fault.NotFound("没有乡镇 %s", o.Township)
	}
	if o.Key != "" {
		switch known, err := s.q.CaseByKey(ctx, db.CaseByKeyParams{OpenKey: &o.Key, Township: o.Township}); {
		case err == nil:
			return s.openedBefore(ctx, known, o)
		case !errors.Is(err, pgx.ErrNoRows):
			return File{}, fmt.Errorf("look up case key: %w", err)
		}
	}
	town, err := s.authority.GetTownship(ctx, o.Township)
	if err != nil {
		return File{}, err
	}
	now := s.now()
	today := authority.Day(now)
	c, officers, err := s.check(ctx, &o, town, today)
	if err != nil {
		return File{}, err
	}
	c.OpenedAt, c.CreatedBy = now, actor.UserID
	if o.Key != "" {
		c.OpenKey = &o.Key
	}
	err = pg.InTx(ctx, s.pool, func(tx *pg.Tx) error {
		q := db.New(tx)
		n, err := q.NextNumber(ctx, db.NextNumberParams{Township: o.Township, Year: int32(today.Year()), Count: 1})
		if err != nil {
			return fmt.Errorf("take a case number: %w", err)
		}
		c.Number = caseNumber(town.Name, today.Year(), int(n))
		if err := q.AddCase(ctx, c); err != nil {
			return fmt.Errorf("add case: %w", err)
		}
		if _, err := q.AddOfficers(ctx, officerRows(c.ID, officers)); err != nil {
			return fmt.Errorf("add officers: %w", err)
		}
		return s.event(ctx, tx, db.AddEventParams{CaseID: c.ID, Kind: "opened", Stage: string(Filed), OnDay: today, At: now, Actor: actor.UserID,
			Note: "立案"}, &chain.Entry{Key: openedKey(c.ID), Kind: chain.KindCaseOpened, Subject: Subject(c.ID), Time: now,
			Payload: openedPayload(c)})
	})
	if o.Key != "" && pg.IsUnique(err, "case_file_open_key_key") {
		// The same request arrived twice at once; the other one has won.
		known, err := s.q.CaseByKey(ctx, db.CaseByKeyParams{OpenKey: &o.Key, Township: o.Township})
		if errors.Is(err, pgx.ErrNoRows) {
			return File{}, fault.Conflict("幂等键已用于另一案件")
		}
		if err != nil {
			return File{}, fmt.Errorf("look up case key: %w", err)
		}
		return s.openedBefore(ctx, known, o)
	}
	if err != nil {
		return File{}, err
	}
	return s.Get(ctx, c.ID)
}

// openedBefore gives the case that was opened under the key, if it is about the same.
func (s *Service) openedBefore(ctx context.Context, known string, o Opening) (File, error) {
	f, err := s.Get(ctx, known)
	if err == nil && (f.Title != strings.TrimSpace(o.Title) || f.Facts != o.Facts || f.Place != o.Place) {
		return File{}, fault.Conflict("幂等键已用于另一案件（%s）", f.Number)
	}
	return f, err
}

func openedPayload(c db.AddCaseParams) chain.CasePayload {
	return chain.CasePayload{CaseID: c.ID, Actor: c.CreatedBy, Stage: string(Filed), PowerItem: c.PowerItem, Township: c.Township,
		Digest: digest(c.Number + "\n" + c.Title + "\n" + c.Facts)}
}

func caseNumber(township string, year, n int) string {
	return fmt.Sprintf("%s执立〔%d〕第%03d号", township, year, n)
}

type handler struct{ id, certificate string }

func officerRows(caseID string, hs []handler) []db.AddOfficersParams {
	rows := make([]db.AddOfficersParams, len(hs))
	for i, h := range hs {
		rows[i] = db.AddOfficersParams{CaseID: caseID, Position: int32(i + 1), OfficerID: h.id, Certificate: h.certificate}
	}
	return rows
}

// check judges an opening on its day of filing and gives the row to write, without number, author and time.
func (s *Service) check(ctx context.Context, o *Opening, town authority.Township, filed time.Time) (db.AddCaseParams, []handler, error) {
	act := filed
	if o.ActOn != nil {
		act = *o.ActOn
	}
	grant, err := s.power(ctx, town, o.PowerItem, act, filed)
	if err != nil {
		return db.AddCaseParams{}, nil, err
	}
	c, err := caseRow(o, grant, act, filed)
	if err != nil {
		return db.AddCaseParams{}, nil, err
	}
	hs, err := s.handlers(ctx, o.Officers, town, filed)
	return c, hs, err
}

// caseRow is a new case under a grant, as far as the opening tells; R04 bounds the time between act and filing.
func caseRow(o *Opening, grant authority.Grant, act, filed time.Time) (db.AddCaseParams, error) {
	none := db.AddCaseParams{}
	title := strings.TrimSpace(o.Title)
	if n := utf8.RuneCountInString(title); n < 2 || n > 120 {
		return none, fault.Invalid("案由须为 2 至 120 个字")
	}
	kind := o.PartyKind
	if kind == "" {
		kind = "citizen"
	}
	if kind != "citizen" && kind != "entity" {
		return none, fault.Invalid("当事人类别须为公民或单位")
	}
	if act.After(filed) {
		return none, fault.Invalid("行为发生日不能晚于立案日")
	}
	if filed.After(act.AddDate(2, 0, 0)) {
		return none, fault.Refused("R04", "行政处罚法第36条", "违法行为发生于 %s，至立案已超过二年，不再给予行政处罚", act.Format(time.DateOnly))
	}
	due := filed.AddDate(0, 0, decisionDays)
	return db.AddCaseParams{ID: id.New(), Township: o.Township, PowerItem: grant.Item.Code, PowerGrant: grant.ID, Mode: string(grant.Mode),
		Title: title, Facts: o.Facts, PartyKind: kind, Party: o.Party, Place: o.Place, ActOn: act, FiledOn: filed,
		Stage: string(Filed), StageSince: filed, StageDue: dueOf(Filed, filed, due), DecisionDue: due}, nil
}

const r01 = "行政处罚法第20、21、24、38条"

// power is R01: the township holds the item on the day of the act and still on the day of filing.
func (s *Service) power(ctx context.Context, town authority.Township, item string, act, filed time.Time) (authority.Grant, error) {
	g, ok, err := s.authority.GrantOn(ctx, town.Code, item, act)
	if err != nil {
		return g, err
	}
	if !ok {
		return g, fault.Refused("R01", r01, "权力事项 %s 在 %s 未对%s生效，不能据以立案", item, act.Format(time.DateOnly), town.Name).
			Then("请选择行为发生之日对该乡镇有效的权力事项，或移送有权机关")
	}
	if !g.InForce(filed) {
		if g, ok, err = s.authority.GrantOn(ctx, town.Code, g.Item.Code, filed); err != nil {
			return g, err
		}
		if !ok {
			return g, fault.Refused("R01", r01, "权力事项 %s 在立案之日（%s）已被收回，%s不能再据以立案", item, filed.Format(time.DateOnly), town.Name).
				Then("请移送收回后有权办理的机关")
		}
	}
	return g, nil
}

const r02 = "行政处罚法第42、55条"

// handlers is R02: at least two different officers of the unit, each with a certificate valid that day.
func (s *Service) handlers(ctx context.Context, ids []string, town authority.Township, day time.Time) ([]handler, error) {
	found, err := s.authority.Officers(ctx, ids)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]authority.Officer, len(found))
	for _, o := range found {
		byID[o.ID] = o
	}
	return judgeHandlers(ids, byID, town, day)
}

func judgeHandlers(ids []string, byID map[string]authority.Officer, town authority.Township, day time.Time) ([]handler, error) {
	var hs []handler
	seen := map[string]bool{}
	for i, oid := range ids {
		o, known := byID[oid]
		if !known || o.Township != town.Code {
			return nil, fault.Refused("R02", r02, "所选第 %d 名执法人员不属于%s", i+1, town.Name)
		}
		if seen[oid] {
			continue
		}
		seen[oid] = true
		c, ok := o.CertificateOn(day)
		if !ok {
			return nil, fault.Refused("R02", r02, "所选第 %d 名执法人员在 %s 没有有效的执法证", i+1, day.Format(time.DateOnly)).
				Then("请换一名当日持有有效执法证的人员")
		}
		hs = append(hs, handler{oid, c.Number})
	}
	if len(hs) < 2 {
		return nil, fault.Refused("R02", r02, "执法人员不得少于两人，现为 %d 人", len(hs)).Then("请再选一名本单位持证人员")
	}
	return hs, nil
}
