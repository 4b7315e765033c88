package stamp_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/digitorus/timestamp"

	"zhizheng/evidence/stamp"
	"zhizheng/evidence/stamp/stamptest"
	"zhizheng/evidence/stamp/tsa"
	"zhizheng/internal/testenv"
)

var digest = sha256.Sum256([]byte("zhizheng.example/log\n7\nAAAA\n"))

// asked gives a token as an authority granted it.
func asked(t testing.TB, a *stamptest.Authority, digest [32]byte, nonce *big.Int) []byte {
	t.Helper()
	req, err := stamp.Request(digest, nonce)
	if err != nil {
		t.Fatal(err)
	}
	token, err := stamp.Token(a.Reply(t, req))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func defectOf(t testing.TB, err error, want string) {
	t.Helper()
	var d *stamp.Defect
	if !errors.As(err, &d) || !strings.Contains(d.En, want) {
		t.Fatalf("got %v, want a defect that says %q", err, want)
	}
	if d.Zh == "" {
		t.Fatalf("no Chinese words for %q", d.En)
	}
}

func TestTokensOfOpenSSLHold(t *testing.T) {
	for name, o := range map[string]stamptest.Options{
		"plain":           {},
		"sha512, between": {Digest: "sha512", Intermediate: true},
		"first attribute": {ESS: "sha1"},
		"ess sha384":      {ESS: "sha384"},
	} {
		t.Run(name, func(t *testing.T) {
			a := stamptest.New(t, o)
			nonce := stamp.NewNonce()
			before := time.Now().Add(-time.Second)
			token := asked(t, a, digest, nonce)
			info, err := stamp.Verify(token, digest, nonce, a.Roots)
			if err != nil {
				t.Fatal(err)
			}
			if info.GenTime.Before(before) || info.GenTime.After(time.Now().Add(time.Second)) || info.GenTime.Location() != time.UTC {
				t.Errorf("genTime %s", info.GenTime)
			}
			if info.Authority != "CN=Test TSA,O=Test" || info.Policy != "1.2.3.4.1" || info.Accuracy != 1500100*time.Microsecond || info.Serial.Int64() != 2 ||
				info.Digest != digest || info.Nonce.Cmp(nonce) != 0 {
				t.Errorf("%+v", info)
			}
			if err := a.Accepts(token, digest); err != nil {
				t.Error(err)
			}
			claimed, err := stamp.Read(token)
			if err != nil || !claimed.GenTime.Equal(info.GenTime) || claimed.Authority != info.Authority {
				t.Errorf("read %+v, %v", claimed, err)
			}
		})
	}
}

func TestRequestIsOneThatOthersRead(t *testing.T) {
	nonce := stamp.NewNonce()
	b, err := stamp.Request(digest, nonce)
	if err != nil {
		t.Fatal(err)
	}
	r, err := timestamp.ParseRequest(b)
	if err != nil || !r.Certificates || r.HashAlgorithm != crypto.SHA256 || !bytes.Equal(r.HashedMessage, digest[:]) || r.Nonce.Cmp(nonce) != 0 {
		t.Fatalf("%+v, %v", r, err)
	}
	if b, err = stamp.Request(digest, nil); err != nil {
		t.Fatal(err)
	}
	if r, err = timestamp.ParseRequest(b); err != nil || r.Nonce != nil {
		t.Fatalf("%+v, %v", r, err)
	}
}

func TestWhatIsNotTheAnswerIsRefused(t *testing.T) {
	a, stranger := stamptest.New(t, stamptest.Options{}), stamptest.New(t, stamptest.Options{})
	nonce := stamp.NewNonce()
	token := asked(t, a, digest, nonce)
	verify := func(token []byte, digest [32]byte, nonce *big.Int, roots *x509.CertPool) error {
		_, err := stamp.Verify(token, digest, nonce, roots)
		return err
	}
	t.Run("another digest", func(t *testing.T) {
		defectOf(t, verify(token, sha256.Sum256([]byte("else")), nonce, a.Roots), "its digest differs")
	})
	t.Run("another nonce: replayed", func(t *testing.T) {
		defectOf(t, verify(token, digest, stamp.NewNonce(), a.Roots), "nonce differs")
	})
	t.Run("no nonce", func(t *testing.T) {
		defectOf(t, verify(asked(t, a, digest, nil), digest, nonce, a.Roots), "nonce differs")
	})
	t.Run("untrusted root", func(t *testing.T) {
		err := verify(token, digest, nonce, stranger.Roots)
		defectOf(t, err, "given root")
		if !errors.Is(err, stamp.ErrUntrusted) {
			t.Error(err)
		}
	})
	t.Run("no roots are not the system's", func(t *testing.T) {
		defectOf(t, verify(token, digest, nonce, nil), "no roots")
		defectOf(t, verify(token, digest, nonce, x509.NewCertPool()), "given root")
	})
	t.Run("no certificate in it", func(t *testing.T) {
		req, err := (&timestamp.Request{HashAlgorithm: crypto.SHA256, HashedMessage: digest[:]}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		bare, err := stamp.Token(a.Reply(t, req))
		if err != nil {
			t.Fatal(err)
		}
		defectOf(t, verify(bare, digest, nil, a.Roots), "no certificate")
		// The library alone takes even a tampered one.
		i := bytes.Index(bare, digest[:])
		bare[i] ^= 1
		if _, err := timestamp.Parse(bare); err != nil {
			t.Logf("the library has learnt to refuse it: %v", err)
		}
		_, err = stamp.Verify(bare, digest, nil, a.Roots)
		defectOf(t, err, "no certificate")
	})
	t.Run("SHA-512 digest", func(t *testing.T) {
		sum := make([]byte, 64)
		req, err := (&timestamp.Request{HashAlgorithm: crypto.SHA512, HashedMessage: sum, Certificates: true}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		other, err := stamp.Token(a.Reply(t, req))
		if err != nil {
			t.Fatal(err)
		}
		defectOf(t, verify(other, digest, nil, a.Roots), "SHA-256")
	})
	t.Run("SHA-1 signature", func(t *testing.T) {
		weak := stamptest.New(t, stamptest.Options{Digest: "sha1"})
		defectOf(t, verify(asked(t, weak, digest, nil), digest, nil, weak.Roots), "not supported")
	})
	t.Run("refusal", func(t *testing.T) {
		req, err := (&timestamp.Request{HashAlgorithm: crypto.SHA1, HashedMessage: make([]byte, 20), Certificates: true}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		_, err = stamp.Token(a.Reply(t, req)) // openssl's configuration knows no SHA-1
		defectOf(t, err, "granted no token (status 2)")
	})
}

// TestCertificates issues by the library, because openssl refuses to sign with most of these.
func TestCertificates(t *testing.T) {
	codeSigning := asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 3, 3}
	clientAuth, err := asn1.Marshal([]asn1.ObjectIdentifier{{1, 3, 6, 1, 5, 5, 7, 3, 2}})
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o    stamptest.Options
		want string
	}{
		"good":             {stamptest.Options{}, ""},
		"no usage":         {stamptest.Options{Uses: []pkix.Extension{}}, "time-stamping alone"},
		"not critical":     {stamptest.Options{Uses: []pkix.Extension{stamptest.TimeStamping(false)}}, "time-stamping alone"},
		"not the only use": {stamptest.Options{Uses: []pkix.Extension{stamptest.TimeStamping(true, codeSigning)}}, "time-stamping alone"},
		"an unknown use beside": {stamptest.Options{Uses: []pkix.Extension{stamptest.TimeStamping(true, asn1.ObjectIdentifier{1, 2, 3})}},
			"time-stamping alone"},
		"another use": {stamptest.Options{Uses: []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true, Value: clientAuth}}}, "time-stamping alone"},
		"not yet":     {stamptest.Options{NotBefore: time.Now().Add(time.Hour), NotAfter: time.Now().Add(2 * time.Hour)}, "not valid at the token's time"},
		"no longer":   {stamptest.Options{NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(-time.Hour)}, "not valid at the token's time"},
	} {
		t.Run(name, func(t *testing.T) {
			a := stamptest.New(t, c.o)
			_, err := stamp.Verify(made(t, a, a.Cert, time.Now()), digest, nil, a.Roots)
			if c.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			defectOf(t, err, c.want)
		})
	}
}

