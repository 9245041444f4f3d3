package taskrouter

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/taskbridge/taskbridge/internal/retry"
)

var bounded = regexp.MustCompile(`^[a-z0-9_]{1,32}$`)

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := []struct {
		header string
		want   time.Duration
	}{
		{"", 0},
		{"0", 0},
		{"7", 7 * time.Second},
		{"86400", time.Hour},
		{"-1", 0},
		{"1.5", 0},
		{"soon", 0},
		{"99999999999999999999", 0},
		{"Fri, 02 Jan 2026 03:04:35 GMT", 30 * time.Second},
		{"Fri, 02 Jan 2026 03:04:00 GMT", 0},
		{"Sat, 02 Jan 2027 03:04:05 GMT", time.Hour},
	}
	for _, test := range tests {
		if got := retryAfter(test.header, now); got != test.want {
			t.Errorf("%q: got %v, want %v", test.header, got, test.want)
		}
	}
}

func TestReadFailures(t *testing.T) {
	now := time.Now()
	live, expired := now.Add(time.Hour), now.Add(clockSlack)
	tests := []struct {
		err     error
		expires time.Time
		want    string
	}{
		{websocket.ErrReadLimit, live, "frame_too_big"},
		{websocket.ErrReadLimit, expired, "frame_too_big"},
		{&websocket.CloseError{Code: 1008}, expired, "token_expired"},
		{&websocket.CloseError{Code: 1008}, expired.Add(time.Millisecond), "close_1008"},
		{syscall.ECONNRESET, expired, "token_expired"},
		{syscall.ECONNRESET, live, "reset"},
		{syscall.ETIMEDOUT, live, "timeout"},
		{errors.New("websocket: bad opcode"), live, "protocol_error"},
	}
	for _, test := range tests {
		if f := readFailure(test.err, now, test.expires); f.reason != test.want || f.class != again {
			t.Errorf("%v, token until %v: got class %d, reason %q; want %q", test.err, test.expires.Sub(now), f.class, f.reason, test.want)
		}
	}
}

func TestNetworkReasons(t *testing.T) {
	op := func(err error) error {
		return &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", err)}
	}
	tests := []struct {
		err  error
		want string // empty: not known by its type
	}{
		{&net.OpError{Op: "dial", Err: &net.DNSError{IsNotFound: true}}, "dns"},
		{&net.DNSError{IsTimeout: true}, "dns"},
		{op(syscall.ECONNREFUSED), "connection_refused"},
		{op(syscall.ECONNRESET), "reset"},
		{op(syscall.EPIPE), "reset"},
		{op(syscall.EHOSTUNREACH), "unreachable"},
		{op(syscall.ENETUNREACH), "unreachable"},
		{op(syscall.ETIMEDOUT), "timeout"},
		{os.ErrDeadlineExceeded, "timeout"},
		{context.DeadlineExceeded, "timeout"},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "tls"},
		{tls.RecordHeaderError{}, "tls"},
		{&net.OpError{Op: "remote error", Err: errors.New("handshake failure")}, "tls"},
		{io.EOF, "eof"},
		{&url.Error{Op: "Post", Err: io.ErrUnexpectedEOF}, "eof"},
		{&url.Error{Op: "Post", Err: &net.OpError{Op: "proxyconnect", Err: op(syscall.ECONNREFUSED)}}, "proxy"},
		{proxyAnswer(context.Background(), nil, nil, &http.Response{StatusCode: 407}), "proxy"},
		{errors.New("x509: connection reset by EOF"), ""},
	}
	for _, test := range tests {
		got, ok := networkReason(fmt.Errorf("dial: %w", test.err))
		if got != test.want || ok != (test.want != "") || ok && !bounded.MatchString(got) {
			t.Errorf("%v: got %q, %v; want %q", test.err, got, ok, test.want)
		}
	}
}

func TestMark(t *testing.T) {
	tests := []struct {
		f         failure
		permanent bool
		delay     time.Duration
	}{
		{f: failure{class: again}},
		{f: failure{class: later}, delay: politeness},
		{f: failure{class: later, after: time.Minute}, delay: time.Minute},
		{f: failure{class: refused}, permanent: true},
		{f: failure{class: permanent}, permanent: true},
	}
	for _, test := range tests {
		test.f.reason, test.f.err = "close_1001", io.EOF
		err := test.f.mark()
		if retry.IsPermanent(err) != test.permanent || retry.Delay(err) != test.delay || retry.ReasonOf(err) != "close_1001" || !errors.Is(err, io.EOF) {
			t.Errorf("class %d: got permanent %v, delay %v, reason %q, io.EOF %v; want %v, %v, close_1001, true", test.f.class,
				retry.IsPermanent(err), retry.Delay(err), retry.ReasonOf(err), errors.Is(err, io.EOF), test.permanent, test.delay)
		}
	}
}
