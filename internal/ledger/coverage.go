package ledger

import (
	"cmp"
	"slices"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
)

// Slack is by how much a gap is widened on both sides, and by how much coverage ends before a removal: the bridge's clock and the vendor's
// see one frame at different moments, and a frame may be on its way when a connection ends.
const Slack = time.Second

// span is a stretch of time; a zero to means that it has no end yet.
type span struct{ from, to time.Time }

// gap is a span in which a feed was not received. One that is not published follows from a session.ready of unknown continuity.
type gap struct {
	span
	live, published bool
}

// agent is what the bridge has published about its sessions of one agent.
type agent struct {
	covered []span
	gaps    []gap
}

// demanded says whether the bridge answers for an entry of that time.
func (a *agent) demanded(at time.Time) bool {
	return a.covers(at) && !slices.ContainsFunc(a.gaps, func(g gap) bool {
		return g.live && !at.Before(g.from.Add(-Slack)) && (g.to.IsZero() || !at.After(g.to.Add(Slack)))
	})
}

// covers: instants on the broker are cut to milliseconds, so what is told within the one of session.ready may have been told before it.
func (a *agent) covers(at time.Time) bool {
	return slices.ContainsFunc(a.covered, func(s span) bool {
		return !at.Before(s.from.Add(time.Millisecond)) && (s.to.IsZero() || !at.After(s.to.Add(-Slack)))
	})
}

// unseen is how long, up to end, the agent had a gap: what lies in two gaps counts once.
func (a *agent) unseen(end time.Time) (sum time.Duration) {
	gaps := slices.Clone(a.gaps)
	slices.SortFunc(gaps, func(a, b gap) int { return a.from.Compare(b.from) })
	var until time.Time
	for _, g := range gaps {
		from, to := g.from, g.to
		if to.IsZero() || to.After(end) {
			to = end
		}
		if from.Before(until) {
			from = until
		}
		if to.After(from) {
			sum += to.Sub(from)
			until = to
		}
	}
	return sum
}

// notice is an event of an agent's session.
type notice struct {
	typ        event.Type
	sequence   uint64
	time       time.Time
	continuity event.Continuity
	reason     string
	subject    string
	revision   int64
	gap        event.Gap
}

// history puts an agent's story together. received are the times, sorted, at which the bridge recorded what this agent's sockets told.
func history(notices []notice, received []time.Time) *agent {
	slices.SortStableFunc(notices, func(a, b notice) int { return cmp.Compare(a.sequence, b.sequence) })
	a := &agent{gaps: published(notices)}

	var steps []notice // readies and removals by time
	for _, n := range notices {
		if n.typ == event.SessionReady || n.typ == event.SessionLost && n.reason == "removed" {
			steps = append(steps, n)
		}
	}
	slices.SortStableFunc(steps, func(a, b notice) int { return a.time.Compare(b.time) })

	covered := false
	for _, n := range steps {
		switch ready := n.typ == event.SessionReady; {
		case ready && !covered:
			a.covered = append(a.covered, span{from: n.time})
		case ready && n.continuity == event.ContinuityUnknown:
			// The bridge has forgotten the agent. What it received before is proved by what it stored; after that nothing is.
			since := lastBefore(received, n.time, a.covered[len(a.covered)-1].from)
			a.gaps = append(a.gaps, gap{span: span{since, n.time}, live: true})
		case !ready && covered:
			a.covered[len(a.covered)-1].to = n.time
		}
		covered = n.typ == event.SessionReady
	}
	a.endGaps()
	return a
}

// endGaps ends gaps that are still open with the coverage in which they began: of a removed agent nothing more is told.
func (a *agent) endGaps() {
	for i := range a.gaps {
		g := &a.gaps[i]
		for _, s := range a.covered {
			if g.to.IsZero() && !g.from.Before(s.from) && g.from.Before(s.to) {
				g.to = s.to
			}
		}
	}
}

// published are the gaps, each by its newest record.
func published(notices []notice) []gap {
	newest := map[string]notice{}
	var subjects []string
	for _, n := range notices {
		if n.typ != event.SessionGap {
			continue
		}
		old, ok := newest[n.subject]
		if !ok {
			subjects = append(subjects, n.subject)
		}
		if !ok || n.revision > old.revision {
			newest[n.subject] = n
		}
	}
	var gaps []gap
	for _, s := range subjects {
		n := newest[s]
		if n.gap.From == 0 {
			n.gap.From = event.InstantOf(n.time)
		}
		g := gap{span: span{n.gap.From.Time(), n.gap.To.Time()}, live: n.gap.Feed == "live", published: true}
		if n.gap.State == event.GapOpened {
			g.to = nextReady(notices, n)
		}
		gaps = append(gaps, g)
	}
	return gaps
}

// nextReady is the time of the first session.ready stored after n, zero where there is none. Both have the agent as partition key, so
// the broker's order is the order in which they happened.
func nextReady(notices []notice, n notice) time.Time {
	for _, r := range notices {
		if r.typ == event.SessionReady && r.sequence > n.sequence {
			return r.time
		}
	}
	return time.Time{}
}

// lastBefore is the latest of the sorted times before t and not before floor, else floor.
func lastBefore(times []time.Time, t, floor time.Time) time.Time {
	i, _ := slices.BinarySearchFunc(times, t, time.Time.Compare)
	if i == 0 || times[i-1].Before(floor) {
		return floor
	}
	return times[i-1]
}
