package taskrouter

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/taskbridge/taskbridge/internal/retry"
)

// class is what a failure means for the next attempt.
type class uint8

const (
	again     class = iota // worth another attempt
	later                  // worth another attempt, but not at once
	refused                // the token was not accepted: one attempt with a new one, then permanent
	permanent              // will fail again until someone changes something
)

// politeness is how long to stay away where a [later] answer names no time of its own.
const politeness = 30 * time.Second

// leastPoliteness is the same within one reading, whose repeats are few: the limits that are known count per second.
const leastPoliteness = time.Second

// longestRetryAfter bounds what a server may ask for with Retry-After.
const longestRetryAfter = time.Hour

// failure is why a session ended, in this package's own terms. Its text may hold what must not be told; mark is the only way out.
type failure struct {
	class  class
	reason string        // bounded: see statusReason, closeReasons and the words in this package
	after  time.Duration // asked for by the server; 0: not
	err    error
}

func fail(c class, reason string, err error) *failure {
	return &failure{class: c, reason: reason, err: err}
}

// mark turns the failure into the error that leaves Serve: redacted, with its reason and class (internal/retry).
func (f *failure) mark() error {
	err := retry.Reason(redact(f.err), f.reason)
	switch {
	case f.class == refused || f.class == permanent:
		return retry.Permanent(err)
	case f.after > 0:
		return retry.After(err, f.after)
	case f.class == later:
		return retry.After(err, politeness)
	}
	return err
}

// statusClasses says what an HTTP status means, at the upgrade and in the answer to a command (protocol, sections 4.2 and 7.3). Which ones
// the service uses at the upgrade is not known, so both have one table. Not listed: 5xx are faults, worth another attempt; every
// other status will not change by itself.
var statusClasses = map[int]class{
	http.StatusBadRequest:         permanent, // a parameter is wrong
	http.StatusUnauthorized:       refused,   // token expired, or its key unknown
	http.StatusForbidden:          refused,   // token without the right
	http.StatusNotFound:           permanent, // no such worker, or a wrong URL
	http.StatusRequestTimeout:     again,
	http.StatusConflict:           again, // the state changed meanwhile
	http.StatusPreconditionFailed: again, // the same
	http.StatusTooManyRequests:    later, // code 20429
	http.StatusServiceUnavailable: later, // RFC 9110, section 15.6.4
}

// namedStatuses have a reason of their own; the others share that of their hundred.
var namedStatuses = []int{400, 401, 403, 404, 409, 412, 429, 500, 502, 503, 504}

// statusFailure classifies an HTTP answer that is not the wanted one. route is "upgrade" or "post".
func statusFailure(route string, resp *http.Response, err error) *failure {
	status := resp.StatusCode
	c, listed := statusClasses[status]
	if !listed && status < 500 {
		c = permanent
	}
	f := fail(c, route+"_"+statusClass(status), err)
	if slices.Contains(namedStatuses, status) {
		f.reason = route + "_" + strconv.Itoa(status)
	}
	if c == later {
		f.after = retryAfter(resp.Header.Get("Retry-After"), time.Now())
	}
	return f
}

// statusClass is "4xx" for 404.
func statusClass(status int) string {
	if status < 100 || status > 599 {
		return "other"
	}
	return strconv.Itoa(status/100) + "xx"
}

// retryAfter reads a Retry-After header, seconds or an HTTP date (RFC 9110, section 10.2.3); 0 where there is none or it is past.
func retryAfter(header string, now time.Time) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return min(time.Duration(seconds)*time.Second, longestRetryAfter)
	}
	if at, err := http.ParseTime(header); err == nil {
		return min(max(0, at.Sub(now)), longestRetryAfter)
	}
	return 0
}

// networkReason names a failure below HTTP; ok is false for one that carries no type to tell it by.
func networkReason(err error) (reason string, ok bool) {
	var (
		lookup      *net.DNSError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		op          *net.OpError
		timeout     interface{ Timeout() bool }
	)
	switch {
	case errors.Is(err, errProxy) || errors.As(err, &op) && op.Op == "proxyconnect": // net/http's word for the way to the proxy
		return "proxy", true
	case errors.As(err, &lookup):
		return "dns", true
	case errors.As(err, &certificate), errors.As(err, &record),
		op != nil && (op.Op == "remote error" || op.Op == "local error"): // crypto/tls's words for an alert
		return "tls", true
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection_refused", true
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "reset", true
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "unreachable", true
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout", true
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "eof", true
	}
	return "", false
}
