// Package devices owns the registry of what townships were given to enforce with, and what those devices say of themselves: latest
// state, presence, messages. It promises that a message is stored before it is acknowledged, once however often it comes, and that
// older news never overwrites newer. It never knows evidence or money: a posting that bought a device is an id to it.
//
// Read devices.go for the registry, enrol.go for who a device is, message.go for what devices may say (pure), batch.go for the way into the database, seen.go for
// what came before, pace.go for how
// much may come, presence.go for who is there, live.go for the stream of changes.
package devices

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/authority"
	"zhizheng/devices/internal/db"
	"zhizheng/evidence/evlog"
	"zhizheng/internal/ca"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// Kinds of devices.
const (
	Recorder = "recorder"
	Dock     = "dock"
	Computer = "computer"
	Printer  = "printer"
	Other    = "other"
)

// Where a device stands in its life.
const (
	InUse   = "in-use"
	Repair  = "repair"
	Lost    = "lost"
	Retired = "retired"
)

// Sources of funds of a device.
const (
	FundPosting = "posting" // a posting of the township's ledger
	FundOpening = "opening" // there before the ledger began
	FundCounty  = "county"
	FundSpecial = "special"
	FundDonated = "donated"
	FundPending = "pending" // its posting was reversed
)

var (
	kindNames = map[string]string{Recorder: "执法记录仪", Dock: "采集站", Computer: "计算机", Printer: "打印机", Other: "其他装备"}
	fundNames = map[string]string{FundPosting: "乡镇经费记账", FundOpening: "建账前存量", FundCounty: "县级配发", FundSpecial: "专项资金",
		FundDonated: "接受捐赠", FundPending: "待补资金来源"}
)

// KindName is the kind's name in Chinese.
func KindName(kind string) string { return kindNames[kind] }

// FundingName is the name of a source of funds in Chinese.
func FundingName(f string) string { return fundNames[f] }

var statusNames = map[string]string{InUse: "在用", Repair: "维修中", Lost: "遗失", Retired: "报废"}

// StatusName is the name of a status in Chinese.
func StatusName(status string) string { return statusNames[status] }

// Device is an entry of the registry with its latest state.
type Device struct {
	ID, Serial, Kind, Name, Model string
	Township, TownshipName        string
	OfficerID                     string // "" while nobody has it
	Status                        string // in-use, repair, lost, retired
	BoughtOn                      *time.Time
	CostFen                       *int64
	Funding                       string
	PostingID                     string // of Funding "posting"
	PostingYear                   int
	RegisteredAt                  time.Time
	State                         State
}

// Options are the settings of a Service; the zero value is usable.
type Options struct {
	Now          func() time.Time
	Logger       *slog.Logger
	Log          *evlog.Log         // where identities of devices are leaves; nil: none are issued
	CA           *ca.Authority      // who issues them
	CommandKey   ed25519.PrivateKey // signs commands; nil: none are given
	CRL          string             // file of revoked certificates for external brokers, "" for none
	KeepMessages time.Duration      // how long messages are kept, to the day; 0 is 72 hours
	Rate         int                // messages a second that one device may send in the long run; 0 is 50
	Burst        int                // messages it may send ahead of that; 0 is 1,000
	Letters      int                // dead letters kept of one device a day, beside the last; 0 is 10,000
}

// Service is the one way to the tables of devices.
type Service struct {
	pool   *pgxpool.Pool
	q      *db.Queries
	now    func() time.Time
	log    *slog.Logger
	keep   time.Duration
	live   *hub
	queues [workers]*queue
	seed   maphash.Seed // which device's messages go to which queue
	here   *presence
	known  sync.Map // device id → township; devices are never deleted

	scattered sync.Map // boots whose numbers are not followed any more
	pace      *pace
	letters   int
	skipped   atomic.Int64 // dead letters that were not kept

	leaves  *evlog.Log
	ca      *ca.Authority
	crlFile string
	broker  atomic.Pointer[Broker]
	changed chan struct{} // an identity ended

	commandKey ed25519.PrivateKey
	sender     atomic.Pointer[Sender]
	toSend     chan string // device that has come, "" for a new command
}

