package ledger

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/taskbridge/taskbridge/internal/event"
)

// Bounds is what the caller knows of the run.
type Bounds struct {
	// Rate is the entries per second that the simulator was asked for, and Duration how long it went on after every session was ready. Of
	// these entries at least nine tenths must have been told to covered workers. 0: not checked, but none at all is never enough.
	Rate     float64
	Duration time.Duration
	// Sessions is how many workers there are; each must have become ready at least once.
	Sessions     int
	SilenceLimit time.Duration // after which the bridge gives a silent session up
	DialBudget   float64       // dials per second of the bridge's process; 0: unlimited
}

// Fault is a disturbance that the caller has caused: of the vendor's side or the network, or a stop or kill of the bridge.
type Fault struct {
	Sessions int           // how many it hit; 0: all
	Lasted   time.Duration // how long it kept a session from being received; 0 for a single cut
}

// Landed is one message as it is stored on the broker.
type Landed struct {
	Event    *event.Event // not kept
	Stored   time.Time    // the broker's time
	Sequence uint64       // the broker's: the order within a stream, or within the partition that the event's key leads to
}

// Judge gathers what was told and what is stored. Its methods may be called from any goroutine and in any order: everything is decided in
// [Judge.Verdict]. Make one with [NewJudge].
type Judge struct {
	bounds Bounds

	mu      sync.Mutex
	entries map[int64]Entry
	stored  []stored
	notices map[string][]notice
	faults  []Fault
}

// stored is what the rules need of a Landed.
type stored struct {
	id, agent, key string
	typ            event.Type
	origin         event.Origin
	recorded, at   time.Time
	sequence       uint64
}

// NewJudge makes a Judge of one run.
func NewJudge(b Bounds) *Judge {
	return &Judge{bounds: b, entries: map[int64]Entry{}, notices: map[string][]notice{}}
}

// Emit takes one entry of the ledger. An entry with a Seq that was given before replaces it, so a growing ledger may be read again from
// its start.
func (j *Judge) Emit(e Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.entries[e.Seq] = e
}

// Land takes one stored message; every message of the stream is to be given, once.
func (j *Judge) Land(l Landed) {
	e := l.Event
	s := stored{
		id: e.ID, key: e.PartitionKey, typ: e.Type, origin: e.Origin, recorded: e.Recorded.Time(), at: l.Stored,
		sequence: l.Sequence,
	}
	if e.Data.Agent != nil {
		s.agent = e.Data.Agent.ID
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stored = append(j.stored, s)
	if e.Type.Noun() == "session" {
		j.notices[s.agent] = append(j.notices[s.agent], noticeOf(e, l.Sequence))
	}
}

// Fault says that f was caused. Each allows every session that it hit to have gaps of f.Lasted and, to notice and to come back,
// the silence limit, 10 s, and sessions / dial budget.
func (j *Judge) Fault(f Fault) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.faults = append(j.faults, f)
}

// Verdict judges what was told until end. While a run goes on, an end a little in the past keeps what is under way from being called
// missing.
func (j *Judge) Verdict(end time.Time) Verdict {
	j.mu.Lock()
	defer j.mu.Unlock()
	v := Verdict{bounds: j.bounds}
	agents := j.agents()
	facts := j.facts(&v)
	order, latencies := j.landings(&v, facts)
	v.judgeOrder(order)
	v.judgeFacts(facts, agents, end)
	v.judgeGaps(agents, j.allowed(), end)
	v.measure(latencies, j.stored)
	return v
}

func (j *Judge) agents() map[string]*agent {
	received := map[string][]time.Time{}
	for _, s := range j.stored {
		if s.origin == event.OriginSocket {
			received[s.agent] = append(received[s.agent], s.recorded)
		}
	}
	agents := map[string]*agent{}
	for id, notices := range j.notices {
		slices.SortFunc(received[id], time.Time.Compare)
		agents[id] = history(notices, received[id])
	}
	return agents
}

// facts groups the entries by id.
func (j *Judge) facts(v *Verdict) map[string]*fact {
	entries := make([]Entry, 0, len(j.entries))
	for _, e := range j.entries {
		entries = append(entries, e)
	}
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Seq, b.Seq) })
	facts := make(map[string]*fact, len(entries))
	for _, e := range entries {
		typ, id, err := identity(e)
		if err != nil {
			v.find(RuleLedger, "", e.Worker, fmt.Sprintf("seq %d: %v", e.Seq, err))
			continue
		}
		f := facts[id]
		if f == nil {
			f = &fact{id: id, typ: typ}
			facts[id] = f
		}
		if _, twice := f.told(e.Worker); twice || f.typ != typ {
			v.find(RuleLedger, id, e.Worker, fmt.Sprintf("seq %d: two entries make one id, so nobody can tell them apart", e.Seq))
			continue
		}
		f.entries = append(f.entries, e)
	}
	return facts
}

// landing is a fact as one worker's socket brought it to the broker.
type landing struct {
	stored
	seq int64
}

// landings goes through what is stored, in the broker's order, and marks the facts that are. It returns what the order is judged by.
func (j *Judge) landings(v *Verdict, facts map[string]*fact) (order []landing, latencies []time.Duration) {
	slices.SortStableFunc(j.stored, func(a, b stored) int { return cmp.Compare(a.sequence, b.sequence) })
	seen := make(map[string]bool, len(j.stored))
	for _, s := range j.stored {
		if seen[s.id] {
			v.Duplicates++
			v.find(RuleDuplicate, s.id, s.agent, fmt.Sprintf("stored again at sequence %d", s.sequence))
			continue
		}
		seen[s.id] = true
		f := facts[s.id]
		if f == nil {
			if s.origin != event.OriginBridge {
				v.Invented++
				v.find(RuleInvented, s.id, s.agent, fmt.Sprintf("%s of origin %s is not in the ledger", s.typ, s.origin))
			}
			continue
		}
		if why := f.disagrees(s); why != "" {
			v.Invented++
			v.find(RuleInvented, s.id, s.agent, why)
			continue
		}
		f.landed = true
		if s.origin == event.OriginSocket {
			e, _ := f.told(s.agent)
			order = append(order, landing{s, e.Seq})
			latencies = append(latencies, s.at.Sub(e.At))
		}
	}
	return order, latencies
}

// allowed is how long the faults explain that sessions had gaps, together.
func (j *Judge) allowed() (sum time.Duration) {
	back := j.bounds.SilenceLimit + 10*time.Second
	if j.bounds.DialBudget > 0 {
		back += time.Duration(float64(j.bounds.Sessions) / j.bounds.DialBudget * float64(time.Second))
	}
	for _, f := range j.faults {
		n := f.Sessions
		if n == 0 {
			n = j.bounds.Sessions
		}
		sum += time.Duration(n) * (f.Lasted + back)
	}
	return sum
}

func noticeOf(e *event.Event, sequence uint64) notice {
	n := notice{typ: e.Type, sequence: sequence, time: e.Time.Time(), subject: e.Subject, revision: e.Data.Revision.V}
	if s := e.Data.Session; s != nil {
		n.continuity, n.reason = s.Continuity, s.Reason
	}
	if g := e.Data.Gap; g != nil {
		n.gap = *g
	}
	return n
}
