package cases

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/authority"
	"zhizheng/cases/internal/db"
	"zhizheng/evidence"
	"zhizheng/evidence/chain"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// Step moves a case on. Decision and FineFen belong to the decision, and only to it.
type Step struct {
	To       Stage
	Note     string
	Decision string
	FineFen  *int64
}

// Advance moves a case to a stage that may follow, and refuses what the rules of that stage forbid.
func (s *Service) Advance(ctx context.Context, id string, step Step) (File, error) {
	actor := authority.ActorFrom(ctx)
	step.Note, step.Decision = strings.TrimSpace(step.Note), strings.TrimSpace(step.Decision)
	now := s.now()
	today := authority.Day(now)
	var records map[string]evidence.Record
	var err error
	if step.To == Decision {
		if records, err = s.exhibitRecords(ctx, id); err != nil {
			return File{}, err
		}
	}
	err = pg.InTx(ctx, s.pool, func(tx *pg.Tx) error {
		q := db.New(tx)
		c, err := lock(ctx, q, id)
		if err != nil {
			return err
		}
		from := Stage(c.Stage)
		if !slices.Contains(stages[from].next, step.To) {
			return fault.Conflict("案件处于“%s”，不能进入“%s”", from.Name(), nameOr(step.To)).Then("可以进入：%s", names(from.Next()))
		}
		if err := mayStep(ctx, q, actor, c, step, today); err != nil {
			return err
		}
		reviewer := c.Reviewer
		if from == Review && step.To == Notice {
			reviewer = &actor.UserID
		}
		var root []byte
		if step.To == Decision {
			if root, err = freeze(ctx, q, id, records, step, today); err != nil {
				return err
			}
		}
		var closed *time.Time
		if !step.To.Open() {
			closed = &now
		}
		err = q.MoveCase(ctx, db.MoveCaseParams{ID: id, Stage: string(step.To), StageSince: today,
			StageDue: dueOf(step.To, today, c.DecisionDue), Reviewer: reviewer, ClosedAt: closed})
		if err != nil {
			return fmt.Errorf("move case %s: %w", id, err)
		}
		return s.event(ctx, tx, db.AddEventParams{CaseID: id, Kind: kindOf(step.To), Stage: string(step.To), OnDay: today, At: now,
			Actor: actor.UserID, Note: step.Note}, stepLeaf(c.ID, c.Township, c.PowerItem, actor.UserID, step, root, now))
	})
	if err != nil {
		return File{}, err
	}
	return s.Get(ctx, id)
}

func kindOf(to Stage) string {
	if to == Decision {
		return "decided"
	}
	return "stage"
}

// stepLeaf is the leaf of a step; the decision has a kind of its own and carries the frozen root.
func stepLeaf(caseID, township, item, actor string, step Step, root []byte, at time.Time) *chain.Entry {
	e := &chain.Entry{Kind: chain.KindCaseStage, Subject: Subject(caseID), Time: at}
	p := chain.CasePayload{CaseID: caseID, Actor: actor, Stage: string(step.To), Township: township, PowerItem: item, Digest: digest(step.Note)}
	if step.To == Decision {
		e.Kind, e.Key = chain.KindCaseDecided, decidedKey(caseID)
		p.EvidenceRoot, p.Digest = root, digest(decisionText(step))
	}
	e.Payload = p
	return e
}

// decisionText is what the decision's leaf commits to: the fine in fen, a line break, the decision.
func decisionText(step Step) string {
	fine := int64(0)
	if step.FineFen != nil {
		fine = *step.FineFen
	}
	return fmt.Sprintf("%d\n%s", fine, step.Decision)
}

func lock(ctx context.Context, q *db.Queries, id string) (db.LockCaseRow, error) {
	c, err := q.LockCase(ctx, db.LockCaseParams{ID: id, Scope: authority.ActorFrom(ctx).Scope()})
	if errors.Is(err, pgx.ErrNoRows) {
		return c, errNoCase(id)
	}
	if err != nil {
		return c, fmt.Errorf("lock case %s: %w", id, err)
	}
	return c, nil
}

