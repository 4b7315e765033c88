package evlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog/internal/db"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// Copy is the log as it stood at a signed checkpoint, in temporary tables of a connection of its own. What is done to it never reaches
// the log, and vanishes with the connection.
type Copy struct {
	Size       int64
	Root       chain.Hash
	Checkpoint []byte       // signed by the log
	Hashes     []chain.Hash // of the leaves

	l    *Log
	conn *pgx.Conn
}

// copied are the tables an audit reads. On the copy's connection a temporary table of the same name comes first.
var copied = []string{"log_head", "log_entry", "log_payload", "log_tile", "log_publisher", "log_checkpoint", "log_cosignature", "log_timestamp"}

// WithCopy gives fn a copy of at most that many leaves: of the whole log, or up to an older checkpoint that was kept. fault.Pending before
// the first checkpoint.
func (l *Log) WithCopy(ctx context.Context, most int64, fn func(c *Copy) error) error {
	// A connection of its own: on one that ran these queries before, the plans would still mean the log's tables.
	conn, err := pgx.ConnectConfig(ctx, l.pool.Config().ConnConfig.Copy())
	if err != nil {
		return pg.Away(fmt.Errorf("copy log: %w", err))
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }() // what is on it is thrown away
	c := &Copy{l: l, conn: conn}
	if err := c.fill(ctx, most); err != nil {
		return pg.Away(fmt.Errorf("copy log: %w", err))
	}
	return fn(c)
}

func (c *Copy) fill(ctx context.Context, most int64) error {
	// One snapshot, so that rows belong together while the log grows.
	tx, err := c.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // after a commit this is a no-op
	if err := c.choose(ctx, tx, most); err != nil {
		return err
	}
	for _, t := range copied {
		if _, err := tx.Exec(ctx, "create temporary table "+t+" (like public."+t+" including defaults including indexes)"); err != nil {
			return err
		}
	}
	for _, sql := range []string{
		`insert into pg_temp.log_entry select * from public.log_entry where seq < $1`,
		`insert into pg_temp.log_payload select * from public.log_payload where seq < $1`,
		`insert into pg_temp.log_tile select * from public.log_tile where (idx + 1) * 256::numeric ^ (level + 1) <= $1::bigint`,
		`insert into pg_temp.log_checkpoint select * from public.log_checkpoint where size <= $1`,
		`insert into pg_temp.log_cosignature select * from public.log_cosignature where size <= $1`,
		`insert into pg_temp.log_timestamp select t.* from public.log_timestamp t join public.log_entry e on e.key = t.key where e.seq < $1`,
	} {
		if _, err := tx.Exec(ctx, sql, c.Size); err != nil {
			return err
		}
	}
	rows, err := tx.Query(ctx, `select leaf_hash from pg_temp.log_entry order by seq`)
	if err != nil {
		return err
	}
	var edge chain.Edge
	if c.Hashes, err = pgx.CollectRows(rows, func(r pgx.CollectableRow) (h chain.Hash, err error) {
		var b []byte
		err = r.Scan(&b)
		copy(h[:], b)
		edge.Append(h)
		return h, err
	}); err != nil {
		return err
	}
	if edge.Size != c.Size {
		return fmt.Errorf("%d of %d leaves are there", edge.Size, c.Size)
	}
	if _, err := tx.Exec(ctx, `insert into pg_temp.log_head (size, edge) values ($1, $2)`, c.Size, edge.Bytes()); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `insert into pg_temp.log_publisher (size, root, note, at) values ($1, $2, $3, $4)`, c.Size, c.Root[:], string(c.Checkpoint), c.l.now()); err != nil {
		return err
	}
	if _, err := tx.Exec(ctx, `analyze pg_temp.log_entry, pg_temp.log_payload`); err != nil {
		return err
	}
	return tx.Commit(ctx)
}

// choose takes the latest checkpoint that is small enough.
func (c *Copy) choose(ctx context.Context, tx pgx.Tx, most int64) error {
	var note string
	err := tx.QueryRow(ctx, `select note from (select size, note from public.log_publisher where note is not null union all
		select size, note from public.log_checkpoint) as c where size <= $1 order by size desc limit 1`, most).Scan(&note)
	if errors.Is(err, pgx.ErrNoRows) {
		return fault.Pending(c.l.interval, "尚未签发检查点，请稍候")
	}
	if err != nil {
		return err
	}
	cp, err := chain.OpenCheckpoint([]byte(note), c.l.verifier)
	if err != nil {
		return err
	}
	c.Size, c.Root, c.Checkpoint = cp.Size, cp.Root, []byte(note)
	return nil
}

// Tamper changes the copy, audits it as if a signer stood behind it that remembers the copy's checkpoint, and takes the change back.
func (c *Copy) Tamper(ctx context.Context, change func(tx pgx.Tx) error) (AuditReport, error) {
	tx, err := c.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
	if err != nil {
		return AuditReport{}, pg.Away(err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // always: the next change begins with the same copy
	if err := change(tx); err != nil {
		return AuditReport{}, pg.Away(fmt.Errorf("change the copy: %w", err))
	}
	a := c.l.newAudit(signer.State{Size: c.Size, Root: c.Root})
	if err := a.run(ctx, tx); err != nil {
		return AuditReport{}, pg.Away(fmt.Errorf("audit copy: %w", err))
	}
	return a.rep, nil
}

// Leaf gives a leaf of the copy.
func (c *Copy) Leaf(ctx context.Context, key string) (Leaf, error) {
	return byKey(ctx, db.New(c.conn), key)
}

// SubjectLeaves gives the subject's leaves that the copy holds, in order.
func (c *Copy) SubjectLeaves(ctx context.Context, s chain.Subject) ([]Leaf, error) {
	return subjectLeaves(ctx, db.New(c.conn), s)
}
