package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/chain"
	"zhizheng/ingest/manifest"
)

// identity is who the station is, and which log key it trusts.
type identity struct {
	Server  string `json:"server"`
	Station string `json:"station"`
	VKey    string `json:"vkey"`

	key      ed25519.PrivateKey
	keyID    []byte
	verifier note.Verifier
}

func loadIdentity(dir string) (*identity, error) {
	var id identity
	b, err := os.ReadFile(filepath.Join(dir, "station.json"))
	if err != nil {
		return nil, fmt.Errorf("采集站身份：%w", err)
	}
	if err := json.Unmarshal(b, &id); err != nil || id.Station == "" {
		return nil, fmt.Errorf("采集站身份：station.json 内容不对：%v", err)
	}
	pinned, err := chain.ParseKeys(id.VKey)
	if err != nil {
		return nil, fmt.Errorf("采集站身份：日志公钥不对：%w", err)
	}
	id.verifier = pinned.Lenient() // when the log's key is replaced, the new one signs beside the old until stations have it
	if b, err = os.ReadFile(filepath.Join(dir, "key.pem")); err != nil {
		return nil, fmt.Errorf("采集站身份：%w", err)
	}
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("采集站身份：key.pem 里没有密钥")
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("采集站身份：%w", err)
	}
	var ok bool
	if id.key, ok = k.(ed25519.PrivateKey); !ok {
		return nil, errors.New("采集站身份：密钥应为 Ed25519")
	}
	id.keyID, err = manifest.KeyID(id.key.Public().(ed25519.PublicKey))
	return &id, err
}

// client speaks to the platform and the store, and waits out what passes.
type client struct {
	id       *identity
	base     string
	http     *http.Client
	patience time.Duration
	progress atomic.Int64 // Unix nanoseconds of the last thing that went forward
	skew     atomic.Int64 // nanoseconds the server's clock is ahead of ours
	trouble  func(error)  // is told what it waits out, and nil when something went through; may be nil
	waits    sync.Map     // of calls that are tried again: the answer that they wait out

	mu    sync.Mutex
	token string
	until time.Time // by the server's clock
}

func newClient(id *identity, base string, patience time.Duration, parallel int) *client {
	c := &client{id: id, base: base, patience: patience}
	c.http = &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext, TLSHandshakeTimeout: 10 * time.Second,
			MaxIdleConnsPerHost: parallel + 4, IdleConnTimeout: 60 * time.Second, ExpectContinueTimeout: 2 * time.Second,
			ResponseHeaderTimeout: 5 * time.Minute, // completing a large file may copy it
		},
		// A presigned address is for one place; a redirect would carry its headers elsewhere.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.forward()
	return c
}

// forward notes progress: patience counts from here.
func (c *client) forward() { c.progress.Store(time.Now().UnixNano()) }

// serverTime is what the server's clock shows. A station's clock may be years off; only its tokens need the right time, manifests
// carry the station's own.
func (c *client) serverTime() time.Time { return time.Now().Add(time.Duration(c.skew.Load())) }

func (c *client) bearer(fresh bool) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.serverTime()
	left := c.until.Sub(now)
	if !fresh && c.token != "" && left > time.Minute && left < 5*time.Minute {
		return c.token, nil
	}
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.RegisteredClaims{Issuer: c.id.Station, Audience: jwt.ClaimStrings{"zhizheng"},
		IssuedAt: jwt.NewNumericDate(now.Add(-2 * time.Second)), ExpiresAt: jwt.NewNumericDate(now.Add(4 * time.Minute))})
	t.Header["kid"] = hex.EncodeToString(c.id.keyID)
	signed, err := t.SignedString(c.id.key)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	c.token, c.until = signed, now.Add(4*time.Minute)
	return signed, nil
}

// answerError is an answer that is no success. Text is for people.
type answerError struct {
	status int
	text   string
	after  time.Duration // Retry-After
}

func (e *answerError) Error() string { return e.text }

// passing says whether waiting may help.
func (e *answerError) passing() bool {
	switch e.status {
	case http.StatusAccepted, http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway,
		http.StatusServiceUnavailable, http.StatusGatewayTimeout, http.StatusInsufficientStorage:
		return true
	}
	return false
}

// call sends a request to the platform until it is answered, refused for good, or nothing went forward for longer than patience.
func (c *client) call(ctx context.Context, method, path string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	return c.retry(ctx, func(try int) error {
		text, err := c.once(ctx, method, path, body, try > 0)
		var a *answerError
		if errors.As(err, &a) && a.status == http.StatusUnauthorized && try == 0 {
			// The first answer told us the server's time; a token made by it may be good.
			text, err = c.once(ctx, method, path, body, true)
		}
		if err != nil {
			return err
		}
		c.forward()
		switch o := out.(type) {
		case nil:
			return nil
		case *[]byte:
			*o = text
			return nil
		}
		if err := json.Unmarshal(text, out); err != nil {
			return fmt.Errorf("服务器的回答无法理解：%w", err)
		}
		return nil
	})
}

