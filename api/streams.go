package api

import (
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"zhizheng/evidence"
	"zhizheng/internal/fault"
)

// pendingRetry is how soon it is worth asking for a receipt again.
const pendingRetry = 2 * time.Second

// registerStreams routes the operations whose answers are not JSON documents: bytes, bundles, events, proofs. They pass the same
// guard as the generated ones.
func (s *Server) registerStreams(r gin.IRouter) {
	r.GET("/healthz", func(c *gin.Context) { c.String(http.StatusOK, "ok\n") })
	r.GET("/readyz", s.ready)
	r.GET("/api/openapi.yaml", func(c *gin.Context) { c.Data(http.StatusOK, "application/yaml; charset=utf-8", specYAML) })
	r.GET("/downloads/:file", s.handle(s.download))
	r.GET("/api/v1/evidence/:id/content", s.handle(s.evidenceContent))
	r.HEAD("/api/v1/evidence/:id/content", s.handle(s.evidenceContent))
	r.GET("/api/v1/evidence/:id/poster", s.handle(s.evidencePoster))
	r.GET("/api/v1/evidence/:id/track", s.handle(s.evidenceTrack))
	r.GET("/api/v1/evidence/:id/frames", s.handle(s.evidenceFrames))
	for _, d := range []struct{ kind, extension string }{{evidence.DerivedPreview, ".mp4"}, {evidence.DerivedContactSheet, ".jpg"}} {
		h := s.handle(s.derivedContent(d.kind, d.extension))
		r.GET("/api/v1/evidence/:id/"+d.kind+"/content", h)
		r.HEAD("/api/v1/evidence/:id/"+d.kind+"/content", h)
	}
	r.GET("/api/v1/evidence/:id/receipt", s.handle(s.evidenceReceipt))
	r.GET("/api/v1/cases/:id/bundle", s.handle(s.caseBundle))
	r.GET("/api/v1/devices/events", s.handle(s.deviceEvents))
	r.GET("/api/v1/enrol/crl.pem", s.handle(s.deviceCRL))
	r.GET("/schemas/device/v1/:file", s.handle(s.deviceSchema))
}

// handle lets a stream handler return its error like the generated ones do.
func (s *Server) handle(fn func(*gin.Context) error) gin.HandlerFunc {
	return func(c *gin.Context) {
		if err := fn(c); err != nil {
			s.writeError(c, err)
		}
	}
}

// LockBroken is the state of a store that let something happen to a locked object: it serves, but is not to be trusted.
const LockBroken = "lock broken"

// StoreFull is what readiness says of a store without room: it serves what is there and takes nothing new.
const StoreFull = "full"

func (s *Server) ready(c *gin.Context) {
	services := s.Ready(c.Request.Context())
	status := http.StatusOK
	for _, state := range services {
		if state != "ok" && state != LockBroken && state != StoreFull {
			status = http.StatusServiceUnavailable
		}
	}
	c.JSON(status, services)
}

// wrongMethod answers an address that is there with a method that isn't; gin has named the others in Allow.
func (s *Server) wrongMethod(c *gin.Context) {
	s.writeProblem(c, Problem{Type: "about:blank", Status: http.StatusMethodNotAllowed, Title: "不支持这种请求", Instance: ptr(requestID(c)),
		Detail: ptr("这个地址不接受 " + c.Request.Method + "，只接受 " + c.Writer.Header().Get("Allow"))})
}

// console serves the built files; any other page address gets index.html, the router in the browser does the rest. Hashed assets
// never change, index.html is asked for each time.
func (s *Server) console(c *gin.Context) {
	p := strings.TrimPrefix(path.Clean(c.Request.URL.Path), "/")
	if strings.HasPrefix(p, "api/") || (c.Request.Method != http.MethodGet && c.Request.Method != http.MethodHead) {
		s.writeError(c, fault.NotFound("没有这个地址"))
		return
	}
	if info, err := fs.Stat(s.Console, p); p == "" || err != nil || info.IsDir() {
		if strings.HasPrefix(p, "assets/") || path.Ext(p) != "" { // pages' addresses have no extension
			s.writeError(c, fault.NotFound("没有这个文件"))
			return
		}
		p = "index.html"
	}
	if strings.HasPrefix(p, "assets/") {
		c.Header("Cache-Control", "public, max-age=31536000, immutable")
	} else {
		c.Header("Cache-Control", "no-cache")
	}
	name := p
	for _, e := range []struct{ coding, ext string }{{"br", ".br"}, {"gzip", ".gz"}} {
		if _, err := fs.Stat(s.Console, p+e.ext); err != nil {
			continue // the build compresses text files that are worth it
		}
		if c.Header("Vary", "Accept-Encoding"); name == p && accepts(c.GetHeader("Accept-Encoding"), e.coding) {
			name = p + e.ext
			c.Header("Content-Encoding", e.coding)
		}
	}
	b, err := fs.ReadFile(s.Console, name)
	if err != nil {
		s.writeError(c, fault.NotFound("控制台没有构建：请运行 make build").Because(err))
		return
	}
	c.Data(http.StatusOK, contentType(p), b)
}

// accepts reads an Accept-Encoding header (RFC 9110 §12.5.3); a coding with weight 0 is refused.
func accepts(header, coding string) bool {
	for part := range strings.SplitSeq(header, ",") {
		name, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		q, isWeight := strings.CutPrefix(strings.ReplaceAll(params, " ", ""), "q=")
		if strings.EqualFold(strings.TrimSpace(name), coding) {
			return !isWeight || strings.Trim(q, "0.") != ""
		}
	}
	return false
}

// contentType does not ask the machine's mime tables, which differ.
func contentType(p string) string {
	switch path.Ext(p) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	case ".png":
		return "image/png"
	case ".wasm":
		return "application/wasm"
	case ".json", ".map":
		return "application/json"
	case ".woff2":
		return "font/woff2"
	case ".ico":
		return "image/x-icon"
	}
	return "application/octet-stream"
}
