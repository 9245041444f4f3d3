package main

import (
	"maps"
	"slices"

	"github.com/taskbridge/taskbridge/internal/admin"
	"github.com/taskbridge/taskbridge/internal/bridge"
	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// readiness answers /readyz. The bridge is not ready while it stops, while a roster was never read, while nobody's session is live, or while a
// broker or the buffer takes nothing. A roster that can be read no longer is a note, as the last one stays; so is one without agents. Single agents who are not met yet, lost or refused are notes: one wrong id must not hold up a rollout.
type readiness struct {
	stopping func() bool
	bridge   *bridge.Bridge
	rosters  *rosters
	brokers  map[string]broker
	log      spool.Log
	raw      int // sources that publish raw payloads
}

func (r *readiness) reasons() []admin.Reason {
	var all []admin.Reason
	tell := func(code string, count int, note bool) {
		if count > 0 {
			all = append(all, admin.Reason{Code: code, Count: count, Note: note})
		}
	}
	if r.stopping() {
		tell("stopping", 1, false)
	}
	unknown, failing, listed := r.rosters.state()
	tell("roster_unknown", unknown, false)
	tell("roster_failing", failing, true)
	if listed == 0 {
		tell("roster_empty", len(r.rosters.parts)-unknown, true)
	}
	s := r.bridge.Status()
	agents := 0
	for _, n := range s.Agents {
		agents += n
	}
	if s.Agents[event.SessionLive]+s.Agents[event.SessionRenewing] == 0 {
		tell("no_live_session", agents, false)
	}
	tell("agents_connecting", s.Agents[event.SessionConnecting], true)
	tell("agents_lost", s.Agents[event.SessionStateLost], true)
	tell("agents_refused", s.Agents[event.SessionStateRefused], true)
	tell("open_gaps", s.OpenGaps, true)

	faults := map[string]int{} // sinks, by reason
	for _, b := range r.brokers {
		if err := b.Ready(); err != nil {
			faults["sink_"+retry.ReasonOf(err)]++
		}
	}
	for _, code := range slices.Sorted(maps.Keys(faults)) {
		tell(code, faults[code], false)
	}
	if !r.log.Room() {
		tell("buffer_full", 1, false)
	}
	tell("raw_payloads", r.raw, true)
	return all
}