// maxFine, in fen, is far above any fine a township may set, and exact in every reader's numbers (RFC 8259 §6).
const maxFine = 1_000_000_000_000

// mayStep checks who takes the step, and what has to be written with it.
func mayStep(ctx context.Context, q *db.Queries, actor authority.Actor, c db.LockCaseRow, step Step, today time.Time) error {
	if step.To != Decision && (step.Decision != "" || step.FineFen != nil) {
		return fault.Invalid("只有进入“处罚决定”时才能填写决定内容和罚款金额")
	}
	if Stage(c.Stage) == Review {
		if err := mayReview(ctx, q, actor, c.ID); err != nil {
			return err
		}
	}
	switch step.To {
	case Decision:
		return mayDecide(actor, c, step, today)
	case NoPenalty, Transferred, Withdrawn:
		if step.Note == "" {
			return fault.Invalid("%s须写明理由", step.To.Name())
		}
	}
	return nil
}

// mayReview is R12: whoever passes (or returns) the legal review is none of the handlers.
func mayReview(ctx context.Context, q *db.Queries, actor authority.Actor, caseID string) error {
	const article = "行政处罚法第58条"
	if actor.Role != "reviewer" && actor.Role != "head" && actor.Role != authority.System.Role {
		return fault.Refused("R12", article, "法制审核由审核人员作出，您的角色是%s", authority.RoleName(actor.Role)).Then("请交案件审核人员办理")
	}
	officers, err := q.CaseOfficers(ctx, caseID)
	if err != nil {
		return fmt.Errorf("read officers of case %s: %w", caseID, err)
	}
	for _, o := range officers {
		if o.UserID != nil && *o.UserID == actor.UserID {
			return fault.Refused("R12", article, "本案承办人不能审核本案").Then("请交其他审核人员办理")
		}
	}
	return nil
}

// mayDecide holds what a program can check of arts. 44, 45, 57, 60 and 34 before a decision.
func mayDecide(actor authority.Actor, c db.LockCaseRow, step Step, today time.Time) error {
	if actor.Role != "head" && actor.Role != authority.System.Role {
		return fault.Refused("R13", "行政处罚法第57条", "处罚决定由行政机关负责人作出，您的角色是%s", authority.RoleName(actor.Role)).
			Then("请交负责人办理")
	}
	if step.Note == "" {
		return fault.Refused("R10", "行政处罚法第44、45、62条", "作出决定前须记录当事人的陈述、申辩，或其明确放弃").Then("请在说明中写明陈述申辩情况")
	}
	if today.After(c.DecisionDue) && !strings.Contains(step.Note, "延长") {
		return fault.Refused("R13", "行政处罚法第60条", "自立案之日起已超过九十日（%s 届满）", c.DecisionDue.Format(time.DateOnly)).
			Then("经批准延长的，请在说明中写明延长的依据")
	}
	if step.Decision == "" {
		return fault.Invalid("请填写处罚决定内容")
	}
	if f := step.FineFen; f != nil && (*f < 0 || *f > maxFine) {
		return fault.Invalid("罚款金额不对")
	}
	if f := step.FineFen; f != nil && *f > 0 && (*f < c.FineMinFen || (c.FineMaxFen != nil && *f > *c.FineMaxFen)) {
		return fault.Refused("R30", "行政处罚法第34条", "罚款 %s 元超出%s%s规定的幅度", yuan(*f), c.Law, c.Article)
	}
	return nil
}

func yuan(fen int64) string { return fmt.Sprintf("%d.%02d", fen/100, fen%100) }

func nameOr(s Stage) string {
	if n := s.Name(); n != "" {
		return n
	}
	return string(s)
}

func names(all []Stage) string {
	if len(all) == 0 {
		return "无（案件已办结）"
	}
	zh := make([]string, len(all))
	for i, s := range all {
		zh[i] = s.Name()
	}
	return strings.Join(zh, "、")
}
