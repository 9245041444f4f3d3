package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/ledger"
	simulator "github.com/taskbridge/taskbridge/internal/simulator/taskrouter"
)

type fault = simulator.Fault

// scenario is what the simulator does to the sessions of a bridge at work.
type scenario struct {
	faults  []fault // in this order, at once; what lasts is cleared at the end
	opens   int     // sockets that each agent opens because of it
	barred  bool    // they cannot before the clearing
	cause   event.GapCause
	minimum int                       // events of this type that it makes for each agent
	makes   event.Type                //
	unfair  func(ledger.Verdict) bool // the vendor itself loses events, which no client can know: what the judge then must see, and nothing else
}

func missing(v ledger.Verdict) bool {
	return v.Missing > 0 && v.Duplicates == 0 && v.OutOfOrder == 0 && v.Invented == 0
}

var scenarios = map[string]scenario{
	// Ends of sockets.
	"close":       {faults: []fault{{Kind: "close", Code: 1001}}, opens: 1, cause: event.CauseConnectionLost},
	"close, 4001": {faults: []fault{{Kind: "close", Code: 4001, Reason: "going"}}, opens: 1, cause: event.CauseConnectionLost},
	"expire":      {faults: []fault{{Kind: "expire"}}, opens: 1, cause: event.CauseConnectionLost},
	"evict":       {faults: []fault{{Kind: "evict"}}, opens: 1, cause: event.CauseConnectionLost},
	"reset":       {faults: []fault{{Kind: "reset"}}, opens: 1, cause: event.CauseConnectionLost},
	"oversized":   {faults: []fault{{Kind: "oversized"}}, opens: 1, cause: event.CauseConnectionLost},

	// Silence.
	"mute":            {faults: []fault{{Kind: "mute"}}, opens: 1, cause: event.CauseSilence},
	"mute, briefly":   {faults: []fault{{Kind: "mute", DurationMS: 500}}},
	"mute-heartbeats": {faults: []fault{{Kind: "mute-heartbeats"}}},
	"clear":           {faults: []fault{{Kind: "mute"}, {Kind: "clear"}}},

	// Beginnings of sockets.
	"refuse":       {faults: []fault{{Kind: "refuse", Code: 500}, {Kind: "close"}}, opens: 1, barred: true, cause: event.CauseConnectionLost},
	"refuse, 403":  {faults: []fault{{Kind: "refuse", Code: 403}, {Kind: "close"}}, opens: 1, barred: true, cause: event.CauseConnectionLost, makes: event.SessionRefused, minimum: 1},
	"turn-away":    {faults: []fault{{Kind: "turn-away"}, {Kind: "close"}}, opens: 1, barred: true, cause: event.CauseConnectionLost},
	"slow-init":    {faults: []fault{{Kind: "slow-init", DelayMS: 700}, {Kind: "close"}}, opens: 1, cause: event.CauseConnectionLost},
	"early-event":  {faults: []fault{{Kind: "early-event"}, {Kind: "close"}}, opens: 1, cause: event.CauseConnectionLost},
	"lifetime":     {faults: []fault{{Kind: "lifetime", LifetimeMS: 10_000}, {Kind: "close"}}, opens: 2, cause: event.CauseConnectionLost},
	"keep-expired": {faults: []fault{{Kind: "keep-expired"}, {Kind: "lifetime", LifetimeMS: 10_000}, {Kind: "close"}}, opens: 2, cause: event.CauseConnectionLost},

	// Frames.
	"not-json":     {faults: []fault{{Kind: "not-json"}}, makes: event.BridgeUnmapped, minimum: 1},
	"truncated":    {faults: []fault{{Kind: "truncated"}}, makes: event.BridgeUnmapped, minimum: 1},
	"unknown-type": {faults: []fault{{Kind: "unknown-type"}}, makes: event.BridgeUnmapped, minimum: 1},
	"null-payload": {faults: []fault{{Kind: "null-payload"}}, makes: event.BridgeUnmapped, minimum: 1},
	"binary":       {faults: []fault{{Kind: "binary"}}, makes: event.BridgeUnmapped, minimum: 1},
	"invalid-utf8": {faults: []fault{{Kind: "invalid-utf8"}}, makes: event.BridgeUnmapped, minimum: 1},
	"malformed":    {faults: []fault{{Kind: "malformed"}}, makes: event.BridgeUnmapped, minimum: 6},
	"ping":         {faults: []fault{{Kind: "ping"}}},

	// Events.
	"duplicate": {faults: []fault{{Kind: "duplicate"}}},
	"delay":     {faults: []fault{{Kind: "delay", DelayMS: 400}}},
	"omit":      {faults: []fault{{Kind: "omit", Field: "worker_name"}}},
	"omit, sid": {faults: []fault{{Kind: "omit", Field: "sid"}}, makes: event.BridgeUnmapped, minimum: 1, unfair: missing},
	"lose":      {faults: []fault{{Kind: "lose"}}, unfair: missing},

	// Commands.
	"fail":      {faults: []fault{{Kind: "fail", Route: "GET Workers/{WK}*", Code: 500, Count: 8}, {Kind: "close"}}, opens: 1, cause: event.CauseConnectionLost},
	"fail, 404": {faults: []fault{{Kind: "fail", Route: "*", Code: 404}, {Kind: "close"}}, opens: 2, barred: true, cause: event.CauseConnectionLost, makes: event.SessionRefused, minimum: 1},
	"slow":      {faults: []fault{{Kind: "slow", Route: "GET Workers/{WK}*", DelayMS: 600}, {Kind: "close"}}, opens: 1, cause: event.CauseConnectionLost},
}

