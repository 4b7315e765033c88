package stamp

import (
	"bytes"
	"crypto"
	_ "crypto/sha512" // SHA-384 and SHA-512 of signatures
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"regexp"
	"strings"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// token is a TimeStampToken (RFC 3161 §2.4.2): CMS SignedData (RFC 5652) over a TSTInfo.
type token struct {
	info         Info
	content      []byte // TSTInfo
	certificates []*x509.Certificate
	issuer       []byte   // of the signer's certificate: Name in DER
	serial       *big.Int // of the same
	ess          []certID
}

// certID is the first certificate that a signing-certificate attribute names.
type certID struct {
	hash   crypto.Hash
	sum    []byte
	issuer []byte   // nil if it isn't told
	serial *big.Int // nil if it isn't told
}

var (
	oidSignedData    = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}
	oidTSTInfo       = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 1, 4}
	oidContentType   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 3}
	oidMessageDigest = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 4}
	oidSigningCert   = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 12}
	oidSigningCertV2 = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 9, 16, 2, 47}
	oidSHA256        = asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 1}
	oidRSA           = asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}
)

// digests that a signature may rest on, with the signature algorithms that name the same digest.
var digests = []struct {
	oid, rsa, ecdsa asn1.ObjectIdentifier
	hash            crypto.Hash
}{
	{oidSHA256, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 11}, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 2}, crypto.SHA256},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 2}, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 12}, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 3}, crypto.SHA384},
	{asn1.ObjectIdentifier{2, 16, 840, 1, 101, 3, 4, 2, 3}, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 13}, asn1.ObjectIdentifier{1, 2, 840, 10045, 4, 3, 4}, crypto.SHA512},
}

var (
	tag0 = casn1.Tag(0).ContextSpecific()
	tag1 = casn1.Tag(1).ContextSpecific()
)

// der is a reader of DER that remembers that something was wrong; every part asks left at its end, so that no byte goes unread.
type der struct {
	s   cryptobyte.String
	bad *bool
}

func (d *der) fail() { *d.bad = true }

func (d *der) part(tag casn1.Tag) der {
	var in cryptobyte.String
	if !d.s.ReadASN1(&in, tag) {
		d.fail()
	}
	return der{in, d.bad}
}

func (d *der) optional(tag casn1.Tag) (der, bool) {
	if !d.s.PeekASN1Tag(tag) {
		return der{nil, d.bad}, false
	}
	return d.part(tag), true
}

// whole reads one element with its tag and length.
func (d *der) whole() (b []byte, tag casn1.Tag) {
	var in cryptobyte.String
	if !d.s.ReadAnyASN1Element(&in, &tag) {
		d.fail()
	}
	return in, tag
}

func (d *der) oid() (o asn1.ObjectIdentifier) {
	if !d.s.ReadASN1ObjectIdentifier(&o) {
		d.fail()
	}
	return o
}

func (d *der) integer() *big.Int {
	n := new(big.Int)
	if !d.s.ReadASN1Integer(n) {
		d.fail()
	}
	return n
}

func (d *der) small() (n int64) {
	if !d.s.ReadASN1Integer(&n) {
		d.fail()
	}
	return n
}

func (d *der) octets() []byte { return d.part(casn1.OCTET_STRING).s }

// algorithm reads an AlgorithmIdentifier whose parameters are absent or NULL, as those of all algorithms accepted here are.
func (d *der) algorithm() asn1.ObjectIdentifier {
	a := d.part(casn1.SEQUENCE)
	o := a.oid()
	if !a.s.Empty() {
		if b, _ := a.whole(); !bytes.Equal(b, []byte{5, 0}) {
			d.fail()
		}
	}
	a.left()
	return o
}

// left fails if anything is left.
func (d *der) left() {
	if !d.s.Empty() {
		d.fail()
	}
}

