// Package testcounty gives tests the whole platform behind its HTTP edge, on real services: two townships with two certified officers
// each, one power item both hold, an enrolled docking station. It never ships in a command.
//
// Read testcounty.go for the county, browser.go for a person in it.
package testcounty

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"zhizheng/api"
	"zhizheng/authority"
	"zhizheng/budget"
	"zhizheng/cases"
	"zhizheng/devices"
	"zhizheng/evidence"
	"zhizheng/evidence/audit"
	"zhizheng/evidence/drill"
	"zhizheng/evidence/evlog"
	"zhizheng/evidence/evlog/evlogtest"
	"zhizheng/evidence/evlog/signer"
	"zhizheng/ingest"
	"zhizheng/ingest/manifest"
	"zhizheng/ingest/media"
	"zhizheng/internal/blob"
	"zhizheng/internal/ca"
	"zhizheng/internal/pg"
	"zhizheng/internal/secret"
	"zhizheng/internal/testenv"
)

// The two townships, the power item and the station.
const (
	Donghe   = "510821100"
	Jiachuan = "510821101"
	Item     = "FQ-001"
	Station  = "ST-01"
	Password = "correct horse battery"
)

// County is the platform.
type County struct {
	t        testing.TB
	URL      string
	Handler  http.Handler
	Pool     *pgxpool.Pool
	Log      *evlog.Log
	Signer   *signer.Signer
	Store    *blob.Store
	Keeper   *evidence.Keeper
	Audit    *audit.Service
	Ingest   *ingest.Service
	Auth     *authority.Service
	Cases    *cases.Service
	Devices  *devices.Service
	Budget   *budget.Service
	Jobs     *river.Client[pgx.Tx] // not started: a test that wants them done starts it
	Officers map[string][]string   // ids by township
	Recorder string                // serial that the station names in manifests from now on
	Named    []byte                // hash of the checkpoint that they name, nil for none

	StoreOptions blob.Options
	Identity     string // the station's folder
	Secrets      string // the signer's folder, for processes that observe it

	database   string // the owner's address
	stationKey ed25519.PrivateKey
	counter    uint64
	prev       []byte
}

// New starts a county; it ends with the test. change may alter what the edge is built of.
func New(t testing.TB, change ...func(*api.Deps)) *County {
	t.Helper()
	return newCounty(t, func(*evlog.Options) {}, func(*evlog.Log) {}, change)
}

// NewWith is New with something done to the log before it runs, such as setting its witnesses.
func NewWith(t testing.TB, before func(*evlog.Log), change ...func(*api.Deps)) *County {
	t.Helper()
	return newCounty(t, func(*evlog.Options) {}, before, change)
}

// NewWithLog is New with other options of the log.
func NewWithLog(t testing.TB, log func(*evlog.Options), change ...func(*api.Deps)) *County {
	t.Helper()
	return newCounty(t, log, func(*evlog.Log) {}, change)
}

