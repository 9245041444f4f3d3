package bridge

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/taskbridge/taskbridge/internal/source"
)

// simAgent is the vendor's side of one agent.
type simAgent struct {
	source.Agent
	wanted bool // on the roster that the next process, or the next change, tells
	open   map[string]*work
	order  []string    // open ones in order, so that a run can be repeated
	moves  []time.Time // when a process was told that she is off the roster, back on it, off …
	made   int
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

func agentOf(i int) source.Agent {
	return source.Agent{ID: fmt.Sprintf("A%d", i), Source: "toy", URI: "/toy"}
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
	case n == 9: // ids that no reservation keeps alive, mostly while two sockets bring them
		for _, s := range w.sockets {
			if s.member.next != nil {
				a = s.agent
			}
		}
		for range 1 + w.rng.IntN(3) {
			a.made++
			w.push(fmt.Sprintf("agent activity_changed %s - %d", a.ID, a.made), fmt.Sprintf("%s:activity_changed:%d", a.ID, a.made), a)
		}
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
	k := &socket{session: s, member: m, next: w.clock.Add(w.delay()), lag: time.Duration(w.rng.IntN(800)) * time.Millisecond}
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
		if w.chance(0.2) { // an answer that takes its time
			s.next = s.next.Add(time.Duration(w.rng.IntN(5000)) * time.Millisecond)
		}
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
		if w.clock.Sub(s.since) > 2*time.Second && w.chance(0.05) { // dies amid what was received meanwhile
			w.fuse = 1 + w.rng.IntN(20)
		}
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
