package bridge

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/sink"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// The simulation drives fleet, agents, log and publisher on one goroutine in virtual time against a vendor and a broker that misbehave,
// and then holds what was stored against what was emitted. A failing seed is printed; -sim.seed N runs it alone.
var (
	simSeed = flag.Uint64("sim.seed", 0, "run only this seed of the simulation")
	simRuns = flag.Uint64("sim.runs", 300, "how many seeds the simulation runs")
)

func TestSimulation(t *testing.T) {
	first, last := uint64(1), *simRuns
	if *simSeed != 0 {
		first, last = *simSeed, *simSeed
	}
	var total tallies
	for seed := first; seed <= last; seed++ {
		w := newWorld(t.Context(), seed, control{})
		w.run()
		if bad := w.verdict(); len(bad) > 0 {
			t.Fatalf("seed %d (again with -run TestSimulation -sim.seed %d): %d findings, the first:\n%s",
				seed, seed, len(bad), strings.Join(bad[:min(len(bad), 10)], "\n"))
		}
		total.add(w.tallies)
	}
	t.Logf("%d runs: %+v", last-first+1, total)
	if *simSeed == 0 {
		total.requireAll(t)
	}
}

// TestSimulationControls breaks one rule at a time and requires that the simulation notices.
func TestSimulationControls(t *testing.T) {
	for name, c := range map[string]control{
		"sink confirms what it did not store":        {loseAcked: true},
		"broker does not recognise repeats":          {noDedup: true},
		"lanes ignore the key":                       {randomLanes: true},
		"old session ended at the successor's start": {proven: -time.Hour},
		"gaps are not told":                          {dropGaps: true},
		"view misses an event":                       {skipFold: true},
		"views remember nothing":                     {forget: true},
		"broker is not asked after a long outage":    {neverUnsure: true},
		"dead letters are not kept":                  {loseLetters: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := uint64(1); seed <= 60; seed++ {
				w := newWorld(t.Context(), seed, c)
				w.run()
				if bad := w.verdict(); len(bad) > 0 {
					t.Logf("seen at seed %d: %s", seed, bad[0])
					return
				}
			}
			t.Error("60 seeds passed although the rule was broken")
		})
	}
}

// control switches off one rule each.
type control struct {
	loseAcked, noDedup, randomLanes, dropGaps, skipFold, forget, neverUnsure, loseLetters bool
	proven                                                                                time.Duration
}

// tallies says how much the runs exercised; each must be above zero over all runs, or the simulation has gone blind.
type tallies struct {
	Emitted, Stored, Gaps, Handovers, Full, Halfopen, Refused, Removed, Renewed, Unsure, Rejected, EndedUnseen, Repeats, Shared, Feeds, Unkept int
}

func (t *tallies) add(o tallies) {
	t.Emitted += o.Emitted
	t.Stored += o.Stored
	t.Gaps += o.Gaps
	t.Handovers += o.Handovers
	t.Full += o.Full
	t.Halfopen += o.Halfopen
	t.Refused += o.Refused
	t.Removed += o.Removed
	t.Renewed += o.Renewed
	t.Unsure += o.Unsure
	t.Rejected += o.Rejected
	t.EndedUnseen += o.EndedUnseen
	t.Repeats += o.Repeats
	t.Shared += o.Shared
	t.Feeds += o.Feeds
	t.Unkept += o.Unkept
}

func (t *tallies) requireAll(tb testing.TB) {
	tb.Helper()
	for name, n := range map[string]int{
		"gaps": t.Gaps, "handovers": t.Handovers, "full": t.Full, "half-open": t.Halfopen, "refused": t.Refused, "removed": t.Removed, "renewed": t.Renewed,
		"unsure": t.Unsure, "rejected": t.Rejected, "ended unseen": t.EndedUnseen, "repeats": t.Repeats, "shared": t.Shared,
		"feeds lost alone": t.Feeds, "letters not kept at once": t.Unkept,
	} {
		if n == 0 {
			tb.Errorf("no run exercised %q", name)
		}
	}
}

const simAgents = 4

// world is one run.
type world struct {
	tallies
	control
	ctx     context.Context //nolint:containedctx // the run's own: a world lives as long as its test
	rng     *rand.Rand
	clock   time.Time
	bridge  *Bridge
	log     *tapedLog
	broker  *fakeBroker
	letters *letterBox
	agents  []*simAgent
	sockets []*socket
	facts   map[string]*fact
	calm    bool // faults are over: everything comes to rest
	current *socket
}

// simAgent is the vendor's side of one agent.
type simAgent struct {
	source.Agent
	open  map[string]*work
	order []string    // open ones in order, so that a run can be repeated
	moves []time.Time // when she was taken off the roster, put back, taken off …
	made  int
}