// parse reads a token in its one encoding.
func parse(b []byte) (*token, error) {
	if len(b) > MaxToken {
		return nil, defect("令牌过大", "the token is too large")
	}
	if !canonical(b, 0) {
		return nil, defect("令牌不是规范的 DER 编码", "the token is not DER")
	}
	bad := false
	d := der{cryptobyte.String(b), &bad}
	t := &token{}
	info := d.part(casn1.SEQUENCE)
	d.left()
	kind := info.oid()
	wrap := info.part(tag0.Constructed())
	info.left()
	sd := wrap.part(casn1.SEQUENCE)
	wrap.left()
	if bad || !kind.Equal(oidSignedData) {
		return nil, defect("不是时间戳令牌", "it is no time-stamp token")
	}
	if err := t.signedData(&sd); err != nil {
		return nil, err
	}
	if bad {
		return nil, defect("令牌的结构不合 RFC 3161", "the token is not built as RFC 3161 says")
	}
	if err := t.tstInfo(); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *token) signedData(d *der) error {
	version := d.small()
	algorithms := d.part(casn1.SET)
	digest := algorithms.algorithm()
	encap := d.part(casn1.SEQUENCE)
	kind := encap.oid()
	wrap := encap.part(tag0.Constructed())
	encap.left()
	t.content = wrap.octets()
	wrap.left()
	certificates, has := d.optional(tag0.Constructed())
	d.optional(tag1.Constructed()) // CRLs: they are not asked
	signers := d.part(casn1.SET)
	d.left()
	if *d.bad || version != 3 || !kind.Equal(oidTSTInfo) {
		return defect("不是时间戳令牌", "it is no time-stamp token")
	}
	if !has {
		return defect("令牌里没有证书", "the token carries no certificate")
	}
	if !algorithms.s.Empty() {
		return defect("令牌须恰有一个签名者", "the token must have exactly one signer")
	}
	for !certificates.s.Empty() && !*d.bad {
		raw, _ := certificates.whole()
		c, err := x509.ParseCertificate(raw)
		if err != nil {
			return defect("令牌里的证书不能读取", "a certificate in the token can't be read").because(err)
		}
		t.certificates = append(t.certificates, c)
	}
	signer := signers.part(casn1.SEQUENCE)
	if !signers.s.Empty() || *d.bad {
		return defect("令牌须恰有一个签名者", "the token must have exactly one signer")
	}
	return t.signerInfo(&signer, digest)
}

// signerInfo reads who signed, how, and the attributes that were signed.
func (t *token) signerInfo(d *der, digest asn1.ObjectIdentifier) error {
	version := d.small()
	sid := d.part(casn1.SEQUENCE)
	t.issuer, _ = sid.whole()
	t.serial = sid.integer()
	sid.left()
	own := d.algorithm()
	attributes, signed := d.optional(tag0.Constructed())
	algorithm := d.algorithm()
	d.octets()                     // the signature
	d.optional(tag1.Constructed()) // unsigned attributes
	d.left()
	if *d.bad || version != 1 {
		return defect("签名者信息不合格式", "the signer's information is not built as it must be")
	}
	if !signed {
		return defect("令牌没有签名属性", "the token has no signed attributes")
	}
	if !own.Equal(digest) {
		return defect("令牌列出的摘要算法与签名者的不同", "the token lists another digest algorithm than its signer's")
	}
	known := false
	for _, a := range digests {
		known = known || a.oid.Equal(own) && (algorithm.Equal(oidRSA) || algorithm.Equal(a.rsa) || algorithm.Equal(a.ecdsa))
	}
	if !known {
		return defect("不支持的签名算法 "+algorithm.String()+"（支持 RSA、ECDSA 配 SHA-256/384/512）",
			"signature algorithm "+algorithm.String()+" is not supported (RSA and ECDSA with SHA-256, 384, 512 are)")
	}
	return t.attributes(&attributes)
}