func newCounty(t testing.TB, log func(*evlog.Options), before func(*evlog.Log), change []func(*api.Deps)) *County {
	t.Helper()
	c := &County{t: t, StoreOptions: testenv.StoreOptions(t), Officers: map[string][]string{}, database: testenv.DatabaseURL(t)}
	var err error
	c.Store, err = blob.Open(t.Context(), c.StoreOptions)
	c.must(err)
	t.Cleanup(c.Store.Close)
	c.Pool, err = pg.Open(t.Context(), c.database, 16)
	c.must(err)
	t.Cleanup(c.Pool.Close)
	c.Secrets = t.TempDir()
	c.Log = evlogtest.Open(t, c.Pool, c.Secrets, func(o *evlog.Options) {
		log(o)
		c.Signer, _ = o.Signer.(*signer.Signer) // nil where the test brought another
	}, before)
	quiet := slog.New(slog.DiscardHandler)
	c.Auth = authority.New(c.Pool, c.Log, authority.Options{})
	c.Keeper = evidence.NewKeeper(c.Pool, c.Log, c.Store, nil)
	authorityOfDevices, err := ca.Open(c.Secrets)
	c.must(err)
	commandKey, err := secret.Ed25519(c.Secrets, "device-command.key")
	c.must(err)
	c.Devices = devices.New(c.Pool, devices.Options{Log: c.Log, CA: authorityOfDevices, CommandKey: commandKey})
	c.Budget = budget.New(c.Pool, c.Log, c.Devices, nil)
	c.Ingest = ingest.New(ingest.Options{Pool: c.Pool, Log: c.Log, Evidence: c.Keeper, Store: c.Store, Attested: func() bool { return true }, Logger: quiet,
		Retain: func(now time.Time) time.Time { return now.Add(time.Minute) }, Recorder: c.Devices.BySerial, Officer: c.Auth.IsOfficer,
		Activity: func(ctx context.Context, id string) (string, error) { return c.Cases.ActivityTownship(ctx, id) },
		Message:  c.Devices.TakeAgain})
	workers := river.NewWorkers()
	media.Register(workers, media.FromKeeper(c.Keeper, c.Store, quiet))
	media.RegisterDerive(workers, c.Keeper, c.Store, 2, quiet)
	river.AddWorker(workers, cases.NewHoldWorker(c.Keeper, func(ctx context.Context, eid evidence.ID) error { return c.Audit.HoldMissing(ctx, eid) }))
	jobs, err := river.NewClient(riverpgxv5.New(c.Pool), &river.Config{Workers: workers, Logger: quiet,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2}, media.Queue: {MaxWorkers: 1}, media.DeriveQueue: {MaxWorkers: 2}}})
	c.must(err)
	c.Jobs = jobs
	c.Cases = cases.New(c.Pool, c.Log, c.Auth, c.Keeper, jobs, nil)
	c.Audit = audit.New(audit.Options{Pool: c.Pool, Log: c.Log, Evidence: c.Keeper, Stores: []audit.Store{{Name: "主存储", Options: c.StoreOptions}},
		CasesOf: c.Cases.IDsOfEvidence,
		Drill:   drill.New(drill.Options{Log: c.Log, Evidence: c.Keeper, Read: manifest.Open, Enrolment: ingest.EnrolmentKey})})
	d := api.Deps{Pool: c.Pool, Log: c.Log, Store: c.Store, Evidence: c.Keeper, Audit: c.Audit, Ingest: c.Ingest, Authority: c.Auth, Cases: c.Cases, Devices: c.Devices,
		Budget: c.Budget, Names: manifest.DefaultNames(), Console: fstest.MapFS{"index.html": {Data: []byte("console")}, "assets/a.js": {Data: []byte("1")}}, Version: "test", Logger: quiet,
		SettleHolds: c.Cases.EnqueueHolds, Derive: func(ctx context.Context, tx *pg.Tx) error {
			_, err := jobs.InsertTx(ctx, tx.Tx, media.DeriveJob{}, nil)
			return err
		}, StoreLabel: func() string { return "attested" },
		Ready: func(context.Context) map[string]string { return map[string]string{"database": "ok"} }}
	for _, f := range change {
		f(&d)
	}
	c.Handler, err = api.New(d)
	c.must(err)
	srv := httptest.NewServer(c.Handler)
	t.Cleanup(srv.Close)
	c.URL = srv.URL
	c.people()
	c.enrol()
	return c
}

func (c *County) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *County) people() {
	c.t.Helper()
	ctx := authority.WithActor(c.t.Context(), authority.System)
	c.must(c.Auth.PutTownships(ctx, []authority.Township{{Code: Donghe, Name: "东河镇", Kind: "town"}, {Code: Jiachuan, Name: "嘉川镇", Kind: "town"}}))
	item := authority.PowerItem{Code: Item, Name: "露天焚烧秸秆", Field: "生态环境", Law: "大气污染防治法", Article: "第119条"}
	c.must(c.Auth.PutPowerItems(ctx, []authority.PowerItem{item}))
	today := authority.Day(time.Now())
	for _, town := range []string{Donghe, Jiachuan} {
		c.must(c.Auth.GrantPowers(ctx, []authority.Grant{{Item: item, Township: town, Mode: authority.Delegated, From: today.AddDate(-1, 0, 0)}}))
		all := []authority.Officer{{Township: town, Name: "甲（示例）"}, {Township: town, Name: "乙（示例）"}}
		for i := range all {
			all[i].Certificates = []authority.Certificate{{Number: town + all[i].Name, From: today.AddDate(-1, 0, 0), To: today.AddDate(1, 0, 0)}}
		}
		c.must(c.Auth.AddOfficers(ctx, all))
		c.Officers[town] = []string{all[0].ID, all[1].ID}
	}
}

