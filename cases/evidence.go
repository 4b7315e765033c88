package cases

import (
	"context"

	"zhizheng/internal/pg"
)

// Fact is what a case needs to know of an evidence record.
type Fact struct {
	Township string // "" while nobody knows whose recorder it was
	SHA256   []byte
	Sealed   bool // the bytes are in the store and checked
}

// Evidence is what cases ask of the evidence domain. Linked and Unlinked write custody, with leaves, in the case's transaction.
type Evidence interface {
	Facts(ctx context.Context, ids []string) (map[string]Fact, error)
	Linked(ctx context.Context, tx *pg.Tx, evidenceID, caseID, purpose string) error
	Unlinked(ctx context.Context, tx *pg.Tx, evidenceID, caseID, reason string) error
}