func (a *simAgent) off() bool { return len(a.moves)%2 == 1 }

// watched reports whether she was on the roster then, and not about to be taken off: what was under way is lost.
func (a *simAgent) watched(at time.Time) bool {
	for i, m := range a.moves {
		if at.Before(m) {
			return i%2 == 0 && at.Before(m.Add(-time.Second))
		}
	}
	return !a.off()
}

// since is when she was last put on the roster before then.
func (a *simAgent) since(at time.Time) time.Time {
	var on time.Time
	for i, m := range a.moves {
		if i%2 == 1 && !at.Before(m) {
			on = m
		}
	}
	return on
}

type work struct {
	task, status string
	rev          int64
}

// fact is something that the vendor emitted.
type fact struct {
	at     time.Time
	agents []string
	shared bool
}

func newWorld(ctx context.Context, seed uint64, c control) *world {
	w := &world{
		ctx: ctx, control: c, rng: rand.New(rand.NewPCG(seed, 7)), clock: time.UnixMilli(1_767_323_045_000).UTC(), facts: map[string]*fact{},
	}
	memory := spool.NewMemory(spool.MemoryOptions{Bytes: int64(20+w.rng.IntN(300)) * 1024, Reserve: 16 << 10})
	w.log = &tapedLog{Log: memory, w: w}
	w.broker = &fakeBroker{w: w, stuck: -1, records: 1 + 2*w.rng.IntN(2), stored: map[string]time.Time{}}
	w.letters = &letterBox{lose: c.loseLetters, fail: func() bool {
		fail := w.chance(0.3)
		if fail {
			w.Unkept++
		}
		return fail
	}}
	o := Options{
		BridgeID: "sim", Silence: 20 * time.Second, DialRate: 20, RefusedRetry: 20 * time.Second, proven: c.proven,
		now: func() time.Time { return w.clock }, rand: w.rng.Float64,
	}
	var err error
	w.bridge, err = New(o, map[string]Feed{"toy": {Mapper: toyMapper{w}}}, w.log, map[string]sink.Sink{"fake": w.broker}, w.letters, zap.NewNop(), prometheus.NewRegistry())
	if err != nil {
		panic(err)
	}
	w.bridge.fleet.launch = w.launch
	for i := range simAgents {
		w.agents = append(w.agents, &simAgent{Agent: source.Agent{ID: fmt.Sprintf("A%d", i), Source: "toy", URI: "/toy"}, open: map[string]*work{}})
	}
	w.setRoster()
	return w
}

func (w *world) chance(p float64) bool { return !w.calm && w.rng.Float64() < p }

func (w *world) run() {
	for range 1500 {
		w.advance(time.Duration(w.rng.IntN(180)+1) * time.Millisecond)
		if w.chance(0.6) {
			w.emit()
		}
		w.misbehave()
		w.turn()
	}
	w.calm = true
	w.broker.down = false
	for range 1000 {
		w.advance(100 * time.Millisecond)
		w.turn()
	}
	for len(w.bridge.publishers[0].lanes) > 0 {
		w.broker.turn()
		w.bridge.publishers[0].step(w.ctx)
	}
}

func (w *world) advance(d time.Duration) { w.clock = w.clock.Add(d) }

// turn lets every part do what is due.
func (w *world) turn() {
	w.bridge.fleet.tick()
	var moving []*socket
	for _, i := range w.rng.Perm(len(w.sockets)) { // whose turn comes first, and so whose end, is anybody's guess
		moving = append(moving, w.sockets[i])
	}
	for _, s := range moving {
		w.move(s)
	}
	w.bridge.publishers[0].step(w.ctx)
	w.broker.turn()
	w.bridge.publishers[0].step(w.ctx)
}

func (w *world) setRoster() {
	var roster []source.Agent
	for _, a := range w.agents {
		if !a.off() {
			roster = append(roster, a.Agent)
		}
	}
	if err := w.bridge.SetRoster(map[string][]source.Agent{"toy": roster}); err != nil {
		panic(err)
	}
}

