package bridge

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping"
	"github.com/taskbridge/taskbridge/internal/source"
	"github.com/taskbridge/taskbridge/internal/spool"
)

// agent is one agent as the bridge knows her: the view of what was told, and the sessions that receive for her. Everything under mu; the
// mutex is uncontended but for the moments in which two sessions overlap.
type agent struct {
	*heart
	*source.Agent // of the view
	mapper        mapping.Mapper

	mu        sync.Mutex
	view      *mapping.View
	pos       spool.Pos  // of the last event told
	removed   bool       // told that she is off the roster: nothing of her is to be known again
	sessions  []*session // that have not ended, oldest first
	debts     []debt     // gaps that the log had no room for
	held      unmapped
	down      event.SessionState // what was last told of her being without a session; empty while live
	lastHeard time.Time          // when something was last received for her, over all sessions

	// The frame being mapped, for emit: a closure made once and not per frame.
	emit      func(*event.Event) error
	receiving *session
	received  event.Instant
	told      int   // events of the frame that were appended
	refused   error // the log's answer to the first that was not
}

func newAgent(h *heart, v *mapping.View, m mapping.Mapper) *agent {
	ag := &agent{heart: h, Agent: &v.Agent, mapper: m, view: v}
	ag.emit = func(e *event.Event) error {
		ag.refused = ag.accept(e)
		return ag.refused
	}
	return ag
}

// tell appends e and then, and only then, applies it to the view: what the log did not accept was not said.
func (a *agent) tell(c spool.Class, e *event.Event) error {
	e.BridgeID = a.BridgeID
	if a.PartitionByAgent {
		e.PartitionKey = a.ID
	}
	encoded := a.encoded.Get().(*event.Encoded)
	defer a.encoded.Put(encoded)
	e.Encode(encoded)
	pos, err := a.log.Append(c, encoded)
	if err != nil {
		return err
	}
	a.apply(e, pos)
	a.tells.Add(1)
	a.metrics.events[e.Type].Inc()
	return nil
}

// apply takes note of what the log holds at pos, now or since an earlier process.
func (a *agent) apply(e *event.Event, pos spool.Pos) {
	a.view.Apply(e)
	a.pos = pos
	switch e.Type {
	case event.SessionReady:
		a.down = ""
	case event.SessionLost, event.SessionRefused, event.SessionTokenExpired:
		a.down = e.Data.Session.State
		a.removed = e.Data.Session.Reason == removed
	}
}

// accept takes what the mapper found in the frame at hand.
func (a *agent) accept(e *event.Event) error {
	e.Recorded = a.received
	switch {
	case e.Type == event.ReservationEndedUnseen:
		a.receiving.vanished = append(a.receiving.vanished, e.Clone())
		return nil
	case e.Type == event.BridgeUnmapped:
		a.told++
		return a.tellUnmapped(e)
	case e.Type.Noun() == "task":
		// Several agents' sockets bring the same fact about a task. Check and append are one step, or both would tell it.
		a.shared.mu.Lock()
		defer a.shared.mu.Unlock()
		if a.shared.ids.Has(e.ID) {
			return nil
		}
		if err := a.tell(spool.Normal, e); err != nil {
			return err
		}
		a.shared.add(e.ID, e.Recorded, a.pos)
		a.told++
		return nil
	}
	a.told++
	return a.tell(spool.Normal, e)
}

// bridgeEvent begins an event that the bridge itself tells about the agent. In it her activity is null: it is not known while nothing is
// received, and session records are told before the snapshot that says it.
func (a *agent) bridgeEvent(t event.Type, subject, id string, at time.Time) *event.Event {
	return &event.Event{
		ID: id, Source: a.URI, Type: t, Subject: subject, Time: event.InstantOf(at), TimeSource: event.TimeReceived, Recorded: event.InstantOf(a.now()),
		Origin: event.OriginBridge, PartitionKey: a.ID, CorrelationID: a.ID,
		Data: event.Data{
			Provider: event.Provider(a.Provider), AccountID: a.Account, SiteID: a.Site,
			Agent: &event.Agent{ID: a.ID, Name: a.view.Name},
		},
	}
}

