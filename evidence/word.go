package evidence

import (
	"context"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/internal/db"
	"zhizheng/internal/pg"
)

// ActivityNames are the activities (执法活动) that a clip may show.
var ActivityNames = map[string]string{"patrol": "巡查", "inspection": "检查", "persuasion": "劝导", "service": "送达", "investigation": "调查", "publicity": "普法", "other": "其他"}

// Label is what an officer says an item shows: a kind of ActivityNames and, where it is one that was planned, its id. Of that the log is told
// no more than the id: title, place and people stay outside.
type Label struct{ Kind, Activity string }

// Label notes, in the caller's transaction, which activity an officer says the item shows. A later word replaces it; all stay in the log.
func (k *Keeper) Label(ctx context.Context, tx *pg.Tx, eid ID, l Label, a Act) error {
	n, err := db.New(tx).SetActivity(ctx, db.SetActivityParams{ID: string(eid), Activity: l.Kind, ActivityID: l.Activity})
	if err := one(n, err, "label evidence"); err != nil {
		return err
	}
	a.Reason = ActivityNames[l.Kind]
	if l.Activity != "" {
		a.Reason += "（执法活动 " + l.Activity + "）"
	}
	return k.Note(ctx, tx, eid, chain.KindLabelled, a)
}

// Mistaken marks the item as a mistaken recording (误录) in the caller's transaction: it is restricted, never deleted.
func (k *Keeper) Mistaken(ctx context.Context, tx *pg.Tx, eid ID, a Act) error {
	n, err := db.New(tx).SetRestricted(ctx, db.SetRestrictedParams{ID: string(eid), Restricted: true})
	if err := one(n, err, "restrict evidence"); err != nil {
		return err
	}
	return k.Note(ctx, tx, eid, chain.KindRestricted, a)
}

// Wiped notes, in the caller's transaction, that the original is no longer on its recorder.
func (k *Keeper) Wiped(ctx context.Context, tx *pg.Tx, eid ID, a Act) error {
	at := a.At.UTC()
	n, err := db.New(tx).SetWiped(ctx, db.SetWipedParams{ID: string(eid), WipedAt: &at})
	if err := one(n, err, "note a wipe"); err != nil {
		return err
	}
	return k.Note(ctx, tx, eid, chain.KindWiped, a)
}
