package trial

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/ledger"
	simulator "github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/source/taskrouter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// scenario is one thing that happens to a bridge at work.
type scenario struct {
	name    string
	options Options
	// act does it, with every session live before; the workload goes on.
	act func(*testing.T, *Trial)
	// gaps is how many may be published; gaps < 0: any number.
	gaps int
	// broken is a way of damaging the pipeline that this scenario's judgement must not let pass.
	broken control
}

var scenarios = []scenario{
	{name: "all sockets of 100 agents reset at once", options: Options{Agents: 100, Rate: 1000, Duration: 3 * time.Second}, act: resetAll, gaps: 100, broken: drops},
	{name: "sessions renewed under load", options: Options{Agents: 20, Rate: 400, Duration: 10 * time.Second}, act: renew, broken: doubles},
	{name: "broker restarted", options: Options{Agents: 20, Rate: 400, Duration: 3 * time.Second}, act: restartBroker, broken: swaps},
	{name: "malformed frames", options: Options{Agents: 20, Rate: 400, Duration: 2 * time.Second}, act: sendMalformed, broken: drops},
	{name: "agent added and removed", options: Options{Agents: 20, Rate: 400, Duration: 3 * time.Second}, act: changeRoster, broken: doubles},
	{name: "stopped under load", options: Options{Agents: 20, Rate: 400, Duration: 3 * time.Second}, act: stopAndStart, gaps: -1, broken: swaps},
}

// TestEndToEnd: whatever happens, everything that was told lands once and in order or lies in a published gap, and no agent is disturbed by being
// watched.
func TestEndToEnd(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			tr := start(t, s.options)
			s.act(t, tr)
			all, err := tr.Verdict(t.Context())
			v := all[NATS]
			t.Logf("%+v", v)
			if err != nil {
				t.Error(err)
			}
			if s.gaps >= 0 && v.Gaps != s.gaps {
				t.Errorf("got %d gaps, want %d", v.Gaps, s.gaps)
			}
		})
	}
}

// TestEndToEndControls runs each scenario over a pipeline that is broken on purpose: its judgement must turn red, and for that reason.
func TestEndToEndControls(t *testing.T) {
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			o := s.options
			o.tamper = s.broken.tamper
			tr := start(t, o)
			s.act(t, tr)
			tr.simulator.StopWorkload()
			end := time.Now()
			var v ledger.Verdict
			until(t, "everything but what was broken is in order, and the judge sees what was", func() bool {
				tr.readLedger()
				v = tr.outlets[0].judge.Verdict(end)
				return tr.Progress().Unconfirmed == 0 && v.Err() != nil && s.broken.alone(v)
			})
			t.Logf("%+v", v)
		})
	}
}

func resetAll(t *testing.T, tr *Trial) {
	tr.emit(t, 1500)
	if err := tr.Disturb(simulator.Fault{Kind: "reset"}, 0); err != nil {
		t.Fatal(err)
	}
	until(t, "the resets are noticed", func() bool { return tr.Progress().OpenGaps > 50 })
	until(t, "every session is live again", func() bool { p := tr.Progress(); return p.Live == p.Agents && p.OpenGaps == 0 })
	tr.emit(t, 1500)
}

func renew(t *testing.T, tr *Trial) {
	until(t, "every worker has had three sockets, and two at a time", func() bool {
		for _, w := range tr.Observed().Workers {
			if w.Opened < 3 || w.Max < 2 {
				return false
			}
		}
		return true
	})
}

func restartBroker(t *testing.T, tr *Trial) {
	tr.emit(t, 500)
	if err := tr.RestartBroker(); err != nil {
		t.Fatal(err)
	}
	tr.emit(t, 700)
}

func sendMalformed(t *testing.T, tr *Trial) {
	tr.emit(t, 200)
	for range 3 {
		if err := tr.Disturb(simulator.Fault{Kind: "malformed"}, 0); err != nil {
			t.Fatal(err)
		}
	}
	tr.emit(t, 600)
	if tr.o.tamper == nil { // of each fault's six frames none is dropped silently
		want := 3 * 6 * 20
		until(t, "every malformed frame is told", func() bool { return tr.outlets[0].consumer.count(event.BridgeUnmapped) >= want })
		if got := tr.outlets[0].consumer.count(event.BridgeUnmapped); got != want {
			t.Errorf("got %d bridge.unmapped events, want %d", got, want)
		}
	}
}

