package bridge

import (
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
)

// Status is what the bridge says of itself: counts, no ids.
type Status struct {
	Agents   map[event.SessionState]int // by state
	Refused  map[string]int             // the agents in state refused, by the reason of their last refusal
	OpenGaps int                        // agents with an open gap, told or owed
	Owed     int                        // gaps that the log had no room for
	Silence  time.Duration              // the longest time in which a live session has told nothing; 0 without live sessions
	Sinks    map[string]SinkStatus
}

// SinkStatus is the delivery state of one sink.
type SinkStatus struct {
	Unconfirmed int   // events accepted and not confirmed by the broker
	Bytes       int64 // of their data
	Oldest      event.Instant
	LostAt      time.Time // when the broker was last found to have lost what it had confirmed; zero: never
}

// states lists what [Status] counts, for metrics.
var states = []event.SessionState{
	event.SessionConnecting, event.SessionLive, event.SessionRenewing, event.SessionStateLost, event.SessionStateRefused,
}

// Status counts as of the last turn of the fleet loop. Safe for concurrent use.
func (b *Bridge) Status() Status {
	b.fleet.mu.Lock()
	defer b.fleet.mu.Unlock()
	s := b.fleet.tally()
	s.Sinks = map[string]SinkStatus{}
	for _, p := range b.publishers {
		s.Sinks[p.name] = p.status()
	}
	return s
}

// tally counts the members by state; under fleet.mu.
func (f *fleet) tally() Status {
	s := Status{Agents: map[event.SessionState]int{}, Refused: map[string]int{}}
	now := f.now()
	for _, m := range f.members {
		m.mu.Lock()
		state := m.state()
		s.Agents[state]++
		switch state {
		case event.SessionStateRefused:
			s.Refused[m.lastEnd]++
		case event.SessionLive, event.SessionRenewing:
			s.Silence = max(s.Silence, now.Sub(m.lastHeard))
		}
		s.Owed += len(m.debts)
		if len(m.view.Gaps) > 0 || len(m.debts) > 0 {
			s.OpenGaps++
		}
		m.mu.Unlock()
	}
	return s
}

func (f *fleet) count() {
	s := f.tally()
	for _, state := range states {
		f.metrics.sessions.WithLabelValues(string(state)).Set(float64(s.Agents[state]))
	}
	f.metrics.openGaps.Set(float64(s.OpenGaps))
	f.metrics.owed.Set(float64(s.Owed))
	f.metrics.silence.Set(s.Silence.Seconds())
}

// state is the state of m's session; under the agent's mutex.
func (m *member) state() event.SessionState {
	live := false
	for _, s := range m.sessions {
		live = live || s.up()
	}
	switch {
	case live && m.next != nil:
		return event.SessionRenewing
	case live:
		return event.SessionLive
	case m.refused:
		return event.SessionStateRefused
	case m.view.Met:
		return event.SessionStateLost
	}
	return event.SessionConnecting
}
