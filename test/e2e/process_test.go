package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/admin"
	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/ledger"
	simulator "github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
	"github.com/taskbridge/taskbridge/internal/sink/sinktest"
)

// program is the built program, made once in a folder of TestMain.
var (
	folder  string
	program = sync.OnceValues(func() (string, error) {
		path := filepath.Join(folder, "bridge")
		out, err := exec.Command("go", "build", "-o", path, "../../cmd/bridge").CombinedOutput()
		if err != nil {
			err = fmt.Errorf("build: %w: %s", err, out)
		}
		return path, err
	})
)

// process is one run of it.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr output
	ended          chan struct{}
}

// output is what a process has written.
type output struct{ sinktest.Lines }

// launch runs the program.
func launch(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return spawn(t, path, env, args...)
}

func spawn(t *testing.T, path string, env []string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // its state says it
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // an error: it has ended
		<-p.ended
		if t.Failed() {
			t.Logf("%s %s wrote:\n%s", filepath.Base(path), strings.Join(args, " "), p.stderr.String())
		}
	})
	return p
}

// kill is kill -9.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-p.ended
}

// wait returns when text was written.
func (o *output) wait(t *testing.T, text string) {
	t.Helper()
	until(t, text, func() bool { return strings.Contains(o.String(), text) })
}

// line waits for the first whole line that holds text, and reads it as JSON.
func (o *output) line(t *testing.T, text string, into any) {
	t.Helper()
	until(t, "a line with "+text, func() bool {
		for line := range strings.Lines(o.String()) {
			if strings.Contains(line, text) && strings.HasSuffix(line, "\n") {
				if err := json.Unmarshal([]byte(line), into); err != nil {
					t.Fatalf("not JSON: %s", line)
				}
				return true
			}
		}
		return false
	})
}

// rig is a simulator and a bridge with its broker, each a process (the broker is the bridge's unless the setup brings one).
type rig struct {
	vendor    simulator.Ready
	inside    *simulator.Simulator // nil: in a process of its own
	bridge    *process
	env       []string // of the bridge
	config    string
	topic     *topic  // of a Kafka; nil: the broker is NATS
	server    *broker // nil: the bridge's own, at broker
	broker    string
	admin     admin.Client
	landed    []ledger.Landed // what was read of the stream
	outlets   []*outlet       // several sinks, in place of one at server; see fanOut
	disturbed bool            // somebody is meant to do more than observe
	ended     bool            // see end
}

const (
	agents = 5
	rate   = 100 // events per second
)

// floods are the tests under flood: two slow cores bear three of them beside the others.
var floods = make(chan struct{}, 3)

// setup is how a rig differs from the usual one.
type setup struct {
	flags  []string                     // of the simulator
	flood  float64                      // events per second of a simulator in this process, where a long ledger is quickly read
	source func(simulator.Ready) string // members of the source that say where the vendor is and who the agents are
	broker *broker
	topic  *topic
	more   string // further sections of the configuration
	env    []string
}

// newRig starts everything. When it ends, the vendor must have seen nothing but observers.
func newRig(t *testing.T, s setup) *rig {
	t.Helper()
	r := prepare(t, s)
	r.start(t)
	return r
}

// prepare starts everything but the bridge.
func prepare(t *testing.T, s setup) *rig {
	t.Helper()
	r := &rig{env: s.env, server: s.broker, topic: s.topic}
	if s.flood > brisk {
		floods <- struct{}{}
		t.Cleanup(func() { <-floods })
	}
	silence := 3 * time.Second
	if s.flood > 0 {
		silence = patient
		r.inside = simulate(t, s.flood)
		r.vendor = r.inside.Ready()
	} else {
		flags := []string{"simulate", "taskrouter", "--listen", "127.0.0.1:0", "--workers", fmt.Sprint(agents), "--rate", fmt.Sprint(rate), "--heartbeat", "500ms"}
		sim := launch(t, nil, append(flags, s.flags...)...)
		sim.stdout.line(t, "{", &r.vendor)
	}
	t.Cleanup(func() { r.onlyObserved(t) }) // after the bridge's end, before the simulator's
	if s.source == nil {
		s.source = func(v simulator.Ready) string {
			return fmt.Sprintf(`event_bridge_url: "%s", agents: [%s]`, v.EventBridgeURL, strings.Join(v.Workers, ", "))
		}
	}
	dir := t.TempDir()
	write(t, dir, "api-secret", r.vendor.APISecret)
	nats := fmt.Sprintf("embedded: {dir: %q}", filepath.Join(dir, "nats"))
	if s.broker != nil {
		nats = s.broker.sink()
	}
	sink := fmt.Sprintf("nats: {%s, stream: FACTS}", nats)
	if s.topic != nil {
		sink = s.topic.sink()
	}
	r.config = write(t, dir, "bridge.yaml", fmt.Sprintf(`sources:
  - name: simulator
    taskrouter: {account: %s, workspace: %s, api_key: %s, api_secret_file: api-secret, %s}
sinks:
  - name: facts
    %s
bridge: {silence_limit: %v, refused_retry: 1s, stop: fast}
health: {listen: "127.0.0.1:0"}
admin: {listen: "127.0.0.1:0"}
%s
`, r.vendor.Account, r.vendor.Workspace, r.vendor.APIKey, s.source(r.vendor), sink, silence, s.more))
	return r
}

