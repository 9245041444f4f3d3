package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/ledger"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// outlet is a sink of a bridge that has several, with what was read of its stream.
type outlet struct {
	name   string // of the sink
	broker *broker
	stream string
	nouns  []string // of the types that it gets; nil: all
	start  string
	landed []ledger.Landed
}

// section is the sink in the configuration. Streams on one server have subjects of their own.
func (o *outlet) section() string {
	filter := ""
	for _, noun := range o.nouns {
		filter += fmt.Sprintf("%q, ", noun+".*")
	}
	if filter != "" {
		filter = "filter: {types: [" + filter + "]}, "
	}
	if o.start != "" {
		filter += "start: " + o.start + ", "
	}
	return fmt.Sprintf("  - {name: %s, %snats: {%s, stream: %s, subject: \"%s.{provider}.{account}.{noun}.{verb}.{agent}\"}}\n",
		o.name, filter, o.broker.sink(), o.stream, o.name)
}

func (o *outlet) stored(t *testing.T) []ledger.Landed {
	t.Helper()
	if o.broker.running != nil {
		o.landed = readOn(t, o.broker.url, o.stream, o.landed)
	}
	return o.landed
}

// byKey are the ids of the events of each key and agent, in the order in which they are stored, of those that choose lets through.
func (o *outlet) byKey(t *testing.T, choose func(*event.Event) bool) map[string][]string {
	t.Helper()
	ids := map[string][]string{}
	for _, l := range o.stored(t) {
		if choose(l.Event) {
			key := l.Event.PartitionKey + " " + l.Event.Data.Agent.ID
			ids[key] = append(ids[key], l.Event.ID)
		}
	}
	return ids
}

func everything(*event.Event) bool { return true }

// fanOut replaces the sinks of the configuration.
func (r *rig) fanOut(t *testing.T, outlets ...*outlet) {
	t.Helper()
	sinks := ""
	for _, o := range outlets {
		sinks += o.section()
	}
	r.replaceSinks(t, sinks)
	r.outlets = outlets
}

// replaceSinks replaces them in the configuration, which counts from the next start.
func (r *rig) replaceSinks(t *testing.T, sinks string) {
	t.Helper()
	content, err := os.ReadFile(r.config)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(content), "sinks:\n")
	_, after, _ := strings.Cut(rest, "bridge:")
	write(t, filepath.Dir(r.config), filepath.Base(r.config), before+"sinks:\n"+sinks+"bridge:"+after)
}

