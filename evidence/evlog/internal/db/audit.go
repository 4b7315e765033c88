package db

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// AuditRow is a stored leaf with what it commits to, as bytes of its page. Salt and Payload are nil once erased.
type AuditRow struct {
	Seq, Counter                                         int64
	Key, KeySum, Subject, LeafHash, Bytes, Salt, Payload []byte
}

// AuditPage reads up to most leaves from first on into rows, which it reuses. An audit reads the whole log, so it takes the values as
// they come from the wire: in binary form, copied together once a row.
func AuditPage(ctx context.Context, tx pgx.Tx, first int64, most int32, rows []AuditRow) ([]AuditRow, error) {
	rows = rows[:0]
	res, err := tx.Query(ctx, entriesToAudit, pgx.QueryResultFormats{pgx.BinaryFormatCode}, first, most)
	if err != nil {
		return nil, err
	}
	defer res.Close()
	var arena []byte
	for res.Next() {
		v := res.RawValues()
		if len(v) != 9 || len(v[0]) != 8 || len(v[4]) != 8 {
			return nil, fmt.Errorf("a row of %d columns in an unknown form", len(v))
		}
		n := 0
		for _, b := range v {
			n += len(b)
		}
		if cap(arena)-len(arena) < n {
			arena = make([]byte, 0, max(n, 1<<18))
		}
		keep := func(b []byte) []byte {
			if b == nil {
				return nil // null is not empty
			}
			at := len(arena)
			arena = append(arena, b...)
			return arena[at:len(arena):len(arena)]
		}
		rows = append(rows, AuditRow{
			Seq: int64(binary.BigEndian.Uint64(v[0])), Counter: int64(binary.BigEndian.Uint64(v[4])), Key: keep(v[1]), KeySum: keep(v[2]),
			Subject: keep(v[3]), LeafHash: keep(v[5]), Bytes: keep(v[6]), Salt: keep(v[7]), Payload: keep(v[8]),
		})
	}
	return rows, res.Err()
}
