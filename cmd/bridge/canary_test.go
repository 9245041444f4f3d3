package main

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
	"github.com/taskbridge/taskbridge/internal/source/sourcetest"
)

const (
	canarySecret   = "canary-api-secret"
	canaryPassword = "canary-nats-password"
)

// leaks lists what must not be told outside the events, and is in text all the same.
func leaks(text string) (found []string) {
	for _, word := range []string{
		canarySecret, canaryPassword, "eyJ", // how every token begins: base64url of {"
		taskrouter.CanaryPhone, taskrouter.CanaryEmail, "client:agent-", "selected_language", // attributes and payloads
	} {
		if strings.Contains(text, word) {
			found = append(found, word)
		}
	}
	return found
}

// told is everything that the program has said so far.
func (p *program) told(t *testing.T, health string) string {
	t.Helper()
	all := p.stdout.String() + p.stderr.String()
	admin := "http://" + p.adminAddress(t)
	for _, url := range []string{
		health + "/metrics", health + "/readyz", health + "/livez", admin + "/agents", admin + "/loglevel", admin + "/deadletters",
		admin + "/debug/pprof/cmdline", admin + "/debug/pprof/goroutine?debug=2", admin + "/debug/pprof/heap?debug=1",
	} {
		status, body := get(t, url)
		if status == 404 {
			t.Errorf("%s: got status 404", url)
		}
		all += body
	}
	return all
}

// Secrets and what people wrote pass through the program. None of it may be told: not in logs at their finest, not on the listeners, not in
// the error at the end, whatever fails.
func TestCanary(t *testing.T) {
	secret := write(t, t.TempDir(), "secret", canarySecret)
	sim := simulate(t, "--workers", "3", "--rate", "100", "--api-secret-file", secret)
	// Payloads in the events show that they passed through.
	const more = "logging: {level: debug}\nprivacy: {raw: true}\nbridge: {drain_timeout: 200ms}\n"
	embedded := func(t *testing.T) string { return fmt.Sprintf(`{embedded: {dir: "%s"}, stream: FACTS}`, t.TempDir()) }

	for name, test := range map[string]struct {
		change func(t *testing.T, r *taskrouter.Ready) // of what the simulator says
		nats   func(t *testing.T) string
		do     func(t *testing.T, p *program)
		logged []string // in one line each: so far has the case gone
	}{
		"faults": {
			nats: embedded,
			do: func(t *testing.T, p *program) {
				for _, fault := range []string{
					`{"kind":"malformed"}`,
					fmt.Sprintf(`{"kind":"oversized","workers":["%s"]}`, sim.Workers[0]),
					fmt.Sprintf(`{"kind":"reset","workers":["%s"]}`, sim.Workers[1]),
					fmt.Sprintf(`{"kind":"close","workers":["%s"],"code":4000,"reason":"bad token eyJhbGciOiJIUzI1NiJ9"}`, sim.Workers[2]),
				} {
					response, err := client.Post(sim.ControlURL+"/fault", "application/json", strings.NewReader(fault))
					if err != nil {
						t.Fatal(err)
					}
					_ = response.Body.Close()
					if response.StatusCode >= 300 {
						t.Fatalf("%s: got status %d", fault, response.StatusCode)
					}
				}
				url := p.logged(t, "the broker runs in this process")["url"].(string)
				eventually(t, "the payloads are in the stream", func() bool {
					count := stored(t, url)
					return count[taskrouter.CanaryPhone] > 0 && count[taskrouter.CanaryEmail] > 0
				})
			},
			logged: []string{`"reason":"frame_too_big"`, `"reason":"reset"`, "bad token <redacted>", `"gap closed"`},
		},
		"token refused": {
			change: func(_ *testing.T, r *taskrouter.Ready) { r.APISecret = canarySecret + "-of-another-key" },
			nats:   embedded,
			logged: []string{"token refused", "HTTP status 401"},
		},
		"nobody answers": {
			change: func(t *testing.T, r *taskrouter.Ready) {
				address := strings.Split(unreachable(t), `"`)[1]
				r.EventBridgeURL = "http" + strings.TrimPrefix(address, "nats") + "/v1/wschannels"
			},
			nats:   unreachable,
			logged: []string{"connection refused", "cannot connect to NATS"},
		},
		"the server quotes the request": {
			change: func(t *testing.T, r *taskrouter.Ready) {
				r.EventBridgeURL = "http://" + sourcetest.Echo(t, sourcetest.RequestLine) + "/v1/wschannels"
			},
			nats:   embedded,
			logged: []string{"wschannels?<redacted>"},
		},
		"the broker refuses the password": {nats: refusing, logged: []string{"Authorization Violation", "session is live"}},
	} {
		t.Run(name, func(t *testing.T) {
			ready := sim
			if test.change != nil {
				test.change(t, &ready)
			}
			file := configure(t, ready, test.nats(t), more)
			write(t, filepath.Dir(file), "nats-password", canaryPassword)
			p := start(t, "run", "-c", file)
			health := p.healthURL(t)
			if test.do != nil {
				eventually(t, "all agents are live", func() bool {
					_, metrics := get(t, health+"/metrics")
					return strings.Contains(metrics, `taskbridge_sessions{state="live"} 3`)
				})
				test.do(t, p)
			}
			for _, text := range test.logged {
				p.stderr.line(t, text)
			}
			said := p.told(t, health)
			p.stop()
			if err := p.wait(t); err != nil {
				said += err.Error()
			}
			said += p.stderr.String()
			if found := leaks(said); found != nil {
				t.Errorf("%q in:\n%s", found, said)
			}
		})
	}
}

// The check above can fail: one line that nobody has cleaned turns it red.
func TestCanaryIsSeen(t *testing.T) {
	for _, err := range []error{
		errors.New("dial ws://127.0.0.1/v1/wschannels?token=eyJhbGciOiJIUzI1NiJ9.e30.x: refused"),
		fmt.Errorf("mint token with %s", canarySecret),
		fmt.Errorf("log in with %s", canaryPassword),
		fmt.Errorf(`unknown frame {"payload":{"phone":"%s0001"}}`, taskrouter.CanaryPhone),
		fmt.Errorf("attributes of agent0001%s", taskrouter.CanaryEmail),
		errors.New(`{"contact_uri":"client:agent-0001"}`),
	} {
		for _, format := range []string{"json", "console"} {
			var log bytes.Buffer
			newLogger(loggingConfig{Level: "debug", Format: format}, &log).Debug("session ended", zap.Error(err))
			if found := leaks(log.String()); len(found) != 1 {
				t.Errorf("%s: got %q, want one leak found", strings.TrimSpace(log.String()), found)
			}
		}
	}
}

// refusing is the section for a NATS server that knows another password.
func refusing(t *testing.T) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, Username: "bridge", Password: "another", NoLog: true, NoSigs: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("the NATS server does not start")
	}
	return fmt.Sprintf(`{url: "%s", stream: FACTS, user: bridge, password_file: nats-password}`, s.ClientURL())
}