// try sends a request once. What it is about is worth nothing later. out may be nil.
func (c *client) try(ctx context.Context, method, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	text, err := c.once(ctx, method, path, body, false)
	var a *answerError
	if errors.As(err, &a) && a.status == http.StatusUnauthorized { // the first answer told us the server's time
		text, err = c.once(ctx, method, path, body, true)
	}
	var away *awayError
	if errors.As(err, &away) && c.trouble != nil && ctx.Err() == nil {
		c.trouble(err)
	} else if err == nil && c.trouble != nil {
		c.trouble(nil)
	}
	if err != nil || out == nil {
		return err
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("服务器的回答无法理解：%w", err)
	}
	return nil
}

func (c *client) once(ctx context.Context, method, path string, body []byte, freshToken bool) ([]byte, error) {
	token, err := c.bearer(freshToken)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	if strings.HasSuffix(path, "/receipt") {
		req.Header.Set("Prefer", "wait=2") // the next checkpoint is a second away: one answer instead of two
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, &awayError{"服务器连接不上", err}
	}
	defer res.Body.Close()
	c.setClock(res.Header.Get("Date"))
	text, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	if err != nil {
		return nil, &awayError{"服务器连接中断", err}
	}
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusNoContent {
		return nil, asAnswer(res, text)
	}
	return text, nil
}

// setClock learns the server's time, to the second.
func (c *client) setClock(date string) {
	if t, err := http.ParseTime(date); err == nil {
		c.skew.Store(int64(time.Until(t.Add(500 * time.Millisecond))))
	}
}

// asAnswer reads problem+json (RFC 9457), or what else came.
func asAnswer(res *http.Response, text []byte) *answerError {
	a := &answerError{status: res.StatusCode}
	var p struct {
		Title  string `json:"title"`
		Detail string `json:"detail"`
	}
	if json.Unmarshal(text, &p) == nil && p.Title != "" {
		a.text = strings.TrimSuffix(p.Title+"："+p.Detail, "：")
	} else {
		a.text = fmt.Sprintf("服务器回答 %d", res.StatusCode)
	}
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && s > 0 {
		a.after = time.Duration(min(s, 60)) * time.Second
	}
	return a
}

// awayError is a server or store that can't be reached. The cause may hold an address with a signature, so it isn't shown whole.
type awayError struct {
	what  string
	cause error
}

func (e *awayError) Error() string {
	cause := e.cause
	var op *net.OpError
	if errors.As(cause, &op) {
		cause = op.Err
	} else if u := errors.Unwrap(cause); u != nil {
		cause = u
	}
	return e.what + "（" + cause.Error() + "）"
}
func (e *awayError) Unwrap() error { return e.cause }

// waitsOut is an answer that a call waits out at this moment, "" when all go through.
func (c *client) waitsOut() (answer string) {
	c.waits.Range(func(_, text any) bool {
		answer = text.(string)
		return false
	})
	return answer
}

// retry runs fn until it succeeds or fails for good, waiting longer each time, with jitter so that a county's stations don't come back
// in step.
func (c *client) retry(ctx context.Context, fn func(try int) error) error {
	call := new(int)
	defer c.waits.Delete(call)
	for try := 0; ; try++ {
		err := fn(try)
		if c.trouble != nil && ctx.Err() == nil {
			var away *awayError
			if errors.As(err, &away) {
				c.trouble(err)
			} else {
				c.trouble(nil)
			}
		}
		if err == nil || ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		var a *answerError
		var away *awayError
		if !errors.As(err, &away) && !(errors.As(err, &a) && a.passing()) {
			return err
		}
		patience := c.patience
		if a != nil && a.status == http.StatusInsufficientStorage && patience < foreverPatient {
			patience = min(patience, 15*time.Second) // nobody makes room within minutes
		}
		if a != nil && a.status >= http.StatusInternalServerError {
			c.waits.Store(call, a.text)
		} else {
			c.waits.Delete(call)
		}
		if time.Since(time.Unix(0, c.progress.Load())) > patience {
			return fmt.Errorf("%w；已等待 %s，再次运行会接着传", err, patience)
		}
		wait := min(100*time.Millisecond<<min(try, 7), 10*time.Second)
		wait = wait/2 + rand.N(wait/2+1)
		if a != nil && a.after > wait {
			wait = a.after + rand.N(a.after/4+1)
			if a.status == http.StatusAccepted {
				wait = a.after
			}
		}
		t := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			t.Stop()
			return errors.Join(err, ctx.Err())
		case <-t.C:
		}
	}
}
