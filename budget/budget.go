// Package budget owns the township ledger: what a township may spend a year, and the balanced postings in fen that spend it. It
// promises that no posting leaves more spent than allotted, however many arrive at once, that the same key gives the same posting,
// and that each posting, allotment and refusal is a leaf of the evidence log. It never changes a posting: a mistake is reversed.
//
// Read check.go for the rules (pure), post.go for the transaction, formula.go for how a standard is reckoned.
package budget

import (
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/authority"
	"zhizheng/budget/internal/db"
	"zhizheng/devices"
	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
)

// Fen is an amount of money, 1/100 yuan.
type Fen int64

// Line is an amount on an account: debit positive, credit negative.
type Line struct {
	Account string
	Fen     Fen
}

// NewPosting is what is asked for. Key is the caller's idempotency key, unique in the township. Date is a county day at midnight UTC.
type NewPosting struct {
	Key, Township, Memo string
	Date                time.Time
	DeviceIDs           []string
	Lines               []Line
}

// Posting is what was posted. Year is the budget year it counts in.
type Posting struct {
	ID, Key, Township, TownshipName, Memo string
	Year                                  int
	Date, PostedAt                        time.Time
	PostedBy                              string // user id
	Lines                                 []Line
	DeviceIDs                             []string
	Reverses, ReversedBy                  string // posting ids, "" for none
}

// Amount is the sum of the debits.
func (p Posting) Amount() (sum Fen) {
	for _, l := range p.Lines {
		sum += max(l.Fen, 0)
	}
	return sum
}

// LogKey is the key of the posting's leaf.
func (p Posting) LogKey() string { return "posting/" + p.ID }

// Service is the one way to the ledger.
type Service struct {
	pool    *pgxpool.Pool
	q       *db.Queries
	log     *evlog.Log
	devices *devices.Service
	now     func() time.Time
}

// New makes the service; now is time.Now if nil.
func New(pool *pgxpool.Pool, log *evlog.Log, d *devices.Service, now func() time.Time) *Service {
	if now == nil {
		now = time.Now
	}
	return &Service{pool: pool, q: db.New(pool), log: log, devices: d, now: now}
}

func (s *Service) today() time.Time { return authority.Day(s.now()) }

func ledger(township string) chain.Subject {
	return chain.Subject{Type: chain.SubjectLedger, ID: township}
}
