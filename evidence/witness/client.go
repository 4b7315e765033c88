package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/mod/sumdb/note"

	"zhizheng/evidence/chain"
)

// Client asks witnesses. The zero value asks with five seconds' patience.
type Client struct {
	HTTP    *http.Client
	Timeout time.Duration // of one question, a second attempt after a 409 included
}

// Remote is a witness elsewhere.
type Remote struct {
	URL string // submission prefix
	Key note.Verifier
}

// Prove shows that the tree of size old is the beginning of the checkpoint's.
type Prove func(ctx context.Context, old int64) ([]chain.Hash, error)

// fresh never follows a redirect: a cosignature is asked of the address in the policy.
var fresh = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

// Ask asks for a cosignature over a signed checkpoint and gives its line, verified. old is the last size the witness is thought to have
// cosigned; where it says otherwise it is asked again from there. A *Refusal says that asking again won't help.
func (c Client) Ask(ctx context.Context, w Remote, checkpoint []byte, old int64, prove Prove) (chain.SignatureLine, error) {
	patience := c.Timeout
	if patience <= 0 {
		patience = 5 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, cp, err := readNote(checkpoint)
	if err != nil {
		return chain.SignatureLine{}, err
	}
	if old > cp.Size { // it was asked about a later one in the meantime
		old = 0
	}
	line, err := c.ask(ctx, w, checkpoint, cp, old, prove)
	var no *Refusal
	if errors.As(err, &no) && no.Code == http.StatusConflict && no.Size != old && no.Size <= cp.Size {
		return c.ask(ctx, w, checkpoint, cp, no.Size, prove)
	}
	return line, err
}

func (c Client) ask(ctx context.Context, w Remote, checkpoint []byte, cp chain.Checkpoint, old int64, prove Prove) (none chain.SignatureLine, err error) {
	r := Request{Old: old, Checkpoint: checkpoint}
	if old != 0 && old != cp.Size {
		if r.Proof, err = prove(ctx, old); err != nil {
			return none, fmt.Errorf("prove from %d: %w", old, err)
		}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimRight(w.URL, "/")+"/add-checkpoint", bytes.NewReader(r.Text()))
	if err != nil {
		return none, fmt.Errorf("ask witness: %w", err)
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	client := c.HTTP
	if client == nil {
		client = fresh
	}
	res, err := client.Do(req)
	if err != nil {
		return none, fmt.Errorf("ask witness: %w", err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxRequest))
	if err != nil {
		return none, fmt.Errorf("ask witness: %w", err)
	}
	switch res.StatusCode {
	case http.StatusOK:
		return PickLine(string(body), checkpoint, w.Key)
	case http.StatusConflict:
		size, err := readSize(res.Header.Get("Content-Type"), string(body))
		if err != nil {
			return none, fmt.Errorf("ask witness: %w", err)
		}
		return none, &Refusal{Code: res.StatusCode, Size: size, Reason: conflict(size, old, cp.Size)}
	case http.StatusBadRequest, http.StatusForbidden, http.StatusNotFound, http.StatusUnprocessableEntity:
		return none, &Refusal{Code: res.StatusCode, Reason: brief(string(body))}
	}
	return none, fmt.Errorf("ask witness: it answers %d: %s", res.StatusCode, brief(string(body)))
}

func conflict(size, old, checkpoint int64) string {
	switch {
	case size == old:
		return fmt.Sprintf("it has cosigned another tree of size %d", size)
	case size > checkpoint:
		return fmt.Sprintf("it has cosigned %d leaves, this checkpoint has %d", size, checkpoint)
	}
	return fmt.Sprintf("it has cosigned %d leaves, not %d", size, old)
}

func readSize(contentType, body string) (int64, error) {
	kind, _, err := mime.ParseMediaType(contentType)
	text := strings.TrimSuffix(body, "\n")
	size, nerr := strconv.ParseInt(text, 10, 64)
	if err != nil || kind != sizeType || nerr != nil || size < 0 || strconv.FormatInt(size, 10) != text {
		return 0, fmt.Errorf("it answers 409 without a size: %s", brief(body))
	}
	return size, nil
}

// PickLine finds the witness's own line in an answer and verifies it over the checkpoint. Lines of keys that aren't the witness's are
// passed over.
func PickLine(answer string, checkpoint []byte, key note.Verifier) (chain.SignatureLine, error) {
	lines, err := chain.ParseSignatureLines(answer)
	if err != nil {
		return chain.SignatureLine{}, fmt.Errorf("read cosignature: %w", err)
	}
	text, _, err := readNote(checkpoint)
	if err != nil {
		return chain.SignatureLine{}, err
	}
	for _, l := range lines {
		if l.Name != key.Name() || l.Hash != key.KeyHash() {
			continue
		}
		if !key.Verify([]byte(text), l.Sig) {
			return chain.SignatureLine{}, fmt.Errorf("the cosignature of %q is not over this checkpoint", l.Name)
		}
		return l, nil
	}
	return chain.SignatureLine{}, fmt.Errorf("no cosignature of %s+%08x", key.Name(), key.KeyHash())
}

// brief is the beginning of what a stranger says, fit for a log line.
func brief(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, strings.TrimSpace(s))
	if r := []rune(s); len(r) > 200 {
		return string(r[:200]) + "…"
	}
	return s
}
