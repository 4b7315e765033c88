package bundle

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"zhizheng/evidence/chain"
	"zhizheng/evidence/stamp"
)

// Trusted time in a bundle: the receipts of token leaves lie in proofs/ like all others; the payload of each holds the token and the
// checkpoint that was stamped. timestamps/N.consistency shows that the tree of that checkpoint is the beginning of the one that the
// bundle's receipts are in, so that every leaf below its size was there at the token's time.

const (
	stampsDir         = "timestamps/"
	consistencySuffix = ".consistency"
	consistencyHeader = "zhizheng-consistency/v1"
)

// Option changes how Verify judges.
type Option func(*verifier)

// Devices hands in how to read what devices signed about their own chains; without it chain.json can't be checked, and that is a failure.
func Devices(d SignedChain) Option { return func(v *verifier) { v.device = d } }

// TSARoots judges timestamps: whom to trust for time. Without them they are told and not judged.
func TSARoots(roots *x509.CertPool) Option { return func(v *verifier) { v.tsaRoots = roots } }

// States of a Timestamp.
const (
	StampHolds     = "holds"
	StampFails     = "fails"
	StampUndecided = "undecided" // no roots were given
)

// Timestamp is what a token in the bundle says: leaves with an index below Size existed at GenTime. It is a claim unless State is StampHolds.
type Timestamp struct {
	Leaf      int64  `json:"leaf"`
	Size      int64  `json:"size"`
	GenTime   string `json:"gen_time"`
	Accuracy  string `json:"accuracy,omitempty"`
	Authority string `json:"authority"` // subject of the signer's certificate
	State     string `json:"state"`

	at time.Time // GenTime
}

// StampedBy gives the earliest timestamp that holds and covers a leaf.
func (r Report) StampedBy(leaf int64) (Timestamp, bool) {
	best, found := Timestamp{}, false
	for _, t := range r.Timestamps {
		if t.State == StampHolds && t.Size > leaf && (!found || t.at.Before(best.at)) {
			best, found = t, true
		}
	}
	return best, found
}

func stampName(leaf int64) string {
	return fmt.Sprintf("%s%012d%s", stampsDir, leaf, consistencySuffix)
}

func isStampName(name string) bool {
	n, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(name, stampsDir), consistencySuffix), 10, 64)
	return err == nil && n >= 0 && stampName(n) == name
}

// Consistency is the text of a consistency member: the tree of size old is the beginning of that of size.
func Consistency(old, size int64, proof []chain.Hash) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\nold %d\nsize %d\n", consistencyHeader, old, size)
	for _, h := range proof {
		b.WriteString(base64.StdEncoding.EncodeToString(h[:]))
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// parseConsistency reads such a text in its one spelling.
func parseConsistency(text []byte) (old, size int64, proof []chain.Hash, err error) {
	lines := strings.Split(string(text), "\n")
	if len(lines) < 4 || len(lines) > 4+2*64 {
		return 0, 0, nil, errors.New("it is no consistency proof")
	}
	old, err1 := strconv.ParseInt(strings.TrimPrefix(lines[1], "old "), 10, 64)
	size, err2 := strconv.ParseInt(strings.TrimPrefix(lines[2], "size "), 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		return 0, 0, nil, errors.New("it is no consistency proof")
	}
	for _, line := range lines[3 : len(lines)-1] {
		h, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(h) != tlog.HashSize {
			return 0, 0, nil, fmt.Errorf("proof line %q", line)
		}
		proof = append(proof, chain.Hash(h))
	}
	if !bytes.Equal(Consistency(old, size, proof), text) {
		return 0, 0, nil, errors.New("not the spelling of what it says")
	}
	return old, size, proof, nil
}

// addStamps lays the consistency proofs out behind the receipts.
func (p *Plan) addStamps(proofs map[int64][]byte) {
	for _, leaf := range slices.Sorted(maps.Keys(proofs)) {
		p.text(stampName(leaf), proofs[leaf])
	}
}

// stamps judges each token against the bundle's tree and the given roots.
func (v *verifier) stamps() {
	v.report.Timestamps = []Timestamp{}
	for _, leaf := range slices.Sorted(maps.Keys(v.leaves)) {
		if p := v.leaves[leaf]; p.Leaf.Kind == chain.KindTimestamp {
			v.report.Timestamps = append(v.report.Timestamps, v.stamp(p))
		}
	}
	for _, f := range v.zip.File {
		if !isStampName(f.Name) {
			continue
		}
		leaf, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(f.Name, stampsDir), consistencySuffix), 10, 64) // isStampName read it
		if p, ok := v.leaves[leaf]; !ok || p.Leaf.Kind != chain.KindTimestamp {
			v.fail(f.Name, "没有对应的时间戳", "there is no timestamp that this belongs to")
		}
	}
	n := len(v.report.Timestamps)
	switch {
	case n == 0:
		v.held("没有可信时间戳：叶上的时间是平台时钟的说法 no trusted timestamps: times are the platform's word")
	case v.tsaRoots == nil:
		v.held("%d 个时间戳存在，未判断（未给出 --tsa-roots） timestamps are there and were not judged (no --tsa-roots)", n)
	default:
		v.held("%d 个时间戳按其所盖时间核验 timestamps judged at their own time", n)
	}
}