// attributes reads the signed attributes: each kind once, with one value, in DER's order.
func (t *token) attributes(d *der) error {
	var before []byte
	seen := map[string]bool{}
	for !d.s.Empty() && !*d.bad {
		raw, _ := d.whole()
		if bytes.Compare(before, raw) >= 0 { // the signature is over the sorted set; unsorted bytes would be a second spelling of it
			d.fail()
		}
		before = raw
		one := der{cryptobyte.String(raw), d.bad}
		a := one.part(casn1.SEQUENCE)
		kind := a.oid()
		values := a.part(casn1.SET)
		a.left()
		if seen[kind.String()] {
			d.fail()
		}
		seen[kind.String()] = true
		switch {
		case kind.Equal(oidContentType):
			if !values.oid().Equal(oidTSTInfo) {
				d.fail()
			}
			values.left()
		case kind.Equal(oidMessageDigest):
			values.octets()
			values.left()
		case kind.Equal(oidSigningCert), kind.Equal(oidSigningCertV2):
			t.ess = append(t.ess, signingCertificate(&values, kind.Equal(oidSigningCertV2)))
			values.left()
		default:
			values.whole()
			values.left()
		}
	}
	if *d.bad || !seen[oidContentType.String()] || !seen[oidMessageDigest.String()] {
		return defect("签名属性不合格式", "the signed attributes are not built as they must be")
	}
	return nil
}

// signingCertificate reads the first ESSCertID or ESSCertIDv2 (RFC 5035 §3, §4): the signer's.
func signingCertificate(d *der, v2 bool) (id certID) {
	all := d.part(casn1.SEQUENCE)
	ids := all.part(casn1.SEQUENCE)
	all.optional(casn1.SEQUENCE) // policies
	all.left()
	one := ids.part(casn1.SEQUENCE)
	id.hash = crypto.SHA1
	if v2 {
		id.hash = crypto.SHA256
		if one.s.PeekASN1Tag(casn1.SEQUENCE) {
			o := one.algorithm()
			id.hash = 0
			for _, a := range digests {
				if a.oid.Equal(o) {
					id.hash = a.hash
				}
			}
			if id.hash == 0 {
				d.fail()
				id.hash = crypto.SHA256
			}
		}
	}
	id.sum = one.octets()
	if is, has := one.optional(casn1.SEQUENCE); has {
		names := is.part(casn1.SEQUENCE)
		name := names.part(casn1.Tag(4).ContextSpecific().Constructed())
		names.left()
		id.issuer, _ = name.whole()
		name.left()
		id.serial = is.integer()
		is.left()
	}
	one.left()
	return id
}

// tstInfo reads what was signed.
func (t *token) tstInfo() error {
	bad := false
	outer := der{cryptobyte.String(t.content), &bad}
	if !canonical(t.content, 0) {
		return defect("时间戳内容不是规范的 DER 编码", "the token's content is not DER")
	}
	d := outer.part(casn1.SEQUENCE)
	outer.left()
	version := d.small()
	t.info.Policy = d.oid().String()
	imprint := d.part(casn1.SEQUENCE)
	algorithm := imprint.algorithm()
	sum := imprint.octets()
	imprint.left()
	t.info.Serial = d.integer()
	at := d.part(casn1.GeneralizedTime)
	if a, has := d.optional(casn1.SEQUENCE); has {
		t.info.Accuracy = accuracy(&a)
	}
	if ordering, has := d.optional(casn1.BOOLEAN); has && !bytes.Equal(ordering.s, []byte{0xff}) { // FALSE is the default, so absent
		d.fail()
	}
	if d.s.PeekASN1Tag(casn1.INTEGER) {
		t.info.Nonce = d.integer()
	}
	d.optional(tag0.Constructed()) // the authority's name for itself; its certificate tells
	if extensions, has := d.optional(tag1.Constructed()); has {
		noneCritical(&extensions)
	}
	d.left()
	if bad || version != 1 {
		return defect("时间戳内容的结构不合 RFC 3161", "the token's content is not built as RFC 3161 says")
	}
	if !algorithm.Equal(oidSHA256) || len(sum) != len(t.info.Digest) {
		return defect("时间戳不是对 SHA-256 摘要盖的", "the token is not over a SHA-256 digest")
	}
	copy(t.info.Digest[:], sum)
	var err error
	t.info.GenTime, err = genTime(string(at.s))
	return err
}

