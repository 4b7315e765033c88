package chain

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// Checkpoint is the head of a log (C2SP tlog-checkpoint).
type Checkpoint struct {
	Origin string
	Size   int64
	Root   Hash
}

// b64 refuses slack bits: a flipped bit in the last character of a signature else decodes to the same bytes.
var b64 = base64.StdEncoding.Strict()

// Text is the checkpoint's note body, which signatures are over.
func (c Checkpoint) Text() string {
	return c.Origin + "\n" + strconv.FormatInt(c.Size, 10) + "\n" + b64.EncodeToString(c.Root[:]) + "\n"
}

// ParseCheckpoint reads a note body in its one spelling. Extension lines are refused: this log writes none.
func ParseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[3] != "" {
		return Checkpoint{}, errors.New("read checkpoint: it has not exactly three lines")
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil || size < 0 {
		return Checkpoint{}, fmt.Errorf("read checkpoint: size %q", lines[1])
	}
	root, err := b64.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return Checkpoint{}, fmt.Errorf("read checkpoint: root %q", lines[2])
	}
	c := Checkpoint{Origin: lines[0], Size: size, Root: Hash(root)}
	if c.Origin == "" || c.Text() != text {
		return Checkpoint{}, errors.New("read checkpoint: not the spelling of what it says")
	}
	return c, nil
}

// OpenCheckpoint verifies a signed checkpoint. The first verifier is the log's, whose name must be the origin and who must have
// signed (of Keys, one of them); the others may have cosigned. A signature line of anyone else is refused, because nobody could say
// what it means.
func OpenCheckpoint(signed []byte, log note.Verifier, witnesses ...note.Verifier) (Checkpoint, error) {
	keys := KeysOf(log)
	n, err := openNote(signed, append(keys.all(), witnesses...), keys.passes)
	if err != nil {
		return Checkpoint{}, fmt.Errorf("open checkpoint: %w", err)
	}
	c, err := ParseCheckpoint(n.Text)
	if err != nil {
		return Checkpoint{}, err
	}
	if c.Origin != log.Name() {
		return Checkpoint{}, fmt.Errorf("open checkpoint: it is of %q, the key of %q", c.Origin, log.Name())
	}
	if !keys.signed(n.Sigs) {
		return Checkpoint{}, errors.New("open checkpoint: the log has not signed it")
	}
	return c, nil
}

// openNote is note.Open without its tolerance: all signature lines known and valid, and one spelling only. A line of an unknown key may
// stand if passes says so.
func openNote(signed []byte, vs []note.Verifier, passes func(note.Signature) bool) (*note.Note, error) {
	n, err := note.Open(signed, note.VerifierList(vs...))
	if err != nil {
		var u *note.UnverifiedNoteError
		if errors.As(err, &u) {
			return nil, errors.New("no signature of a trusted key")
		}
		return nil, err
	}
	for _, s := range n.UnverifiedSigs {
		if !passes(s) {
			return nil, fmt.Errorf("signature line of an unknown key %q", s.Name)
		}
	}
	all := append(n.Sigs, n.UnverifiedSigs...)
	for _, s := range all {
		if raw, err := b64.DecodeString(s.Base64); err != nil || b64.EncodeToString(raw) != s.Base64 {
			return nil, fmt.Errorf("signature of %q is spelt otherwise", s.Name)
		}
	}
	if lines := bytes.Count(signed[len(n.Text)+1:], []byte("\n")); lines != len(all) { // note.Open drops lines of one key after the first
		return nil, errors.New("signature lines are doubled")
	}
	return n, nil
}

// NewVerifier reads a C2SP verifier key, as /log/vkey publishes it: one line, name+hash+key; or several lines, which give Keys.
func NewVerifier(vkey string) (note.Verifier, error) {
	k, err := ParseKeys(vkey)
	if err != nil {
		return nil, err
	}
	if len(k.trusted) == 1 {
		return k.Verifier, nil
	}
	return k, nil
}
