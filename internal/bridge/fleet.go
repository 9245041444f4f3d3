package bridge

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/taskbridge/taskbridge/internal/event"
	"github.com/taskbridge/taskbridge/internal/mapping"
	"github.com/taskbridge/taskbridge/internal/retry"
	"github.com/taskbridge/taskbridge/internal/source"
)

// fleet keeps a session for every agent of the roster: it dials within the budget, replaces sessions before their token expires, ends those
// that fell silent, and backs off from those that fail. One loop serves all agents; there is no timer per session.
type fleet struct {
	*heart
	sources map[string]Feed
	// launch runs one Serve and calls ended exactly once with its error. In production a goroutine; the simulation has its own.
	launch func(m *member, s *session)

	mu      sync.Mutex
	members map[memberKey]*member // the roster
	order   []*member             // the roster and those who have not gone yet, in the order of arrival, so that a run can be repeated
	// recovered are the agents of whom an earlier process told, until a roster says whether they are watched on.
	recovered map[identity]*agent
	budget    *rate.Limiter // of dials
	counted   time.Time     // when the metrics last were
	noted     time.Time     // when the log was last told who is alive
	closing   bool
}

// memberKey tells apart who is on the roster: an id has one agent at a time, who may move from one source to another.
type memberKey struct{ source, id string }

func keyOf(a *source.Agent) memberKey { return memberKey{a.Source, a.ID} }

// member is one agent of the roster. While a successor is made, next is set and current goes on.
type member struct {
	*agent
	source        source.Source
	leaving       bool      // off the roster; her sessions are being ended
	left          time.Time // when the last of them had ended
	farewell      *session  // in whose name her removal is to be told; nil: it is not, or has been
	gone          bool      // nothing is left to tell of her
	after         *member   // the same agent, leaving: she has gone before this one's session begins
	current, next *attempt
	due           time.Time // not to be dialled before
	backoff       retry.Backoff
	refused       bool
	shortCloses   int    // server closes in a row, each soon after the session was live
	lastEnd       string // reason of the last end that was not the bridge's own wish
	lastEndAt     time.Time
}

// attempt is one session with what the fleet needs to end it.
type attempt struct {
	*session
	cancel  context.CancelCauseFunc
	renewAt time.Time // drawn once renewBy is known
}

// Why the fleet ends a session.
var (
	errReplaced = errors.New("replaced by its successor")
	errRemoved  = errors.New("agent removed from the roster")
	errSilence  = errors.New("nothing received for too long")
	errStop     = errors.New("the bridge is stopping")
)

// ownReasons are the reasons of session ends that are found here; sources have theirs in a table beside their protocol.
var ownReasons = []string{"silence", "evicted", "other"}

// evictedAfter closes by the server in a row, each within evictedWithin of the session's start, look like another client that throws us out
// (docs/protocols/twilio-taskrouter.md, section 11). A heuristic: the vendors document no close code for it.
const (
	evictedAfter  = 3
	evictedWithin = time.Minute
)

// headroom is how much of the dial budget every second leaves, as a share. The vendor counts arrivals, and what a busy machine or the way there holds back for
// a moment arrives with what was dialled later.
const headroom = 0.05

func newFleet(h *heart, sources map[string]Feed) *fleet {
	// The vendor's limit is for any second, also for the one that begins with all that a turn of the loop may dial at once.
	most := (1 - headroom) * h.DialRate
	turn := most * tickEvery.Seconds()
	burst := int(turn+0.3) + 1 // with room for what is left of a turn: a smaller bucket would spill it, and with it up to half of the budget
	limit := most - float64(burst)
	if burst == 1 { // one dial at a time, some turns apart
		limit = most - turn
	}
	budget := rate.NewLimiter(rate.Limit(limit), burst)
	return &fleet{heart: h, sources: sources, members: map[memberKey]*member{}, budget: budget}
}

func (f *fleet) setRoster(rosters map[string][]source.Agent) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var agents []source.Agent
	wanted, ids := map[memberKey]bool{}, map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(rosters)) {
		if _, ok := f.sources[name]; !ok {
			return fmt.Errorf("roster of source %q: it is not configured", name)
		}
		for _, a := range rosters[name] {
			a.Source = name
			if ids[a.ID] {
				return fmt.Errorf("agent %s is on the rosters twice: her events would have the same ids", a.ID)
			}
			wanted[keyOf(&a)], ids[a.ID] = true, true
			agents = append(agents, a)
		}
	}
	for _, m := range f.order {
		if _, known := rosters[m.Agent.Source]; known && !m.leaving && !wanted[keyOf(m.Agent)] {
			m.leave()
			delete(f.members, keyOf(m.Agent))
		}
	}
	now := f.now()
	coming := 0
	for who := range wanted {
		if f.members[who] == nil {
			coming++
		}
	}
	for _, a := range agents {
		if f.members[keyOf(&a)] != nil {
			continue
		}
		feed := f.sources[a.Source]
		// Who comes back is met anew: how long she was not watched is no gap. Who was watched by an earlier process is not.
		who := identity{a.ID, a.URI}
		known := f.recovered[who]
		if known != nil {
			known.adopt(a, feed.Mapper)
			delete(f.recovered, who)
		} else {
			known = newAgent(f.heart, mapping.NewView(a), feed.Mapper)
		}
		m := &member{agent: known, source: feed.Source, after: f.leaving(a.ID), backoff: f.Backoff}
		// First dials are spread over the time that the budget needs for all who come now.
		m.due = now.Add(time.Duration(f.rand() * float64(coming) / f.DialRate * float64(time.Second)))
		f.members[keyOf(m.Agent)] = m
		f.order = append(f.order, m)
	}
	f.disown(rosters)
	f.forget()
	return nil
}

