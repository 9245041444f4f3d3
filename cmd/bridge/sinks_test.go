package main

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/sink/jetstream/embedded"
)

// What goes where is shown for each sink, and where consumers will not be told of gaps.
func TestValidateShowsWhatGoesWhere(t *testing.T) {
	t.Setenv("BRIDGE_TEST_SECRET", "hunter2")
	const unaware = "; NOT session.gap: its consumers are not told what they missed"
	for lines, want := range map[string]string{
		"":                             "gets all types",
		"start: oldest":                "gets all types",
		"start: now":                   "gets all types\n          where it is new to the spool, only from then on",
		"filter: {types: [session.*]}": "gets session.ready session.lost session.refused session.token_expired session.gap",
		"filter: {types: [task.updated, session.gap, task.expir*]}": "",
		"filter: {types: [task.updated, agent.*, session.gap, agent.capacity_changed]}": "gets session.gap agent.activity_changed " +
			"agent.attributes_changed agent.capacity_changed task.updated",
		"filter: {types: [task.updated]}":       "gets task.updated" + unaware,
		"filter: {origins: [socket, snapshot]}": "gets all types; only origins socket, snapshot" + unaware,
		"filter: {origins: [socket, bridge]}":   "gets all types; only origins socket, bridge",
		"filter: {types: [session.gap], providers: [twilio], accounts: [AC00000000000000000000000000000001]}": "gets session.gap; only providers twilio; " +
			"only accounts AC00000000000000000000000000000001",
	} {
		file := write(t, t.TempDir(), "bridge.yaml", good+"    "+lines+"\n")
		code, stdout, stderr := exec(t, "validate", "-c", file)
		if want == "" {
			if code != 2 || stdout != "" {
				t.Errorf("%s: got exit code %d and %s", lines, code, stdout)
			}
			continue
		}
		_, got, _ := strings.Cut(stdout, "at nats://127.0.0.1:4222\n          ")
		got, _, _ = strings.Cut(got, "\n  privacy")
		if diff := cmp.Diff(want, got); code != 0 || diff != "" {
			t.Errorf("%s: got exit code %d, %s (-want +got):\n%s", lines, code, stderr, diff)
		}
	}
}

// With one broker there and one away, readiness, metrics, the log and bridge drain each say which.
func TestSeveralSinksAreToldApart(t *testing.T) {
	sim := simulate(t, "--workers", "2", "--rate", "50")
	file := configure(t, sim, fmt.Sprintf(`{embedded: {dir: "%s"}, stream: FACTS}
  - name: crm
    filter: {types: [reservation.*, session.gap]}
    nats: %s`, t.TempDir(), unreachable(t)), "")
	p := start(t, "run", "-c", file)
	health := p.healthURL(t)
	eventually(t, "both sinks have got or wait for events", func() bool {
		_, text := get(t, health+"/metrics")
		return regexp.MustCompile(`(?m)^taskbridge_published_total\{sink="facts"\} [1-9]`).MatchString(text) &&
			regexp.MustCompile(`(?m)^taskbridge_unconfirmed_records\{sink="crm"\} [1-9]`).MatchString(text)
	})
	if _, text := get(t, health+"/metrics"); !strings.Contains(text, "\n"+`taskbridge_published_total{sink="crm"} 0`+"\n") {
		t.Errorf("crm is without a broker and has published:\n%s", text)
	}
	if status, body := get(t, health+"/readyz"); status != 503 || !strings.Contains(body, `{"code":"sink_disconnected","count":1,"note":false,"sinks":["crm"]}`) {
		t.Errorf("/readyz: got %d and %s", status, body)
	}
	p.stop()
	if err := p.wait(t); err != nil {
		t.Fatal(err)
	}
	if left := p.logged(t, "bridge stopped")["undelivered"].(map[string]any); left["crm"].(float64) == 0 || len(left) != 2 {
		t.Errorf("the log says that %v are left", left)
	}
	code, stdout, stderr := exec(t, "drain", "-c", file, "--timeout", "500ms")
	if last := stdout[strings.LastIndex(strings.TrimSpace(stdout), "\n")+1:]; code != 1 || !strings.Contains(stderr, "sink crm: stopped with ") || strings.Contains(stderr, "sink facts") ||
		!regexp.MustCompile(`^crm: [1-9][0-9]* events left, .* \(waits: .*\); facts: 0 events left\n$`).MatchString(last) {
		t.Errorf("drain: got exit code %d, %q and %s", code, last, stderr)
	}
}

// What the configuration cannot tell, that two sinks reach one server by different names, is told by readiness, with the sink and what to do.
func TestSinksThatShareSubjects(t *testing.T) {
	server, err := embedded.Start(t.TempDir(), 0, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	conn, err := nats.Connect(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	// It was there before: a server that is asked for both at one moment makes both.
	facts := jetstream.StreamConfig{Name: "FACTS", Subjects: []string{"contact.*.*.*.*.*"}, Duplicates: 2 * time.Minute}
	if _, err := js.CreateStream(t.Context(), facts); err != nil {
		t.Fatal(err)
	}
	sim := simulate(t, "--workers", "1", "--rate", "0")
	p := start(t, "run", "-c", configure(t, sim, fmt.Sprintf(`{url: "%s", stream: FACTS}
  - name: crm
    nats: {url: "%[1]s,%[1]s", stream: CRM}`, server.URL()), ""))
	health := p.healthURL(t)
	eventually(t, "/readyz names the sink", func() bool {
		_, body := get(t, health+"/readyz")
		return strings.Contains(body, `{"code":"sink_stream_mismatch","count":1,"note":false,"sinks":["crm"]}`)
	})
	if line := p.stderr.line(t, "no two streams may have a subject in common"); !strings.Contains(line, `"logger":"crm"`) {
		t.Errorf("the log does not say which sink: %s", line)
	}
	p.stop()
	if err := p.wait(t); err != nil {
		t.Fatal(err)
	}
}
