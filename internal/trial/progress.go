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
	Landed                 int // read back so far, of the sink that has least
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
	landed := make([]int, len(t.outlets))
	for i, o := range t.outlets {
		landed[i], p.Last = o.consumer.seen()
	}
	p.Landed = slices.Min(landed)
	return p
}

// Observed is what the simulated vendor saw its clients do.
func (t *Trial) Observed() simulator.State { return t.simulator.State() }
