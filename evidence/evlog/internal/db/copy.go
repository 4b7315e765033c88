package db

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// copyFrom is how many entries are worth COPY instead of INSERT. COPY costs two more round trips; for each row it saves the server an
// executor's work, and its part of a log record: rows of a page share one.
const copyFrom = 64

// WriteRows writes entries and payloads ahead of QueueWrite's batch, if they are many, and takes them out of a.
func WriteRows(ctx context.Context, conn *pgx.Conn, a *Appended) error {
	n := len(a.Entries.Seqs)
	if n < copyFrom {
		return nil
	}
	e, p := a.Entries, a.Payloads
	size := 0
	for i := range n {
		size += len(e.Keys[i]) + len(e.Bytes[i]) + len(p.Payloads[i]) + 200
	}
	c := copier{b: make([]byte, 0, size)}
	c.header()
	for i := range n {
		c.row(7)
		c.int8(e.Seqs[i])
		c.text(e.Keys[i])
		c.bytes(e.KeySums[i])
		c.bytes(e.Subjects[i])
		c.int8(e.Counters[i])
		c.bytes(e.LeafHashes[i])
		c.bytes(e.Bytes[i])
	}
	if err := c.send(ctx, conn, `copy log_entry (seq, key, key_sum, subject, counter, leaf_hash, bytes) from stdin (format binary)`, n); err != nil {
		return err
	}
	c.header()
	for i := range n {
		c.row(3)
		c.int8(p.Seqs[i])
		c.bytes(p.Salts[i])
		c.bytes(p.Payloads[i])
	}
	if err := c.send(ctx, conn, `copy log_payload (seq, salt, payload) from stdin (format binary)`, n); err != nil {
		return err
	}
	a.Entries, a.Payloads = InsertEntriesParams{}, InsertPayloadsParams{}
	return nil
}

// copier writes COPY's binary format (PostgreSQL manual, COPY, "Binary Format").
type copier struct{ b []byte }

func (c *copier) header() {
	c.b = append(c.b[:0], "PGCOPY\n\xff\r\n\x00"...)
	c.b = append(c.b, make([]byte, 8)...) // no flags, no extension
}

func (c *copier) row(fields int16) { c.b = binary.BigEndian.AppendUint16(c.b, uint16(fields)) }

func (c *copier) int8(v int64) {
	c.b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(c.b, 8), uint64(v))
}

func (c *copier) bytes(v []byte) {
	c.b = append(binary.BigEndian.AppendUint32(c.b, uint32(len(v))), v...)
}

func (c *copier) text(v string) {
	c.b = append(binary.BigEndian.AppendUint32(c.b, uint32(len(v))), v...)
}

func (c *copier) send(ctx context.Context, conn *pgx.Conn, sql string, rows int) error {
	c.b = binary.BigEndian.AppendUint16(c.b, 0xffff) // the end
	tag, err := conn.PgConn().CopyFrom(ctx, bytes.NewReader(c.b), sql)
	if err == nil && tag.RowsAffected() != int64(rows) {
		err = fmt.Errorf("%d rows were taken of %d", tag.RowsAffected(), rows)
	}
	return err
}
