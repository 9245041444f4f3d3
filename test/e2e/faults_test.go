package e2e

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/ledger"
	simulator "github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
)

type fault = simulator.Fault

// scenario is what the simulator does to the sessions of a bridge at work.
type scenario struct {
	faults  []fault       // in this order, at once; what lasts is cleared at the end
	opens   int           // sockets that each agent opens because of it
	barred  bool          // they cannot before the clearing
	short   bool          // with -short too: one that stands for its family and ends within seconds
	lasted  time.Duration // how long it kept each session from receiving; 0: it ends them, and they may come back at once
	cause   event.GapCause
	also    event.GapCause            // of some gaps, perhaps
	gaps    int                       // of each agent at most, if more than one
	minimum int                       // events of this type that it makes for each agent
	makes   event.Type                //
	unfair  func(ledger.Verdict) bool // the vendor itself loses events, which no client can know: what the judge then must see, and nothing else
}

func missing(v ledger.Verdict) bool {
	return v.Missing > 0 && v.Duplicates == 0 && v.OutOfOrder == 0 && v.Invented == 0
}

// families hold a scenario for each kind of the simulator's faults.
var families = map[string]map[string]scenario{
	"ends of sockets": {
		"close":       {faults: []fault{{Kind: "close", Code: 1001}}, opens: 1, cause: event.CauseConnectionLost},
		"close, 4001": {faults: []fault{{Kind: "close", Code: 4001, Reason: "going"}}, opens: 1, cause: event.CauseConnectionLost},
		"expire":      {faults: []fault{{Kind: "expire"}}, opens: 1, cause: event.CauseConnectionLost},
		"evict":       {faults: []fault{{Kind: "evict"}}, opens: 1, cause: event.CauseConnectionLost},
		"reset":       {short: true, faults: []fault{{Kind: "reset"}}, opens: 1, cause: event.CauseConnectionLost},
		"oversized":   {faults: []fault{{Kind: "oversized"}}, opens: 1, cause: event.CauseConnectionLost},
	},
	"silence": {
		"mute":            {faults: []fault{{Kind: "mute"}}, opens: 1, cause: event.CauseSilence},
		"mute, briefly":   {short: true, faults: []fault{{Kind: "mute", DurationMS: 500}}},
		"mute-heartbeats": {faults: []fault{{Kind: "mute-heartbeats"}}},
		"clear":           {faults: []fault{{Kind: "mute", DurationMS: 60_000}, {Kind: "clear"}}}, // a mute without end drops events
	},
	"beginnings of sockets": {
		"refuse":       {faults: []fault{{Kind: "refuse", Code: 500}, {Kind: "close"}}, opens: 1, barred: true, cause: event.CauseConnectionLost},
		"refuse, 403":  {faults: []fault{{Kind: "refuse", Code: 403}, {Kind: "close"}}, opens: 1, barred: true, cause: event.CauseConnectionLost, makes: event.SessionRefused, minimum: 1},
		"turn-away":    {faults: []fault{{Kind: "turn-away"}, {Kind: "close"}}, opens: 1, barred: true, cause: event.CauseConnectionLost},
		"slow-init":    {short: true, faults: []fault{{Kind: "slow-init", DelayMS: 700}, {Kind: "close"}}, opens: 1, cause: event.CauseConnectionLost},
		"early-event":  {faults: []fault{{Kind: "early-event"}, {Kind: "close"}}, opens: 1, cause: event.CauseConnectionLost},
		"lifetime":     {faults: []fault{{Kind: "lifetime", LifetimeMS: 10_000}, {Kind: "close"}}, opens: 2, cause: event.CauseConnectionLost},
		"keep-expired": {faults: []fault{{Kind: "keep-expired"}, {Kind: "lifetime", LifetimeMS: 10_000}, {Kind: "close"}}, opens: 2, cause: event.CauseConnectionLost},
	},
	"frames": {
		"not-json":     {faults: []fault{{Kind: "not-json"}}, makes: event.BridgeUnmapped, minimum: 1},
		"truncated":    {faults: []fault{{Kind: "truncated"}}, makes: event.BridgeUnmapped, minimum: 1},
		"unknown-type": {faults: []fault{{Kind: "unknown-type"}}, makes: event.BridgeUnmapped, minimum: 1},
		"null-payload": {faults: []fault{{Kind: "null-payload"}}, makes: event.BridgeUnmapped, minimum: 1},
		"binary":       {faults: []fault{{Kind: "binary"}}, makes: event.BridgeUnmapped, minimum: 1},
		"invalid-utf8": {faults: []fault{{Kind: "invalid-utf8"}}, makes: event.BridgeUnmapped, minimum: 1},
		"malformed":    {short: true, faults: []fault{{Kind: "malformed"}}, makes: event.BridgeUnmapped, minimum: 6},
		"ping":         {faults: []fault{{Kind: "ping"}}},
	},
	"events": {
		"duplicate": {short: true, faults: []fault{{Kind: "duplicate"}}},
		"delay":     {faults: []fault{{Kind: "delay", DelayMS: 400}}},
		"omit":      {faults: []fault{{Kind: "omit", Field: "worker_name"}}},
		"omit, sid": {faults: []fault{{Kind: "omit", Field: "sid"}}, makes: event.BridgeUnmapped, minimum: 1, unfair: missing},
		"lose":      {short: true, faults: []fault{{Kind: "lose"}}, unfair: missing},
	},
	"commands": {
		"fail":               {short: true, faults: []fault{{Kind: "fail", Route: "GET Workers/{WK}*", Code: 500, Count: 8}, {Kind: "close"}}, opens: 1, cause: event.CauseConnectionLost},
		"fail, reservations": {faults: []fault{{Kind: "fail", Route: "GET Workers/{WK}/Reservations", Code: 503, Count: 8}, {Kind: "close"}}, opens: 1, cause: event.CauseConnectionLost},
		"fail, 404":          {faults: []fault{{Kind: "fail", Route: "*", Code: 404}, {Kind: "close"}}, opens: 2, barred: true, cause: event.CauseConnectionLost, makes: event.SessionRefused, minimum: 1},
		"slow":               {faults: []fault{{Kind: "slow", Route: "GET Workers/{WK}*", DelayMS: 600}, {Kind: "close"}}, opens: 1, cause: event.CauseConnectionLost},
		"slow, reservations": {faults: []fault{{Kind: "slow", Route: "GET Workers/{WK}/Reservations", DelayMS: 600}, {Kind: "close"}}, opens: 1, cause: event.CauseConnectionLost},
	},
}

// TestFaults: whatever the vendor does, everything that it told lands once and in order or lies in a published gap, and no agent is disturbed.
func TestFaults(t *testing.T) {
	t.Parallel()
	for family, scenarios := range families {
		for name, s := range scenarios {
			t.Run(family+"/"+name, func(t *testing.T) {
				if !s.short {
					long(t)
				}
				t.Parallel()
				r := newRig(t, setup{})
				r.grow(t, 150)
				s.strike(t, r)
				r.grow(t, 100)
				r.settle(t, s)
			})
		}
	}
}

// settle ends the run and judges it. Where it was in order, the judge must see what then is damaged.
func (r *rig) settle(t *testing.T, s scenario) {
	t.Helper()
	if s.unfair == nil {
		r.end(t)
	}
	v, e := r.judged(t, s)
	t.Logf("%+v", v)
	if err := v.Err(); (err != nil) != (s.unfair != nil) || s.unfair != nil && !s.unfair(v) {
		t.Errorf("%+v: %v", v, err)
	}
	s.told(t, e.landed)
	if s.unfair == nil {
		e.control(t)
	}
	r.stop(t)
}

// strike does what the scenario is about and returns when its consequences are over.
func (s scenario) strike(t *testing.T, r *rig) {
	t.Helper()
	before := r.state(t)
	for _, f := range s.faults {
		r.control(t, "/fault", f)
	}
	if s.barred {
		until(t, "every session was refused twice", func() bool { return sum(r.state(t).Dials) >= sum(before.Dials)+2*agents })
	} else {
		r.opened(t, before, s.opens)
		r.grow(t, 150)
	}
	if s.makes != "" {
		until(t, "the broker has them all", func() bool { return count(r.stored(t), s.makes) >= s.minimum*agents })
	}
	r.control(t, "/fault", fault{Kind: "clear"})
	if s.barred {
		r.opened(t, before, s.opens)
	}
	r.healed(t, s)
}

// healed returns when what the bridge has told of the scenario's gaps is complete.
func (r *rig) healed(t *testing.T, s scenario) {
	t.Helper()
	until(t, "every gap is closed", func() bool {
		landed := r.stored(t)
		return gapsOpen(landed) == 0 && (s.cause == "" || count(landed, event.SessionReady) >= 2*agents)
	})
}

// gapsOpen are the gaps whose end was not told yet.
func gapsOpen(landed []ledger.Landed) (open int) {
	for _, l := range landed {
		switch g := l.Event.Data.Gap; {
		case g != nil && g.State == event.GapOpened:
			open++
		case g != nil:
			open--
		}
	}
	return open
}

// opened returns when every worker has had so many more sockets than before, and has one.
func (r *rig) opened(t *testing.T, before simulator.State, more int) {
	t.Helper()
	until(t, fmt.Sprintf("every agent has opened %d sockets more", more), func() bool {
		for i, w := range r.state(t).Workers {
			if w.Opened < before.Workers[i].Opened+more || w.Now == 0 {
				return false
			}
		}
		return true
	})
}

// grow lets the workload tell n events.
func (r *rig) grow(t *testing.T, n int) {
	t.Helper()
	from := len(r.ledger(t))
	until(t, "the workload goes on", func() bool { return len(r.ledger(t)) >= from+n })
}

// Each kind of the simulator's guide has a scenario, and each family one that make test runs.
func TestFaultsAreComplete(t *testing.T) {
	guide, err := os.ReadFile("../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(guide), "\n### Faults\n")
	section, _, _ = strings.Cut(section, "\n## ")
	struck := map[string]bool{"kind": true}
	for family, scenarios := range families {
		short := false
		for _, s := range scenarios {
			short = short || s.short
			for _, f := range s.faults {
				struck[f.Kind] = true
			}
		}
		if !short {
			t.Errorf("%s: none of them runs with -short", family)
		}
	}
	kinds := 0
	for _, row := range regexp.MustCompile("(?m)^\\| (`[^|]*`) \\|").FindAllStringSubmatch(section, -1) {
		for _, cell := range strings.Split(row[1], ", ") {
			kinds++
			if kind := strings.Trim(cell, "`"); !struck[kind] {
				t.Errorf("fault %s has no scenario", kind)
			}
		}
	}
	if kinds < 20 {
		t.Errorf("found %d kinds in the guide: is its form another one?", kinds)
	}
}
