package api

import (
	"context"
	"net/http"

	"github.com/gin-gonic/gin"

	"zhizheng/devices"
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
			v = DeviceIdentity{Device: i.Device, Certificate: i.Certificate, Ca: s.Devices.Trusted(), Broker: ptr(s.Broker), RenewAfter: i.RenewAfter, ExpiresAt: i.Expires}
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
