package api

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"zhizheng/authority"
	"zhizheng/ingest"
	"zhizheng/internal/fault"
)

const requestIDKey = "zz-request"

func requestID(c *gin.Context) string { return c.GetString(requestIDKey) }

func asError[T error](err error) (T, bool) {
	var t T
	ok := errors.As(err, &t)
	return t, ok
}

// contentSecurityPolicy lets the console run with antd's style tags and hash-wasm, and nothing from elsewhere.
const contentSecurityPolicy = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self' 'unsafe-inline'; " +
	"img-src 'self' data: blob:; worker-src 'self' blob:; connect-src 'self'; media-src 'self' blob:; object-src 'none'; " +
	"base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

// headers gives every answer an id and the security headers, and logs it by route, without query or personal data.
func (s *Server) headers(c *gin.Context) {
	var b [8]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails (Go 1.24)
	id := hex.EncodeToString(b[:])
	c.Set(requestIDKey, id)
	h := c.Writer.Header()
	h.Set("X-Request-Id", id)
	h.Set("Content-Security-Policy", contentSecurityPolicy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), microphone=(), geolocation=()")
	if s.SecureCookies {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
	start := time.Now()
	c.Next()
	if s.metrics != nil {
		s.metrics.observe(c, time.Since(start))
	}
	level := slog.LevelDebug
	if c.Writer.Status() >= 500 && c.Writer.Status() != http.StatusServiceUnavailable {
		level = slog.LevelWarn
	}
	s.log.Log(c, level, "request", "method", c.Request.Method, "route", c.FullPath(), "status", c.Writer.Status(),
		"ms", time.Since(start).Milliseconds(), "request", id)
}

// recoverPanic turns a panic into a 500 that is logged with its stack; an aborted stream stays aborted.
func (s *Server) recoverPanic(c *gin.Context) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		if r == http.ErrAbortHandler { //nolint:errorlint // net/http compares this sentinel itself
			panic(r)
		}
		s.log.ErrorContext(c, "panic", "route", c.FullPath(), "request", requestID(c), "panic", r, "stack", string(debug.Stack()))
		s.writeError(c, errors.New("panic"))
	}()
	c.Next()
}

// Request bodies are small documents; footage never passes here. A batch of 500 manifests is the largest, and only a station's token
// opens its address: reading 12 MiB of JSON for anyone who asks would cost hundreds of MiB.
const (
	maxBody      = 1 << 20
	maxManifests = 12 << 20
)

func limitBody(c *gin.Context) {
	most := int64(maxBody)
	if c.FullPath() == "/api/v1/manifests" || c.FullPath() == "/api/v1/device-states" {
		most = maxManifests
	}
	if c.Request.Body != nil {
		c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, most)
	}
	c.Next()
}

// sameOrigin refuses state-changing requests that a foreign page sent (CSRF). Browsers say where a request comes from in
// Sec-Fetch-Site, older ones in Origin; clients that are not browsers send neither and carry no ambient cookie.
func (s *Server) sameOrigin(c *gin.Context) {
	switch c.Request.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		c.Next()
		return
	}
	site := c.GetHeader("Sec-Fetch-Site")
	origin := c.GetHeader("Origin")
	foreign := site != "" && site != "same-origin" && site != "none"
	if origin != "" {
		u, err := url.Parse(origin)
		foreign = foreign || err != nil || !strings.EqualFold(u.Host, c.Request.Host)
	}
	if foreign {
		s.writeError(c, fault.Forbidden("请求来自其他网站，已拒绝"))
		return
	}
	c.Next()
}

// guard asks the contract which permission an operation needs, and authority whether the caller has it; then it checks the
// request against the contract. An operation that the contract doesn't name can't be reached.
func (s *Server) guard(c *gin.Context) {
	method := c.Request.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	op, ok := s.ops[method+" "+c.FullPath()]
	if !ok {
		s.writeError(c, fault.NotFound("没有这个地址"))
		return
	}
	ctx := c.Request.Context()
	if op.permission != "public" {
		bearer, isStation := strings.CutPrefix(c.GetHeader("Authorization"), "Bearer ")
		switch {
		case op.permission == "station" || (op.station && isStation):
			st, err := s.Ingest.AuthenticateStation(ctx, bearer)
			if err != nil {
				s.writeError(c, err)
				return
			}
			ctx = ingest.WithStation(ctx, st)
		default:
			actor, err := s.Authority.Current(ctx)
			if err != nil {
				s.writeError(c, err)
				return
			}
			if op.permission != "session" && !actor.May(op.permission) {
				s.writeError(c, fault.Forbidden("您的角色不能办理这件事（需要权限 %s）", op.permission))
				return
			}
			if err := s.touchSession(c); err != nil {
				s.writeError(c, err)
				return
			}
			ctx = authority.WithActor(ctx, actor)
		}
		c.Request = c.Request.WithContext(ctx)
	}
	params := map[string]string{}
	for _, p := range c.Params {
		params[p.Key] = p.Value
	}
	if err := op.validate(c.Request, params); err != nil {
		if tooLarge, is := asError[*http.MaxBytesError](err); is {
			err = fault.TooLarge("请求超过 %d MiB", tooLarge.Limit>>20)
		}
		s.writeError(c, err)
		return
	}
	c.Header("Cache-Control", "no-store") // computers are shared; a handler may say otherwise
	c.Next()
}
