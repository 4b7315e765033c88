package api

import (
	"context"
	"strings"
	"time"

	openapi_types "github.com/oapi-codegen/runtime/types"

	"zhizheng/authority"
)

// ListTownships gives the towns and townships in the caller's scope.
func (s *Server) ListTownships(ctx context.Context, _ ListTownshipsRequestObject) (ListTownshipsResponseObject, error) {
	towns, err := s.Authority.ListTownships(ctx)
	if err != nil {
		return nil, err
	}
	items := make([]Township, len(towns))
	for i, t := range towns {
		items[i] = Township{Code: t.Code, Name: t.Name, Kind: t.Kind, Officers: ptr(t.Officers), PowerItems: ptr(t.PowerItems)}
	}
	return ListTownships200JSONResponse{Items: items}, nil
}

// ListOfficers gives a page of officers, each with the certificate that counts: the one valid that day, else the latest.
func (s *Server) ListOfficers(ctx context.Context, r ListOfficersRequestObject) (ListOfficersResponseObject, error) {
	p := r.Params
	on := authority.Day(time.Now())
	f := authority.OfficerFilter{Township: val(p.Township), Q: strings.TrimSpace(val(p.Q)), After: val(p.Cursor), Limit: val(p.Limit)}
	if p.ValidOn != nil {
		on = p.ValidOn.Time
		f.ValidOn = &on
	}
	officers, next, err := s.Authority.ListOfficers(ctx, f)
	if err != nil {
		return nil, err
	}
	items := make([]Officer, len(officers))
	for i, o := range officers {
		c, ok := o.CertificateOn(on)
		if !ok && len(o.Certificates) > 0 {
			c = o.Certificates[0]
		}
		items[i] = Officer{ID: o.ID, Name: o.Name, Unit: o.Township, UnitName: o.TownshipName, Certificate: c.Number, Certified: ok,
			ValidFrom: openapi_types.Date{Time: c.From}, ValidTo: openapi_types.Date{Time: c.To}}
	}
	return ListOfficers200JSONResponse{Items: items, NextCursor: next}, nil
}

// ListPowerItems gives a township's items with mode and interval, or the county's catalogue when no township is asked for.
func (s *Server) ListPowerItems(ctx context.Context, r ListPowerItemsRequestObject) (ListPowerItemsResponseObject, error) {
	p := r.Params
	f := authority.PowerFilter{Township: val(p.Township), Q: strings.TrimSpace(val(p.Q)), After: val(p.Cursor), Limit: val(p.Limit)}
	if p.ValidOn != nil {
		f.Day = &p.ValidOn.Time
	}
	if f.Township == "" {
		return s.catalogue(ctx, f)
	}
	grants, next, err := s.Authority.ListPowerItems(ctx, f)
	if err != nil {
		return nil, err
	}
	today := authority.Day(time.Now())
	units, err := s.townshipNames(ctx)
	if err != nil {
		return nil, err
	}
	items := make([]PowerItem, len(grants))
	for i, g := range grants {
		v := powerItem(g.Item)
		v.ID, v.Township, v.Mode, v.ModeName = g.ID, ptr(g.Township), ptr(string(g.Mode)), ptr(g.Mode.Name())
		v.From, v.InForce = &openapi_types.Date{Time: g.From}, new(bool)
		*v.InForce = g.InForce(today)
		if g.To != nil {
			v.To = &openapi_types.Date{Time: *g.To}
		}
		v.Department = ptr(units[g.Principal])
		items[i] = v
	}
	return ListPowerItems200JSONResponse{Items: items, NextCursor: next}, nil
}

func (s *Server) catalogue(ctx context.Context, f authority.PowerFilter) (ListPowerItemsResponseObject, error) {
	all, next, err := s.Authority.Catalogue(ctx, f)
	if err != nil {
		return nil, err
	}
	items := make([]PowerItem, len(all))
	for i, p := range all {
		items[i] = powerItem(p)
		items[i].InForce = new(bool)
		*items[i].InForce = p.InForce > 0
	}
	return ListPowerItems200JSONResponse{Items: items, NextCursor: next}, nil
}

func powerItem(p authority.PowerItem) PowerItem {
	return PowerItem{ID: p.Code, Code: p.Code, Name: p.Name, Field: p.Field, Basis: p.Law + p.Article}
}

// townshipNames gives the names of townships and departments by code.
func (s *Server) townshipNames(ctx context.Context) (map[string]string, error) {
	return s.Authority.UnitNames(ctx)
}
