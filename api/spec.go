package api

import (
	_ "embed"
	"fmt"
	"net/http"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"

	"zhizheng/internal/fault"
)

//go:embed openapi.yaml
var specYAML []byte

// operation is what the middleware needs to know of one operation of the contract.
type operation struct {
	id         string
	permission string // "public", "station", "session" or a permission of authority
	station    bool   // a station's token will do as well
	route      *routers.Route
}

// operations indexes the contract by method and gin route, e.g. "GET /api/v1/evidence/:id".
func operations() (map[string]operation, error) {
	doc, err := openapi3.NewLoader().LoadFromData(specYAML)
	if err != nil {
		return nil, fmt.Errorf("read openapi.yaml: %w", err)
	}
	doc.Servers = nil
	ops := map[string]operation{}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			perm, ok := op.Extensions["x-permission"].(string)
			if !ok || perm == "" {
				return nil, fmt.Errorf("openapi.yaml: %s names no x-permission", op.OperationID)
			}
			station, _ := op.Extensions["x-station"].(bool)
			ops[method+" "+ginPath(path)] = operation{op.OperationID, perm, station,
				&routers.Route{Spec: doc, Path: path, PathItem: item, Method: method, Operation: op}}
		}
	}
	return ops, nil
}

// ginPath turns /a/{id} into /a/:id.
func ginPath(p string) string {
	return strings.NewReplacer("{", ":", "}", "").Replace(p)
}

// validate checks parameters and body against the contract before any handler sees them.
func (op operation) validate(r *http.Request, params map[string]string) error {
	err := openapi3filter.ValidateRequest(r.Context(), &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, Route: op.route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	})
	if err == nil {
		return nil
	}
	return invalidRequest(err)
}

// invalidRequest names the parameter or the field, never the whole schema.
func invalidRequest(err error) error {
	where, why := "请求", err.Error()
	if re, ok := asError[*openapi3filter.RequestError](err); ok {
		if re.Parameter != nil {
			where = "参数 " + re.Parameter.Name
		}
		if re.Reason != "" {
			why = re.Reason
		}
		if re.Err != nil {
			why = re.Err.Error()
		}
	}
	if se, ok := asError[*openapi3.SchemaError](err); ok {
		if ptr := se.JSONPointer(); len(ptr) > 0 {
			where = "字段 " + strings.Join(ptr, ".")
		}
		why = se.Reason
	}
	if len(why) > 300 {
		why = why[:300]
	}
	return fault.Invalid("%s不合要求：%s", where, strings.ToValidUTF8(why, "")).Because(err)
}
