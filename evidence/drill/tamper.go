package drill

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/evlog"
)

// way is a way into the copy of the log. change says whether there was anything to change. Each is done as somebody would who owns the
// database: what can be made to agree again (stored hashes, the head, the numbering) is made to agree.
type way struct {
	Way
	change func(ctx context.Context, tx pgx.Tx, c *evlog.Copy) (bool, error)
}

var ways = []way{
	{Way{Name: "row", Zh: "改一行：改动一个册页的字节，并重算它的散列", En: "a row: a leaf's bytes changed, its hash recomputed"}, changeRow},
	{Way{Name: "tile", Zh: "改瓦片：改动树的一个中间散列", En: "a tile: a node of the tree changed"}, changeTile},
	{Way{Name: "leaf", Zh: "删一页：抽掉一个册页，其后重新编号", En: "a leaf: one taken out, the rest numbered anew"}, func(ctx context.Context, tx pgx.Tx, c *evlog.Copy) (bool, error) {
		return true, takeOut(ctx, tx, c.Size/2)
	}},
	{Way{Name: "payload", Zh: "改内容：改动册页所承诺的内容", En: "a payload: what a leaf commits to changed"}, changePayload},
	{Way{Name: "order", Zh: "换次序：把相邻两页对调", En: "order: two neighbours exchanged"}, exchange},
	{Way{Name: "posting", Zh: "抹掉一笔账：抽掉一条记账及其内容，其后重新编号", En: "a posting: its leaf and payload taken out, the rest numbered anew"}, dropPosting},
	{Way{Name: "rollback", Zh: "回滚备份：整册退回到较早的、自身一致的状态", En: "a rolled-back backup: the whole log as it was earlier, consistent in itself"}, rollBack},
}

func changeRow(ctx context.Context, tx pgx.Tx, c *evlog.Copy) (bool, error) {
	seq := c.Size / 2
	var b []byte
	var key string
	if err := tx.QueryRow(ctx, `select bytes, key from log_entry where seq = $1`, seq).Scan(&b, &key); err != nil {
		return false, err
	}
	leaf, err := chain.DecodeLeaf(b)
	if err != nil {
		return false, err
	}
	leaf.TimeMS -= 24 * 60 * 60 * 1000 // as if it had been a day earlier
	if b, err = leaf.Encode(); err != nil {
		return false, err
	}
	h := chain.LeafHash(b)
	sum := sha256.Sum256(append(h[:], key...))
	_, err = tx.Exec(ctx, `update log_entry set bytes = $2, leaf_hash = $3, key_sum = $4 where seq = $1`, seq, b, h[:], sum[:8])
	return true, err
}

// changeTile changes a stored tile, and the head's edge where the tree has none that is full.
func changeTile(ctx context.Context, tx pgx.Tx, _ *evlog.Copy) (bool, error) {
	n, err := tx.Exec(ctx, `update log_tile set hashes = set_byte(hashes, 7, get_byte(hashes, 7) # 1) where (level, idx) = (select level, idx from log_tile order by level desc, idx limit 1)`)
	if err == nil && n.RowsAffected() == 0 {
		_, err = tx.Exec(ctx, `update log_head set edge = set_byte(edge, 7, get_byte(edge, 7) # 1)`)
	}
	return true, err
}

func changePayload(ctx context.Context, tx pgx.Tx, c *evlog.Copy) (bool, error) {
	n, err := tx.Exec(ctx, `update log_payload set payload = set_byte(payload, length(payload) - 1, get_byte(payload, length(payload) - 1) # 1)
		where seq = (select seq from log_payload where length(payload) > 0 and seq >= $1 order by seq limit 1)`, c.Size/3)
	return n.RowsAffected() > 0, err
}

// renumber moves the leaves behind one place down. By way of negative numbers, since no two may share one meanwhile.
func renumber(ctx context.Context, tx pgx.Tx, behind int64) error {
	for _, table := range []string{"log_entry", "log_payload"} {
		for _, sql := range []string{`update ` + table + ` set seq = -seq where seq > $1`, `update ` + table + ` set seq = -seq - 1 where seq < -$1::bigint`} {
			if _, err := tx.Exec(ctx, sql, behind); err != nil {
				return err
			}
		}
	}
	return nil
}