// emit lets one agent's work go one step on.
func (w *world) emit() {
	a := w.agents[w.rng.IntN(len(w.agents))]
	switch n := w.rng.IntN(10); {
	case n < 3 || len(a.order) == 0:
		a.made++
		id, task := fmt.Sprintf("%sR%d", a.ID, a.made), fmt.Sprintf("T%d", w.rng.IntN(6))
		a.open[id] = &work{task: task, status: "created"}
		a.order = append(a.order, id)
		w.push(fmt.Sprintf("reservation created %s %s 0", id, task), id+":created", a)
	case n < 5: // a fact about a task that reaches two agents
		a.made++
		b := w.agents[w.rng.IntN(len(w.agents))]
		id := fmt.Sprintf("T%d", w.rng.IntN(6))
		rev := 1000*a.made + int(a.ID[1])
		w.push(fmt.Sprintf("task updated %s %s %d", id, id, rev), fmt.Sprintf("%s:updated:%d", id, rev), a, b)
	default:
		id := a.order[w.rng.IntN(len(a.order))]
		r := a.open[id]
		r.rev++
		switch {
		case r.status == "created" && n < 8:
			r.status = "accepted"
		case r.status == "accepted" && n < 8:
			r.status = "wrapping"
		case r.status == "created":
			r.status = "rejected"
		default:
			r.status = "completed"
		}
		if r.status == "rejected" || r.status == "completed" {
			delete(a.open, id)
			a.order = slices.DeleteFunc(a.order, func(o string) bool { return o == id })
		}
		w.push(fmt.Sprintf("reservation %s %s %s %d", r.status, id, r.task, r.rev), id+":"+r.status, a)
	}
}

// push sends a frame to every socket of the agents.
func (w *world) push(frame, id string, to ...*simAgent) {
	f := &fact{at: w.clock, shared: len(to) > 1}
	w.facts[id] = f
	w.Emitted++
	for i, a := range to {
		if i > 0 && a == to[0] {
			continue
		}
		f.agents = append(f.agents, a.ID)
		for _, s := range w.sockets {
			if s.agent == a && s.stage >= opened && !s.halfOpen {
				s.queue = append(s.queue, message{frame, w.clock})
			}
		}
	}
}

func (w *world) misbehave() {
	if len(w.sockets) > 0 && w.chance(0.02) {
		s := w.sockets[w.rng.IntN(len(w.sockets))]
		switch n := w.rng.IntN(7); {
		case n == 6 && s.stage == live: // the feed alone fails: the same session asks for a snapshot again
			s.session.Down(source.Live, retry.Reasonf("feed", "feed failed"))
			s.stage, s.since, s.asked, s.snapshot, s.next = asking, w.clock, w.clock, "", w.clock.Add(w.delay())
			w.Feeds++
		case n < 2 && s.stage == live:
			w.Halfopen++
			s.halfOpen = true // what is under way is lost, nothing more comes, and nobody is told
			s.queue = nil
		case n == 2:
			s.failure = retry.Permanent(retry.Reasonf("upgrade_403", "refused"))
			w.Refused++
		default:
			s.failure = retry.Reasonf("close_1006", "reset")
		}
	}
	if w.chance(0.004) {
		a := w.agents[w.rng.IntN(len(w.agents))]
		w.Removed++
		a.moves = append(a.moves, w.clock)
		w.setRoster()
	}
	w.broker.misbehave()
}

// socket is one connection, from dial to end.
type socket struct {
	agent    *simAgent
	member   *member
	session  *session
	stage    int
	next     time.Time // of the next stage
	since    time.Time
	asked    time.Time
	snapshot string
	queue    []message // under way, in order
	buffer   []message // read before the snapshot
	beatAt   time.Time
	lag      time.Duration // from the vendor to here
	halfOpen bool
	failure  error
	endAt    time.Time // Serve returns a while after the fleet has ended it
}

type message struct {
	body string // empty: a beat
	at   time.Time
}

const (
	dialing = iota
	opened  // init was sent: what is emitted from now on is sent here
	asking  // init was read, the snapshot is asked for
	live
)

func (w *world) launch(m *member, s *session) {
	k := &socket{session: s, member: m, next: w.clock.Add(w.delay()), lag: time.Duration(w.rng.IntN(900)) * time.Millisecond}
	for _, a := range w.agents {
		if a.ID == s.ID {
			k.agent = a
		}
	}
	m.attempt(s).cancel = func(cause error) {
		if k.failure == nil {
			k.failure, k.endAt = cause, w.clock.Add(w.delay())
		}
	}
	w.sockets = append(w.sockets, k)
}

func (w *world) delay() time.Duration { return time.Duration(w.rng.IntN(700)+1) * time.Millisecond }

