package chain

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

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

// Opened is what a signed checkpoint was shown to say, and who stands behind it.
type Opened struct {
	Checkpoint
	Log      []note.Verifier // the log's keys that signed: one, or two while its key changes
	Cosigned []Cosigned      // in the order of the lines
	Quorum   bool            // the policy's rule is met
}

// Cosigned is a valid signature of a witness.
type Cosigned struct {
	Witness string    `json:"witness,omitempty"` // its name in the policy; "" for a key that was only carried along
	Key     string    `json:"key"`               // name of its key
	Hash    uint32    `json:"key_hash"`
	At      time.Time `json:"at"`
}

// OpenCheckpoint verifies a signed checkpoint. The first verifier is the log's, whose name must be the origin and who must have
// signed (of Keys, one of them); the others may have cosigned. A signature line of anyone else is refused, because nobody could say
// what it means.
func OpenCheckpoint(signed []byte, log note.Verifier, witnesses ...note.Verifier) (Checkpoint, error) {
	o, err := openCheckpoint(signed, []note.Verifier{log}, witnesses, false)
	return o.Checkpoint, err
}

// OpenByLog is for those who know the log's key and nothing else, such as a docking station: one of these keys must have signed, each
// line of theirs must hold, and lines of others are passed over (C2SP signed-note). It says nothing about witnesses.
func OpenByLog(signed []byte, logs ...note.Verifier) (Checkpoint, error) {
	o, err := openCheckpoint(signed, logs, nil, true)
	return o.Checkpoint, err
}

// OnlyLog is a checkpoint as it was before witnesses came to it: with the lines of these keys alone.
func OnlyLog(signed []byte, logs ...note.Verifier) ([]byte, error) {
	text, lines, err := SplitNote(signed)
	if err != nil {
		return nil, err
	}
	trusted, _ := expand(logs)
	known := byID(trusted)
	out := []byte(text + "\n")
	for _, l := range lines {
		if known[keyID{l.Name, l.Hash}] != nil {
			out = append(out, l.String()...)
		}
	}
	return out, nil
}

// openCheckpoint verifies every line of a known key. Where two verifiers have one name and hash the first counts. A line of an unknown
// key, a doubled line and a second spelling are refused; tolerant passes over unknown keys, lenient Keys over those of their own name.
func openCheckpoint(signed []byte, logs, others []note.Verifier, tolerant bool) (Opened, error) {
	text, lines, err := SplitNote(signed)
	if err != nil {
		return Opened{}, fmt.Errorf("open checkpoint: %w", err)
	}
	logs, passes := expand(logs)
	var o Opened
	var unknown *SignatureLine
	seen := map[keyID]bool{}
	known := byID(slices.Concat(logs, others))
	for _, line := range lines {
		id := keyID{line.Name, line.Hash}
		v := known[id]
		switch {
		case seen[id]:
			return Opened{}, fmt.Errorf("open checkpoint: %q signed twice", line.Name)
		case v == nil && passes(line):
		case v == nil:
			unknown = &line
		case !v.Verify([]byte(text), line.Sig):
			return Opened{}, fmt.Errorf("open checkpoint: invalid signature of the key %s+%08x", line.Name, line.Hash)
		case slices.ContainsFunc(logs, func(l note.Verifier) bool { return idOf(l) == id }):
			o.Log = append(o.Log, v)
		case len(logs) > 0 && line.Name == logs[0].Name(): // another key of the same log: its line holds, and counts for nothing
		default:
			at, _ := line.CosignedAt() // zero where a key of another kind was handed in as a witness's
			o.Cosigned = append(o.Cosigned, Cosigned{Key: line.Name, Hash: line.Hash, At: at})
		}
		seen[id] = true
	}
	switch {
	case len(o.Log) == 0 && len(o.Cosigned) == 0:
		return Opened{}, errors.New("open checkpoint: no signature of a trusted key")
	case unknown != nil && !tolerant:
		return Opened{}, fmt.Errorf("open checkpoint: signature line of an unknown key %q", unknown.Name)
	}
	if o.Checkpoint, err = ParseCheckpoint(text); err != nil {
		return Opened{}, err
	}
	for _, l := range o.Log {
		if l.Name() != o.Origin {
			return Opened{}, fmt.Errorf("open checkpoint: it is of %q, the key of %q", o.Origin, l.Name())
		}
	}
	if len(o.Log) == 0 {
		return Opened{}, errors.New("open checkpoint: the log has not signed it")
	}
	return o, nil
}

// expand takes Keys apart: those of which one must have signed, and which lines may be passed over.
func expand(logs []note.Verifier) (trusted []note.Verifier, passes func(SignatureLine) bool) {
	all := make([]Keys, len(logs))
	for i, l := range logs {
		all[i] = KeysOf(l)
		trusted = append(trusted, all[i].trusted...)
	}
	return trusted, func(l SignatureLine) bool {
		return slices.ContainsFunc(all, func(k Keys) bool { return k.passes(l) })
	}
}

// keyID is how a signature line names its key.
type keyID struct {
	name string
	hash uint32
}

func idOf(v note.Verifier) keyID { return keyID{v.Name(), v.KeyHash()} }

func byID(vs []note.Verifier) map[keyID]note.Verifier {
	m := make(map[keyID]note.Verifier, len(vs))
	for _, v := range vs {
		if _, ok := m[idOf(v)]; !ok {
			m[idOf(v)] = v
		}
	}
	return m
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
