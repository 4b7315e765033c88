package stamp

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// MaxResponse bounds an authority's answer.
const MaxResponse = MaxToken + 4096

// NewNonce makes what a request and its answer have in common and no older answer has.
func NewNonce() *big.Int {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails since Go 1.24
	b[0] &= 0x7f        // some authorities read it as a signed number
	b[0] |= 0x40        // and some drop leading zeros
	return new(big.Int).SetBytes(b)
}

// Request is a TimeStampReq over a SHA-256 digest that asks for the signer's certificate. nonce nil leaves it out: a request that is
// carried gets its answer from whoever is there, and the digest alone says what it is for.
func Request(digest [32]byte, nonce *big.Int) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
		b.AddASN1Int64(1)
		b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			b.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1ObjectIdentifier(oidSHA256)
				b.AddASN1NULL()
			})
			b.AddASN1OctetString(digest[:])
		})
		if nonce != nil {
			b.AddASN1BigInt(nonce)
		}
		b.AddASN1Boolean(true)
	})
	out, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("write time-stamp request: %w", err)
	}
	return out, nil
}

// Token takes the token out of a TimeStampResp (RFC 3161 §2.4.2). Anything but "granted" is a *Defect that tells what the authority said.
func Token(response []byte) ([]byte, error) {
	if len(response) > MaxResponse {
		return nil, defect("答复过大", "the answer is too large")
	}
	bad := false
	outer := der{cryptobyte.String(response), &bad}
	d := outer.part(casn1.SEQUENCE)
	outer.left()
	status := d.part(casn1.SEQUENCE)
	code := status.small()
	text := ""
	if lines, has := status.optional(casn1.SEQUENCE); has {
		for !lines.s.Empty() && !bad {
			line := lines.part(casn1.UTF8String)
			text += " " + string(line.s)
		}
	}
	status.optional(casn1.BIT_STRING)
	status.left()
	if bad {
		return nil, defect("答复不是时间戳答复", "the answer is no time-stamp response")
	}
	if code != 0 {
		return nil, defect(fmt.Sprintf("时间戳机构没有给出时间戳（状态 %d）", code), fmt.Sprintf("the authority granted no token (status %d)", code)).because(errors.New(clip(text)))
	}
	token, _ := d.whole()
	d.left()
	if bad {
		return nil, defect("答复里没有令牌", "there is no token in the answer")
	}
	return token, nil
}

// Carried takes the token out of a file that came back: a response, or a token alone.
func Carried(file []byte) ([]byte, error) {
	s := cryptobyte.String(file)
	var in cryptobyte.String
	if s.ReadASN1(&in, casn1.SEQUENCE) && in.PeekASN1Tag(casn1.OBJECT_IDENTIFIER) {
		return file, nil
	}
	return Token(file)
}

func clip(s string) string {
	if len(s) > 200 {
		s = s[:200]
	}
	return fmt.Sprintf("%q", s)
}

// ParseRoots reads certificates in PEM: those whom to trust for time.
func ParseRoots(text []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	n := 0
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("read time-stamp roots: a PEM block is a %q, not a certificate", block.Type)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read time-stamp roots: %w", err)
		}
		pool.AddCert(c)
		n++
	}
	if n == 0 {
		return nil, errors.New("read time-stamp roots: there is no certificate in it")
	}
	return pool, nil
}
