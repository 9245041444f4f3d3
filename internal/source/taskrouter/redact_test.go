package taskrouter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/source/sourcetest"
)

// TestNoTokenInErrors fails each way that a token can get into an error. In those marked leaks the cause itself holds the token, which
// shows that the check would see it.
func TestNoTokenInErrors(t *testing.T) {
	var elsewhere atomic.Int32
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	defer other.Close()
	short := func(c *Config) { c.SnapshotTimeout = config.Duration(300 * time.Millisecond) }
	onDial := func(do func(http.ResponseWriter, *http.Request)) func(t *testing.T) *Source {
		return func(t *testing.T) *Source {
			v := newVendor(t)
			v.onDial = func(w http.ResponseWriter, r *http.Request) bool { do(w, r); return true }
			v.Start()
			return newSource(t, v.URL, short)
		}
	}
	onPost := func(do func(http.ResponseWriter, posted)) func(t *testing.T) *Source {
		return func(t *testing.T) *Source {
			v := newVendor(t)
			v.onPost = func(w http.ResponseWriter, c posted) bool { do(w, c); return true }
			v.Start()
			return newSource(t, v.URL, short)
		}
	}
	through := func(proxy string, err error) func(t *testing.T) *Source {
		return func(t *testing.T) *Source {
			s := newSource(t, "https://event-bridge.invalid")
			u, parseErr := url.Parse(proxy)
			if parseErr != nil {
				t.Fatal(parseErr)
			}
			s.proxy = func(*http.Request) (*url.URL, error) { return u, err }
			return s
		}
	}
	tests := []struct {
		name  string
		make  func(t *testing.T) *Source
		leaks bool
	}{
		{"connection refused", func(t *testing.T) *Source { return newSource(t, "http://127.0.0.1:1") }, false},
		{"name", func(t *testing.T) *Source { return newSource(t, "http://"+strings.Repeat("x", 64)+".invalid") }, false},
		{"TLS", func(t *testing.T) *Source {
			v := newVendor(t)
			v.Config.ErrorLog = log.New(io.Discard, "", 0) // it notes the failed handshake
			v.StartTLS()
			return newSource(t, v.URL)
		}, false},
		{"handshake quotes the request", func(t *testing.T) *Source {
			return newSource(t, "http://"+sourcetest.Echo(t, sourcetest.RequestLine))
		}, true},
		{"handshake with the token in headers and body", onDial(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Url", r.URL.String())
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, r.URL.String())
		}), false},
		{"upgrade redirect", onDial(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/?"+r.URL.RawQuery, http.StatusTemporaryRedirect)
		}), false},
		{"POST redirect", onPost(func(w http.ResponseWriter, c posted) {
			w.Header().Set("Location", other.URL+"/?token="+c.Token)
			w.WriteHeader(http.StatusTemporaryRedirect)
		}), false},
		{"POST with the token in the answer", onPost(func(w http.ResponseWriter, c posted) {
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `{"code":"%s","message":"%s"}`, c.Token, c.Token)
		}), false},
		{"POST answer quotes the request", onPost(func(w http.ResponseWriter, c posted) {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1_"+c.Token+"\r\n\r\n")
			_ = conn.Close()
		}), true},
		{"close reason holds the token", func(t *testing.T) *Source {
			v := newVendor(t)
			v.onOpen = func(p *peer) {
				token := strings.TrimPrefix(v.allQueries()[0], "token=")
				p.closeWith(1008, "bad "+token[:100])
			}
			v.Start()
			return newSource(t, v.URL)
		}, true},
		{"proxy refused", through("http://user:proxy-password@127.0.0.1:1", nil), false},
		{"proxy quotes the request", func(t *testing.T) *Source {
			address := sourcetest.Echo(t, func(r *bufio.Reader) string {
				req, err := http.ReadRequest(r)
				if err != nil {
					return ""
				}
				return "HTTP/1.1 407 " + req.Header.Get("Proxy-Authorization") + "\r\n\r\n"
			})
			return through("http://user:proxy-password@"+address, nil)(t)
		}, true},
		{"proxy not valid", through("", errors.New(`invalid proxy address "http://user:proxy-password@%zz?token=eyJhbGciOiJIUzI1NiJ9"`)), true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := test.make(t)
			err := s.Serve(context.Background(), s.testAgent(), sourcetest.NewRecorder(t))
			if got := secretsIn(err.Error()); len(got) > 0 {
				t.Errorf("got %q in the error %v", got, err)
			}
			for e := err; e != nil; e = errors.Unwrap(e) {
				if got := secretsIn(fmt.Sprintf("%v %+v %#v %q", e, e, e, e)); len(got) > 0 {
					t.Errorf("got %q in the wrapped error %v", got, e)
				}
			}
			var r *redacted
			if !errors.As(err, &r) {
				t.Fatalf("got %T, want it redacted", err)
			}
			if got := secretsIn(r.cause.Error()); (len(got) > 0) != test.leaks {
				t.Errorf("got secrets %q in the cause %v, want some: %v", got, r.cause, test.leaks)
			}
		})
	}
	if got := elsewhere.Load(); got != 0 {
		t.Errorf("got %d requests after redirects, want none", got)
	}
}

// secretsIn finds what no error may hold: tokens or parts of them, queries, the API secret, a proxy's password, plain or encoded.
func secretsIn(text string) []string {
	var found []string
	for _, secret := range []string{"eyJ", "token=", "closeExisting", testSecret, "proxy-password", "dXNlcjpwcm94"} {
		if strings.Contains(text, secret) {
			found = append(found, secret)
		}
	}
	return found
}

func TestRedact(t *testing.T) {
	tests := []struct{ text, want string }{
		{"dial tcp 127.0.0.1:1: connect: connection refused", "dial tcp 127.0.0.1:1: connect: connection refused"},
		{`Get "https://h/v1/wschannels?token=a.b.c&x=1": EOF`, `Get "https://h/v1/wschannels?<redacted>": EOF`},
		{"ws://h/p?token=a", "ws://h/p?<redacted>"},
		{"proxy http://user:pw@h:3128/", "proxy http://<redacted>@h:3128/"},
		{"cut eyJhbGciOiJI", "cut <redacted>"},
		{"signature SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c", "signature <redacted>"},
		{"worker " + testWorker, "worker " + testWorker},
		{"Proxy-Authorization: Basic dTpw", "Proxy-Authorization: Basic <redacted>"},
		{strings.Repeat("é ", 200), strings.Repeat("é ", 133) + "\uFFFD…"},
	}
	for _, test := range tests {
		if got := redact(errors.New(test.text)).Error(); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
	if err := redact(fmt.Errorf("read: %w", os.ErrDeadlineExceeded)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %v, want it to be os.ErrDeadlineExceeded still", err)
	}
}
