package cases

import (
	"context"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"zhizheng/authority"
	"zhizheng/evidence"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/internal/blob"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
	"zhizheng/internal/testenv"
)

const (
	donghe   = "510821100"
	jiachuan = "510821101"
	straw    = "FQ-001"
)

// env is a small county: two townships, one power item each may use since 2024, officers with certificates to 2029.
type env struct {
	*Service
	pool     *pgxpool.Pool
	log      *evlog.Log
	auth     *authority.Service
	keeper   *evidence.Keeper
	store    *blob.Store
	river    *river.Client[pgx.Tx]
	clock    time.Time
	officers map[string][]string
}

// newEnv has a store only for tests that put footage in.
func newEnv(t *testing.T, store *blob.Store) *env {
	t.Helper()
	e := &env{pool: testenv.Pool(t), store: store, clock: time.Date(2026, 3, 2, 2, 0, 0, 0, time.UTC), officers: map[string][]string{}}
	now := func() time.Time { return e.clock }
	sg, err := signer.Open(t.Context(), t.TempDir(), "test.example/log")
	ok(t, err)
	e.log, err = evlog.New(e.pool, evlog.Options{Signer: sg})
	ok(t, err)
	t.Cleanup(func() { _ = e.log.Close() })
	e.auth = authority.New(e.pool, e.log, authority.Options{Now: now})
	e.keeper = evidence.NewKeeper(e.pool, e.log, store, now)
	workers := river.NewWorkers()
	river.AddWorker(workers, NewHoldWorker(e.keeper, func(_ context.Context, eid evidence.ID) error { return errors.New("missing: " + string(eid)) }))
	e.river, err = river.NewClient(riverpgxv5.New(e.pool), &river.Config{Workers: workers,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2}}})
	ok(t, err)
	e.Service = New(e.pool, e.log, e.auth, e.keeper, e.river, now)

	ctx := authority.WithActor(t.Context(), authority.System)
	ok(t, e.auth.PutTownships(ctx, []authority.Township{{Code: donghe, Name: "东河镇", Kind: "town"}, {Code: jiachuan, Name: "嘉川镇", Kind: "town"}}))
	fineMax := int64(200000)
	item := authority.PowerItem{Code: straw, Name: "露天焚烧秸秆", Field: "生态环境", Law: "大气污染防治法", Article: "第119条", FineMin: 50000, FineMax: &fineMax}
	ok(t, e.auth.PutPowerItems(ctx, []authority.PowerItem{item}))
	for _, town := range []string{donghe, jiachuan} {
		ok(t, e.auth.GrantPowers(ctx, []authority.Grant{{Item: item, Township: town, Mode: authority.Delegated, From: date("2024-01-01")}}))
		var all []authority.Officer
		for range 3 {
			all = append(all, authority.Officer{ID: id.New(), Township: town, Name: "示例", Certificates: []authority.Certificate{
				{Number: id.New(), From: date("2024-07-01"), To: date("2029-06-30")}}})
		}
		all[2].Certificates[0].To = date("2026-03-01") // yesterday, on the tests' clock
		ok(t, e.auth.AddOfficers(ctx, all))
		for _, o := range all {
			e.officers[town] = append(e.officers[town], o.ID)
		}
	}
	return e
}

// as is a person of a role with a scope; none is the whole county.
func (e *env) as(t *testing.T, role string, townships ...string) context.Context {
	t.Helper()
	if len(townships) == 0 {
		townships = nil
	}
	return authority.WithActor(t.Context(), authority.Actor{UserID: "user-" + role, Username: role, Name: role, Role: role, Townships: townships})
}

func (e *env) opening() Opening {
	return Opening{Township: donghe, PowerItem: straw, Title: "王某（示例）露天焚烧秸秆案", Officers: e.officers[donghe][:2]}
}

func (e *env) open(t *testing.T, ctx context.Context) File {
	t.Helper()
	f, err := e.Open(ctx, e.opening())
	ok(t, err)
	return f
}

// clip is a sealed evidence record whose bytes lie in the store (if there is one), or a pending one.
func (e *env) clip(t *testing.T, township, content string, sealed bool) string {
	t.Helper()
	var rec evidence.Record
	err := e.log.Do(t.Context(), func(ctx context.Context, tx *pg.Tx) (err error) {
		sum := sha256.Sum256([]byte(content))
		rec, _, err = e.keeper.Register(ctx, tx, evidence.Registration{Township: township, Station: "station", FileName: []byte(content + ".mp4"),
			Size: int64(len(content)), PartSize: 5 << 20, SHA256: sum, Composite: sum, ManifestKey: "manifest/" + content})
		return err
	})
	ok(t, err)
	if !sealed {
		return string(rec.ID)
	}
	version := ""
	if e.store != nil {
		o, err := e.store.Put(t.Context(), rec.ObjectKey, []byte(content), blob.CreateOptions{})
		ok(t, err)
		version = o.Version
	}
	ok(t, e.log.Do(t.Context(), func(ctx context.Context, tx *pg.Tx) error {
		return e.keeper.Seal(ctx, tx, rec.ID, evidence.Sealed{VersionID: version, Parts: 1, Check: "attested", At: e.clock, RetainUntil: e.clock.AddDate(0, 6, 0)})
	}))
	return string(rec.ID)
}

func date(s string) time.Time {
	d, err := time.Parse(time.DateOnly, s)
	if err != nil {
		panic(err)
	}
	return d
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refusedBy wants a refusal that names the rule and an article.
func refusedBy(t *testing.T, err error, rule string) {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) || f.Kind != fault.KindRefused || f.Rule != rule || f.Article == "" {
		t.Fatalf("got %v, want a refusal by %s with its article", err, rule)
	}
}

func wantKind(t *testing.T, err error, k fault.Kind) {
	t.Helper()
	if fault.KindOf(err) != k {
		t.Fatalf("error %v is %q, want %q", err, fault.KindOf(err), k)
	}
}
