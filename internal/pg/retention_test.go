package pg_test

import (
	"io/fs"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"zhizheng/internal/pg"
	"zhizheng/internal/testenv"
)

// Footage from before categories: what was ever linked to a case is kept for good, the rest as it was; every lock is as far as the store has
// confirmed, and what the container says of the end is known.
func TestRetentionOfOldFootage(t *testing.T) {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := pgx.ParseConfig(testenv.DatabaseURL(t))
	must(err)
	db := stdlib.OpenDB(*cfg)
	defer db.Close()
	run := func(sql string, a ...any) {
		t.Helper()
		_, err := db.ExecContext(t.Context(), sql, a...)
		must(err)
	}
	run(`drop schema public cascade`)
	run(`create schema public`)
	dir, err := fs.Sub(pg.Migrations(), "migrations")
	must(err)
	p, err := goose.NewProvider(goose.DialectPostgres, db, dir)
	must(err)
	_, err = p.UpTo(t.Context(), 16)
	must(err)
	sealed := time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC)
	for i, id := range []string{"plain", "linked", "unlinked", "pending"} {
		run(`insert into evidence (id, township, station, file_name, file_name_bytes, size, sha256, part_size, composite, manifest_key, modified_at, recorded_at, registered_at, object_key, media)
			values ($1, '510821100', 'ST', 'a', '', $2, sha256($1::text::bytea), 1, sha256(''), $1, $3, $4, $5, $1, '{"created_at": "2026-05-01T06:00:00Z", "duration_ms": 60000}')`,
			id, i, sealed.Add(-time.Hour), sealed.Add(-2*time.Hour), sealed)
		if id != "pending" {
			run(`update evidence set status = 'sealed', sealed_at = $2, retain_until = $2::timestamptz + interval '184 days' where id = $1`, id, sealed)
		}
	}
	run(`update evidence set media = '{}', modified_at = registered_at + interval '1 day' where id = 'unlinked'`) // a clock ahead says nothing
	run(`begin; set local session_replication_role = replica; -- links without their cases
		insert into case_evidence (id, case_id, evidence_id, purpose, linked_by, linked_at) values ('1', 'c', 'linked', 'p', 'u', now());
		insert into case_evidence (id, case_id, evidence_id, purpose, linked_by, linked_at, unlinked_by, unlinked_at, unlink_reason)
		values ('2', 'c', 'unlinked', 'p', 'u', now(), 'u', now(), 'r');
		commit`)
	_, err = p.Up(t.Context())
	must(err)
	type row struct {
		category        string
		permanent, same bool
		end             *time.Time
	}
	minute := sealed.Add(-2*time.Hour + time.Minute)
	for id, want := range map[string]row{"plain": {"ordinary", false, true, &minute}, "linked": {"case", true, true, &minute}, "unlinked": {"case", true, true, nil}, "pending": {"ordinary", false, false, &minute}} {
		var got row
		err := db.QueryRowContext(t.Context(), `select category, permanent, coalesce(locked_until = retain_until, false), recorded_end from evidence where id = $1`, id).
			Scan(&got.category, &got.permanent, &got.same, &got.end)
		must(err)
		if got.category != want.category || got.permanent != want.permanent || got.same != want.same || (got.end == nil) != (want.end == nil) || got.end != nil && !got.end.Equal(*want.end) {
			t.Errorf("%s: %+v, want %+v", id, got, want)
		}
	}
}
