package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/gin-gonic/gin"

	"zhizheng/internal/fault"
	"zhizheng/internal/pg"
)

// statusOf is the one place where a kind of error becomes an HTTP status.
var statusOf = map[fault.Kind]struct {
	status int
	title  string
}{
	fault.KindInvalid:      {http.StatusBadRequest, "请求内容有误"},
	fault.KindUnauthorized: {http.StatusUnauthorized, "请先登录"},
	fault.KindForbidden:    {http.StatusForbidden, "没有这项权限"},
	fault.KindNotFound:     {http.StatusNotFound, "没有找到"},
	fault.KindConflict:     {http.StatusConflict, "与已有内容冲突"},
	fault.KindGone:         {http.StatusGone, "已依规定销毁"},
	fault.KindTooLarge:     {http.StatusRequestEntityTooLarge, "内容太大"},
	fault.KindRefused:      {http.StatusUnprocessableEntity, "依规定不能办理"},
	fault.KindUnavailable:  {http.StatusServiceUnavailable, "服务暂时不可用"},
	fault.KindRateLimited:  {http.StatusTooManyRequests, "操作过于频繁"},
	fault.KindStorageFull:  {http.StatusInsufficientStorage, "存储空间已满"},
	fault.KindPending:      {http.StatusAccepted, "正在处理"},
}

// writeError answers with problem+json (RFC 9457). A raw error is logged here, once, and told to the caller only as "internal".
func (s *Server) writeError(c *gin.Context, err error) {
	if c.Writer.Written() {
		// The stream has begun: the status can't be changed any more, cutting the connection is the only honest answer.
		s.log.ErrorContext(c, "answer broken off", "path", c.FullPath(), "err", err)
		panic(http.ErrAbortHandler)
	}
	err = pg.Away(err) // not all that reads goes through a transaction of ours
	if pg.IsBadText(err) {
		err = fault.Invalid("含有无法保存的字符（NUL，或不是 UTF-8 文本）").Because(err)
	}
	if fault.Is(err, fault.KindStorageFull) {
		if aerr := s.Audit.RaiseFull(c); aerr != nil {
			s.log.ErrorContext(c, "the store is full, and the alarm can't be raised", "err", aerr)
		}
	}
	p := Problem{Type: "about:blank", Status: http.StatusInternalServerError, Title: "服务器内部错误", Instance: ptr(requestID(c))}
	var f *fault.Error
	switch known, ok := statusOf[fault.KindOf(err)]; {
	case errors.Is(err, context.Canceled):
		c.AbortWithStatus(499)
		return
	case ok && errors.As(err, &f):
		p.Status, p.Title = known.status, known.title
		p.Detail, p.Rule, p.Article, p.Next = ptr(f.Detail), ptr(f.Rule), ptr(f.Article), ptr(f.Next)
		if f.RetryAfter > 0 {
			sec := int(f.RetryAfter.Seconds() + 0.999)
			p.RetryAfter = &sec
			c.Header("Retry-After", strconv.Itoa(sec))
		}
		if known.status >= 500 {
			s.log.WarnContext(c, "request failed", "path", c.FullPath(), "request", requestID(c), "err", err)
		}
	default:
		p.Detail = ptr("已记录，请把编号告诉管理员：" + requestID(c))
		s.log.ErrorContext(c, "request failed", "path", c.FullPath(), "request", requestID(c), "err", err)
	}
	s.writeProblem(c, p)
}

func (s *Server) writeProblem(c *gin.Context, p Problem) {
	c.Header("Content-Type", "application/problem+json")
	c.Header("Cache-Control", "no-store")
	c.JSON(p.Status, p)
	c.Abort()
}

// ptr is nil for the zero value, so that optional fields stay out of the answer.
func ptr[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// val is the zero value for nil.
func val[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

func discardLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }
