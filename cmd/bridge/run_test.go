package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
	"github.com/taskbridge/taskbridge/internal/sink/jetstream/embedded"
)

// simulate starts the simulator as its command.
func simulate(t *testing.T, args ...string) taskrouter.Ready {
	t.Helper()
	p := start(t, append([]string{"simulate", "taskrouter", "--listen", "127.0.0.1:0"}, args...)...)
	var ready taskrouter.Ready
	if err := json.Unmarshal([]byte(p.stdout.line(t, "{")), &ready); err != nil {
		t.Fatal(err)
	}
	return ready
}

// configure writes a configuration for the simulated workspace. nats is the sink's section.
func configure(t *testing.T, r taskrouter.Ready, nats, more string) (file string) {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "api-secret", r.APISecret)
	return write(t, dir, "bridge.yaml", fmt.Sprintf(`sources:
  - name: simulator
    taskrouter: {account: %s, workspace: %s, api_key: %s, api_secret_file: api-secret, event_bridge_url: "%s",
      agents: [%s]}
sinks:
  - name: facts
    nats: %s
health: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
%s`, r.Account, r.Workspace, r.APIKey, r.EventBridgeURL, strings.Join(r.Workers, ", "), nats, more))
}

// logged waits for the log's line with that message and returns its fields.
func (p *program) logged(t *testing.T, message string) map[string]any {
	t.Helper()
	line := p.stderr.line(t, `"msg":"`+message)
	fields := map[string]any{}
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		t.Fatalf("not JSON: %s", line)
	}
	return fields
}

// healthURL waits until the bridge listens.
func (p *program) healthURL(t *testing.T) string {
	t.Helper()
	return "http://" + p.logged(t, "bridge starts")["health"].(string)
}

// adminAddress waits until the bridge listens.
func (p *program) adminAddress(t *testing.T) string {
	t.Helper()
	return p.logged(t, "bridge starts")["admin"].(string)
}

// stored reads the stream's events, as long as there are any, and counts them by type; gaps also by cause, and those with
// personal data by what they hold of it.
func stored(t *testing.T, url string) map[string]int {
	t.Helper()
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	count, ids := map[string]int{}, map[string]bool{}
	consumer, err := js.OrderedConsumer(ctx, "FACTS", jetstream.OrderedConsumerConfig{})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return count
	}
	if err != nil {
		t.Fatal(err)
	}
	for {
		batch, err := consumer.FetchNoWait(500)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for msg := range batch.Messages() {
			n++
			var e struct {
				ID, Type string
				Data     struct {
					Gap     *struct{ State, Cause string }
					Session *struct{ Continuity string }
				}
			}
			if err := json.Unmarshal(msg.Data(), &e); err != nil {
				t.Fatal(err)
			}
			count["all"]++
			for _, word := range []string{taskrouter.CanaryPhone, taskrouter.CanaryEmail} {
				if strings.Contains(string(msg.Data()), word) {
					count[word]++
				}
			}
			count[e.Type]++
			if ids[e.ID] {
				count["stored twice"]++
			}
			ids[e.ID] = true
			if e.Type == "taskbridge.session.ready.v1" {
				count["continuity "+e.Data.Session.Continuity]++
			}
			if e.Data.Gap != nil {
				count["gap "+e.Data.Gap.State+" "+e.Data.Gap.Cause]++
			}
		}
		if n == 0 {
			return count
		}
	}
}