func accuracy(d *der) time.Duration {
	var seconds, millis, micros int64
	if d.s.PeekASN1Tag(casn1.INTEGER) {
		seconds = d.small()
	}
	for _, part := range []struct {
		tag casn1.Tag
		to  *int64
	}{{tag0, &millis}, {tag1, &micros}} {
		if in, has := d.optional(part.tag); has {
			if len(in.s) < 1 || len(in.s) > 2 { // 1..999
				d.fail()
				return 0
			}
			for _, b := range in.s {
				*part.to = *part.to<<8 | int64(b)
			}
		}
	}
	d.left()
	if seconds < 0 || seconds > 1e6 || millis > 999 || micros > 999 {
		d.fail()
		return 0
	}
	return time.Duration(seconds)*time.Second + time.Duration(millis)*time.Millisecond + time.Duration(micros)*time.Microsecond
}

// noneCritical refuses an extension that must be understood: none is.
func noneCritical(d *der) {
	for !d.s.Empty() && !*d.bad {
		e := d.part(casn1.SEQUENCE)
		e.oid()
		if _, has := e.optional(casn1.BOOLEAN); has {
			d.fail()
		}
		e.octets()
		e.left()
	}
}

var generalizedTime = regexp.MustCompile(`^\d{14}(\.\d{0,8}[1-9])?Z$`)

// genTime reads a GeneralizedTime as RFC 3161 §2.4.2 writes it: in UTC, fractions without zeros at the end.
func genTime(s string) (time.Time, error) {
	bad := defect("时间戳的时间不能读取", "the token's time can't be read")
	if !generalizedTime.MatchString(s) {
		return time.Time{}, bad
	}
	at, err := time.Parse("20060102150405", strings.TrimSuffix(s, "Z")) // it takes a fraction that the layout doesn't name
	if err != nil {
		return time.Time{}, bad.because(err)
	}
	return at.UTC(), nil
}

// canonical says whether bytes are one DER element: definite lengths in their shortest form, and values of the simple types in their one
// form. What parse reads it checks itself; this is for what it passes over, and for pkcs7, whose own reader takes BER.
func canonical(b []byte, depth int) bool {
	s := cryptobyte.String(b)
	return element(&s, depth) && s.Empty()
}

func element(s *cryptobyte.String, depth int) bool {
	var in, all cryptobyte.String
	var tag casn1.Tag
	if depth > 24 || !s.ReadAnyASN1Element(&all, &tag) {
		return false
	}
	again := all
	if !again.ReadAnyASN1(&in, &tag) {
		return false
	}
	const constructed = 0x20
	if tag&constructed != 0 {
		for !in.Empty() {
			if !element(&in, depth+1) {
				return false
			}
		}
		return tag == casn1.SEQUENCE || tag == casn1.SET || tag&0xc0 != 0
	}
	switch tag {
	case casn1.SEQUENCE &^ constructed, casn1.SET &^ constructed:
		return false
	case casn1.NULL:
		return len(in) == 0
	case casn1.BOOLEAN:
		return len(in) == 1 && (in[0] == 0 || in[0] == 0xff)
	case casn1.INTEGER, casn1.ENUM:
		return len(in) == 1 || len(in) > 1 && !(in[0] == 0 && in[1] < 0x80) && !(in[0] == 0xff && in[1] >= 0x80)
	case casn1.BIT_STRING:
		return len(in) == 1 && in[0] == 0 || len(in) > 1 && in[0] < 8 && in[len(in)-1]&(1<<in[0]-1) == 0
	case casn1.OBJECT_IDENTIFIER:
		return oidCanonical(in)
	}
	return true
}

// oidCanonical refuses padded and unfinished arcs.
func oidCanonical(b []byte) bool {
	first := true
	for _, c := range b {
		if first && c == 0x80 {
			return false
		}
		first = c < 0x80
	}
	return len(b) > 0 && first
}