// tellSession tells a session record. It may use the log's reserve; where even that is full the record is left out: the gap
// records, which are owed and told later, carry the facts.
func (a *agent) tellSession(t event.Type, s *session, state event.SessionState, c event.Continuity, reason string, at time.Time) error {
	s.records++
	subject := a.ID + ":session"
	e := a.bridgeEvent(t, subject, fmt.Sprintf("%s:%s:%s:%d", subject, t.Verb(), s.incarnation, s.records), at)
	e.Data.Session = &event.Session{Incarnation: s.incarnation, State: state, Continuity: c, Reason: reason}
	return a.tell(spool.Reserve, e)
}

// unmappedPerMinute is how many bridge.unmapped events an agent may cause a minute; the rest of the minute is told as one.
const unmappedPerMinute = 100

// unmapped counts the frames of one minute that could not be mapped.
type unmapped struct {
	minute event.Instant
	told   int
	rest   *event.Event // the last one not told, standing for count frames
	count  int64
}

func (a *agent) tellUnmapped(e *event.Event) error {
	if minute := e.Recorded / 60_000; minute != a.held.minute {
		if err := a.tellRest(); err != nil {
			return err
		}
		a.held.minute, a.held.told = minute, 0
	}
	if a.held.told >= unmappedPerMinute {
		a.held.rest = e.Clone()
		a.held.count++
		return nil
	}
	a.held.told++
	return a.numberUnmapped(e)
}

// tellRest tells as one what was held back; called when the minute is over.
func (a *agent) tellRest() error {
	e := a.held.rest
	if e == nil {
		return nil
	}
	e.Data.Unmapped.Count = a.held.count
	if err := a.numberUnmapped(e); err != nil {
		return err
	}
	a.held.rest, a.held.count = nil, 0
	return nil
}

func (a *agent) numberUnmapped(e *event.Event) error {
	e.ID = fmt.Sprintf("%s:unmapped:%s-%d-%d", a.ID, a.BridgeID, a.started.UnixMilli(), a.unmapped.Add(1))
	return a.tell(spool.Normal, e)
}

// toldOnce remembers ids of task events over all agents, as long as a view remembers its own.
type toldOnce struct {
	mu  sync.Mutex
	ids mapping.Told
	pos spool.Pos // of the last one
}

func (t *toldOnce) add(id string, now event.Instant, pos spool.Pos) {
	t.ids.Add(id, now)
	t.pos = pos
	t.ids.Forget(now, nil)
}

// ended takes s out after its Serve returned, tells what that means, and returns how long s was live.
func (a *agent) ended(s *session, end ending, now time.Time) time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	since := s.feeds[source.Live].since
	a.sessions = slices.DeleteFunc(a.sessions, func(o *session) bool { return o == s })
	for f := range s.feeds {
		a.feedDown(s, source.Feed(f), end)
	}
	a.tellEnd(s, end, now)
	if since.IsZero() {
		return 0
	}
	return now.Sub(since)
}

// tellEnd tells the end of the agent's last session that received: lost, its token expired, or refused. That is told once, not at every
// new try. Its time is when the session was last heard: a removed agent was provably watched until then and no longer.
func (a *agent) tellEnd(s *session, end ending, now time.Time) {
	heard := s.feeds[source.Live].heard
	if h := s.feeds[source.State].heard; h.After(heard) {
		heard = h
	}
	at := heard
	if at.IsZero() {
		at = now
	}
	t, state, continuity := event.SessionLost, event.SessionStateLost, event.ContinuityGap
	switch {
	case slices.ContainsFunc(a.sessions, (*session).up):
		return
	case end.removed && !a.view.Met: // nobody was told that she is watched: the log refused it
		return
	case end.removed && (len(a.debts) > 0 || slices.ContainsFunc(a.view.Gaps, mapping.Gap.Open)): // her gaps end first: see tellRemoval
		return
	case end.cause == event.CauseRefused:
		t, state = event.SessionRefused, event.SessionStateRefused
	case heard.IsZero(): // it never was live
		return
	case end.cause == event.CauseTokenExpired:
		t = event.SessionTokenExpired
	case end.removed:
		continuity = ""
	}
	if a.down == state {
		return
	}
	a.down = state
	if err := a.tellSession(t, s, state, continuity, end.reason, at); err == nil {
		return
	}
	a.metrics.leftOut.Inc()
	a.logger.Warn("log has no room for a session record; gap records carry the facts", zap.String("agent", a.ID))
	if end.removed { // a removal has no gap of its own, so that it ends here would be said nowhere
		a.openGap(debt{feed: source.Live, from: at, cause: event.CauseSpoolFull, reason: end.reason, incarnation: s.incarnation})
	}
}
