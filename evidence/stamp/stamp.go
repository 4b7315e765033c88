// Package stamp owns RFC 3161 tokens: what is asked of a time-stamp authority, how its answer is read, and what a token proves. It is
// pure: no network, no clock, no trust but in the roots it is handed. It promises that a token is accepted only if it is for the
// very digest, has exactly one signer whose certificate was valid at the token's own time for time-stamping and nothing else, and is
// written in the one encoding DER allows. It never asks whether a certificate was revoked: offline nobody could say.
//
// What covers which bit of a token:
//
//	TSTInfo (time, digest, serial number, nonce)      the signer's signature, through the messageDigest attribute
//	signed attributes                                 the signer's signature, as they are
//	the signer's certificate                          the signing-certificate attribute, so the signature
//	certificates on the way to the root               their issuer's signatures
//	object identifiers, versions, lengths around them one value only, checked here
//	certificates beside that way, CRLs, unsigned      nothing in the token. In the log the leaf commits to all bytes of it,
//	attributes                                        and a bundle's MANIFEST does.
//
// Read stamp.go for what is checked, token.go for the encoding, request.go for asking; tsa/ asks over HTTP.
package stamp

import (
	"bytes"
	"crypto"
	"crypto/sha1" // the first signing-certificate attribute (RFC 2634) knows no other; what it names is verified besides
	"crypto/x509"
	"errors"
	"math/big"
	"time"

	"github.com/digitorus/pkcs7"
)

// MaxToken bounds a token's bytes. Those of known authorities have 3 to 8 KB.
const MaxToken = 64 << 10

// Info is what a token says. Before Verify it is a claim.
type Info struct {
	GenTime   time.Time // UTC
	Accuracy  time.Duration
	Authority string // subject of the signer's certificate
	Serial    *big.Int
	Policy    string // object identifier
	Digest    [32]byte
	Nonce     *big.Int // nil if it has none
}

// Defect says in both languages what about a token doesn't hold.
type Defect struct {
	Zh, En string
	cause  error
}

func (d *Defect) Error() string {
	s := d.Zh + " | " + d.En
	if d.cause != nil {
		s += ": " + d.cause.Error()
	}
	return s
}

// Unwrap gives what a library said.
func (d *Defect) Unwrap() error { return d.cause }

func defect(zh, en string) *Defect { return &Defect{Zh: zh, En: en} }

func (d *Defect) because(err error) *Defect { d.cause = err; return d }

// ErrUntrusted is the cause when a token is whole, but no given root leads to its signer.
var ErrUntrusted = errors.New("no given root leads to its signer")

// Verify proves a token over digest (SHA-256) at the token's own time against roots. nonce is the one that was sent, nil if the token
// wasn't asked for just now. Errors are a *Defect.
func Verify(token []byte, digest [32]byte, nonce *big.Int, roots *x509.CertPool) (Info, error) {
	t, err := parse(token)
	if err != nil {
		return Info{}, err
	}
	if roots == nil { // x509 would take the system's
		return Info{}, defect("没有给出时间戳机构的根证书", "no roots were given")
	}
	if t.info.Digest != digest {
		return Info{}, defect("时间戳盖的是另一份内容（摘要不同）", "the token is over something else: its digest differs")
	}
	if nonce != nil && (t.info.Nonce == nil || t.info.Nonce.Cmp(nonce) != 0) {
		return Info{}, defect("时间戳不是对本次请求的答复（随机数不同）", "the token doesn't answer this request: its nonce differs")
	}
	signer, err := t.signer()
	if err != nil {
		return Info{}, err
	}
	if err := forStampingOnly(signer); err != nil {
		return Info{}, err
	}
	if err := t.named(signer); err != nil {
		return Info{}, err
	}
	if err := t.signed(token, signer, roots); err != nil {
		return Info{}, err
	}
	t.info.Authority = signer.Subject.String()
	return t.info, nil
}

// Read gives what a token claims, after checking its form and that the signer's certificate is in it. It proves nothing: nobody's
// signature is checked.
func Read(token []byte) (Info, error) {
	t, err := parse(token)
	if err != nil {
		return Info{}, err
	}
	signer, err := t.signer()
	if err != nil {
		return Info{}, err
	}
	t.info.Authority = signer.Subject.String()
	return t.info, nil
}

