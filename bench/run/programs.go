package run

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/taskbridge/taskbridge/bench/limit"
	"github.com/taskbridge/taskbridge/bench/process"
	"github.com/taskbridge/taskbridge/bench/verify"
	"github.com/taskbridge/taskbridge/bench/wire"
)

// subjects are those of the streams that the bench makes.
const subjects = limit.Subjects

// theBridge is the built program as users run it: what is not said in its configuration is its default.
type theBridge struct {
	path   string
	health string // where its metrics are, once it runs
}

func (b *theBridge) name() string           { return "bridge" }
func (b *theBridge) stream() (string, bool) { return "FACTS", true }

// promises: partition_by is task by default, and docs/guarantees.md promises the order per agent and task.
func (b *theBridge) promises() verify.Order { return verify.ByTask }

func (b *theBridge) command(s *stage) (process.Command, error) {
	var roster strings.Builder
	for agent := range uint32(s.agents) {
		roster.WriteString(wire.Worker(agent) + "\n")
	}
	var sinks strings.Builder
	for i, b := range s.brokers() {
		fmt.Fprintf(&sinks, "  - name: facts-%d\n    %s\n", i+1, b.sink())
	}
	// Only what a user must write, and free ports.
	config := fmt.Sprintf(`sources:
  - name: bench
    taskrouter:
      account: %s
      workspace: %s
      api_key: SK00000000000000000000000000000001
      api_secret_file: ./api-secret
      event_bridge_url: %s
      agents: {file: ./agents.txt}
sinks:
%shealth: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
`, wire.Account, wire.Workspace, s.vendor.URL, sinks.String())
	for name, text := range map[string]string{"bridge.yaml": config, "agents.txt": roster.String(), "api-secret": "bench-secret-for-loopback-use-only"} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			return process.Command{}, err
		}
	}
	c := process.Command{Path: b.path, Args: []string{"run", "-c", filepath.Join(s.dir, "bridge.yaml")}, Ready: func(line string) bool {
		var entry struct{ Msg, Health string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Msg == "bridge starts" {
			b.health = entry.Health
		}
		return b.health != ""
	}}
	if s.trust != "" {
		c.Env = []string{"SSL_CERT_FILE=" + s.trust}
	}
	return c, nil
}

func (b *theBridge) live(ctx context.Context, s *stage) (bool, error) {
	m, err := scrape(ctx, b.health)
	if err != nil {
		return false, err
	}
	return m.value("taskbridge_sessions", "state", "live") == float64(s.agents) && m.value("taskbridge_unconfirmed_records", "", "") == 0, nil
}

// trouble: what the bridge did not take lies in gaps.
func (b *theBridge) trouble(ctx context.Context) string {
	m, err := scrape(ctx, b.health)
	if err != nil {
		return err.Error()
	}
	var gaps []string
	for cause, n := range m.by("taskbridge_gaps_total", "cause") {
		if n > 0 {
			gaps = append(gaps, fmt.Sprintf("%.0f of cause %s", n, cause))
		}
	}
	if len(gaps) == 0 {
		return ""
	}
	slices.Sort(gaps)
	return "it tells of gaps: " + strings.Join(gaps, ", ")
}

// theLimit is package limit, as a command of this program.
type theLimit struct{ self string }

func (l theLimit) name() string           { return "limit" }
func (l theLimit) stream() (string, bool) { return "EV", false }
func (l theLimit) promises() verify.Order { return verify.ByAgent }

func (l theLimit) command(s *stage) (process.Command, error) {
	args := append([]string{"limit", "-sockets", sockets(s), "-agents", fmt.Sprint(s.agents)}, s.broker.limit()...)
	return process.Command{Path: l.self, Args: args}, nil
}

func (l theLimit) trouble(context.Context) string { return "" }

// live: who has a socket reads it.
func (l theLimit) live(context.Context, *stage) (bool, error) { return true, nil }

// sockets is the URL of sockets that need no token.
func sockets(s *stage) string {
	return strings.Replace(strings.TrimSuffix(s.vendor.URL, "/v1/wschannels"), "http", "ws", 1) + "/ws"
}
