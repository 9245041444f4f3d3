package bridge

import (
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/source"
)

// AgentStatus is one agent of the roster as the bridge sees her now: ids and times, neither tokens nor anything a vendor sent. Zero times
// are times that do not exist.
type AgentStatus struct {
	ID, Source string
	State      event.SessionState
	LastHeard  time.Time // the last frame or beat of any of her sessions
	Gaps       []OpenGap
	LastEnd    string // reason of the last session end that was not the bridge's own wish; empty: none
	LastEndAt  time.Time
	NextDial   time.Time // only while she has no session

	// Of the newest session that receives, else of the one being made. All zero while there is none.
	Incarnation string
	Dialled     time.Time // its token was made then
	Since       time.Time // it has received since then
	RenewBy     time.Time // a successor must have taken over then
}

// OpenGap is a gap that was opened and not closed yet.
type OpenGap struct {
	Feed  string
	Cause event.GapCause
	From  time.Time
}

// Agents lists the roster in order of arrival. Like [Bridge.Status] it takes the fleet's mutex and then, one after another, each agent's,
// the order that everything here keeps; it does no I/O under them. Safe for concurrent use.
func (b *Bridge) Agents() []AgentStatus {
	b.fleet.mu.Lock()
	defer b.fleet.mu.Unlock()
	all := make([]AgentStatus, 0, len(b.fleet.members))
	for _, m := range b.fleet.order {
		if m.leaving {
			continue
		}
		m.mu.Lock()
		all = append(all, m.status())
		m.mu.Unlock()
	}
	return all
}

// status is under the fleet's mutex and the agent's.
func (m *member) status() AgentStatus {
	s := AgentStatus{
		ID: m.ID, Source: m.Agent.Source, State: m.state(), LastHeard: m.lastHeard, LastEnd: m.lastEnd, LastEndAt: m.lastEndAt,
	}
	for _, g := range m.view.Gaps {
		if g.State == event.GapOpened {
			s.Gaps = append(s.Gaps, OpenGap{Feed: g.Feed, Cause: g.Cause, From: g.From.Time()})
		}
	}
	for _, d := range m.debts {
		if d.to.IsZero() {
			s.Gaps = append(s.Gaps, OpenGap{Feed: d.feed.String(), Cause: d.cause, From: d.from})
		}
	}
	if len(m.sessions) == 0 {
		s.NextDial = m.due
		return s
	}
	shown := m.sessions[len(m.sessions)-1]
	for _, one := range m.sessions {
		if one.up() {
			shown = one
		}
	}
	live := shown.feeds[source.Live]
	s.Incarnation, s.Dialled, s.Since, s.RenewBy = shown.incarnation, shown.dialled, live.since, live.renewBy
	return s
}
