// Package fault owns the one error type that crosses domain boundaries. A failure has a kind, which the HTTP edge maps to a
// status once, and, where law refuses an act, the rule and the article it rests on. It never carries personal data beyond what
// the caller sent.
package fault

import (
	"errors"
	"fmt"
	"time"
)

// Kind says what sort of failure happened; the edge maps it to a status (RFC 9457 problem+json).
type Kind string

// The kinds. Anything that is not a *Error is Internal.
const (
	KindInvalid      Kind = "invalid"      // 400: the request can't be understood
	KindUnauthorized Kind = "unauthorized" // 401: sign in first
	KindForbidden    Kind = "forbidden"    // 403: this role may not
	KindNotFound     Kind = "not-found"    // 404
	KindConflict     Kind = "conflict"     // 409: it contradicts what is recorded
	KindGone         Kind = "gone"         // 410: it was here, and was deleted at the end of its retention
	KindTooLarge     Kind = "too-large"    // 413
	KindRefused      Kind = "refused"      // 422: a rule of law or of the ledger refuses it
	KindRateLimited  Kind = "rate-limited" // 429
	KindUnavailable  Kind = "unavailable"  // 503: a service is away, try again
	KindStorageFull  Kind = "storage-full" // 507
	KindPending      Kind = "pending"      // 202: not yet, try again after RetryAfter
	KindInternal     Kind = "internal"     // 500
)

// Error is a public failure. Detail is one zh-CN sentence in the caller's words.
type Error struct {
	Kind       Kind
	Rule       string        // "R02", where a rule refuses
	Article    string        // "行政处罚法第42条"
	Detail     string        // what is wrong
	Next       string        // the next act that is possible, may be empty
	RetryAfter time.Duration // for Unavailable, RateLimited and Pending
	cause      error
}

func (e *Error) Error() string {
	s := string(e.Kind) + ": " + e.Detail
	if e.Rule != "" {
		s = e.Rule + " " + s
	}
	if e.cause != nil {
		s += ": " + e.cause.Error()
	}
	return s
}

// Unwrap gives the cause, which is logged at the edge and never shown.
func (e *Error) Unwrap() error { return e.cause }

// Because attaches the internal cause.
func (e *Error) Because(err error) *Error { e.cause = err; return e }

// Then names the next possible act.
func (e *Error) Then(format string, a ...any) *Error { e.Next = fmt.Sprintf(format, a...); return e }

func build(k Kind, format string, a []any) *Error {
	return &Error{Kind: k, Detail: fmt.Sprintf(format, a...)}
}

// Invalid is a request that can't be understood.
func Invalid(format string, a ...any) *Error { return build(KindInvalid, format, a) }

// Unauthorized asks for a sign-in.
func Unauthorized(format string, a ...any) *Error { return build(KindUnauthorized, format, a) }

// Forbidden is an act this role or township scope may not do.
func Forbidden(format string, a ...any) *Error { return build(KindForbidden, format, a) }

// NotFound is also the answer for what lies outside the actor's township scope.
func NotFound(format string, a ...any) *Error { return build(KindNotFound, format, a) }

// Conflict contradicts what is recorded.
func Conflict(format string, a ...any) *Error { return build(KindConflict, format, a) }

// Gone is what was deleted by the rules.
func Gone(format string, a ...any) *Error { return build(KindGone, format, a) }

// TooLarge is a body or file above its limit.
func TooLarge(format string, a ...any) *Error { return build(KindTooLarge, format, a) }

// Refused is a rule's refusal: rule "R02", article "行政处罚法第42条".
func Refused(rule, article, format string, a ...any) *Error {
	e := build(KindRefused, format, a)
	e.Rule, e.Article = rule, article
	return e
}

// Unavailable is a service that is away.
func Unavailable(retry time.Duration, format string, a ...any) *Error {
	e := build(KindUnavailable, format, a)
	e.RetryAfter = retry
	return e
}

// RateLimited asks the caller to slow down.
func RateLimited(retry time.Duration, format string, a ...any) *Error {
	e := build(KindRateLimited, format, a)
	e.RetryAfter = retry
	return e
}

// StorageFull is a store or disk without room; nothing is deleted to make some.
func StorageFull(format string, a ...any) *Error { return build(KindStorageFull, format, a) }

// Pending is an answer that is not there yet.
func Pending(retry time.Duration, format string, a ...any) *Error {
	e := build(KindPending, format, a)
	e.RetryAfter = retry
	return e
}

// KindOf gives the kind of err, Internal for foreign errors, "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindInternal
}

// Is reports whether err is a fault of kind k.
func Is(err error, k Kind) bool { return KindOf(err) == k }