// made issues a token with the library, with whatever certificate.
func made(t testing.TB, a *stamptest.Authority, cert *x509.Certificate, at time.Time) []byte {
	t.Helper()
	ts := timestamp.Timestamp{HashAlgorithm: crypto.SHA256, HashedMessage: digest[:], Time: at, Policy: asn1.ObjectIdentifier{1, 2, 3}, AddTSACertificate: true}
	b, err := ts.CreateResponseWithOpts(cert, a.Key, crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	token, err := stamp.Token(b)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func TestTimeOfTheTokenCounts(t *testing.T) {
	a := stamptest.New(t, stamptest.Options{NotAfter: time.Now().Add(2 * time.Second).Truncate(time.Second)})
	token := asked(t, a, digest, nil)
	testenv.Eventually(t, 5*time.Second, func() bool { return time.Now().After(a.Cert.NotAfter) })
	if _, err := stamp.Verify(token, digest, nil, a.Roots); err != nil {
		t.Fatalf("the certificate was valid at genTime: %v", err)
	}
	// What it signs from now on doesn't hold.
	_, err := stamp.Verify(asked(t, a, digest, nil), digest, nil, a.Roots)
	defectOf(t, err, "not valid at the token's time")
	// And a token that claims an earlier time is not helped by a certificate of today.
	_, err = stamp.Verify(made(t, a, a.Cert, time.Now().AddDate(-1, 0, 0)), digest, nil, a.Roots)
	defectOf(t, err, "not valid at the token's time")
}

// TestAnotherCertificateOfTheSameKey: the signature would hold, the signed attribute says whose it is.
func TestAnotherCertificateOfTheSameKey(t *testing.T) {
	a := stamptest.New(t, stamptest.Options{})
	twin := *a.Cert
	twin.NotAfter = twin.NotAfter.Add(24 * time.Hour)
	token := made(t, a, a.Cert, time.Now())
	i := bytes.Index(token, a.Cert.Raw)
	if i < 0 {
		t.Fatal("no certificate in the token")
	}
	// The bits of the issuer's signature make another certificate of the same length, issuer and serial number.
	for _, at := range []int{len(a.Cert.Raw) - 1, len(a.Cert.Raw) - 20} {
		other := bytes.Clone(token)
		other[i+at] ^= 1
		_, err := stamp.Verify(other, digest, nil, a.Roots)
		defectOf(t, err, "another certificate")
	}
}

// TestEveryBit flips each bit of tokens. What Verify can't see lies in certificates that nobody needs; the leaf commits to those.
func TestEveryBit(t *testing.T) {
	for name, o := range map[string]stamptest.Options{"plain": {}, "with its issuers": {Intermediate: true}} {
		t.Run(name, func(t *testing.T) {
			a := stamptest.New(t, o)
			nonce := stamp.NewNonce()
			token := asked(t, a, digest, nonce)
			if _, err := stamp.Verify(token, digest, nonce, a.Roots); err != nil {
				t.Fatal(err)
			}
			from, past := 0, 0
			if o.Intermediate { // openssl puts the root in, which is known from outside
				root := a.Chain[1].Raw
				if from = bytes.Index(token, root); from < 0 {
					t.Fatal("the root is not in the token")
				}
				past = from + len(root)
			}
			unseen := 0
			for i := range len(token) * 8 {
				token[i/8] ^= 1 << (i % 8)
				info, err := stamp.Verify(token, digest, nonce, a.Roots)
				if err == nil {
					if i/8 < from || i/8 >= past {
						t.Errorf("bit %d of byte %d of %d goes unseen: %+v", i%8, i/8, len(token), info)
					}
					unseen++
				}
				token[i/8] ^= 1 << (i % 8)
			}
			t.Logf("%d bits, %d of them in the root that came along and need not be there", len(token)*8, unseen)
		})
	}
}

func TestRoots(t *testing.T) {
	a := stamptest.New(t, stamptest.Options{})
	if _, err := stamp.ParseRoots(append(bytes.Clone(a.RootsPEM), a.RootsPEM...)); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"", "no pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		if _, err := stamp.ParseRoots([]byte(bad)); err == nil {
			t.Errorf("%q gives roots", bad)
		}
	}
}