// leave ends the sessions of a member who is off the roster; they are gone once Serve has returned.
func (m *member) leave() {
	m.leaving = true
	for _, t := range []*attempt{m.current, m.next} {
		if t != nil {
			t.cancel(errRemoved)
		}
	}
}

// leaving is the member with that id who left last and has not gone, nil where there is none.
func (f *fleet) leaving(id string) *member {
	for _, m := range slices.Backward(f.order) {
		if m.leaving && m.ID == id {
			return m
		}
	}
	return nil
}

// forget drops who is leaving, once no session is left and all is told of her. It is called with f.mu held.
func (f *fleet) forget() {
	now := f.now()
	f.order = slices.DeleteFunc(f.order, func(m *member) bool {
		if !m.leaving || m.current != nil || m.next != nil {
			return false
		}
		if m.left.IsZero() {
			m.left = now
		}
		m.gone = m.settle() == nil
		return m.gone
	})
}

// settle tells what is still to be told of m when she has no session any more; an error says that the log has no room for all of it.
func (m *member) settle() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.payDebts(); err != nil {
		return err
	}
	if m.leaving {
		if err := m.tellRemoval(); err != nil {
			return err
		}
	}
	return m.tellRest()
}

// tickEvery is the fleet loop's period: short beside every time-out it serves, and long enough to cost nothing with 10,000 agents.
const tickEvery = 100 * time.Millisecond

// run holds the sessions until ctx ends and every Serve has returned.
func (f *fleet) run(ctx context.Context) {
	sessions, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	f.launch = func(m *member, s *session) {
		ctx, cancel := context.WithCancelCause(sessions)
		m.attempt(s).cancel = cancel
		wg.Go(func() {
			err := m.source.Serve(ctx, s.Agent, s) // nothing else in this frame: it is on the stack of every session
			f.served(ctx, m, s, err)
		})
	}
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-tick.C:
			f.tick()
		case <-ctx.Done():
		}
	}
	f.mu.Lock()
	f.closing = true // before the sessions end, so that none is dialled again
	f.mu.Unlock()
	stop(errStop)
	wg.Wait()
}

// settleAll tells, after run, what is still owed of anybody: while the log is delivered, it gets room. It returns when all is told or ctx ends.
func (f *fleet) settleAll(ctx context.Context) {
	f.mu.Lock()
	owing := slices.Clone(f.order)
	f.mu.Unlock()
	for {
		owing = slices.DeleteFunc(owing, func(m *member) bool { return m.settle() == nil })
		if len(owing) == 0 {
			return
		}
		select {
		case <-time.After(tickEvery):
		case <-ctx.Done():
			return
		}
	}
}

// served takes note of the return of Serve.
func (f *fleet) served(ctx context.Context, m *member, s *session, err error) {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	f.mu.Lock()
	cancel := m.attempt(s).cancel
	f.mu.Unlock()
	cancel(nil)
	f.ended(m, s, err)
}

func (m *member) attempt(s *session) *attempt {
	if m.next != nil && m.next.session == s {
		return m.next
	}
	return m.current
}

// tick does for every agent what is due now.
func (f *fleet) tick() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closing {
		return
	}
	now := f.now()
	f.forget()
	var due []*member
	for _, m := range f.order {
		if f.look(m, now) {
			due = append(due, m)
		}
	}
	f.dial(due, now)
	if now.Sub(f.noted) >= aliveEvery {
		f.noted = now
		f.alive()
	}
	if now.Sub(f.counted) >= time.Second {
		f.counted = now
		f.count()
	}
}

