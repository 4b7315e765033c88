package authority

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"zhizheng/authority/internal/db"
	"zhizheng/evidence/chain"
	"zhizheng/internal/fault"
	"zhizheng/internal/id"
	"zhizheng/internal/pg"
)

// Township is one of the 23 towns and townships, or a department of the county.
type Township struct {
	Code, Name string
	Kind       string // town, township, department
	Position   int
	Officers   int // today
	PowerItems int // in force today
}

// Department is the kind of a unit of the county itself.
const Department = "department"

// PutTownships records units; a code that is known stays as it is.
func (s *Service) PutTownships(ctx context.Context, units []Township) error {
	return pg.InTx(ctx, s.pool, func(tx *pg.Tx) error {
		q := db.New(tx)
		for _, t := range units {
			err := q.PutTownship(ctx, db.PutTownshipParams{Code: t.Code, Name: t.Name, Kind: t.Kind, Position: int32(t.Position)})
			if err != nil {
				return fmt.Errorf("put township %s: %w", t.Code, err)
			}
		}
		return nil
	})
}

// ListUnits gives the townships and then the departments in the scope of ctx' actor.
func (s *Service) ListUnits(ctx context.Context) ([]Township, error) {
	rows, err := s.q.Townships(ctx, db.TownshipsParams{Scope: ActorFrom(ctx).Scope(), Day: Day(s.now())})
	if err != nil {
		return nil, fmt.Errorf("list townships: %w", err)
	}
	all := make([]Township, 0, len(rows))
	for _, r := range rows {
		all = append(all, Township{r.Code, r.Name, r.Kind, int(r.Position), int(r.Officers), int(r.PowerItems)})
	}
	return all, nil
}

// ListTownships gives the towns and townships in the scope of ctx' actor, no departments.
func (s *Service) ListTownships(ctx context.Context) ([]Township, error) {
	all, err := s.ListUnits(ctx)
	if err != nil {
		return nil, err
	}
	towns := all[:0]
	for _, t := range all {
		if t.Kind != Department {
			towns = append(towns, t)
		}
	}
	return towns, nil
}

// GetTownship gives one unit, whoever asks: names of units are no secret. fault.NotFound if the code is unknown.
func (s *Service) GetTownship(ctx context.Context, code string) (Township, error) {
	r, err := s.q.Township(ctx, code)
	if errors.Is(err, pgx.ErrNoRows) {
		return Township{}, fault.NotFound("没有乡镇 %s", code)
	}
	if err != nil {
		return Township{}, fmt.Errorf("look up township: %w", err)
	}
	return Township{Code: r.Code, Name: r.Name, Kind: r.Kind, Position: int(r.Position)}, nil
}

// Certificate is an officer's qualification, valid from From to To, both days included.
type Certificate struct {
	Number   string
	From, To time.Time
	Revoked  *time.Time // first day without it
}

// ValidOn reports whether the certificate is valid that day.
func (c Certificate) ValidOn(day time.Time) bool {
	return !day.Before(c.From) && !day.After(c.To) && (c.Revoked == nil || day.Before(*c.Revoked))
}

// Officer is a person with (or formerly with) a certificate. Certificates come latest first.
type Officer struct {
	ID, Township, TownshipName, Name string
	Administrative, FullTime         bool
	UserID                           string // account, "" without
	Left                             *time.Time
	Certificates                     []Certificate
}

// CertificateOn gives the certificate that is valid that day.
func (o Officer) CertificateOn(day time.Time) (Certificate, bool) {
	if o.Left != nil && !day.Before(*o.Left) {
		return Certificate{}, false
	}
	for _, c := range o.Certificates {
		if c.ValidOn(day) {
			return c, true
		}
	}
	return Certificate{}, false
}