func TestAsking(t *testing.T) {
	a := stamptest.New(t, stamptest.Options{})
	req, err := stamp.Request(digest, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer := func(contentType string, status int, body []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(status)
			_, _ = w.Write(body)
		}
	}
	const reply = "application/timestamp-reply"
	for name, c := range map[string]struct {
		h    http.HandlerFunc
		want string
	}{
		"granted":     {nil, ""},
		"500":         {answer(reply, 500, nil), "answered 500"},
		"redirection": {answer(reply, 307, nil), "answered 307"},
		"a web page":  {answer("text/html", 200, []byte("<p>sign in")), "text/html"},
		"huge":        {answer(reply, 200, make([]byte, 10<<20)), "more than"},
		"cut off":     {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			a.Answer(c.h)
			b, err := tsa.Client{}.Ask(t.Context(), strings.Replace(a.URL, "http://", "http://u:secret@", 1), req)
			switch {
			case c.want == "" && err == nil:
				if token, err := stamp.Token(b); err != nil {
					t.Fatal(err)
				} else if _, err := stamp.Verify(token, digest, nil, a.Roots); err != nil {
					t.Fatal(err)
				}
			case err == nil || !strings.Contains(err.Error(), c.want) || c.want == "":
				t.Fatalf("got %v, want %q", err, c.want)
			case strings.Contains(err.Error(), "secret"):
				t.Fatalf("the password is told: %v", err)
			}
		})
	}
	t.Run("slow", func(t *testing.T) {
		release := make(chan struct{})
		a.Answer(func(http.ResponseWriter, *http.Request) { <-release })
		defer close(release)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := (tsa.Client{}).Ask(ctx, a.URL, req); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatal(err)
		}
	})
	t.Run("names", func(t *testing.T) {
		if n, err := tsa.Name("https://u:p@tsa.example/ts?key=1#x"); err != nil || n != "https://tsa.example/ts" {
			t.Errorf("%q, %v", n, err)
		}
		for _, bad := range []string{"", "tsa.example", "ftp://tsa.example", "http://"} {
			if _, err := tsa.Name(bad); err == nil {
				t.Errorf("%q is an address", bad)
			}
		}
	})
}

