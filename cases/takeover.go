package cases

import (
	"context"
	"fmt"
	"slices"
	"time"

	"zhizheng/authority"
	"zhizheng/cases/internal/db"
	"zhizheng/evidence/chain"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// Past is a case that was opened before the platform kept it. Opening.Key is needed: it makes taking over repeatable. Steps are in
// order and end where the case stands.
type Past struct {
	Opening
	FiledOn time.Time
	Steps   []PastStep
}

// PastStep is a step on the day it was taken.
type PastStep struct {
	Step
	On       time.Time
	Reviewer string // user who passed the review, with the step to Notice
}

// A transaction's worth of cases: it holds the log's head while it is sequenced.
const takeOverBatch = 100

// TakeOver brings in cases under the same rules as Open (R01, R02, R04 on the day of filing, the order of stages), in batches, and
// says how many were new. The log gets one leaf for the opening, one for the decision, one for where the case stands: it proves
// since when the platform has the record, not when the acts were done. A failed batch leaves those before it.
func (s *Service) TakeOver(ctx context.Context, all []Past) (int, error) {
	keys := make([]string, len(all))
	var officerIDs []string
	for i, p := range all {
		if keys[i] = p.Key; p.Key == "" {
			return 0, fault.Invalid("接收的案件须有唯一编号")
		}
		officerIDs = append(officerIDs, p.Officers...)
	}
	known, err := s.q.KnownKeys(ctx, keys)
	if err != nil {
		return 0, fmt.Errorf("look up case keys: %w", err)
	}
	all = slices.DeleteFunc(slices.Clone(all), func(p Past) bool { return slices.Contains(known, p.Key) })
	slices.Sort(officerIDs)
	officers, err := s.authority.Officers(ctx, slices.Compact(officerIDs))
	if err != nil {
		return 0, err
	}
	t := takeOver{s: s, officers: map[string]authority.Officer{}, towns: map[string]authority.Township{}, powers: map[string]authority.Grant{}}
	for _, o := range officers {
		t.officers[o.ID] = o
	}
	done := 0
	for batch := range slices.Chunk(all, takeOverBatch) {
		// Judged before the transaction begins: one that waits for a second connection could starve.
		judged, err := t.judgeAll(ctx, batch)
		if err != nil {
			return done, err
		}
		if err := pg.InTx(ctx, s.pool, func(tx *pg.Tx) error { return t.write(ctx, tx, judged) }); err != nil {
			return done, err
		}
		done += len(batch)
	}
	return done, nil
}

// takeOver keeps what many cases share, so that a thousand cases don't ask the same thing a thousand times.
type takeOver struct {
	s        *Service
	officers map[string]authority.Officer
	towns    map[string]authority.Township
	powers   map[string]authority.Grant // by township, item
}

type judged struct {
	Past
	row      db.AddCasesParams
	handlers []handler
}

func (t *takeOver) judgeAll(ctx context.Context, batch []Past) ([]judged, error) {
	all := make([]judged, len(batch))
	for i, p := range batch {
		row, hs, err := t.judge(ctx, authority.ActorFrom(ctx), &p)
		if err != nil {
			return nil, fmt.Errorf("take over %s: %w", p.Key, err)
		}
		all[i] = judged{p, row, hs}
	}
	return all, nil
}

func (t *takeOver) write(ctx context.Context, tx *pg.Tx, batch []judged) error {
	actor, now := authority.ActorFrom(ctx), t.s.now()
	var rows []db.AddCasesParams
	var officers []db.AddOfficersParams
	var events []db.AddEventsParams
	var leaves []chain.Entry
	for _, p := range batch {
		row, town := p.row, t.towns[p.Township]
		n, err := db.New(tx).NextNumber(ctx, db.NextNumberParams{Township: p.Township, Year: int32(p.FiledOn.Year()), Count: 1})
		if err != nil {
			return fmt.Errorf("take a case number: %w", err)
		}
		row.Number = caseNumber(town.Name, p.FiledOn.Year(), int(n))
		evs, entries, err := course(&row, p.Past, actor.UserID, now)
		if err != nil {
			return fmt.Errorf("take over %s: %w", p.Key, err)
		}
		rows, events, leaves = append(rows, row), append(events, evs...), append(leaves, entries...)
		officers = append(officers, officerRows(row.ID, p.handlers)...)
	}
	q := db.New(tx)
	if _, err := q.AddCases(ctx, rows); err != nil {
		return fmt.Errorf("add cases: %w", err)
	}
	if _, err := q.AddOfficers(ctx, officers); err != nil {
		return fmt.Errorf("add officers: %w", err)
	}
	if _, err := q.AddEvents(ctx, events); err != nil {
		return fmt.Errorf("add events: %w", err)
	}
	return t.s.log.Append(tx, leaves...)
}

// judge applies the rules of opening to the day of filing.
func (t *takeOver) judge(ctx context.Context, actor authority.Actor, p *Past) (db.AddCasesParams, []handler, error) {
	none := db.AddCasesParams{}
	town, ok := t.towns[p.Township]
	if !ok {
		if !actor.Sees(p.Township) {
			return none, nil, fault.NotFound("没有乡镇 %s", p.Township)
		}
		var err error
		if town, err = t.s.authority.GetTownship(ctx, p.Township); err != nil {
			return none, nil, err
		}
		t.towns[p.Township] = town
	}
	o := &p.Opening
	act := p.FiledOn
	if o.ActOn != nil {
		act = *o.ActOn
	}
	key := p.Township + "/" + p.PowerItem
	grant, ok := t.powers[key]
	if !ok || !grant.InForce(act) || !grant.InForce(p.FiledOn) {
		var err error
		if grant, err = t.s.power(ctx, town, p.PowerItem, act, p.FiledOn); err != nil {
			return none, nil, err
		}
		t.powers[key] = grant
	}
	c, err := caseRow(o, grant, act, p.FiledOn)
	if err != nil {
		return none, nil, err
	}
	hs, err := judgeHandlers(p.Officers, t.officers, town, p.FiledOn)
	return db.AddCasesParams{ID: c.ID, OpenKey: &p.Key, Township: c.Township, PowerItem: c.PowerItem, PowerGrant: c.PowerGrant, Mode: c.Mode,
		Title: c.Title, Facts: c.Facts, PartyKind: c.PartyKind, Party: c.Party, Place: c.Place, ActOn: c.ActOn, FiledOn: c.FiledOn,
		OpenedAt: officeHour(c.FiledOn), Stage: c.Stage, StageSince: c.StageSince, StageDue: c.StageDue, DecisionDue: c.DecisionDue,
		CreatedBy: actor.UserID}, hs, err
}

// course walks the steps, filling in the row, and gives the events and leaves.
func course(row *db.AddCasesParams, p Past, actor string, now time.Time) ([]db.AddEventsParams, []chain.Entry, error) {
	openKey := openedKey(row.ID)
	events := []db.AddEventsParams{{CaseID: row.ID, N: 1, Kind: "opened", Stage: string(Filed), OnDay: p.FiledOn, At: now, Actor: actor,
		Note: "立案", LeafKey: &openKey}}
	leaves := []chain.Entry{{Key: openKey, Kind: chain.KindCaseOpened, Subject: Subject(row.ID), Time: now, Payload: chain.CasePayload{
		CaseID: row.ID, Actor: actor, Stage: string(Filed), PowerItem: row.PowerItem, Township: row.Township,
		Digest: digest(row.Number + "\n" + row.Title + "\n" + row.Facts)}}}
	at, day := Filed, p.FiledOn
	for i, st := range p.Steps {
		if !slices.Contains(stages[at].next, st.To) || st.On.Before(day) {
			return nil, nil, fault.Invalid("案件不能在 %s 由“%s”进入“%s”", st.On.Format(time.DateOnly), at.Name(), nameOr(st.To))
		}
		at, day = st.To, st.On
		e := db.AddEventsParams{CaseID: row.ID, N: int32(i + 2), Kind: kindOf(at), Stage: string(at), OnDay: day, At: now, Actor: actor, Note: st.Note}
		var root []byte
		if at == Notice && st.Reviewer != "" {
			row.Reviewer = &st.Reviewer
		}
		if at == Decision {
			root = chain.FrozenRoot(nil) // paper exhibits stay in the paper file
			decided := day
			row.DecidedOn, row.Decision, row.FineFen, row.EvidenceRoot = &decided, st.Decision, st.FineFen, root
		}
		if at == Decision || i == len(p.Steps)-1 {
			leaf := stepLeaf(row.ID, row.Township, row.PowerItem, actor, st.Step, root, now)
			if leaf.Key == "" {
				leaf.Key = stageKey(row.ID, i+2)
			}
			e.LeafKey = &leaf.Key
			leaves = append(leaves, *leaf)
		}
		events = append(events, e)
	}
	row.Stage, row.StageSince, row.StageDue = string(at), day, dueOf(at, day, row.DecisionDue)
	if !at.Open() {
		closed := officeHour(day)
		row.ClosedAt = &closed
	}
	return events, leaves, nil
}

// officeHour stands for an act of which only the day is known: 09:30 at +08:00.
func officeHour(day time.Time) time.Time { return day.Add(90 * time.Minute) }
