package api

import (
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/gin-gonic/gin"
)

// loadSession puts the caller's server-side session into the request. scs's own wrapper hides http.Flusher, which the event stream
// and the bundle need, so cookies are written by saveSession where a session begins or ends.
func (s *Server) loadSession(c *gin.Context) {
	sm := s.Authority.Sessions()
	token, _ := c.Cookie(sm.Cookie.Name) // no cookie is no session
	ctx, err := sm.Load(c.Request.Context(), token)
	if err != nil {
		s.writeError(c, err)
		return
	}
	c.Request = c.Request.WithContext(ctx)
	c.Next()
}

// saveSession stores a changed session and sets or clears its cookie. Call it before the answer is written.
func (s *Server) saveSession(c *gin.Context) error {
	sm := s.Authority.Sessions()
	ctx := c.Request.Context()
	switch sm.Status(ctx) {
	case scs.Modified:
		token, expiry, err := sm.Commit(ctx)
		if err != nil {
			return err
		}
		sm.WriteSessionCookie(ctx, c.Writer, token, expiry)
	case scs.Destroyed:
		sm.WriteSessionCookie(ctx, c.Writer, "", time.Time{})
	case scs.Unmodified:
	}
	c.Writer.Header().Add("Vary", "Cookie")
	c.Writer.Header().Set("Cache-Control", "no-store")
	return nil
}

// touchSession moves the idle limit, at most once a minute: a write at each request would be for nothing.
func (s *Server) touchSession(c *gin.Context) error {
	token, expiry, moved, err := s.Authority.KeepSession(c.Request.Context())
	if err != nil || !moved {
		return err
	}
	s.Authority.Sessions().WriteSessionCookie(c.Request.Context(), c.Writer, token, expiry)
	c.Writer.Header().Add("Vary", "Cookie")
	c.Writer.Header().Set("Cache-Control", "no-store")
	return nil
}