func (c *County) enrol() {
	c.t.Helper()
	dir := filepath.Join(c.t.TempDir(), Station)
	c.Identity = dir
	c.must(c.Ingest.WriteIdentity(c.t.Context(), dir, c.URL, Station, Donghe, "示例采集站", "test"))
	b, err := os.ReadFile(filepath.Join(dir, "key.pem"))
	c.must(err)
	block, _ := pem.Decode(b)
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	c.must(err)
	c.stationKey = k.(ed25519.PrivateKey)
}

// KeyID names the station's key.
func (c *County) KeyID() []byte {
	c.t.Helper()
	id, err := manifest.KeyID(c.stationKey.Public().(ed25519.PublicKey))
	c.must(err)
	return id
}

// Token is what the station shows the edge.
func (c *County) Token() string {
	c.t.Helper()
	now := time.Now()
	tok := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{Issuer: Station, Audience: jwt.ClaimStrings{ingest.Audience},
		IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(4 * time.Minute))})
	tok.Header["kid"] = hex.EncodeToString(c.KeyID())
	s, err := tok.SignedString(c.stationKey)
	c.must(err)
	return s
}

// Signs is the station's manifest of a file.
func (c *County) Signs(name string, content []byte) []byte {
	c.t.Helper()
	raw, _, _ := c.signs(name, content)
	return raw
}

func (c *County) signs(name string, content []byte) ([]byte, manifest.Manifest, [][]byte) {
	c.t.Helper()
	h := manifest.NewHasher(int64(len(content)))
	_, _ = h.Write(content)
	whole, composite, parts := h.Sum()
	c.counter++
	m := manifest.Manifest{KeyID: c.KeyID(), Epoch: 1, Counter: c.counter, Prev: c.prev, Recorder: c.Recorder, FileName: []byte(name), Size: h.Size, SHA256: whole[:],
		PartSize: manifest.PartSize(h.Size), Composite: composite[:], At: time.Now().UnixMilli(), Checkpoint: c.Named}
	raw, hash, err := manifest.Sign(m, c.stationKey)
	c.must(err)
	c.prev = hash[:]
	return raw, m, parts
}

// Registers is the station's fingerprint of a file, whose bytes have yet to come.
func (c *County) Registers(name string, content []byte) (evidence.ID, manifest.Manifest, [][]byte) {
	c.t.Helper()
	raw, m, parts := c.signs(name, content)
	out, err := c.Ingest.SubmitManifests(c.t.Context(), c.station(), [][]byte{raw})
	c.must(err)
	if out[0].Status != ingest.Accepted {
		c.t.Fatalf("%s: %+v", name, out[0])
	}
	return out[0].EvidenceID, m, parts
}

// Loses signs manifests of n clips that never reach the platform.
func (c *County) Loses(n int) {
	c.t.Helper()
	for range n {
		c.counter++
		m := manifest.Manifest{KeyID: c.KeyID(), Epoch: 1, Counter: c.counter, Prev: c.prev, Recorder: c.Recorder, FileName: []byte("lost.mp4"), SHA256: make([]byte, 32),
			PartSize: manifest.PartSize(0), Composite: make([]byte, 32), At: time.Now().UnixMilli()}
		_, hash, err := manifest.Sign(m, c.stationKey)
		c.must(err)
		c.prev = hash[:]
	}
}

// Closing is the station's signed state at the end of a docking.
func (c *County) Closing() []byte {
	c.t.Helper()
	raw, _, err := manifest.SignState(manifest.State{KeyID: c.KeyID(), Epoch: 1, Counter: c.counter, Last: c.prev, At: time.Now().UnixMilli(), Closing: true, Recorder: c.Recorder}, c.stationKey)
	c.must(err)
	return raw
}

// StationID is the station as it speaks to ingest.
func (c *County) StationID() ingest.Station { return c.station() }

func (c *County) station() ingest.Station {
	return ingest.Station{ID: Station, Township: Donghe, KeyID: c.KeyID()}
}

// Seals docks a file: fingerprint, bytes, sealing.
func (c *County) Seals(name string, content []byte) evidence.ID {
	c.t.Helper()
	eid, m, parts := c.Registers(name, content)
	c.Carries(eid, m, parts, content)
	return eid
}

// Carries brings the bytes of a registered file, and they are sealed.
func (c *County) Carries(eid evidence.ID, m manifest.Manifest, parts [][]byte, content []byte) {
	c.t.Helper()
	ctx := c.t.Context()
	u, err := c.Ingest.BeginUpload(ctx, c.station(), eid, m.PartSize, parts)
	c.must(err)
	c.Sends(u, content)
	_, err = c.Ingest.CompleteUpload(ctx, c.station(), u.ID)
	c.must(err)
}

// Sends puts the missing parts of an upload to the store.
func (c *County) Sends(u ingest.Upload, content []byte) {
	c.t.Helper()
	for _, p := range u.Missing {
		off := int64(p.Number-1) * u.PartSize
		req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPut, p.URL, bytes.NewReader(content[off:off+p.Size]))
		c.must(err)
		for k, v := range p.Headers {
			req.Header[k] = v
		}
		res, err := http.DefaultClient.Do(req)
		c.must(err)
		_, err = io.Copy(io.Discard, res.Body)
		c.must(err)
		c.must(res.Body.Close())
		if res.StatusCode != http.StatusOK {
			c.t.Fatalf("part %d: %s", p.Number, res.Status)
		}
	}
}

// As is a person of a role, for calls beneath the edge; no township is the whole county.
func (c *County) As(role string, townships ...string) context.Context {
	if len(townships) == 0 {
		townships = nil
	}
	return authority.WithActor(c.t.Context(), authority.Actor{UserID: "user-" + role, Username: role, Name: role, Role: role, Session: "s-" + role, Townships: townships})
}

// Case opens a case in 东河镇 with these exhibits.
func (c *County) Case(exhibits ...evidence.ID) string {
	c.t.Helper()
	ctx := c.As("officer", Donghe)
	f, err := c.Cases.Open(ctx, cases.Opening{Township: Donghe, PowerItem: Item, Title: "王某（示例）露天焚烧秸秆案", Officers: c.Officers[Donghe]})
	c.must(err)
	for _, e := range exhibits {
		_, err := c.Cases.Link(ctx, f.ID, string(e), "证明现场情况")
		c.must(err)
	}
	return f.ID
}

// Receipt waits for a leaf's receipt.
func (c *County) Receipt(key string) []byte {
	c.t.Helper()
	var text []byte
	testenv.Eventually(c.t, 20*time.Second, func() bool {
		var err error
		text, err = c.Log.Receipt(c.t.Context(), key)
		return err == nil
	})
	return text
}

// Bytes are the same for the same seed.
func Bytes(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// Owner is the database's owner, who may change the schema: to make things fail.
func (c *County) Owner() *pgxpool.Pool {
	c.t.Helper()
	pool, err := pgxpool.New(c.t.Context(), c.database)
	c.must(err)
	c.t.Cleanup(pool.Close)
	return pool
}

// DatabaseURL is the owner's address, for processes of their own.
func (c *County) DatabaseURL() string { return c.database }

// KeeperOn keeps the county's evidence by another way to the store, for tests in which that way is bad.
func (c *County) KeeperOn(s *blob.Store) *evidence.Keeper {
	return evidence.NewKeeper(c.Pool, c.Log, s, nil)
}
