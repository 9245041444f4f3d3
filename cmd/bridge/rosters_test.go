package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/taskbridge/taskbridge/internal/roster"
	"github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
	"github.com/taskbridge/taskbridge/internal/sink/jetstream/embedded"
	"github.com/taskbridge/taskbridge/internal/source"
)

// directory is the REST API of a workspace, as far as it lists workers: two to a page.
type directory struct {
	*httptest.Server
	mu      sync.Mutex
	workers []string
	status  int // in place of an answer; 0: none
}

func newDirectory(t *testing.T, r taskrouter.Ready) *directory {
	d := &directory{}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		d.mu.Lock()
		defer d.mu.Unlock()
		user, password, _ := req.BasicAuth()
		switch {
		case req.URL.Path != "/v1/Workspaces/"+r.Workspace+"/Workers":
			w.WriteHeader(http.StatusNotFound)
			return
		case user != r.APIKey || password != r.APISecret:
			w.WriteHeader(http.StatusUnauthorized)
			return
		case d.status != 0:
			w.WriteHeader(d.status)
			_, _ = fmt.Fprintf(w, `{"code":20500,"message":"with %s"}`, req.Header.Get("Authorization"))
			return
		}
		var from int
		_, _ = fmt.Sscanf(req.URL.Query().Get("PageToken"), "%d", &from)
		to := min(from+2, len(d.workers))
		page := map[string]any{"workers": []any{}, "meta": map[string]any{"key": "workers", "next_page_url": nil}}
		for _, sid := range d.workers[from:to] {
			page["workers"] = append(page["workers"].([]any), map[string]any{"sid": sid, "friendly_name": "agent"})
		}
		if to < len(d.workers) {
			page["meta"].(map[string]any)["next_page_url"] = fmt.Sprintf("%s%s?PageSize=1000&PageToken=%d", d.URL, req.URL.Path, to)
		}
		_ = json.NewEncoder(w).Encode(page)
	}))
	t.Cleanup(d.Close)
	return d
}

func (d *directory) set(status int, workers ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.status, d.workers = status, workers
}

// opened counts the sockets that each worker has had, and has now.
func opened(t *testing.T, r taskrouter.Ready) (ever, now []int) {
	t.Helper()
	_, body := get(t, r.ControlURL+"/state")
	var state taskrouter.State
	if err := json.Unmarshal([]byte(body), &state); err != nil {
		t.Fatal(err)
	}
	for _, w := range state.Workers {
		ever, now = append(ever, w.Opened), append(now, w.Now)
	}
	return ever, now
}

