package db

import (
	"context"

	"github.com/jackc/pgx/v5"
)

// Place is a manifest's place in its signer's chain, and what it is compared with.
type Place struct {
	Taken  bool // by another manifest; then the rest means nothing
	Epoch  ChainEpoch
	Near   []Manifest
	States []DeviceChainState
	Others []OtherEpochsRow
}

// AddToChain adds a manifest, locks its epoch and reads what stands beside it, in one round trip. Each statement has a snapshot of its own
// (READ COMMITTED): those after the lock see all that was committed before it was won.
func AddToChain(ctx context.Context, tx pgx.Tx, m AddManifestParams) (p Place, err error) {
	var b pgx.Batch
	b.Queue(addManifest, m.KeyID, m.Epoch, m.Counter, m.Hash, m.Prev, m.EvidenceID, m.LogKey, m.ReceivedAt, m.Recorder, m.SignedMs, m.MonotonicMs,
		m.Checkpoint).Fn = func(res pgx.BatchResults) error {
		tag, err := res.Exec()
		p.Taken = tag.RowsAffected() == 0
		return err
	}
	b.Queue(lockEpoch, m.KeyID, m.Epoch).Query(func(rows pgx.Rows) (err error) {
		p.Epoch, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByPos[ChainEpoch])
		return err
	})
	b.Queue(neighbours, m.KeyID, m.Epoch, m.Counter).Query(func(rows pgx.Rows) (err error) {
		p.Near, err = pgx.CollectRows(rows, pgx.RowToStructByPos[Manifest])
		return err
	})
	b.Queue(statesAt, m.KeyID, m.Epoch, m.Counter).Query(func(rows pgx.Rows) (err error) {
		p.States, err = pgx.CollectRows(rows, pgx.RowToStructByPos[DeviceChainState])
		return err
	})
	b.Queue(otherEpochs, m.KeyID, m.Epoch).Query(func(rows pgx.Rows) (err error) {
		p.Others, err = pgx.CollectRows(rows, pgx.RowToStructByPos[OtherEpochsRow])
		return err
	})
	err = tx.SendBatch(ctx, &b).Close() // fills p
	return p, err
}
