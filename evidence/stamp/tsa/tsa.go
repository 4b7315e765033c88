// Package tsa asks time-stamp authorities over HTTP (RFC 3161 §3.4). It judges nothing: what comes back is bytes for package stamp. It
// promises to read no more than a token needs, to follow no redirection, and to end with its context.
package tsa

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"

	"zhizheng/evidence/stamp"
)

// Client asks. The zero value is usable.
type Client struct {
	HTTP *http.Client // nil for one of its own
}

var plain = &http.Client{
	Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 30 * time.Second,
		MaxResponseHeaderBytes: 32 << 10, IdleConnTimeout: 30 * time.Second},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // the operator named whom to ask
}

// Ask sends a TimeStampReq and gives the TimeStampResp as it came, at most stamp.MaxResponse bytes of it. An answer that is no response
// by its own header is an error.
func (c Client) Ask(ctx context.Context, address string, request []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(request))
	if err != nil {
		return nil, fmt.Errorf("ask time-stamp authority: %w", err)
	}
	r.Header.Set("Content-Type", "application/timestamp-query")
	r.Header.Set("Accept", "application/timestamp-reply")
	h := c.HTTP
	if h == nil {
		h = plain
	}
	res, err := h.Do(r)
	if err != nil {
		var u *url.Error
		if errors.As(err, &u) { // its text names the address, which may hold a password
			err = u.Err
		}
		return nil, fmt.Errorf("ask time-stamp authority: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("ask time-stamp authority: it answered %d", res.StatusCode)
	}
	if t, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err != nil || t != "application/timestamp-reply" {
		return nil, fmt.Errorf("ask time-stamp authority: it answered with %.60q", res.Header.Get("Content-Type"))
	}
	b, err := io.ReadAll(io.LimitReader(res.Body, stamp.MaxResponse+1))
	if err != nil {
		return nil, fmt.Errorf("ask time-stamp authority: %w", err)
	}
	if len(b) > stamp.MaxResponse {
		return nil, fmt.Errorf("ask time-stamp authority: the answer has more than %d bytes", stamp.MaxResponse)
	}
	return b, nil
}

// Name is an authority's address as it is logged and shown: without a password or query.
func Name(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return "", errors.New("address of a time-stamp authority: http(s)://host/path is needed")
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String(), nil
}
