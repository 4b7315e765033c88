package db

import (
	"time"

	"github.com/jackc/pgx/v5"
)

// CustodyRow is a row of custody on its way.
type CustodyRow struct {
	ID, EvidenceID                 string
	At                             time.Time
	Kind                           int16
	Actor, Session, CaseID, Reason string
	Until                          *time.Time
	LogKey                         string
}

// QueueCustody queues writing the rows by one statement.
func QueueCustody(b *pgx.Batch, rows []CustodyRow) *pgx.QueuedQuery {
	n := len(rows)
	ids, items, ats, kinds := make([]string, n), make([]string, n), make([]time.Time, n), make([]int16, n)
	actors, sessions, cases, reasons := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	untils, keys := make([]*time.Time, n), make([]string, n)
	for i, r := range rows {
		ids[i], items[i], ats[i], kinds[i] = r.ID, r.EvidenceID, r.At, r.Kind
		actors[i], sessions[i], cases[i], reasons[i] = r.Actor, r.Session, r.CaseID, r.Reason
		untils[i], keys[i] = r.Until, r.LogKey
	}
	return b.Queue(addCustody, ids, items, ats, kinds, actors, sessions, cases, reasons, untils, keys)
}

// QueueEvidence queues writing records by one statement.
func QueueEvidence(b *pgx.Batch, rows []RegisterParams) *pgx.QueuedQuery {
	n := len(rows)
	ids, townships, stations, recorders, devices := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	names, raws, sizes, sums, parts, composites := make([]string, n), make([][]byte, n), make([]int64, n), make([][]byte, n), make([]int64, n), make([][]byte, n)
	keys, modified, recorded, registered, objects := make([]string, n), make([]*time.Time, n), make([]time.Time, n), make([]time.Time, n), make([]string, n)
	for i, r := range rows {
		ids[i], townships[i], stations[i], recorders[i], devices[i] = r.ID, r.Township, r.Station, r.Recorder, r.DeviceID
		names[i], raws[i], sizes[i], sums[i], parts[i], composites[i] = r.FileName, r.FileNameBytes, r.Size, r.Sha256, r.PartSize, r.Composite
		keys[i], modified[i], recorded[i], registered[i], objects[i] = r.ManifestKey, r.ModifiedAt, r.RecordedAt, r.RegisteredAt, r.ObjectKey
	}
	return b.Queue(registerUnseen, ids, townships, stations, recorders, devices, names, raws, sizes, sums, parts, composites, keys, modified, recorded, registered,
		objects)
}

// QueueKnown queues looking for bytes; there is called if they have a record.
func QueueKnown(b *pgx.Batch, sha256 []byte, size int64, there func()) {
	b.Queue(known, sha256, size).QueryRow(func(row pgx.Row) error {
		var yes bool
		err := row.Scan(&yes)
		if yes {
			there()
		}
		return err
	})
}

// SealRow is a record's sealing on its way.
type SealRow struct {
	ID, VersionID, Checked             string
	SealedAt, LockedUntil, RetainUntil time.Time
}

// QueueSeal queues sealing the records by one statement.
func QueueSeal(b *pgx.Batch, rows []SealRow) *pgx.QueuedQuery {
	n := len(rows)
	ids, versions, checks := make([]string, n), make([]string, n), make([]string, n)
	ats, locked, retain := make([]time.Time, n), make([]time.Time, n), make([]time.Time, n)
	for i, r := range rows {
		ids[i], versions[i], checks[i] = r.ID, r.VersionID, r.Checked
		ats[i], locked[i], retain[i] = r.SealedAt, r.LockedUntil, r.RetainUntil
	}
	return b.Queue(seal, ids, versions, checks, ats, locked, retain)
}