// patient is the silence limit of bridges with a simulator in this process, which has much else to do when it judges.
const patient = 15 * time.Second

// simulate runs a simulator in this process.
func simulate(t *testing.T, rate float64) *simulator.Simulator {
	t.Helper()
	s, err := simulator.New(simulator.Options{Workers: agents, Rate: rate, Heartbeat: 500 * time.Millisecond}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

// start runs the program, and returns when every agent has a session.
func (r *rig) start(t *testing.T) {
	t.Helper()
	r.bridge = launch(t, r.env, "run", "-c", r.config)
	var log struct{ URL, Admin string }
	if r.server == nil && r.topic == nil {
		r.bridge.stderr.line(t, `"msg":"the broker runs in this process`, &log)
	}
	r.bridge.stderr.line(t, `"msg":"bridge starts"`, &log)
	r.broker, r.admin = log.URL, admin.Client{Address: log.Admin}
	r.live(t)
}

// live returns when every agent has a session.
func (r *rig) live(t *testing.T) {
	t.Helper()
	until(t, "every agent has a session", func() bool {
		return !slices.ContainsFunc(r.state(t).Workers, func(w simulator.WorkerState) bool { return w.Now == 0 })
	})
}

// onlyObserved is called once the bridge has ended: that the vendor loses its last sockets must change nothing either.
func (r *rig) onlyObserved(t *testing.T) {
	t.Helper()
	if r.bridge == nil {
		return
	}
	until(t, "no socket is left", func() bool {
		return !slices.ContainsFunc(r.state(t).Workers, func(w simulator.WorkerState) bool { return w.Now > 0 })
	})
	if err := r.state(t).OnlyObserved(); (err != nil) != r.disturbed {
		t.Errorf("got %v; somebody was meant to do more than observe: %t", err, r.disturbed)
	}
}

func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// client keeps no connection: an idle one would look like a leak.
var client = http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

// control asks the simulator; a body makes it a POST.
func (r *rig) control(t *testing.T, path string, body any) []byte {
	t.Helper()
	var (
		response *http.Response
		err      error
	)
	if body == nil {
		response, err = client.Get(r.vendor.ControlURL + path)
	} else {
		text, bad := json.Marshal(body)
		if bad != nil {
			t.Fatal(bad)
		}
		response, err = client.Post(r.vendor.ControlURL+path, "application/json", bytes.NewReader(text))
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode > 299 {
		t.Fatalf("%s: status %d, %v: %s", path, response.StatusCode, err, answer)
	}
	return answer
}

func (r *rig) state(t *testing.T) (s simulator.State) {
	t.Helper()
	if r.inside != nil {
		return r.inside.State()
	}
	if err := json.Unmarshal(r.control(t, "/state", nil), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

func (r *rig) ledger(t *testing.T) (entries []ledger.Entry) {
	t.Helper()
	if r.inside != nil {
		for _, e := range r.inside.Ledger() {
			entries = append(entries, ledger.Entry(e))
		}
		return entries
	}
	for lines := json.NewDecoder(bytes.NewReader(r.control(t, "/ledger", nil))); lines.More(); {
		var e ledger.Entry
		if err := lines.Decode(&e); err != nil {
			t.Fatal(err)
		}
		entries = append(entries, e)
	}
	return entries
}

// stored is all that the streams hold; what was read before is not read again.
func (r *rig) stored(t *testing.T) (all []ledger.Landed) {
	t.Helper()
	if r.outlets != nil {
		for _, o := range r.outlets {
			all = append(all, o.stored(t)...)
		}
		slices.SortStableFunc(all, func(a, b ledger.Landed) int { return a.Stored.Compare(b.Stored) })
		return all
	}
	if r.topic != nil {
		r.landed = r.topic.stored(t)
		return slices.Clone(r.landed)
	}
	url := r.broker
	if r.server != nil {
		url = r.server.url
	}
	r.landed = readOn(t, url, "FACTS", r.landed)
	return slices.Clone(r.landed)
}

// readOn reads what a stream holds behind what was read of it.
func readOn(t *testing.T, url, stream string, landed []ledger.Landed) []ledger.Landed {
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
	next := uint64(1)
	if n := len(landed); n > 0 {
		next = landed[n-1].Sequence + 1
	}
	consumer, err := js.OrderedConsumer(t.Context(), stream, jetstream.OrderedConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: next,
	})
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return landed
	}
	if err != nil {
		t.Fatal(err)
	}
	for {
		batch, err := consumer.FetchNoWait(1000)
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for m := range batch.Messages() {
			n++
			e, _, err := event.ParseStructured(m.Data())
			if err != nil {
				t.Fatal(err)
			}
			meta, err := m.Metadata()
			if err != nil {
				t.Fatal(err)
			}
			landed = append(landed, ledger.Landed{Event: e, Stored: meta.Timestamp, Sequence: meta.Sequence.Stream})
		}
		if n == 0 {
			return landed
		}
	}
}

// stop ends the bridge as a supervisor does.
func (r *rig) stop(t *testing.T) {
	t.Helper()
	if err := r.bridge.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-r.bridge.ended
	if code := r.bridge.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the bridge ended with exit code %d", code)
	}
}