func changeRoster(t *testing.T, tr *Trial) {
	ids := tr.simulator.Ready().Workers
	opened := map[string]int{}
	for _, w := range tr.Observed().Workers {
		opened[w.Worker] = w.Opened
	}
	tr.emit(t, 300)
	tr.setRoster(t, ids[1:])
	until(t, "the removed agent has no socket", func() bool { return tr.Observed().Workers[0].Now == 0 })
	hired, err := tr.simulator.Do(simulator.Action{Do: "worker.add"})
	if err != nil {
		t.Fatal(err)
	}
	tr.setRoster(t, append(ids[1:], hired.Worker))
	until(t, "the added agent is live", func() bool { p := tr.Progress(); return p.Live == p.Agents })
	tr.emit(t, 900)
	for _, w := range tr.Observed().Workers {
		if before, ok := opened[w.Worker]; ok && w.Opened != before {
			t.Errorf("the session of %s was touched: %d sockets before, %d after", w.Worker, before, w.Opened)
		}
	}
}

func stopAndStart(t *testing.T, tr *Trial) {
	tr.emit(t, 500)
	tr.fault(ledger.Fault{})
	if err := tr.StopBridge(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if err := tr.StartBridge(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "the next bridge is live", func() bool { p := tr.Progress(); return p.Live == p.Agents })
	if tr.o.tamper == nil {
		until(t, "a planned gap of every agent, opened and closed, is on the broker", func() bool { return tr.outlets[0].consumer.count(event.SessionGap) == 40 })
	}
	tr.emit(t, 900)
}

func TestRunWithFaults(t *testing.T) {
	t.Parallel()
	notes := 0
	o := Options{Dir: t.TempDir(), Agents: 12, Faults: true, Duration: 10 * time.Second}
	v, err := Run(t.Context(), o, zap.NewNop(), func(_ Progress, note string) {
		if note != "" {
			notes++
		}
	})
	t.Logf("%+v", v)
	if err != nil {
		t.Error(err)
	}
	if want := 3 + len(disturbances); notes != want {
		t.Errorf("got %d notes, want %d", notes, want)
	}
}

// TestObserverControl: a trial in which somebody does more than observe fails.
func TestObserverControl(t *testing.T) {
	t.Parallel()
	tr, err := Start(t.Context(), Options{Dir: t.TempDir(), Agents: 1}, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	src, err := taskrouter.New(tr.feed, zap.NewNop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := src.Token(tr.roster[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	conn, _, err := websocket.DefaultDialer.Dial("ws"+strings.TrimPrefix(tr.feed.EventBridgeURL, "http")+"?closeExistingSessions=true&token="+token, nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	until(t, "the vendor has seen it", func() bool { return tr.Observed().Evictions > 0 })
	if err := tr.Stop(); err == nil || !strings.Contains(err.Error(), "1 evictions") {
		t.Errorf("got %v, want one eviction reported", err)
	}
}

// start brings a trial up with every session live; that it has only observed is checked at its end.
func start(t *testing.T, o Options) *Trial {
	t.Helper()
	o.Dir = t.TempDir()
	tr, err := Start(t.Context(), o, zaptest.NewLogger(t, zaptest.Level(zap.ErrorLevel)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tr.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
	})
	ready, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := tr.Ready(ready); err != nil {
		t.Fatal(err)
	}
	return tr
}

// patience is how long a condition may take to come true; only a test that fails waits for so long.
const patience = time.Minute

// until returns when the condition holds.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !holds(); {
		if time.Now().After(deadline) {
			t.Fatalf("never came true: %s", what)
		}
		<-time.After(poll)
	}
}

// emit lets the workload add n entries to the ledger.
func (t *Trial) emit(tb *testing.T, n int) {
	tb.Helper()
	from := t.Progress().Emitted
	until(tb, "the workload goes on", func() bool { return t.Progress().Emitted >= from+n })
}

// setRoster says who is listened to from now on.
func (t *Trial) setRoster(tb *testing.T, ids []string) {
	tb.Helper()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.roster = nil
	for _, id := range ids {
		t.roster = append(t.roster, t.agent(id))
	}
	if err := t.bridge.SetRoster(map[string][]source.Agent{sourceName: t.roster}); err != nil {
		tb.Fatal(err)
	}
}

// count is how many events of a type were read.
func (c *consumer) count(typ event.Type) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.landed[typ]
}
