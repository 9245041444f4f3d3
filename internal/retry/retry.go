// Package retry says what an error means for the next attempt. The package that knows a protocol marks its errors from a table
// beside that protocol; internal/bridge alone decides what follows. An unmarked error is worth retrying, for ever.
package retry

import (
	"errors"
	"fmt"
	"time"
)

// mark is what a protocol package knows of an error. It wraps, so errors.Is and errors.As still find the cause.
type mark struct {
	err       error
	permanent bool
	after     time.Duration
	reason    string
}

func (m *mark) Error() string { return m.err.Error() }
func (m *mark) Unwrap() error { return m.err }

// Permanent marks err as a refusal: the same input will be refused again until someone changes something. A session so refused is
// still retried, slowly.
func Permanent(err error) error { return &mark{err: err, permanent: true} }

// After marks err as worth retrying, but not before d has passed (HTTP 429 and Retry-After, RFC 9110, section 10.2.3).
func After(err error, d time.Duration) error { return &mark{err: err, after: d} }

// Reason names err by a short word from a fixed table, fit for a metric label and for data.session.reason: lower case, digits, _.
func Reason(err error, reason string) error { return &mark{err: err, reason: reason} }

// Reasonf is Reason of a new formatted error.
func Reasonf(reason, format string, args ...any) error {
	return Reason(fmt.Errorf(format, args...), reason)
}

// IsPermanent reports whether err was marked by [Permanent].
func IsPermanent(err error) bool {
	_, ok := find(err, func(m *mark) bool { return m.permanent })
	return ok
}

// Delay is the wait asked for by [After], 0 where none was.
func Delay(err error) time.Duration {
	m, _ := find(err, func(m *mark) bool { return m.after > 0 })
	return m.after
}

// ReasonOf is the word given by [Reason], the outermost first; "other" for an error nobody named.
func ReasonOf(err error) string {
	m, ok := find(err, func(m *mark) bool { return m.reason != "" })
	if !ok {
		return "other"
	}
	return m.reason
}

func find(err error, is func(*mark) bool) (mark, bool) {
	for err != nil {
		var m *mark
		if !errors.As(err, &m) {
			break
		}
		if is(m) {
			return *m, true
		}
		err = m.err
	}
	return mark{}, false
}