// New makes the service. Messages are taken while Run runs.
func New(pool *pgxpool.Pool, o Options) *Service {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.KeepMessages <= 0 {
		o.KeepMessages = 72 * time.Hour
	}
	s := &Service{pool: pool, q: db.New(pool), now: o.Now, log: o.Logger, keep: o.KeepMessages, live: newHub(), here: newPresence(),
		seed: maphash.MakeSeed(), leaves: o.Log, ca: o.CA, crlFile: o.CRL, changed: make(chan struct{}, 1),
		commandKey: o.CommandKey, toSend: make(chan string, 4096),
		pace: newPace(cmp.Or(max(o.Rate, 0), defaultRate), cmp.Or(max(o.Burst, 0), defaultBurst)), letters: cmp.Or(max(o.Letters, 0), defaultLetters)}
	for i := range s.queues {
		s.queues[i] = newQueue()
	}
	return s
}

// Register adds devices in one transaction and gives them ids where they have none; a serial that is known fails all with
// fault.Conflict.
func (s *Service) Register(ctx context.Context, all []Device) error {
	rows := make([]db.AddDevicesParams, len(all))
	now := s.now().UTC()
	for i := range all {
		d := &all[i]
		if d.ID == "" {
			d.ID = id.New()
		}
		if d.Status == "" {
			d.Status = InUse
		}
		if d.Funding == "" || d.Funding == FundPosting {
			d.Funding = FundPending // until a posting names it
		}
		rows[i] = db.AddDevicesParams{ID: d.ID, Serial: d.Serial, Kind: d.Kind, Name: d.Name, Model: d.Model, Township: d.Township,
			OfficerID: d.OfficerID, Status: d.Status, BoughtOn: d.BoughtOn, CostFen: d.CostFen, Funding: d.Funding, RegisteredAt: now}
	}
	err := pg.InTx(ctx, s.pool, func(tx *pg.Tx) error {
		_, err := db.New(tx).AddDevices(ctx, rows)
		return err
	})
	if pg.IsUnique(err, "") {
		return fault.Conflict("设备编号已登记").Because(err)
	}
	if err != nil {
		return fmt.Errorf("register devices: %w", err)
	}
	return nil
}

// Known gives the ids of serials that are registered.
func (s *Service) Known(ctx context.Context, serials []string) (map[string]string, error) {
	rows, err := s.q.KnownSerials(ctx, serials)
	if err != nil {
		return nil, fmt.Errorf("look up serials: %w", err)
	}
	m := make(map[string]string, len(rows))
	for _, r := range rows {
		m[r.Serial] = r.ID
	}
	return m, nil
}

// BySerial gives the id of the device with that serial, "" if there is none; without regard to scope.
func (s *Service) BySerial(ctx context.Context, serial string) (string, error) {
	did, err := s.q.BySerial(ctx, serial)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look up serial: %w", err)
	}
	return did, nil
}

// Get gives a device in the actor's scope, by id or serial.
func (s *Service) Get(ctx context.Context, idOrSerial string) (Device, error) {
	r, err := s.q.GetDevice(ctx, db.GetDeviceParams{ID: idOrSerial, Scope: authority.ActorFrom(ctx).Scope()})
	if errors.Is(err, pgx.ErrNoRows) {
		return Device{}, fault.NotFound("没有这台设备")
	}
	if err != nil {
		return Device{}, fmt.Errorf("get device: %w", err)
	}
	return deviceOf(db.ListDevicesRow(r)), nil
}

// Filter narrows a list of devices. Cursor is the previous page's.
type Filter struct {
	Township, Kind, Status, Q, Cursor string
	Connected                         *bool
	Limit                             int
}

// List gives a page of devices in the actor's scope in order of registration, the next page's cursor ("" at the end), and on the
// first page how many there are.
func (s *Service) List(ctx context.Context, f Filter) (page []Device, next string, total int64, err error) {
	limit := 50
	if f.Limit > 0 {
		limit = min(f.Limit, 2000)
	}
	scope := authority.ActorFrom(ctx).Scope()
	rows, err := s.q.ListDevices(ctx, db.ListDevicesParams{Scope: scope, Township: f.Township, Kind: f.Kind, Status: f.Status,
		Connected: f.Connected, Q: f.Q, After: f.Cursor, Max: int32(limit + 1)})
	if err != nil {
		return nil, "", 0, fmt.Errorf("list devices: %w", err)
	}
	if len(rows) > limit {
		rows = rows[:limit]
		next = rows[limit-1].Device.ID
	}
	page = make([]Device, len(rows))
	for i, r := range rows {
		page[i] = deviceOf(r)
	}
	if f.Cursor != "" {
		return page, next, 0, nil
	}
	total, err = s.q.CountMatching(ctx, db.CountMatchingParams{Scope: scope, Township: f.Township, Kind: f.Kind, Status: f.Status,
		Connected: f.Connected, Q: f.Q})
	if err != nil {
		return nil, "", 0, fmt.Errorf("count devices: %w", err)
	}
	return page, next, total, nil
}

