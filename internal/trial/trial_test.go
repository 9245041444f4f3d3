package trial

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/taskbridge/taskbridge/internal/ledger"
	simulator "github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start brings a trial up with every session live.
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

// until returns when the condition holds; the test's own deadline is the limit.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for !holds() {
		select {
		case <-t.Context().Done():
			t.Fatalf("never came true: %s", what)
		case <-time.After(poll):
		}
	}
}

// emit lets the workload add n entries to the ledger.
func (t *Trial) emit(tb *testing.T, n int) {
	tb.Helper()
	from := t.Progress().Emitted
	until(tb, "the workload goes on", func() bool { return t.Progress().Emitted >= from+n })
}

// pass judges and requires that everything is in order, also that no agent was disturbed by being watched.
func pass(t *testing.T, tr *Trial) ledger.Verdict {
	t.Helper()
	v, err := tr.Verdict(t.Context())
	t.Logf("%+v", v)
	if err != nil {
		t.Error(err)
	}
	s := tr.simulator.State()
	if s.PresenceChanges != 0 || s.Evictions != 0 || s.ClientFrames != 0 {
		t.Errorf("observing must change nothing: %d presence changes, %d evictions, %d frames sent to the vendor", s.PresenceChanges, s.Evictions, s.ClientFrames)
	}
	return v
}

func TestHundredAgentsAllSocketsReset(t *testing.T) {
	t.Parallel()
	tr := start(t, Options{Agents: 100, Rate: 1000, Duration: 3 * time.Second})
	tr.emit(t, 1500)
	if err := tr.Disturb(simulator.Fault{Kind: "reset"}, 0); err != nil {
		t.Fatal(err)
	}
	until(t, "the resets are noticed", func() bool { return tr.Progress().OpenGaps > 50 })
	until(t, "every session is live again", func() bool { p := tr.Progress(); return p.Live == p.Agents && p.OpenGaps == 0 })
	tr.emit(t, 1500)
	if v := pass(t, tr); v.Gaps != 100 {
		t.Errorf("got %d gaps, want one for each of the 100 agents", v.Gaps)
	}
}

func TestRenewalUnderLoadLeavesNoGap(t *testing.T) {
	t.Parallel()
	tr := start(t, Options{Agents: 20, Rate: 400, Duration: 10 * time.Second})
	until(t, "every worker has had three sockets", func() bool {
		for _, w := range tr.simulator.State().Workers {
			if w.Opened < 3 {
				return false
			}
		}
		return true
	})
	if v := pass(t, tr); v.Gaps != 0 {
		t.Errorf("got %d gaps, want none", v.Gaps)
	}
	for _, w := range tr.simulator.State().Workers {
		if w.Max < 2 {
			t.Errorf("sockets of %s never overlapped", w.Worker)
		}
	}
}

func TestBrokerRestart(t *testing.T) {
	t.Parallel()
	tr := start(t, Options{Agents: 20, Rate: 400, Duration: 3 * time.Second})
	tr.emit(t, 500)
	if err := tr.RestartBroker(); err != nil {
		t.Fatal(err)
	}
	tr.emit(t, 700)
	if v := pass(t, tr); v.Gaps != 0 {
		t.Errorf("got %d gaps, want none: the sockets do not depend on the broker", v.Gaps)
	}
}

func TestMalformedFrames(t *testing.T) {
	t.Parallel()
	tr := start(t, Options{Agents: 20, Rate: 400, Duration: 2 * time.Second})
	tr.emit(t, 200)
	for range 3 {
		if err := tr.Disturb(simulator.Fault{Kind: "malformed"}, 0); err != nil {
			t.Fatal(err)
		}
	}
	tr.emit(t, 600)
	if v := pass(t, tr); v.Gaps != 0 {
		t.Errorf("got %d gaps, want none: a frame that cannot be mapped ends no session", v.Gaps)
	}
	// Of each fault's six frames none is dropped silently.
	if got, want := tr.consumer.count("bridge.unmapped"), 3*6*20; got != want {
		t.Errorf("got %d bridge.unmapped events, want %d", got, want)
	}
}

func TestAgentAddedAndRemoved(t *testing.T) {
	t.Parallel()
	tr := start(t, Options{Agents: 20, Rate: 400, Duration: 3 * time.Second})
	ids := tr.simulator.Ready().Workers
	opened := map[string]int{}
	for _, w := range tr.simulator.State().Workers {
		opened[w.Worker] = w.Opened
	}
	tr.emit(t, 300)
	if err := tr.SetRoster(ids[1:]); err != nil {
		t.Fatal(err)
	}
	until(t, "the removed agent has no socket", func() bool { return tr.simulator.State().Workers[0].Now == 0 })
	added := tr.simulator.AddWorker()
	if err := tr.SetRoster(append(ids[1:], added)); err != nil {
		t.Fatal(err)
	}
	until(t, "the added agent is live", func() bool { p := tr.Progress(); return p.Live == p.Agents })
	tr.emit(t, 900)
	if v := pass(t, tr); v.Gaps != 0 {
		t.Errorf("got %d gaps, want none", v.Gaps)
	}
	for _, w := range tr.simulator.State().Workers {
		if before, ok := opened[w.Worker]; ok && w.Opened != before {
			t.Errorf("the session of %s was touched: %d sockets before, %d after", w.Worker, before, w.Opened)
		}
	}
}

func TestStopUnderLoad(t *testing.T) {
	t.Parallel()
	tr := start(t, Options{Agents: 20, Rate: 400, Duration: 3 * time.Second})
	tr.emit(t, 500)
	tr.judge.Fault(ledger.Fault{})
	if err := tr.StopBridge(); err != nil {
		t.Errorf("stop: %v", err)
	}
	until(t, "a planned gap of every agent is on the broker", func() bool { return tr.consumer.count("session.gap") == 20 })
	if err := tr.StartBridge(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "the next bridge is live", func() bool { p := tr.Progress(); return p.Live == p.Agents })
	tr.emit(t, 900)
	pass(t, tr)
}

func TestRunWithFaults(t *testing.T) {
	t.Parallel()
	notes := 0
	v, err := Run(t.Context(), Options{Dir: t.TempDir(), Agents: 12, Faults: true, Duration: 10 * time.Second}, zap.NewNop(), func(_ Progress, note string) {
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
