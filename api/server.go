// Package api is the HTTP edge: it maps the contract of openapi.yaml to the domains, and failures to problem+json. It promises
// that no operation runs before the contract's permission was asked for and the request was checked against its schema. It holds
// no rule of the county itself: handlers read the request, call the domain, map the answer.
//
// Read server.go for the way of a request, middleware.go for the guards, then the domain's file.
package api

import (
	"context"
	"io/fs"
	"log/slog"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/jackc/pgx/v5/pgxpool"

	"zhizheng/authority"
	"zhizheng/budget"
	"zhizheng/cases"
	"zhizheng/devices"
	"zhizheng/evidence"
	"zhizheng/evidence/audit"
	"zhizheng/evidence/evlog"
	"zhizheng/ingest"
	"zhizheng/ingest/manifest"
	"zhizheng/internal/blob"
	"zhizheng/internal/pg"
)

// Deps are the domains and services the edge speaks to.
type Deps struct {
	Pool      *pgxpool.Pool
	Log       *evlog.Log
	Store     *blob.Store
	Evidence  *evidence.Keeper
	Audit     *audit.Service
	Ingest    *ingest.Service
	Authority *authority.Service
	Cases     *cases.Service
	Devices   *devices.Service
	Budget    *budget.Service
	Names     manifest.Names // how file names are read

	Broker        string // what devices are told to connect to, "" if that is not known
	Console       fs.FS  // the built console; index.html answers every page address
	Version       string
	Demo          bool
	SecureCookies bool
	Metrics       bool                                        // opens /metrics to whoever reaches the address
	SettleHolds   func(ctx context.Context, tx *pg.Tx) error  // enqueues the job that sets holds at the store
	Derive        func(ctx context.Context, tx *pg.Tx) error  // enqueues the job that makes previews and contact sheets
	StoreLabel    func() string                               // "attested" or "re-read required"
	Ready         func(ctx context.Context) map[string]string // service → "ok" or what is wrong
	Wipe          WipeRule                                    // the zero rule is never
	Tools         *Tools                                      // the verifier's builds, nil for none
	Logger        *slog.Logger
}

// Server implements the contract.
type Server struct {
	Deps
	ops     map[string]operation
	log     *slog.Logger
	metrics *metrics // nil when closed
}

var _ StrictServerInterface = (*Server)(nil)

// New builds the handler of the whole site: API, log, console.
func New(d Deps) (http.Handler, error) {
	ops, err := operations()
	if err != nil {
		return nil, err
	}
	s := &Server{Deps: d, ops: ops, log: d.Logger}
	if s.log == nil {
		s.log = discardLogger()
	}
	gin.SetMode(gin.ReleaseMode)
	g := gin.New()
	g.ContextWithFallback = true // handlers get the gin context as ctx; values and cancellation come from the request
	g.HandleMethodNotAllowed = true
	g.RedirectTrailingSlash = false
	g.Use(s.headers, s.recoverPanic, limitBody, s.sameOrigin)

	contract := g.Group("/", s.loadSession, s.guard)
	fail := func(c *gin.Context, err error) { s.writeError(c, err) }
	RegisterHandlersWithOptions(contract, NewStrictHandlerWithOptions(s, nil, StrictGinServerOptions{
		RequestErrorHandlerFunc:  func(c *gin.Context, err error) { s.writeError(c, invalidRequest(err)) },
		HandlerErrorFunc:         fail,
		ResponseErrorHandlerFunc: fail,
	}), GinServerOptions{ErrorHandler: func(c *gin.Context, err error, _ int) { s.writeError(c, invalidRequest(err)) }})
	s.registerStreams(contract)

	g.Any("/log/*path", gin.WrapH(d.Log.Handler())) // public, read only: anyone may audit (C2SP tlog-tiles)
	if d.Metrics {
		s.metrics = s.newMetrics()
		g.GET("/metrics", gin.WrapH(s.metrics.handler()))
	}
	g.NoRoute(s.console)
	g.NoMethod(s.wrongMethod)
	return g, nil
}