// TestFaults: whatever the vendor does, everything that it told lands once and in order or lies in a published gap, and no agent is disturbed.
func TestFaults(t *testing.T) {
	for name, s := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			r.grow(t, 150)
			s.strike(t, r)
			r.grow(t, 100)

			v, entries, landed := r.judged(t, s)
			t.Logf("%+v", v)
			if err := v.Err(); (err != nil) != (s.unfair != nil) || s.unfair != nil && !s.unfair(v) {
				t.Errorf("%+v: %v", v, err)
			}
			s.told(t, landed)
			if s.unfair == nil {
				control(t, entries, landed)
			}
			if err := observed(r.state(t)); err != nil {
				t.Error(err)
			}
			r.stop(t)
		})
	}
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
	until(t, "every gap is closed", func() bool {
		open, ready := 0, 0
		for _, l := range r.stored(t) {
			switch g := l.Event.Data.Gap; {
			case g != nil && g.State == event.GapOpened:
				open++
			case g != nil:
				open--
			case l.Event.Type == event.SessionReady:
				ready++
			}
		}
		return open == 0 && (s.cause == "" || ready >= 2*agents)
	})
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

// judged waits until everything that was told has landed, or had ample time to, and judges. The ledger is read last, so that nothing on the stream can
// be unknown to it.
func (r *rig) judged(t *testing.T, s scenario) (v ledger.Verdict, entries []ledger.Entry, landed []ledger.Landed) {
	t.Helper()
	end := time.Now()
	for deadline := end.Add(20 * time.Second); ; {
		landed = r.stored(t)
		entries = r.ledger(t)
		v = judge(entries, landed, end, s.faults...)
		if v.Missing == 0 || s.unfair != nil && time.Since(end) > 2*time.Second || time.Now().After(deadline) {
			return v, entries, landed
		}
		<-time.After(200 * time.Millisecond)
	}
}

func judge(entries []ledger.Entry, landed []ledger.Landed, end time.Time, faults ...fault) ledger.Verdict {
	j := ledger.NewJudge(ledger.Bounds{Sessions: agents, SilenceLimit: 3 * time.Second, DialBudget: 50})
	for range faults {
		j.Fault(ledger.Fault{})
	}
	for _, e := range entries {
		j.Emit(e)
	}
	for _, l := range landed {
		j.Land(l)
	}
	return j.Verdict(end)
}

// told checks what the bridge has told of itself.
func (s scenario) told(t *testing.T, landed []ledger.Landed) {
	t.Helper()
	causes := map[event.GapCause]int{}
	for _, l := range landed {
		if g := l.Event.Data.Gap; g != nil && g.State == event.GapOpened {
			causes[g.Cause]++
		}
	}
	for cause, n := range causes {
		if cause != s.cause || n != agents {
			t.Errorf("got %d gaps of cause %s, want one of cause %q for each of %d agents", n, cause, s.cause, agents)
		}
	}
	if s.cause != "" && causes[s.cause] == 0 {
		t.Errorf("got no gap, want one of cause %s for each agent", s.cause)
	}
	if s.makes != event.BridgeUnmapped && count(landed, event.BridgeUnmapped) > 0 {
		t.Errorf("got %d unmapped frames, want none", count(landed, event.BridgeUnmapped))
	}
}