// takeOut removes a leaf and makes number and head agree again.
func takeOut(ctx context.Context, tx pgx.Tx, seq int64) error {
	for _, sql := range []string{`delete from log_entry where seq = $1`, `delete from log_payload where seq = $1`} {
		if _, err := tx.Exec(ctx, sql, seq); err != nil {
			return err
		}
	}
	if err := renumber(ctx, tx, seq); err != nil {
		return err
	}
	return resize(ctx, tx)
}

// resize makes the head say what the leaves give.
func resize(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `select leaf_hash from log_entry order by seq`)
	if err != nil {
		return err
	}
	var edge chain.Edge
	var b []byte
	if _, err := pgx.ForEachRow(rows, []any{&b}, func() error {
		edge.Append(chain.Hash(b))
		return nil
	}); err != nil {
		return err
	}
	_, err = tx.Exec(ctx, `update log_head set size = $1, edge = $2`, edge.Size, edge.Bytes())
	return err
}

func exchange(ctx context.Context, tx pgx.Tx, c *evlog.Copy) (bool, error) {
	a := c.Size / 2
	if a+1 >= c.Size {
		return false, nil
	}
	for _, table := range []string{"log_entry", "log_payload"} {
		for _, move := range [][2]int64{{a, -1}, {a + 1, a}, {-1, a + 1}} {
			if _, err := tx.Exec(ctx, `update `+table+` set seq = $2 where seq = $1`, move[0], move[1]); err != nil {
				return false, err
			}
		}
	}
	return true, resize(ctx, tx)
}

// dropPosting takes out the last posting.
func dropPosting(ctx context.Context, tx pgx.Tx, c *evlog.Copy) (bool, error) {
	rows, err := tx.Query(ctx, `select seq, bytes from log_entry order by seq desc`)
	if err != nil {
		return false, err
	}
	found := int64(-1)
	var seq int64
	var b []byte
	stop := errors.New("found")
	if _, err := pgx.ForEachRow(rows, []any{&seq, &b}, func() error {
		leaf, err := chain.DecodeLeaf(b)
		if err == nil && leaf.Kind == chain.KindPosting {
			found = seq
			return stop
		}
		return err
	}); err != nil && !errors.Is(err, stop) {
		return false, err
	}
	if found < 0 {
		return false, nil
	}
	return true, takeOut(ctx, tx, found)
}

// rollBack makes the copy what it was at an older checkpoint: leaves, tiles, head and published checkpoint all fit together. Only who
// remembers the newer checkpoint can tell.
func rollBack(ctx context.Context, tx pgx.Tx, c *evlog.Copy) (bool, error) {
	var size int64
	var root []byte
	var note *string
	err := tx.QueryRow(ctx, `select size, root, note from log_checkpoint where size < $1 order by size desc limit 1`, c.Size).Scan(&size, &root, &note)
	if errors.Is(err, pgx.ErrNoRows) { // no older one was kept: back to the empty log
		size, root, note, err = 0, nil, nil, nil
	}
	if err != nil {
		return false, err
	}
	for _, sql := range []string{`delete from log_cosignature where size > $1`,
		`delete from log_timestamp t using log_entry e where e.key = t.key and e.seq >= $1`, `delete from log_entry where seq >= $1`, `delete from log_payload where seq >= $1`, `delete from log_checkpoint where size > $1`,
		`delete from log_tile where (idx + 1) * 256::numeric ^ (level + 1) > $1::bigint`} {
		if _, err := tx.Exec(ctx, sql, size); err != nil {
			return false, fmt.Errorf("roll back: %w", err)
		}
	}
	if _, err := tx.Exec(ctx, `update log_publisher set size = $1, root = $2, note = $3`, size, root, note); err != nil {
		return false, err
	}
	return true, resize(ctx, tx)
}