// move takes a socket as far as it gets now.
func (w *world) move(s *socket) {
	if s.failure != nil && !w.clock.Before(s.endAt) {
		w.sockets = slices.DeleteFunc(w.sockets, func(o *socket) bool { return o == s })
		if errors.Is(s.failure, errReplaced) {
			w.Renewed++
		}
		w.bridge.fleet.ended(s.member, s.session, s.failure)
		return
	}
	w.current = s
	defer func() { w.current = nil }()
	switch {
	case s.stage == dialing && !w.clock.Before(s.next):
		s.stage, s.beatAt, s.next = opened, w.clock, w.clock.Add(w.delay())
	case s.stage == opened && !w.clock.Before(s.next):
		s.stage, s.since, s.asked, s.next = asking, w.clock, w.clock, w.clock.Add(w.delay())
	case s.stage == asking && s.snapshot == "" && w.chance(0.5):
		s.snapshot = s.agent.snapshot() // answered at some moment between the question and the answer's arrival
	case s.stage == asking && !w.clock.Before(s.next):
		if s.snapshot == "" {
			s.snapshot = s.agent.snapshot()
		}
		s.stage = live
		renewBy := s.since.Add(time.Duration(20+w.rng.IntN(60)) * time.Second)
		s.session.Up(source.Live, s.since, renewBy)
		s.session.Frame(source.Frame{Feed: source.State, Body: []byte(s.snapshot), Received: s.asked})
		for _, m := range s.buffer {
			s.deliver(m)
		}
		s.buffer = nil
	}
	if s.stage >= opened && !s.halfOpen && w.clock.Sub(s.beatAt) > 5*time.Second {
		s.beatAt = w.clock
		s.queue = append(s.queue, message{"", w.clock})
	}
	for len(s.queue) > 0 && s.stage >= asking && w.clock.Sub(s.queue[0].at) > s.lag {
		m := message{s.queue[0].body, w.clock}
		s.queue = s.queue[1:]
		if s.stage == asking {
			s.buffer = append(s.buffer, m)
		} else {
			s.deliver(m)
		}
	}
}

func (s *socket) deliver(m message) {
	if m.body == "" {
		s.session.Beat(source.Live, m.at)
		return
	}
	s.session.Frame(source.Frame{Feed: source.Live, Body: []byte(m.body), Received: m.at})
}

func (a *simAgent) snapshot() string {
	lines := []string{"state"}
	for _, id := range a.order {
		r := a.open[id]
		lines = append(lines, fmt.Sprintf("%s %s %s %d", r.status, id, r.task, r.rev))
	}
	return strings.Join(lines, "\n")
}

// verdict says what is wrong with the run.
func (w *world) verdict() []string {
	var bad []string
	say := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	w.Stored = len(w.broker.log)
	if n, _, _ := w.bridge.publishers[0].cursor.Pending(); n > 0 {
		say("%d events are still not delivered at rest", n)
	}

	// Every fact is stored, or set aside, or inside a gap of each agent that it was sent to, or nobody was watching her.
	for _, id := range sortedKeys(w.facts) {
		f := w.facts[id]
		if _, ok := w.broker.stored[id]; ok {
			continue
		}
		if _, ok := w.letters.kept[id]; ok {
			continue
		}
		for _, a := range f.agents {
			if !w.log.excused(a, f.at) {
				say("missing: %s of %s at %s", id, a, f.at.Format("04:05.000"))
			}
		}
	}
	// No id is stored twice, but by a view that began anew; per key in the order of the log, and in the log per socket in the order read.
	seen, newest := map[string]bool{}, map[uint32]spool.Pos{}
	for _, r := range w.broker.log {
		if seen[r.Header.ID] {
			if r.Header.Origin != event.OriginSnapshot || len(w.agent(r.Header.Agent).moves) == 0 {
				say("stored twice: %s (%s)", r.Header.ID, r.Header.Origin)
			}
			continue
		}
		seen[r.Header.ID] = true
		if newest[r.Key] > r.Pos {
			say("out of order: %s", r.Header.ID)
		}
		newest[r.Key] = max(newest[r.Key], r.Pos)
	}
	bad = append(bad, w.log.disorder...)
	// At rest no gap is open, not even one of who left in it.
	for _, id := range sortedKeys(w.log.covers) {
		for _, c := range w.log.covers[id] {
			for _, subject := range sortedKeys(c.gaps) {
				if c.gaps[subject].State == event.GapOpened {
					say("open at rest: %s", subject)
				}
			}
		}
	}
	// The live view is the fold of what was told; when it last forgot differs, for a refusal may have come before the fold's first event.
	for _, m := range w.bridge.fleet.order {
		fold := mapping.NewView(m.Agent)
		for i, e := range w.log.told[m.ID] {
			if w.skipFold && i == 3 {
				continue
			}
			fold.Apply(e)
		}
		if d := cmp.Diff(fold, m.view, cmp.AllowUnexported(mapping.View{}), cmpopts.IgnoreFields(mapping.View{}, "swept"), cmpopts.EquateEmpty()); d != "" {
			say("view of %s is not the fold of its events (-fold +live):\n%s", m.ID, d)
		}
		if len(m.debts) > 0 || !m.agent.sessions[0].up() {
			say("%s has not recovered at rest", m.ID)
		}
	}
	return bad
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