// Count is how many devices of a kind there are, and how many are connected.
type Count struct {
	Kind             string
	Total, Connected int
}

// Counts gives the counts of each kind in the actor's scope.
func (s *Service) Counts(ctx context.Context, township string) ([]Count, error) {
	rows, err := s.q.CountByKind(ctx, db.CountByKindParams{Scope: authority.ActorFrom(ctx).Scope(), Township: township})
	if err != nil {
		return nil, fmt.Errorf("count devices: %w", err)
	}
	all := make([]Count, len(rows))
	for i, r := range rows {
		all[i] = Count{r.Kind, int(r.Total), int(r.Connected)}
	}
	return all, nil
}

// Devices gives devices by id without state and without regard to scope; unknown ids are left out.
func (s *Service) Devices(ctx context.Context, ids []string) (map[string]Device, error) {
	rows, err := s.q.DevicesByID(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("look up devices: %w", err)
	}
	m := make(map[string]Device, len(rows))
	for _, r := range rows {
		m[r.ID] = deviceOf(db.ListDevicesRow{Device: r})
	}
	return m, nil
}

// TownshipsOf gives the townships of devices by id, seen in tx; unknown ids are left out.
func (s *Service) TownshipsOf(ctx context.Context, tx *pg.Tx, ids []string) (map[string]string, error) {
	rows, err := db.New(tx).TownshipsOf(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("look up devices: %w", err)
	}
	m := make(map[string]string, len(rows))
	for _, r := range rows {
		m[r.ID] = r.Township
	}
	return m, nil
}

// Purchase is a posting that bought devices.
type Purchase struct {
	PostingID string
	Year      int
	Day       time.Time
	DeviceIDs []string
}

// Bought records the posting as the devices' source of funds, in the posting's transaction. A device that a posting bought before
// keeps that one: later postings only name it.
func (s *Service) Bought(ctx context.Context, tx *pg.Tx, p Purchase) error {
	err := db.New(tx).BuyDevices(ctx, db.BuyDevicesParams{Posting: p.PostingID, Year: int32(p.Year), Day: p.Day, Ids: p.DeviceIDs})
	if err != nil {
		return fmt.Errorf("record purchase: %w", err)
	}
	return nil
}

// Unbought takes the posting back as a source of funds, in its reversal's transaction.
func (s *Service) Unbought(ctx context.Context, tx *pg.Tx, postingID string) error {
	if err := db.New(tx).UnbuyDevices(ctx, postingID); err != nil {
		return fmt.Errorf("take back purchase: %w", err)
	}
	return nil
}

func deviceOf(r db.ListDevicesRow) Device {
	x := r.Device
	d := Device{ID: x.ID, Serial: x.Serial, Kind: x.Kind, Name: x.Name, Model: x.Model, Township: x.Township, TownshipName: r.TownshipName,
		OfficerID: x.OfficerID, Status: x.Status, BoughtOn: x.BoughtOn, CostFen: x.CostFen, Funding: x.Funding, RegisteredAt: x.RegisteredAt}
	if x.PostingID != nil {
		d.PostingID = *x.PostingID
	}
	if x.PostingYear != nil {
		d.PostingYear = int(*x.PostingYear)
	}
	d.State = State{ID: x.ID, Connected: r.Connected, LastData: r.LastDataAt, LastDock: r.LastDockAt, LastUpload: r.LastUploadAt,
		Battery: percent(r.Battery), StorageUsed: percent(r.StorageUsed), Docked: r.Docked, Skew: skew(r.SkewMs)}
	if r.State != nil {
		d.State.State = *r.State
	}
	return d
}

func percent(p *int16) *int {
	if p == nil {
		return nil
	}
	n := int(*p)
	return &n
}

func skew(ms *int64) time.Duration {
	if ms == nil {
		return 0
	}
	return time.Duration(*ms) * time.Millisecond
}