// ready is what /readyz answers.
func (r *rig) ready(t *testing.T) string {
	t.Helper()
	var log struct{ Health string }
	r.bridge.stderr.line(t, `"msg":"bridge starts"`, &log)
	response, err := client.Get("http://" + log.Health + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func unconfirmed(sink string) string {
	return fmt.Sprintf("taskbridge_unconfirmed_records{sink=%q}", sink)
}

// TestFanOut: two sinks with streams of one name on two servers share the types. One server is killed with events stored that it has not confirmed, and is
// away for longer than its duplicate window: the other sink goes on as if nothing had happened, and afterwards each has its types, once and in order, and
// together they have everything; also where the bridge is killed meanwhile.
func TestFanOut(t *testing.T) {
	t.Parallel()
	for name, crash := range map[string]bool{"one server away": false, "one server away, bridge killed": true} {
		t.Run(name, func(t *testing.T) {
			long(t)
			t.Parallel()
			people := &outlet{name: "people", broker: newBroker(t, 2*time.Minute), stream: "FACTS", nouns: []string{"agent", "session", "bridge"}}
			tasks := &outlet{name: "tasks", broker: newBroker(t, shortWindow), stream: "FACTS", nouns: []string{"reservation", "task"}}
			r := prepare(t, setup{flood: brisk, broker: people.broker})
			r.fanOut(t, people, tasks)
			r.start(t)
			r.grow(t, 200)
			until(t, "both sinks get events", func() bool { return len(people.stored(t)) > 0 && len(tasks.stored(t)) > 0 })

			tasks.broker.doubt(t)
			away := time.Now()
			s := scenario{}
			if crash {
				s = r.crash(t)
				s.gaps = 1
			}
			from := len(people.stored(t))
			until(t, "the other sink goes on", func() bool { return len(people.stored(t)) >= from+100 })
			until(t, "and owes nothing", func() bool { return r.metric(t, unconfirmed("people")) < 20 })
			until(t, "the spool holds what the sink that is away has not got", func() bool { return r.metric(t, unconfirmed("tasks")) > 500 })
			until(t, "its server is away for longer than its duplicate window", func() bool { return time.Since(away) > 2*shortWindow })
			if body := r.ready(t); !strings.Contains(body, `{"code":"sink_disconnected","count":1,"note":false,"sinks":["tasks"]}`) {
				t.Errorf("/readyz does not say which sink is away: %s", body)
			}
			tasks.broker.start(t)
			until(t, "the sink that was away owes nothing", func() bool { return r.metric(t, unconfirmed("tasks")) < 20 })
			if crash {
				r.healed(t, s)
			}
			r.settle(t, s)
			for _, o := range r.outlets {
				t.Logf("%s has %d events", o.name, len(o.landed))
				for _, l := range o.landed {
					if !slices.Contains(o.nouns, l.Event.Type.Noun()) {
						t.Fatalf("%s has a %s, which its filter does not let through", o.name, l.Event.Type)
					}
				}
			}
		})
	}
}

// TestSinksComeAndGo: while two sinks keep everything in the spool because their servers are away, the configuration loses them and gets two new ones. The one
// that starts with the oldest gets everything, the other what came after it was new. One of the lost ones is forgotten; the other comes back, and goes on
// where it was. Then nothing holds the spool's older files.
func TestSinksComeAndGo(t *testing.T) {
	long(t)
	t.Parallel()
	here, gone := newBroker(t, 2*time.Minute), newBroker(t, 2*time.Minute)
	facts := &outlet{name: "facts", broker: here, stream: "FACTS"}
	late := &outlet{name: "late", broker: here, stream: "LATE", start: "oldest"}
	fresh := &outlet{name: "fresh", broker: here, stream: "FRESH", start: "now"}
	dropped := &outlet{name: "dropped", broker: gone, stream: "DROPPED"}
	back := &outlet{name: "back", broker: gone, stream: "BACK"}
	gone.kill(t)

	r := prepare(t, setup{flood: rate, broker: here})
	r.fanOut(t, facts, dropped, back)
	r.start(t)
	r.grow(t, 200)

	var stopped time.Time
	s := scenario{cause: event.CauseStop, gaps: 2}
	again := func(between func(), outlets ...*outlet) {
		stopping := time.Now()
		r.stop(t)
		stopped = time.Now()
		between()
		r.fanOut(t, outlets...)
		r.start(t)
		s.faults, s.lasted = append(s.faults, fault{}), max(s.lasted, time.Since(stopping))
		r.grow(t, 200)
	}
	again(func() {}, facts, late, fresh)
	added := stopped
	if body := r.ready(t); !strings.Contains(body, `{"code":"spool_forgotten","count":2,"note":true,"sinks":["back","dropped"]}`) {
		t.Errorf("/readyz does not say what the spool holds: %s", body)
	}
	tap := launch(t, nil, "tap", "-c", r.config, "--sink", "late", "--from-start", "--type", "session.ready")
	tap.stdout.wait(t, "session.ready")
	if err := tap.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-tap.ended

	again(func() {
		held := r.inspect(t)
		for _, name := range []string{"back", "dropped"} {
			if n := pending(held, name); n < len(facts.stored(t)) {
				t.Errorf("the spool holds %d events for %s, want all %d", n, name, len(facts.landed))
			}
		}
		if len(held.Segments) < 2 {
			t.Errorf("got %d segments, want one of each start", len(held.Segments))
		}
		p := launch(t, nil, "spool", "forget", r.spoolDir(), "dropped")
		if <-p.ended; p.cmd.ProcessState.ExitCode() != 0 {
			t.Fatalf("spool forget: %s", p.stderr.String())
		}
		gone.start(t)
		back.start = "now" // which means nothing to a sink that the spool knows
	}, facts, late, fresh, back)
	until(t, "nothing holds the older segments", func() bool { return r.metric(t, "taskbridge_spool_segments") == 1 })
	if body := r.ready(t); strings.Contains(body, "spool_forgotten") {
		t.Errorf("/readyz: %s", body)
	}
	r.end(t)
	for _, o := range []*outlet{late, fresh, back} {
		choose := func(e *event.Event) bool { return o != fresh || !e.Recorded.Time().Before(added) }
		until(t, o.name+" has what it is to have", func() bool {
			return maps.EqualFunc(o.byKey(t, everything), facts.byKey(t, choose), slices.Equal)
		})
		t.Logf("%s has %d events, facts %d", o.name, len(o.landed), len(facts.landed))
	}
	if len(fresh.landed) == len(facts.landed) {
		t.Error("fresh got everything")
	}
	r.outlets = []*outlet{facts}
	r.settle(t, s)
}

func (r *rig) spoolDir() string { return filepath.Join(filepath.Dir(r.config), "spool") }

// inspect is what bridge spool inspect says.
func (r *rig) inspect(t *testing.T) (report spool.Report) {
	t.Helper()
	p := launch(t, nil, "spool", "inspect", r.spoolDir(), "--json")
	<-p.ended
	if err := json.Unmarshal([]byte(p.stdout.String()), &report); err != nil {
		t.Fatalf("spool inspect: %v: %s", err, p.stderr.String())
	}
	return report
}

func pending(report spool.Report, sink string) int {
	for _, c := range report.Cursors {
		if c.Sink == sink {
			return c.Pending
		}
	}
	return -1
}
