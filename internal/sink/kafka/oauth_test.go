package kafka

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/taskbridge/taskbridge/internal/config"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
)

func TestBearer(t *testing.T) {
	for name, mechanism := range map[string]*SASL{
		"file":     {Mechanism: "oauthbearer", TokenFile: secretFile(t, " "+canary+"\n")},
		"endpoint": tokenEndpoint(t, http.StatusOK),
	} {
		t.Run(name, func(t *testing.T) {
			m, err := mechanism.mechanism(nil)
			if err != nil {
				t.Fatal(err)
			}
			for login := range 3 {
				session, first, err := m.Start(t.Context())
				if want := "n,,\x01auth=Bearer " + canary + "\x01\x01"; err != nil || m.Name() != "OAUTHBEARER" || string(first) != want {
					t.Fatalf("got %q (%v), want %q", first, err, want)
				}
				if done, _, err := session.Next(t.Context(), nil); !done || err != nil {
					t.Errorf("accepted: got %t, %v", done, err)
				}
				if login < 2 {
					continue
				}
				if _, _, err := session.Next(t.Context(), []byte(`{"status":"invalid_token"}`)); classify(err).reason != "authentication" {
					t.Errorf("refused: got %v", err)
				}
			}
		})
	}
	m, err := tokenEndpoint(t, http.StatusUnauthorized).mechanism(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := m.Start(t.Context()); !errors.Is(err, kafkago.SASLAuthenticationFailed) || strings.Contains(fmt.Sprint(err), canary) {
		t.Errorf("refused by the endpoint: got %v", err)
	}
}

// tokenEndpoint is configured for an endpoint that gives one token, once, or answers with an error and quotes what it got.
func tokenEndpoint(t *testing.T, status int) *SASL {
	t.Helper()
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		if err := r.ParseForm(); err != nil || r.PostForm.Get("grant_type") != "client_credentials" || r.PostForm.Get("scope") != "kafka" {
			t.Errorf("got %v, %v", r.PostForm, err)
		}
		if status != http.StatusOK {
			w.WriteHeader(status)
			_, _ = fmt.Fprint(w, user, password)
			return
		}
		if asked++; asked > 1 {
			t.Error("asked again, although the token is valid")
		}
		answerToken(w, canary)
	}))
	t.Cleanup(server.Close)
	return &SASL{
		Mechanism: "oauthbearer", TokenURL: server.URL, ClientID: "bridge", ClientSecret: config.NewSecret(canary + "-client"), Scopes: []string{"kafka"},
	}
}

// slowEndpoint gives tokens from the moment on that it is released. Each request waits until then; one that is given up before fails the test.
type slowEndpoint struct {
	*httptest.Server
	asked   atomic.Int32
	release chan struct{}
}

func newSlowEndpoint(t *testing.T, token string) *slowEndpoint {
	t.Helper()
	e := &slowEndpoint{release: make(chan struct{})}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.asked.Add(1)
		readAll(t, r)
		select {
		case <-e.release:
			answerToken(w, token)
		case <-r.Context().Done():
			t.Error("a request was given up")
		}
	}))
	t.Cleanup(e.Close)
	return e
}

// readAll reads the request: before that the server does not notice that its client has gone.
func readAll(t *testing.T, r *http.Request) {
	t.Helper()
	if err := r.ParseForm(); err != nil {
		t.Error(err)
	}
}

func answerToken(w http.ResponseWriter, token string) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "bearer", "expires_in": 3600})
}

func (e *slowEndpoint) sasl() *SASL {
	return &SASL{Mechanism: "oauthbearer", TokenURL: e.URL, ClientID: "bridge", ClientSecret: config.NewSecret(canary + "-client")}
}

// lateToken opens a sink whose token comes after its first connection was given up: the request goes on, and the next connection has its token.
func lateToken(t *testing.T, cfg Config, e *slowEndpoint) *Sink {
	t.Helper()
	cfg.SASL = e.sasl()
	s := makeSink(t, cfg, zapNop)
	sinktest.Connect(t, s)
	err := s.Open(t.Context())
	if retry.ReasonOf(err) != "timeout" || !strings.Contains(fmt.Sprint(err), "token endpoint") || strings.Contains(fmt.Sprint(err), canary) {
		t.Errorf("before the token is there: got %v", err)
	}
	close(e.release)
	sinktest.Eventually(t, func() error { return s.Open(t.Context()) })
	if n := e.asked.Load(); n != 1 {
		t.Errorf("the endpoint was asked %d times, want once", n)
	}
	return s
}

// acceptAll has a fake cluster take every token.
func acceptAll(c *cluster) {
	for _, key := range []kmsg.Key{kmsg.SASLHandshake, kmsg.SASLAuthenticate} {
		c.ControlKey(int16(key), func(r kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			return r.ResponseKind(), nil, true
		})
	}
}

// TestSlowTokenEndpoint: an endpoint that takes longer than a connection may.
func TestSlowTokenEndpoint(t *testing.T) {
	c := startCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "facts"))
	acceptAll(c)
	cfg := testConfig(c)
	cfg.DialTimeout = config.Duration(100 * time.Millisecond)
	s := lateToken(t, cfg, newSlowEndpoint(t, canary))
	b, answers := batch(s, records("WT1", 1, 3))
	if err := send(t, s, b, answers); err != nil {
		t.Error(err)
	}
}

// TestCloseEndsTheTokenRequest: Close does not wait for an endpoint that does not answer, and leaves no request behind.
func TestCloseEndsTheTokenRequest(t *testing.T) {
	given := make(chan struct{}, 2) // the library asks in two ways
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		readAll(t, r)
		<-r.Context().Done()
		given <- struct{}{}
	}))
	t.Cleanup(silent.Close)
	c := startCluster(t, kfake.NumBrokers(1), kfake.SeedTopics(1, "facts"))
	acceptAll(c)
	cfg := testConfig(c)
	cfg.SASL, cfg.DialTimeout = (&slowEndpoint{Server: silent}).sasl(), config.Duration(100*time.Millisecond)
	s := makeSink(t, cfg, zapNop)
	sinktest.Connect(t, s)
	if err := s.Open(t.Context()); err == nil {
		t.Error("got success without a token")
	}
	if err := s.Close(t.Context()); err != nil {
		t.Error(err)
	}
	<-given
	if _, err := s.transport.SASL.(*bearer).from.token(t.Context()); !errors.Is(err, errClosed) {
		t.Errorf("after Close: got %v, want no token", err)
	}
}

// TestRefusedTokenIsNotKept: endpoints need not say when a token expires; one that a broker refuses is not offered again.
func TestRefusedTokenIsNotKept(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked++
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": fmt.Sprint("token-", asked), "token_type": "bearer"})
	}))
	defer server.Close()
	from, err := (&SASL{Mechanism: "oauthbearer", TokenURL: server.URL, ClientID: "bridge", ClientSecret: config.NewSecret(canary)}).tokens(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer from.close()
	b := &bearer{from}
	for _, want := range []struct{ answer, token string }{{"", "token-1"}, {"no", "token-1"}, {"", "token-2"}} {
		state, first, err := b.Start(t.Context())
		if err != nil || !strings.Contains(string(first), "Bearer "+want.token+"\x01") {
			t.Fatalf("got %q (%v), want %s", first, err, want.token)
		}
		if _, _, err := state.Next(t.Context(), []byte(want.answer)); (err != nil) != (want.answer != "") {
			t.Errorf("answer %q: got %v", want.answer, err)
		}
	}
}
