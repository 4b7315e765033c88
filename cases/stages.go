package cases

import (
	"slices"
	"time"
)

// Stage is where a case stands.
type Stage string

// The course of an ordinary case, then the ways out of it.
const (
	Filed         Stage = "filed"
	Investigation Stage = "investigation"
	Review        Stage = "review"
	Notice        Stage = "notice"
	Decision      Stage = "decision"
	Execution     Stage = "execution"
	Closed        Stage = "closed"
	NoPenalty     Stage = "no_penalty"
	Transferred   Stage = "transferred"
	Withdrawn     Stage = "withdrawn"
)

var stages = map[Stage]struct {
	name string
	next []Stage
}{
	Filed:         {"立案", []Stage{Investigation, Withdrawn}},
	Investigation: {"调查取证", []Stage{Review, Transferred, Withdrawn}},
	Review:        {"法制审核", []Stage{Notice, Investigation, NoPenalty, Transferred}},
	Notice:        {"告知", []Stage{Decision, Investigation}},
	Decision:      {"处罚决定", []Stage{Execution}},
	Execution:     {"执行", []Stage{Closed}},
	Closed:        {"结案", nil},
	NoPenalty:     {"不予处罚", nil},
	Transferred:   {"移送", nil},
	Withdrawn:     {"撤销立案", nil},
}

// Name is the stage in Chinese.
func (s Stage) Name() string { return stages[s].name }

// Next lists the stages that may follow.
func (s Stage) Next() []Stage { return slices.Clone(stages[s].next) }

// Open reports whether the case still runs.
func (s Stage) Open() bool { return len(stages[s].next) > 0 }

// Decided reports whether the set of evidence is frozen (R16): evidence gathered after the decision can't prove it lawful.
func (s Stage) Decided() bool { return s == Decision || s == Execution || s == Closed }

// decisionDays is the limit from filing to decision (行政处罚法 art. 60), in calendar days.
const decisionDays = 90

// dueOf is the deadline of a stage entered on day, nil where the case is over.
func dueOf(s Stage, day, decisionDue time.Time) *time.Time {
	var due time.Time
	switch s {
	case Filed, Investigation, Review, Notice:
		due = decisionDue
	case Decision: // to be served (art. 61; R14)
		due = AfterWorkingDays(day, 7)
	case Execution: // the party pays (art. 67; R15)
		due = AfterDays(day, 15)
	default:
		return nil
	}
	return &due
}