func TestRun(t *testing.T) {
	sim := simulate(t, "--workers", "5", "--rate", "50")
	broker := t.TempDir()
	p := start(t, "run", "-c", configure(t, sim, fmt.Sprintf(`{embedded: {dir: "%s"}, stream: FACTS}`, broker), "bridge: {stop: drain}"))
	url := p.logged(t, "the broker runs in this process")["url"].(string)
	health := p.healthURL(t)
	eventually(t, "/readyz is 200", func() bool { status, _ := get(t, health+"/readyz"); return status == 200 })
	eventually(t, "50 events are in the stream", func() bool { return stored(t, url)["all"] >= 50 })
	if status, body := get(t, health+"/livez"); status != 200 || body != "ok\n" {
		t.Errorf("/livez: got %d and %q", status, body)
	}
	for _, want := range []string{
		`taskbridge_sessions{state="live"} 5`, `taskbridge_frames_total{outcome="mapped"} [1-9]`, `taskbridge_events_total{type="session.ready"} 5`,
		`taskbridge_published_total{sink="facts"} [1-9]`, `taskbridge_jetstream_connected{sink="facts"} 1`, `taskbridge_raw_payload_sources 0`,
		`taskbridge_build_info{.*version="devel"} 1`, `go_goroutines [1-9]`,
		`taskbridge_taskrouter_requests_total{code_class="1xx",route="upgrade"} 5`,
	} {
		line := regexp.MustCompile("(?m)^" + want)
		eventually(t, "/metrics has "+want, func() bool { _, metrics := get(t, health+"/metrics"); return line.MatchString(metrics) })
	}

	p.stop()
	if err := p.wait(t); err != nil {
		t.Fatalf("got %v, want a clean stop", err)
	}
	p.logged(t, "bridge stopped")
	if conn, err := net.Dial("tcp", strings.TrimPrefix(health, "http://")); err == nil {
		_ = conn.Close()
		t.Error("the health listener is still open")
	}
	server, err := embedded.Start(broker, 0, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	if got := stored(t, server.URL()); got["gap opened stop"] != 5 {
		t.Errorf("got %v, want a planned gap for each of 5 agents", got)
	}
}

// unreachable is a broker's section that nobody serves.
func unreachable(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return fmt.Sprintf(`{url: "nats://%s", stream: FACTS}`, listener.Addr())
}

func TestRunTellsWhatIsLeft(t *testing.T) {
	sim := simulate(t, "--workers", "2", "--rate", "50")
	p := start(t, "run", "-c", configure(t, sim, unreachable(t), "bridge: {stop: drain, drain_timeout: 200ms}\nprivacy: {raw: true}\n"))
	p.logged(t, "privacy.raw is on")
	health := p.healthURL(t)
	eventually(t, "both agents are live", func() bool {
		_, metrics := get(t, health+"/metrics")
		return strings.Contains(metrics, `taskbridge_sessions{state="live"} 2`)
	})
	wantUnready(t, health, `{"code":"raw_payloads","count":1,"note":true},{"code":"sink_disconnected","count":1,"note":false,"sinks":["facts"]}`)
	p.stop()
	err := p.wait(t)
	if err == nil || !strings.Contains(err.Error(), "sink facts: stopped with ") || !strings.Contains(err.Error(), " events not confirmed") {
		t.Errorf("got %v, want how many events are left", err)
	}
	if code := report(err, newOutput()); code != 1 {
		t.Errorf("got exit code %d, want 1", code)
	}
}

func wantUnready(t *testing.T, health, reasons string) {
	t.Helper()
	want := `{"ready":false,"reasons":[` + reasons + "]}\n"
	if status, body := get(t, health+"/readyz"); status != 503 || body != want {
		t.Errorf("/readyz: got %d and %s, want 503 and %s", status, body, want)
	}
}

func TestReadinessWithoutSessions(t *testing.T) {
	sim := simulate(t, "--workers", "2", "--rate", "0")
	sim.EventBridgeURL = "http" + strings.TrimPrefix(strings.Split(unreachable(t), `"`)[1], "nats") + "/v1/wschannels"
	p := start(t, "run", "-c", configure(t, sim, unreachable(t), "bridge: {drain_timeout: 200ms}"))
	health := p.healthURL(t)
	wantUnready(t, health, `{"code":"too_few_live","count":1,"note":false},{"code":"agents_connecting","count":2,"note":true},`+
		`{"code":"sink_disconnected","count":1,"note":false,"sinks":["facts"]}`)
	if status, _ := get(t, health+"/livez"); status != 200 {
		t.Errorf("/livez: got %d, want 200 whatever vendor and broker do", status)
	}
}

// A refused token and another refusal are told apart, and neither makes the bridge unready while the floor is 0.
func TestReadinessTellsWhoIsRefused(t *testing.T) {
	sim := simulate(t, "--workers", "2", "--rate", "0")
	for name, test := range map[string]struct {
		change  func(r *taskrouter.Ready)
		minLive string
		status  int
		want    []string
	}{
		"wrong secret": {
			func(r *taskrouter.Ready) { r.APISecret += "-of-another-key" }, "50%", 503,
			[]string{`{"code":"too_few_live","count":1,"note":false}`, `{"code":"tokens_refused","count":2,"note":true}`},
		},
		"wrong URL": {
			func(r *taskrouter.Ready) { r.EventBridgeURL += "/elsewhere" }, "2", 503,
			[]string{`{"code":"too_few_live","count":2,"note":false}`, `{"code":"agents_refused","count":2,"note":true}`},
		},
		"half is enough": {
			func(r *taskrouter.Ready) { r.Workers = []string{r.Workers[0], "WK" + strings.Repeat("f", 32)} }, "50%", 200,
			[]string{`{"code":"tokens_refused","count":1,"note":true}`},
		},
		"no floor": {
			func(r *taskrouter.Ready) { r.APISecret += "-of-another-key" }, "0", 200,
			[]string{`{"code":"tokens_refused","count":2,"note":true}`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			ready := sim
			test.change(&ready)
			file := configure(t, ready, fmt.Sprintf(`{embedded: {dir: "%s"}, stream: FACTS}`, t.TempDir()), "")
			replaceIn(t, file, "health: {", "health: {min_live: "+test.minLive+", ")
			health := start(t, "run", "-c", file).healthURL(t)
			eventually(t, fmt.Sprintf("/readyz is %d with %v alone", test.status, test.want), func() bool {
				status, body := get(t, health+"/readyz")
				return status == test.status && strings.Contains(body, "["+strings.Join(test.want, ",")+"]")
			})
		})
	}
}

// A stream deleted while the bridge runs is made anew, and that confirmed events are gone is counted and noted.
func TestReadinessTellsOfALostStream(t *testing.T) {
	sim := simulate(t, "--workers", "1", "--rate", "50")
	p := start(t, "run", "-c", configure(t, sim, fmt.Sprintf(`{embedded: {dir: "%s"}, stream: FACTS}`, t.TempDir()), ""))
	health := p.healthURL(t)
	connection, err := nats.Connect(p.logged(t, "the broker runs in this process")["url"].(string))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	eventually(t, "events are published", func() bool {
		_, text := get(t, health+"/metrics")
		return regexp.MustCompile(`(?m)^taskbridge_published_total\{.*\} [1-9]`).MatchString(text)
	})
	const note = `{"code":"broker_lost_confirmed","count":1,"note":true,"sinks":["facts"]}`
	if _, body := get(t, health+"/readyz"); strings.Contains(body, note) {
		t.Errorf("before: got %s", body)
	}
	if _, err := connection.Request("$JS.API.STREAM.DELETE.FACTS", nil, patience); err != nil {
		t.Fatal(err)
	}
	eventually(t, "/readyz is 200 with a note", func() bool {
		status, body := get(t, health+"/readyz")
		return status == 200 && strings.Contains(body, note)
	})
	if _, text := get(t, health+"/metrics"); !regexp.MustCompile(`(?m)^taskbridge_broker_lost_total\{.*\} 1$`).MatchString(text) {
		t.Errorf("broker_lost_total: want 1 in\n%s", text)
	}
}

func TestWarnsOfTooFewFiles(t *testing.T) {
	limit, known := fileDescriptors()
	if !known {
		t.Skip("the limit is not known here")
	}
	const message = "the limit of open files is low for this roster"
	for agents, want := range map[int]int{0: 0, int(min(limit, 1<<32)): 1} {
		core, logs := observer.New(zap.WarnLevel)
		warnOfFiles(agents, zap.New(core))
		if got := logs.Filter(func(e observer.LoggedEntry) bool { return strings.HasPrefix(e.Message, message) }).Len(); got != want {
			t.Errorf("%d agents, %d files: got %d warnings, want %d", agents, limit, got, want)
		}
	}
}

func TestRunRefusesToStart(t *testing.T) {
	sim := simulate(t, "--workers", "1", "--rate", "0")
	taken := strings.TrimPrefix(strings.TrimSuffix(sim.ControlURL, "/_sim"), "http://")
	for _, section := range []string{"health", "admin"} {
		file := configure(t, sim, unreachable(t), "")
		replaceIn(t, file, section+`: {listen: "127.0.0.1:0"`, fmt.Sprintf("%s: {listen: %q", section, taken))
		code, _, stderr := exec(t, "run", "-c", file)
		if code != 1 || !strings.Contains(stderr, "address already in use; set "+section+".listen to a free address\n") {
			t.Errorf("%s: got exit code %d and %s", section, code, stderr)
		}
	}
}

// One of two brokers cannot start: the other, which has, is ended too.
func TestEmbeddedBrokersEndWhenOneFails(t *testing.T) {
	sim := simulate(t, "--workers", "1", "--rate", "0")
	taken := strings.TrimSuffix(sim.ControlURL[strings.LastIndexByte(sim.ControlURL, ':')+1:], "/_sim")
	first := t.TempDir()
	sections := fmt.Sprintf("{embedded: {dir: %q}, stream: FACTS}\n  - name: more\n    nats: {embedded: {dir: %q, port: %s}, stream: FACTS}", first, t.TempDir(), taken)
	code, _, stderr := exec(t, "run", "-c", configure(t, sim, sections, ""))
	if code != 1 || !strings.Contains(stderr, "sink more: embedded nats-server: ") {
		t.Errorf("got exit code %d and %s", code, stderr)
	}
}

// The documentation lists exactly the codes that /readyz may tell.
func TestReadyCodesAreDocumented(t *testing.T) {
	document, err := os.ReadFile("../../docs/health.md")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_<>]+)` \\| (yes|note) \\|").FindAllStringSubmatch(string(document), -1) {
		got[m[1]] = m[2]
	}
	want := map[string]string{sinkPrefix + "<reason>": "yes"}
	for _, c := range readyCodes {
		want[c.code] = map[bool]string{true: "note", false: "yes"}[c.note]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("codes (-program +docs/health.md):\n%s", diff)
	}
}
