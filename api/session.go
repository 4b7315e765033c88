package api

import (
	"context"
	"errors"

	"github.com/gin-gonic/gin"

	"zhizheng/authority"
)

// edge gives the gin context behind a strict handler's ctx, for what is only there: the address and the cookie.
func edge(ctx context.Context) (*gin.Context, error) {
	c, ok := ctx.(*gin.Context)
	if !ok {
		return nil, errors.New("handler called without its gin context")
	}
	return c, nil
}

// SignIn checks name and password and sets the session's cookie. The address counted is the connection's, not one that a header
// claims: behind a reverse proxy the limit is shared.
func (s *Server) SignIn(ctx context.Context, r SignInRequestObject) (SignInResponseObject, error) {
	c, err := edge(ctx)
	if err != nil {
		return nil, err
	}
	a, err := s.Authority.SignIn(ctx, r.Body.Username, r.Body.Password, c.RemoteIP())
	if err != nil {
		return nil, err
	}
	return SignIn200JSONResponse(s.session(a)), s.saveSession(c)
}

// RedeemLink signs in with a one-time token.
func (s *Server) RedeemLink(ctx context.Context, r RedeemLinkRequestObject) (RedeemLinkResponseObject, error) {
	c, err := edge(ctx)
	if err != nil {
		return nil, err
	}
	a, err := s.Authority.RedeemLink(ctx, r.Body.Token, c.RemoteIP())
	if err != nil {
		return nil, err
	}
	return RedeemLink200JSONResponse(s.session(a)), s.saveSession(c)
}

// GetSession says who is signed in and what they may do.
func (s *Server) GetSession(ctx context.Context, _ GetSessionRequestObject) (GetSessionResponseObject, error) {
	return GetSession200JSONResponse(s.session(authority.ActorFrom(ctx))), nil
}

// SignOut ends the session.
func (s *Server) SignOut(ctx context.Context, _ SignOutRequestObject) (SignOutResponseObject, error) {
	c, err := edge(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Authority.SignOut(ctx); err != nil {
		return nil, err
	}
	return SignOut204Response{}, s.saveSession(c)
}

// ChangePassword replaces the caller's password; their other sessions end.
func (s *Server) ChangePassword(ctx context.Context, r ChangePasswordRequestObject) (ChangePasswordResponseObject, error) {
	c, err := edge(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.Authority.ChangePassword(ctx, r.Body.Current, r.Body.New); err != nil {
		return nil, err
	}
	return ChangePassword204Response{}, s.saveSession(c)
}

func (s *Server) session(a authority.Actor) Session {
	v := Session{Demo: s.Demo, MustChangePassword: a.MustChange, Name: a.Name, Permissions: authority.Permissions(a.Role), Role: a.Role,
		RoleName: authority.RoleName(a.Role), Townships: a.Townships, UserID: a.UserID, Username: a.Username, WholeCounty: a.Townships == nil}
	if v.Townships == nil {
		v.Townships = []string{}
	}
	return v
}