// look ends what is to be ended of m and reports whether m is to be dialled.
func (f *fleet) look(m *member, now time.Time) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.debts) > 0 {
		_ = m.payDebts() // still no room: asked again at the next tick
	}
	if m.held.rest != nil && event.InstantOf(now)/60_000 != m.held.minute {
		_ = m.tellRest()
	}
	for _, t := range []*attempt{m.current, m.next} {
		if t != nil && t.silent(now, f.Silence) {
			t.cancel(errSilence)
		}
	}
	if m.current != nil && m.next != nil && m.next.tookOver(m.current) {
		m.current.cancel(errReplaced)
		return false
	}
	if m.after != nil && m.after.gone {
		m.after = nil
	}
	switch {
	case m.leaving || m.after != nil || m.next != nil || now.Before(m.due):
		return false
	case m.current == nil:
		return true
	case m.current.deaf:
		return f.log.Room()
	}
	return m.current.renewalDue(now, f.rand)
}

// silent reports whether a feed of the session has delivered nothing for longer than the limit.
func (s *session) silent(now time.Time, limit time.Duration) bool {
	for _, f := range s.feeds {
		if f.up && now.Sub(f.heard) > limit {
			return true
		}
	}
	return false
}

// tookOver reports whether old may be let go: for every feed it has up, s has it up too, and old has delivered something read at least
// Options.proven after s began to receive. What was sent to old alone has then arrived.
func (s *session) tookOver(old *attempt) bool {
	if !s.up() && !s.deaf {
		return false
	}
	for i, f := range old.feeds {
		if f.up && (!s.feeds[i].up || f.heard.Before(s.feeds[i].since.Add(s.proven))) {
			return false
		}
	}
	return true
}

func (s *session) up() bool { return s.feeds[source.Live].up || s.feeds[source.State].up }

// renewalDue draws, once, a random moment in the last tenth before renewBy, so that sessions that began together do not renew together.
func (t *attempt) renewalDue(now time.Time, rnd func() float64) bool {
	if t.renewAt.IsZero() {
		for _, f := range t.feeds {
			if f.up && !f.renewBy.IsZero() && (t.renewAt.IsZero() || f.renewBy.Before(t.renewAt)) {
				t.renewAt = f.renewBy.Add(-time.Duration(rnd() * float64(f.renewBy.Sub(f.since)) / 10))
			}
		}
	}
	return !t.renewAt.IsZero() && !now.Before(t.renewAt)
}

// dial starts sessions for those who are due, the longest waiting first, as far as the budget reaches.
func (f *fleet) dial(due []*member, now time.Time) {
	slices.SortStableFunc(due, func(a, b *member) int { return a.due.Compare(b.due) })
	for _, m := range due {
		if !f.budget.AllowN(now, 1) {
			return
		}
		f.metrics.dials.Inc()
		t := &attempt{session: m.newSession()}
		if m.current == nil {
			m.current = t
		} else {
			m.next = t
		}
		f.launch(m, t.session)
	}
}

// ended takes note that Serve returned err, or that the fleet ended the session for that cause.
func (f *fleet) ended(m *member, s *session, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	end := f.judge(m, s, err, now)
	lived := s.agent.ended(s, end, now)
	if m.next != nil && m.next.session == s {
		m.next = nil
	} else {
		m.current, m.next = m.next, nil
	}
	switch {
	case m.leaving || f.closing:
	case errors.Is(err, errReplaced):
		m.due = now
		f.metrics.renewals.Inc()
	default:
		f.metrics.ends.WithLabelValues(end.reason).Inc()
		m.lastEnd, m.lastEndAt = end.reason, now
		m.due = now.Add(f.wait(m, err, lived))
		f.logger.Info("session ended", zap.String("agent", m.ID), zap.String("reason", end.reason), zap.Duration("lived", lived),
			zap.Duration("again_in", m.due.Sub(now)), zap.Error(err))
	}
	f.forget()
}

// judge says what the end of a session means.
func (f *fleet) judge(m *member, s *session, err error, now time.Time) ending {
	s.mu.Lock()
	since := s.feeds[source.Live].since
	s.mu.Unlock()
	if !strings.HasPrefix(retry.ReasonOf(err), "close_") || since.IsZero() || now.Sub(since) > evictedWithin {
		m.shortCloses = 0
	} else {
		m.shortCloses++
	}
	switch {
	case errors.Is(err, errStop):
		return ending{cause: event.CauseStop, reason: "stop"}
	case errors.Is(err, errSilence):
		return ending{cause: event.CauseSilence, reason: "silence"}
	case m.leaving:
		return ending{reason: removed, removed: true}
	case errors.Is(err, errReplaced):
		return ending{cause: event.CauseHandover, reason: "replaced"}
	case m.shortCloses >= evictedAfter:
		return ending{cause: event.CauseEvicted, reason: "evicted"}
	}
	return endingOf(err)
}

// wait is how long m is left alone after a session that ended with err.
func (f *fleet) wait(m *member, err error, lived time.Duration) time.Duration {
	m.refused = retry.IsPermanent(err)
	if m.refused {
		return time.Duration((0.5 + 0.5*f.rand()) * float64(f.RefusedRetry))
	}
	return max(m.backoff.Next(lived, f.rand), retry.Delay(err))
}
