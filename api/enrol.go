package api

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"zhizheng/devices"
	"zhizheng/internal/fault"
)

// MakeEnrolmentCode gives a code to type into a device.
func (s *Server) MakeEnrolmentCode(ctx context.Context, r MakeEnrolmentCodeRequestObject) (MakeEnrolmentCodeResponseObject, error) {
	c, err := s.Devices.EnrolmentCode(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return MakeEnrolmentCode201JSONResponse{Code: c.Code, ExpiresAt: c.Expires}, nil
}

// RevokeDevice ends what a device is known by.
func (s *Server) RevokeDevice(ctx context.Context, r RevokeDeviceRequestObject) (RevokeDeviceResponseObject, error) {
	return RevokeDevice204Response{}, s.Devices.Revoke(ctx, r.ID, r.Body.Reason)
}

// EnrolDevice gives a device its first certificate.
func (s *Server) EnrolDevice(ctx context.Context, r EnrolDeviceRequestObject) (EnrolDeviceResponseObject, error) {
	v, err := s.identity(ctx, func() (devices.Identity, error) { return s.Devices.Enrol(ctx, r.Body.Code, r.Body.Csr) })
	return EnrolDevice200JSONResponse(v), err
}

// RenewDevice gives a device its next certificate.
func (s *Server) RenewDevice(ctx context.Context, r RenewDeviceRequestObject) (RenewDeviceResponseObject, error) {
	v, err := s.identity(ctx, func() (devices.Identity, error) { return s.Devices.Renew(ctx, r.Body.Csr) })
	return RenewDevice200JSONResponse(v), err
}

// identity asks for one on behalf of a stranger: failures count for the address.
func (s *Server) identity(ctx context.Context, ask func() (devices.Identity, error)) (v DeviceIdentity, err error) {
	c, err := edge(ctx)
	if err != nil {
		return v, err
	}
	err = s.Authority.Attempt(ctx, "enrol", c.RemoteIP(), func() error {
		i, err := ask()
		if err == nil {
			v = DeviceIdentity{Device: i.Device, Certificate: i.Certificate, Ca: s.Devices.Trusted(), CommandKey: base64.StdEncoding.EncodeToString(s.Devices.CommandKey()), Broker: ptr(s.Broker), RenewAfter: i.RenewAfter, ExpiresAt: i.Expires}
		}
		return err
	})
	return v, err
}

// deviceCRL gives the list of revoked certificates.
func (s *Server) deviceCRL(c *gin.Context) error {
	b, err := s.Devices.CRL(c)
	if err != nil {
		return err
	}
	c.Data(http.StatusOK, "application/x-pem-file", b)
	return nil
}

// deviceSchema gives a JSON Schema of what devices say and hear.
func (s *Server) deviceSchema(c *gin.Context) error {
	b, ok := devices.Schema(c.Param("file"))
	if !ok {
		return fault.NotFound("没有这个文件")
	}
	c.Data(http.StatusOK, "application/schema+json", b)
	return nil
}

// GiveCommand gives a device a command.
func (s *Server) GiveCommand(ctx context.Context, r GiveCommandRequestObject) (GiveCommandResponseObject, error) {
	o := devices.Order{Kind: string(r.Body.Command), Reason: r.Body.Reason, Expires: time.Duration(val(r.Body.Minutes)) * time.Minute}
	if r.Body.Args != nil {
		b, err := json.Marshal(r.Body.Args)
		if err != nil {
			return nil, err
		}
		o.Args = b
	}
	c, err := s.Devices.Give(ctx, r.ID, o)
	return GiveCommand201JSONResponse(commandView(c)), err
}

// ListCommands gives a device's commands.
func (s *Server) ListCommands(ctx context.Context, r ListCommandsRequestObject) (ListCommandsResponseObject, error) {
	all, err := s.Devices.Commands(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	out := ListCommands200JSONResponse{Items: make([]Command, len(all))}
	for i, c := range all {
		out.Items[i] = commandView(c)
	}
	return out, nil
}

func commandView(c devices.Command) Command {
	return Command{ID: c.ID, Command: CommandKind(c.Kind), Reason: c.Reason, GivenBy: c.GivenBy, State: CommandState(c.State), Answer: ptr(c.Answer), GivenAt: c.GivenAt,
		ExpiresAt: c.ExpiresAt, SentAt: c.SentAt, AnsweredAt: c.AnsweredAt}
}