// Two sources with rosters that change: a listing and a file. What one of them does is seen in the sessions of its own agents alone.
func TestRostersChangeWhileRunning(t *testing.T) {
	sim := simulate(t, "--workers", "6", "--rate", "20")
	rest := newDirectory(t, sim)
	w := sim.Workers
	rest.set(0, w[0], w[1], w[2])
	dir, broker := t.TempDir(), t.TempDir()
	secret := write(t, dir, "api-secret", sim.APISecret)
	agents := write(t, dir, "agents.txt", w[4]+"\n")
	section := fmt.Sprintf(`{account: %s, workspace: %s, api_key: %s, api_secret_file: "%s", event_bridge_url: "%s", taskrouter_url: "%s/v1", rest_rate: 100,`,
		sim.Account, sim.Workspace, sim.APIKey, secret, sim.EventBridgeURL, rest.URL)
	file := write(t, dir, "bridge.yaml", fmt.Sprintf(`sources:
  - name: listed
    taskrouter: %s agents: {all: true, refresh: 1s}}
  - name: filed
    taskrouter: %s agents: {file: agents.txt, refresh: 1s}}
sinks:
  - name: facts
    nats: {embedded: {dir: "%s"}, stream: FACTS}
health: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
logging: {level: debug}
bridge: {stop: drain}
`, section, section, broker))
	p := start(t, "run", "-c", file)
	health := p.healthURL(t)
	if got := p.logged(t, "bridge starts"); got["agents"] != 0.0 || got["rosters_unread"] != 2.0 {
		t.Errorf("got %v, want it said that no roster is read yet", got)
	}
	p.logged(t, "taskrouter_url is http")

	sockets := func(want ...int) {
		t.Helper()
		var ever, now []int
		eventually(t, fmt.Sprintf("sockets are open: %v", want), func() bool {
			ever, now = opened(t, sim)
			return slices.Equal(now, want)
		})
		for i, n := range ever {
			if n > 1 {
				t.Errorf("worker %d has had %d sockets, want nobody dialled twice", i, n)
			}
		}
	}
	metric := func(line string) {
		t.Helper()
		eventually(t, "/metrics has "+line, func() bool { _, metrics := get(t, health+"/metrics"); return strings.Contains(metrics, line) })
	}
	sockets(1, 1, 1, 0, 1, 0)
	metric(`taskbridge_roster_agents{source="listed"} 3`)
	metric(`taskbridge_sessions{state="live"} 4`)

	rest.set(0, w[1], w[2], w[3]) // the first leaves, the fourth joins
	sockets(0, 1, 1, 1, 1, 0)
	write(t, dir, "agents.new", "# late shift\n"+w[4]+"\n"+w[5]+"\n")
	if err := os.Rename(filepath.Join(dir, "agents.new"), agents); err != nil {
		t.Fatal(err)
	}
	sockets(0, 1, 1, 1, 1, 1)
	metric(`taskbridge_roster_agents{source="filed"} 2`)

	write(t, dir, "agents.txt", "nobody in particular\n")
	p.stderr.line(t, "agents.txt:1: not an agent")
	rest.set(401, w...)
	p.stderr.line(t, "HTTP status 401, code 20500")
	metric(`taskbridge_roster_refreshes_total{result="failed",source="listed"} 1`)
	sockets(0, 1, 1, 1, 1, 1)
	eventually(t, "/readyz is 200 with a note", func() bool {
		status, body := get(t, health+"/readyz")
		return status == 200 && strings.Contains(body, `{"code":"roster_failing","count":2,"note":true}`)
	})
	if said := p.told(t, health); strings.Contains(said, sim.APISecret) || strings.Contains(said, "Basic ") {
		t.Errorf("the API secret is in:\n%s", said)
	}

	// Stopped while both fail: the sessions that are left end as planned, and are no removals.
	p.stop()
	if err := p.wait(t); err != nil {
		t.Fatalf("got %v, want a clean stop", err)
	}
	server, err := embedded.Start(broker, 0, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer server.Shutdown()
	got := stored(t, server.URL())
	want := map[string]int{"taskbridge.session.ready.v1": 6, "taskbridge.session.lost.v1": 6, "gap opened stop": 5} // one was lost to a removal
	for what, n := range want {
		if got[what] != n {
			t.Errorf("got %v, want %v", got, want)
			break
		}
	}
}

func TestReadinessOfRosters(t *testing.T) {
	sim := simulate(t, "--workers", "1", "--rate", "0")
	rest := newDirectory(t, sim)
	rest.set(500)
	file := configure(t, sim, unreachable(t), "bridge: {drain_timeout: 200ms}")
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	document := strings.Replace(string(content), "agents: ["+sim.Workers[0]+"]", fmt.Sprintf(`taskrouter_url: "%s/v1", agents: {expression: "x == 1", refresh: 1s}`, rest.URL), 1)
	p := start(t, "run", "-c", write(t, filepath.Dir(file), "bridge.yaml", document))
	health := p.healthURL(t)
	wantUnready(t, health, `{"code":"roster_unknown","count":1,"note":false},{"code":"sink_disconnected","count":1,"note":false,"sinks":["facts"]}`)
	rest.set(0)
	eventually(t, "an empty roster is a note", func() bool {
		_, body := get(t, health+"/readyz")
		return strings.Contains(body, `[{"code":"roster_empty","count":1,"note":true},{"code":"sink_disconnected"`)
	})
}

// Once run has returned no roster changes any more, so what stops after it sees none.
func TestRostersEndBeforeTheBridge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan bool)
		read := func(context.Context) ([]string, error) {
			<-release
			return []string{"a"}, nil
		}
		m := roster.NewMetrics(prometheus.NewRegistry())
		watch := roster.NewWatch("slow", read, time.Hour, zap.NewNop(), m)
		r := &rosters{log: zap.NewNop(), metrics: m, parts: []*rosterPart{{agent: source.Agent{Source: "slow"}, watch: watch}}}
		r.begin(func(map[string][]source.Agent) error { t.Error("a roster was told after the end"); return nil })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan bool)
		go func() {
			r.run(ctx)
			close(ended)
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		select {
		case <-ended:
			t.Error("run returned while a roster was being read")
		default:
		}
		close(release)
		<-ended
	})
}

func TestAnAgentOnTwoRosters(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	var got map[string][]source.Agent
	r := &rosters{log: zap.New(core), metrics: roster.NewMetrics(prometheus.NewRegistry())}
	first := &rosterPart{agent: source.Agent{Source: "first", Provider: "twilio"}}
	second := &rosterPart{agent: source.Agent{Source: "second", Provider: "twilio"}, list: []string{"b", "c"}}
	r.parts = []*rosterPart{first, second}
	first.watch = roster.NewWatch("first", nil, time.Hour, zap.NewNop(), r.metrics) // not running: this test tells what it reads
	r.begin(func(agents map[string][]source.Agent) error { got = agents; return nil })
	check := func(when string, want map[string][]string) {
		t.Helper()
		ids := map[string][]string{}
		for name, agents := range got {
			ids[name] = []string{}
			for _, a := range agents {
				ids[name] = append(ids[name], a.ID)
				if a.Source != name || a.Provider != "twilio" {
					t.Errorf("%s: agent of %q is %+v", when, name, a)
				}
			}
		}
		if diff := cmp.Diff(want, ids); diff != "" {
			t.Errorf("%s (-want +got):\n%s", when, diff)
		}
	}
	check("before the first was read", map[string][]string{"second": {"b", "c"}})
	r.tell(first, []string{"a", "b"})
	check("both read", map[string][]string{"first": {"a", "b"}, "second": {"c"}})
	r.tell(second, []string{"b", "c", "d"})
	r.tell(first, []string{"a"})
	check("dropped by the first", map[string][]string{"first": {"a"}, "second": {"b", "c", "d"}})
	r.tell(first, nil)
	check("the first has none", map[string][]string{"first": {}, "second": {"b", "c", "d"}})
	if n := logs.FilterMessageSnippet("on the rosters of several sources").Len(); n != 1 {
		t.Errorf("got %d warnings, want 1", n)
	}
}
