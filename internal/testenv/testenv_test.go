package testenv_test

import (
	"testing"

	"zhizheng/internal/pg"
	"zhizheng/internal/testenv"
)

func TestPoolIsFreshMigratedAndUnprivileged(t *testing.T) {
	for range 2 { // the second sees nothing of the first
		pool := testenv.Pool(t)
		var role string
		var jobs int
		err := pool.QueryRow(t.Context(), `select current_user, (select count(*) from river_job)`).Scan(&role, &jobs)
		if err != nil {
			t.Fatal(err)
		}
		if role != pg.AppRole || jobs != 0 {
			t.Fatalf("role %s, %d jobs", role, jobs)
		}
		if _, err := pool.Exec(t.Context(), `create table mine ()`); err == nil {
			t.Fatal("the runtime role may change the schema")
		}
		_, err = pool.Exec(t.Context(), `insert into river_job (args, kind, max_attempts) values ('{}', 'x', 1)`)
		if err != nil {
			t.Fatal(err)
		}
	}
}

func BenchmarkDatabase(b *testing.B) {
	testenv.DatabaseURL(b)
	for b.Loop() {
		testenv.DatabaseURL(b)
	}
}
