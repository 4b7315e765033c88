package transcript

import (
	"fmt"

	"zhizheng/evidence/chain"
)

// Kept is a checkpoint that somebody kept, under the name that failures give it.
type Kept struct {
	Name   string
	Signed []byte
}

// Failure is one thing that doesn't hold.
type Failure struct {
	Where string `json:"where"` // a file of the copy, or a kept checkpoint
	Leaf  *int64 `json:"leaf,omitempty"`
	Zh    string `json:"zh"`
	En    string `json:"en"`
}

// maxFailures ends the list of a report, not the verification: a copy with that many is not read failure by failure.
const maxFailures = 1000

// Report is what a copy was shown to be. It holds if Failures is empty, and then as far as the keys are trusted.
type Report struct {
	Origin    string           `json:"origin"`
	Size      int64            `json:"leaves"`
	Root      string           `json:"root"` // Base64, as in the checkpoint
	Subjects  int64            `json:"subjects"`
	Payloads  int64            `json:"payloads"` // compared with what their leaves commit to
	Erased    int64            `json:"erased"`   // payloads that a leaf says were erased
	Content   bool             `json:"content"`  // the copy has payloads at all
	Files     int64            `json:"files"`
	Bytes     int64            `json:"bytes"`
	Continues []int64          `json:"continues,omitempty"` // sizes of the kept checkpoints whose trees are this one's beginning
	Cosigned  []chain.Cosigned `json:"-"`
	Quorum    bool             `json:"-"`
	Failures  []Failure        `json:"failures"`
	More      int64            `json:"more,omitempty"` // failures beyond the list
}

func (r *Report) add(f Failure) {
	if len(r.Failures) >= maxFailures {
		r.More++
		return
	}
	r.Failures = append(r.Failures, f)
}

func failure(where, zh, en string, a ...any) Failure {
	return Failure{Where: where, Zh: fmt.Sprintf(zh, a...), En: fmt.Sprintf(en, a...)}
}

func (f Failure) at(leaf int64) Failure {
	f.Leaf = &leaf
	return f
}