// AddOfficers records officers with their certificates, each a leaf of the log, in one transaction and gives them ids where they have
// none.
func (s *Service) AddOfficers(ctx context.Context, officers []Officer) error {
	rows := make([]db.AddOfficersParams, len(officers))
	var certs []db.AddCertificatesParams
	var leaves []chain.Entry
	actor, now := ActorFrom(ctx), s.now()
	for i := range officers {
		o := &officers[i]
		if o.ID == "" {
			o.ID = id.New()
		}
		rows[i] = db.AddOfficersParams{ID: o.ID, Township: o.Township, Name: o.Name, Administrative: o.Administrative, FullTime: o.FullTime}
		if o.UserID != "" {
			rows[i].UserID = &o.UserID
		}
		for _, c := range o.Certificates {
			certs = append(certs, db.AddCertificatesParams{Number: c.Number, OfficerID: o.ID, ValidFrom: c.From, ValidTo: c.To})
			leaves = append(leaves, chain.Entry{Key: "certificate/" + c.Number, Kind: chain.KindCertificate, Subject: chain.Subject{Type: chain.SubjectOfficer, ID: o.ID},
				Time: now, Payload: chain.CertificatePayload{CertificateID: c.Number, OfficerID: o.ID, From: c.From.Format(time.DateOnly), To: c.To.Format(time.DateOnly), Actor: actor.UserID}})
		}
	}
	err := pg.InTx(ctx, s.pool, func(tx *pg.Tx) error {
		q := db.New(tx)
		if _, err := q.AddOfficers(ctx, rows); err != nil {
			return err
		}
		if _, err := q.AddCertificates(ctx, certs); err != nil {
			return err
		}
		return s.log.Append(tx, leaves...)
	})
	if pg.IsUnique(err, "") {
		return fault.Conflict("执法人员或执法证号已登记").Because(err)
	}
	if err != nil {
		return fmt.Errorf("add officers: %w", err)
	}
	return nil
}

// OfficerFilter narrows a list of officers. ValidOn: only those certified that day. After is the previous page's cursor.
type OfficerFilter struct {
	Township, Q string
	ValidOn     *time.Time
	After       string
	Limit       int
}

// ListOfficers gives a page of officers in the actor's scope, and the cursor of the next page ("" at the end).
func (s *Service) ListOfficers(ctx context.Context, f OfficerFilter) ([]Officer, string, error) {
	limit := pageSize(f.Limit)
	rows, err := s.q.OfficersPage(ctx, db.OfficersPageParams{
		Scope: ActorFrom(ctx).Scope(), Township: f.Township, Q: f.Q, ValidOn: f.ValidOn, After: f.After, Max: int32(limit + 1),
	})
	if err != nil {
		return nil, "", fmt.Errorf("list officers: %w", err)
	}
	next := ""
	if len(rows) > limit {
		rows = rows[:limit]
		next = rows[limit-1].ID
	}
	page := make([]Officer, len(rows))
	for i, r := range rows {
		page[i] = officerOf(db.OfficersByIDRow(r))
	}
	return page, next, s.addCertificates(ctx, page)
}

// Officers gives officers by id, without regard to scope; unknown ids are left out.
func (s *Service) Officers(ctx context.Context, ids []string) ([]Officer, error) {
	rows, err := s.q.OfficersByID(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("look up officers: %w", err)
	}
	all := make([]Officer, len(rows))
	for i, r := range rows {
		all[i] = officerOf(r)
	}
	return all, s.addCertificates(ctx, all)
}

// OfficerOf gives the id of the officer behind an account, "" if the person is none.
func (s *Service) OfficerOf(ctx context.Context, userID string) (string, error) {
	oid, err := s.q.OfficerByUser(ctx, &userID)
	if errors.Is(err, pgx.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look up officer: %w", err)
	}
	return oid, nil
}

func officerOf(r db.OfficersByIDRow) Officer {
	o := Officer{ID: r.ID, Township: r.Township, TownshipName: r.TownshipName, Name: r.Name, Administrative: r.Administrative,
		FullTime: r.FullTime, Left: r.LeftOn}
	if r.UserID != nil {
		o.UserID = *r.UserID
	}
	return o
}

func (s *Service) addCertificates(ctx context.Context, officers []Officer) error {
	ids, at := make([]string, len(officers)), make(map[string]int, len(officers))
	for i, o := range officers {
		ids[i], at[o.ID] = o.ID, i
	}
	certs, err := s.q.CertificatesOf(ctx, ids)
	if err != nil {
		return fmt.Errorf("look up certificates: %w", err)
	}
	for _, c := range certs {
		o := &officers[at[c.OfficerID]]
		o.Certificates = append(o.Certificates, Certificate{Number: c.Number, From: c.ValidFrom, To: c.ValidTo, Revoked: c.RevokedOn})
	}
	return nil
}

func pageSize(n int) int {
	if n < 1 {
		return 50
	}
	return min(n, 200)
}

// UnitNames gives the names of all townships and departments by code.
func (s *Service) UnitNames(ctx context.Context) (map[string]string, error) {
	rows, err := s.q.UnitNames(ctx)
	if err != nil {
		return nil, fmt.Errorf("list unit names: %w", err)
	}
	names := make(map[string]string, len(rows))
	for _, r := range rows {
		names[r.Code] = r.Name
	}
	return names, nil
}
