package trial

import (
	"slices"

	"github.com/taskbridge/taskbridge/internal/event"
	simulator "github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
)

// Progress is what can be seen of a trial while it runs.
type Progress struct {
	Agents, Live, OpenGaps int
	Emitted                int // by the simulated vendor so far
	Landed                 int // read back from the broker so far
	Unconfirmed            int // accepted by the bridge and not confirmed by the broker
	Last                   []*event.Event
}

// Progress counts now.
func (t *Trial) Progress() Progress {
	t.mu.Lock()
	status := t.bridge.Status()
	p := Progress{Agents: len(t.roster), OpenGaps: status.OpenGaps, Emitted: len(t.simulator.Ledger())}
	t.mu.Unlock()
	p.Live = status.Agents[event.SessionLive] + status.Agents[event.SessionRenewing]
	for _, s := range status.Sinks {
		p.Unconfirmed += s.Unconfirmed
	}
	t.consumer.mu.Lock()
	defer t.consumer.mu.Unlock()
	for _, n := range t.consumer.landed {
		p.Landed += n
	}
	p.Last = slices.Clone(t.consumer.last)
	return p
}

// Observed is what the simulated vendor saw its clients do.
func (t *Trial) Observed() simulator.State { return t.simulator.State() }
