package bridge

import (
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// tape is what was appended and has survived every crash, for the verdict.
type tape struct {
	w     *world
	all   []noted
	alive time.Time // as last noted
	lost  []lost
}

type noted struct {
	*event.Event
	pos    spool.Pos
	socket *socket // that brought it, nil: none
	forgot bool    // with views that were lost
}

// lost is the loss of all views: with a checkpoint that was not usable.
type lost struct {
	alive time.Time
	index int // into all
}

// cover is a stretch in which an agent is watched, with its gaps.
type cover struct {
	from, to time.Time
	gaps     map[string]*event.Gap
	forgot   bool // nobody knows any more that she was watched
	last     int  // index of the last record that says so
}

func (t *tape) note(pos spool.Pos, e *event.Encoded) {
	d, err := e.Decode()
	if err != nil {
		panic(err)
	}
	t.all = append(t.all, noted{Event: d, pos: pos, socket: t.w.current})
}

// cut drops what a crash has lost.
func (t *tape) cut(end spool.Pos) {
	t.all = slices.DeleteFunc(t.all, func(n noted) bool { return n.pos >= end })
	for i := range t.lost {
		t.lost[i].index = min(t.lost[i].index, len(t.all))
	}
}

// forget takes note that the views know only what was folded.
func (t *tape) forget(folded map[spool.Pos]bool, alive time.Time) {
	for i := range t.all {
		t.all[i].forgot = !folded[t.all[i].pos]
	}
	t.lost = append(t.lost, lost{alive, len(t.all)})
}

// covers are the stretches in which each agent was watched.
func (t *tape) covers() map[string][]cover {
	covers := map[string][]cover{}
	for i, e := range t.all {
		id := e.Data.Agent.ID
		all := covers[id]
		switch {
		case e.Type == event.SessionReady && e.Data.Session.Continuity == event.ContinuityUnknown:
			if n := len(all); n > 0 && all[n-1].to.IsZero() {
				if !t.endAtLoss(&all[n-1]) {
					t.w.say("%s was met anew at %v and had not left", id, e.Time)
				}
			}
			all = append(all, cover{from: e.Time.Time(), gaps: map[string]*event.Gap{}})
		case e.Type == event.SessionLost && e.Data.Session.Reason == removed && len(all) > 0 && all[len(all)-1].to.IsZero():
			all[len(all)-1].to = e.Time.Time()
		case e.Type == event.SessionGap && len(all) > 0:
			all[len(all)-1].gaps[e.Subject] = e.Data.Gap
		}
		if n := len(all) - 1; n >= 0 && (e.Type == event.SessionReady || e.Type == event.SessionGap) {
			all[n].forgot, all[n].last = e.forgot, i
		}
		if len(all) > 0 {
			covers[id] = all
		}
	}
	for _, all := range covers { // who was removed after her view was lost, and so without a word
		if c := &all[len(all)-1]; c.to.IsZero() && c.forgot {
			t.endAtLoss(c)
		}
	}
	return covers
}

// endAtLoss ends a cover when views were lost, for the first time after what was last told of its agent: then nobody knew that she was watched.
func (t *tape) endAtLoss(c *cover) bool {
	for _, l := range t.lost {
		if l.index > c.last {
			c.to = l.alive
			return true
		}
	}
	return false
}

// excused reports whether a fact about the agent at that time needs not to be on the broker: she was not on the roster or not yet met, or
// it lies in a gap. A second on both sides is for what was under way.
func (w *world) excused(covers []cover, a *simAgent, at time.Time) bool {
	if !a.watched(at) {
		return true
	}
	var in *cover // the last that began before
	for i, c := range covers {
		if !at.Before(c.from) {
			in = &covers[i]
		}
	}
	if in == nil || !in.to.IsZero() && at.After(in.to.Add(-time.Second)) {
		return true
	}
	for _, g := range in.gaps {
		if !at.Before(g.From.Time().Add(-time.Second)) && (g.To == 0 || !at.After(g.To.Time().Add(time.Second))) {
			return true
		}
	}
	return false
}

// fold is the view that the events told of an agent make.
func (t *tape) fold(a *agent) *mapping.View {
	v := mapping.NewView(*a.Agent)
	n := 0
	for _, e := range t.all {
		if e.Data.Agent.ID != a.ID || e.forgot {
			continue
		}
		if n++; t.w.skipFold && n == 3 {
			continue
		}
		v.Apply(e.Event)
		if e.Type == event.SessionLost && e.Data.Session.Reason == removed { // who comes back is met anew
			v = mapping.NewView(*a.Agent)
		}
	}
	return v
}

// sameView holds a view against the fold of what was told; when it last forgot differs, for a refusal may have come before the fold's first event.
func (w *world) sameView(what string, a *agent) {
	if w.ViewsLost > 0 && len(w.agent(a.ID).moves) > 0 {
		return // what was left of her view may have been dropped without a word: nobody knew that she was watched
	}
	fold := w.tape.fold(a)
	f, v := fold.Save(), a.view.Save()
	f.Told.Swept, v.Told.Swept, f.Agent, v.Agent = 0, 0, source.Agent{}, source.Agent{}
	if reflect.DeepEqual(f, v) { // much faster than what can say where they differ
		return
	}
	if d := cmp.Diff(f, v, cmpopts.EquateEmpty(), cmp.Exporter(func(reflect.Type) bool { return true })); d != "" {
		w.say("%s view of %s is not the fold of its events (-fold +live):\n%s", what, a.ID, d)
	}
}

// verdict says what is wrong with the run.
func (w *world) verdict() []string {
	w.Stored = len(w.broker.log)
	if n, _, _ := w.bridge.publishers[0].cursor.Pending(); n > 0 {
		w.say("%d events are still not delivered at rest", n)
	}
	covers := w.tape.covers()
	w.judgeFacts(covers)
	w.judgeBroker()
	w.judgeTape()
	// At rest no gap is open, not even one of who left in it, and everybody is received.
	for _, id := range sortedKeys(covers) {
		for i, c := range covers[id] {
			forgot := w.ViewsLost > 0 && (c.forgot || i < len(covers[id])-1)
			for _, subject := range sortedKeys(c.gaps) {
				if c.gaps[subject].State == event.GapOpened && !forgot {
					w.say("open at rest: %s", subject)
				}
			}
		}
	}
	for _, m := range w.bridge.fleet.order {
		w.sameView("live", m.agent)
		if len(m.debts) > 0 || len(m.sessions) == 0 || !m.sessions[0].up() {
			w.say("%s has not recovered at rest", m.ID)
		}
	}
	return w.bad
}

// judgeFacts: every fact is stored, or set aside, or inside a gap of each agent that it was sent to, or nobody was watching her.
func (w *world) judgeFacts(covers map[string][]cover) {
	for _, id := range sortedKeys(w.facts) {
		f := w.facts[id]
		if _, ok := w.broker.stored[id]; ok || w.setAside(id) {
			continue
		}
		for _, a := range f.agents {
			if !w.excused(covers[a], w.agent(a), f.at) {
				w.say("missing: %s of %s at %s", id, a, f.at.Format("04:05.000"))
			}
		}
	}
}

// judgeBroker: no record is stored twice, and no id, but by a view that began anew; per key in the order of the log.
func (w *world) judgeBroker() {
	seen, newest := map[string]spool.Pos{}, map[uint32]spool.Pos{}
	for _, r := range w.broker.log {
		if before, ok := seen[r.Header.ID]; ok {
			switch {
			case before == r.Pos && w.broker.twice[r.Pos]:
				w.LandedLate++
			case before == r.Pos:
				w.say("stored twice: %s at position %d", r.Header.ID, r.Pos)
			case w.ViewsLost > 0:
				w.RetoldLost++
			case w.anew(r.Header.Origin, r.Header.Agent):
				w.RetoldAnew++
			default:
				w.say("told and stored twice: %s (%s) at positions %d and %d", r.Header.ID, r.Header.Origin, before, r.Pos)
			}
			continue
		}
		seen[r.Header.ID] = r.Pos
		if newest[r.Key] > r.Pos {
			w.say("out of order: %s", r.Header.ID)
		}
		newest[r.Key] = max(newest[r.Key], r.Pos)
	}
}

// judgeTape: whatever was accepted is stored, was told once, and per socket in the order read.
func (w *world) judgeTape() {
	told := map[string]bool{}
	last := map[string]string{} // newest fact by socket and key
	for _, e := range w.tape.all {
		if _, ok := w.broker.stored[e.ID]; !ok && !w.setAside(e.ID) {
			w.say("accepted and not stored: %s at position %d", e.ID, e.pos)
		}
		if told[e.ID] && w.ViewsLost == 0 && !w.anew(e.Origin, e.Data.Agent.ID) {
			w.say("told twice: %s, again at position %d", e.ID, e.pos)
		}
		told[e.ID] = true
		switch {
		case e.Type == event.SessionGap && e.Data.Gap.State == event.GapOpened:
			w.Gaps++
			switch e.Data.Gap.Cause {
			case event.CauseHandover:
				w.Handovers++
			case event.CauseCrash:
				w.CrashGaps++
			}
		case e.Type == event.ReservationEndedUnseen:
			w.EndedUnseen++
		}
		f := w.facts[e.ID]
		if e.Origin != event.OriginSocket || f == nil || e.socket == nil {
			continue
		}
		if f.shared && len(f.agents) > 1 {
			w.Shared++
		}
		key := fmt.Sprintf("%p %s", e.socket, e.PartitionKey)
		if before := w.facts[last[key]]; before != nil && f.at.Before(before.at) {
			w.say("told out of order: %s after %s", e.ID, last[key])
		}
		last[key] = e.ID
	}
}

// anew reports whether an event may have been told before to a view that was given up with its agent's removal.
func (w *world) anew(o event.Origin, agent string) bool {
	return o == event.OriginSnapshot && len(w.agent(agent).moves) > 0
}

func (w *world) agent(id string) *simAgent {
	for _, a := range w.agents {
		if a.ID == id {
			return a
		}
	}
	return &simAgent{}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (w *world) setAside(id string) bool {
	_, kept := w.letters.kept[id]
	return kept
}
