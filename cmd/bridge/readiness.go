package main

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/taskbridge/taskbridge/internal/admin"
	"github.com/taskbridge/taskbridge/internal/bridge"
	"github.com/taskbridge/taskbridge/internal/deadletter"
	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// readiness answers /readyz. The bridge is not ready while it stops, while a roster was never read, while too few sessions are live, or while a
// broker or the spool takes nothing. A roster that can be read no longer is a note, as the last one stays; so is one without agents. Single
// agents who are not met yet, lost or refused are notes: one wrong id must not hold up a rollout. docs/health.md describes every code.
type readiness struct {
	stopping func() bool
	bridge   *bridge.Bridge
	rosters  *rosters
	brokers  map[string]broker
	spool    *spool.Disk
	letters  *deadletter.Store
	minLive  admin.Floor
	raw      int // sources that publish raw payloads
}

// codes of /readyz in the order in which they are told; true: a note. A sink's are sinkPrefix and the reason that the sink names.
var readyCodes = []struct {
	code string
	note bool
}{
	{"stopping", false},
	{"roster_unknown", false},
	{"roster_failing", true},
	{"roster_empty", true},
	{"too_few_live", false},
	{"agents_connecting", true},
	{"agents_lost", true},
	{"tokens_refused", true},
	{"agents_refused", true},
	{"open_gaps", true},
	{"spool_full", false},
	{"spool_failing", false},
	{"spool_corrupt", true},
	{"spool_smaller", true},
	{"spool_forgotten", true},
	{"broker_lost_confirmed", true},
	{"raw_payloads", true},
	{"dead_letters", true},
	{"dead_letters_dropped", true},
	{"dead_letters_failing", true},
}

const (
	sinkPrefix = "sink_"
	lostShown  = 24 * time.Hour // how long /readyz tells that a broker had lost events: nothing mends it, and somebody should know
)

func (r *readiness) reasons() []admin.Reason {
	count := map[string]int{}
	if r.stopping() {
		count["stopping"] = 1
	}
	unknown, failing, listed := r.rosters.state()
	count["roster_unknown"], count["roster_failing"] = unknown, failing
	if listed == 0 {
		count["roster_empty"] = len(r.rosters.parts) - unknown
	}
	s := r.bridge.Status()
	agents := 0
	for _, n := range s.Agents {
		agents += n
	}
	live := s.Agents[event.SessionLive] + s.Agents[event.SessionRenewing]
	count["too_few_live"] = r.minLive.Of(agents) - live
	count["agents_connecting"] = s.Agents[event.SessionConnecting]
	count["agents_lost"] = s.Agents[event.SessionStateLost]
	for reason, n := range s.Refused {
		if tokenRefused(reason) {
			count["tokens_refused"] += n
		} else {
			count["agents_refused"] += n
		}
	}
	count["open_gaps"] = s.OpenGaps
	disk := r.spool.Status()
	switch disk.Failing {
	case "":
	case "full":
		count["spool_full"] = 1
	default:
		count["spool_failing"] = 1
	}
	count["spool_corrupt"] = int(disk.Corrupt)
	if disk.Clamped {
		count["spool_smaller"] = 1
	}
	sinks := map[string][]string{"spool_forgotten": disk.Forgotten} // their names, by code
	for name, one := range s.Sinks {
		if !one.LostAt.IsZero() && time.Since(one.LostAt) < lostShown {
			sinks["broker_lost_confirmed"] = append(sinks["broker_lost_confirmed"], name)
		}
	}
	count["raw_payloads"] = r.raw
	letters := r.letters.Status()
	count["dead_letters"], count["dead_letters_dropped"] = letters.Held, letters.Dropped
	if letters.Failing {
		count["dead_letters_failing"] = 1
	}

	var all []admin.Reason
	tell := func(code string, n int, note bool, sinks []string) {
		if n > 0 {
			slices.Sort(sinks)
			all = append(all, admin.Reason{Code: code, Count: n, Note: note, Sinks: sinks})
		}
	}
	for _, c := range readyCodes {
		tell(c.code, max(count[c.code], len(sinks[c.code])), c.note, sinks[c.code])
	}
	faults := map[string][]string{} // sinks, by code
	for name, b := range r.brokers {
		if err := b.Ready(); err != nil {
			code := sinkPrefix + retry.ReasonOf(err)
			faults[code] = append(faults[code], name)
		}
	}
	for _, code := range slices.Sorted(maps.Keys(faults)) {
		tell(code, len(faults[code]), false, faults[code])
	}
	return all
}

func (r *readiness) ready() bool {
	return !slices.ContainsFunc(r.reasons(), func(one admin.Reason) bool { return !one.Note })
}

// tokenRefused reports whether the reason of a refusal is an answer 401 or 403: the API key is wrong, or has no right to this agent.
func tokenRefused(reason string) bool {
	return strings.HasSuffix(reason, "_401") || strings.HasSuffix(reason, "_403")
}