// signer finds the certificate of the one signer in the token.
func (t *token) signer() (*x509.Certificate, error) {
	for _, c := range t.certificates {
		if bytes.Equal(c.RawIssuer, t.issuer) && c.SerialNumber.Cmp(t.serial) == 0 {
			return c, nil
		}
	}
	return nil, defect("令牌里没有签名者的证书", "the signer's certificate is not in the token")
}

// forStampingOnly demands the critical extended key usage of RFC 3161 §2.3 and nothing beside it, and a key that may sign.
func forStampingOnly(c *x509.Certificate) error {
	critical := false
	for _, e := range c.Extensions {
		critical = critical || e.Id.String() == "2.5.29.37" && e.Critical
	}
	usages := c.KeyUsage &^ (x509.KeyUsageDigitalSignature | x509.KeyUsageContentCommitment)
	switch {
	case len(c.ExtKeyUsage) != 1 || len(c.UnknownExtKeyUsage) != 0 || c.ExtKeyUsage[0] != x509.ExtKeyUsageTimeStamping || !critical:
		return defect("签名证书不是时间戳专用证书（缺少关键的、唯一的 timeStamping 用途）",
			"the signer's certificate is not for time-stamping alone (RFC 3161 §2.3: critical extended key usage timeStamping)")
	case c.IsCA || usages != 0:
		return defect("签名证书另有他用（签发证书或加密）", "the signer's certificate has other uses: a CA's, or encryption")
	}
	return nil
}

// named checks that the signed attributes name this certificate (RFC 2634 §5.4, RFC 5035): else another certificate for the same key
// could be put in its place.
func (t *token) named(c *x509.Certificate) error {
	if len(t.ess) == 0 {
		return defect("令牌没有指明签名证书（signing-certificate 属性）", "the token doesn't name its signer's certificate (signing-certificate attribute)")
	}
	for _, id := range t.ess {
		var sum []byte
		if id.hash == crypto.SHA1 {
			s := sha1.Sum(c.Raw)
			sum = s[:]
		} else {
			h := id.hash.New()
			h.Write(c.Raw)
			sum = h.Sum(nil)
		}
		other := id.serial != nil && (id.serial.Cmp(c.SerialNumber) != 0 || !bytes.Equal(id.issuer, c.RawIssuer))
		if !bytes.Equal(sum, id.sum) || other {
			return defect("令牌指明的签名证书是另一张", "the token names another certificate as its signer's")
		}
	}
	return nil
}

// signed checks signature, message digest and the chain at the token's time. parse has made sure that there is one signer with signed
// attributes, each once: pkcs7 would accept a signature without them and takes the first of several.
func (t *token) signed(raw []byte, signer *x509.Certificate, roots *x509.CertPool) error {
	p7, err := pkcs7.Parse(raw)
	if err != nil {
		return defect("令牌不能读取", "the token can't be read").because(err)
	}
	if only := p7.GetOnlySigner(); only == nil || !only.Equal(signer) || !bytes.Equal(p7.Content, t.content) {
		return defect("令牌有两种读法", "the token can be read in two ways")
	}
	between := x509.NewCertPool()
	for _, c := range t.certificates {
		between.AddCert(c)
	}
	err = p7.VerifyWithOpts(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: t.info.GenTime,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}})
	if err == nil {
		return nil
	}
	// pkcs7 hides the kind of a chain's failure; it is asked for again, so that people are told which it was.
	_, chain := signer.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, CurrentTime: t.info.GenTime,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageTimeStamping}})
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	switch {
	case chain == nil:
		return defect("签名不成立", "the signature doesn't hold").because(err)
	case errors.As(chain, &unknown):
		return defect("签名证书不出自所给的根证书", "the signer's certificate doesn't come from a given root").because(errors.Join(ErrUntrusted, chain))
	case errors.As(chain, &invalid) && invalid.Reason == x509.Expired:
		return defect("签名证书在所盖时间不在有效期内", "the signer's certificate was not valid at the token's time").because(chain)
	}
	return defect("签名证书不成立", "the signer's certificate doesn't hold").because(chain)
}