// stamp judges one. What it stamped must be this log's past, trusted or not: else the log has two.
func (v *verifier) stamp(p chain.Proven) (t Timestamp) {
	where := proofName(p.Index)
	t = Timestamp{Leaf: p.Index, State: StampFails}
	fail := func(zh, en string) Timestamp {
		v.fail(where, "时间戳不成立："+zh, "the timestamp doesn't hold: "+en)
		return t
	}
	s, err := chain.Payload[chain.TimestampPayload](p.Payload)
	if err != nil || p.Leaf.Subject != (chain.Subject{Type: chain.SubjectPlatform, ID: "timestamp"}).Opaque() {
		return fail("叶的内容不是时间戳", "the leaf holds no timestamp")
	}
	c, err := chain.ParseCheckpoint(s.Body)
	if err != nil || c.Origin != v.report.Origin {
		return fail("盖的不是本日志的存证点", "what was stamped is no checkpoint of this log")
	}
	t.Size = c.Size
	if err := v.past(p.Index, c); err != nil {
		return fail("所盖的存证点不是本包所在之树的过去（"+err.Error()+"）", "what was stamped is not the past of the tree this bundle is in: "+err.Error())
	}
	digest := sha256.Sum256([]byte(s.Body))
	info, err := stamp.Read(s.Token)
	if err == nil && info.Digest != digest {
		return fail("令牌盖的是另一份内容", "the token is over something else")
	}
	if v.tsaRoots != nil {
		info, err = stamp.Verify(s.Token, digest, nil, v.tsaRoots)
	}
	if err == nil && info.GenTime.UnixMilli() != s.GenTime {
		return fail("叶上所写时间与令牌不同", "the leaf tells another time than the token")
	}
	if d := (*stamp.Defect)(nil); errors.As(err, &d) {
		return fail(d.Zh, strings.TrimPrefix(d.Error(), d.Zh+" | "))
	}
	t.at, t.GenTime, t.Authority = info.GenTime, info.GenTime.Format(time.RFC3339Nano), info.Authority
	if info.Accuracy > 0 {
		t.Accuracy = info.Accuracy.String()
	}
	if t.State = StampHolds; v.tsaRoots == nil {
		t.State = StampUndecided
	}
	return t
}

// past checks that a stamped tree is the beginning of one that the bundle proves.
func (v *verifier) past(leaf int64, c chain.Checkpoint) error {
	if root, known := v.roots[c.Size]; known {
		if root != c.Root {
			return fmt.Errorf("two trees of %d: the log has forked", c.Size)
		}
		return nil
	}
	text, has := v.texts[stampName(leaf)]
	if !has {
		return errors.New("no consistency proof is there")
	}
	old, size, proof, err := parseConsistency(text)
	if err != nil {
		return err
	}
	root, known := v.roots[size]
	if !known || old != c.Size {
		return errors.New("the consistency proof is between other trees")
	}
	return chain.CheckConsistency(proof, old, c.Root, size, root)
}