func count(landed []ledger.Landed, typ event.Type) (n int) {
	for _, l := range landed {
		if l.Event.Type == typ {
			n++
		}
	}
	return n
}

// control damages the evidence of a run that was in order: the judge must then see it, and nothing else.
func control(t *testing.T, entries []ledger.Entry, landed []ledger.Landed) {
	t.Helper()
	end := landed[len(landed)-1].Stored.Add(-time.Second)
	var facts []int // of the vendor's, as a socket brought them
	for i, l := range landed {
		if l.Event.Origin == event.OriginSocket && l.Event.Type.Noun() != "bridge" {
			facts = append(facts, i)
		}
	}
	lost := slices.Clone(landed)
	for k := len(facts) - 1; k >= 0; k -= 10 {
		lost = slices.Delete(lost, facts[k], facts[k]+1)
	}
	if v := judge(entries, lost, end); v.Missing == 0 || v.Duplicates+v.OutOfOrder+v.Invented > 0 {
		t.Errorf("a tenth of the events taken away: got %+v", v)
	}
	twice := landed[facts[0]]
	twice.Sequence = landed[len(landed)-1].Sequence + 1
	if v := judge(entries, append(slices.Clone(landed), twice), end); v.Duplicates != 1 || v.Missing+v.OutOfOrder+v.Invented > 0 {
		t.Errorf("an event doubled: got %+v", v)
	}
	swapped := slices.Clone(landed)
	for i, a := range facts {
		k := slices.IndexFunc(facts[i+1:], func(b int) bool {
			return landed[a].Event.PartitionKey == landed[b].Event.PartitionKey && landed[a].Event.Data.Agent.ID == landed[b].Event.Data.Agent.ID
		})
		if k < 0 {
			continue
		}
		b := facts[i+1+k]
		swapped[a].Sequence, swapped[b].Sequence = landed[b].Sequence, landed[a].Sequence
		break
	}
	if v := judge(entries, swapped, end); v.OutOfOrder == 0 || v.Duplicates+v.Missing+v.Invented > 0 {
		t.Errorf("two events swapped: got %+v", v)
	}
}

// Each kind of the simulator's guide has a scenario.
func TestFaultsAreComplete(t *testing.T) {
	guide, err := os.ReadFile("../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(guide), "\n### Faults\n")
	section, _, _ = strings.Cut(section, "\n## ")
	struck := map[string]bool{"kind": true}
	for _, s := range scenarios {
		for _, f := range s.faults {
			struck[f.Kind] = true
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

// TestObserverControl: the simulator sees what clients do that are no mere observers.
func TestObserverControl(t *testing.T) {
	t.Parallel()
	for name, query := range map[string]string{
		"evicts": "closeExistingSessions=true&setWorkerOfflineIfDisconnected=false", "stands for presence": "closeExistingSessions=false", "writes": observer,
	} {
		r := newRig(t)
		if err := observed(r.state(t)); err != nil {
			t.Fatal(err)
		}
		conn, _, err := websocket.DefaultDialer.DialContext(t.Context(), "ws"+strings.TrimPrefix(r.vendor.EventBridgeURL, "http")+"?token="+r.token(t)+"&"+query, nil)
		if err != nil {
			t.Fatal(err)
		}
		if name == "writes" {
			_ = conn.WriteMessage(websocket.TextMessage, []byte("{}"))
		}
		if name == "stands for presence" { // the last of its worker's sockets is gone
			r.stop(t)
		}
		_ = conn.Close()
		until(t, "it is seen that a client "+name, func() bool { return observed(r.state(t)) != nil })
	}
}

const observer = "closeExistingSessions=false&setWorkerOfflineIfDisconnected=false"

// token is one for the first worker, made by the program.
func (r *rig) token(t *testing.T) string {
	t.Helper()
	out, err := exec.Command(r.bridge.cmd.Path, "token", "taskrouter", "-c", r.config, r.vendor.Workers[0]).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
