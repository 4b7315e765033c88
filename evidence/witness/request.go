package witness

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"zhizheng/evidence/chain"
)

// Request asks for a cosignature: an add-checkpoint body, over the network or in a file. Proof shows that the tree of size Old is the
// beginning of the checkpoint's.
type Request struct {
	Old        int64
	Proof      []chain.Hash
	Checkpoint []byte // signed note
}

const (
	maxProof   = 63        // hashes, by the protocol
	maxRequest = 256 << 10 // bytes: a note may hold a few dozen post-quantum signatures
)

var b64 = base64.StdEncoding.Strict()

// Text is the request's body.
func (r Request) Text() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "old %d\n", r.Old)
	for _, h := range r.Proof {
		b.WriteString(b64.EncodeToString(h[:]) + "\n")
	}
	b.WriteString("\n")
	b.Write(r.Checkpoint)
	return b.Bytes()
}

// ParseRequest reads a body in its one spelling. It proves nothing.
func ParseRequest(text []byte) (Request, error) {
	head, checkpoint, ok := bytes.Cut(text, []byte("\n\n"))
	lines := strings.Split(string(head), "\n")
	size, isOld := strings.CutPrefix(lines[0], "old ")
	switch {
	case len(text) > maxRequest:
		return Request{}, fmt.Errorf("read request: more than %d bytes", maxRequest)
	case !ok || !isOld:
		return Request{}, errors.New("read request: it doesn't begin with an old size and a proof")
	case len(lines)-1 > maxProof:
		return Request{}, fmt.Errorf("read request: more than %d hashes", maxProof)
	}
	r := Request{Checkpoint: checkpoint}
	var err error
	if r.Old, err = strconv.ParseInt(size, 10, 64); err != nil || r.Old < 0 || strconv.FormatInt(r.Old, 10) != size {
		return Request{}, fmt.Errorf("read request: old size %q", size)
	}
	for _, line := range lines[1:] {
		h, err := b64.DecodeString(line)
		if err != nil || len(h) != len(chain.Hash{}) || b64.EncodeToString(h) != line { // the decoder passes over carriage returns
			return Request{}, fmt.Errorf("read request: proof line %q", line)
		}
		r.Proof = append(r.Proof, chain.Hash(h))
	}
	if _, _, err := readNote(checkpoint); err != nil {
		return Request{}, fmt.Errorf("read request: %w", err)
	}
	return r, nil
}

// readNote takes a checkpoint apart without asking who signed. Logs of others may write extension lines: they are cosigned with the rest
// of the text and mean nothing to a witness.
func readNote(signed []byte) (text string, c chain.Checkpoint, err error) {
	if text, _, err = chain.SplitNote(signed); err != nil {
		return "", c, err
	}
	lines := strings.SplitAfter(text, "\n")
	if len(lines) < 4 {
		return "", c, errors.New("a checkpoint has three lines at least")
	}
	for _, extension := range lines[3 : len(lines)-1] {
		if extension == "\n" {
			return "", c, errors.New("an extension line is empty")
		}
	}
	c, err = chain.ParseCheckpoint(strings.Join(lines[:3], ""))
	return text, c, err
}