// golden is an answer of openssl's with its request's nonce and the root, as they were: later versions must read it.
func golden(t testing.TB) (response []byte, nonce *big.Int, roots *x509.CertPool) {
	t.Helper()
	response, err := os.ReadFile("testdata/v1/response.tsr")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("testdata/v1/root.pem")
	if err != nil {
		t.Fatal(err)
	}
	if roots, err = stamp.ParseRoots(text); err != nil {
		t.Fatal(err)
	}
	return response, new(big.Int).SetBytes([]byte("zhizheng")), roots
}

func TestGolden(t *testing.T) {
	response, nonce, roots := golden(t)
	token, err := stamp.Token(response)
	if err != nil {
		t.Fatal(err)
	}
	for _, carried := range [][]byte{response, token} {
		got, err := stamp.Carried(carried)
		if err != nil || !bytes.Equal(got, token) {
			t.Fatal(err)
		}
	}
	if info, err := stamp.Verify(token, digest, nonce, roots); err != nil || info.Authority != "CN=Test TSA,O=Test" {
		t.Fatal(info, err)
	}
}

// FuzzToken: whatever comes, reading ends without a panic, and what is accepted says what the seed says.
func FuzzToken(f *testing.F) {
	response, nonce, roots := golden(f)
	token, err := stamp.Token(response)
	if err != nil {
		f.Fatal(err)
	}
	want, err := stamp.Verify(token, digest, nonce, roots)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(token)
	f.Add(response)
	f.Add([]byte{0x30, 0x80, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := stamp.Carried(b)
		if err != nil {
			got = b
		}
		if info, err := stamp.Verify(got, digest, nonce, roots); err == nil && (!info.GenTime.Equal(want.GenTime) || info.Serial.Cmp(want.Serial) != 0) {
			t.Fatalf("%+v", info)
		}
		if _, err := stamp.Read(got); err != nil {
			var d *stamp.Defect
			if !errors.As(err, &d) {
				t.Fatalf("%v is no defect", err)
			}
		}
	})
}
