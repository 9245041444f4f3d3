package admin_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/taskbridge/taskbridge/internal/admin"
	"github.com/taskbridge/taskbridge/internal/config"
)

func startAdmin(t *testing.T, p admin.Process) (url string, c admin.Client) {
	t.Helper()
	s, err := admin.Listen(admin.Config{Listen: "127.0.0.1:0"}, p, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	url, _ = serve(t, s)
	return url, admin.Client{Address: s.Address()}
}

func process(agents ...admin.Agent) admin.Process {
	return admin.Process{Agents: func() []admin.Agent { return agents }, Level: zap.NewAtomicLevel(), DeadLetters: &letters{}}
}

func TestAgents(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	silence := int64(1500)
	live := admin.Agent{
		ID: "WK1", Source: "support", State: "live", SilenceMS: &silence, OpenGaps: []admin.Gap{{Feed: "live", Cause: "silence", From: at}},
		Session: admin.Session{Incarnation: "b-1-1", TokenAgeMS: 60_000, Since: at, RenewBy: at.Add(time.Hour)},
	}
	fresh := admin.Agent{ID: "WK2", Source: "support", State: "connecting", OpenGaps: []admin.Gap{}}
	url, client := startAdmin(t, process(live, fresh))
	want := `{"agents":[` +
		`{"id":"WK1","source":"support","state":"live","silence_ms":1500,"open_gaps":[{"feed":"live","cause":"silence","from":"2026-01-02T03:04:05Z"}],` +
		`"session":{"incarnation":"b-1-1","token_age_ms":60000,"since":"2026-01-02T03:04:05Z","renew_by":"2026-01-02T04:04:05Z"}},` +
		`{"id":"WK2","source":"support","state":"connecting","open_gaps":[]}]}` + "\n"
	if status, body := get(t, http.MethodGet, url+"/agents"); status != 200 || body != want {
		t.Errorf("got status %d and\n%s\nwant 200 and\n%s", status, body, want)
	}
	got, err := client.Agents(t.Context())
	if diff := cmp.Diff([]admin.Agent{live, fresh}, got); err != nil || diff != "" {
		t.Errorf("client: got %v (-want +got):\n%s", err, diff)
	}
}

func TestNoAgents(t *testing.T) {
	url, _ := startAdmin(t, process())
	if _, body := get(t, http.MethodGet, url+"/agents"); body != `{"agents":[]}`+"\n" {
		t.Errorf("got %s, want an empty list", body)
	}
}

func TestLogLevel(t *testing.T) {
	p := process()
	_, client := startAdmin(t, p)
	if err := client.SetLogLevel(t.Context(), "debug"); err != nil {
		t.Fatal(err)
	}
	if got, err := client.LogLevel(t.Context()); got != "debug" || err != nil || p.Level.Level() != zapcore.DebugLevel {
		t.Errorf("got %q, %v and %v, want debug", got, err, p.Level.Level())
	}
	if err := client.SetLogLevel(t.Context(), "loud"); err == nil || p.Level.Level() != zapcore.DebugLevel {
		t.Errorf("got %v and %v, want an error and no change", err, p.Level.Level())
	}
}

func TestProfiles(t *testing.T) {
	url, _ := startAdmin(t, process())
	for _, path := range []string{"", "goroutine?debug=1", "cmdline", "symbol", "trace?seconds=0.01"} {
		if status, _ := get(t, http.MethodGet, url+"/debug/pprof/"+path); status != 200 {
			t.Errorf("%s: got status %d, want 200", path, status)
		}
	}
}

// A web page open in the operator's browser reaches a loopback address too, and must neither read nor change anything.
func TestWebPagesAreKeptOut(t *testing.T) {
	p := process()
	url, _ := startAdmin(t, p)
	for name, test := range map[string]struct {
		method  string
		change  func(*http.Request)
		allowed bool
	}{
		"no page":                    {http.MethodPut, func(*http.Request) {}, true},
		"another site":               {http.MethodPut, func(r *http.Request) { r.Header.Set("Origin", "https://example.org") }, false},
		"another site, new browsers": {http.MethodPut, func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") }, false},
		"a name that resolves here":  {http.MethodGet, func(r *http.Request) { r.Host = "example.org:8081" }, false},
		"the same without a port":    {http.MethodGet, func(r *http.Request) { r.Host = "example.org" }, false},
		"localhost":                  {http.MethodGet, func(r *http.Request) { r.Host = "localhost:8081" }, true},
		"localhost, version 6":       {http.MethodGet, func(r *http.Request) { r.Host = "[::1]" }, true},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), test.method, url+"/loglevel", strings.NewReader(`{"level":"error"}`))
			if err != nil {
				t.Fatal(err)
			}
			test.change(r)
			response, err := client.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_ = response.Body.Close()
			if want := map[bool]int{true: 200, false: 403}[test.allowed]; response.StatusCode != want {
				t.Errorf("got status %d, want %d", response.StatusCode, want)
			}
		})
	}
}

func TestClientErrors(t *testing.T) {
	health, stop := start(t, probes())
	elsewhere := admin.Client{Address: strings.TrimPrefix(health, "http://")}
	if _, err := elsewhere.Agents(t.Context()); err == nil || !strings.Contains(err.Error(), "HTTP status 404; is this a bridge's admin listener?") {
		t.Errorf("another listener: got %v", err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := elsewhere.Agents(t.Context()); err == nil || !strings.Contains(err.Error(), "is a bridge running there, and its admin.listen not off?") {
		t.Errorf("nobody there: got %v", err)
	}
}

func TestOnlyLoopback(t *testing.T) {
	var c admin.Config
	c.SetDefaults()
	for _, listen := range []string{c.Listen, "127.0.0.2:0", "[::1]:8081", "off"} {
		c.Listen = listen
		if err := config.Validate(&c); err != nil {
			t.Errorf("%q: got %v", listen, err)
		}
	}
	for _, listen := range []string{"", ":8081", "0.0.0.0:8081", "[::]:8081", "10.0.0.1:8081", "localhost:8081", "bridge.example.org:8081", "127.0.0.1"} {
		c.Listen = listen
		if err := config.Validate(&c); err == nil || !strings.Contains(err.Error(), "not a loopback address; allowed: 127.0.0.1:8081") {
			t.Errorf("%q: got %v, want it refused", listen, err)
		}
	}
}

// A request under way is given some time, and none once the process is to end at once.
func TestServeEndsAtOnceOnAbort(t *testing.T) {
	for name, aborted := range map[string]bool{"a stop in order": false, "an abort": true} {
		t.Run(name, func(t *testing.T) {
			entered, release, answered := make(chan struct{}), make(chan struct{}), make(chan struct{})
			p := admin.Process{Level: zap.NewAtomicLevel(), DeadLetters: &letters{}, Agents: func() []admin.Agent {
				close(entered)
				<-release
				return nil
			}}
			s, err := admin.Listen(admin.Config{Listen: "127.0.0.1:0"}, p, zap.NewNop())
			if err != nil {
				t.Fatal(err)
			}
			abort := make(chan struct{})
			_, stop := serveUntil(t, s, abort)
			go func() {
				defer close(answered)
				_, _ = admin.Client{Address: s.Address()}.Agents(context.Background()) // cut off
			}()
			<-entered
			if aborted {
				close(abort)
			}
			began := time.Now()
			err = stop()
			if took := time.Since(began); err != nil || took < 2*time.Second != aborted {
				t.Errorf("got %v after %v, want 2s unless it is an abort", err, took)
			}
			close(release)
			<-answered
		})
	}
}
